/* bench/paging.c: ranges of pages mapped and unmapped, beside writing the same entries by hand.
 *
 * By hand is the least a kernel could do: the format compiled in, no checks, one walk for the range, plain stores. An operation is a pair: mapped and
 * unmapped again. No TLB is flushed on either side: that is the engine's, measured by itself and with flush instructions that cost nothing.
 */
#include "bench.h"

#include <loam/paging.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BASE ((uintptr_t)0xffff900000000000)
enum { TABLES = 4096, RANGES = 1024 };

static char *ram;
static size_t next_table;

static loam_paddr take(void *context)
{
	(void)context;
	return next_table == TABLES ? LOAM_PADDR_NONE : (loam_paddr)(next_table++ * LOAM_PAGE_SIZE);
}

static void give(void *context, loam_paddr table)
{
	(void)context;
	(void)table;
}

struct workload {
	struct loam_pagetable tree;
	size_t npages;
	unsigned int nranges; /* walked through round robin, 2 MiB apart */
	loam_pfn pfns[512];
	loam_pfn back[512];
	size_t nback;
};

/* ---- Loam ---- */

static uintptr_t address(const struct workload *w, uint64_t i)
{
	return BASE + (i & (w->nranges - 1)) * (2 << 20);
}

static void must(enum loam_status status)
{
	if (status != LOAM_OK) {
		fprintf(stderr, "bench: %s\n", loam_status_name(status));
		exit(1);
	}
}

static void map_unmap(void *context, uint64_t n)
{
	static const struct loam_mapping mapping = {.prot = LOAM_PROT_READ | LOAM_PROT_WRITE};
	struct workload *w = context;

	for (uint64_t i = 0; i < n; i++) {
		must(loam_paging_map(&w->tree, address(w, i), 0x40000000, w->npages, &mapping));
		must(loam_paging_unmap(&w->tree, address(w, i), w->npages, NULL, NULL));
	}
}

static void collect(void *context, uintptr_t va, loam_paddr pa, size_t npages)
{
	struct workload *w = context;

	(void)va;
	(void)npages;
	w->back[w->nback++] = pa >> LOAM_PAGE_SHIFT;
}

static void map_unmap_frames(void *context, uint64_t n)
{
	static const struct loam_mapping mapping = {.prot = LOAM_PROT_READ | LOAM_PROT_WRITE};
	struct workload *w = context;

	for (uint64_t i = 0; i < n; i++) {
		must(loam_paging_map_frames(&w->tree, address(w, i), w->pfns, w->npages, &mapping));
		w->nback = 0;
		must(loam_paging_unmap(&w->tree, address(w, i), w->npages, collect, w));
	}
	bench_keep(w->back);
}

static void protect(void *context, uint64_t n)
{
	struct workload *w = context;

	for (uint64_t i = 0; i < n; i++)
		must(loam_paging_protect(&w->tree, address(w, i), w->npages,
					 i & RANGES ? LOAM_PROT_READ : LOAM_PROT_READ | LOAM_PROT_WRITE));
}

static void query(void *context, uint64_t n)
{
	struct workload *w = context;
	struct loam_paging_entry entry;

	for (uint64_t i = 0; i < n; i++) {
		must(loam_paging_query(&w->tree, address(w, i) + (i & 15) * LOAM_PAGE_SIZE, &entry));
		bench_keep(&entry);
	}
}

/* ---- by hand ---- */

static uint64_t *hand_walk(const struct workload *w, uintptr_t va)
{
	uint64_t *table = (uint64_t *)(void *)(ram + w->tree.root);

	for (int shift = 39; shift > 12; shift -= 9)
		table = (uint64_t *)(void *)(ram + (*(volatile uint64_t *)&table[va >> shift & 511] & 0xffffffffff000));
	return &table[va >> 12 & 511];
}

static void hand_map_unmap(void *context, uint64_t n)
{
	struct workload *w = context;

	for (uint64_t i = 0; i < n; i++) {
		volatile uint64_t *entry = hand_walk(w, address(w, i));

		for (size_t k = 0; k < w->npages; k++)
			entry[k] = (0x40000000 + k * LOAM_PAGE_SIZE) | 0x8000000000000063;
		entry = hand_walk(w, address(w, i));
		for (size_t k = 0; k < w->npages; k++)
			entry[k] = 0;
	}
}

static void hand_map_unmap_frames(void *context, uint64_t n)
{
	struct workload *w = context;

	for (uint64_t i = 0; i < n; i++) {
		volatile uint64_t *entry = hand_walk(w, address(w, i));

		for (size_t k = 0; k < w->npages; k++)
			entry[k] = w->pfns[k] << 12 | 0x8000000000000063;
		entry = hand_walk(w, address(w, i));
		for (size_t k = 0; k < w->npages; k++) {
			w->back[k] = (entry[k] & 0xffffffffff000) >> 12;
			entry[k] = 0;
		}
	}
	bench_keep(w->back);
}

static void hand_protect(void *context, uint64_t n)
{
	struct workload *w = context;

	for (uint64_t i = 0; i < n; i++) {
		volatile uint64_t *entry = hand_walk(w, address(w, i));

		for (size_t k = 0; k < w->npages; k++)
			entry[k] = (entry[k] & ~UINT64_C(0x8000000000000042)) | UINT64_C(0x8000000000000000) |
				   (i & RANGES ? 0 : 0x42);
	}
}

static void hand_query(void *context, uint64_t n)
{
	struct workload *w = context;
	struct loam_paging_entry entry;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t found = *(volatile uint64_t *)hand_walk(w, address(w, i) + (i & 15) * LOAM_PAGE_SIZE);

		entry.pa = found & 0xffffffffff000;
		entry.prot = (unsigned int)found & 7;
		bench_keep(&entry);
	}
}

/* ---- the engine ---- */

static void flush(void *context, uint64_t n)
{
	struct loam_tlb_range range = {.start = BASE, .npages = 16, .stride_shift = 12};

	for (uint64_t i = 0; i < n; i++)
		must(loam_tlb_wait(context, loam_tlb_flush_start(context, &range, 1)));
}

static void locked_add(void *context, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		__atomic_fetch_add((uint64_t *)context, 1, __ATOMIC_SEQ_CST);
}

/* ---- the table ---- */

static void set_up(struct workload *w, size_t npages, unsigned int nranges, bool keep)
{
	static const struct loam_mapping mapping = {.prot = LOAM_PROT_READ | LOAM_PROT_WRITE};
	struct loam_table_source source = {.alloc = take, .free = give, .direct_map = (uintptr_t)ram};

	*w = (struct workload){.npages = npages, .nranges = nranges};
	next_table = 0;
	memset(ram, 0, TABLES * LOAM_PAGE_SIZE);
	must(loam_pagetable_init(&w->tree, &loam_paging_x86_64_4level, &source, LOAM_PADDR_NONE));
	w->tree.keep_empty_tables = keep;
	/* The tables are there, as they are in a kernel that has run for a while; a neighbour keeps them. */
	for (unsigned int i = 0; i < nranges; i++)
		must(loam_paging_map(&w->tree, address(w, i) + 511 * LOAM_PAGE_SIZE, 0, 1, &mapping));
	for (size_t i = 0; i < 512; i++)
		w->pfns[i] = (i * 7919) % 65536;
}

int main(int argc, char **argv)
{
	static struct workload w;
	static struct loam_tlb tlb;
	static uint64_t word;
	static const struct loam_mapping mapping = {.prot = LOAM_PROT_READ | LOAM_PROT_WRITE};
	static const struct {
		const char *name;
		size_t npages;
		unsigned int nranges;
		bool keep;
	} cases[] = {
		{"map and unmap, 1 page", 1, 1, true},
		{"map and unmap, 16 pages", 16, 1, true},
		{"map and unmap, 16 pages, 1024 tables", 16, RANGES, true},
		{"map and unmap, 16 pages, tables given back", 16, 1, false},
		{"map and unmap, 500 pages", 500, 1, true},
	};
	struct loam_tlb_config config = {.ncpus = 1};
	size_t nbytes = loam_tlb_metadata_size(&config);
	void *metadata = aligned_alloc(LOAM_CPU_ALIGN, nbytes + LOAM_CPU_ALIGN - nbytes % LOAM_CPU_ALIGN);

	ram = aligned_alloc(LOAM_PAGE_SIZE, TABLES * LOAM_PAGE_SIZE);
	bench_begin("paging", argc, argv);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		set_up(&w, cases[i].npages, cases[i].nranges, cases[i].keep);
		bench_case(&(struct bench_case){.name = cases[i].name,
						.run = map_unmap,
						.context = &w,
						.reference = "the entries by hand",
						.reference_run = hand_map_unmap,
						.reference_context = &w});
	}
	set_up(&w, 16, 1, true);
	bench_case(&(struct bench_case){.name = "map and unmap, 16 single frames",
					.run = map_unmap_frames,
					.context = &w,
					.reference = "the entries by hand",
					.reference_run = hand_map_unmap_frames,
					.reference_context = &w});
	must(loam_paging_map(&w.tree, BASE, 0x40000000, 16, &mapping));
	bench_case(&(struct bench_case){.name = "protect, 16 pages",
					.run = protect,
					.context = &w,
					.reference = "the entries by hand",
					.reference_run = hand_protect,
					.reference_context = &w});
	bench_case(&(struct bench_case){.name = "query",
					.run = query,
					.context = &w,
					.reference = "a walk by hand",
					.reference_run = hand_query,
					.reference_context = &w});
	must(loam_tlb_init(&tlb, &config, metadata, nbytes));
	loam_tlb_cpu_online(&tlb);
	bench_case(&(struct bench_case){.name = "flush and wait, one CPU, no instructions",
					.run = flush,
					.context = &tlb,
					.reference = "one locked add",
					.reference_run = locked_add,
					.reference_context = &word});
	return bench_end();
}
