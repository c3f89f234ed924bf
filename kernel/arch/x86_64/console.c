/* kernel/arch/x86_64/console.c: the first serial port, a 16550, polled; and the screen, where the loader left one in text mode. */
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

/* ---- the screen --------------------------------------------------------------------------------------------------------------- */

#define CELL_WHITE 0x0700U

static struct {
	uint64_t base; /* 0: there is none */
	unsigned int columns, rows;
	unsigned int column, row;
} screen;

void x86_console_screen(uint64_t base, uint32_t columns, uint32_t rows)
{
	if (base == 0 || base % LOAM_PAGE_SIZE != 0 || base >= ARCH_BOOT_MAP_NBYTES || columns == 0 || rows == 0 ||
	    columns > 256 || rows > 256 || columns * rows * sizeof(uint16_t) > LOAM_PAGE_SIZE)
		return;
	screen.base = base;
	screen.columns = columns;
	screen.rows = rows;
	screen.row = rows - 1; /* below whatever the loader wrote */
}

static volatile uint16_t *cell(unsigned int row, unsigned int column)
{
	return (volatile uint16_t *)(ARCH_DEVICE_MAP + screen.base) + row * screen.columns + column;
}

static void scroll(void)
{
	for (unsigned int row = 0; row < screen.rows; row++)
		for (unsigned int column = 0; column < screen.columns; column++)
			*cell(row, column) = row + 1 < screen.rows ? *cell(row + 1, column) : CELL_WHITE | ' ';
}

static void show(char byte)
{
	if (screen.base == 0)
		return;
	if (byte == '\r')
		screen.column = 0;
	else if (byte == '\b')
		screen.column -= screen.column > 0;
	else if (byte >= ' ') {
		*cell(screen.row, screen.column) = (uint16_t)(CELL_WHITE | (unsigned char)byte);
		screen.column++;
	}
	if (byte == '\n' || screen.column == screen.columns) {
		screen.column = 0;
		if (screen.row + 1 < screen.rows)
			screen.row++;
		else
			scroll();
	}
}

/* The serial port is spoken to through ports, the screen through memory. */
loam_paddr arch_device_page(unsigned int index)
{
	return index == 0 && screen.base != 0 ? screen.base : LOAM_PADDR_NONE;
}

/* ---- the serial port ---------------------------------------------------------------------------------------------------------- */

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
		show(text[i]);
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
