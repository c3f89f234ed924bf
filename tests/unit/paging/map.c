/* tests/unit/paging/map.c: mapping and unmapping, every status, and what is left behind: nothing. */
#include "fixture.h"

TEST(paging_formats_say_what_is_canonical)
{
	const struct loam_paging_format *f = &loam_paging_x86_64_4level;

	CHECK(loam_paging_is_canonical(f, 0) && loam_paging_is_canonical(f, 0x00007fffffffffff));
	CHECK(!loam_paging_is_canonical(f, 0x0000800000000000) && !loam_paging_is_canonical(f, 0xffff7fffffffffff));
	CHECK(loam_paging_is_canonical(f, 0xffff800000000000) && loam_paging_is_canonical(f, UINTPTR_MAX));
	f = &loam_paging_x86_64_5level;
	CHECK(loam_paging_is_canonical(f, 0x00ffffffffffffff) && loam_paging_is_canonical(f, 0xff00000000000000));
	CHECK(!loam_paging_is_canonical(f, 0x0100000000000000) && !loam_paging_is_canonical(f, 0xfeffffffffffffff));
	f = &loam_paging_aarch64_48;
	CHECK(loam_paging_is_canonical(f, 0xffff000000000000) && loam_paging_is_canonical(f, UINTPTR_MAX));
	CHECK(!loam_paging_is_canonical(f, 0) && !loam_paging_is_canonical(f, 0xfffeffffffffffff));
	f = &loam_paging_aarch64_48_low;
	CHECK(loam_paging_is_canonical(f, 0) && loam_paging_is_canonical(f, 0x0000ffffffffffff));
	CHECK(!loam_paging_is_canonical(f, 0x0001000000000000) && !loam_paging_is_canonical(f, UINTPTR_MAX));
	f = &loam_paging_riscv_sv39;
	CHECK(loam_paging_is_canonical(f, 0x0000003fffffffff) && !loam_paging_is_canonical(f, 0x0000004000000000));
	CHECK(loam_paging_is_canonical(f, 0xffffffc000000000) && !loam_paging_is_canonical(f, 0xffffffbfffffffff));
	CHECK_STR(loam_paging_format_name(&loam_paging_riscv_sv57), "RISC-V Sv57");
}

TEST(paging_maps_every_permission_cache_type_and_leaf)
{
	static const unsigned int shifts[] = {12, 21, 30};

	EACH_FORMAT(f)
	{
		fixture_begin(f);
		for (unsigned int prot = 1; prot < 32; prot++) {
			for (unsigned int cache = 0; cache < 4; cache++) {
				for (unsigned int i = 0; i < 3; i++) {
					size_t npages = (size_t)1 << (shifts[i] - LOAM_PAGE_SHIFT);
					loam_paddr pa = 0x1234 * GIB;
					/* Apart: tables under the root stay, and Sv39 would have 1 GiB leaves there. */
					uintptr_t va = f->base + i * GIB;
					uintptr_t last = va + npages * LOAM_PAGE_SIZE - 1;
					struct loam_mapping mapping = {prot, (enum loam_cache)cache, shifts[i]};
					struct loam_paging_entry entry;

					if ((prot & LOAM_PROT_WRITE) != 0 && (prot & LOAM_PROT_EXEC) != 0) {
						CHECK_STATUS(loam_paging_map(&fixture.tree, va, pa, npages, &mapping),
							     LOAM_ERR_PROTECTION);
						continue;
					}
					if ((prot & 7) == 0) {
						CHECK_STATUS(loam_paging_map(&fixture.tree, va, pa, npages, &mapping),
							     LOAM_ERR_PROTECTION);
						continue;
					}
					fixture.tree.keep_empty_tables = false;
					CHECK_OK(loam_paging_map(&fixture.tree, va, pa, npages, &mapping));
					CHECK_OK(loam_paging_query(&fixture.tree, last, &entry));
					CHECK_EQ(entry.pa, pa + npages * LOAM_PAGE_SIZE - 1);
					CHECK_EQ(entry.prot, prot | LOAM_PROT_READ);
					CHECK_EQ(entry.cache, cache);
					CHECK_EQ(entry.leaf_shift, shifts[i]);
					CHECK_UNMAPPED(last + 1);
					CHECK_OK(loam_paging_unmap(&fixture.tree, va, npages, NULL, NULL));
					CHECK_UNMAPPED(va);
				}
			}
		}
		fixture_end();
	}
}

TEST(paging_uses_the_largest_leaves_that_fit)
{
	EACH_FORMAT(f)
	{
		uintptr_t va = f->base + 3 * GIB - 2 * MIB - 8 * KIB;
		loam_paddr pa = 7 * GIB - 2 * MIB - 8 * KIB;
		size_t npages = (8 * KIB + 2 * MIB + GIB + 4 * MIB + 4 * KIB) / LOAM_PAGE_SIZE;
		uint32_t before;

		fixture_begin(f);
		before = fixture.out;
		CHECK_OK(map_pages(va, pa, npages, RW, 30));
		CHECK_MAPPED(va, pa, RW, 12);
		CHECK_MAPPED(va + 8 * KIB, pa + 8 * KIB, RW, 21);
		CHECK_MAPPED(f->base + 3 * GIB + 12345, 7 * GIB + 12345, RW, 30);
		CHECK_MAPPED(f->base + 4 * GIB + 2 * MIB, 8 * GIB + 2 * MIB, RW, 21);
		CHECK_MAPPED(f->base + 4 * GIB + 4 * MIB, 8 * GIB + 4 * MIB, RW, 12);
		CHECK_UNMAPPED(f->base + 4 * GIB + 4 * MIB + 4 * KIB);
		CHECK_UNMAPPED(va - 1);
		/* Above the leaves' tables: one per missing level; below, two of 2 MiB leaves and two of pages. */
		CHECK_EQ(fixture.out - before, (f->levels - 3) + 4);
		CHECK_OK(loam_paging_unmap(&fixture.tree, va, npages, NULL, NULL));
		CHECK_UNMAPPED(f->base + 3 * GIB);
		/* Physical addresses that do not fit the leaf: small ones. */
		CHECK_OK(map_pages(f->base + 8 * GIB, 4 * KIB, 1024, RW, 30));
		CHECK_MAPPED(f->base + 8 * GIB + 2 * MIB, 2 * MIB + 4 * KIB, RW, 12);
		fixture_end();
	}
}

TEST(paging_keeps_small_leaves_where_their_table_is)
{
	EACH_FORMAT(f)
	{
		fixture_begin(f);
		CHECK_OK(map_pages(f->base, GIB, 1, RW, 12));
		CHECK_OK(loam_paging_unmap(&fixture.tree, f->base, 1, NULL, NULL));
		CHECK_OK(map_pages(f->base, GIB, 2 * 512, RW, 21));
		CHECK_MAPPED(f->base, GIB, RW, 12);
		CHECK_MAPPED(f->base + 2 * MIB - 1, GIB + 2 * MIB - 1, RW, 12);
		CHECK_MAPPED(f->base + 2 * MIB, GIB + 2 * MIB, RW, 21);
		fixture_end();
	}
}

TEST(paging_maps_single_frames_and_finds_large_leaves_in_them)
{
	static loam_pfn pfns[1024 + 3];

	for (size_t i = 0; i < 3; i++)
		pfns[i] = 1000 - 7 * i;
	for (size_t i = 0; i < 1024; i++)
		pfns[3 + i] = 512 * 9 + i;
	pfns[3 + 512 + 100] = 77; /* the second 2 MiB are not one piece */
	EACH_FORMAT(f)
	{
		uintptr_t va = f->base + 2 * MIB - 3 * LOAM_PAGE_SIZE;
		struct loam_mapping mapping = {.prot = LOAM_PROT_READ, .largest_leaf = 21};

		fixture_begin(f);
		CHECK_OK(loam_paging_map_frames(&fixture.tree, va, pfns, 1024 + 3, &mapping));
		for (size_t i = 0; i < 1024 + 3; i++)
			CHECK_MAPPED(va + i * LOAM_PAGE_SIZE + 5, pfns[i] * LOAM_PAGE_SIZE + 5, LOAM_PROT_READ,
				     i >= 3 && i < 3 + 512 ? 21 : 12);
		CHECK_UNMAPPED(va + 1027 * LOAM_PAGE_SIZE);
		fixture_end();
	}
}

TEST(paging_reaches_the_last_page_of_the_address_space)
{
	EACH_FORMAT(f)
	{
		if (f->format == &loam_paging_aarch64_48_low)
			continue;
		fixture_begin(f);
		CHECK_OK(map_pages((uintptr_t)0 - 4 * MIB, 4 * MIB, 1024, RW, 21));
		CHECK_MAPPED(UINTPTR_MAX, 8 * MIB - 1, RW, 21);
		CHECK_OK(loam_paging_protect(&fixture.tree, (uintptr_t)0 - 4 * MIB, 1024, LOAM_PROT_READ));
		fixture.tree.split = LOAM_SPLIT_IN_PLACE;
		CHECK_OK(loam_paging_unmap(&fixture.tree, (uintptr_t)0 - 4 * KIB, 1, NULL, NULL));
		CHECK_UNMAPPED(UINTPTR_MAX);
		CHECK_MAPPED((uintptr_t)0 - 8 * KIB, 8 * MIB - 8 * KIB, LOAM_PROT_READ, 12);
		CHECK_STATUS(map_pages((uintptr_t)0 - 4 * KIB, 0, 2, RW, 0), LOAM_ERR_OVERFLOW);
		CHECK_OK(map_pages((uintptr_t)0 - 4 * KIB, 0, 1, RW, 0));
		fixture_end();
	}
}

TEST(paging_refuses_bad_ranges_and_changes_nothing)
{
	EACH_FORMAT(f)
	{
		struct loam_mapping mapping = {.prot = RW};
		struct loam_paging_entry entry;
		loam_pfn wide = (loam_pfn)1 << (f->pa_bits - LOAM_PAGE_SHIFT);
		uintptr_t outside = f->format == &loam_paging_aarch64_48_low ? 0xffff100000000000 : 0x0101000000000000;
		uint32_t before;

		fixture_begin(f);
		struct loam_pagetable *tree = &fixture.tree;

		before = fixture.taken;
		CHECK_STATUS(loam_paging_map(tree, f->base, 0, 0, &mapping), LOAM_ERR_ZERO_SIZE);
		CHECK_STATUS(loam_paging_unmap(tree, f->base, 0, NULL, NULL), LOAM_ERR_ZERO_SIZE);
		CHECK_STATUS(loam_paging_protect(tree, f->base, 0, RW), LOAM_ERR_ZERO_SIZE);
		CHECK_STATUS(loam_paging_populate(tree, f->base, 0), LOAM_ERR_ZERO_SIZE);
		CHECK_STATUS(loam_paging_map(tree, f->base + 1, 0, 1, &mapping), LOAM_ERR_ALIGNMENT);
		CHECK_STATUS(loam_paging_map(tree, f->base, 0x800, 1, &mapping), LOAM_ERR_ALIGNMENT);
		CHECK_STATUS(loam_paging_unmap(tree, f->base + 8, 1, NULL, NULL), LOAM_ERR_ALIGNMENT);
		CHECK_STATUS(loam_paging_map(tree, f->base, 0, SIZE_MAX, &mapping), LOAM_ERR_OVERFLOW);
		CHECK_STATUS(loam_paging_map(tree, f->base, 0, (size_t)1 << 52, &mapping), LOAM_ERR_OVERFLOW);
		CHECK_STATUS(loam_paging_map(tree, f->base, LOAM_PADDR_NONE << 12, 2, &mapping), LOAM_ERR_OVERFLOW);
		CHECK_STATUS(loam_paging_map(tree, outside, 0, 1, &mapping), LOAM_ERR_OUT_OF_RANGE);
		CHECK_STATUS(loam_paging_unmap(tree, outside, 1, NULL, NULL), LOAM_ERR_OUT_OF_RANGE);
		CHECK_STATUS(loam_paging_query(tree, outside, &entry), LOAM_ERR_OUT_OF_RANGE);
		CHECK_STATUS(loam_paging_map(tree, f->base, (loam_paddr)1 << f->pa_bits, 1, &mapping),
			     LOAM_ERR_OUT_OF_RANGE);
		CHECK_STATUS(loam_paging_map(tree, f->base, ((loam_paddr)1 << f->pa_bits) - 4096, 2, &mapping),
			     LOAM_ERR_OUT_OF_RANGE);
		CHECK_STATUS(loam_paging_map_frames(tree, f->base, &wide, 1, &mapping), LOAM_ERR_OUT_OF_RANGE);
		tree->pa_bits = 36;
		CHECK_STATUS(loam_paging_map(tree, f->base, 64 * GIB, 1, &mapping), LOAM_ERR_OUT_OF_RANGE);
		CHECK_STATUS(loam_paging_map(tree, f->base, 0, 1, NULL), LOAM_ERR_INVALID);
		CHECK_STATUS(loam_paging_map(NULL, f->base, 0, 1, &mapping), LOAM_ERR_INVALID);
		CHECK_STATUS(loam_paging_map_frames(tree, f->base, NULL, 1, &mapping), LOAM_ERR_INVALID);
		CHECK_STATUS(loam_paging_unmap(NULL, f->base, 1, NULL, NULL), LOAM_ERR_INVALID);
		CHECK_STATUS(loam_paging_protect(NULL, f->base, 1, RW), LOAM_ERR_INVALID);
		CHECK_STATUS(loam_paging_populate(NULL, f->base, 1), LOAM_ERR_INVALID);
		CHECK_STATUS(loam_paging_query(NULL, f->base, &entry), LOAM_ERR_INVALID);
		CHECK_STATUS(loam_paging_query(tree, f->base, NULL), LOAM_ERR_INVALID);
		CHECK_STATUS(map_pages(f->base, 0, 1, 1u << 5, 0), LOAM_ERR_INVALID);
		CHECK_STATUS(map_pages(f->base, 0, 1, RW, 13), LOAM_ERR_INVALID);
		CHECK_STATUS(map_pages(f->base, 0, 1, RW, 39), LOAM_ERR_INVALID);
		CHECK_STATUS(map_pages(f->base, 0, 1, 0, 0), LOAM_ERR_PROTECTION);
		CHECK_STATUS(map_pages(f->base, 0, 1, LOAM_PROT_USER, 0), LOAM_ERR_PROTECTION);
		CHECK_STATUS(map_pages(f->base, 0, 1, LOAM_PROT_WRITE | LOAM_PROT_EXEC, 0), LOAM_ERR_PROTECTION);
		mapping.cache = (enum loam_cache)4;
		CHECK_STATUS(loam_paging_map(tree, f->base, 0, 1, &mapping), LOAM_ERR_INVALID);
		CHECK_STATUS(loam_paging_unmap(tree, f->base, 1, NULL, NULL), LOAM_ERR_NOT_MAPPED);
		CHECK_STATUS(loam_paging_protect(tree, f->base, 1, RW), LOAM_ERR_NOT_MAPPED);
		CHECK_EQ(fixture.taken, before);
		CHECK_UNMAPPED(f->base);
		fixture_end();
	}
}

TEST(paging_a_range_does_not_cross_the_hole)
{
	struct loam_mapping mapping = {.prot = RW};

	EACH_FORMAT(f)
	{
		/* From the last page of the lower half to the first of the upper one, where a tree has both. */
		unsigned int va_bits = 12 + 9 * f->levels;
		uintptr_t edge = (uintptr_t)1 << (va_bits - 1);
		size_t hole = (size_t)((0 - ((uint64_t)1 << va_bits)) >> LOAM_PAGE_SHIFT);

		if (f->format == &loam_paging_aarch64_48 || f->format == &loam_paging_aarch64_48_low)
			continue;
		fixture_begin(f);
		CHECK_STATUS(loam_paging_map(&fixture.tree, edge - LOAM_PAGE_SIZE, 0, 2, &mapping),
			     LOAM_ERR_OUT_OF_RANGE);
		CHECK_STATUS(loam_paging_unmap(&fixture.tree, edge - LOAM_PAGE_SIZE, hole + 2, NULL, NULL),
			     LOAM_ERR_OUT_OF_RANGE);
		CHECK_OK(loam_paging_map(&fixture.tree, edge - LOAM_PAGE_SIZE, 0, 1, &mapping));
		CHECK_OK(loam_paging_map(&fixture.tree, 0 - edge, LOAM_PAGE_SIZE, 1, &mapping));
		CHECK_MAPPED(edge - 1, LOAM_PAGE_SIZE - 1, RW, 12);
		CHECK_MAPPED(0 - edge, LOAM_PAGE_SIZE, RW, 12);
		fixture_end();
	}
}

TEST(paging_refuses_what_is_mapped_and_leaves_the_rest_alone)
{
	EACH_FORMAT(f)
	{
		fixture_begin(f);
		CHECK_OK(map_pages(f->base + 5 * LOAM_PAGE_SIZE, 0x5000, 1, LOAM_PROT_READ, 0));
		CHECK_OK(map_pages(f->base + 4 * MIB, 4 * MIB, 512, LOAM_PROT_READ, 21));
		/* In one table; across tables; over a large leaf; a large leaf over it. */
		CHECK_STATUS(map_pages(f->base, GIB, 6, RW, 0), LOAM_ERR_MAPPED);
		CHECK_STATUS(map_pages(f->base - 8 * LOAM_PAGE_SIZE + 2 * MIB, GIB, 1024, RW, 0), LOAM_ERR_MAPPED);
		CHECK_STATUS(map_pages(f->base + 4 * MIB + 8 * KIB, GIB, 1, RW, 0), LOAM_ERR_MAPPED);
		CHECK_STATUS(map_pages(f->base, GIB, 512, RW, 21), LOAM_ERR_MAPPED);
		CHECK_STATUS(map_pages(f->base, GIB, 512 * 512, RW, 30), LOAM_ERR_MAPPED);
		for (size_t i = 0; i < 2048; i++) {
			uintptr_t va = f->base + i * LOAM_PAGE_SIZE;

			if (i == 5)
				CHECK_MAPPED(va, 0x5000, LOAM_PROT_READ, 12);
			else if (i >= 1024 && i < 1536)
				CHECK_MAPPED(va, i * LOAM_PAGE_SIZE, LOAM_PROT_READ, 21);
			else
				CHECK_UNMAPPED(va);
		}
		/* The same of unmap and protect: one page is missing. */
		CHECK_STATUS(loam_paging_unmap(&fixture.tree, f->base + 5 * LOAM_PAGE_SIZE, 2, NULL, NULL),
			     LOAM_ERR_NOT_MAPPED);
		CHECK_STATUS(loam_paging_unmap(&fixture.tree, f->base + 4 * MIB, 513, NULL, NULL), LOAM_ERR_NOT_MAPPED);
		CHECK_STATUS(loam_paging_protect(&fixture.tree, f->base + 4 * KIB * 4, 2, RW), LOAM_ERR_NOT_MAPPED);
		CHECK_MAPPED(f->base + 5 * LOAM_PAGE_SIZE, 0x5000, LOAM_PROT_READ, 12);
		CHECK_MAPPED(f->base + 4 * MIB, 4 * MIB, LOAM_PROT_READ, 21);
		fixture_end();
	}
}

/* Each table that a range needs, missing once and for good. */
TEST(paging_failing_tables_leave_nothing_behind)
{
	EACH_FORMAT(f)
	{
		for (unsigned int for_good = 0; for_good < 2; for_good++) {
			uintptr_t va = f->base + GIB - 2 * MIB - 4 * KIB;
			size_t npages = 1024 + 2 + 512;
			uint32_t nth = 1;

			fixture_begin(f);
			/* A neighbour, so that not every table is missing. */
			CHECK_OK(map_pages(f->base, 0, 1, RW, 0));
			uint32_t before = fixture.out;

			for (;; nth++) {
				fixture_fail(nth, for_good != 0);
				enum loam_status status = map_pages(va, GIB - 2 * MIB - 4 * KIB, npages, RW, 21);

				if (status == LOAM_OK)
					break;
				CHECK_STATUS(status, LOAM_ERR_NO_MEMORY);
				CHECK_EQ(fixture.out, before);
				CHECK_EQ(loam_pagetable_count_racy(&fixture.tree), before);
				for (size_t i = 0; i < npages; i++)
					CHECK_UNMAPPED(va + i * LOAM_PAGE_SIZE);
			}
			CHECK_EQ(nth, 4);
			fixture_fail(0, false);
			CHECK_MAPPED(va, GIB - 2 * MIB - 4 * KIB, RW, 12);
			CHECK_MAPPED(va + npages * LOAM_PAGE_SIZE - 1,
				     GIB - 2 * MIB - 4 * KIB + npages * LOAM_PAGE_SIZE - 1, RW, 12);
			fixture_end();
		}
	}
}

static void count_leaf(void *context, uintptr_t va, loam_paddr pa, size_t npages)
{
	uint64_t *seen = context;

	seen[0]++;
	seen[1] += npages;
	if (va < seen[2] || pa - (va - fixture.f->base) != GIB)
		seen[3]++;
	seen[2] = va + npages * LOAM_PAGE_SIZE;
}

TEST(paging_unmap_tells_of_every_leaf_in_order)
{
	EACH_FORMAT(f)
	{
		uint64_t seen[4] = {0, 0, f->base, 0};
		size_t npages = 512 * 3 + 7;

		fixture_begin(f);
		CHECK_OK(map_pages(f->base, GIB, npages, RW, 21));
		CHECK_OK(loam_paging_unmap(&fixture.tree, f->base, npages, count_leaf, seen));
		CHECK_EQ(seen[0], 3 + 7);
		CHECK_EQ(seen[1], npages);
		CHECK_EQ(seen[3], 0);
		fixture_end();
	}
}

/* In one leaf table and across several, of small leaves and large ones; a hole leaves all as it was. */
TEST(paging_unmap_frames_hands_every_frame_out)
{
	static loam_pfn pfns[512 + 9];

	EACH_FORMAT(f)
	{
		const loam_pfn scattered[] = {77, 3, 4, 500, 5};
		size_t npages = 512 + 9;

		fixture_begin(f);
		CHECK_OK(loam_paging_map_frames(&fixture.tree, f->base, scattered, 5,
						&(struct loam_mapping){.prot = RW, .largest_leaf = 12}));
		CHECK_STATUS(loam_paging_unmap_frames(&fixture.tree, f->base, 6, pfns), LOAM_ERR_NOT_MAPPED);
		CHECK_STATUS(loam_paging_unmap_frames(&fixture.tree, f->base, 5, NULL), LOAM_ERR_INVALID);
		CHECK_STATUS(loam_paging_unmap_frames(NULL, f->base, 5, pfns), LOAM_ERR_INVALID);
		CHECK_STATUS(loam_paging_unmap_frames(&fixture.tree, f->base + 1, 5, pfns), LOAM_ERR_ALIGNMENT);
		CHECK_STATUS(loam_paging_unmap_frames(&fixture.tree, f->base, 0, pfns), LOAM_ERR_ZERO_SIZE);
		CHECK_OK(loam_paging_unmap_frames(&fixture.tree, f->base, 5, pfns));
		for (size_t i = 0; i < 5; i++)
			CHECK_EQ(pfns[i], scattered[i]);
		CHECK_STATUS(loam_paging_unmap_frames(&fixture.tree, f->base, 1, pfns), LOAM_ERR_NOT_MAPPED);

		CHECK_OK(map_pages(f->base, GIB, npages, RW, 21));
		CHECK_OK(loam_paging_unmap_frames(&fixture.tree, f->base, npages, pfns));
		for (size_t i = 0; i < npages; i++)
			CHECK_EQ(pfns[i], (GIB >> LOAM_PAGE_SHIFT) + i);
		fixture_end();
	}
}
