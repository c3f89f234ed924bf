/* vmalloc/inspect.c: what is where, who holds it: without a lock, so that a fault handler or a debugger may ask at any moment. The copies come from the arena's
 * lock-free reads (arena/lookup.c): each is of one area at one moment; a list of them is not of one moment.
 */
#include "vmalloc.h"

#include "base/print.h"

static void copy_out(const struct loam_area *area, const struct loam_area_record *record,
		     struct loam_vmalloc_live *live)
{
	*live = (struct loam_vmalloc_live){
		.sequence = record->sequence,
		.address = loami_vm_base(area, record->flags),
		.nbytes = (size_t)record->nbytes,
		.npages = loami_vm_pages(area, record->flags),
		.task = {.task = record->task, .pid = record->pid, .tid = record->tid, .silo = record->silo},
		.site = record->site,
		.time = record->time,
		.stack = (record->flags & LOAMI_VM_STACK) != 0,
		.mapping = (record->flags & (LOAMI_VM_FRAMES | LOAMI_VM_DEVICE)) != 0,
		.device = (record->flags & LOAMI_VM_DEVICE) != 0,
	};
}

enum loam_vmalloc_place loam_vmalloc_whereis(const struct loam_vm *vm, uintptr_t address,
					     struct loam_vmalloc_live *live)
{
	struct loam_area_record record;
	struct loam_area area;
	size_t page;

	if (!loami_vm_is_ready(vm) || address < vm->arena.start || address >= vm->arena.end)
		return LOAM_PLACE_OUTSIDE;
	if (loam_arena_lookup(&vm->arena, address, &area, &record) != LOAM_OK || record.sequence == 0) {
		if (loam_arena_lookup_freed(&vm->arena, address, &area, &record) != LOAM_OK || record.sequence == 0)
			return LOAM_PLACE_UNUSED;
		if (live != NULL)
			copy_out(&area, &record, live);
		return LOAM_PLACE_FREED;
	}
	if (live != NULL)
		copy_out(&area, &record, live);
	page = (address - area.start) >> LOAM_PAGE_SHIFT;
	if (page >= area.npages)
		return LOAM_PLACE_GUARD;
	return (record.flags & LOAMI_VM_STACK) != 0 && page == 0 ? LOAM_PLACE_STACK_GUARD : LOAM_PLACE_AREA;
}

int loam_vmalloc_is_live(const struct loam_vm *vm, const void *address)
{
	struct loam_area_record record;
	struct loam_area area;
	enum loam_status status;

	if (!loami_vm_is_ready(vm))
		return 0;
	status = loam_arena_lookup(&vm->arena, (uintptr_t)address, &area, &record);
	if (status != LOAM_OK && status != LOAM_ERR_BUSY)
		return 0;
	if ((record.flags & LOAMI_VM_CACHED) != 0 || loami_vm_base(&area, record.flags) != (uintptr_t)address)
		return 0;
	return status == LOAM_ERR_BUSY || record.sequence == 0 ? -1 : 1;
}

size_t loam_vmalloc_snapshot(const struct loam_vm *vm, struct loam_vmalloc_live *out, size_t capacity, size_t *total)
{
	struct loam_area_record record;
	struct loam_area area;
	size_t seen = 0;

	if (loami_vm_is_ready(vm)) {
		for (uintptr_t at = vm->arena.start; loam_arena_next(&vm->arena, at, &area, &record) == LOAM_OK;
		     at = area.start + 1) {
			if (record.sequence == 0)
				continue;
			if (seen < capacity)
				copy_out(&area, &record, &out[seen]);
			seen++;
		}
	}
	if (total != NULL)
		*total = seen;
	return seen < capacity ? seen : capacity;
}

enum loam_status loam_vmalloc_read_stats(struct loam_vm *vm, struct loam_vmalloc_stats *stats)
{
	struct loam_arena_stats arena;

	if (!loami_vm_is_ready(vm))
		return LOAM_ERR_NOT_READY;
	loam_arena_read_stats(&vm->arena, &arena);
	*stats = (struct loam_vmalloc_stats){
		.arena_start = vm->arena.start,
		.arena_end = vm->arena.end,
		.live_areas = arena.live_areas,
		.live_pages = loami_load_relaxed(&vm->live_pages),
		.free_pages = arena.free_pages,
		.peak_pages = loami_load_relaxed(&vm->peak_pages),
		.total_sequence = loami_load_relaxed(&vm->sequence),
		.failures = loami_load_relaxed(&vm->failures),
		.policy_rejects = loami_load_relaxed(&vm->policy_rejects),
		.free_extents = arena.free_extents,
		.largest_free_pages = arena.largest_free,
		.metadata_pages = arena.metadata_pages + vm->cpu_frames.npages + loami_load_relaxed(&vm->nlists),
		.free_nodes = arena.free_nodes,
		.waiting_areas = arena.dirty_areas,
		.flushes = loami_load_relaxed(&vm->flushes),
		.refused_frees = loami_load_relaxed(&vm->refused_frees),
		.last_refused = loami_load_relaxed(&vm->last_refused),
		.last_failure = loam_vmalloc_last_failure(vm),
	};
	for (unsigned int i = 0; i < vm->config.ncpus; i++) {
		struct loami_vm_cpu *cpu = loami_vm_cpu(vm, i);
		unsigned long irq = loami_lock_irq(&cpu->arena->lock);

		stats->cached_stacks += cpu->nstacks;
		stats->ready_pages += cpu->nready;
		stats->live_areas -= cpu->nstacks; /* claimed, and nobody's */
		loami_unlock_irq(&cpu->arena->lock, irq);
	}
	return LOAM_OK;
}

static const char *kind_name(const struct loam_vmalloc_live *live)
{
	if (live->stack)
		return "stack";
	if (live->device)
		return "device";
	return live->mapping ? "vmap" : "vmalloc";
}

static void dump_line(const struct loam_vmalloc_live *live)
{
	const struct loam_call_site *site = live->site;

	loami_print("loam: vmalloc live: seq=%lu kind=%s task=%lu pid=%u tid=%u silo=%u size=%zu pages=%zu "
		    "vaddr=0x%lx caller=%s:%u:%u\n",
		    (unsigned long)live->sequence, kind_name(live), (unsigned long)live->task.task, live->task.pid,
		    live->task.tid, live->task.silo, live->nbytes, live->npages, (unsigned long)live->address,
		    site != NULL ? site->file : "?", site != NULL ? site->line : 0, site != NULL ? site->column : 0);
}

void loam_vmalloc_dump_live(struct loam_vm *vm)
{
	struct loam_vmalloc_live live;
	struct loam_area_record record;
	struct loam_area area;
	size_t nareas = 0, npages = 0;

	if (!loami_vm_is_ready(vm)) {
		loami_print("loam: vmalloc live: not initialised\n");
		return;
	}
	for (uintptr_t at = vm->arena.start; loam_arena_next(&vm->arena, at, &area, &record) == LOAM_OK;
	     at = area.start + 1) {
		if (record.sequence == 0)
			continue;
		copy_out(&area, &record, &live);
		if (nareas < LOAM_VMALLOC_DUMP_MAX)
			dump_line(&live);
		nareas++;
		npages += live.npages;
	}
	loami_print("loam: vmalloc live: total %zu areas, %zu pages (%zu KiB), peak_pages=%lu\n", nareas, npages,
		    npages * 4, (unsigned long)loami_load_relaxed(&vm->peak_pages));
	if (nareas > LOAM_VMALLOC_DUMP_MAX)
		loami_print("loam: vmalloc live: truncated, %zu more areas not shown\n",
			    nareas - LOAM_VMALLOC_DUMP_MAX);
}

void loam_vmalloc_dump_stats(struct loam_vm *vm)
{
	struct loam_vmalloc_stats s;

	if (loam_vmalloc_read_stats(vm, &s) != LOAM_OK) {
		loami_print("loam: vmalloc stats: not initialised\n");
		return;
	}
	loami_print("loam: vmalloc stats: arena=0x%lx..0x%lx areas=%lu pages=%lu free_pages=%lu peak_pages=%lu "
		    "total_seq=%lu failures=%lu policy_rejects=%lu\n",
		    (unsigned long)s.arena_start, (unsigned long)s.arena_end, (unsigned long)s.live_areas,
		    (unsigned long)s.live_pages, (unsigned long)s.free_pages, (unsigned long)s.peak_pages,
		    (unsigned long)s.total_sequence, (unsigned long)s.failures, (unsigned long)s.policy_rejects);
	loami_print("loam: vmalloc stats: free_extents=%lu largest_free_pages=%lu metadata_pages=%lu free_nodes=%lu "
		    "waiting_areas=%lu cached_stacks=%lu flushes=%lu\n",
		    (unsigned long)s.free_extents, (unsigned long)s.largest_free_pages, (unsigned long)s.metadata_pages,
		    (unsigned long)s.free_nodes, (unsigned long)s.waiting_areas, (unsigned long)s.cached_stacks,
		    (unsigned long)s.flushes);
	if (s.refused_frees > 0)
		loami_print("loam: vmalloc stats: refused_frees=%lu, the last of 0x%lx\n",
			    (unsigned long)s.refused_frees, (unsigned long)s.last_refused);
	if (s.last_failure.status != LOAM_OK)
		loami_print("loam: vmalloc stats: last_failure: size=%zu pages=%zu max=%zu error=%s\n",
			    s.last_failure.nbytes, s.last_failure.npages, s.last_failure.max_allowed,
			    loam_status_name(s.last_failure.status));
}
