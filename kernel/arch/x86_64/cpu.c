/* kernel/arch/x86_64/cpu.c: descriptor tables and what else belongs to one CPU. */
#include "../../common/cpu.h"

/* A gate of the interrupt descriptor table. All are interrupt gates: they mask interrupts. */
struct gate {
	uint16_t offset_low;
	uint16_t selector;
	uint8_t ist;
	uint8_t type;
	uint16_t offset_middle;
	uint32_t offset_high;
	uint32_t reserved;
};
_Static_assert(sizeof(struct gate) == 16, "a gate is 16 bytes");
#define GATE_INTERRUPT 0x8e

struct table_pointer {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

static struct gate gates[256]; /* one for all CPUs: the trap stacks are named by slot */

extern const char x86_vectors[];
extern const uint64_t x86_boot_gdt[];

static void gates_init(void)
{
	for (unsigned int vector = 0; vector < 256; vector++) {
		uintptr_t entry = (uintptr_t)x86_vectors + 16UL * vector;

		gates[vector] = (struct gate){
			.offset_low = (uint16_t)entry,
			.selector = X86_CODE,
			.type = GATE_INTERRUPT,
			.offset_middle = (uint16_t)(entry >> 16),
			.offset_high = (uint32_t)(entry >> 32),
		};
	}
	gates[X86_VECTOR_DOUBLE_FAULT].ist = X86_IST_DOUBLE_FAULT;
	gates[X86_VECTOR_NMI].ist = X86_IST_NMI;
}

static void tss_init(struct arch_cpu *arch)
{
	arch->tss = (struct x86_tss){.io_map = sizeof(struct x86_tss)};
	for (unsigned int i = 0; i < X86_IST_COUNT; i++)
		arch->tss.ist[i] = (uint64_t)(uintptr_t)arch->trap_stack[i];
}

static void gdt_init(struct arch_cpu *arch)
{
	uint64_t base = (uint64_t)(uintptr_t)&arch->tss;

	arch->gdt[0] = 0;
	arch->gdt[X86_CODE / 8] = x86_boot_gdt[X86_CODE / 8];
	arch->gdt[X86_DATA / 8] = x86_boot_gdt[X86_DATA / 8];
	/* An available 64-bit task state: limit, base in three pieces, type 9, present; the second word has the base's top half. */
	arch->gdt[X86_TSS / 8] =
		(sizeof(struct x86_tss) - 1) | (base & 0xffffff) << 16 | 0x89UL << 40 | (base >> 24 & 0xff) << 56;
	arch->gdt[X86_TSS / 8 + 1] = base >> 32;
}

void arch_cpu_load(struct cpu *cpu)
{
	struct arch_cpu *arch = &cpu->arch;
	struct table_pointer gdt = {sizeof(arch->gdt) - 1, (uint64_t)(uintptr_t)arch->gdt};
	struct table_pointer idt = {sizeof(gates) - 1, (uint64_t)(uintptr_t)gates};

	if (gates[0].type == 0)
		gates_init();
	tss_init(arch);
	gdt_init(arch);
	cpu->self = cpu;
	/* The far return reloads CS; the others must follow, and GS's base is lost with its selector. */
	__asm__ volatile("lgdt %0\n\t"
			 "pushq %1\n\t"
			 "leaq 1f(%%rip), %%rax\n\t"
			 "pushq %%rax\n\t"
			 "lretq\n"
			 "1:\tmovl %2, %%ds\n\tmovl %2, %%es\n\tmovl %2, %%ss\n\tmovl %3, %%fs\n\tmovl %3, %%gs\n\t"
			 :
			 : "m"(gdt), "i"(X86_CODE), "r"(X86_DATA), "r"(0)
			 : "rax", "memory");
	x86_wrmsr(X86_MSR_GS_BASE, (uint64_t)(uintptr_t)cpu);
	__asm__ volatile("ltr %w0\n\tlidt %1" : : "r"(X86_TSS), "m"(idt) : "memory");
}

const char *arch_cpu_name(void)
{
	static uint32_t words[13];

	if (x86_cpuid(0x80000000).eax < 0x80000004)
		return "x86-64";
	for (uint32_t leaf = 0; leaf < 3; leaf++) {
		struct x86_cpuid r = x86_cpuid(0x80000002 + leaf);

		words[4 * leaf] = r.eax;
		words[4 * leaf + 1] = r.ebx;
		words[4 * leaf + 2] = r.ecx;
		words[4 * leaf + 3] = r.edx;
	}
	const char *name = (const char *)words;
	while (*name == ' ')
		name++;
	return name;
}
