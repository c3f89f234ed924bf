/* kernel/common/bench_vmalloc.c: instructions per area, its flush and the return of its frames and addresses included. */
#include "bench.h"

#define HELD_MAX 256
#define MAP_PAGES 16

struct work {
	size_t nbytes;
	unsigned int held; /* areas made before the first goes */
	bool zeroed;
};

static void *held[HELD_MAX];

static void pair(const void *context, unsigned long n)
{
	const struct work *work = context;
	const struct loam_vmalloc_opts opts = {.uninitialized = !work->zeroed, .site = LOAM_HERE};

	for (; n != 0; n--) {
		void *area = loam_vmalloc(kernel_system.vm, work->nbytes, &opts);

		if (area == NULL || !loam_vfree(kernel_system.vm, area))
			bench_fail("an area");
	}
}

static void bulk(const void *context, unsigned long n)
{
	const struct work *work = context;
	const struct loam_vmalloc_opts opts = {.uninitialized = !work->zeroed, .site = LOAM_HERE};

	for (unsigned long done = 0; done < n; done += work->held) {
		for (unsigned int i = 0; i < work->held; i++)
			held[i] = loam_vmalloc(kernel_system.vm, work->nbytes, &opts);
		for (unsigned int i = 0; i < work->held; i++)
			if (held[i] == NULL || !loam_vfree(kernel_system.vm, held[i]))
				bench_fail("an area of many");
	}
}

static void map(const void *context, unsigned long n)
{
	const loam_pfn *pfns = context;

	for (; n != 0; n--) {
		void *address;

		if (loam_vmap(kernel_system.vm, pfns, MAP_PAGES, LOAM_PROT_READ | LOAM_PROT_WRITE, LOAM_HERE,
			      &address) != LOAM_OK ||
		    !loam_vunmap(kernel_system.vm, address))
			bench_fail("a mapping");
	}
}

static const char why[] =
	"besides frames and entries an area is found, claimed, published, flushed, released and recorded, each where "
	"another CPU may be doing the same to it; docs/theory/vmalloc.md, Costs, says what of it takes how much";

static void row(const char *name, void (*run)(const void *, unsigned long), const void *context, unsigned long n,
		unsigned long at_most)
{
	bench_row(&(struct bench_row){.layer = "vmalloc",
				      .name = name,
				      .run = run,
				      .context = context,
				      .n = n,
				      .at_most = at_most,
				      .why = why,
				      .everywhere = run == pair});
}

void bench_vmalloc(void)
{
	loam_pfn pfns[MAP_PAGES];

	row("1 page, pair", pair, &(struct work){.nbytes = 4096}, 4096, 700);
	row("16 pages, pair", pair, &(struct work){.nbytes = 65536}, 2048, 2500);
	row("1 MiB, pair", pair, &(struct work){.nbytes = 1 << 20}, 256, 0);
	row("1 page, bulk of 256, pair", bulk, &(struct work){.nbytes = 4096, .held = 256}, 4096, 0);
	row("16 pages, bulk of 64, pair", bulk, &(struct work){.nbytes = 65536, .held = 64}, 2048, 0);
	row("1 page, zeroed, pair", pair, &(struct work){.nbytes = 4096, .zeroed = true}, 1024, 0);
	row("16 pages, zeroed, pair", pair, &(struct work){.nbytes = 65536, .zeroed = true}, 128, 0);
	row("1 MiB, zeroed, pair", pair, &(struct work){.nbytes = 1 << 20, .zeroed = true}, 16, 0);
	if (loam_frame_alloc_batch(kernel_system.frames, MAP_PAGES, NULL, pfns) != MAP_PAGES)
		bench_fail("frames to map");
	row("vmap of 16 pages, pair", map, pfns, 2048, 0);
	if (loam_vmalloc_purge(kernel_system.vm) != LOAM_OK)
		bench_fail("a purge");
	loam_frame_free_batch(kernel_system.frames, pfns, MAP_PAGES);
}
