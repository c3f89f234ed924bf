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

enum { QUARANTINE_NBYTES_MAX = 2048 };

_Static_assert(LOAMI_CANARY_NBYTES == sizeof(uint64_t) && LOAMI_CANARY_NBYTES < LOAM_HEAP_MIN_ALIGN,
	       "a canary is a word, and leaves room in the least place");
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

/* The first that is not 0; @n: all are. */
static size_t first_written(const uint64_t *words, size_t n)
{
	size_t i = 0;

	while (i + 4 <= n && (words[i] | words[i + 1] | words[i + 2] | words[i + 3]) == 0)
		i += 4;
	while (i < n && words[i] == 0)
		i++;
	return i;
}

static void write_canary(const struct loam_heap_cache *cache, void *object)
{
	loami_store_relaxed((uint64_t *)canary_at(cache, object), canary_for(cache->heap, object));
}

void loami_harden_alloc(const struct loam_heap_cache *cache, void *object)
{
	size_t n = (cache->nbytes - LOAMI_CANARY_NBYTES) / sizeof(uint64_t), i;

	write_canary(cache, object);
	if (cache->construct)
		return;
	/* The object is out of its magazine and counts as live from here on; nobody will get it. */
	i = first_written(object, n);
	if (LOAMI_UNLIKELY(i != n))
		loami_misuse("loam: heap: 0x%lx (%s) was written to while it was free, at byte %zu",
			     (unsigned long)(uintptr_t)object, cache->name, i * sizeof(uint64_t));
}

/* The byte from @code to CACHED, as one step. RISC-V swaps words only. */
static bool swap_state(uint8_t *state, uint8_t code)
{
	uint32_t *word = (uint32_t *)(void *)((uintptr_t)state & ~(uintptr_t)3);
	unsigned int shift = (unsigned int)((uintptr_t)state & 3) * 8;
	uint32_t seen = loami_load_relaxed(word);

	while ((seen >> shift & 0xff) == code)
		if (loami_cas(word, &seen, (seen & ~(UINT32_C(0xff) << shift)) | (uint32_t)LOAMI_CACHED << shift))
			return true;
	return false;
}

bool loami_harden_free(const struct loam_heap_cache *cache, void *object, uint8_t *state)
{
	uint64_t expected = canary_for(cache->heap, object);
	uint64_t found = loami_load_acquire((const uint64_t *)canary_at(cache, object));

	if (found != expected) {
		/* Another free that came between has cleared it? Then its state has gone before. */
		if (loami_load_relaxed(state) != cache->code)
			return false;
		loami_misuse("loam: heap: free of 0x%lx (%s), which was written to beyond its end (0x%lx)",
			     (unsigned long)(uintptr_t)object, cache->name, (unsigned long)found);
	}
	if (!swap_state(state, cache->code))
		return false;
	if (!cache->construct)
		memset(object, 0, cache->nbytes);
	return true;
}

/* ---- at once --------------------------------------------------------------------------------------------------------------------- */

/* The CPU is busy. An object that was written to stays where it is: the slow way round says so. */
static bool pop_busy(struct loam_heap *heap, struct loami_heap_cpu *cpu, unsigned int code, void **object)
{
	const struct loam_heap_cache *cache = &heap->sizes[code - LOAMI_LIVE];
	size_t n = (cache->nbytes - LOAMI_CANARY_NBYTES) / sizeof(uint64_t);
	struct loami_entry *top = cpu->top[code];

	if (LOAMI_UNLIKELY(loami_load_relaxed(top[-1].state) >= LOAMI_FRESH))
		return false;
	*object = top[-1].object;
	loami_object_owned(heap, code, *object);
	if (LOAMI_UNLIKELY(first_written(*object, n) != n)) {
		loami_object_free(heap, code, *object);
		return false;
	}
	write_canary(cache, *object);
	loami_store_relaxed(top[-1].state, (uint8_t)code);
	loami_store_relaxed(&cpu->top[code], top - 1);
	loami_count(&cpu->allocs[code], 1);
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
	if (LOAMI_UNLIKELY(loami_load_acquire((const uint64_t *)canary_at(cache, object)) !=
			   canary_for(cache->heap, object)))
		return false;
	if (LOAMI_UNLIKELY(!swap_state(state, cache->code)))
		return false;
	memset(object, 0, cache->nbytes);
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
