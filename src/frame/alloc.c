/* frame/alloc.c: taking frames.
 *
 * 1 Concepts: an allocation takes frames out of a set (a CPU's magazine, the blocks), claims the head by one swap of {refcount, generation}, fills its slot in,
 *   zeroes the memory and publishes refcount 1 with release: who reads 1 with acquire sees all of it.
 * 6 What failure leaves: nothing but the failure record of the CPU and a count.
 */
#include "internal.h"

static uint32_t purpose_flags(const struct loam_frame_opts *opts)
{
	switch (opts->purpose) {
	case LOAM_PURPOSE_USER:
		return LOAM_FRAME_USER | LOAM_FRAME_ALLOCATED | LOAM_FRAME_MOVABLE;
	case LOAM_PURPOSE_CUSTOM:
		return opts->custom_flags | LOAM_FRAME_ALLOCATED;
	case LOAM_PURPOSE_KERNEL:
	case LOAM_PURPOSE_PAGE_TABLE:
		break;
	}
	return LOAM_FRAME_KERNEL | LOAM_FRAME_ALLOCATED;
}

enum loam_status loami_frame_decode(const struct loam_frames *frames, const struct loam_frame_opts *opts,
				    struct loami_frame_want *want)
{
	static const struct loam_frame_opts defaults;

	if (loami_load_acquire(&frames->ready) == 0)
		return LOAM_ERR_NOT_READY;
	if (!opts)
		opts = &defaults;
	if ((unsigned int)opts->purpose > LOAM_PURPOSE_CUSTOM ||
	    (opts->purpose != LOAM_PURPOSE_CUSTOM && opts->custom_flags != 0) ||
	    (opts->custom_flags & (LOAM_FRAME_FREE | LOAM_FRAME_POISONED)) != 0)
		return LOAM_ERR_INVALID;
	if (opts->zone_limit > frames->nzones)
		return LOAM_ERR_ZONE;
	if (opts->node > LOAM_NODES_MAX)
		return LOAM_ERR_INVALID;
	want->flags = purpose_flags(opts);
	want->type = (want->flags & LOAM_FRAME_MOVABLE) != 0 ? TYPE_MOVABLE : TYPE_UNMOVABLE;
	want->zones = opts->zone_limit != 0 ? opts->zone_limit : (uint8_t)frames->nzones;
	want->node = opts->node;
	want->zero = !opts->uninitialized || opts->purpose == LOAM_PURPOSE_PAGE_TABLE;
	want->reclaim = !opts->no_reclaim;
	want->reserve = opts->use_reserve;
	return LOAM_OK;
}

void loami_frame_failed(struct loam_frames *frames, unsigned int order, uint64_t npages, enum loam_status status)
{
	struct loam_pin pin = loam_port_pin();

	if (pin.cpu < frames->ncpus)
		frames->cpus[pin.cpu].failure = (struct loam_frame_failure){status, order, npages};
	loam_port_unpin(pin);
	if (status == LOAM_ERR_NO_MEMORY && order <= LOAM_ORDER_MAX)
		(void)loami_fetch_add_relaxed(&frames->failures[order], 1);
}

struct loam_frame_failure loam_frame_last_failure(const struct loam_frames *frames)
{
	struct loam_pin pin = loam_port_pin();
	struct loam_frame_failure failure = {.status = LOAM_ERR_NOT_READY};

	if (pin.cpu < frames->ncpus)
		failure = frames->cpus[pin.cpu].failure;
	loam_port_unpin(pin);
	return failure;
}

void loami_frame_corrupt(loam_pfn pfn, uint32_t refcount)
{
	loami_corrupt(
		"loam: frame: 0x%llx comes from the free memory with refcount 0x%x: double free or free-list corruption",
		(unsigned long long)loam_frame_address(pfn), refcount);
}

/* Of a block that comes out of the free memory with poison in it: the poisoned frames go into quarantine, the others back. */
static void sift(struct loam_frames *frames, loam_pfn first, unsigned int order)
{
	for (loam_pfn pfn = first; pfn < first + (UINT64_C(1) << order); pfn++) {
		struct loam_slot *slot = loami_slot_of(frames, pfn);

		if ((loami_load_acquire(&slot->guard) & LOAM_GUARD_POISONED) != 0) {
			loami_store_release(&slot->refcount, REF_CLAIMED);
			loami_frame_quarantine(frames, pfn, 1);
		} else {
			loami_store_release(&slot->refcount, REF_UNUSED);
			loami_blocks_put(frames, pfn, 1);
		}
	}
}

/* A claimed block that is as it should be. A free frame may have been poisoned, or been given hooks by a former owner who came late. */
static bool is_sound(struct loam_frames *frames, struct loam_slot *slot, loam_pfn first, unsigned int order)
{
	if (LOAMI_UNLIKELY((loami_load_relaxed(&slot->guard) | loami_load_relaxed(&slot->vtable)) != 0)) {
		loami_store_relaxed(&slot->vtable, 0);
		if ((loami_fetch_and(&slot->guard, LOAM_GUARD_POISONED) & LOAM_GUARD_POISONED) != 0) {
			sift(frames, first, order);
			return false;
		}
	}
	if (order != 0 && loami_frame_is_special(frames, first, UINT64_C(1) << order) &&
	    loam_frame_block_is_poisoned(frames, first, order)) {
		sift(frames, first, order);
		return false;
	}
	return true;
}

bool loami_frame_claim(struct loam_frames *frames, loam_pfn first, unsigned int order)
{
	struct loam_slot *slot = loami_slot_of(frames, first);
	uint64_t *word = loami_slot_word(slot), seen = loami_load_relaxed(word);

	if (LOAMI_UNLIKELY(loami_word_ref(seen) != REF_UNUSED ||
			   !loami_cas(word, &seen, loami_word_make(REF_CLAIMED, loami_word_gen(seen) + 1))))
		loami_frame_corrupt(first, loami_word_ref(seen));
	return is_sound(frames, slot, first, order);
}

static inline void publish(const struct loam_frames *frames, struct loam_slot *slot, loam_pfn first, unsigned int order,
			   uint32_t flags, bool zero, unsigned int cpu)
{
	/* Most frames live many lives at one order: a store less, and a free soon after may read order and state together. */
	if (LOAMI_UNLIKELY(loami_load_relaxed(&slot->order) != order))
		loami_store_relaxed(&slot->order, (uint8_t)order);
	loami_store_relaxed(&slot->aux, cpu & 0xffff);
	loami_store_release(&slot->flags, flags);
	if (zero)
		__builtin_memset((void *)((uintptr_t)loam_frame_address(first) + frames->direct_map), 0,
				 LOAM_PAGE_SIZE << order);
	/* The whole word, so that a free soon after reads what one store wrote. Nobody else changes it while the frame is claimed. */
	loami_store_release(loami_slot_word(slot),
			    (loami_load_relaxed(loami_slot_word(slot)) & ~UINT64_C(0xffffffff)) | 1);
}

void loami_frame_publish(struct loam_frames *frames, struct loam_slot *slot, loam_pfn first, unsigned int order,
			 const struct loami_frame_want *want)
{
	publish(frames, slot, first, order, want->flags, want->zero, loam_port_cpu());
}

/* A block from wherever it can be had, claimed. */
static enum loam_status take(struct loam_frames *frames, unsigned int order, const struct loami_frame_want *want,
			     loam_pfn *first)
{
	bool anywhere = want->zones == frames->nzones && want->node == 0;
	unsigned int tries = 0;

	loami_frame_relieve(frames, want);
	for (;;) {
		uint64_t before = loami_frame_moment(frames);
		struct loam_slot *slot = anywhere ? loami_cpu_take(frames, order, want, first) : NULL;

		if (slot) {
			if (is_sound(frames, slot, *first, order))
				return LOAM_OK;
			continue;
		}
		*first = loami_blocks_take(frames, order, want);
		if (*first != LOAM_PFN_NONE) {
			if (!loami_frame_claim(frames, *first, order))
				continue;
			(void)loami_fetch_add_relaxed(&frames->allocs, UINT64_C(1) << order);
			return LOAM_OK;
		}
		if (!loami_frame_look_again(frames, UINT64_C(1) << order, want, before, &tries))
			return LOAM_ERR_NO_MEMORY;
	}
}

enum loam_status loam_frame_alloc_status(struct loam_frames *frames, unsigned int order,
					 const struct loam_frame_opts *opts, loam_pfn *first)
{
	struct loami_frame_want want;
	enum loam_status status;

	LOAMI_NOT_FROM_NMI();
	*first = LOAM_PFN_NONE;
	status = loami_frame_decode(frames, opts, &want);
	if (status == LOAM_OK && order > LOAM_ORDER_MAX)
		status = LOAM_ERR_ORDER;
	if (status == LOAM_OK && LOAMI_FAIL(LOAMI_FAIL_FRAME))
		status = LOAM_ERR_NO_MEMORY;
	if (status == LOAM_OK)
		status = take(frames, order, &want, first);
	if (status != LOAM_OK) {
		*first = LOAM_PFN_NONE;
		loami_frame_failed(frames, order, UINT64_C(1) << (order & 63), status);
		return status;
	}
	loami_frame_publish(frames, loami_slot_of(frames, *first), *first, order, &want);
	return LOAM_OK;
}

/* Everything but a hit in the magazine. */
static __attribute__((noinline)) loam_pfn alloc_slow(struct loam_frames *frames, unsigned int order,
						     const struct loam_frame_opts *opts)
{
	loam_pfn first;

	return loam_frame_alloc_status(frames, order, opts, &first) == LOAM_OK ? first : LOAM_PFN_NONE;
}

/* The rare ends of a hit, out of its way. */
static __attribute__((noinline)) loam_pfn publish_zeroed(struct loam_frames *frames, struct loam_slot *slot,
							 loam_pfn first, uint32_t flags, unsigned int cpu)
{
	publish(frames, slot, first, 0, flags, true, cpu);
	return first;
}

static __attribute__((noinline)) loam_pfn alloc_unsound(struct loam_frames *frames, struct loam_slot *slot,
							loam_pfn first, const struct loam_frame_opts *opts)
{
	struct loami_frame_want want;

	if (!is_sound(frames, slot, first, 0) || loami_frame_decode(frames, opts, &want) != LOAM_OK)
		return alloc_slow(frames, 0, opts);
	loami_frame_publish(frames, slot, first, 0, &want);
	return first;
}

/* The hit: one frame of a usual purpose, found on top of this CPU's magazine. Anything else goes the slow way, with the cell that did not serve gone. */
static inline loam_pfn alloc_quick(struct loam_frames *frames, const struct loam_frame_opts *opts, uint32_t flags,
				   unsigned int type, bool zero)
{
	struct loam_pin pin = loam_port_pin();
	struct loami_frame_cpu *cpu = &frames->cpus[pin.cpu];
	const struct loami_frame_section *section;
	struct loami_magazine *magazine;
	struct loam_slot *slot;
	uint64_t cell, seen;
	loam_pfn first;
	uint32_t top;

	if (LOAMI_UNLIKELY(pin.cpu >= frames->ncpus || !loami_cpu_enter(cpu)))
		goto unpin;
	magazine = &cpu->singles[type].head;
	if (zero && loami_load_relaxed(&cpu->zeroed[type].head.top) != 0) {
		magazine = &cpu->zeroed[type].head;
		zero = false;
	}
	top = loami_load_relaxed(&magazine->top);
	if (LOAMI_UNLIKELY(top == 0))
		goto leave;
	top--;
	cell = loami_load_relaxed(&loami_cells(magazine)[top]);
	loami_store_release(&magazine->top, top);
	section = loami_index_section(frames, (uint32_t)cell);
	first = loami_offset_of(cell);
	slot = loami_slot_at(section, (uint32_t)first);
	first += section->base;
	seen = loami_cell_word(cell);
	/* {UNUSED, g} -> {CLAIMED, g + 1} */
	if (LOAMI_UNLIKELY(!loami_cas(loami_slot_word(slot), &seen, seen + (UINT64_C(1) << 32) - 1))) {
		loami_cpu_leave(cpu);
		loam_port_unpin(pin);
		if (loami_word_gen(seen) == loami_word_gen(cell))
			loami_frame_corrupt(first, loami_word_ref(seen));
		return alloc_slow(frames, 0, opts);
	}
	loami_cpu_count(cpu, 1);
	loami_cpu_leave(cpu);
	loam_port_unpin(pin);
	if (LOAMI_UNLIKELY(loami_load_relaxed(&slot->guard) != 0))
		return alloc_unsound(frames, slot, first, opts);
	if (zero)
		return publish_zeroed(frames, slot, first, flags, pin.cpu);
	/* publish(), whose word is known here */
	if (LOAMI_UNLIKELY(loami_load_relaxed(&slot->order) != 0))
		loami_store_relaxed(&slot->order, 0);
	loami_store_relaxed(&slot->aux, pin.cpu & 0xffff);
	loami_store_relaxed(&slot->flags, flags);
	loami_store_release(loami_slot_word(slot), seen + (UINT64_C(1) << 32) + 2);
	return first;
leave:
	loami_cpu_leave(cpu);
unpin:
	loam_port_unpin(pin);
	return alloc_slow(frames, 0, opts);
}

loam_pfn loam_frame_alloc(struct loam_frames *frames, unsigned int order, const struct loam_frame_opts *opts)
{
	LOAMI_NOT_FROM_NMI();
	if (LOAMI_UNLIKELY(order != 0 || LOAMI_FAIL(LOAMI_FAIL_FRAME)))
		return alloc_slow(frames, order, opts);
	if (!opts)
		return alloc_quick(frames, opts, LOAM_FRAME_KERNEL | LOAM_FRAME_ALLOCATED, TYPE_UNMOVABLE, true);
	if (LOAMI_UNLIKELY((opts->zone_limit | opts->node) != 0 || opts->custom_flags != 0))
		return alloc_slow(frames, order, opts);
	if (opts->purpose == LOAM_PURPOSE_USER)
		return alloc_quick(frames, opts, LOAM_FRAME_USER | LOAM_FRAME_ALLOCATED | LOAM_FRAME_MOVABLE,
				   TYPE_MOVABLE, !opts->uninitialized);
	if (LOAMI_UNLIKELY((unsigned int)opts->purpose > LOAM_PURPOSE_PAGE_TABLE))
		return alloc_slow(frames, order, opts);
	return alloc_quick(frames, opts, LOAM_FRAME_KERNEL | LOAM_FRAME_ALLOCATED, TYPE_UNMOVABLE,
			   !opts->uninitialized || opts->purpose == LOAM_PURPOSE_PAGE_TABLE);
}

size_t loam_frame_alloc_batch(struct loam_frames *frames, size_t n, const struct loam_frame_opts *opts, loam_pfn *out)
{
	size_t got = 0;

	while (got < n && (out[got] = loam_frame_alloc(frames, 0, opts)) != LOAM_PFN_NONE)
		got++;
	return got;
}
