/* frame/plan.c: how a memory map is cut.
 *
 * 1 Concepts: one plan, made from the map by one kind of walk, serves metadata_size() and init, so that they cannot disagree. The walk yields pieces: runs
 *   of RAM that cross no border that matters. Only the outline of RAM counts, not which of it is usable: taking the metadata from the map
 *   does not change the plan.
 * 2 The metadata, in order: CPUs | their FIFOs | sections | numbers | chunk pointers | domains | top bitmaps | nobody's slot | chunks | rows
 *   | counts | slots.
 */
#include "plan.h"

/* Types of region that are RAM. */
static bool is_ram(uint32_t type)
{
	return type == LOAM_REGION_USABLE || type == LOAM_REGION_RECLAIMABLE || type == LOAM_REGION_BOOT ||
	       type == LOAM_REGION_KERNEL || type == LOAM_REGION_NVS || type == LOAM_REGION_BAD;
}

bool loami_walk_next(struct loami_walk *walk, struct loami_piece *piece)
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
		*piece = (struct loami_piece){start, end, zone,
					      region->node < LOAM_NODES_MAX ? region->node : LOAM_NODES_MAX - 1,
					      region->type};
		walk->at = end;
		return true;
	}
	return false;
}

bool loami_walk_chunk(struct loami_walk *walk, struct loami_piece *piece, struct loami_outline *outline)
{
	if (piece->end == 0 && !loami_walk_next(walk, piece))
		return false;
	if (piece->start == piece->end) /* the walk has ended before */
		return false;
	*outline = (struct loami_outline){piece->start, piece->end, piece->zone, piece->node};
	for (;;) {
		if (!loami_walk_next(walk, piece)) {
			piece->start = piece->end;
			return true;
		}
		if (outline->zone != piece->zone || outline->node != piece->node ||
		    outline->start >> walk->shift != piece->start >> walk->shift)
			return true;
		outline->end = piece->end;
	}
}

uint64_t loami_blocks_of(loam_pfn start, loam_pfn end)
{
	return (end + LOAM_BLOCK_FRAMES - 1) / LOAM_BLOCK_FRAMES - start / LOAM_BLOCK_FRAMES;
}

/* 1 GiB, or what gives each CPU a few chunks to be alone in. */
static unsigned int choose_cell_order(uint64_t ram, unsigned int ncpus)
{
	unsigned int order = CELL_ORDER_MAX;

	while (order > CELL_ORDER_MIN && ram >> order < 4 * (uint64_t)ncpus)
		order--;
	return order;
}

static void plan_outline(const struct loam_frames *frames, const struct loam_memmap *map, struct loami_plan *plan)
{
	struct loami_walk walk = {.frames = frames, .map = map, .shift = CELL_ORDER_MAX};
	struct loami_piece piece;

	while (loami_walk_next(&walk, &piece)) {
		if (plan->ram == 0)
			plan->first_pfn = loami_align_down(piece.start, LOAM_BLOCK_FRAMES);
		plan->ram += piece.end - piece.start;
		plan->end_pfn = piece.end;
	}
}

/* Sections with RAM, which the walk meets in order: each counts where its first piece begins or reaches into it. */
static void plan_numbers(const struct loam_frames *frames, const struct loam_memmap *map, struct loami_plan *plan)
{
	struct loami_walk walk = {.frames = frames, .map = map, .shift = CELL_ORDER_MAX};
	struct loami_piece piece;
	uint64_t next = 0; /* the first section not counted yet */

	while (loami_walk_next(&walk, &piece)) {
		uint64_t first = (piece.start - plan->first_pfn) >> SECTION_SHIFT;
		uint64_t end = ((piece.end - 1 - plan->first_pfn) >> SECTION_SHIFT) + 1;

		if (first < next)
			first = next;
		if (first < end) {
			plan->nnumbers += end - first;
			next = end;
		}
	}
	plan->nslots = (plan->nnumbers - 1) * SECTION_FRAMES;
	/* The last one is cut off at the end. */
	if (plan->nslots != 0 && plan->span % SECTION_FRAMES != 0 &&
	    next == (plan->span + SECTION_FRAMES - 1) / SECTION_FRAMES)
		plan->nslots -= SECTION_FRAMES - plan->span % SECTION_FRAMES;
}

static void plan_chunks(const struct loam_frames *frames, const struct loam_memmap *map, struct loami_plan *plan)
{
	struct loami_walk walk = {.frames = frames, .map = map, .shift = plan->cell_order};
	bool domains[LOAM_NODES_MAX][LOAM_ZONES_MAX] = {{false}};
	struct loami_piece piece = {0};
	struct loami_outline outline;

	while (loami_walk_chunk(&walk, &piece, &outline)) {
		if (!domains[outline.node][outline.zone])
			plan->ndomains++;
		domains[outline.node][outline.zone] = true;
		if (outline.node >= plan->nnodes)
			plan->nnodes = outline.node + 1;
		plan->nblocks += loami_blocks_of(outline.start, outline.end);
		plan->nchunks++;
	}
}

struct loami_plan loami_plan_make(const struct loam_frames *frames, const struct loam_memmap *map,
				  loam_paddr hotplug_limit)
{
	struct loami_plan plan = {.nnumbers = 1, .nnodes = 1, .hardened = frames->hardened, .report = frames->report};
	loam_pfn limit = hotplug_limit >> LOAM_PAGE_SHIFT;

	plan_outline(frames, map, &plan);
	plan.cell_order = choose_cell_order(plan.ram, frames->ncpus);
	plan_chunks(frames, map, &plan);
	plan.span = plan.end_pfn - plan.first_pfn;
	if (limit > plan.end_pfn) {
		/* Room to grow: every section up to the limit may come to hold memory, of any zone and node. */
		plan.first_pfn = 0;
		plan.span = loami_align_up(limit, SECTION_FRAMES);
	}
	plan_numbers(frames, map, &plan);
	if (limit > plan.end_pfn) {
		plan.nnumbers = 1 + plan.span / SECTION_FRAMES;
		/* As much of a cell as a section may come block by block. */
		plan.nchunks += (limit >> plan.cell_order) + frames->nzones + SECTION_FRAMES / LOAM_BLOCK_FRAMES;
		plan.ndomains = frames->nzones * LOAM_NODES_MAX;
	}
	return plan;
}

static uintptr_t cut(struct loami_parts *parts, uintptr_t base, uint64_t nbytes, uint64_t align)
{
	uint64_t at = loami_align_up(parts->nbytes, align);

	parts->nbytes = at + nbytes;
	return base + (uintptr_t)at;
}

struct loami_parts loami_plan_cut(const struct loami_plan *plan, unsigned int ncpus, uintptr_t base)
{
	uint64_t words = plan->ndomains * loami_top_words(plan->nchunks) * (1 + TYPE_COUNT);
	struct loami_parts parts = {0};

	parts.cpus = cut(&parts, base, ncpus * sizeof(struct loami_frame_cpu), LOAM_CPU_ALIGN);
	parts.fifos = cut(&parts, base, plan->hardened ? ncpus * sizeof(uint64_t) * FIFO_FRAMES : 0, 64);
	parts.sections =
		cut(&parts, base,
		    (plan->span + SECTION_FRAMES - 1) / SECTION_FRAMES * sizeof(struct loami_frame_section), 64);
	parts.numbers = cut(&parts, base, plan->nnumbers * sizeof(struct loami_frame_number), 64);
	parts.chunk_pointers = cut(&parts, base, plan->nchunks * sizeof(struct loami_frame_chunk *), 64);
	parts.domains = cut(&parts, base, plan->ndomains * sizeof(struct loami_frame_domain), 64);
	parts.tops = cut(&parts, base, words * sizeof(uint64_t), 64);
	parts.nobody = cut(&parts, base, sizeof(struct loam_slot), 64);
	parts.chunks = cut(&parts, base, plan->nchunks * sizeof(struct loami_frame_chunk), LOAM_CPU_ALIGN);
	parts.rows = cut(&parts, base, plan->nblocks * ROW_WORDS * sizeof(uint64_t) * (plan->report ? 2 : 1), 64);
	parts.counts = cut(&parts, base, plan->nblocks * sizeof(uint16_t), 64);
	parts.slots = cut(&parts, base, plan->nslots * sizeof(struct loam_slot), 64);
	return parts;
}
