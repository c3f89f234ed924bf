/* kernel/arch/aarch64/console.c: a PL011, polled: the device tree's first. Without a tree it is looked for where QEMU's virt has it, to say so. */
#include "../../common/devicetree.h"
#include "regs.h"

static loam_paddr pl011 = 0x09000000;

#define DATA 0x00
#define FLAGS 0x18
#define LINE 0x2c
#define CONTROL 0x30

#define FLAGS_BUSY (1U << 3)
#define FLAGS_EMPTY (1U << 4)
#define FLAGS_FULL (1U << 5)
#define LINE_8_FIFO 0x70U
#define CONTROL_ON 0x301U

static volatile uint32_t *reg(unsigned int offset)
{
	return (volatile uint32_t *)(uintptr_t)(ARCH_DEVICE_MAP + pl011 + offset);
}

loam_paddr arch_device_page(unsigned int index)
{
	return index == 0 ? pl011 : LOAM_PADDR_NONE;
}

void arch_console_init(void)
{
	loam_paddr base;
	uint64_t nbytes;

	if (devicetree_device("arm,pl011", 0, &base, &nbytes) && base < ARCH_BOOT_MAP_NBYTES &&
	    base % LOAM_PAGE_SIZE == 0)
		pl011 = base;
	*reg(CONTROL) = 0;
	*reg(LINE) = LINE_8_FIFO;
	*reg(CONTROL) = CONTROL_ON;
}

static void put(char byte)
{
	while ((*reg(FLAGS) & FLAGS_FULL) != 0)
		arch_pause();
	*reg(DATA) = (unsigned char)byte;
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
	for (unsigned int i = 0; i < 100000 && (*reg(FLAGS) & FLAGS_BUSY) != 0; i++)
		arch_pause();
}

int arch_console_get(void)
{
	if ((*reg(FLAGS) & FLAGS_EMPTY) != 0)
		return -1;
	return (int)(*reg(DATA) & 0xff);
}
