/* arena/quick.h: ranges of a slab, step by step, for whoever inlines them: slab.c, batch.c, and vmalloc's common case.
 *
 * The same steps as in slab.c and area.c, less what a range of one's own CPU's slabs cannot need. Whoever is told false has changed nothing and goes the long way, which also finds
 * out which error it is.
 */
#ifndef LOAMI_ARENA_QUICK_H
#define LOAMI_ARENA_QUICK_H

#include "arena.h"

/* Where a range is: what the steps need of a struct loam_area. */
struct loami_spot {
	struct loami_span *span;
	struct loam_area_record *record;
	uintptr_t start;
	uint32_t index;
	uint32_t npages;
};

/* A place of the first slab in the list of @class. The lock is held. */
static inline struct loami_span *loami_slab_take(struct loami_arena_cpu *cpu, unsigned int size_class, size_t npages,
						 unsigned int *index)
{
	struct loami_span *span = cpu->partial[size_class];
	uint64_t before = span->free;

	if (LOAMI_UNLIKELY(before == span->all))
		cpu->nempty[size_class]--;
	*index = loami_ctz64(before);
	span->free = before & (before - 1);
	if (LOAMI_UNLIKELY(span->free == 0))
		loami_slab_unlist(cpu, span);
	cpu->reserved_areas++;
	cpu->reserved_pages += npages;
	cpu->free_slot_pages -= loami_span_slot(span->where);
	return span;
}

/* A place that has been taken becomes a range of @npages in @state. The span is this place's for as long, so its fields stand still. */
static inline void loami_slab_start(const struct loam_arena *arena, struct loami_span *span, unsigned int index,
				    size_t npages, uint8_t state, struct loam_area *area)
{
	uint64_t where = span->where;
	uint64_t page = (loami_span_first(where) << arena->shift) + (uint64_t)index * loami_span_slot(where);

	area->start = arena->base + (page << LOAM_PAGE_SHIFT);
	area->npages = npages;
	area->capacity = loami_span_slot(where) - arena->guard;
	area->record = &span->records[index];
	area->span = span;
	area->index = index;
	area->version = loami_load_relaxed(&span->version);
	loami_store_release(&span->state[index],
			    (uint8_t)((area->capacity - npages) << LOAMI_AREA_SLACK_SHIFT | state));
}

/* The last place of a slab is free again. slab.c */
void loami_slab_put_empty(struct loam_arena *arena, struct loami_arena_cpu *cpu, struct loami_span *span);

/* A place is free again. The lock of @cpu, whose slab it is, is held. */
static inline void loami_slab_put(struct loam_arena *arena, struct loami_arena_cpu *cpu, struct loami_span *span,
				  unsigned int index)
{
	uint64_t before = span->free;

	LOAMI_ASSERT(loami_lock_held(&cpu->lock));
	loami_record_clear(&span->records[index]);
	loami_store_release(&span->state[index], LOAMI_AREA_FREE);
	span->free = before | UINT64_C(1) << index;
	cpu->free_slot_pages += loami_span_slot(span->where);
	if (LOAMI_UNLIKELY(before == 0))
		loami_slab_list(cpu, span);
	if (LOAMI_UNLIKELY(span->free == span->all))
		loami_slab_put_empty(arena, cpu, span);
}

/* What a claim makes of a live state. */
static inline uint8_t loami_claimed(uint8_t state)
{
	return (uint8_t)(state + (LOAMI_AREA_CLAIMED - LOAMI_AREA_LIVE));
}

/* Of a range that the caller owns. */
static inline void loami_set_state(struct loami_span *span, unsigned int index, uint8_t state)
{
	uint8_t *at = loami_state(span, index);

	loami_store_release(at, (uint8_t)((loami_load_relaxed(at) & ~LOAMI_AREA_STATE) | state));
}

/* @npages, claimed, out of the slabs of @cpu, whose lock is held. @npages and its guard have a class. */
static inline bool loami_quick_reserve(const struct loam_arena *arena, struct loami_arena_cpu *cpu, size_t npages,
				       struct loami_spot *spot)
{
	unsigned int size_class = loami_class_of((unsigned int)npages + arena->guard), index = 0;
	struct loami_span *span;
	uint64_t where;

	if (LOAMI_UNLIKELY(cpu->partial[size_class] == NULL))
		return false;
	span = loami_slab_take(cpu, size_class, npages, &index);
	where = span->where;
	*spot = (struct loami_spot){
		.span = span,
		.record = &span->records[index],
		.start = arena->base +
			 (((loami_span_first(where) << arena->shift) + (uint64_t)index * loami_span_slot(where))
			  << LOAM_PAGE_SHIFT),
		.index = index,
		.npages = (uint32_t)npages,
	};
	loami_store_release(&span->state[index],
			    (uint8_t)((loami_span_slot(where) - arena->guard - npages) << LOAMI_AREA_SLACK_SHIFT |
				      LOAMI_AREA_CLAIMED));
	return true;
}

/* Claim the range of at most @most pages of a slab at @address whose record has exactly @flags: area.c's claim(), with the same one compare-and-swap and the same looks before and after it. */
static inline bool loami_quick_claim(const struct loam_arena *arena, uintptr_t address, uint32_t flags, size_t most,
				     struct loami_spot *spot)
{
	uint64_t page = (uint64_t)(address - arena->base) >> LOAM_PAGE_SHIFT, g = page >> arena->shift;
	uint64_t word, where, in, index, sequence;
	struct loam_area_record *record;
	struct loami_span *span;
	uint32_t version;
	size_t npages;
	uint8_t state;

	/* Granules before the first that is handed out have no word. */
	if (LOAMI_UNLIKELY(g >= arena->limit) || LOAMI_UNLIKELY(!loami_is_aligned(address, LOAM_PAGE_SIZE)))
		return false;
	word = loami_radix_get(arena, g);
	if (LOAMI_UNLIKELY((word & LOAMI_WORD_TAG) != LOAMI_WORD_SPAN))
		return false;
	span = (struct loami_span *)(uintptr_t)(word - LOAMI_WORD_SPAN);
	if (LOAMI_UNLIKELY(loami_span_is_extent(span)))
		return false;
	version = loami_load_acquire(&span->version);
	where = loami_load_acquire(&span->where);
	in = page - (loami_span_first(where) << arena->shift);
	index = in * loami_load_acquire(&span->reciprocal) >> LOAMI_RECIPROCAL_SHIFT;
	if (LOAMI_UNLIKELY(index >= loami_span_nslots(where)) || LOAMI_UNLIKELY(index * loami_span_slot(where) != in) ||
	    LOAMI_UNLIKELY((version & 1) != 0))
		return false;
	record = &loami_load_acquire(&span->records)[index];
	state = loami_load_acquire(&span->state[index]);
	sequence = loami_load_acquire(&record->sequence);
	npages = loami_span_slot(where) - arena->guard - (state >> LOAMI_AREA_SLACK_SHIFT);
	if (LOAMI_UNLIKELY(npages > most) || LOAMI_UNLIKELY((state & LOAMI_AREA_STATE) != LOAMI_AREA_LIVE) ||
	    LOAMI_UNLIKELY(loami_load_acquire(&record->flags) != flags) ||
	    LOAMI_UNLIKELY(!loami_swap_byte(&span->state[index], state, loami_claimed(state)))) /* CLAIM */
		return false;
	if (LOAMI_UNLIKELY(loami_load_acquire(&span->version) != version) ||
	    LOAMI_UNLIKELY(loami_load_relaxed(&record->sequence) != sequence)) {
		loami_set_state(span, (unsigned int)index, LOAMI_AREA_LIVE);
		return false;
	}
	*spot = (struct loami_spot){
		.span = span,
		.record = record,
		.start = address,
		.index = (uint32_t)index,
		.npages = (uint32_t)npages,
	};
	return true;
}

/* A claimed range joins the open batch of CPU @number, which is this one and @cpu, whose lock is held; loami_batch_has_room(). */
static inline void loami_quick_publish(struct loami_arena_cpu *cpu, unsigned int number, const struct loami_spot *spot,
				       struct loam_arena_open *open)
{
	uint8_t *state = &spot->span->state[spot->index];

	loami_store_release(state, loami_load_relaxed(state) | LOAMI_AREA_DIRTY);
	cpu->entries[cpu->nentries++] = loami_entry(spot->span, spot->index);
	cpu->published_areas++;
	cpu->given_pages += spot->npages;
	open->cpu = number;
	open->nareas = ++cpu->open.nareas;
	open->npages = cpu->open.npages += spot->npages;
}

#endif
