/* tests/unit/paging/fixture.c: see fixture.h. */
#include "fixture.h"

struct fixture fixture;

static void lock(void)
{
	while (__atomic_exchange_n(&fixture.lock, 1, __ATOMIC_ACQUIRE) != 0)
		loam_port_relax(100);
}

static void unlock(void)
{
	__atomic_store_n(&fixture.lock, 0, __ATOMIC_RELEASE);
}

static uint64_t *frame_words(uint32_t index)
{
	return (uint64_t *)(uintptr_t)(fixture.rig->ram + index * LOAM_PAGE_SIZE + fixture.rig->direct_map);
}

static loam_paddr take(void *context)
{
	loam_paddr pa = LOAM_PADDR_NONE;
	uint32_t index = 0;

	(void)context;
	lock();
	bool fail = fixture.fail_at == 1;

	if (fixture.fail_at > 1 || (fail && !fixture.fail_for_good))
		fixture.fail_at--;
	if (!fail && fixture.nfree > 0) {
		index = fixture.free[--fixture.nfree];
		fixture.is_out[index] = 1;
		fixture.out++;
		fixture.taken++;
		pa = fixture.rig->ram + index * LOAM_PAGE_SIZE;
	}
	unlock();
	if (pa != LOAM_PADDR_NONE)
		__builtin_memset(frame_words(index), 0, LOAM_PAGE_SIZE);
	return pa;
}

static void give(void *context, loam_paddr table)
{
	uint64_t index = (table - fixture.rig->ram) / LOAM_PAGE_SIZE;

	(void)context;
	lock();
	if (table % LOAM_PAGE_SIZE != 0 || index >= FIXTURE_TABLES || !fixture.is_out[index]) {
		fixture.wrong = true;
	} else {
		/* Whoever still walks through it finds nonsense. */
		__builtin_memset(frame_words((uint32_t)index), 0xdb, LOAM_PAGE_SIZE);
		fixture.is_out[index] = 0;
		fixture.free[fixture.nfree++] = (uint16_t)index;
		fixture.out--;
	}
	unlock();
}

struct loam_table_source fixture_source(void)
{
	return (struct loam_table_source){.alloc = take, .free = give, .direct_map = fixture.rig->direct_map};
}

void fixture_begin(const struct fixture_format *f)
{
	struct rig_config config = {
		.npages = FIXTURE_TABLES, .ncpus = rig_cpus() < 4 ? rig_cpus() : 4, .no_frames = true};

	__builtin_memset(&fixture, 0, sizeof(fixture));
	fixture.f = f;
	fixture.rig = rig_create(&config);
	for (uint32_t i = 0; i < FIXTURE_TABLES; i++)
		fixture.free[fixture.nfree++] = (uint16_t)(FIXTURE_TABLES - 1 - i);

	struct loam_table_source source = fixture_source();

	CHECK_OK(loam_pagetable_init(&fixture.tree, f->format, &source, LOAM_PADDR_NONE));
	CHECK_EQ(fixture.out, 1);
}

void fixture_end(void)
{
	loam_pagetable_destroy(&fixture.tree);
	CHECK_EQ(fixture.out, 0);
	CHECK_EQ(loam_pagetable_count_racy(&fixture.tree), 0);
	CHECK(!fixture.wrong);
	rig_destroy(fixture.rig);
}

void fixture_fail(uint32_t nth, bool for_good)
{
	fixture.fail_at = nth;
	fixture.fail_for_good = for_good;
}

void check_mapped(const char *file, int line, uintptr_t va, loam_paddr pa, unsigned int prot, unsigned int leaf_shift)
{
	struct loam_paging_entry entry = {0};
	enum loam_status status = loam_paging_query(&fixture.tree, va, &entry);

	if (status != LOAM_OK)
		tap_fail(file, line, "0x%llx of %s: %s", (unsigned long long)va,
			 loam_paging_format_name(fixture.f->format), loam_status_name(status));
	if (entry.pa != pa || entry.prot != prot || entry.leaf_shift != leaf_shift)
		tap_fail(file, line, "0x%llx of %s: pa 0x%llx prot 0x%x leaf %u, expected pa 0x%llx prot 0x%x leaf %u",
			 (unsigned long long)va, loam_paging_format_name(fixture.f->format),
			 (unsigned long long)entry.pa, entry.prot, entry.leaf_shift, (unsigned long long)pa, prot,
			 leaf_shift);
}
