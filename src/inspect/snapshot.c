/* inspect/snapshot.c: all statistics in one struct; the walks that the other files share. */
#include "inspect.h"

void loam_snapshot_take(const struct loam_system *system, struct loam_snapshot *snapshot)
{
	*snapshot = (struct loam_snapshot){0};
	if (system->frames != NULL) {
		snapshot->has_frames = true;
		loam_frame_read_stats(system->frames, &snapshot->frames);
		for (unsigned int zone = 0; zone < snapshot->frames.nzones && zone < LOAM_ZONES_MAX; zone++)
			(void)(loam_frame_read_zone_stats(system->frames, zone, &snapshot->zones[zone]) == LOAM_OK);
	}
	if (system->tree != NULL)
		snapshot->tables = loam_pagetable_count_racy(system->tree);
	if (system->vm != NULL)
		snapshot->has_vmalloc = loam_vmalloc_read_stats(system->vm, &snapshot->vmalloc) == LOAM_OK;
	if (system->heap != NULL) {
		snapshot->has_heap = true;
		loam_heap_read_stats(system->heap, &snapshot->heap);
	}
	if (system->tlb != NULL) {
		snapshot->has_tlb = true;
		loam_tlb_read_stats(system->tlb, &snapshot->tlb);
	}
}

void loami_areas_walk(const struct loam_vm *vm, const struct loam_heap *heap, loami_area_fn visit, void *context)
{
	struct loam_vmalloc_stats stats;
	struct loam_vmalloc_live live;
	struct loam_heap_object object;
	struct loam_area_record record;
	struct loam_area area;

	/* A vm that is not ready has no arena to walk. */
	if (vm == NULL || loam_vmalloc_read_stats((struct loam_vm *)(uintptr_t)vm, &stats) != LOAM_OK)
		return;
	for (uintptr_t at = stats.arena_start; loam_arena_next(&vm->arena, at, &area, &record) == LOAM_OK;
	     at = area.start + 1) {
		enum loam_vmalloc_place place = loam_vmalloc_whereis(vm, area.start, &live);

		if (place != LOAM_PLACE_AREA && place != LOAM_PLACE_STACK_GUARD)
			continue;
		if (heap != NULL && loam_heap_whereis(heap, live.address, &object) != LOAM_HEAP_OUTSIDE)
			continue;
		visit(context, &live);
	}
}

static void add_object(void *context, const struct loam_heap_object *object)
{
	struct loami_heap_sum *sum = context;

	sum->count++;
	sum->nbytes += object->nbytes;
	if (object->sequence > sum->sequence)
		sum->sequence = object->sequence;
}

struct loami_heap_sum loami_heap_sum(struct loam_heap *heap)
{
	struct loami_heap_sum sum = {0};

	if (heap != NULL)
		(void)loam_heap_walk(heap, add_object, &sum);
	return sum;
}
