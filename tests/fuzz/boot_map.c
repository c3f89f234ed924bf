/* tests/fuzz/boot_map.c: bytes as raw entries, then as operations on the map: all 64 bits of every number are the fuzzer's. */
#include "boot_import.h"

struct reader {
	const uint8_t *at;
	size_t left;
};

static uint64_t take(struct reader *r, size_t width)
{
	uint64_t value = 0;

	for (; width > 0 && r->left > 0; width--, r->left--)
		value = value << 8 | *r->at++;
	return value;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nbytes)
{
	static struct loam_region raw[64];
	static struct loam_region storage[160];
	struct reader r = {.at = bytes, .left = nbytes};
	size_t nraw = (size_t)(take(&r, 1) % 64);
	size_t capacity = (size_t)(take(&r, 1) % 160);
	loam_paddr limit = take(&r, 8);
	struct loam_memmap map;

	for (size_t i = 0; i < nraw; i++) {
		raw[i].type = (uint32_t)take(&r, 1);
		raw[i].node = raw[i].type >> 4;
		raw[i].type &= 15;
		raw[i].base = take(&r, 8);
		raw[i].nbytes = take(&r, 8);
	}
	if (loam_memmap_init(&map, raw, nraw, storage, capacity, limit, NULL, NULL) != LOAM_OK) {
		FUZZ_REQUIRE(map.count == 0 && capacity < 2 * nraw + 1);
		return 0;
	}
	FUZZ_REQUIRE(loam_memmap_check(&map) == LOAM_OK);
	while (r.left > 0) {
		uint64_t what = take(&r, 1);
		uint64_t a = take(&r, 8);
		uint64_t b = take(&r, what & 8 ? 8 : 2);
		struct loam_memmap_where where = {
			.align = UINT64_C(1) << (a & 63), .limit = b, .start = a >> 8, .lowest = (what & 16) != 0};
		uint64_t before = loam_memmap_bytes(&map, LOAM_REGION_BOOT);
		loam_paddr base = 0;

		switch (what % 8) {
		case 0:
			if (loam_memmap_alloc(&map, b, &where, &base) == LOAM_OK)
				FUZZ_REQUIRE(loam_memmap_bytes(&map, LOAM_REGION_BOOT) >= before + b);
			break;
		case 1:
			if (loam_memmap_alloc(&map, b, NULL, &base) == LOAM_OK)
				FUZZ_REQUIRE(loam_memmap_free(&map, base, b) != LOAM_ERR_NOT_FOUND);
			break;
		case 2:
			(void)(loam_memmap_free(&map, a & ~UINT64_C(4095), b) == LOAM_OK);
			break;
		case 3:
			(void)(loam_memmap_reserve_below(&map, a) == LOAM_OK);
			break;
		case 4:
			(void)(loam_memmap_reserve_above(&map, a) == LOAM_OK);
			break;
		case 5:
			(void)(loam_memmap_reclaim(&map) == LOAM_OK);
			break;
		default:
			if (loam_memmap_reserve(&map, a, b, (enum loam_region_type)(what >> 4)) == LOAM_OK)
				FUZZ_REQUIRE(loam_memmap_find(&map, a) == NULL ||
					     loam_memmap_find(&map, a)->type >= what >> 4);
			break;
		}
		FUZZ_REQUIRE(loam_memmap_check(&map) == LOAM_OK);
	}
	return 0;
}
