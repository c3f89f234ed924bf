/* kernel/arch/host/console.c: the terminal of the process. */
#include "../../common/console.h"

#include <stdio.h>
#include <string.h>

void console_write(const char *text, size_t nbytes)
{
	(void)fwrite(text, 1, nbytes, stdout);
	(void)fflush(stdout);
}

void kvprintf(const char *format, va_list args)
{
	char line[512];
	size_t length = kvformat(line, sizeof(line), format, args);

	console_write(line, length < sizeof(line) ? length : sizeof(line) - 1);
}

void kprintf(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	kvprintf(format, args);
	va_end(args);
}

bool console_read_line(const char *prompt, char *buffer, size_t nbytes)
{
	kprintf("%s", prompt);
	if (fgets(buffer, (int)nbytes, stdin) == NULL)
		return false;
	buffer[strcspn(buffer, "\n")] = '\0';
	return true;
}
