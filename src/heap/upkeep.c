/* heap/upkeep.c: giving memory back, CPUs coming and going, accounting.
 *
 * Counts. Each CPU counts its allocations per cache; what is live is what is in slabs' places but neither free there nor parked; frees are the difference. So no
 * free is counted at all, and the sums are exact when nobody is at it.
 */
#include "internal.h"

/* ---- giving back ------------------------------------------------------------------------------------------------------------------------ */

static void trim_slabs(struct loam_heap *heap)
{
	for (unsigned int code = LOAMI_LIVE; code < LOAM_HEAP_CODES; code++) {
		struct loami_visit visit;
		unsigned long irq;

		if (!loami_visit_begin(heap, code, &visit))
			continue;
		loami_depot_flush(visit.cache);
		irq = loami_lock_irq(&visit.cache->lock);
		loami_slabs_trim(visit.cache, 0);
		loami_unlock_irq(&visit.cache->lock, irq);
		loami_visit_end(&visit);
	}
}

static uint64_t held(struct loam_heap *heap)
{
	unsigned long irq = loami_lock_irq(&heap->pages);
	uint64_t frames = heap->slab_frames + heap->meta_frames + heap->idle_frames;

	loami_unlock_irq(&heap->pages, irq);
	return frames;
}

static size_t given_back(uint64_t before, uint64_t after)
{
	return before > after ? (size_t)(before - after) * LOAM_PAGE_SIZE : 0;
}

size_t loam_heap_trim(struct loam_heap *heap)
{
	unsigned int here;
	uint64_t before;

	LOAMI_NOT_FROM_NMI();
	if (!loami_heap_ready(heap))
		return 0;
	before = held(heap);
	here = loami_cpu_flush_here(heap, false);
	for (unsigned int cpu = 0; cpu < loami_load_acquire(&heap->cpus_end); cpu++)
		if (cpu != here)
			loami_store_relaxed(&loami_heap_cpu(heap, cpu)->drain, 1);
	trim_slabs(heap);
	(void)loami_large_trim(heap);
	(void)loami_regions_trim(heap);
	loami_heap_report(heap);
	return given_back(before, held(heap));
}

size_t loam_heap_depots_racy(const struct loam_heap *heap)
{
	size_t sum = 0;

	for (unsigned int code = LOAMI_LIVE; code < LOAM_HEAP_CODES && loami_heap_ready(heap); code++) {
		const struct loam_heap_cache *cache = loami_cache_of(heap, code);

		if (cache)
			sum += (size_t)loami_load_relaxed(&cache->ndepot) * cache->capacity * cache->nbytes;
	}
	return sum;
}

size_t loam_heap_drain(struct loam_heap *heap)
{
	unsigned int here;
	uint64_t before;

	LOAMI_TASK_ONLY();
	if (!loami_heap_ready(heap))
		return 0;
	before = held(heap);
	here = loami_cpu_flush_here(heap, false);
	for (unsigned int cpu = 0; cpu < loami_load_acquire(&heap->cpus_end); cpu++)
		if (cpu != here)
			loami_cpu_flush(heap, cpu);
	trim_slabs(heap);
	(void)loami_large_trim(heap);
	(void)loami_regions_trim(heap);
	return given_back(before, held(heap));
}

/* The depots and idle runs belong to all CPUs: they are looked at once for as many ticks as there are CPUs. */
static void age_shared(struct loam_heap *heap)
{
	uint64_t allocs = loami_load_relaxed(&heap->large_allocs);

	for (unsigned int code = LOAMI_LIVE; code < LOAM_HEAP_CODES; code++) {
		struct loami_visit visit;

		if (!loami_visit_begin(heap, code, &visit))
			continue;
		if (loami_load_relaxed(&visit.cache->ndepot) != 0)
			loami_depot_age(visit.cache);
		loami_visit_end(&visit);
	}
	if (allocs == loami_load_relaxed(&heap->large_seen))
		(void)loami_large_trim(heap);
	loami_store_relaxed(&heap->large_seen, allocs);
}

void loam_heap_tick(struct loam_heap *heap)
{
	LOAMI_NOT_FROM_NMI();
	if (!loami_heap_ready(heap))
		return;
	(void)loami_cpu_flush_here(heap, !loami_cpu_asked(heap));
	if ((loami_fetch_add_relaxed(&heap->ticks, 1) + 1) % loami_load_acquire(&heap->cpus_end) == 0)
		age_shared(heap);
	loami_heap_report(heap);
}

size_t loami_heap_shrink(struct loam_shrinker *self, size_t npages)
{
	(void)npages;
	return loam_heap_trim(LOAMI_CONTAINER(self, struct loam_heap, shrinker)) / LOAM_PAGE_SIZE;
}

enum loam_status loam_heap_cpu_online(struct loam_heap *heap, unsigned int cpu)
{
	struct loami_heap_cpu *part;
	unsigned int end;

	if (!loami_heap_ready(heap))
		return LOAM_ERR_NOT_READY;
	if (cpu >= heap->ncpus)
		return LOAM_ERR_CPU;
	if (!heap->cpus_later)
		return LOAM_OK;
	part = loami_heap_cpu(heap, cpu);
	if (part->live == 0)
		loami_cpu_init(heap, cpu, true);
	loami_cpu_say_online(heap, part, true);
	end = loami_load_acquire(&heap->cpus_end);
	while (end <= cpu && !loami_cas(&heap->cpus_end, &end, cpu + 1))
		;
	return LOAM_OK;
}

enum loam_status loam_heap_cpu_offline(struct loam_heap *heap, unsigned int cpu)
{
	if (!loami_heap_ready(heap))
		return LOAM_ERR_NOT_READY;
	if (cpu >= heap->ncpus)
		return LOAM_ERR_CPU;
	if (heap->cpus_later) {
		struct loami_heap_cpu *part = loami_heap_cpu(heap, cpu);

		if (part->live == 0)
			return LOAM_OK;
		loami_cpu_say_online(heap, part, false);
	}
	loami_cpu_flush(heap, cpu);
	return LOAM_OK;
}

/* ---- accounting ------------------------------------------------------------------------------------------------------------------------------ */

static void read_cache(struct loam_heap *heap, struct loam_heap_cache *cache, struct loam_heap_class_stats *stats,
		       uint64_t *allocs)
{
	unsigned long irq = loami_lock_irq(&cache->lock);
	uint64_t nfree = cache->nfree;

	*stats = (struct loam_heap_class_stats){
		.name = cache->name,
		.nbytes = cache->usable,
		.cached = (uint64_t)cache->ndepot * cache->capacity,
		.slots = cache->nslots,
		.frames = cache->nframes,
	};
	*allocs = cache->shared_allocs;
	loami_unlock_irq(&cache->lock, irq);
	for (unsigned int cpu = 0; cpu < loami_load_acquire(&heap->cpus_end); cpu++) {
		stats->cached += loami_cpu_cached(heap, cpu, cache);
		*allocs += loami_load_relaxed(loami_cpu_allocs(loami_heap_cpu(heap, cpu), cache->code));
	}
	stats->live = stats->slots > nfree + stats->cached ? stats->slots - nfree - stats->cached : 0;
}

struct sums {
	uint64_t used;
	uint64_t live;
	uint64_t allocs;
	uint64_t allocated;
};

static struct sums sum_up(struct loam_heap *heap)
{
	struct sums sums = {0};

	for (unsigned int code = LOAMI_LIVE; code < LOAM_HEAP_CODES; code++) {
		struct loam_heap_class_stats stats;
		struct loami_visit visit;
		uint64_t allocs;

		if (!loami_visit_begin(heap, code, &visit))
			continue;
		read_cache(heap, visit.cache, &stats, &allocs);
		loami_visit_end(&visit);
		sums.live += stats.live;
		sums.used += stats.live * stats.nbytes;
		sums.allocs += allocs;
		sums.allocated += allocs * stats.nbytes;
	}
	return sums;
}

static void raise_peak(struct loam_heap *heap, uint64_t used)
{
	uint64_t seen = loami_load_relaxed(&heap->peak);

	while (used > seen && !loami_cas(&heap->peak, &seen, used))
		;
}

void loami_heap_sample_peak(struct loam_heap *heap)
{
	uint64_t held_now =
		loami_load_relaxed(&heap->slab_frames) * LOAM_PAGE_SIZE + loami_load_relaxed(&heap->large_bytes);

	/* No more can be used than is held. Where CPUs come and go there may be many, and a step of a thirty-second will do. */
	if (held_now < loami_load_relaxed(&heap->peak_next))
		return;
	loami_store_relaxed(&heap->peak_next,
			    heap->cpus_later ? held_now + held_now / 32 : loami_load_relaxed(&heap->peak));
	raise_peak(heap, sum_up(heap).used + loami_load_relaxed(&heap->large_bytes));
}

static void read_all(struct loam_heap *heap, struct loam_heap_stats *stats)
{
	uint64_t bump = heap->bump_next - heap->bump_start, frames;
	struct sums sums = {0};
	unsigned long irq;

	*stats = (struct loam_heap_stats){0};
	if (loami_load_acquire(&heap->state) == LOAMI_HEAP_NEW)
		return;
	if (loami_heap_ready(heap))
		sums = sum_up(heap);
	irq = loami_lock_irq(&heap->pages);
	frames = heap->slab_frames + heap->meta_frames + heap->idle_frames + heap->held_frames;
	stats->allocations = sums.allocs + heap->large_allocs + heap->bump_allocs;
	stats->allocated_bytes = sums.allocated + heap->large_allocated + bump;
	stats->used_bytes = sums.used + heap->large_bytes + bump;
	stats->frees = stats->allocations - sums.live - heap->large_count - heap->bump_allocs;
	stats->total_bytes = frames * LOAM_PAGE_SIZE + heap->large_bytes + (heap->bump_end - heap->bump_start);
	stats->end = heap->highest != 0 ? (uintptr_t)loami_heap_virt(heap, heap->highest) : heap->bump_end;
	loami_unlock_irq(&heap->pages, irq);
	irq = loami_lock_irq(&heap->registry);
	stats->allocations += heap->retired_allocs;
	stats->frees += heap->retired_allocs;
	stats->allocated_bytes += heap->retired_bytes;
	loami_unlock_irq(&heap->registry, irq);
	stats->freed_bytes = stats->allocated_bytes - stats->used_bytes;
	stats->free_bytes = stats->total_bytes - stats->used_bytes;
	raise_peak(heap, stats->used_bytes);
	stats->peak_bytes = loami_load_relaxed(&heap->peak);
}

static enum loam_status read_one(struct loam_heap *heap, size_t index, struct loam_heap_class_stats *stats)
{
	uint64_t allocs;

	if (!loami_heap_ready(heap))
		return LOAM_ERR_NOT_READY;
	for (unsigned int code = LOAMI_LIVE; code < LOAM_HEAP_CODES; code++) {
		struct loami_visit visit;

		if (!loami_cache_of(heap, code) || index-- != 0)
			continue;
		if (!loami_visit_begin(heap, code, &visit))
			return LOAM_ERR_NOT_FOUND;
		read_cache(heap, visit.cache, stats, &allocs);
		loami_visit_end(&visit);
		return LOAM_OK;
	}
	return LOAM_ERR_NOT_FOUND;
}

/* Reading takes the locks, which lie in the heap. */
void loam_heap_read_stats(const struct loam_heap *heap, struct loam_heap_stats *stats)
{
	read_all((struct loam_heap *)(uintptr_t)heap, stats);
}

enum loam_status loam_heap_read_class_stats(const struct loam_heap *heap, size_t index,
					    struct loam_heap_class_stats *stats)
{
	return read_one((struct loam_heap *)(uintptr_t)heap, index, stats);
}
