/* bench/port.c: the rest of the port for a measured library: see port.h. */
#include <loam/port.h>

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

_Thread_local unsigned int bench_cpu;
_Thread_local unsigned long bench_masked;

void loam_port_log(const char *text, size_t nbytes)
{
	fwrite(text, 1, nbytes, stderr);
}

void loam_port_panic(enum loam_fatal kind, const char *message)
{
	fprintf(stderr, "panic %d: %s\n", (int)kind, message);
	abort();
}

void loam_port_relax(unsigned int round)
{
	if (round > 1000)
		sched_yield();
}

void loam_port_ipi(unsigned int cpu)
{
	(void)cpu;
}

void loam_port_tlb_flush(const struct loam_tlb_range *ranges, size_t nranges)
{
	(void)ranges;
	(void)nranges;
}

void loam_port_pte_sync(void)
{
}
