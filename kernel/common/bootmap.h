/* kernel/common/bootmap.h: the firmware's memory map, shown as it came and as it was understood. */
#ifndef KERNEL_BOOTMAP_H
#define KERNEL_BOOTMAP_H

#include <loam/boot.h>

/**
 * bootmap_init() - loam_memmap_init(), and say what came, what was corrected and what is left.
 * @limit: of the addresses the kernel can map, 0 for none.  @source: who the map is from.  The rest as in loam_memmap_init().
 */
LOAM_NODISCARD enum loam_status bootmap_init(struct loam_memmap *map, struct loam_region *raw, size_t nraw,
					     struct loam_region *storage, size_t capacity, loam_paddr limit,
					     const char *source);

/**
 * bootmap_cut() - take [base, base + nbytes) out of the usable ones of @nraw raw entries.
 * Return: how many entries there are then; where @capacity has no room for a second half, that is lost.
 */
size_t bootmap_cut(struct loam_region *raw, size_t nraw, size_t capacity, loam_paddr base, uint64_t nbytes);

#endif
