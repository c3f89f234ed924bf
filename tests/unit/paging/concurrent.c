/* tests/unit/paging/concurrent.c: several CPUs at once in the same tables, on pages of their own; for the thread sanitizer, and for what must never be seen. */
#include "fixture.h"

enum { PAGES_EACH = 96, ROUNDS = 1000 };

static loam_paddr pa_of(unsigned int cpu, size_t i)
{
	return GIB + (cpu * PAGES_EACH + i) * LOAM_PAGE_SIZE;
}

/* Every CPU's pages lie interleaved in the same leaf tables: page i of cpu c is i * ncpus + c. Queries of anybody's pages see the right frame or none. */
static bool map_and_unmap(struct rig *rig, unsigned int cpu, void *context)
{
	uint64_t random = cpu + 1;
	unsigned int ncpus = rig->ncpus;
	struct loam_mapping mapping = {.prot = RW};
	const struct fixture_format *f = fixture.f;
	struct loam_table_batch batch;
	struct loam_paging_entry entry;
	bool mapped[PAGES_EACH] = {false};

	(void)context;
	for (unsigned int round = 0; round < ROUNDS; round++) {
		size_t i = (size_t)(rig_random(&random) % PAGES_EACH);
		/* Far apart too, so that upper tables come and go. */
		uintptr_t va = f->base + (i * ncpus + cpu) * LOAM_PAGE_SIZE + (i % 3) * GIB;
		enum loam_status status;

		if (mapped[i])
			status = loam_paging_unmap(&fixture.tree, va, 1, NULL, NULL);
		else
			status = loam_paging_map(&fixture.tree, va, pa_of(cpu, i), 1, &mapping);
		if (status != LOAM_OK)
			return false;
		mapped[i] = !mapped[i];
		status = loam_paging_query(&fixture.tree, va, &entry);
		if (mapped[i] ? status != LOAM_OK || entry.pa != pa_of(cpu, i) : status != LOAM_ERR_NOT_MAPPED)
			return false;

		unsigned int other = (unsigned int)(rig_random(&random) % ncpus);

		i = (size_t)(rig_random(&random) % PAGES_EACH);
		va = f->base + (i * ncpus + other) * LOAM_PAGE_SIZE + (i % 3) * GIB;
		status = loam_paging_query(&fixture.tree, va, &entry);
		if (status == LOAM_OK ? entry.pa != pa_of(other, i) : status != LOAM_ERR_NOT_MAPPED)
			return false;
		if (round % 16 == cpu && loam_pagetable_seal(&fixture.tree, &batch))
			loam_pagetable_release(&fixture.tree, &batch);
	}
	for (size_t i = 0; i < PAGES_EACH; i++)
		if (mapped[i] &&
		    loam_paging_unmap(&fixture.tree, f->base + (i * ncpus + cpu) * LOAM_PAGE_SIZE + (i % 3) * GIB, 1,
				      NULL, NULL) != LOAM_OK)
			return false;
	return true;
}

TEST(paging_on_all_cpus_keeping_tables)
{
	EACH_FORMAT(f)
	{
		fixture_begin(f);
		CHECK(rig_run(fixture.rig, map_and_unmap, NULL));
		CHECK_UNMAPPED(f->base);
		fixture_end();
	}
}

TEST(paging_on_all_cpus_giving_tables_back)
{
	EACH_FORMAT(f)
	{
		struct loam_table_batch batch;

		fixture_begin(f);
		fixture.tree.keep_empty_tables = false;
		CHECK(rig_run(fixture.rig, map_and_unmap, NULL));
		CHECK_UNMAPPED(f->base);
		/* The last to leave has cut everything off. */
		if (loam_pagetable_seal(&fixture.tree, &batch))
			loam_pagetable_release(&fixture.tree, &batch);
		CHECK_EQ(fixture.out, 1 + (f->levels == 3 ? 3 : 1));
		fixture_end();
	}
}

/* All CPUs split the same large leaves at once, each for a page of its own; the pages between stay. */
static bool split(struct rig *rig, unsigned int cpu, void *context)
{
	const struct fixture_format *f = fixture.f;
	struct loam_paging_entry entry;

	(void)context;
	for (size_t i = 0; i < 40; i++) {
		uintptr_t va = f->base + i * 2 * MIB + (1 + 2 * cpu) * LOAM_PAGE_SIZE;
		enum loam_status status = i % 2 == 0 ? loam_paging_unmap(&fixture.tree, va, 1, NULL, NULL)
						     : loam_paging_protect(&fixture.tree, va, 1, LOAM_PROT_READ);

		if (status != LOAM_OK)
			return false;
		/* Nobody unmaps even pages: they are there at every moment. */
		for (unsigned int j = 0; j < 2 * rig->ncpus; j += 2) {
			va = f->base + i * 2 * MIB + j * LOAM_PAGE_SIZE;
			do
				status = loam_paging_query(&fixture.tree, va, &entry);
			while (status == LOAM_ERR_BUSY && fixture.tree.split == LOAM_SPLIT_BREAK);
			if (status != LOAM_OK || entry.pa != va - f->base)
				return false;
		}
	}
	return true;
}

TEST(paging_splits_on_all_cpus)
{
	EACH_FORMAT(f)
	{
		/* In place; and by break before make, where whoever faults asks again. */
		for (unsigned int way = 0; way < 4; way++) {
			unsigned int keep = way % 2;
			uint32_t before;

			fixture_begin(f);
			fixture.tree.keep_empty_tables = keep != 0;
			fixture.tree.split = way < 2 ? LOAM_SPLIT_IN_PLACE : LOAM_SPLIT_BREAK;
			CHECK_OK(map_pages(f->base, 0, 512 * 512, RW, 30));
			before = fixture.out;
			CHECK(rig_run(fixture.rig, split, NULL));
			CHECK_EQ(fixture.out, before + 1 + 40);
			for (unsigned int cpu = 0; cpu < fixture.rig->ncpus; cpu++) {
				CHECK_UNMAPPED(f->base + (1 + 2 * cpu) * LOAM_PAGE_SIZE);
				CHECK_MAPPED(f->base + 2 * MIB + (1 + 2 * cpu) * LOAM_PAGE_SIZE,
					     2 * MIB + (1 + 2 * cpu) * LOAM_PAGE_SIZE, LOAM_PROT_READ, 12);
			}
			fixture_end();
		}
	}
}
