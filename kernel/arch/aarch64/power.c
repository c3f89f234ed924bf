/* kernel/arch/aarch64/power.c: the end, by semihosting, which gives QEMU an exit status; or by PSCI. */
#include "../arch.h"
#include "regs.h"

/* The same statuses as on x86-64: not 0, which a machine that is merely switched off has too. */
#define EXIT_SUCCESS 33
#define EXIT_FAILURE 35

#define SEMIHOSTING_EXIT 0x18
#define STOPPED_APPLICATION_EXIT 0x20026
#define PSCI_SYSTEM_OFF UINT64_C(0x84000008)

static void semihosting_exit(uint64_t status)
{
	const uint64_t block[2] = {STOPPED_APPLICATION_EXIT, status};
	register uint64_t x0 __asm__("x0") = SEMIHOSTING_EXIT;
	register uint64_t x1 __asm__("x1") = (uint64_t)(uintptr_t)block;

	__asm__ volatile("hlt #0xf000" : "+r"(x0) : "r"(x1) : "memory");
}

void arch_power_off(bool success)
{
	(void)arch_irq_save();
	arch_console_drain();
	semihosting_exit(success ? EXIT_SUCCESS : EXIT_FAILURE);
	(void)arm_psci(PSCI_SYSTEM_OFF, 0, 0, 0);
	arch_halt();
}

void arch_halt(void)
{
	for (;;)
		__asm__ volatile("msr daifset, #0xf\n\twfi" : : : "memory");
}
