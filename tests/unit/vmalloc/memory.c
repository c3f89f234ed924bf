/* Memory: SPEC V1 to V5 and V11, on the tables and the frames. */
#include "fixture.h"

TEST(V1_page_0_is_mapped_for_good_and_never_handed_out)
{
	loam_pfn anchor;

	vm_begin(4096, 0);
	CHECK_EQ(vm_stats().arena_start, VM_START);
	CHECK_EQ(vm_stats().arena_end, VM_START + ((uintptr_t)1 << 30));
	anchor = vm_frame_at((void *)VM_START);
	CHECK(anchor != LOAM_PFN_NONE);
	for (int round = 0; round < 20; round++) {
		void *address = vm_alloc(PAGE);

		CHECK((uintptr_t)address > VM_START + PAGE - 1);
		CHECK(loam_vfree_now(&fix.vm, address));
	}
	CHECK_EQ(vm_frame_at((void *)VM_START), anchor);
	CHECK(!loam_vfree(&fix.vm, (void *)VM_START));
	CHECK_EQ(loam_frame_ref_get(fix.rig->frames, anchor), 1);
	vm_end();
}

TEST(V1_an_address_space_made_later_inherits_the_tables)
{
	struct loam_table_source source;
	struct loam_paging_entry entry;
	struct loam_pagetable later;
	void *address;

	vm_begin(4096, 64 * MIB);
	source = loam_paging_tables_from_frames(fix.rig->frames);
	CHECK_OK(loam_pagetable_init(&later, &loam_paging_x86_64_4level, &source, LOAM_PADDR_NONE));
	CHECK_OK(loam_pagetable_inherit(&later, &fix.tree, VM_START, 64 * MIB / PAGE));
	address = vm_alloc(50 * PAGE);
	CHECK_OK(loam_paging_query(&later, (uintptr_t)address + 49 * PAGE, &entry));
	CHECK_EQ(loam_frame_containing(entry.pa), vm_frame_at((char *)address + 49 * PAGE));
	CHECK(loam_vfree(&fix.vm, address));
	CHECK_STATUS(loam_paging_query(&later, (uintptr_t)address, &entry), LOAM_ERR_NOT_MAPPED);
	loam_pagetable_destroy(&later);
	vm_end();
}

TEST(V2_pages_are_mapped_writable_zeroed_and_never_executable)
{
	char *address;

	vm_begin(4096, 64 * MIB);
	for (size_t npages = 1; npages < 200; npages += 13) {
		address = vm_alloc(npages * PAGE - 5);
		CHECK_EQ((uintptr_t)address % PAGE, 0);
		for (size_t i = 0; i < npages; i++) {
			loam_pfn pfn = vm_frame_at(address + i * PAGE);

			CHECK(pfn != LOAM_PFN_NONE);
			CHECK_EQ(loam_frame_ref_get(fix.rig->frames, pfn), 1);
			CHECK_EQ(vm_prot_at(address + i * PAGE), LOAM_PROT_READ | LOAM_PROT_WRITE);
			CHECK_EQ(*vm_byte(address, i * PAGE + 17), 0);
			*vm_byte(address, i * PAGE + 17) = 0x5a;
		}
		CHECK_EQ(vm_frame_at(address + npages * PAGE), LOAM_PFN_NONE); /* guard */
		CHECK_OK(loam_vmalloc_check(&fix.vm));
		CHECK(loam_vfree(&fix.vm, address));
		CHECK_EQ(vm_frame_at(address), LOAM_PFN_NONE);
	}
	vm_end();
}

TEST(V2_frames_are_taken_one_by_one)
{
	static loam_pfn singles[2048];
	size_t n = 0, kept = 0;
	void *address;

	/* Memory so cut up that no two free frames are neighbours. */
	vm_begin(2048, 64 * MIB);
	while ((singles[n] = loam_frame_alloc(fix.rig->frames, 0, NULL)) != LOAM_PFN_NONE)
		n++;
	for (size_t i = 0; i < n; i++) {
		if (singles[i] % 2 == 0)
			loam_frame_free(fix.rig->frames, singles[i], 0);
		else
			singles[kept++] = singles[i];
	}
	CHECK_EQ(loam_frame_alloc(fix.rig->frames, 1, NULL), LOAM_PFN_NONE);
	address = vm_alloc(600 * PAGE);
	CHECK_OK(loam_vmalloc_check(&fix.vm));
	CHECK(loam_vfree(&fix.vm, address));
	for (size_t i = 0; i < kept; i++)
		loam_frame_free(fix.rig->frames, singles[i], 0);
	vm_end();
}

TEST(V3_each_error_carries_its_figures)
{
	struct loam_vmalloc_failure failure;
	struct loam_vmalloc_stats before, after;
	uint64_t frames;
	void *address = &address;

	vm_begin(2048, 16 * MIB);
	CHECK(loam_vfree(&fix.vm, vm_alloc(1)));
	CHECK_OK(loam_vmalloc_purge(&fix.vm));
	frames = vm_free_frames();
	before = vm_stats();

	CHECK_STATUS(loam_vmalloc_status(&fix.vm, 0, NULL, &address), LOAM_ERR_ZERO_SIZE);
	CHECK_EQ(loam_vmalloc_last_failure(&fix.vm).status, LOAM_ERR_ZERO_SIZE);
	CHECK_STATUS(loam_vmalloc_status(&fix.vm, 16 * MIB + 1, NULL, &address), LOAM_ERR_TOO_LARGE);
	failure = loam_vmalloc_last_failure(&fix.vm);
	CHECK_EQ(failure.status, LOAM_ERR_TOO_LARGE);
	CHECK_EQ(failure.nbytes, 16 * MIB + 1);
	CHECK_EQ(failure.npages, 4097);
	CHECK_EQ(failure.max_allowed, 16 * MIB);
	CHECK(loam_vmalloc(&fix.vm, ~(size_t)0, NULL) == NULL);
	CHECK_EQ(loam_vmalloc_last_failure(&fix.vm).nbytes, ~(size_t)0);
	CHECK_STATUS(loam_vmalloc_status(&fix.vm, 1, &(struct loam_vmalloc_opts){.align = 3}, &address),
		     LOAM_ERR_ALIGNMENT);
	after = vm_stats();
	CHECK_EQ(after.policy_rejects, before.policy_rejects + 4);
	CHECK_EQ(after.failures, before.failures);

	CHECK_STATUS(loam_vmalloc_status(&fix.vm, 16 * MIB, NULL, &address), LOAM_ERR_NO_MEMORY);
	failure = loam_vmalloc_last_failure(&fix.vm);
	CHECK_EQ(failure.status, LOAM_ERR_NO_MEMORY);
	CHECK_EQ(failure.nbytes, 16 * MIB);
	CHECK_EQ(failure.npages, 4096);
	CHECK_EQ(failure.max_allowed, 0);
	CHECK_STATUS(
		loam_vmalloc_status(&fix.vm, 2 * MIB, &(struct loam_vmalloc_opts){.align = (size_t)1 << 40}, &address),
		LOAM_ERR_NO_RANGE);
	after = vm_stats();
	CHECK_EQ(after.failures, before.failures + 2);
	CHECK_EQ(after.last_failure.status, LOAM_ERR_NO_RANGE);
	CHECK(address == (void *)&address);
	CHECK_OK(loam_vmalloc_check(&fix.vm));
	CHECK_EQ(vm_free_frames(), frames); /* no trace */
	CHECK_EQ(after.total_sequence, before.total_sequence);

	CHECK(loam_vfree(&fix.vm, vm_alloc(5000)));
	CHECK_EQ(loam_vmalloc_last_failure(&fix.vm).status, LOAM_OK);
	vm_end();
}

TEST(V4_free_of_null_succeeds_and_of_anything_else_but_a_live_base_changes_nothing)
{
	uint64_t frames;
	char *address, *freed;
	int local = 0;

	vm_begin(2048, 16 * MIB);
	address = vm_alloc(10 * PAGE);
	freed = vm_alloc(3 * PAGE);
	CHECK(loam_vfree(&fix.vm, freed));
	frames = vm_free_frames();
	CHECK(loam_vfree(&fix.vm, NULL));
	CHECK(loam_vfree_now(&fix.vm, NULL));
	CHECK(!loam_vfree(&fix.vm, &local));
	CHECK(!loam_vfree(&fix.vm, (void *)(VM_START - PAGE)));
	CHECK(!loam_vfree(&fix.vm, (void *)(VM_START + 16 * MIB)));
	CHECK(!loam_vfree(&fix.vm, address + PAGE));
	CHECK(!loam_vfree(&fix.vm, address + 1));
	CHECK(!loam_vfree(&fix.vm, address + 10 * PAGE));
	CHECK(!loam_vfree(&fix.vm, freed));
	CHECK(!loam_vfree_now(&fix.vm, freed));
	CHECK(!loam_vfree(&fix.vm, (void *)(VM_START + 8 * MIB)));
	CHECK_EQ(vm_stats().refused_frees, 9);
	CHECK_EQ(vm_stats().last_refused, VM_START + 8 * MIB);
	CHECK(!loam_vunmap(&fix.vm, address));
	CHECK(!loam_vstack_free(&fix.vm, address + 10 * PAGE));
	CHECK_EQ(vm_stats().refused_frees, 11);
	CHECK_EQ(vm_free_frames(), frames);
	CHECK_EQ(vm_stats().live_areas, 1);
	CHECK_EQ(vm_stats().live_pages, 10);
	CHECK_OK(loam_vmalloc_check(&fix.vm));
	CHECK(loam_vfree(&fix.vm, address));
	CHECK(!loam_vfree(&fix.vm, address));
	vm_end();
}

TEST(V4_neither_range_nor_frames_come_back_before_the_flush)
{
	loam_pfn pfns[4];
	struct loam_tlb_stats before, after;
	uintptr_t start;
	char *address;

	vm_begin(2048, 16 * MIB);
	address = vm_alloc(4 * PAGE);
	start = (uintptr_t)address;
	for (size_t i = 0; i < 4; i++)
		pfns[i] = vm_frame_at(address + i * PAGE);
	loam_tlb_read_stats(&fix.tlb, &before);
	CHECK(loam_vfree(&fix.vm, address));
	loam_tlb_read_stats(&fix.tlb, &after);
	CHECK_EQ(after.flushes, before.flushes);
	for (size_t i = 0; i < 4; i++)
		CHECK_EQ(loam_frame_ref_get(fix.rig->frames, pfns[i]), 1); /* still ours */
	CHECK_EQ(vm_stats().waiting_areas, 1);
	for (int round = 0; round < 20; round++)
		CHECK((uintptr_t)vm_alloc(4 * PAGE) != start);
	CHECK_OK(loam_vmalloc_purge(&fix.vm));
	loam_tlb_read_stats(&fix.tlb, &after);
	CHECK_EQ(after.flushes, before.flushes + 1);
	for (size_t i = 0; i < 4; i++)
		CHECK_EQ(loam_frame_ref_get(fix.rig->frames, pfns[i]), LOAM_FRAME_UNUSED);
	CHECK_EQ(vm_stats().waiting_areas, 0);
	address = NULL;
	for (struct loam_vmalloc_live live; loam_vmalloc_snapshot(&fix.vm, &live, 1, NULL) == 1;)
		CHECK(loam_vfree(&fix.vm, (void *)live.address));
	vm_end();
}

/* So small a batch is full before anybody asks how old it is: how many there are does not depend on time. */
TEST(V4_one_flush_serves_a_full_batch)
{
	struct loam_tlb_stats before, after;
	static void *address[196];

	vm_begin_bare(8192, 64 * MIB);
	fix.config.batch_areas = 8;
	tap_log_capture();
	CHECK_OK(loam_vmalloc_init(&fix.vm, &fix.config));
	(void)tap_log_end();
	for (size_t i = 0; i < 196; i++)
		address[i] = vm_alloc(PAGE);
	loam_tlb_read_stats(&fix.tlb, &before);
	for (size_t i = 0; i < 196; i++) {
		CHECK(loam_vfree(&fix.vm, address[i]));
		loam_tlb_read_stats(&fix.tlb, &after);
		CHECK_EQ(after.flushes - before.flushes, (i + 1) / 8);
	}
	CHECK_OK(loam_vmalloc_check(&fix.vm));
	CHECK_OK(loam_vmalloc_purge(&fix.vm));
	loam_tlb_read_stats(&fix.tlb, &after);
	CHECK_EQ(after.flushes - before.flushes, 25); /* ceil(196 / 8) */
	vm_end();
}

/* A batch is also full by its pages: the least of 32 MiB, 1/64 of the arena and 1/64 of RAM. */
TEST(V4_a_batch_of_many_pages_is_flushed_early)
{
	struct loam_tlb_stats before, after;
	void *address[4];

	vm_begin(8192, 16 * MIB); /* 64 pages of 4096 */
	for (size_t i = 0; i < 4; i++)
		address[i] = vm_alloc(32 * PAGE);
	loam_tlb_read_stats(&fix.tlb, &before);
	for (size_t i = 0; i < 4; i++) {
		CHECK(loam_vfree(&fix.vm, address[i]));
		loam_tlb_read_stats(&fix.tlb, &after);
		CHECK_EQ(after.flushes - before.flushes, (i + 1) / 2);
	}
	vm_end();
}

TEST(V4_free_now_leaves_nothing_waiting)
{
	uint64_t frames;
	char *address;
	loam_pfn pfn;

	vm_begin(2048, 16 * MIB);
	address = vm_alloc(8 * PAGE);
	pfn = vm_frame_at(address);
	frames = vm_free_frames();
	CHECK(loam_vfree_now(&fix.vm, address));
	CHECK_EQ(loam_frame_ref_get(fix.rig->frames, pfn), LOAM_FRAME_UNUSED);
	CHECK_EQ(vm_free_frames(), frames + 8);
	CHECK_EQ(vm_stats().waiting_areas, 0);
	vm_end();
}

TEST(V4_what_waits_is_flushed_before_memory_or_addresses_run_out)
{
	struct loam_vmalloc_opts opts = {.uninitialized = true};
	size_t npages = 1;
	void *address;

	/* Half of memory twice over, then half of the addresses. */
	vm_begin(2048, 64 * MIB);
	npages = (size_t)vm_free_frames() * 6 / 10;
	for (int round = 0; round < 6; round++) {
		address = loam_vmalloc(&fix.vm, npages * PAGE, &opts);
		CHECK(address != NULL);
		CHECK(loam_vfree(&fix.vm, address));
	}
	vm_end();
	vm_begin(2048, MIB);
	for (int round = 0; round < 6; round++)
		CHECK(loam_vfree(&fix.vm, vm_alloc(150 * PAGE)));
	vm_end();
}

TEST(V4_a_frame_allocation_that_would_fail_gets_what_waits)
{
	static loam_pfn pfns[2048];
	size_t n = 0, total;

	vm_begin(2048, 64 * MIB);
	total = (size_t)vm_free_frames();
	CHECK(loam_vfree(&fix.vm, vm_alloc(1000 * PAGE)));
	while (n < 2048 && (pfns[n] = loam_frame_alloc(fix.rig->frames, 0, NULL)) != LOAM_PFN_NONE)
		n++;
	CHECK(n + 40 > total); /* page tables and metadata of the area stay */
	loam_frame_free_batch(fix.rig->frames, pfns, n);
	vm_end();
}

TEST(V5_metadata_has_no_fixed_maximum_and_uses_no_contiguous_frames)
{
	static loam_pfn singles[8192];
	struct loam_vmalloc_opts opts = {.uninitialized = true};
	size_t n = 0, kept = 0, live = 0;

	vm_begin(8192, 64 * MIB);
	while ((singles[n] = loam_frame_alloc(fix.rig->frames, 0, NULL)) != LOAM_PFN_NONE)
		n++;
	for (size_t i = 0; i < n; i++) {
		if (singles[i] % 2 == 0)
			loam_frame_free(fix.rig->frames, singles[i], 0);
		else
			singles[kept++] = singles[i];
	}
	while (loam_vmalloc(&fix.vm, PAGE, &opts) != NULL)
		live++;
	CHECK(live > 3000);
	CHECK_EQ(loam_vmalloc_snapshot(&fix.vm, NULL, 0, &n), 0);
	CHECK_EQ(n, live);
	for (struct loam_vmalloc_live one; loam_vmalloc_snapshot(&fix.vm, &one, 1, NULL) == 1;)
		CHECK(loam_vfree(&fix.vm, (void *)one.address));
	for (size_t i = 0; i < kept; i++)
		loam_frame_free(fix.rig->frames, singles[i], 0);
	vm_end();
}

TEST(V11_init_is_idempotent)
{
	struct loam_vmalloc_config other;
	uint64_t frames;

	vm_begin(2048, 16 * MIB);
	frames = vm_free_frames();
	CHECK_OK(loam_vmalloc_init(&fix.vm, &fix.config));
	other = fix.config;
	other.start = VM_START;
	other.batch_areas = LOAM_VMALLOC_BATCH; /* what the zeros stand for */
	CHECK_OK(loam_vmalloc_init(&fix.vm, &other));
	other.nbytes = 32 * MIB;
	CHECK_STATUS(loam_vmalloc_init(&fix.vm, &other), LOAM_ERR_ALREADY);
	CHECK_EQ(vm_free_frames(), frames);
	vm_end();
}

TEST(V11_an_init_without_memory_says_so_and_is_tried_again_at_first_use)
{
	static loam_pfn hog[2048];
	struct loam_vmalloc_stats stats;
	size_t n = 0;
	void *address;

	vm_begin_bare(2048, 16 * MIB);
	while ((hog[n] = loam_frame_alloc(fix.rig->frames, 0, NULL)) != LOAM_PFN_NONE)
		n++;
	tap_log_capture();
	CHECK_STATUS(loam_vmalloc_init(&fix.vm, &fix.config), LOAM_ERR_NO_METADATA);
	CHECK_STR(tap_log_end(), "loam: vmalloc: cannot set up: no memory for metadata; the first use tries again\n");
	CHECK_STATUS(loam_vmalloc_read_stats(&fix.vm, &stats), LOAM_ERR_NOT_READY);
	CHECK_EQ(vm_free_frames(), 0);
	tap_log_capture();
	CHECK(loam_vmalloc(&fix.vm, 1, NULL) == NULL);
	(void)tap_log_end();
	loam_frame_free_batch(fix.rig->frames, hog, n);
	tap_log_capture();
	address = loam_vmalloc(&fix.vm, 100, NULL);
	CHECK_STR(tap_log_end(), "loam: vmalloc: 0xffffc00000000000..0xffffc00001000000, 4096 pages, 16 MiB\n");
	CHECK(address != NULL);
	CHECK(loam_vfree(&fix.vm, address));
	vm_end();
}

TEST(V11_allocating_before_init_initialises)
{
	void *address;

	vm_begin_bare(2048, 16 * MIB);
	CHECK_STATUS(loam_vmalloc_status(&fix.vm, 1, NULL, &address), LOAM_ERR_NOT_READY);
	CHECK(!loam_vfree(&fix.vm, (void *)(VM_START + PAGE)));
	CHECK_EQ(loam_vmalloc_is_live(&fix.vm, (void *)(VM_START + PAGE)), 0);
	fix.vm.config = fix.config; /* as a static initialiser would */
	tap_log_capture();
	address = vm_alloc(12345);
	(void)tap_log_end();
	CHECK_EQ(loam_vmalloc_is_live(&fix.vm, address), 1);
	CHECK(loam_vfree(&fix.vm, address));
	vm_end();
}

TEST(bad_configurations_of_vmalloc_are_refused)
{
	struct loam_vmalloc_config config;
	uint64_t frames;

	vm_begin_bare(2048, 16 * MIB);
	frames = vm_free_frames();
	tap_log_capture();
	config = fix.config;
	config.tree = NULL;
	CHECK_STATUS(loam_vmalloc_init(&fix.vm, &config), LOAM_ERR_INVALID);
	config = fix.config;
	config.ncpus = 0;
	CHECK_STATUS(loam_vmalloc_init(&fix.vm, &config), LOAM_ERR_CPU);
	config = fix.config;
	config.start = VM_START + 5;
	CHECK_STATUS(loam_vmalloc_init(&fix.vm, &config), LOAM_ERR_ALIGNMENT);
	config = fix.config;
	config.start = (uintptr_t)1 << 47;
	CHECK_STATUS(loam_vmalloc_init(&fix.vm, &config), LOAM_ERR_OUT_OF_RANGE);
	config = fix.config;
	config.start = ~(uintptr_t)0xfff;
	CHECK_STATUS(loam_vmalloc_init(&fix.vm, &config), LOAM_ERR_OVERFLOW);
	config = fix.config;
	config.nbytes = (size_t)1 << 47;
	config.start = ~(uintptr_t)0 << 47;
	CHECK(loam_vmalloc_init(&fix.vm, &config) != LOAM_OK);
	(void)tap_log_end();
	CHECK_EQ(vm_free_frames(), frames);
	tap_log_capture();
	CHECK_OK(loam_vmalloc_init(&fix.vm, &fix.config));
	(void)tap_log_end();
	vm_end();
}
