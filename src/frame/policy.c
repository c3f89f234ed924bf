/* frame/policy.c: memory pressure: watermarks, reserves, shrinkers.
 *
 * 1 Concepts
 *   low      a zone below it is short: when all zones an allocation may use are, shrinkers run before it is served.
 *   min      frames of the zone only use_reserve allocations may have.
 *   reserve  frames of the zone on top of min that allocations which may also use a higher zone leave to those that cannot.
 *   Frames parked on CPUs are free in all three. They are also handed out without a look at the watermarks: a magazine's worth per CPU is the slack.
 * 4 Locks: shrinking, an exchanged flag: one pass at a time, and none while the list changes. Who adds or removes a shrinker waits for it; so does, WAIT_ROUNDS
 *   at most, an allocation that would otherwise fail: what it needs is being freed. changes counts who wants to change the list: no pass begins meanwhile. Whoever holds the flag is told by task, or by CPU where the kernel names no
 *   tasks, so that a shrinker's own allocation is refused at once.
 * 5 Bounds: an allocation waits for the end of a pass, not for the flag to be free: where many CPUs want memory the next pass begins at once, and who looks now and then never meets
 *   a free one. PASSES that freed nothing are enough: the first may have begun before the allocation did, the second did not. One that freed something may have had enough for whoever ran it,
 *   and have more to give. Who changes the list waits for the pass that runs, one more of each CPU that had looked at changes before, and the changes of others.
 */
#include "internal.h"

static uint64_t free_in_blocks(const struct loam_frames *frames, unsigned int zone)
{
	unsigned int n = loami_load_acquire(&frames->ndomains);
	uint64_t sum = 0;

	for (unsigned int d = 0; d < n; d++)
		if (frames->domains[d].zone == zone)
			sum += loami_load_relaxed(&frames->domains[d].free);
	return sum;
}

uint64_t loami_zone_free(const struct loam_frames *frames, unsigned int zone)
{
	uint64_t sum = free_in_blocks(frames, zone);

	for (unsigned int cpu = 0; cpu < frames->ncpus; cpu++)
		sum += loami_cpu_parked(frames, cpu, zone, zone + 1);
	return sum;
}

/* Are at least @n frames of the zone free? Counts the parked ones only where it matters. */
static bool has_free(const struct loam_frames *frames, unsigned int zone, uint64_t n)
{
	return free_in_blocks(frames, zone) >= n || loami_zone_free(frames, zone) >= n;
}

bool loami_zone_allows(const struct loam_frames *frames, unsigned int zone, const struct loami_frame_want *want,
		       uint64_t n)
{
	uint64_t keep = loami_load_relaxed(&frames->zone_min[zone]);

	/* The idle loop is in nobody's way: it leaves alone what makes others reclaim, and the last frame. */
	if (want->idle)
		return free_in_blocks(frames, zone) > loami_load_relaxed(&frames->zone_low[zone]) + n;
	if (want->zones > zone + 1u)
		keep += loami_load_relaxed(&frames->zone_reserve[zone]);
	if (LOAMI_LIKELY(keep == 0) || want->reserve)
		return true;
	/* A refill holds a CPU's lock and cannot ask the others what they have: it leaves the last frames to allocations one by one. */
	return want->refill ? free_in_blocks(frames, zone) >= keep + n : has_free(frames, zone, keep + n);
}

enum loam_status loam_frame_set_watermarks(struct loam_frames *frames, unsigned int zone,
					   const struct loam_zone_watermarks *marks)
{
	if (loami_load_acquire(&frames->ready) == 0)
		return LOAM_ERR_NOT_READY;
	if (zone >= frames->nzones)
		return LOAM_ERR_ZONE;
	if (marks->min > marks->low)
		return LOAM_ERR_INVALID;
	loami_store_relaxed(&frames->zone_low[zone], marks->low);
	loami_store_relaxed(&frames->zone_min[zone], marks->min);
	loami_store_relaxed(&frames->zone_reserve[zone], marks->reserve);
	return LOAM_OK;
}

/* ---- shrinkers -------------------------------------------------------------------------------------------------------------------------------- */

enum { WAIT_ROUNDS = 1 << 16, PASSES = 2 };

/* The running task, or where the kernel names none, this CPU: never 0. */
static uint64_t who_runs(void)
{
	struct loam_task task = {0};

	loam_port_task(&task);
	return task.task != 0 ? task.task : UINT64_MAX - loam_port_cpu();
}

static bool take_flag(struct loam_frames *frames)
{
	if (loami_exchange(&frames->shrinking, 1) != 0)
		return false;
	loami_store_relaxed(&frames->shrinks, who_runs());
	return true;
}
/* A pass. Who wants to change the list comes first: where many CPUs want memory the flag is hardly ever free. */
static bool begin_shrinking(struct loam_frames *frames)
{
	return loami_load_acquire(&frames->changes) == 0 && take_flag(frames);
}
static void end_shrinking(struct loam_frames *frames)
{
	loami_store_relaxed(&frames->shrinks, 0);
	loami_store_release(&frames->shrinking, 0);
}
static bool shrinks_here(const struct loam_frames *frames)
{
	return loami_load_relaxed(&frames->shrinks) == who_runs();
}
/* To change the list. False inside of a shrinker. */
static bool wait_shrinking(struct loam_frames *frames)
{
	if (shrinks_here(frames))
		return false;
	(void)loami_fetch_add(&frames->changes, 1);
	for (unsigned int round = 0; !take_flag(frames); round++)
		loam_port_relax(round);
	(void)loami_fetch_sub(&frames->changes, 1);
	return true;
}

/* A pass, by who has begun one. */
static uint64_t run_shrinkers(struct loam_frames *frames, uint64_t npages)
{
	uint64_t freed = 0;

	for (struct loam_shrinker *shrinker = frames->shrinkers; shrinker && freed < npages; shrinker = shrinker->next)
		freed += shrinker->shrink(shrinker, (size_t)(npages - freed));
	(void)loami_fetch_add(&frames->shrunk, freed);
	(void)loami_fetch_add(&frames->passes, 1);
	end_shrinking(frames);
	return freed;
}

static bool may_shrink(const struct loam_frames *frames, const struct loami_frame_want *want)
{
	return want->reclaim && loami_load_relaxed(&frames->shrinkers) != NULL &&
	       loam_port_context() == LOAM_CONTEXT_TASK;
}

bool loami_frame_shrink(struct loam_frames *frames, uint64_t npages, const struct loami_frame_want *want,
			struct loami_frame_patience *patience)
{
	uint64_t moves = loami_load_relaxed(&frames->moves), shrunk = loami_load_acquire(&frames->shrunk);
	uint32_t passes = loami_load_acquire(&frames->passes);

	if (!may_shrink(frames, want))
		return false;
	if (begin_shrinking(frames))
		return run_shrinkers(frames, npages) != 0;
	if (patience->passes == PASSES)
		return false;
	for (unsigned int round = 0; round < WAIT_ROUNDS && !shrinks_here(frames); round++) {
		loam_port_relax(round);
		/* The pass is over, and what it freed may be parked. */
		if (loami_load_acquire(&frames->passes) != passes) {
			patience->passes = loami_load_relaxed(&frames->shrunk) == shrunk ? patience->passes + 1 : 0;
			return true;
		}
		/* Or something came back, or we may run one. */
		if (loami_load_relaxed(&frames->moves) != moves ||
		    (loami_load_acquire(&frames->shrinking) == 0 && loami_load_acquire(&frames->changes) == 0))
			return true;
	}
	return false;
}

void loami_frame_relieve(struct loam_frames *frames, const struct loami_frame_want *want)
{
	uint64_t lacking = 0, moves = loami_load_relaxed(&frames->moves);

	/* What costs nothing is asked first: what is parked is counted CPU by CPU. Where a pass brought nothing, the next waits until something has come back. */
	if (!may_shrink(frames, want) || loami_load_relaxed(&frames->shrunk_in_vain) == moves + 1 ||
	    loami_load_relaxed(&frames->shrinking) != 0)
		return;
	for (unsigned int zone = 0; zone < want->zones; zone++) {
		uint64_t low = loami_load_relaxed(&frames->zone_low[zone]), have;

		if (loami_load_relaxed(&frames->zone_managed[zone]) == 0)
			continue;
		if (has_free(frames, zone, low))
			return;
		have = loami_zone_free(frames, zone);
		lacking += low > have ? low - have : 0;
	}
	if (lacking == 0 || !begin_shrinking(frames))
		return;
	if (run_shrinkers(frames, lacking) == 0)
		loami_store_relaxed(&frames->shrunk_in_vain, moves + 1);
}

enum loam_status loam_frame_add_shrinker(struct loam_frames *frames, struct loam_shrinker *shrinker)
{
	enum loam_status status = LOAM_OK;

	LOAMI_TASK_ONLY();
	if (loami_load_acquire(&frames->ready) == 0)
		return LOAM_ERR_NOT_READY;
	if (!shrinker || !shrinker->shrink)
		return LOAM_ERR_INVALID;
	if (!wait_shrinking(frames))
		return LOAM_ERR_BUSY;
	for (struct loam_shrinker *known = frames->shrinkers; known; known = known->next)
		if (known == shrinker)
			status = LOAM_ERR_ALREADY;
	if (status == LOAM_OK) {
		shrinker->next = frames->shrinkers;
		loami_store_release(&frames->shrinkers, shrinker);
	}
	end_shrinking(frames);
	return status;
}

enum loam_status loam_frame_remove_shrinker(struct loam_frames *frames, struct loam_shrinker *shrinker)
{
	enum loam_status status = LOAM_ERR_NOT_FOUND;

	LOAMI_TASK_ONLY();
	if (loami_load_acquire(&frames->ready) == 0)
		return LOAM_ERR_NOT_READY;
	if (!wait_shrinking(frames))
		return LOAM_ERR_BUSY;
	for (struct loam_shrinker **link = &frames->shrinkers; *link; link = &(*link)->next) {
		if (*link == shrinker) {
			loami_store_release(link, shrinker->next);
			status = LOAM_OK;
			break;
		}
	}
	end_shrinking(frames);
	return status;
}
