/* loam/pagemap.h: the page pool of a small board. A bit a page under a summary tree, and nothing else.
 *
 * Usable alone: this header, src/pagemap/pagemap.c, and of the port log, irq_save and irq_restore. Lowest free page first; every operation on
 * one page is O(log64 n). Units: physical addresses and whole pages. Context of everything here, unless it says otherwise: task, interrupt.
 * Locks: the pool's own. docs/theory/pagemap.md explains the design.
 */
#ifndef LOAM_PAGEMAP_H
#define LOAM_PAGEMAP_H

#include <loam/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The sentinel for "no page": address 0 is never a valid page of a pool. */
#define LOAM_PAGEMAP_NONE ((loam_paddr)0)

#define LOAM_PAGEMAP_LEVELS 5                      /* of 64-way words */
#define LOAM_PAGEMAP_PAGES_MAX (UINT64_C(1) << 30) /* 64^5 pages: 4 TiB */

/* How often each misuse was refused. */
struct loam_pagemap_refusals {
	uint64_t out_of_range;
	uint64_t unaligned;
	uint64_t reserved;
	uint64_t already_free;
};

/* Private. What changes after init changes under lock; the counts are read without it. Pages are counted from the start of the window. */
struct loam_pagemap {
	struct loam_lock lock;
	loam_paddr start;     /* const after init */
	uint64_t npages;      /* const after init */
	uintptr_t direct_map; /* const after init */
	uint64_t low;         /* pages below it are reserved */
	uint64_t high;        /* pages at or above it are reserved; low <= high */
	uint64_t nfree;
	unsigned int nlevels;                /* const after init */
	uint64_t *bits[LOAM_PAGEMAP_LEVELS]; /* [0]: a bit a page, 1 = free; above: a bit a word, 1 = not zero */
	struct loam_pagemap_refusals refusals;
};

/* Bytes of metadata for a window of @npages: one bit and 1/63 of a bit per page. 0 when the window is empty or too large. Context: any. */
size_t loam_pagemap_metadata_size(uint64_t npages);

/**
 * loam_pagemap_init() - a pool over [start, end), all free; called again it starts afresh.
 * @start, @end: page aligned, 0 < start < end.  @direct_map: virtual address of physical address 0 (the linear map's base).
 * @metadata: loam_pagemap_metadata_size((end - start) / 4096) bytes, 8-byte aligned, owned by the pool from now on.
 *
 * Return:  LOAM_OK; LOAM_ERR_INVALID (window empty, at 0 or too large; NULL), LOAM_ERR_ALIGNMENT, LOAM_ERR_NO_METADATA (@nbytes too small).
 * Context: one CPU; nobody uses the pool.  Cost: O(n / 64).
 */
LOAM_NODISCARD enum loam_status loam_pagemap_init(struct loam_pagemap *pool, loam_paddr start, loam_paddr end,
						  uintptr_t direct_map, void *metadata, size_t nbytes);

/* Every page whose address is below @end, or at or above @start, is reserved: not free, not in the total. A page that is handed out then leaves the total
 * too, and can no longer be freed. Nothing happens when the window is not touched. Reserving twice counts once. Cost: O(pages / 64). */
void loam_pagemap_reserve_below(struct loam_pagemap *pool, loam_paddr end);
void loam_pagemap_reserve_above(struct loam_pagemap *pool, loam_paddr start);

/* Lowest free page, zeroed. Return: its physical address, or LOAM_PAGEMAP_NONE. The page is cleared after the lock is released. */
loam_paddr loam_pagemap_alloc(struct loam_pagemap *pool);
/* The same without clearing it, for who overwrites all of it; its memory is not touched. */
loam_paddr loam_pagemap_alloc_uninitialized(struct loam_pagemap *pool);
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

/* Pages in the pool after reservations; pages free now; misuses refused so far. used = total - free. Context: any; no lock. */
uint64_t loam_pagemap_total(const struct loam_pagemap *pool);
uint64_t loam_pagemap_free_count(const struct loam_pagemap *pool);
struct loam_pagemap_refusals loam_pagemap_read_refusals(const struct loam_pagemap *pool);
/* Print "free_pages: <16 hex digits>\n" and return the count. */
uint64_t loam_pagemap_dump_free_count(const struct loam_pagemap *pool);

/* Every invariant (docs/theory/pagemap.md). The pool is at rest. LOAM_ERR_INVALID when one does not hold. Cost: O(n / 64). */
LOAM_NODISCARD enum loam_status loam_pagemap_check(const struct loam_pagemap *pool);

#ifdef __cplusplus
}
#endif
#endif
