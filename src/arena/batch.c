/* arena/batch.c: ranges that wait for a flush.
 *
 * 1 Concepts: a dirty range's record is no longer needed for attribution, so the chain of a batch runs through the records: a batch of any length needs no
 *   memory, and giving up a range cannot fail. Open batches belong to a CPU and are guarded by its lock; a sealed one belongs to whoever sealed it.
 * 2 Invariant I9: a DIRTY range is in exactly one open or sealed batch. Checked by loam_arena_check() for the open ones.
 * 3 Bound: locks are held for at most LOAMI_ARENA_RELEASE_CHUNK ranges at a time.
 */
#include "arena.h"

static struct loami_dirty_record *dirty(struct loam_area_record *record)
{
	return (struct loami_dirty_record *)(void *)record;
}

bool loam_arena_seal(struct loam_arena *arena, unsigned int cpu_number, struct loam_arena_batch *batch)
{
	struct loami_arena_cpu *cpu = loami_arena_cpu(arena, cpu_number);
	struct loam_arena_batch open;
	unsigned long irq;

	LOAMI_NOT_FROM_NMI();
	irq = loami_lock_irq(&cpu->lock);
	open = cpu->open;
	cpu->open = (struct loam_arena_batch){0};
	loami_unlock_irq(&cpu->lock, irq);
	if (open.nareas == 0)
		return false;
	loam_arena_join(batch, &open);
	return true;
}

void loam_arena_join(struct loam_arena_batch *batch, struct loam_arena_batch *more)
{
	if (more->nareas == 0)
		return;
	if (batch->nareas == 0) {
		*batch = *more;
	} else {
		loami_store_release(&dirty(batch->last)->next, more->first);
		batch->last = more->last;
		batch->nareas += more->nareas;
		batch->npages += more->npages;
		if (more->low < batch->low)
			batch->low = more->low;
		if (more->high > batch->high)
			batch->high = more->high;
	}
	*more = (struct loam_arena_batch){0};
}

void loam_arena_split(struct loam_arena_batch *batch, size_t nareas, size_t npages, struct loam_arena_batch *part)
{
	struct loam_arena_batch taken = {.low = batch->low, .high = batch->high, .first = batch->first};

	while (batch->first != NULL && taken.nareas < nareas && taken.npages < npages) {
		struct loami_dirty_record *record = dirty(batch->first);

		taken.last = batch->first;
		taken.nareas++;
		taken.npages += loami_load_relaxed(&record->npages);
		batch->first = loami_load_relaxed(&record->next);
	}
	if (taken.nareas == 0)
		return;
	batch->nareas -= taken.nareas;
	batch->npages -= taken.npages;
	loami_store_release(&dirty(taken.last)->next, NULL);
	loam_arena_join(part, &taken);
	if (batch->nareas == 0)
		*batch = (struct loam_arena_batch){0};
}

struct loam_area_record *loam_arena_dirty_range(const struct loam_arena *arena, const struct loam_area_record *record,
						uintptr_t *start, size_t *npages)
{
	const struct loami_dirty_record *dead = (const struct loami_dirty_record *)(const void *)record;
	const struct loami_span *span = loami_load_relaxed(&dead->span);
	uint64_t page = (loami_span_first(span->where) << arena->shift) +
			loami_load_relaxed(&dead->index) * loami_span_slot(span->where);

	*start = arena->base + (page << LOAM_PAGE_SHIFT);
	*npages = loami_load_relaxed(&dead->npages);
	return loami_load_relaxed(&dead->next);
}

/* Set free up to a chunk of ranges from @record on that are in slabs of one CPU. Return: the first that was not. */
static struct loam_area_record *release_slab_chunk(struct loam_arena *arena, struct loam_area_record *record)
{
	unsigned int number = loami_load_relaxed(&dirty(record)->span)->cpu;
	struct loami_arena_cpu *cpu = loami_arena_cpu(arena, number);
	unsigned long irq = loami_lock_irq(&cpu->lock);

	for (unsigned int n = 0; n < LOAMI_ARENA_RELEASE_CHUNK && record != NULL; n++) {
		struct loami_span *span = loami_load_relaxed(&dirty(record)->span);
		unsigned int index = (unsigned int)loami_load_relaxed(&dirty(record)->index);
		struct loam_area_record *next = loami_load_relaxed(&dirty(record)->next);

		if (loami_span_is_extent(span) || span->cpu != number)
			break;
		if (next != NULL)
			__builtin_prefetch(next);
		if ((loami_load_relaxed(loami_state(span, index)) & LOAMI_AREA_STATE) != LOAMI_AREA_DIRTY)
			loami_corrupt("loam: arena: place %u of slab %p leaves a batch but is not dirty", index,
				      (void *)span);
		cpu->released_areas++;
		loami_slab_put_locked(arena, span, index);
		record = next;
	}
	loami_unlock_irq(&cpu->lock, irq);
	return record;
}

void loam_arena_release_sealed(struct loam_arena *arena, struct loam_arena_batch *batch)
{
	struct loam_area_record *record = batch->first;
	uint64_t nextents = 0;

	LOAMI_NOT_FROM_NMI();
	*batch = (struct loam_arena_batch){0};
	while (record != NULL) {
		struct loami_span *span = loami_load_relaxed(&dirty(record)->span);

		if (loami_span_is_extent(span)) {
			struct loam_area_record *next = loami_load_relaxed(&dirty(record)->next);

			if ((loami_load_relaxed(loami_state(span, 0)) & LOAMI_AREA_STATE) != LOAMI_AREA_DIRTY)
				loami_corrupt("loam: arena: extent %p leaves a batch but is not dirty", (void *)span);
			nextents++;
			loami_extent_release(arena, span);
			record = next;
		} else {
			record = release_slab_chunk(arena, record);
		}
	}
	if (nextents > 0) {
		struct loami_arena_cpu *cpu;
		unsigned long irq = loam_port_irq_save();

		cpu = loami_arena_cpu(arena, loam_port_cpu());
		loami_lock(&cpu->lock);
		cpu->released_areas += nextents;
		loami_unlock_irq(&cpu->lock, irq);
	}
}
