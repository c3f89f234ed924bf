/* Ranges on a small rig: what each call promises, what it refuses, and that the invariants hold throughout. */
#include "rig.h"
#include "tap.h"

#include <loam/arena.h>

#define START ((uintptr_t)0xffffc00000000000)
#define MIB ((size_t)1 << 20)

static struct loam_arena arena; /* one test at a time */

static struct rig *arena_rig(size_t nbytes, bool no_guard_pages)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 2048, .ncpus = 2});

	CHECK_OK(loam_arena_init(&arena, &(struct loam_arena_config){.start = START,
								     .nbytes = nbytes,
								     .ncpus = 2,
								     .head_pages = 1,
								     .no_guard_pages = no_guard_pages,
								     .frames = rig->frames}));
	CHECK_OK(loam_arena_check(&arena));
	return rig;
}

static uint64_t free_frames(const struct rig *rig)
{
	struct loam_frames_stats stats;

	loam_frame_read_stats(rig->frames, &stats);
	return stats.free;
}

/* Destroy, which says whether anything is left, and see every frame back. */
static void arena_rig_end(struct rig *rig)
{
	struct loam_frames_stats stats;

	CHECK_OK(loam_arena_check(&arena));
	CHECK_OK(loam_arena_destroy(&arena));
	loam_frame_read_stats(rig->frames, &stats);
	CHECK_EQ(stats.used, 0);
	rig_destroy(rig);
}

static struct loam_area reserve(size_t npages, size_t align)
{
	struct loam_area area;

	CHECK_OK(loam_arena_reserve(&arena, npages, align, &area));
	CHECK_EQ(area.npages, npages);
	return area;
}

static void give(uintptr_t start)
{
	struct loam_area area;

	CHECK_OK(loam_arena_claim(&arena, start, &area));
	loam_arena_release(&arena, &area);
}

static void give_through_batch(uintptr_t start)
{
	struct loam_area area;

	CHECK_OK(loam_arena_claim(&arena, start, &area));
	loam_arena_publish(&arena, &area, NULL);
}

static void release_all(void)
{
	struct loam_arena_batch batch = LOAM_ARENA_BATCH_EMPTY;

	(void)loam_arena_seal(&arena, 0, &batch);
	(void)loam_arena_seal(&arena, 1, &batch);
	loam_arena_release_sealed(&arena, &batch);
}

TEST(V5_ranges_of_every_size_come_and_go)
{
	struct rig *rig = arena_rig(64 * MIB, false);
	uintptr_t starts[200];

	for (size_t i = 0; i < 200; i++) {
		struct loam_area area = reserve(1 + i % 80, 0);

		starts[i] = area.start;
		CHECK(area.start >= START + LOAM_PAGE_SIZE); /* page 0 is never handed out */
		CHECK(area.start + (area.npages << LOAM_PAGE_SHIFT) <= START + 64 * MIB);
		CHECK_EQ(area.start % LOAM_PAGE_SIZE, 0);
		CHECK(area.capacity >= area.npages);
	}
	CHECK_OK(loam_arena_check(&arena));
	for (size_t i = 0; i < 200; i++) {
		struct loam_area area;

		/* The last page, the guard, and behind it. */
		CHECK_OK(loam_arena_lookup(&arena, starts[i] + ((1 + i % 80) << LOAM_PAGE_SHIFT) - 1, &area, NULL));
		CHECK_EQ(area.start, starts[i]);
		CHECK_OK(loam_arena_lookup(&arena, starts[i] + ((1 + i % 80) << LOAM_PAGE_SHIFT), &area, NULL));
		CHECK_EQ(area.start, starts[i]);
	}
	for (size_t i = 0; i < 200; i += 2)
		give(starts[i]);
	CHECK_OK(loam_arena_check(&arena));
	for (size_t i = 1; i < 200; i += 2)
		give(starts[i]);
	arena_rig_end(rig);
}

TEST(V5_free_neighbours_merge)
{
	struct rig *rig = arena_rig(16 * MIB, true);
	struct loam_arena_stats before, after;
	uintptr_t starts[16];

	loam_arena_read_stats(&arena, &before);
	CHECK_EQ(before.free_extents, 1);
	CHECK_EQ(before.largest_free, before.npages);
	for (size_t i = 0; i < 16; i++)
		starts[i] = reserve(100, 0).start;
	/* Odd ones, then even ones: each merges with both neighbours. */
	for (size_t i = 1; i < 16; i += 2)
		give(starts[i]);
	loam_arena_read_stats(&arena, &after);
	CHECK_EQ(after.free_extents, 8);
	for (size_t i = 0; i < 16; i += 2)
		give(starts[i]);
	loam_arena_read_stats(&arena, &after);
	CHECK_EQ(after.free_extents, 1);
	CHECK_EQ(after.largest_free, before.npages);
	arena_rig_end(rig);
}

TEST(V5_fit_is_good)
{
	struct rig *rig = arena_rig(16 * MIB, true);
	uintptr_t hole[3], fence[3], fresh;

	/* Holes of 200, 120 and 160 pages between fences. */
	hole[0] = reserve(200, 0).start;
	fence[0] = reserve(40, 0).start;
	hole[1] = reserve(120, 0).start;
	fence[1] = reserve(40, 0).start;
	hole[2] = reserve(160, 0).start;
	fence[2] = reserve(40, 0).start;
	for (size_t i = 0; i < 3; i++)
		give(hole[i]);
	fresh = reserve(112, 0).start;
	CHECK_EQ(fresh, hole[1]);
	give(fresh);
	fresh = reserve(120, 0).start;
	CHECK_EQ(fresh, hole[1]);
	give(fresh);
	for (size_t i = 0; i < 3; i++)
		give(fence[i]);
	arena_rig_end(rig);
}

/* More runs in one bin than are looked at under one hold of the lock, and only the one that is looked at last fits. */
TEST(V5_what_fits_is_found_after_a_long_search)
{
	struct rig *rig = arena_rig(16 * MIB, true);
	static uintptr_t hole[128], fence[128];
	size_t n = 0, pad = 0;
	struct loam_area area;

	/* Holes of 19 pages, 48 apart, 5 pages behind a multiple of 16; but the first begins at one. */
	hole[n] = reserve(19, 16 * LOAM_PAGE_SIZE).start;
	fence[n++] = reserve(34, 0).start;
	while (loam_arena_reserve(&arena, 19, 0, &area) == LOAM_OK) {
		CHECK_EQ((area.start >> LOAM_PAGE_SHIFT) % 16, 5);
		hole[n] = area.start;
		if (loam_arena_reserve(&arena, 29, 0, &area) != LOAM_OK)
			break;
		fence[n++] = area.start;
	}
	CHECK(n > 70);
	while (loam_arena_reserve(&arena, 1, 0, &area) == LOAM_OK)
		pad++;
	CHECK(pad > 0);
	for (size_t i = 0; i < n; i++)
		give(hole[i]);
	CHECK_EQ(reserve(16, 16 * LOAM_PAGE_SIZE).start, hole[0]);
	CHECK_STATUS(loam_arena_reserve(&arena, 16, 16 * LOAM_PAGE_SIZE, &area), LOAM_ERR_NO_RANGE);
	CHECK_OK(loam_arena_check(&arena));
	for (size_t i = 0; i < n; i++)
		give(fence[i]);
	give(hole[0]);
	for (uintptr_t at = START; loam_arena_next(&arena, at, &area, NULL) == LOAM_OK; at = area.start + 1)
		give(area.start);
	arena_rig_end(rig);
}

/* A range that is reserved claimed is not there for anybody until its owner says so. */
TEST(V4_a_range_that_is_being_made_cannot_be_claimed)
{
	struct rig *rig = arena_rig(16 * MIB, false);
	static const size_t sizes[] = {1, 40};

	for (size_t i = 0; i < 2; i++) {
		struct loam_area area, other;

		CHECK_OK(loam_arena_reserve_claimed(&arena, sizes[i], 0, &area));
		CHECK_STATUS(loam_arena_claim(&arena, area.start, &other), LOAM_ERR_NOT_FOUND);
		CHECK_STATUS(loam_arena_lookup(&arena, area.start, &other, NULL), LOAM_ERR_BUSY);
		loam_arena_unclaim(&arena, &area);
		CHECK_OK(loam_arena_lookup(&arena, area.start, &other, NULL));
		give(area.start);
		CHECK_OK(loam_arena_reserve_claimed(&arena, sizes[i], 0, &area));
		loam_arena_release(&arena, &area);
	}
	arena_rig_end(rig);
}

TEST(V4_a_range_is_not_reused_before_release)
{
	struct rig *rig = arena_rig(MIB, true);
	struct loam_arena_stats stats;
	struct loam_area area;
	struct loam_arena_batch batch = LOAM_ARENA_BATCH_EMPTY;
	uintptr_t all;
	size_t npages;

	loam_arena_read_stats(&arena, &stats);
	npages = (size_t)stats.npages;
	all = reserve(npages, 0).start;
	give_through_batch(all);
	CHECK_STATUS(loam_arena_reserve(&arena, 1, 0, &area), LOAM_ERR_NO_RANGE);
	CHECK_STATUS(loam_arena_reserve(&arena, npages, 0, &area), LOAM_ERR_NO_RANGE);
	CHECK(loam_arena_seal(&arena, 0, &batch));
	CHECK_EQ(batch.nareas, 1);
	CHECK_EQ(batch.npages, npages);
	CHECK_STATUS(loam_arena_reserve(&arena, 1, 0, &area), LOAM_ERR_NO_RANGE);
	CHECK(!loam_arena_seal(&arena, 0, &batch));
	loam_arena_release_sealed(&arena, &batch);
	CHECK_EQ(batch.nareas, 0);
	CHECK_EQ(reserve(npages, 0).start, all);
	give(all);
	arena_rig_end(rig);
}

TEST(V4_of_two_claims_one_succeeds)
{
	struct rig *rig = arena_rig(16 * MIB, false);
	static const size_t sizes[] = {1, 5, 31, 64, 300};
	struct loam_area area, other;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uintptr_t start = reserve(sizes[i], 0).start;

		CHECK_STATUS(loam_arena_claim(&arena, start + LOAM_PAGE_SIZE, &other), LOAM_ERR_NOT_FOUND);
		CHECK_STATUS(loam_arena_claim(&arena, start + 1, &other), LOAM_ERR_NOT_FOUND);
		CHECK_OK(loam_arena_claim(&arena, start, &area));
		CHECK_STATUS(loam_arena_claim(&arena, start, &other), LOAM_ERR_NOT_FOUND);
		CHECK_STATUS(loam_arena_lookup(&arena, start, &other, NULL), LOAM_ERR_BUSY);
		loam_arena_unclaim(&arena, &area);
		CHECK_OK(loam_arena_lookup(&arena, start, &other, NULL));
		CHECK_OK(loam_arena_claim(&arena, start, &area));
		loam_arena_publish(&arena, &area, NULL);
		CHECK_STATUS(loam_arena_claim(&arena, start, &other), LOAM_ERR_NOT_FOUND);
		CHECK_STATUS(loam_arena_lookup(&arena, start, &other, NULL), LOAM_ERR_NOT_FOUND);
		release_all();
		CHECK_STATUS(loam_arena_claim(&arena, start, &other), LOAM_ERR_NOT_FOUND);
	}
	CHECK_STATUS(loam_arena_claim(&arena, START - 1, &other), LOAM_ERR_OUT_OF_RANGE);
	CHECK_STATUS(loam_arena_claim(&arena, START + 16 * MIB, &other), LOAM_ERR_OUT_OF_RANGE);
	CHECK_STATUS(loam_arena_claim(&arena, START, &other), LOAM_ERR_NOT_FOUND);
	arena_rig_end(rig);
}

TEST(V8_live_ranges_are_listed_in_address_order)
{
	struct rig *rig = arena_rig(64 * MIB, false);
	struct loam_area_record copy;
	struct loam_area area;
	uintptr_t starts[100], at = START;
	size_t live = 0, seen = 0;

	for (size_t i = 0; i < 100; i++) {
		area = reserve(1 + (i * 7) % 50, 0);
		starts[i] = area.start;
		loam_arena_write_record(&area, &(struct loam_area_record){.sequence = i + 1, .nbytes = i});
	}
	for (size_t i = 0; i < 100; i += 3)
		give(starts[i]);
	for (size_t i = 0; i < 100; i++)
		live += i % 3 != 0;
	while (loam_arena_next(&arena, at, &area, &copy) == LOAM_OK) {
		CHECK(area.start >= at);
		CHECK(copy.sequence % 3 != 1);
		CHECK_EQ(starts[copy.sequence - 1], area.start);
		CHECK_EQ(area.npages, 1 + (copy.nbytes * 7) % 50);
		at = area.start + 1;
		seen++;
	}
	CHECK_EQ(seen, live);
	for (size_t i = 0; i < 100; i++)
		if (i % 3 != 0)
			give(starts[i]);
	arena_rig_end(rig);
}

TEST(alignment_is_kept)
{
	struct rig *rig = arena_rig(64 * MIB, false);
	uintptr_t starts[12];

	for (unsigned int i = 0; i < 12; i++) {
		starts[i] = reserve(3, (size_t)1 << (10 + i)).start;
		CHECK_EQ(starts[i] & (((uintptr_t)1 << (10 + i)) - 1), 0);
	}
	CHECK_OK(loam_arena_check(&arena));
	for (unsigned int i = 0; i < 12; i++)
		give(starts[i]);
	arena_rig_end(rig);
}

TEST(a_range_can_grow_into_its_capacity)
{
	struct rig *rig = arena_rig(16 * MIB, false);
	struct loam_area area = reserve(17, 0), claimed, found;

	CHECK_OK(loam_arena_claim(&arena, area.start, &claimed));
	CHECK_STATUS(loam_arena_resize(&arena, &claimed, claimed.capacity + 1), LOAM_ERR_NO_RANGE);
	CHECK_STATUS(loam_arena_resize(&arena, &claimed, 0), LOAM_ERR_ZERO_SIZE);
	CHECK_EQ(claimed.npages, 17);
	CHECK_OK(loam_arena_resize(&arena, &claimed, 2));
	loam_arena_unclaim(&arena, &claimed);
	CHECK_OK(loam_arena_lookup(&arena, area.start, &found, NULL));
	CHECK_EQ(found.npages, 2);
	CHECK_STATUS(loam_arena_lookup(&arena, area.start + 3 * LOAM_PAGE_SIZE, &found, NULL), LOAM_ERR_NOT_FOUND);
	CHECK_OK(loam_arena_check(&arena));
	give(area.start);
	arena_rig_end(rig);
}

TEST(a_cpu_takes_places_from_others_before_it_fails)
{
	struct rig *rig = arena_rig(MIB, false);
	struct loam_area area;
	uintptr_t starts[256];
	size_t n = 0;

	while (loam_arena_reserve(&arena, 1, 0, &area) == LOAM_OK)
		starts[n++] = area.start;
	CHECK(n >= 126); /* two pages each of 255 */
	CHECK_OK(loam_arena_check(&arena));
	for (size_t i = 0; i < n; i++)
		give(starts[i]);
	arena_rig_end(rig);
}

TEST(bad_configurations_are_refused)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024});
	struct loam_arena_config good = {.start = START, .nbytes = MIB, .ncpus = 1, .frames = rig->frames};
	struct loam_arena_config config;
	uint64_t before = free_frames(rig);

	config = good;
	config.frames = NULL;
	CHECK_STATUS(loam_arena_init(&arena, &config), LOAM_ERR_INVALID);
	config = good;
	config.nbytes = MIB / 2;
	CHECK_STATUS(loam_arena_init(&arena, &config), LOAM_ERR_INVALID);
	config = good;
	config.nbytes = MIB + 1;
	CHECK_STATUS(loam_arena_init(&arena, &config), LOAM_ERR_ALIGNMENT);
	config = good;
	config.start = START + 1;
	CHECK_STATUS(loam_arena_init(&arena, &config), LOAM_ERR_ALIGNMENT);
	config = good;
	config.nbytes = (size_t)LOAM_ARENA_MAX_NBYTES + LOAM_PAGE_SIZE;
	CHECK_STATUS(loam_arena_init(&arena, &config), LOAM_ERR_TOO_LARGE);
	config = good;
	config.start = ~(uintptr_t)0xfff;
	CHECK_STATUS(loam_arena_init(&arena, &config), LOAM_ERR_OVERFLOW);
	config = good;
	config.ncpus = 0;
	CHECK_STATUS(loam_arena_init(&arena, &config), LOAM_ERR_CPU);
	config = good;
	config.head_pages = 256;
	CHECK_STATUS(loam_arena_init(&arena, &config), LOAM_ERR_INVALID);
	CHECK_EQ(free_frames(rig), before);
	CHECK_OK(loam_arena_init(&arena, &good));
	arena_rig_end(rig);
}

TEST(bad_requests_are_refused)
{
	struct rig *rig = arena_rig(16 * MIB, false);
	struct loam_arena_stats before, after;
	struct loam_area area;

	loam_arena_read_stats(&arena, &before);
	CHECK_STATUS(loam_arena_reserve(&arena, 0, 0, &area), LOAM_ERR_ZERO_SIZE);
	CHECK_STATUS(loam_arena_reserve(&arena, 1, 3 * LOAM_PAGE_SIZE, &area), LOAM_ERR_ALIGNMENT);
	CHECK_STATUS(loam_arena_reserve(&arena, 16 * MIB / LOAM_PAGE_SIZE, 0, &area), LOAM_ERR_TOO_LARGE);
	CHECK_STATUS(loam_arena_reserve(&arena, ~(size_t)0, 0, &area), LOAM_ERR_TOO_LARGE);
	CHECK_STATUS(loam_arena_reserve(&arena, 1, (size_t)1 << 62, &area), LOAM_ERR_NO_RANGE);
	loam_arena_read_stats(&arena, &after);
	CHECK_EQ(after.free_pages, before.free_pages);
	CHECK_EQ(after.live_areas, 0);
	arena_rig_end(rig);
}

TEST(misuse_of_a_range_is_named)
{
	struct rig *rig = arena_rig(16 * MIB, false);
	struct loam_area area = reserve(1, 0);
	struct loam_arena_stats stats;

	CHECK_EQ(area.start, START + LOAM_PAGE_SIZE);
	CHECK_PANIC(loam_arena_release(&arena, &area),
		    "loam: arena: release of the range at 0xffffc00000001000, which is not claimed (state 1)");
	CHECK_PANIC(loam_arena_publish(&arena, &area, NULL),
		    "loam: arena: publish of the range at 0xffffc00000001000, which is not claimed (state 1)");
	CHECK_PANIC(loam_arena_unclaim(&arena, &area),
		    "loam: arena: unclaim of the range at 0xffffc00000001000, which is not claimed (state 1)");
	CHECK_PANIC((void)!loam_arena_resize(&arena, &area, 1),
		    "loam: arena: resize of the range at 0xffffc00000001000, which is not claimed (state 1)");
	loam_arena_read_stats(&arena, &stats);
	CHECK_EQ(stats.live_areas, 1);
	CHECK_STATUS(loam_arena_destroy(&arena), LOAM_ERR_IN_USE);
	give(area.start);
	arena_rig_end(rig);
}

TEST(V5_metadata_comes_in_single_frames_up_to_the_largest_arena)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 2048, .ncpus = 1});
	static const unsigned int logs[] = {26, 30, 34, 35, 38, 42, 46};
	struct loam_area area, found;

	for (size_t i = 0; i < sizeof(logs) / sizeof(logs[0]); i++) {
		size_t nbytes = (size_t)1 << logs[i];
		struct loam_arena_stats stats;
		uintptr_t small, large;

		CHECK_OK(loam_arena_init(&arena, &(struct loam_arena_config){.start = (uintptr_t)0xffff800000000000,
									     .nbytes = nbytes,
									     .ncpus = 1,
									     .head_pages = 1,
									     .frames = rig->frames}));
		small = reserve(1, 0).start;
		large = reserve((nbytes / 2) >> LOAM_PAGE_SHIFT, 0).start;
		CHECK_OK(loam_arena_lookup(&arena, large + nbytes / 3, &found, NULL));
		CHECK_EQ(found.start, large);
		CHECK_OK(loam_arena_lookup(&arena, large + nbytes / 2 - 1, &found, NULL));
		CHECK_EQ(found.start, large);
		CHECK_STATUS(loam_arena_reserve(&arena, (nbytes / 2) >> LOAM_PAGE_SHIFT, 0, &area), LOAM_ERR_NO_RANGE);
		loam_arena_read_stats(&arena, &stats);
		CHECK(stats.metadata_pages < 64); /* the interior of a large range costs no words */
		CHECK_OK(loam_arena_claim(&arena, small, &area));
		loam_arena_release(&arena, &area);
		CHECK_OK(loam_arena_claim(&arena, large, &area));
		loam_arena_release(&arena, &area);
		if (nbytes <= (size_t)1 << 34)
			CHECK_OK(loam_arena_check(&arena));
		CHECK_OK(loam_arena_destroy(&arena));
	}
	rig_destroy(rig);
}

/* A place has room for 63 pages it does not use; what is taken from another class in need must not be larger. */
TEST(V5_a_place_far_too_large_is_not_handed_out_under_a_wrong_length)
{
	struct rig *rig = arena_rig((size_t)64 << 30, false);
	struct loam_area large = reserve(255, 0), area, found;
	struct loam_arena_stats stats;
	uintptr_t starts[64];
	size_t n = 0;

	for (loam_arena_read_stats(&arena, &stats); stats.free_extents > 0 && n < 64;
	     loam_arena_read_stats(&arena, &stats)) {
		CHECK_OK(loam_arena_reserve(&arena, stats.largest_free - 1, 0, &area));
		starts[n++] = area.start;
	}
	if (loam_arena_reserve(&arena, 1, 0, &area) == LOAM_OK) {
		CHECK_OK(loam_arena_lookup(&arena, area.start, &found, NULL));
		CHECK_EQ(found.npages, 1);
		give(area.start);
	}
	CHECK_OK(loam_arena_reserve(&arena, 200, 0, &area));
	CHECK_OK(loam_arena_lookup(&arena, area.start, &found, NULL));
	CHECK_EQ(found.npages, 200);
	give(area.start);
	while (n > 0)
		give(starts[--n]);
	give(large.start);
	arena_rig_end(rig);
}
