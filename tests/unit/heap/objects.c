/* tests/unit/heap/objects.c: what loam_heap_alloc() and its like promise. */
#include "heap_rig.h"

#include <heap/internal.h>

TEST(H1_every_size_gets_memory_large_and_aligned_enough)
{
	struct heap_rig rig = heap_rig_make(2048, 1, false);
	static const size_t sizes[] = {0,    1,    15,    16,    17,    100,   128,   129,   160,   1000,
				       4096, 4097, 32767, 32768, 32769, 40960, 65535, 65536, 65537, 100000};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		unsigned char *object = loam_heap_alloc(rig.heap, sizes[i]);

		CHECK(object != NULL);
		CHECK_EQ((uintptr_t)object % LOAM_HEAP_MIN_ALIGN, 0);
		CHECK(loam_heap_usable_size(rig.heap, object) >= sizes[i]);
		heap_rig_fill(object, loam_heap_usable_size(rig.heap, object), i);
		CHECK(heap_rig_filled(object, loam_heap_usable_size(rig.heap, object), i));
		loam_heap_free(rig.heap, object);
	}
	heap_rig_end(&rig);
}

TEST(H1_a_size_wastes_at_most_a_quarter_of_its_place)
{
	struct heap_rig rig = heap_rig_make(2048, 1, false);

	for (size_t nbytes = 1; nbytes <= LOAM_HEAP_SMALL_MAX; nbytes += nbytes < 2048 ? 1 : 37) {
		void *object = loam_heap_alloc(rig.heap, nbytes);
		size_t usable;

		CHECK(object != NULL);
		usable = loam_heap_usable_size(rig.heap, object);
		CHECK(usable >= nbytes && (usable - nbytes <= usable / 4 || usable - nbytes < 16));
		loam_heap_free_sized(rig.heap, object, nbytes);
	}
	heap_rig_end(&rig);
}

TEST(H1_requests_beyond_the_classes_are_exact_runs_of_frames)
{
	struct heap_rig rig = heap_rig_make(2048, 1, false);
	unsigned char *object = loam_heap_alloc(rig.heap, 19 * LOAM_PAGE_SIZE + 1);

	CHECK(object != NULL);
	CHECK_EQ((uintptr_t)object % LOAM_PAGE_SIZE, 0);
	CHECK_EQ(loam_heap_usable_size(rig.heap, object), 20 * LOAM_PAGE_SIZE);
	loam_heap_free(rig.heap, object);
	heap_rig_end(&rig);
}

TEST(H1_alignment_is_kept_for_every_power_of_two)
{
	struct heap_rig rig = heap_rig_make(2048, 1, false);

	for (size_t align = 1; align <= 65536; align *= 2) {
		static const size_t sizes[] = {1, 24, 100, 3000, 20000, 50000, 90000};

		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			void *object = loam_heap_alloc_aligned(rig.heap, sizes[i], align);

			CHECK(object != NULL);
			CHECK_EQ((uintptr_t)object % align, 0);
			CHECK(loam_heap_usable_size(rig.heap, object) >= sizes[i]);
			loam_heap_free(rig.heap, object);
		}
	}
	{
		void *nothing = loam_heap_alloc_aligned(rig.heap, 0, 2 * LOAM_PAGE_SIZE);

		CHECK(nothing && (uintptr_t)nothing % (2 * LOAM_PAGE_SIZE) == 0);
		loam_heap_free(rig.heap, nothing);
	}
	CHECK(loam_heap_alloc_aligned(rig.heap, 64, 24) == NULL);
	CHECK_STATUS(loam_heap_last_failure(rig.heap), LOAM_ERR_ALIGNMENT);
	CHECK(loam_heap_alloc_aligned(rig.heap, 64, 0) == NULL);
	heap_rig_end(&rig);
}

TEST(H1_zeroed_memory_is_zero_also_where_it_was_used_before)
{
	struct heap_rig rig = heap_rig_make(2048, 1, false);

	for (size_t nbytes = 16; nbytes <= 100000; nbytes = nbytes * 3 / 2) {
		unsigned char *object = loam_heap_alloc(rig.heap, nbytes);

		CHECK(object != NULL);
		heap_rig_fill(object, nbytes, 1);
		loam_heap_free(rig.heap, object);
		object = loam_heap_alloc_zeroed(rig.heap, nbytes);
		CHECK(object != NULL);
		for (size_t i = 0; i < nbytes; i++)
			CHECK(object[i] == 0);
		loam_heap_free(rig.heap, object);
	}
	heap_rig_end(&rig);
}

TEST(H1_impossible_requests_are_refused_and_change_nothing)
{
	struct heap_rig rig = heap_rig_make(2048, 1, false);
	struct loam_heap_stats before, after;
	void *object;

	loam_heap_read_stats(rig.heap, &before);
	CHECK(loam_heap_alloc(rig.heap, SIZE_MAX) == NULL);
	CHECK_STATUS(loam_heap_last_failure(rig.heap), LOAM_ERR_TOO_LARGE);
	CHECK(loam_heap_alloc(rig.heap, SIZE_MAX - 4096) == NULL);
	CHECK(loam_heap_alloc(rig.heap, (size_t)1 << 50) == NULL);
	CHECK_STATUS(loam_heap_last_failure(rig.heap), LOAM_ERR_NO_MEMORY);
	CHECK(loam_heap_alloc_array(rig.heap, (size_t)1 << 33, (size_t)1 << 33) == NULL);
	CHECK_STATUS(loam_heap_last_failure(rig.heap), LOAM_ERR_OVERFLOW);
	CHECK_STATUS(loam_heap_alloc_status(rig.heap, SIZE_MAX, 16, &object), LOAM_ERR_TOO_LARGE);
	CHECK(object == NULL);
	CHECK_STATUS(loam_heap_alloc_status(rig.heap, 16, 48, &object), LOAM_ERR_ALIGNMENT);
	loam_heap_read_stats(rig.heap, &after);
	CHECK_EQ(after.allocations, before.allocations);
	CHECK_EQ(after.used_bytes, before.used_bytes);
	heap_rig_end(&rig);
}

TEST(H1_arrays_are_zeroed)
{
	struct heap_rig rig = heap_rig_make(2048, 1, false);
	uint64_t *array = loam_heap_alloc_array(rig.heap, 100, sizeof(*array));

	CHECK(array != NULL);
	for (size_t i = 0; i < 100; i++)
		CHECK(array[i] == 0);
	loam_heap_free(rig.heap, array);
	heap_rig_end(&rig);
}

TEST(H1_realloc_keeps_the_contents_and_grows_in_place_where_it_can)
{
	struct heap_rig rig = heap_rig_make(4096, 1, false);
	unsigned char *object = NULL, *same;
	size_t nbytes = 0;

	for (size_t next = 1; next < 300000; next += next / 3 + 5) {
		unsigned char *moved = loam_heap_realloc(rig.heap, object, next);

		CHECK(moved != NULL);
		CHECK(heap_rig_filled(moved, nbytes, 7));
		heap_rig_fill(moved, next, 7);
		object = moved;
		nbytes = next;
	}
	for (size_t next = nbytes; next > 0; next = next * 2 / 3) {
		object = loam_heap_realloc(rig.heap, object, next);
		CHECK(object != NULL);
		CHECK(heap_rig_filled(object, next, 7));
	}
	loam_heap_free(rig.heap, object);

	object = loam_heap_alloc(rig.heap, 100);
	same = loam_heap_realloc(rig.heap, object, 112);
	CHECK(same == object);
	loam_heap_free(rig.heap, same);

	/* With nothing of the heap's behind it. */
	(void)loam_heap_drain(rig.heap);
	object = loam_heap_alloc(rig.heap, 100 * 1024);
	same = loam_heap_realloc(rig.heap, object, 200 * 1024);
	CHECK(same == object);
	CHECK_EQ(loam_heap_usable_size(rig.heap, same), 200 * 1024);
	same = loam_heap_realloc(rig.heap, object, 80 * 1024);
	CHECK(same == object);
	CHECK_EQ(loam_heap_usable_size(rig.heap, same), 80 * 1024);
	loam_heap_free(rig.heap, same);
	heap_rig_end(&rig);
}

TEST(H1_a_realloc_that_fails_leaves_the_object_as_it_was)
{
	struct heap_rig rig = heap_rig_make(2048, 1, false);
	unsigned char *object = loam_heap_alloc(rig.heap, 200);

	CHECK(object != NULL);
	heap_rig_fill(object, 200, 3);
	CHECK(loam_heap_realloc(rig.heap, object, (size_t)1 << 40) == NULL);
	CHECK(heap_rig_filled(object, 200, 3));
	loam_heap_free(rig.heap, object);
	heap_rig_end(&rig);
}

TEST(H1_bulk_calls_do_what_single_ones_do)
{
	struct heap_rig rig = heap_rig_make(2048, 1, false);
	void *objects[500];

	CHECK_EQ(loam_heap_alloc_bulk(rig.heap, 80, 500, objects), 500);
	for (size_t i = 0; i < 500; i++)
		heap_rig_fill(objects[i], 80, i);
	for (size_t i = 0; i < 500; i++)
		CHECK(heap_rig_filled(objects[i], 80, i));
	loam_heap_free_bulk(rig.heap, objects, 500);
	heap_rig_end(&rig);
}

TEST(H1_memory_that_runs_out_is_said_and_comes_back)
{
	struct heap_rig rig = heap_rig_make(1024, 1, false);
	void *first = NULL;
	size_t n = 0, again = 0;

	for (void **object; (object = loam_heap_alloc(rig.heap, 1024)) != NULL; n++) {
		*object = first;
		first = object;
	}
	CHECK_STATUS(loam_heap_last_failure(rig.heap), LOAM_ERR_NO_MEMORY);
	CHECK(n > 1024);
	while (first) {
		void *next = *(void **)first;

		loam_heap_free(rig.heap, first);
		first = next;
	}
	/* All of it may become another class. */
	for (void **object; (object = loam_heap_alloc(rig.heap, 512)) != NULL; again++) {
		*object = first;
		first = object;
	}
	CHECK(again >= 2 * n - n / 8);
	while (first) {
		void *next = *(void **)first;

		loam_heap_free(rig.heap, first);
		first = next;
	}
	heap_rig_end(&rig);
}

TEST(H6_free_of_NULL_is_nothing)
{
	struct heap_rig rig = heap_rig_make(1024, 1, false);
	struct loam_heap_stats stats;

	loam_heap_free(rig.heap, NULL);
	loam_heap_free_sized(rig.heap, NULL, 64);
	loam_heap_free_at(rig.heap, NULL, LOAM_HERE);
	CHECK_EQ(loam_heap_usable_size(rig.heap, NULL), 0);
	loam_heap_read_stats(rig.heap, &stats);
	CHECK_EQ(stats.frees, 0);
	heap_rig_end(&rig);
}

/* The seed's heap fell back to an allocator that never frees on two architectures of three, because its free lists broke there. */
TEST(H7_freed_memory_is_used_again_whatever_the_architecture)
{
	struct heap_rig rig = heap_rig_make(1024, 1, false);
	uint64_t seed = 3, total = 0;
	void *held[64] = {0};

	/* Ten times the memory there is goes through it. */
	while (total < (uint64_t)10 * 1024 * LOAM_PAGE_SIZE) {
		uint64_t r = rig_random(&seed);
		void **slot = &held[r % 64];

		loam_heap_free(rig.heap, *slot);
		*slot = loam_heap_alloc(rig.heap, (r >> 8) % 5000);
		CHECK(*slot != NULL);
		heap_rig_fill(*slot, loam_heap_usable_size(rig.heap, *slot), r);
		total += loam_heap_usable_size(rig.heap, *slot);
	}
	CHECK_OK(loam_heap_check(rig.heap));
	for (unsigned int i = 0; i < 64; i++)
		loam_heap_free(rig.heap, held[i]);
	heap_rig_end(&rig);
}

TEST(H7_freed_runs_wait_within_bounds_the_last_one_in_any_case)
{
	struct heap_rig rig = heap_rig_make(32768, 1, false);
	void *runs[12], *again;

	/* Nothing else is in use, so 256 KiB may wait. */
	for (size_t i = 0; i < 12; i++)
		CHECK((runs[i] = loam_heap_alloc(rig.heap, (100 + i) * LOAM_PAGE_SIZE)) != NULL);
	for (size_t i = 0; i < 12; i++) {
		loam_heap_free(rig.heap, runs[i]);
		CHECK(rig.heap->idle_frames >= 100 + i);
	}
	CHECK(rig.heap->idle_frames <= 64 + 111);
	again = loam_heap_alloc(rig.heap, 111 * LOAM_PAGE_SIZE);
	CHECK(again == runs[11]);
	loam_heap_free(rig.heap, again);
	for (size_t i = 0; i < 3; i++)
		CHECK((runs[i] = loam_heap_alloc(rig.heap, (20 + i) * LOAM_PAGE_SIZE)) != NULL);
	for (size_t i = 0; i < 3; i++)
		loam_heap_free(rig.heap, runs[i]);
	CHECK_EQ(rig.heap->idle_frames, 20 + 21 + 22);
	heap_rig_end(&rig);
}

/* Marked by its user, or while it waits: the run goes back to the frames, which keep the bad one; nobody gets it again meanwhile. */
TEST(F11_a_freed_run_with_a_poisoned_frame_is_not_handed_out_again)
{
	enum { RUN = 40 };

	for (int waits = 0; waits <= 1; waits++) {
		struct heap_rig rig = heap_rig_make(32768, 1, false);
		char *run = loam_heap_alloc(rig.heap, RUN * LOAM_PAGE_SIZE), *others[4];
		loam_pfn bad = loami_heap_pfn(rig.heap, run + 7 * LOAM_PAGE_SIZE);

		CHECK(run != NULL);
		if (waits == 0)
			loam_frame_mark_poisoned(rig.rig->frames, bad);
		loam_heap_free(rig.heap, run);
		CHECK_EQ(rig.heap->idle_frames, waits == 0 ? 0 : RUN);
		if (waits == 1)
			loam_frame_mark_poisoned(rig.rig->frames, bad);
		for (size_t i = 0; i < 4; i++) {
			others[i] = loam_heap_alloc(rig.heap, RUN * LOAM_PAGE_SIZE);
			CHECK(others[i] != NULL && others[i] != run);
		}
		for (size_t i = 0; i < 4; i++)
			loam_heap_free(rig.heap, others[i]);
		(void)loam_heap_trim(rig.heap);
		CHECK_EQ(loam_frame_quarantined_racy(rig.rig->frames), 1);
		heap_rig_end(&rig);
	}
}

TEST(H2_cpus_come_and_go)
{
	struct heap_rig rig = heap_rig_make_with(4096, &(struct loam_heap_config){.ncpus = 1, .cpus_later = true});
	struct loam_heap_class_stats stats;
	struct loami_heap_cpu *part = loam_heap_part(rig.heap, 0);
	void *objects[200], *one;

	/* Not online: nothing at once, everything under locks. */
	CHECK(loam_heap_try_alloc(rig.heap, part, 64) == NULL);
	for (unsigned int i = 0; i < 200; i++)
		CHECK((objects[i] = loam_heap_alloc(rig.heap, 64)) != NULL);
	CHECK(!loam_heap_try_free(rig.heap, part, objects[0]));
	CHECK_OK(loam_heap_read_class_stats(rig.heap, 3, &stats));
	CHECK_EQ(stats.nbytes, 64);
	CHECK_EQ(stats.live, 200);
	CHECK_EQ(stats.cached, 0);
	loam_heap_free(rig.heap, objects[199]);
	CHECK_OK(loam_heap_check(rig.heap));
	/* Online: what is freed stays at hand. */
	CHECK_OK(loam_heap_cpu_online(rig.heap, 0));
	loam_heap_free(rig.heap, objects[198]);
	CHECK(loam_heap_try_free(rig.heap, part, objects[197]));
	CHECK(!loam_heap_try_free(rig.heap, part, objects[197]));
	CHECK(!loam_heap_try_free(rig.heap, part, NULL));
	CHECK(!loam_heap_try_free(rig.heap, part, (char *)objects[0] + 1));
	one = loam_heap_try_alloc(rig.heap, part, 64);
	CHECK(one == objects[197]);
	CHECK(loam_heap_try_alloc(rig.heap, part, LOAM_HEAP_SMALL_MAX + 1) == NULL);
	/* The next try takes no pointer either that is not good, and nothing that is too large. */
	CHECK(!loam_heap_retry_free(rig.heap, part, objects[198]));
	CHECK(!loam_heap_retry_free(rig.heap, part, NULL));
	CHECK(!loam_heap_retry_free(rig.heap, part, (char *)objects[0] + 1));
	CHECK(loam_heap_retry_alloc(rig.heap, part, LOAM_HEAP_SMALL_MAX + 1) == NULL);
	CHECK(loam_heap_retry_alloc(rig.heap, part, SIZE_MAX) == NULL);
	CHECK_OK(loam_heap_check(rig.heap));
	/* Offline again: it has nothing, and comes back. */
	CHECK_OK(loam_heap_cpu_offline(rig.heap, 0));
	CHECK_OK(loam_heap_read_class_stats(rig.heap, 3, &stats));
	CHECK_EQ(stats.live, 198);
	CHECK_EQ(stats.cached, 0);
	CHECK(loam_heap_try_alloc(rig.heap, part, 64) == NULL);
	CHECK_OK(loam_heap_cpu_online(rig.heap, 0));
	CHECK_STATUS(loam_heap_cpu_online(rig.heap, 1), LOAM_ERR_CPU);
	for (unsigned int i = 0; i < 198; i++)
		loam_heap_free(rig.heap, i == 197 ? one : objects[i]);
	CHECK_OK(loam_heap_check(rig.heap));
	heap_rig_end(&rig);
}
