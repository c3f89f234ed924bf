/* tests/model/heap.c: the heap beside a list of what it should hold. Every object is patterned and checked; overlaps, leaks and figures are compared; the heap's own invariants are checked
 * after every operation for a while, then now and then. LOAM_SEED=number runs one sequence again; each failure prints it.
 */
#include "../unit/heap/heap_rig.h"

#include <stdlib.h>

enum { SLOTS = 400, TYPES = 3 };

struct slot {
	unsigned char *object;
	size_t nbytes; /* asked for */
	size_t usable;
	uint64_t key;
	struct loam_heap_cache *cache;
};

struct model {
	struct heap_rig rig;
	struct loam_heap_cache *caches[TYPES];
	struct slot slots[SLOTS];
	uint64_t seed;
	uint64_t used, allocs, frees;
	unsigned int step;
};

#define MODEL(condition)                                                                                               \
	((condition) ? (void)0                                                                                         \
		     : tap_fail(__FILE__, __LINE__, "%s (LOAM_SEED=%lu, step %u)", #condition,                         \
				(unsigned long)first_seed, model->step))

static uint64_t first_seed;

static size_t random_size(uint64_t r)
{
	if (r % 100 == 0)
		return 32768 + (r >> 10) % 140000;
	if (r % 10 == 0)
		return (r >> 10) % 32769;
	return (r >> 10) % 700;
}

static void took(struct model *model, struct slot *slot, void *object, size_t nbytes)
{
	MODEL(object != NULL);
	slot->object = object;
	slot->nbytes = nbytes;
	slot->usable = loam_heap_usable_size(model->rig.heap, object);
	slot->key = rig_random(&model->seed);
	MODEL(slot->usable >= nbytes);
	MODEL((uintptr_t)object % LOAM_HEAP_MIN_ALIGN == 0);
	heap_rig_fill(object, slot->usable, slot->key);
	model->used += slot->usable;
	model->allocs++;
}

static void gone(struct model *model, struct slot *slot)
{
	MODEL(heap_rig_filled(slot->object, slot->usable, slot->key));
	model->used -= slot->usable;
	model->frees++;
	slot->object = NULL;
}

static void allocate(struct model *model, struct slot *slot, uint64_t r)
{
	struct loam_heap *heap = model->rig.heap;
	size_t nbytes = random_size(rig_random(&model->seed)), align = (size_t)16 << (r >> 20) % 9;
	unsigned char *object;

	slot->cache = NULL;
	switch (r >> 8 & 7) {
	case 0:
		object = loam_heap_alloc_aligned(heap, nbytes, align);
		MODEL((uintptr_t)object % align == 0);
		break;
	case 1:
		object = loam_heap_alloc_zeroed(heap, nbytes);
		for (size_t i = 0; i < nbytes; i++)
			MODEL(object[i] == 0);
		break;
	case 2:
	case 3:
		slot->cache = model->caches[(r >> 16) % TYPES];
		object = loam_heap_cache_alloc(slot->cache);
		nbytes = 0;
		break;
	default:
		object = loam_heap_alloc(heap, nbytes);
		break;
	}
	took(model, slot, object, nbytes);
}

static void release(struct model *model, struct slot *slot, uint64_t r)
{
	struct loam_heap *heap = model->rig.heap;
	void *object = slot->object;

	gone(model, slot);
	if (slot->cache && r % 2 == 0)
		loam_heap_cache_free(slot->cache, object);
	else
		loam_heap_free(heap, object);
}

static void resize(struct model *model, struct slot *slot)
{
	size_t nbytes = random_size(rig_random(&model->seed)), kept;
	struct loam_heap_stats before, after;
	unsigned char *object;

	loam_heap_read_stats(model->rig.heap, &before);
	kept = slot->usable;
	object = loam_heap_realloc(model->rig.heap, slot->object, nbytes);
	MODEL(object != NULL);
	if (kept > nbytes)
		kept = nbytes;
	MODEL(heap_rig_filled(object, kept, slot->key));
	loam_heap_read_stats(model->rig.heap, &after);
	/* In place it may be neither an allocation nor a free. */
	model->allocs += after.allocations - before.allocations;
	model->frees += after.frees - before.frees;
	MODEL(after.allocations - before.allocations == (object != slot->object));
	model->used -= slot->usable;
	if (object != slot->object)
		slot->cache = NULL;
	slot->object = object;
	slot->nbytes = nbytes;
	slot->usable = loam_heap_usable_size(model->rig.heap, object);
	heap_rig_fill(object, slot->usable, slot->key);
	model->used += slot->usable;
}

static void compare(struct model *model)
{
	struct loam_heap_stats stats;

	loam_heap_read_stats(model->rig.heap, &stats);
	MODEL(stats.used_bytes == model->used);
	MODEL(stats.allocations == model->allocs);
	MODEL(stats.frees == model->frees);
	MODEL(stats.peak_bytes >= model->used);
	MODEL(loam_heap_check(model->rig.heap) == LOAM_OK);
}

static void check_places(struct model *model)
{
	struct loam_heap_object what;

	for (unsigned int i = 0; i < SLOTS; i++) {
		struct slot *slot = &model->slots[i];

		if (!slot->object)
			continue;
		MODEL(loam_heap_whereis(model->rig.heap, (uintptr_t)slot->object + slot->usable - 1, &what) ==
		      LOAM_HEAP_LIVE);
		MODEL(what.start == (uintptr_t)slot->object);
		MODEL(heap_rig_filled(slot->object, slot->usable, slot->key));
	}
}

static void run(uint64_t seed, unsigned int steps, bool track, bool hardened)
{
	static struct model the_model;
	struct model *model = &the_model;
	struct loam_heap_config config = {.ncpus = 1, .track = track, .hardened = hardened};

	first_seed = seed;
	*model = (struct model){.rig = heap_rig_make_with(8192, &config), .seed = seed};
	for (unsigned int i = 0; i < TYPES; i++) {
		struct loam_cache_config typed = {.name = "typed", .nbytes = 40 + i * 500, .align = (size_t)16 << i};

		CHECK_OK(loam_heap_cache_create(model->rig.heap, &typed, &model->caches[i]));
	}
	for (model->step = 0; model->step < steps; model->step++) {
		uint64_t r = rig_random(&model->seed);
		/* Fill, then empty, then fill again: slabs come and go. */
		unsigned int range = (model->step / 2000) % 3 == 2 ? SLOTS / 8 : SLOTS;
		struct slot *slot = &model->slots[(r >> 32) % range];

		if (!slot->object)
			allocate(model, slot, r);
		else if ((r & 7) == 0)
			resize(model, slot);
		else
			release(model, slot, r);
		if (r % 997 == 0)
			(void)loam_heap_trim(model->rig.heap);
		if (model->step < 1000 || model->step % 64 == 0)
			compare(model);
		if (model->step % 512 == 0)
			check_places(model);
	}
	for (unsigned int i = 0; i < SLOTS; i++)
		if (model->slots[i].object)
			release(model, &model->slots[i], 1);
	compare(model);
	for (unsigned int i = 0; i < TYPES; i++)
		CHECK_OK(loam_heap_cache_destroy(model->rig.heap, model->caches[i]));
	heap_rig_end(&model->rig);
}

static void run_some(unsigned int n, unsigned int steps, bool track, bool hardened)
{
	const char *given = getenv("LOAM_SEED");

	if (given) {
		run(strtoul(given, NULL, 0), steps, track, hardened);
		return;
	}
	for (unsigned int i = 1; i <= n; i++)
		run(i * UINT64_C(0x9e3779b97f4a7c15), steps, track, hardened);
}

TEST(H1_a_million_operations_beside_a_model)
{
	run_some(10, 100000, false, false);
}

TEST(H6_operations_beside_a_model_when_tracking)
{
	run_some(4, 20000, true, false);
}

TEST(H6_operations_beside_a_model_when_hardened)
{
	run_some(4, 30000, false, true);
}
