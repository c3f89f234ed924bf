/* boot/normalise.c: from whatever the firmware said to sorted, disjoint, page-aligned regions.
 *
 * 1 Concepts. A raw entry is an interval of bytes with a type. Each byte gets the strictest type of the entries that hold it (of equals, the
 *   lowest node); each page the strictest type of its bytes, and it is usable only if all of its bytes are.
 * 2 How. Heapsort by base, then one sweep: the entries that have begun are a second heap, best first, whose root is the winner here. It lives
 *   in the part of the array the sweep has passed, so nothing is allocated and the raw array stays a permutation of what it was.
 *
 *	raw: [ heap of begun entries | begun and gone | not begun yet, by base )
 *	       0                      nheap            next              nraw
 *
 *   The sweep yields runs of bytes of one (type, node). struct page_edge collects the runs that share a page; whole pages go straight to the output.
 * 3 Invariants. I1: the output is sorted, disjoint, page-aligned, never above the limit, and neighbours differ in type or node (memmap.c,
 *   loam_memmap_check). I2: a region that has ended may stay in the heap, but never at its root when the root is used.
 * 4 Bounds. The sweep stops only where an entry begins or ends: at most 2n stops, each O(log n) plus one look at every type. n entries cut the
 *   address space into at most 2n - 1 runs; so 2n + 1 regions always hold the result, and at most 2n - 1 overlaps are reported.
 * 5 Garbage. All ends are computed saturating at the limit, which is at most 2^64 - 4096: from there on no sum can wrap.
 */
#include "memmap.h"

#include <base/bits.h>

struct sweep {
	struct loam_region *raw;
	size_t nraw;
	size_t next;  /* first entry that has not begun */
	size_t nheap; /* raw[0 .. nheap) is the heap */
	loam_paddr limit;

	/* Of each type, the furthest and the second furthest end of what has begun: who overlaps here. */
	loam_paddr furthest[LOAM_REGION_TYPE_COUNT];
	loam_paddr second[LOAM_REGION_TYPE_COUNT];

	/* The page that the last run ended inside of. nbytes == 0: none. */
	struct page_edge {
		loam_paddr base;
		uint64_t nbytes; /* held by any run */
		uint64_t usable_nbytes;
		loam_paddr usable_base;
		uint32_t type;
		uint32_t node;
	} edge;

	struct loam_memmap *map;
	bool full;

	loam_memmap_note_fn note;
	void *context;
	struct loam_memmap_note overlap; /* the one that may still grow; nbytes == 0: none */
};

static uint32_t effective_type(const struct loam_region *entry)
{
	return loami_region_type_valid(entry->type) ? entry->type : LOAM_REGION_RESERVED;
}

/* Exclusive end, at most @limit; entries that begin at or above it have an end at or below their base. */
static loam_paddr end_below(const struct loam_region *entry, loam_paddr limit)
{
	loam_paddr end;

	if (loami_add_overflows(entry->base, entry->nbytes, &end) || end > limit)
		return limit;
	return end;
}

static void say(struct sweep *sweep, enum loam_memmap_note_kind kind, uint32_t winner, uint32_t loser, loam_paddr base,
		uint64_t nbytes)
{
	const struct loam_memmap_note note = {
		.kind = kind, .winner = winner, .loser = loser, .base = base, .nbytes = nbytes};

	sweep->map->notes[kind]++;
	if (sweep->note != NULL)
		sweep->note(sweep->context, &note);
}

/* What can be said of an entry by itself, in the firmware's order. */
static void say_of_entry(struct sweep *sweep, const struct loam_region *entry)
{
	uint32_t type = effective_type(entry);
	uint64_t to_the_top = 0 - entry->base; /* bytes up to 2^64; 0 means all of them */
	uint64_t nbytes = entry->nbytes;

	if (type != entry->type)
		say(sweep, LOAM_NOTE_TYPE, type, entry->type, entry->base, nbytes);
	if (nbytes == 0) {
		say(sweep, LOAM_NOTE_EMPTY, type, type, entry->base, 0);
		return;
	}
	if (entry->base != 0 && nbytes > to_the_top) {
		say(sweep, LOAM_NOTE_WRAP, type, type, entry->base, to_the_top);
		nbytes = to_the_top;
	}
	if (type != LOAM_REGION_USABLE)
		return;
	if (entry->base >= sweep->limit)
		say(sweep, LOAM_NOTE_CLIP, type, type, entry->base, nbytes);
	else if (nbytes > sweep->limit - entry->base)
		say(sweep, LOAM_NOTE_CLIP, type, type, sweep->limit, nbytes - (sweep->limit - entry->base));
}

/* ---- two orders for one heap ------------------------------------------------------------------------------------------ */

typedef bool (*above_fn)(const struct loam_region *a, const struct loam_region *b);

static bool begins_later(const struct loam_region *a, const struct loam_region *b)
{
	return a->base > b->base;
}

/* A total order up to entries that are the same in every respect: the outcome does not depend on the order of the input. */
static bool wins_over(const struct loam_region *a, const struct loam_region *b)
{
	uint32_t type_a = effective_type(a);
	uint32_t type_b = effective_type(b);

	if (type_a != type_b)
		return type_a > type_b;
	if (a->node != b->node)
		return a->node < b->node;
	return end_below(a, UINT64_MAX) > end_below(b, UINT64_MAX);
}

static inline void swap(struct loam_region *a, struct loam_region *b)
{
	struct loam_region saved = *a;

	*a = *b;
	*b = saved;
}

static inline void sift_down(struct loam_region *heap, size_t n, size_t at, above_fn above)
{
	for (;;) {
		size_t best = at;

		for (size_t child = 2 * at + 1; child < n && child <= 2 * at + 2; child++) {
			if (above(&heap[child], &heap[best]))
				best = child;
		}
		if (best == at)
			return;
		swap(&heap[at], &heap[best]);
		at = best;
	}
}

static inline void sift_up(struct loam_region *heap, size_t at, above_fn above)
{
	while (at > 0 && above(&heap[at], &heap[(at - 1) / 2])) {
		swap(&heap[at], &heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
}

static void sort_by_base(struct loam_region *raw, size_t n)
{
	for (size_t i = n / 2; i > 0; i--)
		sift_down(raw, n, i - 1, begins_later);
	for (size_t i = n; i > 1; i--) {
		swap(&raw[0], &raw[i - 1]);
		sift_down(raw, i - 1, 0, begins_later);
	}
}

/* ---- runs of bytes -> pages -> regions -------------------------------------------------------------------------------- */

static void emit(struct sweep *sweep, loam_paddr base, loam_paddr end, uint32_t type, uint32_t node)
{
	struct loam_memmap *map = sweep->map;
	struct loam_region *last = map->count > 0 ? &map->regions[map->count - 1] : NULL;

	if (last != NULL && last->base + last->nbytes == base && last->type == type && last->node == node) {
		last->nbytes += end - base;
	} else if (map->count == map->capacity) {
		sweep->full = true;
	} else {
		map->regions[map->count++] =
			(struct loam_region){.base = base, .nbytes = end - base, .type = type, .node = node};
	}
}

/* Nothing more comes for the page at the edge: decide what it is. */
static void close_edge(struct sweep *sweep)
{
	struct page_edge *edge = &sweep->edge;
	bool whole = edge->nbytes == LOAM_PAGE_SIZE;

	if (edge->nbytes == 0)
		return;
	if (edge->usable_nbytes > 0 && !(whole && edge->type == LOAM_REGION_USABLE))
		say(sweep, LOAM_NOTE_CLIP, edge->type, LOAM_REGION_USABLE, edge->usable_base, edge->usable_nbytes);
	if (whole || edge->type != LOAM_REGION_USABLE)
		emit(sweep, edge->base, edge->base + LOAM_PAGE_SIZE, edge->type, edge->node);
	edge->nbytes = 0;
}

/* [base, end) lies in one page and does not fill it. */
static void add_to_edge(struct sweep *sweep, loam_paddr base, loam_paddr end, uint32_t type, uint32_t node)
{
	struct page_edge *edge = &sweep->edge;
	loam_paddr page = loami_align_down(base, LOAM_PAGE_SIZE);

	if (edge->nbytes > 0 && edge->base != page)
		close_edge(sweep);
	if (edge->nbytes == 0)
		*edge = (struct page_edge){.base = page, .type = type, .node = node};
	if (type == LOAM_REGION_USABLE) {
		if (edge->usable_nbytes == 0)
			edge->usable_base = base;
		edge->usable_nbytes += end - base;
	}
	if (type > edge->type || (type == edge->type && node < edge->node)) {
		edge->type = type;
		edge->node = node;
	}
	edge->nbytes += end - base;
}

static void add_run(struct sweep *sweep, loam_paddr base, loam_paddr end, uint32_t type, uint32_t node)
{
	loam_paddr first_whole = loami_align_up(base, LOAM_PAGE_SIZE);
	loam_paddr last_whole = loami_align_down(end, LOAM_PAGE_SIZE);

	if (first_whole > last_whole) { /* inside one page */
		add_to_edge(sweep, base, end, type, node);
		return;
	}
	if (base < first_whole)
		add_to_edge(sweep, base, first_whole, type, node);
	if (first_whole < last_whole) {
		close_edge(sweep);
		emit(sweep, first_whole, last_whole, type, node);
	}
	if (last_whole < end)
		add_to_edge(sweep, last_whole, end, type, node);
}

/* ---- the sweep -------------------------------------------------------------------------------------------------------- */

static void flush_overlap(struct sweep *sweep)
{
	const struct loam_memmap_note *o = &sweep->overlap;

	if (o->nbytes > 0)
		say(sweep, LOAM_NOTE_OVERLAP, o->winner, o->loser, o->base, o->nbytes);
	sweep->overlap.nbytes = 0;
}

/* Between @base and @end nothing begins or ends, and at least two entries hold it. @loser: the least strict type there. */
static void add_overlap(struct sweep *sweep, loam_paddr base, loam_paddr end, uint32_t winner, uint32_t loser)
{
	struct loam_memmap_note *o = &sweep->overlap;

	if (o->nbytes > 0 && o->base + o->nbytes == base && o->winner == winner && o->loser == loser) {
		o->nbytes += end - base;
		return;
	}
	flush_overlap(sweep);
	*o = (struct loam_memmap_note){
		.kind = LOAM_NOTE_OVERLAP, .winner = winner, .loser = loser, .base = base, .nbytes = end - base};
}

/* Entries that begin at or before @at join the heap; the root is one that has not ended, if there is any. */
static void advance(struct sweep *sweep, loam_paddr at)
{
	struct loam_region *raw = sweep->raw;

	for (; sweep->next < sweep->nraw && raw[sweep->next].base <= at; sweep->next++) {
		const struct loam_region *entry = &raw[sweep->next];
		loam_paddr end = end_below(entry, sweep->limit);
		uint32_t type = effective_type(entry);

		if (end <= at)
			continue;
		if (end > sweep->furthest[type]) {
			sweep->second[type] = sweep->furthest[type];
			sweep->furthest[type] = end;
		} else if (end > sweep->second[type]) {
			sweep->second[type] = end;
		}
		swap(&raw[sweep->nheap], &raw[sweep->next]);
		sift_up(raw, sweep->nheap++, wins_over);
	}
	while (sweep->nheap > 0 && end_below(&raw[0], sweep->limit) <= at) {
		swap(&raw[0], &raw[--sweep->nheap]);
		sift_down(raw, sweep->nheap, 0, wins_over);
	}
}

/* The next place after @at where anything begins or ends; what is there between is told to add_overlap(). */
static loam_paddr step(struct sweep *sweep, loam_paddr at, uint32_t winner)
{
	loam_paddr end = sweep->furthest[winner];
	uint32_t loser = winner;

	if (sweep->next < sweep->nraw && sweep->raw[sweep->next].base < end)
		end = sweep->raw[sweep->next].base;
	for (uint32_t type = winner; type >= LOAM_REGION_USABLE; type--) {
		if (sweep->furthest[type] <= at)
			continue;
		loser = type;
		if (sweep->furthest[type] < end)
			end = sweep->furthest[type];
		if (sweep->second[type] > at && sweep->second[type] < end)
			end = sweep->second[type];
	}
	if (end_below(&sweep->raw[0], sweep->limit) < end)
		end = end_below(&sweep->raw[0], sweep->limit);
	if (loser != winner || sweep->second[winner] > at)
		add_overlap(sweep, at, end, winner, loser);
	return end;
}

static void run_sweep(struct sweep *sweep)
{
	loam_paddr at = 0;

	for (;;) {
		advance(sweep, at);
		if (sweep->nheap == 0) {
			if (sweep->next == sweep->nraw)
				break;
			at = sweep->raw[sweep->next].base;
			if (at >= sweep->limit)
				break;
			continue;
		}
		uint32_t type = effective_type(&sweep->raw[0]);
		uint32_t node = sweep->raw[0].node;
		loam_paddr end = step(sweep, at, type);

		add_run(sweep, at, end, type, node);
		at = end;
	}
	close_edge(sweep);
	flush_overlap(sweep);
}

enum loam_status loam_memmap_init(struct loam_memmap *map, struct loam_region *raw, size_t nraw,
				  struct loam_region *storage, size_t capacity, loam_paddr limit,
				  loam_memmap_note_fn note, void *context)
{
	struct sweep sweep = {.raw = raw, .nraw = nraw, .map = map, .note = note, .context = context};

	if (map == NULL || storage == NULL || (raw == NULL && nraw > 0))
		return LOAM_ERR_INVALID;
	*map = (struct loam_memmap){.regions = storage, .capacity = capacity};
	sweep.limit = LOAMI_MEMMAP_TOP;
	if (limit != 0 && limit < LOAMI_MEMMAP_TOP)
		sweep.limit = loami_align_down(limit, LOAM_PAGE_SIZE);

	for (size_t i = 0; i < nraw; i++)
		say_of_entry(&sweep, &raw[i]);
	sort_by_base(raw, nraw);
	run_sweep(&sweep);
	if (sweep.full) {
		map->count = 0;
		return LOAM_ERR_NO_METADATA;
	}
	return LOAM_OK;
}
