/* arena/batch.c: ranges that wait for a flush.
 *
 * 1 Concepts: an entry is a span's address and a place's number in its low bits. Entries fill whole frames, 512 to a frame, chained by the frames' slots
 *   (next; prev holds the count); so a batch is read straight through, and neither publishing nor sealing touches the ranges' records.
 * 2 Giving up cannot fail: where no frame is at hand, entries are chained through the records of their ranges, which nobody needs any more.
 * 3 Open batches belong to a CPU and are guarded by its lock; a sealed one belongs to whoever sealed it.
 * 4 Invariant I9: a DIRTY range is in exactly one open or sealed batch. loam_arena_check() counts; every range that leaves a batch is checked to be dirty.
 * 5 Bound: locks are held for at most LOAMI_ARENA_RELEASE_CHUNK ranges at a time.
 */
#include "quick.h"

enum { AHEAD = 8 }; /* entries whose spans are fetched before they are needed */

/* The link of a chained entry, where its record has its site. */
static uint64_t *link_of(uint64_t entry)
{
	return (uint64_t *)(void *)&loami_entry_record(entry)->site;
}

void loami_batch_chain(struct loam_arena_batch *batch, uint64_t entry)
{
	loami_store_release(link_of(entry), 0);
	if (batch->chain == 0)
		batch->chain = entry;
	else
		loami_store_release(link_of(batch->chain_last), entry);
	batch->chain_last = entry;
}

static uint64_t *frame_entries(const struct loam_arena *arena, loam_pfn pfn)
{
	return loam_frame_virt(arena->frames, pfn);
}

static void add_frame(const struct loam_arena *arena, struct loam_arena_batch *batch, loam_pfn pfn, uint64_t count)
{
	struct loam_slot *slot = loam_frame_slot(arena->frames, pfn);

	slot->next = batch->frames;
	slot->prev = count;
	batch->frames = pfn;
}

void loami_batch_close_entries(struct loam_arena *arena, struct loami_arena_cpu *cpu)
{
	if (cpu->nentries == 0)
		return;
	add_frame(arena, &cpu->open, cpu->entries_frame, cpu->nentries);
	cpu->entries = NULL;
	cpu->entries_frame = LOAM_PFN_NONE;
	cpu->nentries = 0;
}

struct loam_arena_batch loami_arena_seal(struct loam_arena *arena, struct loami_arena_cpu *cpu)
{
	struct loam_arena_batch open;

	LOAMI_ASSERT(loami_lock_held(&cpu->lock));
	loami_batch_close_entries(arena, cpu);
	open = cpu->open;
	cpu->open = LOAM_ARENA_BATCH_EMPTY;
	return open;
}

bool loam_arena_seal(struct loam_arena *arena, unsigned int cpu_number, struct loam_arena_batch *batch)
{
	struct loami_arena_cpu *cpu = loami_arena_cpu(arena, cpu_number);
	struct loam_arena_batch open;
	unsigned long irq;

	LOAMI_NOT_FROM_NMI();
	irq = loami_lock_irq(&cpu->lock);
	open = loami_arena_seal(arena, cpu);
	loami_unlock_irq(&cpu->lock, irq);
	if (open.nareas == 0)
		return false;
	loam_arena_join(arena, batch, &open);
	return true;
}

void loam_arena_join(struct loam_arena *arena, struct loam_arena_batch *batch, struct loam_arena_batch *more)
{
	while (more->frames != LOAM_PFN_NONE) {
		loam_pfn pfn = more->frames;

		more->frames = loam_frame_slot(arena->frames, pfn)->next;
		add_frame(arena, batch, pfn, loam_frame_slot(arena->frames, pfn)->prev);
	}
	if (more->chain != 0) {
		if (batch->chain == 0)
			batch->chain = more->chain;
		else
			loami_store_release(link_of(batch->chain_last), more->chain);
		batch->chain_last = more->chain_last;
	}
	batch->nareas += more->nareas;
	batch->npages += more->npages;
	*more = LOAM_ARENA_BATCH_EMPTY;
}

static void tell(const struct loam_arena *arena, uint64_t entry, loam_arena_range_fn fn, void *context)
{
	struct loami_span *span = loami_entry_span(entry);
	struct loam_area area;

	(void)loami_area_describe(arena, span, span->where, loami_entry_index(entry), &area);
	fn(context, area.start, area.npages, area.record);
}

void loam_arena_batch_each(const struct loam_arena *arena, const struct loam_arena_batch *batch, loam_arena_range_fn fn,
			   void *context)
{
	for (loam_pfn pfn = batch->frames; pfn != LOAM_PFN_NONE; pfn = loam_frame_slot(arena->frames, pfn)->next)
		for (uint64_t i = 0; i < loam_frame_slot(arena->frames, pfn)->prev; i++)
			tell(arena, frame_entries(arena, pfn)[i], fn, context);
	for (uint64_t entry = batch->chain; entry != 0; entry = loami_load_relaxed(link_of(entry)))
		tell(arena, entry, fn, context);
}

static void put_entries(struct loam_arena *arena, loam_pfn pfn)
{
	unsigned long irq = loami_lock_irq(&arena->lock);

	loami_meta_put_entries(arena, pfn);
	loami_unlock_irq(&arena->lock, irq);
}

/* The pages of an entry's range. The batch is the caller's, so nothing about it changes. */
static inline size_t entry_pages(const struct loam_arena *arena, uint64_t entry)
{
	const struct loami_span *span = loami_entry_span(entry);

	return loami_area_npages(arena, span, span->where,
				 loami_load_relaxed(loami_state(span, loami_entry_index(entry))));
}

size_t loam_arena_pop(struct loam_arena *arena, struct loam_arena_batch *batch, size_t npages, uint64_t *entries,
		      size_t n)
{
	size_t got = 0, taken = 0;

	while (got < n && taken < npages && batch->frames != LOAM_PFN_NONE) {
		loam_pfn pfn = batch->frames;
		struct loam_slot *slot = loam_frame_slot(arena->frames, pfn);
		const uint64_t *from = frame_entries(arena, pfn);
		uint64_t left = slot->prev;

		while (got < n && taken < npages && left > 0) {
			entries[got] = from[--left];
			taken += entry_pages(arena, entries[got++]);
		}
		slot->prev = left;
		if (left == 0) {
			batch->frames = slot->next;
			put_entries(arena, pfn);
		}
	}
	while (got < n && taken < npages && batch->chain != 0) {
		entries[got] = batch->chain;
		batch->chain = loami_load_relaxed(link_of(entries[got]));
		taken += entry_pages(arena, entries[got++]);
	}
	batch->nareas -= got;
	batch->npages -= taken;
	return got;
}

/* Ranges on their way from dirty to free, with the lock of the CPU whose slabs they are in. */
struct release {
	struct loam_arena *arena;
	struct loami_arena_cpu *cpu; /* locked, or NULL */
	unsigned int number;
	unsigned int held; /* ranges under this hold */
	unsigned long irq;
	uint64_t nextents;
};

static void unlock_cpu(struct release *release)
{
	if (release->cpu != NULL)
		loami_unlock_irq(&release->cpu->lock, release->irq);
	release->cpu = NULL;
}

static inline __attribute__((always_inline)) void release_one(struct release *release, struct loami_span *span,
							      unsigned int index)
{
	uint8_t state = loami_load_relaxed(loami_state(span, index)) & LOAMI_AREA_STATE;

	if (LOAMI_UNLIKELY(state != LOAMI_AREA_DIRTY)) {
		unlock_cpu(release);
		loami_corrupt("loam: arena: place %u of span %p leaves a batch in state %u, not dirty", index,
			      (void *)span, state);
	}
	if (loami_span_is_extent(span)) {
		unlock_cpu(release);
		loami_extent_release(release->arena, span);
		release->nextents++;
		return;
	}
	if (release->cpu == NULL || release->number != span->cpu || release->held == LOAMI_ARENA_RELEASE_CHUNK) {
		unlock_cpu(release);
		release->number = span->cpu;
		release->cpu = loami_arena_cpu(release->arena, span->cpu);
		release->held = 0;
		release->irq = loami_lock_irq(&release->cpu->lock);
	}
	release->held++;
	release->cpu->released_areas++;
	loami_slab_put(release->arena, release->cpu, span, index);
}

static void release_end(struct release *release)
{
	struct loami_arena_cpu *cpu;
	unsigned long irq;

	unlock_cpu(release);
	if (release->nextents == 0)
		return;
	irq = loam_port_irq_save();
	cpu = loami_arena_cpu(release->arena, loam_port_cpu());
	loami_lock(&cpu->lock);
	cpu->released_areas += release->nextents;
	loami_unlock_irq(&cpu->lock, irq);
}

void loam_arena_release_popped(struct loam_arena *arena, const uint64_t *entries, size_t n)
{
	struct release release = {.arena = arena};

	LOAMI_NOT_FROM_NMI();
	for (size_t i = 0; i < n; i++)
		release_one(&release, loami_entry_span(entries[i]), loami_entry_index(entries[i]));
	release_end(&release);
}

void loam_arena_release_sealed(struct loam_arena *arena, struct loam_arena_batch *batch)
{
	struct release release = {.arena = arena};

	LOAMI_NOT_FROM_NMI();
	while (batch->frames != LOAM_PFN_NONE) {
		loam_pfn pfn = batch->frames;
		struct loam_slot *slot = loam_frame_slot(arena->frames, pfn);
		const uint64_t *entries = frame_entries(arena, pfn);

		for (uint64_t i = 0; i < slot->prev; i++) {
			if (i + 2 * AHEAD < slot->prev) {
				__builtin_prefetch(loami_entry_span(entries[i + 2 * AHEAD]), 1);
				__builtin_prefetch(loami_entry_span(entries[i + 2 * AHEAD])->state, 1);
			}
			if (i + AHEAD < slot->prev) {
				const struct loami_span *next = loami_entry_span(entries[i + AHEAD]);

				__builtin_prefetch(&next->records[loami_entry_index(entries[i + AHEAD])], 1);
			}
			release_one(&release, loami_entry_span(entries[i]), loami_entry_index(entries[i]));
		}
		unlock_cpu(&release);
		batch->frames = slot->next;
		put_entries(arena, pfn);
	}
	for (uint64_t entry = batch->chain, next; entry != 0; entry = next) {
		next = loami_load_relaxed(link_of(entry));
		release_one(&release, loami_entry_span(entry), loami_entry_index(entry));
	}
	release_end(&release);
	*batch = LOAM_ARENA_BATCH_EMPTY;
}
