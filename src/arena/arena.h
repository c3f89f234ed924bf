/* arena/arena.h: what the files of the arena share. docs/theory/arena.md draws it.
 *
 * Granule   2^shift pages, the unit in which address space is cut; numbered from 0
 * Run       granules in a row that are one thing: a slab, an extent, or free. Neighbouring free runs are always one
 * Slab      a run of up to 64 places of one size, each for one range; belongs to a CPU for ever
 * Extent    a run that is one range
 * Span      the descriptor of a slab or an extent. Type-stable: memory that was once a span stays one until destroy
 * Word      per granule, in the radix: nothing, a span, or the boundary of a free run
 */
#ifndef LOAMI_ARENA_ARENA_H
#define LOAMI_ARENA_ARENA_H

#include "base/atomic.h"
#include "base/bits.h"
#include "base/check.h"
#include "base/fail.h"
#include "base/lock.h"

#include <loam/arena.h>

enum {
	LOAMI_ARENA_SLOTS_MAX = 64,   /* places in a slab: bits of a word */
	LOAMI_ARENA_CLASSES = 48,     /* 1..16 exact, then 8 per doubling to 256 */
	LOAMI_ARENA_SLOT_MAX = 256,   /* pages of the largest class */
	LOAMI_ARENA_BINS = 256,       /* of free runs, see extent.c */
	LOAMI_ARENA_CPU_BYTES = 1024, /* stride of the per-CPU structs, four in a frame */
	LOAMI_ARENA_CPUS_MAX = 512 * 4,
	LOAMI_ARENA_RELEASE_CHUNK = 32, /* ranges set free under one hold of a lock */

	/* The most metadata frames one reservation needs. It writes words of at most six granules in two groups of neighbours (its own first two and the one
	 * before; its last one and the two after): two leaves and two middle tables a group; and a frame of spans and one of records. */
	LOAMI_ARENA_FRAMES_BOUND = 4 + 4 + 1 + 1,
};

#define LOAMI_GRANULES_MAX (UINT64_C(1) << 27) /* three levels of 512 */

/* ---- words of the radix ------------------------------------------------------------------------------------------------------------------------- */

/* Low two bits. A run of one free granule has a HEAD alone (SINGLE set); a longer one a HEAD, then its LENGTH in the second and in the last granule. */
enum {
	LOAMI_WORD_NONE = 0,
	LOAMI_WORD_SPAN = 1,
	LOAMI_WORD_HEAD = 2,
	LOAMI_WORD_LENGTH = 3,
	LOAMI_WORD_TAG = 3,
};

/* Word of granule @g. Lock-free. */
uint64_t loami_radix_get(const struct loam_arena *arena, uint64_t g);
/* Granules in a row from @g on, @g included, that have no table and so no word of their own. 0: it has one. */
uint64_t loami_radix_gap(const struct loam_arena *arena, uint64_t g);
/* Extent lock held from here on. prepare: make the tables for granule @g from the stock. set: it has been prepared. */
void loami_radix_prepare(struct loam_arena *arena, uint64_t g);
void loami_radix_set(struct loam_arena *arena, uint64_t g, uint64_t word);
/* Words of a span's granules; the first two, where there are two, and the last are prepared. @word 0: clear. */
void loami_radix_fill(struct loam_arena *arena, uint64_t first, uint64_t n, uint64_t word);

/* ---- spans ------------------------------------------------------------------------------------------------------------------------------------------ */

/* State of a range: in the low bits of a word, one per place. The count of reservations above tells a new range from an old one. */
enum {
	LOAMI_AREA_FREE = 0,
	LOAMI_AREA_LIVE = 1,
	LOAMI_AREA_CLAIMED = 2,
	LOAMI_AREA_DIRTY = 3,
	LOAMI_AREA_STATE = 3,
	LOAMI_AREA_PAGES_SHIFT = 2, /* slab: 9 bits of pages */
	LOAMI_AREA_PAGES_MASK = 511,
	LOAMI_AREA_COUNT_SHIFT = 11,
};

enum loami_pool {
	LOAMI_POOL_EXTENT = 0, /* span and record in 128 bytes */
	LOAMI_POOL_SLAB16,     /* span and 16 states */
	LOAMI_POOL_SLAB64,     /* span and 64 states */
	LOAMI_POOL_RECORDS16,
	LOAMI_POOL_RECORDS32,
	LOAMI_POOL_RECORDS64,
};

/**
 * struct loami_span - a slab or an extent.
 * Read without a lock (hence written with release, read with acquire): where, reciprocal, records, npages, state[]. @kind never changes once carved. [C] the
 * lock of @cpu guards.
 */
struct loami_span {
	uint64_t where;  /* first granule | pages per place << 32 | places << 48 */
	uint64_t npages; /* extent: pages of its range */
	union {
		uint32_t reciprocal; /* slab: 2^26 / pages per place + 1 */
		uint32_t own_state;  /* extent */
	};
	uint8_t kind;       /* enum loami_pool */
	uint8_t size_class; /* slab */
	uint16_t cpu;       /* slab: whose */
	uint64_t ngranules;
	uint64_t free; /* [C] slab: places to hand out */
	struct loam_area_record *records;
	struct loami_span *next; /* [C] slab with free places: list of its class; [E] unused: pool */
	struct loami_span *prev; /* [C] */
	uint32_t state[];        /* slab: 16 or 64. Behind an extent: its record */
};

#define LOAMI_SPAN_BYTES 64
#define LOAMI_RECIPROCAL_SHIFT 26

static inline uint64_t loami_span_first(uint64_t where)
{
	return where & UINT32_MAX;
}
static inline unsigned int loami_span_slot(uint64_t where)
{
	return (unsigned int)(where >> 32) & 0xffff;
}
static inline unsigned int loami_span_nslots(uint64_t where)
{
	return (unsigned int)(where >> 48) & 0xff;
}
static inline bool loami_span_is_extent(const struct loami_span *span)
{
	return span->kind == LOAMI_POOL_EXTENT;
}

/* The rest of a record while its range is dirty. @owner stays where it was. */
struct loami_dirty_record {
	uint64_t sequence; /* 0 */
	struct loam_area_record *next;
	struct loami_span *span;
	uint64_t index;
	uint64_t unused[2];
	uint64_t npages;
	uint64_t owner;
};

/* ---- per CPU -------------------------------------------------------------------------------------------------------------------------------------- */

/* All of it is guarded by @lock. Counts only rise and are summed over CPUs: a range may come and go on different ones. */
struct loami_arena_cpu {
	struct loam_lock lock;                           /* rank ARENA_CPU */
	struct loami_span *partial[LOAMI_ARENA_CLASSES]; /* slabs with free places */
	uint8_t nempty[LOAMI_ARENA_CLASSES];             /* of them, wholly free */
	struct loam_arena_batch open;
	uint64_t reserved_areas; /* out of this CPU's slabs */
	uint64_t reserved_pages;
	uint64_t given_areas; /* published or released by this CPU, slabs and extents */
	uint64_t given_pages;
	uint64_t published_areas;
	uint64_t released_areas;  /* of them, out of the dirty state, by this CPU */
	uint64_t free_slot_pages; /* in this CPU's slabs */
};

static inline struct loami_arena_cpu *loami_arena_cpu(const struct loam_arena *arena, unsigned int cpu)
{
	return (struct loami_arena_cpu *)(void *)((char *)arena->cpus[cpu / 4] +
						  (size_t)(cpu % 4) * LOAMI_ARENA_CPU_BYTES);
}

/* ---- metadata (meta.c) and free runs (extent.c); extent lock held unless said ------------------------------------------------------------------ */

/* Take the extent lock with LOAMI_ARENA_FRAMES_BOUND frames in stock; *@added of them are new. LOAM_ERR_NO_METADATA: lock not held, nothing taken. */
LOAM_NODISCARD enum loam_status loami_meta_lock(struct loam_arena *arena, unsigned long *irq, unsigned int *added);
/* Let go of it after all was in vain: the frames that were added go back. */
void loami_meta_unlock_undo(struct loam_arena *arena, unsigned long irq, unsigned int added);
/* A zeroed frame from the stock. */
void *loami_meta_frame(struct loam_arena *arena);
void *loami_meta_get(struct loam_arena *arena, enum loami_pool pool);
void loami_meta_put(struct loam_arena *arena, enum loami_pool pool, void *thing);
/* No lock: at init and destroy. */
LOAM_NODISCARD enum loam_status loami_meta_init(struct loam_arena *arena, unsigned int nframes);
void loami_meta_destroy(struct loam_arena *arena);
size_t loami_pool_bytes(enum loami_pool pool);

struct loami_arena_bins {
	uint64_t map[LOAMI_ARENA_BINS / 64];
	uint32_t head[LOAMI_ARENA_BINS]; /* 1 + granule, or 0 */
};
/* @n free granules in a row whose first is @phase modulo @align (a power of two). LOAM_ERR_NO_RANGE: there are none. Tables of its words and of its remainders' are prepared. */
LOAM_NODISCARD enum loam_status loami_extent_take(struct loam_arena *arena, uint64_t n, uint64_t align, uint64_t phase,
						  uint64_t *first);
/* Back, merged with both neighbours. Words of the range are cleared. */
void loami_extent_give(struct loam_arena *arena, uint64_t first, uint64_t n);
uint64_t loami_extent_largest(const struct loam_arena *arena);
/* Length of the free run whose head is @g. */
uint64_t loami_run_length(const struct loam_arena *arena, uint64_t g, uint64_t head);
/* The bin for runs of @n granules. */
unsigned int loami_bin(uint64_t n);
uint64_t loami_head_next(uint64_t head);

/* ---- slabs (slab.c) ------------------------------------------------------------------------------------------------------------------------------- */

unsigned int loami_class_of(unsigned int pages);
unsigned int loami_class_pages(unsigned int size_class);
LOAM_NODISCARD enum loam_status loami_slab_reserve(struct loam_arena *arena, size_t npages, struct loam_area *area);
/* A place is free again. The lock of the slab's CPU is held. */
void loami_slab_put_locked(struct loam_arena *arena, struct loami_span *span, unsigned int index);
/* Give wholly free slabs that CPUs keep back to the extents. Return: pages. */
size_t loami_slab_trim(struct loam_arena *arena);

/* ---- ranges (area.c) ----------------------------------------------------------------------------------------------------------------------------------- */

/* Make place @index of @span, which nobody else knows free, a live range. */
void loami_area_start(const struct loam_arena *arena, struct loami_span *span, unsigned int index, size_t npages,
		      struct loam_area *area);
/* A range of its own run. No lock held. */
LOAM_NODISCARD enum loam_status loami_extent_reserve(struct loam_arena *arena, size_t npages, size_t align,
						     struct loam_area *area);
/* The extent behind a dirty or claimed range is free. No lock held. */
void loami_extent_release(struct loam_arena *arena, struct loami_span *span);
/* Where @address is; the state of its place is not judged. OUT_OF_RANGE, NOT_FOUND. */
LOAM_NODISCARD enum loam_status loami_area_find(const struct loam_arena *arena, uintptr_t address,
						struct loam_area *area);
/* The word @area was read from says the same now. */
bool loami_area_unchanged(const struct loam_area *area);
/* A copy of the record; only good if loami_area_unchanged() after it. */
void loami_record_copy(const struct loam_area_record *record, struct loam_area_record *copy);

/* The state word of a place. */
static inline uint32_t *loami_state(const struct loami_span *span, unsigned int index)
{
	return loami_span_is_extent(span) ? (uint32_t *)&span->own_state : (uint32_t *)&span->state[index];
}

static inline size_t loami_area_npages(const struct loami_span *span, uint32_t state)
{
	if (loami_span_is_extent(span))
		return loami_load_acquire(&span->npages);
	return (state >> LOAMI_AREA_PAGES_SHIFT) & LOAMI_AREA_PAGES_MASK;
}

#endif
