/* Zones, watermarks, reserves, shrinkers, CPUs that go, ranges claimed and released, the hardened profile: SPEC F15. */
#include "rig.h"
#include "tap.h"

#include <loam/frame.h>

#include <frame/internal.h>

static const struct loam_frame_opts raw = {.uninitialized = true};
static loam_pfn held[8192];

static struct rig *two_zones(uint64_t npages)
{
	return rig_create(&(struct rig_config){
		.npages = npages, .nzones = 2, .zones = {{"low", npages / 4 * LOAM_PAGE_SIZE}, {"high", 0}}});
}

static struct loam_zone_stats zone(struct rig *rig, unsigned int number)
{
	struct loam_zone_stats stats;

	CHECK_OK(loam_frame_read_zone_stats(rig->frames, number, &stats));
	return stats;
}

static uint64_t free_frames(struct rig *rig)
{
	struct loam_frames_stats stats;

	loam_frame_read_stats(rig->frames, &stats);
	CHECK_EQ(stats.free + stats.used + stats.quarantined, stats.managed);
	CHECK_EQ(stats.managed + stats.metadata + stats.reserved, stats.ram);
	return stats.free;
}

TEST(F15_zones_are_bounded_by_address_and_low_ones_are_spared)
{
	struct rig *rig = two_zones(4096);
	loam_pfn border = (rig->ram >> LOAM_PAGE_SHIFT) + 1024;
	struct loam_zone_stats low = zone(rig, 0), high = zone(rig, 1);
	loam_pfn pfn;

	CHECK_STR(low.name, "low");
	CHECK_EQ(low.present, 1024);
	CHECK_EQ(low.end, border);
	CHECK_EQ(high.start, border);
	CHECK_EQ(low.free + high.free, free_frames(rig));
	for (uint64_t i = 0; i < high.free; i++) {
		held[i] = loam_frame_alloc(rig->frames, 0, &raw);
		CHECK(held[i] >= border);
	}
	CHECK_EQ(zone(rig, 0).free, low.free);
	pfn = loam_frame_alloc(rig->frames, 0, &raw);
	CHECK(pfn < border);
	loam_frame_free(rig->frames, pfn, 0);
	pfn = loam_frame_alloc(rig->frames, 4, &(struct loam_frame_opts){.zone_limit = 1});
	CHECK(pfn + 16 <= border);
	loam_frame_free(rig->frames, pfn, 4);
	for (uint64_t i = 0; i < high.free; i++)
		loam_frame_free(rig->frames, held[i], 0);
	/* Low memory asked for is had although high memory is free; and all of it. */
	for (uint64_t i = 0; i < low.free; i++) {
		held[i] = loam_frame_alloc(rig->frames, 0,
					   &(struct loam_frame_opts){.zone_limit = 1, .uninitialized = true});
		CHECK(held[i] < border);
	}
	CHECK_EQ(loam_frame_alloc(rig->frames, 0, &(struct loam_frame_opts){.zone_limit = 1}), LOAM_PFN_NONE);
	loam_frame_free_batch(rig->frames, held, low.free);
	CHECK_OK(loam_frame_check(rig->frames));
	rig_destroy(rig);
}

TEST(F15_min_and_reserve_hold_frames_back)
{
	struct rig *rig = two_zones(4096);
	struct loam_zone_watermarks marks = {.low = 200, .min = 100, .reserve = 50};
	struct loam_zone_stats low = zone(rig, 0), high = zone(rig, 1);
	uint64_t n = 0;

	CHECK_STATUS(loam_frame_set_watermarks(rig->frames, 0, &(struct loam_zone_watermarks){.low = 1, .min = 2}),
		     LOAM_ERR_INVALID);
	CHECK_STATUS(loam_frame_set_watermarks(rig->frames, 2, &marks), LOAM_ERR_ZONE);
	CHECK_OK(loam_frame_set_watermarks(rig->frames, 0, &marks));
	CHECK_EQ(zone(rig, 0).min, 100);
	CHECK_EQ(zone(rig, 0).low, 200);
	while ((held[n] = loam_frame_alloc(rig->frames, 0, &raw)) != LOAM_PFN_NONE)
		n++;
	CHECK_EQ(n, high.free + low.free - 150);
	/* Who can use low memory only may go down to min. */
	while ((held[n] = loam_frame_alloc(rig->frames, 0,
					   &(struct loam_frame_opts){.zone_limit = 1, .uninitialized = true})) !=
	       LOAM_PFN_NONE)
		n++;
	CHECK_EQ(n, high.free + low.free - 100);
	while ((held[n] = loam_frame_alloc(rig->frames, 0,
					   &(struct loam_frame_opts){.use_reserve = true, .uninitialized = true})) !=
	       LOAM_PFN_NONE)
		n++;
	CHECK_EQ(n, high.free + low.free);
	loam_frame_free_batch(rig->frames, held, n);
	CHECK_OK(loam_frame_check(rig->frames));
	rig_destroy(rig);
}

struct hoard {
	struct loam_shrinker shrinker;
	struct rig *rig;
	uint64_t n;
	unsigned int calls;
};
static size_t give_up(struct loam_shrinker *self, size_t npages)
{
	struct hoard *hoard = (struct hoard *)self;
	size_t freed = 0;

	hoard->calls++;
	for (; freed < npages && hoard->n > 0; freed++)
		loam_frame_free(hoard->rig->frames, held[--hoard->n], 0);
	return freed;
}

TEST(F15_shrinkers_run_when_low_and_before_a_failure)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 2048});
	struct hoard hoard = {.shrinker = {.shrink = give_up, .name = "hoard"}, .rig = rig};
	uint64_t all = free_frames(rig);
	loam_pfn pfn;

	CHECK_STATUS(loam_frame_add_shrinker(rig->frames, NULL), LOAM_ERR_INVALID);
	CHECK_OK(loam_frame_add_shrinker(rig->frames, &hoard.shrinker));
	CHECK_STATUS(loam_frame_add_shrinker(rig->frames, &hoard.shrinker), LOAM_ERR_ALREADY);
	/* A caller that must not reclaim takes everything and is then refused. */
	while ((pfn = loam_frame_alloc(rig->frames, 0,
				       &(struct loam_frame_opts){.uninitialized = true, .no_reclaim = true})) !=
	       LOAM_PFN_NONE)
		held[hoard.n++] = pfn;
	CHECK_EQ(hoard.n, all);
	CHECK_EQ(hoard.calls, 0);
	pfn = loam_frame_alloc(rig->frames, 0, &raw);
	CHECK(pfn != LOAM_PFN_NONE);
	CHECK(hoard.calls > 0);
	CHECK(free_frames(rig) + 1 >= zone(rig, 0).low);
	loam_frame_free(rig->frames, pfn, 0);
	CHECK_OK(loam_frame_remove_shrinker(rig->frames, &hoard.shrinker));
	CHECK_STATUS(loam_frame_remove_shrinker(rig->frames, &hoard.shrinker), LOAM_ERR_NOT_FOUND);
	CHECK_EQ(free_frames(rig) + hoard.n, all);
	rig_destroy(rig);
}

/* Passes end and begin, and the flag is never free when somebody looks. */
struct busy_passes {
	uint64_t freed; /* by each pass */
	bool answers[3];
	bool over; /* atomic */
};

enum { VAIN = 2, TRIES = 10000 };

/* Asked again where CPU 1 did not run for as long as one waits, or stood between its two additions: nothing depends on who runs when. */
static bool shrink(struct rig *rig, const struct busy_passes *busy, struct loami_frame_patience *patience)
{
	const struct loami_frame_want want = {.reclaim = true};

	for (unsigned int i = 0; i < TRIES; i++) {
		bool in_vain = patience->passes == VAIN, answer = loami_frame_shrink(rig->frames, 1, &want, patience);

		if (in_vain || (answer && (busy->freed == 0 || patience->passes == 0)))
			return answer;
		if (answer)
			patience->passes = 0;
	}
	return false;
}

static bool pass_after_pass(struct rig *rig, unsigned int cpu, void *context)
{
	struct loami_frame_patience patience = {0};
	struct busy_passes *busy = context;

	if (cpu == 1) {
		for (unsigned int round = 0; !__atomic_load_n(&busy->over, __ATOMIC_ACQUIRE); round++) {
			__atomic_add_fetch(&rig->frames->shrunk, busy->freed, __ATOMIC_ACQ_REL);
			__atomic_add_fetch(&rig->frames->passes, 1, __ATOMIC_ACQ_REL);
			loam_port_relax(round);
		}
		return true;
	}
	for (unsigned int i = 0; i < 3; i++)
		busy->answers[i] = shrink(rig, busy, &patience);
	__atomic_store_n(&busy->over, true, __ATOMIC_RELEASE);
	return true;
}

TEST(F15_who_waits_for_shrinkers_waits_for_two_passes_that_free_nothing)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024, .ncpus = 2});
	struct hoard hoard = {.shrinker = {.shrink = give_up, .name = "hoard"}, .rig = rig};
	struct busy_passes idle = {0}, busy = {.freed = 1};

	CHECK_OK(loam_frame_add_shrinker(rig->frames, &hoard.shrinker));
	rig->frames->shrinking = 1; /* somebody's */
	CHECK(rig_run(rig, pass_after_pass, &idle));
	CHECK(rig_run(rig, pass_after_pass, &busy));
	rig->frames->shrinking = 0;
	CHECK(idle.answers[0]); /* after each it is worth looking again */
	CHECK(idle.answers[1]);
	CHECK(!idle.answers[2]);
	CHECK(busy.answers[0]);
	CHECK(busy.answers[1]);
	CHECK(busy.answers[2]); /* who frees may have more */
	CHECK_EQ(hoard.calls, 0);
	CHECK_OK(loam_frame_remove_shrinker(rig->frames, &hoard.shrinker));
	rig_destroy(rig);
}

/* A shrinker that needs memory itself, and one that would change the list. */
static size_t allocate_inside(struct loam_shrinker *self, size_t npages)
{
	struct hoard *hoard = (struct hoard *)self;
	struct loam_shrinker other = {.shrink = give_up, .name = "other"};

	(void)npages;
	hoard->calls++;
	if (loam_frame_alloc(hoard->rig->frames, 0, &raw) != LOAM_PFN_NONE ||
	    loam_frame_add_shrinker(hoard->rig->frames, &other) != LOAM_ERR_BUSY ||
	    loam_frame_remove_shrinker(hoard->rig->frames, self) != LOAM_ERR_BUSY)
		hoard->n = 1;
	return 0;
}

TEST(F15_a_shrinker_is_refused_what_would_need_a_shrinker)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024});
	struct hoard hoard = {.shrinker = {.shrink = allocate_inside, .name = "needy"}, .rig = rig};
	uint64_t n = 0;

	CHECK_OK(loam_frame_add_shrinker(rig->frames, &hoard.shrinker));
	while ((held[n] = loam_frame_alloc(rig->frames, 0,
					   &(struct loam_frame_opts){.uninitialized = true, .no_reclaim = true})) !=
	       LOAM_PFN_NONE)
		n++;
	CHECK_EQ(loam_frame_alloc(rig->frames, 0, &raw), LOAM_PFN_NONE);
	CHECK(hoard.calls > 0);
	CHECK_EQ(hoard.n, 0);
	loam_frame_free_batch(rig->frames, held, n);
	CHECK_OK(loam_frame_remove_shrinker(rig->frames, &hoard.shrinker));
	CHECK_OK(loam_frame_check(rig->frames));
	rig_destroy(rig);
}

TEST(F15_the_idle_loop_takes_nothing_where_memory_is_low)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 2048});
	struct loam_zone_watermarks marks = {.low = 100};
	uint64_t n = 0, all = free_frames(rig);
	loam_pfn pfn;

	CHECK_OK(loam_frame_set_watermarks(rig->frames, 0, &marks));
	for (; n < all - 102; n++)
		held[n] = loam_frame_alloc(rig->frames, 0, &raw);
	loam_frame_drain(rig->frames);
	CHECK_EQ(loam_frame_zero_idle(rig->frames, 10), 1);
	CHECK_EQ(loam_frame_zero_idle(rig->frames, 10), 0);
	/* Without a watermark it still leaves the last frame. */
	CHECK_OK(loam_frame_set_watermarks(rig->frames, 0, &(struct loam_zone_watermarks){.low = 0}));
	while (free_frames(rig) > 2)
		held[n++] = loam_frame_alloc(rig->frames, 0, &raw);
	loam_frame_drain(rig->frames);
	CHECK_EQ(loam_frame_zero_idle(rig->frames, 10), 1);
	CHECK_EQ(loam_frame_zero_idle(rig->frames, 10), 0);
	while ((pfn = loam_frame_alloc(rig->frames, 0, &raw)) != LOAM_PFN_NONE)
		held[n++] = pfn;
	CHECK_EQ(n, all);
	loam_frame_free_batch(rig->frames, held, n);
	CHECK_OK(loam_frame_check(rig->frames));
	rig_destroy(rig);
}

TEST(F15_failures_are_counted_per_order_and_ranges_by_the_page)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024});
	struct loam_frames_stats stats;
	loam_pfn pfn;

	for (unsigned int order = 11; order <= LOAM_ORDER_MAX; order++)
		CHECK_EQ(loam_frame_alloc(rig->frames, order, NULL), LOAM_PFN_NONE);
	CHECK_EQ(loam_frame_alloc(rig->frames, 18, NULL), LOAM_PFN_NONE);
	CHECK_OK(loam_frame_alloc_range(rig->frames, 30, NULL, NULL, &pfn));
	loam_frame_free_range(rig->frames, pfn + 10, 20);
	CHECK_STATUS(loam_frame_alloc_range(rig->frames, 3000, NULL, NULL, &(loam_pfn){0}), LOAM_ERR_NO_MEMORY);
	CHECK_EQ(loam_frame_last_failure(rig->frames).npages, 3000);
	loam_frame_read_stats(rig->frames, &stats);
	CHECK_EQ(stats.failures[11], 1);
	CHECK_EQ(stats.failures[18], 2);
	CHECK_EQ(stats.failures[0], 0);
	CHECK_EQ(stats.range_pages_out, 30);
	CHECK_EQ(stats.range_pages_back, 20);
	CHECK_EQ(stats.range_failures, 1);
	CHECK_EQ(stats.allocs - stats.frees, stats.used);
	CHECK_EQ(stats.used, 10);
	loam_frame_free_range(rig->frames, pfn, 10);
	rig_destroy(rig);
}

TEST(F15_blocks_coalesce_and_fragmentation_is_told)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 8192});
	uint64_t all = free_frames(rig), blocks = zone(rig, 0).free_blocks;
	unsigned int fresh = zone(rig, 0).fragmentation;
	loam_pfn pfn;

	CHECK(blocks >= 13);
	for (uint64_t i = 0; i < all; i++)
		held[i] = loam_frame_alloc(rig->frames, 0, &raw);
	CHECK_EQ(zone(rig, 0).free_blocks, 0);
	/* Every second frame back: much is free, no two of it together. */
	for (uint64_t i = 0; i < all; i++)
		if (held[i] % 2 == 0)
			loam_frame_free(rig->frames, held[i], 0);
	loam_frame_drain(rig->frames);
	CHECK_EQ(zone(rig, 0).fragmentation, 1000);
	CHECK_EQ(loam_frame_alloc(rig->frames, 1, &raw), LOAM_PFN_NONE);
	for (uint64_t i = 0; i < all; i++)
		if (held[i] % 2 != 0)
			loam_frame_free(rig->frames, held[i], 0);
	loam_frame_drain(rig->frames);
	CHECK_EQ(zone(rig, 0).free_blocks, blocks);
	CHECK_EQ(zone(rig, 0).fragmentation, fresh);
	pfn = loam_frame_alloc(rig->frames, 11, &raw);
	CHECK(pfn != LOAM_PFN_NONE);
	loam_frame_free(rig->frames, pfn, 11);
	CHECK_OK(loam_frame_check(rig->frames));
	rig_destroy(rig);
}

TEST(F15_types_keep_to_their_blocks)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 8192});
	loam_pfn kernel[64], user[64];

	for (unsigned int i = 0; i < 64; i++) {
		kernel[i] = loam_frame_alloc(rig->frames, 1, &raw);
		user[i] = loam_frame_alloc(
			rig->frames, 1, &(struct loam_frame_opts){.purpose = LOAM_PURPOSE_USER, .uninitialized = true});
	}
	for (unsigned int i = 0; i < 64; i++)
		for (unsigned int k = 0; k < 64; k++)
			CHECK(kernel[i] >> LOAM_BLOCK_ORDER != user[k] >> LOAM_BLOCK_ORDER);
	rig_destroy(rig);
}

TEST(F15_a_cpu_that_goes_gives_everything_back)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 8192});
	uint64_t all = free_frames(rig);
	struct loam_frames_stats stats;
	loam_pfn pfn;

	loam_frame_free(rig->frames, loam_frame_alloc(rig->frames, 0, &raw), 0);
	loam_frame_free(rig->frames, loam_frame_alloc(rig->frames, 3, &raw), 3);
	loam_frame_read_stats(rig->frames, &stats);
	CHECK(stats.parked > 0);
	CHECK_OK(loam_frame_cpu_offline(rig->frames, 0));
	loam_frame_read_stats(rig->frames, &stats);
	CHECK_EQ(stats.parked, 0);
	CHECK_EQ(stats.free, all);
	/* It may allocate, but parks nothing. */
	pfn = loam_frame_alloc(rig->frames, 0, &raw);
	loam_frame_free(rig->frames, pfn, 0);
	loam_frame_read_stats(rig->frames, &stats);
	CHECK_EQ(stats.parked, 0);
	CHECK_OK(loam_frame_cpu_online(rig->frames, 0));
	loam_frame_free(rig->frames, loam_frame_alloc(rig->frames, 0, &raw), 0);
	loam_frame_read_stats(rig->frames, &stats);
	CHECK(stats.parked > 0);
	CHECK_OK(loam_frame_check(rig->frames));
	rig_destroy(rig);
}

TEST(F15_ranges_are_claimed_and_released_whole)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 4096});
	loam_pfn base = rig->ram >> LOAM_PAGE_SHIFT, first = base + 100;
	struct loam_frames_stats before, after;

	loam_frame_free(rig->frames, loam_frame_alloc(rig->frames, 0, &raw), 0); /* parks some */
	CHECK_OK(loam_frame_claim_range(rig->frames, first + 3, 700, &raw));
	CHECK_EQ(loam_frame_ref_get(rig->frames, first + 702), 1);
	CHECK_STATUS(loam_frame_claim_range(rig->frames, first + 702, 5, &raw), LOAM_ERR_IN_USE);
	CHECK_STATUS(loam_frame_claim_range(rig->frames, base + 4000, 200, &raw), LOAM_ERR_OUT_OF_RANGE);
	CHECK_STATUS(loam_frame_claim_range(rig->frames, base, 0, &raw), LOAM_ERR_ZERO_SIZE);
	CHECK_STATUS(loam_frame_claim_range(rig->frames, base, UINT64_MAX, &raw), LOAM_ERR_OVERFLOW);
	CHECK_OK(loam_frame_check(rig->frames));
	loam_frame_free_range(rig->frames, first + 3, 700);
	/* Reserved frames: only whole, and only once. */
	loam_frame_read_stats(rig->frames, &before);
	CHECK_STATUS(loam_frame_release_range(rig->frames, first, 1), LOAM_ERR_INVALID);
	CHECK_STATUS(loam_frame_release_range(rig->frames, base + 4095, 2), LOAM_ERR_OUT_OF_RANGE);
	loam_frame_read_stats(rig->frames, &after);
	CHECK_EQ(before.free, after.free);
	CHECK_OK(loam_frame_check(rig->frames));
	rig_destroy(rig);
}

TEST(F15_hardened_frames_wait_before_they_are_used_again)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 2048, .hardened = true});
	loam_pfn pfn = loam_frame_alloc(rig->frames, 0, &raw), seen;
	uint64_t all, n = 0;

	loam_frame_free(rig->frames, pfn, 0);
	all = free_frames(rig);
	for (unsigned int i = 0; i < 200; i++) {
		seen = loam_frame_alloc(rig->frames, 0, &raw);
		CHECK(seen != pfn);
		loam_frame_free(rig->frames, seen, 0);
	}
	/* But they count as free, and the last of them can be had. */
	CHECK_EQ(free_frames(rig), all);
	while (loam_frame_alloc(rig->frames, 0, &raw) != LOAM_PFN_NONE)
		n++;
	CHECK_EQ(n, all);
	CHECK_OK(loam_frame_check(rig->frames));
	rig_destroy(rig);
}
