/* kernel/arch/aarch64/intc.c: GICv3 (a distributor for all, a redistributor and system registers for each CPU) or GICv2 (a distributor, and one
 * window that shows each CPU its own interface), whichever the device tree names. IPIs are software-generated interrupts, numbered as enum arch_ipi
 * is.
 */
#include "../../common/cpu.h"

/* Both: the distributor. */
#define GICD_CTLR 0x0
#define GICD_ISENABLER0 0x100
#define GICD_ITARGETSR0 0x800 /* version 2 */
#define GICD_SGIR 0xf00
#define GICD_ENABLE 1U
#define GICD_ARE_GROUP1 0x12U /* version 3 */

/* Version 2: the CPU's interface. */
#define GICC_CTLR 0x0
#define GICC_PMR 0x4
#define GICC_IAR 0xc
#define GICC_EOIR 0x10
#define GICC_ENABLE 1U

/* Version 3: the redistributors. */
#define REDISTRIBUTOR_NBYTES 0x20000U
#define SGI_FRAME 0x10000U
#define GICR_TYPER 0x8
#define GICR_TYPER_LAST (UINT64_C(1) << 4)
#define GICR_WAKER 0x14
#define GICR_SLEEP 0x2U
#define GICR_ASLEEP 0x4U
#define GICR_IGROUPR0 0x80
#define GICR_ISENABLER0 0x100

#define OWN_INTERRUPTS (0xffffU | 1U << ARM_TIMER)
#define NUMBER 0x3ffU

static char *distributor;
static char *others; /* the redistributors, or the CPU's interface */

static volatile uint32_t *reg32(char *base, unsigned int offset)
{
	return (volatile uint32_t *)(uintptr_t)(base + offset);
}

loam_paddr arch_intc_window(unsigned int index, size_t *nbytes)
{
	*nbytes = (size_t)arm_gic.nbytes[index];
	return arm_gic.base[index];
}

void arch_intc_init(void *const registers[ARCH_INTC_WINDOWS_MAX])
{
	distributor = registers[0];
	others = registers[1];
	*reg32(distributor, GICD_CTLR) = arm_gic.version == 3 ? GICD_ARE_GROUP1 : GICD_ENABLE;
}

/* ---- version 3 ------------------------------------------------------------------------------------------------------------------ */

/* The one whose affinity is this CPU's. */
static char *redistributor(void)
{
	uint64_t mpidr = ARM_READ("mpidr_el1") & ARM_MPIDR_AFFINITY;
	uint32_t affinity = (uint32_t)(mpidr | (mpidr >> 8 & 0xff000000));

	for (char *at = others;; at += REDISTRIBUTOR_NBYTES) {
		uint64_t type = *reg32(at, GICR_TYPER) | (uint64_t)*reg32(at, GICR_TYPER + 4) << 32;

		if (type >> 32 == affinity || (type & GICR_TYPER_LAST) != 0)
			return at;
	}
}

static void cpu_init_3(void)
{
	char *own = redistributor();

	*reg32(own, GICR_WAKER) &= ~GICR_SLEEP;
	while ((*reg32(own, GICR_WAKER) & GICR_ASLEEP) != 0)
		arch_pause();
	*reg32(own, SGI_FRAME + GICR_IGROUPR0) = UINT32_MAX;
	*reg32(own, SGI_FRAME + GICR_ISENABLER0) = OWN_INTERRUPTS;
	ARM_WRITE("s3_0_c12_c12_5", ARM_READ("s3_0_c12_c12_5") | 1); /* ICC_SRE_EL1: by system registers */
	arm_isb();
	ARM_WRITE("s3_0_c4_c6_0", 0xff); /* ICC_PMR_EL1: all priorities */
	ARM_WRITE("s3_0_c12_c12_7", 1);  /* ICC_IGRPEN1_EL1 */
	arm_isb();
}

/* ICC_SGI1R_EL1: affinity 3, 2, 1, the number, and one bit for affinity 0. */
static void send_3(uint64_t id, enum arch_ipi ipi)
{
	ARM_WRITE("s3_0_c12_c11_5",
		  (id >> 16 & 0xff) << 32 | (uint64_t)ipi << 24 | (id >> 8 & 0xff) << 16 | UINT64_C(1) << (id & 0xf));
	arm_isb();
}

/* ---- version 2 ------------------------------------------------------------------------------------------------------------------ */

/* A CPU reads its own bit where others would read who is asked for by the first four interrupts. */
static void cpu_init_2(void)
{
	arch_this_cpu()->arch.gic_bit = *reg32(distributor, GICD_ITARGETSR0) & 0xff;
	*reg32(distributor, GICD_ISENABLER0) = OWN_INTERRUPTS;
	*reg32(others, GICC_PMR) = 0xff;
	*reg32(others, GICC_CTLR) = GICC_ENABLE;
}

/* ---- either --------------------------------------------------------------------------------------------------------------------- */

void arch_intc_cpu_init(void)
{
	if (arm_gic.version == 3)
		cpu_init_3();
	else
		cpu_init_2();
}

void arch_ipi_send(unsigned int cpu, enum arch_ipi ipi)
{
	__asm__ volatile("dsb ishst" : : : "memory");
	if (arm_gic.version == 3)
		send_3(cpus[cpu].hardware_id, ipi);
	else
		*reg32(distributor, GICD_SGIR) = cpus[cpu].arch.gic_bit << 16 | (uint32_t)ipi;
}

uint32_t arm_intc_acknowledge(uint32_t *token)
{
	*token = arm_gic.version == 3 ? (uint32_t)ARM_READ("s3_0_c12_c12_0") /* ICC_IAR1_EL1 */
				      : *reg32(others, GICC_IAR);
	__asm__ volatile("dsb sy" : : : "memory");
	return arm_gic.version == 3 ? *token & 0xffffff : *token & NUMBER;
}

void arm_intc_end(uint32_t token)
{
	if (arm_gic.version == 3)
		ARM_WRITE("s3_0_c12_c12_1", token); /* ICC_EOIR1_EL1 */
	else
		*reg32(others, GICC_EOIR) = token;
	arm_isb();
}
