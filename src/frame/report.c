/* frame/report.c: telling whoever lends this memory what is not needed for now: a hypervisor, or the system under a malloc.
 *
 * 1 Concepts. A chunk's used[] has a bit for each frame that came back from use since it was last reported. A report takes such frames out of the chunk as an allocation would,
 *   some runs at a time, so that nobody can get at them while their memory is given up; then they go back clean. A clear bit says: zero since the last report.
 * 2 What a bit says of a frame in use is nothing new: it is as it was when the frame was taken, and only changes when the frame comes back. So who has just taken a frame
 *   out of the blocks may ask, without a lock, whether it is clean. A frame that was parked on a CPU may have come there from use: that must not be asked of it.
 * 4 Locks: the chunk's to take and to put; none while reporting. in_flight is not 0 meanwhile: a search that finds nothing waits.
 * 5 Bounds: RUNS runs per lock hold.
 */
#include "internal.h"

enum { RUNS = 32 };

struct run {
	uint64_t offset;
	uint64_t n;
};

bool loami_frame_is_clean(const struct loam_frames *frames, loam_pfn pfn)
{
	const struct loami_frame_chunk *chunk = loami_chunk_of(frames, pfn);
	uint64_t offset = pfn - chunk->base;

	return chunk->used &&
	       (loami_load_relaxed(&chunk->used[offset / LOAM_BLOCK_FRAMES][offset % LOAM_BLOCK_FRAMES / 64]) >>
			(offset % 64) &
		1) == 0;
}

uint64_t loam_frame_unreported_racy(const struct loam_frames *frames)
{
	return loami_load_relaxed(&frames->unreported);
}

static uint64_t wanted(const struct loami_frame_chunk *chunk, uint64_t offset)
{
	uint64_t b = offset / LOAM_BLOCK_FRAMES, w = offset % LOAM_BLOCK_FRAMES / 64;

	return chunk->rows[b][w] & chunk->used[b][w];
}

/* The first frame at or after @offset that is wanted, or is not; @end when there is none. */
static uint64_t next(const struct loami_frame_chunk *chunk, uint64_t offset, uint64_t end, bool want)
{
	while (offset < end) {
		uint64_t word = wanted(chunk, offset);
		uint64_t bits = (want ? word : ~word) >> (offset % 64);

		if (bits != 0) {
			offset += loami_ctz64(bits);
			return offset < end ? offset : end;
		}
		offset = (offset / 64 + 1) * 64;
	}
	return end;
}

/* Some runs out of the chunk, from *@offset on, which is moved behind them. */
static unsigned int take_runs(struct loam_frames *frames, struct loami_frame_chunk *chunk, uint64_t *offset,
			      uint64_t npages, struct run *runs)
{
	uint64_t end = chunk->end - chunk->base;
	unsigned int n = 0;

	while (n < RUNS && npages != 0) {
		uint64_t from = next(chunk, *offset, end, true), to;

		*offset = from;
		if (from == end)
			break;
		to = next(chunk, from, end, false);
		if (to - from > npages)
			to = from + npages;
		loami_chunk_take(frames, chunk, from, to - from);
		runs[n++] = (struct run){from, to - from};
		npages -= to - from;
		*offset = to;
	}
	return n;
}

static uint64_t report_chunk(struct loam_frames *frames, struct loami_frame_chunk *chunk, uint64_t npages,
			     void (*report)(void *context, loam_pfn first, uint64_t npages), void *context)
{
	uint64_t done = 0, offset = 0;
	struct run runs[RUNS];
	unsigned int n;

	do {
		unsigned long irq = loami_lock_irq(&chunk->lock);

		n = chunk->nfree == 0 ? 0 : take_runs(frames, chunk, &offset, npages - done, runs);
		loami_unlock_irq(&chunk->lock, irq);
		for (unsigned int i = 0; i < n; i++) {
			report(context, chunk->base + runs[i].offset, runs[i].n);
			done += runs[i].n;
		}
		irq = loami_lock_irq(&chunk->lock);
		for (unsigned int i = 0; i < n; i++)
			loami_chunk_put_clean(frames, chunk, runs[i].offset, runs[i].n);
		loami_unlock_irq(&chunk->lock, irq);
	} while (n == RUNS && done < npages);
	return done;
}

uint64_t loam_frame_report(struct loam_frames *frames, uint64_t npages,
			   void (*report)(void *context, loam_pfn first, uint64_t npages), void *context)
{
	uint64_t done = 0;

	LOAMI_TASK_ONLY();
	if (loami_load_acquire(&frames->ready) == 0 || !frames->report)
		return 0;
	(void)loami_fetch_add(&frames->in_flight, 1);
	for (uint32_t c = loami_load_acquire(&frames->nchunks); c-- > 0 && done < npages;)
		done += report_chunk(frames, frames->chunks[c], npages - done, report, context);
	(void)loami_fetch_add(&frames->moves, 1);
	(void)loami_fetch_sub(&frames->in_flight, 1);
	return done;
}
