/* kernel/arch/riscv64/inline.h: what must cost nothing.
 *
 * Also for what <loam/port.h> inlines (kernel/common/port_inline.h) into Loam's fast paths (LOAM_PORT_INLINE): there it is included in the middle of that header, once
 * struct loam_pin is known.
 */
#ifndef KERNEL_RISCV64_INLINE_H
#define KERNEL_RISCV64_INLINE_H

#include <stdbool.h>
#include <stdint.h>

#define ARCH_NAME "riscv64"

/* A frame pointer points past the return address, which stands above the next frame pointer. */
#define ARCH_FRAME_NEXT ((uintptr_t)-16)
#define ARCH_FRAME_RETURN ((uintptr_t)-8)
/* Made by vectors.S for a trap, it is followed by the trap\'s registers. */
#define ARCH_FRAME_TRAP 0

struct cpu;

/* TP holds this CPU's struct cpu; its first word points to itself, its second is its number (kernel/common/cpu.h). */
static inline struct cpu *arch_this_cpu(void)
{
	struct cpu *cpu;
	__asm__ volatile("mv %0, tp" : "=r"(cpu));
	return cpu;
}

static inline unsigned int arch_cpu_index(void)
{
	unsigned long index;
	__asm__ volatile("lwu %0, 8(tp)" : "=r"(index));
	if (index > 0xffffffff)
		__builtin_unreachable(); /* so that nobody clears the upper half again */
	return (unsigned int)index;
}

#define ARCH_SSTATUS_SIE 2UL

static inline unsigned long arch_irq_save(void)
{
	unsigned long status;
	__asm__ volatile("csrrci %0, sstatus, 2" : "=r"(status) : : "memory");
	return status & ARCH_SSTATUS_SIE;
}

static inline void arch_irq_restore(unsigned long status)
{
	if ((status & ARCH_SSTATUS_SIE) != 0)
		__asm__ volatile("csrsi sstatus, 2" : : : "memory");
	else
		__asm__ volatile("csrci sstatus, 2" : : : "memory");
}

static inline bool arch_irq_enabled(void)
{
	unsigned long status;
	__asm__ volatile("csrr %0, sstatus" : "=r"(status));
	return (status & ARCH_SSTATUS_SIE) != 0;
}

static inline void arch_irq_enable(void)
{
	__asm__ volatile("csrsi sstatus, 2" : : : "memory");
}

static inline void arch_irq_disable(void)
{
	__asm__ volatile("csrci sstatus, 2" : : : "memory");
}

/* intc.c: a machine that counts instructions runs its CPUs in turn, and goes on to the next one when this one sleeps: PAUSE it takes for nothing. */
extern bool riscv_pause_sleeps;
void riscv_sleep_for_a_turn(void);

/* PAUSE of Zihintpause: a FENCE with nothing to order, so a hint that older CPUs ignore. */
static inline void arch_pause(void)
{
	__asm__ volatile(".4byte 0x0100000f" : : : "memory");
	if (riscv_pause_sleeps)
		riscv_sleep_for_a_turn();
}

/* WFI ends at an interrupt that is masked too, so nothing can come between looking for work and sleeping. */
static inline void arch_wait(void)
{
	__asm__ volatile("wfi\n\tcsrsi sstatus, 2" : : : "memory");
}

static inline uint64_t arch_cycles(void)
{
	uint64_t count;
	__asm__ volatile("rdtime %0" : "=r"(count));
	return count;
}

static inline uint64_t arch_instructions(void)
{
	uint64_t count;
	__asm__ volatile("rdinstret %0" : "=r"(count));
	return count;
}

/* A CPU may remember that nothing was mapped. This one forgets it here; another one faults, and trap.c looks again. */
static inline void arch_pte_sync(void)
{
	__asm__ volatile("fence w, rw\n\tsfence.vma" : : : "memory");
}

#ifdef LOAM_PORT_INLINE
#include <port_inline.h>
#endif

#endif
