/* paging/map.c: mapping ranges.
 *
 * 1 Two passes over the range, a *run* of entries of one table at a time: look (is everything empty? how many tables are missing?), then, with all
 *   missing tables in stock, write. So whatever fails has failed before the first entry was written: a walker may cache an entry that was there for
 *   a moment, and then "nothing is left behind" would need a flush. The stock is given back the same way: no table was ever linked.
 * 2 Small pages inside one leaf table that exists, the common case: one walk, and the entries just looked at are written (map_in_one_table; quick.h has the most
 *   common of it by itself).
 * 3 Between the passes the tree changes only by other operations on other pages: tables appear (the stock has some to spare then), none vanish
 *   (tree.h 2). What that cannot explain means that two operations touch one page: the entries written so far are taken out again, LOAM_ERR_MAPPED.
 * 4 Ordering. Entries are relaxed stores: nobody may use the address before the call returns, and loam_port_pte_sync() at its end makes them visible
 *   to walkers. Tables are linked by a release (loami_grow).
 */
#include "quick.h"

struct request {
	struct loam_pagetable *tree;
	struct loami_range range;
	loam_paddr pa;        /* of the first page, when ... */
	const loam_pfn *pfns; /* ... this is NULL */
	uint64_t bits;        /* permissions and cache type */
	uint64_t user;        /* bits the tables above need */
	unsigned int top;     /* highest level of leaves wished for */
};

/* Entries of one table that come next. */
struct run {
	struct loami_place place; /* at @level, or above it when tables are missing */
	unsigned int level;
	size_t count; /* entries */
};

static loam_paddr address_of(const struct request *request, size_t page)
{
	return request->pfns != NULL ? loam_frame_address(request->pfns[page]) : request->pa + page * LOAM_PAGE_SIZE;
}

/* Are the @npages frames from @page on one piece, aligned to it? @npages is a power of two. */
static bool is_one_piece(const struct request *request, size_t page, size_t npages)
{
	loam_paddr first = address_of(request, page);

	if (!loami_is_aligned(first, npages * LOAM_PAGE_SIZE))
		return false;
	for (size_t i = 1; request->pfns != NULL && i < npages; i++)
		if (address_of(request, page + i) != first + i * LOAM_PAGE_SIZE)
			return false;
	return true;
}

/* The level of the largest leaf that fits at @page. */
static unsigned int fitting_level(const struct request *request, size_t page)
{
	uintptr_t va = request->range.start + page * LOAM_PAGE_SIZE;

	for (unsigned int level = request->top; level > 0; level--) {
		uint64_t span = loami_level_span(level);

		if (loami_is_aligned(va, span) && request->range.npages - page >= span / LOAM_PAGE_SIZE &&
		    is_one_piece(request, page, span / LOAM_PAGE_SIZE))
			return level;
	}
	return 0;
}

/* @user: 0 while looking. */
static struct run next_run(const struct request *request, size_t page, uint64_t user)
{
	uintptr_t va = request->range.start + page * LOAM_PAGE_SIZE;
	struct run run = {.level = request->top == 0 ? 0 : fitting_level(request, page), .count = 1};

	run.place = loami_descend(request->tree, va, run.level, user);
	/* A table of smaller leaves is in the way: fill it. */
	while (run.level > 0 && run.place.level == run.level && loami_is_table(request->tree->format, run.place.entry))
		run.place = loami_descend(request->tree, va, --run.level, user);
	if (run.level == 0) {
		size_t room = LOAMI_TABLE_ENTRIES - loami_index(va, 0);
		size_t left = request->range.npages - page;

		run.count = left < room ? left : room;
	}
	return run;
}

static bool is_empty(const struct run *run)
{
	if (run->place.entry != 0)
		return false;
	if (run->place.level > run->level)
		return true;
	for (size_t i = 1; i < run->count; i++)
		if (loami_load_relaxed(&run->place.slot[i]) != 0)
			return false;
	return true;
}

static void write_run(const struct request *request, const struct run *run, size_t page)
{
	const struct loam_paging_format *format = request->tree->format;
	uint64_t bits = format->leaf_bits[run->level] | request->bits;

	if (request->pfns != NULL) {
		for (size_t i = 0; i < run->count; i++)
			loami_store_relaxed(&run->place.slot[i],
					    loami_encode_address(format, loam_frame_address(request->pfns[page + i])) |
						    bits);
	} else {
		uint64_t entry = loami_encode_address(format, address_of(request, page)) | bits;
		uint64_t step = loami_encode_address(format, LOAM_PAGE_SIZE); /* runs of more than one are of level 0 */

		for (size_t i = 0; i < run->count; i++, entry += step)
			loami_store_relaxed(&run->place.slot[i], entry);
	}
}

static size_t run_pages(const struct run *run)
{
	return run->count << (LOAMI_INDEX_BITS * run->level);
}

/* Theory, 2. Return: false when this is no such case, and nothing is done. */
static bool map_in_one_table(const struct request *request, enum loam_status *status)
{
	struct run run = {.count = request->range.npages};

	if (request->top != 0 || request->user != 0 || !loami_is_in_one_table(&request->range))
		return false;
	run.place = loami_descend(request->tree, request->range.start, 0, 0);
	if (run.place.level != 0)
		return false;
	*status = is_empty(&run) ? LOAM_OK : LOAM_ERR_MAPPED;
	if (*status == LOAM_OK)
		write_run(request, &run, 0);
	return true;
}

/* First pass. */
static enum loam_status look(const struct request *request, size_t *missing)
{
	uintptr_t counted
		[LOAMI_LEVELS_MAX]; /* the last table counted as missing at each level, by the addresses it serves */
	struct run run;

	for (unsigned int i = 0; i < LOAMI_LEVELS_MAX; i++)
		counted[i] = UINTPTR_MAX;
	*missing = 0;
	for (size_t page = 0; page < request->range.npages; page += run_pages(&run)) {
		uintptr_t va = request->range.start + page * LOAM_PAGE_SIZE;

		run = next_run(request, page, 0);
		if (!is_empty(&run))
			return LOAM_ERR_MAPPED;
		for (unsigned int level = run.place.level; level > run.level; level--) {
			if (counted[level - 1] == va >> loami_level_shift(level))
				continue;
			counted[level - 1] = va >> loami_level_shift(level);
			++*missing;
		}
	}
	return LOAM_OK;
}

/* Only after (3) went wrong: the first @npages as they were. */
static void take_out(const struct request *request, size_t npages)
{
	uintptr_t va = request->range.start;
	struct loami_place place;

	for (size_t page = 0; page < npages; page += (size_t)1 << (LOAMI_INDEX_BITS * place.level)) {
		place = loami_descend(request->tree, va + page * LOAM_PAGE_SIZE, 0, 0);
		loami_store_relaxed(place.slot, 0);
	}
}

/* Second pass. */
static enum loam_status write(const struct request *request, struct loami_stock *stock)
{
	struct run run;

	for (size_t page = 0; page < request->range.npages; page += run_pages(&run)) {
		for (;;) {
			run = next_run(request, page, request->user);
			if (run.place.level == run.level || run.place.entry != 0 || stock->ntables == 0)
				break;
			loami_grow(request->tree, &run.place, request->user, stock);
		}
		if (run.place.level != run.level || !is_empty(&run)) {
			take_out(request, page);
			return LOAM_ERR_MAPPED;
		}
		write_run(request, &run, page);
	}
	return LOAM_OK;
}

static enum loam_status map(struct request *request, const struct loam_mapping *mapping)
{
	struct loam_pagetable *tree = request->tree;
	struct loami_stock stock = {0};
	size_t missing;
	enum loam_status status;

	request->bits = tree->format->prot[loami_prot_index(mapping->prot)] | tree->format->cache[mapping->cache];
	request->user = request->bits & tree->format->table_user;
	request->top = mapping->largest_leaf == 0 ? 0 : (mapping->largest_leaf - LOAM_PAGE_SHIFT) / LOAMI_INDEX_BITS;

	loami_changer_enter(tree);
	if (!map_in_one_table(request, &status)) {
		status = look(request, &missing);
		if (status == LOAM_OK)
			status = loami_stock_fill(tree, &stock, missing);
		if (status == LOAM_OK)
			status = write(request, &stock);
		loami_stock_empty(tree, &stock);
	}
	if (status == LOAM_OK)
		loam_port_pte_sync();
	/* Tables made for entries that were not written (3), or that were there empty: nothing to trim. */
	loami_changer_leave(tree, NULL);
	return status;
}

static enum loam_status check_mapping(const struct loam_mapping *mapping)
{
	enum loam_status status;

	if (mapping == NULL)
		return LOAM_ERR_INVALID;
	status = loami_check_prot(mapping->prot);
	if (status != LOAM_OK)
		return status;
	if ((unsigned int)mapping->cache > LOAM_CACHE_DEVICE)
		return LOAM_ERR_INVALID;
	if (mapping->largest_leaf != 0 && mapping->largest_leaf != 12 && mapping->largest_leaf != 21 &&
	    mapping->largest_leaf != 30)
		return LOAM_ERR_INVALID;
	return LOAM_OK;
}

enum loam_status loam_paging_map(struct loam_pagetable *tree, uintptr_t va, loam_paddr pa, size_t npages,
				 const struct loam_mapping *mapping)
{
	struct request request = {.tree = tree, .pa = pa};
	loam_paddr last;
	enum loam_status status;

	LOAMI_NOT_FROM_NMI();
	if (tree == NULL)
		return LOAM_ERR_INVALID;
	status = loami_check_range(tree, va, npages, &request.range);
	if (status != LOAM_OK)
		return status;
	if (!loami_is_aligned(pa, LOAM_PAGE_SIZE))
		return LOAM_ERR_ALIGNMENT;
	if (loami_add_overflows(pa, npages * LOAM_PAGE_SIZE - 1, &last))
		return LOAM_ERR_OVERFLOW;
	if (last > loami_mask64(tree->pa_bits))
		return LOAM_ERR_OUT_OF_RANGE;
	status = check_mapping(mapping);
	return status == LOAM_OK ? map(&request, mapping) : status;
}

static __attribute__((noinline)) enum loam_status map_frames(struct loam_pagetable *tree, uintptr_t va,
							     const loam_pfn *pfns, size_t npages,
							     const struct loam_mapping *mapping)
{
	struct request request = {.tree = tree, .pfns = pfns};
	loam_pfn all = 0;
	enum loam_status status;

	if (tree == NULL || pfns == NULL)
		return LOAM_ERR_INVALID;
	status = loami_check_range(tree, va, npages, &request.range);
	if (status != LOAM_OK)
		return status;
	for (size_t i = 0; i < npages; i++)
		all |= pfns[i];
	if (all > loami_mask64(tree->pa_bits) >> LOAM_PAGE_SHIFT)
		return LOAM_ERR_OUT_OF_RANGE;
	status = check_mapping(mapping);
	return status == LOAM_OK ? map(&request, mapping) : status;
}

enum loam_status loam_paging_map_frames(struct loam_pagetable *tree, uintptr_t va, const loam_pfn *pfns, size_t npages,
					const struct loam_mapping *mapping)
{
	LOAMI_NOT_FROM_NMI();
	if (LOAMI_LIKELY(tree != NULL && pfns != NULL && mapping != NULL &&
			 loami_quick_map(tree, va, pfns, npages, mapping)))
		return LOAM_OK;
	return map_frames(tree, va, pfns, npages, mapping);
}
