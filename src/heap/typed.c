/* heap/typed.c: caches for objects of one type.
 *
 * A typed cache is a size class of its own: its name, its size, its slabs, never shared with another. Its descriptor is a piece of metadata; its code is what its live
 * objects' state bytes say. Destroying takes back what every CPU has parked, which needs nobody to be at it: the caller promises that nobody uses the cache any more.
 * Others remain. Who trims, adds figures up or answers a drain looks at every cache: a visit, counted in the descriptor, and no new one begins once the cache is off the list. A
 * CPU that frees anything into quarantine may get an object of this cache out in exchange, which is a visit too: so these are taken out of every quarantine before. The code
 * stays taken until all is done: a new cache of that code would meet the old one's magazines.
 * Lock: registry, for the table of codes.
 */
#include "internal.h"

_Static_assert(sizeof(struct loam_heap_cache) <= 256, "a descriptor is a piece of 256 bytes");
enum { DESCRIPTOR_NBYTES = 256 };

static enum loam_status check(const struct loam_heap *heap, const struct loam_cache_config *config, size_t *align)
{
	if (!loami_heap_ready(heap))
		return LOAM_ERR_NOT_READY;
	if (!config->name || config->name[0] == '\0')
		return LOAM_ERR_INVALID;
	if (config->nbytes == 0)
		return LOAM_ERR_ZERO_SIZE;
	if (config->nbytes > LOAM_HEAP_SMALL_MAX)
		return LOAM_ERR_TOO_LARGE;
	*align = config->align == 0 ? LOAM_HEAP_MIN_ALIGN : config->align;
	if (!loami_is_power_of_two(*align) || *align > LOAM_PAGE_SIZE)
		return LOAM_ERR_ALIGNMENT;
	if (*align < LOAM_HEAP_MIN_ALIGN)
		*align = LOAM_HEAP_MIN_ALIGN;
	return LOAM_OK;
}

enum loam_status loam_heap_cache_create(struct loam_heap *heap, const struct loam_cache_config *config,
					struct loam_heap_cache **out)
{
	struct loam_heap_cache *cache;
	enum loam_status status;
	unsigned int code;
	unsigned long irq;
	size_t align, canary;

	*out = NULL;
	status = check(heap, config, &align);
	if (status != LOAM_OK)
		return status;
	canary = heap->hardened ? LOAMI_CANARY_NBYTES : 0;
	if (loami_align_up(config->nbytes + canary, align) > LOAM_HEAP_SMALL_MAX)
		return LOAM_ERR_TOO_LARGE;
	cache = loami_piece_alloc(heap, DESCRIPTOR_NBYTES);
	if (!cache)
		return LOAM_ERR_NO_METADATA;
	*cache = (struct loam_heap_cache){
		.heap = heap,
		.nbytes = (uint32_t)loami_align_up(config->nbytes + canary, align),
		.usable = (uint32_t)(loami_align_up(config->nbytes + canary, LOAM_HEAP_MIN_ALIGN) - canary),
		.typed = true,
		.construct = config->construct,
		.context = config->context,
	};
	loami_cache_shape(cache, heap->ram_frames);
	(void)loami_format(cache->name, sizeof(cache->name), "%s", config->name);

	irq = loami_lock_irq(&heap->registry);
	for (code = LOAMI_FIRST_TYPED; code < LOAM_HEAP_CODES && heap->caches[code]; code++)
		;
	if (code < LOAM_HEAP_CODES) {
		cache->code = (uint8_t)code;
		loami_store_release(&heap->caches[code], cache);
	}
	loami_unlock_irq(&heap->registry, irq);
	if (code == LOAM_HEAP_CODES) {
		loami_piece_free(heap, cache, DESCRIPTOR_NBYTES);
		return LOAM_ERR_LIMIT;
	}
	*out = cache;
	return LOAM_OK;
}

bool loami_visit_begin(struct loam_heap *heap, unsigned int code, struct loami_visit *visit)
{
	unsigned long irq;

	visit->cache = loami_cache_of(heap, code);
	if (!visit->cache || code < LOAMI_FIRST_TYPED)
		return visit->cache != NULL;
	visit->pin = loam_port_pin();
	irq = loami_lock_irq(&heap->registry);
	visit->cache = loami_cache_of(heap, code);
	if (visit->cache)
		(void)loami_fetch_add(&visit->cache->visitors, 1);
	loami_unlock_irq(&heap->registry, irq);
	if (!visit->cache)
		loam_port_unpin(visit->pin);
	return visit->cache != NULL;
}

void loami_visit_end(struct loami_visit *visit)
{
	if (!visit->cache->typed)
		return;
	(void)loami_fetch_sub_release(&visit->cache->visitors, 1);
	loam_port_unpin(visit->pin);
}

static uint64_t live_objects(struct loam_heap_cache *cache)
{
	struct loam_heap *heap = cache->heap;
	unsigned long irq = loami_lock_irq(&cache->lock);
	uint64_t live = cache->nslots - cache->nfree - (uint64_t)cache->ndepot * cache->capacity;

	loami_unlock_irq(&cache->lock, irq);
	for (unsigned int cpu = 0; cpu < loami_load_acquire(&heap->cpus_end); cpu++)
		live -= loami_cpu_cached(heap, cpu, cache);
	return live;
}

struct naming {
	const struct loam_heap_cache *cache;
	unsigned int said;
};

static void name_one(void *context, const struct loam_heap_object *object)
{
	struct naming *naming = context;

	if (object->class_name != naming->cache->name || naming->said++ >= 8)
		return;
	if (object->allocated_at)
		loami_print("loam: heap: 0x%lx of %s, allocated at %s:%u\n", (unsigned long)object->start,
			    naming->cache->name, object->allocated_at->file, object->allocated_at->line);
	else
		loami_print("loam: heap: 0x%lx of %s\n", (unsigned long)object->start, naming->cache->name);
}

/* Nobody is, or will be, at @cache. */
static void wait_for_visitors(struct loam_heap_cache *cache)
{
	for (unsigned int round = 0; loami_load_acquire(&cache->visitors) != 0; round++)
		loam_port_relax(round);
}

enum loam_status loam_heap_cache_destroy(struct loam_heap *heap, struct loam_heap_cache *cache)
{
	struct naming naming = {.cache = cache};
	uint64_t live, allocs = 0;
	unsigned long irq;

	LOAMI_TASK_ONLY();
	if (!cache || !cache->typed || cache->heap != heap || loami_cache_of(heap, cache->code) != cache)
		return LOAM_ERR_INVALID;
	for (unsigned int cpu = 0; cpu < loami_load_acquire(&heap->cpus_end) && heap->hardened; cpu++)
		loami_cpu_flush_held(cache, cpu);
	irq = loami_lock_irq(&heap->registry);
	loami_store_seq(&heap->caches[cache->code], LOAMI_CACHE_GOING);
	loami_unlock_irq(&heap->registry, irq);
	wait_for_visitors(cache);
	live = live_objects(cache);
	if (live != 0) {
		loami_store_release(&heap->caches[cache->code], cache);
		loami_print("loam: heap: cache %s still has %lu live objects\n", cache->name, (unsigned long)live);
		(void)loam_heap_walk(heap, name_one, &naming);
		return LOAM_ERR_IN_USE;
	}
	for (unsigned int cpu = 0; cpu < loami_load_acquire(&heap->cpus_end); cpu++) {
		loami_cpu_flush_cache(cache, cpu);
		allocs += *loami_cpu_allocs(loami_heap_cpu(heap, cpu), cache->code);
		*loami_cpu_allocs(loami_heap_cpu(heap, cpu), cache->code) = 0;
	}
	loami_depot_flush(cache);
	irq = loami_lock_irq(&cache->lock);
	loami_slabs_trim(cache, 0);
	allocs += cache->shared_allocs;
	loami_unlock_irq(&cache->lock, irq);
	irq = loami_lock_irq(&heap->registry);
	heap->retired_allocs += allocs;
	heap->retired_bytes += allocs * cache->usable;
	loami_store_release(&heap->caches[cache->code], (struct loam_heap_cache *)NULL);
	loami_unlock_irq(&heap->registry, irq);
	loami_heap_forget(heap);
	loami_piece_free(heap, cache, DESCRIPTOR_NBYTES);
	return LOAM_OK;
}
