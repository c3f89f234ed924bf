/* kernel/common/symbols.h: addresses to names, and a line of a backtrace. */
#ifndef KERNEL_SYMBOLS_H
#define KERNEL_SYMBOLS_H

#include <stdbool.h>
#include <stdint.h>

/** symbol_is_code() - is @address in the kernel's code? */
bool symbol_is_code(uintptr_t address);
/** symbol_find() - the function that holds @address. Return: its name and *@offset in it, or NULL. */
const char *symbol_find(uintptr_t address, uintptr_t *offset);
/** symbol_start() - where the function that holds @address begins; 0: none does. */
uintptr_t symbol_start(uintptr_t address);

/** symbol_print_place() - line @number of a backtrace: the address @pc, and its name where there is one. */
void symbol_print_place(unsigned int number, uintptr_t pc);

#endif
