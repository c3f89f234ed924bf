/* Frames: what the rows F1 to F14 promise of one frame: its slot, its purposes, its references, its hooks, its poison. */
#include "rig.h"
#include "tap.h"

#include <base/print.h>
#include <loam/frame.h>

static char expected_text[256];

/* The text a panic about @pfn should have; @format has one %llx for its address. */
#define TEXT_ABOUT(pfn, format)                                                                                        \
	((void)loami_format(expected_text, sizeof(expected_text), (format),                                            \
			    (unsigned long long)loam_frame_address(pfn)),                                              \
	 (const char *)expected_text)

static struct rig *small(void)
{
	return rig_create(&(struct rig_config){.npages = 2048});
}

static void fill(struct rig *rig, loam_pfn pfn, uint8_t value)
{
	uint8_t *bytes = loam_frame_virt(rig->frames, pfn);

	for (size_t i = 0; i < LOAM_PAGE_SIZE; i++)
		bytes[i] = value;
}

static bool holds(struct rig *rig, loam_pfn pfn, uint8_t value)
{
	const uint8_t *bytes = loam_frame_virt(rig->frames, pfn);

	for (size_t i = 0; i < LOAM_PAGE_SIZE; i++)
		if (bytes[i] != value)
			return false;
	return true;
}

TEST(F1_slot_layout_is_the_contract)
{
	CHECK_EQ(sizeof(struct loam_slot), 64);
	CHECK_EQ(offsetof(struct loam_slot, next), 0);
	CHECK_EQ(offsetof(struct loam_slot, prev), 8);
	CHECK_EQ(offsetof(struct loam_slot, vtable), 16);
	CHECK_EQ(offsetof(struct loam_slot, flags), 24);
	CHECK_EQ(offsetof(struct loam_slot, order), 28);
	CHECK_EQ(offsetof(struct loam_slot, refcount), LOAM_FRAME_REFCOUNT_OFFSET);
	CHECK_EQ(LOAM_FRAME_REFCOUNT_OFFSET, 32);
	CHECK_EQ(offsetof(struct loam_slot, generation), 36);
	CHECK_EQ(offsetof(struct loam_slot, guard), 40);
	CHECK_EQ(offsetof(struct loam_slot, aux), 44);
	CHECK_EQ(offsetof(struct loam_slot, tail), 48);
	CHECK_EQ(LOAM_FRAME_LINK_NONE, UINT64_MAX);
	CHECK_EQ(sizeof(struct loam_frame_vtable), 64);
}

TEST(F1_slots_are_apart_from_frames_and_aligned)
{
	struct rig *rig = small();
	loam_pfn pfn = loam_frame_alloc(rig->frames, 0, NULL);

	CHECK_EQ((uintptr_t)loam_frame_slot(rig->frames, pfn) % 64, 0);
	CHECK_EQ(loam_frame_slot(rig->frames, pfn)->next, LOAM_FRAME_LINK_NONE);
	CHECK_EQ(loam_frame_slot(rig->frames, pfn)->prev, LOAM_FRAME_LINK_NONE);
	fill(rig, pfn, 0x5a);
	loam_frame_free(rig->frames, pfn, 0);
	CHECK(holds(rig, pfn, 0x5a)); /* a free frame is managed without a byte written into it */
	loam_frame_drain(rig->frames);
	CHECK(holds(rig, pfn, 0x5a));
	CHECK_OK(loam_frame_check(rig->frames));
	rig_destroy(rig);
}

TEST(F2_slot_array_is_64_bytes_for_each_begun_page)
{
	CHECK_EQ(loam_frame_slots_size(0), 0);
	CHECK_EQ(loam_frame_slots_size(1), 64);
	CHECK_EQ(loam_frame_slots_size(4096), 64);
	CHECK_EQ(loam_frame_slots_size(4097), 128);
	CHECK_EQ(loam_frame_slots_size(UINT64_C(8) << 30), UINT64_C(128) << 20);
}

TEST(F2_zero_ram_gives_an_empty_safe_machine)
{
	static struct loam_frames frames;
	static _Alignas(64) uint64_t metadata[65536];
	struct loam_region regions[1];
	struct loam_memmap map;
	struct loam_frames_config config = {.map = &map, .ncpus = 1};

	__builtin_memset(&frames, 0, sizeof(frames));
	CHECK_OK(loam_memmap_init(&map, NULL, 0, regions, 1, 0, NULL, NULL));
	CHECK(loam_frames_metadata_size(&config) <= sizeof(metadata));
	CHECK_OK(loam_frames_init(&frames, &config, metadata, sizeof(metadata)));
	CHECK_EQ(loam_frame_alloc(&frames, 0, NULL), LOAM_PFN_NONE);
	CHECK_EQ(loam_frame_last_failure(&frames).status, LOAM_ERR_NO_MEMORY);
	CHECK(!loam_frame_has_slot(&frames, 0));
	CHECK_OK(loam_frame_check(&frames));
	CHECK_STATUS(loam_frames_init(&frames, &config, metadata, sizeof(metadata)), LOAM_ERR_ALREADY);
}

TEST(F2_a_map_too_small_for_its_slots_is_named_with_the_numbers)
{
	static struct loam_frames frames;
	struct loam_region raw = {.base = 0x100000, .nbytes = 0x2000, .type = LOAM_REGION_USABLE};
	struct loam_region regions[8];
	struct loam_memmap map;
	struct loam_frames_config config = {.map = &map, .ncpus = 1};

	__builtin_memset(&frames, 0, sizeof(frames));
	CHECK_OK(loam_memmap_init(&map, &raw, 1, regions, 8, 0, NULL, NULL));
	(void)loami_format(expected_text, sizeof(expected_text),
			   "loam: frame: boot allocator could not reserve %llu bytes (align 4096) for 2 frames",
			   (unsigned long long)loam_frames_metadata_size(&config));
	CHECK_PANIC(CHECK_OK(loam_frames_boot(&frames, &config, &map)), expected_text);
	CHECK_EQ(loam_memmap_bytes(&map, LOAM_REGION_USABLE), 0x2000); /* nothing changed */
}

TEST(F3_frames_are_zeroed_unless_the_caller_says_otherwise)
{
	struct rig *rig = small();
	struct loam_frame_opts raw = {.uninitialized = true};
	struct loam_frame_opts raw_table = {.uninitialized = true, .purpose = LOAM_PURPOSE_PAGE_TABLE};
	loam_pfn pfn = loam_frame_alloc(rig->frames, 0, &raw);

	fill(rig, pfn, 0xde);
	loam_frame_free(rig->frames, pfn, 0);
	CHECK_EQ(loam_frame_alloc(rig->frames, 0, &raw), pfn);
	CHECK(holds(rig, pfn, 0xde));
	loam_frame_free(rig->frames, pfn, 0);
	CHECK_EQ(loam_frame_alloc(rig->frames, 0, NULL), pfn);
	CHECK(holds(rig, pfn, 0));
	fill(rig, pfn, 0xde);
	loam_frame_free(rig->frames, pfn, 0);
	CHECK_EQ(loam_frame_alloc(rig->frames, 0, &raw_table), pfn);
	CHECK(holds(rig, pfn, 0)); /* a page table, whatever was asked */
	rig_destroy(rig);
}

TEST(F3_purposes_set_their_flags)
{
	struct rig *rig = small();
	struct loam_frame_opts table = {.purpose = LOAM_PURPOSE_PAGE_TABLE}, user = {.purpose = LOAM_PURPOSE_USER};
	struct loam_frame_opts custom = {.purpose = LOAM_PURPOSE_CUSTOM,
					 .custom_flags = LOAM_FRAME_DLL | LOAM_FRAME_ANONYMOUS};
	const uint32_t kernel_flags = LOAM_FRAME_KERNEL | LOAM_FRAME_ALLOCATED;
	loam_pfn pfn;

	pfn = loam_frame_alloc(rig->frames, 0, NULL);
	CHECK_EQ(loam_frame_flags(rig->frames, pfn), kernel_flags);
	pfn = loam_frame_alloc(rig->frames, 0, &table);
	CHECK_EQ(loam_frame_flags(rig->frames, pfn), kernel_flags);
	pfn = loam_frame_alloc(rig->frames, 0, &user);
	CHECK_EQ(loam_frame_flags(rig->frames, pfn), LOAM_FRAME_USER | LOAM_FRAME_ALLOCATED | LOAM_FRAME_MOVABLE);
	pfn = loam_frame_alloc(rig->frames, 0, &custom);
	CHECK_EQ(loam_frame_flags(rig->frames, pfn), LOAM_FRAME_DLL | LOAM_FRAME_ANONYMOUS | LOAM_FRAME_ALLOCATED);
	rig_destroy(rig);
}

TEST(F4_claim_detects_double_allocation)
{
	struct rig *rig = small();
	loam_pfn pfn = loam_frame_alloc(rig->frames, 0, NULL);

	loam_frame_free(rig->frames, pfn, 0);
	loam_frame_slot(rig->frames, pfn)->refcount = 5; /* as if somebody still had it */
	CHECK_PANIC((void)loam_frame_alloc(rig->frames, 0, NULL),
		    TEXT_ABOUT(pfn, "loam: frame: 0x%llx comes from the free memory with refcount 0x5: double free or "
				    "free-list corruption"));
	rig_destroy(rig);
}

TEST(F4_an_allocation_is_a_new_epoch)
{
	struct rig *rig = small();
	static const struct loam_frame_vtable hooks;
	loam_pfn pfn = loam_frame_alloc(rig->frames, 0, NULL);
	uint32_t generation = loam_frame_generation(rig->frames, pfn);

	CHECK_EQ(loam_frame_ref_get(rig->frames, pfn), 1);
	CHECK_EQ(loam_frame_slot(rig->frames, pfn)->order, 0);
	loam_frame_set_vtable(rig->frames, pfn, &hooks);
	loam_frame_set_guard(rig->frames, pfn, LOAM_GUARD_KERNEL_ONLY);
	loam_frame_free(rig->frames, pfn, 0);
	CHECK_EQ(loam_frame_alloc(rig->frames, 0, NULL), pfn);
	CHECK_EQ(loam_frame_generation(rig->frames, pfn), generation + 1);
	CHECK_EQ(loam_frame_read_debug(rig->frames, pfn).vtable, 0);
	CHECK_EQ(loam_frame_guard(rig->frames, pfn), LOAM_GUARD_NONE);
	rig_destroy(rig);
}

TEST(F5_free_frames_are_unused_wherever_they_are)
{
	struct rig *rig = small();
	static loam_pfn held[300];

	CHECK_EQ(loam_frame_alloc_batch(rig->frames, 300, NULL, held), 300);
	for (size_t i = 0; i < 300; i++) {
		loam_frame_free(rig->frames, held[i], 0);
		CHECK_EQ(loam_frame_ref_get(rig->frames, held[i]), LOAM_FRAME_UNUSED); /* parked on the CPU */
	}
	loam_frame_drain(rig->frames);
	for (size_t i = 0; i < 300; i++)
		CHECK_EQ(loam_frame_ref_get(rig->frames, held[i]), LOAM_FRAME_UNUSED); /* in its block */
	rig_destroy(rig);
}

TEST(F6_flags_and_predicates)
{
	struct rig *rig = small();
	loam_pfn pfn = loam_frame_alloc(rig->frames, 0, NULL);

	CHECK_EQ(LOAM_FRAME_COW, 1u << 0);
	CHECK_EQ(LOAM_FRAME_DLL, 1u << 1);
	CHECK_EQ(LOAM_FRAME_ANONYMOUS, 1u << 2);
	CHECK_EQ(LOAM_FRAME_ALLOCATED, 1u << 8);
	CHECK_EQ(LOAM_FRAME_FREE, 1u << 9);
	CHECK_EQ(LOAM_FRAME_KERNEL, 1u << 10);
	CHECK_EQ(LOAM_FRAME_USER, 1u << 11);
	CHECK_EQ(LOAM_FRAME_POISONED, 1u << 12);
	CHECK_EQ(LOAM_FRAME_MOVABLE, 1u << 13);
	CHECK(!loam_frame_is_cow(rig->frames, pfn) && !loam_frame_is_dll(rig->frames, pfn));
	loam_frame_set_flags(rig->frames, pfn, loam_frame_flags(rig->frames, pfn) | LOAM_FRAME_COW);
	CHECK(loam_frame_is_cow(rig->frames, pfn) && !loam_frame_is_dll(rig->frames, pfn));
	loam_frame_set_flags(rig->frames, pfn, LOAM_FRAME_ALLOCATED | LOAM_FRAME_DLL);
	CHECK(!loam_frame_is_cow(rig->frames, pfn) && loam_frame_is_dll(rig->frames, pfn));
	rig_destroy(rig);
}

TEST(F7_poison_is_set_in_both_spaces_and_survives)
{
	struct rig *rig = small();
	loam_pfn pfn = loam_frame_alloc(rig->frames, 0, NULL);

	CHECK_EQ(LOAM_GUARD_KERNEL_ONLY, 1u);
	CHECK_EQ(LOAM_GUARD_POISONED, 1u << 31);
	loam_frame_set_guard(rig->frames, pfn, LOAM_GUARD_KERNEL_ONLY);
	CHECK(!loam_frame_is_poisoned(rig->frames, pfn));
	CHECK_EQ(loam_frame_flags(rig->frames, pfn) & LOAM_FRAME_POISONED, 0); /* a space apart from flags */
	loam_frame_mark_poisoned(rig->frames, pfn);
	CHECK(loam_frame_is_poisoned(rig->frames, pfn));
	CHECK((loam_frame_flags(rig->frames, pfn) & LOAM_FRAME_POISONED) != 0);
	CHECK_EQ(loam_frame_guard(rig->frames, pfn), LOAM_GUARD_KERNEL_ONLY | LOAM_GUARD_POISONED);
	loam_frame_free(rig->frames, pfn, 0);
	CHECK_EQ(loam_frame_guard(rig->frames, pfn), LOAM_GUARD_POISONED); /* the rest is cleared */
	CHECK((loam_frame_flags(rig->frames, pfn) & LOAM_FRAME_POISONED) != 0);
	rig_destroy(rig);
}

TEST(F8_references_and_generations)
{
	struct rig *rig = small();
	loam_pfn pfn = loam_frame_alloc(rig->frames, 0, NULL);
	uint32_t found = 7;

	CHECK_EQ(loam_frame_ref_inc(rig->frames, pfn), 1);
	CHECK_EQ(loam_frame_ref_get(rig->frames, pfn), 2);
	CHECK(!loam_frame_ref_cas(rig->frames, pfn, &found, 9));
	CHECK_EQ(found, 2);
	CHECK(loam_frame_ref_cas(rig->frames, pfn, &found, 3));
	CHECK_EQ(loam_frame_ref_dec(rig->frames, pfn), 3);
	CHECK(!loam_frame_put(rig->frames, pfn, 0));
	CHECK_EQ(loam_frame_ref_get(rig->frames, pfn), 1);
	CHECK(loam_frame_generation_matches(rig->frames, pfn, loam_frame_generation(rig->frames, pfn)));
	CHECK(!loam_frame_generation_matches(rig->frames, pfn, loam_frame_generation(rig->frames, pfn) + 1));
	CHECK(loam_frame_put(rig->frames, pfn, 0)); /* the last one frees */
	CHECK_EQ(loam_frame_ref_get(rig->frames, pfn), LOAM_FRAME_UNUSED);
	CHECK_PANIC((void)loam_frame_ref_inc(rig->frames, pfn),
		    TEXT_ABOUT(pfn, "loam: frame: reference to 0x%llx, which is free"));
	CHECK_PANIC((void)loam_frame_ref_dec(rig->frames, pfn),
		    TEXT_ABOUT(pfn, "loam: frame: reference to 0x%llx dropped, which has none (refcount 0xffffffff)"));
	rig_destroy(rig);
}

TEST(F8_references_saturate_and_say_so_once)
{
	struct rig *rig = small();
	loam_pfn pfn = loam_frame_alloc(rig->frames, 0, NULL);
	uint32_t found = 1, last = 0, top;
	const char *said;

	CHECK(loam_frame_ref_cas(rig->frames, pfn, &found, LOAM_FRAME_UNUSED - 4));
	tap_log_capture();
	for (unsigned int i = 0; i < 8; i++)
		last = loam_frame_ref_inc(rig->frames, pfn);
	said = tap_log_end();
	top = loam_frame_ref_get(rig->frames, pfn);
	CHECK(top < LOAM_FRAME_UNUSED); /* never mistaken for a free frame */
	CHECK_EQ(last, top);
	CHECK_STR(said, TEXT_ABOUT(pfn, "loam: frame: references to 0x%llx are saturated; it will never be freed\n"));
	(void)loam_frame_ref_dec(rig->frames, pfn);
	CHECK_EQ(loam_frame_ref_get(rig->frames, pfn), top); /* stays */
	rig_destroy(rig);
}

TEST(F9_slots_before_init_and_past_the_end)
{
	static struct loam_frames none;
	struct rig *rig = small();
	loam_pfn past = (rig->ram >> LOAM_PAGE_SHIFT) + (UINT64_C(1) << 40);

	CHECK_PANIC((void)loam_frame_slot(&none, 3), "loam: frame: slot of frame 0x3 asked for before init");
	CHECK(!loam_frame_is_poisoned(&none, 3));
	CHECK(!loam_frame_block_is_poisoned(&none, 0, 3));
	(void)loami_format(expected_text, sizeof(expected_text),
			   "loam: frame: slot of frame 0x%llx asked for, which is outside of memory",
			   (unsigned long long)past);
	CHECK_PANIC((void)loam_frame_slot(rig->frames, past), expected_text);
	CHECK(!loam_frame_has_slot(rig->frames, past));
	rig_destroy(rig);
}

static loam_paddr last_ref_head;
static unsigned int last_refs, unmaps;
static loam_paddr unmapped[8];

static void on_last_ref(loam_paddr head)
{
	last_ref_head = head;
	last_refs++;
}

static void on_unmap(loam_paddr page)
{
	if (unmaps < 8)
		unmapped[unmaps] = last_refs == 1 ? page : 0; /* after on_last_ref */
	unmaps++;
}

static const struct loam_frame_vtable test_hooks = {.on_last_ref = on_last_ref, .on_unmap = on_unmap};

TEST(F10_hooks_run_once_for_the_head_and_once_for_each_page)
{
	struct rig *rig = small();
	loam_pfn pfn = loam_frame_alloc(rig->frames, 2, NULL);

	last_refs = unmaps = 0;
	for (unsigned int i = 0; i < 4; i++)
		loam_frame_set_vtable(rig->frames, pfn + i, &test_hooks);
	(void)loam_frame_ref_inc(rig->frames, pfn);
	CHECK(!loam_frame_put(rig->frames, pfn, 2));
	CHECK_EQ(last_refs + unmaps, 0); /* a reference is left: no hook */
	CHECK(loam_frame_put(rig->frames, pfn, 2));
	CHECK_EQ(last_refs, 1);
	CHECK_EQ(last_ref_head, loam_frame_address(pfn));
	CHECK_EQ(unmaps, 4);
	for (unsigned int i = 0; i < 4; i++)
		CHECK_EQ(unmapped[i], loam_frame_address(pfn + i));
	CHECK_EQ(loam_frame_read_debug(rig->frames, pfn).vtable, 0);
	rig_destroy(rig);
}

TEST(F10_misaligned_vtable_bits_are_the_default)
{
	struct rig *rig = small();
	loam_pfn pfn = loam_frame_alloc(rig->frames, 0, NULL);

	last_refs = unmaps = 0;
	loam_frame_set_vtable(rig->frames, pfn,
			      (const struct loam_frame_vtable *)(uintptr_t)((uintptr_t)&test_hooks + 1));
	CHECK(loam_frame_put(rig->frames, pfn, 0));
	CHECK_EQ(last_refs + unmaps, 0);
	rig_destroy(rig);
}

TEST(F11_a_poisoned_block_is_quarantined_for_good)
{
	struct rig *rig = small();
	loam_pfn pfn = loam_frame_alloc(rig->frames, 2, NULL), other;
	struct loam_frames_stats stats;
	uint64_t out = 0;

	last_refs = unmaps = 0;
	loam_frame_set_vtable(rig->frames, pfn + 1, &test_hooks);
	loam_frame_mark_poisoned(rig->frames, pfn + 3);
	CHECK(loam_frame_block_is_poisoned(rig->frames, pfn, 2));
	CHECK(loam_frame_put(rig->frames, pfn, 2));
	CHECK_EQ(unmaps, 1); /* hooks run all the same */
	CHECK_EQ(loam_frame_quarantined_racy(rig->frames), 4);
	CHECK_OK(loam_frame_check(rig->frames));
	while ((other = loam_frame_alloc(rig->frames, 0, NULL)) != LOAM_PFN_NONE) {
		CHECK(other < pfn || other > pfn + 3);
		out++;
	}
	loam_frame_read_stats(rig->frames, &stats);
	CHECK_EQ(out, stats.managed - 4);
	CHECK_EQ(stats.quarantined, 4);
	CHECK_PANIC(loam_frame_free(rig->frames, pfn, 2),
		    TEXT_ABOUT(pfn, "loam: frame: free of 0x%llx, which is quarantined"));
	rig_destroy(rig);
}

TEST(F12_frame_values_and_ranges)
{
	struct loam_frame_range range = loam_frame_range_make(5, 8);
	loam_pfn pfn = 0, sum = 0;

	CHECK_EQ(loam_frame_containing(0x5fff), 5);
	CHECK_OK(loam_frame_from_address(0x5000, &pfn));
	CHECK_EQ(pfn, 5);
	CHECK_STATUS(loam_frame_from_address(0x5001, &pfn), LOAM_ERR_ALIGNMENT);
	CHECK_EQ(pfn, 5);
	while (loam_frame_range_next(&range, &pfn))
		sum = sum * 10 + pfn;
	CHECK_EQ(sum, 5678);
	range = loam_frame_range_make(8, 5);
	CHECK(!loam_frame_range_next(&range, &pfn));
	range = loam_frame_range_make(LOAM_PFN_NONE, LOAM_PFN_NONE); /* the end of all numbers does not wrap */
	CHECK(loam_frame_range_next(&range, &pfn));
	CHECK(!loam_frame_range_next(&range, &pfn));
}

TEST(F13_errors_are_typed_and_change_nothing)
{
	struct rig *rig = small();
	struct loam_frame_opts bad_zone = {.zone_limit = LOAM_ZONES_MAX + 1};
	struct loam_frame_where uneven = {.align = 12288};
	struct loam_frames_stats before, after;
	loam_pfn pfn = 42;

	loam_frame_read_stats(rig->frames, &before);
	CHECK_STATUS(loam_frame_alloc_status(rig->frames, LOAM_ORDER_MAX + 1, NULL, &pfn), LOAM_ERR_ORDER);
	CHECK_STATUS(loam_frame_alloc_status(rig->frames, LOAM_ORDER_MAX, NULL, &pfn), LOAM_ERR_NO_MEMORY);
	CHECK_STATUS(loam_frame_alloc_status(rig->frames, 0, &bad_zone, &pfn), LOAM_ERR_ZONE);
	CHECK_STATUS(loam_frame_alloc_range(rig->frames, 0, NULL, NULL, &pfn), LOAM_ERR_ZERO_SIZE);
	CHECK_STATUS(loam_frame_alloc_range(rig->frames, 4, &uneven, NULL, &pfn), LOAM_ERR_ALIGNMENT);
	CHECK_STATUS(loam_frame_alloc_range(rig->frames, UINT64_MAX, NULL, NULL, &pfn), LOAM_ERR_TOO_LARGE);
	CHECK_STATUS(loam_frame_alloc_range(rig->frames, 4096, NULL, NULL, &pfn), LOAM_ERR_NO_MEMORY);
	CHECK_EQ(loam_frame_alloc(rig->frames, 40, NULL), LOAM_PFN_NONE);
	CHECK_EQ(loam_frame_last_failure(rig->frames).status, LOAM_ERR_ORDER);
	CHECK_EQ(loam_frame_last_failure(rig->frames).order, 40);
	loam_frame_read_stats(rig->frames, &after);
	CHECK_EQ(after.free, before.free);
	CHECK_EQ(after.failures[LOAM_ORDER_MAX], before.failures[LOAM_ORDER_MAX] + 1);
	CHECK_OK(loam_frame_check(rig->frames));
	rig_destroy(rig);
}

TEST(F13_misuse_of_free_is_named_and_changes_nothing)
{
	struct rig *rig = small();
	loam_pfn pfn = loam_frame_alloc(rig->frames, 2, NULL);
	loam_pfn foreign = (rig->ram >> LOAM_PAGE_SHIFT) + (UINT64_C(1) << 24);
	struct loam_frames_stats before, after;

	loam_frame_read_stats(rig->frames, &before);
	CHECK_PANIC(loam_frame_free(rig->frames, pfn, LOAM_ORDER_MAX + 1),
		    TEXT_ABOUT(pfn, "loam: frame: free of 0x%llx with order 19, above 18"));
	CHECK_PANIC(loam_frame_free(rig->frames, pfn + 1, 2),
		    TEXT_ABOUT(pfn + 1, "loam: frame: free of 0x%llx, which is not aligned to order 2"));
	CHECK_PANIC(loam_frame_free(rig->frames, foreign, 0),
		    TEXT_ABOUT(foreign, "loam: frame: free of 0x%llx, which is no memory of this machine"));
	CHECK_PANIC(loam_frame_free(rig->frames, pfn, 1),
		    TEXT_ABOUT(pfn, "loam: frame: free of 0x%llx with order 1, but it was allocated with order 2"));
	(void)loam_frame_ref_inc(rig->frames, pfn);
	CHECK_PANIC(loam_frame_free(rig->frames, pfn, 2),
		    TEXT_ABOUT(pfn, "loam: frame: free of 0x%llx with 2 references"));
	(void)loam_frame_ref_dec(rig->frames, pfn);
	loam_frame_read_stats(rig->frames, &after);
	CHECK_EQ(after.free, before.free);
	CHECK_OK(loam_frame_check(rig->frames));
	loam_frame_free(rig->frames, pfn, 2);
	CHECK_PANIC(loam_frame_free(rig->frames, pfn, 2),
		    TEXT_ABOUT(pfn, "loam: frame: double free of 0x%llx (order 2)"));
	loam_frame_drain(rig->frames);
	CHECK_PANIC(loam_frame_free(rig->frames, pfn, 2),
		    TEXT_ABOUT(pfn, "loam: frame: double free of 0x%llx (order 2)"));
	CHECK_OK(loam_frame_check(rig->frames));
	rig_destroy(rig);
}

TEST(F14_owner_cpu_and_debug_snapshot)
{
	struct rig *rig = small();
	static const struct loam_frame_vtable hooks;
	loam_pfn pfn = loam_frame_alloc(rig->frames, 0, NULL);
	struct loam_frame_debug debug;

	CHECK_EQ(loam_frame_slot(rig->frames, pfn)->aux & 0xffff, loam_port_cpu());
	loam_frame_set_guard(rig->frames, pfn, LOAM_GUARD_KERNEL_ONLY);
	loam_frame_set_vtable(rig->frames, pfn, &hooks);
	debug = loam_frame_read_debug(rig->frames, pfn);
	CHECK_EQ(debug.generation, loam_frame_generation(rig->frames, pfn));
	CHECK_EQ(debug.guard, LOAM_GUARD_KERNEL_ONLY);
	CHECK_EQ(debug.vtable, (uintptr_t)&hooks);
	rig_destroy(rig);
}
