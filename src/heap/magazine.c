/* heap/magazine.c: objects parked on a CPU, so that most allocations and frees touch nothing shared.
 *
 * 1 Concepts. Each CPU has, for each cache, one loaded magazine that the fast paths of alloc.c pop and push, and a stock of full and empty ones behind it. When the
 *   loaded one is empty or full it is exchanged whole: with the stock, then with the cache's depot under its lock. Objects are walked only between slabs
 *   and magazines: a refill takes as much as lies in a frame of memory, at most half a magazine; a flush gives a magazine back.
 * 2 Busy. The CPU's byte is set around everything that touches its part. An interrupt that finds it set takes the shared path: under the cache's lock, one
 *   object straight from or to a slab. Nothing here waits for a busy byte, so nothing here can hang on one.
 * 3 Invariants (loam_heap_check()): M1 magazines in stocks and depots are full. M2 an entry's state byte says CACHED or FRESH_CACHED, and belongs to its object.
 *   M3 no object is in two magazines. M4 top lies within the loaded magazine, or at the wall when none is loaded.
 * 4 Draining. Only a CPU itself can touch its part, since it does so without atomics. Whoever wants what is parked elsewhere sets that CPU's drain word, which is
 *   answered a magazine at a time, at each of its next refills, overflows and ticks; a kernel that wants it now calls loam_heap_trim() there. At rest loam_heap_drain()
 *   reaches everything. A magazine that has lain in a stock or a depot untouched from one tick to the next is not needed: it goes back.
 * 5 Failure. Without memory for a magazine, objects go straight to and from their slabs.
 */
#include "internal.h"

enum outcome { GOT, NOTHING, TWICE };

/* Two CPUs that free one object at once may both believe it live. It then is in two magazines, and is found out here. */
static LOAM_NORETURN void twice(const struct loam_heap_cache *cache, const void *object)
{
	loami_misuse("loam: heap: 0x%lx (%s) was freed twice at once, by two CPUs or an interrupt",
		     (unsigned long)(uintptr_t)object, cache->name);
}

void loami_cpu_init(struct loam_heap *heap, unsigned int index, bool online)
{
	struct loami_heap_cpu *cpu = loami_heap_cpu(heap, index);

	loami_cpu_say_online(heap, cpu, online);
	cpu->held = heap->held ? heap->held + (size_t)index * 2 * LOAMI_HELD : NULL;
	cpu->aside = heap->held ? cpu->held + LOAMI_HELD : NULL;
	cpu->holding = LOAMI_LOCK_INIT(LOAMI_RANK_HEAP_CACHE);
	cpu->live = LOAMI_LIVE;
	cpu->random = loam_port_random() | 1;
	cpu->below = (struct loami_entry){LOAMI_UNUSED, &cpu->live};
	cpu->wall = (struct loami_entry){LOAMI_WALL, &cpu->live};
	for (unsigned int code = 0; code < LOAM_HEAP_CODES; code++)
		cpu->top[code] = &cpu->wall;
}

/* ---- magazines ---------------------------------------------------------------------------------------------------------------- */

static struct loami_magazine *magazine_new(struct loam_heap_cache *cache)
{
	struct loami_magazine *magazine = loami_piece_alloc(cache->heap, cache->magazine_nbytes);

	if (!magazine)
		return NULL;
	memset(magazine, 0, cache->magazine_nbytes);
	magazine->stop = &cache->heap->cpus->live;
	for (unsigned int i = 0; i < cache->capacity; i++)
		magazine->entry[i].object = LOAMI_UNUSED;
	magazine->entry[cache->capacity].object = LOAMI_WALL;
	return magazine;
}

static void magazine_delete(struct loam_heap_cache *cache, struct loami_magazine *magazine)
{
	loami_piece_free(cache->heap, magazine, cache->magazine_nbytes);
}

/* @n entries back into their slabs. Return: the object that was freed twice, or NULL. */
static void *put_entries(struct loam_heap_cache *cache, const struct loami_entry *entries, size_t n)
{
	void *bad = NULL;
	unsigned long irq = loami_lock_irq(&cache->lock);

	for (size_t i = 0; i < n; i++)
		if (!loami_slab_put(cache, &entries[i]))
			bad = entries[i].object;
	loami_unlock_irq(&cache->lock, irq);
	return bad;
}

static struct loami_magazine *depot_pop(struct loam_heap_cache *cache)
{
	unsigned long irq = loami_lock_irq(&cache->lock);
	struct loami_magazine *magazine = cache->depot;

	if (magazine) {
		cache->depot = magazine->next;
		loami_store_relaxed(&cache->ndepot, cache->ndepot - 1);
		if (cache->ndepot < cache->depot_least)
			cache->depot_least = cache->ndepot;
	}
	loami_unlock_irq(&cache->lock, irq);
	return magazine;
}

static bool depot_push(struct loam_heap_cache *cache, struct loami_magazine *magazine)
{
	unsigned long irq = loami_lock_irq(&cache->lock);
	bool room = cache->ndepot < cache->depot_max;

	if (room) {
		magazine->next = cache->depot;
		cache->depot = magazine;
		loami_store_relaxed(&cache->ndepot, cache->ndepot + 1);
	}
	loami_unlock_irq(&cache->lock, irq);
	return room;
}

/* For loami_heap_report(), when nothing is held and nobody pinned any more. */
static void note_twice(struct loam_heap *heap, const void *object)
{
	if (LOAMI_UNLIKELY(object != NULL))
		loami_store_relaxed(&heap->suspect, loami_slab_head(heap, loami_heap_pfn(heap, object)));
}

static void depot_give_back(struct loam_heap_cache *cache, uint32_t n)
{
	struct loami_magazine *magazine;
	void *bad = NULL;

	for (; n != 0 && (magazine = depot_pop(cache)) != NULL; n--) {
		void *found = put_entries(cache, magazine->entry, cache->capacity);

		bad = found ? found : bad;
		magazine_delete(cache, magazine);
	}
	note_twice(cache->heap, bad);
}

void loami_depot_flush(struct loam_heap_cache *cache)
{
	depot_give_back(cache, UINT32_MAX);
}

void loami_depot_age(struct loam_heap_cache *cache)
{
	unsigned long irq = loami_lock_irq(&cache->lock);
	uint32_t idle = cache->depot_least;

	cache->depot_least = cache->ndepot - idle;
	loami_unlock_irq(&cache->lock, irq);
	depot_give_back(cache, idle);
}

/* ---- one CPU's part: the CPU is busy -------------------------------------------------------------------------------------------- */

static void load(struct loami_heap_cpu *cpu, const struct loam_heap_cache *cache, struct loami_magazine *magazine,
		 size_t n)
{
	loami_store_relaxed(&cpu->stock[cache->code].loaded, magazine);
	loami_store_relaxed(&cpu->top[cache->code], magazine ? &magazine->entry[n] : &cpu->wall);
}

static void keep_empty(struct loami_stock *stock, struct loam_heap_cache *cache, struct loami_magazine *magazine)
{
	/* As many as go round when all of the stock is used and filled again. */
	if (stock->nempty > cache->stock_max) {
		magazine_delete(cache, magazine);
		return;
	}
	magazine->next = stock->empty;
	loami_store_relaxed(&stock->empty, magazine);
	stock->nempty++;
}

static struct loami_magazine *get_empty(struct loami_stock *stock, struct loam_heap_cache *cache)
{
	struct loami_magazine *magazine = stock->empty;

	if (!magazine)
		return magazine_new(cache);
	loami_store_relaxed(&stock->empty, magazine->next);
	stock->nempty--;
	return magazine;
}

static struct loami_magazine *take_full(struct loami_stock *stock)
{
	struct loami_magazine *magazine = stock->full;

	if (!magazine)
		return NULL;
	loami_store_relaxed(&stock->full, magazine->next);
	loami_store_relaxed(&stock->nfull, stock->nfull - 1);
	if (stock->nfull < stock->least)
		stock->least = stock->nfull;
	return magazine;
}

static void keep_full(struct loami_stock *stock, struct loami_magazine *magazine)
{
	magazine->next = stock->full;
	loami_store_relaxed(&stock->full, magazine);
	loami_store_relaxed(&stock->nfull, stock->nfull + 1);
}

/* All of it is about to be used, line by line: 7.1 ns a pair instead of 7.6 in batches of 1000. */
static struct loami_magazine *fetched(const struct loam_heap_cache *cache, struct loami_magazine *magazine)
{
	enum { LINE = 64 };

	for (unsigned int at = 0; at < cache->magazine_nbytes; at += LINE)
		__builtin_prefetch((char *)magazine + at, 1);
	return magazine;
}

/* Another CPU wants what is parked here, which is answered the slow way round. */
static bool is_asked(const struct loami_heap_cpu *cpu)
{
	return loami_load_relaxed(&cpu->drain) != 0 || cpu->draining != 0;
}

static bool parks(const struct loami_heap_cpu *cpu, unsigned int code)
{
	const struct loami_stock *stock = &cpu->stock[code];

	return stock->loaded || stock->full || stock->empty || loami_load_relaxed(&stock->nheld) != 0;
}

/* How many objects the loaded magazine holds. A top that is not in it belongs to another, which whoever exchanged them did not get to load: a thread that a fork left behind. */
static size_t loaded_holds(const struct loami_heap_cpu *cpu, const struct loam_heap_cache *cache)
{
	uintptr_t at = (uintptr_t)cpu->top[cache->code] - (uintptr_t)cpu->stock[cache->code].loaded->entry;
	size_t n = at / sizeof(struct loami_entry);

	return n <= cache->capacity ? n : 0;
}

/* Of one cache, one magazine that is parked on a CPU, into slabs: the full ones first, last the loaded one and what is left. *@more: there is more. */
static void *flush_step(struct loami_heap_cpu *cpu, struct loam_heap_cache *cache, bool *more)
{
	struct loami_stock *stock = &cpu->stock[cache->code];
	struct loami_magazine *magazine = take_full(stock);
	struct loami_entry held[16];
	size_t n = cache->capacity;
	void *bad;

	*more = true;
	if (!magazine && loami_load_relaxed(&stock->nheld) != 0)
		return put_entries(cache, held, loami_harden_release(cpu, cache, held, LOAMI_COUNT(held)));
	if (!magazine) {
		*more = false;
		while ((magazine = stock->empty) != NULL) {
			stock->empty = magazine->next;
			stock->nempty--;
			magazine_delete(cache, magazine);
		}
		/* So they are, but for a thread that a fork left behind between a list and its count. */
		stock->nempty = 0;
		loami_store_relaxed(&stock->nfull, 0);
		magazine = stock->loaded;
		if (!magazine)
			return NULL;
		n = loaded_holds(cpu, cache);
		load(cpu, cache, NULL, 0);
	}
	bad = put_entries(cache, magazine->entry, n);
	magazine_delete(cache, magazine);
	return bad;
}

/* The two exchanges with the stock, each step of which leaves something that flush_step() can take back: at the worst a magazine is lost with what it holds. */
bool loami_stock_refill(struct loam_heap_cache *cache, struct loami_heap_cpu *cpu)
{
	struct loami_stock *stock = &cpu->stock[cache->code];
	bool done = false;

	if (LOAMI_UNLIKELY(!loami_idle_take(&cpu->idle)))
		return false;
	if (stock->loaded && cpu->top[cache->code] == stock->loaded->entry && stock->full &&
	    stock->nempty <= cache->stock_max && !is_asked(cpu)) {
		struct loami_magazine *empty = stock->loaded;

		load(cpu, cache, fetched(cache, take_full(stock)), cache->capacity);
		loami_compiler_barrier();
		keep_empty(stock, cache, empty);
		done = true;
	}
	loami_idle_leave(&cpu->idle);
	return done;
}

bool loami_stock_spill(struct loam_heap_cache *cache, struct loami_heap_cpu *cpu)
{
	struct loami_stock *stock = &cpu->stock[cache->code];
	bool done = false;

	if (LOAMI_UNLIKELY(!loami_idle_take(&cpu->idle)))
		return false;
	if (stock->loaded && cpu->top[cache->code] == &stock->loaded->entry[cache->capacity] && stock->empty &&
	    stock->nfull < cache->stock_max && !is_asked(cpu)) {
		struct loami_magazine *full = stock->loaded;

		load(cpu, cache, fetched(cache, get_empty(stock, cache)), 0);
		loami_compiler_barrier();
		keep_full(stock, full);
		done = true;
	}
	loami_idle_leave(&cpu->idle);
	return done;
}

/* Everything of one cache that is parked on a CPU. */
static void *flush_cache(struct loami_heap_cpu *cpu, struct loam_heap_cache *cache)
{
	void *bad = NULL;

	for (bool more = true; more;) {
		void *found = flush_step(cpu, cache, &more);

		bad = found ? found : bad;
	}
	return bad;
}

void loami_cpu_flush_cache(struct loam_heap_cache *cache, unsigned int cpu)
{
	void *bad = flush_cache(loami_heap_cpu(cache->heap, cpu), cache);

	if (bad)
		twice(cache, bad);
}

void loami_cpu_flush_held(struct loam_heap_cache *cache, unsigned int index)
{
	struct loami_heap_cpu *cpu = loami_heap_cpu(cache->heap, index);
	struct loami_entry held[16];
	void *bad = NULL, *found;
	size_t n;

	/* Under the lock even when there seem to be none: what an exchange is just taking out is counted no more, and not yet visited. */
	while ((n = loami_harden_release(cpu, cache, held, LOAMI_COUNT(held))) != 0) {
		found = put_entries(cache, held, n);
		bad = found ? found : bad;
	}
	if (bad)
		twice(cache, bad);
}

void loami_cpu_flush(struct loam_heap *heap, unsigned int index)
{
	struct loami_heap_cpu *cpu = loami_heap_cpu(heap, index);

	for (unsigned int code = LOAMI_LIVE; code < LOAM_HEAP_CODES; code++) {
		struct loami_visit visit;

		if (!loami_visit_begin(heap, code, &visit))
			continue;
		if (parks(cpu, code))
			note_twice(heap, flush_cache(cpu, visit.cache));
		loami_visit_end(&visit);
	}
}

/* One magazine of what another CPU has asked for. */
static void answer_drain(struct loam_heap *heap, struct loami_heap_cpu *cpu)
{
	bool more = false;

	if (LOAMI_UNLIKELY(loami_load_relaxed(&cpu->drain) != 0)) {
		loami_store_relaxed(&cpu->drain, 0);
		cpu->draining = LOAMI_LIVE;
	}
	if (LOAMI_LIKELY(cpu->draining == 0))
		return;
	for (; cpu->draining < LOAM_HEAP_CODES; cpu->draining++) {
		struct loami_visit visit;
		bool parked;

		if (!loami_visit_begin(heap, cpu->draining, &visit))
			continue;
		parked = parks(cpu, cpu->draining);
		if (parked)
			note_twice(heap, flush_step(cpu, visit.cache, &more));
		loami_visit_end(&visit);
		if (parked)
			break;
	}
	if (!more)
		cpu->draining = cpu->draining < LOAM_HEAP_CODES ? cpu->draining + 1 : 0;
}

bool loami_cpu_asked(struct loam_heap *heap)
{
	struct loam_pin pin = loam_port_pin();
	struct loami_heap_cpu *cpu = loami_heap_cpu(heap, pin.cpu);
	bool asked = loami_load_relaxed(&cpu->drain) != 0;

	loami_store_relaxed(&cpu->drain, 0);
	loam_port_unpin(pin);
	return asked;
}

/* One magazine of a cache that has not been needed since the last tick; the loaded one too, where nothing at all was allocated. *@more: come again. */
static void *age_step(struct loami_heap_cpu *cpu, struct loam_heap_cache *cache, bool *more)
{
	struct loami_stock *stock = &cpu->stock[cache->code];
	uint32_t allocs = (uint32_t)*loami_cpu_allocs(cpu, cache->code), least = stock->least;
	struct loami_magazine *magazine;
	void *bad;

	*more = false;
	if (allocs == stock->seen)
		return flush_step(cpu, cache, more);
	magazine = least != 0 ? take_full(stock) : NULL;
	if (!magazine) {
		stock->least = stock->nfull;
		stock->seen = allocs;
		return NULL;
	}
	*more = true;
	stock->least = least - 1;
	bad = put_entries(cache, magazine->entry, cache->capacity);
	magazine_delete(cache, magazine);
	return bad;
}

unsigned int loami_cpu_flush_here(struct loam_heap *heap, bool idle)
{
	enum {
		STEPS = 64
	}; /* more than a stock holds; a step may be another CPU's, and interrupts may fill what is emptied */
	struct loam_pin pin = {0};

	for (unsigned int code = LOAMI_LIVE; code < LOAM_HEAP_CODES; code++) {
		bool more = loami_cache_of(heap, code) != NULL;

		for (unsigned int i = 0; more && i < STEPS; i++) {
			struct loami_heap_cpu *cpu;
			struct loami_visit visit;
			uint64_t *word;

			if (!loami_visit_begin(heap, code, &visit))
				break;
			pin = loam_port_pin();
			cpu = loami_heap_cpu(heap, pin.cpu);
			word = loami_cpu_idle(heap, cpu);
			more = parks(cpu, code) && loami_idle_enter(word);
			if (more) {
				note_twice(heap, idle ? age_step(cpu, visit.cache, &more)
						      : flush_step(cpu, visit.cache, &more));
				loami_idle_leave(word);
			}
			loam_port_unpin(pin);
			loami_visit_end(&visit);
		}
	}
	return pin.cpu;
}

static void reverse(struct loami_entry *entries, size_t n)
{
	for (size_t i = 0, j = n; i + 1 < j; i++) {
		struct loami_entry swapped = entries[i];

		entries[i] = entries[--j];
		entries[j] = swapped;
	}
}

static size_t batch_of(const struct loam_heap_cache *cache)
{
	size_t frame = LOAM_PAGE_SIZE / cache->nbytes, half = cache->capacity / 2u;

	return frame == 0 ? 1 : frame < half ? frame : half;
}

static enum outcome refill(struct loami_heap_cpu *cpu, struct loam_heap_cache *cache, struct loami_entry *out)
{
	struct loami_stock *stock = &cpu->stock[cache->code];
	unsigned long irq;
	size_t got;

	for (;;) {
		struct loami_magazine *loaded = stock->loaded, *full;
		struct loami_entry *top = cpu->top[cache->code];

		if (loaded && top != loaded->entry) {
			uint8_t was = loami_load_relaxed(top[-1].state);

			*out = top[-1];
			loami_store_relaxed(&cpu->top[cache->code], top - 1);
			return was == LOAMI_CACHED || was == LOAMI_FRESH_CACHED ? GOT : TWICE;
		}
		full = take_full(stock);
		if (!full)
			full = depot_pop(cache);
		if (full) {
			if (loaded)
				keep_empty(stock, cache, loaded);
			load(cpu, cache, full, cache->capacity);
			continue;
		}
		if (!loaded) {
			loaded = get_empty(stock, cache);
			load(cpu, cache, loaded, 0);
		}
		irq = loami_lock_irq(&cache->lock);
		got = loaded ? loami_slab_take(cache, loaded->entry, batch_of(cache)) : loami_slab_take(cache, out, 1);
		loami_unlock_irq(&cache->lock, irq);
		if (got == 0)
			return NOTHING;
		if (!loaded)
			return GOT;
		if (cache->heap->hardened && LOAMI_HARDENS(ORDER))
			loami_harden_shuffle(cpu, loaded->entry, got);
		else
			reverse(loaded->entry, got);
		load(cpu, cache, loaded, got);
	}
}

/* Return: an object that was freed twice, or NULL. */
static void *park(struct loami_heap_cpu *cpu, struct loam_heap_cache *cache, const struct loami_entry *entry)
{
	struct loami_stock *stock = &cpu->stock[cache->code];
	struct loami_magazine *loaded = stock->loaded, *empty;
	struct loami_entry *top = cpu->top[cache->code];
	void *bad = NULL;

	if (!loaded || top == &loaded->entry[cache->capacity]) {
		empty = get_empty(stock, cache);
		if (!empty)
			return put_entries(cache, entry, 1);
		if (loaded && stock->nfull < cache->stock_max) {
			keep_full(stock, loaded);
		} else if (loaded && !depot_push(cache, loaded)) {
			bad = put_entries(cache, loaded->entry, cache->capacity);
			keep_empty(stock, cache, loaded);
		}
		load(cpu, cache, empty, 0);
		top = empty->entry;
	}
	*top = *entry;
	loami_store_relaxed(&cpu->top[cache->code], top + 1);
	return bad;
}

/* Through quarantine: another object comes out, perhaps of another cache. */
static void *park_held(struct loami_heap_cpu *cpu, struct loam_heap_cache *cache, struct loami_entry entry)
{
	void *bad;

	if (!loami_harden_hold(cpu, &cache, &entry))
		return NULL;
	bad = park(cpu, cache, &entry);
	loami_harden_parked(cache);
	return bad;
}

/* ---- the shared path: an interrupt landed inside this CPU's fast path -------------------------------------------------------------- */

static enum outcome shared_take(struct loam_heap_cache *cache, struct loami_entry *out)
{
	unsigned long irq = loami_lock_irq(&cache->lock);
	size_t got = loami_slab_take(cache, out, 1);
	struct loami_magazine *magazine = NULL;
	enum outcome outcome = got != 0 ? GOT : NOTHING;

	if (got == 0 && cache->depot) {
		magazine = cache->depot;
		cache->depot = magazine->next;
		loami_store_relaxed(&cache->ndepot, cache->ndepot - 1);
		if (cache->ndepot < cache->depot_least)
			cache->depot_least = cache->ndepot;
		for (unsigned int i = 1; i < cache->capacity; i++)
			if (!loami_slab_put(cache, &magazine->entry[i]))
				outcome = TWICE;
		*out = magazine->entry[0];
		if (outcome != TWICE)
			outcome = loami_load_relaxed(out->state) < LOAMI_FRESH ? GOT : TWICE;
	}
	if (outcome == GOT)
		cache->shared_allocs++;
	loami_unlock_irq(&cache->lock, irq);
	if (magazine)
		magazine_delete(cache, magazine);
	return outcome;
}

/* ---- the slow ways in ------------------------------------------------------------------------------------------------------------------ */

static enum outcome take_one(struct loam_heap_cache *cache, struct loami_entry *out)
{
	struct loam_pin pin = loam_port_pin();
	struct loami_heap_cpu *cpu = loami_heap_cpu(cache->heap, pin.cpu);
	enum outcome outcome;

	if (loami_idle_enter(loami_cpu_idle(cache->heap, cpu))) {
		answer_drain(cache->heap, cpu);
		outcome = refill(cpu, cache, out);
		if (outcome == GOT)
			loami_count(loami_cpu_allocs(cpu, cache->code), 1);
		loami_idle_leave(loami_cpu_idle(cache->heap, cpu));
	} else {
		outcome = shared_take(cache, out);
	}
	loam_port_unpin(pin);
	return outcome;
}

void *loami_alloc_slow(struct loam_heap_cache *cache)
{
	bool trimmed = false;

	for (;;) {
		struct loami_entry entry;
		enum outcome outcome = take_one(cache, &entry);
		enum loam_status status;

		if (outcome == GOT) {
			loami_store_relaxed(entry.state, cache->code);
			loami_object_owned(cache->heap, cache->code, entry.object);
			if (cache->heap->hardened)
				loami_harden_alloc(cache, entry.object);
			return entry.object;
		}
		if (outcome == TWICE)
			twice(cache, entry.object);
		loami_heap_report(cache->heap);
		status = loami_slab_create(cache);
		if (status == LOAM_OK) {
			loami_heap_sample_peak(cache->heap);
		} else if (trimmed) {
			return loami_heap_fail(cache->heap, status);
		} else {
			/* What the other classes have parked may become slabs of this one. */
			(void)loam_heap_trim(cache->heap);
			trimmed = true;
		}
	}
}

void loami_free_slow(struct loam_heap_cache *cache, const struct loami_entry *entry)
{
	struct loam_pin pin = loam_port_pin();
	struct loami_heap_cpu *cpu = loami_heap_cpu(cache->heap, pin.cpu);
	void *bad;

	if (loami_idle_enter(loami_cpu_idle(cache->heap, cpu))) {
		answer_drain(cache->heap, cpu);
		bad = cache->heap->hardened ? park_held(cpu, cache, *entry) : park(cpu, cache, entry);
		loami_idle_leave(loami_cpu_idle(cache->heap, cpu));
	} else {
		bad = put_entries(cache, entry, 1);
	}
	loam_port_unpin(pin);
	if (bad)
		twice(cache, bad);
	loami_heap_report(cache->heap);
}

uint64_t loami_cpu_cached(const struct loam_heap *heap, unsigned int index, const struct loam_heap_cache *cache)
{
	const struct loami_heap_cpu *cpu = loami_heap_cpu(heap, index);
	const struct loami_stock *stock = &cpu->stock[cache->code];
	const struct loami_magazine *loaded = loami_load_relaxed(&stock->loaded);
	uint64_t n = (uint64_t)loami_load_relaxed(&stock->nfull) * cache->capacity + loami_load_relaxed(&stock->nheld);
	uintptr_t top = (uintptr_t)loami_load_relaxed(&cpu->top[cache->code]);

	/* By a racy look the two may not belong together. */
	if (loaded && top - (uintptr_t)loaded->entry <= cache->capacity * sizeof(struct loami_entry))
		n += (top - (uintptr_t)loaded->entry) / sizeof(struct loami_entry);
	return n;
}
