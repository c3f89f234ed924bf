/* bench/pagemap.c: the page pool on its board's 770 048 pages, 99.9 % of them handed out, beside a scan of a byte per page from the start. */
#include "bench.h"

#include <loam/pagemap.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define START UINT64_C(0x40000000)
#define END UINT64_C(0xFC000000)
#define PAGES ((END - START) / LOAM_PAGE_SIZE)

enum { HOLES = 770 };

static struct loam_pagemap pool;
static uint64_t metadata[12300];
static loam_paddr holes[HOLES]; /* the free pages of an almost full pool, anywhere */
static loam_paddr taken[HOLES];
static size_t ntaken;

/* The reference: a byte a page, 1 = handed out, searched from page 0. */
static unsigned char map[PAGES];

static loam_paddr scan_alloc(void)
{
	for (uint64_t i = 0; i < PAGES; i++) {
		if (map[i] == 0) {
			map[i] = 1;
			return START + i * LOAM_PAGE_SIZE;
		}
	}
	return 0;
}

static void must(bool condition, const char *what)
{
	if (!condition) {
		fprintf(stderr, "bench: %s\n", what);
		exit(1);
	}
}

static void fill(uintptr_t direct_map)
{
	uint64_t state = 42;

	must(loam_pagemap_init(&pool, START, END, direct_map, metadata, sizeof(metadata)) == LOAM_OK, "init");
	while (loam_pagemap_alloc_uninitialized(&pool) != LOAM_PAGEMAP_NONE)
		continue;
	memset(map, 1, sizeof(map));
	for (size_t i = 0; i < HOLES;) {
		loam_paddr page = START + bench_random(&state) % PAGES * LOAM_PAGE_SIZE;

		if (map[(page - START) / LOAM_PAGE_SIZE] == 0)
			continue;
		map[(page - START) / LOAM_PAGE_SIZE] = 0;
		holes[i++] = page;
		must(loam_pagemap_free(&pool, page) == LOAM_OK, "free");
	}
}

/* Every hole is free again, in the pool and in the byte map. */
static void refill(void *context)
{
	(void)context;
	while (ntaken > 0)
		must(loam_pagemap_free(&pool, taken[--ntaken]) == LOAM_OK, "free");
	for (size_t i = 0; i < HOLES; i++)
		map[(holes[i] - START) / LOAM_PAGE_SIZE] = 0;
}

static void take(void *context, uint64_t n)
{
	(void)context;
	for (uint64_t i = 0; i < n; i++)
		taken[ntaken++] = loam_pagemap_alloc_uninitialized(&pool);
}

static void take_cleared(void *context, uint64_t n)
{
	(void)context;
	for (uint64_t i = 0; i < n; i++)
		taken[ntaken++] = loam_pagemap_alloc(&pool);
}

static void scan_take(void *context, uint64_t n)
{
	(void)context;
	for (uint64_t i = 0; i < n; i++)
		(void)scan_alloc();
}

static void scan_take_cleared(void *context, uint64_t n)
{
	(void)context;
	for (uint64_t i = 0; i < n; i++)
		memset((void *)loam_pagemap_to_kernel(&pool, scan_alloc()), 0, LOAM_PAGE_SIZE);
}

static void pair(void *context, uint64_t n)
{
	(void)context;
	for (uint64_t i = 0; i < n; i++)
		must(loam_pagemap_free(&pool, loam_pagemap_alloc_uninitialized(&pool)) == LOAM_OK, "free");
}

int main(int argc, char **argv)
{
	const uint64_t npages = PAGES;
	void *memory =
		mmap(NULL, END - START, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	must(memory != MAP_FAILED, "no address space");
	bench_begin("pagemap", argc, argv);
	fill((uintptr_t)memory - (uintptr_t)START);

	bench_case(&(struct bench_case){
		.name = "allocate, 770 000 pages, 99.9 % full",
		.run = take,
		.before = refill,
		.reference = "scan of a byte map",
		.reference_run = scan_take,
		.reference_before = refill,
		.n = HOLES,
		.at_most = 40,
		.ratio_at_most = 0.001,
	});
	refill(NULL);
	bench_case(&(struct bench_case){
		.name = "allocate and clear, 99.9 % full",
		.run = take_cleared,
		.before = refill,
		.reference = "scan and clear",
		.reference_run = scan_take_cleared,
		.reference_before = refill,
		.n = HOLES,
	});
	refill(NULL);
	bench_case(&(struct bench_case){
		.name = "allocate and free, 99.9 % full, per pair",
		.run = pair,
	});
	bench_figure(&(struct bench_figure){
		.name = "metadata",
		.unit = "bit/page",
		.value = (double)(loam_pagemap_metadata_size(PAGES) * 8) / (double)npages,
		.reference = "byte map",
		.reference_value = 8,
		.at_most = 1.02,
	});
	return bench_end();
}
