/* kernel/arch/x86_64/inline.h: what must cost nothing.
 *
 * Also for what <loam/port.h> inlines (kernel/common/port_inline.h) into Loam's fast paths (LOAM_PORT_INLINE): there it is included in the middle of that header, once
 * struct loam_pin is known.
 */
#ifndef KERNEL_X86_64_INLINE_H
#define KERNEL_X86_64_INLINE_H

#include <stdbool.h>
#include <stdint.h>

#define ARCH_NAME "x86_64"

/* A frame pointer points to the next one, beside the return address. */
#define ARCH_FRAME_NEXT 0
#define ARCH_FRAME_RETURN 8
/* Made by vectors.S for a trap, it is followed by the trap\'s registers. */
#define ARCH_FRAME_TRAP 16

struct cpu;

/* GS holds this CPU's struct cpu; its first word points to itself, its second is its number (kernel/common/cpu.h). */
static inline struct cpu *arch_this_cpu(void)
{
	struct cpu *cpu;
	__asm__ volatile("movq %%gs:0, %0" : "=r"(cpu));
	return cpu;
}

static inline unsigned int arch_cpu_index(void)
{
	unsigned long index;
	__asm__ volatile("movl %%gs:8, %k0" : "=r"(index));
	if (index > 0xffffffff)
		__builtin_unreachable(); /* so that nobody clears the upper half again */
	return (unsigned int)index;
}

#define ARCH_RFLAGS_IF 0x200UL

static inline unsigned long arch_irq_save(void)
{
	unsigned long flags;
	__asm__ volatile("pushfq\n\tpopq %0\n\tcli" : "=r"(flags) : : "memory");
	return flags;
}

static inline void arch_irq_restore(unsigned long flags)
{
	if (flags & ARCH_RFLAGS_IF)
		__asm__ volatile("sti" : : : "memory");
	else
		__asm__ volatile("cli" : : : "memory");
}

static inline bool arch_irq_enabled(void)
{
	unsigned long flags;
	__asm__ volatile("pushfq\n\tpopq %0" : "=r"(flags));
	return (flags & ARCH_RFLAGS_IF) != 0;
}

static inline void arch_irq_enable(void)
{
	__asm__ volatile("sti" : : : "memory");
}

static inline void arch_irq_disable(void)
{
	__asm__ volatile("cli" : : : "memory");
}

static inline void arch_pause(void)
{
	__asm__ volatile("pause" : : : "memory");
}

/* STI takes effect after the next instruction, so nothing can come between it and the HLT. */
static inline void arch_wait(void)
{
	__asm__ volatile("sti\n\thlt" : : : "memory");
}

static inline uint64_t arch_cycles(void)
{
	uint32_t low, high;
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

static inline uint64_t arch_instructions(void)
{
	return arch_cycles();
}

/* Stores are seen by walkers in order, and a walk that found nothing is not remembered. */
static inline void arch_pte_sync(void)
{
	__asm__ volatile("" : : : "memory");
}

#ifdef LOAM_PORT_INLINE
#include <port_inline.h>
#endif

#endif
