/* boot/memmap.h: what the files of this layer share. */
#ifndef LOAMI_BOOT_MEMMAP_H
#define LOAMI_BOOT_MEMMAP_H

#include <loam/boot.h>

/* No region reaches above this, so that every end, and every end rounded up, is a number. */
#define LOAMI_MEMMAP_TOP (~(loam_paddr)0 - (LOAM_PAGE_SIZE - 1))

static inline bool loami_region_type_valid(uint32_t type)
{
	return type >= LOAM_REGION_USABLE && type < LOAM_REGION_TYPE_COUNT;
}

#endif
