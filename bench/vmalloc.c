/* bench/vmalloc.c: whole areas: frames, range, entries, record, and back through one flush per batch.
 *
 * Over real page tables in this process's memory, which nobody walks; the flush is a call that returns. The reference is what cannot be avoided: as many frames taken
 * and given one by one, and as many entries written and cleared by hand in a table. The share above it is vmalloc's own: range, record, walk, chains, batch.
 */
#include "bench.h"

#include <loam/vmalloc.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGES = 16, RAM_MIB = 1024 };

static struct {
	struct loam_frames frames;
	struct loam_pagetable tree;
	struct loam_tlb tlb;
	struct loam_vm vm;
	uint64_t table[512];
	size_t npages;
	bool zero;
	void *stack;
} b;

static void *memory(size_t nbytes)
{
	size_t large = (size_t)2 << 20;
	char *at =
		mmap(NULL, nbytes + large, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		abort();
	at = (char *)(((uintptr_t)at + large - 1) & ~(uintptr_t)(large - 1));
	madvise(at, nbytes, MADV_HUGEPAGE);
	memset(at, 1, nbytes); /* first touches are not what is measured */
	return at;
}

static void must(enum loam_status status, const char *what)
{
	if (status == LOAM_OK || status == LOAM_ERR_ALREADY)
		return;
	fprintf(stderr, "%s: %s\n", what, loam_status_name(status));
	abort();
}

static void set_up(void)
{
	const size_t nbytes = (size_t)RAM_MIB << 20;
	struct loam_region region = {.base = (loam_paddr)4 << 30, .nbytes = nbytes, .type = LOAM_REGION_USABLE},
			   storage[8];
	struct loam_memmap map;
	struct loam_frames_config config = {.ncpus = 1};
	struct loam_tlb_config tlb_config = {.ncpus = 1};
	struct loam_table_source source;
	struct loam_vmalloc_config vm_config;

	config.direct_map = (uintptr_t)memory(nbytes) - (uintptr_t)region.base;
	must(loam_memmap_init(&map, &region, 1, storage, 8, 0, NULL, NULL), "map");
	must(loam_frames_boot(&b.frames, &config, &map), "frames");
	must(loam_frame_cpu_online(&b.frames, 0), "cpu");
	source = loam_paging_tables_from_frames(&b.frames);
	must(loam_pagetable_init(&b.tree, &loam_paging_x86_64_4level, &source, LOAM_PADDR_NONE), "tree");
	must(loam_tlb_init(&b.tlb, &tlb_config, aligned_alloc(LOAM_CPU_ALIGN, 65536), 65536), "tlb");
	loam_tlb_cpu_online(&b.tlb);
	vm_config = (struct loam_vmalloc_config){.ncpus = 1, .frames = &b.frames, .tree = &b.tree, .tlb = &b.tlb};
	must(loam_vmalloc_init(&b.vm, &vm_config), "vmalloc");
}

/* One area at a time; batches fill and are flushed as they do. */
static void areas(void *context, uint64_t n)
{
	struct loam_vmalloc_opts opts = {.uninitialized = !b.zero, .site = LOAM_HERE};

	(void)context;
	for (uint64_t i = 0; i < n; i++) {
		void *address = loam_vmalloc(&b.vm, b.npages * LOAM_PAGE_SIZE, &opts);

		if (address == NULL || !loam_vfree(&b.vm, address))
			abort();
	}
}

static void settle(void *context)
{
	(void)context;
	must(loam_vmalloc_purge(&b.vm), "purge");
}

/* Frames one by one, entries by hand. Frames are given back as much later as a batch delays them: that is what a flush per batch asks for, whoever does it. */
static void by_hand(void *context, uint64_t n)
{
	enum { DELAY = 4096 };
	static loam_pfn waiting[DELAY];
	static uint64_t at;
	struct loam_frame_opts opts = {.uninitialized = !b.zero};
	loam_pfn pfns[512] = {0};

	(void)context;
	for (uint64_t i = 0; i < n; i++) {
		for (size_t page = 0; page < b.npages; page++) {
			pfns[page] = loam_frame_alloc(&b.frames, 0, &opts);
			if (pfns[page] == LOAM_PFN_NONE)
				abort();
		}
		for (size_t page = 0; page < b.npages; page++)
			__atomic_store_n(&b.table[page], pfns[page] << 12 | 3, __ATOMIC_RELAXED);
		bench_keep(b.table);
		for (size_t page = 0; page < b.npages; page++)
			__atomic_store_n(&b.table[page], 0, __ATOMIC_RELAXED);
		for (size_t page = 0; page < b.npages; page++, at++) {
			if (waiting[at % DELAY] != 0)
				loam_frame_free(&b.frames, waiting[at % DELAY], 0);
			waiting[at % DELAY] = pfns[page];
		}
	}
}

static const char why_areas[] =
	"above the frames and entries: range, record, batch and flush, less what renewing a frame saves beside giving it back and taking another "
	"(docs/theory/vmalloc.md, Costs)";

static void bench_areas(const char *name, size_t npages, bool zero, double ratio_at_most)
{
	b.npages = npages;
	b.zero = zero;
	bench_case(&(struct bench_case){.name = name,
					.run = areas,
					.before = settle,
					.reference = "as many frame pairs, as far apart, and entries by hand",
					.reference_run = by_hand,
					.reference_before = settle,
					.why = why_areas,
					.ratio_at_most = ratio_at_most});
}

static void stacks(void *context, uint64_t n)
{
	(void)context;
	for (uint64_t i = 0; i < n; i++) {
		void *top;

		if (loam_vstack_alloc(&b.vm, 16384, LOAM_HERE, &top) != LOAM_OK || !loam_vstack_free(&b.vm, top))
			abort();
	}
}

static void maps(void *context, uint64_t n)
{
	static loam_pfn pfns[PAGES];

	(void)context;
	for (size_t i = 0; pfns[PAGES - 1] == 0 && i < PAGES; i++)
		pfns[i] = loam_frame_alloc(&b.frames, 0, NULL);
	for (uint64_t i = 0; i < n; i++) {
		void *address;

		if (loam_vmap(&b.vm, pfns, PAGES, LOAM_PROT_READ, LOAM_HERE, &address) != LOAM_OK ||
		    !loam_vunmap(&b.vm, address))
			abort();
	}
}

static int compare(const void *a, const void *c)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)c;

	return (x > y) - (x < y);
}

/* Every single vfree of many, batches and their flushes and what is given back in passing included. */
static void bench_worst(void)
{
	enum { N = 100000, MEDIAN = N / 2, RARE = N - N / 1000 };
	static uint64_t ns[N];
	struct loam_vmalloc_opts opts = {.uninitialized = true};

	if (!bench_wanted("a single vfree of 16 pages"))
		return;
	settle(NULL);
	for (size_t i = 0; i < N; i++) {
		void *address = loam_vmalloc(&b.vm, PAGES * LOAM_PAGE_SIZE, &opts);
		uint64_t start = bench_now(BENCH_WALL);

		if (!loam_vfree(&b.vm, address))
			abort();
		ns[i] = bench_now(BENCH_WALL) - start;
	}
	qsort(ns, N, sizeof(ns[0]), compare);
	bench_figure(&(struct bench_figure){
		.name = "a single vfree of 16 pages, median", .unit = "ns", .value = (double)ns[MEDIAN]});
	bench_figure(&(struct bench_figure){
		.name = "a single vfree of 16 pages, p99.9", .unit = "ns", .value = (double)ns[RARE]});
	bench_figure(&(struct bench_figure){
		.name = "a single vfree of 16 pages, maximum", .unit = "ns", .value = (double)ns[N - 1]});
}

static void bench_flushes(void)
{
	const char *name = "flushes for 10000 areas of a page freed, batches of 512";
	static void *held[10000];
	struct loam_tlb_stats before, after;

	if (!bench_wanted(name))
		return;
	for (size_t i = 0; i < 10000; i++)
		held[i] = loam_vmalloc(&b.vm, LOAM_PAGE_SIZE, NULL);
	settle(NULL);
	loam_tlb_read_stats(&b.tlb, &before);
	for (size_t i = 0; i < 10000; i++)
		if (!loam_vfree(&b.vm, held[i]))
			abort();
	settle(NULL);
	loam_tlb_read_stats(&b.tlb, &after);
	bench_figure(&(struct bench_figure){.name = name,
					    .unit = "flushes",
					    .value = (double)(after.flushes - before.flushes),
					    .at_least = 20,
					    .at_most = 20});
}

int main(int argc, char **argv)
{
	bench_begin("vmalloc", argc, argv);
	set_up();
	bench_areas("vmalloc + vfree of 16 pages", PAGES, false, 1.4);
	bench_areas("vmalloc + vfree of 16 pages, zeroed", PAGES, true, 1.4);
	bench_areas("vmalloc + vfree of 1 page", 1, false, 0);
	bench_areas("vmalloc + vfree of 256 pages", 256, false, 0);
	bench_case(&(struct bench_case){.name = "vmap + vunmap of 16 pages", .run = maps, .before = settle});
	bench_case(&(struct bench_case){.name = "stack of 16 KiB, cached pair", .run = stacks, .before = settle});
	bench_flushes();
	bench_worst();
	return bench_end();
}
