/* tests/unit/heap/setup.c: before init, init over frames, init over one block. */
#include "heap_rig.h"

static struct loam_heap heap;
static unsigned char early[8192] __attribute__((aligned(64)));

TEST(H3_init_twice_is_an_error)
{
	struct heap_rig rig = heap_rig_make(1024, 1, false);
	struct loam_heap_config config = {.frames = rig.rig->frames, .ncpus = 1};

	CHECK_STATUS(loam_heap_init(rig.heap, &config, NULL, 0), LOAM_ERR_ALREADY);
	CHECK_STATUS(loam_heap_init_block(rig.heap, early, sizeof(early), 1, false), LOAM_ERR_ALREADY);
	CHECK_STATUS(loam_heap_bump_init(rig.heap, early, sizeof(early)), LOAM_ERR_ALREADY);
	heap_rig_end(&rig);
}

TEST(H3_wrong_configurations_are_refused_and_leave_nothing)
{
	static struct loam_frames none;
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024});
	struct loam_heap_config config = {.frames = rig->frames, .ncpus = 0};
	uint64_t used = heap_rig_used(rig);
	size_t nbytes;
	void *metadata;

	heap = (struct loam_heap){0};
	CHECK_STATUS(loam_heap_init(&heap, &config, NULL, 0), LOAM_ERR_CPU);
	config.ncpus = LOAM_CPUS_MAX + 1;
	CHECK_STATUS(loam_heap_init(&heap, &config, NULL, 0), LOAM_ERR_CPU);
	config.ncpus = 1;
	config.frames = NULL;
	CHECK_STATUS(loam_heap_init(&heap, &config, NULL, 0), LOAM_ERR_INVALID);
	config.frames = &none;
	none = (struct loam_frames){0};
	CHECK_STATUS(loam_heap_init(&heap, &config, NULL, 0), LOAM_ERR_NOT_READY);
	config.frames = rig->frames;
	nbytes = loam_heap_metadata_size(&config);
	metadata = loam_frame_virt(rig->frames, loam_frame_alloc(rig->frames, 5, NULL));
	CHECK_STATUS(loam_heap_init(&heap, &config, metadata, nbytes - 1), LOAM_ERR_NO_METADATA);
	CHECK(loam_heap_alloc(&heap, 16) == NULL);
	CHECK_STATUS(loam_heap_last_failure(&heap), LOAM_ERR_NOT_READY);
	CHECK_EQ(heap_rig_used(rig), used + 32);
	CHECK(nbytes <= 32 * LOAM_PAGE_SIZE);
	CHECK_OK(loam_heap_init(&heap, &config, metadata, nbytes));
	loam_heap_free(&heap, loam_heap_alloc(&heap, 16));
	CHECK_OK(loam_heap_check(&heap));
	rig_destroy(rig);
}

TEST(H3_more_cpus_need_more_metadata)
{
	struct loam_heap_config config = {.ncpus = 1};
	size_t one = loam_heap_metadata_size(&config);

	config.ncpus = 8;
	CHECK(one > 0 && loam_heap_metadata_size(&config) > one);
	config.ncpus = 0;
	CHECK_EQ(loam_heap_metadata_size(&config), 0);
}

TEST(H3_a_heap_over_one_block_stays_inside_it)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024, .no_frames = true});
	char *block = (char *)(rig->direct_map + (uintptr_t)rig->ram) + 24;
	size_t nbytes = 500 * LOAM_PAGE_SIZE + 100;
	struct loam_heap_stats stats;
	void *first = NULL;
	size_t n = 0;

	heap = (struct loam_heap){0};
	CHECK_OK(loam_heap_init_block(&heap, block, nbytes, 1, false));
	CHECK_STATUS(loam_heap_init_block(&heap, block, nbytes, 1, false), LOAM_ERR_ALREADY);
	for (void **object; (object = loam_heap_alloc(&heap, 200)) != NULL; n++) {
		CHECK((char *)object >= block && (char *)object + 200 <= block + nbytes);
		*object = first;
		first = object;
	}
	CHECK(n * 224 > nbytes * 3 / 4);
	loam_heap_read_stats(&heap, &stats);
	CHECK_EQ(stats.used_bytes, n * 224);
	CHECK_EQ(stats.total_bytes, stats.used_bytes + stats.free_bytes);
	CHECK(stats.total_bytes <= nbytes);
	CHECK(stats.end > (uintptr_t)block && stats.end <= (uintptr_t)block + nbytes);
	while (first) {
		void *next = *(void **)first;

		loam_heap_free(&heap, first);
		first = next;
	}
	CHECK_OK(loam_heap_check(&heap));
	rig_destroy(rig);
}

TEST(H3_a_block_that_is_too_small_is_refused)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024, .no_frames = true});
	char *block = (char *)(rig->direct_map + (uintptr_t)rig->ram);

	heap = (struct loam_heap){0};
	for (size_t npages = 0; npages < 16; npages++)
		CHECK_STATUS(loam_heap_init_block(&heap, block, npages * LOAM_PAGE_SIZE, 1, false),
			     LOAM_ERR_NO_METADATA);
	CHECK_STATUS(loam_heap_init_block(&heap, NULL, 1 << 20, 1, false), LOAM_ERR_INVALID);
	CHECK_STATUS(loam_heap_init_block(&heap, block, SIZE_MAX, 1, false), LOAM_ERR_INVALID);
	CHECK_STATUS(loam_heap_init_block(&heap, block, 1 << 20, 0, false), LOAM_ERR_CPU);
	rig_destroy(rig);
}

TEST(H4_before_init_a_bump_region_serves)
{
	unsigned char *a, *b, *c;
	size_t n = 0;

	heap = (struct loam_heap){0};
	CHECK(loam_heap_alloc(&heap, 8) == NULL);
	CHECK_STATUS(loam_heap_last_failure(&heap), LOAM_ERR_NOT_READY);
	CHECK_STATUS(loam_heap_bump_init(&heap, early, 32), LOAM_ERR_INVALID);
	CHECK_STATUS(loam_heap_bump_init(&heap, NULL, 4096), LOAM_ERR_INVALID);
	CHECK_OK(loam_heap_bump_init(&heap, early, sizeof(early)));
	CHECK_STATUS(loam_heap_bump_init(&heap, early, sizeof(early)), LOAM_ERR_ALREADY);
	a = loam_heap_alloc(&heap, 100);
	b = loam_heap_alloc_zeroed(&heap, 10);
	c = loam_heap_alloc_aligned(&heap, 64, 256);
	CHECK(a && b && c);
	CHECK_EQ((uintptr_t)a % 16, 0);
	CHECK_EQ((uintptr_t)c % 256, 0);
	CHECK_EQ(loam_heap_usable_size(&heap, a), 112);
	CHECK_EQ(loam_heap_usable_size(&heap, b), 16);
	heap_rig_fill(a, 100, 1);
	heap_rig_fill(b, 10, 2);
	heap_rig_fill(c, 64, 3);
	CHECK(heap_rig_filled(a, 100, 1) && heap_rig_filled(b, 10, 2) && heap_rig_filled(c, 64, 3));
	loam_heap_free(&heap, b);
	while (loam_heap_alloc(&heap, 64))
		n++;
	CHECK(n > 100);
	CHECK_STATUS(loam_heap_last_failure(&heap), LOAM_ERR_NO_MEMORY);
	CHECK(loam_heap_alloc(&heap, SIZE_MAX) == NULL);
	CHECK(heap_rig_filled(a, 100, 1) && heap_rig_filled(c, 64, 3));
}

TEST(H4_what_the_bump_region_gave_stays_valid_after_init)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024});
	struct loam_heap_config config = {.frames = rig->frames, .ncpus = 1};
	struct loam_heap_object what;
	struct loam_heap_stats stats;
	unsigned char *a, *b, *moved;

	heap = (struct loam_heap){0};
	CHECK_OK(loam_heap_bump_init(&heap, early, sizeof(early)));
	a = loam_heap_alloc(&heap, 100);
	b = loam_heap_alloc(&heap, 64);
	heap_rig_fill(a, 100, 1);
	CHECK_OK(loam_heap_init(&heap, &config, NULL, 0));
	CHECK(heap_rig_filled(a, 100, 1));
	CHECK(loam_heap_alloc(&heap, 64) < (void *)early ||
	      loam_heap_alloc(&heap, 64) >= (void *)(early + sizeof(early)));
	loam_heap_free(&heap, b);
	loam_heap_free_sized(&heap, b, 64);
	CHECK_EQ(loam_heap_usable_size(&heap, a), 112);
	CHECK_EQ(loam_heap_whereis(&heap, (uintptr_t)a + 50, &what), LOAM_HEAP_BUMP);
	CHECK_EQ(what.start, a);
	CHECK_EQ(loam_heap_whereis(&heap, (uintptr_t)early + sizeof(early) - 1, &what), LOAM_HEAP_OUTSIDE);
	moved = loam_heap_realloc(&heap, a, 500);
	CHECK(moved && moved != a && heap_rig_filled(moved, 100, 1));
	loam_heap_free(&heap, moved);
	loam_heap_read_stats(&heap, &stats);
	CHECK(stats.used_bytes >= 176);
	CHECK_MISUSE(loam_heap_free(&heap, a + 16),
		     "loam: heap: free of 0x%lx, which is early memory where no allocation starts", HEX(a + 16));
	CHECK_OK(loam_heap_check(&heap));
	rig_destroy(rig);
}
