/* paging/change.c: unmapping, new permissions, and splitting the large leaves at a range's ends.
 *
 * 1 Two passes, as in map.c: look (is all of it mapped? how many tables do the cuts need?), then cut and change, which cannot fail.
 * 2 A cut leaves every translation as it was: 512 entries that agree with the leaf, then one swap. Where hardware tolerates both at once in a TLB that is all
 *   (x86-64: SDM 4.10.2.3, same attributes; RISC-V 12.2.1: either may be used). AArch64 without FEAT_BBM level 2 may raise a TLB conflict abort, and
 *   wants the entry invalid and flushed in between: enum loam_split says who takes that upon himself.
 * 3 At most 2 tables per cut (1 GiB -> 2 MiB -> 4 KiB), 4 per range: taken before the first cut.
 */
#include "quick.h"

bool loami_may_split(const struct loam_pagetable *tree)
{
	return !tree->format->break_before_make || tree->split != LOAM_SPLIT_DEFAULT;
}

/* ---- cuts ---- */

/* Tables needed to cut a leaf of @level before @front and after @back, where these lie inside of it. */
static size_t tables_for_cuts(unsigned int level, bool cut_front, uintptr_t front, bool cut_back, uintptr_t back)
{
	size_t needed = 0;

	for (; level > 0; level--) {
		/* Entries of this level that a cut still lies inside of. */
		bool in_front = cut_front && !loami_is_aligned(front, loami_level_span(level));
		bool in_back = cut_back && !loami_is_aligned(back, loami_level_span(level));
		bool same = front >> loami_level_shift(level) == back >> loami_level_shift(level);

		needed += (size_t)in_front + (size_t)in_back - (size_t)(in_front && in_back && same);
	}
	return needed;
}

/* 512 entries that together are @entry. */
static void fill_split(const struct loam_pagetable *tree, uint64_t *table, uint64_t entry, unsigned int level)
{
	const struct loam_paging_format *format = tree->format;
	uint64_t attributes =
		(entry & ~format->address_mask & ~format->leaf_bits[level]) | format->leaf_bits[level - 1];
	loam_paddr pa = loami_leaf_address(format, entry, level);

	for (size_t i = 0; i < LOAMI_TABLE_ENTRIES; i++, pa += loami_level_span(level - 1))
		loami_store_relaxed(&table[i], loami_encode_address(format, pa) | attributes);
}

/* Break before make: everybody forgets the leaf while it is invalid. Interrupts are masked, so that the moment is short and this CPU does not meet it. */
static bool break_and_make(const struct loami_place *place, uintptr_t va, uint64_t made)
{
	struct loam_tlb_range range = {
		.start = loami_align_down(va, loami_level_span(place->level)),
		.npages = (size_t)(loami_level_span(place->level) / LOAM_PAGE_SIZE),
		.stride_shift = loami_level_shift(place->level),
	};
	uint64_t expected = place->entry;
	unsigned long irq = loam_port_irq_save();
	bool won = loami_cas(place->slot, &expected, LOAMI_ENTRY_BREAKING);

	if (won) {
		loam_port_tlb_flush(&range, 1);
		loami_store_release(place->slot, made);
		loam_port_pte_sync();
	}
	loam_port_irq_restore(irq);
	return won;
}

static void split_one(struct loam_pagetable *tree, const struct loami_place *place, uintptr_t va,
		      struct loami_stock *stock)
{
	const struct loam_paging_format *format = tree->format;
	loam_paddr table = loami_stock_take(tree, stock);
	uint64_t made = loami_encode_address(format, table) | format->table_bits | (place->entry & format->table_user);
	uint64_t expected = place->entry;
	bool won;

	fill_split(tree, loami_table(tree, table), place->entry, place->level);
	if (format->break_before_make && tree->split == LOAM_SPLIT_BREAK)
		won = break_and_make(place, va, made);
	else
		won = loami_cas(place->slot, &expected, made); /* release: the 512 entries come first */
	if (won)
		return;
	/* Another CPU split it, for another page. Into the stock go zeros. */
	__builtin_memset(loami_table(tree, table), 0, LOAM_PAGE_SIZE);
	loami_stock_put(tree, stock, table);
}

void loami_split_at(struct loam_pagetable *tree, uintptr_t boundary, struct loami_stock *stock)
{
	for (;;) {
		struct loami_place place = loami_descend(tree, boundary, 0, 0);

		if (place.level == 0 || !loami_is_leaf(tree->format, place.entry, place.level) ||
		    loami_is_aligned(boundary, loami_level_span(place.level)))
			return;
		split_one(tree, &place, boundary, stock);
	}
}

/* ---- the range ---- */

/* What of the range lies in the entries from @place on: how many entries (level 0 only), how many pages. */
static size_t pages_here(const struct loami_range *range, uintptr_t va, const struct loami_place *place)
{
	uintptr_t last_here = va | ((place->level == 0 ? loami_level_span(1) : loami_level_span(place->level)) - 1);

	if (last_here > range->last)
		last_here = range->last;
	return (size_t)((last_here - va) >> LOAM_PAGE_SHIFT) + 1;
}

static enum loam_status look(const struct loam_pagetable *tree, const struct loami_range *range, size_t *needed)
{
	size_t npages;

	*needed = 0;
	for (size_t page = 0; page < range->npages; page += npages) {
		uintptr_t va = range->start + page * LOAM_PAGE_SIZE;
		struct loami_place place = loami_descend(tree, va, 0, 0);

		npages = pages_here(range, va, &place);
		if (!loami_is_leaf(tree->format, place.entry, place.level))
			return LOAM_ERR_NOT_MAPPED;
		if (place.level == 0) {
			for (size_t i = 1; i < npages; i++)
				if (!loami_is_valid(loami_load_relaxed(&place.slot[i])))
					return LOAM_ERR_NOT_MAPPED;
			continue;
		}
		uint64_t inside = loami_level_span(place.level) - 1;
		bool cut_front = (va & inside) != 0;
		bool cut_back = ((va + (npages - 1) * LOAM_PAGE_SIZE) | (LOAM_PAGE_SIZE - 1)) != (va | inside);

		if (!cut_front && !cut_back)
			continue;
		if (!loami_may_split(tree) || place.level >= LOAMI_LEAF_LEVELS)
			return LOAM_ERR_ALIGNMENT;
		*needed += tables_for_cuts(place.level, cut_front, va, cut_back, va + npages * LOAM_PAGE_SIZE);
	}
	return LOAM_OK;
}

/* Entries that change all at once: of a leaf table, or one large leaf. */
struct piece {
	struct loami_place place;
	uintptr_t va;
	size_t entries;
	size_t npages; /* of each */
};

static struct piece piece_at(const struct loam_pagetable *tree, const struct loami_range *range, size_t page,
			     uint64_t user)
{
	struct piece piece = {.va = range->start + page * LOAM_PAGE_SIZE};
	size_t here;

	piece.place = loami_descend(tree, piece.va, 0, user);
	here = pages_here(range, piece.va, &piece.place);
	piece.entries = piece.place.level == 0 ? here : 1;
	piece.npages = piece.place.level == 0 ? 1 : here;
	return piece;
}

/* Pages of one leaf table, all mapped: then *@piece is all there is, found by one walk. */
static bool is_one_piece(const struct loam_pagetable *tree, const struct loami_range *range, struct piece *piece)
{
	if (!loami_is_in_one_table(range))
		return false;
	*piece = piece_at(tree, range, 0, 0);
	if (piece->place.level != 0)
		return false;
	for (size_t i = 0; i < piece->entries; i++)
		if (!loami_is_valid(loami_load_relaxed(&piece->place.slot[i])))
			return false;
	return true;
}

/* Look, and cut at both ends. LOAM_OK: the range is made of whole leaves. */
static enum loam_status prepare(struct loam_pagetable *tree, const struct loami_range *range)
{
	struct loami_stock stock = {0};
	size_t needed;
	enum loam_status status = look(tree, range, &needed);

	if (status != LOAM_OK || needed == 0)
		return status;
	status = loami_stock_fill(tree, &stock, needed);
	if (status != LOAM_OK)
		return status;
	loami_split_at(tree, range->start, &stock);
	if (range->last != UINTPTR_MAX)
		loami_split_at(tree, range->last + 1, &stock);
	loami_stock_empty(tree, &stock);
	return LOAM_OK;
}

/* CLEAR (tests/model/tlb.pml). Relaxed stores: what must not come before them follows a release of the caller's, the engine's PUBLISH at the latest. */
static void clear_piece(const struct loam_pagetable *tree, const struct piece *piece, loam_paging_leaf_fn leaf,
			void *context)
{
	for (size_t i = 0; i < piece->entries; i++) {
		uint64_t entry = loami_load_relaxed(&piece->place.slot[i]);

		loami_store_relaxed(&piece->place.slot[i], 0);
		if (leaf != NULL)
			leaf(context, piece->va + i * LOAM_PAGE_SIZE,
			     loami_leaf_address(tree->format, entry, piece->place.level), piece->npages);
	}
}

static __attribute__((noinline)) enum loam_status unmap(struct loam_pagetable *tree, uintptr_t va, size_t npages,
							loam_paging_leaf_fn leaf, void *context)
{
	struct loami_range range;
	struct piece piece;
	enum loam_status status;

	if (tree == NULL)
		return LOAM_ERR_INVALID;
	status = loami_check_range(tree, va, npages, &range);
	if (status != LOAM_OK)
		return status;
	loami_changer_enter(tree);
	if (is_one_piece(tree, &range, &piece)) {
		clear_piece(tree, &piece, leaf, context);
	} else {
		status = prepare(tree, &range);
		for (size_t page = 0; status == LOAM_OK && page < npages; page += piece.entries * piece.npages) {
			piece = piece_at(tree, &range, page, 0);
			clear_piece(tree, &piece, leaf, context);
		}
	}
	loami_changer_leave(tree, status == LOAM_OK ? &range : NULL);
	return status;
}

enum loam_status loam_paging_unmap(struct loam_pagetable *tree, uintptr_t va, size_t npages, loam_paging_leaf_fn leaf,
				   void *context)
{
	LOAMI_NOT_FROM_NMI();
	if (leaf == NULL && tree != NULL && LOAMI_LIKELY(loami_quick_unmap(tree, va, npages, NULL)))
		return LOAM_OK;
	return unmap(tree, va, npages, leaf, context);
}

static void put_frames(void *context, uintptr_t va, loam_paddr pa, size_t npages)
{
	loam_pfn **next = context;

	(void)va;
	for (size_t i = 0; i < npages; i++)
		*(*next)++ = loam_frame_containing(pa) + i;
}

enum loam_status loam_paging_unmap_frames(struct loam_pagetable *tree, uintptr_t va, size_t npages, loam_pfn *pfns)
{
	LOAMI_NOT_FROM_NMI();
	if (tree == NULL || pfns == NULL)
		return LOAM_ERR_INVALID;
	if (LOAMI_LIKELY(loami_quick_unmap(tree, va, npages, pfns)))
		return LOAM_OK;
	return unmap(tree, va, npages, put_frames, &pfns);
}

static void protect_piece(const struct piece *piece, uint64_t change, uint64_t bits)
{
	for (size_t i = 0; i < piece->entries; i++) {
		uint64_t entry = loami_load_relaxed(&piece->place.slot[i]);

		loami_store_relaxed(&piece->place.slot[i], (entry & ~change) | bits);
	}
}

enum loam_status loam_paging_protect(struct loam_pagetable *tree, uintptr_t va, size_t npages, unsigned int prot)
{
	struct loami_range range;
	struct piece piece;
	enum loam_status status;

	LOAMI_NOT_FROM_NMI();
	if (tree == NULL)
		return LOAM_ERR_INVALID;
	status = loami_check_range(tree, va, npages, &range);
	if (status == LOAM_OK)
		status = loami_check_prot(prot);
	if (status != LOAM_OK)
		return status;

	/* Whether it is global stays: AArch64 would want break before make for that. */
	uint64_t change = tree->format->prot_mask & ~tree->format->prot_global;
	uint64_t bits = tree->format->prot[loami_prot_index(prot)] & change;
	uint64_t user = bits & tree->format->table_user;

	loami_changer_enter(tree);
	if (user == 0 && is_one_piece(tree, &range, &piece)) {
		protect_piece(&piece, change, bits);
	} else {
		status = prepare(tree, &range);
		for (size_t page = 0; status == LOAM_OK && page < npages; page += piece.entries * piece.npages) {
			piece = piece_at(tree, &range, page, user);
			protect_piece(&piece, change, bits);
		}
	}
	loami_changer_leave(tree, NULL);
	return status;
}
