/* base/check.c: the way into the port's panic, see check.h. The message is built on the stack: nothing here can fail or wait. */
#include "check.h"

#include "print.h"

enum { MESSAGE_BYTES = 384 };

void loami_misuse(const char *format, ...)
{
	char message[MESSAGE_BYTES];
	va_list args;

	va_start(args, format);
	(void)loami_vformat(message, sizeof(message), format, args);
	va_end(args);
	loam_port_panic(LOAM_FATAL_MISUSE, message);
}

void loami_corrupt(const char *format, ...)
{
	char message[MESSAGE_BYTES];
	va_list args;

	va_start(args, format);
	(void)loami_vformat(message, sizeof(message), format, args);
	va_end(args);
	loam_port_panic(LOAM_FATAL_CORRUPT, message);
}

void loami_assert_failed(const char *condition, const char *file, int line)
{
	loami_corrupt("loam: assertion failed: %s at %s:%d", condition, file, line);
}
