/* kernel/arch/riscv64/console.c: a 16550, polled: the device tree's first. Without a tree it is looked for where QEMU's virt has it, to say so. */
#include "../../common/devicetree.h"
#include "regs.h"

static loam_paddr uart = 0x10000000;

enum {
	DATA = 0,
	INTERRUPTS = 1,
	FIFO = 2,
	LINE = 3,
	STATUS = 5,
};

#define LINE_8N1 0x03
#define STATUS_RECEIVED 0x01
#define STATUS_SENT 0x20
#define STATUS_DRAINED 0x40

static volatile uint8_t *reg(unsigned int offset)
{
	return (volatile uint8_t *)(uintptr_t)(ARCH_DEVICE_MAP + uart + offset);
}

loam_paddr arch_device_page(unsigned int index)
{
	return index == 0 ? uart : index == 1 ? riscv_power_page() : LOAM_PADDR_NONE;
}

void arch_console_init(void)
{
	loam_paddr base;
	uint64_t nbytes;

	if (devicetree_device("ns16550a", 0, &base, &nbytes) && base < ARCH_BOOT_MAP_NBYTES &&
	    base % LOAM_PAGE_SIZE == 0)
		uart = base;
	*reg(INTERRUPTS) = 0;
	*reg(LINE) = LINE_8N1;
	*reg(FIFO) = 0x07; /* on, both emptied */
}

static void put(char byte)
{
	while ((*reg(STATUS) & STATUS_SENT) == 0)
		arch_pause();
	*reg(DATA) = (uint8_t)byte;
}

void arch_console_put(const char *text, size_t nbytes)
{
	for (size_t i = 0; i < nbytes; i++) {
		if (text[i] == '\n')
			put('\r');
		put(text[i]);
	}
}

void arch_console_drain(void)
{
	for (unsigned int i = 0; i < 100000 && (*reg(STATUS) & STATUS_DRAINED) == 0; i++)
		arch_pause();
}

int arch_console_get(void)
{
	if ((*reg(STATUS) & STATUS_RECEIVED) == 0)
		return -1;
	return *reg(DATA);
}
