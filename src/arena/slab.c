/* arena/slab.c: small ranges, up to 64 equal places to a slab.
 *
 * 1 Concepts: a range with its guard is rounded up to a class. A slab's @free word has a bit for each place that can be handed out; taking one is a
 *   find-first-set under the lock of the CPU the slab belongs to, which is nearly always the CPU that asks. A slab with free places is in its CPU's
 *   list of its class; one without is in no list. A CPU keeps one wholly free slab of a class, further ones are dissolved.
 * 2 When there is no room for a slab, in this order: half as many places, down to two; a range cut exactly, as an extent; what CPUs keep in empty slabs is given back
 *   and both are tried again; a place of this or a larger class in any CPU's slabs. So address space is refused only when no free run and no free place fits.
 * 3 Invariants: I6 a slab is in its class's list exactly when @free is not 0; I7 @nempty counts the slabs of the list that are wholly free, at most one
 *   after each release; I8 a place's bit is set exactly when its state is FREE. Checked by loam_arena_check().
 * 4 Locks: a CPU's lock guards its lists and its slabs' @free and links; the extent lock is taken inside it to dissolve.
 */
#include "quick.h"

unsigned int loami_class_pages(unsigned int size_class)
{
	unsigned int log;

	if (size_class < LOAMI_ARENA_EXACT)
		return size_class + 1;
	log = 4 + ((size_class - LOAMI_ARENA_EXACT) >> LOAMI_ARENA_PER_DOUBLING_SHIFT);
	return (((size_class - LOAMI_ARENA_EXACT) & 7) + 8 + 1) << (log - LOAMI_ARENA_PER_DOUBLING_SHIFT);
}

void loami_slab_list(struct loami_arena_cpu *cpu, struct loami_span *span)
{
	struct loami_span **head = &cpu->partial[span->size_class];

	span->prev = NULL;
	span->next = *head;
	if (*head != NULL)
		(*head)->prev = span;
	*head = span;
}

void loami_slab_unlist(struct loami_arena_cpu *cpu, struct loami_span *span)
{
	if (span->prev != NULL)
		span->prev->next = span->next;
	else
		cpu->partial[span->size_class] = span->next;
	if (span->next != NULL)
		span->next->prev = span->prev;
}

static enum loami_pool record_pool(unsigned int nslots)
{
	return nslots <= 16 ? LOAMI_POOL_RECORDS16 : nslots <= 32 ? LOAMI_POOL_RECORDS32 : LOAMI_POOL_RECORDS64;
}

/* A wholly free slab for @cpu, in no list yet, with up to @nslots places. */
static enum loam_status make(struct loam_arena *arena, unsigned int size_class, unsigned int cpu, unsigned int nslots,
			     struct loami_span **made)
{
	uint64_t pages = loami_class_pages(size_class);
	uint64_t ngranules = (nslots * pages + (UINT64_C(1) << arena->shift) - 1) >> arena->shift;
	uint64_t first;
	struct loami_span *span;
	unsigned long irq;
	enum loam_status status;

	if ((ngranules << arena->shift) / pages > nslots)
		nslots = (unsigned int)((ngranules << arena->shift) / pages);
	if (nslots > LOAMI_ARENA_SLOTS_MAX)
		nslots = LOAMI_ARENA_SLOTS_MAX;

	status = loami_extent_lock_and_take(arena, ngranules, 1, 0, &irq, &first);
	if (status != LOAM_OK)
		return status;
	span = loami_meta_get(arena, LOAMI_POOL_SLAB);
	span->size_class = (uint8_t)size_class;
	span->cpu = (uint16_t)cpu;
	loami_span_begin(span);
	loami_store_release(&span->ngranules, (uint32_t)ngranules);
	span->all = loami_mask64(nslots);
	span->free = span->all;
	loami_store_release(&span->records, loami_meta_get(arena, record_pool(nslots)));
	loami_store_release(&span->reciprocal, (uint32_t)((UINT32_C(1) << LOAMI_RECIPROCAL_SHIFT) / pages + 1));
	loami_store_release(&span->where, first | pages << 32 | (uint64_t)nslots << 48);
	loami_span_end(span);
	loami_radix_fill(arena, first, ngranules, (uint64_t)(uintptr_t)span | LOAMI_WORD_SPAN);
	*made = span;
	loami_unlock_irq(&arena->lock, irq);
	return LOAM_OK;
}

/* A wholly free slab in no list goes back to the extents. The lock of its CPU is held. */
static void dissolve(struct loam_arena *arena, struct loami_arena_cpu *cpu, struct loami_span *span)
{
	unsigned int nslots = loami_span_nslots(span->where);

	cpu->free_slot_pages -= (uint64_t)nslots * loami_span_slot(span->where);
	loami_lock(&arena->lock);
	loami_radix_fill(arena, loami_span_first(span->where), span->ngranules, 0);
	loami_extent_give(arena, loami_span_first(span->where), span->ngranules);
	loami_meta_put(arena, record_pool(nslots), span->records);
	loami_meta_put(arena, (enum loami_pool)span->kind, span);
	loami_unlock(&arena->lock);
}

/* A place from @class or a larger one of @number's slabs. */
static struct loami_span *take_any(struct loam_arena *arena, unsigned int number, unsigned int size_class,
				   size_t npages, unsigned int *index)
{
	struct loami_arena_cpu *cpu = loami_arena_cpu(arena, number);
	struct loami_span *span = NULL;
	unsigned long irq = loami_lock_irq(&cpu->lock);

	/* Not so large a place that its state cannot say how little of it is used. */
	for (; size_class < LOAMI_ARENA_CLASSES && span == NULL &&
	       loami_class_pages(size_class) - arena->guard - npages <= LOAMI_AREA_SLACK_MAX;
	     size_class++)
		if (cpu->partial[size_class] != NULL)
			span = loami_slab_take(cpu, size_class, npages, index);
	loami_unlock_irq(&cpu->lock, irq);
	return span;
}

/* There was no place in this CPU's slabs of @class. */
static enum loam_status reserve_slow(struct loam_arena *arena, unsigned int number, unsigned int size_class,
				     size_t npages, uint8_t state, struct loam_area *area)
{
	struct loami_arena_cpu *cpu = loami_arena_cpu(arena, number);
	unsigned int places = arena->slab_max / loami_class_pages(size_class);
	struct loami_span *span = NULL;
	unsigned int index = 0;
	enum loam_status status = LOAM_ERR_NO_RANGE;

	if (places > LOAMI_ARENA_SLOTS_MAX)
		places = LOAMI_ARENA_SLOTS_MAX;
	for (bool again = true; again;) {
		for (unsigned int n = places; n > 1 && status == LOAM_ERR_NO_RANGE; n /= 2)
			status = make(arena, size_class, number, n, &span);
		if (status == LOAM_OK) {
			unsigned long irq = loami_lock_irq(&cpu->lock);

			cpu->free_slot_pages +=
				(uint64_t)loami_span_nslots(span->where) * loami_class_pages(size_class);
			cpu->nempty[size_class]++;
			loami_slab_list(cpu, span);
			span = loami_slab_take(cpu, size_class, npages, &index);
			loami_unlock_irq(&cpu->lock, irq);
			loami_slab_start(arena, span, index, npages, state, area);
			return LOAM_OK;
		}
		if (status == LOAM_ERR_NO_RANGE)
			status = loami_extent_reserve(arena, npages, LOAM_PAGE_SIZE, state, area);
		if (status == LOAM_OK)
			return LOAM_OK;
		again = status == LOAM_ERR_NO_RANGE && loami_slab_trim(arena) > 0;
	}
	for (unsigned int i = 0; i < arena->ncpus && span == NULL; i++)
		span = take_any(arena, (number + i) % arena->ncpus, size_class, npages, &index);
	if (span == NULL)
		return status;
	loami_slab_start(arena, span, index, npages, state, area);
	return LOAM_OK;
}

enum loam_status loami_slab_reserve(struct loam_arena *arena, size_t npages, uint8_t state, struct loam_area *area)
{
	unsigned int size_class = loami_class_of((unsigned int)npages + arena->guard);
	unsigned long irq = loam_port_irq_save();
	unsigned int number = loam_port_cpu();
	struct loami_arena_cpu *cpu = loami_arena_cpu(arena, number);
	struct loami_span *span = NULL;
	unsigned int index = 0;

	loami_lock(&cpu->lock);
	if (LOAMI_LIKELY(cpu->partial[size_class] != NULL))
		span = loami_slab_take(cpu, size_class, npages, &index);
	loami_unlock(&cpu->lock);
	loam_port_irq_restore(irq);

	if (LOAMI_UNLIKELY(span == NULL))
		return reserve_slow(arena, number, size_class, npages, state, area);
	loami_slab_start(arena, span, index, npages, state, area);
	return LOAM_OK;
}

/* The last place of a slab is free again; @cpu, whose it is, keeps it or not. */
void loami_slab_put_empty(struct loam_arena *arena, struct loami_arena_cpu *cpu, struct loami_span *span)
{
	if (cpu->nempty[span->size_class] == 0) {
		cpu->nempty[span->size_class] = 1;
		return;
	}
	loami_slab_unlist(cpu, span);
	dissolve(arena, cpu, span);
}

size_t loami_slab_trim(struct loam_arena *arena)
{
	size_t npages = 0;

	for (unsigned int number = 0; number < arena->ncpus; number++) {
		struct loami_arena_cpu *cpu = loami_arena_cpu(arena, number);

		for (unsigned int size_class = 0; size_class < LOAMI_ARENA_CLASSES; size_class++) {
			unsigned long irq = loami_lock_irq(&cpu->lock);
			struct loami_span *next;

			for (struct loami_span *span = cpu->partial[size_class];
			     span != NULL && cpu->nempty[size_class] > 0; span = next) {
				next = span->next;
				if (span->free != span->all)
					continue;
				cpu->nempty[size_class]--;
				npages += span->ngranules << arena->shift;
				loami_slab_unlist(cpu, span);
				dissolve(arena, cpu, span);
			}
			loami_unlock_irq(&cpu->lock, irq);
		}
	}
	return npages;
}
