/* kernel/arch/riscv64/intc.c: IPIs by the SBI. The hardware has one software interrupt; what it is about stands in a word beside. */
#include "../../common/cpu.h"

#define SIE_SOFTWARE (1UL << 1)

loam_paddr arch_intc_window(unsigned int index, size_t *nbytes)
{
	(void)index;
	*nbytes = 0;
	return LOAM_PADDR_NONE;
}

void arch_intc_init(void *const registers[ARCH_INTC_WINDOWS_MAX])
{
	(void)registers;
}

void arch_intc_cpu_init(void)
{
	__asm__ volatile("csrs sie, %0" : : "r"(SIE_SOFTWARE) : "memory");
}

void arch_ipi_send(unsigned int cpu, enum arch_ipi ipi)
{
	__atomic_or_fetch(&cpus[cpu].arch.pending, 1U << ipi, __ATOMIC_RELEASE);
	__asm__ volatile("fence iorw, iorw" : : : "memory");
	(void)riscv_sbi(SBI_IPI, 0, 1, cpus[cpu].hardware_id, 0, 0);
}
