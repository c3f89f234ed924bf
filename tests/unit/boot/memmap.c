/* tests/unit/boot/memmap.c: reservations, early allocation, questions. The random ones are in tests/model/boot.c. */
#include <base/bits.h>
#include <loam/boot.h>

#include "tap.h"

#define TOP (~UINT64_C(0) - 4095)

static struct loam_memmap map;
static struct loam_region storage[16];

/* 16 pages of RAM at 0x10000, a gap of 4, a reserved page, a gap of 3, 8 pages reclaimable at 0x28000, usable again up to 0x40000. */
static void fresh(size_t capacity)
{
	struct loam_region raw[] = {
		{0x10000, 0x10000, LOAM_REGION_USABLE, 0},
		{0x24000, 0x1000, LOAM_REGION_RESERVED, 0},
		{0x28000, 0x8000, LOAM_REGION_RECLAIMABLE, 0},
		{0x30000, 0x10000, LOAM_REGION_USABLE, 0},
	};

	CHECK_OK(loam_memmap_init(&map, raw, LOAMI_COUNT(raw), storage, capacity, 0, NULL, NULL));
	CHECK_EQ(map.count, 4);
}

static void region_is(size_t index, loam_paddr base, loam_paddr end, uint32_t type)
{
	CHECK(index < map.count);
	CHECK_EQ(map.regions[index].base, base);
	CHECK_EQ(map.regions[index].base + map.regions[index].nbytes, end);
	CHECK_STR(loam_region_type_name(map.regions[index].type), loam_region_type_name(type));
	CHECK_OK(loam_memmap_check(&map));
}

static void unchanged(size_t capacity)
{
	struct loam_region saved[16];
	size_t count = map.count;

	for (size_t i = 0; i < count; i++)
		saved[i] = map.regions[i];
	fresh(capacity);
	CHECK_EQ(map.count, count);
	for (size_t i = 0; i < count; i++) {
		CHECK_EQ(map.regions[i].base, saved[i].base);
		CHECK_EQ(map.regions[i].nbytes, saved[i].nbytes);
		CHECK_EQ(map.regions[i].type, saved[i].type);
	}
}

TEST(F15_boot_reserve_splits_a_region)
{
	fresh(16);
	CHECK_OK(loam_memmap_reserve(&map, 0x14001, 0x1000, LOAM_REGION_KERNEL));
	CHECK_EQ(map.count, 6);
	region_is(0, 0x10000, 0x14000, LOAM_REGION_USABLE);
	region_is(1, 0x14000, 0x16000, LOAM_REGION_KERNEL);
	region_is(2, 0x16000, 0x20000, LOAM_REGION_USABLE);
}

TEST(F15_boot_reserve_leaves_what_is_stricter_and_what_is_no_memory)
{
	fresh(16);
	CHECK_OK(loam_memmap_reserve(&map, 0x18000, 0x20000, LOAM_REGION_KERNEL));
	CHECK_EQ(map.count, 5);
	region_is(0, 0x10000, 0x18000, LOAM_REGION_USABLE);
	region_is(1, 0x18000, 0x20000, LOAM_REGION_KERNEL);
	region_is(2, 0x24000, 0x25000, LOAM_REGION_RESERVED);
	region_is(3, 0x28000, 0x38000, LOAM_REGION_KERNEL); /* two regions have become one */
	region_is(4, 0x38000, 0x40000, LOAM_REGION_USABLE);
}

TEST(F15_boot_reserve_for_a_device_fills_the_gaps)
{
	fresh(16);
	CHECK_OK(loam_memmap_reserve(&map, 0x1f000, 0xa000, LOAM_REGION_DEVICE));
	CHECK_EQ(map.count, 4);
	region_is(0, 0x10000, 0x1f000, LOAM_REGION_USABLE);
	region_is(1, 0x1f000, 0x29000, LOAM_REGION_DEVICE);
	region_is(2, 0x29000, 0x30000, LOAM_REGION_RECLAIMABLE);
	fresh(16);
	CHECK_OK(loam_memmap_reserve(&map, 0x50000, 0x1000, LOAM_REGION_BAD));
	CHECK_OK(loam_memmap_reserve(&map, 0x0, 0x1000, LOAM_REGION_RESERVED));
	CHECK_OK(loam_memmap_reserve(&map, 0x22000, 1, LOAM_REGION_RESERVED));
	CHECK_EQ(map.count, 7);
	region_is(0, 0x0, 0x1000, LOAM_REGION_RESERVED);
	region_is(2, 0x22000, 0x23000, LOAM_REGION_RESERVED);
	region_is(6, 0x50000, 0x51000, LOAM_REGION_BAD);
}

TEST(F15_boot_reserve_refuses_and_changes_nothing)
{
	fresh(16);
	CHECK_STATUS(loam_memmap_reserve(&map, 0x10000, 0, LOAM_REGION_KERNEL), LOAM_ERR_ZERO_SIZE);
	CHECK_STATUS(loam_memmap_reserve(&map, 0x10000, 0x1000, LOAM_REGION_USABLE), LOAM_ERR_INVALID);
	CHECK_STATUS(loam_memmap_reserve(&map, 0x10000, 0x1000, LOAM_REGION_TYPE_COUNT), LOAM_ERR_INVALID);
	CHECK_STATUS(loam_memmap_reserve(&map, 0x10000, 0x1000, (enum loam_region_type)0), LOAM_ERR_INVALID);
	CHECK_STATUS(loam_memmap_reserve(&map, 0x10000, UINT64_MAX, LOAM_REGION_KERNEL), LOAM_ERR_OVERFLOW);
	CHECK_STATUS(loam_memmap_reserve(&map, UINT64_MAX, 1, LOAM_REGION_KERNEL), LOAM_ERR_OVERFLOW);
	CHECK_STATUS(loam_memmap_reserve(&map, TOP, 1, LOAM_REGION_RESERVED), LOAM_ERR_OVERFLOW);
	unchanged(16);
	CHECK_OK(loam_memmap_reserve(&map, TOP - 1, 1, LOAM_REGION_RESERVED));
	region_is(4, TOP - 4096, TOP, LOAM_REGION_RESERVED);
}

TEST(F15_boot_reserve_beyond_capacity_changes_nothing)
{
	for (size_t capacity = 4; capacity < 6; capacity++) {
		fresh(capacity);
		CHECK_STATUS(loam_memmap_reserve(&map, 0x14000, 0x1000, LOAM_REGION_KERNEL), LOAM_ERR_NO_METADATA);
		unchanged(capacity);
	}
	fresh(6);
	CHECK_OK(loam_memmap_reserve(&map, 0x14000, 0x1000, LOAM_REGION_KERNEL));
	/* Full, but what grows a region needs no room. */
	CHECK_OK(loam_memmap_reserve(&map, 0x15000, 0x1000, LOAM_REGION_KERNEL));
	CHECK_EQ(map.count, 6);
	region_is(1, 0x14000, 0x16000, LOAM_REGION_KERNEL);
}

TEST(F15_boot_reserve_below_and_above)
{
	fresh(16);
	CHECK_OK(loam_memmap_reserve_below(&map, 0x12001));
	CHECK_OK(loam_memmap_reserve_above(&map, 0x3ffff));
	region_is(0, 0x10000, 0x13000, LOAM_REGION_RESERVED);
	region_is(1, 0x13000, 0x20000, LOAM_REGION_USABLE);
	region_is(5, 0x3f000, 0x40000, LOAM_REGION_RESERVED);
	CHECK_OK(loam_memmap_reserve_below(&map, 0));
	CHECK_OK(loam_memmap_reserve_above(&map, UINT64_MAX));
	CHECK_EQ(map.count, 6);
	CHECK_OK(loam_memmap_reserve_below(&map, UINT64_MAX));
	CHECK_EQ(loam_memmap_bytes(&map, LOAM_REGION_USABLE), 0);
	CHECK_EQ(loam_memmap_bytes(&map, LOAM_REGION_RECLAIMABLE), 0x8000);
}

TEST(F15_boot_reclaim_makes_it_usable)
{
	fresh(16);
	CHECK_OK(loam_memmap_reclaim(&map));
	CHECK_EQ(map.count, 3);
	region_is(2, 0x28000, 0x40000, LOAM_REGION_USABLE);
}

TEST(F15_boot_alloc_takes_the_highest_by_default)
{
	loam_paddr base = 0;

	fresh(16);
	CHECK_OK(loam_memmap_alloc(&map, 1, NULL, &base));
	CHECK_EQ(base, 0x3f000);
	CHECK_OK(loam_memmap_alloc(&map, 0x1001, NULL, &base));
	CHECK_EQ(base, 0x3d000);
	CHECK_EQ(map.count, 5); /* side by side: one region */
	region_is(4, 0x3d000, 0x40000, LOAM_REGION_BOOT);
	CHECK_EQ(loam_memmap_bytes(&map, LOAM_REGION_BOOT), 0x3000);
	CHECK_OK(loam_memmap_alloc(&map, 0xe000, NULL, &base)); /* does not fit up there any more */
	CHECK_EQ(base, 0x12000);
}

TEST(F15_boot_alloc_obeys_where)
{
	static const struct {
		struct loam_memmap_where where;
		uint64_t nbytes;
		loam_paddr base;
	} cases[] = {
		{{.lowest = true}, 0x1000, 0x10000},
		{{.lowest = true, .start = 0x12001}, 0x1000, 0x13000},
		{{.lowest = true, .start = 0x20000}, 0x1000, 0x30000},
		{{.lowest = true, .align = 0x8000, .start = 0x11000}, 0x1000, 0x18000},
		{{.limit = 0x20000}, 0x1000, 0x1f000},
		{{.limit = 0x1ffff}, 0x1000, 0x1e000},
		{{.limit = 0x34000}, 0x5000, 0x1b000},
		{{.align = 0x8000}, 0x1000, 0x38000},
		{{.align = 0x8000, .limit = 0x38000}, 0x1000, 0x30000},
		{{.align = 1}, 0x1000, 0x3f000},
		{{.align = 0x10000}, 0x10000, 0x30000},
	};

	for (size_t i = 0; i < LOAMI_COUNT(cases); i++) {
		loam_paddr base = 0;

		fresh(16);
		CHECK_OK(loam_memmap_alloc(&map, cases[i].nbytes, &cases[i].where, &base));
		CHECK_EQ(base, cases[i].base);
		CHECK_EQ(loam_memmap_find(&map, base)->type, LOAM_REGION_BOOT);
		CHECK_OK(loam_memmap_check(&map));
	}
}

TEST(F15_boot_alloc_refuses_and_changes_nothing)
{
	static const struct {
		struct loam_memmap_where where;
		uint64_t nbytes;
		enum loam_status status;
	} cases[] = {
		{{0}, 0, LOAM_ERR_ZERO_SIZE},
		{{.align = 3}, 0x1000, LOAM_ERR_ALIGNMENT},
		{{.align = 0x3000}, 0x1000, LOAM_ERR_ALIGNMENT},
		{{0}, 0x10001, LOAM_ERR_NO_MEMORY},
		{{0}, UINT64_MAX, LOAM_ERR_NO_MEMORY},
		{{.limit = 0x10000}, 0x1000, LOAM_ERR_NO_MEMORY},
		{{.limit = 0x10fff}, 0x1000, LOAM_ERR_NO_MEMORY},
		{{.limit = 1}, 1, LOAM_ERR_NO_MEMORY},
		{{.start = 0x3f001}, 0x1000, LOAM_ERR_NO_MEMORY},
		{{.start = UINT64_MAX, .lowest = true}, 1, LOAM_ERR_NO_MEMORY},
		{{.align = UINT64_C(1) << 63}, 1, LOAM_ERR_NO_MEMORY},
		{{.align = UINT64_C(1) << 63, .lowest = true}, 1, LOAM_ERR_NO_MEMORY},
	};

	fresh(16);
	for (size_t i = 0; i < LOAMI_COUNT(cases); i++) {
		loam_paddr base = 42;

		CHECK_STATUS(loam_memmap_alloc(&map, cases[i].nbytes, &cases[i].where, &base), cases[i].status);
		CHECK_EQ(base, 42);
	}
	unchanged(16);
	/* No room for one more region; at the other end of usable memory none is needed. */
	fresh(4);
	loam_paddr base = 0;
	CHECK_STATUS(loam_memmap_alloc(&map, 0x1000, NULL, &base), LOAM_ERR_NO_METADATA);
	unchanged(4);
	CHECK_OK(loam_memmap_alloc(&map, 0x10000, NULL, &base));
	CHECK_EQ(base, 0x30000);
}

TEST(F15_boot_free_gives_early_memory_back)
{
	loam_paddr base = 0;

	fresh(16);
	CHECK_OK(loam_memmap_alloc(&map, 0x4000, NULL, &base));
	CHECK_STATUS(loam_memmap_free(&map, base, 0x5000), LOAM_ERR_NOT_FOUND);
	CHECK_STATUS(loam_memmap_free(&map, base - 0x1000, 0x5000), LOAM_ERR_NOT_FOUND);
	CHECK_STATUS(loam_memmap_free(&map, 0x20000, 0x1000), LOAM_ERR_NOT_FOUND);
	CHECK_STATUS(loam_memmap_free(&map, base + 1, 0x1000), LOAM_ERR_ALIGNMENT);
	CHECK_STATUS(loam_memmap_free(&map, base, 0), LOAM_ERR_ZERO_SIZE);
	CHECK_STATUS(loam_memmap_free(&map, base, UINT64_MAX), LOAM_ERR_OVERFLOW);
	CHECK_EQ(loam_memmap_bytes(&map, LOAM_REGION_BOOT), 0x4000);
	CHECK_OK(loam_memmap_free(&map, base + 0x1000, 0x1000));
	CHECK_EQ(map.count, 7);
	CHECK_STATUS(loam_memmap_free(&map, base, 0x4000), LOAM_ERR_NOT_FOUND);
	CHECK_OK(loam_memmap_free(&map, base, 1));
	CHECK_OK(loam_memmap_free(&map, base + 0x2000, 0x2000));
	unchanged(16);
}

TEST(F15_boot_find_and_bytes)
{
	fresh(16);
	CHECK(loam_memmap_find(&map, 0) == NULL);
	CHECK(loam_memmap_find(&map, 0xffff) == NULL);
	CHECK(loam_memmap_find(&map, 0x10000) == &map.regions[0]);
	CHECK(loam_memmap_find(&map, 0x1ffff) == &map.regions[0]);
	CHECK(loam_memmap_find(&map, 0x20000) == NULL);
	CHECK(loam_memmap_find(&map, 0x2ffff) == &map.regions[2]);
	CHECK(loam_memmap_find(&map, 0x30000) == &map.regions[3]);
	CHECK(loam_memmap_find(&map, 0x40000) == NULL);
	CHECK(loam_memmap_find(&map, UINT64_MAX) == NULL);
	CHECK_EQ(loam_memmap_bytes(&map, LOAM_REGION_USABLE), 0x20000);
	CHECK_EQ(loam_memmap_bytes(&map, LOAM_REGION_KERNEL), 0);
}

TEST(F15_boot_check_finds_a_broken_map)
{
	static const struct loam_region good[] = {{0x1000, 0x1000, LOAM_REGION_USABLE, 0},
						  {0x2000, 0x1000, LOAM_REGION_KERNEL, 0}};
	static const struct loam_region bad[] = {
		{0x2000, 0, LOAM_REGION_KERNEL, 0},
		{0x2000, 0x800, LOAM_REGION_KERNEL, 0},
		{0x2800, 0x1000, LOAM_REGION_KERNEL, 0},
		{0x2000, 0x1000, LOAM_REGION_USABLE, 0},
		{0x1000, 0x1000, LOAM_REGION_KERNEL, 0},
		{0x0, 0x1000, LOAM_REGION_KERNEL, 0},
		{0x2000, 0x1000, 9, 0},
		{TOP, 0x1000, LOAM_REGION_KERNEL, 0},
		{0x2000, TOP - 0x1000, LOAM_REGION_BAD, 0},
	};

	map = (struct loam_memmap){.regions = storage, .count = 2, .capacity = 2};
	storage[0] = good[0];
	storage[1] = good[1];
	CHECK_OK(loam_memmap_check(&map));
	map.capacity = 1;
	CHECK_STATUS(loam_memmap_check(&map), LOAM_ERR_INVALID);
	map.capacity = 2;
	for (size_t i = 0; i < LOAMI_COUNT(bad); i++) {
		storage[1] = bad[i];
		CHECK_STATUS(loam_memmap_check(&map), LOAM_ERR_INVALID);
	}
}
