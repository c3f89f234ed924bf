/* kernel/arch/x86_64/timer.c: the tick from the local APIC, the clock from the time-stamp counter. Both are measured once against the
 * 8254, whose rate every PC shares.
 */
#include "../arch.h"
#include "apic.h"
#include "regs.h"

#define PIT_HZ 1193182UL
#define PIT_CHANNEL2 0x42
#define PIT_COMMAND 0x43
#define SPEAKER 0x61
#define SPEAKER_GATE 0x01
#define SPEAKER_DATA 0x02
#define SPEAKER_OUT 0x20
#define MEASURE_HZ 50UL

static uint64_t cycles_start;
static uint64_t nanoseconds_scaled; /* per cycle, times 2^32; 0: not measured yet */
static uint64_t apic_hz;            /* after division by 16 */
static uint32_t counts_per_tick;    /* one timer per CPU, but one rate for all */

/* Count channel 2 down once, 1 / MEASURE_HZ seconds. */
static void wait_measure(void)
{
	uint16_t count = (uint16_t)(PIT_HZ / MEASURE_HZ);

	x86_out8(SPEAKER, (uint8_t)((x86_in8(SPEAKER) & ~SPEAKER_DATA) | SPEAKER_GATE));
	x86_out8(PIT_COMMAND, 0xb0); /* channel 2, both bytes, mode 0 */
	x86_out8(PIT_CHANNEL2, (uint8_t)count);
	x86_out8(PIT_CHANNEL2, (uint8_t)(count >> 8));
	while ((x86_in8(SPEAKER) & SPEAKER_OUT) == 0)
		arch_pause();
}

void arch_timer_init(void)
{
	x86_apic_write(X86_APIC_TIMER_DIVIDE, X86_APIC_DIVIDE_BY_16);
	x86_apic_write(X86_APIC_TIMER_INITIAL, UINT32_MAX);

	uint64_t start = arch_cycles();
	wait_measure();
	uint64_t cycles = arch_cycles() - start;
	uint32_t counted = UINT32_MAX - x86_apic_read(X86_APIC_TIMER_COUNT);

	x86_apic_write(X86_APIC_TIMER_INITIAL, 0);
	apic_hz = counted * MEASURE_HZ;
	cycles_start = start;
	nanoseconds_scaled = (1000000000UL << 32) / (cycles * MEASURE_HZ);
}

/* cycles * scale / 2^32 without a product of 128 bits: the two halves of cycles apart. */
uint64_t arch_time(void)
{
	uint64_t cycles = arch_cycles() - cycles_start;

	if (nanoseconds_scaled == 0 || (int64_t)cycles < 0)
		return 0;
	return (cycles >> 32) * nanoseconds_scaled + ((cycles & UINT32_MAX) * nanoseconds_scaled >> 32);
}

void x86_timer_again(void)
{
	x86_apic_write(X86_APIC_TIMER_INITIAL, counts_per_tick);
}

void arch_timer_start(unsigned int hz)
{
	if (hz == 0) {
		x86_apic_write(X86_APIC_TIMER, X86_APIC_MASKED);
		x86_apic_write(X86_APIC_TIMER_INITIAL, 0);
		return;
	}
	uint64_t count = apic_hz / hz;
	x86_apic_write(X86_APIC_TIMER_DIVIDE, X86_APIC_DIVIDE_BY_16);
	x86_apic_write(X86_APIC_TIMER, X86_APIC_ONCE | X86_VECTOR_TIMER);
	counts_per_tick = count == 0 ? 1 : count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
	x86_timer_again();
}

/* The time-stamp counter always runs. */
void arch_instructions_init(void)
{
}
