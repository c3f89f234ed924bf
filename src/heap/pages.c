/* heap/pages.c: frames for slabs and for bookkeeping.
 *
 * 1 Concepts. The frame layer gives regions: 64 KiB, aligned, 16 frames. Beside each lies one frame of states, found through heap->regions. Slabs are runs
 *   inside a region. Where no 64 KiB are to be had, a region owns only some of its 16 frames, as few as one; the states' frame is there all the same.
 *   Metadata smaller than a frame comes in pieces of a power of two out of frames of such pieces.
 * 2 Structures. The descriptor of a region is in the slot of its states' frame, that of a frame of pieces in its own slot. heap->kinds says of each frame what it
 *   is to the heap; a slot's owner's part is believed only after it.
 * 3 Invariants (checked by loam_heap_check()): I1 spare is a part of owned. I2 a region is on the list of its longest run of spare
 *   frames, on the idle list when all it owns are spare, on none when none is. I3 kinds say SPARE exactly for spare frames. I4 a region that owns nothing does not exist; its entry in heap->regions leads to a frame of zeros.
 * 4 Locks: pages guards all of it. heap->regions and heap->kinds are read without: whoever frees a good pointer had it handed over by somebody after the region was
 *   made, and a region does not go while it has a live object; for a bad pointer any answer but "live" is right, and a byte of states is memory of the direct map
 *   even when its frame has been freed since.
 * 5 Failure leaves nothing: each step back undoes its own.
 */
#include "internal.h"

static const struct loam_frame_opts quietly = {.uninitialized = true, .no_reclaim = true};
static const struct loam_frame_opts cleared = {.no_reclaim = true};

static struct loami_region *region_of(const struct loam_heap *heap, loam_pfn states)
{
	return LOAMI_TAIL(struct loami_region, loami_heap_slot(heap, states));
}

/* Lists of slots, by frame number. The heads are words of the heap or of a cache. */
void loami_list_push(struct loam_heap *heap, uint64_t *list, loam_pfn pfn)
{
	struct loam_slot *slot = loami_heap_slot(heap, pfn);

	slot->prev = LOAM_FRAME_LINK_NONE;
	slot->next = *list;
	if (*list != LOAM_FRAME_LINK_NONE)
		loami_heap_slot(heap, *list)->prev = pfn;
	*list = pfn;
}

void loami_list_remove(struct loam_heap *heap, uint64_t *list, loam_pfn pfn)
{
	struct loam_slot *slot = loami_heap_slot(heap, pfn);

	if (slot->prev != LOAM_FRAME_LINK_NONE)
		loami_heap_slot(heap, slot->prev)->next = slot->next;
	else
		*list = slot->next;
	if (slot->next != LOAM_FRAME_LINK_NONE)
		loami_heap_slot(heap, slot->next)->prev = slot->prev;
}

/* ---- regions ----------------------------------------------------------------------------------------------------------------- */

static uint8_t *biased(const struct loam_heap *heap, uint32_t region, const void *states)
{
	(void)heap;
	return (uint8_t *)((uintptr_t)states - ((uintptr_t)region << (LOAMI_REGION_SHIFT - LOAMI_GRANULE_SHIFT)));
}

void loami_region_forget(struct loam_heap *heap, uint32_t region)
{
	loami_store_release(&heap->regions[region], biased(heap, region, heap->no_states));
}

static bool region_exists(const struct loam_heap *heap, uint32_t region)
{
	return heap->regions[region] != biased(heap, region, heap->no_states);
}

static loam_pfn states_frame(const struct loam_heap *heap, uint32_t region)
{
	uintptr_t states =
		(uintptr_t)heap->regions[region] + ((uintptr_t)region << (LOAMI_REGION_SHIFT - LOAMI_GRANULE_SHIFT));

	return loami_heap_pfn(heap, (const void *)states);
}

unsigned int loami_longest_run(uint16_t mask)
{
	unsigned int n = 0;

	for (uint32_t m = mask; m != 0; m &= m >> 1)
		n++;
	return n;
}

static uint64_t *list_of(struct loam_heap *heap, uint64_t list)
{
	return list == LOAMI_REGION_IDLE ? &heap->regions_idle : &heap->regions_partial[list - 1];
}

/* Onto the list where it belongs by what it has to spare; off all of them when it is to go. */
static void relist_locked(struct loam_heap *heap, loam_pfn states, bool gone)
{
	struct loami_region *region = region_of(heap, states);
	uint64_t list = region->spare == region->owned ? LOAMI_REGION_IDLE : loami_longest_run(region->spare);

	if (gone)
		list = 0;
	if (list == region->list)
		return;
	if (region->list != 0)
		loami_list_remove(heap, list_of(heap, region->list), states);
	if (list != 0)
		loami_list_push(heap, list_of(heap, list), states);
	heap->nregions_idle += list == LOAMI_REGION_IDLE;
	heap->nregions_idle -= region->list == LOAMI_REGION_IDLE;
	region->list = list;
}

/* Add frames of one region that have just been taken. The caller has a frame of states that say NONE, and takes it back when the region had one. */
static loam_pfn region_add_locked(struct loam_heap *heap, loam_pfn first, unsigned int n, loam_pfn states)
{
	uint32_t number = (uint32_t)((first - heap->first) / LOAMI_REGION_FRAMES);
	uint16_t mask = (uint16_t)(loami_mask64(n) << (first % LOAMI_REGION_FRAMES));
	struct loami_region *region;
	loam_pfn at;

	if (region_exists(heap, number)) {
		at = states_frame(heap, number);
		region = region_of(heap, at);
	} else {
		at = states;
		region = region_of(heap, states);
		*region = (struct loami_region){.number = number};
		loami_heap_set_kind(heap, states, LOAMI_KIND_META);
		heap->meta_frames++;
		loami_store_release(&heap->regions[number], biased(heap, number, loami_heap_virt(heap, states)));
		states = LOAM_PFN_NONE;
	}
	region->owned |= mask;
	region->spare |= mask;
	relist_locked(heap, at, false);
	loami_store_relaxed(&heap->slab_frames, heap->slab_frames + n);
	for (unsigned int i = 0; i < n; i++)
		loami_heap_set_kind(heap, first + i, LOAMI_KIND_SPARE);
	return states;
}

/* Frames for @n more of a run: a whole region, or what can be had. No lock is held. */
static bool region_add(struct loam_heap *heap, unsigned int n, bool reclaim)
{
	struct loam_frame_where whole = {.align = LOAMI_REGION_NBYTES};
	struct loam_frame_where part = {.boundary = LOAMI_REGION_NBYTES};
	struct loam_frame_opts opts = quietly;
	unsigned int got = LOAMI_REGION_FRAMES;
	loam_pfn first, states;
	unsigned long irq;

	opts.no_reclaim = !reclaim;
	if (LOAMI_FAIL(LOAMI_FAIL_METADATA))
		return false;
	states = loam_frame_alloc(heap->frames, 0, &opts);
	if (states == LOAM_PFN_NONE)
		return false;
	memset(loami_heap_virt(heap, states), LOAMI_NONE, LOAM_PAGE_SIZE);
	if (loam_frame_alloc_range(heap->frames, got, &whole, &opts, &first) != LOAM_OK) {
		got = n;
		if (n == 1)
			first = loam_frame_alloc(heap->frames, 0, &opts);
		else if (loam_frame_alloc_range(heap->frames, n, &part, &opts, &first) != LOAM_OK)
			first = LOAM_PFN_NONE;
		if (first == LOAM_PFN_NONE) {
			loam_frame_free(heap->frames, states, 0);
			return false;
		}
	}
	irq = loami_lock_irq(&heap->pages);
	states = region_add_locked(heap, first, got, states);
	loami_unlock_irq(&heap->pages, irq);
	if (states != LOAM_PFN_NONE)
		loam_frame_free(heap->frames, states, 0);
	return true;
}

/* A region whose frames are all spare goes back to the frame layer. */
static size_t region_release_locked(struct loam_heap *heap, loam_pfn states)
{
	struct loami_region *region = region_of(heap, states);
	loam_pfn first = heap->first + (loam_pfn)region->number * LOAMI_REGION_FRAMES;
	uint64_t owned = region->owned;
	size_t n = 1;

	relist_locked(heap, states, true);
	loami_region_forget(heap, region->number);
	loami_heap_set_kind(heap, states, LOAMI_KIND_FOREIGN);
	heap->meta_frames--;
	while (owned != 0) {
		unsigned int from = loami_ctz64(owned);
		unsigned int run = loami_ctz64(~(owned >> from));

		for (unsigned int i = 0; i < run; i++)
			loami_heap_set_kind(heap, first + from + i, LOAMI_KIND_FOREIGN);
		owned &= ~(loami_mask64(run) << from);
		loami_store_relaxed(&heap->slab_frames, heap->slab_frames - run);
		n += run;
		loam_frame_free_range(heap->frames, first + from, run);
	}
	loam_frame_free(heap->frames, states, 0);
	return n;
}

/* @n neighbouring bits of @mask; 16 when there are none. */
static unsigned int find_run(uint16_t mask, unsigned int n)
{
	uint32_t m = mask;

	for (unsigned int i = 1; i < n; i++)
		m &= (uint32_t)mask >> i;
	return m == 0 ? LOAMI_REGION_FRAMES : loami_ctz64(m);
}

/* @n frames in a row of the region at @states; LOAM_PFN_NONE: it has not so many. */
static loam_pfn region_take_locked(struct loam_heap *heap, loam_pfn states, unsigned int n)
{
	struct loami_region *region = region_of(heap, states);
	unsigned int at = find_run(region->spare, n);
	loam_pfn first = heap->first + (loam_pfn)region->number * LOAMI_REGION_FRAMES + at;

	if (at == LOAMI_REGION_FRAMES)
		return LOAM_PFN_NONE;
	region->spare = (uint16_t)(region->spare & ~(loami_mask64(n) << at));
	relist_locked(heap, states, false);
	for (unsigned int i = 1; i < n; i++) {
		loami_store_relaxed(&LOAMI_TAIL(struct loami_slab_tail, loami_heap_slot(heap, first + i))->head, first);
		loami_heap_set_kind(heap, first + i, LOAMI_KIND_SLAB_TAIL);
	}
	return first;
}

/* The tightest fit. Of wholly spare regions there are no more than CPUs and one. */
static loam_pfn run_take_locked(struct loam_heap *heap, unsigned int n)
{
	loam_pfn first = LOAM_PFN_NONE;

	for (unsigned int list = n; list <= LOAMI_REGION_FRAMES; list++)
		if (heap->regions_partial[list - 1] != LOAM_FRAME_LINK_NONE)
			return region_take_locked(heap, heap->regions_partial[list - 1], n);
	for (loam_pfn states = heap->regions_idle; states != LOAM_FRAME_LINK_NONE && first == LOAM_PFN_NONE;
	     states = loami_heap_slot(heap, states)->next)
		first = region_take_locked(heap, states, n);
	return first;
}

loam_pfn loami_run_alloc(struct loam_heap *heap, unsigned int n, bool reclaim)
{
	for (;;) {
		unsigned long irq = loami_lock_irq(&heap->pages);
		loam_pfn first = run_take_locked(heap, n);

		loami_unlock_irq(&heap->pages, irq);
		if (first != LOAM_PFN_NONE || !region_add(heap, n, reclaim))
			return first;
	}
}

void loami_run_free(struct loam_heap *heap, loam_pfn first, unsigned int n)
{
	uint32_t number = (uint32_t)((first - heap->first) / LOAMI_REGION_FRAMES);
	uint16_t mask = (uint16_t)(loami_mask64(n) << (first % LOAMI_REGION_FRAMES));
	unsigned long irq = loami_lock_irq(&heap->pages);
	loam_pfn states = states_frame(heap, number);
	struct loami_region *region = region_of(heap, states);

	for (unsigned int i = 0; i < n; i++)
		loami_heap_set_kind(heap, first + i, LOAMI_KIND_SPARE);
	region->spare |= mask;
	relist_locked(heap, states, false);
	/* One idle region stays, so that one slab back and forth does not go to the frame layer. */
	if (region->spare == region->owned && heap->nregions_idle > 1)
		(void)region_release_locked(heap, states);
	loami_unlock_irq(&heap->pages, irq);
}

size_t loami_regions_trim(struct loam_heap *heap)
{
	size_t n = 0, more;

	do {
		unsigned long irq = loami_lock_irq(&heap->pages);

		more = heap->regions_idle == LOAM_FRAME_LINK_NONE ? 0 : region_release_locked(heap, heap->regions_idle);
		loami_unlock_irq(&heap->pages, irq);
		n += more;
	} while (more != 0);
	return n;
}

/* ---- metadata ------------------------------------------------------------------------------------------------------------------ */

enum { PIECE_SHIFT_MIN = 6 };

static struct loami_pieces *pieces_of(const struct loam_heap *heap, loam_pfn pfn)
{
	return LOAMI_TAIL(struct loami_pieces, loami_heap_slot(heap, pfn));
}

static uint64_t all_pieces(unsigned int shift)
{
	return loami_mask64(1U << (LOAM_PAGE_SHIFT - shift));
}

void *loami_piece_alloc(struct loam_heap *heap, size_t nbytes)
{
	unsigned int shift = loami_log2_ceil(nbytes);
	uint64_t *list = &heap->pieces[shift - PIECE_SHIFT_MIN];
	struct loami_pieces *pieces;
	unsigned long irq;
	unsigned int i;
	loam_pfn pfn;

	irq = loami_lock_irq(&heap->pages);
	pfn = *list;
	if (pfn == LOAM_FRAME_LINK_NONE) {
		pfn = LOAMI_FAIL(LOAMI_FAIL_METADATA) ? LOAM_PFN_NONE : loam_frame_alloc(heap->frames, 0, &quietly);
		if (pfn == LOAM_PFN_NONE) {
			loami_unlock_irq(&heap->pages, irq);
			return NULL;
		}
		*pieces_of(heap, pfn) = (struct loami_pieces){.spare = all_pieces(shift), .shift = shift};
		loami_heap_set_kind(heap, pfn, LOAMI_KIND_META);
		heap->meta_frames++;
		loami_list_push(heap, list, pfn);
	}
	pieces = pieces_of(heap, pfn);
	i = loami_ctz64(pieces->spare);
	pieces->spare &= pieces->spare - 1;
	if (pieces->spare == 0)
		loami_list_remove(heap, list, pfn);
	loami_unlock_irq(&heap->pages, irq);
	return (char *)loami_heap_virt(heap, pfn) + ((size_t)i << shift);
}

void loami_piece_free(struct loam_heap *heap, void *piece, size_t nbytes)
{
	unsigned int shift = loami_log2_ceil(nbytes);
	uint64_t *list = &heap->pieces[shift - PIECE_SHIFT_MIN];
	loam_pfn pfn = loami_heap_pfn(heap, piece);
	unsigned long irq = loami_lock_irq(&heap->pages);
	struct loami_pieces *pieces = pieces_of(heap, pfn);

	if (pieces->spare == 0)
		loami_list_push(heap, list, pfn);
	pieces->spare |= UINT64_C(1) << (((uintptr_t)piece % LOAM_PAGE_SIZE) >> shift);
	if (pieces->spare == all_pieces(shift)) {
		loami_list_remove(heap, list, pfn);
		loami_heap_set_kind(heap, pfn, LOAMI_KIND_FOREIGN);
		heap->meta_frames--;
		loam_frame_free(heap->frames, pfn, 0);
	}
	loami_unlock_irq(&heap->pages, irq);
}

static void count_meta(struct loam_heap *heap, loam_pfn first, unsigned int order, uint8_t kind)
{
	unsigned long irq = loami_lock_irq(&heap->pages);

	for (loam_pfn pfn = first; pfn < first + (UINT64_C(1) << order); pfn++)
		loami_heap_set_kind(heap, pfn, kind);
	if (kind == LOAMI_KIND_META)
		heap->meta_frames += UINT64_C(1) << order;
	else
		heap->meta_frames -= UINT64_C(1) << order;
	loami_unlock_irq(&heap->pages, irq);
}

void *loami_meta_alloc(struct loam_heap *heap, unsigned int order)
{
	loam_pfn pfn;

	if (LOAMI_FAIL(LOAMI_FAIL_METADATA))
		return NULL;
	pfn = loam_frame_alloc(heap->frames, order, &cleared);
	if (pfn == LOAM_PFN_NONE)
		return NULL;
	count_meta(heap, pfn, order, LOAMI_KIND_META);
	return loami_heap_virt(heap, pfn);
}

void loami_meta_free(struct loam_heap *heap, void *at, unsigned int order)
{
	loam_pfn pfn = loami_heap_pfn(heap, at);

	count_meta(heap, pfn, order, LOAMI_KIND_FOREIGN);
	loam_frame_free(heap->frames, pfn, order);
}
