/* vmalloc/check.c: the arena's invariants, and that tables say what the records say. At rest. */
#include "vmalloc.h"

#include "base/print.h"

static bool is_mapped(struct loam_vm *vm, uintptr_t va)
{
	struct loam_paging_entry entry;

	return loam_paging_query(vm->config.tree, va, &entry) == LOAM_OK;
}

static bool check_area(struct loam_vm *vm, const struct loam_area *area, const struct loam_area_record *record)
{
	uintptr_t base = loami_vm_base(area, record->flags);
	size_t npages = loami_vm_pages(area, record->flags);

	for (size_t i = 0; i < npages; i++)
		if (!is_mapped(vm, base + (i << LOAM_PAGE_SHIFT))) {
			loami_print("loam: vmalloc check: page %zu of the area at 0x%lx is not mapped\n", i,
				    (unsigned long)base);
			return false;
		}
	if (is_mapped(vm, base + (npages << LOAM_PAGE_SHIFT)) ||
	    ((record->flags & LOAMI_VM_STACK) != 0 && is_mapped(vm, area->start))) {
		loami_print("loam: vmalloc check: a guard of the area at 0x%lx is mapped\n", (unsigned long)base);
		return false;
	}
	return true;
}

struct sealed_sum {
	struct loam_vm *vm;
	uint64_t nareas;
	bool mapped;
};

static void check_sealed_range(void *context, uintptr_t start, size_t npages, const struct loam_area_record *record)
{
	struct sealed_sum *sum = context;

	(void)npages;
	(void)record;
	sum->nareas++;
	if (is_mapped(sum->vm, start)) {
		loami_print("loam: vmalloc check: 0x%lx is sealed and mapped\n", (unsigned long)start);
		sum->mapped = true;
	}
}

/* Ranges in the ring: none mapped, as many as each batch says. */
static bool check_sealed(struct loam_vm *vm, uint64_t *nareas)
{
	struct sealed_sum sum = {.vm = vm};

	for (uint32_t i = 0; i < vm->nsealed; i++) {
		uint64_t before = sum.nareas;

		loam_arena_batch_each(&vm->arena, &vm->sealed[i].areas, check_sealed_range, &sum);
		if (sum.nareas - before != vm->sealed[i].areas.nareas) {
			loami_print("loam: vmalloc check: a sealed batch has %lu areas, counted %lu\n",
				    (unsigned long)(sum.nareas - before), (unsigned long)vm->sealed[i].areas.nareas);
			return false;
		}
	}
	*nareas = sum.nareas;
	return !sum.mapped;
}

enum loam_status loam_vmalloc_check(struct loam_vm *vm)
{
	struct loam_vmalloc_stats stats;
	struct loam_area_record record;
	struct loam_area area;
	uint64_t nareas = 0, npages = 0, nsealed = 0;
	enum loam_status status;

	if (!loami_vm_is_ready(vm))
		return LOAM_OK;
	status = loam_arena_check(&vm->arena);
	if (status != LOAM_OK)
		return status;
	for (uintptr_t at = vm->arena.start; loam_arena_next(&vm->arena, at, &area, &record) == LOAM_OK;
	     at = area.start + 1) {
		if (record.sequence == 0 || !check_area(vm, &area, &record)) {
			loami_print("loam: vmalloc check: area at 0x%lx, sequence %lu\n", (unsigned long)area.start,
				    (unsigned long)record.sequence);
			return LOAM_ERR_INVALID;
		}
		nareas++;
		npages += loami_vm_pages(&area, record.flags);
	}
	status = loam_vmalloc_read_stats(vm, &stats);
	if (status != LOAM_OK)
		return status;
	if (!is_mapped(vm, vm->config.start) || !check_sealed(vm, &nsealed))
		return LOAM_ERR_INVALID;
	if (nareas != stats.live_areas || npages != stats.live_pages || nsealed > stats.waiting_areas ||
	    stats.peak_pages < stats.live_pages) {
		loami_print("loam: vmalloc check: %lu areas of %lu pages, counted %lu of %lu; %lu sealed of %lu "
			    "waiting\n",
			    (unsigned long)nareas, (unsigned long)npages, (unsigned long)stats.live_areas,
			    (unsigned long)stats.live_pages, (unsigned long)nsealed,
			    (unsigned long)stats.waiting_areas);
		return LOAM_ERR_INVALID;
	}
	return LOAM_OK;
}
