/* arena/area.c: one range from reserve to release.
 *
 * 1 States of a place, in its byte: FREE -> LIVE (reserve) -> CLAIMED (claim) -> DIRTY (publish) -> FREE (release); CLAIMED may also go back to LIVE
 *   (unclaim) or straight to FREE (release). Only LIVE -> CLAIMED is contended: any CPU may try, so it is a compare-and-swap (loami_swap_byte()). In
 *   every other state the place has one owner, who stores the byte.
 * 2 Why claim and publish are two steps: between them the owner clears the page-table entries. Were the range put where it can be recycled by the claim
 *   itself, another CPU could flush and reuse it while its entries are still there.
 * 3 A claim by an address that is being freed twice at once may find the span recycled for another run between looking and swapping. The version of the span
 *   tells, after the swap, and the swap is undone. All the caller of such a double free can do is to make a free of that other range fail for this moment.
 * 4 Where the state is: in the slab, or in the extent's span; not in the record, whose line is not needed to claim and publish.
 */
#include "find.h"
#include "quick.h"

static uint8_t slack_of(const struct loam_area *area, size_t npages)
{
	return loami_span_is_extent(area->span) ? 0 : (uint8_t)((area->capacity - npages) << LOAMI_AREA_SLACK_SHIFT);
}

enum loam_status loami_extent_reserve(struct loam_arena *arena, size_t npages, size_t align, uint8_t state,
				      struct loam_area *area)
{
	uint64_t n = (npages + arena->guard + (UINT64_C(1) << arena->shift) - 1) >> arena->shift;
	uint64_t unit = (uint64_t)align >> LOAM_PAGE_SHIFT >> arena->shift; /* alignment in granules */
	uint64_t here = (uint64_t)arena->base >> LOAM_PAGE_SHIFT >> arena->shift;
	uint64_t first;
	struct loami_span *span;
	unsigned long irq;
	enum loam_status status;

	if (unit == 0)
		unit = 1;
	if (n > arena->limit - arena->first)
		return LOAM_ERR_NO_RANGE;
	status = loami_extent_lock_and_take(arena, n, unit, (0 - here) & (unit - 1), &irq, &first);
	if (status != LOAM_OK)
		return status;
	span = loami_meta_get(arena, LOAMI_POOL_EXTENT);
	loami_span_begin(span);
	loami_store_release(&span->ngranules, (uint32_t)n);
	loami_store_release(&span->npages, npages);
	loami_store_release(&span->records, (struct loam_area_record *)(void *)((char *)span + LOAMI_SPAN_BYTES));
	loami_store_release(&span->where, first | UINT64_C(1) << 48);
	loami_span_end(span);
	loami_radix_fill(arena, first, n, (uint64_t)(uintptr_t)span | LOAMI_WORD_SPAN);
	arena->extent_areas++;
	arena->extent_pages += npages;
	(void)loami_area_describe(arena, span, span->where, 0, area);
	area->version = loami_load_relaxed(&span->version);
	loami_unlock_irq(&arena->lock, irq);
	loami_store_release(&span->own_state[0], state);
	return LOAM_OK;
}

void loami_extent_release(struct loam_arena *arena, struct loami_span *span)
{
	unsigned long irq = loami_lock_irq(&arena->lock);
	uint64_t first = loami_span_first(span->where);

	loami_record_clear(&span->records[0]);
	loami_store_release(&span->own_state[0], LOAMI_AREA_FREE);
	loami_radix_fill(arena, first, span->ngranules, 0);
	loami_extent_give(arena, first, span->ngranules);
	loami_meta_put(arena, LOAMI_POOL_EXTENT, span);
	loami_unlock_irq(&arena->lock, irq);
}

static inline enum loam_status reserve(struct loam_arena *arena, size_t npages, size_t align, uint8_t state,
				       struct loam_area *area)
{
	enum loam_status status;

	LOAMI_NOT_FROM_NMI();
	if (LOAMI_LIKELY(npages - 1 < arena->slot_max - arena->guard && npages < arena->slot_max &&
			 align <= LOAM_PAGE_SIZE && (align & (align - 1)) == 0))
		return loami_slab_reserve(arena, npages, state, area);
	if (npages == 0)
		return LOAM_ERR_ZERO_SIZE;
	if (align != 0 && !loami_is_power_of_two(align))
		return LOAM_ERR_ALIGNMENT;
	if (npages > (arena->limit - arena->first) << arena->shift)
		return LOAM_ERR_TOO_LARGE;
	status = loami_extent_reserve(arena, npages, align, state, area);
	if (status == LOAM_ERR_NO_RANGE && loami_slab_trim(arena) > 0)
		status = loami_extent_reserve(arena, npages, align, state, area);
	return status;
}

enum loam_status loam_arena_reserve(struct loam_arena *arena, size_t npages, size_t align, struct loam_area *area)
{
	return reserve(arena, npages, align, LOAMI_AREA_LIVE, area);
}

enum loam_status loam_arena_reserve_claimed(struct loam_arena *arena, size_t npages, size_t align,
					    struct loam_area *area)
{
	return reserve(arena, npages, align, LOAMI_AREA_CLAIMED, area);
}

/* @flags 0: whatever the record says. Else the record that is looked at before the swap is the same one after it: sequences are never used twice. */
static inline enum loam_status claim(struct loam_arena *arena, uintptr_t address, uint32_t flags,
				     struct loam_area *area)
{
	LOAMI_NOT_FROM_NMI();
	for (;;) {
		uint64_t sequence = 0;
		uint8_t state;
		enum loam_status status = loami_area_find(arena, address, area, &state);

		if (LOAMI_UNLIKELY(status != LOAM_OK))
			return status;
		if (LOAMI_UNLIKELY(address != area->start || (state & LOAMI_AREA_STATE) != LOAMI_AREA_LIVE))
			return LOAM_ERR_NOT_FOUND;
		if (flags != 0) {
			sequence = loami_load_acquire(&area->record->sequence);
			if (LOAMI_UNLIKELY((loami_load_acquire(&area->record->flags) & flags) == 0))
				return LOAM_ERR_NOT_FOUND;
		}
		if (LOAMI_UNLIKELY(!loami_swap_byte(loami_state(area->span, area->index), state,
						    loami_claimed(state)))) /* CLAIM */
			continue;
		if (LOAMI_LIKELY(loami_load_acquire(&((struct loami_span *)area->span)->version) == area->version &&
				 (flags == 0 || loami_load_relaxed(&area->record->sequence) == sequence)))
			return LOAM_OK;
		loami_set_state(area->span, area->index, LOAMI_AREA_LIVE);
	}
}

enum loam_status loam_arena_claim(struct loam_arena *arena, uintptr_t address, struct loam_area *area)
{
	return claim(arena, address, 0, area);
}

enum loam_status loam_arena_claim_if(struct loam_arena *arena, uintptr_t address, uint32_t flags,
				     struct loam_area *area)
{
	return claim(arena, address, flags, area);
}

/* The caller says it has claimed this; a state that says otherwise is a caller's mistake that would corrupt. */
static struct loami_span *claimed_span(const struct loam_area *area, const char *what)
{
	struct loami_span *span = area->span;
	uint8_t state = loami_load_relaxed(loami_state(span, area->index)) & LOAMI_AREA_STATE;

	if (LOAMI_UNLIKELY(state != LOAMI_AREA_CLAIMED))
		loami_misuse("loam: arena: %s of the range at 0x%lx, which is not claimed (state %u)", what,
			     (unsigned long)area->start, state);
	return span;
}

void loam_arena_unclaim(struct loam_arena *arena, const struct loam_area *area)
{
	struct loami_span *span = claimed_span(area, "unclaim");

	(void)arena;
	loami_set_state(span, area->index, LOAMI_AREA_LIVE);
}

enum loam_status loam_arena_resize(struct loam_arena *arena, struct loam_area *area, size_t npages)
{
	struct loami_span *span = claimed_span(area, "resize");
	struct loami_arena_cpu *cpu;
	unsigned long irq;

	if (npages == 0)
		return LOAM_ERR_ZERO_SIZE;
	if (npages > area->capacity || (!loami_span_is_extent(span) && area->capacity - npages > LOAMI_AREA_SLACK_MAX))
		return LOAM_ERR_NO_RANGE;
	if (loami_span_is_extent(span))
		loami_store_release(&span->npages, npages);
	else
		loami_store_release(loami_state(span, area->index),
				    (uint8_t)(slack_of(area, npages) | LOAMI_AREA_CLAIMED));
	irq = loam_port_irq_save();
	cpu = loami_arena_cpu(arena, loam_port_cpu());
	loami_lock(&cpu->lock);
	cpu->reserved_pages += npages;
	cpu->given_pages += area->npages;
	loami_unlock_irq(&cpu->lock, irq);
	area->npages = npages;
	return LOAM_OK;
}

/* This CPU's open batch has no frame with room. Its lock is held. */
static void publish_slow(struct loam_arena *arena, struct loami_arena_cpu *cpu, const struct loam_area *area)
{
	uint64_t entry = loami_entry(area->span, area->index);

	loami_batch_close_entries(arena, cpu);
	loami_lock(&arena->lock);
	cpu->entries_frame = loami_meta_get_entries(arena);
	loami_unlock(&arena->lock);
	if (cpu->entries_frame != LOAM_PFN_NONE) {
		cpu->entries = loam_frame_virt(arena->frames, cpu->entries_frame);
		cpu->entries[cpu->nentries++] = entry;
	} else {
		loami_batch_chain(&cpu->open, entry);
	}
}

void loami_arena_publish(struct loam_arena *arena, struct loami_arena_cpu *cpu, unsigned int number,
			 const struct loam_area *area, struct loam_arena_open *open)
{
	struct loami_span *span = area->span;
	uint8_t *at = loami_state(span, area->index);

	LOAMI_ASSERT(loami_lock_held(&cpu->lock));
	loami_store_release(at, loami_load_relaxed(at) | LOAMI_AREA_DIRTY); /* DIRTY: from CLAIMED, one bit more */
	if (LOAMI_LIKELY(loami_batch_has_room(cpu)))
		cpu->entries[cpu->nentries++] = loami_entry(span, area->index);
	else
		publish_slow(arena, cpu, area);
	cpu->open.nareas++;
	cpu->open.npages += area->npages;
	cpu->published_areas++;
	cpu->given_pages += area->npages;
	if (open != NULL)
		*open = (struct loam_arena_open){.cpu = number, .nareas = cpu->open.nareas, .npages = cpu->open.npages};
}

void loam_arena_publish(struct loam_arena *arena, const struct loam_area *area, struct loam_arena_open *open)
{
	struct loami_arena_cpu *cpu;
	unsigned int number;
	unsigned long irq;

	(void)claimed_span(area, "publish");
	irq = loam_port_irq_save();
	number = loam_port_cpu();
	cpu = loami_arena_cpu(arena, number);
	loami_lock(&cpu->lock);
	loami_arena_publish(arena, cpu, number, area, open);
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
	cpu->direct_areas++;
	cpu->given_pages += area->npages;
	if (!loami_span_is_extent(span))
		loami_slab_put(arena, cpu, span, area->index);
	loami_unlock_irq(&cpu->lock, irq);
	if (loami_span_is_extent(span))
		loami_extent_release(arena, span);
}
