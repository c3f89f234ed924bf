/* kernel/common/machine.h: what the tour, the shell and the torture know of the machine they run on.
 *
 * Nothing here is a kernel's secret: in a kernel these are the real CPUs and page tables (machine.c), and with ARCH=host the machine in a
 * process (arch/host). The same tour.c, shell.c and torture.c run on both.
 */
#ifndef KERNEL_MACHINE_H
#define KERNEL_MACHINE_H

#include <loam/inspect.h>

/* The one instance of each layer. */
extern struct loam_system kernel_system;
#define kmalloc(nbytes) loam_heap_alloc_at(kernel_system.heap, (nbytes), LOAM_HERE)
#define kfree(object) loam_heap_free_at(kernel_system.heap, (object), LOAM_HERE)

/** machine_cpus() - how many run; machine_cpus_all(): with those that are offline, so that numbers go from 0 to one less. */
unsigned int machine_cpus(void);
unsigned int machine_cpus_all(void);
bool machine_is_online(unsigned int cpu);
/** machine_run() - call @function(@arg) on every CPU at once, in task context; returns when all have returned. From CPU 0 only. */
void machine_run(void (*function)(void *arg), void *arg);
/** machine_send() - the same on one other CPU, without waiting. From CPU 0 only, one at a time for a CPU: machine_has_returned() says when. */
void machine_send(unsigned int cpu, void (*function)(void *arg), void *arg);
bool machine_has_returned(unsigned int cpu);

/** machine_offline() - a CPU (not 0) leaves: what Loam keeps for it goes back, the CPU stops. From CPU 0, while nothing runs there. */
void machine_offline(unsigned int cpu);
/** machine_online() - and comes back. Return: whether it did. */
bool machine_online(unsigned int cpu);

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

/** machine_ticks() - have @hook called up to @hz times a second on every CPU in interrupt context, and by machine_poke(); 0, NULL: back to normal. */
void machine_ticks(unsigned int hz, void (*hook)(bool poked));
/** machine_rest() - from true to false no tick touches the heap: for whoever wants it at rest, to drain or to audit it. Nests. Waits for ticks that do. */
void machine_rest(bool rest);
/** machine_poke() - interrupt another CPU, if it is online: the hook is called there once more. From any context. */
void machine_poke(unsigned int cpu);

/** machine_arena() - where @nbytes of addresses are free for an arena beside the kernel's; the same each time. 0: nowhere. */
uintptr_t machine_arena(size_t nbytes);
/** machine_fail() - have @hook asked whenever Loam is about to take something (enum loam_fail_kind); NULL: nobody. Return: whether this build asks. */
bool machine_fail(bool (*hook)(unsigned int kind));
/** machine_silent() - another CPU does not get on: the end, with a report of what it is at. */
LOAM_NORETURN void machine_silent(unsigned int cpu, const char *text);

/** machine_name_task() - what the running task is called from now on: attribution. */
void machine_name_task(const struct loam_task *task);

#endif
