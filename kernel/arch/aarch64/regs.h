/* kernel/arch/aarch64/regs.h: a CPU's own state, and the instructions C has no word for. */
#ifndef KERNEL_AARCH64_REGS_H
#define KERNEL_AARCH64_REGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Inside each struct cpu. The common kernel fills in the trap stack and looks at nothing else. */
#define ARCH_TRAP_STACKS 1
struct arch_cpu {
	void *trap_stack[ARCH_TRAP_STACKS]; /* its end (exclusive): for a trap that finds its stack used up */
	uint32_t gic_bit;                   /* what names this CPU to a GICv2 */
};

/* Which of the sixteen vectors; vectors.S adds this where the trap came with its stack used up. */
#define ARM_VECTOR_SYNC 4
#define ARM_VECTOR_IRQ 5
#define ARM_VECTOR_OVERFLOW 0x100

/* What vectors.S stores, lowest address first. */
struct arch_frame {
	uint64_t x[31];
	uint64_t sp, elr, spsr, esr, far, vector, unused;
};
_Static_assert(sizeof(struct arch_frame) == 38 * 8, "vectors.S stores 38 words");

/* Interrupt numbers: the software-generated ones are 0 to 15. */
enum arm_interrupt {
	ARM_TIMER = 27,      /* the virtual timer's private interrupt */
	ARM_SPURIOUS = 1020, /* this and up */
};

#define ARM_READ(name)                                                                                                 \
	(__extension__({                                                                                               \
		uint64_t arm_value;                                                                                    \
		__asm__ volatile("mrs %0, " name : "=r"(arm_value));                                                   \
		arm_value;                                                                                             \
	}))
#define ARM_WRITE(name, value) __asm__ volatile("msr " name ", %0" : : "r"((uint64_t)(value)) : "memory")

static inline void arm_isb(void)
{
	__asm__ volatile("isb" : : : "memory");
}

/* Affinity: what names a CPU to PSCI and to the interrupt controller. */
#define ARM_MPIDR_AFFINITY UINT64_C(0xff00ffffff)

/* firmware.c: the interrupt controller, as the device tree has it. Windows: the distributor, the redistributors (3) or the CPU's interface (2). */
struct arm_gic {
	unsigned int version;
	uint64_t base[2], nbytes[2];
};
extern struct arm_gic arm_gic;

/** arm_intc_acknowledge() - the number of the interrupt that waits, and *@token for arm_intc_end(). */
uint32_t arm_intc_acknowledge(uint32_t *token);
void arm_intc_end(uint32_t token);
void arm_timer_hold(void);
void arm_timer_again(void);
/* firmware.c; smp.c */
extern bool arm_psci_by_smc;
int64_t arm_psci(uint64_t function, uint64_t a, uint64_t b, uint64_t c);

#endif
