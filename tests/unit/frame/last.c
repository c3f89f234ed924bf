/* The last frame: whatever the CPUs' caches hold, an allocation fails only when no frame is free anywhere. SPEC F15, and the fourth point. */
#include "rig.h"
#include "tap.h"

#include <loam/frame.h>

enum { CPUS = 4 };

struct turn {
	unsigned int cpu; /* whose turn it is */
	loam_pfn *pfns;   /* to free, or where to put what was had */
	uint64_t n;       /* how many */
	uint64_t got;
	struct loam_frame_opts opts;
	bool alloc;
};

static bool take_turn(struct rig *rig, unsigned int cpu, void *context)
{
	struct turn *turn = context;

	if (cpu != turn->cpu)
		return true;
	if (!turn->alloc) {
		for (uint64_t i = 0; i < turn->n; i++)
			loam_frame_free(rig->frames, turn->pfns[i], 0);
		return true;
	}
	for (turn->got = 0; turn->got < turn->n; turn->got++) {
		turn->pfns[turn->got] = loam_frame_alloc(rig->frames, 0, &turn->opts);
		if (turn->pfns[turn->got] == LOAM_PFN_NONE)
			break;
	}
	return true;
}

static uint64_t alloc_on(struct rig *rig, unsigned int cpu, loam_pfn *pfns, uint64_t n,
			 const struct loam_frame_opts *opts)
{
	struct turn turn = {.cpu = cpu, .pfns = pfns, .n = n, .opts = *opts, .alloc = true};

	CHECK(rig_run(rig, take_turn, &turn));
	return turn.got;
}
static void free_on(struct rig *rig, unsigned int cpu, loam_pfn *pfns, uint64_t n)
{
	struct turn turn = {.cpu = cpu, .pfns = pfns, .n = n};

	CHECK(rig_run(rig, take_turn, &turn));
}

/* All frames are taken on one CPU, for @parked_as, and freed on all of them, so that they lie in everybody's caches of that type; then each CPU in turn takes exactly all
 * there are, or all of the low zone; to the last, and not one more. */
static void hand_out_the_last(const struct loam_frame_opts *opts, enum loam_frame_purpose parked_as, uint64_t npages)
{
	struct rig *rig =
		rig_create(&(struct rig_config){.npages = npages,
						.ncpus = CPUS,
						.nzones = 2,
						.zones = {{"low", npages / 4 * LOAM_PAGE_SIZE}, {"high", 0}}});
	static loam_pfn held[2048];
	struct loam_frames_stats stats;
	struct loam_zone_stats low;
	struct loam_frame_opts all = {.uninitialized = true, .purpose = parked_as};
	uint64_t n;

	loam_frame_read_stats(rig->frames, &stats);
	CHECK_OK(loam_frame_read_zone_stats(rig->frames, 0, &low));
	n = stats.free;
	CHECK(n <= 2048);
	for (unsigned int cpu = 0; cpu < CPUS; cpu++) {
		uint64_t want = opts->zone_limit == 1 ? low.free : n;

		CHECK_EQ(alloc_on(rig, (cpu + 1) % CPUS, held, n, &all), n);
		for (unsigned int c = 0; c < CPUS; c++)
			free_on(rig, c, held + n * c / CPUS, n * (c + 1) / CPUS - n * c / CPUS);
		CHECK_EQ(alloc_on(rig, cpu, held, 2048, opts), want);
		/* Freed elsewhere, one by one, it can be had here, one by one. */
		for (unsigned int c = 0; c < CPUS; c++) {
			loam_pfn again;

			free_on(rig, c, &held[c], 1);
			CHECK_EQ(alloc_on(rig, cpu, &again, 1, opts), 1);
			CHECK_EQ(again, held[c]);
			CHECK_EQ(alloc_on(rig, cpu, &again, 1, opts), 0);
		}
		free_on(rig, cpu, held, want);
		CHECK_OK(loam_frame_check(rig->frames));
	}
	rig_destroy(rig);
}

TEST(F15_the_last_frame_for_every_type_and_zone_from_every_cpu)
{
	static const struct loam_frame_opts cases[] = {
		{.uninitialized = true},
		{.uninitialized = true, .purpose = LOAM_PURPOSE_USER},
		{.purpose = LOAM_PURPOSE_PAGE_TABLE},
		{.uninitialized = true, .zone_limit = 1},
		{.uninitialized = true, .zone_limit = 1, .purpose = LOAM_PURPOSE_USER},
		{.uninitialized = true, .zone_limit = 2},
		{.uninitialized = true, .zone_limit = 2, .purpose = LOAM_PURPOSE_USER},
		{.uninitialized = true, .node = 1},
		{.uninitialized = true, .purpose = LOAM_PURPOSE_CUSTOM, .custom_flags = LOAM_FRAME_COW},
	};

	if (rig_cpus() < CPUS)
		tap_skip("needs 4 CPUs");
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		hand_out_the_last(&cases[i], LOAM_PURPOSE_KERNEL, i % 2 == 0 ? 1024 : 2048);
		hand_out_the_last(&cases[i], LOAM_PURPOSE_USER, i % 2 == 0 ? 2048 : 1024);
	}
}

TEST(F15_a_large_block_comes_together_from_what_cpus_hold)
{
	struct rig *rig;
	static loam_pfn held[8192];
	struct loam_frames_stats stats;
	const struct loam_frame_opts raw = {.uninitialized = true};
	uint64_t n;
	loam_pfn pfn;

	if (rig_cpus() < CPUS)
		tap_skip("needs 4 CPUs");
	rig = rig_create(&(struct rig_config){.npages = 8192, .ncpus = CPUS});
	loam_frame_read_stats(rig->frames, &stats);
	n = stats.free;
	for (unsigned int order = 3; order <= 11; order += 2) {
		CHECK_EQ(alloc_on(rig, 0, held, n, &raw), n);
		for (unsigned int c = 0; c < CPUS; c++)
			free_on(rig, c, held + n * c / CPUS, n * (c + 1) / CPUS - n * c / CPUS);
		pfn = loam_frame_alloc(rig->frames, order, &raw);
		CHECK(pfn != LOAM_PFN_NONE);
		loam_frame_free(rig->frames, pfn, order);
		CHECK_OK(loam_frame_check(rig->frames));
	}
	rig_destroy(rig);
}
