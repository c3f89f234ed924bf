/* heap/harden.c: the hardened profile: what makes a bug in the kernel hard to turn into a weapon, at a price (bench/heap.c).
 *
 * 1 What it adds to the default checks.
 *   exchange    the state of a freed object is swapped, not stored: of two CPUs that free it at once, the second is named at the call
 *   canary      8 secret bytes behind each object, written when it is handed out and compared when it comes back
 *   zero        a freed object is cleared (unless its cache has a constructor), and looked at again when it is handed out: a write after free is named
 *   quarantine  objects up to 2 KiB change places with a random one of the last 256 freed on this CPU, typed and others apart: what has just been freed is not what comes next
 *   order       a refill's objects come in random order
 *   large       a freed run is cleared, and is handed out again only after it has gone back to the frame layer, which is when 16 others have been freed
 * 2 In a hardened heap every CPU's word idle is taken for ever, as in one that tracks: the fast paths of alloc.c do nothing. What can be done at once all the same, for the size classes and where nothing is
 *   tracked, is done by loami_harden_pop() and loami_harden_push(), around the word inside; anything unusual is left to the slow way round, with nothing changed.
 * 3 The secret is one random word per heap; a canary is the secret turned by its address, so that one read of memory does not give another's.
 * 4 Not done: frames that keep their type for long; guard pages between slabs. Nothing in a free object is ever a pointer, in any profile.
 */
#include "internal.h"

enum { QUARANTINE_NBYTES_MAX = LOAMI_HARDENS(QUARANTINE) ? 2048 : 0 };

_Static_assert(LOAMI_CANARY_NBYTES % sizeof(uint64_t) == 0, "a canary is a word");
_Static_assert(LOAMI_CANARY_NBYTES < LOAM_HEAP_MIN_ALIGN, "a canary leaves room in the least place");
_Static_assert((LOAMI_HELD & (LOAMI_HELD - 1)) == 0, "a random number's low bits choose a place in quarantine evenly");
_Static_assert(LOAMI_HELD <= UINT16_MAX, "nheld counts a whole quarantine");
_Static_assert(QUARANTINE_NBYTES_MAX <= LOAM_HEAP_SMALL_MAX, "what waits has a class");

static uint64_t canary_for(const struct loam_heap *heap, const void *object)
{
	return (heap->secret ^ (uintptr_t)object) * UINT64_C(0x9e3779b97f4a7c15);
}

static void *canary_at(const struct loam_heap_cache *cache, void *object)
{
	return (char *)object + cache->nbytes - LOAMI_CANARY_NBYTES;
}

static bool canary_is_whole(const struct loam_heap_cache *cache, void *object, uint64_t *found)
{
	if (!LOAMI_HARDENS(CANARY))
		return true;
	*found = loami_load_acquire((const uint64_t *)canary_at(cache, object));
	return *found == canary_for(cache->heap, object);
}

/* Xorshift: quick; reseeded with the port's random word at each refill. */
static uint32_t next_random(struct loami_heap_cpu *cpu)
{
	uint64_t x = cpu->random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	cpu->random = x;
	return (uint32_t)(x >> 32);
}

void loami_harden_shuffle(struct loami_heap_cpu *cpu, struct loami_entry *entries, size_t n)
{
	cpu->random ^= loam_port_random() | 1;
	for (size_t i = n; i > 1; i--) {
		size_t j = next_random(cpu) % i;
		struct loami_entry swapped = entries[i - 1];

		entries[i - 1] = entries[j];
		entries[j] = swapped;
	}
}

/* An object of a size class, and what it changes places with. The CPU is busy, and nobody else looks in there. Between any two stores it may be left as it is, where the CPU is a thread and another one
 * forks: a place holds an object whole or none, and nheld is never too small. */
static struct loami_held exchange(struct loami_heap_cpu *cpu, struct loami_held *place, const struct loami_entry *entry,
				  unsigned int code)
{
	struct loami_held out = *place;
	bool other = !out.entry.object || out.code != code;

	if (other)
		loami_store_relaxed(&cpu->stock[code].nheld, (uint16_t)(cpu->stock[code].nheld + 1));
	loami_store_relaxed(&place->entry.object, NULL);
	loami_compiler_barrier();
	place->entry.state = entry->state;
	place->code = code;
	loami_compiler_barrier();
	loami_store_relaxed(&place->entry.object, entry->object);
	if (other && out.entry.object)
		loami_store_relaxed(&cpu->stock[out.code].nheld, (uint16_t)(cpu->stock[out.code].nheld - 1));
	return out;
}

/* The caller is pinned. */
static void begin_visit(struct loam_heap_cache *cache)
{
	if (cache->typed)
		(void)loami_fetch_add(&cache->visitors, 1);
}

void loami_harden_parked(struct loam_heap_cache *cache)
{
	if (cache->typed)
		(void)loami_fetch_sub_release(&cache->visitors, 1);
}

/* Typed ones have a place and a lock of their own: whoever destroys a cache takes its objects out of every CPU's quarantine. Whose object comes out is looked up under the lock: its cache cannot be going, or its objects would have been taken out before. */
bool loami_harden_hold(struct loami_heap_cpu *cpu, struct loam_heap_cache **cache, struct loami_entry *entry)
{
	struct loami_held *held, out;
	unsigned long irq;

	if ((*cache)->nbytes > QUARANTINE_NBYTES_MAX) {
		begin_visit(*cache);
		return true;
	}
	if (!(*cache)->typed) {
		out = exchange(cpu, &cpu->aside[next_random(cpu) % LOAMI_HELD], entry, (*cache)->code);
		*entry = out.entry;
		if (out.entry.object)
			*cache = loami_cache_of((*cache)->heap, (unsigned int)out.code);
		return out.entry.object != NULL;
	}
	held = &cpu->held[next_random(cpu) % LOAMI_HELD];
	irq = loami_lock_irq(&cpu->holding);
	out = *held;
	*held = (struct loami_held){*entry, (*cache)->code};
	loami_store_relaxed(&cpu->stock[(*cache)->code].nheld, cpu->stock[(*cache)->code].nheld + 1);
	if (out.entry.object) {
		loami_store_relaxed(&cpu->stock[out.code].nheld, cpu->stock[out.code].nheld - 1);
		*entry = out.entry;
		*cache = loami_cache_of((*cache)->heap, (unsigned int)out.code);
		begin_visit(*cache);
	}
	loami_unlock_irq(&cpu->holding, irq);
	return out.entry.object != NULL;
}

size_t loami_harden_release(struct loami_heap_cpu *cpu, const struct loam_heap_cache *cache, struct loami_entry *out,
			    size_t n)
{
	unsigned long irq = loami_lock_irq(&cpu->holding);
	struct loami_held *held = cache->typed ? cpu->held : cpu->aside;
	size_t got = 0;

	for (unsigned int i = 0; i < LOAMI_HELD && got < n && cpu->stock[cache->code].nheld != 0; i++) {
		if (!held[i].entry.object || held[i].code != cache->code)
			continue;
		out[got++] = held[i].entry;
		held[i].entry.object = NULL;
		loami_store_relaxed(&cpu->stock[cache->code].nheld, cpu->stock[cache->code].nheld - 1);
	}
	/* A thread that another one's fork left in the middle of an exchange may have counted one too many. */
	if (got < n)
		loami_store_relaxed(&cpu->stock[cache->code].nheld, 0);
	loami_unlock_irq(&cpu->holding, irq);
	return got;
}

/* ---- cleared memory ---------------------------------------------------------------------------------------------------------------- */

/* Two words at a time, in one register where the compiler may use such, spelled out where it might make a loop. Places up to SMALL_WORDS are gone through as two halves of a power of two of them,
 * which overlap where the size is less: no loop whose end the processor would have to guess. */
typedef uint64_t two_words __attribute__((vector_size(16), aligned(8)));
enum { SMALL_WORDS = 32 };

#define ANY_2(p) ((p)[0] | (p)[1])
#define ANY_4(p) (ANY_2(p) | ANY_2((p) + 2))
#define ANY_8(p) (ANY_4(p) | ANY_4((p) + 4))
#define CLEAR_2(p) ((p)[0] = (p)[1] = (two_words){0, 0})
#define CLEAR_4(p) (CLEAR_2(p), CLEAR_2((p) + 2))
#define CLEAR_8(p) (CLEAR_4(p), CLEAR_4((p) + 4))

static inline size_t words_of(const struct loam_heap_cache *cache)
{
	return cache->nbytes / sizeof(uint64_t);
}

/* More than four times two words; the last four may overlap those before. Four sums that do not wait for each other. */
static __attribute__((noinline)) bool is_clear_long(const two_words *at, const two_words *end)
{
	two_words a = end[-4], b = end[-3], c = end[-2], d = end[-1], any;

	for (; at < end - 4; at += 4) {
		a |= at[0];
		b |= at[1];
		c |= at[2];
		d |= at[3];
	}
	any = (a | b) | (c | d);
	return (any[0] | any[1]) == 0;
}

/* A free object has nothing in it, where its canary will be neither. @n is even. */
static inline __attribute__((always_inline)) bool is_clear(const void *object, size_t n)
{
	const two_words *at = object, *end = at + n / 2;
	two_words any;

	if (n > SMALL_WORDS)
		return is_clear_long(at, end);
	if (n > 16)
		any = ANY_8(at) | ANY_8(end - 8);
	else if (n > 8)
		any = ANY_4(at) | ANY_4(end - 4);
	else if (n > 4)
		any = ANY_2(at) | ANY_2(end - 2);
	else
		any = at[0] | end[-1];
	return (any[0] | any[1]) == 0;
}

static inline __attribute__((always_inline)) void clear(void *object, size_t n)
{
	two_words *at = object, *end = at + n / 2;

	if (n > SMALL_WORDS) {
		memset(object, 0, n * sizeof(uint64_t));
	} else if (n > 16) {
		CLEAR_8(at);
		CLEAR_8(end - 8);
	} else if (n > 8) {
		CLEAR_4(at);
		CLEAR_4(end - 4);
	} else if (n > 4) {
		CLEAR_2(at);
		CLEAR_2(end - 2);
	} else {
		at[0] = end[-1] = (two_words){0, 0};
	}
}

/* The byte at which the first word lies that is not 0. */
static size_t first_written(const struct loam_heap_cache *cache, const uint64_t *words)
{
	size_t i = 0;

	while (i < words_of(cache) && words[i] == 0)
		i++;
	return i * sizeof(uint64_t);
}

/* ---- in and out --------------------------------------------------------------------------------------------------------------------- */

static void write_canary(const struct loam_heap_cache *cache, void *object)
{
	if (LOAMI_HARDENS(CANARY))
		loami_store_relaxed((uint64_t *)canary_at(cache, object), canary_for(cache->heap, object));
}

void loami_harden_alloc(const struct loam_heap_cache *cache, void *object)
{
	/* The object is out of its magazine and counts as live from here on; nobody will get it. */
	if (LOAMI_HARDENS(ZERO) && !cache->construct && LOAMI_UNLIKELY(!is_clear(object, words_of(cache))))
		loami_misuse("loam: heap: 0x%lx (%s) was written to while it was free, at byte %zu",
			     (unsigned long)(uintptr_t)object, cache->name, first_written(cache, object));
	write_canary(cache, object);
}

/* The byte from @code to CACHED, as one step. */
static bool swap_state(uint8_t *state, uint8_t code)
{
	if (LOAMI_HARDENS(EXCHANGE))
		return loami_swap_byte(state, code, LOAMI_CACHED);
	loami_store_relaxed(state, LOAMI_CACHED);
	return true;
}

bool loami_harden_free(const struct loam_heap_cache *cache, void *object, uint8_t *state)
{
	uint64_t found;

	if (LOAMI_UNLIKELY(!canary_is_whole(cache, object, &found))) {
		/* Another free that came between has cleared it? Then its state has gone before. */
		if (loami_load_relaxed(state) != cache->code)
			return false;
		loami_misuse("loam: heap: free of 0x%lx (%s), which was written to beyond its end (0x%lx)",
			     (unsigned long)(uintptr_t)object, cache->name, (unsigned long)found);
	}
	if (!swap_state(state, cache->code))
		return false;
	if (LOAMI_HARDENS(ZERO) && !cache->construct)
		clear(object, words_of(cache));
	return true;
}

/* ---- at once --------------------------------------------------------------------------------------------------------------------- */

/* The CPU is busy. An object that was written to stays where it is: the slow way round says so. */
static bool pop_busy(struct loam_heap *heap, struct loami_heap_cpu *cpu, unsigned int code, void **object)
{
	const struct loam_heap_cache *cache = &heap->sizes[code - LOAMI_LIVE];
	struct loami_entry *top = cpu->top[code];

	if (LOAMI_UNLIKELY(loami_load_relaxed(top[-1].state) >= LOAMI_FRESH))
		return false;
	*object = top[-1].object;
	loami_object_owned(heap, code, *object);
	if (LOAMI_HARDENS(ZERO) && LOAMI_UNLIKELY(!is_clear(*object, words_of(cache)))) {
		loami_object_free(heap, code, *object);
		return false;
	}
	/* In this order, for threads that a fork leaves behind: alloc.c. */
	loami_store_relaxed(&cpu->top[code], top - 1);
	write_canary(cache, *object);
	loami_store_relaxed(top[-1].state, (uint8_t)code);
	loami_count(loami_cpu_allocs(cpu, code), 1);
	return true;
}

/* Out of line, or a malloc that is linked late saves registers for it on the default profile's fast path too. */
__attribute__((noinline)) bool loami_harden_pop(struct loam_heap *heap, struct loami_heap_cpu *cpu, unsigned int code,
						void **object)
{
	bool done;

	if (LOAMI_UNLIKELY(!loami_idle_take(&cpu->inside)))
		return false;
	done = pop_busy(heap, cpu, code, object);
	loami_idle_leave(&cpu->inside);
	return done;
}

static void push(struct loami_heap_cpu *cpu, unsigned int code, const struct loami_entry *entry)
{
	struct loami_entry *top = cpu->top[code];

	*top = *entry;
	loami_store_relaxed(&cpu->top[code], top + 1);
}

static bool is_full(const struct loami_heap_cpu *cpu, unsigned int code)
{
	return cpu->top[code]->object == LOAMI_WALL;
}

/* Whole canary, and the state swapped; else nothing has changed, and the slow way round says what is wrong. */
static bool claim(const struct loam_heap_cache *cache, void *object, uint8_t *state)
{
	uint64_t found;

	if (LOAMI_UNLIKELY(!canary_is_whole(cache, object, &found)) || LOAMI_UNLIKELY(!swap_state(state, cache->code)))
		return false;
	if (LOAMI_HARDENS(ZERO))
		clear(object, words_of(cache));
	return true;
}

/* The CPU is busy. */
static bool push_busy(struct loam_heap *heap, struct loami_heap_cpu *cpu, const struct loami_entry *entry,
		      unsigned int code)
{
	const struct loam_heap_cache *cache = &heap->sizes[code - LOAMI_LIVE];
	struct loami_held *place, out;

	if (cache->nbytes > QUARANTINE_NBYTES_MAX) {
		if (LOAMI_UNLIKELY(is_full(cpu, code)) || LOAMI_UNLIKELY(!claim(cache, entry->object, entry->state)))
			return false;
		loami_object_free(heap, code, entry->object);
		push(cpu, code, entry);
		return true;
	}
	place = &cpu->aside[next_random(cpu) % LOAMI_HELD];
	if (LOAMI_UNLIKELY(place->entry.object && is_full(cpu, (unsigned int)place->code)) ||
	    LOAMI_UNLIKELY(!claim(cache, entry->object, entry->state)))
		return false;
	loami_object_free(heap, code, entry->object);
	out = exchange(cpu, place, entry, code);
	if (out.entry.object)
		push(cpu, (unsigned int)out.code, &out.entry);
	return true;
}

__attribute__((noinline)) bool loami_harden_push(struct loam_heap *heap, struct loami_heap_cpu *cpu, void *object,
						 uint8_t *state)
{
	unsigned int code = loami_load_relaxed(state);
	bool done;

	if (LOAMI_UNLIKELY(code - LOAMI_LIVE >= LOAM_HEAP_SIZE_CLASSES) ||
	    LOAMI_UNLIKELY(!loami_idle_take(&cpu->inside)))
		return false;
	done = push_busy(heap, cpu, &(struct loami_entry){object, state}, code);
	loami_idle_leave(&cpu->inside);
	return done;
}
