/* kernel/arch/aarch64/intc.c: GICv3: a distributor for all, a redistributor and system registers for each CPU. IPIs are software-generated
 * interrupts, numbered as enum arch_ipi is.
 */
#include "../../common/cpu.h"

/* QEMU virt's: distributor at the start, redistributors from 0xa0000 on, 128 KiB each. */
#define WINDOW UINT64_C(0x08000000)
#define WINDOW_NBYTES 0x1000000U
#define REDISTRIBUTORS 0xa0000U
#define REDISTRIBUTOR_NBYTES 0x20000U
#define SGI_FRAME 0x10000U

#define GICD_CTLR 0x0
#define GICD_ARE_GROUP1 0x12U
#define GICR_TYPER 0x8
#define GICR_TYPER_LAST (UINT64_C(1) << 4)
#define GICR_WAKER 0x14
#define GICR_SLEEP 0x2U
#define GICR_ASLEEP 0x4U
#define GICR_IGROUPR0 0x80
#define GICR_ISENABLER0 0x100

static char *window;

static volatile uint32_t *reg32(char *base, unsigned int offset)
{
	return (volatile uint32_t *)(uintptr_t)(base + offset);
}

loam_paddr arch_intc_window(size_t *nbytes)
{
	*nbytes = WINDOW_NBYTES;
	return WINDOW;
}

void arch_intc_init(void *registers)
{
	window = registers;
	*reg32(window, GICD_CTLR) = GICD_ARE_GROUP1;
}

/* The one whose affinity is this CPU's. */
static char *redistributor(void)
{
	uint64_t mpidr = ARM_READ("mpidr_el1") & ARM_MPIDR_AFFINITY;
	uint32_t affinity = (uint32_t)(mpidr | (mpidr >> 8 & 0xff000000));
	char *at = window + REDISTRIBUTORS;

	for (;;) {
		uint64_t type = *reg32(at, GICR_TYPER) | (uint64_t)*reg32(at, GICR_TYPER + 4) << 32;

		if (type >> 32 == affinity || (type & GICR_TYPER_LAST) != 0)
			return at;
		at += REDISTRIBUTOR_NBYTES;
	}
}

void arch_intc_cpu_init(void)
{
	char *own = redistributor();

	*reg32(own, GICR_WAKER) &= ~GICR_SLEEP;
	while ((*reg32(own, GICR_WAKER) & GICR_ASLEEP) != 0)
		arch_pause();
	*reg32(own, SGI_FRAME + GICR_IGROUPR0) = UINT32_MAX;
	*reg32(own, SGI_FRAME + GICR_ISENABLER0) = 0xffffU | 1U << ARM_TIMER;
	ARM_WRITE("s3_0_c12_c12_5", ARM_READ("s3_0_c12_c12_5") | 1); /* ICC_SRE_EL1: by system registers */
	arm_isb();
	ARM_WRITE("s3_0_c4_c6_0", 0xff); /* ICC_PMR_EL1: all priorities */
	ARM_WRITE("s3_0_c12_c12_7", 1);  /* ICC_IGRPEN1_EL1 */
	arm_isb();
}

void arch_ipi_send(unsigned int cpu, enum arch_ipi ipi)
{
	uint64_t id = cpus[cpu].hardware_id;

	/* ICC_SGI1R_EL1: affinity 3, 2, 1, the number, and one bit for affinity 0. */
	__asm__ volatile("dsb ishst" : : : "memory");
	ARM_WRITE("s3_0_c12_c11_5",
		  (id >> 16 & 0xff) << 32 | (uint64_t)ipi << 24 | (id >> 8 & 0xff) << 16 | UINT64_C(1) << (id & 0xf));
	arm_isb();
}

uint32_t arm_intc_acknowledge(void)
{
	uint32_t interrupt = (uint32_t)ARM_READ("s3_0_c12_c12_0"); /* ICC_IAR1_EL1 */

	__asm__ volatile("dsb sy" : : : "memory");
	return interrupt & 0xffffff;
}

void arm_intc_end(uint32_t interrupt)
{
	ARM_WRITE("s3_0_c12_c12_1", interrupt); /* ICC_EOIR1_EL1 */
	arm_isb();
}
