/* tests/unit/paging/tree.c: trees as such: splitting, permissions, inheriting, tables that come and go. */
#include "fixture.h"

/* ---- splitting ---- */

TEST(paging_splits_a_large_leaf_when_part_of_it_changes)
{
	EACH_FORMAT(f)
	{
		uint32_t before;

		fixture_begin(f);
		if (!f->may_split)
			fixture.tree.split = LOAM_SPLIT_IN_PLACE;
		struct loam_mapping mapping = {
			.prot = RW | LOAM_PROT_GLOBAL, .cache = LOAM_CACHE_UNCACHED, .largest_leaf = 30};
		struct loam_paging_entry entry;
		unsigned int prot = RW | LOAM_PROT_GLOBAL;

		CHECK_OK(loam_paging_map(&fixture.tree, f->base, 2 * GIB, 2 * 512 * 512, &mapping));
		before = fixture.out;
		/* Pages 3..5 of the second GiB's first 2 MiB: two tables. */
		CHECK_OK(loam_paging_unmap(&fixture.tree, f->base + GIB + 3 * 4096, 3, NULL, NULL));
		CHECK_EQ(fixture.out, before + 2);
		CHECK_MAPPED(f->base + GIB - 1, 3 * GIB - 1, prot, 30);
		CHECK_MAPPED(f->base + GIB, 3 * GIB, prot, 12);
		CHECK_MAPPED(f->base + GIB + 3 * 4096 - 1, 3 * GIB + 3 * 4096 - 1, prot, 12);
		for (unsigned int i = 3; i < 6; i++)
			CHECK_UNMAPPED(f->base + GIB + i * 4096);
		CHECK_MAPPED(f->base + GIB + 6 * 4096, 3 * GIB + 6 * 4096, prot, 12);
		CHECK_MAPPED(f->base + GIB + 2 * MIB, 3 * GIB + 2 * MIB, prot, 21);
		CHECK_MAPPED(f->base + 2 * GIB - 1, 4 * GIB - 1, prot, 21);
		CHECK_OK(loam_paging_query(&fixture.tree, f->base + GIB + 6 * 4096, &entry));
		CHECK_EQ(entry.cache, LOAM_CACHE_UNCACHED);

		/* A cut at 2 MiB needs one table, not two; permissions change from there to the end only. */
		before = fixture.out;
		CHECK_OK(loam_paging_protect(&fixture.tree, f->base + GIB - 2 * MIB, 512, LOAM_PROT_READ));
		CHECK_EQ(fixture.out, before + 1);
		CHECK_MAPPED(f->base + GIB - 2 * MIB - 1, 3 * GIB - 2 * MIB - 1, prot, 21);
		CHECK_MAPPED(f->base + GIB - 2 * MIB, 3 * GIB - 2 * MIB, LOAM_PROT_READ | LOAM_PROT_GLOBAL, 21);
		fixture_end();
	}
}

TEST(paging_splits_both_ends_of_a_range)
{
	EACH_FORMAT(f)
	{
		uint32_t before;

		fixture_begin(f);
		fixture.tree.split = LOAM_SPLIT_IN_PLACE;
		CHECK_OK(map_pages(f->base, 0, 2 * 512 * 512, RW, 30));
		before = fixture.out;
		CHECK_OK(loam_paging_protect(&fixture.tree, f->base + 4096, 2 * 512 * 512 - 2, LOAM_PROT_READ));
		CHECK_EQ(fixture.out, before + 4);
		CHECK_MAPPED(f->base, 0, RW, 12);
		CHECK_MAPPED(f->base + 4096, 4096, LOAM_PROT_READ, 12);
		CHECK_MAPPED(f->base + 2 * MIB, 2 * MIB, LOAM_PROT_READ, 21);
		CHECK_MAPPED(f->base + 2 * GIB - 4097, 2 * GIB - 4097, LOAM_PROT_READ, 12);
		CHECK_MAPPED(f->base + 2 * GIB - 4096, 2 * GIB - 4096, RW, 12);
		fixture_end();
	}
}

TEST(paging_failing_splits_change_nothing)
{
	EACH_FORMAT(f)
	{
		for (unsigned int for_good = 0; for_good < 2; for_good++) {
			fixture_begin(f);
			fixture.tree.split = LOAM_SPLIT_IN_PLACE;
			CHECK_OK(map_pages(f->base, 0, 2 * 512 * 512, RW, 30));
			uint32_t before = fixture.out;
			uint32_t nth = 1;

			for (;; nth++) {
				fixture_fail(nth, for_good != 0);
				enum loam_status status =
					nth % 2 == 0 ? loam_paging_unmap(&fixture.tree, f->base + 4096,
									 2 * 512 * 512 - 2, NULL, NULL)
						     : loam_paging_protect(&fixture.tree, f->base + 4096,
									   2 * 512 * 512 - 2, LOAM_PROT_READ);

				if (status == LOAM_OK)
					break;
				CHECK_STATUS(status, LOAM_ERR_NO_MEMORY);
				CHECK_EQ(fixture.out, before);
				CHECK_MAPPED(f->base + 4096, 4096, RW, 30);
				CHECK_MAPPED(f->base + 2 * GIB - 4097, 2 * GIB - 4097, RW, 30);
			}
			CHECK_EQ(nth, 5);
			fixture_fail(0, false);
			fixture_end();
		}
	}
}

TEST(paging_does_not_split_where_hardware_wants_break_before_make)
{
	EACH_FORMAT(f)
	{
		if (f->may_split)
			continue;
		fixture_begin(f);
		CHECK_OK(map_pages(f->base, 0, 2 * 512, RW, 21));
		CHECK_STATUS(loam_paging_unmap(&fixture.tree, f->base + 4096, 1, NULL, NULL), LOAM_ERR_ALIGNMENT);
		CHECK_STATUS(loam_paging_protect(&fixture.tree, f->base, 511, LOAM_PROT_READ), LOAM_ERR_ALIGNMENT);
		CHECK_MAPPED(f->base + 4096, 4096, RW, 21);
		/* Whole leaves may change. */
		CHECK_OK(loam_paging_protect(&fixture.tree, f->base, 512, LOAM_PROT_READ));
		CHECK_MAPPED(f->base + 4096, 4096, LOAM_PROT_READ, 21);
		CHECK_OK(loam_paging_unmap(&fixture.tree, f->base + 2 * MIB, 512, NULL, NULL));
		fixture_end();
	}
}

TEST(paging_breaks_before_it_makes_when_told_to)
{
	EACH_FORMAT(f)
	{
		fixture_begin(f);
		fixture.tree.split = LOAM_SPLIT_BREAK;
		CHECK_OK(map_pages(f->base, 0, 512 * 512, RW, 30));
		CHECK_OK(loam_paging_unmap(&fixture.tree, f->base + 4096, 1, NULL, NULL));
		CHECK_MAPPED(f->base, 0, RW, 12);
		CHECK_UNMAPPED(f->base + 4096);
		CHECK_MAPPED(f->base + 2 * MIB, 2 * MIB, RW, 21);
		fixture_end();
	}
}

/* ---- permissions ---- */

TEST(paging_protect_changes_permissions_and_nothing_else)
{
	static const unsigned int prots[] = {LOAM_PROT_READ, RW, LOAM_PROT_EXEC | LOAM_PROT_READ, RW | LOAM_PROT_USER,
					     LOAM_PROT_READ | LOAM_PROT_EXEC | LOAM_PROT_USER};

	EACH_FORMAT(f)
	{
		fixture_begin(f);
		for (unsigned int global = 0; global < 2; global++) {
			uintptr_t va = f->base + global * GIB;
			unsigned int stays = global ? LOAM_PROT_GLOBAL : 0;
			struct loam_mapping mapping = {RW | stays, LOAM_CACHE_DEVICE, 12};
			struct loam_paging_entry entry;

			CHECK_OK(loam_paging_map(&fixture.tree, va, 5 * GIB, 1000, &mapping));
			for (unsigned int i = 0; i < 5; i++) {
				/* GLOBAL in the argument neither sets nor clears it. */
				CHECK_OK(loam_paging_protect(&fixture.tree, va + 100 * 4096, 800,
							     prots[i] | (i % 2 ? LOAM_PROT_GLOBAL : 0)));
				CHECK_MAPPED(va + 100 * 4096, 5 * GIB + 100 * 4096, prots[i] | stays, 12);
				CHECK_MAPPED(va + 899 * 4096, 5 * GIB + 899 * 4096, prots[i] | stays, 12);
				CHECK_MAPPED(va + 99 * 4096, 5 * GIB + 99 * 4096, RW | stays, 12);
				CHECK_MAPPED(va + 900 * 4096, 5 * GIB + 900 * 4096, RW | stays, 12);
				CHECK_OK(loam_paging_query(&fixture.tree, va + 500 * 4096, &entry));
				CHECK_EQ(entry.cache, LOAM_CACHE_DEVICE);
			}
			CHECK_STATUS(loam_paging_protect(&fixture.tree, va, 1, RW | LOAM_PROT_EXEC),
				     LOAM_ERR_PROTECTION);
			CHECK_STATUS(loam_paging_protect(&fixture.tree, va, 1, LOAM_PROT_USER), LOAM_ERR_PROTECTION);
			CHECK_STATUS(loam_paging_protect(&fixture.tree, va, 1, 1u << 7 | RW), LOAM_ERR_INVALID);
		}
		fixture_end();
	}
}

/* ---- tables that come and go ---- */

TEST(paging_gives_empty_tables_back_after_a_flush)
{
	EACH_FORMAT(f)
	{
		struct loam_table_batch batch;
		uint32_t under_root;

		fixture_begin(f);
		fixture.tree.keep_empty_tables = false;
		CHECK(!loam_pagetable_seal(&fixture.tree, &batch));
		CHECK_OK(map_pages(f->base, 0, 512 * 3, RW, 12));
		CHECK_OK(map_pages(f->base + 100 * GIB, 0, 1, RW, 12));
		CHECK_OK(loam_paging_unmap(&fixture.tree, f->base + 4096, 512 * 3 - 1, NULL, NULL));
		/* Two leaf tables are empty; the first holds a page yet. They are cut off, but not given back. */
		uint32_t before = fixture.out;

		CHECK(loam_pagetable_seal(&fixture.tree, &batch));
		CHECK_EQ(batch.ntables, 2);
		CHECK_EQ(fixture.out, before);
		loam_pagetable_release(&fixture.tree, &batch);
		CHECK_EQ(fixture.out, before - 2);
		CHECK(!loam_pagetable_seal(&fixture.tree, &batch));
		CHECK_MAPPED(f->base, 0, RW, 12);

		CHECK_OK(loam_paging_unmap(&fixture.tree, f->base, 1, NULL, NULL));
		CHECK_OK(loam_paging_unmap(&fixture.tree, f->base + 100 * GIB, 1, NULL, NULL));
		CHECK(loam_pagetable_seal(&fixture.tree, &batch));
		loam_pagetable_release(&fixture.tree, &batch);
		/* Root, and what its entries point to. */
		under_root = f->levels == 3 ? 2 : 1;
		CHECK_EQ(fixture.out, 1 + under_root);
		/* As good as new: a large leaf fits where small ones were (not in an entry of the root). */
		CHECK_OK(map_pages(f->base, 0, 512, RW, 21));
		CHECK_MAPPED(f->base, 0, RW, 21);
		fixture_end();
	}
}

TEST(paging_gives_tables_back_that_held_large_leaves_only)
{
	EACH_FORMAT(f)
	{
		struct loam_table_batch batch;
		bool any;

		fixture_begin(f);
		fixture.tree.keep_empty_tables = false;
		CHECK_OK(map_pages(f->base, 0, 2 * 512 * 512, RW, 30));
		CHECK_MAPPED(f->base, 0, RW, 30);
		CHECK_OK(loam_paging_unmap(&fixture.tree, f->base, 2 * 512 * 512, NULL, NULL));
		any = loam_pagetable_seal(&fixture.tree, &batch);
		CHECK_EQ(any, f->levels == 5);
		if (any)
			loam_pagetable_release(&fixture.tree, &batch);
		CHECK_EQ(fixture.out, f->levels == 3 ? 1 : 2);
		fixture_end();
	}
}

TEST(paging_keeps_empty_tables_when_told_to)
{
	EACH_FORMAT(f)
	{
		struct loam_table_batch batch;

		fixture_begin(f);
		CHECK(fixture.tree.keep_empty_tables);
		CHECK_OK(map_pages(f->base, 0, 600, RW, 12));
		uint32_t before = fixture.out;

		for (unsigned int i = 0; i < 10; i++) {
			CHECK_OK(loam_paging_unmap(&fixture.tree, f->base, 600, NULL, NULL));
			CHECK(!loam_pagetable_seal(&fixture.tree, &batch));
			CHECK_OK(map_pages(f->base, 0, 600, RW, 12));
		}
		CHECK_EQ(fixture.out, before);
		CHECK_EQ(fixture.taken, before);
		fixture_end();
	}
}

TEST(paging_tables_cut_off_are_not_lost_by_destroy)
{
	EACH_FORMAT(f)
	{
		fixture_begin(f);
		fixture.tree.keep_empty_tables = false;
		CHECK_OK(map_pages(f->base, 0, 2000, RW, 12));
		CHECK_OK(loam_paging_unmap(&fixture.tree, f->base, 2000, NULL, NULL));
		fixture_end();
	}
}

/* ---- inheriting ---- */

TEST(V1_other_address_spaces_inherit_what_is_populated)
{
	EACH_FORMAT(f)
	{
		struct loam_table_source source;
		struct loam_pagetable child;
		struct loam_paging_entry entry;
		size_t npages = (size_t)(GIB / LOAM_PAGE_SIZE);
		uint32_t before;

		fixture_begin(f);
		source = fixture_source();
		CHECK_OK(loam_pagetable_init(&child, f->format, &source, LOAM_PADDR_NONE));
		CHECK_STATUS(loam_pagetable_inherit(&child, &fixture.tree, f->base, npages), LOAM_ERR_NOT_MAPPED);
		before = fixture.out;
		CHECK_OK(loam_paging_populate(&fixture.tree, f->base, npages));
		CHECK_EQ(fixture.out, before + 1);
		CHECK_OK(loam_paging_populate(&fixture.tree, f->base, npages)); /* again: nothing to do */
		CHECK_EQ(fixture.out, before + 1);
		CHECK_OK(loam_pagetable_inherit(&child, &fixture.tree, f->base, npages));
		CHECK_STATUS(loam_pagetable_inherit(&child, &fixture.tree, f->base, npages), LOAM_ERR_ALREADY);

		/* What comes later shows in both; what the child maps elsewhere is its own. */
		CHECK_OK(map_pages(f->base + 77 * 4096, 0x77000, 3, RW, 0));
		CHECK_OK(loam_paging_query(&child, f->base + 78 * 4096, &entry));
		CHECK_EQ(entry.pa, 0x78000);
		struct loam_mapping mapping = {.prot = RW | LOAM_PROT_USER};
		uintptr_t own =
			f->levels == 3 ? f->base + 6 * GIB : f->base + ((uint64_t)1 << (12 + 9 * (f->levels - 1)));

		CHECK_OK(loam_paging_map(&child, own, 0, 1, &mapping));
		CHECK_UNMAPPED(own);
		CHECK_STATUS(loam_paging_map(&child, f->base, 0, 1, &mapping), LOAM_ERR_OUT_OF_RANGE);
		CHECK_STATUS(loam_paging_unmap(&child, f->base + 78 * 4096, 1, NULL, NULL), LOAM_ERR_OUT_OF_RANGE);
		CHECK_STATUS(loam_paging_map(&child, own - 4096, 0, 1, &mapping),
			     f->levels == 3 ? LOAM_OK : LOAM_ERR_OUT_OF_RANGE);
		CHECK_OK(loam_paging_unmap(&fixture.tree, f->base + 77 * 4096, 3, NULL, NULL));
		CHECK_STATUS(loam_paging_query(&child, f->base + 78 * 4096, &entry), LOAM_ERR_NOT_MAPPED);
		CHECK_OK(map_pages(f->base, 0, 1, RW, 0));

		/* The child's end is not the end of what it inherited. */
		loam_pagetable_destroy(&child);
		CHECK_MAPPED(f->base, 0, RW, 12);
		fixture_end();
	}
}

TEST(paging_populate_failing_leaves_nothing_behind)
{
	const struct fixture_format *f = &fixture_formats[0];
	uint32_t before;

	fixture_begin(f);
	before = fixture.out;
	for (uint32_t nth = 1; nth <= 3; nth++) {
		fixture_fail(nth, nth % 2 == 0);
		CHECK_STATUS(loam_paging_populate(&fixture.tree, f->base, 3 * 512 * 512 * 512), LOAM_ERR_NO_MEMORY);
		CHECK_EQ(fixture.out, before);
	}
	fixture_fail(0, false);
	CHECK_OK(loam_paging_populate(&fixture.tree, f->base, 3 * 512 * 512 * 512));
	CHECK_EQ(fixture.out, before + 3);
	fixture_end();
	/* Sv39: the root itself may hold a 1 GiB leaf. */
	fixture_begin(&fixture_formats[4]);
	CHECK_OK(map_pages(fixture.f->base, 0, 512 * 512, RW, 30));
	CHECK_STATUS(loam_paging_populate(&fixture.tree, fixture.f->base, 1), LOAM_ERR_MAPPED);
	fixture_end();
}

/* ---- setting up ---- */

TEST(paging_init_refuses_what_it_cannot_use)
{
	struct loam_pagetable tree;
	struct loam_pagetable other;
	struct loam_table_source source;
	struct loam_table_source none = {0};

	fixture_begin(&fixture_formats[0]);
	source = fixture_source();
	CHECK_STATUS(loam_pagetable_init(NULL, &loam_paging_riscv_sv39, &source, LOAM_PADDR_NONE), LOAM_ERR_INVALID);
	CHECK_STATUS(loam_pagetable_init(&tree, NULL, &source, LOAM_PADDR_NONE), LOAM_ERR_INVALID);
	CHECK_STATUS(loam_pagetable_init(&tree, &loam_paging_riscv_sv39, NULL, LOAM_PADDR_NONE), LOAM_ERR_INVALID);
	CHECK_STATUS(loam_pagetable_init(&tree, &loam_paging_riscv_sv39, &none, LOAM_PADDR_NONE), LOAM_ERR_INVALID);
	CHECK_STATUS(loam_pagetable_init(&tree, &loam_paging_riscv_sv39, &source, 0x800), LOAM_ERR_ALIGNMENT);
	fixture_fail(1, false);
	CHECK_STATUS(loam_pagetable_init(&tree, &loam_paging_riscv_sv39, &source, LOAM_PADDR_NONE), LOAM_ERR_NO_MEMORY);
	CHECK_OK(loam_pagetable_init(&other, &loam_paging_riscv_sv39, &source, LOAM_PADDR_NONE));
	CHECK_STATUS(loam_pagetable_inherit(&other, &fixture.tree, fixture.f->base, 1), LOAM_ERR_INVALID);
	CHECK_STATUS(loam_pagetable_inherit(&other, &other, fixture.f->base, 1), LOAM_ERR_INVALID);
	loam_pagetable_destroy(&other);
	fixture_end();
}

TEST(paging_adopts_an_existing_root)
{
	EACH_FORMAT(f)
	{
		struct loam_pagetable again;
		struct loam_table_source source;
		struct loam_paging_entry entry;
		struct loam_mapping mapping = {.prot = RW};

		fixture_begin(f);
		source = fixture_source();
		CHECK_OK(map_pages(f->base, 0x1000, 1, RW, 0));
		CHECK_OK(loam_pagetable_init(&again, f->format, &source, fixture.tree.root));
		CHECK_OK(loam_paging_map(&again, f->base + 4096, 0x2000, 1, &mapping));
		CHECK_OK(loam_paging_query(&again, f->base, &entry));
		CHECK_EQ(entry.pa, 0x1000);
		CHECK_MAPPED(f->base + 4096, 0x2000, RW, 12);
		loam_pagetable_destroy(&again); /* leaves the tables: they may be somebody's */
		CHECK_MAPPED(f->base + 4096, 0x2000, RW, 12);
		fixture_end();
	}
}

TEST(paging_early_tables_come_from_the_boot_map)
{
	struct loam_table_source source;
	struct loam_pagetable tree;
	struct loam_mapping mapping = {.prot = RW};
	struct loam_paging_entry entry;
	struct rig_config config = {.npages = 64, .no_frames = true};
	struct rig *rig = rig_create(&config);
	uint64_t before = loam_memmap_bytes(&rig->map, LOAM_REGION_USABLE);

	source = loam_paging_tables_from_memmap(&rig->map, rig->direct_map);
	/* Dirty memory: the tables must be cleared. */
	__builtin_memset((void *)(uintptr_t)(rig->ram + rig->direct_map), 0xff, 64 * LOAM_PAGE_SIZE);
	CHECK_OK(loam_pagetable_init(&tree, &loam_paging_x86_64_4level, &source, LOAM_PADDR_NONE));
	CHECK_OK(loam_paging_map(&tree, 0xffff900000000000, 0, 600, &mapping));
	CHECK_OK(loam_paging_query(&tree, 0xffff900000000000 + 599 * 4096, &entry));
	CHECK_EQ(entry.pa, 599 * 4096);
	CHECK_EQ(before - loam_memmap_bytes(&rig->map, LOAM_REGION_USABLE), 5 * LOAM_PAGE_SIZE);
	/* Too much: what was taken in vain is used for the next. */
	CHECK_STATUS(loam_paging_map(&tree, 0xffff910000000000, 0, 100 * 512, &mapping), LOAM_ERR_NO_MEMORY);
	CHECK_STATUS(loam_paging_query(&tree, 0xffff910000000000, &entry), LOAM_ERR_NOT_MAPPED);
	CHECK_EQ(loam_memmap_bytes(&rig->map, LOAM_REGION_USABLE), 0);
	CHECK_OK(loam_paging_map(&tree, 0xffff910000000000, 0, 50 * 512, &mapping));
	CHECK_OK(loam_paging_query(&tree, 0xffff910000000000 + 50 * 2 * MIB - 1, &entry));
	CHECK_EQ(entry.pa, 50 * 2 * MIB - 1);
	rig_destroy(rig);
}
