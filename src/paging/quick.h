/* paging/quick.h: the common case by itself: kernel data in pages of 4 KiB, all in one leaf table that exists.
 *
 * Same steps as map.c and change.c, look then write, without what this case cannot need: stock, cuts, user bits, counted changers. Whoever is told false has
 * changed nothing and goes the long way, which also finds out which error it is.
 */
#ifndef LOAMI_PAGING_QUICK_H
#define LOAMI_PAGING_QUICK_H

#include "tree.h"

/* Where the entries of [va, va + npages pages) begin in their leaf table. NULL: this is another case. */
static inline uint64_t *loami_quick_entries(const struct loam_pagetable *tree, uintptr_t va, size_t npages)
{
	const struct loam_paging_format *format = tree->format;
	uint64_t *table;

	if (LOAMI_UNLIKELY(npages - 1 >= LOAMI_TABLE_ENTRIES - loami_index(va, 0) ||
			   !loami_is_aligned(va, LOAM_PAGE_SIZE) || !tree->keep_empty_tables ||
			   tree->inherited_end != 0 || !loami_is_translatable(format, va, va)))
		return NULL;
	table = loami_table(tree, tree->root);
	for (unsigned int shift = loami_level_shift(loami_root_level(tree)); shift > LOAM_PAGE_SHIFT;
	     shift -= LOAMI_INDEX_BITS) {
		uint64_t entry = loami_load_acquire(&table[(va >> shift) & (LOAMI_TABLE_ENTRIES - 1)]);

		/* Nothing, a large leaf, or one that is being split. */
		if (LOAMI_UNLIKELY(!loami_is_table(format, entry)))
			return NULL;
		table = loami_table(tree, loami_entry_address(format, entry));
	}
	return &table[loami_index(va, 0)];
}

static inline bool loami_quick_map(const struct loam_pagetable *tree, uintptr_t va, const loam_pfn *pfns, size_t npages,
				   const struct loam_mapping *mapping)
{
	const struct loam_paging_format *format = tree->format;
	unsigned int shift = LOAM_PAGE_SHIFT - format->address_shift;
	uint64_t bits, used = 0;
	uint64_t *entries;
	loam_pfn all = 0;

	if (LOAMI_UNLIKELY((mapping->prot & ~(LOAM_PROT_WRITE | LOAM_PROT_GLOBAL)) != LOAM_PROT_READ ||
			   (unsigned int)mapping->cache > LOAM_CACHE_DEVICE ||
			   (mapping->largest_leaf != 12 && mapping->largest_leaf != 0)))
		return false;
	entries = loami_quick_entries(tree, va, npages);
	if (LOAMI_UNLIKELY(entries == NULL))
		return false;
	for (size_t i = 0; i < npages; i++) {
		used |= loami_load_relaxed(&entries[i]);
		all |= pfns[i];
	}
	if (LOAMI_UNLIKELY(used != 0 || all > loami_mask64(tree->pa_bits) >> LOAM_PAGE_SHIFT))
		return false;
	bits = format->leaf_bits[0] | format->prot[loami_prot_index(mapping->prot)] | format->cache[mapping->cache];
	/* The address field of every format takes any frame number that has passed, unmasked. */
	for (size_t i = 0; i < npages; i++)
		loami_store_relaxed(&entries[i], pfns[i] << shift | bits);
	loam_port_pte_sync();
	return true;
}

/* CLEAR (tests/model/tlb.pml), as in clear_piece(). @pfns NULL: nobody asks for the frames. */
static inline bool loami_quick_unmap(const struct loam_pagetable *tree, uintptr_t va, size_t npages, loam_pfn *pfns)
{
	const struct loam_paging_format *format = tree->format;
	unsigned int shift = LOAM_PAGE_SHIFT - format->address_shift;
	uint64_t mask = format->address_mask, valid = LOAMI_ENTRY_VALID;
	uint64_t *entries = loami_quick_entries(tree, va, npages);

	if (LOAMI_UNLIKELY(entries == NULL))
		return false;
	for (size_t i = 0; i < npages; i++)
		valid &= loami_load_relaxed(&entries[i]);
	if (LOAMI_UNLIKELY(valid == 0))
		return false;
	for (size_t i = 0; i < npages; i++) {
		if (pfns != NULL)
			pfns[i] = (loami_load_relaxed(&entries[i]) & mask) >> shift;
		loami_store_relaxed(&entries[i], 0);
	}
	return true;
}

#endif
