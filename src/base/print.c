/* base/print.c: formatting, see print.h. */
#include "print.h"

#include <loam/port.h>

struct sink {
	char *at;
	size_t room; /* bytes left, the terminator's included */
	size_t total;
};

static void put(struct sink *sink, char c)
{
	sink->total++;
	if (sink->room > 1) {
		*sink->at++ = c;
		sink->room--;
	}
}

static void pad(struct sink *sink, char c, size_t have, size_t width)
{
	for (; have < width; have++)
		put(sink, c);
}

struct spec {
	size_t width;
	bool left;
	bool zero;
	unsigned int longs; /* 0 int, 1 long, size_t or pointer, 2 long long */
};

static void put_text(struct sink *sink, const struct spec *spec, const char *text)
{
	size_t n = 0;

	if (text == NULL)
		text = "(null)";
	while (text[n] != '\0')
		n++;
	if (!spec->left)
		pad(sink, ' ', n, spec->width);
	for (size_t i = 0; i < n; i++)
		put(sink, text[i]);
	if (spec->left)
		pad(sink, ' ', n, spec->width);
}

static void put_number(struct sink *sink, const struct spec *spec, uint64_t value, unsigned int base,
		       const char *prefix)
{
	char digits[20];
	size_t ndigits = 0;
	size_t nprefix = 0;

	do {
		digits[ndigits++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value != 0);
	while (prefix[nprefix] != '\0')
		nprefix++;

	if (!spec->left && !spec->zero)
		pad(sink, ' ', ndigits + nprefix, spec->width);
	for (size_t i = 0; i < nprefix; i++)
		put(sink, prefix[i]);
	if (!spec->left && spec->zero)
		pad(sink, '0', ndigits + nprefix, spec->width);
	for (size_t i = ndigits; i > 0; i--)
		put(sink, digits[i - 1]);
	if (spec->left)
		pad(sink, ' ', ndigits + nprefix, spec->width);
}

static uint64_t next_unsigned(unsigned int longs, va_list *args)
{
	if (longs == 0)
		return va_arg(*args, unsigned int);
	if (longs == 1)
		return va_arg(*args, unsigned long);
	return va_arg(*args, unsigned long long);
}

static int64_t next_signed(unsigned int longs, va_list *args)
{
	if (longs == 0)
		return va_arg(*args, int);
	if (longs == 1)
		return va_arg(*args, long);
	return va_arg(*args, long long);
}

size_t loami_vformat(char *buffer, size_t nbytes, const char *format, va_list args)
{
	struct sink sink = {.at = buffer, .room = nbytes, .total = 0};
	va_list rest;

	va_copy(rest, args);
	for (const char *f = format; *f != '\0'; f++) {
		struct spec spec = {0};

		if (*f != '%') {
			put(&sink, *f);
			continue;
		}
		for (f++; *f == '-' || *f == '0'; f++) {
			spec.left = spec.left || *f == '-';
			spec.zero = spec.zero || *f == '0';
		}
		if (*f == '*') {
			spec.width = (size_t)va_arg(rest, int);
			f++;
		}
		for (; *f >= '0' && *f <= '9'; f++)
			spec.width = spec.width * 10 + (size_t)(*f - '0');
		for (; *f == 'l' || *f == 'z'; f++)
			spec.longs++;

		if (*f == '\0')
			break;
		if (*f == 's') {
			put_text(&sink, &spec, va_arg(rest, const char *));
		} else if (*f == 'c') {
			char c = (char)va_arg(rest, int);

			pad(&sink, ' ', 1, spec.left ? 0 : spec.width);
			put(&sink, c);
			pad(&sink, ' ', 1, spec.left ? spec.width : 0);
		} else if (*f == 'd') {
			int64_t value = next_signed(spec.longs, &rest);

			put_number(&sink, &spec, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 10,
				   value < 0 ? "-" : "");
		} else if (*f == 'u') {
			put_number(&sink, &spec, next_unsigned(spec.longs, &rest), 10, "");
		} else if (*f == 'x') {
			put_number(&sink, &spec, next_unsigned(spec.longs, &rest), 16, "");
		} else if (*f == 'p') {
			put_number(&sink, &spec, (uintptr_t)va_arg(rest, void *), 16, "0x");
		} else {
			put(&sink, *f);
		}
	}
	va_end(rest);
	if (nbytes > 0)
		*sink.at = '\0';
	return sink.total;
}

size_t loami_format(char *buffer, size_t nbytes, const char *format, ...)
{
	va_list args;
	size_t total;

	va_start(args, format);
	total = loami_vformat(buffer, nbytes, format, args);
	va_end(args);
	return total;
}

void loami_print(const char *format, ...)
{
	char line[256];
	va_list args;
	size_t total;

	va_start(args, format);
	total = loami_vformat(line, sizeof(line), format, args);
	va_end(args);
	if (total >= sizeof(line)) {
		for (total = 0; format[total] != '\0'; total++)
			;
		if (total > 0 && format[total - 1] == '\n')
			line[sizeof(line) - 2] = '\n';
		total = sizeof(line) - 1;
	}
	loam_port_log(line, total);
}
