/* Memory goes back to the system. */
#include <tap.h>

#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PEAK_MIB = 128 };

/* The clock that the library looks at is ours, so that what is soon does not depend on how busy the machine is: seconds; 0, the real one. */
static atomic_long second;

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the C library's are its own. */
int clock_gettime(clockid_t clock, struct timespec *now)
{
	long standing = atomic_load(&second);

	if (clock != CLOCK_MONOTONIC_COARSE || standing == 0)
		return (int)syscall(SYS_clock_gettime, clock, now);
	*now = (struct timespec){.tv_sec = standing};
	return 0;
}

/* A system that takes nothing back, as where memory is locked (mlock(2)) or a sandbox refuses the call. */
static atomic_bool refuses;

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the C library's are its own. */
int madvise(void *at, size_t nbytes, int advice)
{
	if (atomic_load(&refuses) && advice == MADV_DONTNEED) {
		errno = EINVAL;
		return -1;
	}
	return (int)syscall(SYS_madvise, at, nbytes, advice);
}

/* What the system holds for this process, in memory or where it has put it away; where it does not say that, what is in memory, in strides. */
static size_t resident(void)
{
	unsigned long sum = 0, kib, all = 0;
	FILE *file = fopen("/proc/self/smaps_rollup", "r");
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "Rss: %lu kB", &kib) == 1 || sscanf(line, "Swap: %lu kB", &kib) == 1)
			sum += kib;
	if (file)
		fclose(file);
	if (sum > 0)
		return sum << 10;
	file = fopen("/proc/self/statm", "r");
	if (file) {
		if (fscanf(file, "%lu %lu", &all, &sum) != 2)
			sum = 0;
		fclose(file);
	}
	return sum * (size_t)sysconf(_SC_PAGESIZE);
}

static void peak(size_t nbytes, bool trim)
{
	size_t n = ((size_t)PEAK_MIB << 20) / nbytes, before, high, after;
	void **objects = malloc(n * sizeof(void *));

	(void)malloc_trim(0);
	before = resident();
	for (size_t i = 0; i < n; i++) {
		objects[i] = malloc(nbytes);
		CHECK(objects[i]);
		memset(objects[i], 1, nbytes);
	}
	high = resident();
	if (high < before + n * nbytes - ((size_t)8 << 20))
		tap_fail(__FILE__, __LINE__, "%zu objects of %zu bytes: %zu KiB before, %zu after", n, nbytes,
			 before >> 10, high >> 10);
	for (size_t i = 0; i < n; i++)
		free(objects[i]);
	free(objects);
	if (trim)
		(void)malloc_trim(0);
	after = resident();
	/* Without being asked, no more than the bound of 36 MiB, twice that after a peak just before, and what caches hold. */
	if (after > before + ((size_t)(trim ? 8 : 80) << 20))
		tap_fail(__FILE__, __LINE__, "%zu-byte objects: %zu KiB before, %zu at the peak, %zu after", nbytes,
			 before >> 10, high >> 10, after >> 10);
}

TEST(memory_goes_back_to_the_system_by_itself)
{
	peak(64, false);
	peak(1000, false);
	peak(20000, false);
	peak(200000, false);
	peak(3 << 20, false);
	peak(32 << 20, false);
}

TEST(trim_gives_all_of_it_back)
{
	peak(64, true);
	peak(100000, true);
}

/* MiB that stay resident, beyond @before, after a peak of so many. */
static size_t rest_of(size_t mib, size_t before)
{
	char *objects[128];
	size_t after;

	for (size_t i = 0; i < mib; i++) {
		objects[i] = malloc((size_t)1 << 20);
		CHECK(objects[i]);
		memset(objects[i], 1, (size_t)1 << 20);
	}
	for (size_t i = 0; i < mib; i++)
		free(objects[i]);
	after = resident();
	return after < before ? 0 : (after - before) >> 20;
}

/* Bounds as in memory.c: 36 MiB, and 72 for 4 s. */
TEST(what_is_asked_for_again_at_once_stays_within_the_raised_bound_and_not_for_long)
{
	size_t before, rest = 0;

	(void)malloc_trim(0);
	before = resident();
	atomic_store(&second, 1000000000); /* later than any clock that ran before */
	/* Where a test before this one left it open, the first peak stays; else it goes, and the second one, soon after, stays. */
	for (unsigned int round = 0; round < 3 && rest < 52; round++)
		rest = rest_of(60, before);
	if (rest < 52 || rest > 68)
		tap_fail(__FILE__, __LINE__, "of 60 MiB that are used again and again %zu stay", rest);
	for (unsigned int round = 0; round < 4; round++) {
		rest = rest_of(128, before);
		if (rest > 72 + 8)
			tap_fail(__FILE__, __LINE__, "of 128 MiB that are used again and again %zu stay", rest);
	}
	for (unsigned int round = 0; round < 3 && rest < 52; round++)
		rest = rest_of(60, before);
	atomic_fetch_add(&second, 5);
	rest = rest_of(1, before);
	atomic_store(&second, 0);
	if (rest > 8)
		tap_fail(__FILE__, __LINE__, "%zu MiB stay though nothing has asked for them for 5 s", rest);
}

TEST(calloc_of_fresh_memory_touches_none_of_it)
{
	static const size_t sizes[] = {1 << 20, 8 << 20, 100 << 20};

	(void)malloc_trim(0);
	for (unsigned int i = 0; i < 3; i++) {
		size_t before = resident();
		char *objects[8];

		for (unsigned int k = 0; k < 8; k++)
			CHECK((objects[k] = calloc(1, sizes[i])) != NULL);
		CHECK(resident() < before + sizes[i] * 8 / 8);
		for (unsigned int k = 0; k < 8; k++)
			free(objects[k]);
	}
}

/* Frames that went back read as zero, and calloc() relies on it: also when they could not go back. */
TEST(calloc_gives_zeros_where_the_system_takes_nothing_back)
{
	enum { OBJECTS = 16, NBYTES = 1 << 20 };
	char *objects[OBJECTS];
	size_t written = 0;

	(void)malloc_trim(0);
	for (unsigned int i = 0; i < OBJECTS; i++) {
		CHECK((objects[i] = malloc(NBYTES)) != NULL);
		memset(objects[i], 0x5a, NBYTES);
	}
	for (unsigned int i = 0; i < OBJECTS; i++)
		free(objects[i]);
	atomic_store(&refuses, true);
	(void)malloc_trim(0);
	atomic_store(&refuses, false);
	for (unsigned int i = 0; i < OBJECTS; i++) {
		CHECK((objects[i] = calloc(1, NBYTES)) != NULL);
		for (size_t k = 0; k < NBYTES; k++)
			written += objects[i][k] != 0;
	}
	CHECK_EQ(written, 0);
	for (unsigned int i = 0; i < OBJECTS; i++)
		free(objects[i]);
}
