/* kernel/arch/x86_64/console.c: the first serial port, a 16550, polled; and the screen, where the loader left one. */
#include "../arch.h"
#include "regs.h"

#define PORT 0x3f8

enum {
	DATA = 0,
	INTERRUPTS = 1,
	FIFO = 2,
	LINE = 3,
	MODEM = 4,
	STATUS = 5,
};

#define LINE_8N1 0x03
#define LINE_DIVISOR 0x80
#define STATUS_RECEIVED 0x01
#define STATUS_SENT 0x20
#define STATUS_DRAINED 0x40
#define FIFO_DEPTH 16

/* The serial port is spoken to through ports, the screen through memory. */
loam_paddr arch_device_page(unsigned int index)
{
	return x86_screen_page(index);
}

void arch_console_init(void)
{
	x86_out8(PORT + INTERRUPTS, 0);
	x86_out8(PORT + LINE, LINE_DIVISOR);
	x86_out8(PORT + DATA, 1); /* 115200 baud */
	x86_out8(PORT + INTERRUPTS, 0);
	x86_out8(PORT + LINE, LINE_8N1);
	x86_out8(PORT + FIFO, 0x07); /* on, both emptied */
	x86_out8(PORT + MODEM, 0x03);
}

/* Room is asked for once per FIFO of bytes: in a virtual machine each port access is an exit. */
static void put(char byte)
{
	static unsigned int room;

	if (room == 0) {
		while ((x86_in8(PORT + STATUS) & STATUS_SENT) == 0)
			arch_pause();
		room = FIFO_DEPTH;
	}
	room--;
	x86_out8(PORT + DATA, (uint8_t)byte);
}

void arch_console_put(const char *text, size_t nbytes)
{
	for (size_t i = 0; i < nbytes; i++) {
		if (text[i] == '\n')
			put('\r');
		put(text[i]);
		x86_screen_put(text[i]);
	}
}

void arch_console_drain(void)
{
	for (unsigned int i = 0; i < 100000 && (x86_in8(PORT + STATUS) & STATUS_DRAINED) == 0; i++)
		arch_pause();
}

int arch_console_get(void)
{
	if ((x86_in8(PORT + STATUS) & STATUS_RECEIVED) == 0)
		return -1;
	return x86_in8(PORT + DATA);
}
