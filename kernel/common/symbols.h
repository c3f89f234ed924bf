/* kernel/common/symbols.h: addresses to names, and a line of a backtrace. */
#ifndef KERNEL_SYMBOLS_H
#define KERNEL_SYMBOLS_H

#include <stdint.h>

/** symbol_find() - the function that holds @address. Return: its name and *@offset in it, or NULL. */
const char *symbol_find(uintptr_t address, uintptr_t *offset);

/** symbol_print_place() - line @number of a backtrace: the address @pc, and its name where there is one. */
void symbol_print_place(unsigned int number, uintptr_t pc);

#endif
