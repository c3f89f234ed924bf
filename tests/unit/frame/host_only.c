/* What needs a machine of its own shape: holes, nodes, memory that is added, the metadata of large machines. */
#include "tap.h"

#include <string.h>

#include <loam/frame.h>

#include <frame/internal.h>
#include <host.h>

#include <stdio.h>

enum { SECTION = 16 << 20 };

static const struct loam_frame_opts raw = {.uninitialized = true};

/* A machine over these regions, which stay as they are; *map is what is left. */
static struct host_machine *boot(struct loam_frames *frames, const struct loam_region *regions, size_t n,
				 struct loam_frames_config *config, struct loam_memmap *map,
				 struct loam_region *storage)
{
	struct loam_region copy[16];
	struct host_machine *machine;

	for (size_t i = 0; i < n; i++)
		copy[i] = regions[i];
	machine = host_machine_create(&(struct host_config){.regions = regions, .nregions = n, .ncpus = config->ncpus});
	host_enter(machine, 0);
	config->direct_map = host_direct_map(machine);
	*frames = (struct loam_frames){0};
	CHECK_OK(loam_memmap_init(map, copy, n, storage, 64, 0, NULL, NULL));
	CHECK_OK(loam_frames_boot(frames, config, map));
	return machine;
}

TEST(F15_no_block_crosses_a_hole)
{
	static struct loam_frames frames;
	static const struct loam_region regions[] = {
		{.base = 0x1000, .nbytes = 0x9f000 - 0x1000, .type = LOAM_REGION_USABLE},
		{.base = 0x100000, .nbytes = 0x700000 - 0x3000, .type = LOAM_REGION_USABLE},
		{.base = 0x1000000, .nbytes = 0x1000, .type = LOAM_REGION_USABLE},
		{.base = 0x10000000, .nbytes = 0x2000000, .type = LOAM_REGION_USABLE},
	};
	struct loam_frames_config config = {.ncpus = 2};
	struct loam_region storage[64];
	struct loam_memmap map;
	struct host_machine *machine = boot(&frames, regions, 4, &config, &map, storage);
	struct loam_frames_stats stats;
	uint64_t n = 0, all;

	loam_frame_read_stats(&frames, &stats);
	all = stats.free;
	for (unsigned int order = 14; order-- > 0;) {
		loam_pfn pfn;

		while ((pfn = loam_frame_alloc(&frames, order, &raw)) != LOAM_PFN_NONE) {
			const struct loam_region *region = loam_memmap_find(&map, loam_frame_address(pfn));

			CHECK(region && region->type == LOAM_REGION_USABLE);
			CHECK(loam_frame_address(pfn + (UINT64_C(1) << order)) <= region->base + region->nbytes);
			n += UINT64_C(1) << order;
		}
	}
	CHECK_EQ(n, all);
	CHECK(!loam_frame_has_slot(&frames, 0x9f));
	CHECK(loam_frame_has_slot(&frames, 0x1000));
	CHECK(!loam_frame_has_slot(&frames, 0x1001));
	CHECK_OK(loam_frame_check(&frames));
	host_machine_destroy(machine);
}

TEST(F15_a_node_is_served_from_its_own_memory_first)
{
	static struct loam_frames frames;
	static const struct loam_region regions[] = {
		{.base = 16 << 20, .nbytes = 16 << 20, .type = LOAM_REGION_USABLE, .node = 0},
		{.base = 32 << 20, .nbytes = 16 << 20, .type = LOAM_REGION_USABLE, .node = 1},
	};
	static const uint8_t nodes[] = {0, 1};
	struct loam_frames_config config = {.ncpus = 2, .cpu_nodes = nodes};
	struct loam_region storage[64];
	struct loam_memmap map;
	struct host_machine *machine = boot(&frames, regions, 2, &config, &map, storage);
	struct loam_frames_stats stats;
	uint64_t n = 0;

	CHECK(loam_frame_alloc(&frames, 0, NULL) < (32 << 20) >> LOAM_PAGE_SHIFT);
	CHECK(loam_frame_alloc(&frames, 0, &(struct loam_frame_opts){.node = 2}) >= (32 << 20) >> LOAM_PAGE_SHIFT);
	host_leave();
	host_enter(machine, 1);
	CHECK(loam_frame_alloc(&frames, 0, NULL) >= (32 << 20) >> LOAM_PAGE_SHIFT);
	CHECK(loam_frame_alloc(&frames, 5, &(struct loam_frame_opts){.node = 1}) < (32 << 20) >> LOAM_PAGE_SHIFT);
	/* When it is gone, from the other. */
	loam_frame_read_stats(&frames, &stats);
	while (loam_frame_alloc(&frames, 0, &(struct loam_frame_opts){.node = 2, .uninitialized = true}) !=
	       LOAM_PFN_NONE)
		n++;
	CHECK_EQ(n, stats.free);
	CHECK_OK(loam_frame_check(&frames));
	host_machine_destroy(machine);
}

TEST(F15_memory_is_added_while_the_machine_runs)
{
	static struct loam_frames frames;
	static const struct loam_region regions[] = {
		{.base = 16 << 20, .nbytes = 16 << 20, .type = LOAM_REGION_USABLE},
		{.base = 64 << 20, .nbytes = 64 << 20, .type = LOAM_REGION_RESERVED}, /* there, but not yet told of */
	};
	struct loam_frames_config config = {.ncpus = 1, .hotplug_limit = 128 << 20};
	struct loam_region storage[64];
	struct loam_memmap map;
	struct host_machine *machine = boot(&frames, regions, 2, &config, &map, storage);
	struct loam_frames_stats before, after;
	loam_paddr base = 80 << 20;
	uint64_t nbytes = 32 << 20, size = loam_frame_add_memory_size(&frames, base, nbytes);
	void *metadata = host_ram(machine, 64 << 20);
	loam_pfn pfn;

	CHECK(size > 0 && size < 16 << 20);
	CHECK_EQ(loam_frame_add_memory_size(&frames, base + 4096, nbytes), 0);
	CHECK_EQ(loam_frame_add_memory_size(&frames, 128 << 20, nbytes), 0);
	loam_frame_read_stats(&frames, &before);
	CHECK(!loam_frame_has_slot(&frames, base >> LOAM_PAGE_SHIFT));
	CHECK_STATUS(loam_frame_add_memory(&frames, base, nbytes, 0, metadata, size - 4096), LOAM_ERR_NO_METADATA);
	CHECK_STATUS(loam_frame_add_memory(&frames, 16 << 20, 16 << 20, 0, metadata, size), LOAM_ERR_IN_USE);
	CHECK_STATUS(loam_frame_add_memory(&frames, base, 4096, 0, metadata, size), LOAM_ERR_ALIGNMENT);
	CHECK_STATUS(loam_frame_add_memory(&frames, base, nbytes, LOAM_NODES_MAX, metadata, size), LOAM_ERR_INVALID);
	CHECK_OK(loam_frame_add_memory(&frames, base, nbytes, 1, metadata, size));
	CHECK_STATUS(loam_frame_add_memory(&frames, base, nbytes, 1, metadata, size), LOAM_ERR_IN_USE);
	loam_frame_read_stats(&frames, &after);
	CHECK_EQ(after.free, before.free + 8192);
	CHECK_EQ(after.ram, before.ram + 8192);
	CHECK_OK(loam_frame_check(&frames));
	pfn = loam_frame_alloc(&frames, 12, &raw);
	CHECK(pfn >= base >> LOAM_PAGE_SHIFT);
	loam_frame_free(&frames, pfn, 12);
	pfn = loam_frame_alloc(&frames, 0, &(struct loam_frame_opts){.node = 2});
	CHECK(pfn >= base >> LOAM_PAGE_SHIFT);
	loam_frame_free(&frames, pfn, 0);
	CHECK_OK(loam_frame_check(&frames));
	host_machine_destroy(machine);
}

struct reported {
	struct host_machine *machine;
	uint64_t frames;
	loam_pfn run; /* of the test, somewhere in what is reported */
	bool seen;
};

/* A hypervisor takes the memory: it reads as zero when it is touched again. */
static void take_report(void *context, loam_pfn first, uint64_t npages)
{
	struct reported *reported = context;

	memset(host_ram(reported->machine, loam_frame_address(first)), 0, npages * LOAM_PAGE_SIZE);
	reported->frames += npages;
	reported->seen = reported->seen || (reported->run >= first && reported->run < first + npages);
}

TEST(F15_frames_that_were_in_use_are_reported_once)
{
	static struct loam_frames frames;
	static const struct loam_region regions[] = {
		{.base = 16 << 20, .nbytes = 32 << 20, .type = LOAM_REGION_USABLE},
	};
	struct loam_frames_config config = {.ncpus = 1, .report = true};
	struct loam_region storage[64];
	struct loam_memmap map;
	struct host_machine *machine = boot(&frames, regions, 1, &config, &map, storage);
	struct reported reported = {.machine = machine};
	loam_pfn first, again;
	char *memory;

	CHECK_EQ(loam_frame_unreported_racy(&frames), 0);
	CHECK_EQ(loam_frame_report(&frames, 100000, take_report, &reported), 0);
	/* A run of 700 frames, over a block's border, some of which come back. */
	CHECK_OK(loam_frame_alloc_range(&frames, 700, NULL, &raw, &first));
	memory = host_ram(machine, loam_frame_address(first));
	memset(memory, 0x5a, 700 * LOAM_PAGE_SIZE);
	CHECK_EQ(loam_frame_unreported_racy(&frames), 0);
	loam_frame_free_range(&frames, first, 300);
	CHECK_EQ(loam_frame_unreported_racy(&frames), 300);
	/* What is used again is no longer to be reported, and zeroed as ever where that is asked. */
	CHECK_OK(loam_frame_alloc_range(&frames, 10, NULL, NULL, &again));
	CHECK_EQ(again, first);
	CHECK_EQ(loam_frame_unreported_racy(&frames), 290);
	for (size_t i = 0; i < 10 * LOAM_PAGE_SIZE; i++)
		CHECK(memory[i] == 0);
	reported.run = first + 20;
	CHECK_EQ(loam_frame_report(&frames, 100000, take_report, &reported), 290);
	CHECK_EQ(reported.frames, 290);
	CHECK(reported.seen);
	CHECK_EQ(loam_frame_unreported_racy(&frames), 0);
	CHECK_EQ(loam_frame_report(&frames, 100000, take_report, &reported), 0);
	CHECK_OK(loam_frame_check(&frames));
	/* Clean runs are not zeroed again: what a test hides there stays. */
	memory[20 * LOAM_PAGE_SIZE] = 1;
	CHECK_OK(loam_frame_alloc_range(&frames, 290, NULL, NULL, &again));
	CHECK_EQ(again, first + 10);
	CHECK_EQ(memory[20 * LOAM_PAGE_SIZE], 1);
	loam_frame_free_range(&frames, first, 700);
	CHECK_EQ(loam_frame_unreported_racy(&frames), 700);
	/* In parts. */
	reported.frames = 0;
	while (loam_frame_report(&frames, 37, take_report, &reported) != 0)
		;
	CHECK_EQ(reported.frames, 700);
	CHECK_OK(loam_frame_check(&frames));
	host_machine_destroy(machine);
}

TEST(F15_reserved_memory_is_released_to_the_allocator)
{
	static struct loam_frames frames;
	static const struct loam_region regions[] = {
		{.base = 16 << 20, .nbytes = 16 << 20, .type = LOAM_REGION_USABLE},
		{.base = 32 << 20, .nbytes = 2 << 20, .type = LOAM_REGION_RECLAIMABLE},
	};
	struct loam_frames_config config = {.ncpus = 1};
	struct loam_region storage[64];
	struct loam_memmap map;
	struct host_machine *machine = boot(&frames, regions, 2, &config, &map, storage);
	struct loam_frames_stats before, after;
	loam_pfn first = (32 << 20) >> LOAM_PAGE_SHIFT;

	loam_frame_read_stats(&frames, &before);
	CHECK_EQ(before.reserved, 512);
	loam_frame_ref_inc(&frames, first + 9);
	CHECK_STATUS(loam_frame_release_range(&frames, first, 512), LOAM_ERR_IN_USE);
	loam_frame_ref_dec(&frames, first + 9);
	CHECK_OK(loam_frame_release_range(&frames, first, 512));
	CHECK_STATUS(loam_frame_release_range(&frames, first, 512), LOAM_ERR_INVALID);
	loam_frame_read_stats(&frames, &after);
	CHECK_EQ(after.free, before.free + 512);
	CHECK_EQ(after.reserved, 0);
	CHECK_OK(loam_frame_check(&frames));
	host_machine_destroy(machine);
}

TEST(F15_metadata_of_large_machines_stays_small)
{
	static const uint64_t gib[] = {8, 64, 1024};

	for (unsigned int i = 0; i < 3; i++) {
		struct loam_region region = {.base = 0, .nbytes = gib[i] << 30, .type = LOAM_REGION_USABLE}, storage[4];
		struct loam_memmap map;
		struct loam_frames_config config = {.map = &map, .ncpus = 4};
		uint64_t n = gib[i] << 18;

		CHECK_OK(loam_memmap_init(&map, &region, 1, storage, 4, 0, NULL, NULL));
		CHECK(loam_frames_metadata_size(&config) <= 64 * n + n / 5);
	}
}

TEST(F15_impossible_configurations_are_refused)
{
	static struct loam_frames frames;
	static uint8_t metadata[4096] __attribute__((aligned(128)));
	struct loam_region region = {.base = 0, .nbytes = 1 << 24, .type = LOAM_REGION_USABLE}, storage[4];
	struct loam_memmap map;
	struct loam_frames_config config = {.map = &map};

	frames = (struct loam_frames){0};
	CHECK_OK(loam_memmap_init(&map, &region, 1, storage, 4, 0, NULL, NULL));
	CHECK_STATUS(loam_frames_init(&frames, &config, metadata, 1 << 20), LOAM_ERR_CPU);
	config.ncpus = LOAM_CPUS_MAX + 1;
	CHECK_STATUS(loam_frames_init(&frames, &config, metadata, 1 << 20), LOAM_ERR_CPU);
	CHECK_EQ(loam_frames_metadata_size(&config), 0);
	config.ncpus = 1;
	CHECK_STATUS(loam_frames_init(&frames, &config, metadata, 4096), LOAM_ERR_NO_METADATA);
	CHECK_STATUS(loam_frames_init(&frames, &config, metadata + 8, 4096), LOAM_ERR_INVALID);
	config.nzones = LOAM_ZONES_MAX + 1;
	CHECK_STATUS(loam_frames_init(&frames, &config, metadata, 4096), LOAM_ERR_ZONE);
	config.nzones = 2;
	config.zones[0] = (struct loam_zone_config){"a", 1 << 22};
	config.zones[1] = (struct loam_zone_config){"b", 1 << 21};
	CHECK_STATUS(loam_frames_init(&frames, &config, metadata, 4096), LOAM_ERR_ZONE);
	CHECK_EQ(frames.ready, 0);
}

TEST(F13_a_free_that_races_with_another_is_named)
{
	static struct loam_frames frames;
	static const struct loam_region regions[] = {
		{.base = 16 << 20, .nbytes = 16 << 20, .type = LOAM_REGION_USABLE}};
	struct loam_frames_config config = {.ncpus = 1};
	struct loam_region storage[64];
	struct loam_memmap map;
	struct host_machine *machine = boot(&frames, regions, 1, &config, &map, storage);
	loam_pfn pfn = loam_frame_alloc(&frames, 2, NULL), first = pfn;
	char text[160];

	/* The count moved between the check and the swap. */
	snprintf(text, sizeof(text), "loam: frame: free of 0x%llx races with another (refcount 0x1)",
		 (unsigned long long)loam_frame_address(pfn));
	CHECK_PANIC((void)loami_frame_retire(&frames, loam_frame_slot(&frames, pfn), pfn, 2, 0), text);
	loam_frame_free(&frames, pfn, 2);
	CHECK_OK(loam_frame_check(&frames));
	/* A free frame that goes free once more, past all checks, is caught by its bitmap. */
	pfn = first & ~(LOAM_BLOCK_FRAMES - 1);
	snprintf(text, sizeof(text), "loam: frame: block at 0x%llx: a frame goes free that its bitmap has as free",
		 (unsigned long long)loam_frame_address(pfn));
	CHECK_PANIC(loami_blocks_put(&frames, first, 4), text);
	host_machine_destroy(machine);
}
