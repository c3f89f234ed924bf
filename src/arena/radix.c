/* arena/radix.c: one word for each granule, in three levels of whole frames.
 *
 * 1 Structure: root, middle tables and leaves have 512 entries each: 27 bits of granule number. An entry of the root or of a middle table is nothing, a
 *   table, or a span (low bit set) that covers all granules below it; so a range of a thousand frames' worth of words costs one entry where no table is
 *   there yet. A leaf's entries are words (arena.h).
 * 2 Locks: the extent lock guards all writing. Readers take none: a table, once there, stays until destroy, and entries are stored with release.
 * 3 Invariants (checked by loam_arena_check): I1 the first granule, the second, and the last of every run have leaves, so that a run can turn free
 *   without memory; I2 a table is never replaced by a span.
 */
#include "arena.h"

#define FANOUT_SHIFT LOAMI_RADIX_SHIFT
#define FANOUT (UINT64_C(1) << FANOUT_SHIFT)
#define ROOT_SHIFT (2 * FANOUT_SHIFT)

uint64_t loami_radix_gap(const struct loam_arena *arena, uint64_t g)
{
	uint64_t entry = loami_load_acquire(&arena->root[g >> ROOT_SHIFT]);

	if (entry == 0)
		return (UINT64_C(1) << ROOT_SHIFT) - (g & ((UINT64_C(1) << ROOT_SHIFT) - 1));
	if (!loami_radix_is_table(entry))
		return 0;
	entry = loami_load_acquire(&loami_radix_table(entry)[(g >> FANOUT_SHIFT) & (FANOUT - 1)]);
	return entry == 0 ? FANOUT - (g & (FANOUT - 1)) : 0;
}

/* The table below @entry, made if need be. */
static uint64_t *table_below(struct loam_arena *arena, uint64_t *entry)
{
	uint64_t value = loami_load_relaxed(entry);

	if (value == 0) {
		value = (uint64_t)(uintptr_t)loami_meta_frame(arena);
		loami_store_release(entry, value);
	}
	LOAMI_ASSERT(loami_radix_is_table(value));
	return loami_radix_table(value);
}

void loami_radix_prepare(struct loam_arena *arena, uint64_t g)
{
	uint64_t *middle = table_below(arena, &arena->root[g >> ROOT_SHIFT]);

	(void)table_below(arena, &middle[(g >> FANOUT_SHIFT) & (FANOUT - 1)]);
}

void loami_radix_set(struct loam_arena *arena, uint64_t g, uint64_t word)
{
	uint64_t *middle = loami_radix_table(loami_load_relaxed(&arena->root[g >> ROOT_SHIFT]));
	uint64_t *leaf = loami_radix_table(loami_load_relaxed(&middle[(g >> FANOUT_SHIFT) & (FANOUT - 1)]));

	loami_store_release(&leaf[g & (FANOUT - 1)], word);
}

/* Granules [first, first + n) below one entry of a middle table. */
static void fill_leaf(uint64_t *entry, uint64_t first, uint64_t n, uint64_t word)
{
	uint64_t value = loami_load_relaxed(entry);

	if (!loami_radix_is_table(value)) {
		LOAMI_ASSERT(n == FANOUT);
		loami_store_release(entry, word);
		return;
	}
	for (uint64_t i = 0; i < n; i++)
		loami_store_release(&loami_radix_table(value)[(first & (FANOUT - 1)) + i], word);
}

/* The same below one entry of the root. */
static void fill_middle(uint64_t *entry, uint64_t first, uint64_t n, uint64_t word)
{
	uint64_t value = loami_load_relaxed(entry);

	if (!loami_radix_is_table(value)) {
		LOAMI_ASSERT(n == UINT64_C(1) << ROOT_SHIFT);
		loami_store_release(entry, word);
		return;
	}
	for (uint64_t end = first + n; first < end;) {
		uint64_t here = FANOUT - (first & (FANOUT - 1));

		if (here > end - first)
			here = end - first;
		fill_leaf(&loami_radix_table(value)[(first >> FANOUT_SHIFT) & (FANOUT - 1)], first, here, word);
		first += here;
	}
}

void loami_radix_fill(struct loam_arena *arena, uint64_t first, uint64_t n, uint64_t word)
{
	LOAMI_ASSERT(loami_lock_held(&arena->lock));
	for (uint64_t end = first + n; first < end;) {
		uint64_t here = (UINT64_C(1) << ROOT_SHIFT) - (first & ((UINT64_C(1) << ROOT_SHIFT) - 1));

		if (here > end - first)
			here = end - first;
		fill_middle(&arena->root[first >> ROOT_SHIFT], first, here, word);
		first += here;
	}
}
