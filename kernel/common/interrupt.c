/* kernel/common/interrupt.c: what an interrupt means, whoever brought it. */
#include "cpu.h"
#include "kernel.h"

static void (*tick_hook)(bool poked);

/* An idle CPU was not asked to flush: it must before anything, here too, touches memory that may have been unmapped. */
void kernel_interrupt_begin(void)
{
	struct cpu *cpu = arch_this_cpu();

	cpu->irq_depth++;
	if (cpu->idle) {
		cpu->idle = false;
		loam_tlb_idle_exit(kernel_system.tlb);
	}
}

void kernel_interrupt_end(void)
{
	arch_this_cpu()->irq_depth--;
}

void kernel_set_tick_hook(void (*hook)(bool poked))
{
	__atomic_store_n(&tick_hook, hook, __ATOMIC_RELEASE);
}

/* CPUs that are giving back what they have not needed; whether they may. Each side says what it does before it looks at the other. */
static uint32_t agers, resting;

void machine_rest(bool rest)
{
	if (!rest) {
		__atomic_sub_fetch(&resting, 1, __ATOMIC_SEQ_CST);
		return;
	}
	__atomic_add_fetch(&resting, 1, __ATOMIC_SEQ_CST);
	for (unsigned int round = 0; __atomic_load_n(&agers, __ATOMIC_SEQ_CST) != 0; round++)
		loam_port_relax(round);
}

static void age(void)
{
	__atomic_add_fetch(&agers, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&resting, __ATOMIC_SEQ_CST) == 0)
		loam_heap_tick(kernel_system.heap);
	__atomic_sub_fetch(&agers, 1, __ATOMIC_RELEASE);
}

void kernel_tick(void)
{
	void (*hook)(bool poked) = __atomic_load_n(&tick_hook, __ATOMIC_ACQUIRE);

	loam_vmalloc_tick(kernel_system.vm);
	/* About once a second. */
	if (++arch_this_cpu()->ticks % machine_tick_rate() == 0)
		age();
	if (hook != NULL)
		hook(false);
}

static void poked(struct cpu *cpu)
{
	void (*hook)(bool poked) = __atomic_load_n(&tick_hook, __ATOMIC_ACQUIRE);

	if (__atomic_exchange_n(&cpu->poked, 0, __ATOMIC_ACQUIRE) != 0 && hook != NULL)
		hook(true);
}

static void call(struct cpu_call *call)
{
	void (*function)(void *) = __atomic_load_n(&call->function, __ATOMIC_ACQUIRE);

	if (function == NULL)
		return;
	function(call->arg);
	__atomic_store_n(&call->function, NULL, __ATOMIC_RELEASE);
}

void kernel_ipi(enum arch_ipi ipi)
{
	struct cpu *cpu = arch_this_cpu();

	switch (ipi) {
	case ARCH_IPI_FLUSH:
		loam_tlb_ipi(kernel_system.tlb);
		break;
	case ARCH_IPI_CALL:
		call(&cpu->interrupt);
		poked(cpu);
		break;
	case ARCH_IPI_STOP:
		cpu->stopped_at = arch_frame_pointer();
		__atomic_store_n(&cpu->stopped, true, __ATOMIC_RELEASE);
		arch_halt();
	case ARCH_IPI_WAKE:
	case ARCH_IPI_COUNT:
		break;
	}
}
