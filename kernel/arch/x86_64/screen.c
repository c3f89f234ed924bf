/* kernel/arch/x86_64/screen.c: text on the screen that the loader left: pixels, or the cells of a text mode.
 *
 * What stands there is kept in memory too: reading a screen is slow, and when all moves up a line only what differs is drawn.
 */
#include "font.h"
#include "../../common/kernel.h"
#include "regs.h"

#define COLUMNS_MAX 256
#define ROWS_MAX 128
#define CELL_WHITE 0x0700U

/* A letter with the room around it. */
#define LETTER_WIDTH (FONT_COLUMNS + 1)
#define LETTER_HEIGHT (FONT_ROWS + 2)
/* About as many columns as a text mode has: larger letters where there are more pixels. */
#define WIDTH_PER_SCALE 480U

static struct {
	uint64_t base; /* 0: there is none */
	uint64_t nbytes;
	unsigned int columns, rows;
	unsigned int column, row;
	unsigned int pixel_nbytes; /* 0: cells */
	unsigned int pitch, scale;
	char text[ROWS_MAX][COLUMNS_MAX];
} screen;

static void begin(uint64_t base, uint64_t nbytes, unsigned int columns, unsigned int rows)
{
	if (base == 0 || base >= ARCH_BOOT_MAP_NBYTES || nbytes > ARCH_BOOT_MAP_NBYTES - base || columns == 0 ||
	    rows == 0)
		return;
	screen.columns = columns < COLUMNS_MAX ? columns : COLUMNS_MAX;
	screen.rows = rows < ROWS_MAX ? rows : ROWS_MAX;
	screen.nbytes = nbytes;
	screen.base = base;
	memset(screen.text, ' ', sizeof(screen.text));
}

static volatile uint8_t *pixel(unsigned int x, unsigned int y)
{
	return (volatile uint8_t *)(ARCH_DEVICE_MAP + screen.base) + (uint64_t)y * screen.pitch +
	       (uint64_t)x * screen.pixel_nbytes;
}

/* All ones are white, whatever the order of the colours. */
static void fill(unsigned int x, unsigned int y, unsigned int width, unsigned int height, bool on)
{
	for (unsigned int row = 0; row < height; row++) {
		volatile uint8_t *at = pixel(x, y + row);

		for (unsigned int i = 0; i < width * screen.pixel_nbytes; i++)
			at[i] = on ? 0xff : 0;
	}
}

void x86_screen_pixels(uint64_t base, uint32_t pitch, uint32_t width, uint32_t height, unsigned int bits)
{
	unsigned int scale = width < WIDTH_PER_SCALE ? 1 : width / WIDTH_PER_SCALE;

	if (bits < 15 || bits > 32 || width > pitch / ((bits + 7) / 8) || height > UINT16_MAX)
		return;
	screen.pixel_nbytes = (bits + 7) / 8;
	screen.pitch = pitch;
	screen.scale = scale;
	begin(base, (uint64_t)pitch * height, width / (LETTER_WIDTH * scale), height / (LETTER_HEIGHT * scale));
	if (screen.base != 0)
		fill(0, 0, width, height, false);
}

static void draw(unsigned int row, unsigned int column)
{
	unsigned int byte = (unsigned char)screen.text[row][column];
	unsigned int scale = screen.scale;
	const uint8_t *letter = font[byte >= ' ' && byte <= '~' ? byte - ' ' : '?' - ' '];

	if (screen.pixel_nbytes == 0) {
		volatile uint16_t *cells = (volatile uint16_t *)(ARCH_DEVICE_MAP + screen.base);

		cells[row * screen.columns + column] = (uint16_t)(CELL_WHITE | byte);
		return;
	}
	for (unsigned int x = 0; x < FONT_COLUMNS; x++)
		for (unsigned int y = 0; y < FONT_ROWS; y++)
			fill((column * LETTER_WIDTH + x) * scale, (row * LETTER_HEIGHT + y) * scale, scale, scale,
			     (letter[x] >> y & 1) != 0);
}

/* The loader's text goes: it would be told from ours by nobody. */
void x86_screen_cells(uint64_t base, uint32_t columns, uint32_t rows)
{
	if (columns > COLUMNS_MAX || rows > ROWS_MAX)
		return;
	begin(base, columns * rows * sizeof(uint16_t), columns, rows);
	for (unsigned int row = 0; row < screen.rows; row++)
		for (unsigned int column = 0; column < screen.columns; column++)
			draw(row, column);
}

static void set(unsigned int row, unsigned int column, char byte)
{
	if (screen.text[row][column] == byte)
		return;
	screen.text[row][column] = byte;
	draw(row, column);
}

static void next_line(void)
{
	screen.column = 0;
	if (screen.row + 1 < screen.rows) {
		screen.row++;
		return;
	}
	for (unsigned int row = 0; row < screen.rows; row++)
		for (unsigned int column = 0; column < screen.columns; column++)
			set(row, column, row + 1 < screen.rows ? screen.text[row + 1][column] : ' ');
}

void x86_screen_put(char byte)
{
	if (screen.base == 0)
		return;
	if (byte == '\r')
		screen.column = 0;
	else if (byte == '\b')
		screen.column -= screen.column > 0;
	else if (byte == '\n')
		next_line();
	else if (byte >= ' ') {
		if (screen.column == screen.columns)
			next_line();
		set(screen.row, screen.column++, byte);
	}
}

loam_paddr x86_screen_page(unsigned int index)
{
	uint64_t first = screen.base & ~(LOAM_PAGE_SIZE - 1);
	uint64_t page = first + (uint64_t)index * LOAM_PAGE_SIZE;

	return screen.base != 0 && page < screen.base + screen.nbytes ? page : LOAM_PADDR_NONE;
}
