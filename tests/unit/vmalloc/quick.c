/* The common case by itself (src/vmalloc/quick.c): frames that go from a flushed batch to the next areas, leaf tables that are remembered. */
#include "fixture.h"

/* Full before anybody asks how old it is (flush.c): what comes of it does not depend on how fast the machine is. */
enum { BATCH = 8 };

static void begin(size_t npages, size_t nbytes)
{
	vm_begin_bare(npages, nbytes);
	fix.config.batch_areas = BATCH;
	tap_log_capture();
	CHECK_OK(loam_vmalloc_init(&fix.vm, &fix.config));
	(void)tap_log_end();
}

/* A batch of areas of a page each, written to, freed and flushed; then one is made, which brings their frames to this CPU and takes the first. */
static void *make_ready(loam_pfn *pfns)
{
	void *address[BATCH];

	for (size_t i = 0; i < BATCH; i++) {
		address[i] = vm_alloc(PAGE);
		pfns[i] = vm_frame_at(address[i]);
		for (size_t j = 0; j < PAGE; j++)
			*vm_byte(address[i], j) = 0x5a;
	}
	for (size_t i = 0; i < BATCH; i++)
		CHECK(loam_vfree(&fix.vm, address[i]));
	return vm_alloc(PAGE);
}

static bool is_among(const loam_pfn *pfns, loam_pfn pfn)
{
	for (size_t i = 0; i < BATCH; i++)
		if (pfns[i] == pfn)
			return true;
	return false;
}

TEST(V4_frames_that_were_flushed_go_to_the_next_areas_zeroed_and_under_a_new_generation)
{
	uint32_t generation[BATCH];
	loam_pfn pfns[BATCH];
	size_t taken = 0;
	void *first;

	begin(2048, 16 * MIB);
	first = make_ready(pfns);
	CHECK(is_among(pfns, vm_frame_at(first)));
	CHECK_EQ(vm_stats().ready_pages, BATCH - 1);
	CHECK_OK(loam_vmalloc_check(&fix.vm));
	for (size_t i = 0; i < BATCH; i++) {
		generation[i] = loam_frame_generation(fix.rig->frames, pfns[i]);
		CHECK_EQ(loam_frame_ref_get(fix.rig->frames, pfns[i]), 1);
	}
	for (size_t i = 1; i < BATCH; i++) {
		void *address = vm_alloc(PAGE);

		taken += is_among(pfns, vm_frame_at(address));
		for (size_t j = 0; j < PAGE; j++)
			CHECK_EQ(*vm_byte(address, j), 0);
		CHECK_EQ(vm_prot_at(address), LOAM_PROT_READ | LOAM_PROT_WRITE);
		CHECK_EQ(vm_stats().ready_pages, BATCH - 1 - taken);
		CHECK(loam_vfree(&fix.vm, address));
	}
	CHECK(taken >= BATCH - 2);         /* the first area in a new slab is no common case */
	for (size_t i = 0; i < BATCH; i++) /* one step, before they went out */
		CHECK_EQ(loam_frame_generation(fix.rig->frames, pfns[i]), generation[i]);
	CHECK(loam_vfree(&fix.vm, first));
	vm_end();
}

TEST(V4_ready_frames_go_back_by_purge_with_their_cpu_and_under_pressure)
{
	loam_pfn pfns[BATCH];
	uint64_t before;
	void *first;

	for (int way = 0; way < 3; way++) {
		begin(2048, 16 * MIB);
		first = make_ready(pfns);
		before = vm_free_frames();
		CHECK_EQ(vm_stats().ready_pages, BATCH - 1);
		if (way == 0) {
			CHECK_OK(loam_vmalloc_purge(&fix.vm));
		} else if (way == 1) {
			CHECK_OK(loam_vmalloc_cpu_offline(&fix.vm, 0));
		} else {
			loam_pfn *last = NULL;

			/* All that is free, chained through its own words, until the shrinker has been asked. */
			for (loam_pfn pfn; (pfn = loam_frame_alloc(fix.rig->frames, 0, NULL)) != LOAM_PFN_NONE;) {
				loam_pfn *words = loam_frame_virt(fix.rig->frames, pfn);

				words[0] = (uintptr_t)last;
				words[1] = pfn;
				last = words;
			}
			CHECK_EQ(vm_stats().ready_pages, 0);
			while (last != NULL) {
				loam_pfn *words = last;

				last = (loam_pfn *)(uintptr_t)words[0];
				loam_frame_free(fix.rig->frames, words[1], 0);
			}
		}
		CHECK_EQ(vm_stats().ready_pages, 0);
		CHECK(vm_free_frames() >= before + BATCH - 1);
		CHECK(loam_vfree(&fix.vm, first));
		vm_end();
	}
}

/* All is taken down, and every frame is back but one that is bad. */
static void end_with_one_quarantined(void)
{
	struct loam_frames_stats stats;

	CHECK_OK(loam_vmalloc_check(&fix.vm));
	CHECK_OK(loam_vmalloc_destroy(&fix.vm));
	loam_pagetable_destroy(&fix.tree);
	loam_frame_read_stats(fix.rig->frames, &stats);
	CHECK_EQ(stats.quarantined, 1);
	CHECK_EQ(stats.used, 0);
	rig_destroy(fix.rig);
}

TEST(V4_a_frame_that_was_poisoned_meanwhile_is_not_made_ready)
{
	void *address[BATCH];
	loam_pfn bad;

	begin(2048, 16 * MIB);
	for (size_t i = 0; i < BATCH; i++)
		address[i] = vm_alloc(PAGE);
	bad = vm_frame_at(address[3]);
	for (size_t i = 0; i < BATCH; i++)
		CHECK(loam_vfree(&fix.vm, address[i]));
	loam_frame_mark_poisoned(fix.rig->frames, bad);
	for (size_t i = 0; i < BATCH; i++) {
		address[i] = vm_alloc(PAGE);
		CHECK(vm_frame_at(address[i]) != bad);
		CHECK_EQ(loam_frame_quarantined_racy(fix.rig->frames), 1);
	}
	for (size_t i = 0; i < BATCH; i++)
		CHECK(loam_vfree(&fix.vm, address[i]));
	end_with_one_quarantined();
}

TEST(F11_a_frame_that_is_poisoned_while_it_is_ready_does_not_go_out)
{
	void *address[2 * BATCH];
	loam_pfn pfns[BATCH], bad;
	void *first;

	begin(2048, 16 * MIB);
	first = make_ready(pfns);
	bad = pfns[BATCH / 2] != vm_frame_at(first) ? pfns[BATCH / 2] : pfns[0];
	CHECK_EQ(loam_frame_ref_get(fix.rig->frames, bad), 1);
	loam_frame_mark_poisoned(fix.rig->frames, bad);
	for (size_t i = 0; i < 2 * BATCH; i++) {
		address[i] = vm_alloc(PAGE);
		CHECK(vm_frame_at(address[i]) != bad);
	}
	CHECK_EQ(loam_frame_quarantined_racy(fix.rig->frames), 1);
	for (size_t i = 0; i < 2 * BATCH; i++)
		CHECK(loam_vfree(&fix.vm, address[i]));
	/* Once is enough: what is flushed later is made ready as before. */
	CHECK(loam_vfree(&fix.vm, first));
	first = make_ready(pfns);
	CHECK(vm_stats().ready_pages > 0);
	CHECK(loam_vfree(&fix.vm, first));
	end_with_one_quarantined();
}

TEST(V4_hardened_frames_wait_in_the_frame_layer_and_are_never_ready)
{
	struct loam_vmalloc_stats stats;
	loam_pfn pfns[BATCH];
	void *first;

	begin(2048, 16 * MIB);
	fix.rig->frames->hardened = true; /* as far as renewing asks */
	first = make_ready(pfns);
	stats = vm_stats();
	fix.rig->frames->hardened = false;
	CHECK_EQ(stats.ready_pages, 0);
	CHECK(loam_vfree(&fix.vm, first));
	vm_end();
}

/* More stretches of 2 MiB than a CPU remembers, areas of every quick length in them, lengths that change under way. */
TEST(V2_areas_of_many_stretches_come_and_go)
{
	enum { AREAS = 700 };
	static void *area[AREAS];
	static size_t length[AREAS];
	uint64_t random = 7;
	size_t ready = 0;

	begin(16384, 64 * MIB);
	for (int round = 0; round < 20000; round++) {
		size_t i = rig_random(&random) % AREAS;

		if (area[i] == NULL) {
			length[i] = 1 + rig_random(&random) % 40;
			area[i] = vm_alloc(length[i] * PAGE);
			for (size_t page = 0; page < length[i]; page++) {
				CHECK_EQ(*vm_byte(area[i], page * PAGE + i), 0);
				*vm_byte(area[i], page * PAGE + i) = (unsigned char)(i | 1);
			}
		} else if (rig_random(&random) % 8 == 0) {
			length[i] = 1 + rig_random(&random) % 40;
			CHECK_OK(loam_vrealloc(&fix.vm, area[i], length[i] * PAGE, NULL, &area[i]));
			CHECK_EQ(*vm_byte(area[i], i), (unsigned char)(i | 1));
		} else {
			CHECK_EQ(*vm_byte(area[i], i), (unsigned char)(i | 1));
			CHECK(loam_vfree(&fix.vm, area[i]));
			CHECK_EQ(vm_frame_at(area[i]), LOAM_PFN_NONE);
			area[i] = NULL;
		}
		if (round % 512 == 0) {
			CHECK_OK(loam_vmalloc_check(&fix.vm));
			ready += vm_stats().ready_pages;
		}
	}
	CHECK(ready > 0);
	for (size_t i = 0; i < AREAS; i++)
		CHECK(loam_vfree(&fix.vm, area[i]));
	vm_end();
}
