/* loam/port.h: what your kernel gives to Loam. Fifteen functions, most of them one line, cut by bring-up stage: a tier is
 * needed only once you use what it serves. ports/template/ answers each and asks you the questions behind it.
 *
 *   tier 0  log, panic, irq_save, irq_restore, cpu     enough for boot, pagemap, frame, and heap over RAM
 *   tier 1  relax, ipi                                 more than one CPU
 *   tier 2  tlb_flush, pte_sync                        paging, arena, vmalloc
 *   tier 3  pin, unpin, context, task, time, random    optional: weak defaults are in the library
 *
 * For every function here, unless it says otherwise:
 *   - it is called from any context, with or without interrupts masked, with Loam's spin locks held;
 *   - it must not call back into Loam, must not sleep, must not take a lock that is held around a call into Loam;
 *   - it must not touch floating-point or vector registers that your kernel does not save.
 *
 * A kernel that wants a function inlined into Loam's fast paths builds Loam with -DLOAM_PORT_INLINE='"my_port.h"'; that header
 * defines any of cpu, irq_save, irq_restore, pte_sync, pin, unpin as `static inline` and, for each, LOAM_PORT_INLINES_<NAME>.
 */
#ifndef LOAM_PORT_H
#define LOAM_PORT_H

#include <loam/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct loam_pin - what loam_port_pin() returns and loam_port_unpin() takes back.
 * @cpu:   the CPU the caller stays on until it is unpinned.   @state: the port's own, e.g. the saved interrupt flag.
 */
struct loam_pin {
	unsigned long state;
	unsigned int cpu;
};

/**
 * enum loam_fatal - which layer found the corruption or misuse, and of which kind.
 * MISUSE: the caller broke a contract (double free, wild pointer). Loam has changed nothing, holds no lock and is not pinned: the
 * port may kill the culprit and go on. CORRUPT: Loam's own state is wrong; the machine should stop.
 */
enum loam_fatal {
	LOAM_FATAL_MISUSE = 1,
	LOAM_FATAL_CORRUPT = 2,
};

/**
 * struct loam_tlb_range - pages whose translations must go.
 * @start: page aligned address.  @npages: count of 4 KiB pages.
 * @stride_shift: log2 of the smallest leaf in the range: 12, 21 or 30. One invalidation per stride is enough.
 */
struct loam_tlb_range {
	uintptr_t start;
	size_t npages;
	unsigned int stride_shift;
};

#ifdef LOAM_PORT_INLINE
#include LOAM_PORT_INLINE
#endif

/* ---- tier 0: one CPU, no paging -------------------------------------------------------------------------------------- */

/**
 * loam_port_log() - put text on the console.
 * @text: not NUL-terminated; lines end in '\n'.   @nbytes: its length.
 * Example: for (size_t i = 0; i < nbytes; i++) serial_put(text[i]);
 */
void loam_port_log(const char *text, size_t nbytes);

/**
 * loam_port_panic() - report what was found and do not return to Loam.
 * @kind: misuse or corruption, see enum loam_fatal.   @message: one line, NUL-terminated, without newline; copy it to keep it.
 * Example: kprintf("%s\n", message); backtrace(); for (;;) halt();
 * It must not return. After a misuse it may leave by longjmp or by ending the current task.
 */
LOAM_NORETURN void loam_port_panic(enum loam_fatal kind, const char *message);

/**
 * loam_port_irq_save() - mask maskable interrupts on this CPU and say how it was.
 * Example (x86-64): read RFLAGS, cli, return the flags.  A kernel without interrupts returns 0.
 */
#ifndef LOAM_PORT_INLINES_IRQ_SAVE
unsigned long loam_port_irq_save(void);
#endif

/**
 * loam_port_irq_restore() - undo loam_port_irq_save(): @state is what it returned. Calls nest.
 * Example (x86-64): if (state & RFLAGS_IF) sti();
 */
#ifndef LOAM_PORT_INLINES_IRQ_RESTORE
void loam_port_irq_restore(unsigned long state);
#endif

/**
 * loam_port_cpu() - the number of the CPU this runs on: 0 .. the CPU count given to init, dense, small.
 * Example: return this_cpu()->index;   With one CPU: return 0.
 */
#ifndef LOAM_PORT_INLINES_CPU
unsigned int loam_port_cpu(void);
#endif

/* ---- tier 1: more than one CPU --------------------------------------------------------------------------------------- */

/**
 * loam_port_relax() - called in each round of a spin.
 * @round: 0, 1, 2 ... of this wait. Pause; where CPUs may be virtual, yield the longer it lasts.
 * Example: pause();   It may let pending interrupts in when they are not masked.
 */
void loam_port_relax(unsigned int round);

/**
 * loam_port_ipi() - interrupt @cpu so that it soon calls loam_tlb_ipi(). Do not wait for it.
 * Example: lapic_send(cpu_apic_id[cpu], VECTOR_LOAM);   Never called for the calling CPU. An IPI that gets lost is asked for again.
 */
void loam_port_ipi(unsigned int cpu);

/* ---- tier 2: paging --------------------------------------------------------------------------------------------------- */

/**
 * loam_port_tlb_flush() - forget cached translations; when it returns they are gone.
 * @ranges, @nranges: what must go; @nranges == 0: everything, global entries too.
 * Acts on this CPU, or on all of them where the TLB was set up with .broadcast (AArch64 TLBI ..IS, SBI remote fence): then it
 * returns only when all have done it.
 * Example (x86-64): nranges == 0 ? toggle CR4.PGE : invlpg for each stride.
 */
void loam_port_tlb_flush(const struct loam_tlb_range *ranges, size_t nranges);

/**
 * loam_port_pte_sync() - make page-table writes of this CPU visible to every table walker, before a new mapping is used.
 * Example: x86-64 nothing; AArch64 dsb ishst, isb; RISC-V fence w,w and sfence.vma where the CPU caches invalid entries.
 */
#ifndef LOAM_PORT_INLINES_PTE_SYNC
void loam_port_pte_sync(void);
#endif

/* ---- tier 3: optional; the library holds weak defaults ------------------------------------------------------------------ */

/**
 * loam_port_pin() - keep the caller on its CPU for a few dozen instructions and say which it is.
 * Default: masks interrupts, which is always right. A kernel with a preemption count raises that; one that never preempts kernel
 * code just returns its CPU number. Interrupts may come while pinned: Loam's fast paths expect it.
 * Example: preempt_disable(); return (struct loam_pin){.cpu = this_cpu()->index};   The CPU is read after it can no longer change.
 */
#ifndef LOAM_PORT_INLINES_PIN
struct loam_pin loam_port_pin(void);
#endif

/**
 * loam_port_unpin() - undo loam_port_pin(). Pins nest.
 * Example: preempt_enable();
 */
#ifndef LOAM_PORT_INLINES_UNPIN
void loam_port_unpin(struct loam_pin pin);
#endif

/**
 * loam_port_context() - task, interrupt or NMI. Default: LOAM_CONTEXT_TASK. Asked in debug builds to check contracts, and by what must not wait.
 * Example: return this_cpu()->interrupt_depth > 0 ? LOAM_CONTEXT_INTERRUPT : LOAM_CONTEXT_TASK;
 */
enum loam_context loam_port_context(void);

/**
 * loam_port_task() - fill *@task for the running task without waiting; all zeros when it cannot be told. Default: zeros.
 * Example: struct thread *t = this_cpu()->current; *task = (struct loam_task){.task = t->id, .pid = t->process->pid, .tid = t->tid};
 */
void loam_port_task(struct loam_task *task);

/**
 * loam_port_time() - nanoseconds since some fixed moment, never going back. Default: 0 for ever, which turns ageing off.
 * Example (x86-64, TSC of 2.5 GHz): return rdtsc() * 2 / 5;
 */
uint64_t loam_port_time(void);

/**
 * loam_port_random() - 64 unpredictable bits, for the hardened profile. Default: a weak mix of addresses and time.
 * Example: rdrand, or the kernel's own generator if it can be asked without waiting.
 */
uint64_t loam_port_random(void);

/* ---- for a kernel that tests itself --------------------------------------------------------------------------------------- */

/* What can be had or not. */
enum loam_fail_kind {
	LOAM_FAIL_FRAME = 0, /* a frame or a run of frames */
	LOAM_FAIL_METADATA,  /* a frame for bookkeeping */
	LOAM_FAIL_TABLE,     /* a page-table frame */
	LOAM_FAIL_RANGE,     /* a range of address space */
};

/**
 * loam_port_fail() - whether what Loam is about to take shall be treated as not to be had. Asked only by a library built with -Dfailures=true
 * (LOAM_FAILURES), right before it takes something, so that a kernel sees what its own code makes of it. Default: false.
 * Example: return fault_injection_armed && random() % 64 == 0;
 */
bool loam_port_fail(enum loam_fail_kind kind);

#ifdef __cplusplus
}
#endif
#endif
