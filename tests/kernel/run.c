/* tests/kernel/run.c: the command line `test`: every test linked into the kernel, as TAP on its console; `test=PART`: those with PART in their name. */
#include "../rig.h"
#include "../tap.h"

#include <base/lock.h>
#include <kernel.h>

/* The runner leaves by a jump: what this CPU held is abandoned with the rig it belonged to. */
static void on_panic(enum loam_fatal kind, const char *message)
{
	loami_witness_forget();
	tap_on_panic(kind, message);
}

unsigned int kernel_test(const char *filter)
{
	kernel_hooks = (struct kernel_hooks){.on_log = tap_on_log, .on_panic = on_panic};
	/* A CPU that is not running at the moment is not silent: who really hangs is ended with the machine. */
	kernel_system.tlb->timeout_ns = RIG_PATIENCE_NS;
	return tap_run(filter);
}
