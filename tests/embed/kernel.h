/* What port.c and kernel.c know of each other. */
#include <loam/port.h>

void say(const char *text);
LOAM_NORETURN void power_off(unsigned char status);

void *memset(void *to, int value, size_t n);
void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
int memcmp(const void *a, const void *b, size_t n);
