/* frame/cpu.c: CPUs that come and go, and the search of their caches when nothing else is left.
 *
 * 1 The last frame. A search that found nothing has looked at every chunk, then drains CPUs, whose frames are then in the blocks. It may still have missed a
 *   frame that moved meanwhile: returns to the blocks change frames->moves; frames on their way (a run being gathered, one being zeroed in idle time) show in in_flight; what a CPU handed out since changes
 *   its count of allocations, or shows in a magazine that is not idle, which becomes so with release after the count. If none of them moved, there was a moment at which
 *   no frame was free.
 * 5 Bounds: for one frame of any zone the search goes on as long as others succeed meanwhile. Anything narrower gives up after NARROW_TRIES rounds, since what
 *   moves may be of no use to it. A CPU that stays busy, because it was interrupted there, is waited for BUSY_TRIES rounds at most, and a frame on its way for
 *   FLIGHT_TRIES: whoever is to bring it may have been interrupted by this one, or wait for it.
 */
#include "internal.h"

enum { FLIGHT_TRIES = 256, BUSY_TRIES = 64, NARROW_TRIES = 8, SHRINK_TRIES = 64 };

enum loam_status loam_frame_cpu_online(struct loam_frames *frames, unsigned int cpu)
{
	unsigned long irq;

	if (loami_load_acquire(&frames->ready) == 0)
		return LOAM_ERR_NOT_READY;
	if (cpu >= frames->ncpus)
		return LOAM_ERR_CPU;
	irq = loami_lock_irq(&frames->cpus[cpu].lock);
	loami_cpu_size(frames, cpu, true);
	loami_unlock_irq(&frames->cpus[cpu].lock, irq);
	return LOAM_OK;
}

enum loam_status loam_frame_cpu_offline(struct loam_frames *frames, unsigned int cpu)
{
	unsigned long irq;

	if (loami_load_acquire(&frames->ready) == 0)
		return LOAM_ERR_NOT_READY;
	if (cpu >= frames->ncpus)
		return LOAM_ERR_CPU;
	irq = loami_lock_irq(&frames->cpus[cpu].lock);
	loami_cpu_size(frames, cpu, false);
	loami_unlock_irq(&frames->cpus[cpu].lock, irq);
	(void)loami_cpu_drain(frames, cpu);
	return LOAM_OK;
}

void loam_frame_drain(struct loam_frames *frames)
{
	if (loami_load_acquire(&frames->ready) == 0)
		return;
	for (unsigned int cpu = 0; cpu < frames->ncpus; cpu++)
		(void)loami_cpu_drain(frames, cpu);
}

uint64_t loami_frame_moment(const struct loam_frames *frames)
{
	uint64_t moment = loami_load_acquire(&frames->moves) + loami_load_acquire(&frames->allocs);

	for (unsigned int cpu = 0; cpu < frames->ncpus; cpu++)
		moment += loami_cpu_allocs(frames, cpu);
	return moment;
}

/* Parked frames that could serve, back to the blocks. For a single frame the first CPU that has some is enough. */
static uint64_t gather(struct loam_frames *frames, uint64_t npages, const struct loami_frame_want *want)
{
	unsigned int self = loam_port_cpu();
	uint64_t got = 0;

	for (unsigned int i = 0; i < frames->ncpus && (npages > 1 || got == 0); i++) {
		unsigned int cpu = (self + i) % frames->ncpus;

		if (want->zones == frames->nzones || loami_cpu_parked(frames, cpu, 0, want->zones) != 0)
			got += loami_cpu_drain(frames, cpu);
	}
	return got;
}

static bool others_busy(const struct loam_frames *frames)
{
	unsigned int self = loam_port_cpu();

	for (unsigned int cpu = 0; cpu < frames->ncpus; cpu++)
		if (cpu != self && loami_cpu_is_busy(frames, cpu))
			return true;
	return false;
}

bool loami_frame_look_again(struct loam_frames *frames, uint64_t npages, const struct loami_frame_want *want,
			    uint64_t before, struct loami_frame_patience *patience)
{
	bool narrow = npages > 1 || want->zones != frames->nzones;
	bool busy;

	if (loami_load_acquire(&frames->in_flight) != 0 && patience->flights < FLIGHT_TRIES) {
		loam_port_relax(patience->flights++);
		return true;
	}
	if (narrow && ++patience->narrow > NARROW_TRIES)
		return false;
	if (gather(frames, npages, want) != 0)
		return true;
	busy = others_busy(frames);
	if (loami_frame_moment(frames) != before)
		return true;
	if (busy && patience->busy < BUSY_TRIES) {
		loam_port_relax(patience->busy++);
		return true;
	}
	return ++patience->shrinks <= SHRINK_TRIES && loami_frame_shrink(frames, npages, want, patience);
}
