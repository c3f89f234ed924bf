/* loam/arena.h: ranges of address space: reserve, look up, release. What lies behind them is somebody else's business.
 *
 * A range is live from loam_arena_reserve() on, or claimed until its owner says that it is live. It is given up in steps:
 *
 *	claim     it is no longer live; of any number of claims one succeeds
 *	publish   its page-table entries are cleared; it waits, dirty, in the open batch of this CPU
 *	seal      the caller takes the open batch and starts one TLB flush for all of it, with no lock held
 *	release   when every CPU has flushed: the ranges of the batch are free
 *
 * Nothing is reused before its release. docs/theory/arena.md explains the structures.
 */
#ifndef LOAM_ARENA_H
#define LOAM_ARENA_H

#include <loam/paging.h>
#include <loam/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LOAM_ARENA_MIN_NBYTES ((uint64_t)1 << 20)
#define LOAM_ARENA_MAX_NBYTES ((uint64_t)1 << 46) /* 64 TiB */

/**
 * struct loam_arena_config - which addresses, and where metadata comes from.
 * @start: page aligned.   @nbytes: whole pages, 1 MiB .. 64 TiB, ending below the end of the address space.
 * @head_pages: this many pages at the start are never handed out.
 * @ncpus: CPU numbers are 0 .. ncpus - 1, at most 2048.
 * @no_guard_pages: default is one page after each range that belongs to it and is never mapped.
 * @frames: metadata comes from here, one frame at a time, never from a heap and never contiguous.
 */
struct loam_arena_config {
	uintptr_t start;
	size_t nbytes;
	size_t head_pages;
	unsigned int ncpus;
	bool no_guard_pages;
	struct loam_frames *frames;
};

struct loam_arena; /* defined at the end */

/**
 * loam_arena_init() - make the whole of it free.
 * @arena: any content.
 *
 * Takes 9 frames and one for every four CPUs; what it took is given back when it fails.
 *
 * Return:  LOAM_OK; LOAM_ERR_INVALID, LOAM_ERR_ALIGNMENT, LOAM_ERR_TOO_LARGE, LOAM_ERR_OVERFLOW, LOAM_ERR_CPU for the configuration;
 *	    LOAM_ERR_NO_METADATA.
 * Context: task.  Locks: none.  Cost: O(CPUs).
 */
LOAM_NODISCARD enum loam_status loam_arena_init(struct loam_arena *arena, const struct loam_arena_config *config);

/**
 * loam_arena_destroy() - give every metadata frame back.
 * Nobody else may use the arena any more, lock-free readers included.
 * Return:  LOAM_OK; LOAM_ERR_IN_USE while ranges are live, claimed or dirty: nothing changed.
 * Context: task.
 */
LOAM_NODISCARD enum loam_status loam_arena_destroy(struct loam_arena *arena);

/**
 * struct loam_area_record - what is known of one range: 64 bytes, kept by the arena.
 *
 * The owner writes it with loam_arena_write_record() between reserve and publish, and others read it only as copies. Once a range is
 * published, @flags and @owner stay its owner's; the rest belongs to the arena.
 * @sequence: of the allocation; 0: none yet.   @flags, @owner: the owner's.
 */
struct loam_area_record {
	uint64_t sequence;
	const struct loam_call_site *site;
	uint64_t task;
	uint32_t pid;
	uint32_t tid;
	uint32_t silo;
	uint32_t flags;
	uint64_t nbytes;
	uint64_t time;
	uint64_t owner;
};

/**
 * struct loam_area - a range as handed out.
 * @npages: without the guard.   @capacity: to how many pages it can grow in place.
 */
struct loam_area {
	uintptr_t start;
	size_t npages;
	size_t capacity;
	struct loam_area_record *record;
	/* private: where the arena keeps it, and the version of that */
	void *span;
	uint32_t index;
	uint32_t version;
};

/**
 * loam_arena_reserve() - take @npages pages.
 * @align: of the address in bytes, a power of two; 0 or less than a page: a page.
 *
 * The range is live from here on; sequence, flags and owner in its record are 0, the rest is anything. Small ranges come out of this CPU's slabs, larger ones and aligned ones out of the extents; when
 * neither has room, out of any CPU's slabs. What waits for a flush is not touched: the caller may flush and try again.
 *
 * Return:  LOAM_OK; LOAM_ERR_ZERO_SIZE; LOAM_ERR_TOO_LARGE; LOAM_ERR_ALIGNMENT; LOAM_ERR_NO_RANGE; LOAM_ERR_NO_METADATA (needs at most 10 frames).
 * Context: task, interrupt.  Locks: ARENA_CPU, ARENA_EXTENT.  Cost: O(1); O(pages) words for an extent.
 */
LOAM_NODISCARD enum loam_status loam_arena_reserve(struct loam_arena *arena, size_t npages, size_t align,
						   struct loam_area *area);

/**
 * loam_arena_reserve_claimed() - the same, but claimed by the caller: nobody else can claim it, whatever old address he has, until loam_arena_unclaim() makes
 * it live. For whoever has something to put behind the range first.
 */
LOAM_NODISCARD enum loam_status loam_arena_reserve_claimed(struct loam_arena *arena, size_t npages, size_t align,
							   struct loam_area *area);

/** loam_arena_write_record() - set the record of a range that the caller owns. Readers see the old or the new @sequence, never a mixture. */
void loam_arena_write_record(const struct loam_area *area, const struct loam_area_record *record);

/**
 * loam_arena_claim() - step 1 of giving up: the range is no longer live.
 *
 * Return:  LOAM_OK and *@area; LOAM_ERR_OUT_OF_RANGE; LOAM_ERR_NOT_FOUND: not the start of a live range, or claimed by another a moment ago. Nothing changed then.
 * Context: task, interrupt.  Locks: none.  Cost: O(1), one compare-and-swap.
 */
LOAM_NODISCARD enum loam_status loam_arena_claim(struct loam_arena *arena, uintptr_t address, struct loam_area *area);

/** loam_arena_claim_if() - the same, but only if the record's @flags has one of @flags in it; else LOAM_ERR_NOT_FOUND, nothing changed. */
LOAM_NODISCARD enum loam_status loam_arena_claim_if(struct loam_arena *arena, uintptr_t address, uint32_t flags,
						    struct loam_area *area);

/** loam_arena_unclaim() - take a claim back: live again. Context: task, interrupt.  Locks: none. */
void loam_arena_unclaim(struct loam_arena *arena, const struct loam_area *area);

/**
 * loam_arena_resize() - change the length of a claimed range in place.
 * Growing takes addresses that nobody else had since this range was reserved.
 * Return:  LOAM_OK, @area->npages is @npages; LOAM_ERR_ZERO_SIZE; LOAM_ERR_NO_RANGE: more than @area->capacity, or so much less that the
 *	    arena cannot remember the difference (63 pages below the capacity of a small range).
 * Context: task, interrupt.  Locks: none.
 */
LOAM_NODISCARD enum loam_status loam_arena_resize(struct loam_arena *arena, struct loam_area *area, size_t npages);

/* What is open on a CPU: published and not yet sealed. */
struct loam_arena_open {
	unsigned int cpu;
	size_t nareas;
	size_t npages;
};

/**
 * loam_arena_publish() - step 2: the entries of a claimed range are cleared, it waits for a flush.
 * @open: if not NULL, what is open on this CPU now, this range included.
 * Context: task, interrupt.  Locks: ARENA_CPU.  Cost: O(1). Cannot fail.
 */
void loam_arena_publish(struct loam_arena *arena, const struct loam_area *area, struct loam_arena_open *open);

/** loam_arena_release() - a claimed range is free at once: it was never mapped, or the caller has flushed. Context: task, interrupt. */
void loam_arena_release(struct loam_arena *arena, const struct loam_area *area);

/**
 * struct loam_arena_batch - ranges that one flush will set free. Starts as LOAM_ARENA_BATCH_EMPTY.
 */
struct loam_arena_batch {
	size_t nareas;
	size_t npages;
	/* private: frames full of entries, by their slots' links; entries chained through records, for want of a frame */
	loam_pfn frames;
	uint64_t chain;
	uint64_t chain_last;
};
#define LOAM_ARENA_BATCH_EMPTY ((struct loam_arena_batch){0, 0, LOAM_PFN_NONE, 0, 0})

/**
 * loam_arena_seal() - add what is open on @cpu to *@batch. From here on until it is released the caller owns it.
 * Return:  false: there was nothing.
 * Context: task, interrupt.  Locks: ARENA_CPU.  Cost: O(1).
 */
bool loam_arena_seal(struct loam_arena *arena, unsigned int cpu, struct loam_arena_batch *batch);

/** loam_arena_join() - add all of *@more to *@batch; *@more is empty then. Context: any. */
void loam_arena_join(struct loam_arena *arena, struct loam_arena_batch *batch, struct loam_arena_batch *more);

/* Told of a range. Only @flags and @owner may be read of the record. */
typedef void (*loam_arena_range_fn)(void *context, uintptr_t start, size_t npages,
				    const struct loam_area_record *record);
/** loam_arena_batch_each() - tell @fn of each range in a batch that the caller owns. Context: any.  Cost: O(ranges). */
void loam_arena_batch_each(const struct loam_arena *arena, const struct loam_arena_batch *batch, loam_arena_range_fn fn,
			   void *context);

/**
 * loam_arena_pop() - take ranges out of a batch, at most @n, until they have @npages pages together; they go on to loam_arena_release_popped().
 * Return:  how many there are in @entries now; 0: the batch is empty.  Context: task, interrupt.  Locks: ARENA_EXTENT at times.
 */
size_t loam_arena_pop(struct loam_arena *arena, struct loam_arena_batch *batch, size_t npages, uint64_t *entries,
		      size_t n);

/**
 * loam_arena_release_popped() - step 3, after the flush: @n ranges from batches are free. Cannot fail.
 * Context: task, interrupt.  Locks: ARENA_CPU for 32 ranges at a time, ARENA_EXTENT.  Cost: O(@n).
 */
void loam_arena_release_popped(struct loam_arena *arena, const uint64_t *entries, size_t n);

/** loam_arena_release_sealed() - the same for a whole batch, which is empty then. */
void loam_arena_release_sealed(struct loam_arena *arena, struct loam_arena_batch *batch);

/**
 * loam_arena_lookup() - the live range that covers @address, its guard page included.
 * @copy: if not NULL, a copy of its record, from one and the same moment.
 *
 * Return:  LOAM_OK; LOAM_ERR_OUT_OF_RANGE; LOAM_ERR_NOT_FOUND; LOAM_ERR_BUSY: it is claimed, on its way to be free or live again (*@area is filled).
 * Context: any, also from a fault handler.  Locks: none.  Cost: O(1).
 */
LOAM_NODISCARD enum loam_status loam_arena_lookup(const struct loam_arena *arena, uintptr_t address,
						  struct loam_area *area, struct loam_area_record *copy);

/** loam_arena_lookup_freed() - the same for a range that was freed and waits for its flush: LOAM_OK or LOAM_ERR_NOT_FOUND. Until then its record is its last one's. */
LOAM_NODISCARD enum loam_status loam_arena_lookup_freed(const struct loam_arena *arena, uintptr_t address,
							struct loam_area *area, struct loam_area_record *copy);

/**
 * loam_arena_next() - the first live range that starts at or after @address, in address order, with a copy of its record.
 * To go on, pass @area->start + 1. Ranges that come and go meanwhile may or may not be seen; those that stay are.
 * Return:  LOAM_OK; LOAM_ERR_NOT_FOUND: no more.
 * Context: any.  Locks: none.
 */
LOAM_NODISCARD enum loam_status loam_arena_next(const struct loam_arena *arena, uintptr_t address,
						struct loam_area *area, struct loam_area_record *copy);

/**
 * struct loam_arena_stats - counts; consistent when read at rest.
 * @npages: that can be handed out.  npages = free_pages + pages of live, claimed and dirty ranges with their guards and rounding.
 * @free_pages: in free extents and in free places of slabs.
 * @free_extents: free runs of address space.   @largest_free: pages of the largest of them.
 * @free_nodes: descriptors unused in the metadata pages.
 */
struct loam_arena_stats {
	uint64_t npages;
	uint64_t live_areas; /* claimed ones included */
	uint64_t live_pages; /* without guards */
	uint64_t dirty_areas;
	uint64_t free_pages;
	uint64_t free_extents;
	uint64_t largest_free;
	uint64_t metadata_pages;
	uint64_t free_nodes;
};
void loam_arena_read_stats(struct loam_arena *arena, struct loam_arena_stats *stats);

/**
 * loam_arena_trim() - give the empty slabs that CPUs keep back to the extents. Return: how many pages of addresses.
 * Context: task, interrupt.
 */
size_t loam_arena_trim(struct loam_arena *arena);

/**
 * loam_arena_check() - every invariant of the layer: each granule in exactly one run, each place of a slab in exactly one state.
 * The arena must be at rest. Return: LOAM_OK, or LOAM_ERR_INVALID after saying on the console what is wrong.
 * Context: task.
 */
LOAM_NODISCARD enum loam_status loam_arena_check(struct loam_arena *arena);

/* Private from here on. Fields without a remark do not change after init; [E] extent lock; [A] atomic. */
#define LOAM_ARENA_POOLS 5
struct loam_arena {
	struct loam_frames *frames;
	uintptr_t start; /* as configured */
	uintptr_t end;
	uintptr_t base;        /* address of granule 0 */
	uint64_t first;        /* granules that can be handed out: [first, limit) */
	uint64_t limit;        /* */
	unsigned int shift;    /* log2 of pages per granule */
	unsigned int guard;    /* pages after a range: 0 or 1 */
	unsigned int slot_max; /* ranges with guard up to this many pages live in slabs */
	unsigned int slab_max; /* pages of a slab, where its places allow */
	unsigned int ncpus;
	bool ready;
	void **cpus;                   /* frames of per-CPU structs */
	uint64_t *root;                /* [A] top of the radix */
	struct loami_arena_bins *bins; /* [E] */
	struct loam_lock lock;         /* extents, radix, pools, stock; rank ARENA_EXTENT */
	loam_pfn stock;                /* [E] frames taken and not yet used, by slot links */
	unsigned int nstock;           /* [E] */
	loam_pfn entry_frames;         /* [E] unused frames for batches, by slot links */
	loam_pfn meta;                 /* [E] all frames in use, by slot links */
	uint64_t nmeta;                /* [E] frames in use and in stock */
	uint64_t nruns;                /* [E] free runs */
	uint64_t free_granules;        /* [E] */
	uint64_t extent_areas;         /* [E] ever reserved as extents, and their pages */
	uint64_t extent_pages;
	void *pool[LOAM_ARENA_POOLS];     /* [E] unused descriptors and record blocks */
	uint64_t npool[LOAM_ARENA_POOLS]; /* [E] */
};

#ifdef __cplusplus
}
#endif
#endif
