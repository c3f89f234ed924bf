/* tests/unit/boot/large.c: maps with more entries than any firmware has. They lie in the rig's RAM: a kernel's image has no room for them. */
#include <loam/boot.h>

#include "rig.h"
#include "tap.h"

enum { ENTRIES = 65536, RIG_PAGES = 2048 };

static struct loam_region *raw;     /* ENTRIES */
static struct loam_region *storage; /* 2 * ENTRIES + 1 */
static struct loam_memmap map;

_Static_assert((3 * ENTRIES + 1) * sizeof(struct loam_region) <= RIG_PAGES * LOAM_PAGE_SIZE,
	       "the rig's RAM holds both");

static struct rig *begin(void)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = RIG_PAGES, .no_frames = true});

	raw = (struct loam_region *)(rig->direct_map + rig->ram);
	storage = raw + ENTRIES;
	return rig;
}

TEST(F15_boot_a_map_of_65536_entries_works)
{
	struct rig *rig = begin();

	for (uint64_t i = 0; i < ENTRIES; i++) { /* every second page usable, from the top down */
		raw[i] = (struct loam_region){(ENTRIES - i) * 0x2000, 0x1000, LOAM_REGION_USABLE, 0};
	}
	CHECK_OK(loam_memmap_init(&map, raw, ENTRIES, storage, 2 * ENTRIES + 1, 0, NULL, NULL));
	CHECK_OK(loam_memmap_check(&map));
	CHECK_EQ(map.count, ENTRIES);
	CHECK_EQ(loam_memmap_bytes(&map, LOAM_REGION_USABLE), ENTRIES * UINT64_C(0x1000));
	CHECK_EQ(loam_memmap_find(&map, 0x8000)->base, 0x8000);
	CHECK_STATUS(loam_memmap_init(&map, raw, ENTRIES, storage, ENTRIES - 1, 0, NULL, NULL), LOAM_ERR_NO_METADATA);
	rig_destroy(rig);
}

TEST(F15_boot_65536_entries_that_all_overlap)
{
	struct rig *rig = begin();

	for (uint64_t i = 0; i < ENTRIES; i++) { /* each inside the one before, types all mixed up */
		raw[i] = (struct loam_region){i * 0x1000, (2 * ENTRIES - 2 * i) * 0x1000, (uint32_t)(1 + i * 5 % 8), 0};
	}
	CHECK_OK(loam_memmap_init(&map, raw, ENTRIES, storage, 2 * ENTRIES + 1, 0, NULL, NULL));
	CHECK_OK(loam_memmap_check(&map));
	CHECK_EQ(map.regions[0].type, 1);
	CHECK_EQ(loam_memmap_find(&map, UINT64_C(0x1000) * ENTRIES)->type, LOAM_REGION_BAD);
	CHECK(map.notes[LOAM_NOTE_OVERLAP] > 0);
	rig_destroy(rig);
}
