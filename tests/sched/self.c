/* tests/sched/self.c: the scheduler's own tests: it finds what it says it finds, and nothing where nothing is. */
#include "rig.h"
#include "sched.h"
#include "tap.h"

#include <base/lock.h>
#include <host.h>
#include <loam/paging.h>

#include <stdlib.h>
#include <string.h>

static struct sched_result result;

/* ---- lost updates ------------------------------------------------------------------------------------------------------------ */

static uint32_t counter;

static void zero(void *context)
{
	(void)context;
	counter = 0;
}

static void add_in_two_steps(void *context, unsigned int i)
{
	(void)context;
	(void)i;
	loami_store_relaxed(&counter, loami_load_relaxed(&counter) + 1);
}

static void add_at_once(void *context, unsigned int i)
{
	(void)context;
	(void)i;
	loami_fetch_add(&counter, 1);
}

static bool is_two(void *context)
{
	(void)context;
	return loami_load_relaxed(&counter) == 2;
}

TEST(a_lost_update_is_found_with_one_preemption_and_found_again)
{
	struct sched_test test = {.nthreads = 2, .setup = zero, .thread = add_in_two_steps, .check = is_two};
	static struct sched_result again;

	CHECK(!sched_explore(&test, &result));
	CHECK_EQ(result.bound, 1);
	CHECK_STR(result.failure, "the check after the run does not hold");
	CHECK(!sched_replay(&test, result.schedule, &again));
	CHECK_STR(again.failure, result.failure);
	CHECK(sched_replay(&test, "-", &again));
	test.thread = add_at_once;
	SCHED_EXPLORE(&test);
}

/* ---- locks --------------------------------------------------------------------------------------------------------------------- */

static struct loam_lock locks[2];
static uint32_t guarded;

static void make_locks(void *context)
{
	(void)context;
	locks[0] = LOAMI_LOCK_INIT(LOAMI_RANK_BOOT);
	locks[1] = LOAMI_LOCK_INIT(LOAMI_RANK_TRACE);
	guarded = 0;
}

static void add_guarded(void *context, unsigned int i)
{
	(void)context;
	(void)i;
	loami_lock(&locks[0]);
	guarded++;
	loami_unlock(&locks[0]);
}

static bool guarded_is_three(void *context)
{
	(void)context;
	return guarded == 3;
}

TEST(a_lock_keeps_three_threads_apart)
{
	struct sched_test test = {.nthreads = 3, .setup = make_locks, .thread = add_guarded, .check = guarded_is_three};

	SCHED_EXPLORE(&test);
}

/* The seeded fault: the lock's word is given back without release. */
static void add_with_relaxed_unlock(void *context, unsigned int i)
{
	(void)context;
	(void)i;
	loami_lock(&locks[0]);
	guarded++;
	loami_witness_unlock(&locks[0]);
	loami_store_relaxed(&locks[0].word, 0);
}

TEST(a_missing_release_is_found)
{
	struct sched_test test = {.nthreads = 2, .setup = make_locks, .thread = add_with_relaxed_unlock};

	CHECK(!sched_explore(&test, &result));
	CHECK_EQ(result.bound, 0);
	CHECK(strncmp(result.failure, "data race at ", 13) == 0);
}

/* Without the witness, which would see it first. */
static void raw_lock(struct loam_lock *lock)
{
	while (loami_exchange_acquire(&lock->word, 1) != 0)
		loami_lock_wait(lock);
}

static void take_both(void *context, unsigned int i)
{
	(void)context;
	raw_lock(&locks[i]);
	raw_lock(&locks[1 - i]);
	loami_store_release(&locks[1 - i].word, 0);
	loami_store_release(&locks[i].word, 0);
}

TEST(a_deadlock_is_found)
{
	struct sched_test test = {.nthreads = 2, .setup = make_locks, .thread = take_both};

	CHECK(!sched_explore(&test, &result));
	CHECK_EQ(result.bound, 1);
	CHECK_STR(result.failure, "deadlock: 2 threads spin and nobody writes");
}

static void take_against_the_order(void *context, unsigned int i)
{
	(void)context;
	loami_lock(&locks[i]);
	loami_lock(&locks[1 - i]);
	loami_unlock(&locks[1 - i]);
	loami_unlock(&locks[i]);
}

TEST(a_panic_ends_the_run_and_the_next_test_starts_clean)
{
	struct sched_test test = {.nthreads = 2, .setup = make_locks, .thread = take_against_the_order};

	CHECK(!sched_explore(&test, &result));
	CHECK(LOAM_CHECKS == LOAM_CHECKS_ALWAYS || strncmp(result.failure, "loam: lock order", 16) == 0);
	test.thread = add_guarded;
	SCHED_EXPLORE(&test);
}

/* ---- publishing: message passing ------------------------------------------------------------------------------------------------- */

struct mail {
	uint64_t text;
	uint32_t sent;
	bool relaxed; /* the seeded fault */
};

static void no_mail(void *context)
{
	struct mail *mail = context;

	mail->text = 0;
	mail->sent = 0;
}

static void pass_mail(void *context, unsigned int i)
{
	struct mail *mail = context;

	if (i == 0) {
		mail->text = 42;
		if (mail->relaxed)
			loami_store_relaxed(&mail->sent, 1);
		else
			loami_store_release(&mail->sent, 1);
	} else if (loami_load_acquire(&mail->sent) != 0) {
		SCHED_CHECK(mail->text == 42);
	}
}

TEST(a_message_is_published_by_release_and_by_nothing_less)
{
	struct mail *mail =
		calloc(1, sizeof(*mail)); /* not static: a compiler that sees all uses of a word watches none */
	struct sched_test test = {.nthreads = 2, .setup = no_mail, .thread = pass_mail, .context = mail};

	SCHED_EXPLORE(&test);
	mail->relaxed = true;
	CHECK(!sched_explore(&test, &result));
	CHECK(strncmp(result.failure, "data race at ", 13) == 0);
	free(mail);
}

/* ---- a ring of cells handed back too early ------------------------------------------------------------------------------------- */

static struct cell {
	uint64_t content;
	uint32_t in_use;
} cell;
static bool too_early;

static void new_cell(void *context)
{
	(void)context;
	cell = (struct cell){0};
}

/* Take the cell, use it, give it back; the seeded fault gives it back before it is done with it. */
static void use_cell(void *context, unsigned int i)
{
	uint32_t expected = 0;

	(void)context;
	if (!loami_cas(&cell.in_use, &expected, 1))
		return;
	cell.content = i + 1;
	if (too_early)
		loami_store_release(&cell.in_use, 0);
	loami_compiler_barrier();
	SCHED_CHECK(cell.content == i + 1);
	if (!too_early)
		loami_store_release(&cell.in_use, 0);
}

TEST(an_early_reuse_of_memory_is_found)
{
	struct sched_test test = {.nthreads = 2, .setup = new_cell, .thread = use_cell};

	SCHED_EXPLORE(&test);
	too_early = true;
	CHECK(!sched_explore(&test, &result));
	CHECK(strncmp(result.failure, "data race at ", 13) == 0);
}

/* ---- an address reused before its flush, on the machine's own TLBs --------------------------------------------------------------- */

#define VA ((uintptr_t)0xffffc00000000000)

static struct {
	struct rig *rig;
	struct loam_pagetable tree;
	struct loam_tlb tlb;
	loam_pfn old;
	loam_pfn new;
	uint32_t remapped;
	uint32_t warm;
	bool wait;
} reuse;
static _Alignas(LOAM_CPU_ALIGN) char tlb_metadata[8192];

static void answer(void *arg)
{
	loam_tlb_ipi(arg);
}

static void reuse_setup(void *context)
{
	struct rig_config config = {.npages = 512, .ncpus = 2};
	struct host_mmu mmu = {.kind = HOST_MMU_X86_64, .levels = 4, .pa_bits = 52, .types = LOAM_X86_64_PAT};
	struct loam_tlb_config tlb = {.ncpus = 2};
	struct loam_mapping mapping = {.prot = LOAM_PROT_WRITE};
	struct loam_table_source source;

	(void)context;
	reuse.rig = rig_create(&config);
	source = loam_paging_tables_from_frames(reuse.rig->frames);
	reuse.tree = (struct loam_pagetable){0};
	reuse.tlb = (struct loam_tlb){0};
	reuse.remapped = 0;
	reuse.warm = 0;
	CHECK_OK(loam_pagetable_init(&reuse.tree, &loam_paging_x86_64_4level, &source, LOAM_PADDR_NONE));
	host_set_mmu(reuse.rig->machine, &mmu, reuse.tree.root);
	CHECK_OK(loam_tlb_init(&reuse.tlb, &tlb, tlb_metadata, sizeof(tlb_metadata)));
	host_on_ipi(reuse.rig->machine, answer, &reuse.tlb);
	reuse.old = loam_frame_alloc(reuse.rig->frames, 0, NULL);
	reuse.new = loam_frame_alloc(reuse.rig->frames, 0, NULL);
	CHECK_OK(loam_paging_map(&reuse.tree, VA, reuse.old << LOAM_PAGE_SHIFT, 1, &mapping));
}

/* CPU 1 has used the page; CPU 0 maps another frame there and says so; CPU 1 uses it again. */
static void reuse_thread(void *context, unsigned int i)
{
	struct loam_tlb_range range = {.start = VA, .npages = 1, .stride_shift = LOAM_PAGE_SHIFT};
	struct loam_mapping mapping = {.prot = LOAM_PROT_WRITE};
	loam_tlb_generation generation;
	uint64_t word;

	(void)context;
	loam_tlb_cpu_online(&reuse.tlb);
	if (i == 1) {
		host_read(VA, &word, sizeof(word));
		loami_store_release(&reuse.warm, 1);
		for (unsigned int round = 0; loami_load_acquire(&reuse.remapped) == 0; round++)
			loam_port_relax(round);
		host_read(VA, &word, sizeof(word));
		return;
	}
	for (unsigned int round = 0; loami_load_acquire(&reuse.warm) == 0; round++)
		loam_port_relax(round);
	SCHED_CHECK(loam_paging_unmap(&reuse.tree, VA, 1, NULL, NULL) == LOAM_OK);
	generation = loam_tlb_flush_start(&reuse.tlb, &range, 1);
	if (reuse.wait)
		SCHED_CHECK(loam_tlb_wait(&reuse.tlb, generation) == LOAM_OK);
	SCHED_CHECK(loam_paging_map(&reuse.tree, VA, reuse.new << LOAM_PAGE_SHIFT, 1, &mapping) == LOAM_OK);
	loami_store_release(&reuse.remapped, 1);
}

static void reuse_teardown(void *context)
{
	(void)context;
	rig_destroy(reuse.rig);
}

TEST(an_address_reused_before_its_flush_is_found)
{
	struct sched_test test = {.nthreads = 2,
				  .setup = reuse_setup,
				  .thread = reuse_thread,
				  .teardown = reuse_teardown,
				  .preemptions = 2};

	reuse.wait = true;
	SCHED_EXPLORE(&test);
	reuse.wait = false;
	CHECK(!sched_explore(&test, &result));
	CHECK(strncmp(result.failure, "host: CPU 1: stale entry for 0xffffc00000000000: it leads to", 60) == 0);
}

/* ---- what is not seen is said ------------------------------------------------------------------------------------------------------- */

static uint32_t x, y, saw_x, saw_y;

static void no_flags(void *context)
{
	(void)context;
	x = y = 0;
}

static void dekker(void *context, unsigned int i)
{
	(void)context;
	if (i == 0) {
		loami_store_relaxed(&x, 1);
		saw_y = loami_load_relaxed(&y);
	} else {
		loami_store_relaxed(&y, 1);
		saw_x = loami_load_relaxed(&x);
	}
}

static bool one_saw_the_other(void *context)
{
	(void)context;
	return saw_x != 0 || saw_y != 0;
}

TEST(runs_are_sequentially_consistent_so_store_buffering_is_not_seen)
{
	struct sched_test test = {.nthreads = 2, .setup = no_flags, .thread = dekker, .check = one_saw_the_other};

	SCHED_EXPLORE(&test);
}
