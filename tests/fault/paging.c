/* tests/fault/paging.c: every table that an operation takes, missing once and then for good (LOAMI_FAIL_TABLE); and an interrupt at every point of an operation. */
#include "unit/paging/fixture.h"

#include <base/fail.h>
#include <host.h>

enum { PAGES = 512 * 2 + 3 };

static bool is_unmapped(uintptr_t va, size_t npages)
{
	for (size_t i = 0; i < npages; i++)
		if (query_status(va + i * LOAM_PAGE_SIZE) != LOAM_ERR_NOT_MAPPED)
			return false;
	return true;
}

/* Map over several tables, cut two large leaves, populate; whatever fails leaves the count of tables and every translation as it was. */
static bool everything(void *context)
{
	const struct fixture_format *f = context;
	uintptr_t small = f->base + GIB - 2 * MIB - 4 * KIB;
	uintptr_t large = f->base + 8 * GIB;
	struct loam_paging_entry entry;
	uint32_t before = fixture.out;
	enum loam_status status = map_pages(small, MIB, PAGES, RW, 0);

	if (status == LOAM_ERR_NO_MEMORY && (fixture.out != before || !is_unmapped(small, PAGES)))
		return false;
	if (status == LOAM_OK && loam_paging_unmap(&fixture.tree, small, PAGES, NULL, NULL) != LOAM_OK)
		return false;

	status = map_pages(large, 0, 2 * 512 * 512, RW, 30);
	if (status == LOAM_OK) {
		unsigned int leaf_shift = 0;

		if (loam_paging_query(&fixture.tree, large + 4096, &entry) == LOAM_OK)
			leaf_shift = entry.leaf_shift; /* Sv39 keeps the table under its root, once there is one */
		before = fixture.out;
		status = loam_paging_unmap(&fixture.tree, large + 4096, 2 * 512 * 512 - 2, NULL, NULL);
		if (status == LOAM_ERR_NO_MEMORY &&
		    (fixture.out != before || loam_paging_query(&fixture.tree, large + 4096, &entry) != LOAM_OK ||
		     entry.leaf_shift != leaf_shift || leaf_shift < 21))
			return false;
		if (status == LOAM_OK &&
		    (loam_paging_unmap(&fixture.tree, large, 1, NULL, NULL) != LOAM_OK ||
		     loam_paging_unmap(&fixture.tree, large + 2 * GIB - 4096, 1, NULL, NULL) != LOAM_OK))
			return false;
		if (status == LOAM_ERR_NO_MEMORY &&
		    loam_paging_unmap(&fixture.tree, large, 2 * 512 * 512, NULL, NULL) != LOAM_OK)
			return false;
	}
	before = fixture.out;
	status = loam_paging_populate(&fixture.tree, f->base + 16 * GIB, (size_t)(4 * GIB / LOAM_PAGE_SIZE));
	if (status == LOAM_ERR_NO_MEMORY && fixture.out != before)
		return false;

	struct loam_table_batch batch;

	if (loam_pagetable_seal(&fixture.tree, &batch))
		loam_pagetable_release(&fixture.tree, &batch);
	return loam_pagetable_count_racy(&fixture.tree) == fixture.out && !fixture.wrong;
}

TEST(paging_survives_every_missing_table)
{
	EACH_FORMAT(f)
	{
		fixture_begin(f);
		fixture.tree.keep_empty_tables = false;
		fixture.tree.split = LOAM_SPLIT_IN_PLACE;
		CHECK(host_fail_each(LOAMI_FAIL_TABLE, everything, (void *)(uintptr_t)f) >= 6);
		fixture_end();
	}
}

/* ---- an interrupt that uses the same tree, at every point ---- */

static uintptr_t handler_va;
static bool handler_wrong;

/* Maps and unmaps a page beside those of the interrupted operation, and looks at them. */
static void neighbour(void *context)
{
	struct loam_paging_entry entry;

	(void)context;
	if (map_pages(handler_va, 5 * MIB, 1, RW, 0) != LOAM_OK ||
	    loam_paging_query(&fixture.tree, handler_va, &entry) != LOAM_OK || entry.pa != 5 * MIB ||
	    loam_paging_unmap(&fixture.tree, handler_va, 1, NULL, NULL) != LOAM_OK)
		handler_wrong = true;
}

static bool map_cut_unmap(void *context)
{
	const struct fixture_format *f = context;
	struct loam_table_batch batch;
	bool right;

	handler_va = f->base + 100 * LOAM_PAGE_SIZE;
	right = map_pages(f->base, GIB, 8, RW, 0) == LOAM_OK &&
		map_pages(f->base + 2 * MIB, 2 * MIB, 512, RW, 21) == LOAM_OK &&
		loam_paging_protect(&fixture.tree, f->base + 2 * MIB, 8, LOAM_PROT_READ) == LOAM_OK &&
		loam_paging_unmap(&fixture.tree, f->base, 8, NULL, NULL) == LOAM_OK &&
		loam_paging_unmap(&fixture.tree, f->base + 2 * MIB, 512, NULL, NULL) == LOAM_OK;
	if (loam_pagetable_seal(&fixture.tree, &batch))
		loam_pagetable_release(&fixture.tree, &batch);
	return right && !handler_wrong && !fixture.wrong && is_unmapped(f->base, 1024);
}

TEST(paging_is_interrupted_at_every_point)
{
	for (unsigned int i = 0; i < 2; i++) {
		const struct fixture_format *f = &fixture_formats[4]; /* Sv39: the fewest points */

		fixture_begin(f);
		handler_wrong = false;
		fixture.tree.keep_empty_tables = i != 0;
		CHECK(host_each_point(map_cut_unmap, neighbour, (void *)(uintptr_t)f, false) > 20);
		CHECK(!handler_wrong);
		fixture_end();
	}
}
