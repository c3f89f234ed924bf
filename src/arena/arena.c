/* arena/arena.c: setting an arena up and taking it down; its figures.
 *
 * The grid of granules is aligned to absolute addresses, so that alignment to a large leaf is alignment of granules. Granules that stick out of the
 * configured range at either end are never handed out.
 */
#include "arena.h"

#include <loam/frame.h>

enum {
	SHIFT_FROM = 22, /* log2 of the most pages with granules of one page: 16 GiB */
	SHIFT_MAX = 7,   /* then granules double with the arena, up to 512 KiB for 64 TiB */
	SLAB_PAGES = 64, /* of a slab in an arena with granules of one page: it cannot afford many half-empty slabs */
	SLAB_PAGES_MIN = 16,
	SMALL_SLOT_MAX =
		18, /* pages of the largest slab class there, which is 64 KiB with its guard; above that a range is an extent, cut exactly: 98 % of such an arena can be used */
	CPUS_PER_FRAME = 4,
};

_Static_assert(sizeof(struct loami_span) == LOAMI_SPAN_BYTES, "a span's fixed part is one cache line");
_Static_assert(sizeof(struct loam_area_record) == 64, "64 records fill a frame");
_Static_assert(sizeof(struct loami_arena_cpu) <= LOAMI_ARENA_CPU_BYTES, "four per-CPU structs fill a frame");
_Static_assert(sizeof(struct loami_arena_bins) <= 4096, "the bins fill a frame at most");

static enum loam_status check_config(const struct loam_arena_config *config)
{
	uintptr_t end;

	if (config->frames == NULL)
		return LOAM_ERR_INVALID;
	if (config->ncpus == 0 || config->ncpus > LOAMI_ARENA_CPUS_MAX || config->ncpus > LOAM_CPUS_MAX)
		return LOAM_ERR_CPU;
	if (!loami_is_aligned(config->start, LOAM_PAGE_SIZE) || !loami_is_aligned(config->nbytes, LOAM_PAGE_SIZE))
		return LOAM_ERR_ALIGNMENT;
	if (config->nbytes < LOAM_ARENA_MIN_NBYTES)
		return LOAM_ERR_INVALID;
	if (config->nbytes > LOAM_ARENA_MAX_NBYTES)
		return LOAM_ERR_TOO_LARGE;
	if (loami_add_overflows(config->start, config->nbytes, &end))
		return LOAM_ERR_OVERFLOW;
	if (config->head_pages >= config->nbytes >> LOAM_PAGE_SHIFT)
		return LOAM_ERR_INVALID;
	return LOAM_OK;
}

static void set_geometry(struct loam_arena *arena, const struct loam_arena_config *config)
{
	uint64_t npages = config->nbytes >> LOAM_PAGE_SHIFT;
	unsigned int log = loami_log2_ceil(npages);
	uint64_t granule, head;

	if (log > SHIFT_FROM)
		arena->shift = log - SHIFT_FROM > SHIFT_MAX ? SHIFT_MAX : log - SHIFT_FROM;
	granule = UINT64_C(1) << (arena->shift + LOAM_PAGE_SHIFT);
	arena->start = config->start;
	arena->end = config->start + config->nbytes;
	arena->base = loami_align_down(config->start, granule);
	head = config->start - arena->base + (config->head_pages << LOAM_PAGE_SHIFT);
	arena->first = (head + granule - 1) / granule;
	arena->limit = (arena->end - arena->base) / granule;
	arena->guard = config->no_guard_pages ? 0 : 1;

	/* At most a thousandth of the arena in one slab. */
	if (arena->shift > 0) {
		arena->slot_max = LOAMI_ARENA_SLOT_MAX;
		arena->slab_max = npages / 1024 > LOAMI_ARENA_SLOT_MAX * LOAMI_ARENA_SLOTS_MAX
					  ? LOAMI_ARENA_SLOT_MAX * LOAMI_ARENA_SLOTS_MAX
					  : (unsigned int)(npages / 1024);
	} else {
		arena->slot_max = SMALL_SLOT_MAX;
		arena->slab_max = npages / 1024 >= SLAB_PAGES      ? SLAB_PAGES
				  : npages / 1024 > SLAB_PAGES_MIN ? (unsigned int)(npages / 1024)
								   : SLAB_PAGES_MIN;
		if (arena->slot_max > arena->slab_max / 2)
			arena->slot_max = arena->slab_max / 2;
	}
}

static void init_cpus(struct loam_arena *arena)
{
	for (unsigned int i = 0; i < arena->ncpus; i++) {
		if (i % CPUS_PER_FRAME == 0)
			arena->cpus[i / CPUS_PER_FRAME] = loami_meta_frame(arena);
		loami_arena_cpu(arena, i)->lock = LOAMI_LOCK_INIT(LOAMI_RANK_ARENA_CPU);
		loami_arena_cpu(arena, i)->open = LOAM_ARENA_BATCH_EMPTY;
		loami_arena_cpu(arena, i)->entries_frame = LOAM_PFN_NONE;
	}
}

enum loam_status loam_arena_init(struct loam_arena *arena, const struct loam_arena_config *config)
{
	enum loam_status status = check_config(config);
	unsigned int nframes;

	if (status != LOAM_OK)
		return status;
	*arena = (struct loam_arena){
		.frames = config->frames,
		.ncpus = config->ncpus,
		.lock = LOAMI_LOCK_INIT(LOAMI_RANK_ARENA_EXTENT),
	};
	set_geometry(arena, config);
	if (arena->first >= arena->limit)
		return LOAM_ERR_INVALID;

	/* Table of per-CPU frames, root, bins; the first and the last granule's tables; the per-CPU frames. The stock is filled at the first reservation. */
	nframes = 3 + 3 + 3 + (arena->ncpus + CPUS_PER_FRAME - 1) / CPUS_PER_FRAME;
	status = loami_meta_init(arena, nframes);
	if (status != LOAM_OK)
		return status;
	arena->cpus = loami_meta_frame(arena);
	arena->root = loami_meta_frame(arena);
	arena->bins = loami_meta_frame(arena);
	init_cpus(arena);
	loami_radix_prepare(arena, arena->first);
	loami_radix_prepare(arena, arena->limit - 1);
	if (arena->first + 1 < arena->limit)
		loami_radix_prepare(arena, arena->first + 1);
	{
		unsigned long irq = loami_lock_irq(&arena->lock);

		loami_extent_give(arena, arena->first, arena->limit - arena->first);
		loami_unlock_irq(&arena->lock, irq);
	}
	arena->ready = true;
	return LOAM_OK;
}

enum loam_status loam_arena_destroy(struct loam_arena *arena)
{
	(void)loami_slab_trim(arena);
	if (arena->free_granules != arena->limit - arena->first)
		return LOAM_ERR_IN_USE;
	for (unsigned int i = 0; i < arena->ncpus; i++)
		if (loami_arena_cpu(arena, i)->entries_frame != LOAM_PFN_NONE)
			loam_frame_free(arena->frames, loami_arena_cpu(arena, i)->entries_frame, 0);
	loami_meta_destroy(arena);
	arena->ready = false;
	return LOAM_OK;
}

size_t loam_arena_trim(struct loam_arena *arena)
{
	LOAMI_NOT_FROM_NMI();
	return loami_slab_trim(arena);
}

void loam_arena_read_stats(struct loam_arena *arena, struct loam_arena_stats *stats)
{
	uint64_t given_areas = 0, given_pages = 0, published = 0, released = 0;
	unsigned long irq;

	*stats = (struct loam_arena_stats){.npages = (arena->limit - arena->first) << arena->shift};
	for (unsigned int i = 0; i < arena->ncpus; i++) {
		struct loami_arena_cpu *cpu = loami_arena_cpu(arena, i);

		irq = loami_lock_irq(&cpu->lock);
		stats->live_areas += cpu->reserved_areas;
		stats->live_pages += cpu->reserved_pages;
		stats->free_pages += cpu->free_slot_pages;
		given_areas += cpu->published_areas + cpu->direct_areas;
		given_pages += cpu->given_pages;
		published += cpu->published_areas;
		released += cpu->released_areas;
		loami_unlock_irq(&cpu->lock, irq);
	}
	irq = loami_lock_irq(&arena->lock);
	stats->live_areas += arena->extent_areas - given_areas;
	stats->live_pages += arena->extent_pages - given_pages;
	stats->dirty_areas = published - released;
	stats->free_pages += arena->free_granules << arena->shift;
	stats->free_extents = arena->nruns;
	stats->largest_free = loami_extent_largest(arena) << arena->shift;
	stats->metadata_pages = arena->nmeta;
	for (unsigned int i = 0; i < LOAMI_POOL_RECORDS16; i++)
		stats->free_nodes += arena->npool[i];
	loami_unlock_irq(&arena->lock, irq);
}
