/* kernel/common/string.c: the four functions that compilers call by themselves and Loam asks for, and three more.
 *
 * The empty assembler statements keep a compiler from seeing memcpy in memcpy's loop and calling itself.
 */
#include "kernel.h"

typedef uint64_t __attribute__((may_alias)) word;
#define WORD sizeof(word)
#define KEEP_LOOP() __asm__ volatile("" : : : "memory")

static bool aligned(uintptr_t address)
{
	return address % WORD == 0;
}

void *memcpy(void *to, const void *from, size_t nbytes)
{
	unsigned char *t = to;
	const unsigned char *f = from;

	if (aligned((uintptr_t)t) && aligned((uintptr_t)f)) {
		for (; nbytes >= 4 * WORD; nbytes -= 4 * WORD, t += 4 * WORD, f += 4 * WORD) {
			word a = ((const word *)f)[0], b = ((const word *)f)[1];
			word c = ((const word *)f)[2], d = ((const word *)f)[3];

			((word *)t)[0] = a;
			((word *)t)[1] = b;
			((word *)t)[2] = c;
			((word *)t)[3] = d;
			KEEP_LOOP();
		}
	}
	for (; nbytes > 0; nbytes--) {
		*t++ = *f++;
		KEEP_LOOP();
	}
	return to;
}

void *memmove(void *to, const void *from, size_t nbytes)
{
	unsigned char *t = to;
	const unsigned char *f = from;

	if ((uintptr_t)t - (uintptr_t)f >= nbytes)
		return memcpy(to, from, nbytes);
	while (nbytes-- > 0) {
		t[nbytes] = f[nbytes];
		KEEP_LOOP();
	}
	return to;
}

static inline void set_four(word *to, word pattern)
{
	to[0] = pattern;
	to[1] = pattern;
	to[2] = pattern;
	to[3] = pattern;
}

void *memset(void *to, int value, size_t nbytes)
{
	unsigned char *t = to;
	word pattern = (unsigned char)value * UINT64_C(0x0101010101010101);

	for (; nbytes > 0 && !aligned((uintptr_t)t); nbytes--) {
		*t++ = (unsigned char)value;
		KEEP_LOOP();
	}
	/* Pages, mostly. */
	for (; nbytes >= 16 * WORD; nbytes -= 16 * WORD, t += 16 * WORD) {
		set_four((word *)t, pattern);
		set_four((word *)t + 4, pattern);
		set_four((word *)t + 8, pattern);
		set_four((word *)t + 12, pattern);
		KEEP_LOOP();
	}
	for (; nbytes >= WORD; nbytes -= WORD, t += WORD) {
		*(word *)t = pattern;
		KEEP_LOOP();
	}
	for (; nbytes > 0; nbytes--) {
		*t++ = (unsigned char)value;
		KEEP_LOOP();
	}
	return to;
}

int memcmp(const void *left, const void *right, size_t nbytes)
{
	const unsigned char *l = left, *r = right;

	for (; nbytes > 0; nbytes--, l++, r++) {
		if (*l != *r)
			return *l < *r ? -1 : 1;
		KEEP_LOOP();
	}
	return 0;
}

size_t strlen(const char *text)
{
	size_t length = 0;

	while (text[length] != '\0') {
		length++;
		KEEP_LOOP();
	}
	return length;
}

int strcmp(const char *left, const char *right)
{
	for (; *left != '\0' && *left == *right; left++, right++)
		KEEP_LOOP();
	return (unsigned char)*left - (unsigned char)*right;
}

int strncmp(const char *left, const char *right, size_t nbytes)
{
	for (; nbytes > 0 && *left != '\0' && *left == *right; left++, right++, nbytes--)
		KEEP_LOOP();
	return nbytes == 0 ? 0 : (unsigned char)*left - (unsigned char)*right;
}
