/* tests/tap.h: tests that run on a host and inside a kernel alike.
 *
 *	TEST(F4_claim_detects_double_allocation)
 *	{
 *		CHECK(pfn != LOAM_PFN_NONE);
 *		CHECK_EQ(loam_frame_ref_get(frames, pfn), 1);
 *		CHECK_PANIC(loam_frame_free(frames, pfn, 0), "loam: frame: double free of 0x1000");
 *	}
 *
 * A test registers itself in the section "loam_tests". Its name begins with the row of SPEC it shows, where there is one. A failed CHECK is reported with file and
 * line and ends the test. tap_run() prints TAP through loam_port_log(). A file listed under rig_sources also runs inside the kernel, and uses nothing but this header,
 * rig.h and the library. Where a test can run only on a host (it needs threads, files, the software MMU) its file is listed under unit_sources, and with its reason as
 * host_only in tests/meson.build.
 */
#ifndef LOAM_TESTS_TAP_H
#define LOAM_TESTS_TAP_H

#include <loam/port.h>
#include <loam/status.h>

#if __STDC_HOSTED__
#include <setjmp.h>
#define tap_setjmp(buf) setjmp(buf)
#define tap_longjmp(buf) longjmp(buf, 1)
typedef jmp_buf tap_jump;
#else
typedef struct {
	uintptr_t words[32];
} tap_jump[1];
/* The kernel's own, in kernel/arch: callee-saved registers, stack pointer, return address. */
__attribute__((returns_twice)) int arch_setjmp(uintptr_t *words);
LOAM_NORETURN void arch_longjmp(uintptr_t *words);
#define tap_setjmp(buf) arch_setjmp((buf)[0].words)
#define tap_longjmp(buf) arch_longjmp((buf)[0].words)
#endif

struct tap_case {
	const char *name;
	void (*run)(void);
	const char *file;
};

#define TEST(test_name)                                                                                                \
	static void test_##test_name(void);                                                                            \
	static const struct tap_case tap_case_##test_name                                                              \
		__attribute__((used, section("loam_tests"), aligned(8))) = {#test_name, test_##test_name, __FILE__};   \
	static void test_##test_name(void)

/* Run every registered test whose name contains @filter (NULL: all). Return: how many failed. */
unsigned int tap_run(const char *filter);
/* The test that runs, for whoever is about to stop the program: NULL between tests. */
extern const char *volatile tap_running;

/* End the running test as failed; a line of explanation. Only on the thread or CPU that runs the test. */
LOAM_NORETURN LOAM_PRINTF(3, 4) void tap_fail(const char *file, int line, const char *format, ...);
/* End the running test as skipped, e.g. for want of a second CPU. */
LOAM_NORETURN void tap_skip(const char *why);

#define CHECK(condition) ((condition) ? (void)0 : tap_fail(__FILE__, __LINE__, "%s", #condition))
#define CHECK_OK(expression) tap_check_ok(__FILE__, __LINE__, #expression, (expression))
#define CHECK_STATUS(expression, expected) tap_check_status(__FILE__, __LINE__, #expression, (expression), (expected))
/* Integers up to 64 bits; both are shown when they differ. */
#define CHECK_EQ(actual, expected)                                                                                     \
	tap_check_eq(__FILE__, __LINE__, #actual " == " #expected, (uint64_t)(actual), (uint64_t)(expected))
#define CHECK_STR(actual, expected) tap_check_str(__FILE__, __LINE__, (actual), (expected))

void tap_check_ok(const char *file, int line, const char *what, enum loam_status status);
void tap_check_status(const char *file, int line, const char *what, enum loam_status status, enum loam_status expected);
void tap_check_eq(const char *file, int line, const char *what, uint64_t actual, uint64_t expected);
void tap_check_str(const char *file, int line, const char *actual, const char *expected);

/* The statement must panic with exactly @expected_text. TAP_PANICS gives the text itself: const char *text = NULL; TAP_PANICS(statement, text); NULL when it returned. */
#define CHECK_PANIC(statement, expected_text)                                                                          \
	do {                                                                                                           \
		const char *volatile tap_text = NULL;                                                                  \
		TAP_PANICS(statement, tap_text);                                                                       \
		tap_check_str(__FILE__, __LINE__, tap_text, (expected_text));                                          \
	} while (0)
#define TAP_PANICS(statement, text)                                                                                    \
	do {                                                                                                           \
		if (tap_setjmp(tap_panic_jump) == 0) {                                                                 \
			tap_panic_expected = true;                                                                     \
			statement;                                                                                     \
			tap_panic_expected = false;                                                                    \
		} else {                                                                                               \
			(text) = tap_panic_text;                                                                       \
		}                                                                                                      \
	} while (0)

extern tap_jump tap_panic_jump;
extern volatile bool tap_panic_expected;
extern char tap_panic_text[512];

bool tap_contains(const char *text, const char *part);

/* Called by the port's loam_port_panic() first of all: does not return when a test expects a panic or is running. */
void tap_on_panic(enum loam_fatal kind, const char *message);

/* Capture what goes to loam_port_log(), in a kernel to its console, from here on instead of showing it; end returns it NUL-terminated, up to 16 KiB. */
void tap_log_capture(void);
const char *tap_log_end(void);
/* Called by the port's loam_port_log() first of all: true when the text was captured. */
bool tap_on_log(const char *text, size_t nbytes);

#endif
