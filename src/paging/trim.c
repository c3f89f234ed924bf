/* paging/trim.c: tables that became empty, on their way back to their source.
 *
 * 1 Life of a table: in a stock (all zero), in the tree, cut off (its entry in the parent cleared, chained in @detached), sealed into a batch, flushed, given back. Between
 *   cut and flush a walker may still reach it through a cached upper entry: it then finds 511 zeros and a link with bit 0 clear, all invalid. It must not be
 *   anything else before, or the walker would take somebody's data for entries and even write accessed bits into it.
 * 2 Who cuts: the last changer to leave (tree.h 2), for all addresses that lost entries since the last time; a bounded piece per hold of the lock.
 * 3 What the root points to is never cut: other address spaces may have copied those entries. It costs at most 512 tables a tree.
 */
#include "tree.h"

/* Cut the table under @slot off when it is empty: the entry first, so that later walks miss it; the table waits for a flush. @near: where entries were cleared; what
 * is still there is likely to lie behind. */
static bool cut_if_empty(struct loam_pagetable *tree, uint64_t *slot, size_t near)
{
	uint64_t entry = loami_load_relaxed(slot);
	loam_paddr pa;
	const uint64_t *table;

	LOAMI_ASSERT(loami_lock_held(&tree->lock));
	if (!loami_is_table(tree->format, entry))
		return false;
	pa = loami_entry_address(tree->format, entry);
	table = loami_table(tree, pa);
	for (size_t i = 0; i < LOAMI_TABLE_ENTRIES; i++)
		if (loami_load_relaxed(&table[(near + i) % LOAMI_TABLE_ENTRIES]) != 0)
			return false;
	loami_store_seq(slot, 0); /* pairs with the query's count, tree.h 3 */
	loami_tables_put(tree, &tree->detached, pa);
	tree->ndetached++;
	return true;
}

/* The tables on the way to @va, lowest first. What the root points to stays: other address spaces may have inherited it.
 * Return: the level of an entry above @va below which no table is left to look at. */
static unsigned int trim_path(struct loam_pagetable *tree, uintptr_t va)
{
	unsigned int top = loami_root_level(tree);
	unsigned int bare = 1;

	for (unsigned int level = 1; level < top; level++) {
		struct loami_place place = loami_descend(tree, va, level, 0);

		if (place.level > level) {
			/* The tables below are gone already, or never were. */
			level = place.level;
			bare = level;
			continue;
		}
		if (place.entry != 0 && !cut_if_empty(tree, place.slot, loami_index(va, level - 1)))
			break;
		bare = level;
	}
	return bare;
}

void loami_changer_enter_counted(struct loam_pagetable *tree)
{
	unsigned long irq = loami_lock_irq(&tree->lock);

	tree->changers++;
	loami_unlock_irq(&tree->lock, irq);
}

void loami_changer_leave_counted(struct loam_pagetable *tree, const struct loami_range *emptied)
{
	unsigned long irq = loami_lock_irq(&tree->lock);

	tree->changers--;
	if (emptied != NULL) {
		if (emptied->start < tree->trim_low)
			tree->trim_low = emptied->start;
		if (emptied->last > tree->trim_high)
			tree->trim_high = emptied->last;
	}
	/* The last to leave trims for all, one leaf table's worth of addresses per hold of the lock, as long as nobody comes. */
	while (tree->changers == 0 && tree->trim_low <= tree->trim_high) {
		unsigned int bare = trim_path(tree, tree->trim_low);
		uintptr_t last = tree->trim_low | (loami_level_span(bare) - 1);

		if (last >= tree->trim_high) {
			tree->trim_low = UINTPTR_MAX;
			tree->trim_high = 0;
			break;
		}
		tree->trim_low = last + 1;
		loami_unlock_irq(&tree->lock, irq);
		irq = loami_lock_irq(&tree->lock);
	}
	loami_unlock_irq(&tree->lock, irq);
}

bool loam_pagetable_seal(struct loam_pagetable *tree, struct loam_table_batch *batch)
{
	unsigned long irq = loami_lock_irq(&tree->lock);

	batch->first = tree->detached;
	batch->ntables = tree->ndetached;
	tree->detached = LOAM_PADDR_NONE;
	tree->ndetached = 0;
	loami_unlock_irq(&tree->lock, irq);
	return batch->ntables > 0;
}

void loam_pagetable_release(struct loam_pagetable *tree, struct loam_table_batch *batch)
{
	loam_paddr ready = LOAM_PADDR_NONE;
	unsigned long irq;

	for (; batch->ntables > 0; batch->ntables--) {
		irq = loami_lock_irq(&tree->lock);
		loami_tables_put(tree, &tree->flushed, loami_tables_take(tree, &batch->first));
		loami_unlock_irq(&tree->lock, irq);
	}
	irq = loami_lock_irq(&tree->lock);
	/* A query that began before the cut may still stand in one of them: tree.h 3. */
	if (loami_load_seq(&tree->queries) == 0) {
		ready = tree->flushed;
		tree->flushed = LOAM_PADDR_NONE;
	}
	loami_unlock_irq(&tree->lock, irq);
	while (ready != LOAM_PADDR_NONE)
		loami_give_back(tree, loami_tables_take(tree, &ready));
}
