/* heap/harden.c: the hardened profile: what makes a bug in the kernel hard to turn into a weapon, at a price (bench/heap.c).
 *
 * 1 What it adds to the default checks.
 *   exchange    the state of a freed object is swapped, not stored: of two CPUs that free it at once, the second is named at the call
 *   canary      8 secret bytes behind each object, written when it is handed out and compared when it comes back
 *   zero        a freed object is cleared (unless its cache has a constructor), and looked at again when it is handed out: a write after free is named
 *   quarantine  objects up to 2 KiB change places with a random one of the last 256 freed on this CPU: what has just been freed is not what comes next
 *   order       a refill's objects come in random order
 *   large       a freed run is cleared, and is handed out again only after it has gone back to the frame layer, which is when 16 others have been freed
 * 2 All of it is on the slow way round: in a hardened heap every CPU's word idle is taken for ever, as in one that tracks.
 * 3 The secret is one random word per heap; a canary is the secret turned by its address, so that one read of memory does not give another's.
 * 4 Not done: frames that keep their type for long; guard pages between slabs. Nothing in a free object is ever a pointer, in any profile.
 */
#include "internal.h"

enum { QUARANTINE_NBYTES_MAX = 2048 };

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

/* Whose object comes out is looked up under the lock: its cache cannot be going, or its objects would have been taken out before. */
bool loami_harden_hold(struct loami_heap_cpu *cpu, struct loam_heap_cache **cache, struct loami_entry *entry)
{
	struct loami_held *held, out;
	unsigned long irq;

	if ((*cache)->nbytes > QUARANTINE_NBYTES_MAX) {
		begin_visit(*cache);
		return true;
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
	size_t got = 0;

	for (unsigned int i = 0; i < LOAMI_HELD && got < n && cpu->stock[cache->code].nheld != 0; i++) {
		if (!cpu->held[i].entry.object || cpu->held[i].code != cache->code)
			continue;
		out[got++] = cpu->held[i].entry;
		cpu->held[i].entry.object = NULL;
		loami_store_relaxed(&cpu->stock[cache->code].nheld, cpu->stock[cache->code].nheld - 1);
	}
	loami_unlock_irq(&cpu->holding, irq);
	return got;
}

void loami_harden_alloc(const struct loam_heap_cache *cache, void *object)
{
	uint64_t canary = canary_for(cache->heap, object);
	const uint64_t *words = object;

	memcpy(canary_at(cache, object), &canary, sizeof(canary));
	if (cache->construct)
		return;
	/* The object is out of its magazine and counts as live from here on; nobody will get it. */
	for (size_t i = 0; i < (cache->nbytes - LOAMI_CANARY_NBYTES) / sizeof(*words); i++)
		if (words[i] != 0)
			loami_misuse("loam: heap: 0x%lx (%s) was written to while it was free, at byte %zu",
				     (unsigned long)(uintptr_t)object, cache->name, i * sizeof(*words));
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
