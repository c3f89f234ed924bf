/* tests/unit/boot/large.c: maps with more entries than any firmware has. Host only: the arrays are too large for a kernel's image. */
#include <loam/boot.h>

#include "tap.h"

enum { ENTRIES = 65536 };

static struct loam_region raw[ENTRIES];
static struct loam_region storage[2 * ENTRIES + 1];
static struct loam_memmap map;

TEST(F15_boot_a_map_of_65536_entries_works)
{
	for (uint64_t i = 0; i < ENTRIES; i++) { /* every second page usable, from the top down */
		raw[i] = (struct loam_region){(ENTRIES - i) * 0x2000, 0x1000, LOAM_REGION_USABLE, 0};
	}
	CHECK_OK(loam_memmap_init(&map, raw, ENTRIES, storage, 2 * ENTRIES + 1, 0, NULL, NULL));
	CHECK_OK(loam_memmap_check(&map));
	CHECK_EQ(map.count, ENTRIES);
	CHECK_EQ(loam_memmap_bytes(&map, LOAM_REGION_USABLE), ENTRIES * UINT64_C(0x1000));
	CHECK_EQ(loam_memmap_find(&map, 0x8000)->base, 0x8000);
	CHECK_STATUS(loam_memmap_init(&map, raw, ENTRIES, storage, ENTRIES - 1, 0, NULL, NULL), LOAM_ERR_NO_METADATA);
}

TEST(F15_boot_65536_entries_that_all_overlap)
{
	for (uint64_t i = 0; i < ENTRIES; i++) { /* each inside the one before, types all mixed up */
		raw[i] = (struct loam_region){i * 0x1000, (2 * ENTRIES - 2 * i) * 0x1000, (uint32_t)(1 + i * 5 % 8), 0};
	}
	CHECK_OK(loam_memmap_init(&map, raw, ENTRIES, storage, 2 * ENTRIES + 1, 0, NULL, NULL));
	CHECK_OK(loam_memmap_check(&map));
	CHECK_EQ(map.regions[0].type, 1);
	CHECK_EQ(loam_memmap_find(&map, UINT64_C(0x1000) * ENTRIES)->type, LOAM_REGION_BAD);
	CHECK(map.notes[LOAM_NOTE_OVERLAP] > 0);
}
