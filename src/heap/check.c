/* heap/check.c: every invariant of pages.c, slab.c and magazine.c, with the heap at rest. Says on the console what is wrong, and goes on looking. */
#include "internal.h"

struct tally {
	uint64_t slabs, frames, slots, nfree, parked, live;
	uint64_t partial, empty;
};

struct looking {
	struct loam_heap *heap;
	unsigned int wrong;
};

#define WRONG(looking, ...) ((looking)->wrong++ < 16 ? loami_print("loam: heap: check: " __VA_ARGS__) : (void)0)

struct slab_tally {
	unsigned int nfree, parked, live;
};

static struct slab_tally look_at_states(struct looking *looking, loam_pfn head, const struct loami_slab *slab,
					const struct loam_heap_cache *cache)
{
	uintptr_t base = (uintptr_t)loami_heap_virt(looking->heap, head);
	struct slab_tally tally = {0};

	for (uintptr_t at = base; at < base + slab->nframes * LOAM_PAGE_SIZE; at += LOAM_HEAP_MIN_ALIGN) {
		uint8_t state = *loami_heap_state(looking->heap, (const void *)at);
		uintptr_t index = (at - base) / cache->nbytes;
		bool start = (at - base) % cache->nbytes == 0 && index < slab->nslots;

		if (!start && state != LOAMI_NONE)
			WRONG(looking, "0x%lx is no object's start and says %u\n", (unsigned long)at, state);
		if (!start)
			continue;
		if (state == LOAMI_FRESH || state == LOAMI_IN_SLAB) {
			tally.nfree++;
			if (index < slab->cursor)
				WRONG(looking, "S4: 0x%lx is free before the cursor\n", (unsigned long)at);
		} else if (state == LOAMI_FRESH_CACHED || state == LOAMI_CACHED) {
			tally.parked++;
		} else if (state == cache->code) {
			tally.live++;
		} else {
			WRONG(looking, "0x%lx in a slab of %s says %u\n", (unsigned long)at, cache->name, state);
		}
	}
	return tally;
}

static void look_at_slab(struct looking *looking, loam_pfn head, const struct loam_heap_cache *cache,
			 struct tally *tally)
{
	const struct loami_slab *slab = loami_slab_at(looking->heap, head);
	struct slab_tally states;

	if (slab->nslots != slab->nframes * LOAM_PAGE_SIZE / cache->nbytes) {
		WRONG(looking, "the slab at frame 0x%lx has %u places\n", (unsigned long)head, slab->nslots);
		return;
	}
	states = look_at_states(looking, head, slab, cache);
	if (states.nfree != slab->nfree)
		WRONG(looking, "S1: slab at frame 0x%lx of %s: %u free, it says %u\n", (unsigned long)head, cache->name,
		      states.nfree, slab->nfree);
	for (unsigned int i = 0; i < slab->nframes; i++)
		if (*loami_heap_code(looking->heap, head + i) != cache->code)
			WRONG(looking, "S5: frame 0x%lx lies in a slab of %s, but has the code %u\n",
			      (unsigned long)(head + i), cache->name, *loami_heap_code(looking->heap, head + i));
	tally->slabs++;
	tally->frames += slab->nframes;
	tally->slots += slab->nslots;
	tally->nfree += states.nfree;
	tally->parked += states.parked;
	tally->live += states.live;
	tally->partial += slab->nfree != 0 && slab->nfree < slab->nslots;
	tally->empty += slab->nfree == slab->nslots;
}

static uint64_t look_at_list(struct looking *looking, const struct loam_heap_cache *cache, uint64_t list, bool empty)
{
	uint64_t n = 0, prev = LOAM_FRAME_LINK_NONE;

	for (uint64_t pfn = list; pfn != LOAM_FRAME_LINK_NONE; pfn = loami_heap_slot(looking->heap, pfn)->next) {
		const struct loami_slab *slab = loami_slab_at(looking->heap, pfn);

		if (loami_heap_kind(looking->heap, pfn) != LOAMI_KIND_SLAB || slab->code != cache->code ||
		    loami_heap_slot(looking->heap, pfn)->prev != prev || slab->nfree == 0 ||
		    (slab->nfree == slab->nslots) != empty) {
			WRONG(looking, "S2: frame 0x%lx is on a list of %s where it does not belong\n",
			      (unsigned long)pfn, cache->name);
			return n;
		}
		prev = pfn;
		n++;
	}
	return n;
}

static uint64_t look_at_entries(struct looking *looking, const struct loam_heap_cache *cache,
				const struct loami_magazine *magazine, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct loami_entry *entry = &magazine->entry[i];

		if (entry->state != loami_heap_state(looking->heap, entry->object) ||
		    (*entry->state != LOAMI_CACHED && *entry->state != LOAMI_FRESH_CACHED))
			WRONG(looking, "M2: 0x%lx in a magazine of %s says %u\n",
			      (unsigned long)(uintptr_t)entry->object, cache->name, *entry->state);
	}
	return n;
}

static uint64_t look_at_magazines(struct looking *looking, const struct loam_heap_cache *cache)
{
	uint64_t n = 0;
	uint32_t depot = 0;

	for (const struct loami_magazine *m = cache->depot; m; m = m->next, depot++)
		n += look_at_entries(looking, cache, m, cache->capacity);
	if (depot != cache->ndepot)
		WRONG(looking, "the depot of %s holds %u, it says %u\n", cache->name, depot, cache->ndepot);
	for (unsigned int i = 0; i < looking->heap->cpus_end; i++) {
		struct loami_heap_cpu *cpu = loami_heap_cpu(looking->heap, i);
		const struct loami_stock *stock = &cpu->stock[cache->code];
		uint32_t full = 0;

		if (*loami_cpu_idle(looking->heap, cpu) !=
		    (cpu->online ? loami_idle_value(loami_cpu_idle(looking->heap, cpu)) : LOAMI_OFFLINE))
			WRONG(looking, "CPU %u is busy\n", i);
		for (const struct loami_magazine *m = stock->full; m; m = m->next, full++)
			n += look_at_entries(looking, cache, m, cache->capacity);
		if (full != stock->nfull)
			WRONG(looking, "the stock of %s on CPU %u holds %u, it says %u\n", cache->name, i, full,
			      stock->nfull);
		n += stock->nheld;
		if (!stock->loaded) {
			if (cpu->top[cache->code] != &cpu->wall)
				WRONG(looking, "M4: CPU %u has no magazine of %s and a top\n", i, cache->name);
			continue;
		}
		if ((size_t)(cpu->top[cache->code] - stock->loaded->entry) > cache->capacity)
			WRONG(looking, "M4: the top of %s on CPU %u is outside its magazine\n", cache->name, i);
		else
			n += look_at_entries(looking, cache, stock->loaded,
					     (size_t)(cpu->top[cache->code] - stock->loaded->entry));
	}
	return n;
}

static void look_at_cache(struct looking *looking, struct loam_heap_cache *cache)
{
	uint64_t parked = look_at_magazines(looking, cache);
	struct tally sum = {0}, *tally = &sum;

	for (loam_pfn pfn = looking->heap->first; pfn < looking->heap->highest; pfn++)
		if (loami_heap_kind(looking->heap, pfn) == LOAMI_KIND_SLAB &&
		    loami_slab_at(looking->heap, pfn)->code == cache->code)
			look_at_slab(looking, pfn, cache, tally);
	if (tally->slabs != cache->nslabs || tally->frames != cache->nframes || tally->slots != cache->nslots ||
	    tally->nfree != cache->nfree)
		WRONG(looking, "S3: %s has %lu slabs, %lu frames, %lu places, %lu free; it says %lu, %lu, %lu, %lu\n",
		      cache->name, (unsigned long)tally->slabs, (unsigned long)tally->frames,
		      (unsigned long)tally->slots, (unsigned long)tally->nfree, (unsigned long)cache->nslabs,
		      (unsigned long)cache->nframes, (unsigned long)cache->nslots, (unsigned long)cache->nfree);
	if (tally->parked != parked)
		WRONG(looking, "M3: %lu places of %s are parked, the magazines hold %lu\n",
		      (unsigned long)tally->parked, cache->name, (unsigned long)parked);
	if (tally->slots != tally->nfree + tally->parked + tally->live)
		WRONG(looking, "%s: places, free, parked and live do not add up\n", cache->name);
	if (look_at_list(looking, cache, cache->partial, false) != tally->partial ||
	    look_at_list(looking, cache, cache->empty, true) != tally->empty || cache->nempty != tally->empty)
		WRONG(looking, "S2: the lists of %s do not hold its slabs\n", cache->name);
}

static uint64_t look_at_region_list(struct looking *looking, uint64_t first, uint64_t list)
{
	struct loam_heap *heap = looking->heap;
	uint64_t prev = LOAM_FRAME_LINK_NONE, count = 0;

	for (uint64_t at = first; at != LOAM_FRAME_LINK_NONE; at = loami_heap_slot(heap, at)->next, count++) {
		const struct loami_region *region = LOAMI_TAIL(struct loami_region, loami_heap_slot(heap, at));
		loam_pfn frame = heap->first + (loam_pfn)region->number * LOAMI_REGION_FRAMES;
		uint64_t right = region->spare == region->owned ? LOAMI_REGION_IDLE : loami_longest_run(region->spare);

		if (region->spare == 0 || (region->spare & ~region->owned) != 0 || region->list != list ||
		    list != right || loami_heap_slot(heap, at)->prev != prev)
			WRONG(looking, "I1, I2: region %u: owned 0x%x, spare 0x%x\n", region->number, region->owned,
			      region->spare);
		for (unsigned int i = 0; i < LOAMI_REGION_FRAMES; i++)
			if ((loami_heap_kind(heap, frame + i) == LOAMI_KIND_SPARE) != ((region->spare >> i & 1) != 0))
				WRONG(looking, "I3: frame 0x%lx\n", (unsigned long)(frame + i));
		prev = at;
	}
	return count;
}

static void look_at_regions(struct looking *looking)
{
	for (unsigned int run = 1; run <= LOAMI_REGION_FRAMES; run++)
		(void)look_at_region_list(looking, looking->heap->regions_partial[run - 1], run);
	if (look_at_region_list(looking, looking->heap->regions_idle, LOAMI_REGION_IDLE) !=
	    looking->heap->nregions_idle)
		WRONG(looking, "I2: not as many idle regions as it says, %lu\n",
		      (unsigned long)looking->heap->nregions_idle);
}

static void look_at_frames(struct looking *looking)
{
	struct loam_heap *heap = looking->heap;
	uint64_t slab_frames = 0, meta_frames = 0, large = 0;

	for (loam_pfn pfn = heap->first; pfn < heap->first + heap->nregions * LOAMI_REGION_FRAMES; pfn++) {
		switch (loami_heap_kind(heap, pfn)) {
		case LOAMI_KIND_SLAB:
			if (loami_slab_at(heap, pfn)->code < LOAMI_LIVE ||
			    !loami_cache_of(heap, loami_slab_at(heap, pfn)->code))
				WRONG(looking, "the slab at frame 0x%lx is of no cache\n", (unsigned long)pfn);
			slab_frames++;
			break;
		case LOAMI_KIND_SLAB_TAIL:
			if (loami_heap_kind(heap, pfn - 1) != LOAMI_KIND_SLAB &&
			    loami_heap_kind(heap, pfn - 1) != LOAMI_KIND_SLAB_TAIL)
				WRONG(looking, "frame 0x%lx continues no slab\n", (unsigned long)pfn);
			slab_frames++;
			break;
		case LOAMI_KIND_SPARE:
			slab_frames++;
			break;
		case LOAMI_KIND_META:
			meta_frames++;
			break;
		case LOAMI_KIND_LARGE:
			large++;
			break;
		default:
			break;
		}
	}
	if (slab_frames != heap->slab_frames || meta_frames != heap->meta_frames + heap->held_frames)
		WRONG(looking, "%lu frames in regions and %lu of metadata; it says %lu and %lu\n",
		      (unsigned long)slab_frames, (unsigned long)meta_frames, (unsigned long)heap->slab_frames,
		      (unsigned long)(heap->meta_frames + heap->held_frames));
	if (large > heap->large_count)
		WRONG(looking, "%lu large objects, it says %lu\n", (unsigned long)large,
		      (unsigned long)heap->large_count);
}

enum loam_status loam_heap_check(struct loam_heap *heap)
{
	struct looking looking = {.heap = heap};

	LOAMI_TASK_ONLY();
	if (!loami_heap_ready(heap))
		return LOAM_ERR_NOT_READY;
	look_at_frames(&looking);
	look_at_regions(&looking);
	for (unsigned int code = LOAMI_LIVE; code < LOAM_HEAP_CODES; code++)
		if (loami_cache_of(heap, code))
			look_at_cache(&looking, loami_cache_of(heap, code));
	return looking.wrong == 0 ? LOAM_OK : LOAM_ERR_INVALID;
}
