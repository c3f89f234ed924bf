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
		return loami_flags_by_type[TYPE_MOVABLE];
	case LOAM_PURPOSE_CUSTOM:
		return opts->custom_flags | LOAM_FRAME_ALLOCATED;
	case LOAM_PURPOSE_KERNEL:
	case LOAM_PURPOSE_PAGE_TABLE:
		break;
	}
	return loami_flags_by_type[TYPE_UNMOVABLE];
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
	    (opts->purpose == LOAM_PURPOSE_CUSTOM &&
	     (opts->custom_flags & (LOAM_FRAME_FREE | LOAM_FRAME_POISONED)) != 0))
		return LOAM_ERR_INVALID;
	if (opts->zone_limit > frames->nzones)
		return LOAM_ERR_ZONE;
	if (opts->node > LOAM_NODES_MAX)
		return LOAM_ERR_INVALID;
	*want = (struct loami_frame_want){
		.flags = purpose_flags(opts),
		.zones = opts->zone_limit != 0 ? opts->zone_limit : (uint8_t)frames->nzones,
		.node = (uint8_t)opts->node,
		.zero = !opts->uninitialized || opts->purpose == LOAM_PURPOSE_PAGE_TABLE,
		.reclaim = !opts->no_reclaim,
		.reserve = opts->use_reserve,
	};
	want->type = (want->flags & LOAM_FRAME_MOVABLE) != 0 ? TYPE_MOVABLE : TYPE_UNMOVABLE;
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

/* Of a claimed block with poison in it: the poisoned frames go into quarantine, the others back. */
static void sift(struct loam_frames *frames, loam_pfn first, unsigned int order)
{
	for (loam_pfn pfn = first; pfn < first + (UINT64_C(1) << order); pfn++) {
		struct loam_slot *slot = loami_slot_of(frames, pfn);

		if ((loami_load_acquire(&slot->guard) & LOAM_GUARD_POISONED) != 0) {
			loami_store_release(&slot->refcount, REF_CLAIMED);
			loami_frame_quarantine(frames, pfn, 1);
		} else {
			loami_frame_unclaim(slot);
			loami_blocks_put(frames, pfn, 1);
		}
	}
}

/* Is a claimed block as it should be? A free frame may have been poisoned, or been given hooks by a former owner who came late. */
static bool is_sound(struct loam_frames *frames, loam_pfn first, unsigned int order)
{
	uint64_t n = UINT64_C(1) << order;

	if (LOAMI_LIKELY(loami_load_relaxed(&frames->specials) == 0) || !loami_frame_is_special(frames, first, n))
		return true;
	if (loam_frame_block_is_poisoned(frames, first, order)) {
		sift(frames, first, order);
		return false;
	}
	loami_frame_reset_special(frames, first, n);
	return true;
}

bool loami_frame_claim(struct loam_frames *frames, loam_pfn first, unsigned int order)
{
	struct loam_slot *slot = loami_slot_of(frames, first);
	uint64_t *word = loami_slot_word(slot), seen = loami_load_relaxed(word);

	if (LOAMI_UNLIKELY(loami_word_ref(seen) != REF_UNUSED || !loami_cas(word, &seen, loami_word_claimed(seen))))
		loami_frame_corrupt(first, loami_word_ref(seen));
	return is_sound(frames, first, order);
}

static void publish(const struct loam_frames *frames, struct loam_slot *slot, loam_pfn first, unsigned int order,
		    uint32_t flags, bool zero, unsigned int cpu)
{
	uint64_t *word = loami_slot_word(slot);

	if (LOAMI_UNLIKELY(loami_load_relaxed(&slot->order) != order))
		loami_store_relaxed(&slot->order, (uint8_t)order);
	loami_slot_set_cpu(slot, cpu);
	if (loami_load_relaxed(&slot->flags) != flags)
		loami_store_release(&slot->flags, flags);
	if (zero)
		__builtin_memset((void *)((uintptr_t)loam_frame_address(first) + frames->direct_map), 0,
				 LOAM_PAGE_SIZE << order);
	/* The whole word, so that a free soon after reads what one store wrote. Nobody else changes it while the frame is claimed. */
	loami_store_release(word, loami_word_make(1, loami_word_gen(loami_load_relaxed(word)) + 1));
}

void loami_frame_publish(struct loam_frames *frames, struct loam_slot *slot, loam_pfn first, unsigned int order,
			 const struct loami_frame_want *want)
{
	publish(frames, slot, first, order, want->flags, want->zero && !want->zeroed, loam_port_cpu());
}

/* One look at everything this CPU and the blocks have. */
static bool take_once(struct loam_frames *frames, unsigned int order, struct loami_frame_want *want, bool parked,
		      loam_pfn *first)
{
	while (parked && loami_cpu_take(frames, order, want, true, first))
		if (is_sound(frames, *first, order))
			return true;
	want->zeroed = false;
	while ((*first = loami_blocks_take(frames, order, want)) != LOAM_PFN_NONE) {
		if (!loami_frame_claim(frames, *first, order))
			continue;
		(void)loami_fetch_add_relaxed(&frames->allocs, UINT64_C(1) << order);
		return true;
	}
	return false;
}

/* A block from wherever it can be had, claimed. */
static enum loam_status take(struct loam_frames *frames, unsigned int order, struct loami_frame_want *want,
			     loam_pfn *first)
{
	bool parked = want->zones == frames->nzones && want->node == 0;
	struct loami_frame_patience patience = {0};
	uint64_t before;

	if (parked && loami_cpu_take(frames, order, want, false, first) && is_sound(frames, *first, order))
		return LOAM_OK;
	loami_frame_relieve(frames, want);
	if (take_once(frames, order, want, parked, first))
		return LOAM_OK;
	do {
		before = loami_frame_moment(frames);
		if (take_once(frames, order, want, parked, first))
			return LOAM_OK;
	} while (loami_frame_look_again(frames, UINT64_C(1) << order, want, before, &patience));
	return LOAM_ERR_NO_MEMORY;
}

static enum loam_status alloc_any(struct loam_frames *frames, unsigned int order, const struct loam_frame_opts *opts,
				  loam_pfn *first)
{
	struct loami_frame_want want;
	enum loam_status status;

	*first = LOAM_PFN_NONE;
	status = loami_frame_decode(frames, opts, &want);
	if (status == LOAM_OK && order > LOAM_ORDER_MAX)
		status = LOAM_ERR_ORDER;
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

enum loam_status loam_frame_alloc_status(struct loam_frames *frames, unsigned int order,
					 const struct loam_frame_opts *opts, loam_pfn *first)
{
	LOAMI_NOT_FROM_NMI();
	*first = LOAM_PFN_NONE;
	if (LOAMI_FAIL(LOAMI_FAIL_FRAME)) {
		loami_frame_failed(frames, order, UINT64_C(1) << (order & 63), LOAM_ERR_NO_MEMORY);
		return LOAM_ERR_NO_MEMORY;
	}
	return alloc_any(frames, order, opts, first);
}

/* Everything but a hit in the magazine. */
static __attribute__((noinline)) loam_pfn alloc_slow(struct loam_frames *frames, unsigned int order,
						     const struct loam_frame_opts *opts)
{
	loam_pfn first;

	return alloc_any(frames, order, opts, &first) == LOAM_OK ? first : LOAM_PFN_NONE;
}

/* The first eight bytes of struct loam_frame_opts in one: uninitialized in the lowest byte, zone_limit, node, purpose from bit 32. What the fast paths serve. */
_Static_assert(offsetof(struct loam_frame_opts, uninitialized) == 0 &&
		       offsetof(struct loam_frame_opts, zone_limit) == 1 &&
		       offsetof(struct loam_frame_opts, node) == 2 && offsetof(struct loam_frame_opts, purpose) == 4 &&
		       sizeof(enum loam_frame_purpose) == 4 && LOAM_PURPOSE_KERNEL == 0,
	       "opts_word() reads these fields as one word");
#define OPTS_KERNEL UINT64_C(1) /* uninitialized, any zone and node */
#define OPTS_USER (OPTS_KERNEL | (uint64_t)LOAM_PURPOSE_USER << 32)

static inline uint64_t opts_word(const struct loam_frame_opts *opts)
{
	uint64_t word;

	__builtin_memcpy(&word, __builtin_assume_aligned(opts, sizeof(word)), sizeof(word));
	return word;
}

/* A hit turned out to be of a frame with something special about it: its slot is as claimed. */
static __attribute__((noinline)) loam_pfn alloc_unusual(struct loam_frames *frames, loam_pfn first, unsigned int order,
							const struct loam_frame_opts *opts)
{
	struct loami_frame_want want;

	if (!is_sound(frames, first, order) || loami_frame_decode(frames, opts, &want) != LOAM_OK)
		return alloc_slow(frames, order, opts);
	loami_frame_publish(frames, loami_slot_of(frames, first), first, order, &want);
	return first;
}

/* A hit whose slot is to be filled in: another CPU had the block before, or somebody of another kind. */
static __attribute__((noinline)) loam_pfn alloc_changed(struct loam_frames *frames, loam_pfn first, unsigned int order,
							const struct loam_frame_opts *opts, uint64_t *word)
{
	struct loam_slot *slot = loami_word_slot(word);

	if (LOAMI_UNLIKELY(!loami_kind_is_plain(loami_slot_kind(slot), order) ||
			   (order != 0 && loami_load_relaxed(&frames->specials) != 0)))
		return alloc_unusual(frames, first, order, opts);
	publish(frames, slot, first, order, purpose_flags(opts), false, loam_port_cpu());
	return first;
}

/* A hit: a block of an order that is parked, uninitialized, for kernel or user data, found on top of this CPU's magazine. Anything else goes the slow way; where the
 * swap fails, the magazine is empty, or another CPU was here first, and the slow way tells. Inlined for each order and type: every instruction here counts, and every
 * store more. Nothing is called but last, so no register is saved. */
static inline __attribute__((always_inline)) loam_pfn alloc_hit(struct loam_frames *frames,
								const struct loam_frame_opts *opts, unsigned int order,
								unsigned int type)
{
	struct loam_pin pin = loam_port_pin();
	struct loami_frame_cpu *cpu = LOAMI_ADDRESS(&frames->cpus[pin.cpu]);
	struct loami_magazine *magazine = order == 0   ? &cpu->singles[type].head
					  : order == 3 ? &cpu->runs[type].head
						       : &cpu->blocks.head;
	struct loami_cell *cell;
	uint64_t *word, free, claimed, plain;
	loam_pfn first;

	LOAMI_ASSERT(pin.cpu < frames->ncpus);
	if (LOAMI_UNLIKELY(!loami_magazine_enter(magazine)))
		goto unpin;
	cell = loami_load_relaxed(&magazine->top);
	word = cell->word;
	first = cell->first;
	free = loami_name_word(loami_load_relaxed(&cell->name));
	claimed = LOAMI_OPAQUE(loami_word_claimed(free));
	if (LOAMI_UNLIKELY(!loami_swap_word(word, free, claimed)))
		goto beaten;
	loami_store_relaxed(&magazine->top, cell - 1);
	loami_count(&magazine->popped, 1);
	loami_magazine_leave(magazine);
	loam_port_unpin(pin);
	plain = loami_glance(&magazine->plain);
	if (order == LOAM_BLOCK_ORDER) /* one magazine for both types */
		plain += loami_flags_by_type[type] - loami_flags_by_type[TYPE_UNMOVABLE];
	if (LOAMI_UNLIKELY(loami_slot_kind(loami_word_slot(word)) != plain) ||
	    (order != 0 && LOAMI_UNLIKELY(loami_load_relaxed(&frames->specials) != 0)))
		return alloc_changed(frames, first, order, opts, word);
	loami_store_release(word, loami_word_owned(claimed));
	return first;
beaten:
	loami_magazine_leave(magazine);
unpin:
	loam_port_unpin(pin);
	return alloc_slow(frames, order, opts);
}

static inline __attribute__((always_inline)) loam_pfn alloc_order(struct loam_frames *frames,
								  const struct loam_frame_opts *opts,
								  unsigned int order)
{
	if (LOAMI_LIKELY(opts_word(opts) == OPTS_KERNEL))
		return alloc_hit(frames, opts, order, TYPE_UNMOVABLE);
	if (opts_word(LOAMI_OPAQUE(opts)) ==
	    OPTS_USER) /* read once more: the first look is one instruction where memory can be compared with */
		return alloc_hit(frames, opts, order, TYPE_MOVABLE);
	return alloc_slow(frames, order, opts);
}

static __attribute__((noinline)) loam_pfn alloc_run(struct loam_frames *frames, const struct loam_frame_opts *opts)
{
	return alloc_order(frames, opts, 3);
}
static __attribute__((noinline)) loam_pfn alloc_block(struct loam_frames *frames, const struct loam_frame_opts *opts)
{
	return alloc_order(frames, opts, LOAM_BLOCK_ORDER);
}

/* Not of order 0, without options, or before there is memory. */
static __attribute__((noinline)) loam_pfn alloc_large(struct loam_frames *frames, unsigned int order,
						      const struct loam_frame_opts *opts)
{
	if (loami_load_relaxed(&frames->direct) != 0 && opts != NULL) {
		if (order == 3)
			return alloc_run(frames, opts);
		if (order == LOAM_BLOCK_ORDER)
			return alloc_block(frames, opts);
	}
	return alloc_slow(frames, order, opts);
}

LOAMI_LEAF loam_pfn loam_frame_alloc(struct loam_frames *frames, unsigned int order, const struct loam_frame_opts *opts)
{
	LOAMI_NOT_FROM_NMI();
	if (LOAMI_FAIL(LOAMI_FAIL_FRAME)) {
		loami_frame_failed(frames, order, UINT64_C(1) << (order & 63), LOAM_ERR_NO_MEMORY);
		return LOAM_PFN_NONE;
	}
	if (LOAMI_UNLIKELY(order >= loami_glance(&frames->direct)) || LOAMI_UNLIKELY(!opts))
		return alloc_large(frames, order, opts);
	return alloc_order(frames, opts, 0);
}

/* Up to @n hits in a row under one pin: alloc_hit() for order 0, less what need not be done again for each. *@stop: an odd one came, and none in its place. */
static inline __attribute__((always_inline)) size_t alloc_many(struct loam_frames *frames,
							       const struct loam_frame_opts *opts, unsigned int type,
							       size_t n, loam_pfn *out, bool *stop)
{
	struct loam_pin pin = loam_port_pin();
	struct loami_magazine *magazine = &frames->cpus[pin.cpu].singles[type].head;
	loam_pfn unusual = LOAM_PFN_NONE;
	struct loami_cell *cell;
	size_t got = 0;

	LOAMI_ASSERT(pin.cpu < frames->ncpus);
	if (LOAMI_UNLIKELY(!loami_magazine_enter(magazine))) {
		loam_port_unpin(pin);
		return 0;
	}
	for (cell = loami_load_relaxed(&magazine->top); got < n; cell--) {
		uint64_t *word = cell->word, free = loami_name_word(loami_load_relaxed(&cell->name)), kind;
		uint64_t claimed = LOAMI_OPAQUE(loami_word_claimed(free));
		struct loam_slot *slot = loami_word_slot(word);

		if (LOAMI_UNLIKELY(!loami_swap_word(word, free, claimed)))
			break;
		loami_store_relaxed(&magazine->top, cell - 1);
		loami_count(&magazine->popped, 1);
		kind = loami_slot_kind(slot);
		if (LOAMI_UNLIKELY(kind != loami_glance(&magazine->plain))) {
			if (!loami_kind_is_plain(kind, 0)) {
				unusual = cell->first;
				break;
			}
			if ((uint32_t)kind != loami_flags_by_type[type])
				loami_store_relaxed(&slot->flags, loami_flags_by_type[type]);
			loami_slot_set_cpu(slot, pin.cpu);
		}
		out[got++] = cell->first;
		loami_store_release(word, loami_word_owned(claimed));
	}
	loami_magazine_leave(magazine);
	loam_port_unpin(pin);
	if (LOAMI_UNLIKELY(unusual != LOAM_PFN_NONE)) {
		out[got] = alloc_unusual(frames, unusual, 0, opts);
		*stop = out[got] == LOAM_PFN_NONE;
		got += !*stop;
	}
	return got;
}

size_t loam_frame_alloc_batch(struct loam_frames *frames, size_t n, const struct loam_frame_opts *opts, loam_pfn *out)
{
	size_t got = 0, allowed = 0;
	bool stop = false;
	uint64_t word = 0;

	LOAMI_NOT_FROM_NMI();
	while (allowed < n && !LOAMI_FAIL(LOAMI_FAIL_FRAME))
		allowed++;
	if (opts != NULL)
		word = opts_word(opts);
	while (got < allowed && !stop) {
		size_t many = 0;

		if (LOAMI_UNLIKELY(loami_load_relaxed(&frames->direct) == 0))
			word = 0;
		if (LOAMI_LIKELY(word == OPTS_KERNEL))
			many = alloc_many(frames, opts, TYPE_UNMOVABLE, allowed - got, out + got, &stop);
		else if (word == OPTS_USER)
			many = alloc_many(frames, opts, TYPE_MOVABLE, allowed - got, out + got, &stop);
		got += many;
		if (got == allowed || stop)
			break;
		/* The magazine is empty, or no case for it: the slow way fills it. It may wait, and is asked about by itself. */
		if (LOAMI_FAIL(LOAMI_FAIL_FRAME)) {
			loami_frame_failed(frames, 0, 1, LOAM_ERR_NO_MEMORY);
			return got;
		}
		out[got] = alloc_slow(frames, 0, opts);
		if (out[got] == LOAM_PFN_NONE)
			return got;
		got++;
	}
	if (LOAMI_UNLIKELY(allowed < n && got == allowed))
		loami_frame_failed(frames, 0, 1, LOAM_ERR_NO_MEMORY);
	return got;
}
