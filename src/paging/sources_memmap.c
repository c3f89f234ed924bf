/* paging/sources_memmap.c: page tables before there is a frame layer. */
#include <loam/paging.h>

/* Whatever maps memory so early maps the low end of it. Below 1 MiB lies what only low memory can serve: that comes last. */
static const struct loam_memmap_where above_low = {.lowest = true, .start = 0x100000};
static const struct loam_memmap_where anywhere = {.lowest = true};

static loam_paddr take(void *context)
{
	loam_paddr base;

	if (loam_memmap_alloc(context, LOAM_PAGE_SIZE, &above_low, &base) != LOAM_OK &&
	    loam_memmap_alloc(context, LOAM_PAGE_SIZE, &anywhere, &base) != LOAM_OK)
		return LOAM_PADDR_NONE;
	return base;
}

struct loam_table_source loam_paging_tables_from_memmap(struct loam_memmap *map, uintptr_t direct_map)
{
	return (struct loam_table_source){
		.alloc = take, .free = NULL, .context = map, .direct_map = direct_map, .needs_zeroing = true};
}
