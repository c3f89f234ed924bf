/* kernel/common/main.c: the order in which a machine comes to life. */
#include "console.h"
#include "cpu.h"
#include "kernel.h"

/* The first CPU's structure and trap stack until Loam gives it others. */
static struct cpu first_cpu;
static char first_trap_stack[4096] __attribute__((aligned(16)));

static void begin(void)
{
	for (unsigned int i = 0; i < ARCH_TRAP_STACKS; i++)
		first_cpu.arch.trap_stack[i] = first_trap_stack + sizeof(first_trap_stack);
	cpus = &first_cpu;
	arch_console_init();
	arch_cpu_load(&first_cpu);
}

void kernel_main(void)
{
	struct arch_firmware firmware;

	begin();
	arch_firmware_read(&firmware);
	kprintf("Loam reference kernel, " ARCH_NAME ", %s\n", arch_cpu_name());
	arch_power_off(true);
}

void kernel_secondary_main(struct cpu *cpu)
{
	__atomic_store_n(&cpu->online, true, __ATOMIC_RELEASE);
	smp_idle();
}
