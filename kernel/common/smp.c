/* kernel/common/smp.c: all CPUs, and work for them. There is no scheduler: CPU 0 runs the kernel's main line, the others wait for jobs. */
#include "console.h"
#include "cpu.h"
#include "kernel.h"

struct cpu *cpus;
unsigned int cpu_count = 1;
loam_paddr cpu_start_page = LOAM_PADDR_NONE;

unsigned int smp_start(void)
{
	unsigned int online = 1;

	if (ARCH_START_LIMIT != 0 && cpu_start_page == LOAM_PADDR_NONE && cpu_count > 1) {
		kprintf("   No page below 0x%lx is free for other CPUs to begin in, so they stay off\n",
			(unsigned long)ARCH_START_LIMIT);
		return online;
	}
	for (unsigned int i = 1; i < cpu_count; i++) {
		if (arch_smp_start(&cpus[i]))
			online++;
		else
			kprintf("  CPU %u (hardware id %u) does not answer\n", i, cpus[i].hardware_id);
	}
	return online;
}

static void wait_answered(struct cpu_call *call)
{
	for (unsigned int round = 0; __atomic_load_n(&call->function, __ATOMIC_ACQUIRE) != NULL; round++)
		loam_port_relax(round);
}

static void post(struct cpu_call *call, void (*function)(void *), void *arg)
{
	call->arg = arg;
	__atomic_store_n(&call->function, function, __ATOMIC_RELEASE);
}

void machine_send(unsigned int cpu, void (*function)(void *arg), void *arg)
{
	post(&cpus[cpu].run, function, arg);
	arch_ipi_send(cpu, ARCH_IPI_WAKE);
}

bool machine_has_returned(unsigned int cpu)
{
	return __atomic_load_n(&cpus[cpu].run.function, __ATOMIC_ACQUIRE) == NULL;
}

void machine_run(void (*function)(void *arg), void *arg)
{
	for (unsigned int i = 0; i < cpu_count; i++)
		if (i != arch_cpu_index() && machine_is_online(i))
			machine_send(i, function, arg);
	function(arg);
	for (unsigned int i = 0; i < cpu_count; i++)
		wait_answered(&cpus[i].run);
}

void machine_poke(unsigned int cpu)
{
	if (!machine_is_online(cpu))
		return;
	__atomic_store_n(&cpus[cpu].poked, 1, __ATOMIC_RELEASE);
	arch_ipi_send(cpu, ARCH_IPI_CALL);
}

void smp_interrupt(unsigned int cpu, void (*function)(void *arg), void *arg)
{
	post(&cpus[cpu].interrupt, function, arg);
	arch_ipi_send(cpu, ARCH_IPI_CALL);
	wait_answered(&cpus[cpu].interrupt);
}

static void leave(void *arg)
{
	struct cpu *cpu = arch_this_cpu();

	(void)arg;
	arch_timer_start(0);
	arch_irq_disable();
	loam_tlb_cpu_offline(kernel_system.tlb);
	__atomic_store_n(&cpu->run.function, NULL, __ATOMIC_RELAXED);
	__atomic_store_n(&cpu->online, false, __ATOMIC_RELEASE);
	arch_smp_stop();
}

void machine_offline(unsigned int cpu)
{
	machine_send(cpu, leave, NULL);
	for (unsigned int round = 0; machine_is_online(cpu); round++)
		loam_port_relax(round);
	memory_cpu_offline(cpu);
}

bool machine_online(unsigned int cpu)
{
	cpus[cpu].idle = false;
	return arch_smp_start(&cpus[cpu]);
}

void smp_stop_others(void)
{
	uint64_t end = arch_time() + 100000000;

	for (unsigned int i = 0; i < cpu_count; i++)
		if (i != arch_cpu_index() && cpus[i].online)
			arch_ipi_send(i, ARCH_IPI_STOP);
	for (unsigned int i = 0; i < cpu_count; i++)
		while (i != arch_cpu_index() && cpus[i].online &&
		       !__atomic_load_n(&cpus[i].stopped, __ATOMIC_ACQUIRE) && arch_time() < end)
			arch_pause();
}

void smp_idle(void)
{
	struct cpu *cpu = arch_this_cpu();

	for (;;) {
		void (*function)(void *);

		arch_irq_disable();
		function = __atomic_load_n(&cpu->run.function, __ATOMIC_ACQUIRE);
		if (function == NULL) {
			loam_tlb_idle_enter(kernel_system.tlb);
			cpu->idle = true;
			arch_wait(); /* the interrupt that ends it has left the idle state: kernel_interrupt_begin() */
			continue;
		}
		arch_irq_enable();
		function(cpu->run.arg);
		__atomic_store_n(&cpu->run.function, NULL, __ATOMIC_RELEASE);
	}
}
