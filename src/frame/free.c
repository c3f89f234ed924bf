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

/* The swap back of a frame that was checked a moment ago. */
static inline bool swap_back(struct loam_slot *slot, uint64_t word)
{
	return loami_cas(loami_slot_word(slot), &word, word | REF_UNUSED);
}

/* An unused block, whose word was {1, g} = @word, onto this CPU's magazine of its order and type, both constants here. */
static inline __attribute__((always_inline)) void push(struct loam_frames *frames, struct loam_slot *slot,
						       unsigned int order, unsigned int type, uint32_t index,
						       uint64_t word)
{
	struct loam_pin pin = loam_port_pin();
	struct loami_frame_cpu *cpu = &frames->cpus[pin.cpu];
	struct loami_magazine *magazine = order == 0   ? &cpu->singles[type].head
					  : order == 3 ? &cpu->runs[type].head
						       : &cpu->blocks.head;
	struct loami_cell *cell;
	uint32_t top;

	LOAMI_ASSERT(pin.cpu < frames->ncpus);
	if (LOAMI_UNLIKELY(!loami_magazine_enter(magazine)))
		goto unpin;
	top = loami_load_relaxed(&magazine->top);
	if (LOAMI_UNLIKELY(top >= loami_load_relaxed(&magazine->limit)))
		goto leave;
	cell = &loami_cells(magazine)[top];
	cell->word = loami_slot_word(slot);
	/* The word is {1, g}: this is {index, g}. */
	loami_store_relaxed(&cell->name, word - 1 + index);
	loami_store_release(&magazine->top, top + 1);
	loami_magazine_leave(magazine);
	loam_port_unpin(pin);
	return;
leave:
	loami_magazine_leave(magazine);
unpin:
	loam_port_unpin(pin);
	loami_cpu_park(frames, slot, loami_index_pfn(frames, index), order, type);
}

/* Inlined once per order that is parked: a block owned once, of this order, without hooks, guard or anything else special. The swap tells two frees that race
 * within these few instructions apart, in every build (docs/why/031-free-swaps.md). The type is a branch, not an address: a frame's slot is often still on its way from
 * memory, and the magazine's top, which the next allocation needs, must not wait for it. */
static inline __attribute__((always_inline)) void free_hit(struct loam_frames *frames, loam_pfn first,
							   unsigned int order)
{
	uint64_t at = first - frames->first_pfn, word, kind;
	const struct loami_frame_section *section = &frames->sections[at >> SECTION_SHIFT];
	struct loam_slot *slot;
	uint32_t index;

	if (LOAMI_UNLIKELY(at >= frames->span) || LOAMI_UNLIKELY(loami_load_relaxed(&section->slots) == 0))
		goto slow;
	slot = loami_section_slot(section, first);
	index = (uint32_t)(section->index + first);
	word = loami_load_relaxed(loami_slot_word(slot));
	kind = loami_slot_kind(slot);
	if (LOAMI_UNLIKELY(loami_word_ref(word) != 1 || kind >> 32 != order ||
			   (order != 0 && loami_load_relaxed(&frames->specials) != 0)))
		goto slow;
	if (LOAMI_UNLIKELY(!swap_back(slot, word)))
		goto slow;
	if ((kind & LOAM_FRAME_MOVABLE) != 0)
		push(frames, slot, order, TYPE_MOVABLE, index, word);
	else
		push(frames, slot, order, TYPE_UNMOVABLE, index, word);
	return;
slow:
	free_slow(frames, first, order);
}

static __attribute__((noinline)) void free_run(struct loam_frames *frames, loam_pfn first)
{
	free_hit(frames, first, 3);
}
static __attribute__((noinline)) void free_block(struct loam_frames *frames, loam_pfn first)
{
	free_hit(frames, first, LOAM_BLOCK_ORDER);
}

void loam_frame_free(struct loam_frames *frames, loam_pfn first, unsigned int order)
{
	LOAMI_NOT_FROM_NMI();
	if (LOAMI_LIKELY(order == 0))
		free_hit(frames, first, 0);
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
	struct loam_slot *slot = loami_slot_find(frames, pfn);

	if (slot)
		__builtin_prefetch(&slot->refcount, 1);
}

/* Plain frames of kernel data from the front of @pfns onto this CPU's magazine, under one pin: free_hit(), less what need not be done again for each. Return: how
 * many there were before one of another kind, or before the magazine was full. */
static size_t free_many(struct loam_frames *frames, const loam_pfn *pfns, size_t n, size_t ahead)
{
	struct loam_pin pin = loam_port_pin();
	struct loami_magazine *magazine = &frames->cpus[pin.cpu].singles[TYPE_UNMOVABLE].head;
	size_t done = 0;
	uint32_t top, limit;

	LOAMI_ASSERT(pin.cpu < frames->ncpus);
	if (LOAMI_UNLIKELY(!loami_magazine_enter(magazine))) {
		loam_port_unpin(pin);
		return 0;
	}
	limit = loami_load_relaxed(&magazine->limit);
	for (top = loami_load_relaxed(&magazine->top); done < n && top < limit; done++) {
		uint64_t at = pfns[done] - frames->first_pfn, word, kind;
		const struct loami_frame_section *section = &frames->sections[at >> SECTION_SHIFT];
		struct loami_cell *cell = &loami_cells(magazine)[top];
		struct loam_slot *slot;

		if (done < ahead)
			fetch(frames, pfns[done + AHEAD]);
		if (LOAMI_UNLIKELY(at >= frames->span) || LOAMI_UNLIKELY(loami_load_relaxed(&section->slots) == 0))
			break;
		slot = loami_section_slot(section, pfns[done]);
		word = loami_load_relaxed(loami_slot_word(slot));
		kind = loami_slot_kind(slot);
		if (LOAMI_UNLIKELY(loami_word_ref(word) != 1 || kind >> 32 != 0 || (kind & LOAM_FRAME_MOVABLE) != 0 ||
				   !swap_back(slot, word)))
			break;
		cell->word = loami_slot_word(slot);
		/* The word was {1, g}: this is {index, g}. */
		loami_store_relaxed(&cell->name, word - 1 + (uint32_t)(section->index + pfns[done]));
		loami_store_release(&magazine->top, ++top);
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
