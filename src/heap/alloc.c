/* heap/alloc.c: allocating and freeing.
 *
 * The fast paths are pop() and push(): pin, busy, one entry of the loaded magazine, one state byte. They know nothing else: whatever is special folds into one
 * test. An empty magazine has, where its entry -1 would be, a state that says live; a full one has the wall behind its last entry; a cache without a loaded
 * magazine and every code that is no cache have a top at a wall of their CPU's that is both. Where the heap tracks, every CPU's word idle is taken for ever: all goes the
 * slow way round, where everything is looked at again from the start. Before init small_max and nregions are 0, with the same effect.
 *
 * free() proves its pointer by arithmetic and one byte. Turned right by 4, an address that is misaligned or out of the window is a granule number out of the window. A
 * granule within it has a state; it is a cache's code only where a live object of that cache starts.
 */
#include "internal.h"

/* What the fast paths cost that do not prove anything is measured on this file, compiled once more for one bench (bench/heap_prices.c). There a pair on CPU 0 from and to a loaded magazine goes well,
 * and nothing else: states are neither looked at nor kept. */
#ifdef LOAMI_HEAP_UNPROVEN
enum { PROVES = false };
#else
enum { PROVES = true };
#endif

/* ---- fast ------------------------------------------------------------------------------------------------------------------------ */

/* Only this CPU and its interrupts touch what is accessed here, and busy keeps those out; the barriers keep it in order. What others may look at (a state, a top, a
 * count) is stored as words that are not torn. */

/* How words of the CPU's change. ADDED is the fewest instructions: each adds to memory. STORED is the shortest wait, by a tenth of a pair: an addition loads once more, behind
 * the store of the call before. Where nothing is added to memory, STORED is both. */
enum how { ADDED, STORED };
#ifdef LOAMI_ADDS_TO_MEMORY
enum { FEWEST = ADDED };
#else
enum { FEWEST = STORED };
#endif

static inline __attribute__((always_inline)) bool enter(struct loami_heap_cpu *cpu, enum how how)
{
	return LOAMI_LIKELY(how == ADDED ? loami_idle_enter(&cpu->idle) : loami_idle_take(&cpu->idle));
}

/* The same part as if its @code were 0: so an address serves for both the top and the count of allocations. */
static inline struct loami_heap_cpu *shifted(struct loami_heap_cpu *cpu, uint64_t code)
{
	_Static_assert(sizeof(void *) == sizeof(cpu->allocs[0]), "tops and counts are shifted alike");
	return (struct loami_heap_cpu *)(void *)((char *)cpu + code * sizeof(cpu->allocs[0]));
}

static inline __attribute__((always_inline)) bool pop_from(struct loam_heap *heap, struct loami_heap_cpu *cpu,
							   uint64_t code, void **object, enum how how)
{
	if (enter(cpu, how)) {
		struct loami_heap_cpu *part = how == STORED ? LOAMI_OPAQUE(shifted(cpu, code)) : NULL;
		struct loami_entry *top = how == STORED ? part->top[0] : cpu->top[code];
		uint8_t *state = top[-1].state;

		if (LOAMI_LIKELY(PROVES ? *state < LOAMI_FRESH : state != &cpu->live)) {
			/* Opaque: an instruction less for each address GCC does not keep. */
			*object = LOAMI_OPAQUE(top[-1].object);
			/* In this order: a thread that a fork leaves behind in between has lost it. The other way round it would be live and in a magazine. */
			if (how == STORED)
				loami_store_relaxed(&part->top[0], top - 1);
			if (PROVES)
				loami_store_relaxed(state, (uint8_t)code);
			if (how == ADDED) {
				code = LOAMI_OPAQUE(code);
				loami_count(&cpu->top[code], -1);
				code = LOAMI_OPAQUE(code);
				loami_count(loami_cpu_allocs(cpu, code), 1);
			} else {
				loami_count(loami_cpu_allocs(part, 0), 1);
			}
			loami_object_owned(heap, (unsigned int)code, *object);
			loami_idle_leave(&cpu->idle);
			return true;
		}
		loami_idle_leave(&cpu->idle);
	}
	return false;
}

static inline __attribute__((always_inline)) bool push_to(struct loam_heap *heap, struct loami_heap_cpu *cpu,
							  void *object, uint8_t *state, uint64_t code, enum how how)
{
	if (enter(cpu, how)) {
		struct loami_heap_cpu *part = how == STORED ? LOAMI_OPAQUE(shifted(cpu, code)) : NULL;
		struct loami_entry *top = how == STORED ? part->top[0] : cpu->top[code];

		if (LOAMI_LIKELY(top->object != LOAMI_WALL)) {
			if (PROVES)
				loami_store_relaxed(state, LOAMI_CACHED);
			loami_object_free(heap, (unsigned int)code, object);
			*top = (struct loami_entry){object, state};
			if (how == ADDED)
				loami_count(&cpu->top[code], 1);
			else
				loami_store_relaxed(&part->top[0], top + 1);
			loami_idle_leave(&cpu->idle);
			return true;
		}
		loami_idle_leave(&cpu->idle);
	}
	return false;
}

static inline __attribute__((always_inline)) bool pop(struct loam_heap *heap, uint64_t code, void **object)
{
	struct loam_pin pin = loam_port_pin();
	bool got = pop_from(heap, loami_heap_cpu(heap, pin.cpu), code, object, (enum how)FEWEST);

	loam_port_unpin(pin);
	return got;
}

static inline __attribute__((always_inline)) bool push(struct loam_heap *heap, void *object, uint8_t *state,
						       uint64_t code)
{
	struct loam_pin pin = loam_port_pin();
	bool taken = push_to(heap, loami_heap_cpu(heap, pin.cpu), object, state, code, (enum how)FEWEST);

	loam_port_unpin(pin);
	return taken;
}

/* The number of the 16 bytes @object starts at, counted from the window's start. Turned, not shifted: what is misaligned or out of the window is far out of it. */
static inline uintptr_t granule_of(const struct loam_heap *heap, const void *object)
{
	uintptr_t offset = (uintptr_t)object - heap->base;

	return offset >> LOAMI_GRANULE_SHIFT | offset << (sizeof(offset) * 8 - LOAMI_GRANULE_SHIFT);
}

static inline uintptr_t region_of(uintptr_t granule)
{
	return granule >> (LOAMI_REGION_SHIFT - LOAMI_GRANULE_SHIFT);
}

static inline uint8_t *state_of(const struct loam_heap *heap, uintptr_t granule)
{
	return heap->regions[region_of(granule)] + granule;
}

/* What a state says, looked at once. */
static inline uint64_t said(const uint8_t *state)
{
	return LOAMI_OPAQUE((uint64_t)loami_glance(state));
}

/* @state says @code, by which the object then goes. The compiler is not to put the byte in the code's place, which is the same and comes later: it was stored just now, or
 * is far away, and a top whose address is not known holds up whoever loads another (docs/why/062). */
#define SAYS(state, code) LOAMI_LIKELY(said(state) == ((code) = LOAMI_OPAQUE(code)))

/* ---- the slow way round -------------------------------------------------------------------------------------------------------------- */

static void note_alloc(struct loam_heap *heap, const void *object, const struct loam_call_site *site)
{
	struct loami_record *record = heap->track ? loami_record_of(heap, object) : NULL;

	if (!record)
		return;
	loami_store_relaxed(&record->allocated_at, site);
	loami_store_relaxed(&record->sequence, loami_fetch_add_relaxed(&heap->sequence, 1) + 1);
}

static unsigned int class_of(size_t nbytes)
{
	return nbytes <= LOAM_HEAP_SMALL_MAX ? loami_class_code(nbytes) : LOAMI_FIRST_TYPED;
}

/* The least class that holds @nbytes and whose places are aligned to @align; NULL: none, it is a large object. */
static struct loam_heap_cache *class_for(struct loam_heap *heap, size_t nbytes, size_t align)
{
	if (nbytes > LOAM_HEAP_SMALL_MAX || align > LOAM_PAGE_SIZE)
		return NULL;
	nbytes += heap->hardened ? LOAMI_CANARY_NBYTES : 0;
	for (unsigned int code = class_of(nbytes); code < LOAMI_FIRST_TYPED; code++)
		if (heap->sizes[code - LOAMI_LIVE].nbytes % align == 0)
			return &heap->sizes[code - LOAMI_LIVE];
	return NULL;
}

static void *alloc_early(struct loam_heap *heap, size_t nbytes, size_t align, bool zero)
{
	void *object = NULL;

	if (loami_load_acquire(&heap->state) == LOAMI_HEAP_NEW || heap->bump_end == 0)
		return loami_heap_fail(heap, LOAM_ERR_NOT_READY);
	object = loami_bump_alloc(heap, nbytes, align);
	if (object && zero)
		memset(object, 0, nbytes);
	return object;
}

/* In a hardened heap, what can be done at once. */
static bool alloc_hardened(struct loam_heap *heap, size_t nbytes, void **object)
{
	struct loam_pin pin = loam_port_pin();
	bool got = loami_harden_pop(heap, loami_heap_cpu(heap, pin.cpu), loami_class_code(nbytes + LOAMI_CANARY_NBYTES),
				    object);

	loam_port_unpin(pin);
	return got;
}

static bool free_hardened(struct loam_heap *heap, void *object)
{
	uintptr_t granule = granule_of(heap, object);
	struct loam_pin pin;
	bool taken;

	if (region_of(granule) >= heap->nregions)
		return false;
	pin = loam_port_pin();
	taken = loami_harden_push(heap, loami_heap_cpu(heap, pin.cpu), object, state_of(heap, granule));
	loam_port_unpin(pin);
	return taken;
}

static __attribute__((noinline)) void *alloc_general(struct loam_heap *heap, size_t nbytes, size_t align, bool zero,
						     const struct loam_call_site *site)
{
	struct loam_heap_cache *cache;
	void *object;

	LOAMI_NOT_FROM_NMI();
	/* It has been zeroed. */
	if (heap->harden_quick && nbytes <= LOAM_HEAP_SMALL_MAX - LOAMI_CANARY_NBYTES && align == LOAM_HEAP_MIN_ALIGN &&
	    alloc_hardened(heap, nbytes, &object))
		return object;
	if (align == 0 || !loami_is_power_of_two(align))
		return loami_heap_fail(heap, LOAM_ERR_ALIGNMENT);
	if (!loami_heap_ready(heap))
		return alloc_early(heap, nbytes, align, zero);
	cache = class_for(heap, nbytes, align);
	if (!cache)
		return loami_large_alloc(heap, nbytes, align, zero, site);
	object = loami_alloc_slow(cache);
	/* Frames in a row are not to be had: an area may be. */
	if (!object && nbytes > LOAM_PAGE_SIZE)
		return loami_large_alloc(heap, nbytes, align, zero, site);
	if (!object)
		return NULL;
	note_alloc(heap, object, site);
	if (zero)
		memset(object, 0, nbytes);
	return object;
}

/* False: it has been freed since @state was looked at. */
static bool free_small(struct loam_heap *heap, void *object, uint8_t *state, unsigned int code,
		       const struct loam_call_site *site)
{
	struct loami_entry entry = {object, state};
	struct loami_record *record = heap->track ? loami_record_of(heap, object) : NULL;

	if (!heap->hardened)
		loami_store_relaxed(state, LOAMI_CACHED);
	else if (!loami_harden_free(loami_cache_of(heap, code), object, state))
		return false;
	if (record)
		loami_store_relaxed(&record->freed_at, site);
	loami_object_free(heap, code, object);
	loami_free_slow(loami_cache_of(heap, code), &entry);
	return true;
}

/* The state byte of a live small object that starts at @object, and what it said: looked at once, for another free may be at it. NULL: there is none. */
static uint8_t *live_state(const struct loam_heap *heap, const void *object, unsigned int *code)
{
	uint8_t *state;

	if (!loami_heap_ready(heap) || !loami_heap_in_window(heap, object) ||
	    (uintptr_t)object % LOAM_HEAP_MIN_ALIGN != 0)
		return NULL;
	state = loami_heap_state(heap, object);
	*code = loami_load_relaxed(state);
	/* No cache: it is just being destroyed, and says so in misuse.c. */
	return *code >= LOAMI_LIVE && loami_cache_of(heap, *code) ? state : NULL;
}

static __attribute__((noinline)) void free_general(struct loam_heap *heap, void *object, const char *verb,
						   const struct loam_call_site *site)
{
	unsigned int code;
	uint8_t *state;

	LOAMI_NOT_FROM_NMI();
	if (!object || (heap->harden_quick && free_hardened(heap, object)))
		return;
	for (;;) {
		if (loami_bump_size(heap, object) != 0) {
			(void)loami_fetch_add_relaxed(&heap->bump_frees, 1);
			return;
		}
		state = live_state(heap, object, &code);
		if (state && free_small(heap, object, state, code, site))
			return;
		if (loami_heap_ready(heap) && loami_large_free(heap, object, site))
			return;
		loami_refuse(heap, verb, object, site);
	}
}

static size_t size_of(struct loam_heap *heap, const void *object, const char *verb, const struct loam_call_site *site)
{
	for (;;) {
		size_t nbytes = loami_bump_size(heap, object);
		unsigned int code;

		if (nbytes != 0)
			return nbytes;
		if (live_state(heap, object, &code))
			return loami_cache_of(heap, code)->usable;
		nbytes = loami_heap_ready(heap) ? loami_large_size(heap, object) : 0;
		if (nbytes != 0)
			return nbytes;
		loami_refuse(heap, verb, object, site);
	}
}

/* ---- public --------------------------------------------------------------------------------------------------------------------------- */

LOAMI_LEAF void *loam_heap_alloc(struct loam_heap *heap, size_t nbytes)
{
	void *object;

	if (LOAMI_LIKELY(nbytes <= heap->small_max) && LOAMI_LIKELY(pop(heap, loami_class_code(nbytes), &object)))
		return object;
	return alloc_general(heap, nbytes, LOAM_HEAP_MIN_ALIGN, false, NULL);
}

struct loami_heap_cpu *loam_heap_part(struct loam_heap *heap, unsigned int cpu)
{
	return loami_heap_cpu(heap, cpu);
}

void *loam_heap_try_alloc(struct loam_heap *heap, struct loami_heap_cpu *part, size_t nbytes)
{
	uint64_t code;
	void *object;

	if (LOAMI_UNLIKELY(nbytes > LOAM_HEAP_SMALL_MAX))
		return NULL;
	code = loami_class_code(nbytes);
	if (LOAMI_UNLIKELY(!pop_from(heap, part, code, &object, STORED)))
		return NULL;
	if (!object)
		__builtin_unreachable();
	return object;
}

void *loam_heap_retry_alloc(struct loam_heap *heap, struct loami_heap_cpu *part, size_t nbytes)
{
	size_t more = heap->harden_quick ? LOAMI_CANARY_NBYTES : 0;
	uint64_t code;
	void *object;

	if (nbytes > LOAM_HEAP_SMALL_MAX - more)
		return NULL;
	code = loami_class_code(nbytes + more);
	if (heap->harden_quick ? loami_harden_pop(heap, part, (unsigned int)code, &object)
			       : loami_stock_refill(&heap->sizes[code - LOAMI_LIVE], part) &&
					 pop_from(heap, part, code, &object, STORED))
		return object;
	return NULL;
}

/* Which top to push to is known from the frame. The state still decides: it must be that class's. */
bool loam_heap_try_free(struct loam_heap *heap, struct loami_heap_cpu *part, void *object)
{
	uintptr_t granule = granule_of(heap, object);
	uint64_t code;
	uint8_t *state;

	if (LOAMI_UNLIKELY(region_of(granule) >= heap->nregions))
		return false;
	state = state_of(heap, granule);
	code = loami_load_relaxed(&heap->codes[(uintptr_t)object >> LOAM_PAGE_SHIFT]);
	return SAYS(state, code) && push_to(heap, part, object, state, code, STORED);
}

bool loam_heap_retry_free(struct loam_heap *heap, struct loami_heap_cpu *part, void *object)
{
	uintptr_t granule = granule_of(heap, object);
	uint8_t *state;
	uint64_t code;

	if (region_of(granule) >= heap->nregions)
		return false;
	state = state_of(heap, granule);
	if (heap->harden_quick)
		return loami_harden_push(heap, part, object, state);
	code = loami_load_relaxed(state);
	return code - LOAMI_LIVE < LOAM_HEAP_SIZE_CLASSES && loami_stock_spill(&heap->sizes[code - LOAMI_LIVE], part) &&
	       push_to(heap, part, object, state, code, STORED);
}

LOAMI_LEAF void *loam_heap_alloc_at(struct loam_heap *heap, size_t nbytes, const struct loam_call_site *site)
{
	void *object;

	if (LOAMI_LIKELY(nbytes <= heap->small_max) && LOAMI_LIKELY(pop(heap, loami_class_code(nbytes), &object)))
		return object;
	return alloc_general(heap, nbytes, LOAM_HEAP_MIN_ALIGN, false, site);
}

/* Out of line, so that the fast path saves no register. */
static __attribute__((noinline)) void *alloc_class_slow(struct loam_heap *heap, size_t code)
{
	return alloc_general(heap, heap->sizes[code - LOAMI_LIVE].nbytes, LOAM_HEAP_MIN_ALIGN, false, NULL);
}

LOAMI_LEAF void *loam_heap_alloc_class(struct loam_heap *heap, size_t code)
{
	void *object;

	if (LOAMI_LIKELY(pop(heap, code, &object)))
		return object;
	return alloc_class_slow(heap, code);
}

void *loam_heap_alloc_zeroed(struct loam_heap *heap, size_t nbytes)
{
	void *object;

	if (LOAMI_LIKELY(nbytes <= heap->small_max) && LOAMI_LIKELY(pop(heap, loami_class_code(nbytes), &object)))
		return memset(object, 0, nbytes);
	return alloc_general(heap, nbytes, LOAM_HEAP_MIN_ALIGN, true, NULL);
}

void *loam_heap_alloc_array(struct loam_heap *heap, size_t count, size_t nbytes)
{
	size_t total;

	if (loami_mul_overflows(count, nbytes, &total))
		return loami_heap_fail(heap, LOAM_ERR_OVERFLOW);
	return loam_heap_alloc_zeroed(heap, total);
}

void *loam_heap_alloc_aligned(struct loam_heap *heap, size_t nbytes, size_t align)
{
	return alloc_general(heap, nbytes, align, false, NULL);
}

enum loam_status loam_heap_alloc_status(struct loam_heap *heap, size_t nbytes, size_t align, void **object)
{
	*object = alloc_general(heap, nbytes, align == 0 ? LOAM_HEAP_MIN_ALIGN : align, false, NULL);
	return *object ? LOAM_OK : loam_heap_last_failure(heap);
}

enum loam_status loam_heap_last_failure(const struct loam_heap *heap)
{
	return (enum loam_status)loami_load_relaxed(&heap->failure);
}

/* Which class, without anything that proves that there is such an object. */
static inline bool push_unproven(struct loam_heap *heap, void *object)
{
	return push(heap, object, object, loami_load_relaxed(&heap->codes[(uintptr_t)object >> LOAM_PAGE_SHIFT]));
}

LOAMI_LEAF void loam_heap_free(struct loam_heap *heap, void *object)
{
	uintptr_t granule = granule_of(heap, object);

	if (!PROVES && push_unproven(heap, object))
		return;
	if (LOAMI_LIKELY(region_of(granule) < heap->nregions)) {
		uint8_t *state = state_of(heap, granule);

		if (LOAMI_LIKELY(push(heap, object, state, said(state))))
			return;
	}
	free_general(heap, object, "free", NULL);
}

LOAMI_LEAF void loam_heap_free_at(struct loam_heap *heap, void *object, const struct loam_call_site *site)
{
	uintptr_t granule = granule_of(heap, object);

	if (LOAMI_LIKELY(region_of(granule) < heap->nregions)) {
		uint8_t *state = state_of(heap, granule);

		if (LOAMI_LIKELY(push(heap, object, state, said(state))))
			return;
	}
	free_general(heap, object, "free", site);
}

static __attribute__((noinline)) void free_sized_slow(struct loam_heap *heap, void *object, size_t nbytes)
{
	unsigned int code;
	uint8_t *state;
	size_t usable;

	if (!object)
		return;
	usable = size_of(heap, object, "sized free", NULL);
	state = live_state(heap, object, &code);
	if (state ? nbytes > LOAM_HEAP_SMALL_MAX ||
			    code != class_of(nbytes + (heap->hardened ? LOAMI_CANARY_NBYTES : 0))
		  : nbytes > usable || (nbytes <= usable / 2 && !loami_bump_holds(heap, object)))
		loami_misuse("loam: heap: sized free of 0x%lx (%s) with %zu bytes, but its place has %zu",
			     (unsigned long)(uintptr_t)object, state ? loami_cache_of(heap, code)->name : "large",
			     nbytes, usable);
	free_general(heap, object, "sized free", NULL);
}

LOAMI_LEAF void loam_heap_free_sized(struct loam_heap *heap, void *object, size_t nbytes)
{
	uintptr_t granule = granule_of(heap, object);

	if (LOAMI_LIKELY(region_of(granule) < heap->nregions && nbytes <= heap->small_max)) {
		uint8_t *state = state_of(heap, granule);
		uint64_t code = loami_class_code(nbytes);

		if (SAYS(state, code) && LOAMI_LIKELY(push(heap, object, state, code)))
			return;
	}
	free_sized_slow(heap, object, nbytes);
}

void *loam_heap_realloc(struct loam_heap *heap, void *object, size_t nbytes)
{
	unsigned int code;
	size_t old;
	void *moved;

	if (!object)
		return loam_heap_alloc(heap, nbytes);
	old = size_of(heap, object, "realloc", NULL);
	if (loami_bump_holds(heap, object) || live_state(heap, object, &code)) {
		/* Stay unless the place is too small or half of it would be idle. */
		if (nbytes <= old && (nbytes > old / 2 || old <= 64 || loami_bump_holds(heap, object)))
			return object;
	} else if (loami_large_resize(heap, object, nbytes)) {
		return object;
	}
	moved = loam_heap_alloc(heap, nbytes);
	if (!moved)
		return NULL;
	memcpy(moved, object, nbytes < old ? nbytes : old);
	loam_heap_free(heap, object);
	return moved;
}

size_t loam_heap_usable_size(struct loam_heap *heap, const void *object)
{
	return object ? size_of(heap, object, "size query", NULL) : 0;
}

size_t loam_heap_alloc_bulk(struct loam_heap *heap, size_t nbytes, size_t n, void **out)
{
	size_t got = 0;

	while (got < n && (out[got] = loam_heap_alloc(heap, nbytes)) != NULL)
		got++;
	return got;
}

void loam_heap_free_bulk(struct loam_heap *heap, void *const *objects, size_t n)
{
	for (size_t i = 0; i < n; i++)
		loam_heap_free(heap, objects[i]);
}

/* ---- typed caches: the same, with the class known ------------------------------------------------------------------------------------------ */

static __attribute__((noinline)) void *cache_alloc_slow(struct loam_heap_cache *cache,
							const struct loam_call_site *site)
{
	void *object;

	LOAMI_NOT_FROM_NMI();
	object = loami_alloc_slow(cache);
	if (object)
		note_alloc(cache->heap, object, site);
	return object;
}

LOAMI_LEAF void *loam_heap_cache_alloc_at(struct loam_heap_cache *cache, const struct loam_call_site *site)
{
	void *object;

	if (LOAMI_LIKELY(pop(cache->heap, cache->code, &object)))
		return object;
	return cache_alloc_slow(cache, site);
}

LOAMI_LEAF void *loam_heap_cache_alloc(struct loam_heap_cache *cache)
{
	void *object;

	if (LOAMI_LIKELY(pop(cache->heap, cache->code, &object)))
		return object;
	return cache_alloc_slow(cache, NULL);
}

static __attribute__((noinline)) void cache_free_slow(struct loam_heap_cache *cache, void *object,
						      const struct loam_call_site *site)
{
	struct loam_heap *heap = cache->heap;
	unsigned int code;
	uint8_t *state;

	if (!object)
		return;
	state = live_state(heap, object, &code);
	if (state && code != cache->code)
		loami_misuse("loam: heap: free of 0x%lx (%s) to cache %s", (unsigned long)(uintptr_t)object,
			     loami_cache_of(heap, code)->name, cache->name);
	if (!state && loami_large_size(heap, object) != 0)
		loami_misuse("loam: heap: free of large object 0x%lx to cache %s", (unsigned long)(uintptr_t)object,
			     cache->name);
	free_general(heap, object, "free", site);
}

static inline __attribute__((always_inline)) bool cache_free(struct loam_heap_cache *cache, void *object)
{
	struct loam_heap *heap = cache->heap;
	uintptr_t granule = granule_of(heap, object);
	uint64_t code = cache->code;
	uint8_t *state;

	if (LOAMI_UNLIKELY(region_of(granule) >= heap->nregions))
		return false;
	state = state_of(heap, granule);
	return SAYS(state, code) && push(heap, object, state, code);
}

LOAMI_LEAF void loam_heap_cache_free(struct loam_heap_cache *cache, void *object)
{
	if (LOAMI_UNLIKELY(!cache_free(cache, object)))
		cache_free_slow(cache, object, NULL);
}

LOAMI_LEAF void loam_heap_cache_free_at(struct loam_heap_cache *cache, void *object, const struct loam_call_site *site)
{
	if (LOAMI_UNLIKELY(!cache_free(cache, object)))
		cache_free_slow(cache, object, site);
}
