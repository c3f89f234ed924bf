/* kernel/arch/riscv64/intc.c: IPIs by the SBI. The hardware has one software interrupt; what it is about stands in a word beside. */
#include "../../common/cpu.h"

bool riscv_pause_sleeps;

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
	__asm__ volatile("csrs sie, %0" : : "r"(RISCV_SOFTWARE) : "memory");
}

void arch_ipi_send(unsigned int cpu, enum arch_ipi ipi)
{
	__atomic_or_fetch(&cpus[cpu].arch.pending, 1U << ipi, __ATOMIC_RELEASE);
	__asm__ volatile("fence iorw, iorw" : : : "memory");
	(void)riscv_sbi(SBI_IPI, 0, 1, cpus[cpu].hardware_id, 0, 0);
}

/* WFI with an interrupt that is wanted and masked returns at once, on this CPU's next turn. Who sends one in earnest says so in @pending first, and asks the SBI second: either it is seen
 * here, or its request comes after this one was taken back. */
void riscv_sleep_for_a_turn(void)
{
	struct cpu *cpu = arch_this_cpu();
	unsigned long wanted, irq;

	__asm__ volatile("csrr %0, sie" : "=r"(wanted));
	if ((wanted & RISCV_SOFTWARE) == 0)
		return;
	irq = arch_irq_save();
	__asm__ volatile("csrs sip, %0\n\twfi\n\tcsrc sip, %0" : : "r"(RISCV_SOFTWARE) : "memory");
	if (__atomic_load_n(&cpu->arch.pending, __ATOMIC_ACQUIRE) != 0)
		__asm__ volatile("csrs sip, %0" : : "r"(RISCV_SOFTWARE) : "memory");
	arch_irq_restore(irq);
}
