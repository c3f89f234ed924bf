/* inspect/audit.c: is everything intact? Each layer checks its own invariants; then the sums between layers, which no layer can check alone.
 *
 * Laws, each a line that names its numbers when it does not hold:
 *   L1 ram = managed + metadata + reserved               L2 managed = free + used + quarantined = what the slots say, one by one
 *   L3 the zones sum up to the machine                   L4 allocated - freed = used, for frames and for objects
 *   L5 heap bytes held = used + free; allocated - freed = used; every object seen live is among the counted ones
 *   L6 what heap, vmalloc and page tables hold is not more than the frames in use; tables that are reached are counted
 *   L7 RAM in the map is not more than the frames know, where the zones have no upper limit
 */
#include "inspect.h"

struct audit {
	const struct loam_system *system;
	struct loam_snapshot s;
	unsigned int broken;
};

static void check_layer(struct audit *audit, const char *layer, enum loam_status status)
{
	if (status == LOAM_OK)
		return;
	audit->broken++;
	loami_print("audit: %s: its own check fails: %s\n", layer, loam_status_name(status));
}

static void law(struct audit *audit, bool holds, const char *what, uint64_t left, uint64_t right)
{
	if (holds)
		return;
	audit->broken++;
	loami_print("audit: does not hold: %s: %lu and %lu\n", what, (unsigned long)left, (unsigned long)right);
}

static void equal(struct audit *audit, const char *what, uint64_t left, uint64_t right)
{
	law(audit, left == right, what, left, right);
}

static void at_most(struct audit *audit, const char *what, uint64_t left, uint64_t right)
{
	law(audit, left <= right, what, left, right);
}

static bool is_ram(uint32_t type)
{
	return type != LOAM_REGION_RESERVED && type != LOAM_REGION_DEVICE;
}

static void audit_frames(struct audit *audit)
{
	const struct loam_frames_stats *f = &audit->s.frames;
	struct loam_zone_stats sum = {0};
	struct loami_census census = loami_census_take(audit->system->frames);

	check_layer(audit, "frame", loam_frame_check(audit->system->frames));
	equal(audit, "managed + metadata + reserved = ram", f->managed + f->metadata + f->reserved, f->ram);
	equal(audit, "free + used + quarantined = managed", f->free + f->used + f->quarantined, f->managed);
	equal(audit, "frames allocated - freed = used", f->allocs - f->frees, f->used);
	at_most(audit, "frames parked on CPUs are among the free", f->parked, f->free);
	equal(audit, "slots that say free", census.free, f->free);
	equal(audit, "slots that say in use", census.kernel + census.user, f->used);
	equal(audit, "slots that say quarantined", census.quarantined, f->quarantined);
	for (unsigned int i = 0; i < f->nzones; i++) {
		sum.present += audit->s.zones[i].present;
		sum.managed += audit->s.zones[i].managed;
		sum.free += audit->s.zones[i].free;
	}
	equal(audit, "zones' RAM = ram", sum.present, f->ram);
	equal(audit, "zones' managed = managed", sum.managed, f->managed);
	equal(audit, "zones' free = free", sum.free, f->free);
}

static void audit_map(struct audit *audit)
{
	const struct loam_memmap *map = audit->system->map;
	const struct loam_frames *frames = audit->system->frames;
	uint64_t ram = 0;

	check_layer(audit, "boot", loam_memmap_check(map));
	if (frames == NULL || audit->s.frames.nzones == 0 || frames->zones[audit->s.frames.nzones - 1].limit != 0)
		return;
	for (size_t i = 0; i < map->count; i++)
		ram += is_ram(map->regions[i].type) ? map->regions[i].nbytes >> LOAM_PAGE_SHIFT : 0;
	at_most(audit, "RAM in the map, in frames, is known to the frame layer", ram, audit->s.frames.ram);
}

static void audit_heap(struct audit *audit)
{
	const struct loam_heap_stats *h = &audit->s.heap;
	struct loami_heap_sum seen;
	struct loam_heap_class_stats c;
	uint64_t live = 0;

	check_layer(audit, "heap", loam_heap_check(audit->system->heap));
	equal(audit, "heap bytes used + free = held", h->used_bytes + h->free_bytes, h->total_bytes);
	equal(audit, "heap bytes allocated - freed = used", h->allocated_bytes - h->freed_bytes, h->used_bytes);
	at_most(audit, "heap objects freed were allocated", h->frees, h->allocations);
	at_most(audit, "heap bytes in use are within their peak", h->used_bytes, h->peak_bytes);
	seen = loami_heap_sum(audit->system->heap);
	at_most(audit, "heap objects seen live are counted live", seen.count, h->allocations - h->frees);
	for (size_t i = 0; loam_heap_read_class_stats(audit->system->heap, i, &c) == LOAM_OK; i++) {
		live += c.live;
		law(audit, c.live + c.cached <= c.slots, c.name, c.live + c.cached, c.slots);
	}
	at_most(audit, "heap objects live in classes are live", live, h->allocations - h->frees);
}

static void audit_vmalloc(struct audit *audit)
{
	const struct loam_vmalloc_stats *v = &audit->s.vmalloc;

	check_layer(audit, "vmalloc", loam_vmalloc_check(audit->system->vm));
	at_most(audit, "vmalloc pages live are within their peak", v->live_pages, v->peak_pages);
	at_most(audit, "vmalloc pages live and free fit the arena", v->live_pages + v->free_pages,
		(v->arena_end - v->arena_start) >> LOAM_PAGE_SHIFT);
	at_most(audit, "the largest free piece is among the free pages", v->largest_free_pages, v->free_pages);
}

static void audit_owners(struct audit *audit)
{
	struct loami_owners owners = loami_owners_take(audit->system, &audit->s);

	at_most(audit, "frames held by heap, vmalloc and page tables are in use", owners.sum, audit->s.frames.used);
	if (audit->system->tree != NULL)
		at_most(audit, "page tables in frames are counted by their tree", owners.tables,
			audit->s.tables + audit->system->tree->foreign_root);
}

enum loam_status loam_audit(const struct loam_system *system)
{
	struct audit audit = {.system = system};

	loam_snapshot_take(system, &audit.s);
	if (audit.s.has_frames)
		audit_frames(&audit);
	if (system->map != NULL)
		audit_map(&audit);
	if (audit.s.has_vmalloc)
		audit_vmalloc(&audit);
	if (audit.s.has_heap)
		audit_heap(&audit);
	if (audit.s.has_frames)
		audit_owners(&audit);
	return audit.broken == 0 ? LOAM_OK : LOAM_ERR_INVALID;
}
