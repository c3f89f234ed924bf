/* tests/kernel/held.c: each rule of held_check() broken on purpose, and what the kernel says then. What a loader would have left is a frame of ours. */
#include "../tap.h"

#include <console.h>
#include <held.h>
#include <kernel.h>

/* CRC-32's own test value, and another; zlib gives both. */
#define INITRD "123456789"
#define INITRD_SUM "initrd=cbf43926"
#define MODULE "a"
#define MODULE_SUM "initrd=e8b7be43"

enum { INITRD_AT = 100, MODULE_AT = 200, FILL_AT = 1000, HELD_MOST = 16, OTHERS = 200 };

static loam_pfn pfn = LOAM_PFN_NONE;
static loam_paddr base;
static char *page;
static char line_of[160];

/* A frame of that place, or of any that the boot tables would have shown. */
static void take_frame(loam_paddr start, loam_paddr limit)
{
	struct loam_frame_where where = {.start = start, .limit = limit};

	CHECK_OK(loam_frame_alloc_range(kernel_system.frames, 1, &where, NULL, &pfn));
	page = loam_frame_virt(kernel_system.frames, pfn);
	memcpy(page + INITRD_AT, INITRD, sizeof(INITRD) - 1);
	memcpy(page + MODULE_AT, MODULE, sizeof(MODULE) - 1);
}

/* Once: what is held stays so. */
static void hold(void)
{
	if (pfn != LOAM_PFN_NONE)
		return;
	take_frame(0, ARCH_BOOT_MAP_NBYTES);
	base = loam_frame_address(pfn);
	held_add(base + INITRD_AT, sizeof(INITRD) - 1, "initrd");
	held_add(base + MODULE_AT, sizeof(MODULE) - 1, "boot module");
}

/* How held_check() counts. Where it does not say @says, a whole line, the test fails. */
static unsigned int check(const char *line, const char *says)
{
	tap_log_capture();
	console_write("\n", 1);
	unsigned int wrong = held_check(line);
	const char *said = tap_log_end();
	if (!tap_contains(said, says)) {
		kprintf("%s", said);
		tap_fail(__FILE__, __LINE__, "it does not say:%s", says);
	}
	return wrong;
}

/* The line about the initrd. */
static const char *initrd_is(const char *verdict)
{
	char size[16];

	(void)kformat(line_of, sizeof(line_of), "\n   initrd, %s at %012lx: %s\n", ksize(size, sizeof(INITRD) - 1),
		      (unsigned long)(base + INITRD_AT), verdict);
	return line_of;
}

TEST(held_what_nobody_touched_is_intact)
{
	hold();
	CHECK_EQ(check("tour " INITRD_SUM " shell", initrd_is("intact")), 0);
	CHECK_EQ(check("tour " INITRD_SUM, "\n   All that is free: "), 0);
}

TEST(held_a_write_to_either_end_is_seen_and_one_beside_it_is_not)
{
	static const struct {
		size_t at;
		unsigned int wrong;
		const char *verdict;
	} writes[] = {
		{INITRD_AT - 1, 0, "intact"},
		{INITRD_AT, 1, "FAILED: somebody wrote to it"},
		{INITRD_AT + sizeof(INITRD) - 2, 1, "FAILED: somebody wrote to it"},
		{INITRD_AT + sizeof(INITRD) - 1, 0, "intact"},
	};

	hold();
	for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
		page[writes[i].at] ^= 4;
		unsigned int wrong = check("", initrd_is(writes[i].verdict));
		page[writes[i].at] ^= 4;
		CHECK_EQ(wrong, writes[i].wrong);
	}
}

TEST(held_an_initrd_that_was_not_sent_is_none)
{
	hold();
	CHECK_EQ(check("initrd=cbf43927", "\n   FAILED: there is no initrd of sum cbf43927\n"), 1);
	/* The right bytes, left there as something else. */
	CHECK_EQ(check(MODULE_SUM, "\n   FAILED: there is no initrd of sum e8b7be43\n"), 1);
}

/* Other frames go back after it, for what held_check() itself takes: the last ones are taken first. */
TEST(held_a_frame_of_it_that_is_handed_out_is_seen)
{
	loam_pfn others[OTHERS];

	hold();
	size_t n = loam_frame_alloc_batch(kernel_system.frames, OTHERS, NULL, others);
	loam_frame_free(kernel_system.frames, pfn, 0);
	loam_frame_free_batch(kernel_system.frames, others, n);
	unsigned int wrong = check(INITRD_SUM, "\n   FAILED: 1 times it was what the loader left\n");
	take_frame(base, base + LOAM_PAGE_SIZE);
	CHECK(wrong > 0);
	CHECK_EQ(check(INITRD_SUM, initrd_is("intact")), 0);
}

static bool refuse(unsigned int kind)
{
	(void)kind;
	return true;
}

TEST(held_without_memory_for_the_list_it_fails)
{
	hold();
	if (!machine_fail(refuse))
		tap_skip("this build refuses no memory on purpose");
	tap_log_capture();
	unsigned int wrong = held_check(INITRD_SUM);
	const char *said = tap_log_end();
	(void)machine_fail(NULL);
	CHECK_EQ(wrong, 1);
	CHECK(tap_contains(said, "   FAILED: no memory for a list of what is free\n"));
}

static void check_unwatched(loam_paddr at, uint64_t nbytes)
{
	(void)kformat(line_of, sizeof(line_of), "   boot module at %012lx cannot be read yet, so it is not watched\n",
		      (unsigned long)at);
	tap_log_capture();
	held_add(at, nbytes, "boot module");
	CHECK_STR(tap_log_end(), line_of);
}

TEST(held_what_is_not_watched_is_said)
{
	hold();
	check_unwatched(ARCH_BOOT_MAP_NBYTES, 1);
	check_unwatched(ARCH_BOOT_MAP_NBYTES - 1, 2);
	tap_log_capture();
	for (unsigned int i = 0; i < HELD_MOST; i++)
		held_add(base + FILL_AT, 1, "boot module");
	(void)tap_log_end();
	check_unwatched(base + FILL_AT, 1);
}
