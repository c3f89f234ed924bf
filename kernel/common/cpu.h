/* kernel/common/cpu.h: what the kernel keeps for each CPU, in memory that Loam gave. */
#ifndef KERNEL_CPU_H
#define KERNEL_CPU_H

#include <loam/port.h>

#include "../arch/arch.h"
#include <regs.h>

/* A message to a CPU: the sender fills it in and waits until @function is NULL again. */
struct cpu_call {
	void (*function)(void *arg); /* atomic */
	void *arg;
};

struct catcher;

struct cpu {
	struct cpu *self;   /* first and second: the architecture's inline.h reads them through its CPU register */
	unsigned int index; /* 0 .. cpu_count - 1 */
	uint32_t hardware_id;
	struct arch_cpu arch; /* third: the architecture's trap entry may look here for a stack */

	void *stack_top;
	bool online;  /* atomic */
	bool stopped; /* atomic */
	bool idle;
	uint32_t poked; /* atomic: machine_poke() wants the tick's hook called; a word, as RISC-V swaps no bytes */
	uintptr_t stopped_at; /* frame pointer where it stopped; valid once @stopped */

	unsigned int irq_depth; /* interrupts being handled on this CPU; only it writes them */
	unsigned int nmi_depth;
	uint64_t ticks;

	struct cpu_call run;       /* to be run by the CPU's own loop: machine_run() */
	struct cpu_call interrupt; /* to be run in interrupt context: smp_interrupt() */

	struct loam_task task;   /* what the running task is called: attribution */
	struct catcher *catcher; /* who expects the next panic or fault here; NULL: nobody */
};
_Static_assert(offsetof(struct cpu, index) == 8, "inline.h reads the number at offset 8");

/* All CPUs, cpu_count of them, from loam_memmap_alloc(); before that, the first one alone. */
extern struct cpu *cpus;
extern unsigned int cpu_count;
/* Where CPUs begin that are started, below ARCH_START_LIMIT; LOAM_PADDR_NONE: no such page is free, or none is needed. */
extern loam_paddr cpu_start_page;

#endif
