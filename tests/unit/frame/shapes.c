/* tests/unit/frame/shapes.c: machines of other shapes than the rig's, cut out of its RAM: holes, nodes, memory that is added, the metadata of large ones. */
#include <loam/frame.h>

#include <base/bits.h>
#include <base/print.h>
#include <frame/internal.h>

#include "rig.h"
#include "tap.h"

#define MIB ((uint64_t)1 << 20)
#define SECTION (16 * MIB)
#define RIG_PAGES (32 * MIB / LOAM_PAGE_SIZE)

static const struct loam_frame_opts raw = {.uninitialized = true};

static struct loam_frames frames;
static struct loam_memmap map; /* what is left of the regions */
static struct loam_region storage[64];

/* Frames over these regions, whose addresses count from the start of the rig's RAM. */
static void boot_on(const struct rig *rig, const struct loam_region *regions, size_t n,
		    struct loam_frames_config *config)
{
	struct loam_region moved[16];

	for (size_t i = 0; i < n; i++) {
		moved[i] = regions[i];
		moved[i].base += rig->ram;
	}
	config->direct_map = rig->direct_map;
	frames = (struct loam_frames){0};
	CHECK_OK(loam_memmap_init(&map, moved, n, storage, sizeof(storage) / sizeof(storage[0]), 0, NULL, NULL));
	CHECK_OK(loam_frames_boot(&frames, config, &map));
}

static struct rig *boot(const struct loam_region *regions, size_t n, struct loam_frames_config *config)
{
	struct rig *rig =
		rig_create(&(struct rig_config){.npages = RIG_PAGES, .ncpus = config->ncpus, .no_frames = true});

	boot_on(rig, regions, n, config);
	return rig;
}

static void *at(const struct rig *rig, loam_paddr address)
{
	return (void *)(uintptr_t)(rig->direct_map + address);
}

TEST(F15_no_block_crosses_a_hole)
{
	static const struct loam_region regions[] = {
		{.base = 0x1000, .nbytes = 0x9f000 - 0x1000, .type = LOAM_REGION_USABLE},
		{.base = 0x100000, .nbytes = 0x700000 - 0x3000, .type = LOAM_REGION_USABLE},
		{.base = 0x1000000, .nbytes = 0x1000, .type = LOAM_REGION_USABLE},
		{.base = 0x1400000, .nbytes = 0xc00000, .type = LOAM_REGION_USABLE},
	};
	struct loam_frames_config config = {.ncpus = 1};
	struct rig *rig = boot(regions, 4, &config);
	loam_pfn first = loam_frame_containing(rig->ram);
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
	CHECK(!loam_frame_has_slot(&frames, first + 0x9f));
	CHECK(loam_frame_has_slot(&frames, first + 0x1000));
	CHECK(!loam_frame_has_slot(&frames, first + 0x1001));
	CHECK_OK(loam_frame_check(&frames));
	rig_destroy(rig);
}

struct nodes {
	loam_pfn border; /* node 1 begins there */
	uint64_t free;
	uint32_t turn; /* atomic: the CPU that is to go on */
};

/* CPU 0 is on node 0, CPU 1 on node 1; one after the other. */
static bool take_from_nodes(struct rig *rig, unsigned int cpu, void *context)
{
	struct nodes *nodes = context;
	bool good;

	(void)rig;
	for (unsigned int round = 0; __atomic_load_n(&nodes->turn, __ATOMIC_ACQUIRE) != cpu; round++)
		loam_port_relax(round);
	if (cpu == 0) {
		good = loam_frame_alloc(&frames, 0, NULL) < nodes->border &&
		       loam_frame_alloc(&frames, 0, &(struct loam_frame_opts){.node = 2}) >= nodes->border;
	} else {
		struct loam_frames_stats stats;
		uint64_t n = 0;

		good = loam_frame_alloc(&frames, 0, NULL) >= nodes->border &&
		       loam_frame_alloc(&frames, 5, &(struct loam_frame_opts){.node = 1}) < nodes->border;
		/* When it is gone, from the other. */
		loam_frame_read_stats(&frames, &stats);
		while (loam_frame_alloc(&frames, 0, &(struct loam_frame_opts){.node = 2, .uninitialized = true}) !=
		       LOAM_PFN_NONE)
			n++;
		good = good && n == stats.free;
	}
	__atomic_store_n(&nodes->turn, 1, __ATOMIC_RELEASE);
	return good;
}

TEST(F15_a_node_is_served_from_its_own_memory_first)
{
	static const struct loam_region regions[] = {
		{.base = 0, .nbytes = 16 * MIB, .type = LOAM_REGION_USABLE, .node = 0},
		{.base = 16 * MIB, .nbytes = 16 * MIB, .type = LOAM_REGION_USABLE, .node = 1},
	};
	static const uint8_t of_cpu[] = {0, 1};
	struct loam_frames_config config = {.ncpus = 2, .cpu_nodes = of_cpu};
	struct rig *rig = boot(regions, 2, &config);
	struct nodes nodes = {.border = loam_frame_containing(rig->ram + 16 * MIB)};

	CHECK(rig_run(rig, take_from_nodes, &nodes));
	CHECK_OK(loam_frame_check(&frames));
	rig_destroy(rig);
}

/* As boot_on(), of memory that need not be there and is not written to: the metadata is in the rig's, @metadata from its start. */
static void init_on(const struct rig *rig, const struct loam_region *regions, size_t n,
		    struct loam_frames_config *config, uint64_t metadata)
{
	struct loam_region moved[16];

	for (size_t i = 0; i < n; i++) {
		moved[i] = regions[i];
		moved[i].base += rig->ram;
	}
	config->direct_map = rig->direct_map;
	config->map = &map;
	frames = (struct loam_frames){0};
	CHECK_OK(loam_memmap_init(&map, moved, n, storage, LOAMI_COUNT(storage), 0, NULL, NULL));
	CHECK(loam_frames_metadata_size(config) <= 8 * MIB);
	CHECK_OK(loam_frames_init(&frames, config, at(rig, rig->ram + metadata), 8 * MIB));
}

/* The longest row of sections is found without their table, the others by it: what is freed is checked, parked and drained alike. */
TEST(F13_frames_on_either_side_of_holes_are_freed_and_checked)
{
	static const struct loam_region regions[] = {
		{.base = 0, .nbytes = SECTION, .type = LOAM_REGION_USABLE},
		{.base = 3 * SECTION, .nbytes = 3 * SECTION - 0x5000, .type = LOAM_REGION_USABLE},
		{.base = 9 * SECTION, .nbytes = SECTION / 2, .type = LOAM_REGION_USABLE},
	};
	static const loam_paddr wild[] = {SECTION,         3 * SECTION - 0x1000,      6 * SECTION - 0x5000, 6 * SECTION,
					  9 * SECTION - 1, 9 * SECTION + SECTION / 2, (loam_paddr)1 << 50};
	static loam_pfn held[5 * SECTION_FRAMES];
	struct rig *rig = rig_create(&(struct rig_config){.npages = RIG_PAGES, .no_frames = true});
	struct loam_frames_config config = {.ncpus = 1};
	struct loam_frames_stats before, after;
	unsigned int parts = 0;
	char text[160];
	size_t n = 0;

	init_on(rig, regions, LOAMI_COUNT(regions), &config, 24 * MIB);
	CHECK_EQ(frames.dense_first, loam_frame_containing(rig->ram + 3 * SECTION));
	CHECK_EQ(frames.dense, 3 * SECTION_FRAMES);
	loam_frame_read_stats(&frames, &before);
	while ((held[n] = loam_frame_alloc(&frames, 0, &raw)) != LOAM_PFN_NONE)
		n++;
	CHECK_EQ(n, before.free);
	for (size_t i = 0; i < LOAMI_COUNT(wild); i++) {
		loam_pfn pfn = loam_frame_containing(rig->ram + wild[i]);

		(void)loami_format(text, sizeof(text), "loam: frame: free of 0x%lx, which is no memory of this machine",
				   (unsigned long)loam_frame_address(pfn));
		CHECK_PANIC(loam_frame_free(&frames, pfn, 0), text);
	}
	for (size_t i = 0; i < n; i++) {
		unsigned int part = held[i] < frames.dense_first                  ? 1
				    : held[i] < frames.dense_first + frames.dense ? 2
										  : 4;

		loam_frame_free(&frames, held[i], 0);
		if ((parts & part) != 0)
			continue;
		parts |= part;
		(void)loami_format(text, sizeof(text), "loam: frame: double free of 0x%lx (order 0)",
				   (unsigned long)loam_frame_address(held[i]));
		CHECK_PANIC(loam_frame_free(&frames, held[i], 0), text);
		CHECK_EQ(loam_frame_alloc(&frames, 0, &raw), held[i]);
		loam_frame_free_batch(&frames, &held[i], 1);
		CHECK_PANIC(loam_frame_free_batch(&frames, &held[i], 1), text);
	}
	CHECK_EQ(parts, 7);
	loam_frame_drain(&frames);
	loam_frame_read_stats(&frames, &after);
	CHECK_EQ(after.parked, 0);
	CHECK_EQ(after.free, before.free);
	CHECK_OK(loam_frame_check(&frames));
	rig_destroy(rig);
}

struct owners {
	loam_pfn pfn;
	uint32_t turn; /* atomic: the step that is to be taken */
};

static bool is_mine(loam_pfn pfn, unsigned int order, unsigned int cpu, uint32_t flags)
{
	const struct loam_slot *slot = loam_frame_slot(&frames, pfn);

	return slot->aux == cpu && slot->order == order && loam_frame_flags(&frames, pfn) == flags;
}

/* Each of the two takes from itself and from the other, gives to itself and to the other. A hit writes nothing where the slot already says all: the same CPU, the
 * same kind, the same order. */
static bool take_and_pass_on(struct rig *rig, unsigned int cpu, void *context)
{
	static const struct loam_frame_opts opts[] = {
		{.uninitialized = true},
		{.uninitialized = true, .purpose = LOAM_PURPOSE_USER},
		{.uninitialized = true, .purpose = LOAM_PURPOSE_CUSTOM, .custom_flags = LOAM_FRAME_COW},
	};
	static const uint32_t flags[] = {LOAM_FRAME_ALLOCATED | LOAM_FRAME_KERNEL,
					 LOAM_FRAME_ALLOCATED | LOAM_FRAME_USER | LOAM_FRAME_MOVABLE,
					 LOAM_FRAME_ALLOCATED | LOAM_FRAME_COW};
	struct owners *owners = context;
	bool good = true;

	(void)rig;
	for (uint32_t step = 0; step < 2 * 12 * 10; step++) {
		unsigned int i = step / 2 % 12, order = step / 24, kind = i % 3;
		unsigned int whose = step % 2 == 0 ? i / 2 % 2 : i % 2;

		if (cpu != whose)
			continue;
		for (unsigned int round = 0; __atomic_load_n(&owners->turn, __ATOMIC_ACQUIRE) != step; round++)
			loam_port_relax(round);
		if (step % 2 == 0) {
			owners->pfn = loam_frame_alloc(&frames, order, &opts[kind]);
			good = good && is_mine(owners->pfn, order, cpu, flags[kind]);
		} else {
			loam_frame_free(&frames, owners->pfn, order);
			good = good && loam_frame_alloc_batch(&frames, 1, &opts[kind], &owners->pfn) == 1 &&
			       is_mine(owners->pfn, 0, cpu, flags[kind]);
			loam_frame_free_batch(&frames, &owners->pfn, 1);
		}
		__atomic_store_n(&owners->turn, step + 1, __ATOMIC_RELEASE);
	}
	return good;
}

TEST(F14_the_owner_is_who_took_it_last)
{
	/* Enough for magazines of every order. */
	static const struct loam_region all = {
		.base = SECTION, .nbytes = 256 * MIB + 0x3000, .type = LOAM_REGION_USABLE};
	struct loam_frames_config config = {.ncpus = 2};
	struct rig *rig = rig_create(&(struct rig_config){.npages = RIG_PAGES, .ncpus = 2, .no_frames = true});
	struct owners owners = {0};

	init_on(rig, &all, 1, &config, 0);
	/* Cut off where memory ends. */
	CHECK_EQ(frames.dense, (256 * MIB + 0x3000) / LOAM_PAGE_SIZE);
	CHECK(rig_run(rig, take_and_pass_on, &owners));
	CHECK_OK(loam_frame_check(&frames));
	rig_destroy(rig);
}

/* The first section of the RAM that is whole and not the first in it. */
static uint64_t added_section(const struct rig *rig)
{
	return loami_align_up(rig->ram + 1, SECTION) - rig->ram;
}

TEST(F15_memory_is_added_while_the_machine_runs)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = RIG_PAGES, .no_frames = true});
	loam_paddr base = rig->ram + added_section(rig), end = base + SECTION;
	struct loam_frames_config config = {.ncpus = 1, .hotplug_limit = end};
	/* Up to a mebibyte before it, where its metadata goes. */
	struct loam_region region = {.nbytes = added_section(rig) - MIB, .type = LOAM_REGION_USABLE};
	void *metadata = at(rig, base - MIB);
	struct loam_frames_stats before, after;
	uint64_t size;
	loam_pfn pfn;

	boot_on(rig, &region, 1, &config);
	size = loam_frame_add_memory_size(&frames, base, SECTION);
	CHECK(size > 0 && size < MIB);
	CHECK_EQ(loam_frame_add_memory_size(&frames, base + 4096, SECTION), 0);
	CHECK_EQ(loam_frame_add_memory_size(&frames, end, SECTION), 0);
	loam_frame_read_stats(&frames, &before);
	CHECK(!loam_frame_has_slot(&frames, base >> LOAM_PAGE_SHIFT));
	CHECK_STATUS(loam_frame_add_memory(&frames, base, SECTION, 0, metadata, size - 4096), LOAM_ERR_NO_METADATA);
	CHECK_STATUS(loam_frame_add_memory(&frames, base - SECTION, SECTION, 0, metadata, size), LOAM_ERR_IN_USE);
	CHECK_STATUS(loam_frame_add_memory(&frames, base, 4096, 0, metadata, size), LOAM_ERR_ALIGNMENT);
	CHECK_STATUS(loam_frame_add_memory(&frames, base, SECTION, LOAM_NODES_MAX, metadata, size), LOAM_ERR_INVALID);
	CHECK_OK(loam_frame_add_memory(&frames, base, SECTION, 1, metadata, size));
	CHECK_STATUS(loam_frame_add_memory(&frames, base, SECTION, 1, metadata, size), LOAM_ERR_IN_USE);
	loam_frame_read_stats(&frames, &after);
	CHECK_EQ(after.free, before.free + 4096);
	CHECK_EQ(after.ram, before.ram + 4096);
	CHECK_OK(loam_frame_check(&frames));
	pfn = loam_frame_alloc(&frames, 12, &raw);
	CHECK_EQ(pfn, base >> LOAM_PAGE_SHIFT);
	loam_frame_free(&frames, pfn, 12);
	pfn = loam_frame_alloc(&frames, 0, &(struct loam_frame_opts){.node = 2});
	CHECK(pfn != LOAM_PFN_NONE && pfn >= base >> LOAM_PAGE_SHIFT);
	loam_frame_free(&frames, pfn, 0);
	CHECK_OK(loam_frame_check(&frames));
	rig_destroy(rig);
}

/* With its metadata from *@metadata on, which is moved behind it. */
static void add(loam_paddr base, uint64_t nbytes, char **metadata)
{
	uint64_t size = loam_frame_add_memory_size(&frames, base, nbytes);

	/* The slots are there: a page is enough. */
	CHECK_EQ(size, LOAM_PAGE_SIZE);
	CHECK_OK(loam_frame_add_memory(&frames, base, nbytes, 0, *metadata, size));
	*metadata += size;
}

TEST(F15_memory_is_added_by_blocks_of_a_section)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = RIG_PAGES, .no_frames = true});
	loam_paddr base = rig->ram + added_section(rig);
	struct loam_frames_config config = {.ncpus = 1, .hotplug_limit = base + SECTION};
	struct loam_region region = {.base = added_section(rig), .nbytes = 2 * MIB, .type = LOAM_REGION_USABLE};
	struct loam_frame_where where = {.start = base + 2 * MIB + LOAM_PAGE_SIZE, .limit = base + 12 * MIB};
	char *metadata = at(rig, base + 14 * MIB);
	struct loam_frames_stats before, after;
	uint64_t n = 10 * MIB / LOAM_PAGE_SIZE;
	loam_pfn first;

	boot_on(rig, &region, 1, &config);
	loam_frame_read_stats(&frames, &before);
	CHECK_EQ(loam_frame_add_memory_size(&frames, base + 3 * MIB, 2 * MIB), 0);
	CHECK(!loam_frame_has_slot(&frames, loam_frame_containing(base + 4 * MIB)));
	add(base + 4 * MIB, 4 * MIB, &metadata);
	CHECK(loam_frame_has_slot(&frames, loam_frame_containing(base + 4 * MIB)));
	CHECK(!loam_frame_has_slot(&frames, loam_frame_containing(base + 4 * MIB) - 1));
	CHECK(!loam_frame_has_slot(&frames, loam_frame_containing(base + 8 * MIB)));
	CHECK_STATUS(loam_frame_add_memory(&frames, base + 2 * MIB, 4 * MIB, 0, metadata, LOAM_PAGE_SIZE),
		     LOAM_ERR_IN_USE);
	add(base + 2 * MIB, 2 * MIB, &metadata);
	add(base + 8 * MIB, 4 * MIB, &metadata);
	loam_frame_read_stats(&frames, &after);
	CHECK_EQ(after.free, before.free + n);
	CHECK_EQ(after.ram, before.ram + n);
	CHECK_OK(loam_frame_check(&frames));
	/* All but a page of it, over the borders. */
	CHECK_OK(loam_frame_alloc_range(&frames, n - 1, &where, &raw, &first));
	CHECK_EQ(first, loam_frame_containing(where.start));
	CHECK_EQ(loam_frame_ref_get(&frames, first + n - 2), 1);
	loam_frame_free_range(&frames, first, n - 1);
	CHECK_OK(loam_frame_check(&frames));
	loam_frame_read_stats(&frames, &after);
	CHECK_EQ(after.free, before.free + n);
	rig_destroy(rig);
}

TEST(F15_memory_is_not_added_between_that_of_one_chunk)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = RIG_PAGES, .no_frames = true});
	loam_paddr base = rig->ram + added_section(rig);
	struct loam_frames_config config = {.ncpus = 1, .hotplug_limit = base + SECTION};
	struct loam_region regions[] = {
		{.base = added_section(rig), .nbytes = 2 * MIB, .type = LOAM_REGION_USABLE},
		{.base = added_section(rig) + 6 * MIB, .nbytes = 2 * MIB, .type = LOAM_REGION_USABLE},
	};
	char *metadata = at(rig, base + 14 * MIB);

	boot_on(rig, regions, 2, &config);
	CHECK_STATUS(loam_frame_add_memory(&frames, base + 2 * MIB, 2 * MIB, 0, metadata, LOAM_PAGE_SIZE),
		     LOAM_ERR_IN_USE);
	CHECK_STATUS(loam_frame_add_memory(&frames, base + 2 * MIB, 8 * MIB, 0, metadata, LOAM_PAGE_SIZE),
		     LOAM_ERR_IN_USE);
	add(base + 8 * MIB, 2 * MIB, &metadata);
	CHECK_OK(loam_frame_check(&frames));
	rig_destroy(rig);
}

struct reported {
	const struct rig *rig;
	uint64_t frames;
	loam_pfn run; /* of the test, somewhere in what is reported */
	bool seen;
};

/* A hypervisor takes the memory: it reads as zero when it is touched again. */
static void take_report(void *context, loam_pfn first, uint64_t npages)
{
	struct reported *reported = context;

	__builtin_memset(at(reported->rig, loam_frame_address(first)), 0, npages * LOAM_PAGE_SIZE);
	reported->frames += npages;
	reported->seen = reported->seen || (reported->run >= first && reported->run < first + npages);
}

TEST(F15_frames_that_were_in_use_are_reported_once)
{
	static const struct loam_region all = {.base = 0, .nbytes = 32 * MIB, .type = LOAM_REGION_USABLE};
	struct loam_frames_config config = {.ncpus = 1, .report = true};
	struct rig *rig = boot(&all, 1, &config);
	struct reported reported = {.rig = rig};
	loam_pfn first, again;
	char *memory;

	CHECK_EQ(loam_frame_unreported_racy(&frames), 0);
	CHECK_EQ(loam_frame_report(&frames, 100000, take_report, &reported), 0);
	/* A run of 700 frames, over a block's border, some of which come back. */
	CHECK_OK(loam_frame_alloc_range(&frames, 700, NULL, &raw, &first));
	memory = at(rig, loam_frame_address(first));
	__builtin_memset(memory, 0x5a, 700 * LOAM_PAGE_SIZE);
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
	rig_destroy(rig);
}

TEST(F15_reserved_memory_is_released_to_the_allocator)
{
	static const struct loam_region regions[] = {
		{.base = 0, .nbytes = 16 * MIB, .type = LOAM_REGION_USABLE},
		{.base = 16 * MIB, .nbytes = 2 * MIB, .type = LOAM_REGION_RECLAIMABLE},
	};
	struct loam_frames_config config = {.ncpus = 1};
	struct rig *rig = boot(regions, 2, &config);
	struct loam_frames_stats before, after;
	loam_pfn first = loam_frame_containing(rig->ram + 16 * MIB);

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
	rig_destroy(rig);
}

TEST(F15_metadata_of_large_machines_stays_small)
{
	static const uint64_t gib[] = {8, 64, 1024};

	for (unsigned int i = 0; i < 3; i++) {
		struct loam_region region = {.base = 0, .nbytes = gib[i] << 30, .type = LOAM_REGION_USABLE};
		struct loam_frames_config config = {.map = &map, .ncpus = 4};
		uint64_t n = gib[i] << 18;

		CHECK_OK(loam_memmap_init(&map, &region, 1, storage, 4, 0, NULL, NULL));
		CHECK(loam_frames_metadata_size(&config) <= 64 * n + n / 5);
	}
}

TEST(F15_impossible_configurations_are_refused)
{
	static uint8_t metadata[4096] __attribute__((aligned(128)));
	struct loam_region region = {.base = 0, .nbytes = 1 << 24, .type = LOAM_REGION_USABLE};
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
	static const struct loam_region all = {.base = 0, .nbytes = 16 * MIB, .type = LOAM_REGION_USABLE};
	struct loam_frames_config config = {.ncpus = 1};
	struct rig *rig = boot(&all, 1, &config);
	loam_pfn pfn = loam_frame_alloc(&frames, 2, NULL), first = pfn;
	char text[160];

	/* The count moved between the check and the swap. */
	(void)loami_format(text, sizeof(text), "loam: frame: free of 0x%lx races with another (refcount 0x1)",
			   (unsigned long)loam_frame_address(pfn));
	CHECK_PANIC((void)loami_frame_retire(&frames, loam_frame_slot(&frames, pfn), pfn, 2, 0), text);
	loam_frame_free(&frames, pfn, 2);
	CHECK_OK(loam_frame_check(&frames));
	/* A free frame that goes free once more, past all checks, is caught by its bitmap. */
	pfn = first & ~(LOAM_BLOCK_FRAMES - 1);
	(void)loami_format(text, sizeof(text),
			   "loam: frame: block at 0x%lx: a frame goes free that its bitmap has as free",
			   (unsigned long)loam_frame_address(pfn));
	/* It is found under a lock: what was masked for it is not undone by the jump. */
	unsigned long irq = loam_port_irq_save();

	loam_port_irq_restore(irq);
	CHECK_PANIC(loami_blocks_put(&frames, first, 4), text);
	loam_port_irq_restore(irq);
	rig_destroy(rig);
}
