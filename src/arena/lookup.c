/* arena/lookup.c: what is at an address, without a lock.
 *
 * 1 A reader goes word -> span -> place -> state. Spans are type-stable, so whatever it finds is a span, old or new. A span's version is odd while
 *   its fields change and then a new one; if it is even and the same before and after, and the span covers the address, then all that was read belongs to the
 *   run at this address at one moment, by whatever word it was reached. Otherwise somebody has freed or reserved there in between, and the reader starts
 *   over: so the whole system makes progress.
 * 2 A copy of a record is good if its sequence is the same before and after and the range was live throughout: sequences are never used twice, and a record whose
 *   sequence is 0 is being written (loam_arena_write_record).
 * 3 Orders: writers store with release, the version first and last, the word after it; readers load with acquire. A span's words are cleared before its memory
 *   describes another run.
 * 4 In order of addresses: loam_arena_next() steps from run to run over the same words. A free run, and address space without tables, is one step.
 */
#include "find.h"

bool loami_area_unchanged(const struct loam_arena *arena, const struct loam_area *area, uint8_t state)
{
	const struct loami_span *span = area->span;

	(void)arena;
	return loami_load_acquire(loami_state(span, area->index)) == state &&
	       loami_load_acquire(&span->version) == area->version;
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
static bool copy_record(const struct loam_arena *arena, const struct loam_area *area, uint8_t state,
			struct loam_area_record *copy)
{
	const uint64_t *from = (const uint64_t *)(const void *)area->record;
	uint64_t *to = (uint64_t *)(void *)copy;

	do {
		for (unsigned int i = 0; i < sizeof(*copy) / sizeof(*from); i++)
			to[i] = loami_load_acquire(&from[i]);
		if (!loami_area_unchanged(arena, area, state))
			return false;
	} while (loami_load_acquire(&from[0]) != copy->sequence);
	return true;
}

enum loam_status loam_arena_lookup(const struct loam_arena *arena, uintptr_t address, struct loam_area *area,
				   struct loam_area_record *copy)
{
	for (;;) {
		uint8_t word;
		enum loam_status status = loami_area_find(arena, address, area, &word);
		uint8_t state = word & LOAMI_AREA_STATE;

		if (LOAMI_UNLIKELY(status != LOAM_OK))
			return status;
		if (LOAMI_UNLIKELY(state == LOAMI_AREA_FREE || state == LOAMI_AREA_DIRTY))
			return LOAM_ERR_NOT_FOUND;
		if ((uint64_t)(address - area->start) >> LOAM_PAGE_SHIFT >= area->npages + arena->guard)
			return LOAM_ERR_NOT_FOUND;
		if (copy == NULL || copy_record(arena, area, word, copy))
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

enum loam_status loam_arena_lookup_freed(const struct loam_arena *arena, uintptr_t address, struct loam_area *area,
					 struct loam_area_record *copy)
{
	for (;;) {
		uint8_t word;

		if (loami_area_find(arena, address, area, &word) != LOAM_OK ||
		    (word & LOAMI_AREA_STATE) != LOAMI_AREA_DIRTY ||
		    (uint64_t)(address - area->start) >> LOAM_PAGE_SHIFT >= area->npages)
			return LOAM_ERR_NOT_FOUND;
		if (copy_record(arena, area, word, copy))
			return LOAM_OK;
	}
}

enum loam_status loam_arena_next(const struct loam_arena *arena, uintptr_t address, struct loam_area *area,
				 struct loam_area_record *copy)
{
	uint64_t page, g;
	uint8_t state;

	if (address < arena->base + (arena->first << arena->shift << LOAM_PAGE_SHIFT))
		address = arena->base + (arena->first << arena->shift << LOAM_PAGE_SHIFT);
	while (address < arena->end && address >= arena->start) {
		page = (uint64_t)(address - arena->base) >> LOAM_PAGE_SHIFT;
		g = page >> arena->shift;
		if (g >= arena->limit)
			break;
		if (loami_area_find(arena, address, area, &state) != LOAM_OK) {
			g += step(arena, g);
			address = arena->base + (g << arena->shift << LOAM_PAGE_SHIFT);
			if (g >= arena->limit)
				break;
			continue;
		}
		if (area->start >= address && (state & LOAMI_AREA_STATE) == LOAMI_AREA_LIVE) {
			if (copy == NULL || copy_record(arena, area, state, copy))
				return LOAM_OK;
			continue;
		}
		/* To the place behind this one. */
		address = area->start + ((area->capacity + arena->guard) << LOAM_PAGE_SHIFT);
	}
	return LOAM_ERR_NOT_FOUND;
}
