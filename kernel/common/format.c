/* kernel/common/format.c: printf's useful part. */
#include "console.h"

struct output {
	char *buffer;
	size_t nbytes;
	size_t length;
};

static void put(struct output *out, char byte)
{
	if (out->length + 1 < out->nbytes)
		out->buffer[out->length] = byte;
	out->length++;
}

struct field {
	unsigned int width;
	int precision; /* of %s; -1: none */
	bool left;
	bool zero;
	unsigned int length; /* how many l, z counts as two */
};

static void put_padded(struct output *out, const struct field *field, const char *sign, const char *text, size_t nbytes)
{
	size_t total = nbytes + (sign[0] != '\0');
	size_t pad = field->width > total ? field->width - total : 0;

	if (!field->left && !field->zero)
		for (; pad > 0; pad--)
			put(out, ' ');
	if (sign[0] != '\0')
		put(out, sign[0]);
	if (!field->left)
		for (; pad > 0; pad--)
			put(out, '0');
	for (size_t i = 0; i < nbytes; i++)
		put(out, text[i]);
	for (; pad > 0; pad--)
		put(out, ' ');
}

static void put_number(struct output *out, const struct field *field, uint64_t value, unsigned int base,
		       const char *sign)
{
	char digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value != 0);
	put_padded(out, field, sign, digits + at, sizeof(digits) - at);
}

static const char *parse(const char *format, struct field *field, va_list *args)
{
	*field = (struct field){.precision = -1};
	for (;; format++) {
		if (*format == '-')
			field->left = true;
		else if (*format == '0')
			field->zero = true;
		else
			break;
	}
	if (*format == '*') {
		int width = va_arg(*args, int);

		field->left |= width < 0;
		field->width = (unsigned int)(width < 0 ? -width : width);
		format++;
	}
	for (; *format >= '0' && *format <= '9'; format++)
		field->width = field->width * 10 + (unsigned int)(*format - '0');
	if (*format == '.') {
		field->precision = 0;
		if (*++format == '*') {
			field->precision = va_arg(*args, int);
			format++;
		}
		for (; *format >= '0' && *format <= '9'; format++)
			field->precision = field->precision * 10 + (*format - '0');
	}
	for (;; format++) {
		if (*format == 'l')
			field->length++;
		else if (*format == 'z')
			field->length += 2;
		else
			return format;
	}
}

static void put_string(struct output *out, struct field *field, const char *text)
{
	size_t nbytes = 0;

	if (text == NULL)
		text = "(null)";
	while (text[nbytes] != '\0' && (field->precision < 0 || nbytes < (size_t)field->precision))
		nbytes++;
	field->zero = false;
	put_padded(out, field, "", text, nbytes);
}

static void put_signed(struct output *out, const struct field *field, int64_t value)
{
	uint64_t magnitude = value < 0 ? -(uint64_t)value : (uint64_t)value;

	put_number(out, field, magnitude, 10, value < 0 ? "-" : "");
}

size_t kvformat(char *buffer, size_t nbytes, const char *format, va_list args)
{
	struct output out = {buffer, nbytes, 0};
	va_list rest;

	va_copy(rest, args);
	for (; *format != '\0'; format++) {
		struct field field;

		if (*format != '%') {
			put(&out, *format);
			continue;
		}
		format = parse(format + 1, &field, &rest);
		switch (*format) {
		case 's':
			put_string(&out, &field, va_arg(rest, const char *));
			break;
		case 'c':
			put(&out, (char)va_arg(rest, int));
			break;
		case 'd':
			put_signed(&out, &field, field.length > 0 ? va_arg(rest, long) : va_arg(rest, int));
			break;
		case 'u':
		case 'x':
			put_number(&out, &field,
				   field.length > 0 ? va_arg(rest, unsigned long) : va_arg(rest, unsigned int),
				   *format == 'u' ? 10 : 16, "");
			break;
		case 'p':
			put(&out, '0');
			put(&out, 'x');
			put_number(&out, &field, (uintptr_t)va_arg(rest, void *), 16, "");
			break;
		case '\0':
			format--;
			break;
		default:
			put(&out, *format);
			break;
		}
	}
	va_end(rest);
	if (nbytes > 0)
		buffer[out.length < nbytes ? out.length : nbytes - 1] = '\0';
	return out.length;
}

size_t kformat(char *buffer, size_t nbytes, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	size_t length = kvformat(buffer, nbytes, format, args);
	va_end(args);
	return length;
}

const char *ksize(char buffer[16], uint64_t nbytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	unsigned int unit = 0;
	uint64_t tenths = 0;

	for (; unit < 5 && nbytes >= 1024; nbytes /= 1024, unit++)
		tenths = (nbytes % 1024 * 10 + 512) / 1024;
	if (tenths == 10) {
		nbytes++;
		tenths = 0;
	}
	/* A decimal only while it says something. */
	if (nbytes < 100 && tenths != 0)
		(void)kformat(buffer, 16, "%lu.%lu %s", nbytes, tenths, units[unit]);
	else
		(void)kformat(buffer, 16, "%lu %s", nbytes, units[unit]);
	return buffer;
}
