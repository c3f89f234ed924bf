/* kernel/common/symbols.c: addresses to names, for backtraces.
 *
 * tools/ksyms makes the table from nm's output of a first link; the second link adds it behind all code. In the first link there is
 * none, hence weak. Each function in rising order: its offset from kernel_text_start, and its name's in the text that follows.
 */
#include "symbols.h"

#include "console.h"

#include <stddef.h>

struct symbol {
	uint32_t address;
	uint32_t name;
};

extern const uint32_t kernel_symbol_count __attribute__((weak));
extern const struct symbol kernel_symbols[] __attribute__((weak));
extern const char kernel_symbol_names[] __attribute__((weak));
extern const char kernel_text_start[], kernel_text_end[];

bool symbol_is_code(uintptr_t address)
{
	return address >= (uintptr_t)kernel_text_start && address < (uintptr_t)kernel_text_end;
}

const char *symbol_find(uintptr_t address, uintptr_t *offset)
{
	uintptr_t start = (uintptr_t)kernel_text_start;

	if (&kernel_symbol_count == NULL || !symbol_is_code(address))
		return NULL;
	/* The last symbol at or below the address. */
	uint32_t low = 0, high = kernel_symbol_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (kernel_symbols[middle].address <= address - start)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return NULL;
	*offset = address - start - kernel_symbols[low - 1].address;
	return kernel_symbol_names + kernel_symbols[low - 1].name;
}

uintptr_t symbol_start(uintptr_t address)
{
	uintptr_t offset;

	return symbol_find(address, &offset) != NULL ? address - offset : 0;
}

void symbol_print_place(unsigned int number, uintptr_t pc)
{
	uintptr_t offset = 0;
	const char *name = symbol_find(pc, &offset);

	if (name != NULL)
		kprintf("  %2u  %016lx  %s + 0x%lx\n", number, (unsigned long)pc, name, (unsigned long)offset);
	else
		kprintf("  %2u  %016lx\n", number, (unsigned long)pc);
}
