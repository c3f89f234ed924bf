/* kernel/common/kernel.h: what the kernel's own files call of each other. */
#ifndef KERNEL_KERNEL_H
#define KERNEL_KERNEL_H

#include <loam/inspect.h>

#include "../arch/arch.h"
#include "machine.h"
#include "symbols.h"

/* ---- string.c ------------------------------------------------------------------------------------------------------------- */

void *memcpy(void *to, const void *from, size_t nbytes);
void *memmove(void *to, const void *from, size_t nbytes);
void *memset(void *to, int value, size_t nbytes);
int memcmp(const void *left, const void *right, size_t nbytes);
size_t strlen(const char *text);
int strcmp(const char *left, const char *right);
int strncmp(const char *left, const char *right, size_t nbytes);

/* ---- words.c ---------------------------------------------------------------------------------------------------------------- */

/** words_find() - behind the @index-th word @name of the command line @line, or the @index-th that begins with it where it ends in `=`; NULL: none. */
const char *words_find(const char *line, const char *name, unsigned int index);
/** words_numbers() - the @index-th word that begins with @name (`hole=`) has @count hexadecimal numbers behind it, with commas: read them. */
bool words_numbers(const char *line, const char *name, unsigned int index, uint64_t values[], unsigned int count);

/* ---- main.c: called by the architecture ------------------------------------------------------------------------------------- */

LOAM_NORETURN void kernel_main(void);
LOAM_NORETURN void kernel_secondary_main(struct cpu *cpu);

/* ---- interrupt.c: called by the architecture, with interrupts masked -------------------------------------------------------- */

void kernel_interrupt_begin(void);
void kernel_interrupt_end(void);
void kernel_tick(void);
void kernel_ipi(enum arch_ipi ipi);

/* Called on each tick of each CPU, in interrupt context; NULL: nobody. */
void kernel_set_tick_hook(void (*hook)(bool poked));

/* ---- smp.c ------------------------------------------------------------------------------------------------------------------ */

/** smp_start() - bring all other CPUs up. Return: how many run, this one included. */
unsigned int smp_start(void);
/** smp_interrupt() - call @function(@arg) on another CPU in interrupt context, and wait for it. From one CPU at a time. */
void smp_interrupt(unsigned int cpu, void (*function)(void *arg), void *arg);
/** smp_stop_others() - for good; waits a moment for them to have stopped. */
void smp_stop_others(void);
/** smp_idle() - what a CPU does between jobs. */
LOAM_NORETURN void smp_idle(void);

/* ---- panic.c ---------------------------------------------------------------------------------------------------------------- */

LOAM_NORETURN LOAM_PRINTF(1, 2) void kernel_panic(const char *format, ...);
/** kernel_silent() - a panic about another CPU: its backtrace is shown, if it can be stopped. */
LOAM_NORETURN void kernel_silent(unsigned int cpu, const char *text);
/** kernel_fault() - a trap nobody asked for. Returns only by leaving through a catcher. */
LOAM_NORETURN void kernel_fault(const struct arch_frame *frame, const struct arch_fault *fault);
bool kernel_is_panicking(void);

/* Whoever tests the kernel looks on: tests/kernel sets these. */
struct kernel_hooks {
	bool (*on_log)(const char *text, size_t nbytes);             /* true when it has taken the text */
	void (*on_fault)(const struct arch_frame *frame);            /* whether or not somebody expects it */
	void (*on_panic)(enum loam_fatal kind, const char *message); /* in task context of CPU 0; may leave by a jump */
};
extern struct kernel_hooks kernel_hooks;

/** kernel_test() - run the tests linked in whose names contain @filter, all where it is empty; print TAP. Return: how many failed. Weak: a kernel without tests has none. */
unsigned int kernel_test(const char *filter) __attribute__((weak));

/* ---- memory.c --------------------------------------------------------------------------------------------------------------- */

/**
 * memory_init() - from the firmware's map to a heap, with this CPU in memory of its own. From here on what the firmware left is out of reach.
 * Return: a copy of the command line.
 */
char *memory_init(const struct arch_firmware *firmware);
/** memory_cpu_online() - the calling CPU begins to use Loam. */
void memory_cpu_online(void);
/** memory_cpu_offline() - a CPU that runs no more gives back what Loam kept for it. Called on another one. */
void memory_cpu_offline(unsigned int cpu);
/** machine_tick_here() - the calling CPU ticks as the others do. */
void machine_tick_here(void);
/** machine_tick_rate() - ticks a second. */
unsigned int machine_tick_rate(void);

#endif
