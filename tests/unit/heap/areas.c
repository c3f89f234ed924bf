/* tests/unit/heap/areas.c: large objects where no run of frames is to be had: vmalloc areas. Their addresses are only looked at, not touched: no CPU has
 * the fixture's tables in force. */
#include "../vmalloc/fixture.h"
#include "heap_rig.h"

static struct loam_heap heap;
static loam_pfn taken[4096];
static size_t ntaken;

/* All of memory in single frames, every other one of them free. */
static void shatter(void)
{
	ntaken = 0;
	while (ntaken < 4096 && (taken[ntaken] = loam_frame_alloc(fix.rig->frames, 0, NULL)) != LOAM_PFN_NONE)
		ntaken++;
	for (size_t i = 0; i < ntaken; i++)
		if (taken[i] % 2 == 0) {
			loam_frame_free(fix.rig->frames, taken[i], 0);
			taken[i] = LOAM_PFN_NONE;
		}
	loam_frame_drain(fix.rig->frames);
}

static void mend(void)
{
	for (size_t i = 0; i < ntaken; i++)
		if (taken[i] != LOAM_PFN_NONE)
			loam_frame_free(fix.rig->frames, taken[i], 0);
}

TEST(H1_without_a_run_of_frames_a_large_object_is_a_vmalloc_area)
{
	struct loam_heap_config config = {.ncpus = 1};
	struct loam_heap_object what;
	struct loam_heap_stats stats;
	char *object, *foreign, *small;

	vm_begin(4096, 64 * MIB);
	heap = (struct loam_heap){0};
	config.frames = fix.rig->frames;
	config.vm = &fix.vm;
	CHECK_OK(loam_heap_init(&heap, &config, NULL, 0));
	shatter();
	object = loam_heap_alloc(&heap, 20 * PAGE - 5);
	CHECK(object != NULL);
	CHECK((uintptr_t)object >= VM_START && (uintptr_t)object < VM_START + 64 * MIB);
	CHECK_EQ(loam_heap_usable_size(&heap, object), 20 * PAGE);
	CHECK_EQ(loam_heap_whereis(&heap, (uintptr_t)object + 70000, &what), LOAM_HEAP_LIVE);
	CHECK_EQ(what.start, object);
	loam_heap_read_stats(&heap, &stats);
	CHECK_EQ(stats.used_bytes, 20 * PAGE);
	CHECK(loam_heap_realloc(&heap, object, 17 * PAGE) == object);

	/* So is one of a size class whose slab would need frames in a row. */
	small = loam_heap_alloc(&heap, 5 * PAGE);
	CHECK((uintptr_t)small >= VM_START && (uintptr_t)small < VM_START + 64 * MIB);
	CHECK_EQ(loam_heap_usable_size(&heap, small), 5 * PAGE);
	loam_heap_free_sized(&heap, small, 5 * PAGE);

	foreign = vm_alloc(5 * PAGE);
	CHECK_MISUSE(loam_heap_free(&heap, foreign),
		     "loam: heap: free of 0x%lx, a vmalloc address where no large object starts", HEX(foreign));
	CHECK_MISUSE(loam_heap_free(&heap, object + PAGE),
		     "loam: heap: free of 0x%lx, a vmalloc address where no large object starts", HEX(object + PAGE));
	CHECK(loam_vfree(&fix.vm, foreign));
	loam_heap_free(&heap, object);
	CHECK_MISUSE(loam_heap_free(&heap, object),
		     "loam: heap: free of 0x%lx, a vmalloc address where no large object starts", HEX(object));
	loam_heap_read_stats(&heap, &stats);
	CHECK_EQ(stats.used_bytes, 0);
	CHECK_EQ(stats.frees, 2);
	mend();
	CHECK_OK(loam_heap_check(&heap));
	CHECK_OK(loam_vmalloc_check(&fix.vm));
	rig_destroy(fix.rig);
}

/* Where a region cannot be had in one piece, slabs live in single frames. */
TEST(H1_small_objects_need_no_run_of_frames)
{
	struct loam_heap_config config = {.ncpus = 1};
	void *first = NULL;
	size_t n = 0;

	vm_begin(4096, 64 * MIB);
	heap = (struct loam_heap){0};
	config.frames = fix.rig->frames;
	CHECK_OK(loam_heap_init(&heap, &config, NULL, 0));
	shatter();
	for (void **object; (object = loam_heap_alloc(&heap, 512)) != NULL; n++) {
		*object = first;
		first = object;
	}
	CHECK(n > 4096);
	CHECK_OK(loam_heap_check(&heap));
	while (first) {
		void *next = *(void **)first;

		loam_heap_free(&heap, first);
		first = next;
	}
	(void)loam_heap_drain(&heap);
	CHECK_OK(loam_heap_check(&heap));
	mend();
	rig_destroy(fix.rig);
}
