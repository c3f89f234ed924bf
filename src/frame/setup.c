/* frame/setup.c: from a memory map to a machine of frames: how much metadata, how it is cut, which frames begin free.
 *
 * 1 Concepts: one plan, made from the map by the same walk, serves metadata_size() and init, so that they cannot disagree. The walk yields pieces: runs of
 *   RAM that cross no section, cell, zone or node border. Only the outline of RAM matters for it, not which of it is usable: taking the metadata
 *   from the map does not change the plan.
 * 2 The metadata, in order: CPUs | sections | cells | chunk pointers | domains and their top bitmaps | chunks, each with rows and counts | slots.
 */
#include "internal.h"

#include <base/print.h>

/* Types of region that are RAM. */
static bool is_ram(uint32_t type)
{
	return type == LOAM_REGION_USABLE || type == LOAM_REGION_RECLAIMABLE || type == LOAM_REGION_BOOT ||
	       type == LOAM_REGION_KERNEL || type == LOAM_REGION_NVS || type == LOAM_REGION_BAD;
}

/* RAM that crosses no border. */
struct piece {
	loam_pfn start;
	loam_pfn end;
	unsigned int zone;
	unsigned int node;
	uint32_t type;
};

struct walk {
	const struct loam_frames *frames; /* zones */
	const struct loam_memmap *map;
	size_t region;
	loam_pfn at;        /* within the region; 0: at its start */
	unsigned int shift; /* pieces do not cross multiples of 2^shift frames */
};

static bool walk_next(struct walk *walk, struct piece *piece)
{
	for (; walk->region < walk->map->count; walk->region++, walk->at = 0) {
		const struct loam_region *region = &walk->map->regions[walk->region];
		loam_pfn end = (region->base + region->nbytes) >> LOAM_PAGE_SHIFT;
		loam_pfn start = walk->at != 0 ? walk->at : region->base >> LOAM_PAGE_SHIFT;
		unsigned int zone = 0;

		if (!is_ram(region->type) || start >= end)
			continue;
		while (zone < walk->frames->nzones && walk->frames->zones[zone].limit != 0 &&
		       start >= walk->frames->zones[zone].limit >> LOAM_PAGE_SHIFT)
			zone++;
		if (zone == walk->frames->nzones) /* above every zone's limit */
			continue;
		if (walk->frames->zones[zone].limit != 0 && end > walk->frames->zones[zone].limit >> LOAM_PAGE_SHIFT)
			end = walk->frames->zones[zone].limit >> LOAM_PAGE_SHIFT;
		if (end > ((start >> walk->shift) + 1) << walk->shift)
			end = ((start >> walk->shift) + 1) << walk->shift;
		*piece =
			(struct piece){start, end, zone,
				       region->node < LOAM_NODES_MAX ? region->node : LOAM_NODES_MAX - 1, region->type};
		walk->at = end;
		return true;
	}
	return false;
}

/* The plan: sizes found by a first walk. */
struct plan {
	loam_pfn first_pfn;
	loam_pfn end_pfn;
	uint64_t ram;
	uint64_t nsections;
	uint64_t ncells;
	uint64_t nchunks;
	uint64_t nblocks; /* of all chunks */
	uint64_t nslots;
	unsigned int cell_order;
	unsigned int ndomains;
	unsigned int nnodes;
	uint8_t domain_of[LOAM_NODES_MAX][LOAM_ZONES_MAX]; /* 1 + number */
};

/* Pieces of one cell, zone and node in a row are one chunk. */
struct chunk_outline {
	loam_pfn start;
	loam_pfn end;
	unsigned int zone;
	unsigned int node;
};

static bool same_chunk(const struct chunk_outline *outline, const struct piece *piece, unsigned int cell_order)
{
	return outline->end != 0 && outline->zone == piece->zone && outline->node == piece->node &&
	       outline->start >> cell_order == piece->start >> cell_order;
}

static uint64_t blocks_of(loam_pfn start, loam_pfn end)
{
	return (end + LOAM_BLOCK_FRAMES - 1) / LOAM_BLOCK_FRAMES - start / LOAM_BLOCK_FRAMES;
}

static unsigned int choose_cell_order(uint64_t ram, unsigned int ncpus)
{
	unsigned int order = CELL_ORDER_MAX;

	while (order > CELL_ORDER_MIN && ram >> order < 4 * (uint64_t)ncpus)
		order--;
	return order;
}

static void plan_slots(const struct loam_frames *frames, const struct loam_memmap *map, struct plan *plan)
{
	struct walk walk = {.frames = frames, .map = map, .shift = SECTION_SHIFT};
	struct piece piece;
	loam_pfn start = 0, end = 0;

	while (walk_next(&walk, &piece)) {
		if (plan->ram == 0)
			plan->first_pfn = piece.start;
		plan->ram += piece.end - piece.start;
		plan->end_pfn = piece.end;
		if (end == 0 || start >> SECTION_SHIFT != piece.start >> SECTION_SHIFT) {
			plan->nslots += end - start;
			start = piece.start;
		}
		end = piece.end;
	}
	plan->nslots += end - start;
}

static void plan_chunks(const struct loam_frames *frames, const struct loam_memmap *map, struct plan *plan)
{
	struct walk walk = {.frames = frames, .map = map, .shift = plan->cell_order};
	struct chunk_outline outline = {0};
	struct piece piece;

	while (walk_next(&walk, &piece)) {
		if (plan->domain_of[piece.node][piece.zone] == 0)
			plan->domain_of[piece.node][piece.zone] = (uint8_t)++plan->ndomains;
		if (piece.node >= plan->nnodes)
			plan->nnodes = piece.node + 1;
		if (!same_chunk(&outline, &piece, plan->cell_order)) {
			plan->nblocks += outline.end != 0 ? blocks_of(outline.start, outline.end) : 0;
			plan->nchunks++;
			outline = (struct chunk_outline){piece.start, piece.end, piece.zone, piece.node};
		}
		outline.end = piece.end;
	}
	plan->nblocks += outline.end != 0 ? blocks_of(outline.start, outline.end) : 0;
}

static struct plan make_plan(const struct loam_frames *frames, const struct loam_memmap *map)
{
	struct plan plan = {.nnodes = 1};
	uint64_t align;

	plan_slots(frames, map, &plan);
	plan.cell_order = choose_cell_order(plan.ram, frames->ncpus);
	align = UINT64_C(1) << (plan.cell_order > SECTION_SHIFT ? plan.cell_order : SECTION_SHIFT);
	plan.first_pfn = loami_align_down(plan.first_pfn, align);
	plan.nsections = ((plan.end_pfn - plan.first_pfn) >> SECTION_SHIFT) + 1;
	plan.ncells = ((plan.end_pfn - plan.first_pfn) >> plan.cell_order) + 1;
	if (plan.ram == 0)
		plan.nsections = plan.ncells = 0;
	else
		plan_chunks(frames, map, &plan);
	return plan;
}

/* Cuts the metadata. With base 0 it only adds up. */
struct cutter {
	uintptr_t base;
	uint64_t used;
};

static uintptr_t cut(struct cutter *cutter, uint64_t nbytes, uint64_t align)
{
	uint64_t at = loami_align_up(cutter->used, align);

	cutter->used = at + nbytes;
	return cutter->base + (uintptr_t)at;
}

static uint64_t top_words(const struct plan *plan)
{
	return (plan->nchunks + 63) / 64;
}

struct parts {
	uintptr_t cpus, sections, cells, chunk_pointers, domains, tops, chunks, rows, counts, slots;
};

static struct parts cut_parts(const struct plan *plan, unsigned int ncpus, struct cutter *cutter)
{
	struct parts parts;

	parts.cpus = cut(cutter, ncpus * sizeof(struct loami_frame_cpu), LOAM_CPU_ALIGN);
	parts.sections = cut(cutter, plan->nsections * sizeof(struct loami_frame_section), 64);
	parts.cells = cut(cutter, plan->ncells * sizeof(struct loami_frame_chunk *), 64);
	parts.chunk_pointers = cut(cutter, plan->nchunks * sizeof(struct loami_frame_chunk *), 64);
	parts.domains = cut(cutter, plan->ndomains * sizeof(struct loami_frame_domain), 64);
	parts.tops = cut(cutter, plan->ndomains * top_words(plan) * 8 * (1 + TYPE_COUNT), 64);
	parts.chunks = cut(cutter, plan->nchunks * sizeof(struct loami_frame_chunk), LOAM_CPU_ALIGN);
	parts.rows = cut(cutter, plan->nblocks * 8 * ROW_WORDS, 64);
	parts.counts = cut(cutter, plan->nblocks * sizeof(uint16_t), 64);
	parts.slots = cut(cutter, plan->nslots * sizeof(struct loam_slot), 64);
	return parts;
}

uint64_t loam_frame_slots_size(uint64_t ram_bytes)
{
	return (ram_bytes / LOAM_PAGE_SIZE + (ram_bytes % LOAM_PAGE_SIZE != 0)) * sizeof(struct loam_slot);
}

/* Zones and CPUs of a configuration into @frames; an error when they make no sense. */
static enum loam_status take_config(struct loam_frames *frames, const struct loam_frames_config *config)
{
	if (config->ncpus == 0 || config->ncpus > LOAM_CPUS_MAX)
		return LOAM_ERR_CPU;
	if (config->nzones > LOAM_ZONES_MAX)
		return LOAM_ERR_ZONE;
	for (unsigned int zone = 0; zone < config->nzones; zone++) {
		loam_paddr limit = config->zones[zone].limit;

		if (!config->zones[zone].name || !loami_is_aligned(limit, LOAM_PAGE_SIZE))
			return LOAM_ERR_ZONE;
		if (limit == 0 ? zone + 1 != config->nzones : zone > 0 && limit <= config->zones[zone - 1].limit)
			return LOAM_ERR_ZONE;
		frames->zones[zone] = config->zones[zone];
	}
	frames->ncpus = config->ncpus;
	frames->nzones = config->nzones;
	if (config->nzones == 0) {
		frames->nzones = 1;
		frames->zones[0] = (struct loam_zone_config){.name = "normal"};
	}
	frames->hardened = config->hardened;
	frames->direct_map = config->direct_map;
	return LOAM_OK;
}

uint64_t loam_frames_metadata_size(const struct loam_frames_config *config)
{
	struct loam_frames frames = {0};
	struct cutter cutter = {0};
	struct plan plan;

	if (!config || !config->map || take_config(&frames, config) != LOAM_OK)
		return 0;
	plan = make_plan(&frames, config->map);
	(void)cut_parts(&plan, config->ncpus, &cutter);
	return loami_align_up(cutter.used, LOAM_PAGE_SIZE);
}

static void make_sections(struct loam_frames *frames, const struct loam_memmap *map, uintptr_t slots)
{
	struct walk walk = {.frames = frames, .map = map, .shift = SECTION_SHIFT};
	struct loami_frame_section *last = NULL;
	struct piece piece;
	loam_pfn first = 0;

	while (walk_next(&walk, &piece)) {
		struct loami_frame_section *section =
			&frames->sections[(piece.start - frames->first_pfn) >> SECTION_SHIFT];

		if (section != last) {
			slots += last ? (uintptr_t)last->count * sizeof(struct loam_slot) : 0;
			first = piece.start;
			section->start = (uint32_t)(piece.start & ((1u << SECTION_SHIFT) - 1));
			section->slots = slots - (uintptr_t)piece.start * sizeof(struct loam_slot);
			last = section;
		}
		section->count = (uint32_t)(piece.end - first);
	}
}

static void slot_reset(struct loam_slot *slot, uint32_t state, uint32_t refcount, uint32_t flags)
{
	*slot = (struct loam_slot){
		.next = LOAM_FRAME_LINK_NONE,
		.prev = LOAM_FRAME_LINK_NONE,
		.flags = flags,
		.state = (uint8_t)state,
		.refcount = refcount,
	};
}

/* Every slot of every section: RAM is in use, the rest no RAM. */
static void make_slots(struct loam_frames *frames, const struct loam_memmap *map)
{
	struct walk walk = {.frames = frames, .map = map, .shift = SECTION_SHIFT};
	struct piece piece;
	loam_pfn done = 0;

	while (walk_next(&walk, &piece)) {
		uint32_t flags = LOAM_FRAME_ALLOCATED | LOAM_FRAME_KERNEL;
		bool usable = piece.type == LOAM_REGION_USABLE;

		if (done >> SECTION_SHIFT == piece.start >> SECTION_SHIFT)
			for (loam_pfn pfn = done; done != 0 && pfn < piece.start; pfn++)
				slot_reset(loami_slot_of(frames, pfn), STATE_HOLE, 0, 0);
		for (loam_pfn pfn = piece.start; pfn < piece.end; pfn++)
			slot_reset(loami_slot_of(frames, pfn), usable ? 0 : STATE_RESERVED, usable ? REF_UNUSED : 1,
				   usable ? LOAM_FRAME_FREE : flags);
		done = piece.end;
	}
}

struct carve {
	struct loami_frame_chunk *chunks;
	uint64_t (*rows)[ROW_WORDS];
	uint16_t *counts;
};

static void make_chunk(struct loam_frames *frames, const struct plan *plan, const struct chunk_outline *outline,
		       struct carve *carve)
{
	struct loami_frame_chunk *chunk = carve->chunks++, **link;
	uint64_t nblocks = blocks_of(outline->start, outline->end);

	*chunk = (struct loami_frame_chunk){
		.lock = LOAMI_LOCK_INIT(LOAMI_RANK_FRAME_CHUNK),
		.number = frames->nchunks,
		.domain = (uint8_t)(plan->domain_of[outline->node][outline->zone] - 1u),
		.zone = (uint8_t)outline->zone,
		.node = (uint8_t)outline->node,
		.base = loami_align_down(outline->start, LOAM_BLOCK_FRAMES),
		.start = outline->start,
		.end = outline->end,
		.rows = carve->rows,
		.counts = carve->counts,
		.nblocks = (uint32_t)nblocks,
		.run_order = LOAM_BLOCK_ORDER - 1,
	};
	carve->rows += nblocks;
	carve->counts += nblocks;
	frames->chunks[frames->nchunks++] = chunk;
	link = &frames->cells[(outline->start - frames->first_pfn) >> frames->cell_order];
	while (*link)
		link = &(*link)->next;
	*link = chunk;
}

static void make_chunks(struct loam_frames *frames, const struct plan *plan, const struct loam_memmap *map,
			struct carve carve)
{
	struct walk walk = {.frames = frames, .map = map, .shift = frames->cell_order};
	struct chunk_outline outline = {0};
	struct piece piece;

	while (walk_next(&walk, &piece)) {
		if (!same_chunk(&outline, &piece, frames->cell_order)) {
			if (outline.end != 0)
				make_chunk(frames, plan, &outline, &carve);
			outline = (struct chunk_outline){piece.start, piece.end, piece.zone, piece.node};
		}
		outline.end = piece.end;
	}
	if (outline.end != 0)
		make_chunk(frames, plan, &outline, &carve);
}

static void make_domains(struct loam_frames *frames, const struct plan *plan, uintptr_t tops)
{
	uint64_t words = top_words(plan);

	for (unsigned int node = 0; node < LOAM_NODES_MAX; node++) {
		for (unsigned int zone = 0; zone < LOAM_ZONES_MAX; zone++) {
			unsigned int d = plan->domain_of[node][zone];
			struct loami_frame_domain *domain;

			if (d == 0)
				continue;
			domain = &frames->domains[d - 1];
			*domain = (struct loami_frame_domain){.zone = (uint8_t)zone, .node = (uint8_t)node};
			domain->whole = (uint64_t *)(tops + (d - 1) * words * 8 * (1 + TYPE_COUNT));
			for (unsigned int type = 0; type < TYPE_COUNT; type++)
				domain->partial[type] = domain->whole + words * (1 + type);
		}
	}
	/* A node searches its own memory first, then that of the next nodes; within a node, high zones before low ones. */
	for (unsigned int node = 0; node < LOAM_NODES_MAX; node++) {
		unsigned int n = 0;

		for (unsigned int away = 0; away < LOAM_NODES_MAX; away++)
			for (unsigned int zone = LOAM_ZONES_MAX; zone-- > 0;)
				if (plan->domain_of[(node + away) % LOAM_NODES_MAX][zone] != 0)
					frames->search[node][n++] =
						(uint8_t)(plan->domain_of[(node + away) % LOAM_NODES_MAX][zone] - 1u);
	}
}

static void free_usable(struct loam_frames *frames, const struct loam_memmap *map)
{
	struct walk walk = {.frames = frames, .map = map, .shift = frames->cell_order};
	struct piece piece;

	while (walk_next(&walk, &piece)) {
		unsigned int zone = piece.zone;

		if (frames->zone_end[zone] == 0)
			frames->zone_start[zone] = piece.start;
		frames->zone_end[zone] = piece.end;
		frames->ram += piece.end - piece.start;
		frames->zone_present[zone] += piece.end - piece.start;
		if (piece.type == LOAM_REGION_USABLE) {
			frames->zone_managed[zone] += piece.end - piece.start;
			frames->managed += piece.end - piece.start;
			loami_blocks_put(frames, piece.start, piece.end - piece.start);
		}
	}
}

/* The metadata's own frames, when they are RAM of this map. */
static uint64_t count_metadata(const struct loam_frames *frames, const struct loam_memmap *map, uintptr_t virt,
			       uint64_t nbytes)
{
	loam_pfn start = (virt - frames->direct_map) >> LOAM_PAGE_SHIFT;
	loam_pfn end = (virt - frames->direct_map + nbytes + LOAM_PAGE_SIZE - 1) >> LOAM_PAGE_SHIFT;
	struct walk walk = {.frames = frames, .map = map, .shift = CELL_ORDER_MAX};
	struct piece piece;
	uint64_t n = 0;

	while (walk_next(&walk, &piece)) {
		loam_pfn from = piece.start > start ? piece.start : start, to = piece.end < end ? piece.end : end;

		if (piece.type != LOAM_REGION_USABLE && from < to)
			n += to - from;
	}
	return n;
}

enum loam_status loam_frames_init(struct loam_frames *frames, const struct loam_frames_config *config, void *metadata,
				  uint64_t nbytes)
{
	struct cutter cutter = {.base = (uintptr_t)metadata};
	enum loam_status status;
	struct parts parts;
	struct plan plan;

	LOAMI_TASK_ONLY();
	if (!frames || !config || !config->map || !metadata || !loami_is_aligned((uintptr_t)metadata, 64))
		return LOAM_ERR_INVALID;
	if (loami_load_acquire(&frames->ready) != 0)
		return LOAM_ERR_ALREADY;
	*frames = (struct loam_frames){0};
	status = take_config(frames, config);
	if (status != LOAM_OK)
		goto fail;
	plan = make_plan(frames, config->map);
	parts = cut_parts(&plan, frames->ncpus, &cutter);
	if (cutter.used > nbytes) {
		status = LOAM_ERR_NO_METADATA;
		goto fail;
	}
	/* All but the slots, which are written one by one. */
	__builtin_memset(metadata, 0, (size_t)(parts.slots - cutter.base));
	frames->first_pfn = plan.first_pfn;
	frames->cell_order = plan.cell_order;
	frames->nsections = plan.nsections;
	frames->ncells = plan.ncells;
	frames->chunks_max = (uint32_t)plan.nchunks;
	frames->ndomains = plan.ndomains;
	frames->nnodes = plan.nnodes;
	frames->sections = (struct loami_frame_section *)parts.sections;
	frames->cells = (struct loami_frame_chunk **)parts.cells;
	frames->chunks = (struct loami_frame_chunk **)parts.chunk_pointers;
	frames->domains = (struct loami_frame_domain *)parts.domains;
	frames->cpus = (struct loami_frame_cpu *)parts.cpus;
	frames->policy = LOAMI_LOCK_INIT(LOAMI_RANK_FRAME_POLICY);
	make_domains(frames, &plan, parts.tops);
	make_sections(frames, config->map, parts.slots);
	make_slots(frames, config->map);
	make_chunks(frames, &plan, config->map,
		    (struct carve){(struct loami_frame_chunk *)parts.chunks, (uint64_t(*)[ROW_WORDS])parts.rows,
				   (uint16_t *)parts.counts});
	for (unsigned int cpu = 0; cpu < frames->ncpus; cpu++)
		frames->cpus[cpu].home = (uint32_t)((uint64_t)cpu * frames->nchunks / frames->ncpus);
	free_usable(frames, config->map);
	frames->metadata_frames = count_metadata(frames, config->map, (uintptr_t)metadata, nbytes);
	loami_store_release(&frames->ready, 1);
	return LOAM_OK;
fail:
	*frames = (struct loam_frames){0};
	return status;
}

enum loam_status loam_frames_boot(struct loam_frames *frames, const struct loam_frames_config *config,
				  struct loam_memmap *map)
{
	struct loam_memmap_where where = {.align = LOAM_PAGE_SIZE};
	struct loam_frames_config own;
	loam_paddr base;
	uint64_t nbytes;

	LOAMI_TASK_ONLY();
	if (!frames || !config || !map)
		return LOAM_ERR_INVALID;
	if (loami_load_acquire(&frames->ready) != 0)
		return LOAM_ERR_ALREADY;
	own = *config;
	own.map = map;
	nbytes = loam_frames_metadata_size(&own);
	if (nbytes == 0)
		return config->ncpus == 0 || config->ncpus > LOAM_CPUS_MAX ? LOAM_ERR_CPU : LOAM_ERR_ZONE;
	if (loam_memmap_alloc(map, nbytes, &where, &base) != LOAM_OK) {
		struct loam_frames outline = {0};
		struct plan plan;

		(void)take_config(&outline, &own);
		plan = make_plan(&outline, map);
		loami_misuse("loam: frame: boot allocator could not reserve %llu bytes (align %llu) for %llu frames",
			     (unsigned long long)nbytes, (unsigned long long)where.align, (unsigned long long)plan.ram);
	}
	return loam_frames_init(frames, &own, (void *)(uintptr_t)(base + own.direct_map), nbytes);
}
