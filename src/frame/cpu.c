/* frame/cpu.c: CPUs that come and go, and memory pressure. */
#include "internal.h"

enum loam_status loam_frame_cpu_online(struct loam_frames *frames, unsigned int cpu)
{
	if (loami_load_acquire(&frames->ready) == 0)
		return LOAM_ERR_NOT_READY;
	return cpu < frames->ncpus ? LOAM_OK : LOAM_ERR_CPU;
}

enum loam_status loam_frame_cpu_offline(struct loam_frames *frames, unsigned int cpu)
{
	if (loami_load_acquire(&frames->ready) == 0)
		return LOAM_ERR_NOT_READY;
	return cpu < frames->ncpus ? LOAM_OK : LOAM_ERR_CPU;
}

void loam_frame_drain(struct loam_frames *frames)
{
	(void)frames;
}

enum loam_status loam_frame_add_shrinker(struct loam_frames *frames, struct loam_shrinker *shrinker)
{
	unsigned long irq;

	if (!shrinker || !shrinker->shrink)
		return LOAM_ERR_INVALID;
	irq = loami_lock_irq(&frames->policy);
	shrinker->next = frames->shrinkers;
	frames->shrinkers = shrinker;
	loami_unlock_irq(&frames->policy, irq);
	return LOAM_OK;
}

enum loam_status loam_frame_remove_shrinker(struct loam_frames *frames, struct loam_shrinker *shrinker)
{
	unsigned long irq = loami_lock_irq(&frames->policy);
	struct loam_shrinker **link = &frames->shrinkers;

	while (*link && *link != shrinker)
		link = &(*link)->next;
	if (*link)
		*link = shrinker->next;
	else
		shrinker = NULL;
	loami_unlock_irq(&frames->policy, irq);
	return shrinker ? LOAM_OK : LOAM_ERR_NOT_FOUND;
}
