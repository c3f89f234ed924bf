/* tests/unit/base/bits.c: counting and finding bits, against loops that look at one bit after the other. */
#include <base/bits.h>

#include "rig.h"
#include "tap.h"

static unsigned int ones(uint64_t x)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < 64; i++)
		n += (unsigned int)(x >> i & 1);
	return n;
}

static unsigned int lowest(uint64_t x)
{
	unsigned int i = 0;

	while ((x >> i & 1) == 0)
		i++;
	return i;
}

static unsigned int highest(uint64_t x)
{
	unsigned int i = 63;

	while ((x >> i & 1) == 0)
		i--;
	return i;
}

static void look_at(uint64_t x)
{
	CHECK_EQ(loami_popcount64(x), ones(x));
	if (x == 0)
		return;
	CHECK_EQ(loami_ctz64(x), lowest(x));
	CHECK_EQ(loami_log2_floor(x), highest(x));
	CHECK_EQ(loami_log2_ceil(x), ones(x) == 1 ? highest(x) : highest(x) + 1);
	CHECK_EQ(loami_is_power_of_two(x), ones(x) == 1);
}

TEST(base_bits_match_loops_over_single_bits)
{
	uint64_t state = 1;

	for (unsigned int i = 0; i < 64; i++) {
		uint64_t bit = UINT64_C(1) << i;

		look_at(bit);
		look_at(bit - 1);
		look_at(bit + 1);
		look_at(~bit);
		look_at(0 - bit);
	}
	for (unsigned int i = 0; i < 20000; i++) {
		uint64_t x = rig_random(&state);

		look_at(x >> (i & 63));
		look_at(x << (i & 63));
		look_at(x & rig_random(&state) & rig_random(&state));
	}
}

TEST(base_bits_at_the_ends)
{
	CHECK_EQ(loami_popcount64(0), 0);
	CHECK_EQ(loami_popcount64(UINT64_MAX), 64);
	CHECK_EQ(loami_log2_ceil(0), 0);
	CHECK_EQ(loami_log2_ceil(1), 0);
	CHECK_EQ(loami_log2_ceil(UINT64_MAX), 64);
	CHECK(!loami_is_power_of_two(0));
	CHECK_EQ(loami_mask64(0), 0);
	CHECK_EQ(loami_mask64(1), 1);
	CHECK_EQ(loami_mask64(63), UINT64_MAX >> 1);
	CHECK_EQ(loami_mask64(64), UINT64_MAX);
	CHECK_EQ(loami_mask64(65), UINT64_MAX);
}

TEST(base_alignment)
{
	CHECK_EQ(loami_align_up(0, 4096), 0);
	CHECK_EQ(loami_align_up(1, 4096), 4096);
	CHECK_EQ(loami_align_up(4096, 4096), 4096);
	CHECK_EQ(loami_align_down(4095, 4096), 0);
	CHECK_EQ(loami_align_down(UINT64_MAX, 4096), UINT64_MAX - 4095);
	CHECK(loami_is_aligned(0, 64));
	CHECK(loami_is_aligned(128, 64));
	CHECK(!loami_is_aligned(96, 64));
	CHECK(loami_is_aligned(UINT64_C(1) << 63, UINT64_C(1) << 63));
}

TEST(base_arithmetic_that_wraps_is_noticed)
{
	uint64_t result = 0;

	CHECK(!loami_add_overflows(UINT64_MAX, UINT64_C(0), &result));
	CHECK_EQ(result, UINT64_MAX);
	CHECK(loami_add_overflows(UINT64_MAX, UINT64_C(1), &result));
	CHECK(!loami_mul_overflows(UINT64_C(1) << 32, UINT64_C(0xffffffff), &result));
	CHECK_EQ(result, UINT64_C(0xffffffff00000000));
	CHECK(loami_mul_overflows(UINT64_C(1) << 32, UINT64_C(1) << 32, &result));
}

struct outer {
	char before[24];
	uint32_t inner;
};

TEST(base_container_is_found_from_its_member)
{
	struct outer outer;

	CHECK(LOAMI_CONTAINER(&outer.inner, struct outer, inner) == &outer);
	CHECK_EQ(LOAMI_COUNT(outer.before), 24);
}
