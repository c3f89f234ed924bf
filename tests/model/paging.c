/* tests/model/paging.c: random operations on trees of every format beside a naive array of pages, looked at through the hardware's walk (ports/host/walk.h) and
 * through loam_paging_query().
 *
 * Every run is the same: LOAM_SEED=n makes it another one, LOAM_ROUNDS=n a longer one.
 */
#include "unit/paging/fixture.h"

#include <walk.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Windows of pages, 8 MiB each, around the edges where things happen: the two ends of a 1 GiB leaf, and one alone. */
enum { WINDOW_PAGES = 2048, WINDOWS = 3, HUGE_PAGES = 512 * 512 };

/* One page as it should be. @prot 0: not mapped. */
struct naive {
	loam_paddr pa;
	uint8_t prot;
	uint8_t cache;
};

struct model {
	const struct fixture_format *f;
	struct host_mmu mmu;
	struct naive *pages; /* 2 GiB from the base */
	uint64_t seed;
	uint64_t state;
	uint64_t done;
	bool keep;
};

enum { MODEL_PAGES = 2 * HUGE_PAGES };

static uint64_t random_below(struct model *m, uint64_t n)
{
	return rig_random(&m->state) % n;
}

static struct host_mmu mmu_of(const struct fixture_format *f)
{
	const char *name = loam_paging_format_name(f->format);
	struct host_mmu mmu = {.levels = f->levels, .pa_bits = f->pa_bits};

	if (strncmp(name, "x86", 3) == 0) {
		mmu.kind = HOST_MMU_X86_64;
		mmu.types = LOAM_X86_64_PAT;
	} else if (strncmp(name, "AArch64", 7) == 0) {
		mmu.kind = HOST_MMU_AARCH64;
		mmu.types = LOAM_AARCH64_MAIR;
		mmu.upper_half = f->format == &loam_paging_aarch64_48;
	} else {
		mmu.kind = HOST_MMU_RISCV;
		mmu.svpbmt = strstr(name, "Svpbmt") != NULL;
	}
	return mmu;
}

static uint64_t read_entry(void *context, uint64_t address)
{
	(void)context;
	if (address < fixture.rig->ram || address >= fixture.rig->ram + FIXTURE_TABLES * LOAM_PAGE_SIZE)
		return 0xdbdbdbdbdbdbdbdb;
	return __atomic_load_n((uint64_t *)(uintptr_t)(address + fixture.rig->direct_map), __ATOMIC_ACQUIRE);
}

/* What the hardware should make of a cache type. */
static enum host_memory memory_of(const struct model *m, enum loam_cache cache)
{
	if (m->mmu.kind == HOST_MMU_RISCV && !m->mmu.svpbmt)
		return HOST_WRITE_BACK; /* the platform's attributes decide */
	switch (cache) {
	case LOAM_CACHE_WRITE_BACK:
		return HOST_WRITE_BACK;
	case LOAM_CACHE_WRITE_COMBINING:
		return HOST_WRITE_COMBINING;
	case LOAM_CACHE_UNCACHED:
		return m->mmu.kind == HOST_MMU_X86_64 ? HOST_UNCACHED : HOST_WRITE_COMBINING;
	case LOAM_CACHE_DEVICE:
		return HOST_DEVICE;
	}
	return HOST_WRITE_THROUGH;
}

#define MODEL_CHECK(condition)                                                                                         \
	((condition) ? (void)0                                                                                         \
		     : tap_fail(__FILE__, __LINE__, "%s: LOAM_SEED=%llu, %s, operation %llu, page %zu, %s",            \
				#condition, (unsigned long long)m->seed, loam_paging_format_name(m->f->format),        \
				(unsigned long long)m->done, page, fault == NULL ? "translated" : fault))

/* One page, byte by byte of the truth. */
static void check_page(struct model *m, size_t page)
{
	const struct naive *want = &m->pages[page];
	uintptr_t va = m->f->base + page * LOAM_PAGE_SIZE + random_below(m, LOAM_PAGE_SIZE);
	struct host_translation got;
	struct loam_paging_entry entry;
	const char *fault = host_walk(&m->mmu, fixture.tree.root, va, read_entry, NULL, &got);
	enum loam_status status = loam_paging_query(&fixture.tree, va, &entry);
	loam_paddr pa = want->pa + va % LOAM_PAGE_SIZE;
	bool user = (want->prot & LOAM_PROT_USER) != 0;
	bool write = (want->prot & LOAM_PROT_WRITE) != 0;
	bool execute = (want->prot & LOAM_PROT_EXEC) != 0;

	if (want->prot == 0) {
		MODEL_CHECK(status == LOAM_ERR_NOT_MAPPED);
		MODEL_CHECK(fault != NULL && strstr(fault, "reserved") == NULL);
		return;
	}
	MODEL_CHECK(fault == NULL);
	MODEL_CHECK(got.pa == pa);
	MODEL_CHECK(got.read && got.write == write && got.execute == (execute && !user));
	MODEL_CHECK(got.user_read == user && got.user_write == (user && write));
	MODEL_CHECK(got.user_execute == (user && execute));
	MODEL_CHECK(got.global == ((want->prot & LOAM_PROT_GLOBAL) != 0));
	MODEL_CHECK(got.memory == memory_of(m, (enum loam_cache)want->cache));
	MODEL_CHECK(!got.needs_update);
	MODEL_CHECK(status == LOAM_OK && entry.pa == pa && entry.prot == want->prot && entry.leaf_shift == got.shift);
	MODEL_CHECK(entry.cache == (enum loam_cache)want->cache);
}

static void check_sample(struct model *m, size_t first, size_t npages)
{
	/* The ends and their neighbours, and some of the middle. */
	for (size_t d = 0; d < 3; d++) {
		if (first >= d)
			check_page(m, first - d);
		if (first + npages + d <= MODEL_PAGES)
			check_page(m, first + npages + d - 1);
	}
	for (unsigned int i = 0; i < 6; i++)
		check_page(m, first + random_below(m, npages));
}

static unsigned int random_prot(struct model *m)
{
	static const unsigned int access[] = {LOAM_PROT_READ, RW, LOAM_PROT_READ | LOAM_PROT_EXEC};

	return access[random_below(m, 3)] | (random_below(m, 4) == 0 ? LOAM_PROT_USER : 0) |
	       (random_below(m, 2) == 0 ? LOAM_PROT_GLOBAL : 0);
}

static void random_range(struct model *m, size_t *first, size_t *npages)
{
	static const size_t sizes[] = {1, 3, 16, 100, 512, 513, 1500};
	static const size_t anchors[] = {0,          WINDOW_PAGES,    HUGE_PAGES - 700, HUGE_PAGES - 1,
					 HUGE_PAGES, HUGE_PAGES + 512};

	if (random_below(m, 200) == 0) { /* a whole GiB, or nearly */
		*first = random_below(m, 2) * HUGE_PAGES;
		*npages = HUGE_PAGES - (random_below(m, 2) == 0 ? 0 : random_below(m, 3));
		return;
	}
	*first = anchors[random_below(m, 6)] + (random_below(m, 2) == 0 ? 0 : random_below(m, 1200));
	if (random_below(m, 3) == 0)
		*first &= ~(size_t)511;
	*npages = 1 + random_below(m, sizes[random_below(m, 7)]);
	if (random_below(m, 4) == 0)
		*npages = (*npages + 511) & ~(size_t)511;
}

static bool all_are(const struct model *m, size_t first, size_t npages, bool mapped)
{
	for (size_t i = 0; i < npages; i++)
		if ((m->pages[first + i].prot != 0) != mapped)
			return false;
	return true;
}

static void do_map(struct model *m, size_t first, size_t npages)
{
	static const unsigned int leaves[] = {0, 12, 21, 30};
	size_t page = first;
	const char *fault = NULL;
	uintptr_t va = m->f->base + first * LOAM_PAGE_SIZE;
	struct loam_mapping mapping = {random_prot(m), (enum loam_cache)random_below(m, 4), leaves[random_below(m, 4)]};
	/* Often such that large leaves fit. */
	loam_paddr pa = (random_below(m, 3) == 0 ? random_below(m, 1 << 20) : first + 4 * HUGE_PAGES) * LOAM_PAGE_SIZE;
	bool fits = all_are(m, first, npages, false);
	enum loam_status status;

	if (random_below(m, 20) == 0)
		fixture_fail(1 + (uint32_t)random_below(m, 3), random_below(m, 2) == 0);
	if (npages < 600 && random_below(m, 2) == 0) {
		loam_pfn pfns[600];

		for (size_t i = 0; i < npages; i++)
			pfns[i] = pa / LOAM_PAGE_SIZE + i;
		status = loam_paging_map_frames(&fixture.tree, va, pfns, npages, &mapping);
	} else {
		status = loam_paging_map(&fixture.tree, va, pa, npages, &mapping);
	}
	bool may_fail = fixture.fail_at != 0 || fixture.fail_for_good;

	fixture_fail(0, false);
	if (!fits) {
		/* Both are wrong at once when a table fails before the mapped page is met: it is met first, always. */
		MODEL_CHECK(status == LOAM_ERR_MAPPED);
		return;
	}
	(void)may_fail;
	if (status == LOAM_ERR_NO_MEMORY)
		return;
	MODEL_CHECK(status == LOAM_OK);
	for (size_t i = 0; i < npages; i++)
		m->pages[first + i] = (struct naive){pa + i * LOAM_PAGE_SIZE, (uint8_t)(mapping.prot | LOAM_PROT_READ),
						     (uint8_t)mapping.cache};
}

struct leaves {
	struct model *m;
	size_t npages;
	bool wrong;
};

static void on_leaf(void *context, uintptr_t va, loam_paddr pa, size_t npages)
{
	struct leaves *leaves = context;
	size_t page = (va - leaves->m->f->base) / LOAM_PAGE_SIZE;

	for (size_t i = 0; i < npages; i++)
		if (leaves->m->pages[page + i].pa != pa + i * LOAM_PAGE_SIZE)
			leaves->wrong = true;
	leaves->npages += npages;
}

static void do_change(struct model *m, size_t first, size_t npages, bool unmap)
{
	size_t page = first;
	const char *fault = NULL;
	uintptr_t va = m->f->base + first * LOAM_PAGE_SIZE;
	unsigned int prot = random_prot(m);
	struct leaves leaves = {.m = m};
	bool fits = all_are(m, first, npages, true);
	enum loam_status status;

	if (random_below(m, 20) == 0)
		fixture_fail(1 + (uint32_t)random_below(m, 3), random_below(m, 2) == 0);
	status = unmap ? loam_paging_unmap(&fixture.tree, va, npages, on_leaf, &leaves)
		       : loam_paging_protect(&fixture.tree, va, npages, prot);
	fixture_fail(0, false);
	if (!fits) {
		MODEL_CHECK(status == LOAM_ERR_NOT_MAPPED);
		MODEL_CHECK(leaves.npages == 0);
		return;
	}
	if (status == LOAM_ERR_NO_MEMORY) {
		MODEL_CHECK(leaves.npages == 0);
		return;
	}
	MODEL_CHECK(status == LOAM_OK);
	MODEL_CHECK(!unmap || (leaves.npages == npages && !leaves.wrong));
	for (size_t i = 0; i < npages; i++) {
		struct naive *p = &m->pages[first + i];

		if (unmap)
			*p = (struct naive){0};
		else
			p->prot = (uint8_t)((prot & ~LOAM_PROT_GLOBAL) | LOAM_PROT_READ | (p->prot & LOAM_PROT_GLOBAL));
	}
}

static void do_tables(struct model *m)
{
	struct loam_table_batch batch;
	size_t page = 0;
	const char *fault = NULL;

	if (loam_pagetable_seal(&fixture.tree, &batch)) {
		MODEL_CHECK(!m->keep);
		loam_pagetable_release(&fixture.tree, &batch);
	}
	MODEL_CHECK(loam_pagetable_count_racy(&fixture.tree) == fixture.out);
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text == NULL ? otherwise : strtoull(text, NULL, 0);
}

static void run(const struct fixture_format *f, bool keep)
{
	static struct model model;
	struct model *m = &model;
	uint64_t rounds = from_environment("LOAM_ROUNDS", 4000);

	*m = (struct model){.f = f, .mmu = mmu_of(f), .keep = keep};
	m->seed = from_environment("LOAM_SEED", 1);
	m->state = m->seed;
	m->pages = calloc(MODEL_PAGES, sizeof(*m->pages));
	fixture_begin(f);
	fixture.tree.keep_empty_tables = keep;
	fixture.tree.split = LOAM_SPLIT_IN_PLACE;
	for (m->done = 0; m->done < rounds; m->done++) {
		size_t first, npages;

		random_range(m, &first, &npages);
		switch (random_below(m, 8)) {
		case 0:
		case 1:
		case 2:
			do_map(m, first, npages);
			break;
		case 3:
		case 4:
		case 5:
			do_change(m, first, npages, true);
			break;
		case 6:
			do_change(m, first, npages, false);
			break;
		default:
			do_tables(m);
			break;
		}
		check_sample(m, first, npages);
	}
	for (size_t i = 0; i < MODEL_PAGES; i += i % 4096 < 2100 ? 1 : 97)
		check_page(m, i);
	/* All of it away: what is left is the root and what it points to. */
	for (size_t i = 0; i < MODEL_PAGES; i++) {
		size_t n = 0;

		while (i + n < MODEL_PAGES && m->pages[i + n].prot != 0)
			n++;
		if (n > 0)
			do_change(m, i, n, true);
		i += n;
	}
	do_tables(m);
	if (!keep)
		CHECK(fixture.out <= 1 + (f->levels == 3 ? 2 : 1));
	free(m->pages);
	fixture_end();
}

TEST(paging_like_a_naive_array_keeping_tables)
{
	EACH_FORMAT(f)
	run(f, true);
}

TEST(paging_like_a_naive_array_giving_tables_back)
{
	EACH_FORMAT(f)
	run(f, false);
}
