/* kernel/arch/x86_64/apic.h: the local APIC's registers, for timer.c and smp.c. */
#ifndef KERNEL_X86_64_APIC_H
#define KERNEL_X86_64_APIC_H

#include <stdint.h>

/* Numbers as in x2APIC mode; in the page they stand 16 bytes apart. */
enum x86_apic_register {
	X86_APIC_ID = 0x02,
	X86_APIC_PRIORITY = 0x08,
	X86_APIC_END = 0x0b,
	X86_APIC_SPURIOUS = 0x0f,
	X86_APIC_COMMAND = 0x30,
	X86_APIC_COMMAND_TARGET = 0x31, /* the page only; in x2APIC mode the command has 64 bits */
	X86_APIC_TIMER = 0x32,
	X86_APIC_TIMER_INITIAL = 0x38,
	X86_APIC_TIMER_COUNT = 0x39,
	X86_APIC_TIMER_DIVIDE = 0x3e,
};

#define X86_APIC_MASKED (1U << 16)
#define X86_APIC_ONCE 0U
#define X86_APIC_DIVIDE_BY_16 3U

/* Commands: a vector, or one of these. */
#define X86_APIC_NMI (4U << 8)
#define X86_APIC_INIT (5U << 8)
#define X86_APIC_START(page) (6U << 8 | (uint32_t)(page))

uint32_t x86_apic_read(enum x86_apic_register reg);
void x86_apic_write(enum x86_apic_register reg, uint32_t value);
void x86_apic_command(uint32_t target, uint32_t command);

/* timer.c: the next tick, from the end of the last one's handler. */
void x86_timer_again(void);

#endif
