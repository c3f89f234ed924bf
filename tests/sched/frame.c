/* tests/sched/frame.c: the frame layer under every schedule of up to three preemptions: magazines, claims, drains, CPUs that come and go.
 *
 * Whoever owns a frame writes to it with plain stores, so two owners at once are a data race or a wrong word, whichever comes first. After each run every frame is given
 * back, the layer's own check runs, and the count of free frames must be what it was.
 */
#include "rig.h"
#include "sched/sched.h"
#include "tap.h"

#include <base/atomic.h>
#include <host.h>

enum { CPUS = 3, HELD_MAX = 640 };

static struct {
	struct rig *rig;
	struct loam_frames *frames;
	uint64_t free_at_rest;
	loam_pfn held[HELD_MAX]; /* all frames that setup took, so that few are left */
	size_t nheld;
	loam_pfn given; /* from setup to the threads */
	loam_pfn got[CPUS];
	uint32_t done[CPUS];
	uint32_t last_puts;
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

	s.nheld = loam_frame_alloc_batch(s.frames, HELD_MAX, &quick, s.held);
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

static void some_on_cpu_1_of_3(void *context)
{
	(void)context;
	begin(3);
	leave(4, 1);
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

static void two_thieves(void *context, unsigned int i)
{
	(void)context;
	if (i == 1) {
		use(s.held[s.nheld - 1]);
		loam_frame_free(s.frames, s.held[--s.nheld], 0);
	}
	s.got[i] = take_one();
	SCHED_CHECK(s.got[i] != LOAM_PFN_NONE);
	use(s.got[i]);
}

TEST(F15_two_cpus_empty_a_third_that_goes_on)
{
	SCENARIO(3, some_on_cpu_1_of_3, two_thieves, check_all_back, 1);
}

/* ---- claimed blocks: a machine large enough for them ------------------------------------------------------------------------------ */

static void large(void *context)
{
	(void)context;
	begin_with(20000, 2);
}

static void claim_against_drain(void *context, unsigned int i)
{
	loam_pfn pfn;

	(void)context;
	if (i == 0) {
		loam_frame_drain(s.frames);
		return;
	}
	pfn = take_one();
	SCHED_CHECK(pfn != LOAM_PFN_NONE);
	s.got[1] = take_one();
	SCHED_CHECK(s.got[1] != LOAM_PFN_NONE && s.got[1] != pfn);
	use(pfn);
	use(s.got[1]);
	loam_frame_free(s.frames, pfn, 0);
}

TEST(F15_a_block_is_claimed_beside_a_drain)
{
	SCENARIO(2, large, claim_against_drain, check_all_back, 2);
}

static void claim_against_claim(void *context, unsigned int i)
{
	(void)context;
	s.got[i] = take_one();
	SCHED_CHECK(s.got[i] != LOAM_PFN_NONE);
	use(s.got[i]);
}

TEST(F15_two_cpus_claim_a_block_each)
{
	SCENARIO(2, large, claim_against_claim, check_all_back, 3);
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

static void batches(void *context, unsigned int i)
{
	loam_pfn pfns[3];
	size_t n = loam_frame_alloc_batch(s.frames, 3, &quick, pfns);

	(void)context;
	(void)i;
	for (size_t k = 0; k < n; k++)
		use(pfns[k]);
	loam_frame_free_batch(s.frames, pfns, n);
}

TEST(F15_batches_share_the_last_frames)
{
	SCENARIO(2, some_on_cpu_1, batches, check_all_back, 1);
}

static void range_against_one(void *context, unsigned int i)
{
	loam_pfn first;

	(void)context;
	if (i == 0) {
		if (loam_frame_alloc_range(s.frames, 2, NULL, &quick, &first) == LOAM_OK) {
			use(first);
			use(first + 1);
			loam_frame_free_range(s.frames, first, 2);
		}
		return;
	}
	first = take_one();
	if (first != LOAM_PFN_NONE) {
		use(first);
		loam_frame_free(s.frames, first, 0);
	}
}

TEST(F15_a_range_beside_single_frames)
{
	SCENARIO(2, some_on_cpu_1, range_against_one, check_all_back, 2);
}

/* ---- shrinkers: one CPU runs them, another needs what they free ---------------------------------------------------------------------- */

static size_t free_what_setup_took(struct loam_shrinker *self, size_t npages)
{
	size_t freed = 0;

	(void)self;
	for (; freed < npages && s.nheld > 0; freed++)
		loam_frame_free(s.frames, s.held[--s.nheld], 0);
	return freed;
}

static struct loam_shrinker shrinker = {.shrink = free_what_setup_took, .name = "hoard"};

static void all_in_a_hoard(void *context)
{
	(void)context;
	begin(2);
	CHECK_OK(loam_frame_set_watermarks(s.frames, 0, &(struct loam_zone_watermarks){.low = 0}));
	leave(0, 0);
	CHECK_OK(loam_frame_add_shrinker(s.frames, &shrinker));
}

static void take_what_must_be_freed(void *context, unsigned int i)
{
	(void)context;
	s.got[i] = take_one();
	SCHED_CHECK(s.got[i] != LOAM_PFN_NONE);
	use(s.got[i]);
}

TEST(F15_none_is_refused_while_another_cpu_shrinks)
{
	SCENARIO(2, all_in_a_hoard, take_what_must_be_freed, check_all_back, 2);
}

/* ---- memory that is added ---------------------------------------------------------------------------------------------------------------- */

enum { MIB = 1 << 20, ADDED = 4096 };

static struct {
	struct host_machine *machine;
	struct loam_frames frames;
	struct loam_memmap map;
	struct loam_region storage[16];
	void *metadata;
	uint64_t nbytes;
} growing;

/* One MiB, @left of whose frames are free and parked on CPU 1; 16 MiB can be added at 48 MiB. */
static void begin_growing(size_t left)
{
	static const struct loam_region regions[] = {
		{.base = 16 * MIB, .nbytes = MIB, .type = LOAM_REGION_USABLE},
		{.base = 32 * MIB, .nbytes = 32 * MIB, .type = LOAM_REGION_RESERVED},
	};
	struct loam_frames_config config = {.ncpus = 2, .hotplug_limit = 64 * MIB};
	struct loam_region copy[] = {regions[0], regions[1]};

	growing.machine = host_machine_create(&(struct host_config){.regions = regions, .nregions = 2, .ncpus = 2});
	host_enter(growing.machine, 0);
	config.direct_map = host_direct_map(growing.machine);
	growing.frames = (struct loam_frames){0};
	CHECK_OK(loam_memmap_init(&growing.map, copy, 2, growing.storage, 16, 0, NULL, NULL));
	CHECK_OK(loam_frames_boot(&growing.frames, &config, &growing.map));
	growing.metadata = host_ram(growing.machine, 32 * MIB);
	growing.nbytes = loam_frame_add_memory_size(&growing.frames, 48 * MIB, 16 * MIB);
	s.frames = &growing.frames;
	s.free_at_rest = free_frames() + ADDED;
	for (unsigned int i = 0; i < CPUS; i++) {
		s.got[i] = LOAM_PFN_NONE;
		s.done[i] = 0;
	}
	s.nheld = loam_frame_alloc_batch(s.frames, HELD_MAX, &quick, s.held);
	CHECK(s.nheld < HELD_MAX);
	host_enter(growing.machine, 1);
	for (; left > 0; left--)
		loam_frame_free(s.frames, s.held[--s.nheld], 0);
	host_enter(growing.machine, 0);
}

static void end_growing(void *context)
{
	(void)context;
	host_machine_destroy(growing.machine);
}

#define GROWING(setup_fn, thread_fn)                                                                                   \
	SCHED_EXPLORE((&(struct sched_test){.nthreads = 2,                                                             \
					    .setup = (setup_fn),                                                       \
					    .thread = (thread_fn),                                                     \
					    .check = check_all_back,                                                   \
					    .teardown = end_growing}))

static void add_memory(void)
{
	SCHED_CHECK(loam_frame_add_memory(s.frames, 48 * MIB, 16 * MIB, 0, growing.metadata, growing.nbytes) ==
		    LOAM_OK);
}

static void one_is_left(void *context)
{
	(void)context;
	begin_growing(1);
}

static void take_beside_an_addition(void *context, unsigned int i)
{
	(void)context;
	if (i == 0) {
		add_memory();
		return;
	}
	s.got[i] = take_one();
	SCHED_CHECK(s.got[i] != LOAM_PFN_NONE);
	use(s.got[i]);
	SCHED_CHECK(loam_frame_has_slot(s.frames, s.got[i]));
	(void)loam_frame_has_slot(s.frames, 48 * MIB >> LOAM_PAGE_SHIFT);
}

TEST(F15_memory_is_added_beside_one_who_takes_the_last_frame)
{
	GROWING(one_is_left, take_beside_an_addition);
}

static void none_is_left(void *context)
{
	(void)context;
	begin_growing(0);
}

/* While it is added it may be had or not; when it is there, it must be had. */
static void search_beside_an_addition(void *context, unsigned int i)
{
	(void)context;
	if (i == 0) {
		add_memory();
		loami_store_release(&s.done[0], 1);
		return;
	}
	s.got[1] = take_one();
	if (s.got[1] != LOAM_PFN_NONE)
		use(s.got[1]);
	for (unsigned int round = 0; loami_load_acquire(&s.done[0]) == 0; round++)
		loam_port_relax(round);
	s.got[0] = take_one();
	SCHED_CHECK(s.got[0] != LOAM_PFN_NONE);
	use(s.got[0]);
}

TEST(F15_memory_is_added_beside_one_who_finds_none)
{
	GROWING(none_is_left, search_beside_an_addition);
}

static void range_beside_an_addition(void *context, unsigned int i)
{
	loam_pfn first;

	(void)context;
	if (i == 0) {
		add_memory();
		return;
	}
	if (loam_frame_alloc_range(s.frames, 3, NULL, &quick, &first) == LOAM_OK) {
		use(first + 2);
		loam_frame_free_range(s.frames, first, 3);
	}
	first = loam_frame_alloc(s.frames, 9, &quick);
	if (first != LOAM_PFN_NONE) {
		use(first + 511);
		loam_frame_free(s.frames, first, 9);
	}
}

TEST(F15_memory_is_added_beside_one_who_wants_runs)
{
	GROWING(none_is_left, range_beside_an_addition);
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
