/* arena/find.h: from an address to its place, without a lock. lookup.c says why that is right; inlined into what is called most. */
#ifndef LOAMI_ARENA_FIND_H
#define LOAMI_ARENA_FIND_H

#include "arena.h"

enum loami_found { LOAMI_FOUND, LOAMI_BEHIND, LOAMI_CHANGED };

/* Where in @span? BEHIND: in the rest behind its last place. CHANGED: look again. *@area is good with FOUND only. */
static inline enum loami_found loami_find_in(const struct loam_arena *arena, struct loami_span *span, uint64_t page,
					     struct loam_area *area, uint8_t *state)
{
	uint32_t version = loami_load_acquire(&span->version);
	uint64_t where = loami_load_acquire(&span->where);
	uint64_t first = loami_span_first(where) << arena->shift;
	uint64_t in = page - first;
	bool covered;

	area->span = span;
	area->version = version;
	if (LOAMI_UNLIKELY(loami_span_is_extent(span))) {
		covered = in < (uint64_t)loami_load_acquire(&span->ngranules) << arena->shift;
		*state = loami_area_describe(arena, span, where, 0, area);
	} else {
		uint64_t index = in * loami_load_acquire(&span->reciprocal) >> LOAMI_RECIPROCAL_SHIFT;
		size_t capacity = loami_span_slot(where) - arena->guard;
		uint8_t found;

		covered = index < loami_span_nslots(where);
		index &= LOAMI_ARENA_SLOTS_MAX - 1; /* a state and a record there is in any case */
		found = loami_load_acquire(&span->state[index]);
		area->start = arena->base + ((first + index * loami_span_slot(where)) << LOAM_PAGE_SHIFT);
		area->npages = capacity - (found >> LOAMI_AREA_SLACK_SHIFT);
		area->capacity = capacity;
		area->record = &loami_load_acquire(&span->records)[index];
		area->index = (uint32_t)index;
		*state = found;
	}
	if (LOAMI_UNLIKELY(loami_load_acquire(&span->version) != version || (version & 1) != 0))
		return LOAMI_CHANGED;
	return LOAMI_LIKELY(covered) ? LOAMI_FOUND : LOAMI_BEHIND;
}

/* Where @address is, and in which state; OUT_OF_RANGE, NOT_FOUND. */
static inline enum loam_status loami_area_find(const struct loam_arena *arena, uintptr_t address,
					       struct loam_area *area, uint8_t *state)
{
	uint64_t page, g;

	*state = LOAMI_AREA_FREE;
	if (LOAMI_UNLIKELY(address < arena->start || address >= arena->end))
		return LOAM_ERR_OUT_OF_RANGE;
	page = (uint64_t)(address - arena->base) >> LOAM_PAGE_SHIFT;
	g = page >> arena->shift;
	/* Behind the last that can be handed out there may be no table; those before the first have no words. */
	if (LOAMI_UNLIKELY(g >= arena->limit))
		return LOAM_ERR_NOT_FOUND;
	for (;;) {
		uint64_t word = loami_radix_get(arena, g);
		struct loami_span *span = (struct loami_span *)(uintptr_t)(word & ~(uint64_t)LOAMI_WORD_TAG);
		enum loami_found found;

		if (LOAMI_UNLIKELY((word & LOAMI_WORD_TAG) != LOAMI_WORD_SPAN))
			return LOAM_ERR_NOT_FOUND;
		__builtin_prefetch(span->state, 1); /* both lines of a slab at once; whoever claims writes the second */
		found = loami_find_in(arena, span, page, area, state);
		if (LOAMI_LIKELY(found == LOAMI_FOUND))
			return LOAM_OK;
		if (found == LOAMI_BEHIND && loami_radix_get(arena, g) == word)
			return LOAM_ERR_NOT_FOUND;
	}
}

#endif
