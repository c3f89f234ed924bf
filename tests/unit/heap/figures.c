/* tests/unit/heap/figures.c: statistics, walking, where an address is, giving memory back. */
#include "heap_rig.h"

TEST(H5_figures_are_exact_at_rest)
{
	struct heap_rig rig = heap_rig_make(4096, 1, false);
	uint64_t seed = 5, used = 0, allocated = 0, allocs = 0, frees = 0;
	struct loam_heap_stats stats;
	void *objects[200] = {0};
	size_t sizes[200] = {0};

	for (unsigned int step = 0; step < 5000; step++) {
		size_t i = rig_random(&seed) % 200;

		if (objects[i]) {
			loam_heap_free(rig.heap, objects[i]);
			used -= sizes[i];
			frees++;
			objects[i] = NULL;
		} else {
			objects[i] = loam_heap_alloc(rig.heap, rig_random(&seed) % (step % 50 == 0 ? 190000 : 600));
			CHECK(objects[i] != NULL);
			sizes[i] = loam_heap_usable_size(rig.heap, objects[i]);
			used += sizes[i];
			allocated += sizes[i];
			allocs++;
		}
		loam_heap_read_stats(rig.heap, &stats);
		CHECK_EQ(stats.used_bytes, used);
		CHECK_EQ(stats.allocated_bytes, allocated);
		CHECK_EQ(stats.freed_bytes, allocated - used);
		CHECK_EQ(stats.allocations, allocs);
		CHECK_EQ(stats.frees, frees);
		CHECK_EQ(stats.total_bytes, stats.used_bytes + stats.free_bytes);
		CHECK(stats.peak_bytes >= used);
	}
	for (unsigned int i = 0; i < 200; i++)
		loam_heap_free(rig.heap, objects[i]);
	heap_rig_end(&rig);
}

TEST(H5_the_peak_outlives_what_made_it)
{
	struct heap_rig rig = heap_rig_make(2048, 1, false);
	struct loam_heap_stats at_peak, later;
	void *objects[100];

	for (unsigned int i = 0; i < 100; i++)
		objects[i] = loam_heap_alloc(rig.heap, 1000);
	loam_heap_read_stats(rig.heap, &at_peak);
	for (unsigned int i = 0; i < 100; i++)
		loam_heap_free(rig.heap, objects[i]);
	loam_heap_read_stats(rig.heap, &later);
	CHECK_EQ(at_peak.peak_bytes, 100 * 1024);
	CHECK_EQ(later.peak_bytes, at_peak.peak_bytes);
	CHECK_EQ(later.used_bytes, 0);
	heap_rig_end(&rig);
}

TEST(H5_the_end_address_is_past_every_object)
{
	struct heap_rig rig = heap_rig_make(2048, 1, false);
	struct loam_heap_stats stats;
	char *objects[50];

	for (unsigned int i = 0; i < 50; i++) {
		objects[i] = loam_heap_alloc(rig.heap, 5000);
		loam_heap_read_stats(rig.heap, &stats);
		CHECK((uintptr_t)objects[i] + 5000 <= stats.end);
	}
	for (unsigned int i = 0; i < 50; i++)
		loam_heap_free(rig.heap, objects[i]);
	heap_rig_end(&rig);
}

struct found {
	uint64_t n;
	uint64_t nbytes;
	uint64_t sum;
};

static void visit(void *context, const struct loam_heap_object *object)
{
	struct found *found = context;

	found->n++;
	found->nbytes += object->nbytes;
	found->sum += object->start;
}

TEST(H5_a_walk_meets_every_live_object_once)
{
	struct heap_rig rig = heap_rig_make(4096, 1, false);
	struct found expected = {0}, found = {0};
	void *objects[300];
	uint64_t seed = 9;

	for (unsigned int i = 0; i < 300; i++)
		objects[i] = loam_heap_alloc(rig.heap, rig_random(&seed) % (i % 40 == 0 ? 60000 : 2000));
	for (unsigned int i = 0; i < 300; i++) {
		if (i % 3 == 0) {
			loam_heap_free(rig.heap, objects[i]);
			continue;
		}
		expected.n++;
		expected.nbytes += loam_heap_usable_size(rig.heap, objects[i]);
		expected.sum += (uintptr_t)objects[i];
	}
	CHECK_EQ(loam_heap_walk(rig.heap, visit, &found), expected.n);
	CHECK_EQ(found.n, expected.n);
	CHECK_EQ(found.nbytes, expected.nbytes);
	CHECK_EQ(found.sum, expected.sum);
	for (unsigned int i = 0; i < 300; i++)
		if (i % 3 != 0)
			loam_heap_free(rig.heap, objects[i]);
	heap_rig_end(&rig);
}

static const struct loam_call_site site_a = {.file = "a.c", .function = "a", .line = 1};
static const struct loam_call_site site_b = {.file = "b.c", .function = "b", .line = 2};

TEST(H6_an_address_is_explained_with_its_call_sites)
{
	struct heap_rig rig = heap_rig_make(2048, 1, true);
	char *object = loam_heap_alloc_at(rig.heap, 100, &site_a);
	char *large = loam_heap_alloc_at(rig.heap, 90000, &site_b);
	struct loam_heap_object what;

	CHECK_EQ(loam_heap_whereis(rig.heap, (uintptr_t)object + 77, &what), LOAM_HEAP_LIVE);
	CHECK_EQ(what.start, object);
	CHECK_EQ(what.nbytes, 112);
	CHECK_STR(what.class_name, "size-112");
	CHECK(what.allocated_at == &site_a);
	CHECK(what.freed_at == NULL);
	CHECK_EQ(what.sequence, 1);
	CHECK_EQ(loam_heap_whereis(rig.heap, (uintptr_t)large + 39999, &what), LOAM_HEAP_LIVE);
	CHECK_EQ(what.start, large);
	CHECK_STR(what.class_name, "large");
	CHECK(what.allocated_at == &site_b);
	CHECK_EQ(what.sequence, 2);
	loam_heap_free_at(rig.heap, object, &site_b);
	CHECK_EQ(loam_heap_whereis(rig.heap, (uintptr_t)object, &what), LOAM_HEAP_FREE);
	CHECK(what.freed_at == &site_b);
	CHECK_EQ(loam_heap_whereis(rig.heap, (uintptr_t)rig.heap->kinds, NULL), LOAM_HEAP_INNER);
	CHECK_EQ(loam_heap_whereis(rig.heap, 16, NULL), LOAM_HEAP_OUTSIDE);
	loam_heap_free(rig.heap, large);
	heap_rig_end(&rig);
}

TEST(H1_trim_gives_empty_slabs_back)
{
	struct heap_rig rig = heap_rig_make(4096, 1, false);
	static void *objects[20000];
	uint64_t held;
	size_t given;

	for (unsigned int i = 0; i < 20000; i++)
		objects[i] = loam_heap_alloc(rig.heap, 256);
	held = heap_rig_used(rig.rig);
	CHECK(held - rig.used >= 1250);
	for (unsigned int i = 0; i < 20000; i++)
		loam_heap_free(rig.heap, objects[i]);
	given = loam_heap_trim(rig.heap);
	CHECK(given > 0);
	CHECK_EQ(heap_rig_used(rig.rig), rig.used);
	CHECK_EQ(loam_heap_trim(rig.heap), 0);
	heap_rig_end(&rig);
}

TEST(H1_frames_under_pressure_shrink_the_heap)
{
	struct heap_rig rig = heap_rig_make(1024, 1, false);
	void *object = loam_heap_alloc(rig.heap, 64);
	loam_pfn frames[1024];
	size_t n = 0;

	loam_heap_free(rig.heap, object);
	while (n < 1024 && (frames[n] = loam_frame_alloc(rig.rig->frames, 0, NULL)) != LOAM_PFN_NONE)
		n++;
	/* With all else taken, the heap holds nothing but what it was made with. */
	CHECK_EQ(heap_rig_used(rig.rig) - n, rig.used);
	while (n > 0)
		loam_frame_free(rig.rig->frames, frames[--n], 0);
	heap_rig_end(&rig);
}
