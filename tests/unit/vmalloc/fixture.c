/* tests/unit/vmalloc/fixture.c: see fixture.h. */
#include "fixture.h"

struct vm_fixture fix;

void vm_begin_bare(size_t npages, size_t nbytes)
{
	struct loam_table_source source;
	struct loam_tlb_config tlb_config = {.ncpus = 1};

	__builtin_memset(&fix, 0, sizeof(fix));
	fix.rig = rig_create(&(struct rig_config){.npages = npages});
	source = loam_paging_tables_from_frames(fix.rig->frames);
	CHECK_OK(loam_pagetable_init(&fix.tree, &loam_paging_x86_64_4level, &source, LOAM_PADDR_NONE));
	CHECK(loam_tlb_metadata_size(&tlb_config) <= sizeof(fix.tlb_metadata));
	CHECK_OK(loam_tlb_init(&fix.tlb, &tlb_config, fix.tlb_metadata, sizeof(fix.tlb_metadata)));
	loam_tlb_cpu_online(&fix.tlb);
	fix.config = (struct loam_vmalloc_config){
		.nbytes = nbytes, .ncpus = 1, .frames = fix.rig->frames, .tree = &fix.tree, .tlb = &fix.tlb};
}

void vm_begin(size_t npages, size_t nbytes)
{
	vm_begin_bare(npages, nbytes);
	tap_log_capture();
	CHECK_OK(loam_vmalloc_init(&fix.vm, &fix.config));
	(void)tap_log_end();
}

void vm_end(void)
{
	struct loam_frames_stats stats;

	CHECK_OK(loam_vmalloc_check(&fix.vm));
	CHECK_OK(loam_vmalloc_destroy(&fix.vm));
	loam_pagetable_destroy(&fix.tree);
	CHECK_OK(loam_frame_check(fix.rig->frames));
	loam_frame_read_stats(fix.rig->frames, &stats);
	CHECK_EQ(stats.used, 0);
	rig_destroy(fix.rig);
}

uint64_t vm_free_frames(void)
{
	struct loam_frames_stats stats;

	loam_frame_read_stats(fix.rig->frames, &stats);
	return stats.free;
}

struct loam_vmalloc_stats vm_stats(void)
{
	struct loam_vmalloc_stats stats;

	CHECK_OK(loam_vmalloc_read_stats(&fix.vm, &stats));
	return stats;
}

void *vm_alloc(size_t nbytes)
{
	void *address = NULL;

	CHECK_OK(loam_vmalloc_status(&fix.vm, nbytes, NULL, &address));
	return address;
}

loam_pfn vm_frame_at(const void *address)
{
	struct loam_paging_entry entry;

	if (loam_paging_query(&fix.tree, (uintptr_t)address, &entry) != LOAM_OK)
		return LOAM_PFN_NONE;
	return loam_frame_containing(entry.pa);
}

unsigned int vm_prot_at(const void *address)
{
	struct loam_paging_entry entry;

	if (loam_paging_query(&fix.tree, (uintptr_t)address, &entry) != LOAM_OK)
		return 0;
	return entry.prot & ~LOAM_PROT_GLOBAL;
}

unsigned char *vm_byte(const void *address, size_t offset)
{
	const char *at = (const char *)address + offset;

	return (unsigned char *)loam_frame_virt(fix.rig->frames, vm_frame_at(at)) + (uintptr_t)at % PAGE;
}
