/* tests/unit/heap/typed.c: typed caches. */
#include "heap_rig.h"

struct thing {
	uint64_t magic;
	uint64_t used;
	char name[24];
};

static unsigned int constructed;

static void construct(void *object, void *context)
{
	struct thing *thing = object;

	thing->magic = (uintptr_t)context;
	thing->used = 0;
	constructed++;
}

TEST(H1_typed_objects_are_constructed_once_and_keep_what_they_hold)
{
	struct heap_rig rig = heap_rig_make(1024, 1, false);
	struct loam_cache_config config = {
		.name = "thing", .nbytes = sizeof(struct thing), .construct = construct, .context = (void *)0x7e57};
	struct loam_heap_cache *cache;
	struct thing *things[300];
	unsigned int after_one = 0;

	constructed = 0;
	CHECK_OK(loam_heap_cache_create(rig.heap, &config, &cache));
	for (unsigned int round = 1; round <= 3; round++) {
		for (unsigned int i = 0; i < 300; i++) {
			things[i] = loam_heap_cache_alloc(cache);
			CHECK(things[i] != NULL && things[i]->magic == 0x7e57);
			things[i]->used++;
		}
		CHECK_EQ(things[0]->used, round);
		for (unsigned int i = 0; i < 300; i++)
			loam_heap_cache_free(cache, things[i]);
		after_one = round == 1 ? constructed : after_one;
		CHECK_EQ(constructed, after_one);
	}
	CHECK_OK(loam_heap_cache_destroy(rig.heap, cache));
	heap_rig_end(&rig);
}

TEST(H1_typed_caches_of_one_size_share_no_frame)
{
	struct heap_rig rig = heap_rig_make(1024, 1, false);
	struct loam_cache_config config = {.name = "a", .nbytes = 64};
	struct loam_heap_cache *a, *b;
	char *in_a, *in_b, *plain;

	CHECK_OK(loam_heap_cache_create(rig.heap, &config, &a));
	config.name = "b";
	CHECK_OK(loam_heap_cache_create(rig.heap, &config, &b));
	in_a = loam_heap_cache_alloc(a);
	in_b = loam_heap_cache_alloc(b);
	plain = loam_heap_alloc(rig.heap, 64);
	CHECK(in_a && in_b && plain);
	CHECK((uintptr_t)in_a / 4096 != (uintptr_t)in_b / 4096);
	CHECK((uintptr_t)in_a / 4096 != (uintptr_t)plain / 4096);
	/* free() finds the cache by itself. */
	loam_heap_free(rig.heap, in_a);
	loam_heap_cache_free(b, in_b);
	loam_heap_free(rig.heap, plain);
	CHECK_OK(loam_heap_cache_destroy(rig.heap, a));
	CHECK_OK(loam_heap_cache_destroy(rig.heap, b));
	heap_rig_end(&rig);
}

TEST(H1_typed_objects_are_aligned_as_asked)
{
	struct heap_rig rig = heap_rig_make(2048, 1, false);

	for (size_t align = 1; align <= 4096; align *= 2) {
		struct loam_cache_config config = {.name = "aligned", .nbytes = 200, .align = align};
		struct loam_heap_cache *cache;
		void *objects[40];

		CHECK_OK(loam_heap_cache_create(rig.heap, &config, &cache));
		for (unsigned int i = 0; i < 40; i++) {
			objects[i] = loam_heap_cache_alloc(cache);
			CHECK(objects[i] != NULL);
			CHECK_EQ((uintptr_t)objects[i] % align, 0);
			CHECK_EQ(loam_heap_usable_size(rig.heap, objects[i]), 208);
			heap_rig_fill(objects[i], 208, i);
		}
		for (unsigned int i = 0; i < 40; i++) {
			CHECK(heap_rig_filled(objects[i], 208, i));
			loam_heap_cache_free(cache, objects[i]);
		}
		CHECK_OK(loam_heap_cache_destroy(rig.heap, cache));
	}
	heap_rig_end(&rig);
}

TEST(H1_a_cache_with_live_objects_is_not_destroyed_and_names_them)
{
	struct heap_rig rig = heap_rig_make(1024, 1, true);
	struct loam_cache_config config = {.name = "inode", .nbytes = 100};
	static const struct loam_call_site site = {.file = "fs.c", .function = "open", .line = 12};
	struct loam_heap_cache *cache;
	char expected[256];
	void *object;

	CHECK_OK(loam_heap_cache_create(rig.heap, &config, &cache));
	object = loam_heap_cache_alloc_at(cache, &site);
	(void)loami_format(
		expected, sizeof(expected),
		"loam: heap: cache inode still has 1 live objects\nloam: heap: 0x%lx of inode, allocated at fs.c:12\n",
		HEX(object));
	tap_log_capture();
	enum loam_status status = loam_heap_cache_destroy(rig.heap, cache);
	CHECK_STR(tap_log_end(), expected);
	CHECK_STATUS(status, LOAM_ERR_IN_USE);
	loam_heap_cache_free(cache, object);
	CHECK_OK(loam_heap_cache_destroy(rig.heap, cache));
	CHECK_STATUS(loam_heap_cache_destroy(rig.heap, cache), LOAM_ERR_INVALID);
	heap_rig_end(&rig);
}

TEST(H1_impossible_caches_are_refused)
{
	struct heap_rig rig = heap_rig_make(1024, 1, false);
	struct loam_cache_config config = {.name = "x", .nbytes = 0};
	struct loam_heap_cache *cache, *made[LOAM_HEAP_CODES];
	enum loam_status status;
	unsigned int n = 0;

	CHECK_STATUS(loam_heap_cache_create(rig.heap, &config, &cache), LOAM_ERR_ZERO_SIZE);
	config.nbytes = LOAM_HEAP_SMALL_MAX + 1;
	CHECK_STATUS(loam_heap_cache_create(rig.heap, &config, &cache), LOAM_ERR_TOO_LARGE);
	config.nbytes = 64;
	config.align = 24;
	CHECK_STATUS(loam_heap_cache_create(rig.heap, &config, &cache), LOAM_ERR_ALIGNMENT);
	config.align = 8192;
	CHECK_STATUS(loam_heap_cache_create(rig.heap, &config, &cache), LOAM_ERR_ALIGNMENT);
	config.align = 0;
	config.name = "";
	CHECK_STATUS(loam_heap_cache_create(rig.heap, &config, &cache), LOAM_ERR_INVALID);
	config.name = "one of many";
	while ((status = loam_heap_cache_create(rig.heap, &config, &made[n])) == LOAM_OK)
		n++;
	CHECK_STATUS(status, LOAM_ERR_LIMIT);
	CHECK_EQ(n, LOAM_HEAP_CACHES_MAX);
	while (n > 0)
		CHECK_OK(loam_heap_cache_destroy(rig.heap, made[--n]));
	heap_rig_end(&rig);
}

TEST(H5_each_cache_has_figures_of_its_own)
{
	struct heap_rig rig = heap_rig_make(1024, 1, false);
	struct loam_cache_config config = {.name = "thing", .nbytes = 100};
	struct loam_heap_cache *cache;
	struct loam_heap_class_stats stats;
	struct loam_heap_stats sums;
	void *objects[50];
	size_t index = 0;

	CHECK_OK(loam_heap_cache_create(rig.heap, &config, &cache));
	for (unsigned int i = 0; i < 50; i++)
		objects[i] = loam_heap_cache_alloc(cache);
	while (loam_heap_read_class_stats(rig.heap, index, &stats) == LOAM_OK)
		index++;
	CHECK_EQ(index, LOAM_HEAP_SIZE_CLASSES + 1);
	CHECK_OK(loam_heap_read_class_stats(rig.heap, 0, &stats));
	CHECK_STR(stats.name, "size-16");
	CHECK_OK(loam_heap_read_class_stats(rig.heap, index - 1, &stats));
	CHECK_STR(stats.name, "thing");
	CHECK_EQ(stats.nbytes, 112);
	CHECK_EQ(stats.live, 50);
	CHECK(stats.slots >= stats.live + stats.cached);
	CHECK(stats.frames != 0);
	for (unsigned int i = 0; i < 50; i++)
		loam_heap_cache_free(cache, objects[i]);
	CHECK_OK(loam_heap_read_class_stats(rig.heap, index - 1, &stats));
	CHECK_EQ(stats.live, 0);
	CHECK_OK(loam_heap_cache_destroy(rig.heap, cache));
	/* What it did is not forgotten. */
	loam_heap_read_stats(rig.heap, &sums);
	CHECK_EQ(sums.allocations, 50);
	CHECK_EQ(sums.frees, 50);
	CHECK_EQ(sums.allocated_bytes, 50 * 112);
	heap_rig_end(&rig);
}
