/* tests/rig_hooks.c: the host machine's console and its panics go to the TAP runner. Linked into every host test program. */
#include "tap.h"

#include <base/fail.h>
#include <base/lock.h>
#include <host.h>

/* The runner leaves by longjmp: what this thread held is abandoned with the machine it belonged to. */
static void on_panic(enum loam_fatal kind, const char *message)
{
	loami_witness_forget();
	tap_on_panic(kind, message);
}

__attribute__((constructor)) static void install(void)
{
	host_hooks.on_log = tap_on_log;
	host_hooks.on_panic = on_panic;
}

#ifdef LOAM_POINTS
void loami_point(const volatile void *where)
{
	host_point(where);
}

bool loami_should_fail(enum loami_fail_kind kind)
{
	return host_should_fail((unsigned int)kind);
}
#endif
