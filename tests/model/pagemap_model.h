/* tests/model/pagemap_model.h: random operations on a page pool and on a byte per page, side by side. */
#ifndef LOAM_TESTS_PAGEMAP_MODEL_H
#define LOAM_TESTS_PAGEMAP_MODEL_H

#include <loam/pagemap.h>

#include "rig.h"

#include <string.h>

enum { PAGES_MAX = 70000 };

enum page { FREE, TAKEN, RESERVED };

#define MODEL_START UINT64_C(0x40000000)

static struct loam_pagemap model_pool;
static uint64_t model_metadata[1200];
static unsigned char model_map[PAGES_MAX];
static uint64_t npages, nfree, nreserved, lowest; /* lowest: no page below it is free */

static inline void model_reserve(uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to && i < npages; i++) {
		nfree -= model_map[i] == FREE;
		nreserved += model_map[i] != RESERVED;
		model_map[i] = RESERVED;
	}
}

static inline enum loam_status model_free(loam_paddr page)
{
	uint64_t i = (page - MODEL_START) / LOAM_PAGE_SIZE;

	if (page < MODEL_START || i >= npages)
		return LOAM_ERR_OUT_OF_RANGE;
	if (page % LOAM_PAGE_SIZE != 0)
		return LOAM_ERR_ALIGNMENT;
	if (model_map[i] != TAKEN)
		return model_map[i] == FREE ? LOAM_ERR_ALREADY_FREE : LOAM_ERR_RESERVED;
	model_map[i] = FREE;
	nfree++;
	if (i < lowest)
		lowest = i;
	return LOAM_OK;
}

static inline loam_paddr model_alloc(void)
{
	while (lowest < npages && model_map[lowest] != FREE)
		lowest++;
	if (lowest == npages)
		return LOAM_PAGEMAP_NONE;
	model_map[lowest] = TAKEN;
	nfree--;
	return MODEL_START + lowest * LOAM_PAGE_SIZE;
}

/* Return: the step at which they differ, 0 for none. */
static inline uint64_t model_run(uint64_t seed, uint64_t steps)
{
	static const uint64_t limits[] = {64, 130, 4200, PAGES_MAX};
	uint64_t state = seed;
	uint64_t appetite;

	npages = 1 + rig_random(&state) % limits[rig_random(&state) % 4];
	appetite = 20 + rig_random(&state) % 60; /* per cent of steps that allocate */
	nfree = npages;
	nreserved = lowest = 0;
	memset(model_map, FREE, npages);
	if (loam_pagemap_init(&model_pool, MODEL_START, MODEL_START + npages * LOAM_PAGE_SIZE, 0, model_metadata,
			      loam_pagemap_metadata_size(npages)) != LOAM_OK)
		return 1;

	for (uint64_t step = 1; step <= steps; step++) {
		uint64_t choice = rig_random(&state) % 1000;
		uint64_t page = rig_random(&state) % (npages + 2);
		loam_paddr address = MODEL_START + page * LOAM_PAGE_SIZE - LOAM_PAGE_SIZE;

		if (choice == 0) {
			address += rig_random(&state) % LOAM_PAGE_SIZE;
			loam_pagemap_reserve_below(&model_pool, address);
			if (address > MODEL_START)
				model_reserve(0, (address - MODEL_START + LOAM_PAGE_SIZE - 1) / LOAM_PAGE_SIZE);
		} else if (choice == 1 && rig_random(&state) % 4 == 0) {
			loam_pagemap_reserve_above(&model_pool, address);
			model_reserve(address > MODEL_START ? (address - MODEL_START) / LOAM_PAGE_SIZE : 0, npages);
		} else if (choice % 100 < appetite) {
			uint64_t burst = choice > 990 ? npages / 2 : 1;

			for (uint64_t i = 0; i < burst; i++) {
				if (loam_pagemap_alloc_uninitialized(&model_pool) != model_alloc())
					return step;
			}
		} else {
			address += choice < 10 ? 8 : 0;
			if (loam_pagemap_free(&model_pool, address) != model_free(address))
				return step;
		}
		if (loam_pagemap_free_count(&model_pool) != nfree ||
		    loam_pagemap_total(&model_pool) != npages - nreserved)
			return step;
		if ((npages < 200 || step % 64 == 0) && loam_pagemap_check(&model_pool) != LOAM_OK)
			return step;
	}
	return loam_pagemap_check(&model_pool) == LOAM_OK ? 0 : steps;
}

#endif
