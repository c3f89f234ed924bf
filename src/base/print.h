/* base/print.h: text for people, without a C library.
 *
 * Conversions: %s %c %d %u %x %p and %%, with l, ll, z, a width (also *), '-' and 0-padding; the compiler's format check accepts more than that.
 * loami_print() sends whole lines' worth to loam_port_log() in pieces of up to 256 bytes.
 */
#ifndef LOAMI_BASE_PRINT_H
#define LOAMI_BASE_PRINT_H

#include <stdarg.h>

#include <loam/types.h>

/* Format into @buffer, always NUL-terminated when @nbytes > 0. Return: the length it would have had. */
size_t loami_vformat(char *buffer, size_t nbytes, const char *format, va_list args) LOAM_PRINTF(3, 0);
size_t loami_format(char *buffer, size_t nbytes, const char *format, ...) LOAM_PRINTF(3, 4);

/* Format to the port's console. Context: any.  Locks: none. What is longer than 255 bytes is cut, but for a newline at its end. */
void loami_print(const char *format, ...) LOAM_PRINTF(1, 2);

#endif
