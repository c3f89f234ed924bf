/* paging/quick.h: the common case by itself: kernel data in pages of 4 KiB, all in one leaf table that exists.
 *
 * Same steps as map.c and change.c, look then write, without what this case cannot need: stock, cuts, user bits, counted changers. Whoever is told false has
 * changed nothing and goes the long way, which also finds out which error it is.
 */
#ifndef LOAMI_PAGING_QUICK_H
#define LOAMI_PAGING_QUICK_H

#include "tree.h"

/* The leaf table for @va, which will be that for as long as there is the tree. NULL: there is none, or it may vanish. */
static inline uint64_t *loami_quick_table(const struct loam_pagetable *tree, uintptr_t va)
{
	const struct loam_paging_format *format = tree->format;
	uint64_t *table;

	if (LOAMI_UNLIKELY(!tree->keep_empty_tables || tree->inherited_end != 0 ||
			   !loami_is_translatable(format, va, va)))
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
	return table;
}

/* Do @npages from @va on lie in one leaf table? */
static inline bool loami_quick_is_short(uintptr_t va, size_t npages)
{
	return LOAMI_LIKELY(npages - 1 < LOAMI_TABLE_ENTRIES - loami_index(va, 0));
}

/* Where the entries of [va, va + npages pages) begin in their leaf table. NULL: this is another case. */
static inline uint64_t *loami_quick_entries(const struct loam_pagetable *tree, uintptr_t va, size_t npages)
{
	uint64_t *table;

	if (LOAMI_UNLIKELY(!loami_quick_is_short(va, npages) || !loami_is_aligned(va, LOAM_PAGE_SIZE)))
		return NULL;
	table = loami_quick_table(tree, va);
	return table != NULL ? &table[loami_index(va, 0)] : NULL;
}

/* Are they all empty? All valid? */
static inline bool loami_quick_empty(const uint64_t *entries, size_t npages)
{
	uint64_t used = 0;

	for (size_t i = 0; i < npages; i++)
		used |= loami_load_relaxed(&entries[i]);
	return LOAMI_LIKELY(used == 0);
}
static inline bool loami_quick_valid(const uint64_t *entries, size_t npages)
{
	uint64_t valid = LOAMI_ENTRY_VALID;

	for (size_t i = 0; i < npages; i++)
		valid &= loami_load_relaxed(&entries[i]);
	return LOAMI_LIKELY(valid != 0);
}

/* What an entry of 4 KiB says beside its address. */
static inline uint64_t loami_quick_bits(const struct loam_paging_format *format, const struct loam_mapping *mapping)
{
	return format->leaf_bits[0] | format->prot[loami_prot_index(mapping->prot)] | format->cache[mapping->cache];
}

/* The frame of a valid entry. */
static inline loam_pfn loami_quick_frame(const struct loam_paging_format *format, uint64_t entry)
{
	return (entry & format->address_mask) >> (LOAM_PAGE_SHIFT - format->address_shift);
}

/* Write entries that were seen empty, and clear ones that were seen valid: CLEAR (tests/model/tlb.pml), as in clear_piece(). The address field of every format takes any frame number
 * that has passed, unmasked. After a write, loam_port_pte_sync(). */
static inline void loami_quick_write(const struct loam_paging_format *format, uint64_t *entries, const loam_pfn *pfns,
				     size_t npages, uint64_t bits)
{
	unsigned int shift = LOAM_PAGE_SHIFT - format->address_shift;

	for (size_t i = 0; i < npages; i++)
		loami_store_relaxed(&entries[i], pfns[i] << shift | bits);
}
static inline void loami_quick_clear(const struct loam_paging_format *format, uint64_t *entries, loam_pfn *pfns,
				     size_t npages)
{
	for (size_t i = 0; i < npages; i++) {
		pfns[i] = loami_quick_frame(format, loami_load_relaxed(&entries[i]));
		loami_store_relaxed(&entries[i], 0);
	}
}

static inline bool loami_quick_map(const struct loam_pagetable *tree, uintptr_t va, const loam_pfn *pfns, size_t npages,
				   const struct loam_mapping *mapping)
{
	uint64_t *entries;
	loam_pfn all = 0;

	if (LOAMI_UNLIKELY((mapping->prot & ~(LOAM_PROT_WRITE | LOAM_PROT_GLOBAL)) != LOAM_PROT_READ ||
			   (unsigned int)mapping->cache > LOAM_CACHE_DEVICE ||
			   (mapping->largest_leaf != 12 && mapping->largest_leaf != 0)))
		return false;
	entries = loami_quick_entries(tree, va, npages);
	if (LOAMI_UNLIKELY(entries == NULL) || !loami_quick_empty(entries, npages))
		return false;
	for (size_t i = 0; i < npages; i++)
		all |= pfns[i];
	if (LOAMI_UNLIKELY(all > loami_mask64(tree->pa_bits) >> LOAM_PAGE_SHIFT))
		return false;
	loami_quick_write(tree->format, entries, pfns, npages, loami_quick_bits(tree->format, mapping));
	loam_port_pte_sync();
	return true;
}

/* @pfns NULL: nobody asks for the frames. */
static inline bool loami_quick_unmap(const struct loam_pagetable *tree, uintptr_t va, size_t npages, loam_pfn *pfns)
{
	uint64_t *entries = loami_quick_entries(tree, va, npages);

	if (LOAMI_UNLIKELY(entries == NULL) || !loami_quick_valid(entries, npages))
		return false;
	if (pfns != NULL)
		loami_quick_clear(tree->format, entries, pfns, npages);
	for (size_t i = 0; pfns == NULL && i < npages; i++)
		loami_store_relaxed(&entries[i], 0);
	return true;
}

#endif
