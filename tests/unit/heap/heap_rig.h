/* tests/unit/heap/heap_rig.h: a heap on a rig, and patterns in objects. */
#ifndef HEAP_RIG_H
#define HEAP_RIG_H

#include "rig.h"
#include "tap.h"

#include <base/poison.h>
#include <base/print.h>

#include <loam/heap.h>

struct heap_rig {
	struct rig *rig;
	struct loam_heap *heap;
	uint64_t used; /* frames, before the heap was made */
};

/* One heap at a time is enough for a test. */
static struct loam_heap heap_rig_heap;

static inline uint64_t heap_rig_used(const struct rig *rig)
{
	struct loam_frames_stats stats;

	loam_frame_drain(rig->frames);
	loam_frame_read_stats(rig->frames, &stats);
	return stats.used;
}

static inline struct heap_rig heap_rig_make_with(uint64_t npages, const struct loam_heap_config *want)
{
	struct rig_config machine = {.npages = npages, .ncpus = want->ncpus};
	struct loam_heap_config config = *want;
	struct heap_rig rig = {.rig = rig_create(&machine), .heap = &heap_rig_heap};

	config.frames = rig.rig->frames;
	heap_rig_heap = (struct loam_heap){0};
	CHECK_OK(loam_heap_init(rig.heap, &config, NULL, 0));
	rig.used = heap_rig_used(rig.rig);
	return rig;
}

static inline struct heap_rig heap_rig_make(uint64_t npages, unsigned int ncpus, bool track)
{
	struct loam_heap_config config = {.ncpus = ncpus, .track = track};

	return heap_rig_make_with(npages, &config);
}

/* Everything is freed: every invariant holds, and every frame is back. */
static inline void heap_rig_end(struct heap_rig *rig)
{
	struct loam_heap_stats stats;

	CHECK_OK(loam_heap_check(rig->heap));
	loam_heap_read_stats(rig->heap, &stats);
	CHECK_EQ(stats.used_bytes, 0);
	CHECK_EQ(stats.allocations, stats.frees);
	(void)loam_heap_drain(rig->heap);
	CHECK_OK(loam_heap_check(rig->heap));
	CHECK_EQ(heap_rig_used(rig->rig), rig->used);
	CHECK_OK(loam_frame_check(rig->rig->frames));
	rig_destroy(rig->rig);
}

static inline void heap_rig_fill(void *object, size_t nbytes, uint64_t key)
{
	unsigned char *bytes = object;

	for (size_t i = 0; i < nbytes; i++)
		bytes[i] = (unsigned char)((key + i) * 167 + (key >> 8));
}

static inline bool heap_rig_filled(const void *object, size_t nbytes, uint64_t key)
{
	const unsigned char *bytes = object;

	for (size_t i = 0; i < nbytes; i++)
		if (bytes[i] != (unsigned char)((key + i) * 167 + (key >> 8)))
			return false;
	return true;
}

/* A test that touches freed memory on purpose cannot do so where an address sanitizer looks on. */
#ifdef LOAMI_POISONS
#define HEAP_RIG_TOUCHES_FREED() tap_skip("an address sanitizer looks on")
#else
#define HEAP_RIG_TOUCHES_FREED() ((void)0)
#endif

/* The text a misuse should have, with the address in it. */
#define CHECK_MISUSE(statement, ...)                                                                                   \
	do {                                                                                                           \
		char misuse_text[384];                                                                                 \
		(void)loami_format(misuse_text, sizeof(misuse_text), __VA_ARGS__);                                     \
		CHECK_PANIC(statement, misuse_text);                                                                   \
	} while (0)

#define HEX(pointer) ((unsigned long)(uintptr_t)(pointer))

#endif
