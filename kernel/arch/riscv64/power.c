/* kernel/arch/riscv64/power.c: the end, by QEMU's test device, which gives an exit status; or by the SBI. */
#include "../../common/devicetree.h"
#include "regs.h"

#define TEST_FAIL 0x3333U

/* The same statuses as on x86-64: not 0, which a machine that is merely switched off has too. */
#define EXIT_SUCCESS 33U
#define EXIT_FAILURE 35U

static loam_paddr test_device = LOAM_PADDR_NONE;

loam_paddr riscv_power_page(void)
{
	uint64_t nbytes;

	if (!devicetree_device("sifive,test0", 0, &test_device, &nbytes) || test_device % LOAM_PAGE_SIZE != 0 ||
	    test_device >= ARCH_BOOT_MAP_NBYTES)
		test_device = LOAM_PADDR_NONE;
	return test_device;
}

void arch_power_off(bool success)
{
	(void)arch_irq_save();
	arch_console_drain();
	if (test_device != LOAM_PADDR_NONE)
		*(volatile uint32_t *)(uintptr_t)(ARCH_DEVICE_MAP + test_device) =
			(success ? EXIT_SUCCESS : EXIT_FAILURE) << 16 | TEST_FAIL;
	(void)riscv_sbi(SBI_RESET, 0, 0, success ? 0 : 1, 0, 0);
	arch_halt();
}

void arch_halt(void)
{
	for (;;)
		__asm__ volatile("csrci sstatus, 2\n\tcsrw sie, zero\n\twfi" : : : "memory");
}
