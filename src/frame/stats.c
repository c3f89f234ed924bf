/* frame/stats.c: where the frames are, counted; and the check of every invariant of the layer. */
#include "internal.h"

#include <base/print.h>

static uint64_t free_in_blocks(const struct loam_frames *frames, unsigned int zones_from, unsigned int zones_to)
{
	uint64_t n = 0;

	for (unsigned int d = 0, ndomains = loami_load_acquire(&frames->ndomains); d < ndomains; d++)
		if (frames->domains[d].zone >= zones_from && frames->domains[d].zone < zones_to)
			n += loami_load_relaxed(&frames->domains[d].free);
	return n;
}

static uint64_t parked(const struct loam_frames *frames, unsigned int zones_from, unsigned int zones_to)
{
	uint64_t n = 0;

	for (unsigned int cpu = 0; cpu < frames->ncpus; cpu++)
		n += loami_cpu_parked(frames, cpu, zones_from, zones_to);
	return n;
}

void loam_frame_read_stats(const struct loam_frames *frames, struct loam_frames_stats *stats)
{
	*stats = (struct loam_frames_stats){
		.ram = loami_load_relaxed(&frames->ram),
		.metadata = frames->metadata_frames,
		.managed = loami_load_relaxed(&frames->managed),
		.parked = parked(frames, 0, LOAM_ZONES_MAX),
		.quarantined = loami_load_relaxed(&frames->quarantined),
		.allocs = loami_load_relaxed(&frames->allocs),
		.range_pages_out = loami_load_relaxed(&frames->range_out),
		.range_pages_back = loami_load_relaxed(&frames->range_back),
		.range_failures = loami_load_relaxed(&frames->range_failures),
		.nzones = frames->nzones,
	};
	stats->reserved = stats->ram - stats->managed - stats->metadata;
	for (unsigned int cpu = 0; cpu < frames->ncpus; cpu++)
		stats->allocs += loami_cpu_allocs(frames, cpu);
	stats->free = free_in_blocks(frames, 0, LOAM_ZONES_MAX) + stats->parked;
	stats->used = stats->managed - stats->free - stats->quarantined;
	stats->frees = stats->allocs - stats->used;
	for (unsigned int order = 0; order <= LOAM_ORDER_MAX; order++)
		stats->failures[order] = loami_load_relaxed(&frames->failures[order]);
}

enum loam_status loam_frame_read_zone_stats(const struct loam_frames *frames, unsigned int zone,
					    struct loam_zone_stats *stats)
{
	if (zone >= frames->nzones)
		return LOAM_ERR_ZONE;
	*stats = (struct loam_zone_stats){
		.name = frames->zones[zone].name,
		.start = loami_load_relaxed(&frames->zone_start[zone]),
		.end = loami_load_relaxed(&frames->zone_end[zone]),
		.present = loami_load_relaxed(&frames->zone_present[zone]),
		.managed = loami_load_relaxed(&frames->zone_managed[zone]),
		.free = free_in_blocks(frames, zone, zone + 1) + parked(frames, zone, zone + 1),
		.low = loami_load_relaxed(&frames->zone_low[zone]),
		.min = loami_load_relaxed(&frames->zone_min[zone]),
	};
	for (uint32_t c = 0, nchunks = loami_load_acquire(&frames->nchunks); c < nchunks; c++) {
		struct loami_frame_chunk *chunk = frames->chunks[c];

		if (chunk->zone == zone) {
			unsigned long irq = loami_lock_irq(&chunk->lock);

			stats->free_blocks += chunk->nwhole;
			loami_unlock_irq(&chunk->lock, irq);
		}
	}
	if (stats->free != 0)
		stats->fragmentation =
			(unsigned int)(1000 - stats->free_blocks * LOAM_BLOCK_FRAMES * 1000 / stats->free);
	return LOAM_OK;
}

static enum loam_status check_chunk_slots(struct loam_frames *frames, const struct loami_frame_chunk *chunk)
{
	for (uint64_t offset = 0; offset < chunk->end - chunk->base; offset++) {
		loam_pfn pfn = chunk->base + offset;
		const struct loam_slot *slot;

		if ((chunk->rows[offset / LOAM_BLOCK_FRAMES][offset % LOAM_BLOCK_FRAMES / 64] >> (offset % 64) & 1) ==
		    0)
			continue;
		slot = loami_slot_find(frames, pfn);
		if (!slot || (slot->state & ~(STATE_UNPARKED | STATE_SPECIAL)) != 0 || slot->refcount != REF_UNUSED) {
			loami_print("loam: frame: check: 0x%llx is free with refcount 0x%x\n",
				    (unsigned long long)loam_frame_address(pfn), slot ? slot->refcount : 0);
			return LOAM_ERR_INVALID;
		}
	}
	return LOAM_OK;
}

enum loam_status loam_frame_check(struct loam_frames *frames)
{
	uint64_t nfree = 0;

	if (loami_load_acquire(&frames->ready) == 0)
		return LOAM_ERR_NOT_READY;
	for (uint32_t c = 0; c < frames->nchunks; c++) {
		struct loami_frame_chunk *chunk = frames->chunks[c];
		unsigned long irq = loami_lock_irq(&chunk->lock);
		enum loam_status status = loami_chunk_check(frames, chunk);

		if (status == LOAM_OK)
			status = check_chunk_slots(frames, chunk);
		nfree += chunk->nfree;
		loami_unlock_irq(&chunk->lock, irq);
		if (status != LOAM_OK)
			return status;
	}
	if (nfree != free_in_blocks(frames, 0, LOAM_ZONES_MAX)) {
		loami_print("loam: frame: check: %llu frames free in chunks, the domains count %llu\n",
			    (unsigned long long)nfree, (unsigned long long)free_in_blocks(frames, 0, LOAM_ZONES_MAX));
		return LOAM_ERR_INVALID;
	}
	return LOAM_OK;
}
