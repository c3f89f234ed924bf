/* kernel/arch/riscv64/smp.c: waking the other CPUs, one after another, by the SBI. */
#include "../../common/cpu.h"
#include "../../common/kernel.h"

enum { HART_START = 0, HART_STOP = 1 };

/* Read by start.S. */
uint64_t riscv_secondary_satp;
void *riscv_secondary_stack;
struct cpu *riscv_secondary_cpu;
LOAM_NORETURN void riscv_secondary(struct cpu *cpu);

extern const char arch_entry[];

bool arch_smp_start(struct cpu *cpu)
{
	uint64_t end = arch_time() + ARCH_SMP_PATIENCE;

	riscv_secondary_satp = RISCV_READ("satp");
	riscv_secondary_stack = cpu->stack_top;
	riscv_secondary_cpu = cpu;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	/* One that was stopped a moment ago may not have arrived there. */
	while (riscv_sbi(SBI_HART, HART_START, cpu->hardware_id, (uintptr_t)arch_entry - ARCH_IMAGE_BASE, 0, 0) != 0) {
		if (arch_time() > end)
			return false;
		arch_pause();
	}
	while (!__atomic_load_n(&cpu->online, __ATOMIC_ACQUIRE) && arch_time() < end)
		arch_pause();
	return __atomic_load_n(&cpu->online, __ATOMIC_ACQUIRE);
}

void arch_smp_stop(void)
{
	(void)riscv_sbi(SBI_HART, HART_STOP, 0, 0, 0, 0);
	arch_halt();
}

/* First C on a new CPU: its tables are Loam's and its stack its own. */
void riscv_secondary(struct cpu *cpu)
{
	arch_cpu_load(cpu);
	arch_intc_cpu_init();
	kernel_secondary_main(cpu);
}
