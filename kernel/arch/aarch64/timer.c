/* kernel/arch/aarch64/timer.c: the generic timer: a counter all CPUs share, and each CPU's virtual timer for the tick. */
#include "../arch.h"
#include "regs.h"

#define PMCR_ENABLE UINT64_C(1)
#define PMCR_LONG (UINT64_C(1) << 6)
#define PMCNTEN_CYCLES (UINT64_C(1) << 31)

static uint64_t cycles_start;
static uint64_t nanoseconds_scaled; /* per cycle, times 2^20, below 2^31 from 1 MHz on; 0: not ready yet */

/* One timer per CPU, but one rate for all. */
static uint64_t cycles_per_tick;

void arch_timer_init(void)
{
	cycles_start = arch_cycles();
	nanoseconds_scaled = (UINT64_C(1000000000) << 20) / ARM_READ("cntfrq_el0");
}

/* cycles * scale / 2^20 without a product of 128 bits: the two halves of cycles apart. */
uint64_t arch_time(void)
{
	uint64_t cycles = arch_cycles() - cycles_start;

	if (nanoseconds_scaled == 0)
		return 0;
	return ((cycles >> 32) * nanoseconds_scaled << 12) + ((cycles & UINT32_MAX) * nanoseconds_scaled >> 20);
}

/* Its line is a level: it must be low before the interrupt is ended. */
void arm_timer_hold(void)
{
	ARM_WRITE("cntv_ctl_el0", 0);
	arm_isb();
}

void arm_timer_again(void)
{
	ARM_WRITE("cntv_tval_el0", cycles_per_tick);
	ARM_WRITE("cntv_ctl_el0", 1);
	arm_isb();
}

void arch_timer_start(unsigned int hz)
{
	if (hz == 0) {
		arm_timer_hold();
		return;
	}
	cycles_per_tick = ARM_READ("cntfrq_el0") / hz;
	arm_timer_again();
}

/* The cycle counter of the performance monitor: 64 bits wide, on, in all modes. */
void arch_instructions_init(void)
{
	ARM_WRITE("pmccfiltr_el0", 0);
	ARM_WRITE("pmcr_el0", ARM_READ("pmcr_el0") | PMCR_ENABLE | PMCR_LONG);
	ARM_WRITE("pmcntenset_el0", PMCNTEN_CYCLES);
	arm_isb();
}
