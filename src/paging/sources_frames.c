/* paging/sources_frames.c: page tables out of the frame layer. */
#include <loam/paging.h>

static loam_paddr take(void *context)
{
	static const struct loam_frame_opts opts = {.purpose = LOAM_PURPOSE_PAGE_TABLE};
	loam_pfn pfn = loam_frame_alloc(context, 0, &opts);

	return pfn == LOAM_PFN_NONE ? LOAM_PADDR_NONE : loam_frame_address(pfn);
}

static void give(void *context, loam_paddr table)
{
	loam_frame_free(context, loam_frame_containing(table), 0);
}

struct loam_table_source loam_paging_tables_from_frames(struct loam_frames *frames)
{
	return (struct loam_table_source){
		.alloc = take, .free = give, .context = frames, .direct_map = (uintptr_t)loam_frame_virt(frames, 0)};
}
