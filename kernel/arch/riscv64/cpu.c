/* kernel/arch/riscv64/cpu.c: what belongs to one CPU. */
#include "../../common/cpu.h"

#define AT(field) (offsetof(struct cpu, arch) + offsetof(struct arch_cpu, field))
_Static_assert(AT(trap_stack) == RISCV_CPU_TRAP_STACK && AT(t0) == RISCV_CPU_T0 && AT(t1) == RISCV_CPU_T1 &&
		       AT(epc) == RISCV_CPU_EPC && AT(cause) == RISCV_CPU_CAUSE && AT(tval) == RISCV_CPU_TVAL &&
		       AT(status) == RISCV_CPU_STATUS && AT(entering) == RISCV_CPU_ENTERING,
	       "vectors.S keeps what a trap was there");

extern const char riscv_vectors[];

void arch_cpu_load(struct cpu *cpu)
{
	cpu->self = cpu;
	__asm__ volatile("mv tp, %0" : : "r"(cpu) : "memory");
	RISCV_WRITE("stvec", (uintptr_t)riscv_vectors);
}
