/* kernel/common/kernel.h: what the kernel's own files call of each other. */
#ifndef KERNEL_KERNEL_H
#define KERNEL_KERNEL_H

#include <loam/inspect.h>

#include "../arch/arch.h"

/* ---- string.c ------------------------------------------------------------------------------------------------------------- */

void *memcpy(void *to, const void *from, size_t nbytes);
void *memmove(void *to, const void *from, size_t nbytes);
void *memset(void *to, int value, size_t nbytes);
int memcmp(const void *left, const void *right, size_t nbytes);
size_t strlen(const char *text);
int strcmp(const char *left, const char *right);
int strncmp(const char *left, const char *right, size_t nbytes);

/* ---- main.c: called by the architecture ------------------------------------------------------------------------------------- */

LOAM_NORETURN void kernel_main(void);
LOAM_NORETURN void kernel_secondary_main(struct cpu *cpu);

/* ---- interrupt.c: called by the architecture, with interrupts masked -------------------------------------------------------- */

void kernel_interrupt_begin(void);
void kernel_interrupt_end(void);
void kernel_tick(void);
void kernel_ipi(enum arch_ipi ipi);

/* Called on each tick of each CPU, in interrupt context; NULL: nobody. */
void kernel_set_tick_hook(void (*hook)(void));

/* ---- smp.c ------------------------------------------------------------------------------------------------------------------ */

/** smp_start() - bring all other CPUs up. Return: how many run, this one included. */
unsigned int smp_start(void);
/** smp_run() - call @function(@arg) on every CPU at once, in task context; returns when all have returned. From CPU 0 only. */
void smp_run(void (*function)(void *arg), void *arg);
/** smp_interrupt() - call @function(@arg) on another CPU in interrupt context, and wait for it. From one CPU at a time. */
void smp_interrupt(unsigned int cpu, void (*function)(void *arg), void *arg);
/** smp_stop_others() - for good; waits a moment for them to have stopped. */
void smp_stop_others(void);
/** smp_idle() - what a CPU does between jobs. */
LOAM_NORETURN void smp_idle(void);

/* ---- panic.c ---------------------------------------------------------------------------------------------------------------- */

LOAM_NORETURN LOAM_PRINTF(1, 2) void kernel_panic(const char *format, ...);
/** kernel_fault() - a trap nobody asked for. Returns only by leaving through a catcher. */
LOAM_NORETURN void kernel_fault(const struct arch_frame *frame, const struct arch_fault *fault);
bool kernel_is_panicking(void);

/**
 * kernel_try() - run @function(@arg), expecting that it may panic or fault.
 * @text: what it died of, one line, empty when it came back.
 * Return: true when it came back. Nothing it held is given back for it: Loam raises misuse with nothing held.
 */
bool kernel_try(void (*function)(void *arg), void *arg, char text[], size_t nbytes);

/* ---- symbols.c -------------------------------------------------------------------------------------------------------------- */

/** symbol_find() - the function that holds @address. Return: its name and *@offset in it, or NULL. */
const char *symbol_find(uintptr_t address, uintptr_t *offset);

/* ---- memory.c --------------------------------------------------------------------------------------------------------------- */

/* The kernel's one instance of each layer. */
extern struct loam_system kernel_system;
extern struct loam_heap kernel_heap;
#define kmalloc(nbytes) loam_heap_alloc_at(kernel_system.heap, (nbytes), LOAM_HERE)
#define kfree(object) loam_heap_free_at(kernel_system.heap, (object), LOAM_HERE)

/** memory_init() - from the firmware's map to a heap; ends with arch_cpu_load() of the first CPU's memory from Loam. */
void memory_init(const struct arch_firmware *firmware);

#endif
