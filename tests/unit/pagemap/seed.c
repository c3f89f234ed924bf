/* tests/unit/pagemap/seed.c: SPEC rows P1 to P11 over the window the page pool was first written for: 0x40000000 .. 0xFC000000, 770 048 pages.
 *
 * Only the first pages of the window have memory behind them here: what reaches further allocates uninitialized.
 */
#include <base/print.h>
#include <loam/pagemap.h>

#include "tap.h"

#define START UINT64_C(0x40000000)
#define END UINT64_C(0xFC000000)
#define PAGES ((END - START) / LOAM_PAGE_SIZE)
#define RAM_END UINT64_C(0x80000000) /* of a board with 1 GiB */

enum { BACKED = 8 };

static struct loam_pagemap pool;
static uint64_t metadata[12300];
static unsigned char memory[BACKED][LOAM_PAGE_SIZE] __attribute__((aligned(4096)));

static uintptr_t linear_map(void)
{
	return (uintptr_t)memory - (uintptr_t)START;
}

static void fresh(void)
{
	CHECK_OK(loam_pagemap_init(&pool, START, END, linear_map(), metadata, sizeof(metadata)));
}

static void settled(void)
{
	CHECK_OK(loam_pagemap_check(&pool));
}

TEST(P1_pages_of_4096_bytes_in_a_window_given_at_init)
{
	fresh();
	CHECK_EQ(LOAM_PAGE_SIZE, 4096);
	CHECK_EQ(PAGES, 770048);
	CHECK_EQ(loam_pagemap_total(&pool), PAGES);
	CHECK_EQ(loam_pagemap_alloc(&pool), START);
	settled();
}

TEST(P1_windows_of_every_size_around_the_powers_of_64)
{
	static const uint64_t sizes[] = {1, 2, 63, 64, 65, 4095, 4096, 4097, 262143, 262144, 262145};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint64_t n = sizes[i];

		CHECK_OK(loam_pagemap_init(&pool, START, START + n * LOAM_PAGE_SIZE, linear_map(), metadata,
					   loam_pagemap_metadata_size(n)));
		settled();
		for (uint64_t page = 0; page < n; page++)
			CHECK_EQ(loam_pagemap_alloc_uninitialized(&pool), START + page * LOAM_PAGE_SIZE);
		CHECK_EQ(loam_pagemap_alloc_uninitialized(&pool), LOAM_PAGEMAP_NONE);
		settled();
		for (uint64_t page = n; page > 0; page--)
			CHECK_OK(loam_pagemap_free(&pool, START + (page - 1) * LOAM_PAGE_SIZE));
		CHECK_EQ(loam_pagemap_free_count(&pool), n);
		settled();
	}
}

TEST(P1_init_refuses_what_is_no_window)
{
	size_t nbytes = sizeof(metadata);

	CHECK_STATUS(loam_pagemap_init(&pool, 0, END, 0, metadata, nbytes), LOAM_ERR_INVALID);
	CHECK_STATUS(loam_pagemap_init(&pool, END, END, 0, metadata, nbytes), LOAM_ERR_INVALID);
	CHECK_STATUS(loam_pagemap_init(&pool, END, START, 0, metadata, nbytes), LOAM_ERR_INVALID);
	CHECK_STATUS(loam_pagemap_init(&pool, 4096, ~UINT64_C(4095), 0, metadata, nbytes), LOAM_ERR_INVALID);
	CHECK_STATUS(loam_pagemap_init(&pool, START, END, 0, NULL, nbytes), LOAM_ERR_INVALID);
	CHECK_STATUS(loam_pagemap_init(NULL, START, END, 0, metadata, nbytes), LOAM_ERR_INVALID);
	CHECK_STATUS(loam_pagemap_init(&pool, START + 1, END, 0, metadata, nbytes), LOAM_ERR_ALIGNMENT);
	CHECK_STATUS(loam_pagemap_init(&pool, START, END - 1, 0, metadata, nbytes), LOAM_ERR_ALIGNMENT);
	CHECK_STATUS(loam_pagemap_init(&pool, START, END, 0, (char *)metadata + 4, nbytes), LOAM_ERR_ALIGNMENT);
	CHECK_STATUS(loam_pagemap_init(&pool, START, END, 0, metadata, loam_pagemap_metadata_size(PAGES) - 1),
		     LOAM_ERR_NO_METADATA);
	CHECK_EQ(loam_pagemap_metadata_size(0), 0);
	CHECK_EQ(loam_pagemap_metadata_size(LOAM_PAGEMAP_PAGES_MAX + 1), 0);
	CHECK(loam_pagemap_metadata_size(LOAM_PAGEMAP_PAGES_MAX) > 0);
}

TEST(P2_init_marks_all_free_and_can_be_called_again)
{
	fresh();
	for (unsigned int i = 0; i < BACKED; i++)
		CHECK(loam_pagemap_alloc(&pool) != LOAM_PAGEMAP_NONE);
	loam_pagemap_reserve_above(&pool, RAM_END);
	CHECK_STATUS(loam_pagemap_free(&pool, END), LOAM_ERR_OUT_OF_RANGE);
	fresh();
	CHECK_EQ(loam_pagemap_free_count(&pool), PAGES);
	CHECK_EQ(loam_pagemap_total(&pool), PAGES);
	CHECK_EQ(loam_pagemap_read_refusals(&pool).out_of_range, 0);
	CHECK_EQ(loam_pagemap_alloc(&pool), START);
	settled();
}

TEST(P2_init_overwrites_whatever_the_metadata_held)
{
	for (size_t i = 0; i < sizeof(metadata) / sizeof(metadata[0]); i++)
		metadata[i] = UINT64_C(0xa5a5a5a5a5a5a5a5);
	fresh();
	CHECK_EQ(loam_pagemap_free_count(&pool), PAGES);
	settled();
}

TEST(P3_reserve_below_takes_the_prefix)
{
	loam_paddr end = START + 5 * LOAM_PAGE_SIZE;

	fresh();
	loam_pagemap_reserve_below(&pool, end);
	CHECK_EQ(loam_pagemap_free_count(&pool), PAGES - 5);
	CHECK_EQ(loam_pagemap_alloc(&pool), end);
	settled();
}

TEST(P3_reserve_below_takes_the_page_its_end_lies_in)
{
	fresh();
	loam_pagemap_reserve_below(&pool, START + 1);
	CHECK_EQ(loam_pagemap_free_count(&pool), PAGES - 1);
	loam_pagemap_reserve_below(&pool, START + LOAM_PAGE_SIZE);
	CHECK_EQ(loam_pagemap_free_count(&pool), PAGES - 1);
	loam_pagemap_reserve_below(&pool, START + LOAM_PAGE_SIZE + 1);
	CHECK_EQ(loam_pagemap_free_count(&pool), PAGES - 2);
	settled();
}

TEST(P3_reserve_below_the_window_does_nothing)
{
	fresh();
	loam_pagemap_reserve_below(&pool, START);
	loam_pagemap_reserve_below(&pool, 0x80000);
	loam_pagemap_reserve_below(&pool, 0);
	CHECK_EQ(loam_pagemap_free_count(&pool), PAGES);
	CHECK_EQ(loam_pagemap_alloc(&pool), START);
	settled();
}

TEST(P3_reserve_below_the_end_of_everything)
{
	fresh();
	loam_pagemap_reserve_below(&pool, UINT64_MAX);
	CHECK_EQ(loam_pagemap_free_count(&pool), 0);
	CHECK_EQ(loam_pagemap_total(&pool), 0);
	CHECK_EQ(loam_pagemap_alloc(&pool), LOAM_PAGEMAP_NONE);
	settled();
}

TEST(P4_reserve_above_caps_the_pool_at_the_end_of_ram)
{
	uint64_t in_ram = (RAM_END - START) / LOAM_PAGE_SIZE;

	fresh();
	loam_pagemap_reserve_above(&pool, RAM_END);
	CHECK_EQ(loam_pagemap_free_count(&pool), in_ram);
	for (uint64_t i = 0; i + 1 < in_ram; i++)
		CHECK_EQ(loam_pagemap_alloc_uninitialized(&pool), START + i * LOAM_PAGE_SIZE);
	CHECK_EQ(loam_pagemap_alloc_uninitialized(&pool), RAM_END - LOAM_PAGE_SIZE);
	CHECK_EQ(loam_pagemap_alloc_uninitialized(&pool), LOAM_PAGEMAP_NONE);
	settled();
}

TEST(P4_reserve_above_leaves_the_page_its_start_lies_in)
{
	fresh();
	loam_pagemap_reserve_above(&pool, END - LOAM_PAGE_SIZE + 1);
	CHECK_EQ(loam_pagemap_free_count(&pool), PAGES);
	loam_pagemap_reserve_above(&pool, END - LOAM_PAGE_SIZE);
	CHECK_EQ(loam_pagemap_free_count(&pool), PAGES - 1);
	settled();
}

TEST(P4_reserve_above_the_window_does_nothing)
{
	fresh();
	loam_pagemap_reserve_above(&pool, END);
	loam_pagemap_reserve_above(&pool, UINT64_MAX);
	CHECK_EQ(loam_pagemap_free_count(&pool), PAGES);
	settled();
	loam_pagemap_reserve_above(&pool, 0);
	CHECK_EQ(loam_pagemap_free_count(&pool), 0);
	settled();
}

TEST(P5_the_total_ignores_allocations)
{
	fresh();
	CHECK_EQ(loam_pagemap_total(&pool), PAGES);
	loam_pagemap_reserve_below(&pool, START + 5 * LOAM_PAGE_SIZE);
	CHECK_EQ(loam_pagemap_total(&pool), PAGES - 5);
	CHECK(loam_pagemap_alloc(&pool) != LOAM_PAGEMAP_NONE);
	CHECK(loam_pagemap_alloc(&pool) != LOAM_PAGEMAP_NONE);
	CHECK_EQ(loam_pagemap_total(&pool), PAGES - 5);
	settled();
}

TEST(P5_overlapping_reservations_count_once)
{
	uint64_t above = PAGES - (RAM_END - START) / LOAM_PAGE_SIZE;

	fresh();
	loam_pagemap_reserve_above(&pool, RAM_END);
	CHECK_EQ(loam_pagemap_total(&pool), PAGES - above);
	loam_pagemap_reserve_above(&pool, RAM_END);
	loam_pagemap_reserve_above(&pool, RAM_END + 100 * LOAM_PAGE_SIZE);
	CHECK_EQ(loam_pagemap_total(&pool), PAGES - above);
	loam_pagemap_reserve_below(&pool, RAM_END + 10 * LOAM_PAGE_SIZE);
	CHECK_EQ(loam_pagemap_total(&pool), 0);
	CHECK_EQ(loam_pagemap_free_count(&pool), 0);
	settled();
}

TEST(P5_a_page_that_is_handed_out_leaves_the_total_once_reserved)
{
	loam_paddr page;

	fresh();
	page = loam_pagemap_alloc(&pool);
	loam_pagemap_reserve_below(&pool, START + 2 * LOAM_PAGE_SIZE);
	CHECK_EQ(loam_pagemap_total(&pool), PAGES - 2);
	CHECK_EQ(loam_pagemap_free_count(&pool), PAGES - 2);
	CHECK_STATUS(loam_pagemap_free(&pool, page), LOAM_ERR_RESERVED);
	settled();
}

TEST(P6_pages_come_lowest_first)
{
	fresh();
	for (unsigned int i = 0; i < 3; i++)
		CHECK_EQ(loam_pagemap_alloc(&pool), START + i * LOAM_PAGE_SIZE);
	settled();
}

TEST(P6_a_page_comes_zeroed)
{
	loam_paddr page;

	fresh();
	for (size_t i = 0; i < LOAM_PAGE_SIZE; i++)
		memory[0][i] = memory[1][i] = 0x5a;
	page = loam_pagemap_alloc(&pool);
	for (size_t i = 0; i < LOAM_PAGE_SIZE; i++)
		CHECK_EQ(memory[0][i], 0);
	CHECK_OK(loam_pagemap_free(&pool, page));
	memory[0][17] = 1;
	CHECK_EQ(loam_pagemap_alloc(&pool), page);
	CHECK_EQ(memory[0][17], 0);
	CHECK_EQ(memory[1][0], 0x5a); /* and nothing but the page */
	CHECK_EQ(loam_pagemap_alloc_uninitialized(&pool), START + LOAM_PAGE_SIZE);
	CHECK_EQ(memory[1][0], 0x5a);
}

TEST(P6_exhaustion_answers_0)
{
	fresh();
	for (uint64_t i = 0; i < PAGES; i++)
		CHECK(loam_pagemap_alloc_uninitialized(&pool) != LOAM_PAGEMAP_NONE);
	CHECK_EQ(loam_pagemap_free_count(&pool), 0);
	CHECK_EQ(loam_pagemap_alloc(&pool), 0);
	CHECK_EQ(loam_pagemap_alloc_uninitialized(&pool), 0);
	settled();
	CHECK_OK(loam_pagemap_free(&pool, START + 3 * LOAM_PAGE_SIZE));
	CHECK_EQ(loam_pagemap_alloc(&pool), START + 3 * LOAM_PAGE_SIZE);
	settled();
}

TEST(P7_a_freed_page_is_the_next_candidate)
{
	loam_paddr page;

	fresh();
	page = loam_pagemap_alloc(&pool);
	CHECK(loam_pagemap_alloc(&pool) != LOAM_PAGEMAP_NONE);
	CHECK_OK(loam_pagemap_free(&pool, page));
	CHECK_EQ(loam_pagemap_alloc(&pool), page);
	settled();
}

TEST(P7_each_misuse_has_its_own_error_and_changes_nothing)
{
	struct loam_pagemap_refusals refusals;
	uint64_t before;
	loam_paddr page;

	fresh();
	page = loam_pagemap_alloc(&pool);
	loam_pagemap_reserve_above(&pool, RAM_END);
	before = loam_pagemap_free_count(&pool);

	CHECK_STATUS(loam_pagemap_free(&pool, END + LOAM_PAGE_SIZE), LOAM_ERR_OUT_OF_RANGE);
	CHECK_STATUS(loam_pagemap_free(&pool, END + 1024 * LOAM_PAGE_SIZE), LOAM_ERR_OUT_OF_RANGE);
	CHECK_STATUS(loam_pagemap_free(&pool, END), LOAM_ERR_OUT_OF_RANGE);
	CHECK_STATUS(loam_pagemap_free(&pool, START - LOAM_PAGE_SIZE), LOAM_ERR_OUT_OF_RANGE);
	CHECK_STATUS(loam_pagemap_free(&pool, 0), LOAM_ERR_OUT_OF_RANGE);
	CHECK_STATUS(loam_pagemap_free(&pool, UINT64_MAX), LOAM_ERR_OUT_OF_RANGE);
	CHECK_STATUS(loam_pagemap_free(&pool, page + 1), LOAM_ERR_ALIGNMENT);
	CHECK_STATUS(loam_pagemap_free(&pool, page + 4095), LOAM_ERR_ALIGNMENT);
	CHECK_STATUS(loam_pagemap_free(&pool, RAM_END), LOAM_ERR_RESERVED);
	CHECK_STATUS(loam_pagemap_free(&pool, page + LOAM_PAGE_SIZE), LOAM_ERR_ALREADY_FREE);
	CHECK_EQ(loam_pagemap_free_count(&pool), before);
	CHECK_OK(loam_pagemap_free(&pool, page));
	CHECK_STATUS(loam_pagemap_free(&pool, page), LOAM_ERR_ALREADY_FREE);
	CHECK_EQ(loam_pagemap_free_count(&pool), before + 1);

	refusals = loam_pagemap_read_refusals(&pool);
	CHECK_EQ(refusals.out_of_range, 6);
	CHECK_EQ(refusals.unaligned, 2);
	CHECK_EQ(refusals.reserved, 1);
	CHECK_EQ(refusals.already_free, 2);
	settled();
}

TEST(P8_kernel_addresses_round_trip)
{
	loam_paddr page = START + 7 * LOAM_PAGE_SIZE;

	CHECK_OK(loam_pagemap_init(&pool, START, END, (uintptr_t)UINT64_C(0xFFFF000000000000), metadata,
				   sizeof(metadata)));
	CHECK_EQ(loam_pagemap_to_kernel(&pool, page), UINT64_C(0xFFFF000040007000));
	CHECK_EQ(loam_pagemap_to_physical(&pool, loam_pagemap_to_kernel(&pool, page)), page);
}

TEST(P8_kernel_twins_allocate_and_free)
{
	uintptr_t address;

	fresh();
	address = loam_pagemap_alloc_kernel(&pool);
	CHECK_EQ(address, (uintptr_t)memory);
	CHECK_EQ(loam_pagemap_free_count(&pool), PAGES - 1);
	CHECK_OK(loam_pagemap_free_kernel(&pool, address));
	CHECK_STATUS(loam_pagemap_free_kernel(&pool, address), LOAM_ERR_ALREADY_FREE);
	CHECK_STATUS(loam_pagemap_free_kernel(&pool, address - LOAM_PAGE_SIZE), LOAM_ERR_OUT_OF_RANGE);
	CHECK_STATUS(loam_pagemap_free_kernel(&pool, loam_pagemap_to_kernel(&pool, END)), LOAM_ERR_OUT_OF_RANGE);
	CHECK_EQ(loam_pagemap_free_count(&pool), PAGES);
}

TEST(P8_exhaustion_stays_a_raw_0)
{
	fresh();
	loam_pagemap_reserve_above(&pool, START);
	CHECK_EQ(loam_pagemap_alloc_kernel(&pool), 0);
	CHECK(loam_pagemap_to_kernel(&pool, 0) != 0);
}

TEST(P9_free_count_is_printed_and_returned)
{
	uint64_t count;

	fresh();
	tap_log_capture();
	count = loam_pagemap_dump_free_count(&pool);
	CHECK_STR(tap_log_end(), "free_pages: 00000000000bc000\n");
	CHECK_EQ(count, PAGES);
	for (unsigned int i = 0; i < 3; i++)
		CHECK(loam_pagemap_alloc(&pool) != LOAM_PAGEMAP_NONE);
	tap_log_capture();
	count = loam_pagemap_dump_free_count(&pool);
	CHECK_STR(tap_log_end(), "free_pages: 00000000000bbffd\n");
	CHECK_EQ(count, PAGES - 3);
}

TEST(P10_used_is_total_minus_free)
{
	fresh();
	loam_pagemap_reserve_below(&pool, START + 5 * LOAM_PAGE_SIZE);
	CHECK_EQ(loam_pagemap_total(&pool) - loam_pagemap_free_count(&pool), 0);
	for (unsigned int i = 0; i < 1000; i++)
		CHECK(loam_pagemap_alloc_uninitialized(&pool) != LOAM_PAGEMAP_NONE);
	CHECK_EQ(loam_pagemap_total(&pool) - loam_pagemap_free_count(&pool), 1000);
}

/* The seed scans its map from page 0 for each page: taking all 770 048 would be 3 * 10^11 steps. */
TEST(P11_the_whole_window_is_taken_and_given_back_in_every_order)
{
	fresh();
	for (uint64_t i = 0; i < PAGES; i++)
		CHECK_EQ(loam_pagemap_alloc_uninitialized(&pool), START + i * LOAM_PAGE_SIZE);
	CHECK_EQ(loam_pagemap_alloc_uninitialized(&pool), LOAM_PAGEMAP_NONE);
	settled();
	for (uint64_t i = 0; i < PAGES; i++) /* 5 and 770 048 have no factor in common */
		CHECK_OK(loam_pagemap_free(&pool, START + i * 5 % PAGES * LOAM_PAGE_SIZE));
	CHECK_EQ(loam_pagemap_free_count(&pool), PAGES);
	settled();
}

TEST(P11_metadata_is_a_bit_and_a_sixty_third_per_page)
{
	CHECK(loam_pagemap_metadata_size(PAGES) * 8 * 100 <= PAGES * 102);
	CHECK(loam_pagemap_metadata_size(PAGES) <= sizeof(metadata));
}
