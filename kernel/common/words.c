/* kernel/common/words.c: the command line is words with spaces between; some carry a value: name=value. */
#include "kernel.h"

const char *words_find(const char *line, const char *name, unsigned int index)
{
	size_t length = strlen(name);
	bool valued = name[length - 1] == '=';

	for (const char *at = line; *at != '\0'; at++) {
		if ((at != line && at[-1] != ' ') || strncmp(at, name, length) != 0)
			continue;
		if ((valued || at[length] == ' ' || at[length] == '\0') && index-- == 0)
			return at + length;
	}
	return NULL;
}

/* Hexadecimal, with or without 0x. Return: behind it, or NULL where there is no digit. */
static const char *number(const char *at, uint64_t *value)
{
	unsigned int digits = 0;

	*value = 0;
	if (at[0] == '0' && at[1] == 'x')
		at += 2;
	for (; digits < 16; at++, digits++) {
		char c = *at;
		unsigned int digit =
			c >= '0' && c <= '9' ? (unsigned int)(c - '0') : (unsigned int)(c | 0x20) - 'a' + 10;

		if (digit > 15)
			break;
		*value = *value << 4 | digit;
	}
	return digits > 0 ? at : NULL;
}

bool words_numbers(const char *line, const char *name, unsigned int index, uint64_t values[], unsigned int count)
{
	const char *at = words_find(line, name, index);

	for (unsigned int i = 0; at != NULL && i < count; i++) {
		if (i > 0 && *at++ != ',')
			return false;
		at = number(at, &values[i]);
	}
	return at != NULL && (*at == ' ' || *at == '\0');
}
