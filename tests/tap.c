/* tests/tap.c: running tests and saying what came of it, see tap.h. Freestanding: the kernel links it too. */
#include "tap.h"

#include <base/print.h>

extern const struct tap_case __start_loam_tests[];
extern const struct tap_case __stop_loam_tests[];

tap_jump tap_panic_jump;
volatile bool tap_panic_expected;
char tap_panic_text[512];

const char *volatile tap_running;

static tap_jump test_jump;
static bool test_skipped;
static char skip_reason[128];

static bool capturing;
static size_t captured;
static char capture[49152];

bool tap_contains(const char *text, const char *part)
{
	for (; *text != '\0'; text++) {
		size_t i = 0;

		while (part[i] != '\0' && text[i] == part[i])
			i++;
		if (part[i] == '\0')
			return true;
	}
	return part[0] == '\0';
}

static bool same(const char *a, const char *b)
{
	while (*a != '\0' && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

unsigned int tap_run(const char *filter)
{
	unsigned int total = 0;
	volatile unsigned int failed = 0;
	volatile unsigned int number = 0;

	for (const struct tap_case *t = __start_loam_tests; t != __stop_loam_tests; t++)
		total += filter == NULL || tap_contains(t->name, filter);
	loami_print("1..%u\n", total);

	for (const struct tap_case *volatile t = __start_loam_tests; t != __stop_loam_tests; t++) {
		if (filter != NULL && !tap_contains(t->name, filter))
			continue;
		number++;
		test_skipped = false;
		tap_running = t->name;
		tap_panic_expected = false;
		if (tap_setjmp(test_jump) == 0) {
			t->run();
			capturing = false;
			loami_print("ok %u - %s\n", number, t->name);
		} else if (test_skipped) {
			loami_print("ok %u - %s # SKIP %s\n", number, t->name, skip_reason);
		} else {
			loami_print("not ok %u - %s\n", number, t->name);
			failed++;
		}
		tap_running = NULL;
	}
	return failed;
}

void tap_fail(const char *file, int line, const char *format, ...)
{
	char text[384];
	va_list args;

	capturing = false;
	va_start(args, format);
	(void)loami_vformat(text, sizeof(text), format, args);
	va_end(args);
	loami_print("# %s:%d: %s\n", file, line, text);
	tap_panic_expected = false;
	tap_longjmp(test_jump);
}

void tap_skip(const char *why)
{
	capturing = false;
	test_skipped = true;
	(void)loami_format(skip_reason, sizeof(skip_reason), "%s", why);
	tap_longjmp(test_jump);
}

void tap_check_ok(const char *file, int line, const char *what, enum loam_status status)
{
	if (status != LOAM_OK)
		tap_fail(file, line, "%s: %s", what, loam_status_name(status));
}

void tap_check_status(const char *file, int line, const char *what, enum loam_status status, enum loam_status expected)
{
	if (status != expected)
		tap_fail(file, line, "%s: got \"%s\", expected \"%s\"", what, loam_status_name(status),
			 loam_status_name(expected));
}

void tap_check_eq(const char *file, int line, const char *what, uint64_t actual, uint64_t expected)
{
	if (actual != expected)
		tap_fail(file, line, "%s: got %lu (0x%lx), expected %lu (0x%lx)", what, (unsigned long)actual,
			 (unsigned long)actual, (unsigned long)expected, (unsigned long)expected);
}

void tap_check_str(const char *file, int line, const char *actual, const char *expected)
{
	if (actual == NULL)
		tap_fail(file, line, "got nothing, expected \"%s\"", expected);
	if (!same(actual, expected))
		tap_fail(file, line, "got \"%s\", expected \"%s\"", actual, expected);
}

void tap_on_panic(enum loam_fatal kind, const char *message)
{
	(void)kind;
	if (tap_panic_expected) {
		tap_panic_expected = false;
		(void)loami_format(tap_panic_text, sizeof(tap_panic_text), "%s", message);
		tap_longjmp(tap_panic_jump);
	}
	if (tap_running != NULL)
		tap_fail("panic", 0, "%s", message);
}

void tap_log_capture(void)
{
	captured = 0;
	capture[0] = '\0';
	capturing = true;
}

const char *tap_log_end(void)
{
	capturing = false;
	return capture;
}

bool tap_on_log(const char *text, size_t nbytes)
{
	if (!capturing)
		return false;
	for (size_t i = 0; i < nbytes && captured + 1 < sizeof(capture); i++)
		capture[captured++] = text[i];
	capture[captured] = '\0';
	return true;
}
