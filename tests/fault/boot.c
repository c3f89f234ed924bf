/* tests/fault/boot.c: normalise.c with a fault put in by a macro: the million-map model must find each of them soon. */
#include <base/bits.h>

static int fault;

enum { NONE, ROUNDS_STARTS_DOWN, ROUNDS_ENDS_UP, FORGETS_WRAPPING };

static uint64_t faulty_up(uint64_t x, uint64_t align)
{
	return fault == ROUNDS_STARTS_DOWN ? loami_align_down(x, align) : loami_align_up(x, align);
}

static uint64_t faulty_down(uint64_t x, uint64_t align)
{
	return fault == ROUNDS_ENDS_UP ? loami_align_up(x, align) : loami_align_down(x, align);
}

static bool faulty_add(uint64_t a, uint64_t b, uint64_t *sum)
{
	return loami_add_overflows(a, b, sum) && fault != FORGETS_WRAPPING;
}

#undef loami_add_overflows
#define loami_add_overflows faulty_add
#define loami_align_up faulty_up
#define loami_align_down faulty_down
#define loam_memmap_init faulty_memmap_init
#include <boot/normalise.c>
#undef loam_memmap_init

#include "../model/memmap_model.h"
#include "tap.h"

static struct memmap_model model;

/* How many maps it takes; 0: not found. */
static uint64_t maps_until_found(int which)
{
	fault = which;
	for (uint64_t seed = 1; seed <= 20000; seed++) {
		if (!model_run(&model, seed, faulty_memmap_init)) {
			loami_print("# found after %lu maps: %s\n", (unsigned long)seed, model.why);
			return seed;
		}
	}
	return 0;
}

TEST(boot_model_finds_usable_memory_rounded_outwards)
{
	CHECK(maps_until_found(ROUNDS_ENDS_UP) != 0);
	CHECK(maps_until_found(ROUNDS_STARTS_DOWN) != 0);
}

TEST(boot_model_finds_an_entry_that_wraps_unnoticed)
{
	CHECK(maps_until_found(FORGETS_WRAPPING) != 0);
}

TEST(boot_model_is_content_without_a_fault)
{
	CHECK(maps_until_found(NONE) == 0);
}
