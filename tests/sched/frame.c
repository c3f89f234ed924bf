/* tests/sched/frame.c: the frame layer under every schedule of up to three preemptions (fewer where the scenario says so): magazines, claims, drains, CPUs that come and go.
 *
 * Whoever owns a frame writes to it with plain stores, so two owners at once are a data race or a wrong word, whichever comes first. After each run every frame is given
 * back, the layer's own check runs, and the count of free frames must be what it was.
 */
#include "rig.h"
#include "sched/sched.h"
#include "tap.h"

#include <base/atomic.h>
#include <frame/internal.h>
#include <host.h>

enum { CPUS = 3, HELD_MAX = 640, LARGE_MAX = 128, FULL = 6 };

struct run {
	loam_pfn first;
	unsigned int order;
};

static struct {
	struct rig *rig;
	struct loam_frames *frames;
	uint64_t free_at_rest;
	loam_pfn held[HELD_MAX]; /* all frames that setup took, so that few are left */
	size_t nheld;
	struct run large[LARGE_MAX]; /* and what it took in larger blocks */
	size_t nlarge;
	loam_pfn given; /* from setup to the threads */
	loam_pfn got[CPUS];
	uint32_t done[CPUS];
	loam_pfn pairs[2][2];
	size_t npairs[2];
	uint32_t last_puts;
	uint32_t passes; /* of shrinkers, begun while the list was to change */
} s;

static uint64_t free_frames(void)
{
	struct loam_frames_stats stats;

	loam_frame_read_stats(s.frames, &stats);
	return stats.free;
}

static void begin_with(uint64_t npages, unsigned int ncpus)
{
	struct rig_config config = {.npages = npages, .ncpus = ncpus};

	s.rig = rig_create(&config);
	s.frames = s.rig->frames;
	s.free_at_rest = free_frames();
	s.nheld = 0;
	s.nlarge = 0;
	s.npairs[0] = s.npairs[1] = 0;
	s.given = LOAM_PFN_NONE;
	s.last_puts = 0;
	for (unsigned int i = 0; i < CPUS; i++) {
		s.got[i] = LOAM_PFN_NONE;
		s.done[i] = 0;
	}
}

/* The smallest machines whose CPUs park frames: a handful each, so that magazines overflow soon. */
static void begin(unsigned int ncpus)
{
	begin_with(200 * ncpus, ncpus);
}

static const struct loam_frame_opts quick = {.uninitialized = true, .use_reserve = true};

static loam_pfn take_one(void)
{
	return loam_frame_alloc(s.frames, 0, &quick);
}

static volatile uint64_t *words(loam_pfn pfn)
{
	return loam_frame_virt(s.frames, pfn);
}

/* This CPU owns @pfn: nobody else may see or change what it writes. */
static void use(loam_pfn pfn)
{
	uint64_t *word = loam_frame_virt(s.frames, pfn);

	*word = loam_port_cpu() + 1;
	loami_compiler_barrier();
	SCHED_CHECK(*word == loam_port_cpu() + 1);
}

/* Everything but @left frames is taken; those lie in the magazine of @cpu. */
static void leave(size_t left, unsigned int cpu)
{
	struct loam_frames_stats stats;
	size_t parked = left;

	s.nheld += loam_frame_alloc_batch(s.frames, HELD_MAX - s.nheld, &quick, s.held + s.nheld);
	CHECK(take_one() == LOAM_PFN_NONE);
	CHECK(s.nheld >= left);
	host_enter(s.rig->machine, cpu);
	for (; left > 0; left--)
		loam_frame_free(s.frames, s.held[--s.nheld], 0);
	host_enter(s.rig->machine, 0);
	loam_frame_read_stats(s.frames, &stats);
	CHECK_EQ(stats.parked, parked);
}

static bool all_back(void)
{
	for (unsigned int i = 0; i < CPUS; i++) {
		if (s.got[i] != LOAM_PFN_NONE)
			loam_frame_free(s.frames, s.got[i], 0);
	}
	loam_frame_free_batch(s.frames, s.held, s.nheld);
	for (size_t i = 0; i < s.nlarge; i++)
		loam_frame_free(s.frames, s.large[i].first, s.large[i].order);
	return loam_frame_check(s.frames) == LOAM_OK && free_frames() == s.free_at_rest;
}

static bool check_all_back(void *context)
{
	(void)context;
	return all_back();
}

static void end(void *context)
{
	(void)context;
	rig_destroy(s.rig);
}

#define SCENARIO(threads, setup_fn, thread_fn, check_fn, most)                                                         \
	SCHED_EXPLORE((&(struct sched_test){.nthreads = (threads),                                                     \
					    .setup = (setup_fn),                                                       \
					    .thread = (thread_fn),                                                     \
					    .check = (check_fn),                                                       \
					    .teardown = end,                                                           \
					    .preemptions = (most)}))

/* ---- one frame each ------------------------------------------------------------------------------------------------------------ */

static void plenty(void *context)
{
	(void)context;
	begin(2);
}

static void take_use_give(void *context, unsigned int i)
{
	loam_pfn pfn = take_one();

	(void)context;
	(void)i;
	SCHED_CHECK(pfn != LOAM_PFN_NONE);
	use(pfn);
	loam_frame_free(s.frames, pfn, 0);
}

TEST(F5_two_cpus_take_and_give)
{
	SCENARIO(2, plenty, take_use_give, check_all_back, 3);
}

/* ---- the last frame ------------------------------------------------------------------------------------------------------------ */

static void last_one_on_cpu_1(void *context)
{
	(void)context;
	begin(2);
	leave(1, 1);
}

static void take(void *context, unsigned int i)
{
	(void)context;
	s.got[i] = take_one();
	if (s.got[i] != LOAM_PFN_NONE)
		use(s.got[i]);
}

static bool exactly_one_got_it(void *context)
{
	unsigned int n = 0;

	(void)context;
	for (unsigned int i = 0; i < CPUS; i++)
		n += s.got[i] != LOAM_PFN_NONE;
	return n == 1 && all_back();
}

TEST(F15_the_last_frame_goes_to_exactly_one_of_two)
{
	SCENARIO(2, last_one_on_cpu_1, take, exactly_one_got_it, 3);
}

static void take_until_one_is_there(void *context, unsigned int i)
{
	(void)context;
	if (i == 0) {
		loam_frame_free(s.frames, s.held[--s.nheld], 0);
		loami_store_release(&s.done[0], 1);
		return;
	}
	for (unsigned int round = 0; loami_load_acquire(&s.done[0]) == 0; round++)
		loam_port_relax(round);
	s.got[i] = take_one();
	SCHED_CHECK(s.got[i] != LOAM_PFN_NONE);
	use(s.got[i]);
}

static void none_left(void *context)
{
	(void)context;
	begin(2);
	leave(0, 0);
}

TEST(F15_a_frame_freed_elsewhere_before_is_had)
{
	SCENARIO(2, none_left, take_until_one_is_there, check_all_back, 3);
}

/* ---- draining others -------------------------------------------------------------------------------------------------------------- */

static void some_on_cpu_1(void *context)
{
	(void)context;
	begin(2);
	leave(4, 1);
}

/* Only CPU 1 parks: what the others take comes out of its magazine and what they give goes to the blocks, in few steps. */
static void only_on_cpu_1(unsigned int ncpus, size_t left)
{
	begin(ncpus);
	leave(left, 1);
	for (unsigned int cpu = 0; cpu < ncpus; cpu++) {
		if (cpu != 1)
			CHECK_OK(loam_frame_cpu_offline(s.frames, cpu));
	}
}

static void one_on_cpu_1(void *context)
{
	(void)context;
	only_on_cpu_1(2, 1);
}

static void two_on_cpu_1(void *context)
{
	(void)context;
	only_on_cpu_1(2, 2);
}

static void three_on_cpu_1(void *context)
{
	(void)context;
	only_on_cpu_1(2, 3);
}

/* As many as go in on a machine this small: the next one that is given sends half of them to the blocks. */
static void full_on_cpu_1(void *context)
{
	(void)context;
	only_on_cpu_1(2, FULL);
}

static void three_on_cpu_1_of_3(void *context)
{
	(void)context;
	only_on_cpu_1(3, 3);
}

static void one_on_cpu_1_of_3(void *context)
{
	(void)context;
	only_on_cpu_1(3, 1);
}

static void two_on_cpu_1_of_3(void *context)
{
	(void)context;
	only_on_cpu_1(3, 2);
}

static void drain_against_take(void *context, unsigned int i)
{
	(void)context;
	if (i == 0) {
		loam_frame_drain(s.frames);
		return;
	}
	s.got[i] = take_one();
	SCHED_CHECK(s.got[i] != LOAM_PFN_NONE);
	use(s.got[i]);
}

TEST(F15_a_drain_beside_a_cpu_that_takes)
{
	SCENARIO(2, some_on_cpu_1, drain_against_take, check_all_back, 3);
}

static void drain_against_give(void *context, unsigned int i)
{
	(void)context;
	if (i == 0) {
		loam_frame_drain(s.frames);
		return;
	}
	use(s.held[s.nheld - 1]);
	loam_frame_free(s.frames, s.held[--s.nheld], 0);
}

TEST(F15_a_drain_beside_a_cpu_that_gives)
{
	SCENARIO(2, some_on_cpu_1, drain_against_give, check_all_back, 3);
}

static void take_there_must_be(unsigned int i)
{
	s.got[i] = take_one();
	SCHED_CHECK(s.got[i] != LOAM_PFN_NONE);
	use(s.got[i]);
}

static void give_one(void)
{
	use(s.held[s.nheld - 1]);
	loam_frame_free(s.frames, s.held[--s.nheld], 0);
}

static void each_takes(void *context, unsigned int i)
{
	(void)context;
	take_there_must_be(i);
}

static void owner_gives_and_takes(void *context, unsigned int i)
{
	(void)context;
	if (i == 1)
		give_one();
	take_there_must_be(i);
}

static void owner_gives(void *context, unsigned int i)
{
	(void)context;
	if (i == 1)
		give_one();
	else
		take_there_must_be(i);
}

TEST(F15_a_thief_beside_an_owner_that_takes)
{
	SCENARIO(2, two_on_cpu_1, each_takes, check_all_back, 3);
}

TEST(F15_a_thief_beside_an_owner_that_gives_and_takes)
{
	SCENARIO(2, one_on_cpu_1, owner_gives_and_takes, check_all_back, 3);
}

TEST(F15_a_thief_beside_an_owner_whose_magazine_overflows)
{
	SCENARIO(2, full_on_cpu_1, owner_gives, check_all_back, 3);
}

/* Three threads, in fewer orders: too many for three preemptions. Two of them at a time are above, and two thieves where a CPU goes offline. */
TEST(F15_two_thieves_beside_an_owner_that_takes)
{
	SCENARIO(3, three_on_cpu_1_of_3, each_takes, check_all_back, 1);
}

static void thief_drain_and_owner(void *context, unsigned int i)
{
	if (i == 2)
		loam_frame_drain(s.frames);
	else
		owner_gives(context, i);
}

TEST(F15_a_thief_and_a_drain_beside_an_owner_that_gives)
{
	SCENARIO(3, one_on_cpu_1_of_3, thief_drain_and_owner, check_all_back, 2);
}

TEST(F15_two_thieves_beside_an_owner_that_gives)
{
	SCENARIO(3, two_on_cpu_1_of_3, owner_gives, check_all_back, 1);
}

/* ---- claimed blocks: a machine large enough for them ------------------------------------------------------------------------------ */

static void large(void *context)
{
	(void)context;
	begin_with(20000, 2);
}

/* A block that nobody gets while the threads run. */
static bool keep(unsigned int order)
{
	loam_pfn first = loam_frame_alloc(s.frames, order, &quick);

	if (first == LOAM_PFN_NONE)
		return false;
	CHECK(s.nlarge < LARGE_MAX);
	s.large[s.nlarge++] = (struct run){first, order};
	return true;
}

/* Blocks are claimed, but only @left frames are free, in the blocks, so that a refill, and a theft after it, are short. They lie in one block. */
static void large_with(size_t left)
{
	loam_pfn first;

	begin_with(17000, 2);
	CHECK(s.free_at_rest >= 16384); /* with less its CPUs claim none */
	first = loam_frame_alloc(s.frames, 7, &quick);
	CHECK(first != LOAM_PFN_NONE);
	for (unsigned int order = 14; order >= 3; order--)
		while (keep(order))
			;
	s.nheld = loam_frame_alloc_batch(s.frames, HELD_MAX, &quick, s.held);
	loam_frame_free(s.frames, first, 7);
	leave(left, 1);
	loam_frame_drain(s.frames);
}

static void large_with_one(void *context)
{
	(void)context;
	large_with(1);
}

static void claim_against_drain(void *context, unsigned int i)
{
	(void)context;
	if (i == 0) {
		loam_frame_drain(s.frames);
		return;
	}
	take_there_must_be(i);
}

TEST(F15_a_block_is_claimed_beside_a_drain)
{
	SCENARIO(2, large_with_one, claim_against_drain, check_all_back, 3);
}

/* CPU 1 has claimed a block: its magazine is empty, and two frames are left in the row. */
static void large_and_claimed(void *context)
{
	(void)context;
	large_with(REFILL + 2);
	host_enter(s.rig->machine, 1);
	for (unsigned int i = 0; i < REFILL; i++) {
		loam_pfn pfn = take_one();

		CHECK(pfn != LOAM_PFN_NONE && s.nheld < HELD_MAX);
		s.held[s.nheld++] = pfn;
	}
	host_enter(s.rig->machine, 0);
}

TEST(F15_a_claimed_row_is_emptied_beside_a_drain)
{
	SCENARIO(2, large_and_claimed, claim_against_drain, check_all_back, 3);
}

TEST(F15_two_cpus_claim_a_block_each)
{
	SCENARIO(2, large, each_takes, check_all_back, 3);
}

/* ---- CPUs go offline ------------------------------------------------------------------------------------------------------------- */

/* CPU 2 runs nothing any more. */
static void some_on_cpu_2(void *context)
{
	(void)context;
	begin(3);
	leave(2, 2);
}

static void offline_against_take(void *context, unsigned int i)
{
	(void)context;
	if (i == 0) {
		SCHED_CHECK(loam_frame_cpu_offline(s.frames, 2) == LOAM_OK);
		return;
	}
	s.got[i] = take_one();
	SCHED_CHECK(s.got[i] != LOAM_PFN_NONE);
	use(s.got[i]);
}

TEST(F15_a_cpu_goes_offline_while_another_takes_what_it_has)
{
	SCENARIO(2, some_on_cpu_2, offline_against_take, check_all_back, 3);
}

/* ---- blocks -------------------------------------------------------------------------------------------------------------------------- */

/* Two frames of one pair are given back on two CPUs, and somebody takes a larger block. */
static void give_and_take_larger(void *context, unsigned int i)
{
	(void)context;
	if (i == 0) {
		loam_frame_free(s.frames, s.held[0], 0);
		s.held[0] = s.held[--s.nheld];
	} else {
		loam_pfn first = loam_frame_alloc(s.frames, 3, &quick);

		if (first != LOAM_PFN_NONE) {
			use(first);
			use(first + 7);
			loam_frame_free(s.frames, first, 3);
		}
	}
}

TEST(F15_a_larger_block_beside_a_free)
{
	SCENARIO(2, some_on_cpu_1, give_and_take_larger, check_all_back, 3);
}

/* Two frames at once, or what there is of them. */
static void take_two(unsigned int i)
{
	size_t n = loam_frame_alloc_batch(s.frames, 2, &quick, s.pairs[i]);

	SCHED_CHECK(n != 0);
	for (size_t k = 0; k < n; k++)
		use(s.pairs[i][k]);
	s.npairs[i] = n;
}

static bool pairs_back(void *context)
{
	(void)context;
	for (unsigned int i = 0; i < 2; i++)
		loam_frame_free_batch(s.frames, s.pairs[i], s.npairs[i]);
	return all_back();
}

static void each_takes_two(void *context, unsigned int i)
{
	(void)context;
	take_two(i);
}

static void four_in_the_blocks(void *context)
{
	(void)context;
	only_on_cpu_1(2, 4);
	CHECK_OK(loam_frame_cpu_offline(s.frames, 1));
}

TEST(F15_batches_share_what_the_blocks_have)
{
	SCENARIO(2, four_in_the_blocks, each_takes_two, pairs_back, 3);
}

static void batch_against_take(void *context, unsigned int i)
{
	(void)context;
	if (i == 0)
		take_two(i);
	else
		take_there_must_be(i);
}

TEST(F15_a_batch_beside_an_owner_that_takes)
{
	SCENARIO(2, three_on_cpu_1, batch_against_take, pairs_back, 3);
}

static void batch_against_batch_given(void *context, unsigned int i)
{
	(void)context;
	if (i == 0) {
		take_two(i);
		loam_frame_free_batch(s.frames, s.pairs[i], s.npairs[i]);
		s.npairs[i] = 0;
	} else {
		s.nheld -= 2;
		loam_frame_free_batch(s.frames, s.held + s.nheld, 2);
	}
}

TEST(F15_a_batch_is_taken_beside_one_that_is_given)
{
	SCENARIO(2, two_on_cpu_1, batch_against_batch_given, pairs_back, 3);
}

static void take_a_range(void)
{
	loam_pfn first;

	if (loam_frame_alloc_range(s.frames, 2, NULL, &quick, &first) == LOAM_OK) {
		use(first);
		use(first + 1);
		loam_frame_free_range(s.frames, first, 2);
	}
}

static void range_against_take(void *context, unsigned int i)
{
	(void)context;
	if (i == 0) {
		take_a_range();
		return;
	}
	s.got[i] = take_one();
	if (s.got[i] != LOAM_PFN_NONE)
		use(s.got[i]);
}

TEST(F15_a_range_beside_one_who_takes_a_frame)
{
	SCENARIO(2, two_on_cpu_1, range_against_take, check_all_back, 3);
}

static void range_against_give(void *context, unsigned int i)
{
	(void)context;
	if (i == 0) {
		take_a_range();
		return;
	}
	give_one();
}

TEST(F15_a_range_beside_one_who_gives_a_frame)
{
	SCENARIO(2, two_on_cpu_1, range_against_give, check_all_back, 3);
}

/* ---- shrinkers: one CPU runs them, another needs what they free ---------------------------------------------------------------------- */

/* Two at a time, for two CPUs that take. */
static size_t free_what_setup_took(struct loam_shrinker *self, size_t npages)
{
	size_t freed = 0;

	(void)self;
	for (; freed < npages && freed < 2 && s.nheld > 0; freed++)
		loam_frame_free(s.frames, s.held[--s.nheld], 0);
	return freed;
}

static struct loam_shrinker shrinker = {.shrink = free_what_setup_took, .name = "hoard"};

/* Below @low, shrinkers run before a search, else when it has found nothing. */
static void all_in_a_hoard(uint64_t low)
{
	begin(2);
	CHECK_OK(loam_frame_set_watermarks(s.frames, 0, &(struct loam_zone_watermarks){.low = low}));
	leave(0, 0);
	CHECK_OK(loam_frame_cpu_offline(s.frames, 0));
	CHECK_OK(loam_frame_cpu_offline(s.frames, 1));
	CHECK_OK(loam_frame_add_shrinker(s.frames, &shrinker));
}

static void all_in_a_hoard_and_low(void *context)
{
	(void)context;
	all_in_a_hoard(1000);
}

TEST(F15_none_is_refused_while_another_cpu_shrinks)
{
	SCENARIO(2, all_in_a_hoard_and_low, each_takes, check_all_back, 3);
}

static void all_in_a_hoard_and_not_low(void *context)
{
	(void)context;
	all_in_a_hoard(0);
}

/* Both search in vain first: too long for three preemptions. */
TEST(F15_none_is_refused_while_another_cpu_shrinks_late)
{
	SCENARIO(2, all_in_a_hoard_and_not_low, each_takes, check_all_back, 2);
}

/* CPU 0 adds a shrinker, while CPU 1 runs one pass after the other. */
static size_t count_while_changing(struct loam_shrinker *self, size_t npages)
{
	(void)self;
	(void)npages;
	s.passes += __atomic_load_n(&s.frames->changes, __ATOMIC_ACQUIRE) != 0;
	return 0;
}

static struct loam_shrinker counting = {.shrink = count_while_changing, .name = "counting"};
static struct loam_shrinker other = {.shrink = count_while_changing, .name = "other"};

static void a_shrinker_that_counts(void *context)
{
	(void)context;
	begin(2);
	s.passes = 0;
	CHECK_OK(loam_frame_add_shrinker(s.frames, &counting));
}

enum { PASSES_RUN = 6 };

static void change_or_shrink(void *context, unsigned int i)
{
	struct loami_frame_want want = {.reclaim = true};

	(void)context;
	if (i == 0) {
		SCHED_CHECK(loam_frame_add_shrinker(s.frames, &other) == LOAM_OK);
		return;
	}
	for (unsigned int pass = 0; pass < PASSES_RUN; pass++) {
		struct loami_frame_patience patience = {0};

		(void)loami_frame_shrink(s.frames, 1, &want, &patience);
	}
}

/* The one that ran. */
static bool at_most_one_pass_went_before(void *context)
{
	(void)context;
	return s.passes <= 1 && s.frames->changes == 0 && all_back();
}

TEST(F15_who_changes_the_list_of_shrinkers_waits_for_no_later_pass)
{
	SCENARIO(2, a_shrinker_that_counts, change_or_shrink, at_most_one_pass_went_before, 3);
}

/* ---- references ---------------------------------------------------------------------------------------------------------------------- */

static void shared_by_two(void *context)
{
	(void)context;
	begin(2);
	s.given = take_one();
	CHECK(s.given != LOAM_PFN_NONE);
	loam_frame_ref_inc(s.frames, s.given);
	*words(s.given) = 0;
}

static void read_and_put(void *context, unsigned int i)
{
	(void)context;
	SCHED_CHECK(*(uint64_t *)loam_frame_virt(s.frames, s.given) == 0);
	if (loam_frame_put(s.frames, s.given, 0))
		loami_fetch_add(&s.last_puts, 1);
	if (i == 1)
		take_use_give(NULL, 1);
}

static bool one_last_put(void *context)
{
	(void)context;
	return s.last_puts == 1 && all_back();
}

TEST(F8_the_last_of_two_references_frees_after_both_are_done)
{
	SCENARIO(2, shared_by_two, read_and_put, one_last_put, 3);
}
