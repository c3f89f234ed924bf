/* bench/heap_prices.c: what is paid for each thing that the heap does beyond handing objects out: the same sources compiled without it, or with nothing but it (bench/meson.build), in the same run,
 * turn by turn.
 *
 * 1 Unproven: a pair whose free believes its pointer, and whose alloc believes its magazine. That free finds the class by the frame, the shortest way there is; nothing is looked up, compared or
 *   written to prove that an object starts there and is live. What is left is pinning, the word idle, the count of allocations, and an entry of the loaded magazine.
 * 2 The parts of the hardened profile (src/heap/harden.c), each alone beside that profile with none of them, and all of them beside the same. All are more than the sum: quarantine is what makes the
 *   memory that is cleared and looked at cold.
 */
#include "heap_prices.h"
#include "bench.h"

#include <loam/heap.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

/* src/heap, or a copy of it. */
struct copy {
	const char *name;
	enum loam_status (*init)(struct loam_heap *heap, const struct loam_heap_config *config, void *metadata,
				 size_t nbytes);
	void *(*alloc)(struct loam_heap *heap, size_t nbytes);
	void (*release)(struct loam_heap *heap, void *object);
	size_t (*drain)(struct loam_heap *heap);
	void (*read_stats)(const struct loam_heap *heap, struct loam_heap_stats *stats);
};

#define DECLARE(name)                                                                                                  \
	enum loam_status heap_##name##_init(struct loam_heap *, const struct loam_heap_config *, void *, size_t);      \
	void *heap_##name##_alloc(struct loam_heap *, size_t);                                                         \
	void *heap_##name##_alloc_class(struct loam_heap *, size_t);                                                   \
	void heap_##name##_free(struct loam_heap *, void *);                                                           \
	size_t heap_##name##_drain(struct loam_heap *);                                                                \
	void heap_##name##_read_stats(const struct loam_heap *, struct loam_heap_stats *);
#define COPY(name)                                                                                                     \
	{                                                                                                              \
#name, heap_##name##_init, heap_##name##_alloc, heap_##name##_free, heap_##name##_drain,               \
			heap_##name##_read_stats                                                                       \
	}
DECLARE(unproven)
DECLARE(nothing)
DECLARE(exchange)
DECLARE(canary)
DECLARE(zero)
DECLARE(quarantine)
DECLARE(order)

static const struct copy whole = {"all of them",  loam_heap_init,  loam_heap_alloc,
				  loam_heap_free, loam_heap_drain, loam_heap_read_stats};
static const struct copy nothing = COPY(nothing);
static const struct copy parts[] = {COPY(exchange), COPY(canary), COPY(zero), COPY(quarantine), COPY(order)};
enum { NPARTS = sizeof(parts) / sizeof(parts[0]), FRESH = 20000 };

/* ---- heaps --------------------------------------------------------------------------------------------------------------------------- */

struct priced {
	const struct copy *copy;
	struct loam_heap heap;
	struct loam_frames frames;
	struct loam_memmap map;
	struct loam_region storage[4];
	void *objects[FRESH];
};

/* A heap over frames of its own. */
static struct priced *make(const struct copy *copy, bool hardened)
{
	enum { NBYTES = 1 << 27 };
	struct priced *made = calloc(1, sizeof(*made));
	void *at = mmap(NULL, NBYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct loam_region region = {.base = (uintptr_t)at, .nbytes = NBYTES, .type = LOAM_REGION_USABLE};
	struct loam_frames_config below = {.ncpus = 1};
	struct loam_heap_config config = {.ncpus = 1, .hardened = hardened};

	if (!made || at == MAP_FAILED)
		abort();
	(void)madvise(at, NBYTES, MADV_HUGEPAGE);
	made->copy = copy;
	below.map = &made->map;
	config.frames = &made->frames;
	if (loam_memmap_init(&made->map, &region, 1, made->storage, 4, 0, NULL, NULL) != LOAM_OK ||
	    loam_frames_boot(&made->frames, &below, &made->map) != LOAM_OK ||
	    copy->init(&made->heap, &config, NULL, 0) != LOAM_OK)
		abort();
	return made;
}

/* ---- what the checks cost -------------------------------------------------------------------------------------------------------------- */

static void proven(void *context, uint64_t n)
{
	struct loam_heap *heap = context;

	for (uint64_t i = 0; i < n; i++) {
		void *object = loam_heap_alloc_class(heap, loam_heap_class(64));

		bench_keep(object);
		loam_heap_free(heap, object);
	}
}

void heap_unproven(void *context, uint64_t n)
{
	static const struct copy unproven = COPY(unproven);
	static struct priced *made;

	(void)context;
	if (!made)
		made = make(&unproven, false);
	for (uint64_t i = 0; i < n; i++) {
		void *object = heap_unproven_alloc_class(&made->heap, loam_heap_class(64));

		bench_keep(object);
		heap_unproven_free(&made->heap, object);
	}
}

static void price_checks(void)
{
	/* Not while it is timed: what makes it. */
	heap_unproven(NULL, 1);
	/* 3 ns are asked for, or a tenth of the pair, whichever is more: with a pair below 30 ns it is the 3 ns. */
	bench_case(&(struct bench_case){.name = "what the checks cost, pair of constant 64 B",
					.run = proven,
					.context = &make(&whole, false)->heap,
					.reference = "no checks",
					.reference_run = heap_unproven,
					.more_at_most = 3});
}

/* ---- what the parts of the hardened profile cost ------------------------------------------------------------------------------------------ */

static inline __attribute__((always_inline)) void pairs(const struct priced *priced, uint64_t n, size_t nbytes)
{
	struct loam_heap *heap = (struct loam_heap *)(uintptr_t)&priced->heap;

	for (uint64_t i = 0; i < n; i++) {
		void *object = priced->copy->alloc(heap, nbytes);

		bench_keep(object);
		priced->copy->release(heap, object);
	}
}

static void pair_48(void *context, uint64_t n)
{
	pairs(context, n, 48);
}

static void pair_1024(void *context, uint64_t n)
{
	pairs(context, n, 1024);
}

static void pair_128k(void *context, uint64_t n)
{
	pairs(context, n, 128 << 10);
}

/* Objects in places that nobody had yet: their slabs are made and their magazines filled meanwhile. */
static void fresh(void *context, uint64_t n)
{
	struct priced *priced = context;

	for (uint64_t i = 0; i < n; i++)
		priced->objects[i] = priced->copy->alloc(&priced->heap, 48);
}

static void give_back(void *context)
{
	struct priced *priced = context;

	for (unsigned int i = 0; i < FRESH; i++) {
		priced->copy->release(&priced->heap, priced->objects[i]);
		priced->objects[i] = NULL;
	}
	(void)priced->copy->drain(&priced->heap);
}

static void price_pair(const char *size, void (*run)(void *context, uint64_t n), struct priced *priced,
		       struct priced *none, const char *reference)
{
	char name[80];

	snprintf(name, sizeof(name), "hardened: %s, pair %s", priced->copy->name, size);
	bench_case(&(struct bench_case){.name = name,
					.run = run,
					.context = priced,
					.reference = reference,
					.reference_run = run,
					.reference_context = none});
}

static void price_fresh(struct priced *priced, struct priced *none)
{
	char name[80];

	snprintf(name, sizeof(name), "hardened: %s, 48 B for the first time", priced->copy->name);
	bench_case(&(struct bench_case){.name = name,
					.run = fresh,
					.context = priced,
					.after = give_back,
					.reference = none->copy->name,
					.reference_run = fresh,
					.reference_context = none,
					.reference_after = give_back,
					.n = FRESH});
}

/* Bytes of a live object of 48 B beyond its 48. */
static double beyond(struct priced *priced)
{
	struct loam_heap_stats before, after;

	(void)priced->copy->drain(&priced->heap);
	priced->copy->read_stats(&priced->heap, &before);
	fresh(priced, FRESH);
	priced->copy->read_stats(&priced->heap, &after);
	give_back(priced);
	return (double)(after.total_bytes - before.total_bytes) / FRESH - 48;
}

static void price_bytes(struct priced *priced, struct priced *none)
{
	char name[80];

	snprintf(name, sizeof(name), "hardened: %s, bytes beyond 48 B", priced->copy->name);
	if (bench_wanted(name))
		bench_figure(&(struct bench_figure){.name = name,
						    .unit = "B/object",
						    .value = beyond(priced),
						    .reference = none->copy->name,
						    .reference_value = beyond(none)});
}

/* Its first pages are touched before it is timed. */
static struct priced *made_warm(const struct copy *copy, bool hardened)
{
	struct priced *made = make(copy, hardened);

	fresh(made, FRESH);
	give_back(made);
	pair_48(made, 10000);
	pair_1024(made, 10000);
	return made;
}

static void price_part(struct priced *priced, struct priced *none)
{
	price_pair("48 B", pair_48, priced, none, none->copy->name);
	price_pair("1 KiB", pair_1024, priced, none, none->copy->name);
	price_fresh(priced, none);
	price_bytes(priced, none);
}

static void price_hardened(void)
{
	struct loam_heap_config plain = {.ncpus = 1}, hardened = {.ncpus = 1, .hardened = true};
	struct priced *none = made_warm(&nothing, true), *all = made_warm(&whole, true),
		      *without = made_warm(&whole, false);

	price_pair("48 B", pair_48, none, without, "default profile");
	for (unsigned int i = 0; i < NPARTS; i++)
		price_part(made_warm(&parts[i], true), none);
	price_part(all, none);
	price_pair("128 KiB", pair_128k, all, without, "default profile");
	bench_figure(&(struct bench_figure){
		.name = "hardened: quarantine, what a CPU has for it",
		.unit = "B",
		.value = (double)(loam_heap_metadata_size(&hardened) - loam_heap_metadata_size(&plain))});
}

void heap_prices(void)
{
	price_checks();
	price_hardened();
}
