/* kernel/arch/x86_64/smp.c: waking the other CPUs, one after another, with INIT and two start-up IPIs. */
#include "../../common/cpu.h"
#include "../../common/kernel.h"
#include "apic.h"

/* Read by start.S. */
uint64_t x86_secondary_root;
void *x86_secondary_stack;
struct cpu *x86_secondary_cpu;
LOAM_NORETURN void x86_secondary(struct cpu *cpu);

extern const char x86_start[];
extern const char x86_start_end[];

static void wait_until(const bool *flag, uint64_t nanoseconds)
{
	uint64_t end = arch_time() + nanoseconds;

	while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE) && arch_time() < end)
		arch_pause();
}

bool arch_smp_start(struct cpu *cpu)
{
	static const bool never;

	if (cpu_start_page == LOAM_PADDR_NONE)
		return false;
	memcpy((void *)(ARCH_DIRECT_MAP + cpu_start_page), x86_start, (size_t)(x86_start_end - x86_start));
	x86_secondary_root = x86_read_cr3();
	x86_secondary_stack = cpu->stack_top;
	x86_secondary_cpu = cpu;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);

	x86_apic_command(cpu->hardware_id, X86_APIC_INIT);
	wait_until(&never, 10000000);
	/* The second is for CPUs that missed the first, which some did once. */
	for (int i = 0; i < 2 && !__atomic_load_n(&cpu->online, __ATOMIC_ACQUIRE); i++) {
		x86_apic_command(cpu->hardware_id, X86_APIC_START(cpu_start_page >> LOAM_PAGE_SHIFT));
		wait_until(&cpu->online, i == 0 ? 10000000 : ARCH_SMP_PATIENCE);
	}
	return __atomic_load_n(&cpu->online, __ATOMIC_ACQUIRE);
}

/* INIT wakes a CPU from any sleep. */
void arch_smp_stop(void)
{
	arch_halt();
}

/* First C on a new CPU: its tables are Loam's and its stack its own. */
void x86_secondary(struct cpu *cpu)
{
	arch_cpu_load(cpu);
	arch_mmu_load(x86_secondary_root);
	arch_intc_cpu_init();
	kernel_secondary_main(cpu);
}
