/* paging/tree.h: what the operations on a tree share: stepping down, tables in stock, keeping tables alive while they are written to.
 *
 * 1 Who writes what
 *   A leaf entry belongs to whoever operates on its pages: plain atomic stores. An entry above it goes empty -> table, leaf -> table (split) by
 *   compare-and-swap, and table -> empty only in trim.c. So two operations that need the same table at once agree by the swap; the loser keeps his.
 * 2 Why a table does not vanish under a writer
 *   With keep_empty_tables none ever does. Otherwise every operation that may write is a *changer*, counted under the tree's lock, and trim.c cuts tables
 *   off only while it holds the lock and there is no changer. The lock is held for a count or for one table, never around the operation.
 * 3 Why a table does not vanish under a reader
 *   loam_paging_query() counts itself in queries, sequentially consistent with the loads that follow. A table is given back only when, after it was cut
 *   off, queries was seen 0: a query that comes later no longer finds it. What is not 0 at that moment waits for the next time; nobody spins.
 */
#ifndef LOAMI_PAGING_TREE_H
#define LOAMI_PAGING_TREE_H

#include "format.h"

#include "base/atomic.h"
#include "base/bits.h"
#include "base/lock.h"

/* The next table in a chain, written over entry 0 of a table that is not, or no more, part of the tree. Bit 0 is clear: invalid for a walker. */
#define LOAMI_LINK_END UINT64_C(4)

/* Tables taken beforehand, so that an operation cannot run out in the middle. Chained by their first entry; the rest of each is zero. */
struct loami_stock {
	loam_paddr first;
	size_t ntables;
};

/* An entry in the tree: where, at which level, what it was. */
struct loami_place {
	uint64_t *slot;
	uint64_t entry;
	unsigned int level;
};

/* A range of pages that has passed the checks; last: its last byte. */
struct loami_range {
	uintptr_t start;
	uintptr_t last;
	size_t npages;
};

static inline uint64_t *loami_table(const struct loam_pagetable *tree, loam_paddr table)
{
	return (uint64_t *)(uintptr_t)(table + tree->source.direct_map);
}

static inline unsigned int loami_root_level(const struct loam_pagetable *tree)
{
	return tree->format->levels - 1;
}

/* An entry that is being split comes back as a table in a moment. Its splitter runs with interrupts masked, and this spins only against another CPU. */
static inline uint64_t loami_load_entry(const uint64_t *slot)
{
	uint64_t entry = loami_load_acquire(slot);

	for (unsigned int round = 0; LOAMI_UNLIKELY(entry == LOAMI_ENTRY_BREAKING); round++) {
		loam_port_relax(round);
		entry = loami_load_acquire(slot);
	}
	return entry;
}

/* Step down to @level or to the first entry that is no table. @user: bits that every table entry passed must have. */
static inline struct loami_place loami_descend(const struct loam_pagetable *tree, uintptr_t va, unsigned int level,
					       uint64_t user)
{
	const struct loam_paging_format *format = tree->format;
	struct loami_place place = {.level = loami_root_level(tree)};
	uint64_t *table = loami_table(tree, tree->root);

	for (;;) {
		place.slot = &table[loami_index(va, place.level)];
		place.entry = loami_load_entry(place.slot);
		if (place.level == level || !loami_is_table(format, place.entry))
			return place;
		if (LOAMI_UNLIKELY((place.entry & user) != user))
			(void)loami_fetch_or(place.slot, user);
		table = loami_table(tree, loami_entry_address(format, place.entry));
		place.level--;
	}
}

static inline void loami_tables_put(const struct loam_pagetable *tree, loam_paddr *first, loam_paddr table)
{
	loami_store_relaxed(&loami_table(tree, table)[0], *first == LOAM_PADDR_NONE ? LOAMI_LINK_END : *first);
	*first = table;
}

static inline loam_paddr loami_tables_take(const struct loam_pagetable *tree, loam_paddr *first)
{
	loam_paddr table = *first;
	uint64_t link = loami_load_relaxed(&loami_table(tree, table)[0]);

	*first = link == LOAMI_LINK_END ? LOAM_PADDR_NONE : link;
	loami_store_relaxed(&loami_table(tree, table)[0], 0);
	return table;
}

/* A table that no walker can reach, back to where it came from. */
void loami_give_back(struct loam_pagetable *tree, loam_paddr table);

/* Is [va, va + npages pages) a range this tree can translate, and may change? */
static inline LOAM_NODISCARD enum loam_status loami_check_range(const struct loam_pagetable *tree, uintptr_t va,
								size_t npages, struct loami_range *range)
{
	size_t nbytes;

	if (npages == 0)
		return LOAM_ERR_ZERO_SIZE;
	if (!loami_is_aligned(va, LOAM_PAGE_SIZE))
		return LOAM_ERR_ALIGNMENT;
	if (loami_mul_overflows(npages, LOAM_PAGE_SIZE, &nbytes) || loami_add_overflows(va, nbytes - 1, &range->last))
		return LOAM_ERR_OVERFLOW;
	range->start = va;
	range->npages = npages;
	if (!loami_is_translatable(tree->format, va, range->last))
		return LOAM_ERR_OUT_OF_RANGE;
	/* What is inherited has another tree's lock and another tree's count of tables. */
	if (tree->inherited_end != 0 && loami_index(va, loami_root_level(tree)) < tree->inherited_end &&
	    loami_index(range->last, loami_root_level(tree)) >= tree->inherited_first)
		return LOAM_ERR_OUT_OF_RANGE;
	return LOAM_OK;
}

/* Does one leaf table serve all of it? The common case, for which one walk is enough. */
static inline bool loami_is_in_one_table(const struct loami_range *range)
{
	return (range->start ^ range->last) >> loami_level_shift(1) == 0;
}

/* Are these permissions any? */
LOAM_NODISCARD enum loam_status loami_check_prot(unsigned int prot);

/* @n more tables into @stock; on failure @stock is empty. Locks: the tree's for a moment; none around the source. */
LOAM_NODISCARD enum loam_status loami_stock_fill(struct loam_pagetable *tree, struct loami_stock *stock, size_t n);
/* One table out of a stock that has one: all zero. */
loam_paddr loami_stock_take(const struct loam_pagetable *tree, struct loami_stock *stock);
void loami_stock_put(const struct loam_pagetable *tree, struct loami_stock *stock, loam_paddr table);
/* What is left over goes back. */
void loami_stock_empty(struct loam_pagetable *tree, struct loami_stock *stock);

/* Put a table from @stock under an empty entry, unless somebody else is faster. The caller steps down again. */
void loami_grow(struct loam_pagetable *tree, const struct loami_place *place, uint64_t user, struct loami_stock *stock);

/* Around every operation that may write to tables. @emptied: tables for these addresses may be empty now; NULL: none. */
void loami_changer_enter_counted(struct loam_pagetable *tree);
void loami_changer_leave_counted(struct loam_pagetable *tree, const struct loami_range *emptied);

static inline void loami_changer_enter(struct loam_pagetable *tree)
{
	if (!tree->keep_empty_tables)
		loami_changer_enter_counted(tree);
}

static inline void loami_changer_leave(struct loam_pagetable *tree, const struct loami_range *emptied)
{
	if (!tree->keep_empty_tables)
		loami_changer_leave_counted(tree, emptied);
}

/* Split the leaf that @boundary lies strictly inside of, level by level, until none does. The stock suffices. */
void loami_split_at(struct loam_pagetable *tree, uintptr_t boundary, struct loami_stock *stock);
/* May large leaves of this tree be split while they are in use? */
bool loami_may_split(const struct loam_pagetable *tree);

#endif
