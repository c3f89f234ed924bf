/* tests/sched/paging.c: page tables and shootdown under every schedule of one preemption or two (a switch where a CPU spins is free).
 *
 * Shootdown: the machine's own TLBs end the run at an access through a stale entry. Tables: those that come back are scribbled over with plain stores, so that whoever
 * still walks through one is a data race or finds nonsense.
 */
#include "rig.h"
#include "sched/sched.h"
#include "tap.h"

#include <base/atomic.h>
#include <host.h>
#include <walk.h>

#include <loam/paging.h>

#define VA ((uintptr_t)0xffff900000000000)
enum { TABLES = 64 };

static struct {
	struct rig *rig;
	struct loam_pagetable tree;
	struct loam_tlb tlb;
	loam_pfn old, new;
	uint32_t ready, remapped, finished;
	unsigned int nthreads;
	bool full;
	/* the source of tables of the builders' tests */
	uint32_t lock;
	uint32_t out;
	uint8_t is_out[TABLES];
	bool wrong;
	uint32_t got[4]; /* what queries saw */
} s;
static _Alignas(LOAM_CPU_ALIGN) char tlb_metadata[8192];

static const struct loam_mapping writable = {.prot = LOAM_PROT_READ | LOAM_PROT_WRITE};

/* ---- shootdown ----------------------------------------------------------------------------------------------------------- */

static void answer(void *arg)
{
	loam_tlb_idle_exit(arg);
	loam_tlb_ipi(arg);
}

static void tlb_setup(void *context)
{
	struct rig_config config = {.npages = 512, .ncpus = 3};
	struct host_mmu mmu = {.kind = HOST_MMU_X86_64, .levels = 4, .pa_bits = 52, .types = LOAM_X86_64_PAT};
	struct loam_tlb_config tlb = {.ncpus = 3};
	struct loam_table_source source;

	(void)context;
	s.rig = rig_create(&config);
	source = loam_paging_tables_from_frames(s.rig->frames);
	s.tlb = (struct loam_tlb){0};
	s.ready = s.remapped = s.finished = 0;
	CHECK_OK(loam_pagetable_init(&s.tree, &loam_paging_x86_64_4level, &source, LOAM_PADDR_NONE));
	host_set_mmu(s.rig->machine, &mmu, s.tree.root);
	CHECK_OK(loam_tlb_init(&s.tlb, &tlb, tlb_metadata, sizeof(tlb_metadata)));
	host_on_ipi(s.rig->machine, answer, &s.tlb);
	s.old = loam_frame_alloc(s.rig->frames, 0, NULL);
	s.new = loam_frame_alloc(s.rig->frames, 0, NULL);
	/* Page 0 changes hands; pages 1 and 2 are there to be flushed by others. */
	CHECK_OK(loam_paging_map(&s.tree, VA, s.old << LOAM_PAGE_SHIFT, 1, &writable));
	CHECK_OK(loam_paging_map(&s.tree, VA + LOAM_PAGE_SIZE, s.rig->ram, 2, &writable));
}

/* All are online and have used page 0 before anything begins. */
static void warm_up(void)
{
	uint64_t word;

	loam_tlb_cpu_online(&s.tlb);
	host_read(VA, &word, sizeof(word));
	(void)loami_fetch_add(&s.ready, 1);
	for (unsigned int round = 0; loami_load_acquire(&s.ready) < s.nthreads; round++)
		loam_port_relax(round);
}

static void tlb_teardown(void *context)
{
	(void)context;
	rig_destroy(s.rig);
}

/* Nobody's thread ends before all are done: it answers interrupts to the last. */
static void cool_down(void)
{
	(void)loami_fetch_add(&s.finished, 1);
	for (unsigned int round = 0; loami_load_acquire(&s.finished) < s.nthreads; round++)
		loam_port_relax(round);
}

static struct loam_tlb_range page(unsigned int i)
{
	return (struct loam_tlb_range){.start = VA + i * LOAM_PAGE_SIZE, .npages = 1, .stride_shift = LOAM_PAGE_SHIFT};
}

/* CPU 0: another frame at page 0, after the flush. */
static void remap(void)
{
	struct loam_tlb_range range = page(0);

	SCHED_CHECK(loam_paging_unmap(&s.tree, VA, 1, NULL, NULL) == LOAM_OK);
	SCHED_CHECK(loam_tlb_wait(&s.tlb, loam_tlb_flush_start(&s.tlb, &range, s.full ? 0 : 1)) == LOAM_OK);
	SCHED_CHECK(loam_paging_map(&s.tree, VA, s.new << LOAM_PAGE_SHIFT, 1, &writable) == LOAM_OK);
	loami_store_release(&s.remapped, 1);
}

static void use_once_remapped(void)
{
	uint64_t word;

	for (unsigned int round = 0; loami_load_acquire(&s.remapped) == 0; round++)
		loam_port_relax(round);
	host_read(VA, &word, sizeof(word));
}

/* CPU 1 has a flush of its own under way. */
static void remap_against_flush(void *context, unsigned int i)
{
	struct loam_tlb_range range = page(i);

	(void)context;
	warm_up();
	if (i == 0) {
		remap();
		cool_down();
		return;
	}
	SCHED_CHECK(loam_paging_unmap(&s.tree, range.start, 1, NULL, NULL) == LOAM_OK);
	(void)loam_tlb_flush_start(&s.tlb, &range, s.full ? 0 : 1);
	use_once_remapped();
	cool_down();
}

/* CPU 1 goes to sleep and wakes. */
static void remap_against_idle(void *context, unsigned int i)
{
	(void)context;
	warm_up();
	if (i == 0) {
		remap();
		cool_down();
		return;
	}
	loam_tlb_idle_enter(&s.tlb);
	LOAMI_POINT();
	loam_tlb_idle_exit(&s.tlb);
	use_once_remapped();
	cool_down();
}

/* CPU 1 leaves and comes back. */
static void remap_against_offline(void *context, unsigned int i)
{
	(void)context;
	warm_up();
	if (i == 0) {
		remap();
		cool_down();
		return;
	}
	loam_tlb_cpu_offline(&s.tlb);
	LOAMI_POINT();
	loam_tlb_cpu_online(&s.tlb);
	use_once_remapped();
	cool_down();
}

static void explore_tlb(void (*thread)(void *, unsigned int), unsigned int nthreads, unsigned int preemptions)
{
	struct sched_test test = {.nthreads = nthreads,
				  .setup = tlb_setup,
				  .thread = thread,
				  .teardown = tlb_teardown,
				  .preemptions = preemptions};

	s.nthreads = nthreads;
	SCHED_EXPLORE(&test);
}

TEST(tlb_remap_against_a_flush_of_pages)
{
	s.full = false;
	explore_tlb(remap_against_flush, 2, 1);
}

TEST(tlb_remap_against_a_flush_of_everything)
{
	s.full = true;
	explore_tlb(remap_against_flush, 2, 1);
}

TEST(tlb_remap_against_idle)
{
	s.full = false;
	explore_tlb(remap_against_idle, 2, 1);
}

TEST(tlb_remap_against_offline)
{
	s.full = false;
	explore_tlb(remap_against_offline, 2, 1);
}

/* ---- builders ------------------------------------------------------------------------------------------------------------- */

static uint64_t *table_words(uint32_t i)
{
	return (uint64_t *)(uintptr_t)(s.rig->ram + i * LOAM_PAGE_SIZE + s.rig->direct_map);
}

/* Lowest first: a table that came back is the next to be used. */
static loam_paddr take(void *context)
{
	uint32_t i = 0;

	(void)context;
	for (unsigned int round = 0; loami_exchange_acquire(&s.lock, 1) != 0; round++)
		loam_port_relax(round);
	while (i < TABLES && s.is_out[i])
		i++;
	s.is_out[i] = 1;
	s.out++;
	loami_store_release(&s.lock, 0);
	for (unsigned int k = 0; k < 512; k++)
		table_words(i)[k] = 0;
	return s.rig->ram + i * LOAM_PAGE_SIZE;
}

static void give(void *context, loam_paddr table)
{
	uint32_t i = (uint32_t)((table - s.rig->ram) / LOAM_PAGE_SIZE);

	(void)context;
	for (unsigned int k = 0; k < 512; k++)
		table_words(i)[k] = UINT64_C(0x00dbdbdbdbdbd0e7);
	for (unsigned int round = 0; loami_exchange_acquire(&s.lock, 1) != 0; round++)
		loam_port_relax(round);
	if (i >= TABLES || !s.is_out[i])
		s.wrong = true;
	s.is_out[i] = 0;
	s.out--;
	loami_store_release(&s.lock, 0);
}

/* Three levels: fewer points. */
static const uintptr_t va39 = 0xffffffc000000000;
static bool keep_tables, large_before;

static void tree_setup(void *context)
{
	struct rig_config config = {.npages = TABLES, .ncpus = 3, .no_frames = true};
	struct loam_table_source source = {.alloc = take, .free = give};
	struct loam_mapping large = {.prot = LOAM_PROT_READ | LOAM_PROT_WRITE, .largest_leaf = 21};

	(void)context;
	s.rig = rig_create(&config);
	s.out = 0;
	s.wrong = false;
	s.lock = 0;
	for (unsigned int i = 0; i < TABLES; i++)
		s.is_out[i] = 0;
	source.direct_map = s.rig->direct_map;
	CHECK_OK(loam_pagetable_init(&s.tree, &loam_paging_riscv_sv39, &source, LOAM_PADDR_NONE));
	s.tree.keep_empty_tables = keep_tables;
	if (large_before)
		CHECK_OK(loam_paging_map(&s.tree, va39, 0, 512, &large));
}

static bool is_mapped(unsigned int i)
{
	struct loam_paging_entry entry;

	return loam_paging_query(&s.tree, va39 + i * LOAM_PAGE_SIZE, &entry) == LOAM_OK &&
	       entry.pa == i * LOAM_PAGE_SIZE;
}

static bool tree_check(void *context)
{
	bool right = true;

	/* What each scenario leaves: page i of CPU i. */
	for (unsigned int i = 0; i < 2; i++)
		right = right && is_mapped(i);
	(void)context;
	loam_pagetable_destroy(&s.tree);
	return right && !s.wrong && s.out == 0;
}

static void tree_teardown(void *context)
{
	(void)context;
	rig_destroy(s.rig);
}

/* Both need the same missing tables. */
static void map_one(void *context, unsigned int i)
{
	(void)context;
	SCHED_CHECK(loam_paging_map(&s.tree, va39 + i * LOAM_PAGE_SIZE, i * LOAM_PAGE_SIZE, 1, &writable) == LOAM_OK);
	SCHED_CHECK(is_mapped(i));
}

/* Page 0 comes, goes and comes: the table under it is emptied, cut off, given back and made anew under the other's hands. */
static void come_and_go(void *context, unsigned int i)
{
	struct loam_table_batch batch;

	map_one(context, i);
	if (i == 1)
		return;
	SCHED_CHECK(loam_paging_unmap(&s.tree, va39, 1, NULL, NULL) == LOAM_OK);
	if (loam_pagetable_seal(&s.tree, &batch))
		loam_pagetable_release(&s.tree, &batch);
	map_one(context, i);
}

/* A third one only looks: right or nothing. */
static void come_go_and_look(void *context, unsigned int i)
{
	struct loam_paging_entry entry;

	if (i < 2) {
		come_and_go(context, i);
		return;
	}
	for (unsigned int k = 0; k < 2; k++) {
		enum loam_status status = loam_paging_query(&s.tree, va39 + k * LOAM_PAGE_SIZE, &entry);

		SCHED_CHECK(status == LOAM_OK ? entry.pa == k * LOAM_PAGE_SIZE : status == LOAM_ERR_NOT_MAPPED);
	}
}

/* One 2 MiB leaf, cut by both, each for a page of its own; what lies between stays. */
static void split(void *context, unsigned int i)
{
	(void)context;
	SCHED_CHECK(loam_paging_unmap(&s.tree, va39 + (10 + i) * LOAM_PAGE_SIZE, 1, NULL, NULL) == LOAM_OK);
	SCHED_CHECK(!is_mapped(10 + i));
	SCHED_CHECK(is_mapped(0) && is_mapped(1) && is_mapped(12));
}

static void explore_tree(void (*thread)(void *, unsigned int), unsigned int nthreads, unsigned int preemptions)
{
	struct sched_test test = {.nthreads = nthreads,
				  .setup = tree_setup,
				  .thread = thread,
				  .check = tree_check,
				  .teardown = tree_teardown,
				  .preemptions = preemptions};

	SCHED_EXPLORE(&test);
}

TEST(paging_maps_in_a_table_that_two_miss)
{
	large_before = false;
	keep_tables = true;
	explore_tree(map_one, 2, 2);
	keep_tables = false;
	explore_tree(map_one, 2, 2);
}

TEST(paging_tables_come_and_go_under_others)
{
	large_before = false;
	keep_tables = false;
	explore_tree(come_and_go, 2, 2);
	explore_tree(come_go_and_look, 3, 1);
}

TEST(paging_two_split_one_leaf)
{
	large_before = true;
	keep_tables = true;
	explore_tree(split, 2, 1);
}
