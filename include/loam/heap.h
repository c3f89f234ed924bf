/* loam/heap.h: objects of any size: size classes, typed caches, large objects.
 *
 * docs/theory/heap.md explains the design. Every free is checked at the call: a wild, interior, foreign, wrong-size, wrong-cache or already free pointer is a
 * named panic that changes nothing.
 */
#ifndef LOAM_HEAP_H
#define LOAM_HEAP_H

#include <loam/vmalloc.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LOAM_HEAP_MIN_ALIGN 16
#define LOAM_HEAP_SMALL_MAX ((size_t)65536)

/**
 * struct loam_heap_config - what the heap stands on.
 * @limit: memory may be added to @frames up to here, exclusive (loam_heap_cover()); 0: none. The tables for all of it are then part of the metadata, which must be given and be
 * all zero: what is not used yet is not touched.
 * @cpus_later: a CPU has no caches before loam_heap_cpu_online(); until then, and once it is offline, it is served under locks. Several threads may then be CPU 0 at once, as long as it is never online.
 * @frames: where slabs come from.   @vm: for large objects when no run of frames is to be had; NULL: none.
 * @track: keep sequence number and call sites of allocation and last free of every object (24 bytes an object, and no fast path), for leak reports and double frees.
 * @hardened: see docs/theory/heap.md: quarantine, zero on free, canaries, random order.
 */
struct loam_heap_config {
	struct loam_frames *frames;
	struct loam_vm *vm;
	unsigned int ncpus;
	bool track;
	bool hardened;
	bool cpus_later;
	loam_paddr limit;
};

/* Private to the heap; they live in its metadata. */
struct loami_heap_cpu;
struct loami_held;
struct loami_magazine;

/* What a byte of state can say: five codes for places without a live object, then one code for each size class, then one for each typed cache. */
#define LOAM_HEAP_CODES 256
#define LOAM_HEAP_SIZE_CLASSES 44
#define LOAM_HEAP_IDLE 16                                                   /* runs of frames kept warm */
#define LOAM_HEAP_CACHES_MAX (LOAM_HEAP_CODES - LOAM_HEAP_SIZE_CLASSES - 5) /* typed caches of one heap */

/**
 * struct loam_heap_cache - one size class or typed cache. Every field is private.
 * Fields without a key are written when the cache is made. (l) guarded by @lock. (a) atomic.
 */
struct loam_heap_cache {
	struct loam_heap *heap;
	uint32_t nbytes;      /* of an object, a multiple of 16 */
	uint8_t code;         /* what the state byte of a live object says */
	uint8_t frames_first; /* of the shortest slab */
	uint8_t keep_empty;   /* wholly free slabs kept, so that one object back and forth makes no slab */
	uint16_t capacity;    /* objects of a magazine */
	uint16_t magazine_nbytes;
	uint16_t stock_max; /* full magazines a CPU keeps */
	uint16_t depot_max;
	uint32_t usable; /* bytes a caller may use of an object */
	bool typed;
	uint32_t visitors; /* (a) of a typed one: who looks at it although he has none of its objects */
	struct loam_lock lock;
	uint64_t partial;             /* (l) first slab with some places free, by frame number */
	uint64_t empty;               /* (l) first wholly free slab */
	struct loami_magazine *depot; /* (l) full magazines */
	uint32_t ndepot;              /* (l) */
	uint32_t depot_least;         /* (l) full magazines there have been all the time since the last tick */
	uint32_t nempty;              /* (l) */
	uint64_t nslabs;              /* (l) */
	uint64_t nframes;             /* (l) in slabs */
	uint64_t nslots;              /* (l) places for objects in all slabs */
	uint64_t nfree;               /* (l) of them free in their slab */
	uint64_t shared_allocs;       /* (l) served past the CPU's caches */
	void (*construct)(void *object, void *context);
	void *context;
	char name[32];
};

/**
 * struct loam_heap - a heap. All zero before loam_heap_bump_init() or loam_heap_init(). Every field is private.
 * Fields without a key are written by init alone. (r) guarded by @registry. (p) guarded by @pages. (a) atomic.
 */
struct loam_heap {
	/* What the fast paths read. */
	uintptr_t base;    /* virtual address of the first region, 64 KiB of physical memory each */
	size_t nregions;   /* grows when memory is added */
	uint8_t **regions; /* (a) biased: regions[r] + (address - base) / 16 is the state of what is at the address */
	uint8_t *
		codes; /* (a) biased: codes[address / 4096]: of the last slab that lay there; 0: none has. It says where to look, not what is there */
	size_t small_max; /* largest request the size classes serve; 0 before init */
	struct loami_heap_cpu *cpus;
	struct loami_held *held; /* the CPUs' quarantines, of a hardened heap */

	struct loam_frames *frames;
	struct loam_vm *vm;
	void *no_states;  /* a frame of states that say there is no object: where there is no region */
	uint8_t *kinds;   /* (p) to write: what the heap uses a frame for */
	loam_pfn first;   /* frame at @base */
	loam_pfn highest; /* (p) past the highest frame the heap ever held */
	uint64_t ram_frames;
	struct loam_heap_cache *sizes;   /* the size classes */
	struct loam_heap_cache **caches; /* (r) to write, (a): by code */
	unsigned int ncpus;
	unsigned int cpus_end; /* (a) past the highest one that ever was online */
	size_t regions_max;    /* what the tables have room for */
	uint32_t state;        /* (a) 0, bump only, being made, ready */
	bool track;
	bool hardened;
	bool slow_only;    /* either of them: no fast path, but for ... */
	bool harden_quick; /* ... harden.c's own, where nothing is tracked */
	bool own_frames;   /* over one block: the frame layer is the heap's own */
	bool cpus_later;
	uint32_t failure; /* (a) the last one's status */
	struct loam_lock registry;
	struct loam_lock pages;

	uint64_t regions_partial
		[16]; /* (p) first region whose longest run of spare frames is 1 .. 16 frames, by its state frame */
	uint64_t regions_idle;         /* (p) first region that is wholly spare */
	uint64_t nregions_idle;        /* (p) */
	uint64_t pieces[8];            /* (p) frames with free pieces of metadata, by log2 of their size */
	uint64_t slab_frames;          /* (p) in regions */
	uint64_t meta_frames;          /* (p) under states, magazines, records */
	uint64_t large_count;          /* (p) */
	uint64_t large_bytes;          /* (p) */
	uint64_t idle_frames;          /* (p) in runs that wait to be large objects again */
	uint64_t idle[LOAM_HEAP_IDLE]; /* (p) their first frames; 0: none */
	uint32_t idle_next;            /* (p) the one to give up next */
	uint64_t large_allocs;         /* (p) ever */
	uint64_t large_seen;           /* (a) of them, at the last tick */
	uint64_t ticks;                /* (a) */
	uint64_t large_allocated;      /* (p) bytes, ever */
	uint64_t held_frames;          /* by init, for metadata */
	uint64_t retired_allocs;       /* (r) of typed caches that were destroyed */
	uint64_t retired_bytes;        /* (r) */
	uint64_t forgotten;            /* (a) slabs, runs and typed caches that ceased to be: see whereis */
	uint64_t suspect;              /* (a) head frame of a slab that counted more free places than it has; 0: none */
	uint64_t secret;               /* of the canaries */
	uint64_t sequence;             /* (a) of allocations, when tracking */
	uint64_t peak;                 /* (a) */
	uint64_t peak_next;            /* (a) bytes held below which it cannot have been exceeded, or not by much */

	uintptr_t
		bump_start;  /* [start, end) was given, [start, next) is given out; a bit per 16 bytes at @bump_marks */
	uintptr_t bump_next; /* (p) */
	uintptr_t bump_end;
	uint8_t *bump_marks;  /* (p) */
	uint64_t bump_allocs; /* (p) */
	uint64_t bump_frees;  /* (p) frees that were recognised; nothing came back */

	struct loam_shrinker shrinker;
	struct loam_call_site vm_owner; /* its address marks vmalloc areas that are this heap's */
};

/* ---- setting up ------------------------------------------------------------------------------------------------------------------ */

/**
 * loam_heap_bump_init() - serve from a block of memory until the heap is set up.
 * @heap: all zero.   @block, @nbytes: e.g. 64 KiB of BSS; it stays the heap's for ever.
 *
 * Pointers from it stay valid after loam_heap_init(); freeing them is recognised and gives nothing back.
 *
 * Return:  LOAM_OK; LOAM_ERR_ALREADY: not the first call on @heap; LOAM_ERR_INVALID: less than 64 bytes.
 * Context: one CPU, early boot.
 */
LOAM_NODISCARD enum loam_status loam_heap_bump_init(struct loam_heap *heap, void *block, size_t nbytes);

/* Bytes of metadata loam_heap_init() takes from its caller: for its CPUs, and for its tables where @config->limit is not 0. 0 for an impossible configuration. The frame layer need not be set up yet. */
size_t loam_heap_metadata_size(const struct loam_heap_config *config);

/**
 * loam_heap_init() - set a heap up over frames.
 * @heap: all zero, or set up by loam_heap_bump_init().   @config: not kept.
 * @metadata, @nbytes: metadata_size() bytes, or NULL and 0: then that is taken from @config->frames too. What depends on the size of memory (a byte a frame, 8
 * bytes per 64 KiB) always is.
 *
 * Registers a shrinker with @config->frames. A failure leaves nothing behind and may be tried again.
 *
 * Return:  LOAM_OK; LOAM_ERR_ALREADY the second time; LOAM_ERR_INVALID: no @frames; LOAM_ERR_NOT_READY: they are not set up; LOAM_ERR_CPU: @ncpus is 0 or above
 *	    LOAM_CPUS_MAX; LOAM_ERR_NO_METADATA; LOAM_ERR_NO_MEMORY: they manage no frames.
 * Context: task.
 */
LOAM_NODISCARD enum loam_status loam_heap_init(struct loam_heap *heap, const struct loam_heap_config *config,
					       void *metadata, size_t nbytes);

/* Memory is about to be added to the frames of a heap that was set up with a limit: cover it, first. LOAM_ERR_OUT_OF_RANGE above the limit; LOAM_ERR_NOT_READY.
 * Context: task, one at a time. */
LOAM_NODISCARD enum loam_status loam_heap_cover(struct loam_heap *heap, loam_paddr end);

/**
 * loam_heap_init_block() - set a heap up over one block of memory, which becomes its RAM: for a kernel without a frame layer, or a test.
 * @block, @nbytes: any alignment; what it holds is lost. 72 KiB is the least that works for one CPU, about 30 KiB more for each further one.   @ncpus: as in struct loam_heap_config.
 * Return:  as loam_heap_init(); LOAM_ERR_NO_METADATA: the block is too small.
 * Context: task.
 */
LOAM_NODISCARD enum loam_status loam_heap_init_block(struct loam_heap *heap, void *block, size_t nbytes,
						     unsigned int ncpus, bool track);

/* ---- objects ------------------------------------------------------------------------------------------------------------------------
 *
 * Common to all of these. Context: task, interrupt; large objects that need a vmalloc area: task. Locks: none on a hit; else the cache's, pages, the frame layer's; none is held when
 * frames are taken that shrinkers may have to free. An interrupt may land anywhere inside and use the heap.
 *
 * What frees or measures an object panics by name, with nothing changed, on a pointer that is no live object of @heap: docs/theory/heap.md lists the texts.
 */

/**
 * loam_heap_alloc() - memory for an object.
 * @nbytes: 0 counts as 1.
 *
 * The memory is aligned to 16 and to nothing more; its contents are undefined. Up to LOAM_HEAP_SMALL_MAX it is a place of a size class, above that a run of frames in the direct map, or a
 * vmalloc area where no run is to be had.
 *
 * Return: the object, or NULL; loam_heap_last_failure() says why.
 * Cost:   O(1) and no atomic instruction on a hit of the CPU's cache.
 */
void *loam_heap_alloc(struct loam_heap *heap, size_t nbytes);
/* The same, with @nbytes of zeros. */
void *loam_heap_alloc_zeroed(struct loam_heap *heap, size_t nbytes);
/* @count * @nbytes of zeros; NULL when the product overflows. */
void *loam_heap_alloc_array(struct loam_heap *heap, size_t count, size_t nbytes);
/* Aligned to @align, any power of two; NULL when it is none. Not to be given to loam_heap_free_sized(). */
void *loam_heap_alloc_aligned(struct loam_heap *heap, size_t nbytes, size_t align);

/**
 * loam_heap_alloc_status() - the same, with the reason.
 * @align: a power of two, or 0 for 16.
 * Return: LOAM_OK and *@object; LOAM_ERR_NO_MEMORY, LOAM_ERR_NO_METADATA, LOAM_ERR_TOO_LARGE, LOAM_ERR_ALIGNMENT, LOAM_ERR_NOT_READY, and *@object NULL.
 */
LOAM_NODISCARD enum loam_status loam_heap_alloc_status(struct loam_heap *heap, size_t nbytes, size_t align,
						       void **object);
/* Why the last allocation of this heap failed, on any CPU; LOAM_OK: none has. */
enum loam_status loam_heap_last_failure(const struct loam_heap *heap);

/* CPU @cpu's part of a heap that has been set up: its caches. It stays where it is. Context: any. */
struct loami_heap_cpu *loam_heap_part(struct loam_heap *heap, unsigned int cpu);
/* What a CPU's cache can do at once, without a lock: an object of @nbytes, or NULL; the object taken back, or false. Nothing has been changed then, and nothing said of
 * the pointer. @part is that of the CPU which this runs on, to the call's end: the caller is pinned. Never wait, never take memory from the frame layer. Context: any. */
void *loam_heap_try_alloc(struct loam_heap *heap, struct loami_heap_cpu *part, size_t nbytes);
LOAM_NODISCARD bool loam_heap_try_free(struct loam_heap *heap, struct loami_heap_cpu *part, void *object);
/* What may be tried next, with the same promises: an exchange with what the CPU has parked beside; in a hardened heap, what it can do at once. */
void *loam_heap_retry_alloc(struct loam_heap *heap, struct loami_heap_cpu *part, size_t nbytes);
LOAM_NODISCARD bool loam_heap_retry_free(struct loam_heap *heap, struct loami_heap_cpu *part, void *object);

/* Give an object back. NULL is nothing. Objects of typed caches may be given here too. */
void loam_heap_free(struct loam_heap *heap, void *object);
/* The same; panics when an object of @nbytes would be of another size. */
void loam_heap_free_sized(struct loam_heap *heap, void *object, size_t nbytes);

/**
 * loam_heap_realloc() - another size for an object.
 * Stays where it is when its place fits and would not be half idle; runs of frames shrink in place, and grow where the frames behind them are free.
 * Return: the object, or NULL and the object is as it was. NULL for @object: as loam_heap_alloc().
 */
void *loam_heap_realloc(struct loam_heap *heap, void *object, size_t nbytes);
/* Bytes that may be used at @object: at least what was asked for. 0 for NULL. */
size_t loam_heap_usable_size(struct loam_heap *heap, const void *object);

/* @n objects of one size into @out. Return: how many there are. free_bulk takes objects of any sizes. */
size_t loam_heap_alloc_bulk(struct loam_heap *heap, size_t nbytes, size_t n, void **out);
void loam_heap_free_bulk(struct loam_heap *heap, void *const *objects, size_t n);

/* The same with the caller's place, kept when the heap tracks: #define kmalloc(n) loam_heap_alloc_at(&kernel_heap, (n), LOAM_HERE). */
void *loam_heap_alloc_at(struct loam_heap *heap, size_t nbytes, const struct loam_call_site *site);
void loam_heap_free_at(struct loam_heap *heap, void *object, const struct loam_call_site *site);

/**
 * loam_heap_class() - the class of a size, at compile time where the size is a constant. For loam_heap_alloc_class().
 * @nbytes: 0 .. LOAM_HEAP_SMALL_MAX.
 */
static inline size_t loam_heap_class(size_t nbytes)
{
	unsigned int shift;

	if (nbytes <= 128)
		return 5 + (nbytes == 0 ? 0 : (nbytes - 1) / 16);
	for (shift = 7; (nbytes - 1) >> (shift + 1) != 0; shift++)
		;
	return 5 + 8 + (size_t)(shift - 7) * 4 + ((nbytes - 1) >> (shift - 2) & 3);
}
/* An object of the class @code, in a heap that has been set up: as loam_heap_alloc(), without looking the class up. */
void *loam_heap_alloc_class(struct loam_heap *heap, size_t code);
/* What a kmalloc() should be: the class is known when the size is a constant. */
static inline void *loam_heap_alloc_inline(struct loam_heap *heap, size_t nbytes)
{
	if (__builtin_constant_p(nbytes) && nbytes <= LOAM_HEAP_SMALL_MAX && __builtin_expect(heap->small_max != 0, 1))
		return loam_heap_alloc_class(heap, loam_heap_class(nbytes));
	return loam_heap_alloc(heap, nbytes);
}

/* ---- typed caches -------------------------------------------------------------------------------------------------------------------- */

/**
 * struct loam_cache_config - a cache for objects of one type. It shares no frame with any other.
 * @name: copied, up to 31 characters.   @nbytes: of an object, 1 .. LOAM_HEAP_SMALL_MAX.   @align: a power of two up to a page; 0: 16.
 * @construct: called once per place when its slab is made, not at each allocation: an object is to come back as it was constructed. It must not use the cache. May be NULL.
 */
struct loam_cache_config {
	const char *name;
	size_t nbytes;
	size_t align;
	void (*construct)(void *object, void *context);
	void *context;
};

/**
 * loam_heap_cache_create() - make a typed cache.
 * Return:  LOAM_OK and *@cache; LOAM_ERR_NOT_READY, LOAM_ERR_INVALID (no name), LOAM_ERR_ZERO_SIZE, LOAM_ERR_TOO_LARGE, LOAM_ERR_ALIGNMENT, LOAM_ERR_NO_METADATA; LOAM_ERR_LIMIT:
 *	    there are LOAM_HEAP_CACHES_MAX.
 * Context: task, interrupt.  Locks: registry, pages.
 */
LOAM_NODISCARD enum loam_status loam_heap_cache_create(struct loam_heap *heap, const struct loam_cache_config *config,
						       struct loam_heap_cache **cache);
/**
 * loam_heap_cache_destroy() - end a cache that nobody uses any more, on any CPU.
 * Return:  LOAM_OK; LOAM_ERR_INVALID: no cache of @heap; LOAM_ERR_IN_USE: objects live. Says on the console how many, and names some, with call sites when the heap tracks.
 * Context: task. Waits for CPUs that are giving memory back just now.
 */
LOAM_NODISCARD enum loam_status loam_heap_cache_destroy(struct loam_heap *heap, struct loam_heap_cache *cache);
/* As loam_heap_alloc() and loam_heap_free(). Free panics on an object that is not this cache's. */
void *loam_heap_cache_alloc(struct loam_heap_cache *cache);
void loam_heap_cache_free(struct loam_heap_cache *cache, void *object);
void *loam_heap_cache_alloc_at(struct loam_heap_cache *cache, const struct loam_call_site *site);
void loam_heap_cache_free_at(struct loam_heap_cache *cache, void *object, const struct loam_call_site *site);

/* ---- upkeep and accounting --------------------------------------------------------------------------------------------------------------- */

/**
 * loam_heap_trim() - give back what is idle: this CPU's caches, the depots, empty slabs, idle runs.
 * Other CPUs are asked for theirs, which they give at their next tick, or a magazine at each of their next refills and overflows; call it there to have it at once. It is the heap's shrinker.
 * Pinned for no more than a magazine at a time.
 * Return:  bytes given back to the frame layer.
 * Context: task, interrupt.  Locks: the caches', pages, the frame layer's, one after the other.
 */
size_t loam_heap_trim(struct loam_heap *heap);
/**
 * loam_heap_tick() - give back what this CPU has not needed since the last tick.
 *
 * A kernel that calls it about once a second on each CPU, from its timer or its idle loop, keeps caches no larger than the last second's work: full magazines that
 * nobody took in between go back to their slabs, and everything of a class of which nothing was allocated. Who never calls it gives back by trim and shrinker alone.
 *
 * Context: task, interrupt.  Locks: as loam_heap_trim().
 */
void loam_heap_tick(struct loam_heap *heap);
/* The same with every CPU's caches, for a machine at rest: no other CPU is inside the heap, e.g. before an audit. Context: task. */
size_t loam_heap_drain(struct loam_heap *heap);
/* Bytes parked in depots, which loam_heap_trim() gives back. Context: any. */
size_t loam_heap_depots_racy(const struct loam_heap *heap);
/* A CPU begins or ends to use the heap. Offline gives everything parked there back; call it on any CPU once @cpu runs no more code. LOAM_ERR_CPU, LOAM_ERR_NOT_READY. */
LOAM_NODISCARD enum loam_status loam_heap_cpu_online(struct loam_heap *heap, unsigned int cpu);
LOAM_NODISCARD enum loam_status loam_heap_cpu_offline(struct loam_heap *heap, unsigned int cpu);

/* Exact when read at rest (SPEC H5). */
struct loam_heap_stats {
	uint64_t allocated_bytes; /* ever, in usable sizes */
	uint64_t freed_bytes;
	uint64_t used_bytes;
	uint64_t peak_bytes; /* of used_bytes, as sampled when slabs and large objects are made and figures are read */
	uint64_t allocations;
	uint64_t frees;
	uint64_t total_bytes; /* memory the heap holds; total = used + free */
	uint64_t free_bytes;
	uintptr_t end; /* past the highest address it ever held */
};
void loam_heap_read_stats(const struct loam_heap *heap, struct loam_heap_stats *stats);

/* One size class or typed cache. @index counts from 0; LOAM_ERR_NOT_FOUND past the last. */
struct loam_heap_class_stats {
	const char *name; /* "size-64", or the typed cache's */
	size_t nbytes;
	uint64_t live;
	uint64_t cached; /* free, parked on CPUs or in the depot */
	uint64_t slots;  /* places in all its slabs */
	uint64_t frames;
};
LOAM_NODISCARD enum loam_status loam_heap_read_class_stats(const struct loam_heap *heap, size_t index,
							   struct loam_heap_class_stats *stats);

/* What an address is to the heap. */
enum loam_heap_place {
	LOAM_HEAP_OUTSIDE = 0,
	LOAM_HEAP_LIVE,  /* in a live object */
	LOAM_HEAP_FREE,  /* in a place for an object, free now */
	LOAM_HEAP_BUMP,  /* given out before init */
	LOAM_HEAP_INNER, /* the heap's own bookkeeping or slack */
};
struct loam_heap_object {
	uintptr_t start;
	size_t nbytes; /* usable */
	const char *class_name;
	const struct loam_call_site *allocated_at; /* NULL: unknown */
	const struct loam_call_site *freed_at;
	uint64_t sequence; /* of the allocation, when tracking; else 0 */
};
/* @object, which may be NULL, is filled in for LIVE, FREE and BUMP. Takes no lock, never faults; the answer may be stale, or INNER
 * where the heap gives back too fast. Context: any. */
enum loam_heap_place loam_heap_whereis(const struct loam_heap *heap, uintptr_t address,
				       struct loam_heap_object *object);
/* Told of each live object in the direct map (those in vmalloc areas are vmalloc's to tell). @visit must not call the heap. Return: how many. Context: task, interrupt. */
typedef void (*loam_heap_visit_fn)(void *context, const struct loam_heap_object *object);
size_t loam_heap_walk(struct loam_heap *heap, loam_heap_visit_fn visit, void *context);

/**
 * loam_heap_check() - every invariant of docs/theory/heap.md. The heap must be at rest.
 * Return:  LOAM_OK; LOAM_ERR_INVALID after saying on the console what is wrong; LOAM_ERR_NOT_READY.
 * Context: task.  Cost: a look at every frame for each cache.
 */
LOAM_NODISCARD enum loam_status loam_heap_check(struct loam_heap *heap);

#ifdef __cplusplus
}
#endif
#endif
