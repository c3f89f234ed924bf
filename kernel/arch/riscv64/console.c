/* kernel/arch/riscv64/console.c: a 16550, polled. QEMU's virt has it at a fixed place. */
#include "../arch.h"
#include "regs.h"

#define UART UINT64_C(0x10000000)

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
	return (volatile uint8_t *)(uintptr_t)(ARCH_DEVICE_MAP + UART + offset);
}

/* The second is power.c's. */
loam_paddr arch_device_page(unsigned int index)
{
	static const loam_paddr pages[] = {UART, 0x100000};

	return index < sizeof(pages) / sizeof(pages[0]) ? pages[index] : LOAM_PADDR_NONE;
}

void arch_console_init(void)
{
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
