/* frame/hotplug.c: memory that comes and goes while the machine runs: exactly these frames taken for a device or a balloon, reserved frames given to the allocator, new
 * memory added.
 *
 * 4 Locks: one change of the machine's outline at a time (frames->outline, an exchanged flag; who finds it taken gets LOAM_ERR_BUSY). Searches run meanwhile: a section is
 *   published by its slots, a chunk by its number, a domain by their count, each with release after all of it. A search that began before may miss the new frames;
 *   giving them moves frames->moves, and it looks again.
 */
#include "plan.h"

enum loam_status loam_frame_claim_range(struct loam_frames *frames, loam_pfn first, uint64_t npages,
					const struct loam_frame_opts *opts)
{
	struct loami_frame_want want;
	enum loam_status status;

	LOAMI_NOT_FROM_NMI();
	status = loami_frame_decode(frames, opts, &want);
	if (status != LOAM_OK)
		return status;
	if (npages == 0)
		return LOAM_ERR_ZERO_SIZE;
	if (first + npages < first)
		return LOAM_ERR_OVERFLOW;
	for (uint64_t i = 0; i < npages; i++)
		if (!loam_frame_has_slot(frames, first + i))
			return LOAM_ERR_OUT_OF_RANGE;
	if (!loami_blocks_take_exact(frames, first, npages)) {
		loam_frame_drain(frames);
		if (!loami_blocks_take_exact(frames, first, npages))
			return LOAM_ERR_IN_USE;
	}
	if (!loami_frame_claim_range(frames, first, npages))
		return LOAM_ERR_IN_USE;
	for (uint64_t i = 0; i < npages; i++)
		loami_frame_publish(frames, loami_slot_of(frames, first + i), first + i, 0, &want);
	(void)loami_fetch_add_relaxed(&frames->allocs, npages);
	(void)loami_fetch_add_relaxed(&frames->range_out, npages);
	return LOAM_OK;
}

static void count_managed(struct loam_frames *frames, loam_pfn pfn, uint64_t npages)
{
	const struct loami_frame_chunk *chunk = loami_chunk_of(frames, pfn);

	(void)loami_fetch_add_relaxed(&frames->zone_managed[chunk->zone], npages);
}

enum loam_status loam_frame_release_range(struct loam_frames *frames, loam_pfn first, uint64_t npages)
{
	enum loam_status status = LOAM_OK;

	LOAMI_TASK_ONLY();
	if (loami_load_acquire(&frames->ready) == 0)
		return LOAM_ERR_NOT_READY;
	if (npages == 0)
		return LOAM_ERR_ZERO_SIZE;
	if (first + npages < first)
		return LOAM_ERR_OVERFLOW;
	if (loami_exchange(&frames->outline, 1) != 0)
		return LOAM_ERR_BUSY;
	for (uint64_t i = 0; i < npages && status == LOAM_OK; i++) {
		const struct loam_slot *slot = loami_slot_find(frames, first + i);

		if (!slot || loami_slot_is_hole(slot))
			status = LOAM_ERR_OUT_OF_RANGE;
		else if ((loami_load_relaxed(&slot->state) & STATE_RESERVED) == 0)
			status = LOAM_ERR_INVALID;
		else if (loami_load_acquire(&slot->refcount) != 1)
			status = LOAM_ERR_IN_USE;
	}
	if (status == LOAM_OK) {
		for (uint64_t i = 0; i < npages; i++) {
			loami_slot_reset(loami_slot_of(frames, first + i), 0);
			count_managed(frames, first + i, 1);
		}
		loami_frames_give(frames, first, first + npages, false);
	}
	loami_store_release(&frames->outline, 0);
	return status;
}

/* ---- new memory ----------------------------------------------------------------------------------------------------------------------- */

/* The chunks of [start, end): cut at cells and zones. False at the end; above every zone's limit there are none. */
static bool next_outline(const struct loam_frames *frames, loam_pfn *at, loam_pfn end, unsigned int node,
			 struct loami_outline *outline)
{
	unsigned int zone = 0;
	loam_pfn stop = ((*at >> frames->cell_order) + 1) << frames->cell_order;

	if (*at >= end)
		return false;
	while (zone < frames->nzones && frames->zones[zone].limit != 0 &&
	       *at >= frames->zones[zone].limit >> LOAM_PAGE_SHIFT)
		zone++;
	if (zone == frames->nzones)
		return false;
	if (stop > end)
		stop = end;
	if (frames->zones[zone].limit != 0 && stop > frames->zones[zone].limit >> LOAM_PAGE_SHIFT)
		stop = frames->zones[zone].limit >> LOAM_PAGE_SHIFT;
	*outline = (struct loami_outline){*at, stop, zone, node};
	*at = stop;
	return true;
}

struct addition {
	uint64_t nchunks;
	uint64_t nblocks;
	uint64_t nslots;
	uint64_t nbytes;
	uint64_t rows; /* offsets into the metadata */
	uint64_t counts;
	uint64_t slots;
};

static loam_pfn next_section(loam_pfn pfn)
{
	return loami_align_down(pfn, SECTION_FRAMES) + SECTION_FRAMES;
}

/* Where memory is added, sections begin at multiples of their size: the first frame is 0. */
static struct addition plan_addition(const struct loam_frames *frames, loam_pfn start, loam_pfn end)
{
	struct addition plan = {0};
	struct loami_outline outline;

	for (loam_pfn pfn = start; pfn < end; pfn = next_section(pfn))
		plan.nslots += loami_section_find(frames, pfn) ? 0 : SECTION_FRAMES;

	for (loam_pfn at = start; next_outline(frames, &at, end, 0, &outline); plan.nchunks++)
		plan.nblocks += loami_blocks_of(outline.start, outline.end);
	plan.rows = loami_align_up(plan.nchunks * sizeof(struct loami_frame_chunk), 64);
	plan.counts = plan.rows + plan.nblocks * ROW_WORDS * sizeof(uint64_t) * (frames->report ? 2 : 1);
	plan.slots = loami_align_up(plan.counts + plan.nblocks * sizeof(uint16_t), 64);
	plan.nbytes = loami_align_up(plan.slots + plan.nslots * sizeof(struct loam_slot), LOAM_PAGE_SIZE);
	return plan;
}

static enum loam_status check_addition(const struct loam_frames *frames, loam_paddr base, uint64_t nbytes)
{
	uint64_t block = LOAM_BLOCK_FRAMES * LOAM_PAGE_SIZE;

	if (loami_load_acquire(&frames->ready) == 0)
		return LOAM_ERR_NOT_READY;
	if (nbytes == 0)
		return LOAM_ERR_ZERO_SIZE;
	if (!loami_is_aligned(base, block) || !loami_is_aligned(nbytes, block))
		return LOAM_ERR_ALIGNMENT;
	if (base + nbytes < base)
		return LOAM_ERR_OVERFLOW;
	if (frames->first_pfn != 0 || (base + nbytes) >> LOAM_PAGE_SHIFT > frames->span)
		return LOAM_ERR_OUT_OF_RANGE;
	return LOAM_OK;
}

uint64_t loam_frame_add_memory_size(const struct loam_frames *frames, loam_paddr base, uint64_t nbytes)
{
	if (check_addition(frames, base, nbytes) != LOAM_OK)
		return 0;
	return plan_addition(frames, base >> LOAM_PAGE_SHIFT, (base + nbytes) >> LOAM_PAGE_SHIFT).nbytes;
}

/* Memory of [start, end), or memory on both sides of it. */
static bool has_chunk(const struct loam_frames *frames, loam_pfn start, loam_pfn end)
{
	for (const struct loami_frame_chunk *chunk = frames->lowest; chunk; chunk = chunk->above)
		if (chunk->start < end && chunk->end > start)
			return true;
	return false;
}

/* Slots that others can see. */
static void fill_holes(struct loam_frames *frames, loam_pfn start, loam_pfn end)
{
	for (loam_pfn pfn = start; pfn < end; pfn++) {
		struct loam_slot *slot = loami_slot_of(frames, pfn);

		slot->next = slot->prev = LOAM_FRAME_LINK_NONE;
		slot->flags = LOAM_FRAME_FREE;
		loami_store_release(&slot->refcount, REF_UNUSED);
	}
}

static enum loam_status add_locked(struct loam_frames *frames, loam_pfn start, loam_pfn end, unsigned int node,
				   uintptr_t metadata, uint64_t metadata_nbytes)
{
	struct addition plan = plan_addition(frames, start, end);
	struct loami_frame_chunk *chunk = (struct loami_frame_chunk *)metadata;
	uint64_t(*rows)[ROW_WORDS] = (uint64_t(*)[ROW_WORDS])(metadata + (uintptr_t)plan.rows);
	uint16_t *counts = (uint16_t *)(metadata + (uintptr_t)plan.counts);
	uintptr_t slots = metadata + (uintptr_t)plan.slots;
	struct loami_outline outline;
	loam_pfn covered = start;

	for (loam_pfn pfn = start; pfn < end; pfn = next_section(pfn))
		if (loami_section_find(frames, pfn) &&
		    has_chunk(frames, pfn, end < next_section(pfn) ? end : next_section(pfn)))
			return LOAM_ERR_IN_USE;
	if (plan.nchunks == 0)
		return LOAM_ERR_ZONE;
	if (plan.nbytes > metadata_nbytes ||
	    frames->numbers_used + plan.nslots / SECTION_FRAMES > frames->numbers_max ||
	    frames->nchunks + plan.nchunks > frames->chunks_max)
		return LOAM_ERR_NO_METADATA;
	if (!frames->zeroed)
		__builtin_memset((void *)metadata, 0, (size_t)plan.slots);
	/* Frames above every zone have slots, and are none. */
	for (loam_pfn at = start; next_outline(frames, &at, end, node, &outline);)
		covered = outline.end;
	for (loam_pfn pfn = start; pfn < end; pfn = next_section(pfn)) {
		if (loami_section_find(frames, pfn)) {
			fill_holes(frames, pfn, covered < next_section(pfn) ? covered : next_section(pfn));
			continue;
		}
		loami_section_add(frames, pfn, slots, start, covered);
		slots += SECTION_FRAMES * sizeof(struct loam_slot);
	}
	for (loam_pfn at = start; next_outline(frames, &at, end, node, &outline); chunk++) {
		uint64_t n = outline.end - outline.start;

		loami_chunk_add(frames, chunk, &outline, &rows, &counts);
		if (frames->zone_end[outline.zone] == 0 || outline.start < frames->zone_start[outline.zone])
			loami_store_relaxed(&frames->zone_start[outline.zone], outline.start);
		if (outline.end > frames->zone_end[outline.zone])
			loami_store_relaxed(&frames->zone_end[outline.zone], outline.end);
		(void)loami_fetch_add_relaxed(&frames->zone_present[outline.zone], n);
		(void)loami_fetch_add_relaxed(&frames->zone_managed[outline.zone], n);
		(void)loami_fetch_add_relaxed(&frames->ram, n);
		loami_frames_give(frames, outline.start, outline.end, true);
	}
	return LOAM_OK;
}

enum loam_status loam_frame_add_memory(struct loam_frames *frames, loam_paddr base, uint64_t nbytes, unsigned int node,
				       void *metadata, uint64_t metadata_nbytes)
{
	enum loam_status status = check_addition(frames, base, nbytes);

	LOAMI_TASK_ONLY();
	if (status != LOAM_OK)
		return status;
	if (node >= LOAM_NODES_MAX || !metadata || !loami_is_aligned((uintptr_t)metadata, LOAM_CPU_ALIGN))
		return LOAM_ERR_INVALID;
	if (loami_exchange(&frames->outline, 1) != 0)
		return LOAM_ERR_BUSY;
	status = add_locked(frames, base >> LOAM_PAGE_SHIFT, (base + nbytes) >> LOAM_PAGE_SHIFT, node,
			    (uintptr_t)metadata, metadata_nbytes);
	loami_store_release(&frames->outline, 0);
	return status;
}
