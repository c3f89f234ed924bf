/* kernel/arch/x86_64/regs.h: a CPU's own state, and the instructions C has no word for. */
#ifndef KERNEL_X86_64_REGS_H
#define KERNEL_X86_64_REGS_H

#include <stddef.h>
#include <stdint.h>

/* Segment selectors. There is no user mode: two flat segments and the task state are all. */
#define X86_CODE 0x08
#define X86_DATA 0x10
#define X86_TSS 0x18

/* Traps that must not run on the stack they interrupt: slots of the interrupt stack table, counted from 1. */
enum x86_ist {
	X86_IST_DOUBLE_FAULT = 1,
	X86_IST_NMI = 2,
	X86_IST_COUNT = 2,
};

struct x86_tss {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1;
	uint64_t ist[7];
	uint64_t reserved2;
	uint16_t reserved3;
	uint16_t io_map;
} __attribute__((packed));
_Static_assert(sizeof(struct x86_tss) == 104, "the CPU reads a task state of 104 bytes");

/* Inside each struct cpu. The common kernel fills in the trap stacks and looks at nothing else. */
struct arch_cpu {
	void *trap_stack[X86_IST_COUNT]; /* their ends (exclusive) */
	uint64_t gdt[5];
	struct x86_tss tss;
};
#define ARCH_TRAP_STACKS X86_IST_COUNT

/* Interrupt vectors above the 32 of the CPU and the 16 of the masked 8259s. */
enum x86_vector {
	X86_VECTOR_NMI = 2,
	X86_VECTOR_DOUBLE_FAULT = 8,
	X86_VECTOR_GENERAL_PROTECTION = 13,
	X86_VECTOR_PAGE_FAULT = 14,
	X86_VECTOR_PIC = 0x20,
	X86_VECTOR_TIMER = 0xf0,
	X86_VECTOR_FLUSH = 0xf1,
	X86_VECTOR_CALL = 0xf2,
	X86_VECTOR_WAKE = 0xf3,
	X86_VECTOR_SPURIOUS = 0xff,
};

/* What vectors.S pushes, lowest address first. */
struct arch_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss; /* by the CPU itself */
};
_Static_assert(sizeof(struct arch_frame) == 22 * 8, "vectors.S pushes 22 words");

/* Control and model-specific registers. */
#define X86_CR0_WP (1UL << 16)
#define X86_CR4_PGE (1UL << 7)
#define X86_MSR_APIC_BASE 0x1bU
#define X86_MSR_PAT 0x277U
#define X86_MSR_X2APIC 0x800U
#define X86_MSR_EFER 0xc0000080U
#define X86_MSR_GS_BASE 0xc0000101U
#define X86_EFER_NXE (1UL << 11)

static inline void x86_out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void x86_out16(uint16_t port, uint16_t value)
{
	__asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t x86_in8(uint16_t port)
{
	uint8_t value;
	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint64_t x86_rdmsr(uint32_t msr)
{
	uint32_t low, high;
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (uint64_t)high << 32 | low;
}

static inline void x86_wrmsr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

struct x86_cpuid {
	uint32_t eax, ebx, ecx, edx;
};

static inline struct x86_cpuid x86_cpuid(uint32_t leaf)
{
	struct x86_cpuid r;
	__asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(0));
	return r;
}

static inline uint64_t x86_read_cr2(void)
{
	uint64_t value;
	__asm__ volatile("movq %%cr2, %0" : "=r"(value));
	return value;
}

static inline uint64_t x86_read_cr3(void)
{
	uint64_t value;
	__asm__ volatile("movq %%cr3, %0" : "=r"(value));
	return value;
}

static inline void x86_write_cr3(uint64_t value)
{
	__asm__ volatile("movq %0, %%cr3" : : "r"(value) : "memory");
}

static inline uint64_t x86_read_cr4(void)
{
	uint64_t value;
	__asm__ volatile("movq %%cr4, %0" : "=r"(value));
	return value;
}

static inline void x86_write_cr4(uint64_t value)
{
	__asm__ volatile("movq %0, %%cr4" : : "r"(value) : "memory");
}

/* screen.c: text goes to a screen too: cells of character and colour at @base, or pixels of @bits in lines of @pitch bytes. */
void x86_screen_cells(uint64_t base, uint32_t columns, uint32_t rows);
void x86_screen_pixels(uint64_t base, uint32_t pitch, uint32_t width, uint32_t height, unsigned int bits);
void x86_screen_put(char byte);
/* The @index-th page of it, or LOAM_PADDR_NONE. */
uint64_t x86_screen_page(unsigned int index);

static inline void x86_invlpg(uintptr_t address)
{
	__asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}

#endif
