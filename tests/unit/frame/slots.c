/* Slots, claims, references, guards, hooks and quarantine: SPEC F1 to F14 but for what basic.c shows. */
#include "rig.h"
#include "tap.h"

#include <loam/frame.h>

#include <base/print.h>

static const struct loam_frame_opts raw = {.uninitialized = true};

/* "loam: frame: " + text with the frame's address in it, in a buffer that lives until the next call. */
static const char *said(const char *format, loam_pfn pfn)
{
	static char text[256];
	char rest[200];

	loami_format(rest, sizeof(rest), format, (unsigned long long)loam_frame_address(pfn));
	loami_format(text, sizeof(text), "loam: frame: %s", rest);
	return text;
}

static bool is_filled(struct rig *rig, loam_pfn pfn, uint64_t value)
{
	const uint64_t *words = loam_frame_virt(rig->frames, pfn);

	for (size_t i = 0; i < LOAM_PAGE_SIZE / 8; i++)
		if (words[i] != value)
			return false;
	return true;
}
static void fill(struct rig *rig, loam_pfn pfn, uint64_t value)
{
	uint64_t *words = loam_frame_virt(rig->frames, pfn);

	for (size_t i = 0; i < LOAM_PAGE_SIZE / 8; i++)
		words[i] = value;
}

TEST(F1_slot_layout_is_the_contract)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024});
	loam_pfn pfn = loam_frame_alloc(rig->frames, 0, NULL);
	const char *slot = (const char *)loam_frame_slot(rig->frames, pfn);

	CHECK_EQ(sizeof(struct loam_slot), 64);
	CHECK_EQ((uintptr_t)slot % 64, 0);
	CHECK_EQ(LOAM_FRAME_REFCOUNT_OFFSET, 32);
	CHECK_EQ(*(const uint32_t *)(const void *)(slot + LOAM_FRAME_REFCOUNT_OFFSET), 1);
	CHECK_EQ((const char *)loam_frame_slot(rig->frames, pfn + 1) - slot, 64);
	CHECK_EQ(LOAM_FRAME_LINK_NONE, UINT64_MAX);
	rig_destroy(rig);
}

TEST(F1_nothing_is_written_into_a_frame_to_manage_it)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024});
	static loam_pfn held[1024];
	size_t n = loam_frame_alloc_batch(rig->frames, 1024, &raw, held), again;

	for (size_t i = 0; i < n; i++)
		fill(rig, held[i], 0x5a5a0000 + held[i]);
	loam_frame_free_batch(rig->frames, held, n);
	loam_frame_drain(rig->frames);
	again = loam_frame_alloc_batch(rig->frames, 1024, &raw, held);
	CHECK_EQ(again, n);
	for (size_t i = 0; i < n; i++)
		CHECK(is_filled(rig, held[i], 0x5a5a0000 + held[i]));
	rig_destroy(rig);
}

TEST(F2_slot_array_size)
{
	CHECK_EQ(loam_frame_slots_size(0), 0);
	CHECK_EQ(loam_frame_slots_size(1), 64);
	CHECK_EQ(loam_frame_slots_size(4096), 64);
	CHECK_EQ(loam_frame_slots_size(4097), 128);
	CHECK_EQ(loam_frame_slots_size(UINT64_C(1) << 40), UINT64_C(1) << 34);
}

TEST(F2_no_memory_for_the_slots_is_a_panic_that_says_how_much)
{
	static struct loam_frames frames;
	struct loam_region raw_map = {.base = 1 << 20, .nbytes = 64 * LOAM_PAGE_SIZE, .type = LOAM_REGION_KERNEL},
			   regions[4];
	struct loam_frames_config config = {.ncpus = 1};
	struct loam_memmap map;
	char expected[200];

	frames = (struct loam_frames){0};
	CHECK_OK(loam_memmap_init(&map, &raw_map, 1, regions, 4, 0, NULL, NULL));
	config.map = &map;
	loami_format(expected, sizeof(expected),
		     "loam: frame: boot allocator could not reserve %llu bytes (align 4096) for 64 frames",
		     (unsigned long long)loam_frames_metadata_size(&config));
	CHECK_PANIC((void)!loam_frames_boot(&frames, &config, &map), expected);
	CHECK_EQ(map.count, 1);
	CHECK_EQ(frames.ready, 0);
}

TEST(F2_a_machine_without_ram_is_empty_and_safe)
{
	static struct loam_frames frames;
	static uint8_t metadata[65536] __attribute__((aligned(128)));
	struct loam_memmap map = {0};
	struct loam_frames_config config = {.map = &map, .ncpus = 1};
	struct loam_frames_stats stats;
	loam_pfn pfn;

	frames = (struct loam_frames){0};
	CHECK(loam_frames_metadata_size(&config) <= sizeof(metadata));
	CHECK_OK(loam_frames_init(&frames, &config, metadata, sizeof(metadata)));
	CHECK_EQ(loam_frame_alloc(&frames, 0, NULL), LOAM_PFN_NONE);
	CHECK_EQ(loam_frame_alloc(&frames, 18, &raw), LOAM_PFN_NONE);
	CHECK_STATUS(loam_frame_alloc_range(&frames, 3, NULL, NULL, &pfn), LOAM_ERR_NO_MEMORY);
	CHECK(!loam_frame_has_slot(&frames, 0));
	CHECK(!loam_frame_has_slot(&frames, LOAM_PFN_NONE));
	CHECK_OK(loam_frame_check(&frames));
	loam_frame_read_stats(&frames, &stats);
	CHECK_EQ(stats.ram, 0);
	CHECK_PANIC(loam_frame_free(&frames, 5, 0), "loam: frame: free of 0x5000, which is no memory of this machine");
}

TEST(F3_purposes_zeroing_and_flags)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024});
	static const struct {
		struct loam_frame_opts opts;
		uint32_t flags;
		bool zeroed;
	} cases[] = {
		{{.uninitialized = false}, LOAM_FRAME_KERNEL | LOAM_FRAME_ALLOCATED, true},
		{{.uninitialized = true}, LOAM_FRAME_KERNEL | LOAM_FRAME_ALLOCATED, false},
		{{.purpose = LOAM_PURPOSE_PAGE_TABLE, .uninitialized = true},
		 LOAM_FRAME_KERNEL | LOAM_FRAME_ALLOCATED,
		 true},
		{{.purpose = LOAM_PURPOSE_USER}, LOAM_FRAME_USER | LOAM_FRAME_ALLOCATED | LOAM_FRAME_MOVABLE, true},
		{{.purpose = LOAM_PURPOSE_USER, .uninitialized = true},
		 LOAM_FRAME_USER | LOAM_FRAME_ALLOCATED | LOAM_FRAME_MOVABLE,
		 false},
		{{.purpose = LOAM_PURPOSE_CUSTOM, .custom_flags = LOAM_FRAME_COW | LOAM_FRAME_ANONYMOUS},
		 LOAM_FRAME_COW | LOAM_FRAME_ANONYMOUS | LOAM_FRAME_ALLOCATED,
		 true},
	};
	static loam_pfn held[1024];
	size_t n = loam_frame_alloc_batch(rig->frames, 1024, &raw, held);

	for (size_t i = 0; i < n; i++)
		fill(rig, held[i], ~UINT64_C(0));
	loam_frame_free_batch(rig->frames, held, n);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (unsigned int order = 0; order <= 5; order++) {
			loam_pfn pfn = loam_frame_alloc(rig->frames, order, &cases[i].opts);

			CHECK_EQ(loam_frame_flags(rig->frames, pfn), cases[i].flags);
			for (loam_pfn p = pfn; p < pfn + (1u << order) && cases[i].zeroed; p++)
				CHECK(is_filled(rig, p, 0));
			fill(rig, pfn, ~UINT64_C(0));
			loam_frame_free(rig->frames, pfn, order);
			CHECK_EQ(loam_frame_flags(rig->frames, pfn), LOAM_FRAME_FREE);
		}
	}
	rig_destroy(rig);
}

TEST(F3_frames_zeroed_in_idle_time_are_zero_and_used_first)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 2048});
	struct loam_frames_stats stats;
	loam_pfn pfn;
	size_t n = loam_frame_zero_idle(rig->frames, 10);

	CHECK_EQ(n, 10);
	CHECK_OK(loam_frame_check(rig->frames));
	loam_frame_read_stats(rig->frames, &stats);
	CHECK_EQ(stats.free, stats.managed);
	CHECK_EQ(stats.parked, 10);
	for (size_t i = 0; i < 10; i++) {
		pfn = loam_frame_alloc(rig->frames, 0, NULL);
		CHECK(is_filled(rig, pfn, 0));
	}
	loam_frame_read_stats(rig->frames, &stats);
	CHECK_EQ(stats.parked, 0);
	while (loam_frame_zero_idle(rig->frames, 1000) != 0)
		;
	loam_frame_drain(rig->frames);
	CHECK_OK(loam_frame_check(rig->frames));
	rig_destroy(rig);
}

TEST(F4_claim_detects_double_allocation_out_of_a_magazine)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024});
	loam_pfn pfn = loam_frame_alloc(rig->frames, 0, &raw);

	loam_frame_free(rig->frames, pfn, 0);
	/* Somebody counts a reference to the freed frame. */
	loam_frame_slot(rig->frames, pfn)->refcount = 7;
	CHECK_PANIC(
		(void)loam_frame_alloc(rig->frames, 0, &raw),
		said("0x%llx comes from the free memory with refcount 0x7: double free or free-list corruption", pfn));
	loam_frame_slot(rig->frames, pfn)->refcount = LOAM_FRAME_UNUSED;
	CHECK(loam_frame_alloc(rig->frames, 0, &raw) != LOAM_PFN_NONE);
	rig_destroy(rig);
}

TEST(F4_claim_detects_double_allocation_out_of_the_blocks)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024});
	loam_pfn pfn = loam_frame_alloc(rig->frames, 2, &raw);

	loam_frame_free(rig->frames, pfn, 2);
	loam_frame_slot(rig->frames, pfn)->refcount = 1;
	CHECK_PANIC(
		(void)loam_frame_alloc(rig->frames, 2, &raw),
		said("0x%llx comes from the free memory with refcount 0x1: double free or free-list corruption", pfn));
	rig_destroy(rig);
}

TEST(F4_an_allocation_starts_a_new_epoch)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024});
	static const struct loam_frame_vtable hooks;

	for (unsigned int order = 0; order < 4; order++) {
		loam_pfn pfn = loam_frame_alloc(rig->frames, order, &raw);
		uint32_t generation = loam_frame_generation(rig->frames, pfn);
		struct loam_frame_debug debug;

		loam_frame_set_vtable(rig->frames, pfn, &hooks);
		loam_frame_set_guard(rig->frames, pfn, LOAM_GUARD_KERNEL_ONLY);
		loam_frame_free(rig->frames, pfn, order);
		CHECK(loam_frame_generation_matches(rig->frames, pfn, generation));
		CHECK_EQ(loam_frame_alloc(rig->frames, order, &raw), pfn);
		debug = loam_frame_read_debug(rig->frames, pfn);
		CHECK_EQ(debug.generation, generation + 1);
		CHECK_EQ(debug.guard, LOAM_GUARD_NONE);
		CHECK_EQ(debug.vtable, 0);
		CHECK(!loam_frame_generation_matches(rig->frames, pfn, generation));
	}
	rig_destroy(rig);
}

TEST(F4_a_frame_that_is_renewed_starts_a_new_epoch)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024});
	uint32_t generation[3];
	loam_pfn pfns[3];

	CHECK_EQ(loam_frame_alloc_batch(rig->frames, 3, &raw, pfns), 3);
	for (size_t i = 0; i < 3; i++)
		generation[i] = loam_frame_generation(rig->frames, pfns[i]);
	fill(rig, pfns[1], 0x1234);
	CHECK_EQ(loam_frame_renew_batch(rig->frames, pfns, 3), 3);
	for (size_t i = 0; i < 3; i++) {
		CHECK_EQ(loam_frame_generation(rig->frames, pfns[i]), generation[i] + 1);
		CHECK_EQ(loam_frame_ref_get(rig->frames, pfns[i]), 1);
	}
	CHECK(is_filled(rig, pfns[1], 0x1234));
	loam_frame_free_batch(rig->frames, pfns, 3);
	CHECK_OK(loam_frame_check(rig->frames));
	rig_destroy(rig);
}

/* Each odd one stops it, as it was; what came before has been renewed. */
TEST(F4_only_plain_kernel_frames_are_renewed)
{
	static const struct loam_frame_opts user = {.uninitialized = true, .purpose = LOAM_PURPOSE_USER};
	static const struct loam_frame_vtable hooks;
	enum { REFERENCED, HOOKED, GUARDED, POISONED, USER, FREE, OUTSIDE, RESERVED, KINDS };

	for (unsigned int kind = 0; kind < KINDS; kind++) {
		struct rig *rig = rig_create(&(struct rig_config){.npages = 1024});
		loam_pfn pfns[2] = {loam_frame_alloc(rig->frames, 0, &raw),
				    loam_frame_alloc(rig->frames, 0, kind == USER ? &user : &raw)};
		loam_pfn odd = pfns[1];
		uint32_t first = loam_frame_generation(rig->frames, pfns[0]);
		uint32_t generation = loam_frame_generation(rig->frames, odd);

		if (kind == REFERENCED)
			(void)loam_frame_ref_inc(rig->frames, odd);
		else if (kind == HOOKED)
			loam_frame_set_vtable(rig->frames, odd, &hooks);
		else if (kind == GUARDED)
			loam_frame_set_guard(rig->frames, odd, LOAM_GUARD_KERNEL_ONLY);
		else if (kind == POISONED)
			loam_frame_mark_poisoned(rig->frames, odd);
		else if (kind == FREE)
			loam_frame_free(rig->frames, odd, 0);
		else if (kind == OUTSIDE)
			pfns[1] = odd + (UINT64_C(1) << 40);
		else if (kind == RESERVED)
			pfns[1] = loam_frame_containing((uintptr_t)rig->frames->cpus - rig->frames->direct_map);
		CHECK_EQ(loam_frame_renew_batch(rig->frames, pfns, 2), 1);
		CHECK_EQ(loam_frame_generation(rig->frames, pfns[0]), first + 1);
		CHECK_EQ(loam_frame_generation(rig->frames, odd), generation);
		if (kind == REFERENCED)
			(void)loam_frame_ref_dec(rig->frames, odd);
		loam_frame_free(rig->frames, pfns[0], 0);
		if (kind != FREE)
			loam_frame_free(rig->frames, odd, 0);
		CHECK_OK(loam_frame_check(rig->frames));
		rig_destroy(rig);
	}
}

TEST(F5_a_free_frame_is_unused_wherever_it_is)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024});
	loam_pfn pfn = loam_frame_alloc(rig->frames, 0, NULL), last = pfn;

	CHECK_EQ(loam_frame_ref_get(rig->frames, pfn), 1);
	loam_frame_free(rig->frames, pfn, 0);
	CHECK_EQ(loam_frame_ref_get(rig->frames, pfn), LOAM_FRAME_UNUSED);
	loam_frame_drain(rig->frames);
	CHECK_EQ(loam_frame_ref_get(rig->frames, pfn), LOAM_FRAME_UNUSED);
	while ((pfn = loam_frame_alloc(rig->frames, 0, &raw)) != LOAM_PFN_NONE) {
		CHECK_EQ(loam_frame_ref_get(rig->frames, pfn), 1);
		last = pfn;
	}
	/* loam_frame_check() sees one that is not. */
	loam_frame_free(rig->frames, last, 0);
	loam_frame_drain(rig->frames);
	CHECK_OK(loam_frame_check(rig->frames));
	loam_frame_slot(rig->frames, last)->refcount = 2;
	tap_log_capture();
	CHECK_STATUS(loam_frame_check(rig->frames), LOAM_ERR_INVALID);
	{
		char line[128];

		loami_format(line, sizeof(line), "loam: frame: check: 0x%llx is free with refcount 0x2\n",
			     (unsigned long long)loam_frame_address(last));
		CHECK_STR(tap_log_end(), line);
	}
	rig_destroy(rig);
}

TEST(F6_flags_and_predicates)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024});
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
	loam_frame_set_flags(rig->frames, pfn, LOAM_FRAME_ALLOCATED | LOAM_FRAME_COW);
	CHECK(loam_frame_is_cow(rig->frames, pfn) && !loam_frame_is_dll(rig->frames, pfn));
	loam_frame_set_flags(rig->frames, pfn, LOAM_FRAME_ALLOCATED | LOAM_FRAME_DLL);
	CHECK(!loam_frame_is_cow(rig->frames, pfn) && loam_frame_is_dll(rig->frames, pfn));
	loam_frame_free(rig->frames, pfn, 0);
	rig_destroy(rig);
}

TEST(F7_guard_bits_and_poison)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024});
	static struct loam_frames none;
	loam_pfn pfn = loam_frame_alloc(rig->frames, 0, NULL);

	CHECK_EQ(LOAM_GUARD_KERNEL_ONLY, 1u << 0);
	CHECK_EQ(LOAM_GUARD_POISONED, 1u << 31);
	loam_frame_set_guard(rig->frames, pfn, LOAM_GUARD_KERNEL_ONLY);
	CHECK_EQ(loam_frame_guard(rig->frames, pfn), LOAM_GUARD_KERNEL_ONLY);
	CHECK((loam_frame_flags(rig->frames, pfn) & LOAM_FRAME_POISONED) == 0);
	loam_frame_mark_poisoned(rig->frames, pfn);
	CHECK(loam_frame_is_poisoned(rig->frames, pfn));
	CHECK_EQ(loam_frame_guard(rig->frames, pfn), LOAM_GUARD_KERNEL_ONLY | LOAM_GUARD_POISONED);
	CHECK((loam_frame_flags(rig->frames, pfn) & LOAM_FRAME_POISONED) != 0);
	loam_frame_free(rig->frames, pfn, 0);
	CHECK_EQ(loam_frame_guard(rig->frames, pfn), LOAM_GUARD_POISONED);
	CHECK(!loam_frame_is_poisoned(&none, pfn));
	CHECK(!loam_frame_block_is_poisoned(&none, pfn, 3));
	rig_destroy(rig);
}

TEST(F8_references)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024});
	loam_pfn pfn = loam_frame_alloc(rig->frames, 0, NULL);
	uint32_t expected = 2;

	CHECK_EQ(loam_frame_ref_inc(rig->frames, pfn), 1);
	CHECK_EQ(loam_frame_ref_get(rig->frames, pfn), 2);
	CHECK(loam_frame_ref_cas(rig->frames, pfn, &expected, 5));
	CHECK(!loam_frame_ref_cas(rig->frames, pfn, &expected, 9));
	CHECK_EQ(expected, 5);
	CHECK_EQ(loam_frame_ref_dec(rig->frames, pfn), 5);
	CHECK(!loam_frame_put(rig->frames, pfn, 0));
	CHECK(!loam_frame_put(rig->frames, pfn, 0));
	CHECK(!loam_frame_put(rig->frames, pfn, 0));
	CHECK(loam_frame_put(rig->frames, pfn, 0));
	CHECK_EQ(loam_frame_ref_get(rig->frames, pfn), LOAM_FRAME_UNUSED);
	/* The order is looked at with every reference, not only with the last one. */
	pfn = loam_frame_alloc(rig->frames, 2, NULL);
	(void)loam_frame_ref_inc(rig->frames, pfn);
	CHECK_PANIC((void)loam_frame_put(rig->frames, pfn, 1),
		    said("reference to 0x%llx dropped with order 1, but it was allocated with order 2", pfn));
	CHECK_EQ(loam_frame_ref_get(rig->frames, pfn), 2);
	CHECK(!loam_frame_put(rig->frames, pfn, 2));
	CHECK_PANIC((void)loam_frame_put(rig->frames, pfn, 1),
		    said("free of 0x%llx with order 1, but it was allocated with order 2", pfn));
	CHECK(loam_frame_put(rig->frames, pfn, 2));
	/* The last reference may also go by dec and free. */
	pfn = loam_frame_alloc(rig->frames, 0, NULL);
	CHECK_EQ(loam_frame_ref_dec(rig->frames, pfn), 1);
	CHECK_PANIC((void)loam_frame_ref_dec(rig->frames, pfn),
		    said("reference to 0x%llx dropped, which has none (refcount 0x0)", pfn));
	loam_frame_free(rig->frames, pfn, 0);
	CHECK_PANIC((void)loam_frame_ref_inc(rig->frames, pfn), said("reference to 0x%llx, which is free", pfn));
	CHECK_PANIC((void)loam_frame_put(rig->frames, pfn, 0),
		    said("reference to 0x%llx dropped, which has none (refcount 0xffffffff)", pfn));
	CHECK_EQ(loam_frame_ref_get(rig->frames, pfn), LOAM_FRAME_UNUSED);
	CHECK_OK(loam_frame_check(rig->frames));
	rig_destroy(rig);
}

TEST(F8_references_saturate_and_say_so_once)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024});
	loam_pfn pfn = loam_frame_alloc(rig->frames, 0, NULL), other = loam_frame_alloc(rig->frames, 0, NULL);
	uint32_t expected = 1;

	CHECK(loam_frame_ref_cas(rig->frames, pfn, &expected, LOAM_FRAME_REF_MAX - 1));
	expected = 1;
	CHECK(loam_frame_ref_cas(rig->frames, other, &expected, LOAM_FRAME_REF_MAX - 1));
	tap_log_capture();
	CHECK_EQ(loam_frame_ref_inc(rig->frames, pfn), LOAM_FRAME_REF_MAX - 1);
	CHECK_EQ(loam_frame_ref_inc(rig->frames, pfn), LOAM_FRAME_REF_MAX);
	CHECK_EQ(loam_frame_ref_inc(rig->frames, other), LOAM_FRAME_REF_MAX - 1);
	{
		char line[128];

		loami_format(line, sizeof(line),
			     "loam: frame: references to 0x%llx are saturated; it will never be freed\n",
			     (unsigned long long)loam_frame_address(pfn));
		CHECK_STR(tap_log_end(), line);
	}
	CHECK_EQ(loam_frame_ref_dec(rig->frames, pfn), LOAM_FRAME_REF_MAX);
	CHECK(!loam_frame_put(rig->frames, pfn, 0));
	CHECK_EQ(loam_frame_ref_get(rig->frames, pfn), LOAM_FRAME_REF_MAX);
	CHECK_PANIC(loam_frame_free(rig->frames, pfn, 0), said("free of 0x%llx with 4294967293 references", pfn));
	rig_destroy(rig);
}

TEST(F9_slots_before_init_and_past_the_end)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024});
	static struct loam_frames none;
	loam_pfn end = (rig->ram >> LOAM_PAGE_SHIFT) + rig->npages;

	CHECK_PANIC((void)loam_frame_slot(&none, 3), "loam: frame: slot of frame 0x3 asked for before init");
	CHECK(!loam_frame_has_slot(&none, 3));
	CHECK(loam_frame_has_slot(rig->frames, end - 1));
	CHECK(!loam_frame_has_slot(rig->frames, end));
	CHECK(!loam_frame_has_slot(rig->frames, LOAM_PFN_NONE));
	{
		char text[128];

		loami_format(text, sizeof(text),
			     "loam: frame: slot of frame 0x%llx asked for, which is outside of memory",
			     (unsigned long long)end);
		CHECK_PANIC((void)loam_frame_slot(rig->frames, end), text);
	}
	rig_destroy(rig);
}

/* What the hooks were called with, in order. */
static loam_paddr hooked[64];
static unsigned int nhooked, nlast;
static void on_last_ref(loam_paddr head)
{
	nlast++;
	hooked[nhooked++ % 64] = head + 1;
}
static void on_unmap(loam_paddr page)
{
	hooked[nhooked++ % 64] = page;
}

TEST(F10_hooks_run_once_for_the_head_and_once_per_page)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024});
	static const struct loam_frame_vtable hooks = {.on_last_ref = on_last_ref, .on_unmap = on_unmap};
	loam_pfn pfn = loam_frame_alloc(rig->frames, 2, NULL);

	CHECK_EQ(sizeof(struct loam_frame_vtable), 64);
	loam_frame_set_vtable(rig->frames, pfn, &hooks);
	nhooked = nlast = 0;
	loam_frame_ref_inc(rig->frames, pfn);
	CHECK(!loam_frame_put(rig->frames, pfn, 2));
	CHECK_EQ(nhooked, 0);
	CHECK(loam_frame_put(rig->frames, pfn, 2));
	CHECK_EQ(nlast, 1);
	CHECK_EQ(nhooked, 5);
	CHECK_EQ(hooked[0], loam_frame_address(pfn) + 1);
	for (unsigned int i = 0; i < 4; i++)
		CHECK_EQ(hooked[1 + i], loam_frame_address(pfn + i));
	/* Gone with the epoch; and misaligned bits are none. */
	pfn = loam_frame_alloc(rig->frames, 2, NULL);
	loam_frame_free(rig->frames, pfn, 2);
	CHECK_EQ(nhooked, 5);
	pfn = loam_frame_alloc(rig->frames, 0, NULL);
	loam_frame_set_vtable(rig->frames, pfn,
			      (const struct loam_frame_vtable *)(const void *)((const char *)&hooks + 1));
	loam_frame_free(rig->frames, pfn, 0);
	CHECK_EQ(nhooked, 5);
	/* loam_frame_free() of an owned frame runs them too. */
	pfn = loam_frame_alloc(rig->frames, 0, NULL);
	loam_frame_set_vtable(rig->frames, pfn, &hooks);
	loam_frame_free(rig->frames, pfn, 0);
	CHECK_EQ(nhooked, 7);
	CHECK_OK(loam_frame_check(rig->frames));
	rig_destroy(rig);
}

TEST(F11_a_block_with_a_poisoned_page_is_quarantined)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024});
	static const struct loam_frame_vtable hooks = {.on_unmap = on_unmap};
	loam_pfn pfn = loam_frame_alloc(rig->frames, 3, NULL), other;
	struct loam_frames_stats stats;

	loam_frame_set_vtable(rig->frames, pfn, &hooks);
	nhooked = 0;
	loam_frame_mark_poisoned(rig->frames, pfn + 5);
	CHECK(loam_frame_block_is_poisoned(rig->frames, pfn, 3));
	CHECK(!loam_frame_block_is_poisoned(rig->frames, pfn, 2));
	loam_frame_free(rig->frames, pfn, 3);
	CHECK_EQ(nhooked, 8);
	CHECK_EQ(loam_frame_quarantined_racy(rig->frames), 8);
	CHECK_PANIC(loam_frame_free(rig->frames, pfn, 3), said("free of 0x%llx, which is quarantined", pfn));
	loam_frame_read_stats(rig->frames, &stats);
	CHECK_EQ(stats.quarantined, 8);
	CHECK_EQ(stats.free + stats.used + stats.quarantined, stats.managed);
	while ((other = loam_frame_alloc(rig->frames, 0, &raw)) != LOAM_PFN_NONE)
		CHECK(other < pfn || other >= pfn + 8);
	CHECK_OK(loam_frame_check(rig->frames));
	rig_destroy(rig);
}

TEST(F11_a_frame_poisoned_while_free_is_never_handed_out)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024});
	loam_pfn pfn = loam_frame_alloc(rig->frames, 0, &raw), bad = pfn, got;
	struct loam_frames_stats stats;
	uint64_t n = 0;

	loam_frame_free(rig->frames, pfn, 0);
	loam_frame_mark_poisoned(rig->frames, bad);      /* parked on this CPU */
	loam_frame_mark_poisoned(rig->frames, bad + 77); /* in the blocks */
	for (unsigned int order = 6; order-- > 0;) {
		while ((got = loam_frame_alloc(rig->frames, order, &raw)) != LOAM_PFN_NONE) {
			CHECK(bad < got || bad >= got + (1u << order));
			CHECK(bad + 77 < got || bad + 77 >= got + (1u << order));
			n += UINT64_C(1) << order;
		}
	}
	loam_frame_read_stats(rig->frames, &stats);
	CHECK_EQ(stats.quarantined, 2);
	CHECK_EQ(stats.free, 0);
	CHECK_EQ(n + 2, stats.managed);
	CHECK_OK(loam_frame_check(rig->frames));
	rig_destroy(rig);
}

TEST(F12_frame_values_and_ranges)
{
	struct loam_frame_range range = loam_frame_range_make(3, 5);
	loam_pfn pfn = 0, last = UINT64_MAX;

	CHECK_EQ(loam_frame_containing(0x1fff), 1);
	CHECK_EQ(loam_frame_address(2), 0x2000);
	CHECK_OK(loam_frame_from_address(0x3000, &pfn));
	CHECK_EQ(pfn, 3);
	CHECK_STATUS(loam_frame_from_address(0x3001, &pfn), LOAM_ERR_ALIGNMENT);
	for (uint64_t i = 3; i <= 5; i++) {
		CHECK(loam_frame_range_next(&range, &pfn));
		CHECK_EQ(pfn, i);
	}
	CHECK(!loam_frame_range_next(&range, &pfn));
	range = loam_frame_range_make(5, 3);
	CHECK(!loam_frame_range_next(&range, &pfn));
	range = loam_frame_range_make(last - 1, last);
	CHECK(loam_frame_range_next(&range, &pfn) && loam_frame_range_next(&range, &pfn) && pfn == last);
	CHECK(!loam_frame_range_next(&range, &pfn));
}

TEST(F13_bad_arguments_are_typed_errors)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024});
	static struct loam_frames none;
	struct loam_frames_stats before, after;
	loam_pfn pfn;

	loam_frame_read_stats(rig->frames, &before);
	CHECK_STATUS(loam_frame_alloc_status(rig->frames, LOAM_ORDER_MAX + 1, NULL, &pfn), LOAM_ERR_ORDER);
	CHECK_EQ(loam_frame_alloc(rig->frames, 200, NULL), LOAM_PFN_NONE);
	CHECK_EQ(loam_frame_last_failure(rig->frames).status, LOAM_ERR_ORDER);
	CHECK_EQ(loam_frame_last_failure(rig->frames).order, 200);
	CHECK_STATUS(loam_frame_alloc_status(rig->frames, 0, &(struct loam_frame_opts){.zone_limit = 2}, &pfn),
		     LOAM_ERR_ZONE);
	CHECK_STATUS(
		loam_frame_alloc_status(rig->frames, 0, &(struct loam_frame_opts){.node = LOAM_NODES_MAX + 1}, &pfn),
		LOAM_ERR_INVALID);
	CHECK_STATUS(loam_frame_alloc_status(rig->frames, 0,
					     &(struct loam_frame_opts){.purpose = (enum loam_frame_purpose)9}, &pfn),
		     LOAM_ERR_INVALID);
	CHECK_STATUS(loam_frame_alloc_status(
			     rig->frames, 0,
			     &(struct loam_frame_opts){.purpose = LOAM_PURPOSE_CUSTOM, .custom_flags = LOAM_FRAME_FREE},
			     &pfn),
		     LOAM_ERR_INVALID);
	CHECK_EQ(pfn, LOAM_PFN_NONE);
	CHECK_STATUS(loam_frame_alloc_status(&none, 0, NULL, &pfn), LOAM_ERR_NOT_READY);
	CHECK_EQ(loam_frame_alloc(&none, 0, NULL), LOAM_PFN_NONE);
	CHECK_STATUS(loam_frame_alloc_range(rig->frames, UINT64_C(1) << 41, NULL, NULL, &pfn), LOAM_ERR_TOO_LARGE);
	CHECK_STATUS(loam_frame_alloc_range(rig->frames, 4, &(struct loam_frame_where){.align = 3}, NULL, &pfn),
		     LOAM_ERR_ALIGNMENT);
	CHECK_STATUS(loam_frame_alloc_range(rig->frames, 4, &(struct loam_frame_where){.boundary = 8192}, NULL, &pfn),
		     LOAM_ERR_ALIGNMENT);
	CHECK_STATUS(loam_frame_alloc_range(rig->frames, 4, &(struct loam_frame_where){.start = 8192, .limit = 4096},
					    NULL, &pfn),
		     LOAM_ERR_OUT_OF_RANGE);
	CHECK_STATUS(loam_frame_cpu_offline(rig->frames, 1), LOAM_ERR_CPU);
	CHECK_STATUS(loam_frame_read_zone_stats(rig->frames, 1, &(struct loam_zone_stats){0}), LOAM_ERR_ZONE);
	loam_frame_read_stats(rig->frames, &after);
	CHECK_EQ(after.free, before.free);
	CHECK_OK(loam_frame_check(rig->frames));
	rig_destroy(rig);
}

/* The metadata's own frames are reserved; they lie on top. */
__attribute__((noinline)) static loam_pfn reserved_frame(struct rig *rig)
{
	loam_pfn pfn = (rig->ram >> LOAM_PAGE_SHIFT) + rig->npages - 1;

	while (loam_frame_ref_get(rig->frames, pfn) == LOAM_FRAME_UNUSED)
		pfn--;
	return pfn;
}

TEST(F13_misuse_is_named_and_changes_nothing)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024});
	loam_pfn pfn = loam_frame_alloc(rig->frames, 3, NULL), single = loam_frame_alloc(rig->frames, 0, NULL);
	const loam_pfn reserved = reserved_frame(rig);
	struct loam_frames_stats before, after;
	loam_pfn range;

	CHECK_OK(loam_frame_alloc_range(rig->frames, 5, NULL, NULL, &range));
	loam_frame_read_stats(rig->frames, &before);
	CHECK_PANIC(loam_frame_free(rig->frames, pfn, 19), said("free of 0x%llx with order 19, above 18", pfn));
	CHECK_PANIC(loam_frame_free(rig->frames, pfn + 1, 3),
		    said("free of 0x%llx, which is not aligned to order 3", pfn + 1));
	CHECK_PANIC(loam_frame_free(rig->frames, pfn, 2),
		    said("free of 0x%llx with order 2, but it was allocated with order 3", pfn));
	CHECK_PANIC(loam_frame_free(rig->frames, pfn, 0),
		    said("free of 0x%llx with order 0, but it was allocated with order 3", pfn));
	CHECK_PANIC(loam_frame_free(rig->frames, pfn + 1, 0), said("double free of 0x%llx (order 0)", pfn + 1));
	CHECK_PANIC(loam_frame_free(rig->frames, UINT64_C(1) << 45, 0),
		    said("free of 0x%llx, which is no memory of this machine", UINT64_C(1) << 45));
	loam_frame_ref_inc(rig->frames, single);
	CHECK_PANIC(loam_frame_free(rig->frames, single, 0), said("free of 0x%llx with 2 references", single));
	CHECK_EQ(loam_frame_ref_dec(rig->frames, single), 2);
	CHECK_PANIC(loam_frame_free(rig->frames, reserved, 0),
		    said("free of 0x%llx, which is reserved for good", reserved));
	CHECK_EQ(loam_frame_ref_get(rig->frames, reserved), 1);
	/* Of a range no frame goes when one is not owned. */
	loam_frame_free_range(rig->frames, range + 3, 1);
	CHECK_PANIC(loam_frame_free_range(rig->frames, range, 5), said("double free of 0x%llx (order 0)", range + 3));
	CHECK_EQ(loam_frame_ref_get(rig->frames, range), 1);
	loam_frame_free_range(rig->frames, range, 3);
	loam_frame_free_range(rig->frames, range + 4, 1);
	loam_frame_free(rig->frames, single, 0);
	CHECK_PANIC(loam_frame_free(rig->frames, single, 0), said("double free of 0x%llx (order 0)", single));
	loam_frame_free(rig->frames, pfn, 3);
	CHECK_PANIC(loam_frame_free(rig->frames, pfn, 3), said("double free of 0x%llx (order 3)", pfn));
	CHECK_OK(loam_frame_check(rig->frames));
	loam_frame_read_stats(rig->frames, &after);
	CHECK_EQ(after.free, after.managed);
	CHECK_EQ(before.used, 14);
	rig_destroy(rig);
}

TEST(F14_aux_holds_the_cpu_and_debug_shows_the_epoch)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = 1024});
	loam_pfn pfn = loam_frame_alloc(rig->frames, 0, NULL);
	struct loam_frame_debug debug = loam_frame_read_debug(rig->frames, pfn);

	CHECK_EQ(loam_frame_slot(rig->frames, pfn)->aux & 0xffff, loam_port_cpu());
	CHECK_EQ(debug.generation, loam_frame_generation(rig->frames, pfn));
	CHECK_EQ(debug.guard, 0);
	CHECK_EQ(debug.vtable, 0);
	rig_destroy(rig);
}
