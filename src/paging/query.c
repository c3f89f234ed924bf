/* paging/query.c: what is mapped at an address, read without a lock. */
#include "tree.h"

/* Bits back to names. An entry that Loam did not write may say what has no name: then only what is certain. */
static unsigned int decode_prot(const struct loam_paging_format *format, uint64_t entry)
{
	for (unsigned int i = 0; i < LOAMI_PROT_COUNT; i++)
		if ((entry & format->prot_decode) == (format->prot[i] & format->prot_decode))
			return (i << 1) | LOAM_PROT_READ;
	return LOAM_PROT_READ;
}

static enum loam_cache decode_cache(const struct loam_paging_format *format, uint64_t entry)
{
	for (unsigned int i = 0; i < LOAMI_COUNT(format->cache); i++)
		if ((entry & format->cache_mask) == format->cache[i])
			return (enum loam_cache)i;
	return LOAM_CACHE_WRITE_BACK;
}

/* Sequentially consistent loads: a walk that begins after the count went up misses every table that was cut off before release() saw it 0. */
static enum loam_status walk(const struct loam_pagetable *tree, uintptr_t va, struct loam_paging_entry *out)
{
	const struct loam_paging_format *format = tree->format;
	unsigned int level = loami_root_level(tree);
	loam_paddr table = tree->root;

	for (;; level--) {
		uint64_t entry = loami_load_seq(&loami_table(tree, table)[loami_index(va, level)]);

		if (level > 0 && loami_is_table(format, entry)) {
			table = loami_entry_address(format, entry);
			continue;
		}
		if (loami_is_valid(entry)) {
			out->pa = loami_leaf_address(format, entry, level) + (va & (loami_level_span(level) - 1));
			out->prot = decode_prot(format, entry);
			out->cache = decode_cache(format, entry);
			out->leaf_shift = loami_level_shift(level);
			return LOAM_OK;
		}
		return entry == LOAMI_ENTRY_BREAKING ? LOAM_ERR_BUSY : LOAM_ERR_NOT_MAPPED;
	}
}

enum loam_status loam_paging_query(const struct loam_pagetable *tree, uintptr_t va, struct loam_paging_entry *entry)
{
	enum loam_status status;

	if (tree == NULL || entry == NULL)
		return LOAM_ERR_INVALID;
	if (!loami_is_translatable(tree->format, va, va))
		return LOAM_ERR_OUT_OF_RANGE;
	if (tree->keep_empty_tables)
		return walk(tree, va, entry);

	/* The count is bookkeeping of the reader's, no change of the tree: const for whoever asks. */
	uint32_t *queries = (uint32_t *)(uintptr_t)&tree->queries;

	(void)loami_fetch_add_seq(queries, 1);
	status = walk(tree, va, entry);
	(void)loami_fetch_sub_release(queries, 1);
	return status;
}
