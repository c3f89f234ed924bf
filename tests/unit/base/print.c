/* tests/unit/base/print.c: every conversion, every width, and what happens where there is no room. */
#include <base/print.h>

#include "tap.h"

static char text[64];

/* The compiler checks the formats; this checks what comes out. */
#define IS(expected, ...)                                                                                              \
	do {                                                                                                           \
		size_t length = loami_format(text, sizeof(text), __VA_ARGS__);                                         \
		CHECK_STR(text, (expected));                                                                           \
		CHECK_EQ(length, sizeof(expected) - 1);                                                                \
	} while (0)

TEST(base_print_conversions)
{
	const char *volatile nothing = NULL;

	IS("", "%s", "");
	IS("plain", "plain");
	IS("a%b", "a%%b");
	IS("text", "%s", "text");
	IS("(null)", "%s", nothing);
	IS("x", "%c", 'x');
	IS("0", "%d", 0);
	IS("-1", "%d", -1);
	IS("2147483647", "%d", 2147483647);
	IS("-2147483648", "%d", -2147483647 - 1);
	IS("4294967295", "%u", 4294967295u);
	IS("ffffffff", "%x", 4294967295u);
	IS("18446744073709551615", "%lu", ~0ul);
	IS("18446744073709551615", "%llu", ~0ull);
	IS("18446744073709551615", "%zu", ~(size_t)0);
	IS("-9223372036854775808", "%ld", -9223372036854775807l - 1);
	IS("-9223372036854775808", "%lld", -9223372036854775807ll - 1);
	IS("deadbeefcafef00d", "%lx", 0xdeadbeefcafef00dul);
	IS("0x0", "%p", (void *)0);
	IS("0xffff800000001000", "%p", (void *)(uintptr_t)UINT64_C(0xffff800000001000));
}

TEST(base_print_widths)
{
	IS("    7|", "%5d|", 7);
	IS("7    |", "%-5d|", 7);
	IS("00007|", "%05d|", 7);
	IS("   -7|", "%5d|", -7);
	IS("-0007|", "%05d|", -7);
	IS("-7   |", "%-5d|", -7);
	IS("1234567|", "%5d|", 1234567);
	IS("   ab|", "%5s|", "ab");
	IS("ab   |", "%-5s|", "ab");
	IS("abcdef|", "%5s|", "abcdef");
	IS("     7|", "%*d|", 6, 7);
	IS("00000000000000ff", "%016lx", 0xfful);
	IS("   0x10|", "%7p|", (void *)16);
	IS("  x|", "%3c|", 'x');
	IS("x  |", "%-3c|", 'x');
}

TEST(base_print_where_there_is_no_room)
{
	char small[4] = {'?', '?', '?', '?'};

	CHECK_EQ(loami_format(small, 3, "%d", 12345), 5);
	CHECK_STR(small, "12");
	CHECK_EQ(small[3], '?');
	CHECK_EQ(loami_format(small, 1, "abc"), 3);
	CHECK_STR(small, "");
	CHECK_EQ(loami_format(NULL, 0, "%s", "abc"), 3);
	CHECK_EQ(loami_format(small, 4, "%s", "abc"), 3);
	CHECK_STR(small, "abc");
}

TEST(base_print_goes_to_the_console_and_cuts_long_lines)
{
	char expected[256];

	tap_log_capture();
	loami_print("%s %u\n", "line", 1);
	CHECK_STR(tap_log_end(), "line 1\n");
	for (size_t i = 0; i < 255; i++)
		expected[i] = ' ';
	expected[255] = '\0';
	tap_log_capture();
	loami_print("%300s", "x");
	CHECK_STR(tap_log_end(), expected);
	expected[254] = '\n'; /* what comes next begins a line of its own */
	tap_log_capture();
	loami_print("%300s\n", "x");
	CHECK_STR(tap_log_end(), expected);
}

TEST(base_status_names)
{
	CHECK_STR(loam_status_name(LOAM_OK), "ok");
	CHECK_STR(loam_status_name(LOAM_ERR_NO_MEMORY), "no memory");
	CHECK_STR(loam_status_name(LOAM_ERR_TIMEOUT), "timeout");
	CHECK_STR(loam_status_name(LOAM_STATUS_COUNT), "unknown status");
	CHECK_STR(loam_status_name((enum loam_status)12345), "unknown status");
	for (unsigned int a = 0; a < LOAM_STATUS_COUNT; a++) {
		const char *name = loam_status_name((enum loam_status)a);

		CHECK(name != NULL && name[0] != '\0');
		for (unsigned int b = 0; b < a; b++) {
			const char *other = loam_status_name((enum loam_status)b);
			size_t i = 0;

			while (name[i] != '\0' && name[i] == other[i])
				i++;
			CHECK(name[i] != other[i]);
		}
	}
}
