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
#include <loam/frame.h>

enum {
	LOAMI_ARENA_SLOTS_MAX = 64,   /* places in a slab: bits of a word */
	LOAMI_ARENA_CLASSES = 48,     /* 1..16 exact, then 8 per doubling to 256 */
	LOAMI_ARENA_SLOT_MAX = 256,   /* pages of the largest class */
	LOAMI_ARENA_BINS = 512,       /* of free runs, see extent.c */
	LOAMI_ARENA_CPU_BYTES = 1024, /* stride of the per-CPU structs, four in a frame */
	LOAMI_ARENA_CPUS_MAX = 512 * 4,
	LOAMI_ARENA_ENTRIES = 512,      /* of a batch in a frame */
	LOAMI_ARENA_RELEASE_CHUNK = 32, /* ranges set free under one hold of a lock */
	LOAMI_ARENA_LOOK_CHUNK = 64,    /* free runs looked at under one hold, before a refusal */

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

#define LOAMI_RADIX_SHIFT 9

static inline uint64_t *loami_radix_table(uint64_t entry)
{
	return (uint64_t *)(uintptr_t)entry;
}
/* An entry of the root or of a middle table that leads on to a table. */
static inline bool loami_radix_is_table(uint64_t entry)
{
	return entry != 0 && (entry & LOAMI_WORD_TAG) == 0;
}

/* Word of granule @g. Lock-free. */
static inline uint64_t loami_radix_get(const struct loam_arena *arena, uint64_t g)
{
	const uint64_t mask = (UINT64_C(1) << LOAMI_RADIX_SHIFT) - 1;
	uint64_t entry = loami_load_acquire(&arena->root[g >> (2 * LOAMI_RADIX_SHIFT)]);

	if (LOAMI_UNLIKELY(!loami_radix_is_table(entry)))
		return entry;
	entry = loami_load_acquire(&loami_radix_table(entry)[(g >> LOAMI_RADIX_SHIFT) & mask]);
	if (LOAMI_UNLIKELY(!loami_radix_is_table(entry)))
		return entry;
	return loami_load_acquire(&loami_radix_table(entry)[g & mask]);
}
/* Granules in a row from @g on, @g included, that have no table and so no word of their own. 0: it has one. */
uint64_t loami_radix_gap(const struct loam_arena *arena, uint64_t g);
/* Extent lock held from here on. prepare: make the tables for granule @g from the stock. set: it has been prepared. */
void loami_radix_prepare(struct loam_arena *arena, uint64_t g);
void loami_radix_set(struct loam_arena *arena, uint64_t g, uint64_t word);
/* Words of a span's granules; the first two, where there are two, and the last are prepared. @word 0: clear. */
void loami_radix_fill(struct loam_arena *arena, uint64_t first, uint64_t n, uint64_t word);

/* ---- spans ------------------------------------------------------------------------------------------------------------------------------------------ */

/* State of a range: a byte per place. A claim is a compare-and-swap of it; every other change has one owner and is a store. */
enum {
	LOAMI_AREA_FREE = 0,
	LOAMI_AREA_LIVE = 1,
	LOAMI_AREA_CLAIMED = 2,
	LOAMI_AREA_DIRTY = 3,
	LOAMI_AREA_STATE = 3,
	LOAMI_AREA_SLACK_SHIFT = 2, /* slab: pages of the place, less guard, that the range does not use */
	LOAMI_AREA_SLACK_MAX = 63,
};

enum loami_pool {
	LOAMI_POOL_EXTENT = 0, /* span and record in 128 bytes */
	LOAMI_POOL_SLAB,       /* span and 64 states in 128 bytes */
	LOAMI_POOL_RECORDS16,
	LOAMI_POOL_RECORDS32,
	LOAMI_POOL_RECORDS64,
};

/**
 * struct loami_span - a slab or an extent.
 * Read without a lock (hence written with release, read with acquire): where, version, reciprocal, records, npages, ngranules, state[]. @kind never changes once carved.
 * [C] the lock of @cpu guards. A slab's states fill the second cache line, so that whoever has found a span can ask for both lines at once.
 */
struct loami_span {
	uint64_t where;      /* first granule | pages per place << 32 | places << 48 */
	uint32_t version;    /* + 2 each time it begins to describe another run; odd while it changes */
	uint32_t reciprocal; /* slab: 2^26 / pages per place + 1 */
	uint8_t kind;        /* enum loami_pool */
	uint8_t size_class;  /* slab */
	uint16_t cpu;        /* slab: whose */
	uint32_t ngranules;
	union {
		uint64_t free;   /* [C] slab: places to hand out */
		uint64_t npages; /* extent: of its range */
	};
	struct loam_area_record *records;
	struct loami_span *next; /* [C] slab with free places: list of its class; [E] unused: pool */
	union {
		struct loami_span *prev; /* [C] slab */
		uint8_t own_state[8];    /* extent: the first */
	};
	uint64_t all;    /* slab: @free when it is wholly free */
	uint8_t state[]; /* slab: 64. Behind an extent: its record */
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

/* The state of a place. */
static inline uint8_t *loami_state(const struct loami_span *span, unsigned int index)
{
	return (uint8_t *)(uintptr_t)(loami_span_is_extent(span) ? span->own_state : &span->state[index]);
}

/* Pages of a range in a state. */
static inline size_t loami_area_npages(const struct loam_arena *arena, const struct loami_span *span, uint64_t where,
				       uint8_t state)
{
	if (loami_span_is_extent(span))
		return loami_load_acquire(&span->npages);
	return (size_t)loami_span_slot(where) - arena->guard - (state >> LOAMI_AREA_SLACK_SHIFT);
}

/* What a span is from here on. The caller owns it, and no word leads to it. */
static inline void loami_span_begin(struct loami_span *span)
{
	loami_store_release(&span->version, loami_load_relaxed(&span->version) + 1);
}
static inline void loami_span_end(struct loami_span *span)
{
	loami_store_release(&span->version, loami_load_relaxed(&span->version) + 1);
}

/* Everything about place @index of @span, which the caller owns or which may change under him. Return: its state. */
static inline uint8_t loami_area_describe(const struct loam_arena *arena, struct loami_span *span, uint64_t where,
					  unsigned int index, struct loam_area *area)
{
	uint64_t page = loami_span_first(where) << arena->shift;
	uint8_t state;

	area->span = span;
	area->index = index;
	area->record = &loami_load_acquire(&span->records)[index];
	if (LOAMI_UNLIKELY(loami_span_is_extent(span))) {
		state = loami_load_acquire(&span->own_state[0]);
		area->npages = loami_load_acquire(&span->npages);
		area->capacity = ((size_t)loami_load_acquire(&span->ngranules) << arena->shift) - arena->guard;
	} else {
		state = loami_load_acquire(&span->state[index]);
		area->capacity = loami_span_slot(where) - arena->guard;
		area->npages = area->capacity - (state >> LOAMI_AREA_SLACK_SHIFT);
		page += (uint64_t)index * loami_span_slot(where);
	}
	area->start = arena->base + (page << LOAM_PAGE_SHIFT);
	return state;
}

/* The record of a free place is ready for the next range. Cleared here and not when the place is taken: giving back goes through many, whose lines are fetched ahead. */
static inline void loami_record_clear(struct loam_area_record *record)
{
	loami_store_release(&record->sequence, 0);
	loami_store_release(&record->flags, 0);
	loami_store_release(&record->owner, 0);
}

/* An entry of a batch: a span and a place in it. */
static inline uint64_t loami_entry(const struct loami_span *span, unsigned int index)
{
	return (uint64_t)(uintptr_t)span | index;
}
static inline struct loami_span *loami_entry_span(uint64_t entry)
{
	return (struct loami_span *)(uintptr_t)(entry & ~(uint64_t)(LOAMI_ARENA_SLOTS_MAX - 1));
}
static inline unsigned int loami_entry_index(uint64_t entry)
{
	return (unsigned int)entry & (LOAMI_ARENA_SLOTS_MAX - 1);
}
static inline struct loam_area_record *loami_entry_record(uint64_t entry)
{
	return &loami_entry_span(entry)->records[loami_entry_index(entry)];
}

/* ---- per CPU -------------------------------------------------------------------------------------------------------------------------------------- */

/* All of it is guarded by @lock. Counts only rise and are summed over CPUs: a range may come and go on different ones. */
struct loami_arena_cpu {
	struct loam_lock lock; /* rank ARENA_CPU */
	uint32_t nentries;     /* in use of @entries */
	uint64_t *entries;     /* the open batch's current frame, or NULL */
	loam_pfn entries_frame;
	struct loam_arena_batch open; /* counts all of it; holds what is not in @entries */
	uint64_t reserved_areas;      /* out of this CPU's slabs */
	uint64_t reserved_pages;
	uint64_t published_areas;                        /* by this CPU, slabs and extents */
	uint64_t direct_areas;                           /* released without a batch, likewise */
	uint64_t given_pages;                            /* of both */
	uint64_t released_areas;                         /* out of batches, by this CPU */
	uint64_t free_slot_pages;                        /* in this CPU's slabs */
	struct loami_span *partial[LOAMI_ARENA_CLASSES]; /* slabs with free places */
	uint8_t nempty[LOAMI_ARENA_CLASSES];             /* of them, wholly free */
};

static inline struct loami_arena_cpu *loami_arena_cpu(const struct loam_arena *arena, unsigned int cpu)
{
	return (struct loami_arena_cpu *)(void *)((char *)arena->cpus[cpu / 4] +
						  (size_t)(cpu % 4) * LOAMI_ARENA_CPU_BYTES);
}

/* ---- metadata (meta.c) and free runs (extent.c); extent lock held unless said ------------------------------------------------------------------ */

/* Take the extent lock with LOAMI_ARENA_FRAMES_BOUND frames in stock; *@added counts those that are new. LOAM_ERR_NO_METADATA: lock not held, *@added are given back. */
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
/* @n free granules in a row whose first is @phase modulo @align (a power of two), and the extent lock held, with tables of its words and of its remainders'
 * prepared. LOAM_ERR_NO_RANGE: there are none; LOAM_ERR_NO_METADATA; the lock is not held then. */
LOAM_NODISCARD enum loam_status loami_extent_lock_and_take(struct loam_arena *arena, uint64_t n, uint64_t align,
							   uint64_t phase, unsigned long *irq, uint64_t *first);
/* Back, merged with both neighbours. Words of the range are cleared. */
void loami_extent_give(struct loam_arena *arena, uint64_t first, uint64_t n);
uint64_t loami_extent_largest(const struct loam_arena *arena);
/* Length of the free run whose head is @g. */
uint64_t loami_run_length(const struct loam_arena *arena, uint64_t g, uint64_t head);
/* The bin for runs of @n granules. */
unsigned int loami_bin(uint64_t n);
uint64_t loami_head_next(uint64_t head);

/* ---- slabs (slab.c) ------------------------------------------------------------------------------------------------------------------------------- */

enum { LOAMI_ARENA_EXACT = 16, LOAMI_ARENA_PER_DOUBLING_SHIFT = 3 };

/* @pages with the guard. */
static inline unsigned int loami_class_of(unsigned int pages)
{
	unsigned int log;

	if (LOAMI_LIKELY(pages <= LOAMI_ARENA_EXACT))
		return pages - 1;
	log = loami_log2_floor(pages - 1);
	return LOAMI_ARENA_EXACT + ((log - 4) << LOAMI_ARENA_PER_DOUBLING_SHIFT) +
	       ((pages - 1) >> (log - LOAMI_ARENA_PER_DOUBLING_SHIFT)) - 8;
}
unsigned int loami_class_pages(unsigned int size_class);
/* Into and out of the list of its class, with the lock of its CPU. */
void loami_slab_list(struct loami_arena_cpu *cpu, struct loami_span *span);
void loami_slab_unlist(struct loami_arena_cpu *cpu, struct loami_span *span);
LOAM_NODISCARD enum loam_status loami_slab_reserve(struct loam_arena *arena, size_t npages, uint8_t state,
						   struct loam_area *area);
/* Give wholly free slabs that CPUs keep back to the extents. Return: pages. */
size_t loami_slab_trim(struct loam_arena *arena);

/* ---- ranges (area.c, batch.c, lookup.c) ------------------------------------------------------------------------------------------------------------- */

/* A range of its own run, in @state: LIVE or CLAIMED. No lock held. */
LOAM_NODISCARD enum loam_status loami_extent_reserve(struct loam_arena *arena, size_t npages, size_t align,
						     uint8_t state, struct loam_area *area);
/* The extent behind a dirty or claimed range is free. No lock held. */
void loami_extent_release(struct loam_arena *arena, struct loami_span *span);
/* Whether all that @area says is still so: the same span for the same run, the place in the same state. */
bool loami_area_unchanged(const struct loam_arena *arena, const struct loam_area *area, uint8_t state);
/* Step 2 for CPU @number, which is this one and @cpu, and its lock is held. @open may be NULL. */
void loami_arena_publish(struct loam_arena *arena, struct loami_arena_cpu *cpu, unsigned int number,
			 const struct loam_area *area, struct loam_arena_open *open);
/* What is open on @cpu, whose lock is held; the caller joins it to a batch of his own. */
struct loam_arena_batch loami_arena_seal(struct loam_arena *arena, struct loami_arena_cpu *cpu);
static inline bool loami_batch_has_room(const struct loami_arena_cpu *cpu)
{
	return cpu->entries != NULL && cpu->nentries < LOAMI_ARENA_ENTRIES;
}
/* Batches. close: what is in the CPU's current frame joins the rest of its open batch. chain: an entry for which there is no frame. */
void loami_batch_close_entries(struct loam_arena *arena, struct loami_arena_cpu *cpu);
void loami_batch_chain(struct loam_arena_batch *batch, uint64_t entry);
/* Frames for batches, from the unused ones or the stock; extent lock held. */
loam_pfn loami_meta_get_entries(struct loam_arena *arena);
void loami_meta_put_entries(struct loam_arena *arena, loam_pfn pfn);

#endif
