/* tests/sched/heap.c: the heap under every schedule of up to two preemptions: remote frees, magazines between CPUs through the depot, refill against trim, slabs that come and go.
 *
 * Whoever has an object writes to it with plain stores, so two owners at once are a data race or a wrong word. After each run everything is freed, the heap's own check
 * runs, and every frame must be back.
 */
#include "rig.h"
#include "sched/sched.h"
#include "tap.h"

#include <base/atomic.h>
#include <heap/internal.h>

#include <loam/heap.h>

enum { CPUS = 2, MANY = 16 };

static struct {
	struct rig *rig;
	struct loam_heap heap;
	uint64_t used_at_rest;
	void *given[MANY]; /* from setup to the threads */
	void *kept[CPUS];  /* from the threads to check */
} s;

static uint64_t used(void)
{
	struct loam_frames_stats stats;

	loam_frame_drain(s.rig->frames);
	loam_frame_read_stats(s.rig->frames, &stats);
	return stats.used;
}

static void begin_with(void *context, uint64_t npages)
{
	struct rig_config machine = {.npages = npages, .ncpus = CPUS};
	struct loam_heap_config config = {.ncpus = CPUS, .hardened = context != NULL};

	s.rig = rig_create(&machine);
	config.frames = s.rig->frames;
	s.heap = (struct loam_heap){0};
	CHECK_OK(loam_heap_init(&s.heap, &config, NULL, 0));
	s.used_at_rest = used();
	for (unsigned int i = 0; i < MANY; i++)
		s.given[i] = NULL;
	for (unsigned int i = 0; i < CPUS; i++)
		s.kept[i] = NULL;
}

static void begin(void *context)
{
	begin_with(context, 600);
}

static bool end(void *context)
{
	(void)context;
	for (unsigned int i = 0; i < CPUS; i++)
		loam_heap_free(&s.heap, s.kept[i]);
	if (loam_heap_check(&s.heap) != LOAM_OK)
		return false;
	(void)loam_heap_drain(&s.heap);
	return loam_heap_check(&s.heap) == LOAM_OK && used() == s.used_at_rest;
}

static void done(void *context)
{
	(void)context;
	rig_destroy(s.rig);
}

/* This CPU has it: nobody else may see or change what it writes. */
static void *use(void *object)
{
	uint64_t *word = object;

	SCHED_CHECK(object != NULL);
	*word = loam_port_cpu() + 1;
	loami_compiler_barrier();
	SCHED_CHECK(*word == loam_port_cpu() + 1);
	return object;
}

#define EXPLORE_TO(setup_fn, thread_fn, check_fn, hardened)                                                            \
	SCHED_EXPLORE((&(struct sched_test){.nthreads = CPUS,                                                          \
					    .setup = (setup_fn),                                                       \
					    .thread = (thread_fn),                                                     \
					    .check = (check_fn),                                                       \
					    .teardown = done,                                                          \
					    .context = (hardened),                                                     \
					    .preemptions = 2,                                                          \
					    .max_runs = 5000}))

#define EXPLORE(setup_fn, thread_fn, hardened) EXPLORE_TO(setup_fn, thread_fn, end, hardened)

/* ---- an object goes from one CPU to the other, which frees it into its own magazine ------------------------------------------------ */

static void give_one(void *context)
{
	begin(context);
	s.given[0] = loam_heap_alloc(&s.heap, 64);
	s.given[1] = loam_heap_alloc(&s.heap, 64);
}

static void swap(void *context, unsigned int i)
{
	(void)context;
	loam_heap_free(&s.heap, use(s.given[1 - i]));
	s.kept[i] = use(loam_heap_alloc(&s.heap, 64));
}

TEST(H2_remote_frees_in_every_order)
{
	EXPLORE(give_one, swap, NULL);
}

TEST(H2_remote_frees_in_every_order_when_hardened)
{
	EXPLORE(give_one, swap, &s);
}

/* ---- the first objects of a class, on both CPUs at once --------------------------------------------------------------------------------- */

static void first(void *context, unsigned int i)
{
	(void)context;
	s.kept[i] = use(loam_heap_alloc(&s.heap, 8192));
	loam_heap_free(&s.heap, use(loam_heap_alloc(&s.heap, 8192)));
}

TEST(H2_first_slabs_are_made_at_once)
{
	EXPLORE(begin, first, NULL);
}

/* ---- one CPU overflows into the depot while the other takes from it --------------------------------------------------------------------------- */

static void give_many(void *context)
{
	begin(context);
	for (unsigned int i = 0; i < MANY; i++)
		s.given[i] = loam_heap_alloc(&s.heap, 8192);
}

static void overflow(void *context, unsigned int i)
{
	(void)context;
	if (i == 0) {
		for (unsigned int j = 0; j < MANY; j++)
			loam_heap_free(&s.heap, use(s.given[j]));
		return;
	}
	for (unsigned int j = 0; j < 3; j++)
		loam_heap_free(&s.heap, use(loam_heap_alloc(&s.heap, 8192)));
	s.kept[i] = use(loam_heap_alloc(&s.heap, 8192));
}

TEST(H2_depot_exchange_in_every_order)
{
	EXPLORE(give_many, overflow, NULL);
}

/* ---- refill against trim -------------------------------------------------------------------------------------------------------------------------- */

static void trim(void *context, unsigned int i)
{
	(void)context;
	if (i == 0) {
		loam_heap_free(&s.heap, s.given[0]);
		(void)loam_heap_trim(&s.heap);
		return;
	}
	loam_heap_free(&s.heap, use(s.given[1]));
	s.kept[i] = use(loam_heap_alloc(&s.heap, 64));
	loam_heap_free(&s.heap, use(loam_heap_alloc(&s.heap, 2048)));
}

TEST(H2_refill_against_trim_in_every_order)
{
	EXPLORE(give_one, trim, NULL);
}

/* ---- large objects: the last idle run, two CPUs ------------------------------------------------------------------------------------------------------ */

static void give_large(void *context)
{
	/* So much memory that a run is kept. */
	begin_with(context, 8192);
	loam_heap_free(&s.heap, loam_heap_alloc(&s.heap, 90000));
	CHECK(s.heap.idle_frames != 0);
}

static void large(void *context, unsigned int i)
{
	(void)context;
	s.kept[i] = use(loam_heap_alloc(&s.heap, 90000));
	if (i == 1)
		(void)loam_heap_trim(&s.heap);
}

TEST(H1_one_idle_run_and_two_who_want_it)
{
	EXPLORE(give_large, large, NULL);
}

/* ---- a CPU that goes, while the other trims and ticks --------------------------------------------------------------------------------------------- */

static void leave_and_tick(void *context, unsigned int i)
{
	(void)context;
	if (i == 0) {
		/* CPU 0 works on; what CPU 1 frees may be its own. */
		loam_heap_free(&s.heap, use(s.given[0]));
		loam_heap_tick(&s.heap);
		s.kept[0] = use(loam_heap_alloc(&s.heap, 64));
		return;
	}
	loam_heap_free(&s.heap, use(s.given[1]));
	loam_heap_free(&s.heap, use(loam_heap_alloc(&s.heap, 64)));
	/* Its last act: from here on it runs no more code. */
	SCHED_CHECK(loam_heap_cpu_offline(&s.heap, 1) == LOAM_OK);
}

TEST(H2_a_cpu_goes_offline_in_every_order)
{
	EXPLORE(give_one, leave_and_tick, NULL);
}

/* ---- a typed cache ends while the other CPU, which has none of its objects any more, goes on ------------------------------------------------------------- */

static struct {
	struct loam_heap_cache *cache;
	struct loam_heap_cache *other; /* whose object takes the place of the first one's in quarantine */
	uint32_t over;                 /* atomic: nobody uses the cache any more */
} typed;

static struct loam_heap_cache *make_cache(void)
{
	struct loam_cache_config config = {.name = "passing", .nbytes = 64};
	struct loam_heap_cache *cache;

	SCHED_CHECK(loam_heap_cache_create(&s.heap, &config, &cache) == LOAM_OK);
	return cache;
}

static void give_typed(void *context)
{
	begin(context);
	typed.cache = make_cache();
	typed.other = make_cache();
	typed.over = 0;
	s.given[0] = loam_heap_cache_alloc(typed.cache);
	s.given[1] = loam_heap_cache_alloc(typed.other);
}

static void end_cache(void *context, unsigned int i)
{
	(void)context;
	if (i == 1) {
		struct loam_heap_stats stats;

		uint64_t random = loami_heap_cpu(&s.heap, 1)->random;

		loam_heap_cache_free(typed.cache, use(s.given[0]));
		loami_heap_cpu(&s.heap, 1)->random = random;
		loami_store_release(&typed.over, 1);
		/* In the hardened profile the ending cache's object comes out, unless it has been taken out before. */
		loam_heap_cache_free(typed.other, use(s.given[1]));
		loam_heap_free(&s.heap, use(loam_heap_alloc(&s.heap, 64)));
		loam_heap_read_stats(&s.heap, &stats);
		(void)loam_heap_trim(&s.heap);
		return;
	}
	for (unsigned int round = 0; loami_load_acquire(&typed.over) == 0; round++)
		loam_port_relax(round);
	SCHED_CHECK(loam_heap_cache_destroy(&s.heap, typed.cache) == LOAM_OK);
	/* Of the same code: it must meet nothing of the old one. */
	typed.cache = make_cache();
	loam_heap_cache_free(typed.cache, use(loam_heap_cache_alloc(typed.cache)));
	SCHED_CHECK(loam_heap_cache_destroy(&s.heap, typed.cache) == LOAM_OK);
}

static bool end_typed(void *context)
{
	return loam_heap_cache_destroy(&s.heap, typed.other) == LOAM_OK && end(context);
}

TEST(H2_a_typed_cache_ends_in_every_order)
{
	EXPLORE_TO(give_typed, end_cache, end_typed, NULL);
}

TEST(H2_a_typed_cache_ends_in_every_order_when_hardened)
{
	EXPLORE_TO(give_typed, end_cache, end_typed, &s);
}
