/* paging/tree.c: trees as such: made, inherited, destroyed; and tables in stock. See tree.h for who may touch what. */
#include "tree.h"

#include "base/fail.h"

enum loam_status loami_check_prot(unsigned int prot)
{
	if ((prot & ~LOAMI_PROT_ALL) != 0)
		return LOAM_ERR_INVALID;
	if ((prot & (LOAM_PROT_READ | LOAM_PROT_WRITE | LOAM_PROT_EXEC)) == 0)
		return LOAM_ERR_PROTECTION;
	if ((prot & LOAM_PROT_WRITE) != 0 && (prot & LOAM_PROT_EXEC) != 0)
		return LOAM_ERR_PROTECTION;
	return LOAM_OK;
}

/* ---- stock ---- */

enum loam_status loami_stock_fill(struct loam_pagetable *tree, struct loami_stock *stock, size_t n)
{
	if (tree->source.free == NULL) {
		unsigned long irq = loami_lock_irq(&tree->lock);

		for (; n > 0 && tree->stock != LOAM_PADDR_NONE; n--)
			loami_stock_put(tree, stock, loami_tables_take(tree, &tree->stock));
		loami_unlock_irq(&tree->lock, irq);
	}
	for (; n > 0; n--) {
		loam_paddr table = LOAM_PADDR_NONE;

		if (!LOAMI_FAIL(LOAMI_FAIL_TABLE))
			table = tree->source.alloc(tree->source.context);
		if (table == LOAM_PADDR_NONE) {
			loami_stock_empty(tree, stock);
			return LOAM_ERR_NO_MEMORY;
		}
		if (tree->source.needs_zeroing)
			__builtin_memset(loami_table(tree, table), 0, LOAM_PAGE_SIZE);
		loami_fetch_add_relaxed(&tree->ntables, 1);
		loami_stock_put(tree, stock, table);
	}
	return LOAM_OK;
}

loam_paddr loami_stock_take(const struct loam_pagetable *tree, struct loami_stock *stock)
{
	LOAMI_ASSERT(stock->ntables > 0);
	stock->ntables--;
	return loami_tables_take(tree, &stock->first);
}

void loami_stock_put(const struct loam_pagetable *tree, struct loami_stock *stock, loam_paddr table)
{
	if (stock->ntables++ == 0)
		stock->first = LOAM_PADDR_NONE;
	loami_tables_put(tree, &stock->first, table);
}

void loami_give_back(struct loam_pagetable *tree, loam_paddr table)
{
	if (tree->source.free == NULL) {
		unsigned long irq = loami_lock_irq(&tree->lock);

		loami_tables_put(tree, &tree->stock, table);
		loami_unlock_irq(&tree->lock, irq);
		return;
	}
	loami_fetch_sub_relaxed(&tree->ntables, 1);
	tree->source.free(tree->source.context, table);
}

void loami_stock_empty(struct loam_pagetable *tree, struct loami_stock *stock)
{
	while (stock->ntables > 0)
		loami_give_back(tree, loami_stock_take(tree, stock));
}

void loami_grow(struct loam_pagetable *tree, const struct loami_place *place, uint64_t user, struct loami_stock *stock)
{
	const struct loam_paging_format *format = tree->format;
	loam_paddr table = loami_stock_take(tree, stock);
	uint64_t expected = 0;

	/* Release: a walker that sees the entry sees a table of zeros (no address-dependent read passes it). */
	if (!loami_cas(place->slot, &expected, loami_encode_address(format, table) | format->table_bits | user))
		loami_stock_put(tree, stock, table);
}

/* ---- trees ---- */

enum loam_status loam_pagetable_init(struct loam_pagetable *tree, const struct loam_paging_format *format,
				     const struct loam_table_source *source, loam_paddr root)
{
	struct loami_stock stock = {0};

	if (tree == NULL || format == NULL || source == NULL || source->alloc == NULL)
		return LOAM_ERR_INVALID;
	if (root != LOAM_PADDR_NONE && !loami_is_aligned(root, LOAM_PAGE_SIZE))
		return LOAM_ERR_ALIGNMENT;
	*tree = (struct loam_pagetable){
		.format = format,
		.root = root,
		.keep_empty_tables = true,
		.pa_bits = (uint8_t)format->pa_bits,
		.source = *source,
		.lock = LOAMI_LOCK_INIT(LOAMI_RANK_PAGETABLE),
		.stock = LOAM_PADDR_NONE,
		.detached = LOAM_PADDR_NONE,
		.flushed = LOAM_PADDR_NONE,
		.trim_low = UINTPTR_MAX,
		.foreign_root = root != LOAM_PADDR_NONE,
	};
	if (tree->foreign_root)
		return LOAM_OK;
	enum loam_status status = loami_stock_fill(tree, &stock, 1);

	if (status == LOAM_OK)
		tree->root = loami_stock_take(tree, &stock);
	return status;
}

void loam_pagetable_set_source(struct loam_pagetable *tree, const struct loam_table_source *source)
{
	if (tree->source.free == NULL)
		tree->keep_empty_tables = true;
	/* What the old source had in stock came from it and must not go to the new one. */
	tree->stock = LOAM_PADDR_NONE;
	tree->source = *source;
}

uint64_t loam_pagetable_count_racy(const struct loam_pagetable *tree)
{
	return loami_load_relaxed(&tree->ntables);
}

enum loam_status loam_paging_populate(struct loam_pagetable *tree, uintptr_t va, size_t npages)
{
	struct loami_range range;
	struct loami_stock stock = {0};
	unsigned int root_level;
	uint64_t *root;
	size_t missing = 0;

	if (tree == NULL)
		return LOAM_ERR_INVALID;
	enum loam_status status = loami_check_range(tree, va, npages, &range);

	if (status != LOAM_OK)
		return status;
	root_level = loami_root_level(tree);
	root = loami_table(tree, tree->root);
	for (size_t i = loami_index(range.start, root_level); i <= loami_index(range.last, root_level); i++) {
		uint64_t entry = loami_load_entry(&root[i]);

		if (entry != 0 && !loami_is_table(tree->format, entry))
			return LOAM_ERR_MAPPED;
		missing += entry == 0;
	}
	status = loami_stock_fill(tree, &stock, missing);
	if (status != LOAM_OK)
		return status;
	for (size_t i = loami_index(range.start, root_level); i <= loami_index(range.last, root_level); i++) {
		struct loami_place place = {.slot = &root[i], .entry = loami_load_entry(&root[i]), .level = root_level};

		/* Another CPU may have been faster, never slower: tables under the root stay. */
		if (place.entry == 0 && stock.ntables > 0)
			loami_grow(tree, &place, 0, &stock);
	}
	loami_stock_empty(tree, &stock);
	loam_port_pte_sync();
	return LOAM_OK;
}

enum loam_status loam_pagetable_inherit(struct loam_pagetable *tree, const struct loam_pagetable *parent, uintptr_t va,
					size_t npages)
{
	struct loami_range range;
	unsigned int root_level;
	uint64_t *to;
	const uint64_t *from;

	if (tree == NULL || parent == NULL || tree == parent || tree->format != parent->format)
		return LOAM_ERR_INVALID;
	if (tree->inherited_end != 0)
		return LOAM_ERR_ALREADY;

	enum loam_status status = loami_check_range(tree, va, npages, &range);

	if (status != LOAM_OK)
		return status;
	root_level = loami_root_level(tree);
	to = loami_table(tree, tree->root);
	from = loami_table(parent, parent->root);
	for (size_t i = loami_index(range.start, root_level); i <= loami_index(range.last, root_level); i++) {
		if (loami_load_entry(&to[i]) != 0)
			return LOAM_ERR_MAPPED;
		if (!loami_is_table(tree->format, loami_load_entry(&from[i])))
			return LOAM_ERR_NOT_MAPPED;
	}
	for (size_t i = loami_index(range.start, root_level); i <= loami_index(range.last, root_level); i++)
		loami_store_release(&to[i], loami_load_entry(&from[i]));
	tree->inherited_first = (uint16_t)loami_index(range.start, root_level);
	tree->inherited_end = (uint16_t)(loami_index(range.last, root_level) + 1);
	loam_port_pte_sync();
	return LOAM_OK;
}

/* Every table under the root but the inherited ones, from the leaves up, with a stack of one index per level. */
static void destroy_tables(struct loam_pagetable *tree)
{
	const struct loam_paging_format *format = tree->format;
	unsigned int top = loami_root_level(tree);
	loam_paddr table[LOAMI_LEVELS_MAX];
	size_t at[LOAMI_LEVELS_MAX];
	unsigned int level = top;

	table[top] = tree->root;
	at[top] = 0;
	for (;;) {
		if (level == 0 || at[level] == LOAMI_TABLE_ENTRIES) {
			loami_give_back(tree, table[level]);
			if (level == top)
				return;
			level++;
			continue;
		}
		size_t i = at[level]++;
		uint64_t entry = loami_load_relaxed(&loami_table(tree, table[level])[i]);

		if (level == top && i >= tree->inherited_first && i < tree->inherited_end)
			continue;
		if (loami_is_table(format, entry)) {
			level--;
			table[level] = loami_entry_address(format, entry);
			at[level] = 0;
		}
	}
}

void loam_pagetable_destroy(struct loam_pagetable *tree)
{
	while (tree->detached != LOAM_PADDR_NONE)
		loami_give_back(tree, loami_tables_take(tree, &tree->detached));
	while (tree->flushed != LOAM_PADDR_NONE)
		loami_give_back(tree, loami_tables_take(tree, &tree->flushed));
	if (!tree->foreign_root)
		destroy_tables(tree);
	tree->root = LOAM_PADDR_NONE;
	tree->ndetached = 0;
}
