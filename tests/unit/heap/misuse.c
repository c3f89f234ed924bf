/* tests/unit/heap/misuse.c: every wrong pointer is named at the call, by its exact text, and nothing changes. */
#include "heap_rig.h"

struct before {
	struct loam_heap_stats stats;
	uint64_t frames;
};

static struct before before(const struct heap_rig *rig)
{
	struct before b;

	loam_heap_read_stats(rig->heap, &b.stats);
	b.frames = heap_rig_used(rig->rig);
	return b;
}

static void check_unchanged(const struct heap_rig *rig, const struct before *b)
{
	struct before now = before(rig);

	CHECK_OK(loam_heap_check(rig->heap));
	CHECK_EQ(now.stats.allocations, b->stats.allocations);
	CHECK_EQ(now.stats.frees, b->stats.frees);
	CHECK_EQ(now.stats.used_bytes, b->stats.used_bytes);
	CHECK_EQ(now.frames, b->frames);
}

TEST(H6_double_free_is_named)
{
	struct heap_rig rig = heap_rig_make(1024, 1, false);
	void *object = loam_heap_alloc(rig.heap, 64);
	struct before b;

	loam_heap_free(rig.heap, object);
	b = before(&rig);
	CHECK_MISUSE(loam_heap_free(rig.heap, object), "loam: heap: double free of 0x%lx (size-64)", HEX(object));
	CHECK_MISUSE(loam_heap_free_sized(rig.heap, object, 64),
		     "loam: heap: sized free of 0x%lx (size-64), which is free", HEX(object));
	CHECK_MISUSE((void)loam_heap_realloc(rig.heap, object, 10),
		     "loam: heap: realloc of 0x%lx (size-64), which is free", HEX(object));
	CHECK_MISUSE((void)loam_heap_usable_size(rig.heap, object),
		     "loam: heap: size query of 0x%lx (size-64), which is free", HEX(object));
	check_unchanged(&rig, &b);
	heap_rig_end(&rig);
}

TEST(H6_double_free_is_named_after_the_object_went_back_to_its_slab)
{
	struct heap_rig rig = heap_rig_make(1024, 1, false);
	void *object = loam_heap_alloc(rig.heap, 64);
	void *other = loam_heap_alloc(rig.heap, 64);

	loam_heap_free(rig.heap, object);
	(void)loam_heap_trim(rig.heap);
	CHECK_MISUSE(loam_heap_free(rig.heap, object), "loam: heap: double free of 0x%lx (size-64)", HEX(object));
	loam_heap_free(rig.heap, other);
	heap_rig_end(&rig);
}

static const struct loam_call_site site_a = {.file = "a.c", .function = "a", .line = 41};
static const struct loam_call_site site_b = {.file = "b.c", .function = "b", .line = 44};
static const struct loam_call_site site_c = {.file = "c.c", .function = "c", .line = 47};

TEST(H6_double_free_is_named_with_both_call_sites_when_tracking)
{
	struct heap_rig rig = heap_rig_make(1024, 1, true);
	void *object = loam_heap_alloc_at(rig.heap, 64, &site_a);
	struct before b;

	loam_heap_free_at(rig.heap, object, &site_b);
	b = before(&rig);
	CHECK_MISUSE(
		loam_heap_free_at(rig.heap, object, &site_c),
		"loam: heap: double free of 0x%lx (size-64), allocated at a.c:41, freed at b.c:44, freed again at c.c:47",
		HEX(object));
	CHECK_MISUSE(loam_heap_free(rig.heap, object),
		     "loam: heap: double free of 0x%lx (size-64), allocated at a.c:41, freed at b.c:44", HEX(object));
	check_unchanged(&rig, &b);
	heap_rig_end(&rig);
}

TEST(H6_double_free_of_a_large_object_is_named_with_both_call_sites_too)
{
	/* Large enough that the run is kept for a while. */
	struct heap_rig rig = heap_rig_make(8192, 1, true);
	void *object = loam_heap_alloc_at(rig.heap, 90000, &site_a);

	loam_heap_free_at(rig.heap, object, &site_b);
	CHECK_MISUSE(
		loam_heap_free_at(rig.heap, object, &site_c),
		"loam: heap: double free of large object 0x%lx, allocated at a.c:41, freed at b.c:44, freed again at c.c:47",
		HEX(object));
	heap_rig_end(&rig);
}

TEST(H6_interior_and_misaligned_pointers_are_named)
{
	struct heap_rig rig = heap_rig_make(1024, 1, false);
	char *object = loam_heap_alloc(rig.heap, 64);
	char *freed = loam_heap_alloc(rig.heap, 64);
	struct before b;

	loam_heap_free(rig.heap, freed);
	b = before(&rig);
	CHECK_MISUSE(loam_heap_free(rig.heap, object + 16),
		     "loam: heap: free of interior pointer 0x%lx, 16 bytes into live object 0x%lx (size-64)",
		     HEX(object + 16), HEX(object));
	CHECK_MISUSE(loam_heap_free(rig.heap, object + 5),
		     "loam: heap: free of misaligned pointer 0x%lx, 5 bytes into live object 0x%lx (size-64)",
		     HEX(object + 5), HEX(object));
	CHECK_MISUSE(loam_heap_free(rig.heap, freed + 32),
		     "loam: heap: free of interior pointer 0x%lx, 32 bytes into free object 0x%lx (size-64)",
		     HEX(freed + 32), HEX(freed));
	CHECK_MISUSE(loam_heap_free_sized(rig.heap, object + 48, 64),
		     "loam: heap: sized free of interior pointer 0x%lx, 48 bytes into live object 0x%lx (size-64)",
		     HEX(object + 48), HEX(object));
	check_unchanged(&rig, &b);
	loam_heap_free(rig.heap, object);
	heap_rig_end(&rig);
}

/* The next frame of the heap that is no slab's. */
static char *next_spare(const struct heap_rig *rig, const char *object)
{
	uintptr_t at = (uintptr_t)object & ~(uintptr_t)4095;
	struct loam_heap_object what;

	while (loam_heap_whereis(rig->heap, at, &what) != LOAM_HEAP_INNER)
		at += LOAM_PAGE_SIZE;
	return (char *)at;
}

TEST(H6_never_allocated_places_are_named)
{
	struct heap_rig rig = heap_rig_make(1024, 1, false);
	char *object = loam_heap_alloc(rig.heap, 1024);
	char *fresh = object + ((uintptr_t)object % 4096 == 0 ? 3072 : -1024);
	char *spare = next_spare(&rig, object);
	struct before b = before(&rig);

	/* One object of a slab has been handed out; the others are fresh, in a magazine or in the slab. */
	CHECK_MISUSE(loam_heap_free(rig.heap, fresh),
		     "loam: heap: free of 0x%lx (size-1024), which was never allocated", HEX(fresh));
	CHECK_MISUSE(loam_heap_free(rig.heap, spare),
		     "loam: heap: free of 0x%lx, in a frame of the heap that holds no objects now", HEX(spare));
	check_unchanged(&rig, &b);
	loam_heap_free(rig.heap, object);
	heap_rig_end(&rig);
}

TEST(H6_slack_behind_the_last_object_is_named)
{
	struct heap_rig rig = heap_rig_make(1024, 1, false);
	char *object = loam_heap_alloc(rig.heap, 48);
	char *slack = (char *)((uintptr_t)object & ~(uintptr_t)4095) + 4080;

	CHECK_MISUSE(loam_heap_free(rig.heap, slack),
		     "loam: heap: free of 0x%lx, which lies behind the last object of its slab (size-48)", HEX(slack));
	loam_heap_free(rig.heap, object);
	heap_rig_end(&rig);
}

TEST(H6_wild_and_foreign_pointers_are_named)
{
	struct heap_rig rig = heap_rig_make(1024, 1, false);
	loam_pfn pfn = loam_frame_alloc(rig.rig->frames, 0, NULL);
	char *foreign = loam_frame_virt(rig.rig->frames, pfn);
	void *object = loam_heap_alloc(rig.heap, 64);
	struct before b = before(&rig);

	CHECK_MISUSE(loam_heap_free(rig.heap, (void *)16),
		     "loam: heap: free of wild pointer 0x10, which is no memory of this machine");
	CHECK_MISUSE(loam_heap_free(rig.heap, (void *)(UINTPTR_MAX - 15)),
		     "loam: heap: free of wild pointer 0x%lx, which is no memory of this machine", UINTPTR_MAX - 15);
	CHECK_MISUSE(loam_heap_free(rig.heap, (void *)1),
		     "loam: heap: free of wild pointer 0x1, which is no memory of this machine");
	CHECK_MISUSE(loam_heap_free(rig.heap, foreign),
		     "loam: heap: free of foreign pointer 0x%lx, in a frame that is not the heap's", HEX(foreign));
	CHECK_MISUSE(loam_heap_free(rig.heap, foreign + 3),
		     "loam: heap: free of foreign pointer 0x%lx, in a frame that is not the heap's", HEX(foreign + 3));
	CHECK_MISUSE(loam_heap_free(rig.heap, rig.heap->kinds),
		     "loam: heap: free of 0x%lx, which is the heap's own bookkeeping", HEX(rig.heap->kinds));
	check_unchanged(&rig, &b);
	loam_heap_free(rig.heap, object);
	loam_frame_free(rig.rig->frames, pfn, 0);
	heap_rig_end(&rig);
}

TEST(H6_wrong_sizes_are_named)
{
	struct heap_rig rig = heap_rig_make(1024, 1, false);
	void *object = loam_heap_alloc(rig.heap, 64);
	void *large = loam_heap_alloc(rig.heap, 90000);
	struct before b = before(&rig);

	CHECK_MISUSE(loam_heap_free_sized(rig.heap, object, 65),
		     "loam: heap: sized free of 0x%lx (size-64) with 65 bytes, but its place has 64", HEX(object));
	CHECK_MISUSE(loam_heap_free_sized(rig.heap, object, 48),
		     "loam: heap: sized free of 0x%lx (size-64) with 48 bytes, but its place has 64", HEX(object));
	CHECK_MISUSE(loam_heap_free_sized(rig.heap, object, 100000),
		     "loam: heap: sized free of 0x%lx (size-64) with 100000 bytes, but its place has 64", HEX(object));
	CHECK_MISUSE(loam_heap_free_sized(rig.heap, large, 64),
		     "loam: heap: sized free of 0x%lx (large) with 64 bytes, but its place has 90112", HEX(large));
	check_unchanged(&rig, &b);
	loam_heap_free_sized(rig.heap, object, 64);
	loam_heap_free_sized(rig.heap, large, 90000);
	heap_rig_end(&rig);
}

TEST(H6_large_objects_are_guarded_too)
{
	struct heap_rig rig = heap_rig_make(8192, 1, false);
	char *large = loam_heap_alloc(rig.heap, 90000);
	struct before b = before(&rig);

	CHECK_MISUSE(loam_heap_free(rig.heap, large + 4096),
		     "loam: heap: free of pointer 0x%lx, 4096 bytes into live large object 0x%lx", HEX(large + 4096),
		     HEX(large));
	CHECK_MISUSE(loam_heap_free(rig.heap, large + 3),
		     "loam: heap: free of pointer 0x%lx, 3 bytes into live large object 0x%lx", HEX(large + 3),
		     HEX(large));
	check_unchanged(&rig, &b);
	loam_heap_free(rig.heap, large);
	CHECK_MISUSE(loam_heap_free(rig.heap, large), "loam: heap: double free of large object 0x%lx", HEX(large));
	CHECK_MISUSE((void)loam_heap_usable_size(rig.heap, large),
		     "loam: heap: size query of large object 0x%lx, which is free", HEX(large));
	CHECK_MISUSE(loam_heap_free(rig.heap, large + 8192),
		     "loam: heap: free of pointer 0x%lx, 8192 bytes into free large object 0x%lx", HEX(large + 8192),
		     HEX(large));
	(void)loam_heap_trim(rig.heap);
	CHECK_MISUSE(loam_heap_free(rig.heap, large),
		     "loam: heap: free of foreign pointer 0x%lx, in a frame that is not the heap's", HEX(large));
	heap_rig_end(&rig);
}

TEST(H6_objects_of_another_cache_are_named)
{
	struct heap_rig rig = heap_rig_make(1024, 1, false);
	struct loam_cache_config config = {.name = "inode", .nbytes = 64};
	struct loam_heap_cache *inodes, *dentries;
	void *inode, *plain, *large;
	struct before b;

	CHECK_OK(loam_heap_cache_create(rig.heap, &config, &inodes));
	config.name = "dentry";
	CHECK_OK(loam_heap_cache_create(rig.heap, &config, &dentries));
	inode = loam_heap_cache_alloc(inodes);
	plain = loam_heap_alloc(rig.heap, 64);
	large = loam_heap_alloc(rig.heap, 90000);
	b = before(&rig);
	CHECK_MISUSE(loam_heap_cache_free(dentries, inode), "loam: heap: free of 0x%lx (inode) to cache dentry",
		     HEX(inode));
	CHECK_MISUSE(loam_heap_cache_free(dentries, plain), "loam: heap: free of 0x%lx (size-64) to cache dentry",
		     HEX(plain));
	CHECK_MISUSE(loam_heap_cache_free(dentries, large), "loam: heap: free of large object 0x%lx to cache dentry",
		     HEX(large));
	check_unchanged(&rig, &b);
	loam_heap_cache_free(inodes, inode);
	CHECK_MISUSE(loam_heap_cache_free(inodes, inode), "loam: heap: double free of 0x%lx (inode)", HEX(inode));
	loam_heap_free(rig.heap, plain);
	loam_heap_free(rig.heap, large);
	CHECK_OK(loam_heap_cache_destroy(rig.heap, inodes));
	CHECK_OK(loam_heap_cache_destroy(rig.heap, dentries));
	heap_rig_end(&rig);
}

/* As another CPU sees it that gives a bad pointer back meanwhile. */
TEST(H6_frees_into_a_cache_that_is_being_destroyed_are_named)
{
	struct heap_rig rig = heap_rig_make(1024, 1, false);
	struct loam_cache_config config = {.name = "inode", .nbytes = 64};
	struct loam_heap_cache *inodes;
	char *live, *freed;

	CHECK_OK(loam_heap_cache_create(rig.heap, &config, &inodes));
	live = loam_heap_cache_alloc(inodes);
	freed = loam_heap_cache_alloc(inodes);
	loam_heap_cache_free(inodes, freed);
	rig.heap->caches[inodes->code] = NULL;
	CHECK_MISUSE(loam_heap_free(rig.heap, freed),
		     "loam: heap: free of 0x%lx, in a slab that is just being made or given back", HEX(freed));
	CHECK_MISUSE((void)loam_heap_usable_size(rig.heap, live + 16),
		     "loam: heap: size query of 0x%lx, in a slab that is just being made or given back",
		     HEX(live + 16));
	rig.heap->caches[inodes->code] = inodes;
	/* Its descriptor may already be memory of something else. */
	inodes->nbytes = 0;
	CHECK_MISUSE(loam_heap_free(rig.heap, freed),
		     "loam: heap: free of 0x%lx, in a slab that is just being made or given back", HEX(freed));
	inodes->nbytes = 64;
	loam_heap_cache_free(inodes, live);
	CHECK_OK(loam_heap_cache_destroy(rig.heap, inodes));
	heap_rig_end(&rig);
}

TEST(H6_freeing_before_there_is_a_heap_is_named)
{
	static struct loam_heap none;
	int object;

	none = (struct loam_heap){0};
	CHECK_MISUSE(loam_heap_free(&none, &object), "loam: heap: free of 0x%lx before there is a heap", HEX(&object));
}

struct culprit {
	struct loam_heap *heap;
	void *object;
	unsigned int cpu;
};

static bool run_free(struct rig *rig, unsigned int cpu, void *context)
{
	struct culprit *culprit = context;

	(void)rig;
	if (cpu == culprit->cpu)
		loam_heap_free(culprit->heap, culprit->object);
	return true;
}

TEST(H6_misuse_is_named_from_any_cpu)
{
	struct heap_rig rig = heap_rig_make(1024, 2, false);
	struct culprit culprit = {rig.heap, loam_heap_alloc(rig.heap, 64), 0};

	if (rig_cpus() < 2)
		tap_skip("one CPU");
	loam_heap_free(rig.heap, culprit.object);
	for (culprit.cpu = 0; culprit.cpu < 2; culprit.cpu++)
		CHECK_MISUSE((void)rig_run(rig.rig, run_free, &culprit), "loam: heap: double free of 0x%lx (size-64)",
			     HEX(culprit.object));
	CHECK_OK(loam_heap_check(rig.heap));
	(void)loam_heap_drain(rig.heap);
	CHECK_OK(loam_heap_check(rig.heap));
	rig_destroy(rig.rig);
}
