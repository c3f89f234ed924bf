/* frame/slot.c: what is kept of a frame while it is owned: references, generation, flags, guard, hooks, poison.
 *
 * 1 Concepts
 *   State of a frame in {refcount, generation}: {UNUSED, g} -claim-> {CLAIMED, g + 1} -publish-> {1, g + 1} -retire-> {UNUSED, g + 1}. Each arrow but publish is one
 *   64-bit swap, so a frame that is in two places at once is noticed by whoever comes second, before anything else is touched.
 * 3 Invariants
 *   I5 a free frame's refcount is UNUSED (loam_frame_check).
 *   I6 the block of a frame with hooks or poison has its bit in its chunk's special (loami_frame_special): freeing a block of many frames looks
 *      at each of their slots only where that bit is set.
 * 4 Locks: none. Every field is an atomic of its own; the owner orders them by publishing the refcount last.
 */
#include "internal.h"

#include <base/print.h>

struct loam_slot *loam_frame_slot(const struct loam_frames *frames, loam_pfn pfn)
{
	struct loam_slot *slot = loami_slot_find(frames, pfn);

	if (LOAMI_UNLIKELY(!slot || loami_slot_is_hole(slot))) {
		if (!frames->sections)
			loami_misuse("loam: frame: slot of frame 0x%llx asked for before init",
				     (unsigned long long)pfn);
		loami_misuse("loam: frame: slot of frame 0x%llx asked for, which is outside of memory",
			     (unsigned long long)pfn);
	}
	return slot;
}

bool loam_frame_has_slot(const struct loam_frames *frames, loam_pfn pfn)
{
	const struct loam_slot *slot = loami_slot_find(frames, pfn);

	return slot && !loami_slot_is_hole(slot);
}

uint32_t loam_frame_ref_get(const struct loam_frames *frames, loam_pfn pfn)
{
	return loami_load_acquire(&loam_frame_slot(frames, pfn)->refcount);
}

uint32_t loam_frame_ref_inc(struct loam_frames *frames, loam_pfn pfn)
{
	uint32_t *refcount = &loam_frame_slot(frames, pfn)->refcount, count = loami_load_relaxed(refcount);

	do {
		if (LOAMI_UNLIKELY(count > REF_MAX))
			loami_misuse("loam: frame: reference to 0x%llx, which is free",
				     (unsigned long long)loam_frame_address(pfn));
		if (LOAMI_UNLIKELY(count == REF_MAX))
			return count;
	} while (!loami_cas(refcount, &count, count + 1));
	if (LOAMI_UNLIKELY(count + 1 == REF_MAX) && loami_fetch_or_relaxed(&frames->saturation_said, 1) == 0)
		loami_print("loam: frame: references to 0x%llx are saturated; it will never be freed\n",
			    (unsigned long long)loam_frame_address(pfn));
	return count;
}

uint32_t loam_frame_ref_dec(struct loam_frames *frames, loam_pfn pfn)
{
	uint32_t *refcount = &loam_frame_slot(frames, pfn)->refcount, count = loami_load_relaxed(refcount);

	do {
		if (LOAMI_UNLIKELY(count == 0 || count > REF_MAX))
			loami_misuse("loam: frame: reference to 0x%llx dropped, which has none (refcount 0x%x)",
				     (unsigned long long)loam_frame_address(pfn), count);
		if (LOAMI_UNLIKELY(count == REF_MAX))
			return count;
	} while (!loami_cas(refcount, &count, count - 1));
	return count;
}

bool loam_frame_ref_cas(struct loam_frames *frames, loam_pfn pfn, uint32_t *expected, uint32_t desired)
{
	return loami_cas(&loam_frame_slot(frames, pfn)->refcount, expected, desired);
}

uint32_t loam_frame_generation(const struct loam_frames *frames, loam_pfn pfn)
{
	return loami_load_acquire(&loam_frame_slot(frames, pfn)->generation);
}

bool loam_frame_generation_matches(const struct loam_frames *frames, loam_pfn pfn, uint32_t expected)
{
	return loam_frame_generation(frames, pfn) == expected;
}

uint32_t loam_frame_flags(const struct loam_frames *frames, loam_pfn pfn)
{
	struct loam_slot *slot = loam_frame_slot(frames, pfn);
	uint32_t flags = loami_load_acquire(&slot->flags);

	/* A free frame's slot is left as its last owner had it. */
	return loami_load_acquire(&slot->refcount) == REF_UNUSED ? LOAM_FRAME_FREE | (flags & LOAM_FRAME_POISONED)
								 : flags;
}

void loam_frame_set_flags(struct loam_frames *frames, loam_pfn pfn, uint32_t flags)
{
	loami_store_release(&loam_frame_slot(frames, pfn)->flags, flags);
}

bool loam_frame_is_cow(const struct loam_frames *frames, loam_pfn pfn)
{
	return (loam_frame_flags(frames, pfn) & LOAM_FRAME_COW) != 0;
}

bool loam_frame_is_dll(const struct loam_frames *frames, loam_pfn pfn)
{
	return (loam_frame_flags(frames, pfn) & LOAM_FRAME_DLL) != 0;
}

uint32_t loam_frame_guard(const struct loam_frames *frames, loam_pfn pfn)
{
	return loami_load_acquire(&loam_frame_slot(frames, pfn)->guard);
}

void loam_frame_set_guard(struct loam_frames *frames, loam_pfn pfn, uint32_t guard)
{
	struct loam_slot *slot = loam_frame_slot(frames, pfn);

	loami_frame_special(frames, pfn);
	loami_store_release(&slot->guard, guard);
	if ((guard & LOAM_GUARD_POISONED) != 0)
		(void)loami_fetch_add(&frames->poisonings, 1);
}

void loam_frame_set_vtable(struct loam_frames *frames, loam_pfn pfn, const struct loam_frame_vtable *vtable)
{
	struct loam_slot *slot = loam_frame_slot(frames, pfn);

	loami_frame_special(frames, pfn);
	loami_store_release(&slot->vtable, (uint64_t)(uintptr_t)vtable);
}

void loam_frame_mark_poisoned(struct loam_frames *frames, loam_pfn pfn)
{
	struct loam_slot *slot = loam_frame_slot(frames, pfn);

	loami_frame_special(frames, pfn);
	(void)loami_fetch_or(&slot->guard, LOAM_GUARD_POISONED);
	(void)loami_fetch_or(&slot->flags, LOAM_FRAME_POISONED);
	(void)loami_fetch_add(&frames->poisonings, 1); /* last: who sees it sees the mark */
}

const uint32_t *loam_frame_poisonings(const struct loam_frames *frames)
{
	return &frames->poisonings;
}

bool loam_frame_is_poisoned(const struct loam_frames *frames, loam_pfn pfn)
{
	if (!frames->sections)
		return false;
	return (loam_frame_guard(frames, pfn) & LOAM_GUARD_POISONED) != 0;
}

bool loam_frame_block_is_poisoned(const struct loam_frames *frames, loam_pfn first, unsigned int order)
{
	if (!frames->sections)
		return false;
	for (loam_pfn pfn = first; pfn < first + (UINT64_C(1) << order); pfn++)
		if (loam_frame_is_poisoned(frames, pfn))
			return true;
	return false;
}

uint64_t loam_frame_quarantined_racy(const struct loam_frames *frames)
{
	return loami_load_relaxed(&frames->quarantined);
}

struct loam_frame_debug loam_frame_read_debug(const struct loam_frames *frames, loam_pfn pfn)
{
	struct loam_slot *slot = loam_frame_slot(frames, pfn);

	return (struct loam_frame_debug){
		.generation = loami_load_acquire(&slot->generation),
		.guard = loami_load_acquire(&slot->guard),
		.vtable = loami_load_acquire(&slot->vtable),
	};
}

/* ---- special frames ---------------------------------------------------------------------------------------------------------------------- */

static uint64_t *special_word(const struct loam_frames *frames, loam_pfn pfn, uint64_t *bit)
{
	struct loami_frame_chunk *chunk = loami_chunk_of(frames, pfn);
	uint64_t b;

	if (!chunk)
		return NULL;
	b = (pfn - chunk->base) / LOAM_BLOCK_FRAMES;
	*bit = UINT64_C(1) << (b % 64);
	return &chunk->special[b / 64];
}

void loami_frame_special(struct loam_frames *frames, loam_pfn pfn)
{
	struct loam_slot *slot = loami_slot_of(frames, pfn);
	uint64_t bit, *word = special_word(frames, pfn, &bit);

	/* Nobody else changes the state of a frame in use, and who gives it hooks at the same time writes the same. */
	loami_store_relaxed(&slot->state, (uint8_t)(loami_load_relaxed(&slot->state) | STATE_SPECIAL));
	if (word && (loami_load_relaxed(word) & bit) == 0)
		(void)loami_fetch_or(word, bit);
	if (loami_load_relaxed(&frames->specials) == 0)
		loami_store_release(&frames->specials, 1);
}

bool loami_frame_is_special(const struct loam_frames *frames, loam_pfn first, uint64_t n)
{
	for (loam_pfn pfn = first; pfn < first + n; pfn = (pfn / LOAM_BLOCK_FRAMES + 1) * LOAM_BLOCK_FRAMES) {
		uint64_t bit, *word = special_word(frames, pfn, &bit);

		if (word && (loami_load_acquire(word) & bit) != 0)
			return true;
	}
	return false;
}

/* Poison stays: it says why a quarantined frame is where it is. */
void loami_frame_reset_special(struct loam_frames *frames, loam_pfn first, uint64_t n)
{
	for (loam_pfn pfn = first; pfn < first + n; pfn++) {
		struct loam_slot *slot = loami_slot_of(frames, pfn);

		loami_store_relaxed(&slot->vtable, 0);
		(void)loami_fetch_and(&slot->guard, LOAM_GUARD_POISONED);
		loami_store_relaxed(&slot->state, (uint8_t)(loami_load_relaxed(&slot->state) & ~STATE_SPECIAL));
	}
}

void loami_frame_quarantine(struct loam_frames *frames, loam_pfn first, uint64_t n)
{
	for (loam_pfn pfn = first; pfn < first + n; pfn++)
		loami_store_release(&loami_slot_of(frames, pfn)->state, STATE_QUARANTINED);
	(void)loami_fetch_add_relaxed(&frames->quarantined, n);
}

static const struct loam_frame_vtable *hooks_of(struct loam_slot *slot)
{
	uint64_t bits = loami_load_acquire(&slot->vtable);

	/* Misaligned bits are the default as 0 is: no hooks. */
	return (bits & 7) != 0 ? NULL : (const struct loam_frame_vtable *)(uintptr_t)bits;
}

/* on_last_ref once for the head, then on_unmap once per page: the page's own, or the head's where it has none. */
void loami_frame_run_hooks(struct loam_frames *frames, loam_pfn first, uint64_t n)
{
	const struct loam_frame_vtable *head = hooks_of(loami_slot_of(frames, first));
	unsigned long irq = loam_port_irq_save();

	if (head && head->on_last_ref)
		head->on_last_ref(loam_frame_address(first));
	for (loam_pfn pfn = first; pfn < first + n; pfn++) {
		const struct loam_frame_vtable *hooks = pfn == first ? head : hooks_of(loami_slot_of(frames, pfn));

		if (!hooks)
			hooks = head;
		if (hooks && hooks->on_unmap)
			hooks->on_unmap(loam_frame_address(pfn));
	}
	loam_port_irq_restore(irq);
}

/* ---- frame values ---------------------------------------------------------------------------------------------------------------------------- */

enum loam_status loam_frame_from_address(loam_paddr address, loam_pfn *pfn)
{
	if (!loami_is_aligned(address, LOAM_PAGE_SIZE))
		return LOAM_ERR_ALIGNMENT;
	*pfn = address >> LOAM_PAGE_SHIFT;
	return LOAM_OK;
}

void *loam_frame_virt(const struct loam_frames *frames, loam_pfn pfn)
{
	return (void *)((uintptr_t)loam_frame_address(pfn) + frames->direct_map);
}

struct loam_frame_range loam_frame_range_make(loam_pfn first, loam_pfn last)
{
	return (struct loam_frame_range){.next = first, .last = last, .done = first > last};
}

bool loam_frame_range_next(struct loam_frame_range *range, loam_pfn *pfn)
{
	if (range->done)
		return false;
	*pfn = range->next;
	if (range->next == range->last)
		range->done = true;
	else
		range->next++;
	return true;
}
