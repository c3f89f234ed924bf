/* frame/free.c: giving frames back.
 *
 * 1 Concepts: an allocation backwards: all checks; hooks; the swap {1, g} -> {UNUSED, g}; into a set. Misuse panics come before the first change.
 *   Between the swap and the set the frame is nobody's and cannot be had: that is a free still under way.
 */
#include "internal.h"

struct loam_slot *loami_frame_check_owned(struct loam_frames *frames, loam_pfn first, unsigned int order,
					  uint32_t *refcount)
{
	unsigned long long address = loam_frame_address(first);
	struct loam_slot *slot = loami_slot_find(frames, first);
	uint32_t count;

	if (LOAMI_UNLIKELY(order > LOAM_ORDER_MAX))
		loami_misuse("loam: frame: free of 0x%llx with order %u, above %u", address, order,
			     (unsigned int)LOAM_ORDER_MAX);
	if (LOAMI_UNLIKELY(!loami_is_aligned(first, UINT64_C(1) << order)))
		loami_misuse("loam: frame: free of 0x%llx, which is not aligned to order %u", address, order);
	if (LOAMI_UNLIKELY(!slot || loami_slot_is_hole(slot)))
		loami_misuse("loam: frame: free of 0x%llx, which is no memory of this machine", address);
	if (LOAMI_UNLIKELY((loami_load_relaxed(&slot->state) & STATE_RESERVED) != 0))
		loami_misuse("loam: frame: free of 0x%llx, which is reserved for good", address);
	if (LOAMI_UNLIKELY((loami_load_relaxed(&slot->state) & STATE_QUARANTINED) != 0))
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

bool loami_frame_retire(struct loam_frames *frames, struct loam_slot *slot, loam_pfn first, unsigned int order,
			uint32_t refcount)
{
	uint64_t n = UINT64_C(1) << order, *word = loami_slot_word(slot), seen = loami_load_relaxed(word);
	bool poisoned = false;

	if (loami_load_relaxed(&frames->specials) != 0 && loami_frame_is_special(frames, first, n)) {
		loami_frame_run_hooks(frames, first, n);
		poisoned = loam_frame_block_is_poisoned(frames, first, order);
		loami_frame_reset_special(frames, first, n);
	}
	seen = loami_word_make(refcount, loami_word_gen(seen));
	if (LOAMI_UNLIKELY(!loami_cas(word, &seen,
				      loami_word_make(poisoned ? REF_CLAIMED : REF_UNUSED, loami_word_gen(seen)))))
		loami_misuse("loam: frame: free of 0x%llx races with another (refcount 0x%x)",
			     (unsigned long long)loam_frame_address(first), loami_word_ref(seen));
	if (poisoned) {
		loami_frame_quarantine(frames, first, n);
		return false;
	}
	return true;
}

/* Everything but one plain frame into this CPU's magazine. */
static __attribute__((noinline)) void free_slow(struct loam_frames *frames, loam_pfn first, unsigned int order)
{
	uint32_t refcount;
	struct loam_slot *slot = loami_frame_check_owned(frames, first, order, &refcount);
	unsigned int type =
		(loami_load_relaxed(&slot->flags) & LOAM_FRAME_MOVABLE) != 0 ? TYPE_MOVABLE : TYPE_UNMOVABLE;

	if (loami_frame_retire(frames, slot, first, order, refcount))
		loami_cpu_park(frames, slot, first, order, type);
}

/* {1, g} -> {UNUSED, g} of a frame that was checked a moment ago: the swap tells two frees that race within these few instructions apart, in every build
 * (docs/why/031-free-swaps.md). Return: false, or true and *@word is what it is now. */
static inline __attribute__((always_inline)) bool swap_back(uint64_t *at, uint64_t *word)
{
	uint64_t seen = *word, back = LOAMI_OPAQUE(seen | REF_UNUSED);

	*word = back;
	return loami_swap_word(at, seen, back);
}

/* A block that was just swapped back, onto this CPU's magazine, if nobody is inside and there is room. */
static inline __attribute__((always_inline)) bool push(struct loami_magazine *magazine, uint64_t name, uint64_t *word,
						       loam_pfn first)
{
	struct loami_cell *top;

	if (LOAMI_UNLIKELY(!loami_magazine_enter(magazine)))
		return false;
	top = loami_load_relaxed(&magazine->top);
	if (LOAMI_UNLIKELY(top >= loami_glance(&magazine->full))) {
		loami_magazine_leave(magazine);
		return false;
	}
	loami_cell_set(top + 1, name, word, first);
	loami_store_release(&magazine->top, top + 1);
	loami_magazine_leave(magazine);
	return true;
}

static struct loami_magazine *magazine_for(struct loami_frame_cpu *cpu, unsigned int order, unsigned int type)
{
	return order == 0 ? &cpu->singles[type].head : order == 3 ? &cpu->runs[type].head : &cpu->blocks.head;
}

/* Swapped back, and no room for it here. */
static __attribute__((noinline)) void park(struct loam_frames *frames, uint64_t *word, loam_pfn first,
					   unsigned int order)
{
	struct loam_slot *slot = loami_word_slot(word);

	loami_cpu_park(frames, slot, first, order,
		       (loami_load_relaxed(&slot->flags) & LOAM_FRAME_MOVABLE) != 0 ? TYPE_MOVABLE : TYPE_UNMOVABLE);
}

/* A block owned once, of a kind that this CPU's magazines do not hold as it is: of another CPU, with flags of its owner's, or special. @naming as below. */
static __attribute__((noinline)) void free_other(struct loam_frames *frames, loam_pfn first, unsigned int order,
						 uint64_t *word, uint64_t naming)
{
	uint64_t kind = loami_slot_kind(loami_word_slot(word)), seen = loami_load_relaxed(word);
	unsigned int type = (kind & LOAM_FRAME_MOVABLE) != 0 ? TYPE_MOVABLE : TYPE_UNMOVABLE;
	struct loam_pin pin;
	bool parked;

	if (LOAMI_UNLIKELY(loami_word_ref(seen) != 1 || !loami_kind_is_plain(kind, order)) ||
	    LOAMI_UNLIKELY(!swap_back(word, &seen))) {
		free_slow(frames, first, order);
		return;
	}
	pin = loam_port_pin();
	LOAMI_ASSERT(pin.cpu < frames->ncpus);
	parked = push(magazine_for(&frames->cpus[pin.cpu], order, type), seen + naming, word, first);
	loam_port_unpin(pin);
	if (LOAMI_UNLIKELY(!parked))
		loami_cpu_park(frames, loami_word_slot(word), first, order, type);
}

/* A block owned once, of this order, without hooks, guard or anything else special, which this CPU allocated for kernel or user data. @word: of its slot. @naming: what is
 * added to {UNUSED, g} to get its name. The kind decides by branches: a frame's slot is often still on its way from memory, and the magazine's top, which the next
 * allocation needs, must not wait for it. Nothing is called but last, so no register is saved. */
static inline __attribute__((always_inline)) void free_at(struct loam_frames *frames, loam_pfn first,
							  unsigned int order, uint64_t *word, uint64_t naming)
{
	uint64_t seen = loami_load_relaxed(word), kind = loami_slot_kind(loami_word_slot(word));
	struct loami_magazine *magazine;
	struct loami_frame_cpu *cpu;
	struct loam_pin pin;

	if (LOAMI_UNLIKELY(loami_word_ref(seen) != 1 || (order != 0 && loami_load_relaxed(&frames->specials) != 0))) {
		free_slow(frames, first, order);
		return;
	}
	pin = loam_port_pin();
	LOAMI_ASSERT(pin.cpu < frames->ncpus);
	cpu = LOAMI_ADDRESS(&frames->cpus[pin.cpu]);
	magazine = magazine_for(cpu, order, TYPE_UNMOVABLE);
	if (LOAMI_LIKELY(kind == loami_glance(&magazine->plain))) {
		if (LOAMI_UNLIKELY(!swap_back(word, &seen)))
			goto beaten;
		if (LOAMI_UNLIKELY(!push(magazine, seen + naming, word, first)))
			goto full;
		loam_port_unpin(pin);
		return;
	}
	magazine = magazine_for(cpu, order, TYPE_MOVABLE);
	if (order != LOAM_BLOCK_ORDER && kind == loami_glance(&magazine->plain)) {
		if (LOAMI_UNLIKELY(!swap_back(word, &seen)))
			goto beaten;
		if (LOAMI_UNLIKELY(!push(magazine, seen + naming, word, first)))
			goto full;
		loam_port_unpin(pin);
		return;
	}
	loam_port_unpin(pin);
	free_other(frames, first, order, word, naming);
	return;
full:
	loam_port_unpin(pin);
	park(frames, word, first, order);
	return;
beaten:
	loam_port_unpin(pin);
	free_slow(frames, first, order);
}

/* Where the table of sections is to be asked, or nobody knows such a frame. */
static inline __attribute__((always_inline)) void free_found(struct loam_frames *frames, loam_pfn first,
							     unsigned int order)
{
	const struct loami_frame_section *section = loami_section_find(frames, first);

	if (LOAMI_UNLIKELY(!section))
		free_slow(frames, first, order);
	else
		free_at(frames, first, order, loami_slot_word(loami_section_slot(section, first)),
			section->index + first - REF_UNUSED);
}

/* Inlined once per order that is parked. */
static inline __attribute__((always_inline)) void free_hit(struct loam_frames *frames, loam_pfn first,
							   unsigned int order,
							   void (*elsewhere)(struct loam_frames *, loam_pfn))
{
	uint64_t at = first - frames->dense_first;

	if (LOAMI_UNLIKELY(at >= frames->dense))
		elsewhere(frames, first);
	else
		free_at(frames, first, order, LOAMI_ADDRESS(loami_dense_word(frames, at)),
			frames->dense_naming + first);
}

static __attribute__((noinline)) void free_single_found(struct loam_frames *frames, loam_pfn first)
{
	free_found(frames, first, 0);
}
static __attribute__((noinline)) void free_run_found(struct loam_frames *frames, loam_pfn first)
{
	free_found(frames, first, 3);
}
static __attribute__((noinline)) void free_block_found(struct loam_frames *frames, loam_pfn first)
{
	free_found(frames, first, LOAM_BLOCK_ORDER);
}
static __attribute__((noinline)) void free_run(struct loam_frames *frames, loam_pfn first)
{
	free_hit(frames, first, 3, free_run_found);
}
static __attribute__((noinline)) void free_block(struct loam_frames *frames, loam_pfn first)
{
	free_hit(frames, first, LOAM_BLOCK_ORDER, free_block_found);
}

LOAMI_LEAF void loam_frame_free(struct loam_frames *frames, loam_pfn first, unsigned int order)
{
	LOAMI_NOT_FROM_NMI();
	if (LOAMI_LIKELY(order == 0))
		free_hit(frames, first, 0, free_single_found);
	else if (order == 3)
		free_run(frames, first);
	else if (order == LOAM_BLOCK_ORDER)
		free_block(frames, first);
	else
		free_slow(frames, first, order);
}

bool loam_frame_put(struct loam_frames *frames, loam_pfn first, unsigned int order)
{
	struct loam_slot *slot = loam_frame_slot(frames, first);
	unsigned int type =
		(loami_load_relaxed(&slot->flags) & LOAM_FRAME_MOVABLE) != 0 ? TYPE_MOVABLE : TYPE_UNMOVABLE;
	uint32_t count = loami_load_acquire(&slot->refcount), refcount;

	LOAMI_NOT_FROM_NMI();
	if (count == 1)
		(void)loami_frame_check_owned(frames, first, order, &refcount);
	else if (LOAMI_UNLIKELY(count != 0 && count <= REF_MAX && loami_load_relaxed(&slot->order) != order))
		loami_misuse(
			"loam: frame: reference to 0x%llx dropped with order %u, but it was allocated with order %u",
			(unsigned long long)loam_frame_address(first), order,
			(unsigned int)loami_load_relaxed(&slot->order));
	if (loam_frame_ref_dec(frames, first) != 1)
		return false;
	if (loami_frame_retire(frames, slot, first, order, 0))
		loami_cpu_park(frames, slot, first, order, type);
	return true;
}

/* Slots are fetched this many frames ahead of their use. */
enum { AHEAD = 64 };

static inline void fetch(const struct loam_frames *frames, loam_pfn pfn)
{
	uint64_t naming;
	const uint64_t *word = loami_find_word(frames, pfn, &naming);

	if (word)
		__builtin_prefetch(word, 1);
}

/* Plain frames of kernel data from the front of @pfns onto this CPU's magazine, under one pin: free_hit(), less what need not be done again for each. Return: how
 * many there were before one of another kind, or before the magazine was full. */
static size_t free_many(struct loam_frames *frames, const loam_pfn *pfns, size_t n, size_t ahead)
{
	struct loam_pin pin = loam_port_pin();
	struct loami_magazine *magazine = &frames->cpus[pin.cpu].singles[TYPE_UNMOVABLE].head;
	const struct loami_cell *full;
	struct loami_cell *top;
	size_t done = 0;

	LOAMI_ASSERT(pin.cpu < frames->ncpus);
	if (LOAMI_UNLIKELY(!loami_magazine_enter(magazine))) {
		loam_port_unpin(pin);
		return 0;
	}
	full = loami_load_relaxed(&magazine->full);
	for (top = loami_load_relaxed(&magazine->top); done < n && top < full; done++) {
		uint64_t naming, seen, kind, *word = loami_find_word(frames, pfns[done], &naming);

		if (done < ahead)
			fetch(frames, pfns[done + AHEAD]);
		if (LOAMI_UNLIKELY(!word))
			break;
		seen = loami_load_relaxed(word);
		kind = loami_slot_kind(loami_word_slot(word));
		if (LOAMI_UNLIKELY(loami_word_ref(seen) != 1))
			break;
		if (LOAMI_UNLIKELY(kind != loami_glance(&magazine->plain)) &&
		    (!loami_kind_is_plain(kind, 0) || (kind & LOAM_FRAME_MOVABLE) != 0))
			break;
		if (LOAMI_UNLIKELY(!swap_back(word, &seen)))
			break;
		loami_cell_set(++top, seen + naming, word, pfns[done]);
		loami_store_release(&magazine->top, top);
	}
	loami_magazine_leave(magazine);
	loam_port_unpin(pin);
	return done;
}

void loam_frame_free_batch(struct loam_frames *frames, const loam_pfn *pfns, size_t n)
{
	LOAMI_NOT_FROM_NMI();
	for (size_t i = 0; i < n;) {
		size_t left = n - i;

		if (LOAMI_LIKELY(frames->cpus != NULL))
			i += free_many(frames, pfns + i, left, left > AHEAD ? left - AHEAD : 0);
		if (i == n)
			break;
		if (i + AHEAD < n)
			fetch(frames, pfns[i + AHEAD]);
		loam_frame_free(frames, pfns[i], 0);
		i++;
	}
}
