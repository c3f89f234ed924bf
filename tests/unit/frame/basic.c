/* Frames: taking, giving back, orders, ranges; what F3, F4, F12 and F13 say of them. */
#include "rig.h"
#include "tap.h"

#include <loam/frame.h>

TEST(F13_alloc_and_free_every_order)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 8192});
	struct loam_frames_stats before, after;

	loam_frame_read_stats(rig->frames, &before);
	CHECK_EQ(before.ram, 8192);
	CHECK_EQ(before.managed + before.metadata + before.reserved, before.ram);
	CHECK_EQ(before.free, before.managed);
	for (unsigned int order = 0; order <= 11; order++) {
		loam_pfn pfn = loam_frame_alloc(rig->frames, order, NULL);

		CHECK(pfn != LOAM_PFN_NONE);
		CHECK_EQ(pfn & ((1u << order) - 1), 0);
		CHECK_EQ(loam_frame_ref_get(rig->frames, pfn), 1);
		CHECK_OK(loam_frame_check(rig->frames));
		loam_frame_read_stats(rig->frames, &after);
		CHECK_EQ(after.used, UINT64_C(1) << order);
		loam_frame_free(rig->frames, pfn, order);
		loam_frame_drain(rig->frames);
		CHECK_OK(loam_frame_check(rig->frames));
	}
	loam_frame_read_stats(rig->frames, &after);
	CHECK_EQ(after.free, before.free);
	rig_destroy(rig);
}

TEST(F13_take_all_and_give_all_back)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 2048});
	struct loam_frame_opts opts = {.uninitialized = true};
	static loam_pfn held[2048];
	struct loam_frames_stats stats;
	size_t n = 0;

	while (n < 2048 && (held[n] = loam_frame_alloc(rig->frames, 0, &opts)) != LOAM_PFN_NONE)
		n++;
	loam_frame_read_stats(rig->frames, &stats);
	CHECK_EQ(n, stats.managed);
	CHECK_EQ(stats.free, 0);
	CHECK_EQ(loam_frame_last_failure(rig->frames).status, LOAM_ERR_NO_MEMORY);
	CHECK_OK(loam_frame_check(rig->frames));
	loam_frame_free_batch(rig->frames, held, n);
	CHECK_OK(loam_frame_check(rig->frames));
	loam_frame_read_stats(rig->frames, &stats);
	CHECK_EQ(stats.free, stats.managed);
	rig_destroy(rig);
}

TEST(F15_ranges_of_any_length_where_they_are_wanted)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 8192});
	static const uint64_t lengths[] = {1, 2, 3, 5, 63, 64, 65, 127, 511, 512, 513, 1000, 1537};
	loam_pfn pfn;

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct loam_frame_where where = {.align = 16 * LOAM_PAGE_SIZE,
						 .boundary = 2048 * LOAM_PAGE_SIZE,
						 .limit = rig->ram + 6000 * LOAM_PAGE_SIZE};

		CHECK_OK(loam_frame_alloc_range(rig->frames, lengths[i], &where, NULL, &pfn));
		CHECK_EQ(pfn % 16, 0);
		CHECK_EQ(pfn / 2048, (pfn + lengths[i] - 1) / 2048);
		CHECK(loam_frame_address(pfn + lengths[i]) <= where.limit);
		loam_frame_free_range(rig->frames, pfn + lengths[i] / 2, lengths[i] - lengths[i] / 2);
		if (lengths[i] / 2 != 0)
			loam_frame_free_range(rig->frames, pfn, lengths[i] / 2);
		CHECK_OK(loam_frame_check(rig->frames));
	}
	CHECK_STATUS(loam_frame_alloc_range(rig->frames, 8192, NULL, NULL, &pfn), LOAM_ERR_NO_MEMORY);
	CHECK_STATUS(loam_frame_alloc_range(rig->frames, 0, NULL, NULL, &pfn), LOAM_ERR_ZERO_SIZE);
	/* The start is rounded up to a page, and must not begin at 0 again. */
	CHECK_STATUS(
		loam_frame_alloc_range(rig->frames, 1, &(struct loam_frame_where){.start = UINT64_MAX - 5}, NULL, &pfn),
		LOAM_ERR_NO_MEMORY);
	rig_destroy(rig);
}
