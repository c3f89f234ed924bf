/* kernel/common/torture_sums.c: what is in every set, before and after. */
#include "torture.h"
#include "console.h"
#include "tour.h"

static uint64_t mix(uint64_t x)
{
	return torture_random(&x);
}

/* Not only as many frames, but the same ones. */
static uint64_t sum_of_used(const struct loam_snapshot *all)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < all->frames.nzones; i++)
		for (loam_pfn pfn = all->zones[i].start; pfn < all->zones[i].end; pfn++)
			if (loam_frame_has_slot(kernel_system.frames, pfn) &&
			    loam_frame_ref_get(kernel_system.frames, pfn) != LOAM_FRAME_UNUSED)
				sum += mix(pfn);
	return sum;
}

bool torture_read_sums(struct torture_sums *sums)
{
	bool answered = tour_purge();

	machine_rest(true);
	for (size_t i = 0; i < TORTURE_HEAPS; i++)
		(void)loam_heap_drain(torture_heaps[i]);
	(void)loam_heap_drain(kernel_system.heap);
	loam_frame_drain(kernel_system.frames);
	loam_snapshot_take(&kernel_system, &sums->all);
	machine_rest(false);
	for (size_t i = 0; i < TORTURE_HEAPS; i++)
		loam_heap_read_stats(torture_heaps[i], &sums->heaps[i]);
	sums->which = sum_of_used(&sums->all);
	sums->large_tables = loam_pagetable_count_racy(&torture_large_tree);
	return answered;
}

static unsigned int differs(const char *set, uint64_t before, uint64_t after)
{
	kprintf("     %-40s %18lu %18lu%s\n", set, (unsigned long)before, (unsigned long)after,
		before == after ? "" : "  DIFFERS");
	return before != after;
}

unsigned int torture_compare(const struct torture_sums *before, const struct torture_sums *after)
{
	static const char *const heaps[TORTURE_HEAPS] = {"default", "hardened", "tracking"};
	const struct loam_snapshot *b = &before->all, *a = &after->all;
	unsigned int n = 0;
	char name[48];

	kprintf("     %-40s %18s %18s\n", "every set, in frames unless it says else", "before", "after");
	n += differs("RAM", b->frames.ram, a->frames.ram);
	n += differs("  reserved and metadata", b->frames.reserved + b->frames.metadata,
		     a->frames.reserved + a->frames.metadata);
	n += differs("  free", b->frames.free, a->frames.free);
	for (unsigned int i = 0; i < b->frames.nzones; i++) {
		(void)kformat(name, sizeof(name), "    in zone %s", b->zones[i].name);
		n += differs(name, b->zones[i].free, a->zones[i].free);
		(void)kformat(name, sizeof(name), "    in zone %s, whole 2 MiB blocks", b->zones[i].name);
		n += differs(name, b->zones[i].free_blocks, a->zones[i].free_blocks);
	}
	n += differs("  quarantined", b->frames.quarantined, a->frames.quarantined);
	n += differs("  used", b->frames.used, a->frames.used);
	n += differs("    page tables", b->tables, a->tables);
	n += differs("    page tables above leaves of 2 MiB", before->large_tables, after->large_tables);
	n += differs("    vmalloc: live pages", b->vmalloc.live_pages, a->vmalloc.live_pages);
	n += differs("    vmalloc: bookkeeping", b->vmalloc.metadata_pages, a->vmalloc.metadata_pages);
	n += differs("    heap held, bytes", b->heap.total_bytes, a->heap.total_bytes);
	n += differs("  which frames are used, as a sum", before->which, after->which);
	n += differs("vmalloc: live areas", b->vmalloc.live_areas, a->vmalloc.live_areas);
	n += differs("vmalloc: free addresses, pages", b->vmalloc.free_pages, a->vmalloc.free_pages);
	n += differs("vmalloc: waiting for a flush, areas", b->vmalloc.waiting_areas, a->vmalloc.waiting_areas);
	n += differs("heap: live objects", b->heap.allocations - b->heap.frees, a->heap.allocations - a->heap.frees);
	n += differs("heap: live bytes", b->heap.used_bytes, a->heap.used_bytes);
	for (size_t i = 0; i < TORTURE_HEAPS; i++) {
		const struct loam_heap_stats *hb = &before->heaps[i], *ha = &after->heaps[i];

		(void)kformat(name, sizeof(name), "%s heap: live objects", heaps[i]);
		n += differs(name, hb->allocations - hb->frees, ha->allocations - ha->frees);
		(void)kformat(name, sizeof(name), "%s heap: held, bytes", heaps[i]);
		n += differs(name, hb->total_bytes, ha->total_bytes);
	}
	return n;
}

bool torture_audit(bool with_vm)
{
	struct loam_system system = kernel_system;

	/* While there is an arena for large leaves the kernel's root leads to tables that another tree counts. */
	if (with_vm)
		system.tree = NULL;
	machine_rest(true);
	bool good = loam_audit(&system) == LOAM_OK;
	machine_rest(false);

	for (size_t i = 0; i < TORTURE_HEAPS; i++)
		good &= loam_heap_check(torture_heaps[i]) == LOAM_OK;
	return good && (!with_vm || (loam_vmalloc_check(&torture_vm) == LOAM_OK &&
				     loam_vmalloc_check(&torture_large_vm) == LOAM_OK));
}
