/* arena/area.c: one range from reserve to release.
 *
 * 1 States of a place, in its state word: FREE -> LIVE (reserve) -> CLAIMED (claim) -> DIRTY (publish) -> FREE (release_sealed); CLAIMED may also go back to
 *   LIVE (unclaim) or straight to FREE (release). Only LIVE -> CLAIMED is contended: any CPU may try, so it is a compare-and-swap on the whole word, whose
 *   upper bits count the reservations of this place. A claim by an address that has been freed, recycled and handed out again in between finds another count
 *   and fails. In every other state the place has one owner, and plain stores do.
 * 2 Why claim and publish are two steps: between them the owner clears the page-table entries. Were the range put where it can be recycled by the claim
 *   itself, another CPU could flush and reuse it while its entries are still there.
 * 3 Where the state is: in the slab's array, or in the extent's span; not in the record, whose line is not needed to claim.
 */
#include "arena.h"

void loami_area_start(const struct loam_arena *arena, struct loami_span *span, unsigned int index, size_t npages,
		      struct loam_area *area)
{
	struct loam_area_record *record = &loami_load_relaxed(&span->records)[index];
	uint64_t where = loami_load_relaxed(&span->where);
	uint32_t count = (loami_load_relaxed(loami_state(span, index)) >> LOAMI_AREA_COUNT_SHIFT) + 1;
	uint64_t page = (loami_span_first(where) << arena->shift) + (uint64_t)index * loami_span_slot(where);

	area->start = arena->base + (page << LOAM_PAGE_SHIFT);
	area->npages = npages;
	area->capacity =
		(loami_span_is_extent(span) ? span->ngranules << arena->shift : loami_span_slot(where)) - arena->guard;
	area->record = record;
	area->span = span;
	area->index = index;
	area->state = count << LOAMI_AREA_COUNT_SHIFT | LOAMI_AREA_LIVE;
	if (loami_span_is_extent(span))
		loami_store_release(&span->npages, npages);
	else
		area->state |= (uint32_t)npages << LOAMI_AREA_PAGES_SHIFT;
	loam_arena_write_record(area, &(struct loam_area_record){0});
	loami_store_release(loami_state(span, index), area->state);
}

enum loam_status loami_extent_reserve(struct loam_arena *arena, size_t npages, size_t align, struct loam_area *area)
{
	uint64_t n = (npages + arena->guard + (UINT64_C(1) << arena->shift) - 1) >> arena->shift;
	uint64_t unit = (uint64_t)align >> LOAM_PAGE_SHIFT >> arena->shift; /* alignment in granules */
	uint64_t here = (uint64_t)arena->base >> LOAM_PAGE_SHIFT >> arena->shift;
	uint64_t first;
	struct loami_span *span;
	unsigned int added;
	unsigned long irq;
	enum loam_status status;

	if (unit == 0)
		unit = 1;
	if (n > arena->limit - arena->first)
		return LOAM_ERR_NO_RANGE;
	status = loami_meta_lock(arena, &irq, &added);
	if (status != LOAM_OK)
		return status;
	status = loami_extent_take(arena, n, unit, (0 - here) & (unit - 1), &first);
	if (status != LOAM_OK) {
		loami_meta_unlock_undo(arena, irq, added);
		return status;
	}
	span = loami_meta_get(arena, LOAMI_POOL_EXTENT);
	span->ngranules = n;
	loami_store_release(&span->records, (struct loam_area_record *)(void *)((char *)span + LOAMI_SPAN_BYTES));
	loami_store_release(&span->where, first | UINT64_C(1) << 48);
	loami_radix_fill(arena, first, n, (uint64_t)(uintptr_t)span | LOAMI_WORD_SPAN);
	arena->extent_areas++;
	arena->extent_pages += npages;
	loami_unlock_irq(&arena->lock, irq);
	loami_area_start(arena, span, 0, npages, area);
	return LOAM_OK;
}

void loami_extent_release(struct loam_arena *arena, struct loami_span *span)
{
	unsigned long irq = loami_lock_irq(&arena->lock);
	uint64_t first = loami_span_first(span->where);

	loami_store_release(loami_state(span, 0),
			    loami_load_relaxed(loami_state(span, 0)) & ~(uint32_t)LOAMI_AREA_STATE);
	loami_radix_fill(arena, first, span->ngranules, 0);
	loami_extent_give(arena, first, span->ngranules);
	loami_meta_put(arena, LOAMI_POOL_EXTENT, span);
	loami_unlock_irq(&arena->lock, irq);
}

enum loam_status loam_arena_reserve(struct loam_arena *arena, size_t npages, size_t align, struct loam_area *area)
{
	enum loam_status status;

	LOAMI_NOT_FROM_NMI();
	if (npages == 0)
		return LOAM_ERR_ZERO_SIZE;
	if (align != 0 && !loami_is_power_of_two(align))
		return LOAM_ERR_ALIGNMENT;
	if (npages > (arena->limit - arena->first) << arena->shift)
		return LOAM_ERR_TOO_LARGE;
	if (npages + arena->guard <= arena->slot_max && align <= LOAM_PAGE_SIZE)
		return loami_slab_reserve(arena, npages, area);
	status = loami_extent_reserve(arena, npages, align, area);
	if (status == LOAM_ERR_NO_RANGE && loami_slab_trim(arena) > 0)
		status = loami_extent_reserve(arena, npages, align, area);
	return status;
}

enum loam_status loam_arena_claim(struct loam_arena *arena, uintptr_t address, struct loam_area *area)
{
	struct loami_span *span;

	LOAMI_NOT_FROM_NMI();
	for (;;) {
		enum loam_status status = loami_area_find(arena, address, area);
		uint32_t expected;

		if (status != LOAM_OK)
			return status;
		span = area->span;
		if (address != area->start || (area->state & LOAMI_AREA_STATE) != LOAMI_AREA_LIVE)
			return LOAM_ERR_NOT_FOUND;
		expected = area->state;
		if (LOAMI_LIKELY(loami_cas(loami_state(span, area->index), &expected,
					   area->state + (LOAMI_AREA_CLAIMED - LOAMI_AREA_LIVE))))
			break;
	}
	area->state += LOAMI_AREA_CLAIMED - LOAMI_AREA_LIVE;
	return LOAM_OK;
}

/* The caller says it has claimed this; a word that says otherwise is a caller's mistake that would corrupt. */
static struct loami_span *claimed_span(const struct loam_area *area, const char *what)
{
	struct loami_span *span = area->span;
	uint32_t state = loami_load_relaxed(loami_state(span, area->index));

	if (LOAMI_UNLIKELY((state & LOAMI_AREA_STATE) != LOAMI_AREA_CLAIMED))
		loami_misuse("loam: arena: %s of the range at 0x%lx, which is not claimed (state %u)", what,
			     (unsigned long)area->start, state & LOAMI_AREA_STATE);
	return span;
}

static void set_state(struct loami_span *span, const struct loam_area *area, uint32_t state)
{
	uint32_t word = loami_load_relaxed(loami_state(span, area->index));

	loami_store_release(loami_state(span, area->index), (word & ~(uint32_t)LOAMI_AREA_STATE) | state);
}

void loam_arena_unclaim(struct loam_arena *arena, const struct loam_area *area)
{
	struct loami_span *span = claimed_span(area, "unclaim");

	(void)arena;
	set_state(span, area, LOAMI_AREA_LIVE);
}

enum loam_status loam_arena_resize(struct loam_arena *arena, struct loam_area *area, size_t npages)
{
	struct loami_span *span = claimed_span(area, "resize");
	struct loami_arena_cpu *cpu;
	unsigned long irq;
	uint32_t word;

	if (npages == 0)
		return LOAM_ERR_ZERO_SIZE;
	if (npages > area->capacity)
		return LOAM_ERR_NO_RANGE;
	if (loami_span_is_extent(span)) {
		loami_store_release(&span->npages, npages);
	} else {
		word = loami_load_relaxed(loami_state(span, area->index));
		word &= ~((uint32_t)LOAMI_AREA_PAGES_MASK << LOAMI_AREA_PAGES_SHIFT);
		word |= (uint32_t)npages << LOAMI_AREA_PAGES_SHIFT;
		loami_store_release(loami_state(span, area->index), word);
	}
	irq = loam_port_irq_save();
	cpu = loami_arena_cpu(arena, loam_port_cpu());
	loami_lock(&cpu->lock);
	cpu->reserved_pages += npages;
	cpu->given_pages += area->npages;
	loami_unlock_irq(&cpu->lock, irq);
	area->npages = npages;
	return LOAM_OK;
}

static struct loami_dirty_record *dirty(struct loam_area_record *record)
{
	return (struct loami_dirty_record *)(void *)record;
}

void loam_arena_publish(struct loam_arena *arena, const struct loam_area *area, struct loam_arena_open *open)
{
	struct loami_span *span = claimed_span(area, "publish");
	struct loami_dirty_record *record = dirty(area->record);
	struct loam_arena_batch *batch;
	struct loami_arena_cpu *cpu;
	unsigned int number;
	unsigned long irq;

	loami_store_release(&record->sequence, 0);
	loami_store_release(&record->next, NULL);
	loami_store_release(&record->span, span);
	loami_store_release(&record->index, area->index);
	loami_store_release(&record->npages, area->npages);
	set_state(span, area, LOAMI_AREA_DIRTY);

	irq = loam_port_irq_save();
	number = loam_port_cpu();
	cpu = loami_arena_cpu(arena, number);
	loami_lock(&cpu->lock);
	batch = &cpu->open;
	if (batch->nareas == 0) {
		batch->first = area->record;
		batch->low = area->start;
		batch->high = area->start + (area->npages << LOAM_PAGE_SHIFT);
	} else {
		loami_store_release(&dirty(batch->last)->next, area->record);
		if (area->start < batch->low)
			batch->low = area->start;
		if (area->start + (area->npages << LOAM_PAGE_SHIFT) > batch->high)
			batch->high = area->start + (area->npages << LOAM_PAGE_SHIFT);
	}
	batch->last = area->record;
	batch->nareas++;
	batch->npages += area->npages;
	cpu->given_areas++;
	cpu->given_pages += area->npages;
	cpu->published_areas++;
	if (open != NULL)
		*open = (struct loam_arena_open){.cpu = number, .nareas = batch->nareas, .npages = batch->npages};
	loami_unlock(&cpu->lock);
	loam_port_irq_restore(irq);
}

void loam_arena_release(struct loam_arena *arena, const struct loam_area *area)
{
	struct loami_span *span = claimed_span(area, "release");
	struct loami_arena_cpu *cpu;
	unsigned long irq = loam_port_irq_save();

	cpu = loami_arena_cpu(arena, loami_span_is_extent(span) ? loam_port_cpu() : span->cpu);
	loami_lock(&cpu->lock);
	cpu->given_areas++;
	cpu->given_pages += area->npages;
	if (!loami_span_is_extent(span))
		loami_slab_put_locked(arena, span, area->index);
	loami_unlock_irq(&cpu->lock, irq);
	if (loami_span_is_extent(span))
		loami_extent_release(arena, span);
}
