/* arena/meta.c: memory for bookkeeping, one whole frame at a time.
 *
 * 1 Concepts: a frame comes from the frame layer into the stock, with no lock held; out of the stock it becomes a table of the radix or is carved into spans or
 *   record blocks of one size (a pool). What is no longer used goes back to its pool and never changes its kind, so that a reader without a lock
 *   may look at a span that has just been given up: it finds a span. All frames go back at destroy, chained by their slots' links.
 * 2 Bound: one reservation needs at most LOAMI_ARENA_FRAMES_BOUND frames (arena.h derives it). The extent lock is given to it only while the stock holds
 *   that many, so nothing can fail half way and no frame is asked for under a lock.
 * 3 Failure: a call that cannot fill the stock gives back what it took for it.
 */
#include "arena.h"

#include <loam/frame.h>

static const struct loam_frame_opts metadata_opts = {.purpose = LOAM_PURPOSE_KERNEL};

size_t loami_pool_bytes(enum loami_pool pool)
{
	static const uint16_t bytes[LOAM_ARENA_POOLS] = {
		[LOAMI_POOL_EXTENT] = LOAMI_SPAN_BYTES + sizeof(struct loam_area_record),
		[LOAMI_POOL_SLAB] = LOAMI_SPAN_BYTES + LOAMI_ARENA_SLOTS_MAX,
		[LOAMI_POOL_RECORDS16] = 16 * sizeof(struct loam_area_record),
		[LOAMI_POOL_RECORDS32] = 32 * sizeof(struct loam_area_record),
		[LOAMI_POOL_RECORDS64] = 64 * sizeof(struct loam_area_record),
	};

	return bytes[pool];
}

/* Links of unused things. A record block keeps its link where a record keeps its site: readers of records do not judge it without a live state. */
static void **link_of(enum loami_pool pool, void *thing)
{
	if (pool >= LOAMI_POOL_RECORDS16)
		return (void **)(void *)&((struct loam_area_record *)thing)->site;
	return (void **)(void *)&((struct loami_span *)thing)->next;
}

/* Frames into a chain of the caller's; all or none. No lock held. */
static bool take_frames(struct loam_arena *arena, unsigned int n, loam_pfn *chain)
{
	*chain = LOAM_PFN_NONE;
	for (unsigned int i = 0; i < n; i++) {
		loam_pfn pfn = LOAMI_FAIL(LOAMI_FAIL_METADATA) ? LOAM_PFN_NONE
							       : loam_frame_alloc(arena->frames, 0, &metadata_opts);

		if (pfn == LOAM_PFN_NONE) {
			while (*chain != LOAM_PFN_NONE) {
				pfn = *chain;
				*chain = loam_frame_slot(arena->frames, pfn)->next;
				loam_frame_free(arena->frames, pfn, 0);
			}
			return false;
		}
		loam_frame_slot(arena->frames, pfn)->next = *chain;
		*chain = pfn;
	}
	return true;
}

static void free_chain(struct loam_arena *arena, loam_pfn chain)
{
	while (chain != LOAM_PFN_NONE) {
		loam_pfn next = loam_frame_slot(arena->frames, chain)->next;

		loam_frame_free(arena->frames, chain, 0);
		chain = next;
	}
}

/* A chain of frames into the stock. */
static void put_stock(struct loam_arena *arena, loam_pfn chain)
{
	while (chain != LOAM_PFN_NONE) {
		struct loam_slot *slot = loam_frame_slot(arena->frames, chain);
		loam_pfn next = slot->next;

		slot->next = arena->stock;
		arena->stock = chain;
		arena->nstock++;
		arena->nmeta++;
		chain = next;
	}
}

enum loam_status loami_meta_lock(struct loam_arena *arena, unsigned long *irq, unsigned int *added)
{
	for (;;) {
		unsigned int missing;
		loam_pfn chain;

		*irq = loami_lock_irq(&arena->lock);
		if (LOAMI_LIKELY(arena->nstock >= LOAMI_ARENA_FRAMES_BOUND))
			return LOAM_OK;
		missing = LOAMI_ARENA_FRAMES_BOUND - arena->nstock;
		loami_unlock_irq(&arena->lock, *irq);
		if (!take_frames(arena, missing, &chain)) {
			*irq = loami_lock_irq(&arena->lock);
			loami_meta_unlock_undo(arena, *irq, *added);
			*added = 0;
			return LOAM_ERR_NO_METADATA;
		}
		*irq = loami_lock_irq(&arena->lock);
		put_stock(arena, chain);
		*added += missing;
		loami_unlock_irq(&arena->lock, *irq);
	}
}

void loami_meta_unlock_undo(struct loam_arena *arena, unsigned long irq, unsigned int added)
{
	loam_pfn chain = LOAM_PFN_NONE;

	for (; added > 0 && arena->nstock > 0; added--) {
		struct loam_slot *slot = loam_frame_slot(arena->frames, arena->stock);
		loam_pfn next = slot->next;

		slot->next = chain;
		chain = arena->stock;
		arena->stock = next;
		arena->nstock--;
		arena->nmeta--;
	}
	loami_unlock_irq(&arena->lock, irq);
	free_chain(arena, chain);
}

void *loami_meta_frame(struct loam_arena *arena)
{
	loam_pfn pfn = arena->stock;
	struct loam_slot *slot;

	if (pfn == LOAM_PFN_NONE)
		loami_corrupt("loam: arena: metadata stock empty under the lock: the bound of %d frames is wrong",
			      (int)LOAMI_ARENA_FRAMES_BOUND);
	slot = loam_frame_slot(arena->frames, pfn);
	arena->stock = slot->next;
	arena->nstock--;
	slot->next = arena->meta;
	arena->meta = pfn;
	return loam_frame_virt(arena->frames, pfn);
}

void *loami_meta_get(struct loam_arena *arena, enum loami_pool pool)
{
	void *thing;

	if (arena->pool[pool] == NULL) {
		char *frame = loami_meta_frame(arena);
		size_t bytes = loami_pool_bytes(pool);

		for (size_t at = LOAM_PAGE_SIZE / bytes; at > 0; at--) {
			thing = frame + (at - 1) * bytes;
			if (pool < LOAMI_POOL_RECORDS16)
				((struct loami_span *)thing)->kind = (uint8_t)pool;
			loami_meta_put(arena, pool, thing);
		}
	}
	thing = arena->pool[pool];
	arena->pool[pool] = loami_load_relaxed(link_of(pool, thing));
	arena->npool[pool]--;
	return thing;
}

void loami_meta_put(struct loam_arena *arena, enum loami_pool pool, void *thing)
{
	loami_store_release(link_of(pool, thing), arena->pool[pool]);
	arena->pool[pool] = thing;
	arena->npool[pool]++;
}

loam_pfn loami_meta_get_entries(struct loam_arena *arena)
{
	loam_pfn pfn = arena->entry_frames;

	LOAMI_ASSERT(loami_lock_held(&arena->lock));
	if (pfn != LOAM_PFN_NONE) {
		arena->entry_frames = loam_frame_slot(arena->frames, pfn)->next;
	} else if (arena->stock != LOAM_PFN_NONE) {
		pfn = arena->stock;
		arena->stock = loam_frame_slot(arena->frames, pfn)->next;
		arena->nstock--;
	}
	return pfn;
}

void loami_meta_put_entries(struct loam_arena *arena, loam_pfn pfn)
{
	LOAMI_ASSERT(loami_lock_held(&arena->lock));
	loam_frame_slot(arena->frames, pfn)->next = arena->entry_frames;
	arena->entry_frames = pfn;
}

enum loam_status loami_meta_init(struct loam_arena *arena, unsigned int nframes)
{
	loam_pfn chain;

	arena->stock = LOAM_PFN_NONE;
	arena->meta = LOAM_PFN_NONE;
	arena->entry_frames = LOAM_PFN_NONE;
	if (!take_frames(arena, nframes, &chain))
		return LOAM_ERR_NO_METADATA;
	put_stock(arena, chain);
	return LOAM_OK;
}

void loami_meta_destroy(struct loam_arena *arena)
{
	free_chain(arena, arena->stock);
	free_chain(arena, arena->entry_frames);
	free_chain(arena, arena->meta);
	arena->stock = LOAM_PFN_NONE;
	arena->meta = LOAM_PFN_NONE;
	arena->nstock = 0;
	arena->nmeta = 0;
}
