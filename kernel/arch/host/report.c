/* kernel/arch/host/report.c: the last words on the host machine: what happened, on which CPU, and how it came there. No registers: a simulated CPU has none.
 */
#include "host_kernel.h"

#include "../../common/console.h"
#include "../../common/symbols.h"

#include <execinfo.h>

#define BACKTRACE_MAX 32

void host_report(const char *kind, const char *text)
{
	struct host_machine *machine = host_current();
	void *pcs[BACKTRACE_MAX];
	int n = backtrace(pcs, BACKTRACE_MAX);

	kprintf("\n%s on CPU %u of %u, %s\n  %s\n", kind, loam_port_cpu(), machine != NULL ? host_ncpus(machine) : 0,
		loam_port_context() == LOAM_CONTEXT_TASK ? "in task context" : "in an interrupt", text);
	kprintf("backtrace\n");
	for (int i = 1; i < n;
	     i++) /* 0 is this function; a return address may lie past its function's end, the call does not */
		symbol_print_place((unsigned int)i - 1, (uintptr_t)pcs[i] - 1);
}
