/* kernel/arch/aarch64/cpu.c: what belongs to one CPU. */
#include "../../common/cpu.h"
#include "../../common/console.h"

_Static_assert(offsetof(struct cpu, arch) + offsetof(struct arch_cpu, trap_stack) == ARM_CPU_TRAP_STACK,
	       "vectors.S looks for the trap stack there");

extern const char arm_vectors[];

void arch_cpu_load(struct cpu *cpu)
{
	cpu->self = cpu;
	ARM_WRITE("tpidr_el1", (uintptr_t)cpu);
	ARM_WRITE("sp_el0", cpu->index);
	ARM_WRITE("vbar_el1", (uintptr_t)arm_vectors);
	arm_isb();
	__asm__ volatile("msr daifclr, #4" : : : "memory"); /* errors of the memory system are reported */
}

const char *arch_cpu_name(void)
{
	static const struct {
		uint32_t part;
		const char *name;
	} parts[] = {
		{0xd03, "Cortex-A53"}, {0xd07, "Cortex-A57"},  {0xd08, "Cortex-A72"},
		{0xd0b, "Cortex-A76"}, {0xd0c, "Neoverse N1"}, {0x051, "QEMU's best"},
	};
	uint64_t midr = ARM_READ("midr_el1");

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if ((midr >> 4 & 0xfff) == parts[i].part)
			return parts[i].name;
	return "an Arm CPU";
}
