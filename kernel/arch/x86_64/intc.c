/* kernel/arch/x86_64/intc.c: the local APIC, through x2APIC registers where the firmware chose them or the CPU has them, else through its
 * page. The two 8259s are moved out of the CPU's vectors and masked.
 */
#include "../../common/cpu.h"
#include "apic.h"

#define PIC1 0x20
#define PIC2 0xa0

#define APIC_BASE_X2 (1UL << 10)
#define APIC_BASE_ON (1UL << 11)
#define APIC_BASE_ADDRESS 0xffffff000UL

#define SPURIOUS_ON 0x100U
#define COMMAND_PENDING (1U << 12)
#define COMMAND_ASSERT (1U << 14)

static volatile uint32_t *page; /* NULL: x2APIC */

static const uint8_t ipi_vector[ARCH_IPI_COUNT] = {
	[ARCH_IPI_FLUSH] = X86_VECTOR_FLUSH,
	[ARCH_IPI_CALL] = X86_VECTOR_CALL,
	[ARCH_IPI_WAKE] = X86_VECTOR_WAKE,
};

static bool has_x2apic(void)
{
	return (x86_cpuid(1).ecx & 1U << 21) != 0;
}

uint32_t x86_apic_read(enum x86_apic_register reg)
{
	if (page == NULL)
		return (uint32_t)x86_rdmsr(X86_MSR_X2APIC + (uint32_t)reg);
	return page[(unsigned int)reg * 4];
}

void x86_apic_write(enum x86_apic_register reg, uint32_t value)
{
	if (page == NULL)
		x86_wrmsr(X86_MSR_X2APIC + (uint32_t)reg, value);
	else
		page[(unsigned int)reg * 4] = value;
}

void x86_apic_command(uint32_t target, uint32_t command)
{
	unsigned long flags = arch_irq_save(); /* the two halves are one command */

	if (page == NULL) {
		__asm__ volatile("mfence" : : : "memory"); /* an MSR write does not wait for stores; an IPI must */
		x86_wrmsr(X86_MSR_X2APIC + X86_APIC_COMMAND, (uint64_t)target << 32 | command | COMMAND_ASSERT);
	} else {
		while (x86_apic_read(X86_APIC_COMMAND) & COMMAND_PENDING)
			arch_pause();
		x86_apic_write(X86_APIC_COMMAND_TARGET, target << 24);
		x86_apic_write(X86_APIC_COMMAND, command | COMMAND_ASSERT);
	}
	arch_irq_restore(flags);
}

void arch_ipi_send(unsigned int cpu, enum arch_ipi ipi)
{
	uint32_t command = ipi == ARCH_IPI_STOP ? X86_APIC_NMI : ipi_vector[ipi];

	x86_apic_command(cpus[cpu].hardware_id, command);
}

loam_paddr arch_intc_window(unsigned int index, size_t *nbytes)
{
	*nbytes = LOAM_PAGE_SIZE;
	if (index > 0 || has_x2apic())
		return LOAM_PADDR_NONE;
	return x86_rdmsr(X86_MSR_APIC_BASE) & APIC_BASE_ADDRESS;
}

/* Reprogram an 8259: vectors from @first on, cascade as on every PC, 8086 mode, all masked. */
static void pic_mask(uint16_t port, uint8_t first, uint8_t cascade)
{
	x86_out8(port, 0x11);
	x86_out8((uint16_t)(port + 1), first);
	x86_out8((uint16_t)(port + 1), cascade);
	x86_out8((uint16_t)(port + 1), 0x01);
	x86_out8((uint16_t)(port + 1), 0xff);
}

void arch_intc_init(void *const registers[ARCH_INTC_WINDOWS_MAX])
{
	pic_mask(PIC1, X86_VECTOR_PIC, 1 << 2);
	pic_mask(PIC2, X86_VECTOR_PIC + 8, 2);
	page = registers[0];
}

void arch_intc_cpu_init(void)
{
	uint64_t base = x86_rdmsr(X86_MSR_APIC_BASE) | APIC_BASE_ON;

	if (page == NULL)
		base |= APIC_BASE_X2;
	x86_wrmsr(X86_MSR_APIC_BASE, base);
	x86_apic_write(X86_APIC_PRIORITY, 0);
	x86_apic_write(X86_APIC_TIMER, X86_APIC_MASKED);
	x86_apic_write(X86_APIC_SPURIOUS, SPURIOUS_ON | X86_VECTOR_SPURIOUS);
}
