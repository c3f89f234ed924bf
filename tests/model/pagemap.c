/* tests/model/pagemap.c: random operations on a page pool and on a byte per page, side by side.
 *
 * The seed of a failing run is printed; LOAM_SEED=<seed> runs just that one, LOAM_STEPS=<n> fewer steps of it.
 */
#include <base/print.h>
#include <loam/pagemap.h>

#include "rig.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

enum { PAGES_MAX = 70000, RUNS = 2000 };

enum page { FREE, TAKEN, RESERVED };

#define START UINT64_C(0x40000000)

static struct loam_pagemap pool;
static uint64_t metadata[1200];
static unsigned char map[PAGES_MAX];
static uint64_t npages, nfree, nreserved, lowest; /* lowest: no page below it is free */

static void reserve(uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to && i < npages; i++) {
		nfree -= map[i] == FREE;
		nreserved += map[i] != RESERVED;
		map[i] = RESERVED;
	}
}

static enum loam_status expected_free(loam_paddr page)
{
	uint64_t i = (page - START) / LOAM_PAGE_SIZE;

	if (page < START || i >= npages)
		return LOAM_ERR_OUT_OF_RANGE;
	if (page % LOAM_PAGE_SIZE != 0)
		return LOAM_ERR_ALIGNMENT;
	if (map[i] != TAKEN)
		return map[i] == FREE ? LOAM_ERR_ALREADY_FREE : LOAM_ERR_RESERVED;
	map[i] = FREE;
	nfree++;
	if (i < lowest)
		lowest = i;
	return LOAM_OK;
}

static loam_paddr expected_alloc(void)
{
	while (lowest < npages && map[lowest] != FREE)
		lowest++;
	if (lowest == npages)
		return LOAM_PAGEMAP_NONE;
	map[lowest] = TAKEN;
	nfree--;
	return START + lowest * LOAM_PAGE_SIZE;
}

/* Return: the step that went wrong, 0 for none. */
static uint64_t run(uint64_t seed, uint64_t steps)
{
	static const uint64_t limits[] = {64, 130, 4200, PAGES_MAX};
	uint64_t state = seed;
	uint64_t appetite;

	npages = 1 + rig_random(&state) % limits[rig_random(&state) % 4];
	appetite = 20 + rig_random(&state) % 60; /* per cent of steps that allocate */
	nfree = npages;
	nreserved = lowest = 0;
	memset(map, FREE, npages);
	if (loam_pagemap_init(&pool, START, START + npages * LOAM_PAGE_SIZE, 0, metadata,
			      loam_pagemap_metadata_size(npages)) != LOAM_OK)
		return 1;

	for (uint64_t step = 1; step <= steps; step++) {
		uint64_t choice = rig_random(&state) % 1000;
		uint64_t page = rig_random(&state) % (npages + 2);
		loam_paddr address = START + page * LOAM_PAGE_SIZE - LOAM_PAGE_SIZE;

		if (choice == 0) {
			address += rig_random(&state) % LOAM_PAGE_SIZE;
			loam_pagemap_reserve_below(&pool, address);
			if (address > START)
				reserve(0, (address - START + LOAM_PAGE_SIZE - 1) / LOAM_PAGE_SIZE);
		} else if (choice == 1 && rig_random(&state) % 4 == 0) {
			loam_pagemap_reserve_above(&pool, address);
			reserve(address > START ? (address - START) / LOAM_PAGE_SIZE : 0, npages);
		} else if (choice % 100 < appetite) {
			uint64_t burst = choice > 990 ? npages / 2 : 1;

			for (uint64_t i = 0; i < burst; i++) {
				if (loam_pagemap_alloc_uninitialized(&pool) != expected_alloc())
					return step;
			}
		} else {
			address += choice < 10 ? 8 : 0;
			if (loam_pagemap_free(&pool, address) != expected_free(address))
				return step;
		}
		if (loam_pagemap_free_count(&pool) != nfree || loam_pagemap_total(&pool) != npages - nreserved)
			return step;
		if ((npages < 200 || step % 64 == 0) && loam_pagemap_check(&pool) != LOAM_OK)
			return step;
	}
	return loam_pagemap_check(&pool) == LOAM_OK ? 0 : steps;
}

TEST(P11_random_operations_match_a_byte_per_page)
{
	const char *chosen = getenv("LOAM_SEED");
	const char *steps = getenv("LOAM_STEPS");
	uint64_t first = chosen != NULL ? strtoull(chosen, NULL, 0) : 1;
	uint64_t last = chosen != NULL ? first : RUNS;

	for (uint64_t seed = first; seed <= last; seed++) {
		uint64_t wrong = run(seed, steps != NULL ? strtoull(steps, NULL, 0) : 300);

		if (wrong != 0)
			tap_fail(__FILE__, __LINE__, "LOAM_SEED=%lu LOAM_STEPS=%lu: page pool of %lu pages differs",
				 (unsigned long)seed, (unsigned long)wrong, (unsigned long)npages);
	}
}
