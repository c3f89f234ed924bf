/* inspect/dump.c: tables on the console. What is a sum is printed as a sum under its parts, with what it must come to; lines stay below 100 columns. */
#include "inspect.h"

#include <base/bits.h>

/* ---- the map ------------------------------------------------------------------------------------------------------------ */

void loam_dump_map(const struct loam_system *system)
{
	const struct loam_memmap *map = system->map;
	char size[LOAMI_SIZE_TEXT];
	uint64_t all = 0;
	uint64_t sum = 0;

	if (map == NULL) {
		loami_print("memory map: none\n");
		return;
	}
	loami_print("memory map: %lu regions\n", (unsigned long)map->count);
	for (size_t i = 0; i < map->count; i++) {
		const struct loam_region *region = &map->regions[i];

		loami_print("  %016lx .. %016lx  %-11s %14s", (unsigned long)region->base,
			    (unsigned long)(region->base + region->nbytes), loam_region_type_name(region->type),
			    loami_size_text(size, region->nbytes));
		loami_print(region->node != 0 ? "  node %u\n" : "\n", region->node);
		all += region->nbytes;
	}
	for (uint32_t type = LOAM_REGION_USABLE; type < LOAM_REGION_TYPE_COUNT; type++) {
		uint64_t nbytes = loam_memmap_bytes(map, (enum loam_region_type)type);

		if (nbytes != 0)
			loami_print_frames(loam_region_type_name(type), nbytes >> LOAM_PAGE_SHIFT);
		sum += nbytes;
	}
	loami_print_frames_sum(sum >> LOAM_PAGE_SHIFT, all >> LOAM_PAGE_SHIFT, "all regions");
}

/* ---- memory as a whole -------------------------------------------------------------------------------------------------- */

static void print_owner(const char *label, uint64_t nframes)
{
	if (nframes != 0)
		loami_print_frames(label, nframes);
}

/* What the frames in use are used for. */
static void dump_used(const struct loam_system *system, const struct loam_snapshot *s)
{
	struct loami_owners owners = loami_owners_take(system, s);
	uint64_t rest = s->frames.used > owners.sum ? s->frames.used - owners.sum : 0;

	loami_print("in use\n");
	print_owner("heap", owners.heap);
	print_owner("vmalloc areas", owners.areas);
	print_owner("vmalloc's records, and its page 0", owners.records);
	print_owner("kept for vmalloc's next areas", owners.ready);
	print_owner("page tables", owners.tables);
	/* Freed areas keep their frames until every CPU has flushed; freed stacks are kept for the next one. */
	if (s->vmalloc.waiting_areas + s->vmalloc.cached_stacks != 0)
		loami_print_frames("kernel; areas freed, not yet back", rest);
	else
		loami_print_frames("the rest: the kernel's own", rest);
	loami_print_frames_sum(owners.sum + rest, s->frames.used, "in use");
}

/* RAM of every kind in the memory map, in frames: what the frame layer's own sums must come to. */
static uint64_t frames_of_ram(const struct loam_memmap *map)
{
	static const enum loam_region_type ram[] = {LOAM_REGION_USABLE, LOAM_REGION_RECLAIMABLE, LOAM_REGION_BOOT,
						    LOAM_REGION_KERNEL, LOAM_REGION_NVS,         LOAM_REGION_BAD};
	uint64_t nbytes = 0;

	for (size_t i = 0; i < LOAMI_COUNT(ram); i++)
		nbytes += loam_memmap_bytes(map, ram[i]);
	return nbytes >> LOAM_PAGE_SHIFT;
}

void loam_dump_memory(const struct loam_system *system)
{
	struct loam_snapshot s;
	const struct loam_frames_stats *f = &s.frames;

	loam_snapshot_take(system, &s);
	if (!s.has_frames) {
		loami_print("memory: no frame layer\n");
		return;
	}
	loami_print("RAM\n");
	loami_print_frames("managed: handed out by Loam", f->managed);
	loami_print_frames("Loam's metadata about frames", f->metadata);
	loami_print_frames("reserved: kernel, boot, firmware", f->reserved);
	/* What was added at run time is in no map of the firmware's. */
	if (system->map != NULL && frames_of_ram(system->map) >= f->ram)
		loami_print_frames_sum(f->managed + f->metadata + f->reserved, frames_of_ram(system->map),
				       "RAM in the memory map");
	else
		loami_print_frames_sum(f->managed + f->metadata + f->reserved, f->ram, "RAM");
	loami_print("managed\n");
	loami_print_frames("free", f->free);
	loami_print_frames("in use", f->used);
	loami_print_frames("quarantined: poisoned, for good", f->quarantined);
	loami_print_frames_sum(f->free + f->used + f->quarantined, f->managed, "managed");
	dump_used(system, &s);
}

/* ---- zones -------------------------------------------------------------------------------------------------------------- */

void loam_dump_zones(const struct loam_system *system)
{
	struct loam_snapshot s;
	struct loam_zone_stats sum = {0};

	loam_snapshot_take(system, &s);
	if (!s.has_frames) {
		loami_print("zones: no frame layer\n");
		return;
	}
	loami_print("%-12s %12s %12s %9s %9s %9s %12s %10s\n", "zone", "first", "end", "present", "managed", "free",
		    "whole 2 MiB", "low water");
	for (unsigned int i = 0; i < s.frames.nzones; i++) {
		const struct loam_zone_stats *z = &s.zones[i];

		loami_print("%-12s %012lx %012lx %9lu %9lu %9lu %12lu %10lu\n", z->name,
			    (unsigned long)loam_frame_address(z->start), (unsigned long)loam_frame_address(z->end),
			    (unsigned long)z->present, (unsigned long)z->managed, (unsigned long)z->free,
			    (unsigned long)z->free_blocks, (unsigned long)z->low);
		sum.present += z->present;
		sum.managed += z->managed;
		sum.free += z->free;
		sum.free_blocks += z->free_blocks;
	}
	loami_print("%-38s %9lu %9lu %9lu %12lu\n", "= sum", (unsigned long)sum.present, (unsigned long)sum.managed,
		    (unsigned long)sum.free, (unsigned long)sum.free_blocks);
	loami_print("%-38s %9lu %9lu %9lu\n", "= whole machine", (unsigned long)s.frames.ram,
		    (unsigned long)s.frames.managed, (unsigned long)s.frames.free);
	loami_print("of the free frames, %lu are parked on CPUs\n", (unsigned long)s.frames.parked);
}

/* ---- frames ------------------------------------------------------------------------------------------------------------- */

void loam_dump_frames(const struct loam_system *system)
{
	struct loami_census census;
	struct loam_snapshot s;
	const struct loam_frames_stats *f = &s.frames;

	loam_snapshot_take(system, &s);
	if (!s.has_frames) {
		loami_print("frames: no frame layer\n");
		return;
	}
	census = loami_census_take(system->frames);
	loami_print("frames, by what they are to the layer\n");
	loami_print_frames("kernel: data, page tables, custom", census.kernel);
	loami_print_frames("user: movable", census.user);
	loami_print_frames("quarantined", census.quarantined);
	loami_print_frames("free", census.free);
	loami_print_frames_sum(census.kernel + census.user + census.quarantined + census.free, f->managed, "managed");
	loami_print("in use with more than one reference: %lu; blocks larger than a frame: %lu\n",
		    (unsigned long)census.shared, (unsigned long)census.blocks);
	loami_print("ever: %lu allocated - %lu freed = %lu in use\n", (unsigned long)f->allocs, (unsigned long)f->frees,
		    (unsigned long)(f->allocs - f->frees));
	loami_print("ranges: %lu frames out, %lu back, %lu requests failed\n", (unsigned long)f->range_pages_out,
		    (unsigned long)f->range_pages_back, (unsigned long)f->range_failures);
	for (unsigned int order = 0; order <= LOAM_ORDER_MAX; order++) {
		if (f->failures[order] != 0)
			loami_print("order %2u: %lu requests failed\n", order, (unsigned long)f->failures[order]);
	}
	for (unsigned int zone = 0; zone < f->nzones; zone++)
		loami_print("zone %s: %u.%u %% of what is free is not in whole 2 MiB blocks\n", s.zones[zone].name,
			    s.zones[zone].fragmentation / 10, s.zones[zone].fragmentation % 10);
}

/* ---- heap --------------------------------------------------------------------------------------------------------------- */

void loam_dump_slabs(const struct loam_system *system)
{
	struct loam_heap_class_stats c;
	struct loam_heap_stats stats;
	char size[LOAMI_SIZE_TEXT];
	char more[LOAMI_SIZE_TEXT];
	uint64_t live = 0;
	uint64_t nbytes = 0;
	uint64_t frames = 0;

	if (system->heap == NULL) {
		loami_print("slabs: no heap\n");
		return;
	}
	loam_heap_read_stats(system->heap, &stats);
	loami_print("%-32s %7s %10s %10s %10s %10s %6s\n", "class", "bytes", "live", "parked", "places", "frames",
		    "full");
	for (size_t i = 0; loam_heap_read_class_stats(system->heap, i, &c) == LOAM_OK; i++) {
		if (c.slots == 0)
			continue;
		loami_print("%-32s %7lu %10lu %10lu %10lu %10lu %4lu %%\n", c.name, (unsigned long)c.nbytes,
			    (unsigned long)c.live, (unsigned long)c.cached, (unsigned long)c.slots,
			    (unsigned long)c.frames, (unsigned long)(c.live * 100 / c.slots));
		live += c.live;
		nbytes += c.live * c.nbytes;
		frames += c.frames;
	}
	loami_print("%-32s %7s %10lu %10s %10s %10lu\n", "= sum", "", (unsigned long)live, "", "",
		    (unsigned long)frames);
	loami_print(
		"large objects and early ones: %lu, %s\n",
		(unsigned long)(stats.allocations - stats.frees > live ? stats.allocations - stats.frees - live : 0),
		loami_size_text(size, stats.used_bytes > nbytes ? stats.used_bytes - nbytes : 0));
	loami_print("ever: %lu allocated - %lu freed = %lu live\n", (unsigned long)stats.allocations,
		    (unsigned long)stats.frees, (unsigned long)(stats.allocations - stats.frees));
	loami_print("bytes: %s used + %s free", loami_size_text(size, stats.used_bytes),
		    loami_size_text(more, stats.free_bytes));
	loami_print(" = %s held; ", loami_size_text(size, stats.total_bytes));
	loami_print("at most %s used at once\n", loami_size_text(size, stats.peak_bytes));
}

/* ---- vmalloc ------------------------------------------------------------------------------------------------------------ */

struct area_table {
	size_t n;
	uint64_t npages;
};

static void print_area(void *context, const struct loam_vmalloc_live *live)
{
	struct area_table *table = context;
	const char *kind = live->stack ? "stack" : live->device ? "device" : live->mapping ? "vmap" : "vmalloc";

	table->npages += live->npages;
	if (table->n++ >= LOAM_VMALLOC_DUMP_MAX)
		return;
	loami_print("%8lu  %016lx %10lu B %6lu pages  %-7s  task %lu  %s:%u\n", (unsigned long)live->sequence,
		    (unsigned long)live->address, (unsigned long)live->nbytes, (unsigned long)live->npages, kind,
		    (unsigned long)live->task.task, loami_file_text(live->site != NULL ? live->site->file : NULL),
		    live->site != NULL ? live->site->line : 0);
}

void loam_dump_vmalloc(const struct loam_system *system)
{
	struct loam_vmalloc_stats s;
	struct area_table table = {0};
	char size[LOAMI_SIZE_TEXT];
	char more[LOAMI_SIZE_TEXT];

	if (system->vm == NULL || loam_vmalloc_read_stats(system->vm, &s) != LOAM_OK) {
		loami_print("vmalloc: not set up\n");
		return;
	}
	loami_print("%8s  %-16s %12s %12s  %-7s  %s\n", "sequence", "address", "asked for", "mapped", "kind",
		    "task, call site");
	loami_areas_walk(system->vm, NULL, print_area, &table);
	if (table.n > LOAM_VMALLOC_DUMP_MAX)
		loami_print("     ...  and %lu more\n", (unsigned long)(table.n - LOAM_VMALLOC_DUMP_MAX));
	loami_print("   = sum  %lu areas, %lu pages, %s; at most %s at once\n", (unsigned long)table.n,
		    (unsigned long)table.npages, loami_size_text(size, loami_frames_to_bytes(table.npages)),
		    loami_size_text(more, loami_frames_to_bytes(s.peak_pages)));
	loami_print("arena %016lx .. %016lx, %s free in %lu pieces, ", (unsigned long)s.arena_start,
		    (unsigned long)s.arena_end, loami_size_text(size, loami_frames_to_bytes(s.free_pages)),
		    (unsigned long)s.free_extents);
	loami_print("the largest %s\n", loami_size_text(size, loami_frames_to_bytes(s.largest_free_pages)));
	loami_print("freed, waiting for a flush: %lu areas; flushes %lu; stacks kept %lu; records %lu frames\n",
		    (unsigned long)s.waiting_areas, (unsigned long)s.flushes, (unsigned long)s.cached_stacks,
		    (unsigned long)s.metadata_pages);
	loami_print("allocated %lu times, failed %lu, refused by policy %lu\n", (unsigned long)s.total_sequence,
		    (unsigned long)s.failures, (unsigned long)s.policy_rejects);
	if (s.refused_frees != 0)
		loami_print("frees refused: %lu, the last of 0x%lx\n", (unsigned long)s.refused_frees,
			    (unsigned long)s.last_refused);
	if (s.last_failure.status != LOAM_OK)
		loami_print("last failure: %lu bytes, %lu pages: %s\n", (unsigned long)s.last_failure.nbytes,
			    (unsigned long)s.last_failure.npages, loam_status_name(s.last_failure.status));
}
