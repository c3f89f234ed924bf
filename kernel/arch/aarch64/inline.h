/* kernel/arch/aarch64/inline.h: what must cost nothing.
 *
 * Also for what <loam/port.h> inlines (kernel/common/port_inline.h) into Loam's fast paths (LOAM_PORT_INLINE): there it is included in the middle of that header, once
 * struct loam_pin is known.
 */
#ifndef KERNEL_AARCH64_INLINE_H
#define KERNEL_AARCH64_INLINE_H

#include <stdbool.h>
#include <stdint.h>

#define ARCH_NAME "aarch64"

/* A frame pointer points to the next one, beside the return address. */
#define ARCH_FRAME_NEXT 0
#define ARCH_FRAME_RETURN 8
/* Made by vectors.S for a trap, it is followed by the trap\'s registers. */
#define ARCH_FRAME_TRAP 16

struct cpu;

/* TPIDR_EL1 holds this CPU's struct cpu (kernel/common/cpu.h), SP_EL0 its number: nothing runs in EL0, and each exception level has its own stack pointer. */
static inline struct cpu *arch_this_cpu(void)
{
	struct cpu *cpu;
	__asm__ volatile("mrs %0, tpidr_el1" : "=r"(cpu));
	return cpu;
}

static inline unsigned int arch_cpu_index(void)
{
	unsigned long index;
	__asm__ volatile("mrs %0, sp_el0" : "=r"(index));
	if (index > 0xffffffff)
		__builtin_unreachable(); /* so that nobody clears the upper half again */
	return (unsigned int)index;
}

#define ARCH_DAIF_I 0x80UL

static inline unsigned long arch_irq_save(void)
{
	unsigned long daif;
	__asm__ volatile("mrs %0, daif\n\tmsr daifset, #2" : "=r"(daif) : : "memory");
	return daif;
}

static inline void arch_irq_restore(unsigned long daif)
{
	__asm__ volatile("msr daif, %0" : : "r"(daif) : "memory");
}

static inline bool arch_irq_enabled(void)
{
	unsigned long daif;
	__asm__ volatile("mrs %0, daif" : "=r"(daif));
	return (daif & ARCH_DAIF_I) == 0;
}

static inline void arch_irq_enable(void)
{
	__asm__ volatile("msr daifclr, #2" : : : "memory");
}

static inline void arch_irq_disable(void)
{
	__asm__ volatile("msr daifset, #2" : : : "memory");
}

static inline void arch_pause(void)
{
	__asm__ volatile("yield" : : : "memory");
}

/* WFI ends at an interrupt that is masked too, so nothing can come between looking for work and sleeping. */
static inline void arch_wait(void)
{
	__asm__ volatile("dsb sy\n\twfi\n\tmsr daifclr, #2\n\tisb" : : : "memory");
}

static inline uint64_t arch_cycles(void)
{
	uint64_t count;
	__asm__ volatile("isb\n\tmrs %0, cntvct_el0" : "=r"(count));
	return count;
}

static inline uint64_t arch_instructions(void)
{
	uint64_t count;
	__asm__ volatile("isb\n\tmrs %0, pmccntr_el0" : "=r"(count));
	return count;
}

static inline void arch_pte_sync(void)
{
	__asm__ volatile("dsb ishst\n\tisb" : : : "memory");
}

#ifdef LOAM_PORT_INLINE
#include <port_inline.h>
#endif

#endif
