/* loam/arena.h: ranges of address space: reserve, look up, release. What lies behind them is somebody else's business.
 *
 * A range that is given up passes through three states: claimed (no longer live: a second claim fails), published (dirty: its page-table entries are cleared,
 * it waits for a TLB flush) and free again. docs/theory/arena.md explains the design.
 */
#ifndef LOAM_ARENA_H
#define LOAM_ARENA_H

#include <loam/paging.h>
#include <loam/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Metadata comes one frame at a time from @frames, never from a heap. */
struct loam_arena_config {
	uintptr_t start; /* page aligned */
	size_t nbytes;   /* whole pages, 1 MiB .. 64 TiB */
	unsigned int ncpus;
	bool no_guard_pages; /* default: one unmapped page after each range */
	struct loam_frames *frames;
};

struct loam_arena; /* defined at the end by its owner */
size_t loam_arena_metadata_size(const struct loam_arena_config *config);
LOAM_NODISCARD enum loam_status loam_arena_init(struct loam_arena *arena, const struct loam_arena_config *config,
						void *metadata, size_t nbytes);
/* Everything back; LOAM_ERR_IN_USE while ranges are live or dirty. */
LOAM_NODISCARD enum loam_status loam_arena_destroy(struct loam_arena *arena);

/**
 * struct loam_area_record - what is known of one live range: 64 bytes, kept by the arena, written by the range's owner between reserve and publish.
 */
struct loam_area_record {
	uint64_t sequence; /* of the allocation; 0: none yet */
	const struct loam_call_site *site;
	uint64_t task;
	uint32_t pid;
	uint32_t tid;
	uint32_t silo;
	uint32_t flags;  /* the owner's */
	uint64_t nbytes; /* as asked for */
	uint64_t time;
	uint64_t owner; /* the owner's word */
};

/* A range as handed out. */
struct loam_area {
	uintptr_t start;
	size_t npages; /* without the guard */
	struct loam_area_record *record;
};

/* Take @npages pages aligned to @align bytes (0: a page). Return: LOAM_OK, LOAM_ERR_ZERO_SIZE, LOAM_ERR_TOO_LARGE, LOAM_ERR_ALIGNMENT, LOAM_ERR_NO_RANGE,
 * LOAM_ERR_NO_METADATA. The range is live from here on; its record is zero. Context: task, interrupt. */
LOAM_NODISCARD enum loam_status loam_arena_reserve(struct loam_arena *arena, size_t npages, size_t align,
						   struct loam_area *area);
/* Step 1 of giving up: @address must be the start of a live range. LOAM_ERR_OUT_OF_RANGE, LOAM_ERR_NOT_FOUND (not a start, or not live, or claimed by
 * another a moment ago): nothing changed. */
LOAM_NODISCARD enum loam_status loam_arena_claim(struct loam_arena *arena, uintptr_t address, struct loam_area *area);
/* Take a claim back: live again. */
void loam_arena_unclaim(struct loam_arena *arena, const struct loam_area *area);
/* Step 2: the entries are cleared; the range now waits for a flush. */
void loam_arena_publish(struct loam_arena *arena, const struct loam_area *area);
/* Never mapped, so no flush is needed: claimed -> free at once. */
void loam_arena_release(struct loam_arena *arena, const struct loam_area *area);
/* Step 3, around a flush: seal takes everything published so far by @cpu into a batch (false: nothing); release_sealed makes it free. Between the two the caller
 * flushes and waits, with no lock held. */
struct loam_arena_batch {
	void *first; /* private */
	size_t nareas;
	size_t npages;
	uintptr_t low; /* covers all of it */
	uintptr_t high;
};
bool loam_arena_seal(struct loam_arena *arena, unsigned int cpu, struct loam_arena_batch *batch);
void loam_arena_release_sealed(struct loam_arena *arena, struct loam_arena_batch *batch);

/* The live range that covers @address, guard page included. Lock-free, any context. @offset: of the address in it. */
LOAM_NODISCARD enum loam_status loam_arena_lookup(const struct loam_arena *arena, uintptr_t address,
						  struct loam_area *area);
/* The next live range at or after @address, in address order; LOAM_ERR_NOT_FOUND at the end. Resumable: pass the end of the last one. */
LOAM_NODISCARD enum loam_status loam_arena_next(const struct loam_arena *arena, uintptr_t address,
						struct loam_area *area, struct loam_area_record *copy);

struct loam_arena_stats {
	uint64_t npages;
	uint64_t live_areas;
	uint64_t live_pages; /* guards excluded */
	uint64_t dirty_areas;
	uint64_t free_pages;
	uint64_t free_extents;
	uint64_t largest_free; /* pages */
	uint64_t metadata_pages;
	uint64_t free_nodes; /* unused metadata nodes in those pages */
};
void loam_arena_read_stats(const struct loam_arena *arena, struct loam_arena_stats *stats);
LOAM_NODISCARD enum loam_status loam_arena_check(struct loam_arena *arena);

#ifdef __cplusplus
}
#endif
#endif
