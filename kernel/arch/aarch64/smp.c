/* kernel/arch/aarch64/smp.c: waking the other CPUs, one after another, by PSCI. */
#include "../../common/cpu.h"
#include "../../common/kernel.h"

#define PSCI_CPU_OFF UINT64_C(0x84000002)
#define PSCI_CPU_ON UINT64_C(0xc4000003)

/* Read by start.S. */
uint64_t arm_secondary_root;
void *arm_secondary_stack;
struct cpu *arm_secondary_cpu;
LOAM_NORETURN void arm_secondary(struct cpu *cpu);

extern const char arm_start[];

/* SMC where something runs above us that takes no HVC: then the device tree says so. */
int64_t arm_psci(uint64_t function, uint64_t a, uint64_t b, uint64_t c)
{
	register uint64_t x0 __asm__("x0") = function;
	register uint64_t x1 __asm__("x1") = a;
	register uint64_t x2 __asm__("x2") = b;
	register uint64_t x3 __asm__("x3") = c;

	if (arm_psci_by_smc)
		__asm__ volatile("smc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3) : : "memory");
	else
		__asm__ volatile("hvc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3) : : "memory");
	return (int64_t)x0;
}

bool arch_smp_start(struct cpu *cpu)
{
	uint64_t end = arch_time() + ARCH_SMP_PATIENCE;

	arm_secondary_root = ARM_READ("ttbr1_el1");
	arm_secondary_stack = cpu->stack_top;
	arm_secondary_cpu = cpu;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	/* One that was stopped a moment ago may not have arrived there. */
	while (arm_psci(PSCI_CPU_ON, cpu->hardware_id, (uintptr_t)arm_start - ARCH_IMAGE_BASE, 0) != 0)
		if (arch_time() > end)
			return false;
	while (!__atomic_load_n(&cpu->online, __ATOMIC_ACQUIRE) && arch_time() < end)
		arch_pause();
	return __atomic_load_n(&cpu->online, __ATOMIC_ACQUIRE);
}

void arch_smp_stop(void)
{
	(void)arm_psci(PSCI_CPU_OFF, 0, 0, 0);
	arch_halt();
}

/* First C on a new CPU: its tables are Loam's and its stack its own. */
void arm_secondary(struct cpu *cpu)
{
	arch_cpu_load(cpu);
	arch_mmu_load(arm_secondary_root);
	arch_intc_cpu_init();
	kernel_secondary_main(cpu);
}
