/* frame/range.c: runs of any length, each frame of which is owned by itself: parts of a run may be given back alone. */
#include "internal.h"

static enum loam_status check_where(const struct loam_frame_where *where, uint64_t npages)
{
	if (npages == 0)
		return LOAM_ERR_ZERO_SIZE;
	if (npages > UINT64_C(1) << 40)
		return LOAM_ERR_TOO_LARGE;
	if (where->align != 0 && !loami_is_power_of_two(where->align))
		return LOAM_ERR_ALIGNMENT;
	if (where->boundary != 0 && (!loami_is_power_of_two(where->boundary) ||
				     where->boundary >> LOAM_PAGE_SHIFT < npages || where->boundary < where->align))
		return LOAM_ERR_ALIGNMENT;
	if (where->limit != 0 && where->limit <= where->start)
		return LOAM_ERR_OUT_OF_RANGE;
	return LOAM_OK;
}

/* A run out of the blocks whose frames are all claimed. */
static enum loam_status take_range(struct loam_frames *frames, uint64_t npages, const struct loam_frame_where *where,
				   const struct loami_frame_want *want, loam_pfn *first)
{
	struct loami_frame_patience patience = {0};

	for (;;) {
		uint64_t before = loami_frame_moment(frames);

		*first = loami_blocks_take_run(frames, npages, where, want);
		if (*first != LOAM_PFN_NONE && loami_frame_claim_range(frames, *first, npages))
			return LOAM_OK;
		if (*first == LOAM_PFN_NONE && !loami_frame_look_again(frames, npages, want, before, &patience))
			return LOAM_ERR_NO_MEMORY;
	}
}

/* Claim each frame of a run. Where one is poisoned, it goes into quarantine and the others back: false. */
bool loami_frame_claim_range(struct loam_frames *frames, loam_pfn first, uint64_t npages)
{
	bool sound = true;

	for (uint64_t i = 0; i < npages && sound; i++) {
		sound = loami_frame_claim(frames, first + i, 0);
		if (sound)
			continue;
		for (uint64_t k = 0; k < i; k++)
			loami_frame_unclaim(loami_slot_of(frames, first + k));
		if (i > 0)
			loami_blocks_put(frames, first, i);
		if (i + 1 < npages)
			loami_blocks_put(frames, first + i + 1, npages - i - 1);
	}
	return sound;
}

enum loam_status loam_frame_alloc_range(struct loam_frames *frames, uint64_t npages,
					const struct loam_frame_where *where, const struct loam_frame_opts *opts,
					loam_pfn *first)
{
	static const struct loam_frame_where anywhere;
	struct loami_frame_want want;
	enum loam_status status;

	LOAMI_NOT_FROM_NMI();
	*first = LOAM_PFN_NONE;
	if (!where)
		where = &anywhere;
	status = loami_frame_decode(frames, opts, &want);
	if (status == LOAM_OK)
		status = check_where(where, npages);
	if (status == LOAM_OK && LOAMI_FAIL(LOAMI_FAIL_FRAME))
		status = LOAM_ERR_NO_MEMORY;
	if (status == LOAM_OK)
		status = take_range(frames, npages, where, &want, first);
	if (status != LOAM_OK) {
		(void)loami_fetch_add_relaxed(&frames->range_failures, 1);
		loami_frame_failed(frames, LOAM_ORDER_MAX + 1, npages, status);
		return status;
	}
	for (uint64_t i = 0; i < npages; i++) {
		want.zeroed = want.zero && frames->report && loami_frame_is_clean(frames, *first + i);
		loami_frame_publish(frames, loami_slot_of(frames, *first + i), *first + i, 0, &want);
	}
	(void)loami_fetch_add_relaxed(&frames->allocs, npages);
	(void)loami_fetch_add_relaxed(&frames->range_out, npages);
	return LOAM_OK;
}

void loam_frame_free_range(struct loam_frames *frames, loam_pfn first, uint64_t npages)
{
	uint32_t refcount;

	LOAMI_NOT_FROM_NMI();
	/* All checks before the first change. */
	for (uint64_t i = 0; i < npages; i++)
		(void)loami_frame_check_owned(frames, first + i, 0, &refcount);
	(void)loami_fetch_add_relaxed(&frames->range_back, npages);
	for (uint64_t i = 0, from = 0; i <= npages; i++) {
		if (i < npages) {
			struct loam_slot *slot = loami_frame_check_owned(frames, first + i, 0, &refcount);

			if (loami_frame_retire(frames, slot, first + i, 0, refcount))
				continue;
		}
		if (i > from)
			loami_blocks_put(frames, first + from, i - from);
		from = i + 1;
	}
}
