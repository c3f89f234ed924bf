/* arena/lookup.c: what is at an address, without a lock.
 *
 * 1 A reader goes word -> span -> place -> state and then reads the word again. Spans are type-stable, so whatever it finds meanwhile is a span, old or new;
 *   if the word is the same before and after and so is the state (whose upper bits count reservations), all it read belongs to one range at
 *   one moment. Otherwise somebody has freed or reserved there in between, and it starts over: so the whole system makes progress.
 * 2 Orders: writers store every field with release, and the word last; when a span is recycled, its word is cleared first. Readers load with acquire in
 *   the opposite order. A reader that sees one new field therefore sees the changed word.
 * 3 In order of addresses: loam_arena_next() steps from run to run over the same words. A free run, and address space without tables, is one step.
 */
#include "arena.h"

enum loam_status loami_area_find(const struct loam_arena *arena, uintptr_t address, struct loam_area *area)
{
	uint64_t page, g, word, where, in;
	struct loami_span *span;
	unsigned int slot;

	if (address < arena->start || address >= arena->end)
		return LOAM_ERR_OUT_OF_RANGE;
	page = (uint64_t)(address - arena->base) >> LOAM_PAGE_SHIFT;
	g = page >> arena->shift;
	if (g < arena->first || g >= arena->limit)
		return LOAM_ERR_NOT_FOUND;
	for (;;) {
		word = loami_radix_get(arena, g);
		if ((word & LOAMI_WORD_TAG) != LOAMI_WORD_SPAN)
			return LOAM_ERR_NOT_FOUND;
		span = (struct loami_span *)(uintptr_t)(word & ~(uint64_t)LOAMI_WORD_TAG);
		where = loami_load_acquire(&span->where);
		in = page - (loami_span_first(where) << arena->shift);
		slot = loami_span_slot(where);
		area->span = span;
		area->index = 0;
		if (!loami_span_is_extent(span)) {
			area->index = (uint32_t)(in * loami_load_acquire(&span->reciprocal) >> LOAMI_RECIPROCAL_SHIFT);
			/* An index out of bounds: the rest behind the last place; or the span changed under us. */
			if (LOAMI_UNLIKELY(area->index >= loami_span_nslots(where))) {
				if (loami_radix_get(arena, g) == word && loami_load_acquire(&span->where) == where)
					return LOAM_ERR_NOT_FOUND;
				continue;
			}
		}
		area->record = &loami_load_acquire(&span->records)[area->index];
		area->state = loami_load_acquire(loami_state(span, area->index));
		area->npages = loami_area_npages(span, area->state);
		page -= in;
		area->start = arena->base + ((page + (uint64_t)area->index * slot) << LOAM_PAGE_SHIFT);
		page += in;
		area->capacity =
			(loami_span_is_extent(span) ? loami_load_acquire(&span->ngranules) << arena->shift : slot) -
			arena->guard;
		if (LOAMI_LIKELY(loami_radix_get(arena, g) == word && loami_area_unchanged(area) &&
				 loami_load_acquire(&span->where) == where))
			return LOAM_OK;
	}
}

bool loami_area_unchanged(const struct loam_area *area)
{
	const struct loami_span *span = area->span;

	return loami_load_acquire(loami_state(span, area->index)) == area->state;
}

void loami_record_copy(const struct loam_area_record *record, struct loam_area_record *copy)
{
	const uint64_t *from = (const uint64_t *)(const void *)record;
	uint64_t *to = (uint64_t *)(void *)copy;

	for (unsigned int i = 0; i < sizeof(*record) / sizeof(*from); i++)
		to[i] = loami_load_acquire(&from[i]);
}

/* The sequence is set to 0 first and to its new value last, so a reader that finds the same one before and after copied one version. */
void loam_arena_write_record(const struct loam_area *area, const struct loam_area_record *record)
{
	const uint64_t *from = (const uint64_t *)(const void *)record;
	uint64_t *to = (uint64_t *)(void *)area->record;

	loami_store_release(&to[0], 0);
	for (unsigned int i = 1; i < sizeof(*record) / sizeof(*from); i++)
		loami_store_release(&to[i], from[i]);
	if (from[0] != 0)
		loami_store_release(&to[0], from[0]);
}

/* One consistent copy of a range's record, or false: the range has changed. */
static bool copy_record(const struct loam_area *area, struct loam_area_record *copy)
{
	uint64_t again;

	do {
		loami_record_copy(area->record, copy);
		again = loami_load_acquire(&area->record->sequence);
	} while (again != copy->sequence && loami_area_unchanged(area));
	return loami_area_unchanged(area);
}

enum loam_status loam_arena_lookup(const struct loam_arena *arena, uintptr_t address, struct loam_area *area,
				   struct loam_area_record *copy)
{
	for (;;) {
		enum loam_status status = loami_area_find(arena, address, area);
		uint32_t state;

		if (status != LOAM_OK)
			return status;
		state = area->state & LOAMI_AREA_STATE;
		if (state == LOAMI_AREA_FREE || state == LOAMI_AREA_DIRTY)
			return LOAM_ERR_NOT_FOUND;
		if ((uint64_t)(address - area->start) >> LOAM_PAGE_SHIFT >= area->npages + arena->guard)
			return LOAM_ERR_NOT_FOUND;
		if (copy == NULL || copy_record(area, copy))
			return state == LOAMI_AREA_LIVE ? LOAM_OK : LOAM_ERR_BUSY;
	}
}

/* Granules from @g to the next run or table, at least 1. */
static uint64_t step(const struct loam_arena *arena, uint64_t g)
{
	uint64_t word = loami_radix_get(arena, g);
	uint64_t n = loami_radix_gap(arena, g);

	if ((word & LOAMI_WORD_TAG) == LOAMI_WORD_HEAD) {
		n = loami_run_length(arena, g, word);
		/* The run may have been taken in between; its length is good only if its head is the same. */
		if (loami_radix_get(arena, g) != word)
			n = 1;
	}
	return n == 0 || n > arena->limit - g ? 1 : n;
}

enum loam_status loam_arena_next(const struct loam_arena *arena, uintptr_t address, struct loam_area *area,
				 struct loam_area_record *copy)
{
	uint64_t page, g;

	if (address < arena->base + (arena->first << arena->shift << LOAM_PAGE_SHIFT))
		address = arena->base + (arena->first << arena->shift << LOAM_PAGE_SHIFT);
	while (address < arena->end && address >= arena->start) {
		page = (uint64_t)(address - arena->base) >> LOAM_PAGE_SHIFT;
		g = page >> arena->shift;
		if (g >= arena->limit)
			break;
		if (loami_area_find(arena, address, area) != LOAM_OK) {
			g += step(arena, g);
			address = arena->base + (g << arena->shift << LOAM_PAGE_SHIFT);
			if (g >= arena->limit)
				break;
			continue;
		}
		if (area->start >= address && (area->state & LOAMI_AREA_STATE) == LOAMI_AREA_LIVE) {
			if (copy == NULL || copy_record(area, copy))
				return LOAM_OK;
			continue;
		}
		/* To the place behind this one. */
		address = area->start + ((area->capacity + arena->guard) << LOAM_PAGE_SHIFT);
	}
	return LOAM_ERR_NOT_FOUND;
}
