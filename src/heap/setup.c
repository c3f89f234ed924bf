/* heap/setup.c: making a heap, over frames or over one block.
 *
 * The window is all the physical memory the frame layer knows, from its lowest to its highest frame, in regions of 64 KiB. Metadata: the caches and each CPU's part
 * (in what the caller gives, or in frames), one word per region and one byte per frame of the window (in frames).
 */
#include "internal.h"

struct extent {
	loam_pfn start;
	loam_pfn end;
	uint64_t managed;
};

static struct extent window_of(const struct loam_frames *frames)
{
	struct extent window = {LOAM_PFN_NONE, 0, 0};
	struct loam_zone_stats zone;

	for (unsigned int i = 0; loam_frame_read_zone_stats(frames, i, &zone) == LOAM_OK; i++) {
		window.managed += zone.managed;
		if (zone.managed == 0)
			continue;
		if (zone.start < window.start)
			window.start = zone.start;
		if (zone.end > window.end)
			window.end = zone.end;
	}
	window.start = loami_align_down(window.start, LOAMI_REGION_FRAMES);
	window.end = loami_align_up(window.end, LOAMI_REGION_FRAMES);
	return window;
}

/* The parts of the metadata whose size does not depend on the memory, one after the other. */
static size_t place(uintptr_t *at, size_t nbytes)
{
	*at = (uintptr_t)loami_align_up(*at, LOAM_CPU_ALIGN);
	*at += nbytes;
	return *at - nbytes;
}

static size_t fixed_size(unsigned int ncpus, bool hardened)
{
	uintptr_t at = 0;

	(void)place(&at, LOAM_HEAP_CODES * sizeof(struct loam_heap_cache *));
	(void)place(&at, LOAM_HEAP_SIZE_CLASSES * sizeof(struct loam_heap_cache));
	(void)place(&at, ncpus * LOAMI_CPU_STRIDE);
	if (hardened)
		(void)place(&at, ncpus * 2 * LOAMI_HELD * sizeof(struct loami_held));
	return at + LOAM_CPU_ALIGN; /* for a block that is not aligned */
}

/* The tables for memory up to a limit, which the caller gives: kinds and codes, regions, a page of states that say NONE; each on pages of its own. */
struct tables {
	size_t kinds; /* and as much of codes */
	size_t regions;
	size_t nbytes;
};

static struct tables plan_tables(loam_pfn start, loam_paddr limit)
{
	loam_pfn nframes = loami_align_up(limit >> LOAM_PAGE_SHIFT, LOAMI_REGION_FRAMES) - start;
	struct tables tables = {
		.kinds = 2 * (size_t)loami_align_up(nframes, LOAM_PAGE_SIZE),
		.regions = (size_t)loami_align_up(nframes / LOAMI_REGION_FRAMES * sizeof(uint8_t *), LOAM_PAGE_SIZE),
	};

	/* One page more, because the block need not be aligned. */
	tables.nbytes = tables.kinds + tables.regions + 2 * LOAM_PAGE_SIZE;
	return tables;
}

size_t loam_heap_metadata_size(const struct loam_heap_config *config)
{
	size_t nbytes;

	if (config->ncpus == 0 || config->ncpus > LOAM_CPUS_MAX)
		return 0;
	nbytes = fixed_size(config->ncpus, config->hardened);
	/* The window's start is not known yet: as if it were 0. */
	return config->limit == 0 ? nbytes : nbytes + plan_tables(0, config->limit).nbytes;
}

static void *take_frames(struct loam_heap *heap, uint64_t nbytes)
{
	uint64_t npages = (nbytes + LOAM_PAGE_SIZE - 1) >> LOAM_PAGE_SHIFT;
	loam_pfn first;

	if (LOAMI_FAIL(LOAMI_FAIL_METADATA) ||
	    loam_frame_alloc_range(heap->frames, npages, NULL, NULL, &first) != LOAM_OK)
		return NULL;
	heap->held_frames += npages;
	return loam_frame_virt(heap->frames, first);
}

static void mark_meta(struct loam_heap *heap, const void *at, uint64_t nbytes)
{
	for (uint64_t offset = 0; offset < nbytes; offset += LOAM_PAGE_SIZE)
		loami_heap_set_kind(heap, loami_heap_pfn(heap, (const char *)at + offset), LOAMI_KIND_META);
}

static void give_frames_back(struct loam_heap *heap, void *at, uint64_t nbytes, uintptr_t direct_map)
{
	if (at)
		loam_frame_free_range(heap->frames, ((uintptr_t)at - direct_map) >> LOAM_PAGE_SHIFT,
				      (nbytes + LOAM_PAGE_SIZE - 1) >> LOAM_PAGE_SHIFT);
}

static void lay_out(struct loam_heap *heap, void *metadata, bool hardened)
{
	uintptr_t at = (uintptr_t)metadata;

	heap->caches = (struct loam_heap_cache **)place(&at, LOAM_HEAP_CODES * sizeof(struct loam_heap_cache *));
	heap->sizes = (struct loam_heap_cache *)place(&at, LOAM_HEAP_SIZE_CLASSES * sizeof(struct loam_heap_cache));
	heap->cpus = (struct loami_heap_cpu *)place(&at, heap->ncpus * LOAMI_CPU_STRIDE);
	heap->held = hardened
			     ? (struct loami_held *)place(&at, heap->ncpus * 2 * LOAMI_HELD * sizeof(struct loami_held))
			     : NULL;
}

static void set_up(struct loam_heap *heap, const struct loam_heap_config *config, uint64_t ram_frames)
{
	heap->registry = LOAMI_LOCK_INIT(LOAMI_RANK_HEAP_REGISTRY);
	heap->pages = LOAMI_LOCK_INIT(LOAMI_RANK_HEAP_LARGE);
	for (size_t i = 0; i < LOAMI_COUNT(heap->regions_partial); i++)
		heap->regions_partial[i] = LOAM_FRAME_LINK_NONE;
	heap->regions_idle = LOAM_FRAME_LINK_NONE;
	heap->nregions_idle = 0;
	for (size_t i = 0; i < LOAMI_COUNT(heap->pieces); i++)
		heap->pieces[i] = LOAM_FRAME_LINK_NONE;
	memset(heap->no_states, LOAMI_NONE, LOAM_PAGE_SIZE);
	for (uint32_t region = 0; region < heap->nregions; region++)
		loami_region_forget(heap, region);
	heap->ram_frames = ram_frames;
	heap->track = config->track;
	heap->hardened = config->hardened;
	heap->slow_only = heap->track || heap->hardened;
	heap->harden_quick = heap->hardened && !heap->track;
	heap->cpus_later = config->cpus_later;
	heap->secret = heap->hardened ? loam_port_random() : 0;
	heap->cpus_end = heap->cpus_later ? 1 : heap->ncpus;
	for (unsigned int cpu = 0; cpu < heap->cpus_end; cpu++)
		loami_cpu_init(heap, cpu, !heap->cpus_later);
	loami_classes_init(heap, ram_frames);
	heap->vm = config->vm;
	LOAMI_ASSERT(loami_heap_vm(heap) == config->vm);
	heap->vm_owner = (struct loam_call_site){.file = "heap", .function = "loam_heap_alloc"};
	heap->small_max = LOAM_HEAP_SMALL_MAX;
}

static void bias_codes(struct loam_heap *heap, uint8_t *codes)
{
	heap->codes = (uint8_t *)((uintptr_t)codes - (heap->base >> LOAM_PAGE_SHIFT));
}

/* Everything in frames, but for what the caller gave; false, and nothing is taken, when it is not to be had. */
static bool take_tables(struct loam_heap *heap, uint64_t nframes, void **metadata, size_t fixed)
{
	uintptr_t direct_map =
		(uintptr_t)loam_frame_virt(heap->frames, heap->first) - (uintptr_t)(heap->first << LOAM_PAGE_SHIFT);
	size_t kinds = 2 * (size_t)nframes, regions = (size_t)(nframes / LOAMI_REGION_FRAMES) * sizeof(uint8_t *);
	void *own = NULL;

	if (!*metadata)
		*metadata = own = take_frames(heap, fixed);
	heap->kinds = *metadata ? take_frames(heap, kinds) : NULL;
	heap->regions = heap->kinds ? take_frames(heap, regions) : NULL;
	heap->no_states = heap->regions ? take_frames(heap, LOAM_PAGE_SIZE) : NULL;
	if (!heap->no_states) {
		give_frames_back(heap, heap->regions, regions, direct_map);
		give_frames_back(heap, heap->kinds, kinds, direct_map);
		give_frames_back(heap, own, fixed, direct_map);
		return false;
	}
	bias_codes(heap, heap->kinds + nframes);
	heap->regions_max = (size_t)(nframes / LOAMI_REGION_FRAMES);
	memset(*metadata, 0, fixed);
	if (own)
		mark_meta(heap, own, fixed);
	mark_meta(heap, heap->kinds, kinds);
	mark_meta(heap, heap->regions, regions);
	mark_meta(heap, heap->no_states, LOAM_PAGE_SIZE);
	return true;
}

static void use_tables(struct loam_heap *heap, uintptr_t at, loam_paddr limit)
{
	struct tables tables = plan_tables(heap->first, limit);

	at = (uintptr_t)loami_align_up(at, LOAM_PAGE_SIZE);
	heap->kinds = (uint8_t *)at;
	bias_codes(heap, heap->kinds + tables.kinds / 2);
	heap->regions = (uint8_t **)(at + tables.kinds);
	heap->no_states = (void *)(at + tables.kinds + tables.regions);
	heap->regions_max = tables.regions / sizeof(uint8_t *);
}

static enum loam_status make(struct loam_heap *heap, const struct loam_heap_config *config, void *metadata)
{
	struct extent window = window_of(config->frames);
	size_t fixed = fixed_size(config->ncpus, config->hardened);
	struct loam_zone_stats zone;

	if (window.managed == 0)
		return loam_frame_read_zone_stats(config->frames, 0, &zone) == LOAM_OK ? LOAM_ERR_NO_MEMORY
										       : LOAM_ERR_NOT_READY;
	if (config->limit != 0 && window.end > config->limit >> LOAM_PAGE_SHIFT)
		return LOAM_ERR_OUT_OF_RANGE;
	heap->frames = config->frames;
	heap->ncpus = config->ncpus;
	heap->held_frames = 0;
	heap->first = window.start;
	heap->base = (uintptr_t)loam_frame_virt(heap->frames, window.start);
	if (config->limit != 0)
		use_tables(heap, (uintptr_t)metadata + fixed, config->limit);
	else if (!take_tables(heap, window.end - window.start, &metadata, fixed))
		return LOAM_ERR_NO_METADATA;
	heap->nregions = (size_t)((window.end - window.start) / LOAMI_REGION_FRAMES);
	lay_out(heap, metadata, config->hardened);
	/* What CPUs may park goes by the size of the machine, or by what it may become. */
	set_up(heap, config, config->limit != 0 ? config->limit >> LOAM_PAGE_SHIFT : window.managed);
	return LOAM_OK;
}

enum loam_status loam_heap_init(struct loam_heap *heap, const struct loam_heap_config *config, void *metadata,
				size_t nbytes)
{
	enum loam_status status;
	uint32_t before;

	if (!heap || !config || !config->frames)
		return LOAM_ERR_INVALID;
	if (config->ncpus == 0 || config->ncpus > LOAM_CPUS_MAX)
		return LOAM_ERR_CPU;
	if (metadata ? nbytes < loam_heap_metadata_size(config) : config->limit != 0)
		return LOAM_ERR_NO_METADATA;
	before = loami_load_acquire(&heap->state);
	if (before > LOAMI_HEAP_BUMP || !loami_cas(&heap->state, &before, LOAMI_HEAP_MAKING))
		return LOAM_ERR_ALREADY;
	status = make(heap, config, metadata);
	if (status != LOAM_OK) {
		heap->base = 0;
		loami_store_release(&heap->state, before);
		return status;
	}
	loami_store_release(&heap->state, LOAMI_HEAP_READY);
	if (heap->own_frames)
		return LOAM_OK;
	heap->shrinker = (struct loam_shrinker){.shrink = loami_heap_shrink, .name = "heap"};
	return loam_frame_add_shrinker(heap->frames, &heap->shrinker);
}

enum loam_status loam_heap_cover(struct loam_heap *heap, loam_paddr end)
{
	size_t nregions;

	LOAMI_TASK_ONLY();
	if (!loami_heap_ready(heap))
		return LOAM_ERR_NOT_READY;
	nregions = (size_t)((loami_align_up(end >> LOAM_PAGE_SHIFT, LOAMI_REGION_FRAMES) - heap->first) /
			    LOAMI_REGION_FRAMES);
	if (end >> LOAM_PAGE_SHIFT < heap->first || nregions > heap->regions_max)
		return LOAM_ERR_OUT_OF_RANGE;
	for (size_t region = heap->nregions; region < nregions; region++)
		loami_region_forget(heap, (uint32_t)region);
	if (nregions > heap->nregions)
		loami_store_release(&heap->nregions, nregions);
	return LOAM_OK;
}

/* ---- over one block ------------------------------------------------------------------------------------------------------------------ */

/* What stands at the start of the block. */
struct loami_heap_block {
	struct loam_frames frames;
	struct loam_memmap map;
	struct loam_region raw;
	struct loam_region regions[16];
};

static enum loam_status block_frames(struct loami_heap_block *block, uintptr_t start, size_t nbytes, unsigned int ncpus)
{
	size_t own = (size_t)loami_align_up(sizeof(*block), LOAM_PAGE_SIZE);
	struct loam_frames_config config = {.map = &block->map, .ncpus = ncpus};
	enum loam_status status;
	uint64_t metadata;

	block->raw = (struct loam_region){.base = start, .nbytes = nbytes, .type = LOAM_REGION_USABLE};
	status = loam_memmap_init(&block->map, &block->raw, 1, block->regions, LOAMI_COUNT(block->regions), 0, NULL,
				  NULL);
	if (status != LOAM_OK)
		return status;
	status = loam_memmap_reserve(&block->map, start, own, LOAM_REGION_KERNEL);
	if (status != LOAM_OK)
		return status;
	metadata = loam_frames_metadata_size(&config);
	if (metadata == 0 || metadata + own + fixed_size(ncpus, false) >= nbytes)
		return LOAM_ERR_NO_METADATA;
	status = loam_frames_boot(&block->frames, &config, &block->map);
	for (unsigned int cpu = 0; cpu < ncpus && status == LOAM_OK; cpu++) {
		status = loam_frame_cpu_online(&block->frames, cpu);
		if (status == LOAM_ERR_ALREADY)
			status = LOAM_OK;
	}
	return status;
}

enum loam_status loam_heap_init_block(struct loam_heap *heap, void *block, size_t nbytes, unsigned int ncpus,
				      bool track)
{
	uintptr_t start = (uintptr_t)loami_align_up((uintptr_t)block, LOAM_PAGE_SIZE);
	uintptr_t end = (uintptr_t)loami_align_down((uintptr_t)block + nbytes, LOAM_PAGE_SIZE);
	struct loami_heap_block *head = (struct loami_heap_block *)start;
	struct loam_heap_config config = {.ncpus = ncpus, .track = track};
	enum loam_status status;

	if (!heap || !block || (uintptr_t)block + nbytes < (uintptr_t)block)
		return LOAM_ERR_INVALID;
	if (ncpus == 0 || ncpus > LOAM_CPUS_MAX)
		return LOAM_ERR_CPU;
	if (loami_load_acquire(&heap->state) > LOAMI_HEAP_BUMP)
		return LOAM_ERR_ALREADY;
	if (end <= start || end - start < 16 * LOAM_PAGE_SIZE)
		return LOAM_ERR_NO_METADATA;
	loami_unpoison(block, nbytes); /* of a heap that was there before */
	memset(head, 0, sizeof(*head));
	status = block_frames(head, start, end - start, ncpus);
	if (status != LOAM_OK)
		return status;
	config.frames = &head->frames;
	heap->own_frames = true;
	status = loam_heap_init(heap, &config, NULL, 0);
	if (status != LOAM_OK)
		heap->own_frames = false;
	return status;
}
