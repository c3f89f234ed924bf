/* tests/unit/heap/smp.c: several CPUs at one heap. */
#include "heap_rig.h"

#include <heap/internal.h>

enum { CPUS = 4, SLOTS = 64, STEPS = 20000 };

struct shared {
	struct loam_heap *heap;
	struct loam_heap_cache *cache;
	void *slots[SLOTS]; /* swapped atomically: what one CPU puts another takes out and frees */
	uint64_t allocs;
	uint64_t allocated;
	bool typed;
};

struct stamp {
	uint64_t nbytes;
	uint64_t key;
};

static bool put_stamp(void *object, size_t nbytes, uint64_t key)
{
	*(struct stamp *)object = (struct stamp){nbytes, key};
	heap_rig_fill((char *)object + sizeof(struct stamp), nbytes - sizeof(struct stamp), key);
	return true;
}

static bool check_stamp(void *object)
{
	struct stamp stamp = *(struct stamp *)object;

	return heap_rig_filled((char *)object + sizeof(struct stamp), stamp.nbytes - sizeof(struct stamp), stamp.key);
}

static bool exchange(struct rig *rig, unsigned int cpu, void *context)
{
	struct shared *shared = context;
	uint64_t seed = 77 + cpu, allocs = 0, allocated = 0;

	(void)rig;
	for (unsigned int step = 0; step < STEPS; step++) {
		uint64_t r = rig_random(&seed);
		size_t nbytes = shared->typed ? 96 : 16 + (r >> 8) % (r % 64 == 0 ? 4000 : 300);
		void *object =
			shared->typed ? loam_heap_cache_alloc(shared->cache) : loam_heap_alloc(shared->heap, nbytes);
		void *other;

		if (!object || !put_stamp(object, nbytes, r))
			return false;
		allocs++;
		allocated += loam_heap_usable_size(shared->heap, object);
		other = __atomic_exchange_n(&shared->slots[(r >> 32) % SLOTS], object, __ATOMIC_ACQ_REL);
		if (other && !check_stamp(other))
			return false;
		if (r % 5 == 0 && step % 1000 == 0)
			(void)loam_heap_trim(shared->heap);
		loam_heap_free(shared->heap, other);
	}
	__atomic_fetch_add(&shared->allocs, allocs, __ATOMIC_RELAXED);
	__atomic_fetch_add(&shared->allocated, allocated, __ATOMIC_RELAXED);
	return true;
}

static void run(bool track, bool typed)
{
	unsigned int ncpus = rig_cpus() < CPUS ? rig_cpus() : CPUS;
	struct heap_rig rig = heap_rig_make(4096, ncpus, track);
	struct loam_cache_config config = {.name = "shared", .nbytes = 96};
	struct shared shared = {.heap = rig.heap, .typed = typed};
	struct loam_heap_stats stats;

	if (typed)
		CHECK_OK(loam_heap_cache_create(rig.heap, &config, &shared.cache));
	CHECK(rig_run(rig.rig, exchange, &shared));
	CHECK_OK(loam_heap_check(rig.heap));
	for (unsigned int i = 0; i < SLOTS; i++)
		loam_heap_free(rig.heap, shared.slots[i]);
	loam_heap_read_stats(rig.heap, &stats);
	CHECK_EQ(stats.allocations, shared.allocs);
	CHECK_EQ(stats.frees, shared.allocs);
	CHECK_EQ(stats.allocated_bytes, shared.allocated);
	CHECK_EQ(stats.freed_bytes, shared.allocated);
	CHECK_EQ(stats.used_bytes, 0);
	if (typed)
		CHECK_OK(loam_heap_cache_destroy(rig.heap, shared.cache));
	heap_rig_end(&rig);
}

TEST(H2_what_one_cpu_allocates_another_frees)
{
	run(false, false);
}

TEST(H2_typed_objects_go_from_cpu_to_cpu)
{
	run(false, true);
}

TEST(H2_a_tracking_heap_is_shared_by_cpus)
{
	run(true, false);
}

/* A hit touches nothing shared: the caches' locks are not taken. */
TEST(H2_a_cpu_serves_itself_from_its_cache)
{
	struct heap_rig rig = heap_rig_make(1024, 1, false);
	void *object = loam_heap_alloc(rig.heap, 64);
	unsigned long irq;

	loam_heap_free(rig.heap, object);
	irq = loam_port_irq_save();
	__atomic_store_n(&rig.heap->sizes[3].lock.word, 1, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < 1000; i++) {
		object = loam_heap_alloc(rig.heap, 64);
		CHECK(object != NULL);
		loam_heap_free(rig.heap, object);
	}
	__atomic_store_n(&rig.heap->sizes[3].lock.word, 0, __ATOMIC_RELAXED);
	loam_port_irq_restore(irq);
	heap_rig_end(&rig);
}

struct filler {
	struct loam_heap *heap;
	void *objects[CPUS][500];
};

static bool fill(struct rig *rig, unsigned int cpu, void *context)
{
	struct filler *filler = context;

	(void)rig;
	for (unsigned int i = 0; i < 500; i++)
		filler->objects[cpu][i] = loam_heap_alloc(filler->heap, 128);
	for (unsigned int i = 0; i < 500; i++)
		loam_heap_free(filler->heap, filler->objects[cpu][i]);
	return true;
}

TEST(H2_a_cpu_that_goes_leaves_nothing_behind)
{
	unsigned int ncpus = rig_cpus() < CPUS ? rig_cpus() : CPUS;
	struct heap_rig rig = heap_rig_make(2048, ncpus, false);
	static struct filler filler;

	filler.heap = rig.heap;
	CHECK_OK(loam_heap_cpu_online(rig.heap, ncpus - 1));
	CHECK_STATUS(loam_heap_cpu_online(rig.heap, ncpus), LOAM_ERR_CPU);
	CHECK_STATUS(loam_heap_cpu_offline(rig.heap, ncpus), LOAM_ERR_CPU);
	CHECK(rig_run(rig.rig, fill, &filler));
	for (unsigned int cpu = 1; cpu < ncpus; cpu++)
		CHECK_OK(loam_heap_cpu_offline(rig.heap, cpu));
	(void)loam_heap_trim(rig.heap);
	CHECK_EQ(heap_rig_used(rig.rig), rig.used);
	heap_rig_end(&rig);
}

/* ---- what is parked comes back --------------------------------------------------------------------------------------------------- */

enum { PARKED = 1500 };

struct parking {
	struct loam_heap *heap;
	void *objects[PARKED];
	unsigned int ticks; /* of CPU 1 */
	bool park;
};

static bool park_on_cpu_1(struct rig *rig, unsigned int cpu, void *context)
{
	struct parking *parking = context;

	(void)rig;
	if (cpu != 1)
		return true;
	if (parking->park) {
		for (unsigned int i = 0; i < PARKED; i++)
			parking->objects[i] = loam_heap_alloc(parking->heap, 128);
		for (unsigned int i = 0; i < PARKED; i++)
			loam_heap_free(parking->heap, parking->objects[i]);
	}
	for (unsigned int i = 0; i < parking->ticks; i++)
		loam_heap_tick(parking->heap);
	return true;
}

static uint64_t parked_of_128(const struct heap_rig *rig)
{
	struct loam_heap_class_stats stats;

	CHECK_OK(loam_heap_read_class_stats(rig->heap, 7, &stats));
	CHECK_STR(stats.name, "size-128");
	return stats.cached;
}

TEST(H2_what_another_cpu_has_parked_comes_back_at_its_tick)
{
	struct heap_rig rig = heap_rig_make(2048, 2, false);
	static struct parking parking;

	if (rig_cpus() < 2)
		tap_skip("one CPU");
	parking = (struct parking){.heap = rig.heap, .park = true};
	CHECK(rig_run(rig.rig, park_on_cpu_1, &parking));
	(void)loam_heap_trim(rig.heap);
	CHECK(parked_of_128(&rig) > 100);
	parking = (struct parking){.heap = rig.heap, .ticks = 1};
	CHECK(rig_run(rig.rig, park_on_cpu_1, &parking));
	CHECK_EQ(parked_of_128(&rig), 0);
	(void)loam_heap_trim(rig.heap);
	CHECK_EQ(heap_rig_used(rig.rig), rig.used);
	heap_rig_end(&rig);
}

/* Two ticks with nothing in between: all of it is idle. */
TEST(H2_what_is_not_needed_from_tick_to_tick_goes_back)
{
	struct heap_rig rig = heap_rig_make(2048, 1, false);
	static void *objects[PARKED];
	uint64_t most;

	for (unsigned int i = 0; i < PARKED; i++)
		objects[i] = loam_heap_alloc(rig.heap, 128);
	for (unsigned int i = 0; i < PARKED; i++)
		loam_heap_free(rig.heap, objects[i]);
	most = parked_of_128(&rig);
	CHECK(most > 100);
	/* In use: what one object back and forth does not need goes, the loaded magazine stays. */
	for (unsigned int i = 0; i < 3; i++) {
		loam_heap_tick(rig.heap);
		loam_heap_free(rig.heap, loam_heap_alloc(rig.heap, 128));
	}
	CHECK(parked_of_128(&rig) > 0);
	CHECK(parked_of_128(&rig) <= 127);
	loam_heap_tick(rig.heap);
	loam_heap_tick(rig.heap);
	loam_heap_tick(rig.heap);
	CHECK_EQ(parked_of_128(&rig), 0);
	heap_rig_end(&rig);
}

/* Without a tick: a magazine at each refill or overflow of the CPU that was asked. */
TEST(H2_a_drain_is_answered_a_magazine_at_a_time)
{
	struct heap_rig rig = heap_rig_make(2048, 1, false);
	static void *objects[PARKED];

	for (unsigned int i = 0; i < PARKED; i++)
		objects[i] = loam_heap_alloc(rig.heap, 128);
	for (unsigned int i = 0; i < PARKED; i++)
		loam_heap_free(rig.heap, objects[i]);
	CHECK(loami_cpu_cached(rig.heap, 0, &rig.heap->sizes[7]) > 126);
	__atomic_store_n(&loami_heap_cpu(rig.heap, 0)->drain, 1, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < 40; i++)
		loam_heap_free(rig.heap, loam_heap_alloc_aligned(rig.heap, 64, 32)); /* the slow way round */
	CHECK_EQ(loami_cpu_cached(rig.heap, 0, &rig.heap->sizes[7]), 0);
	heap_rig_end(&rig);
}

/* CPU 0 makes typed caches and ends them; what the others do has nothing to do with them, but they trim, add up and free into quarantines all the while. */
static bool make_and_end(struct rig *rig, unsigned int cpu, void *context)
{
	struct loam_heap *heap = context;
	uint64_t seed = 5 + cpu;

	(void)rig;
	for (unsigned int step = 0; step < STEPS / 10; step++) {
		uint64_t r = rig_random(&seed);
		struct loam_cache_config config = {.name = "passing", .nbytes = 40};
		struct loam_heap_cache *cache;
		struct loam_heap_stats stats;
		void *objects[8];

		if (cpu != 0) {
			loam_heap_free(heap, loam_heap_alloc(heap, 16 + r % 200));
			if (r >> 32 & 31)
				continue;
			(void)loam_heap_trim(heap);
			loam_heap_read_stats(heap, &stats);
			continue;
		}
		if (loam_heap_cache_create(heap, &config, &cache) != LOAM_OK)
			return false;
		for (unsigned int i = 0; i < 8; i++)
			objects[i] = loam_heap_cache_alloc(cache);
		for (unsigned int i = 0; i < 8; i++)
			loam_heap_cache_free(cache, objects[i]);
		if (loam_heap_cache_destroy(heap, cache) != LOAM_OK)
			return false;
	}
	return true;
}

TEST(H2_typed_caches_end_while_other_cpus_use_the_heap)
{
	unsigned int ncpus = rig_cpus() < CPUS ? rig_cpus() : CPUS;

	for (int hardened = 0; hardened <= 1; hardened++) {
		struct loam_heap_config config = {.ncpus = ncpus, .hardened = hardened != 0};
		struct heap_rig rig = heap_rig_make_with(4096, &config);

		CHECK(rig_run(rig.rig, make_and_end, rig.heap));
		heap_rig_end(&rig);
	}
}
