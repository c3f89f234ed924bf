/* heap/slab.c: runs of frames cut into places of one size.
 *
 * 1 Concepts. Places lie one after the other from the start of the slab; what is left at its end is slack. The state bytes say which are free in the slab
 *   (FRESH, IN_SLAB): taking some is a walk over them from the cursor, giving one back sets its byte. No list runs through the objects, so an object keeps its
 *   contents (a constructor's work) and nothing that overwrites a freed object can lead the allocator astray.
 * 2 Lists. partial: slabs with some places free; empty: all free. A full slab is on none; its states find it again.
 * 3 Invariants (loam_heap_check()): S1 nfree = bytes that say FRESH or IN_SLAB. S2 a slab is on partial iff 0 < nfree < nslots, on empty iff nfree = nslots.
 *   S3 the cache's counts are the sums. S4 no free place lies before the cursor.
 * 4 Locks: the cache's, for everything but the bytes of objects that are live or in a magazine: those belong to whoever holds the object.
 * 5 Bounds. take(n) looks at up to all 4096 bytes of a slab's states, once per slab it empties; put() is O(1).
 */
#include "internal.h"

static loam_pfn head_of(const struct loam_heap *heap, const void *object)
{
	return loami_slab_head(heap, loami_heap_pfn(heap, object));
}

static void write_states(struct loam_heap_cache *cache, uint8_t *state, unsigned int nslots, uint8_t code)
{
	size_t step = cache->nbytes >> LOAMI_GRANULE_SHIFT;

	for (unsigned int i = 0; i < nslots; i++)
		loami_store_relaxed(&state[i * step], code);
}

static unsigned int record_order(unsigned int nslots)
{
	return loami_log2_ceil((nslots * sizeof(struct loami_record) + LOAM_PAGE_SIZE - 1) / LOAM_PAGE_SIZE);
}

/* Field by field: whereis may be looking. */
static void put_descriptor(struct loami_slab *to, const struct loami_slab *slab)
{
	loami_store_relaxed(&to->code, slab->code);
	loami_store_relaxed(&to->nframes, slab->nframes);
	loami_store_relaxed(&to->nslots, slab->nslots);
	loami_store_relaxed(&to->nfree, slab->nfree);
	loami_store_relaxed(&to->cursor, slab->cursor);
	loami_store_relaxed(&to->records, slab->records);
}

enum loam_status loami_slab_create(struct loam_heap_cache *cache)
{
	struct loam_heap *heap = cache->heap;
	unsigned int nframes = loami_slab_frames(cache, loami_load_relaxed(&cache->nslabs));
	loam_pfn first = LOAM_PFN_NONE;
	struct loami_slab slab;
	unsigned long irq;
	char *base;

	if (!LOAMI_FAIL(LOAMI_FAIL_FRAME))
		first = loami_run_alloc(heap, nframes, true);
	if (first == LOAM_PFN_NONE && nframes > cache->frames_first) {
		nframes = cache->frames_first;
		first = loami_run_alloc(heap, nframes, true);
	}
	if (first == LOAM_PFN_NONE)
		return LOAM_ERR_NO_MEMORY;

	base = loami_heap_virt(heap, first);
	slab = (struct loami_slab){
		.code = cache->code,
		.nframes = (uint8_t)nframes,
		.nslots = (uint16_t)(nframes * LOAM_PAGE_SIZE / cache->nbytes),
	};
	slab.nfree = slab.nslots;
	if (heap->track) {
		void *records = loami_meta_alloc(heap, record_order(slab.nslots));

		if (!records) {
			loami_run_free(heap, first, nframes);
			return LOAM_ERR_NO_METADATA;
		}
		slab.records = (uintptr_t)records;
	}
	if (heap->hardened && LOAMI_HARDENS(ZERO) && !cache->construct)
		memset(base, 0, nframes * LOAM_PAGE_SIZE);
	if (cache->construct)
		for (unsigned int i = 0; i < slab.nslots; i++)
			cache->construct(base + (size_t)i * cache->nbytes, cache->context);

	loami_poison(base, nframes * LOAM_PAGE_SIZE);
	irq = loami_lock_irq(&cache->lock);
	put_descriptor(loami_slab_at(heap, first), &slab);
	write_states(cache, loami_heap_state(heap, base), slab.nslots, LOAMI_FRESH);
	for (unsigned int i = 0; i < nframes; i++)
		loami_store_relaxed(loami_heap_code(heap, first + i), cache->code);
	loami_heap_set_kind(heap, first, LOAMI_KIND_SLAB);
	loami_list_push(heap, &cache->empty, first);
	cache->nempty++;
	loami_store_relaxed(&cache->nslabs, cache->nslabs + 1);
	cache->nframes += nframes;
	cache->nslots += slab.nslots;
	cache->nfree += slab.nslots;
	loami_unlock_irq(&cache->lock, irq);
	return LOAM_OK;
}

/* An object that two CPUs freed at once may have gone back to its slab and into a magazine: it is counted free and is not. @n places too many were counted. */
static void suspect(struct loam_heap_cache *cache, loam_pfn first, unsigned int n)
{
	cache->nfree -= n;
	loami_store_relaxed(&cache->heap->suspect, first);
}

void loami_heap_report(struct loam_heap *heap)
{
	loam_pfn first = loami_load_relaxed(&heap->suspect);

	if (LOAMI_LIKELY(first == 0))
		return;
	loami_store_relaxed(&heap->suspect, 0);
	loami_misuse("loam: heap: an object of the slab at 0x%lx was freed twice at once, by two CPUs or an interrupt",
		     (unsigned long)(uintptr_t)loami_heap_virt(heap, first));
}

/* A slab is about to go: are all its places really free? */
static bool all_free(struct loam_heap_cache *cache, loam_pfn first, struct loami_slab *slab)
{
	const uint8_t *states = loami_heap_state(cache->heap, loami_heap_virt(cache->heap, first));
	size_t step = cache->nbytes >> LOAMI_GRANULE_SHIFT;
	unsigned int nfree = 0;

	for (unsigned int i = 0; i < slab->nslots; i++) {
		uint8_t state = loami_load_relaxed(&states[i * step]);

		nfree += state == LOAMI_FRESH || state == LOAMI_IN_SLAB;
	}
	if (LOAMI_LIKELY(nfree == slab->nslots))
		return true;
	suspect(cache, first, slab->nslots - nfree);
	slab->nfree = (uint16_t)nfree;
	return false;
}

static void destroy_locked(struct loam_heap_cache *cache, loam_pfn first)
{
	struct loam_heap *heap = cache->heap;
	struct loami_slab slab = *loami_slab_at(heap, first);

	loami_list_remove(heap, &cache->empty, first);
	cache->nempty--;
	loami_store_relaxed(&cache->nslabs, cache->nslabs - 1);
	cache->nframes -= slab.nframes;
	cache->nslots -= slab.nslots;
	cache->nfree -= slab.nslots;
	write_states(cache, loami_heap_state(heap, loami_heap_virt(heap, first)), slab.nslots, LOAMI_NONE);
	loami_heap_forget(heap);
	if (slab.records != 0)
		loami_meta_free(heap, (void *)(uintptr_t)slab.records, record_order(slab.nslots));
	loami_unpoison(loami_heap_virt(heap, first), slab.nframes * LOAM_PAGE_SIZE);
	loami_run_free(heap, first, slab.nframes);
}

void loami_slabs_trim(struct loam_heap_cache *cache, unsigned int keep)
{
	LOAMI_ASSERT(loami_lock_held(&cache->lock));
	while (cache->nempty > keep)
		destroy_locked(cache, cache->empty);
}

/* Free places of one slab, from its cursor on. */
static size_t take_from(struct loam_heap_cache *cache, loam_pfn first, struct loami_entry *out, size_t n)
{
	struct loam_heap *heap = cache->heap;
	struct loami_slab *slab = loami_slab_at(heap, first);
	char *base = loami_heap_virt(heap, first);
	uint8_t *states = loami_heap_state(heap, base);
	size_t step = cache->nbytes >> LOAMI_GRANULE_SHIFT, got = 0;
	unsigned int i = slab->cursor;

	for (; got < n && got < slab->nfree && i < slab->nslots; i++) {
		uint8_t *state = &states[i * step];
		uint8_t was = loami_load_relaxed(state);

		if (was != LOAMI_FRESH && was != LOAMI_IN_SLAB)
			continue;
		loami_store_relaxed(state, was == LOAMI_FRESH ? LOAMI_FRESH_CACHED : LOAMI_CACHED);
		out[got++] = (struct loami_entry){base + (size_t)i * cache->nbytes, state};
	}
	slab->cursor = (uint16_t)i;
	slab->nfree = (uint16_t)(slab->nfree - got);
	if (LOAMI_UNLIKELY(i == slab->nslots && slab->nfree != 0)) {
		suspect(cache, first, slab->nfree);
		slab->nfree = 0;
	}
	return got;
}

size_t loami_slab_take(struct loam_heap_cache *cache, struct loami_entry *out, size_t n)
{
	struct loam_heap *heap = cache->heap;
	size_t got = 0;

	LOAMI_ASSERT(loami_lock_held(&cache->lock));
	while (got < n) {
		loam_pfn first = cache->partial;

		if (first == LOAM_FRAME_LINK_NONE) {
			first = cache->empty;
			if (first == LOAM_FRAME_LINK_NONE)
				break;
			loami_list_remove(heap, &cache->empty, first);
			cache->nempty--;
			loami_list_push(heap, &cache->partial, first);
		}
		got += take_from(cache, first, out + got, n - got);
		if (loami_slab_at(heap, first)->nfree == 0)
			loami_list_remove(heap, &cache->partial, first);
	}
	cache->nfree -= got;
	return got;
}

bool loami_slab_put(struct loam_heap_cache *cache, const struct loami_entry *entry)
{
	struct loam_heap *heap = cache->heap;
	loam_pfn first = head_of(heap, entry->object);
	struct loami_slab *slab = loami_slab_at(heap, first);
	uint8_t was = loami_load_relaxed(entry->state);
	unsigned int i;

	LOAMI_ASSERT(loami_lock_held(&cache->lock));
	if (was != LOAMI_CACHED && was != LOAMI_FRESH_CACHED)
		return false;
	loami_store_relaxed(entry->state, was == LOAMI_CACHED ? LOAMI_IN_SLAB : LOAMI_FRESH);
	i = (unsigned int)(((uintptr_t)entry->object - (uintptr_t)loami_heap_virt(heap, first)) / cache->nbytes);
	if (i < slab->cursor)
		slab->cursor = (uint16_t)i;
	if (slab->nfree++ == 0)
		loami_list_push(heap, &cache->partial, first);
	cache->nfree++;
	if (slab->nfree == slab->nslots && all_free(cache, first, slab)) {
		loami_list_remove(heap, &cache->partial, first);
		loami_list_push(heap, &cache->empty, first);
		cache->nempty++;
		loami_slabs_trim(cache, cache->keep_empty);
	}
	return true;
}
