/* vmalloc/quick.c: the common case by itself: up to 32 pages, out of this CPU's slabs and into its open batch, with one hold of its lock each way.
 *
 * 1 Same steps and same order as alloc.c, area.c and flush.c, inlined, less what this case cannot need. What is not at hand (a frame that is ready, a place in a slab, a leaf table, room in the
 *   open batch) or is not as it should be is left to them, and they find everything as it was.
 * 2 Ready frames: what was flushed goes from the batch to the CPU that allocates (flush.c, keep_ready), renewed and not given back and taken again. Up to 64 a CPU; a purge, the shrinker and
 *   a CPU that goes offline give them back.
 * 3 Remembered leaf tables: a table stays where it is for as long as there is the tree. A CPU remembers those of its last areas, and an area's record where its entries are (@owner), until a realloc
 *   changes its length. Only where tables are kept when they are empty: loami_quick_table() finds none otherwise.
 */
#include "vmalloc.h"

#include "arena/quick.h"
#include "paging/quick.h"

enum { STRETCH_SHIFT = LOAM_PAGE_SHIFT + LOAMI_INDEX_BITS }; /* of a leaf table */

_Static_assert(offsetof(struct loam_task, task) == 0 && offsetof(struct loam_task, pid) == 8 &&
		       offsetof(struct loam_area_record, task) == 16 && offsetof(struct loam_area_record, pid) == 24 &&
		       offsetof(struct loam_task, tid) == 12 && offsetof(struct loam_area_record, tid) == 28,
	       "start() copies three fields as two words");
_Static_assert(LOAMI_VM_QUICK <= LOAMI_VM_READY, "ready frames may do");

static inline void leave(struct loami_vm_cpu *cpu, unsigned long irq)
{
	loami_unlock(&cpu->arena->lock);
	loam_port_irq_restore(irq);
}

/* ---- allocation --------------------------------------------------------------------------------------------------------------------------------------- */

/* Entries of an area that is being made, by what @cpu, whose lock is held, remembers. NULL: they are not all in one table that exists. */
static inline uint64_t *entries_of(const struct loam_vm *vm, struct loami_vm_cpu *cpu, uintptr_t va, size_t npages)
{
	uintptr_t stretch = va >> STRETCH_SHIFT;
	uint64_t *table = cpu->leaves[stretch % LOAMI_VM_LEAVES].table;

	if (LOAMI_UNLIKELY(!loami_quick_is_short(va, npages)))
		return NULL;
	if (LOAMI_UNLIKELY(cpu->leaves[stretch % LOAMI_VM_LEAVES].stretch != stretch)) {
		table = loami_quick_table(vm->config.tree, va);
		if (table == NULL)
			return NULL;
		cpu->leaves[stretch % LOAMI_VM_LEAVES].stretch = stretch;
		cpu->leaves[stretch % LOAMI_VM_LEAVES].table = table;
	}
	return &table[loami_index(va, 0)];
}

/* A place that is of no use after all. */
static __attribute__((noinline)) void *give_up(struct loam_vm *vm, const struct loami_spot *spot)
{
	struct loam_area area;

	(void)loami_area_describe(&vm->arena, spot->span, spot->span->where, spot->index, &area);
	loam_arena_release(&vm->arena, &area);
	return NULL;
}

/* A frame has been marked as poisoned since the ready ones were looked at: back with them, as the frame layer tells. */
static __attribute__((noinline)) void *sift(struct loam_vm *vm, struct loami_vm_cpu *cpu, unsigned long irq)
{
	unsigned int number = loam_port_cpu();

	leave(cpu, irq);
	(void)loami_vm_drain_ready(vm, number);
	return NULL;
}

/* The record, its sequence last, then the state: as loami_vm_start(). */
static inline void start(struct loam_vm *vm, const struct loami_spot *spot, const struct loam_task *task, uint64_t time,
			 size_t nbytes, const struct loam_call_site *site, const uint64_t *entries)
{
	struct loam_area_record *record = spot->record;
	const uint64_t *from = (const uint64_t *)(const void *)task;
	uint8_t *state = &spot->span->state[spot->index];

	loami_store_release(&record->site, site);
	loami_store_release(&record->task, from[0]);
	loami_store_release((uint64_t *)(void *)&record->pid, from[1]);
	loami_store_release(&record->silo, task->silo);
	loami_store_release(&record->flags, LOAMI_VM_MEMORY);
	loami_store_release(&record->nbytes, nbytes);
	loami_store_release(&record->time, time);
	loami_store_release(&record->owner, (uintptr_t)entries);
	loami_store_release(&record->sequence, loami_fetch_add_relaxed(&vm->sequence, 1) + 1);
	loami_vm_count(vm, spot->npages);
	loami_store_release(state, loami_load_relaxed(state) - (LOAMI_AREA_CLAIMED - LOAMI_AREA_LIVE));
}

/* Mapped already, but nobody else knows the address yet. */
static void zero(const struct loam_vm *vm, const uint64_t *entries, size_t npages)
{
	for (size_t i = 0; i < npages; i++)
		__builtin_memset(
			loam_frame_virt(vm->config.frames, loami_quick_frame(vm->config.tree->format, entries[i])), 0,
			LOAM_PAGE_SIZE);
}

static inline bool is_short(size_t nbytes)
{
	return nbytes - 1 < (size_t)LOAMI_VM_QUICK << LOAM_PAGE_SHIFT;
}

/* NULL: another case. */
static inline __attribute__((always_inline)) void *allocate(struct loam_vm *vm, size_t nbytes,
							    const struct loam_vmalloc_opts *opts)
{
	size_t npages = (nbytes + LOAM_PAGE_SIZE - 1) >> LOAM_PAGE_SHIFT, due;
	struct loami_vm_cpu *cpu;
	struct loam_task task;
	struct loami_spot spot;
	uint64_t *entries;
	unsigned long irq;
	uint64_t time;

	if (LOAMI_UNLIKELY(!is_short(nbytes)) ||
	    LOAMI_UNLIKELY(opts->align > LOAM_PAGE_SIZE || (opts->align & (opts->align - 1)) != 0) ||
	    LOAMI_UNLIKELY(!loami_vm_is_ready(vm)) || LOAMI_UNLIKELY(loami_load_relaxed(&vm->failed) != 0))
		return NULL;
	loam_port_task(&task);
	time = loam_port_time();

	irq = loam_port_irq_save();
	cpu = loami_vm_cpu(vm, loam_port_cpu());
	loami_lock(&cpu->arena->lock);
	if (LOAMI_UNLIKELY(cpu->nready < npages)) {
		leave(cpu, irq);
		return NULL;
	}
	if (LOAMI_UNLIKELY(loami_load_acquire(vm->poisonings) != cpu->poisonings))
		return sift(vm, cpu, irq);
	if (LOAMI_UNLIKELY(!loami_quick_reserve(&vm->arena, cpu->arena, npages, &spot))) {
		leave(cpu, irq);
		return NULL;
	}
	entries = entries_of(vm, cpu, spot.start, npages);
	if (LOAMI_UNLIKELY(entries == NULL) || LOAMI_UNLIKELY(!loami_quick_empty(entries, npages))) {
		leave(cpu, irq);
		return give_up(vm, &spot);
	}
	cpu->nready -= (uint32_t)npages;
	loami_quick_write(vm->config.tree->format, entries, &cpu->ready[cpu->nready], npages, vm->bits);
	due = loami_vm_owe(vm, cpu, npages);
	leave(cpu, irq);

	loam_port_pte_sync();
	if (!opts->uninitialized)
		zero(vm, entries, npages);
	start(vm, &spot, &task, time, nbytes, opts->site, entries);
	if (LOAMI_UNLIKELY(due > 0))
		loami_vm_repay_now(vm, due);
	return (void *)spot.start;
}

static const struct loam_vmalloc_opts defaults;

/* Once more, when some of what has been flushed is back: frames and places may have run out shortly before they were due. */
static __attribute__((noinline)) void *allocate_again(struct loam_vm *vm, size_t nbytes,
						      const struct loam_vmalloc_opts *opts)
{
	if (!is_short(nbytes) || !loami_vm_is_ready(vm) || loami_load_relaxed(&vm->nsealed) == 0)
		return NULL;
	loami_store_relaxed(&loami_vm_cpu(vm, loam_port_cpu())->owed, 0);
	loami_vm_repay_now(vm, LOAMI_VM_READY);
	return allocate(vm, nbytes, opts);
}

enum loam_status loam_vmalloc_status(struct loam_vm *vm, size_t nbytes, const struct loam_vmalloc_opts *opts,
				     void **address)
{
	void *made;

	LOAMI_TASK_ONLY();
	if (opts == NULL)
		opts = &defaults;
	made = allocate(vm, nbytes, opts);
	if (LOAMI_UNLIKELY(made == NULL))
		made = allocate_again(vm, nbytes, opts);
	if (made == NULL)
		return loami_vm_alloc(vm, nbytes, opts, address);
	*address = made;
	return LOAM_OK;
}

static __attribute__((noinline)) void *allocate_slow(struct loam_vm *vm, size_t nbytes,
						     const struct loam_vmalloc_opts *opts)
{
	void *made = allocate_again(vm, nbytes, opts);

	if (made != NULL || loami_vm_alloc(vm, nbytes, opts, &made) == LOAM_OK)
		return made;
	return NULL;
}

void *loam_vmalloc(struct loam_vm *vm, size_t nbytes, const struct loam_vmalloc_opts *opts)
{
	void *made;

	LOAMI_TASK_ONLY();
	if (opts == NULL)
		opts = &defaults;
	made = allocate(vm, nbytes, opts);
	return LOAMI_LIKELY(made != NULL) ? made : allocate_slow(vm, nbytes, opts);
}

/* ---- free --------------------------------------------------------------------------------------------------------------------------------------------- */

/* It was claimed: live again, for a free the long way. */
static __attribute__((noinline)) bool free_slow(struct loam_vm *vm, const struct loami_spot *spot)
{
	loami_set_state(spot->span, spot->index, LOAMI_AREA_LIVE);
	return loami_vm_free(vm, (void *)spot->start);
}

/* Entries to frame numbers in this CPU's list, the range into its open batch, under the one lock that sealing takes (list.c 3). */
static inline bool publish(struct loam_vm *vm, const struct loami_spot *spot, uint64_t *entries,
			   struct loam_arena_open *open)
{
	unsigned long irq = loam_port_irq_save();
	unsigned int number = loam_port_cpu();
	struct loami_vm_cpu *cpu = loami_vm_cpu(vm, number);
	bool room;

	loami_lock(&cpu->arena->lock);
	room = cpu->list != NULL && cpu->nlist + spot->npages <= LOAMI_LIST_NUMBERS && loami_batch_has_room(cpu->arena);
	if (LOAMI_LIKELY(room)) {
		loami_store_release(&spot->record->owner, LOAM_PFN_NONE); /* no chain hangs on it */
		loami_quick_clear(vm->config.tree->format, entries, &cpu->list[cpu->nlist], spot->npages);
		loami_vm_uncount(vm, spot->npages);
		cpu->nlist += spot->npages;
		cpu->full.npages += spot->npages;
		loami_quick_publish(cpu->arena, number, spot, open);
	}
	leave(cpu, irq);
	return room;
}

bool loam_vfree(struct loam_vm *vm, void *address)
{
	struct loam_arena_open open;
	struct loami_spot spot;
	uint64_t *entries;

	LOAMI_NOT_FROM_NMI();
	if (LOAMI_UNLIKELY(!loami_vm_is_ready(vm)) ||
	    LOAMI_UNLIKELY(!loami_quick_claim(&vm->arena, (uintptr_t)address, LOAMI_VM_MEMORY, LOAMI_VM_QUICK, &spot)))
		return loami_vm_free(vm, address);
	entries = (uint64_t *)(uintptr_t)loami_load_relaxed(&spot.record->owner);
	if (LOAMI_UNLIKELY(entries == NULL))
		entries = loami_quick_entries(vm->config.tree, spot.start, spot.npages);
	if (LOAMI_UNLIKELY(entries == NULL || !loami_quick_valid(entries, spot.npages)) ||
	    LOAMI_UNLIKELY(!publish(vm, &spot, entries, &open)))
		return free_slow(vm, &spot);
	if (LOAMI_UNLIKELY(loami_vm_may_be_due(vm, &open)))
		loami_vm_seal_due(vm, &open);
	loami_vm_reap_after(vm, spot.npages);
	return true;
}
