/* tests/fault/pagemap.c: pagemap.c with a fault put in by a macro: the model must find each of them soon. */
#include <base/bits.h>

static int fault;

enum { NONE, NOT_THE_LOWEST, MASK_TOO_SHORT, COUNTS_WRONG };

static unsigned int faulty_ctz(uint64_t x)
{
	return fault == NOT_THE_LOWEST ? loami_log2_floor(x) : loami_ctz64(x);
}

static uint64_t faulty_mask(unsigned int n)
{
	return loami_mask64(fault == MASK_TOO_SHORT && n > 1 ? n - 1 : n);
}

static unsigned int faulty_popcount(uint64_t x)
{
	return fault == COUNTS_WRONG ? loami_popcount64(x & (x >> 1)) : loami_popcount64(x);
}

#define loami_ctz64 faulty_ctz
#define loami_mask64 faulty_mask
#define loami_popcount64 faulty_popcount
#define loam_pagemap_metadata_size faulty_metadata_size
#define loam_pagemap_init faulty_init
#define loam_pagemap_alloc faulty_alloc
#define loam_pagemap_alloc_uninitialized faulty_alloc_uninitialized
#define loam_pagemap_free faulty_free
#define loam_pagemap_alloc_kernel faulty_alloc_kernel
#define loam_pagemap_free_kernel faulty_free_kernel
#define loam_pagemap_reserve_below faulty_reserve_below
#define loam_pagemap_reserve_above faulty_reserve_above
#define loam_pagemap_total faulty_total
#define loam_pagemap_free_count faulty_free_count
#define loam_pagemap_read_refusals faulty_read_refusals
#define loam_pagemap_dump_free_count faulty_dump_free_count
#define loam_pagemap_check faulty_check
#include <pagemap/pagemap.c>

#include "../model/pagemap_model.h"
#include "tap.h"

#include <base/print.h>

/* How many runs it takes; 0: not found. */
static uint64_t runs_until_found(int which)
{
	fault = which;
	for (uint64_t seed = 1; seed <= 200; seed++) {
		uint64_t step = model_run(seed, 300);

		if (step != 0) {
			loami_print("# found in run %lu, step %lu\n", (unsigned long)seed, (unsigned long)step);
			return seed;
		}
	}
	return 0;
}

TEST(P6_model_finds_a_page_that_is_not_the_lowest)
{
	CHECK(runs_until_found(NOT_THE_LOWEST) != 0);
}

TEST(P3_model_finds_a_reservation_that_is_too_short)
{
	CHECK(runs_until_found(MASK_TOO_SHORT) != 0);
}

TEST(P5_model_finds_pages_that_are_miscounted)
{
	CHECK(runs_until_found(COUNTS_WRONG) != 0);
}

TEST(P11_model_is_content_without_a_fault)
{
	CHECK(runs_until_found(NONE) == 0);
}
