/* kernel/common/bench_heap.c: instructions per object. The kernel's own heap tracks call sites; this is one as it comes. */
#include "bench.h"

#define HELD_MAX 512

struct work {
	size_t nbytes;
	unsigned int held; /* objects made before the first goes */
	struct loam_heap_cache *cache;
};

static struct loam_heap heap;
static void *held[HELD_MAX];

static void pair(const void *context, unsigned long n)
{
	const struct work *work = context;

	for (; n != 0; n--)
		loam_heap_free(&heap, loam_heap_alloc(&heap, work->nbytes));
}

static void zeroed_pair(const void *context, unsigned long n)
{
	const struct work *work = context;

	for (; n != 0; n--)
		loam_heap_free(&heap, loam_heap_alloc_zeroed(&heap, work->nbytes));
}

/* What a kmalloc() is where the compiler knows the size. */
static void constant_pair(const void *context, unsigned long n)
{
	(void)context;
	for (; n != 0; n--)
		loam_heap_free(&heap, loam_heap_alloc_inline(&heap, 64));
}

static void one_by_one(const void *context, unsigned long n)
{
	const struct work *work = context;

	for (unsigned long done = 0; done < n; done += work->held) {
		for (unsigned int i = 0; i < work->held; i++)
			held[i] = loam_heap_alloc(&heap, work->nbytes);
		for (unsigned int i = 0; i < work->held; i++)
			loam_heap_free(&heap, held[i]);
	}
}

static void bulk(const void *context, unsigned long n)
{
	const struct work *work = context;

	for (unsigned long done = 0; done < n; done += work->held) {
		if (loam_heap_alloc_bulk(&heap, work->nbytes, work->held, held) != work->held)
			bench_fail("objects in bulk");
		loam_heap_free_bulk(&heap, held, work->held);
	}
}

static void typed_pair(const void *context, unsigned long n)
{
	const struct work *work = context;

	for (; n != 0; n--)
		loam_heap_cache_free(work->cache, loam_heap_cache_alloc(work->cache));
}

static void typed_one_by_one(const void *context, unsigned long n)
{
	const struct work *work = context;

	for (unsigned long done = 0; done < n; done += work->held) {
		for (unsigned int i = 0; i < work->held; i++)
			held[i] = loam_heap_cache_alloc(work->cache);
		for (unsigned int i = 0; i < work->held; i++)
			loam_heap_cache_free(work->cache, held[i]);
	}
}

static const char why[] =
	"the gate was set on x86-64; without an add to memory and a compare with memory the same C takes more instructions";

static void row(const char *name, void (*run)(const void *, unsigned long), const struct work *work, unsigned long n,
		unsigned long at_most)
{
	bench_row(&(struct bench_row){.layer = "heap",
				      .name = name,
				      .run = run,
				      .context = work,
				      .n = n,
				      .at_most = at_most,
				      .why = why,
				      .everywhere = run == pair || run == typed_pair});
}

void bench_heap(void)
{
	struct loam_heap_config config = {
		.frames = kernel_system.frames, .vm = kernel_system.vm, .ncpus = machine_cpus()};
	struct loam_cache_config inode = {.name = "bench inode", .nbytes = 192};
	struct loam_heap_cache *cache;
	void *object;

	if (loam_heap_init(&heap, &config, NULL, 0) != LOAM_OK)
		bench_fail("a heap");
	for (unsigned int cpu = 0; cpu < config.ncpus; cpu++)
		if (loam_heap_cpu_online(&heap, cpu) != LOAM_OK)
			bench_fail("a heap on a CPU");
	for (size_t nbytes = 64; nbytes <= 8192; nbytes *= 2) {
		object = loam_heap_alloc(&heap, nbytes);
		if (object == NULL)
			bench_fail("an object");
		loam_heap_free(&heap, object);
	}
	row("64 B, pair", pair, &(struct work){.nbytes = 64}, 4096, 60);
	row("64 B known when compiled, pair", constant_pair, NULL, 4096, 0);
	row("256 B, pair", pair, &(struct work){.nbytes = 256}, 4096, 0);
	row("1 KiB, pair", pair, &(struct work){.nbytes = 1024}, 4096, 0);
	row("4 KiB, pair", pair, &(struct work){.nbytes = 4096}, 4096, 0);
	row("8 KiB, pair", pair, &(struct work){.nbytes = 8192}, 4096, 0);
	row("64 B, 512 one by one, pair", one_by_one, &(struct work){.nbytes = 64, .held = 512}, 4096, 0);
	row("64 B, bulk of 64, pair", bulk, &(struct work){.nbytes = 64, .held = 64}, 4096, 0);
	row("64 B, zeroed, pair", zeroed_pair, &(struct work){.nbytes = 64}, 4096, 0);
	row("1 KiB, zeroed, pair", zeroed_pair, &(struct work){.nbytes = 1024}, 4096, 0);
	row("8 KiB, zeroed, pair", zeroed_pair, &(struct work){.nbytes = 8192}, 256, 0);
	if (loam_heap_cache_create(&heap, &inode, &cache) != LOAM_OK)
		bench_fail("a typed cache");
	row("typed cache of 192 B, pair", typed_pair, &(struct work){.cache = cache}, 4096, 60);
	row("typed cache of 192 B, 512 one by one, pair", typed_one_by_one, &(struct work){.cache = cache, .held = 512},
	    4096, 0);
}
