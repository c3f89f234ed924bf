/* bench/heap.c: the heap against the mallocs there are. The library as a kernel builds it (bench/port.h), over one block of memory, all checks of the default profile on. Nanoseconds
 * of CPU time per pair of allocate and free, or per step where a workload has steps. glibc is the reference of every row; mimalloc, jemalloc and tcmalloc have rows of
 * their own where they are installed. Instructions come from callgrind, where valgrind is installed.
 */
#include "bench.h"
#include "heap_prices.h"

#include <loam/heap.h>

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BLOCK_NBYTES = 1 << 30, LIVE = 50000, PATTERN = 65536, RING = 4096 };

/* ---- who is measured ----------------------------------------------------------------------------------------------------------- */

struct allocator {
	const char *name;
	void *(*alloc)(size_t nbytes);
	void (*release)(void *object);
	void *(*grow)(void *object, size_t nbytes);
	void *(*zeroed)(size_t n, size_t nbytes);
};

static struct loam_heap heap, tracked, hardened;
static struct loam_heap_cache *cache;

static struct allocator peers[4];
static unsigned int npeers;

static void *block(void)
{
	void *at = mmap(NULL, BLOCK_NBYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		abort();
	/* A kernel's direct map has large pages. What the peers ask of the system is theirs. */
	(void)madvise(at, BLOCK_NBYTES, MADV_HUGEPAGE);
	return at;
}

static void add_peer(const char *name, const char *library)
{
	void *handle = library ? dlopen(library, RTLD_NOW | RTLD_LOCAL) : RTLD_DEFAULT;
	struct allocator *peer = &peers[npeers];

	if (!handle && library)
		return;
	peer->name = name;
	*(void **)&peer->alloc = dlsym(handle, "malloc");
	*(void **)&peer->release = dlsym(handle, "free");
	*(void **)&peer->grow = dlsym(handle, "realloc");
	*(void **)&peer->zeroed = dlsym(handle, "calloc");
	npeers++;
}

/* ---- workloads, each for the heap and for a malloc ------------------------------------------------------------------------------------ */

struct work {
	const struct allocator *peer; /* NULL: the heap */
	size_t nbytes;
	void **held;
};

static uint32_t sizes[PATTERN], places[PATTERN];

static void make_pattern(void)
{
	uint64_t seed = 88172645463325252u;

	for (unsigned int i = 0; i < PATTERN; i++) {
		uint64_t r = bench_random(&seed);
		unsigned int shift = r % 10 > 8 ? 8 : (unsigned int)(r % 10);

		places[i] = (uint32_t)(r >> 20) % LIVE;
		sizes[i] = 8 + (uint32_t)(bench_random(&seed) % (8u << shift));
	}
}

#define BOTH(name)                                                                                                     \
	static void name##_heap(void *context, uint64_t n)                                                             \
	{                                                                                                              \
		name(context, n, loam_alloc, loam_release, loam_grow, loam_zeroed);                                    \
	}                                                                                                              \
	static void name##_peer(void *context, uint64_t n)                                                             \
	{                                                                                                              \
		const struct allocator *peer = ((struct work *)context)->peer;                                         \
		name(context, n, peer->alloc, peer->release, peer->grow, peer->zeroed);                                \
	}

typedef void *(*alloc_fn)(size_t);
typedef void (*release_fn)(void *);
typedef void *(*grow_fn)(void *, size_t);
typedef void *(*zeroed_fn)(size_t, size_t);

static inline void *loam_alloc(size_t nbytes)
{
	return loam_heap_alloc(&heap, nbytes);
}
static inline void loam_release(void *object)
{
	loam_heap_free(&heap, object);
}
static inline void *loam_grow(void *object, size_t nbytes)
{
	return loam_heap_realloc(&heap, object, nbytes);
}
static inline void *loam_zeroed(size_t n, size_t nbytes)
{
	return loam_heap_alloc_array(&heap, n, nbytes);
}

#define WORKLOAD static inline __attribute__((always_inline)) void
#define UNUSED3(a, b, c) ((void)(a), (void)(b), (void)(c))

WORKLOAD pair(struct work *work, uint64_t n, alloc_fn alloc, release_fn release, grow_fn grow, zeroed_fn zeroed)
{
	UNUSED3(grow, zeroed, 0);
	for (uint64_t i = 0; i < n; i++) {
		void *object = alloc(work->nbytes);

		bench_keep(object);
		release(object);
	}
}
BOTH(pair)

/* A thousand at a time, freed in the order they came. */
WORKLOAD fifo(struct work *work, uint64_t n, alloc_fn alloc, release_fn release, grow_fn grow, zeroed_fn zeroed)
{
	UNUSED3(grow, zeroed, 0);
	for (uint64_t i = 0; i < n; i += 1000) {
		for (unsigned int j = 0; j < 1000; j++)
			work->held[j] = alloc(work->nbytes);
		for (unsigned int j = 0; j < 1000; j++)
			release(work->held[j]);
	}
	memset(work->held, 0, 1000 * sizeof(void *));
}
BOTH(fifo)

WORKLOAD churn(struct work *work, uint64_t n, alloc_fn alloc, release_fn release, grow_fn grow, zeroed_fn zeroed)
{
	UNUSED3(grow, zeroed, 0);
	for (uint64_t i = 0; i < n; i++) {
		void **held = &work->held[places[i % PATTERN]];

		release(*held);
		*held = alloc(sizes[i % PATTERN]);
		*(volatile char *)*held = 1;
	}
}
BOTH(churn)

WORKLOAD grown(struct work *work, uint64_t n, alloc_fn alloc, release_fn release, grow_fn grow, zeroed_fn zeroed)
{
	UNUSED3(alloc, zeroed, work);
	for (uint64_t i = 0; i < n; i++) {
		void *object = NULL;

		for (size_t nbytes = 16; nbytes <= 16384; nbytes += nbytes / 4 + 8)
			object = grow(object, nbytes);
		release(object);
	}
}
BOTH(grown)

WORKLOAD cleared(struct work *work, uint64_t n, alloc_fn alloc, release_fn release, grow_fn grow, zeroed_fn zeroed)
{
	UNUSED3(alloc, grow, 0);
	for (uint64_t i = 0; i < n; i++) {
		void *object = zeroed(1, work->nbytes);

		bench_keep(object);
		release(object);
	}
}
BOTH(cleared)

/* One thread allocates, another frees; both sides' CPU time. */
struct ring {
	release_fn release;
	uint64_t n;
	_Atomic uint64_t head, tail;
	void *objects[RING];
};

static void *consume(void *arg)
{
	struct ring *ring = arg;
	uint64_t at = 0, head;

	bench_cpu = 1;
	while (at < ring->n) {
		while ((head = atomic_load_explicit(&ring->head, memory_order_acquire)) == at)
			sched_yield();
		for (; at < head; at++)
			ring->release(ring->objects[at % RING]);
		atomic_store_explicit(&ring->tail, at, memory_order_release);
	}
	return NULL;
}

WORKLOAD handed(struct work *work, uint64_t n, alloc_fn alloc, release_fn release, grow_fn grow, zeroed_fn zeroed)
{
	static struct ring ring;
	pthread_t thread;

	UNUSED3(grow, zeroed, 0);
	ring.release = release;
	ring.n = n;
	atomic_store(&ring.head, 0);
	atomic_store(&ring.tail, 0);
	if (pthread_create(&thread, NULL, consume, &ring) != 0)
		abort();
	for (uint64_t at = 0; at < n;) {
		while (at - atomic_load_explicit(&ring.tail, memory_order_acquire) > RING - 512)
			sched_yield();
		for (unsigned int i = 0; i < 512 && at < n; i++, at++)
			ring.objects[at % RING] = alloc(work->nbytes);
		atomic_store_explicit(&ring.head, at, memory_order_release);
	}
	pthread_join(thread, NULL);
}
BOTH(handed)

static void typed_pair(void *context, uint64_t n)
{
	(void)context;
	for (uint64_t i = 0; i < n; i++) {
		void *object = loam_heap_cache_alloc(cache);

		bench_keep(object);
		loam_heap_cache_free(cache, object);
	}
}

static void sized_pair(void *context, uint64_t n)
{
	(void)context;
	for (uint64_t i = 0; i < n; i++) {
		void *object = loam_heap_alloc(&heap, 64);

		bench_keep(object);
		loam_heap_free_sized(&heap, object, 64);
	}
}

static void profile_pair(void *context, uint64_t n)
{
	struct loam_heap *profile = context;

	for (uint64_t i = 0; i < n; i++) {
		void *object = loam_heap_alloc(profile, 48);

		bench_keep(object);
		loam_heap_free(profile, object);
	}
}

/* As a kernel's kmalloc(64) is compiled. */
static void constant_pair(void *context, uint64_t n)
{
	(void)context;
	for (uint64_t i = 0; i < n; i++) {
		void *object = loam_heap_alloc_inline(&heap, 64);

		bench_keep(object);
		loam_heap_free(&heap, object);
	}
}

/* What the loop costs with the two calls and their arguments: these two have NOTHING_INSIDE instructions of their own, to move the result and to return. */
enum { NOTHING_INSIDE = 3 };
/* The compiler may know nothing of these. */
#if defined(__clang__)
#define OPAQUE __attribute__((noinline, optnone))
#else
#define OPAQUE __attribute__((noipa))
#endif
static OPAQUE void *empty_alloc(struct loam_heap *self, size_t code)
{
	(void)self;
	return (void *)code;
}
static OPAQUE void empty_free(struct loam_heap *self, void *object)
{
	(void)self;
	(void)object;
}
static void nothing(void *context, uint64_t n)
{
	(void)context;
	for (uint64_t i = 0; i < n; i++) {
		void *object = empty_alloc(&heap, 8);

		bench_keep(object);
		empty_free(&heap, object);
	}
}

/* ---- rows -------------------------------------------------------------------------------------------------------------------------------- */

struct row {
	const char *name;
	void (*heap)(void *context, uint64_t n);
	void (*peer)(void *context, uint64_t n);
	size_t nbytes;
	uint64_t n;
	double at_most;
	double ratio_at_most;
};

static void release_all(struct work *work)
{
	for (unsigned int i = 0; i < LIVE; i++) {
		if (work->peer)
			work->peer->release(work->held[i]);
		else
			loam_heap_free(&heap, work->held[i]);
		work->held[i] = NULL;
	}
}

static void measure(const struct row *row)
{
	static void *held[2][LIVE];

	for (unsigned int i = 0; i < npeers; i++) {
		struct work mine = {NULL, row->nbytes, held[0]}, theirs = {&peers[i], row->nbytes, held[1]};
		char name[96];

		if (i == 0)
			snprintf(name, sizeof(name), "%s", row->name);
		else
			snprintf(name, sizeof(name), "%s, beside %s", row->name, peers[i].name);
		if (!bench_wanted(name))
			continue;
		bench_case(&(struct bench_case){.name = name,
						.run = row->heap,
						.context = &mine,
						.reference = peers[i].name,
						.reference_run = row->peer,
						.reference_context = &theirs,
						.n = row->n,
						.at_most = i == 0 ? row->at_most : 0,
						.ratio_at_most = i == 0 ? 0 : row->ratio_at_most});
		release_all(&mine);
		release_all(&theirs);
	}
}

/* ---- instructions ---------------------------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*run)(void *context, uint64_t n);
	double at_most;
} counted[] = {
	{"nothing", nothing, 0},
	{"pair of constant 64 B", constant_pair, 40},
	{"the same without the checks", heap_unproven, 0},
	{"pair 64 B", pair_heap, 0},
	{"typed cache pair", typed_pair, 0},
	{"sized pair 64 B", sized_pair, 0},
};

/* Instructions of the whole program with @n rounds of one workload. */
static double collected(const char *self, unsigned int which, unsigned long n)
{
	char command[512], line[256];
	double instructions = 0;
	FILE *pipe;

	snprintf(command, sizeof(command),
		 "valgrind --tool=callgrind --callgrind-out-file=/dev/null '%s' --count %u %lu 2>&1", self, which, n);
	pipe = popen(command, "r");
	if (!pipe)
		return 0;
	while (fgets(line, sizeof(line), pipe))
		if (strstr(line, "Collected"))
			instructions = strtod(strchr(line, ':') + 1, NULL);
	pclose(pipe);
	return instructions;
}

static void count_instructions(const char *self)
{
	double per_round[sizeof(counted) / sizeof(counted[0])];
	char name[96];

	if (!bench_wanted("instructions") || system("valgrind --version > /dev/null 2>&1") != 0)
		return;
	for (unsigned int i = 0; i < sizeof(counted) / sizeof(counted[0]); i++) {
		per_round[i] = (collected(self, i, 20000) - collected(self, i, 10000)) / 10000;
		if (i == 0)
			continue;
		snprintf(name, sizeof(name), "instructions, %s", counted[i].name);
		bench_figure(&(struct bench_figure){.name = name,
						    .unit = "instructions",
						    .value = per_round[i] - per_round[0] + NOTHING_INSIDE,
						    .at_most = counted[i].at_most});
	}
}

/* What an object of 48 bytes costs beyond its 48, in each profile. */
static void per_object(void)
{
	static const char *const names[] = {"default, bytes beyond 48 B", "tracking, bytes beyond 48 B",
					    "hardened, bytes beyond 48 B"};
	struct loam_heap *heaps[] = {&heap, &tracked, &hardened};
	enum { N = 200000 };
	static void *objects[N];

	for (unsigned int i = 0; i < 3; i++) {
		struct loam_heap_stats before, after;

		if (!bench_wanted(names[i]))
			continue;
		(void)loam_heap_drain(heaps[i]);
		loam_heap_read_stats(heaps[i], &before);
		for (unsigned int j = 0; j < N; j++)
			objects[j] = loam_heap_alloc(heaps[i], 48);
		loam_heap_read_stats(heaps[i], &after);
		bench_figure(
			&(struct bench_figure){.name = names[i],
					       .unit = "B/object",
					       .value = (double)(after.total_bytes - before.total_bytes) / N - 48});
		for (unsigned int j = 0; j < N; j++)
			loam_heap_free(heaps[i], objects[j]);
	}
}

/* A hardened heap over a block: frames of its own under it. */
static enum loam_status make_hardened(void)
{
	static struct loam_frames frames;
	static struct loam_region storage[4];
	struct loam_region region = {.base = (uintptr_t)block(), .nbytes = BLOCK_NBYTES, .type = LOAM_REGION_USABLE};
	struct loam_memmap map;
	struct loam_frames_config below = {.map = &map, .ncpus = 2};
	struct loam_heap_config config = {.frames = &frames, .ncpus = 2, .hardened = true};
	enum loam_status status = loam_memmap_init(&map, &region, 1, storage, 4, 0, NULL, NULL);

	if (status == LOAM_OK)
		status = loam_frames_boot(&frames, &below, &map);
	return status == LOAM_OK ? loam_heap_init(&hardened, &config, NULL, 0) : status;
}

int main(int argc, char **argv)
{
	static const struct row rows[] = {
		{"pair 16 B", pair_heap, pair_peer, 16, 0, 0, 1.1},
		{"pair 64 B", pair_heap, pair_peer, 64, 0, 8, 1.1},
		{"pair 1 KiB", pair_heap, pair_peer, 1024, 0, 0, 1.25},
		{"pair 8 KiB", pair_heap, pair_peer, 8192, 0, 0, 1.25},
		{"pair 64 KiB", pair_heap, pair_peer, 65536, 0, 0, 1.25},
		{"1000 of 64 B, first in first out", fifo_heap, fifo_peer, 64, 200000, 0, 1.25},
		{"1000 of 512 B, first in first out", fifo_heap, fifo_peer, 512, 200000, 0, 1.25},
		{"random sizes, 50 k live", churn_heap, churn_peer, 0, 500000, 0, 1.25},
		{"zeroed pair 256 B", cleared_heap, cleared_peer, 256, 0, 0, 1.25},
		{"growing from 16 B to 16 KiB", grown_heap, grown_peer, 0, 0, 0, 1.25},
		{"64 B freed by another CPU", handed_heap, handed_peer, 64, 400000, 0, 1},
	};
	struct loam_cache_config config = {.name = "bench", .nbytes = 64};

	if (loam_heap_init_block(&heap, block(), BLOCK_NBYTES, 2, false) != LOAM_OK ||
	    loam_heap_init_block(&tracked, block(), BLOCK_NBYTES, 2, true) != LOAM_OK || make_hardened() != LOAM_OK ||
	    loam_heap_cache_create(&heap, &config, &cache) != LOAM_OK)
		abort();
	if (argc == 4 && strcmp(argv[1], "--count") == 0) {
		struct work work = {NULL, 64, NULL};

		counted[atoi(argv[2])].run(&work, strtoul(argv[3], NULL, 10));
		return 0;
	}
	make_pattern();
	add_peer("glibc", NULL);
	add_peer("mimalloc", "libmimalloc.so.2");
	add_peer("jemalloc", "libjemalloc.so.2");
	add_peer("tcmalloc", "libtcmalloc_minimal.so.4");
	bench_begin("heap", argc, argv);
	for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		measure(&rows[i]);
	bench_case(&(struct bench_case){.name = "typed cache pair, 64 B", .run = typed_pair, .at_most = 7});
	bench_case(&(struct bench_case){.name = "pair of constant 64 B", .run = constant_pair, .at_most = 8});
	bench_case(&(struct bench_case){.name = "sized pair 64 B", .run = sized_pair});
	/* Their first pages are touched before they are timed. */
	profile_pair(&tracked, 10000);
	profile_pair(&hardened, 10000);
	bench_case(&(struct bench_case){.name = "tracking, pair 48 B",
					.run = profile_pair,
					.context = &tracked,
					.reference = "default profile",
					.reference_run = profile_pair,
					.reference_context = &heap});
	bench_case(&(struct bench_case){.name = "hardened, pair 48 B",
					.run = profile_pair,
					.context = &hardened,
					.reference = "default profile",
					.reference_run = profile_pair,
					.reference_context = &heap});
	per_object();
	heap_prices();
	count_instructions(argv[0]);
	return bench_end();
}
