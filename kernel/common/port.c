/* kernel/common/port.c: what this kernel gives to Loam (include/loam/port.h). What Loam inlines is in port_inline.h; the panic
 * is in panic.c.
 */
#include "console.h"
#include "cpu.h"
#include "kernel.h"

void loam_port_log(const char *text, size_t nbytes)
{
	console_write(text, nbytes);
}

/* Where virtual CPUs outnumber real ones the one we wait for may not be running: pause longer the longer it lasts. */
void loam_port_relax(unsigned int round)
{
	for (unsigned int i = 0; i <= (round < 64 ? round : 64); i++)
		arch_pause();
}

void loam_port_ipi(unsigned int cpu)
{
	arch_ipi_send(cpu, ARCH_IPI_FLUSH);
}

void loam_port_tlb_flush(const struct loam_tlb_range *ranges, size_t nranges)
{
	arch_tlb_flush(ranges, nranges);
}

enum loam_context loam_port_context(void)
{
	const struct cpu *cpu = arch_this_cpu();

	if (cpu->nmi_depth > 0)
		return LOAM_CONTEXT_NMI;
	return cpu->irq_depth > 0 ? LOAM_CONTEXT_INTERRUPT : LOAM_CONTEXT_TASK;
}

void loam_port_task(struct loam_task *task)
{
	*task = arch_this_cpu()->task;
}

uint64_t loam_port_time(void)
{
	return arch_time();
}

/* Good enough to vary a layout from boot to boot; a kernel with an entropy pool asks that. */
uint64_t loam_port_random(void)
{
	static uint64_t state;
	uint64_t x = __atomic_add_fetch(&state, UINT64_C(0x9e3779b97f4a7c15), __ATOMIC_RELAXED) ^ arch_cycles();

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}
