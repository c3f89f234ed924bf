/* tests/sched/frame_add.c: memory is added to the frame layer while another CPU searches it, under every schedule of up to three preemptions. As in frame.c: whoever owns a
 * frame writes to it with plain stores, and after each run everything is given back, checked and counted.
 */
#include "sched/sched.h"
#include "tap.h"

#include <base/atomic.h>
#include <host.h>
#include <loam/frame.h>

enum { MIB = 1 << 20, BLOCK_NBYTES = 65536, CPUS = 2, HELD_MAX = 640 };

static struct {
	struct host_machine *machine;
	struct loam_frames frames;
	struct loam_memmap map;
	struct loam_region storage[16];
	void *metadata;
	uint64_t nbytes; /* of metadata */
	loam_paddr base; /* of what is added */
	uint64_t size;
} growing;

static struct {
	struct loam_frames *frames;
	uint64_t free_at_rest;   /* when the memory is there */
	loam_pfn held[HELD_MAX]; /* all frames that setup took */
	size_t nheld;
	loam_pfn got[CPUS];
	uint32_t done[CPUS];
} s;

static const struct loam_frame_opts quick = {.uninitialized = true, .use_reserve = true};

static uint64_t free_frames(void)
{
	struct loam_frames_stats stats;

	loam_frame_read_stats(s.frames, &stats);
	return stats.free;
}

static loam_pfn take_one(void)
{
	return loam_frame_alloc(s.frames, 0, &quick);
}

/* This CPU owns @pfn: nobody else may see or change what it writes. */
static void use(loam_pfn pfn)
{
	uint64_t *word = loam_frame_virt(s.frames, pfn);

	*word = loam_port_cpu() + 1;
	loami_compiler_barrier();
	SCHED_CHECK(*word == loam_port_cpu() + 1);
}

static bool check_all_back(void *context)
{
	(void)context;
	for (unsigned int i = 0; i < CPUS; i++) {
		if (s.got[i] != LOAM_PFN_NONE)
			loam_frame_free(s.frames, s.got[i], 0);
	}
	loam_frame_free_batch(s.frames, s.held, s.nheld);
	return loam_frame_check(s.frames) == LOAM_OK && free_frames() == s.free_at_rest;
}

/* One MiB, @left of whose frames are free and parked on CPU 1; @size can be added at @base: a section of its own, or the first 64 KiB, where the zone ends, of a block in that of the one MiB. */
static void begin_growing(size_t left, loam_paddr base, uint64_t size)
{
	static const struct loam_region regions[] = {
		{.base = 16 * MIB, .nbytes = MIB, .type = LOAM_REGION_USABLE},
		{.base = 17 * MIB, .nbytes = 47 * MIB, .type = LOAM_REGION_RESERVED},
	};
	struct loam_frames_config config = {.ncpus = 2, .hotplug_limit = 64 * MIB};
	struct loam_region copy[] = {regions[0], regions[1]};

	if (base == 18 * MIB) {
		config.zones[0] = (struct loam_zone_config){.name = "normal", .limit = 18 * MIB + BLOCK_NBYTES};
		config.nzones = 1;
	}
	growing.machine = host_machine_create(&(struct host_config){.regions = regions, .nregions = 2, .ncpus = 2});
	host_enter(growing.machine, 0);
	config.direct_map = host_direct_map(growing.machine);
	growing.frames = (struct loam_frames){0};
	CHECK_OK(loam_memmap_init(&growing.map, copy, 2, growing.storage, 16, 0, NULL, NULL));
	CHECK_OK(loam_frames_boot(&growing.frames, &config, &growing.map));
	growing.metadata = host_ram(growing.machine, 32 * MIB);
	growing.nbytes = loam_frame_add_memory_size(&growing.frames, base, size);
	growing.base = base;
	growing.size = size;
	s.frames = &growing.frames;
	s.free_at_rest = free_frames() + (config.nzones != 0 ? BLOCK_NBYTES : size) / LOAM_PAGE_SIZE;
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
	SCHED_CHECK(loam_frame_add_memory(s.frames, growing.base, growing.size, 0, growing.metadata, growing.nbytes) ==
		    LOAM_OK);
}

static void one_is_left(void *context)
{
	(void)context;
	begin_growing(1, 48 * MIB, 16 * MIB);
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
	(void)loam_frame_has_slot(s.frames, growing.base >> LOAM_PAGE_SHIFT);
}

TEST(F15_memory_is_added_beside_one_who_takes_the_last_frame)
{
	GROWING(one_is_left, take_beside_an_addition);
}

static void one_is_left_of_the_section(void *context)
{
	(void)context;
	begin_growing(1, 18 * MIB, 2 * MIB);
}

TEST(F15_blocks_are_added_beside_one_who_takes_the_last_frame_of_their_section)
{
	GROWING(one_is_left_of_the_section, take_beside_an_addition);
}

static void none_is_left(void *context)
{
	(void)context;
	begin_growing(0, 48 * MIB, 16 * MIB);
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
