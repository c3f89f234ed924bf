/* bench/heap_prices.c: what a pair pays for each thing that the heap does beyond handing objects out: the same sources compiled without it (bench/meson.build), in the same run, turn by turn.
 *
 * Unproven: what a pair costs when free believes its pointer and alloc its magazine. Its free finds the class by the frame, which is the shortest way there is; nothing is looked up, compared or
 * written to prove that an object starts there and is live. What is left is pinning, the word idle, the count of allocations, and an entry of the loaded magazine.
 */
#include "heap_prices.h"
#include "bench.h"

#include <loam/heap.h>

#include <stdlib.h>
#include <sys/mman.h>

/* src/heap without parts of it. */
#define VARIANT(name)                                                                                                  \
	void *heap_##name##_alloc_class(struct loam_heap *heap, size_t code);                                          \
	void heap_##name##_free(struct loam_heap *heap, void *object);                                                 \
	static void name##_pair(void *context, uint64_t n)                                                             \
	{                                                                                                              \
		for (uint64_t i = 0; i < n; i++) {                                                                     \
			void *object = heap_##name##_alloc_class(context, loam_heap_class(64));                        \
                                                                                                                       \
			bench_keep(object);                                                                            \
			heap_##name##_free(context, object);                                                           \
		}                                                                                                      \
	}

VARIANT(unproven)

static void pair(void *context, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		void *object = loam_heap_alloc_class(context, loam_heap_class(64));

		bench_keep(object);
		loam_heap_free(context, object);
	}
}

/* A heap over frames of its own. */
static void make(struct loam_heap *heap, bool hardened)
{
	enum { NBYTES = 1 << 28 };
	struct prices_block {
		struct loam_frames frames;
		struct loam_memmap map;
		struct loam_region storage[4];
	} *block = calloc(1, sizeof(*block));
	void *at = mmap(NULL, NBYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct loam_region region = {.base = (uintptr_t)at, .nbytes = NBYTES, .type = LOAM_REGION_USABLE};
	struct loam_frames_config below = {.ncpus = 1};
	struct loam_heap_config config = {.ncpus = 1, .hardened = hardened};

	if (!block || at == MAP_FAILED)
		abort();
	(void)madvise(at, NBYTES, MADV_HUGEPAGE);
	below.map = &block->map;
	config.frames = &block->frames;
	if (loam_memmap_init(&block->map, &region, 1, block->storage, 4, 0, NULL, NULL) != LOAM_OK ||
	    loam_frames_boot(&block->frames, &below, &block->map) != LOAM_OK ||
	    loam_heap_init(heap, &config, NULL, 0) != LOAM_OK)
		abort();
}

void heap_unproven(void *context, uint64_t n)
{
	static struct loam_heap heap;

	(void)context;
	if (heap.small_max == 0)
		make(&heap, false);
	unproven_pair(&heap, n);
}

void heap_prices(void)
{
	static struct loam_heap proven;

	make(&proven, false);
	/* Not while it is timed: what makes it. */
	heap_unproven(NULL, 1);
	/* 3 ns are asked for, or a tenth of the pair, whichever is more: with a pair below 30 ns it is the 3 ns. */
	bench_case(&(struct bench_case){.name = "what the checks cost, pair of constant 64 B",
					.run = pair,
					.context = &proven,
					.reference = "no checks",
					.reference_run = heap_unproven,
					.more_at_most = 3});
}
