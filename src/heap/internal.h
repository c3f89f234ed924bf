/* heap/internal.h: what the heap's files share. docs/theory/heap.md tells the whole story; in short:
 *
 * region    64 KiB of physical memory, aligned, from the frame layer; its frames are dealt out to slabs. Beside it lies one frame of states:
 *           a byte for every 16 bytes of the region. heap->regions finds it from an address with one load.
 * state     one byte per place for an object, at the object's first 16 bytes: what is there. A live object's byte is its cache's code, so
 *           that free learns from one byte whether the pointer is good, whether the object is live, and where it goes.
 * slab      a run of a region's frames cut into places of one size. Its descriptor is the owner's part of the head frame's slot.
 * cache     a size class or a typed cache: slabs, and a depot of full magazines, under one lock.
 * magazine  an array of {object, its state byte}, loaded on a CPU, in a CPU's stock, or in a depot. Nothing is ever kept in a free object.
 */
#ifndef LOAMI_HEAP_INTERNAL_H
#define LOAMI_HEAP_INTERNAL_H

#include <base/atomic.h>
#include <base/bits.h>
#include <base/check.h>
#include <base/fail.h>
#include <base/lock.h>
#include <base/percpu.h>
#include <base/poison.h>
#include <base/print.h>

#include <loam/heap.h>

void *memcpy(void *restrict to, const void *restrict from, size_t nbytes);
void *memset(void *at, int byte, size_t nbytes);

/* ---- constants ----------------------------------------------------------------------------------------------------------- */

#define LOAMI_GRANULE_SHIFT 4
#define LOAMI_REGION_SHIFT 16
#define LOAMI_REGION_NBYTES ((size_t)1 << LOAMI_REGION_SHIFT)
#define LOAMI_REGION_FRAMES (LOAMI_REGION_NBYTES / LOAM_PAGE_SIZE)

/* State codes. From LOAMI_LIVE on: a live object of the cache with that code. The order is used: below LOAMI_FRESH it may be in a magazine, below LOAMI_LIVE it
 * is not live. */
enum {
	LOAMI_CACHED =
		0, /* in a magazine, freed before: what is stored most often, and 0 needs no register on many machines */
	LOAMI_FRESH_CACHED = 1, /* in a magazine, never handed out */
	LOAMI_FRESH = 2,        /* a place in its slab, never handed out */
	LOAMI_IN_SLAB = 3,      /* a place in its slab, freed before */
	LOAMI_NONE = 4,         /* no object starts here */
	LOAMI_LIVE = 5
};
#define LOAMI_FIRST_TYPED (LOAMI_LIVE + LOAM_HEAP_SIZE_CLASSES)
_Static_assert(LOAMI_LIVE + LOAM_HEAP_SIZE_CLASSES < LOAM_HEAP_CODES, "size classes leave codes for typed caches");
_Static_assert(LOAM_HEAP_CODES == 256, "a code is a byte, and every byte is a code");

/* What the heap uses a frame for: heap->kinds. */
enum {
	LOAMI_KIND_FOREIGN = 0, /* not the heap's */
	LOAMI_KIND_META,        /* states, magazines, records */
	LOAMI_KIND_SPARE,       /* of a region, in no slab */
	LOAMI_KIND_SLAB,        /* first frame of a slab */
	LOAMI_KIND_SLAB_TAIL,
	LOAMI_KIND_LARGE, /* first frame of a large object */
	LOAMI_KIND_LARGE_TAIL,
	LOAMI_KIND_IDLE, /* first frame of a run that was a large object and waits to be one again; its others stay LARGE_TAIL */
};

/* heap->state */
enum { LOAMI_HEAP_NEW = 0, LOAMI_HEAP_BUMP, LOAMI_HEAP_MAKING, LOAMI_HEAP_READY };

/* ---- structures ---------------------------------------------------------------------------------------------------------- */

struct loami_entry {
	void *object;
	uint8_t *state;
};

/* A magazine is full in a depot and in a stock; only the one loaded on a CPU is anything else. */
struct loami_magazine {
	struct loami_magazine *next;
	uint8_t *
		stop; /* lies where entry[-1].state would be: points at a byte that says live, so that popping an empty magazine is refused */
	struct loami_entry entry[]; /* capacity, then the wall, where pushing is refused */
};
_Static_assert(offsetof(struct loami_magazine, entry) == sizeof(struct loami_entry), "the header is entry -1");
#define LOAMI_WALL ((void *)0)   /* which many machines tell from others without a comparison */
#define LOAMI_UNUSED ((void *)1) /* what an entry holds that never held an object */

/* One CPU's part of one cache, beside the loaded magazine's top. */
struct loami_stock {
	struct loami_magazine *loaded;
	struct loami_magazine *full;
	struct loami_magazine *empty;
	uint32_t nfull;
	uint16_t nempty;
	uint16_t nheld; /* in quarantine */
	uint32_t least; /* full magazines there have been all the time since the last tick */
	uint32_t seen;  /* of allocs, at the last tick */
};

/* An object in quarantine, in a hardened heap. */
#define LOAMI_HELD 256
struct loami_held {
	struct loami_entry entry;
	uint64_t code;
};

/* What the hardened profile consists of: harden.c. It has all of them; only the copies that one bench makes to price each by itself (bench/heap_prices.c) have fewer. */
enum {
	LOAMI_HARDEN_EXCHANGE = 1,
	LOAMI_HARDEN_CANARY = 2,
	LOAMI_HARDEN_ZERO = 4,
	LOAMI_HARDEN_QUARANTINE = 8,
	LOAMI_HARDEN_ORDER = 16,
};
#ifndef LOAMI_HARDEN_PARTS
#define LOAMI_HARDEN_PARTS 31
#endif
#define LOAMI_HARDENS(part) ((LOAMI_HARDEN_PARTS & LOAMI_HARDEN_##part) != 0)

#define LOAMI_CANARY_NBYTES (LOAMI_HARDENS(CANARY) ? 8 : 0)

/* Only its CPU touches it, with @busy set; at rest anybody may read. A top that points at @wall is both empty and full. */
struct loami_heap_cpu {
	uint64_t
		idle; /* nobody is inside: loami_idle_value(). Where the heap tracks or is hardened somebody always is: there is no fast path then */
	struct loami_entry *top[LOAM_HEAP_CODES];
	uint64_t allocs[LOAM_HEAP_CODES - LOAMI_LIVE]; /* loami_cpu_allocs() */
	struct loami_entry below;                      /* entry -1 of the wall: {LOAMI_UNUSED, &live} */
	struct loami_entry wall;                       /* {LOAMI_WALL, &live} */
	uint64_t inside;                               /* what says so there instead */
	uint8_t live;                                  /* a byte that says live */
	bool online;
	uint32_t drain;           /* (a) another CPU asks for what is parked here */
	uint32_t draining;        /* the code that is next to be given back; 0: none */
	uint64_t random;          /* where the heap is hardened, as what follows */
	struct loami_held *held;  /* LOAMI_HELD of typed caches */
	struct loami_held *aside; /* LOAMI_HELD of size classes */
	struct loam_lock
		holding; /* guards @held and typed caches' nheld: whoever destroys one takes its objects out of every CPU's quarantine */
	struct loami_stock stock[LOAM_HEAP_CODES];
};
/* Where memory is an operand of a multiplication, that is one instruction; elsewhere it is up to four more than a shift, for each allocation and each free. */
#ifdef LOAMI_ADDS_TO_MEMORY
#define LOAMI_CPU_STRIDE ((sizeof(struct loami_heap_cpu) + LOAM_CPU_ALIGN - 1) / LOAM_CPU_ALIGN * LOAM_CPU_ALIGN)
#define LOAMI_CPU_OFFSET(cpu) ((uint32_t)((cpu) * (uint32_t)LOAMI_CPU_STRIDE))
#else
#define LOAMI_CPU_STRIDE ((size_t)1 << 14)
#define LOAMI_CPU_OFFSET(cpu) ((size_t)(cpu)*LOAMI_CPU_STRIDE)
#endif
_Static_assert(sizeof(struct loami_heap_cpu) <= LOAMI_CPU_STRIDE && LOAMI_CPU_STRIDE % LOAM_CPU_ALIGN == 0,
	       "a CPU's part has its place");
_Static_assert(LOAMI_CPU_STRIDE *LOAM_CPUS_MAX <= UINT32_MAX, "all CPUs' parts lie within 32 bits of an offset");

static inline struct loami_heap_cpu *loami_heap_cpu(const struct loam_heap *heap, unsigned int cpu)
{
	return LOAMI_ADDRESS((struct loami_heap_cpu *)(void *)((char *)heap->cpus + LOAMI_CPU_OFFSET(cpu)));
}

/* Objects of a cache that the CPU has handed out. No cache has a lower code, so that the counts begin right behind the tops: close enough for one instruction to reach them, from
 * where it has the top, on any machine. */
static inline uint64_t *loami_cpu_allocs(struct loami_heap_cpu *cpu, uint64_t code)
{
	return (uint64_t *)(void *)((char *)cpu + offsetof(struct loami_heap_cpu, allocs) +
				    (code - LOAMI_LIVE) * sizeof(uint64_t));
}

/* The word of a CPU that is not online. Where it is counted it is so large that threads which are all one CPU that is never online may count it up and down at once, and lose some. */
#define LOAMI_OFFLINE (LOAMI_NEVER_IDLE << 46)

static inline void loami_cpu_say_online(const struct loam_heap *heap, struct loami_heap_cpu *cpu, bool online)
{
	cpu->online = online;
	cpu->inside = online ? loami_idle_value(&cpu->inside) : LOAMI_OFFLINE;
	cpu->idle = !online ? LOAMI_OFFLINE : heap->slow_only ? LOAMI_NEVER_IDLE : loami_idle_value(&cpu->idle);
}

/* What must be set around everything that touches a CPU's part. */
static inline uint64_t *loami_cpu_idle(const struct loam_heap *heap, struct loami_heap_cpu *cpu)
{
	return heap->slow_only ? &cpu->inside : &cpu->idle;
}

/* The owner's part of a slot: next, prev and this. In the head frame of a slab next and prev link it into its cache's list. */
struct loami_slab {
	uint8_t code;
	uint8_t nframes;
	uint16_t nslots;
	uint16_t nfree;   /* in the slab, not those in magazines */
	uint16_t cursor;  /* no free place before this one */
	uint64_t records; /* address of its struct loami_record array when the heap tracks, else 0 */
};
/* In the other frames of a slab. */
struct loami_slab_tail {
	uint64_t head; /* frame number */
	uint64_t unused;
};
/* In a region's state frame; next and prev link it. */
struct loami_region {
	uint16_t owned; /* frames of the 64 KiB that are the heap's */
	uint16_t spare; /* of them, in no slab */
	uint32_t number;
	uint64_t list; /* it is on: 0 none, 1 .. 16 a run of so many frames is spare, LOAMI_REGION_IDLE all of it is */
};
#define LOAMI_REGION_IDLE 17
/* In a frame of small pieces of metadata. */
struct loami_pieces {
	uint64_t spare; /* a bit per piece */
	uint32_t shift;
	uint32_t unused;
};
/* In the head frame of a large object; next holds the call site, prev the sequence number. */
struct loami_large {
	uint64_t npages;
	uint64_t freed_at; /* call site, of an idle run */
};

/* What is known of a place when the heap tracks. */
struct loami_record {
	const struct loam_call_site *allocated_at;
	const struct loam_call_site *freed_at;
	uint64_t sequence; /* 0: never handed out */
};

#define LOAMI_TAIL(type, slot) ((type *)(void *)(slot)->tail)
_Static_assert(offsetof(struct loam_slot, tail) % 8 == 0, "the tail holds words");
_Static_assert(sizeof(struct loami_slab) == 16 && sizeof(struct loami_region) == 16 &&
		       sizeof(struct loami_pieces) == 16 && sizeof(struct loami_large) == 16 &&
		       sizeof(struct loami_slab_tail) == 16,
	       "each fits the 16 bytes a slot leaves its owner");

/* ---- addresses ----------------------------------------------------------------------------------------------------------- */

static inline loam_pfn loami_heap_pfn(const struct loam_heap *heap, const void *at)
{
	return heap->first + (((uintptr_t)at - heap->base) >> LOAM_PAGE_SHIFT);
}

static inline void *loami_heap_virt(const struct loam_heap *heap, loam_pfn pfn)
{
	return (void *)(heap->base + ((uintptr_t)(pfn - heap->first) << LOAM_PAGE_SHIFT));
}

static inline bool loami_heap_in_window(const struct loam_heap *heap, const void *at)
{
	return ((uintptr_t)at - heap->base) >> LOAMI_REGION_SHIFT < heap->nregions;
}

/* The code of @pfn's frame. */
static inline uint8_t *loami_heap_code(const struct loam_heap *heap, loam_pfn pfn)
{
	return &heap->codes[(uintptr_t)loami_heap_virt(heap, pfn) >> LOAM_PAGE_SHIFT];
}

static inline uint8_t loami_heap_kind(const struct loam_heap *heap, loam_pfn pfn)
{
	return loami_load_acquire(&heap->kinds[pfn - heap->first]);
}

/* Something is about to be given back that whoever looks without a lock may be reading: what it reads from now on is not believed (walk.c). */
static inline void loami_heap_forget(struct loam_heap *heap)
{
	(void)loami_fetch_add(&heap->forgotten, 1);
}

static inline void loami_heap_set_kind(struct loam_heap *heap, loam_pfn pfn, uint8_t kind)
{
	if (kind != LOAMI_KIND_FOREIGN && pfn >= loami_load_relaxed(&heap->highest))
		loami_store_relaxed(&heap->highest, pfn + 1);
	loami_store_release(&heap->kinds[pfn - heap->first], kind);
}

static inline struct loam_slot *loami_heap_slot(const struct loam_heap *heap, loam_pfn pfn)
{
	return loam_frame_slot(heap->frames, pfn);
}

/* The byte for @at, which lies in the window. Where there is no region it is one that says NONE. */
static inline uint8_t *loami_heap_state(const struct loam_heap *heap, const void *at)
{
	uintptr_t offset = (uintptr_t)at - heap->base;

	return loami_load_relaxed(&heap->regions[offset >> LOAMI_REGION_SHIFT]) + (offset >> LOAMI_GRANULE_SHIFT);
}

/* The slab around @at, whose frame's kind is SLAB or SLAB_TAIL. Return: its head frame. */
static inline loam_pfn loami_slab_head(const struct loam_heap *heap, loam_pfn pfn)
{
	if (loami_heap_kind(heap, pfn) == LOAMI_KIND_SLAB)
		return pfn;
	return loami_load_relaxed(&LOAMI_TAIL(struct loami_slab_tail, loami_heap_slot(heap, pfn))->head);
}

static inline struct loami_slab *loami_slab_at(const struct loam_heap *heap, loam_pfn head)
{
	return LOAMI_TAIL(struct loami_slab, loami_heap_slot(heap, head));
}

/* The code of a cache that is being destroyed: no longer to be found, not yet to be given to another. */
#define LOAMI_CACHE_GOING ((struct loam_heap_cache *)1)

static inline struct loam_heap_cache *loami_cache_of(const struct loam_heap *heap, unsigned int code)
{
	struct loam_heap_cache *cache = loami_load_acquire(&heap->caches[code]);

	return cache == LOAMI_CACHE_GOING ? NULL : cache;
}

/* For an address sanitizer: @object has an owner, or has none. Nothing in other builds. */
static inline void loami_object_owned(const struct loam_heap *heap, unsigned int code, const void *object)
{
#ifdef LOAMI_POISONS
	const struct loam_heap_cache *cache = loami_cache_of(heap, code);

	/* The canary is the library's to look at. */
	loami_unpoison(object, heap->hardened ? cache->nbytes : cache->usable);
#else
	(void)heap, (void)code, (void)object;
#endif
}
static inline void loami_object_free(const struct loam_heap *heap, unsigned int code, const void *object)
{
#ifdef LOAMI_POISONS
	const struct loam_heap_cache *cache = loami_cache_of(heap, code);

	/* The canary stays the library's: another free, racing with this one, may be about to look at it. */
	loami_poison(object, heap->hardened ? cache->nbytes - LOAMI_CANARY_NBYTES : cache->nbytes);
#else
	(void)heap, (void)code, (void)object;
#endif
}

/* A look at a cache by its code, by somebody who has none of its objects: it stays until the look ends. Pinned meanwhile, so that destroy need not wait for a task
 * that does not run. */
struct loami_visit {
	struct loam_heap_cache *cache;
	struct loam_pin pin;
};
/* Return: false, and nothing to end, when there is no such cache. */
bool loami_visit_begin(struct loam_heap *heap, unsigned int code, struct loami_visit *visit);
void loami_visit_end(struct loami_visit *visit);

/* Where large objects go when no run of frames is to be had; NULL: nowhere. A build whose heaps never have any says so, and has none of that code. */
static inline struct loam_vm *loami_heap_vm(const struct loam_heap *heap)
{
#ifdef LOAMI_HEAP_WITHOUT_AREAS
	(void)heap;
	return NULL;
#else
	return heap->vm;
#endif
}

static inline bool loami_heap_ready(const struct loam_heap *heap)
{
	return loami_load_acquire(&heap->state) == LOAMI_HEAP_READY;
}

/* Why an operation could not be done, for loam_heap_last_failure(). */
static inline void *loami_heap_fail(struct loam_heap *heap, enum loam_status status)
{
	loami_store_relaxed(&heap->failure, (uint32_t)status);
	return NULL;
}

/* ---- classes.c ----------------------------------------------------------------------------------------------------------- */

/* Code of the least class that holds @nbytes, by (nbytes + 15) / 16. */
extern const uint8_t loami_class_codes[LOAM_HEAP_SMALL_MAX / 16 + 1];
/* Fill in what follows from a cache's size. */
void loami_cache_shape(struct loam_heap_cache *cache, uint64_t ram_frames);
#define LOAMI_SLAB_FRAMES_GROWN 8 /* a slab grows to that */
#define LOAMI_SLAB_FRAMES_MAX LOAMI_REGION_FRAMES
/* Frames of the next slab, when there are @nslabs. */
unsigned int loami_slab_frames(const struct loam_heap_cache *cache, uint64_t nslabs);
void loami_classes_init(struct loam_heap *heap, uint64_t ram_frames);

static inline unsigned int loami_class_code(size_t nbytes)
{
	return loami_class_codes[(nbytes + 15) >> 4];
}

/* ---- pages.c: frames for everything ---------------------------------------------------------------------------------------- */

/* Lists through slots, linked by frame number. */
void loami_list_push(struct loam_heap *heap, uint64_t *list, loam_pfn pfn);
void loami_list_remove(struct loam_heap *heap, uint64_t *list, loam_pfn pfn);
/* The longest run of ones in a mask of a region's frames. */
unsigned int loami_longest_run(uint16_t mask);
/* A region that is none of the heap's: its addresses find states that say NONE. */
void loami_region_forget(struct loam_heap *heap, uint32_t region);
/* A run of @n (1..16) frames of one region for a slab. @reclaim: may run shrinkers; then no lock is held. LOAM_PFN_NONE: there is none. */
loam_pfn loami_run_alloc(struct loam_heap *heap, unsigned int n, bool reclaim);
void loami_run_free(struct loam_heap *heap, loam_pfn first, unsigned int n);
/* A piece of metadata of 64..4096 bytes, a power of two, aligned to itself; NULL: none. Contents undefined. */
void *loami_piece_alloc(struct loam_heap *heap, size_t nbytes);
void loami_piece_free(struct loam_heap *heap, void *piece, size_t nbytes);
/* Whole frames of metadata, contiguous. */
void *loami_meta_alloc(struct loam_heap *heap, unsigned int order);
void loami_meta_free(struct loam_heap *heap, void *at, unsigned int order);
/* Regions wholly free go back. Return: frames given back. */
size_t loami_regions_trim(struct loam_heap *heap);

/* ---- slab.c: all with the cache's lock held unless said otherwise ------------------------------------------------------------ */

/* One more slab. No lock held. */
enum loam_status loami_slab_create(struct loam_heap_cache *cache);
/* Up to @n free places into @out, states CACHED or FRESH_CACHED. Return: how many. */
size_t loami_slab_take(struct loam_heap_cache *cache, struct loami_entry *out, size_t n);
/* A place back into its slab; false, and nothing changed, when it is not CACHED or FRESH_CACHED: it has been freed twice. */
bool loami_slab_put(struct loam_heap_cache *cache, const struct loami_entry *entry);
/* Empty slabs beyond @keep go back to their region. */
void loami_slabs_trim(struct loam_heap_cache *cache, unsigned int keep);

/* ---- magazine.c ---------------------------------------------------------------------------------------------------------------- */

/* Make a CPU's part, which is all zero. Not online: it is served under locks. */
void loami_cpu_init(struct loam_heap *heap, unsigned int index, bool online);
/* What CPU @index has parked for every cache, back to slabs. That CPU runs nothing. */
void loami_cpu_flush(struct loam_heap *heap, unsigned int index);
/* What this CPU has parked, for each cache all of it or (@idle) what it has not needed since the last time; a magazine at a time, pinned only for each. Return: the CPU. */
unsigned int loami_cpu_flush_here(struct loam_heap *heap, bool idle);
/* The same for one cache. */
void loami_cpu_flush_cache(struct loam_heap_cache *cache, unsigned int cpu);
/* Only what is in quarantine there; the CPU may be at work. */
void loami_cpu_flush_held(struct loam_heap_cache *cache, unsigned int index);
void loami_depot_flush(struct loam_heap_cache *cache);
/* Has another CPU asked for what is parked here? It counts as answered. */
bool loami_cpu_asked(struct loam_heap *heap);
/* The full magazines that the depot has not needed since the last time. */
void loami_depot_age(struct loam_heap_cache *cache);
/* An object of @cache by any way there is; NULL when there is no memory. Not pinned, nothing held. */
void *loami_alloc_slow(struct loam_heap_cache *cache);
/* An empty loaded magazine for a full one of the CPU's stock; a full one for an empty one. The CPU is pinned, and not busy. False: nothing has changed. */
bool loami_stock_refill(struct loam_heap_cache *cache, struct loami_heap_cpu *cpu);
bool loami_stock_spill(struct loam_heap_cache *cache, struct loami_heap_cpu *cpu);
/* Give back an object whose state this CPU has just changed from live to CACHED. */
void loami_free_slow(struct loam_heap_cache *cache, const struct loami_entry *entry);
/* Objects of a cache that are parked on CPU @index, by a racy look. */
uint64_t loami_cpu_cached(const struct loam_heap *heap, unsigned int index, const struct loam_heap_cache *cache);
/* Say what a slab's count gave away, if anything did. Not pinned, nothing held. */
void loami_heap_report(struct loam_heap *heap);
/* Take note of the bytes in use now. */
void loami_heap_sample_peak(struct loam_heap *heap);

/* Shrinker of the frame layer. */
size_t loami_heap_shrink(struct loam_shrinker *self, size_t npages);

/* ---- large.c ------------------------------------------------------------------------------------------------------------------- */

void *loami_large_alloc(struct loam_heap *heap, size_t nbytes, size_t align, bool zero,
			const struct loam_call_site *site);
/* @object's frame is of kind LARGE, or it is no frame of the window. False: it is no live large object's start. */
bool loami_large_free(struct loam_heap *heap, void *object, const struct loam_call_site *site);
/* Idle runs go back to the frame layer. Return: frames given back. */
size_t loami_large_trim(struct loam_heap *heap);
/* Bytes of the live large object that starts at @object; 0: none does. */
size_t loami_large_size(const struct loam_heap *heap, const void *object);
/* Make it @nbytes long where it is. */
bool loami_large_resize(struct loam_heap *heap, void *object, size_t nbytes);

/* ---- harden.c: in a hardened heap ------------------------------------------------------------------------------------------------ */

/* The CPU is busy for these. */
void loami_harden_shuffle(struct loami_heap_cpu *cpu, struct loami_entry *entries, size_t n);
/* Put *@entry into quarantine. True: *@entry and *@cache are now those to go on with, until loami_harden_parked(); false: there is none. */
bool loami_harden_hold(struct loami_heap_cpu *cpu, struct loam_heap_cache **cache, struct loami_entry *entry);
/* ... and it has been parked: the visit that began with it ends. */
void loami_harden_parked(struct loam_heap_cache *cache);
/* Up to @n of a cache's objects out of quarantine. */
size_t loami_harden_release(struct loami_heap_cpu *cpu, const struct loam_heap_cache *cache, struct loami_entry *out,
			    size_t n);
/* An object is handed out: it must have stayed zero. */
void loami_harden_alloc(const struct loam_heap_cache *cache, void *object);
/* An object comes back, before anything changes: its canary must be whole. False: another free was quicker. */
bool loami_harden_free(const struct loam_heap_cache *cache, void *object, uint8_t *state);
/* Of a size class, what this CPU can do at once; false: nothing has been changed, or said. Where heap->harden_quick; pinned, and not busy. */
bool loami_harden_pop(struct loam_heap *heap, struct loami_heap_cpu *cpu, unsigned int code, void **object);
bool loami_harden_push(struct loam_heap *heap, struct loami_heap_cpu *cpu, void *object, uint8_t *state);

/* ---- bump.c ---------------------------------------------------------------------------------------------------------------------- */

void *loami_bump_alloc(struct loam_heap *heap, size_t nbytes, size_t align);
static inline bool loami_bump_holds(const struct loam_heap *heap, const void *at)
{
	return (uintptr_t)at - heap->bump_start < heap->bump_end - heap->bump_start;
}
/* Bytes of the allocation that starts at @object; 0: none does. */
size_t loami_bump_size(const struct loam_heap *heap, const void *object);

/* ---- misuse.c -------------------------------------------------------------------------------------------------------------------- */

/* Say what is wrong with freeing (@verb "free", "sized free" ...) @object, which is no live object of small size. Returns only when, looked at again, it is one. */
void loami_refuse(const struct loam_heap *heap, const char *verb, const void *object,
		  const struct loam_call_site *site);
/* The record of a place, when the heap tracks; else NULL. */
struct loami_record *loami_record_of(const struct loam_heap *heap, const void *object);

/* ---- walk.c ---------------------------------------------------------------------------------------------------------------------- */

/* A place in a slab and what is there, read without a lock. */
struct loami_slab_view {
	uintptr_t start; /* of the place; 0: behind the last one */
	struct loam_heap_cache *cache;
	const struct loam_call_site *allocated_at;
	const struct loam_call_site *freed_at;
	uint64_t sequence;
	uint32_t usable;
	uint8_t state;
	char name[32];
};
/* False: the slab is just being made or given back, or its cache is, and nothing of @view is to be believed. */
bool loami_slab_look(const struct loam_heap *heap, uintptr_t address, struct loami_slab_view *view);

#endif
