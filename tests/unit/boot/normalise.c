/* tests/unit/boot/normalise.c: single maps and what becomes of them, to the byte. The random ones are in tests/model/boot.c. */
#include <base/bits.h>
#include <loam/boot.h>

#include "tap.h"

#define KIB UINT64_C(1024)
#define TOP (~UINT64_C(0) - 4095) /* 2^64 - 4096: nothing reaches above */

static struct loam_memmap map;
static struct loam_region storage[32];
static struct loam_memmap_note notes[32];
static size_t nnotes;

static void hear(void *context, const struct loam_memmap_note *note)
{
	(void)context;
	if (nnotes < LOAMI_COUNT(notes))
		notes[nnotes++] = *note;
}

static void normalise(struct loam_region *raw, size_t nraw, loam_paddr limit)
{
	nnotes = 0;
	CHECK_OK(loam_memmap_init(&map, raw, nraw, storage, LOAMI_COUNT(storage), limit, hear, NULL));
	CHECK_OK(loam_memmap_check(&map));
}

static void region_is(size_t index, loam_paddr base, loam_paddr end, uint32_t type)
{
	CHECK(index < map.count);
	CHECK_EQ(map.regions[index].base, base);
	CHECK_EQ(map.regions[index].base + map.regions[index].nbytes, end);
	CHECK_STR(loam_region_type_name(map.regions[index].type), loam_region_type_name(type));
}

static void note_is(size_t index, enum loam_memmap_note_kind kind, uint32_t winner, uint32_t loser, loam_paddr base,
		    uint64_t nbytes)
{
	CHECK(index < nnotes);
	CHECK_EQ(notes[index].kind, kind);
	CHECK_EQ(notes[index].winner, winner);
	CHECK_EQ(notes[index].loser, loser);
	CHECK_EQ(notes[index].base, base);
	CHECK_EQ(notes[index].nbytes, nbytes);
}

TEST(F15_boot_an_ordinary_map_stays_as_it_is_but_for_the_edges_of_its_pages)
{
	struct loam_region raw[] = {
		{0x0, 0x9fc00, LOAM_REGION_USABLE, 0},          {0x9fc00, 0x400, LOAM_REGION_RESERVED, 0},
		{0xf0000, 0x10000, LOAM_REGION_RESERVED, 0},    {0x100000, 0x7fee0000, LOAM_REGION_USABLE, 0},
		{0x7ffe0000, 0x20000, LOAM_REGION_RESERVED, 0},
	};

	normalise(raw, 5, 0);
	CHECK_EQ(map.count, 5);
	region_is(0, 0x0, 0x9f000, LOAM_REGION_USABLE);
	region_is(1, 0x9f000, 0xa0000, LOAM_REGION_RESERVED);
	region_is(2, 0xf0000, 0x100000, LOAM_REGION_RESERVED);
	region_is(3, 0x100000, 0x7ffe0000, LOAM_REGION_USABLE);
	region_is(4, 0x7ffe0000, 0x80000000, LOAM_REGION_RESERVED);
	CHECK_EQ(nnotes, 1);
	note_is(0, LOAM_NOTE_CLIP, LOAM_REGION_RESERVED, LOAM_REGION_USABLE, 0x9f000, 0xc00);
	CHECK_EQ(map.notes[LOAM_NOTE_CLIP], 1);
	CHECK_EQ(map.notes[LOAM_NOTE_OVERLAP], 0);
}

TEST(F15_boot_an_empty_map_is_a_map)
{
	struct loam_region nothing = {0};

	normalise(NULL, 0, 0);
	CHECK_EQ(map.count, 0);
	CHECK(loam_memmap_find(&map, 0) == NULL);
	CHECK_STATUS(loam_memmap_init(&map, &nothing, 0, storage, 0, 0, NULL, NULL), LOAM_OK);
	normalise(&nothing, 1, 0);
	CHECK_EQ(map.count, 0);
	note_is(0, LOAM_NOTE_TYPE, LOAM_REGION_RESERVED, 0, 0, 0);
	note_is(1, LOAM_NOTE_EMPTY, LOAM_REGION_RESERVED, LOAM_REGION_RESERVED, 0, 0);
}

TEST(F15_boot_the_strictest_type_wins_where_entries_overlap)
{
	struct loam_region raw[] = {
		{0x10000, 0x40000, LOAM_REGION_USABLE, 0},
		{0x20000, 0x8000, LOAM_REGION_RESERVED, 0},
		{0x24000, 0x8000, LOAM_REGION_RECLAIMABLE, 0},
	};

	normalise(raw, 3, 0);
	CHECK_EQ(map.count, 4);
	region_is(0, 0x10000, 0x20000, LOAM_REGION_USABLE);
	region_is(1, 0x20000, 0x28000, LOAM_REGION_RESERVED);
	region_is(2, 0x28000, 0x2c000, LOAM_REGION_RECLAIMABLE);
	region_is(3, 0x2c000, 0x50000, LOAM_REGION_USABLE);
	CHECK_EQ(nnotes, 2);
	note_is(0, LOAM_NOTE_OVERLAP, LOAM_REGION_RESERVED, LOAM_REGION_USABLE, 0x20000, 0x8000);
	note_is(1, LOAM_NOTE_OVERLAP, LOAM_REGION_RECLAIMABLE, LOAM_REGION_USABLE, 0x28000, 0x4000);
}

TEST(F15_boot_entries_that_repeat_are_one_and_said_to_overlap_themselves)
{
	struct loam_region raw[] = {
		{0x2000, 0x2000, LOAM_REGION_USABLE, 0},
		{0x1000, 0x4000, LOAM_REGION_USABLE, 0},
		{0x2000, 0x2000, LOAM_REGION_USABLE, 0},
	};

	normalise(raw, 3, 0);
	CHECK_EQ(map.count, 1);
	region_is(0, 0x1000, 0x5000, LOAM_REGION_USABLE);
	CHECK_EQ(nnotes, 1);
	note_is(0, LOAM_NOTE_OVERLAP, LOAM_REGION_USABLE, LOAM_REGION_USABLE, 0x2000, 0x2000);
}

TEST(F15_boot_entries_that_touch_inside_a_page_make_a_usable_page)
{
	struct loam_region raw[] = {
		{0x1800, 0x1000, LOAM_REGION_USABLE, 0},
		{0x1000, 0x800, LOAM_REGION_USABLE, 0},
		{0x2800, 0x7ff, LOAM_REGION_USABLE, 0},
	};

	normalise(raw, 3, 0);
	CHECK_EQ(map.count, 1);
	region_is(0, 0x1000, 0x2000, LOAM_REGION_USABLE);
	CHECK_EQ(nnotes, 1); /* the page at 0x2000 lacks its last byte */
	note_is(0, LOAM_NOTE_CLIP, LOAM_REGION_USABLE, LOAM_REGION_USABLE, 0x2000, 0xfff);
}

TEST(F15_boot_one_reserved_byte_reserves_its_page)
{
	struct loam_region raw[] = {
		{0x1000, 0x3000, LOAM_REGION_USABLE, 0},
		{0x2fff, 1, LOAM_REGION_BAD, 0},
		{0x6001, 1, LOAM_REGION_DEVICE, 0},
	};

	normalise(raw, 3, 0);
	CHECK_EQ(map.count, 4);
	region_is(1, 0x2000, 0x3000, LOAM_REGION_BAD);
	region_is(3, 0x6000, 0x7000, LOAM_REGION_DEVICE);
	note_is(0, LOAM_NOTE_CLIP, LOAM_REGION_BAD, LOAM_REGION_USABLE, 0x2000, 0xfff);
	note_is(1, LOAM_NOTE_OVERLAP, LOAM_REGION_BAD, LOAM_REGION_USABLE, 0x2fff, 1);
}

TEST(F15_boot_an_entry_that_wraps_ends_at_the_end_of_the_address_space)
{
	struct loam_region raw[] = {
		{0xffffffffffff0000, 0x20000, LOAM_REGION_RESERVED, 0},
		{0xfffffffffffe0000, 0x20000, LOAM_REGION_USABLE, 0}, /* to 2^64 exactly: no wrap */
	};

	normalise(raw, 2, 0);
	CHECK_EQ(map.count, 2);
	region_is(0, 0xfffffffffffe0000, 0xffffffffffff0000, LOAM_REGION_USABLE);
	region_is(1, 0xffffffffffff0000, TOP, LOAM_REGION_RESERVED);
	CHECK_EQ(map.notes[LOAM_NOTE_WRAP], 1);
	note_is(0, LOAM_NOTE_WRAP, LOAM_REGION_RESERVED, LOAM_REGION_RESERVED, 0xffffffffffff0000, 0x10000);
	note_is(1, LOAM_NOTE_CLIP, LOAM_REGION_USABLE, LOAM_REGION_USABLE, TOP, 0x1000);
}

TEST(F15_boot_the_largest_numbers_there_are)
{
	struct loam_region raw[] = {
		{UINT64_MAX, UINT64_MAX, UINT32_MAX, UINT32_MAX},
		{UINT64_MAX, 1, LOAM_REGION_USABLE, 0},
		{0, UINT64_MAX, LOAM_REGION_USABLE, UINT32_MAX},
		{TOP, 0x1000, LOAM_REGION_USABLE, 0},
		{TOP - 1, 1, LOAM_REGION_USABLE, 0},
		{1, UINT64_MAX, LOAM_REGION_USABLE, 7},
	};

	normalise(raw, 6, 0);
	CHECK_EQ(map.count, 2);
	/* Byte 0 is node 2^32 - 1's, the rest of its page node 7's: the lower one has the page. Likewise the last page, of which node 0 has one byte. */
	region_is(0, 0, TOP - 0x1000, LOAM_REGION_USABLE);
	CHECK_EQ(map.regions[0].node, 7);
	region_is(1, TOP - 0x1000, TOP, LOAM_REGION_USABLE);
	CHECK_EQ(map.regions[1].node, 0);
}

TEST(F15_boot_nothing_is_above_the_limit)
{
	struct loam_region raw[] = {
		{0x1000, 0x10000, LOAM_REGION_USABLE, 0},
		{0x20000, 0x1000, LOAM_REGION_RESERVED, 0},
		{0x30000, 0x1000, LOAM_REGION_USABLE, 0},
	};

	normalise(raw, 3, 0x8fff);
	CHECK_EQ(map.count, 1);
	region_is(0, 0x1000, 0x8000, LOAM_REGION_USABLE);
	CHECK_EQ(nnotes, 2);
	note_is(0, LOAM_NOTE_CLIP, LOAM_REGION_USABLE, LOAM_REGION_USABLE, 0x8000, 0x9000);
	note_is(1, LOAM_NOTE_CLIP, LOAM_REGION_USABLE, LOAM_REGION_USABLE, 0x30000, 0x1000);
}

TEST(F15_boot_unknown_types_are_reserved_and_named)
{
	struct loam_region raw[] = {
		{0x1000, 0x1000, 9, 0},
		{0x3000, 0x1000, LOAM_REGION_FOREIGN | 12, 0},
	};

	normalise(raw, 2, 0);
	CHECK_EQ(map.count, 2);
	region_is(0, 0x1000, 0x2000, LOAM_REGION_RESERVED);
	region_is(1, 0x3000, 0x4000, LOAM_REGION_RESERVED);
	CHECK_EQ(nnotes, 2);
	note_is(0, LOAM_NOTE_TYPE, LOAM_REGION_RESERVED, 9, 0x1000, 0x1000);
	note_is(1, LOAM_NOTE_TYPE, LOAM_REGION_RESERVED, LOAM_REGION_FOREIGN | 12, 0x3000, 0x1000);
}

TEST(F15_boot_nodes_keep_regions_apart_and_the_lowest_wins)
{
	struct loam_region raw[] = {
		{0x10000, 0x10000, LOAM_REGION_USABLE, 1},
		{0x0, 0x10000, LOAM_REGION_USABLE, 0},
		{0x18000, 0x10000, LOAM_REGION_USABLE, 2},
	};

	normalise(raw, 3, 0);
	CHECK_EQ(map.count, 3);
	region_is(0, 0x0, 0x10000, LOAM_REGION_USABLE);
	region_is(1, 0x10000, 0x20000, LOAM_REGION_USABLE);
	region_is(2, 0x20000, 0x28000, LOAM_REGION_USABLE);
	for (size_t i = 0; i < 3; i++)
		CHECK_EQ(map.regions[i].node, i);
}

TEST(F15_boot_too_little_room_is_refused)
{
	struct loam_region raw[] = {
		{0x10000, 0x40000, LOAM_REGION_USABLE, 0},
		{0x20000, 0x8000, LOAM_REGION_RESERVED, 0},
	};

	CHECK_STATUS(loam_memmap_init(&map, raw, 2, storage, 2, 0, NULL, NULL), LOAM_ERR_NO_METADATA);
	CHECK_EQ(map.count, 0);
	CHECK_STATUS(loam_memmap_init(&map, raw, 2, storage, 3, 0, NULL, NULL), LOAM_OK);
	CHECK_STATUS(loam_memmap_init(NULL, raw, 2, storage, 3, 0, NULL, NULL), LOAM_ERR_INVALID);
	CHECK_STATUS(loam_memmap_init(&map, NULL, 2, storage, 3, 0, NULL, NULL), LOAM_ERR_INVALID);
	CHECK_STATUS(loam_memmap_init(&map, raw, 2, NULL, 3, 0, NULL, NULL), LOAM_ERR_INVALID);
}

TEST(F15_boot_region_types_have_names)
{
	static const char *const names[] = {"unknown", "usable",   "reclaimable", "boot", "kernel",
					    "nvs",     "reserved", "device",      "bad",  "unknown"};

	for (uint32_t type = 0; type < LOAMI_COUNT(names); type++)
		CHECK_STR(loam_region_type_name(type), names[type]);
	CHECK_STR(loam_region_type_name(UINT32_MAX), "unknown");
}
