/* frame/alloc.c: taking and giving back, the public calls.
 *
 * 1 Concepts: an allocation takes frames out of a set (a CPU's magazine, the blocks), claims the head by one swap of {refcount, generation}, fills its slot in,
 *   zeroes the memory and publishes refcount 1. A free is the same backwards: all checks; hooks; the swap back; into a set.
 * 6 What failure leaves: nothing but the failure record of the CPU and a count. Misuse panics come before the first change.
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

/* The head's slot of a block that is claimed and nobody else's: fill in, zero, publish. */
static void publish(struct loam_frames *frames, struct loam_slot *slot, loam_pfn first, unsigned int order,
		    const struct loami_frame_want *want)
{
	loami_store_relaxed(&slot->vtable, 0);
	loami_store_relaxed(&slot->guard, LOAM_GUARD_NONE);
	loami_store_relaxed(&slot->order, (uint8_t)order);
	loami_store_relaxed(&slot->aux, (slot->aux & UINT32_C(0xffff0000)) | (loam_port_cpu() & 0xffff));
	loami_store_release(&slot->flags, want->flags);
	if (want->zero)
		__builtin_memset(loam_frame_virt(frames, first), 0, LOAM_PAGE_SIZE << order);
	loami_store_release(&slot->refcount, 1);
}

void loami_frame_claim(struct loam_frames *frames, loam_pfn first, unsigned int order,
		       const struct loami_frame_want *want)
{
	struct loam_slot *slot = loami_slot_of(frames, first);
	uint64_t *word = loami_slot_word(slot), seen = loami_load_relaxed(word);

	if (LOAMI_UNLIKELY(loami_word_ref(seen) != REF_UNUSED ||
			   !loami_cas(word, &seen, loami_word_make(REF_CLAIMED, loami_word_gen(seen) + 1))))
		loami_corrupt(
			"loam: frame: 0x%llx taken from the free memory has refcount 0x%x: double free or free-list corruption",
			(unsigned long long)loam_frame_address(first), loami_word_ref(seen));
	publish(frames, slot, first, order, want);
}

static enum loam_status take(struct loam_frames *frames, unsigned int order, const struct loami_frame_want *want,
			     loam_pfn *first)
{
	for (;;) {
		uint64_t moves = loami_load_acquire(&frames->moves);

		*first = loami_blocks_take(frames, order, want);
		if (*first != LOAM_PFN_NONE)
			return LOAM_OK;
		if (loami_load_acquire(&frames->in_flight) == 0 && loami_load_acquire(&frames->moves) == moves)
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
		loami_frame_failed(frames, order, UINT64_C(1) << (order & 63), status);
		return status;
	}
	loami_frame_claim(frames, *first, order, &want);
	(void)loami_fetch_add_relaxed(&frames->allocs, UINT64_C(1) << order);
	return LOAM_OK;
}

loam_pfn loam_frame_alloc(struct loam_frames *frames, unsigned int order, const struct loam_frame_opts *opts)
{
	loam_pfn first;

	return loam_frame_alloc_status(frames, order, opts, &first) == LOAM_OK ? first : LOAM_PFN_NONE;
}

/* ---- giving back ------------------------------------------------------------------------------------------------------------------------- */

/* Panics unless [first, first + 2^order) is a block whose head has @refcount or no reference any more. Return: the head's slot. */
static struct loam_slot *check_owned(struct loam_frames *frames, loam_pfn first, unsigned int order, uint32_t *refcount)
{
	unsigned long long address = loam_frame_address(first);
	struct loam_slot *slot = loami_slot_find(frames, first);
	uint32_t count;

	if (LOAMI_UNLIKELY(order > LOAM_ORDER_MAX))
		loami_misuse("loam: frame: free of 0x%llx with order %u, above %u", address, order,
			     (unsigned int)LOAM_ORDER_MAX);
	if (LOAMI_UNLIKELY(!loami_is_aligned(first, UINT64_C(1) << order)))
		loami_misuse("loam: frame: free of 0x%llx, which is not aligned to order %u", address, order);
	if (LOAMI_UNLIKELY(!slot || slot->state == STATE_HOLE))
		loami_misuse("loam: frame: free of 0x%llx, which is no memory of this machine", address);
	if (LOAMI_UNLIKELY(slot->state == STATE_RESERVED))
		loami_misuse("loam: frame: free of 0x%llx, which is reserved for good", address);
	if (LOAMI_UNLIKELY(loami_load_relaxed(&slot->state) == STATE_QUARANTINED))
		loami_misuse("loam: frame: free of 0x%llx, which is quarantined", address);
	count = loami_load_acquire(&slot->refcount);
	if (LOAMI_UNLIKELY(count == REF_UNUSED))
		loami_misuse("loam: frame: double free of 0x%llx (order %u)", address, order);
	if (LOAMI_UNLIKELY(count > 1))
		loami_misuse("loam: frame: free of 0x%llx with %u references", address, count);
	if (LOAMI_UNLIKELY(loami_load_relaxed(&slot->order) != order))
		loami_misuse("loam: frame: free of 0x%llx with order %u, but it was allocated with order %u", address,
			     order, (unsigned int)loami_load_relaxed(&slot->order));
	*refcount = count;
	return slot;
}

/* Poison stays: it says why a quarantined frame is where it is. */
static void reset_special(struct loam_frames *frames, loam_pfn first, uint64_t n)
{
	for (loam_pfn pfn = first; pfn < first + n; pfn++) {
		struct loam_slot *slot = loami_slot_of(frames, pfn);

		loami_store_relaxed(&slot->vtable, 0);
		(void)loami_fetch_and(&slot->guard, LOAM_GUARD_POISONED);
	}
}

bool loami_frame_retire(struct loam_frames *frames, struct loam_slot *slot, loam_pfn first, unsigned int order,
			uint32_t refcount)
{
	uint64_t n = UINT64_C(1) << order, *word = loami_slot_word(slot), seen = loami_load_relaxed(word);
	bool poisoned = false;

	if (loami_frame_is_special(frames, first, n)) {
		loami_frame_run_hooks(frames, first, n);
		poisoned = loam_frame_block_is_poisoned(frames, first, order);
		reset_special(frames, first, n);
	} else {
		loami_store_relaxed(&slot->guard, LOAM_GUARD_NONE);
	}
	seen = loami_word_make(refcount, loami_word_gen(seen));
	if (LOAMI_UNLIKELY(!loami_cas(word, &seen,
				      loami_word_make(poisoned ? REF_CLAIMED : REF_UNUSED, loami_word_gen(seen)))))
		loami_misuse("loam: frame: free of 0x%llx races with another (refcount 0x%x)",
			     (unsigned long long)loam_frame_address(first), loami_word_ref(seen));
	if (poisoned) {
		for (loam_pfn pfn = first; pfn < first + n; pfn++)
			loami_store_relaxed(&loami_slot_of(frames, pfn)->state, STATE_QUARANTINED);
		(void)loami_fetch_add_relaxed(&frames->quarantined, n);
		return false;
	}
	loami_store_relaxed(&slot->flags, LOAM_FRAME_FREE);
	return true;
}

void loam_frame_free(struct loam_frames *frames, loam_pfn first, unsigned int order)
{
	uint32_t refcount;
	struct loam_slot *slot;

	LOAMI_NOT_FROM_NMI();
	slot = check_owned(frames, first, order, &refcount);
	if (loami_frame_retire(frames, slot, first, order, refcount))
		loami_blocks_put(frames, first, UINT64_C(1) << order);
}

bool loam_frame_put(struct loam_frames *frames, loam_pfn first, unsigned int order)
{
	struct loam_slot *slot = loam_frame_slot(frames, first);
	uint32_t refcount = 1;

	LOAMI_NOT_FROM_NMI();
	if (loami_load_acquire(&slot->refcount) == 1)
		(void)check_owned(frames, first, order, &refcount);
	if (loam_frame_ref_dec(frames, first) != 1)
		return false;
	if (loami_frame_retire(frames, slot, first, order, 0))
		loami_blocks_put(frames, first, UINT64_C(1) << order);
	return true;
}

/* ---- many at once ------------------------------------------------------------------------------------------------------------------------ */

size_t loam_frame_alloc_batch(struct loam_frames *frames, size_t n, const struct loam_frame_opts *opts, loam_pfn *out)
{
	size_t got = 0;

	while (got < n && loam_frame_alloc_status(frames, 0, opts, &out[got]) == LOAM_OK)
		got++;
	return got;
}

void loam_frame_free_batch(struct loam_frames *frames, const loam_pfn *pfns, size_t n)
{
	for (size_t i = 0; i < n; i++)
		loam_frame_free(frames, pfns[i], 0);
}

static enum loam_status check_where(const struct loam_frame_where *where, uint64_t npages)
{
	if (npages == 0)
		return LOAM_ERR_ZERO_SIZE;
	if (npages > UINT64_C(1) << 40)
		return LOAM_ERR_TOO_LARGE;
	if (where->align != 0 && !loami_is_power_of_two(where->align))
		return LOAM_ERR_ALIGNMENT;
	if (where->boundary != 0 && (!loami_is_power_of_two(where->boundary) ||
				     where->boundary >> LOAM_PAGE_SHIFT < npages || where->boundary < where->align))
		return LOAM_ERR_ALIGNMENT;
	if (where->limit != 0 && where->limit <= where->start)
		return LOAM_ERR_OUT_OF_RANGE;
	return LOAM_OK;
}

static enum loam_status take_range(struct loam_frames *frames, uint64_t npages, const struct loam_frame_where *where,
				   const struct loami_frame_want *want, loam_pfn *first)
{
	for (;;) {
		uint64_t moves = loami_load_acquire(&frames->moves);

		*first = loami_blocks_take_run(frames, npages, where, want);
		if (*first != LOAM_PFN_NONE)
			return LOAM_OK;
		if (loami_load_acquire(&frames->in_flight) == 0 && loami_load_acquire(&frames->moves) == moves)
			return LOAM_ERR_NO_MEMORY;
	}
}

enum loam_status loam_frame_alloc_range(struct loam_frames *frames, uint64_t npages,
					const struct loam_frame_where *where, const struct loam_frame_opts *opts,
					loam_pfn *first)
{
	static const struct loam_frame_where anywhere;
	struct loami_frame_want want;
	enum loam_status status;

	LOAMI_NOT_FROM_NMI();
	*first = LOAM_PFN_NONE;
	if (!where)
		where = &anywhere;
	status = loami_frame_decode(frames, opts, &want);
	if (status == LOAM_OK)
		status = check_where(where, npages);
	if (status == LOAM_OK && LOAMI_FAIL(LOAMI_FAIL_FRAME))
		status = LOAM_ERR_NO_MEMORY;
	if (status == LOAM_OK)
		status = take_range(frames, npages, where, &want, first);
	if (status != LOAM_OK) {
		(void)loami_fetch_add_relaxed(&frames->range_failures, 1);
		loami_frame_failed(frames, LOAM_ORDER_MAX + 1, npages, status);
		return status;
	}
	for (uint64_t i = 0; i < npages; i++)
		loami_frame_claim(frames, *first + i, 0, &want);
	(void)loami_fetch_add_relaxed(&frames->allocs, npages);
	(void)loami_fetch_add_relaxed(&frames->range_out, npages);
	return LOAM_OK;
}

void loam_frame_free_range(struct loam_frames *frames, loam_pfn first, uint64_t npages)
{
	uint32_t refcount;

	LOAMI_NOT_FROM_NMI();
	/* All checks before the first change. */
	for (uint64_t i = 0; i < npages; i++)
		(void)check_owned(frames, first + i, 0, &refcount);
	(void)loami_fetch_add_relaxed(&frames->range_back, npages);
	for (uint64_t i = 0, from = 0; i <= npages; i++) {
		if (i < npages) {
			struct loam_slot *slot = check_owned(frames, first + i, 0, &refcount);

			if (loami_frame_retire(frames, slot, first + i, 0, refcount))
				continue;
		}
		if (i > from)
			loami_blocks_put(frames, first + from, i - from);
		from = i + 1;
	}
}
