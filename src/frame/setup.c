/* frame/setup.c: from a memory map to a machine of frames: which frames begin free, and who searches where. How the memory is cut is plan.c's. */
#include "plan.h"

#include <base/print.h>

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
	if (config->hotplug_limit >> LOAM_PAGE_SHIFT > UINT64_C(1) << 40)
		return LOAM_ERR_TOO_LARGE;
	for (unsigned int cpu = 0; config->cpu_nodes && cpu < config->ncpus; cpu++)
		if (config->cpu_nodes[cpu] >= LOAM_NODES_MAX)
			return LOAM_ERR_INVALID;
	frames->ncpus = config->ncpus;
	frames->nzones = config->nzones;
	if (config->nzones == 0) {
		frames->nzones = 1;
		frames->zones[0] = (struct loam_zone_config){.name = "normal"};
	}
	frames->hardened = config->hardened;
	frames->report = config->report;
	frames->zeroed = config->zeroed;
	frames->direct_map = config->direct_map;
	return LOAM_OK;
}

uint64_t loam_frames_metadata_size(const struct loam_frames_config *config)
{
	struct loam_frames frames = {0};
	struct loami_plan plan;

	if (!config || !config->map || take_config(&frames, config) != LOAM_OK)
		return 0;
	plan = loami_plan_make(&frames, config->map, config->hotplug_limit);
	return loami_align_up(loami_plan_cut(&plan, config->ncpus, 0).nbytes, LOAM_PAGE_SIZE);
}

/* ---- sections and slots ---------------------------------------------------------------------------------------------------- */

void loami_slot_reset(struct loam_slot *slot, uint32_t state)
{
	*slot = (struct loam_slot){
		.next = LOAM_FRAME_LINK_NONE,
		.prev = LOAM_FRAME_LINK_NONE,
		.flags = state == 0 ? LOAM_FRAME_FREE : LOAM_FRAME_ALLOCATED | LOAM_FRAME_KERNEL,
		.state = (uint8_t)state,
		.refcount = state == 0 ? REF_UNUSED : 1,
		.generation = state == 0 ? 0 : 1,
	};
}

void loami_section_add(struct loam_frames *frames, loam_pfn pfn, uintptr_t slots, loam_pfn start, loam_pfn end)
{
	struct loami_frame_section *section = loami_section_of(frames, pfn);
	loam_pfn base = frames->first_pfn + (loam_pfn)(section - frames->sections) * SECTION_FRAMES;
	uint32_t number = frames->numbers_used++;

	for (unsigned int i = 0; i < SECTION_FRAMES && base + i < frames->first_pfn + frames->span; i++) {
		if (base + i >= start && base + i < end)
			loami_slot_reset((struct loam_slot *)slots + i, 0);
		else if (!frames->zeroed)
			((struct loam_slot *)slots)[i] = (struct loam_slot){0};
	}
	frames->numbers[number] = (struct loami_frame_number){slots, base};
	section->index = ((uint64_t)number << SECTION_SHIFT) - base;
	loami_store_release(&section->slots, slots - (uintptr_t)base * sizeof(struct loam_slot));
}

/* Number 0: no frames, and a slot that NAME_NONE names. */
static void make_nobody(struct loam_frames *frames, uintptr_t slot)
{
	frames->nobody = (struct loam_slot *)slot;
	*frames->nobody = (struct loam_slot){.state = STATE_RESERVED, .generation = 1};
	frames->numbers[0] = (struct loami_frame_number){slot, 0};
	frames->numbers_used = 1;
}

/* The first frame of the section after @pfn's. */
static loam_pfn next_section(const struct loam_frames *frames, loam_pfn pfn)
{
	return frames->first_pfn + loami_align_down(pfn - frames->first_pfn, SECTION_FRAMES) + SECTION_FRAMES;
}

static void make_sections(struct loam_frames *frames, const struct loam_memmap *map, uintptr_t slots)
{
	struct loami_walk walk = {.frames = frames, .map = map, .shift = CELL_ORDER_MAX};
	struct loami_piece piece;

	while (loami_walk_next(&walk, &piece)) {
		loam_pfn pfn = piece.start;

		for (; pfn < piece.end; pfn = next_section(frames, pfn)) {
			if (loami_section_of(frames, pfn)->slots != 0)
				continue;
			loami_section_add(frames, pfn, slots, 0, 0);
			slots += SECTION_FRAMES * sizeof(struct loam_slot);
		}
		for (pfn = piece.start; pfn < piece.end; pfn++)
			loami_slot_reset(loami_slot_of(frames, pfn),
					 piece.type == LOAM_REGION_USABLE ? 0 : STATE_RESERVED);
	}
}

/* The longest row of sections whose slots lie in a row. */
static void find_dense(struct loam_frames *frames)
{
	uint64_t nsections = (frames->span + SECTION_FRAMES - 1) >> SECTION_SHIFT, first = 0, most = 0;

	for (uint64_t i = 0, end; i < nsections; i = end) {
		const struct loami_frame_section *section = &frames->sections[i];

		for (end = i + 1; end < nsections && frames->sections[end].slots == section->slots;)
			end++;
		if (section->slots != 0 && end - i > most) {
			most = end - i;
			first = i;
		}
	}
	if (most == 0)
		return;
	frames->dense_first = frames->first_pfn + (first << SECTION_SHIFT);
	frames->dense_words = (uintptr_t)loami_slot_word(loami_slot_of(frames, frames->dense_first));
	frames->dense_naming = frames->sections[first].index - REF_UNUSED;
	frames->dense = most << SECTION_SHIFT;
	if (frames->dense > frames->span - (first << SECTION_SHIFT))
		frames->dense = frames->span - (first << SECTION_SHIFT);
}

/* ---- domains and chunks -------------------------------------------------------------------------------------------------- */

/* A node searches its own memory first, then that of the next nodes; within a node, high zones before low ones. */
static void order_search(struct loam_frames *frames)
{
	for (unsigned int node = 0; node < LOAM_NODES_MAX; node++) {
		unsigned int n = 0;

		for (unsigned int away = 0; away < LOAM_NODES_MAX; away++)
			for (unsigned int zone = LOAM_ZONES_MAX; zone-- > 0;)
				for (unsigned int d = 0; d < frames->ndomains; d++)
					if (frames->domains[d].node == (node + away) % LOAM_NODES_MAX &&
					    frames->domains[d].zone == zone)
						loami_store_relaxed(&frames->search[node][n++], (uint8_t)d);
	}
}

static uint8_t domain_of(struct loam_frames *frames, unsigned int node, unsigned int zone)
{
	uint64_t words = loami_top_words(frames->chunks_max);
	struct loami_frame_domain *domain;
	unsigned int d = 0;

	while (d < frames->ndomains && (frames->domains[d].node != node || frames->domains[d].zone != zone))
		d++;
	if (d < frames->ndomains)
		return (uint8_t)d;
	domain = &frames->domains[d];
	*domain = (struct loami_frame_domain){.zone = (uint8_t)zone, .node = (uint8_t)node};
	domain->whole = frames->tops + d * words * (1 + TYPE_COUNT);
	for (unsigned int type = 0; type < TYPE_COUNT; type++)
		domain->partial[type] = domain->whole + words * (1 + type);
	loami_store_release(&frames->ndomains, d + 1);
	order_search(frames);
	return (uint8_t)d;
}

void loami_chunk_add(struct loam_frames *frames, struct loami_frame_chunk *chunk, const struct loami_outline *outline,
		     uint64_t (**rows)[ROW_WORDS], uint16_t **counts)
{
	struct loami_frame_chunk **link = &frames->lowest;
	uint64_t nblocks = loami_blocks_of(outline->start, outline->end);

	*chunk = (struct loami_frame_chunk){
		.lock = LOAMI_LOCK_INIT(LOAMI_RANK_FRAME_CHUNK),
		.number = frames->nchunks,
		.domain = domain_of(frames, outline->node, outline->zone),
		.zone = (uint8_t)outline->zone,
		.node = (uint8_t)outline->node,
		.base = loami_align_down(outline->start, LOAM_BLOCK_FRAMES),
		.start = outline->start,
		.end = outline->end,
		.rows = *rows,
		.used = frames->report ? *rows + nblocks : NULL,
		.counts = *counts,
		.nblocks = (uint32_t)nblocks,
		.run_order = LOAM_BLOCK_ORDER - 1,
	};
	*rows += frames->report ? 2 * nblocks : nblocks;
	*counts += nblocks;
	while (*link && (*link)->start < chunk->start)
		link = &(*link)->above;
	chunk->above = *link;
	loami_store_release(link, chunk);
	for (loam_pfn pfn = outline->start; pfn < outline->end; pfn = next_section(frames, pfn)) {
		struct loami_frame_section *section = loami_section_find(frames, pfn);

		if (section && (!section->chunk || section->chunk->start > chunk->start))
			loami_store_release(&section->chunk, chunk);
	}
	frames->chunks[frames->nchunks] = chunk;
	loami_store_release(&frames->nchunks, frames->nchunks + 1);
}

static void make_chunks(struct loam_frames *frames, const struct loam_memmap *map, const struct loami_parts *parts)
{
	struct loami_walk walk = {.frames = frames, .map = map, .shift = frames->cell_order};
	struct loami_frame_chunk *chunk = (struct loami_frame_chunk *)parts->chunks;
	uint64_t(*rows)[ROW_WORDS] = (uint64_t(*)[ROW_WORDS])parts->rows;
	uint16_t *counts = (uint16_t *)parts->counts;
	struct loami_piece piece = {0};
	struct loami_outline outline;

	while (loami_walk_chunk(&walk, &piece, &outline)) {
		loami_chunk_add(frames, chunk++, &outline, &rows, &counts);
	}
}

void loami_frames_give(struct loam_frames *frames, loam_pfn start, loam_pfn end, bool clean)
{
	(void)loami_fetch_add_relaxed(&frames->managed, end - start);
	if (clean)
		loami_blocks_put_clean(frames, start, end - start);
	else
		loami_blocks_put(frames, start, end - start);
}

static void give_usable(struct loam_frames *frames, const struct loam_memmap *map)
{
	struct loami_walk walk = {.frames = frames, .map = map, .shift = frames->cell_order};
	struct loami_piece piece;

	while (loami_walk_next(&walk, &piece)) {
		unsigned int zone = piece.zone;

		if (frames->zone_end[zone] == 0)
			frames->zone_start[zone] = piece.start;
		frames->zone_end[zone] = piece.end;
		frames->zone_present[zone] += piece.end - piece.start;
		frames->ram += piece.end - piece.start;
		if (piece.type == LOAM_REGION_USABLE) {
			frames->zone_managed[zone] += piece.end - piece.start;
			loami_frames_give(frames, piece.start, piece.end, true);
		}
	}
}

/* ---- init ------------------------------------------------------------------------------------------------------------------ */

/* The metadata's own frames, when they are RAM of this map. */
static uint64_t count_metadata(const struct loam_frames *frames, const struct loam_memmap *map, uintptr_t virt,
			       uint64_t nbytes)
{
	loam_pfn start = (virt - frames->direct_map) >> LOAM_PAGE_SHIFT;
	loam_pfn end = (virt - frames->direct_map + nbytes + LOAM_PAGE_SIZE - 1) >> LOAM_PAGE_SHIFT;
	struct loami_walk walk = {.frames = frames, .map = map, .shift = CELL_ORDER_MAX};
	struct loami_piece piece;
	uint64_t n = 0;

	while (loami_walk_next(&walk, &piece)) {
		loam_pfn from = piece.start > start ? piece.start : start, to = piece.end < end ? piece.end : end;

		if (piece.type != LOAM_REGION_USABLE && from < to)
			n += to - from;
	}
	return n;
}

/* Shrinkers run when less than a thirty-second is free. Nothing is held back unless the kernel asks for it. Frames of small zones that others fall back
 * on are not parked when freed: the CPUs' caches would hide a good part of them from the allocations that need them. */
void loami_frames_tune(struct loam_frames *frames)
{
	for (unsigned int zone = 0; zone < frames->nzones; zone++) {
		frames->zone_low[zone] = frames->zone_managed[zone] / 32;
		if (zone + 1 == frames->nzones || frames->zone_managed[zone] > frames->managed / 8)
			continue;
		for (loam_pfn pfn = frames->zone_start[zone]; pfn < frames->zone_end[zone]; pfn++) {
			struct loam_slot *slot = loami_slot_find(frames, pfn);

			if (slot && slot->state == 0)
				slot->state = STATE_UNPARKED;
		}
	}
}

static void make_cpus(struct loam_frames *frames, const struct loam_frames_config *config, uintptr_t fifos)
{
	for (unsigned int i = 0; i < frames->ncpus; i++) {
		struct loami_frame_cpu *cpu = &frames->cpus[i];

		cpu->node = config->cpu_nodes ? config->cpu_nodes[i] : 0;
		cpu->home = (uint32_t)((uint64_t)i * frames->nchunks / frames->ncpus);
		cpu->lock = LOAMI_LOCK_INIT(LOAMI_RANK_FRAME_CPU);
		cpu->fifo = frames->hardened ? (uint64_t *)fifos + i * FIFO_FRAMES : NULL;
		for (unsigned int k = 0; cpu->fifo && k < FIFO_FRAMES; k++)
			cpu->fifo[k] = LOAM_PFN_NONE;
		loami_cpu_make(frames, i);
	}
}

static void point_at(struct loam_frames *frames, const struct loami_plan *plan, const struct loami_parts *parts)
{
	frames->first_pfn = plan->first_pfn;
	frames->cell_order = plan->cell_order;
	frames->span = plan->span;
	frames->numbers_max = (uint32_t)plan->nnumbers;
	frames->chunks_max = (uint32_t)plan->nchunks;
	frames->numbers = (struct loami_frame_number *)parts->numbers;
	frames->sections = (struct loami_frame_section *)parts->sections;
	frames->chunks = (struct loami_frame_chunk **)parts->chunk_pointers;
	frames->domains = (struct loami_frame_domain *)parts->domains;
	frames->tops = (uint64_t *)parts->tops;
	frames->cpus = (struct loami_frame_cpu *)parts->cpus;
}

enum loam_status loam_frames_init(struct loam_frames *frames, const struct loam_frames_config *config, void *metadata,
				  uint64_t nbytes)
{
	enum loam_status status;
	struct loami_parts parts;
	struct loami_plan plan;

	LOAMI_TASK_ONLY();
	if (!frames || !config || !config->map || !metadata || !loami_is_aligned((uintptr_t)metadata, 64))
		return LOAM_ERR_INVALID;
	if (loami_load_acquire(&frames->ready) != 0)
		return LOAM_ERR_ALREADY;
	*frames = (struct loam_frames){0};
	status = take_config(frames, config);
	if (status == LOAM_OK) {
		plan = loami_plan_make(frames, config->map, config->hotplug_limit);
		parts = loami_plan_cut(&plan, frames->ncpus, (uintptr_t)metadata);
		status = parts.nbytes > nbytes ? LOAM_ERR_NO_METADATA : LOAM_OK;
		if (plan.nnumbers > SECTIONS_MAX)
			status = LOAM_ERR_TOO_LARGE;
	}
	if (status != LOAM_OK) {
		*frames = (struct loam_frames){0};
		return status;
	}
	/* All but the slots, which are written section by section. */
	if (!config->zeroed)
		__builtin_memset(metadata, 0, (size_t)(parts.slots - (uintptr_t)metadata));
	point_at(frames, &plan, &parts);
	make_nobody(frames, parts.nobody);
	make_sections(frames, config->map, parts.slots);
	find_dense(frames);
	make_chunks(frames, config->map, &parts);
	give_usable(frames, config->map);
	frames->metadata_frames = count_metadata(frames, config->map, (uintptr_t)metadata, nbytes);
	frames->nnodes = plan.nnodes;
	make_cpus(frames, config, parts.fifos);
	loami_frames_tune(frames);
	loami_store_release(&frames->ready, 1);
	loami_store_release(&frames->direct, 1);
	return LOAM_OK;
}

enum loam_status loam_frames_boot(struct loam_frames *frames, const struct loam_frames_config *config,
				  struct loam_memmap *map)
{
	struct loam_memmap_where where = {.align = LOAM_PAGE_SIZE};
	struct loam_frames_config own;
	struct loam_frames outline = {0};
	enum loam_status status;
	loam_paddr base;
	uint64_t nbytes;

	LOAMI_TASK_ONLY();
	if (!frames || !config || !map)
		return LOAM_ERR_INVALID;
	if (loami_load_acquire(&frames->ready) != 0)
		return LOAM_ERR_ALREADY;
	own = *config;
	own.map = map;
	status = take_config(&outline, &own);
	if (status != LOAM_OK)
		return status;
	nbytes = loam_frames_metadata_size(&own);
	if (loam_memmap_alloc(map, nbytes, &where, &base) != LOAM_OK)
		loami_misuse("loam: frame: boot allocator could not reserve %llu bytes (align %llu) for %llu frames",
			     (unsigned long long)nbytes, (unsigned long long)where.align,
			     (unsigned long long)loami_plan_make(&outline, map, own.hotplug_limit).ram);
	return loam_frames_init(frames, &own, (void *)(uintptr_t)(base + own.direct_map), nbytes);
}
