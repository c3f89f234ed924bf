/* kernel/arch/riscv64/regs.h: a CPU's own state, control registers, and calls to the SBI. */
#ifndef KERNEL_RISCV64_REGS_H
#define KERNEL_RISCV64_REGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Inside each struct cpu. The common kernel fills in the trap stack and looks at nothing else. */
#define ARCH_TRAP_STACKS 1
struct arch_cpu {
	void *trap_stack[ARCH_TRAP_STACKS]; /* its end (exclusive): for a trap that finds its stack used up */
	/* vectors.S's, while a trap is entered. */
	uint64_t t0, t1, epc, cause, tval, status;
	uint32_t entering;
	uint32_t pending; /* atomic: a bit per enum arch_ipi that was sent; the hardware has one interrupt for all */
};

/* What vectors.S stores, lowest address first: x0's place holds the program counter. */
struct arch_frame {
	uint64_t epc;
	uint64_t x[31]; /* x1 .. x31 */
	uint64_t status, cause, tval;
	uint64_t overflow; /* the stack it interrupted was used up */
};
_Static_assert(sizeof(struct arch_frame) == 36 * 8, "vectors.S stores 36 words");

#define RISCV_CAUSE_INTERRUPT (UINT64_C(1) << 63)

#define RISCV_READ(name)                                                                                               \
	(__extension__({                                                                                               \
		uint64_t riscv_value;                                                                                  \
		__asm__ volatile("csrr %0, " name : "=r"(riscv_value));                                                \
		riscv_value;                                                                                           \
	}))
#define RISCV_WRITE(name, value) __asm__ volatile("csrw " name ", %0" : : "r"((uint64_t)(value)) : "memory")

/* SBI extensions: "TIME", "sPI", "RFNC", "HSM", "SRST". */
#define SBI_TIME 0x54494d45UL
#define SBI_IPI 0x735049UL
#define SBI_FENCE 0x52464e43UL
#define SBI_FENCE_VMA 1
#define SBI_HART 0x48534dUL
#define SBI_RESET 0x53525354UL

static inline int64_t riscv_sbi(uint64_t extension, uint64_t function, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	register uint64_t a0 __asm__("a0") = a;
	register uint64_t a1 __asm__("a1") = b;
	register uint64_t a2 __asm__("a2") = c;
	register uint64_t a3 __asm__("a3") = d;
	register uint64_t a6 __asm__("a6") = function;
	register uint64_t a7 __asm__("a7") = extension;

	__asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a3), "r"(a6), "r"(a7) : "memory");
	return (int64_t)a0;
}

/* The software interrupt, in SIE and SIP. */
#define RISCV_SOFTWARE (1UL << 1)

/* firmware.c: ticks of the time counter a second. */
uint64_t riscv_time_hz(void);
/* mmu.c: entry.S's tables are in force; then the widest mode up to @widest; then what the device tree says of the CPUs. */
void riscv_mmu_begin(void);
void riscv_mmu_widen(unsigned int widest);
void riscv_mmu_features(bool remote_fence);
/* power.c: where the device tree has the test device */
uint64_t riscv_power_page(void);
/* timer.c */
void riscv_timer_again(void);

#endif
