/* tests/sched/vmalloc.c: areas under every schedule of up to two preemptions, one where a run is long: frees that race, frees beside flushes, CPUs that go, readers without locks.
 *
 * The TLB engine runs in its broadcast mode here, where a flush is done when it has been started (its own schedules are in paging.c); so what is explored is claim,
 * publish, seal and release against each other. After each run the layer's check passes, nothing waits after a purge, and every frame is back.
 */
#include "rig.h"
#include "sched/sched.h"
#include "tap.h"

#include <loam/vmalloc.h>

#define VM_START ((uintptr_t)0xffffc00000000000)
#define PAGE LOAM_PAGE_SIZE

enum { CPUS = 3 };

static struct {
	struct rig *rig;
	struct loam_pagetable tree;
	struct loam_tlb tlb;
	struct loam_vm vm;
	void *area[4];
	void *got[CPUS];
	bool freed[CPUS];
	uint64_t sequence;
	_Alignas(LOAM_CPU_ALIGN) char tlb_metadata[65536];
} s;

static void begin(size_t batch_areas, unsigned int ncpus)
{
	struct loam_tlb_config tlb_config = {.ncpus = ncpus, .broadcast = true};
	struct loam_vmalloc_config config;
	struct loam_table_source source;

	__builtin_memset(&s, 0, sizeof(s) - sizeof(s.tlb_metadata));
	s.rig = rig_create(&(struct rig_config){.npages = 700, .ncpus = ncpus});
	source = loam_paging_tables_from_frames(s.rig->frames);
	CHECK_OK(loam_pagetable_init(&s.tree, &loam_paging_x86_64_4level, &source, LOAM_PADDR_NONE));
	CHECK_OK(loam_tlb_init(&s.tlb, &tlb_config, s.tlb_metadata, loam_tlb_metadata_size(&tlb_config)));
	loam_tlb_cpu_online(&s.tlb);
	config = (struct loam_vmalloc_config){.nbytes = (size_t)1 << 20,
					      .ncpus = ncpus,
					      .frames = s.rig->frames,
					      .tree = &s.tree,
					      .tlb = &s.tlb,
					      .batch_areas = batch_areas};
	tap_log_capture();
	CHECK_OK(loam_vmalloc_init(&s.vm, &config));
	(void)tap_log_end();
	for (size_t i = 0; i < 4; i++)
		CHECK_OK(loam_vmalloc_status(&s.vm, (i == 3 ? 20 : 1) * PAGE, NULL, &s.area[i]));
}

static void one_a_batch(void *context)
{
	(void)context;
	begin(1, 2);
}

static void many_a_batch(void *context)
{
	(void)context;
	begin(0, 2);
}

static void end(void *context)
{
	(void)context;
	rig_destroy(s.rig);
}

/* What is left is freed; then nothing is. */
static bool all_back(void)
{
	struct loam_frames_stats stats;
	struct loam_vmalloc_live live;

	for (unsigned int i = 0; i < CPUS; i++)
		if (s.got[i] != NULL && !loam_vfree(&s.vm, s.got[i]))
			return false;
	if (loam_vmalloc_check(&s.vm) != LOAM_OK)
		return false;
	while (loam_vmalloc_snapshot(&s.vm, &live, 1, NULL) == 1)
		if (!loam_vfree(&s.vm, (void *)live.address))
			return false;
	if (loam_vmalloc_destroy(&s.vm) != LOAM_OK)
		return false;
	loam_pagetable_destroy(&s.tree);
	loam_frame_read_stats(s.rig->frames, &stats);
	return stats.used == 0;
}

static bool check_all_back(void *context)
{
	(void)context;
	return all_back();
}

#define SCENARIO(threads, setup_fn, thread_fn, check_fn, most)                                                         \
	SCHED_EXPLORE((&(struct sched_test){.nthreads = (threads),                                                     \
					    .setup = (setup_fn),                                                       \
					    .thread = (thread_fn),                                                     \
					    .check = (check_fn),                                                       \
					    .teardown = end,                                                           \
					    .preemptions = (most)}))

/* ---- free against free ----------------------------------------------------------------------------------------------------- */

static void free_the_same(void *context, unsigned int i)
{
	(void)context;
	s.freed[i] = loam_vfree(&s.vm, s.area[0]);
}

static bool exactly_one_freed_it(void *context)
{
	(void)context;
	return s.freed[0] + s.freed[1] + s.freed[2] == 1 && all_back();
}

TEST(V4_two_frees_of_one_area)
{
	SCENARIO(2, many_a_batch, free_the_same, exactly_one_freed_it, 2);
}

/* A slow double free beside one who was given the address since, and fails to put anything there: the stale address must not take the range from him. */
static void free_beside_a_failing_map(void *context, unsigned int i)
{
	const loam_pfn too_wide = UINT64_C(1) << 50;
	void *address;

	(void)context;
	s.freed[i] = i == 0 ? loam_vfree(&s.vm, s.area[0]) : loam_vfree_now(&s.vm, s.area[0]);
	if (i == 1 && loam_vmap(&s.vm, &too_wide, 1, LOAM_PROT_READ, NULL, &address) != LOAM_ERR_OUT_OF_RANGE)
		s.freed[2] = true;
}

TEST(V4_a_stale_free_does_not_take_what_is_being_made)
{
	SCENARIO(2, many_a_batch, free_beside_a_failing_map, exactly_one_freed_it, 3);
}

static void free_the_same_at_once_flushed(void *context, unsigned int i)
{
	(void)context;
	s.freed[i] = i == 0 ? loam_vfree_now(&s.vm, s.area[0]) : loam_vfree(&s.vm, s.area[0]);
}

TEST(V4_two_frees_of_one_area_each_of_which_flushes)
{
	SCENARIO(2, one_a_batch, free_the_same_at_once_flushed, exactly_one_freed_it, 2);
}

/* Neighbours: their states share a word. */
static void free_neighbours(void *context, unsigned int i)
{
	(void)context;
	SCHED_CHECK(loam_vfree(&s.vm, s.area[i]));
}

TEST(V4_frees_of_neighbours)
{
	SCENARIO(2, many_a_batch, free_neighbours, check_all_back, 2);
}

TEST(V4_frees_of_neighbours_each_of_which_flushes)
{
	SCENARIO(2, one_a_batch, free_neighbours, check_all_back, 1);
}

/* ---- free against flush ------------------------------------------------------------------------------------------------------ */

static void free_and_purge(void *context, unsigned int i)
{
	(void)context;
	if (i == 0)
		SCHED_CHECK(loam_vfree(&s.vm, s.area[0]));
	else
		SCHED_CHECK(loam_vmalloc_purge(&s.vm) == LOAM_OK);
}

static void one_waits(void *context)
{
	(void)context;
	begin(0, 2);
	CHECK(loam_vfree(&s.vm, s.area[1]));
	CHECK(loam_vfree(&s.vm, s.area[3]));
}

static void one_waits_on_three_cpus(void *context)
{
	(void)context;
	begin(0, 3);
	CHECK(loam_vfree(&s.vm, s.area[1]));
}

TEST(V4_a_free_beside_a_purge)
{
	SCENARIO(2, one_waits, free_and_purge, check_all_back, 2);
}

static void allocate_and_purge(void *context, unsigned int i)
{
	(void)context;
	if (i == 0)
		SCHED_CHECK(loam_vmalloc_status(&s.vm, PAGE, NULL, &s.got[0]) == LOAM_OK);
	else
		SCHED_CHECK(loam_vmalloc_purge(&s.vm) == LOAM_OK);
}

TEST(V4_an_allocation_beside_a_purge)
{
	SCENARIO(2, one_waits, allocate_and_purge, check_all_back, 1);
}

static void purge_both(void *context, unsigned int i)
{
	(void)context;
	(void)i;
	SCHED_CHECK(loam_vmalloc_purge(&s.vm) == LOAM_OK);
}

TEST(V4_two_purges_share_what_waits)
{
	SCENARIO(2, one_waits, purge_both, check_all_back, 1);
}

/* ---- ready frames ---------------------------------------------------------------------------------------------------------------- */

/* A frame is flushed and ready on CPU 0: an allocation of 64 pages pays back at once. */
static void one_is_ready(void *context)
{
	struct loam_vmalloc_stats stats;
	void *large;

	(void)context;
	begin(1, 2);
	CHECK(loam_vfree(&s.vm, s.area[1]));
	CHECK_OK(loam_vmalloc_status(&s.vm, 64 * PAGE, NULL, &large));
	CHECK(loam_vfree_now(&s.vm, large));
	CHECK_OK(loam_vmalloc_read_stats(&s.vm, &stats));
	CHECK_EQ(stats.ready_pages, 1);
}

TEST(V4_an_allocation_of_ready_frames_beside_a_purge)
{
	SCENARIO(2, one_is_ready, allocate_and_purge, check_all_back, 2);
}

static void take_ready_and_offline(void *context, unsigned int i)
{
	(void)context;
	if (i == 0)
		SCHED_CHECK(loam_vmalloc_status(&s.vm, PAGE, NULL, &s.got[0]) == LOAM_OK);
	else
		SCHED_CHECK(loam_vmalloc_cpu_offline(&s.vm, 0) == LOAM_OK);
}

TEST(V4_an_allocation_of_ready_frames_beside_the_end_of_its_cpu)
{
	SCENARIO(2, one_is_ready, take_ready_and_offline, check_all_back, 2);
}

static void pass_on(void *context, unsigned int i)
{
	(void)context;
	if (i == 0)
		SCHED_CHECK(loam_vmalloc_status(&s.vm, PAGE, NULL, &s.got[0]) == LOAM_OK);
	else
		SCHED_CHECK(loam_vfree(&s.vm, s.area[0]));
}

TEST(V4_an_allocation_of_ready_frames_beside_a_free_of_its_neighbour)
{
	SCENARIO(2, one_is_ready, pass_on, check_all_back, 2);
}

/* ---- offline against flush --------------------------------------------------------------------------------------------------- */

static void offline_and_flush(void *context, unsigned int i)
{
	(void)context;
	if (i == 0)
		SCHED_CHECK(loam_vmalloc_cpu_offline(&s.vm, 0) == LOAM_OK);
	else if (i == 1)
		SCHED_CHECK(loam_vmalloc_purge(&s.vm) == LOAM_OK);
	else
		SCHED_CHECK(loam_vfree(&s.vm, s.area[0]));
}

TEST(V4_a_cpu_goes_offline_beside_a_purge)
{
	SCENARIO(2, one_waits, offline_and_flush, check_all_back, 1);
}

TEST(V4_a_cpu_goes_offline_beside_a_purge_and_a_free)
{
	SCENARIO(3, one_waits_on_three_cpus, offline_and_flush, check_all_back, 1);
}

/* ---- readers without locks ----------------------------------------------------------------------------------------------------- */

static void look(void *context, unsigned int i)
{
	struct loam_vmalloc_live live;
	enum loam_vmalloc_place place;

	(void)context;
	if (i == 0) {
		SCHED_CHECK(loam_vfree_now(&s.vm, s.area[0]));
		SCHED_CHECK(loam_vmalloc_status(&s.vm, PAGE, NULL, &s.got[0]) == LOAM_OK);
		return;
	}
	place = loam_vmalloc_whereis(&s.vm, (uintptr_t)s.area[0], &live);
	SCHED_CHECK(place == LOAM_PLACE_AREA || place == LOAM_PLACE_FREED || place == LOAM_PLACE_UNUSED);
	if (place == LOAM_PLACE_AREA)
		SCHED_CHECK(live.address == (uintptr_t)s.area[0] && live.npages == 1 && live.nbytes == PAGE &&
			    (live.sequence == 1 || live.sequence == 5));
	SCHED_CHECK(loam_vmalloc_is_live(&s.vm, s.area[1]) == 1);
}

TEST(V8_a_reader_beside_a_free_and_a_new_allocation)
{
	SCENARIO(2, many_a_batch, look, check_all_back, 2);
}
