/* kernel/common/machine.h: what the tour, the shell and the stress know of the machine they run on.
 *
 * Nothing here is a kernel's secret: in a kernel these are the real CPUs and page tables (machine.c), and with ARCH=host the machine in a
 * process (arch/host). The same tour.c, shell.c and stress.c run on both.
 */
#ifndef KERNEL_MACHINE_H
#define KERNEL_MACHINE_H

#include <loam/inspect.h>

/* The one instance of each layer. */
extern struct loam_system kernel_system;
#define kmalloc(nbytes) loam_heap_alloc_at(kernel_system.heap, (nbytes), LOAM_HERE)
#define kfree(object) loam_heap_free_at(kernel_system.heap, (object), LOAM_HERE)

/** machine_cpus() - how many run. */
unsigned int machine_cpus(void);
/** machine_run() - call @function(@arg) on every CPU at once, in task context; returns when all have returned. From CPU 0 only. */
void machine_run(void (*function)(void *arg), void *arg);

/**
 * machine_try() - run @function(@arg), expecting that it may panic or fault.
 * @text: what it died of, one line; empty when it came back.
 * Return: true when it came back. Nothing it held is given back for it: Loam raises misuse with nothing held.
 */
bool machine_try(void (*function)(void *arg), void *arg, char text[], size_t nbytes);

/* A word of memory through the CPU's page tables; what is not mapped faults. */
uint64_t machine_load(uintptr_t address);
void machine_store(uintptr_t address, uint64_t value);
/** machine_execute() - go on there. Faults where no code is, and does not come back where some is. */
void machine_execute(uintptr_t address);

/** machine_run_on_stack() - call @function(@arg) on the stack that ends at @top, and come back. */
void machine_run_on_stack(void (*function)(void *arg), void *arg, void *top);
/** machine_overflow() - use the stack that ends at @top until it is used up. Faults; does not come back. */
void machine_overflow(void *top);

/** machine_ticks() - have @hook called @hz times a second on every CPU in interrupt context; 0, NULL: back to normal. */
void machine_ticks(unsigned int hz, void (*hook)(void));

/** machine_name_task() - what the running task is called from now on: attribution. */
void machine_name_task(const struct loam_task *task);

#endif
