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

	if (loami_frame_is_special(frames, first, n) ||
	    (loami_load_relaxed(&slot->guard) | loami_load_relaxed(&slot->vtable)) != 0) {
		loami_frame_run_hooks(frames, first, n);
		poisoned = loam_frame_block_is_poisoned(frames, first, order);
		reset_special(frames, first, n);
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
	loami_store_relaxed(&slot->flags, LOAM_FRAME_FREE);
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

/* One frame, owned once, without hooks, guard or anything else special: its slot and its index. NULL when it is anything else. */
static inline struct loam_slot *plain_single(const struct loam_frames *frames, loam_pfn pfn, uint32_t *index,
					     uint64_t *word)
{
	uint64_t section_index = (pfn - frames->first_pfn) >> SECTION_SHIFT;
	uint32_t offset = loami_offset_of(pfn), number;
	const struct loami_frame_section *section;
	struct loam_slot *slot;

	*index = 0;
	*word = 0;
	if (LOAMI_UNLIKELY(section_index >= frames->nsections))
		return NULL;
	number = frames->section_numbers[section_index];
	section = &frames->sections[number];
	if (LOAMI_UNLIKELY(offset - section->start >= section->count))
		return NULL;
	slot = loami_slot_at(section, offset);
	*word = loami_load_relaxed(loami_slot_word(slot));
	/* order and state are both 0 */
	if (LOAMI_UNLIKELY(loami_word_ref(*word) != 1 || slot->order != 0 || slot->state != 0 ||
			   (loami_load_relaxed(&slot->guard) | loami_load_relaxed(&slot->vtable)) != 0))
		return NULL;
	*index = number << SECTION_SHIFT | offset;
	return slot;
}

/* The swap back of a frame that was checked a moment ago. The default profile needs no atomic here: what the check read is this caller's own, unless two frees
 * race within these few instructions. Then the frame is parked twice under one generation, of which only one can be claimed: nobody gets it who should not,
 * and what is left over is noticed as stale, or by the bitmap, or by the claim (docs/why/030-free-without-a-swap.md). */
static inline bool swap_back(struct loam_slot *slot, uint64_t word)
{
#if LOAM_CHECKS >= LOAM_CHECKS_DEBUG
	return loami_cas(loami_slot_word(slot), &word, word | REF_UNUSED);
#else
	loami_store_release(loami_slot_word(slot), word | REF_UNUSED);
	return true;
#endif
}

void loam_frame_free(struct loam_frames *frames, loam_pfn first, unsigned int order)
{
	struct loami_magazine *magazine;
	struct loami_frame_cpu *cpu;
	struct loam_slot *slot;
	struct loam_pin pin;
	uint32_t index, type, top;
	uint64_t word;

	LOAMI_NOT_FROM_NMI();
	slot = LOAMI_LIKELY(order == 0) ? plain_single(frames, first, &index, &word) : NULL;
	if (LOAMI_UNLIKELY(!slot))
		goto slow;
	type = (loami_load_relaxed(&slot->flags) & LOAM_FRAME_MOVABLE) / LOAM_FRAME_MOVABLE;
	if (LOAMI_UNLIKELY(!swap_back(slot, word)))
		goto slow;
	loami_store_relaxed(&slot->flags, LOAM_FRAME_FREE);
	pin = loam_port_pin();
	cpu = &frames->cpus[pin.cpu];
	if (LOAMI_UNLIKELY(pin.cpu >= frames->ncpus || !loami_cpu_enter(cpu)))
		goto unpin;
	magazine = &cpu->singles[type].head;
	top = loami_load_relaxed(&magazine->top);
	if (LOAMI_UNLIKELY(top >= magazine->limit))
		goto leave;
	loami_store_relaxed(&loami_cells(magazine)[top], loami_cell_make(index, word));
	loami_store_release(&magazine->top, top + 1);
	loami_cpu_leave(cpu);
	loam_port_unpin(pin);
	return;
leave:
	loami_cpu_leave(cpu);
unpin:
	loam_port_unpin(pin);
	loami_cpu_park(frames, slot, first, 0, type);
	return;
slow:
	free_slow(frames, first, order);
}

bool loam_frame_put(struct loam_frames *frames, loam_pfn first, unsigned int order)
{
	struct loam_slot *slot = loam_frame_slot(frames, first);
	unsigned int type =
		(loami_load_relaxed(&slot->flags) & LOAM_FRAME_MOVABLE) != 0 ? TYPE_MOVABLE : TYPE_UNMOVABLE;
	uint32_t refcount = 1;

	LOAMI_NOT_FROM_NMI();
	if (loami_load_acquire(&slot->refcount) == 1)
		(void)loami_frame_check_owned(frames, first, order, &refcount);
	if (loam_frame_ref_dec(frames, first) != 1)
		return false;
	if (loami_frame_retire(frames, slot, first, order, 0))
		loami_cpu_park(frames, slot, first, order, type);
	return true;
}

/* Slots are fetched this many frames ahead of their use. */
enum { AHEAD = 12 };

void loam_frame_free_batch(struct loam_frames *frames, const loam_pfn *pfns, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (i + AHEAD < n) {
			struct loam_slot *slot = loami_slot_find(frames, pfns[i + AHEAD]);

			if (slot)
				__builtin_prefetch(&slot->refcount, 1);
		}
		loam_frame_free(frames, pfns[i], 0);
	}
}
