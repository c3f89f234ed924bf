/* bench/malloc_work.c: one workload, with whatever malloc this process has: bench/malloc.c runs it once per allocator and round. malloc_work NAME prints the CPU time of the workload in ns and
 * how many operations it was; malloc_work alone prints the names. The work is the same for all: fixed counts, fixed seeds.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t next(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * UINT64_C(0x2545f4914f6cdd1d);
}

static void must(const void *object)
{
	if (!object)
		abort();
}

static void use(void *object)
{
	must(object);
	*(volatile char *)object = 1;
}

/* ---- pairs and batches -------------------------------------------------------------------------------------------------------------- */

static uint64_t pairs(size_t nbytes, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		void *object = malloc(nbytes);

		use(object);
		free(object);
	}
	return n;
}

#define PAIR(nbytes, n)                                                                                                \
	static uint64_t pair_##nbytes(void)                                                                            \
	{                                                                                                              \
		return pairs(nbytes, n);                                                                               \
	}
PAIR(16, 8000000)
PAIR(64, 8000000)
PAIR(256, 8000000)
PAIR(1024, 8000000)
PAIR(4096, 6000000)
PAIR(16384, 4000000)
PAIR(65536, 2000000)

static uint64_t batches(size_t nbytes, bool lifo)
{
	enum { BATCH = 2000, ROUNDS = 800 };
	static void *objects[BATCH];

	for (unsigned int round = 0; round < ROUNDS; round++) {
		for (unsigned int i = 0; i < BATCH; i++) {
			objects[i] = malloc(nbytes);
			use(objects[i]);
		}
		for (unsigned int i = 0; i < BATCH; i++)
			free(objects[lifo ? BATCH - 1 - i : i]);
	}
	return (uint64_t)BATCH * ROUNDS;
}

static uint64_t fifo(void)
{
	return batches(64, false);
}
static uint64_t lifo(void)
{
	return batches(64, true);
}
static uint64_t fifo_large(void)
{
	return batches(1500, false);
}

/* ---- random sizes, random lifetimes ---------------------------------------------------------------------------------------------------- */

/* Mostly small, now and then up to 8 KiB. */
static size_t some_size(uint64_t random)
{
	unsigned int shift = 4 + (unsigned int)(random >> 60) % 5 + ((random >> 40 & 63) == 0 ? 4 : 0);

	return 1 + (random >> 20) % ((size_t)1 << shift);
}

static uint64_t churn(size_t live, uint64_t n)
{
	void **objects = calloc(live, sizeof(void *));
	uint64_t seed = 88172645463325252u;

	must(objects);
	for (uint64_t i = 0; i < n; i++) {
		uint64_t random = next(&seed);
		void **place = &objects[(random >> 8) % live];

		free(*place);
		*place = malloc(some_size(next(&seed)));
		use(*place);
	}
	for (size_t i = 0; i < live; i++)
		free(objects[i]);
	free(objects);
	return n;
}

static uint64_t churn_1k(void)
{
	return churn(1000, 4000000);
}
static uint64_t churn_50k(void)
{
	return churn(50000, 3000000);
}
static uint64_t churn_1m(void)
{
	return churn(1000000, 4000000);
}

/* ---- threads ------------------------------------------------------------------------------------------------------------------------------ */

enum { RING = 1024, HANDED = 1500000 };
static _Atomic(void *) ring[RING];

static void *consumer(void *argument)
{
	for (unsigned int i = 0; i < HANDED; i++) {
		void *object;

		while ((object = atomic_exchange_explicit(&ring[i % RING], NULL, memory_order_acquire)) == NULL)
			(void)sched_yield();
		free(object);
	}
	return argument;
}

static uint64_t handed_over(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, consumer, NULL) != 0)
		abort();
	for (unsigned int i = 0; i < HANDED; i++) {
		void *object = malloc(64);

		use(object);
		while (atomic_load_explicit(&ring[i % RING], memory_order_relaxed) != NULL)
			(void)sched_yield();
		atomic_store_explicit(&ring[i % RING], object, memory_order_release);
	}
	pthread_join(thread, NULL);
	return HANDED;
}

/* Larson's server: threads that replace objects of a set, which a new thread takes over when the old one ends. */
enum { LARSON_THREADS = 4, LARSON_LIVE = 1000, LARSON_TURNS = 20, LARSON_EACH = 15000 };

static void *larson_thread(void *argument)
{
	void **objects = argument;
	uint64_t seed = (uintptr_t)argument | 1;

	for (unsigned int i = 0; i < LARSON_EACH; i++) {
		uint64_t random = next(&seed);

		free(objects[random % LARSON_LIVE]);
		objects[random % LARSON_LIVE] = malloc(10 + (random >> 32) % 490);
		use(objects[random % LARSON_LIVE]);
	}
	return NULL;
}

static uint64_t larson(void)
{
	static void *sets[LARSON_THREADS][LARSON_LIVE];
	pthread_t threads[LARSON_THREADS];

	for (unsigned int turn = 0; turn < LARSON_TURNS; turn++) {
		for (unsigned int i = 0; i < LARSON_THREADS; i++)
			if (pthread_create(&threads[i], NULL, larson_thread, sets[(i + turn) % LARSON_THREADS]) != 0)
				abort();
		for (unsigned int i = 0; i < LARSON_THREADS; i++)
			pthread_join(threads[i], NULL);
	}
	return (uint64_t)LARSON_THREADS * LARSON_TURNS * LARSON_EACH;
}

static void *short_life(void *argument)
{
	void *objects[100];

	for (unsigned int i = 0; i < 100; i++) {
		objects[i] = malloc(16 + i * 40);
		use(objects[i]);
	}
	for (unsigned int i = 0; i < 100; i++)
		free(objects[i]);
	return argument;
}

static uint64_t lives(void)
{
	enum { THREADS = 2000 };

	for (unsigned int i = 0; i < THREADS; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, short_life, NULL) != 0)
			abort();
		pthread_join(thread, NULL);
	}
	return THREADS;
}

/* ---- the rest --------------------------------------------------------------------------------------------------------------------------------- */

static uint64_t grow(void)
{
	enum { VECTORS = 8, ROUNDS = 12 };
	uint64_t n = 0;

	for (unsigned int round = 0; round < ROUNDS; round++) {
		char *vectors[VECTORS] = {NULL};

		for (size_t nbytes = 16; nbytes < (size_t)4 << 20; nbytes += nbytes / 2) {
			for (unsigned int i = 0; i < VECTORS; i++, n++) {
				vectors[i] = realloc(vectors[i], nbytes);
				must(vectors[i]);
				memset(vectors[i] + nbytes - nbytes / 3, 1, nbytes / 3);
			}
		}
		for (unsigned int i = 0; i < VECTORS; i++)
			free(vectors[i]);
	}
	return n;
}

static uint64_t zeroed(void)
{
	enum { LIVE = 500, N = 300000 };
	static void *objects[LIVE];
	uint64_t seed = 4711;

	for (unsigned int i = 0; i < N; i++) {
		uint64_t random = next(&seed);

		free(objects[random % LIVE]);
		objects[random % LIVE] = calloc(1, (random & 0xf0000) == 0 ? 20000 + (random >> 32) % 100000
									   : 16 + (random >> 32) % 2000);
		use(objects[random % LIVE]);
	}
	for (unsigned int i = 0; i < LIVE; i++)
		free(objects[i]);
	return N;
}

static uint64_t fresh(void)
{
	uint64_t pages = 0, seed = 99;

	for (unsigned int round = 0; round < 60; round++) {
		size_t nbytes = ((size_t)1 << 20) << (next(&seed) >> 32) % 6;
		char *object = malloc(nbytes);

		must(object);
		for (size_t i = 0; i < nbytes; i += 4096, pages++)
			((volatile char *)object)[i] = 1;
		free(object);
	}
	return pages;
}

static uint64_t peak(void);
static uint64_t peak_spread(void);

static const struct workload {
	const char *name;
	uint64_t (*run)(void);
} workloads[] = {
	{"pair 16 B", pair_16},
	{"pair 64 B", pair_64},
	{"pair 256 B", pair_256},
	{"pair 1 KiB", pair_1024},
	{"pair 4 KiB", pair_4096},
	{"pair 16 KiB", pair_16384},
	{"pair 64 KiB", pair_65536},
	{"batches of 64 B, first in first out", fifo},
	{"batches of 64 B, last in first out", lifo},
	{"batches of 1500 B, first in first out", fifo_large},
	{"random sizes, 1 k live", churn_1k},
	{"random sizes, 50 k live", churn_50k},
	{"random sizes, 1 M live", churn_1m},
	{"64 B made by one thread, freed by another", handed_over},
	{"a server's threads (larson)", larson},
	{"threads that start and end", lives},
	{"realloc growth", grow},
	{"calloc", zeroed},
	{"fresh large memory, per page touched", fresh},
	{"peak", peak}, /* not times: see there */
	{"peak, spread", peak_spread},
};

/* 1 GiB of objects, then all but 1 MiB freed, which is what was made first or lies all over it: prints KiB resident at the peak and one second after the last free. */
static unsigned long resident_kib(void)
{
	unsigned long all = 0, pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	if (!file || fscanf(file, "%lu %lu", &all, &pages) != 2)
		abort();
	fclose(file);
	return pages * 4;
}

static void fall(bool spread)
{
	size_t n = 0, total = 0, most = (size_t)4 << 20, kept = 0;
	void **objects = malloc(most * sizeof(void *));
	struct timespec second = {.tv_sec = 1};
	size_t *sizes = malloc(most * sizeof(size_t));
	unsigned long high;
	uint64_t seed = 5;

	must(objects);
	must(sizes);
	while (total < (size_t)1 << 30 && n < most) {
		sizes[n] = 64 + next(&seed) % 2000;
		objects[n] = malloc(sizes[n]);
		must(objects[n]);
		memset(objects[n], 1, sizes[n]);
		total += sizes[n++];
	}
	high = resident_kib();
	for (size_t i = 0; i < n; i++) {
		if ((!spread || i % (n / 800) == 0) && kept < (size_t)1 << 20) {
			kept += sizes[i];
			continue;
		}
		free(objects[i]);
	}
	free(objects);
	free(sizes);
	nanosleep(&second, NULL);
	printf("%lu %lu\n", high, resident_kib());
	exit(0);
}

static uint64_t peak(void)
{
	fall(false);
	return 0;
}
static uint64_t peak_spread(void)
{
	fall(true);
	return 0;
}

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int main(int argc, char **argv)
{
	for (unsigned int i = 0; i < sizeof(workloads) / sizeof(workloads[0]); i++) {
		uint64_t start, n;

		if (argc < 2)
			printf("%s\n", workloads[i].name);
		if (argc < 2 || strcmp(argv[1], workloads[i].name) != 0)
			continue;
		start = cpu_ns();
		n = workloads[i].run();
		printf("%llu %llu\n", (unsigned long long)(cpu_ns() - start), (unsigned long long)n);
		return 0;
	}
	return argc < 2 ? 0 : 2;
}
