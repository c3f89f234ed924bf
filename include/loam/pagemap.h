/* loam/pagemap.h: the page pool of a small board. A bit a page under a summary tree, and nothing else.
 *
 * Usable alone: this header, src/pagemap/pagemap.c, and of the port log, irq_save and irq_restore. Lowest free page first; every operation on
 * one page is O(log64 n). Units: physical addresses and whole pages. Locks: the pool's own; all calls from task or interrupt.
 */
#ifndef LOAM_PAGEMAP_H
#define LOAM_PAGEMAP_H

#include <loam/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The sentinel for "no page": address 0 is never a valid page of a pool. */
#define LOAM_PAGEMAP_NONE ((loam_paddr)0)

#define LOAM_PAGEMAP_LEVELS 5 /* 64^5 pages: 4 TiB */

/* How often each misuse was refused. */
struct loam_pagemap_refusals {
	uint64_t out_of_range;
	uint64_t unaligned;
	uint64_t reserved;
	uint64_t already_free;
};

struct loam_pagemap {
	/* private, guarded by lock once initialised */
	struct loam_lock lock;
	loam_paddr start;
	uint64_t npages;
	uint64_t nfree;
	uint64_t nreserved;
	uintptr_t direct_map;
	unsigned int nlevels;
	uint64_t *free_bits[LOAM_PAGEMAP_LEVELS]; /* [0]: a bit a page, 1 = free; above: 1 = some free below */
	uint64_t *reserved_bits;
	struct loam_pagemap_refusals refusals;
};

/* Bytes of metadata for a window of @npages: one bit and a bit per page. 0 when the window is empty or too large. */
size_t loam_pagemap_metadata_size(uint64_t npages);

/**
 * loam_pagemap_init() - a pool over [start, end), all free; called again it starts afresh.
 * @start, @end: page aligned, 0 < start < end.  @direct_map: virtual address of physical address 0 (the linear map's base).
 * @metadata: loam_pagemap_metadata_size((end - start) / 4096) bytes, 8-byte aligned, owned by the pool from now on.
 * Return: LOAM_OK, LOAM_ERR_INVALID, LOAM_ERR_ALIGNMENT, LOAM_ERR_NO_METADATA.
 */
LOAM_NODISCARD enum loam_status loam_pagemap_init(struct loam_pagemap *pool, loam_paddr start, loam_paddr end,
						  uintptr_t direct_map, void *metadata, size_t nbytes);

/* Every page whose address is below @end, or at or above @start, is reserved: not free, not in the total. Pages handed out stay so and leave
 * the total. Nothing happens when the window is not touched. Reserving twice counts once. */
void loam_pagemap_reserve_below(struct loam_pagemap *pool, loam_paddr end);
void loam_pagemap_reserve_above(struct loam_pagemap *pool, loam_paddr start);

/* Lowest free page, zeroed. Return: its physical address, or LOAM_PAGEMAP_NONE. */
loam_paddr loam_pagemap_alloc(struct loam_pagemap *pool);
/* Give a page back. Return: LOAM_OK; LOAM_ERR_OUT_OF_RANGE, LOAM_ERR_ALIGNMENT, LOAM_ERR_RESERVED, LOAM_ERR_ALREADY_FREE: counted, nothing changed. */
LOAM_NODISCARD enum loam_status loam_pagemap_free(struct loam_pagemap *pool, loam_paddr page);

/* The same by kernel address; exhaustion is 0, never direct_map + 0. */
uintptr_t loam_pagemap_alloc_kernel(struct loam_pagemap *pool);
LOAM_NODISCARD enum loam_status loam_pagemap_free_kernel(struct loam_pagemap *pool, uintptr_t address);
static inline uintptr_t loam_pagemap_to_kernel(const struct loam_pagemap *pool, loam_paddr page)
{
	return (uintptr_t)page + pool->direct_map;
}
static inline loam_paddr loam_pagemap_to_physical(const struct loam_pagemap *pool, uintptr_t address)
{
	return (loam_paddr)(address - pool->direct_map);
}

/* Pages in the pool after reservations; pages free now; misuses refused so far. used = total - free. */
uint64_t loam_pagemap_total(const struct loam_pagemap *pool);
uint64_t loam_pagemap_free_count(const struct loam_pagemap *pool);
struct loam_pagemap_refusals loam_pagemap_read_refusals(const struct loam_pagemap *pool);
/* Print "free_pages: <16 hex digits>\n" and return the count. */
uint64_t loam_pagemap_dump_free_count(const struct loam_pagemap *pool);

#ifdef __cplusplus
}
#endif
#endif
