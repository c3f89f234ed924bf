/* kernel/common/console.h: text to people and from them. All that tour.c and shell.c know of a console. */
#ifndef KERNEL_CONSOLE_H
#define KERNEL_CONSOLE_H

#include <stdarg.h>

#include <loam/types.h>

/* %s %c %d %u %x %p %%, with l, ll, z, width, '-', 0 and a precision for %s. A line longer than 511 bytes is cut. Lines of different CPUs do not mix. */
void kprintf(const char *format, ...) LOAM_PRINTF(1, 2);
void kvprintf(const char *format, va_list args) LOAM_PRINTF(1, 0);
/* Always NUL-terminated when @nbytes > 0. Return: the length it would have had. */
size_t kformat(char *buffer, size_t nbytes, const char *format, ...) LOAM_PRINTF(3, 4);
size_t kvformat(char *buffer, size_t nbytes, const char *format, va_list args) LOAM_PRINTF(3, 0);

/* "512 KiB", "2 GiB", "127.5 MiB": @nbytes in the largest unit that leaves a whole number, or one decimal. */
const char *ksize(char buffer[16], uint64_t nbytes);

/* Text as it is. */
void console_write(const char *text, size_t nbytes);

/* Read a line that is typed, with backspace, Ctrl-U and echo, without its end. Sleeps while nothing is typed. Return: false at the end of input (Ctrl-D). */
bool console_read_line(const char *prompt, char *buffer, size_t nbytes);

#endif
