/* inspect/text.c: numbers and lines as people read them. */
#include "inspect.h"

#include <base/bits.h>

const char *loami_size_text(char text[LOAMI_SIZE_TEXT], uint64_t nbytes)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	unsigned int unit = 0;

	if (nbytes < 1024) {
		(void)loami_format(text, LOAMI_SIZE_TEXT, "%lu B", (unsigned long)nbytes);
		return text;
	}
	for (; nbytes >> 10 >= 1024; nbytes >>= 10)
		unit++;
	/* To the nearest tenth: 524 159 frames are 2.0 GiB. */
	uint64_t tenths = (nbytes >> 10) * 10 + (((nbytes & 1023) * 10 + 512) >> 10);

	if (tenths == 10240 && unit + 1 < LOAMI_COUNT(units)) { /* rounded up to a whole next unit */
		tenths = 10;
		unit++;
	}
	(void)loami_format(text, LOAMI_SIZE_TEXT, "%lu.%lu %s", (unsigned long)(tenths / 10),
			   (unsigned long)(tenths % 10), units[unit]);
	return text;
}

const char *loami_file_text(const char *file)
{
	if (file == NULL)
		return "?";
	while (file[0] == '.' && file[1] == '.' && file[2] == '/')
		file += 3;
	return file;
}

void loami_say(struct loami_line *line, const char *format, ...)
{
	size_t at = line->length < line->nbytes ? line->length : line->nbytes;
	va_list args;

	va_start(args, format);
	line->length += loami_vformat(line->text != NULL ? line->text + at : NULL, line->nbytes - at, format, args);
	va_end(args);
}

void loami_print_frames(const char *label, uint64_t nframes)
{
	char size[LOAMI_SIZE_TEXT];

	loami_print("  %-36s %12lu frame%c %12s\n", label, (unsigned long)nframes, nframes == 1 ? ' ' : 's',
		    loami_size_text(size, loami_frames_to_bytes(nframes)));
}

void loami_print_frames_sum(uint64_t sum, uint64_t expected, const char *of)
{
	char size[LOAMI_SIZE_TEXT];

	loami_print("  %-36s %12lu frame%c %12s", "= sum", (unsigned long)sum, sum == 1 ? ' ' : 's',
		    loami_size_text(size, loami_frames_to_bytes(sum)));
	if (sum == expected)
		loami_print("  = %s\n", of);
	else
		loami_print("  BUT %s: %lu\n", of, (unsigned long)expected);
}
