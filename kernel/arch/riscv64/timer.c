/* kernel/arch/riscv64/timer.c: the time counter all CPUs share, and the SBI's timer for the tick. */
#include "../arch.h"
#include "regs.h"

#define SIE_TIMER (1UL << 5)

static uint64_t cycles_start;
static uint64_t nanoseconds_scaled; /* per cycle, times 2^20, below 2^31 from 1 MHz on; 0: not ready yet */
static uint64_t cycles_per_tick;    /* one timer per CPU, but one rate for all */

void arch_timer_init(void)
{
	cycles_start = arch_cycles();
	nanoseconds_scaled = (UINT64_C(1000000000) << 20) / riscv_time_hz();
}

/* cycles * scale / 2^20 without a product of 128 bits: the two halves of cycles apart. */
uint64_t arch_time(void)
{
	uint64_t cycles = arch_cycles() - cycles_start;

	if (nanoseconds_scaled == 0)
		return 0;
	return ((cycles >> 32) * nanoseconds_scaled << 12) + ((cycles & UINT32_MAX) * nanoseconds_scaled >> 20);
}

void riscv_timer_again(void)
{
	(void)riscv_sbi(SBI_TIME, 0, arch_cycles() + cycles_per_tick, 0, 0, 0);
}

void arch_timer_start(unsigned int hz)
{
	if (hz == 0) {
		__asm__ volatile("csrc sie, %0" : : "r"(SIE_TIMER) : "memory");
		return;
	}
	cycles_per_tick = riscv_time_hz() / hz;
	riscv_timer_again();
	__asm__ volatile("csrs sie, %0" : : "r"(SIE_TIMER) : "memory");
}

/* OpenSBI lets all counters run and be read. */
void arch_instructions_init(void)
{
}
