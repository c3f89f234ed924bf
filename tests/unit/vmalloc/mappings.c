/* Stacks, other people's frames, devices, permissions, resizing, large leaves. */
#include "fixture.h"

#define RW (LOAM_PROT_READ | LOAM_PROT_WRITE)

TEST(a_stack_has_guards_on_both_sides)
{
	struct loam_vmalloc_live live;
	char *top;
	void *at;

	vm_begin(2048, 16 * MIB);
	CHECK_OK(loam_vstack_alloc(&fix.vm, 3 * PAGE - 7, NULL, &at));
	top = at;
	CHECK_EQ((uintptr_t)top % 16, 0);
	CHECK_EQ(vm_frame_at(top), LOAM_PFN_NONE);
	for (size_t i = 1; i <= 3; i++)
		CHECK_EQ(vm_prot_at(top - i * PAGE), RW);
	CHECK_EQ(vm_frame_at(top - 4 * PAGE), LOAM_PFN_NONE);
	CHECK_EQ(loam_vmalloc_whereis(&fix.vm, (uintptr_t)top - 3 * PAGE - 1, &live), LOAM_PLACE_STACK_GUARD);
	CHECK(live.stack);
	CHECK_EQ(live.address, (uintptr_t)top - 3 * PAGE);
	CHECK_EQ(live.npages, 3);
	CHECK_EQ(loam_vmalloc_whereis(&fix.vm, (uintptr_t)top - 1, NULL), LOAM_PLACE_AREA);
	CHECK_EQ(loam_vmalloc_whereis(&fix.vm, (uintptr_t)top, NULL), LOAM_PLACE_GUARD);
	CHECK_EQ(loam_vmalloc_whereis(&fix.vm, (uintptr_t)top - 3 * PAGE, NULL), LOAM_PLACE_AREA);
	CHECK_EQ(loam_vmalloc_whereis(&fix.vm, VM_START - 1, NULL), LOAM_PLACE_OUTSIDE);
	CHECK_EQ(loam_vmalloc_whereis(&fix.vm, VM_START + 16 * MIB - 1, NULL), LOAM_PLACE_UNUSED);
	CHECK(!loam_vfree(&fix.vm, top - 3 * PAGE));
	CHECK(!loam_vfree(&fix.vm, top - 4 * PAGE));
	CHECK(!loam_vstack_free(&fix.vm, top - 16));
	CHECK(!loam_vstack_free(&fix.vm, top - PAGE));
	CHECK(loam_vstack_free(&fix.vm, NULL));
	CHECK(loam_vstack_free(&fix.vm, top));
	CHECK(!loam_vstack_free(&fix.vm, top));
	CHECK_EQ(loam_vmalloc_whereis(&fix.vm, (uintptr_t)top - 1, NULL), LOAM_PLACE_UNUSED);
	vm_end();
}

TEST(a_freed_stack_is_handed_out_again_zeroed_without_a_flush)
{
	struct loam_tlb_stats before, after;
	void *first, *top;

	vm_begin(2048, 16 * MIB);
	CHECK_OK(loam_vstack_alloc(&fix.vm, 16384, NULL, &first));
	*vm_byte((char *)first - 1, 0) = 0x77;
	loam_tlb_read_stats(&fix.tlb, &before);
	CHECK(loam_vstack_free(&fix.vm, first));
	CHECK_EQ(vm_stats().cached_stacks, 1);
	CHECK_EQ(vm_stats().live_areas, 0);
	CHECK_OK(loam_vmalloc_check(&fix.vm));
	CHECK_OK(loam_vstack_alloc(&fix.vm, 16384, NULL, &top));
	CHECK(top == first);
	CHECK_EQ(*vm_byte((char *)top - 1, 0), 0);
	loam_tlb_read_stats(&fix.tlb, &after);
	CHECK_EQ(after.flushes, before.flushes);
	CHECK_EQ(vm_stats().live_areas, 1);
	CHECK(loam_vstack_free(&fix.vm, top));
	CHECK_OK(loam_vstack_alloc(&fix.vm, 8192, NULL, &top)); /* another size */
	CHECK(top != first);
	CHECK(loam_vstack_free(&fix.vm, top));
	CHECK_OK(loam_vmalloc_purge(&fix.vm));
	CHECK_EQ(vm_stats().cached_stacks, 0);
	CHECK_EQ(vm_stats().waiting_areas, 0);
	vm_end();
}

/* Marked by its user, or while it waits: it goes the way of every area, and its frame into quarantine. A sound one of the same length is still handed out. */
TEST(F11_a_stack_with_a_poisoned_frame_is_not_handed_out_again)
{
	void *sound, *bad, *top;
	loam_pfn pfn;

	for (int waits = 0; waits <= 1; waits++) {
		vm_begin(2048, 16 * MIB);
		CHECK_OK(loam_vstack_alloc(&fix.vm, 16384, NULL, &sound));
		CHECK_OK(loam_vstack_alloc(&fix.vm, 16384, NULL, &bad));
		pfn = vm_frame_at((char *)bad - 1 - 2 * PAGE);
		if (waits == 0)
			loam_frame_mark_poisoned(fix.rig->frames, pfn);
		CHECK(loam_vstack_free(&fix.vm, sound));
		CHECK(loam_vstack_free(&fix.vm, bad));
		CHECK_EQ(vm_stats().cached_stacks, 2);
		if (waits == 1)
			loam_frame_mark_poisoned(fix.rig->frames, pfn);
		CHECK_OK(loam_vstack_alloc(&fix.vm, 16384, NULL, &top));
		CHECK(top == sound);
		CHECK_EQ(vm_stats().cached_stacks, 0);
		CHECK_EQ(vm_stats().waiting_areas, 1);
		CHECK_OK(loam_vmalloc_check(&fix.vm));
		CHECK_OK(loam_vmalloc_purge(&fix.vm));
		CHECK_EQ(loam_frame_quarantined_racy(fix.rig->frames), 1);
		CHECK(loam_vstack_free(&fix.vm, top));
		vm_end();
	}
}

/* Four a CPU, none of more than 16 pages: what is freed beyond that is unmapped and waits for a flush. */
TEST(the_cache_of_stacks_is_small)
{
	void *top[6];

	vm_begin(2048, 16 * MIB);
	for (size_t i = 0; i < 6; i++)
		CHECK_OK(loam_vstack_alloc(&fix.vm, 2 * PAGE, NULL, &top[i]));
	for (size_t i = 0; i < 6; i++)
		CHECK(loam_vstack_free(&fix.vm, top[i]));
	CHECK_EQ(vm_stats().cached_stacks, 4);
	CHECK_EQ(vm_stats().waiting_areas, 2);
	CHECK_EQ(vm_frame_at((char *)top[5] - 1), LOAM_PFN_NONE);
	CHECK_OK(loam_vmalloc_purge(&fix.vm));
	CHECK_OK(loam_vstack_alloc(&fix.vm, 17 * PAGE, NULL, &top[0]));
	CHECK(loam_vstack_free(&fix.vm, top[0]));
	CHECK_EQ(vm_stats().cached_stacks, 0);
	CHECK_EQ(vm_stats().waiting_areas, 1);
	vm_end();
}

TEST(V2_a_stack_that_cannot_be_had_leaves_no_trace)
{
	struct loam_vmalloc_stats stats;
	void *top;

	vm_begin(2048, 16 * MIB);
	CHECK_STATUS(loam_vstack_alloc(&fix.vm, 0, NULL, &top), LOAM_ERR_ZERO_SIZE);
	CHECK_STATUS(loam_vstack_alloc(&fix.vm, 16 * MIB, NULL, &top), LOAM_ERR_NO_MEMORY);
	stats = vm_stats();
	CHECK_EQ(stats.live_areas, 0);
	CHECK_EQ(stats.failures, 1);
	vm_end();
}

TEST(vmap_leaves_the_frames_to_their_owner)
{
	loam_pfn pfns[100];
	void *at = NULL;
	char *address;

	vm_begin(2048, 16 * MIB);
	for (size_t i = 0; i < 100; i++)
		pfns[i] = loam_frame_alloc(fix.rig->frames, 0, NULL);
	CHECK_OK(loam_vmap(&fix.vm, pfns, 100, LOAM_PROT_READ, NULL, &at));
	address = at;
	for (size_t i = 0; i < 100; i++)
		CHECK_EQ(vm_frame_at(address + i * PAGE), pfns[i]);
	CHECK_EQ(vm_prot_at(address), LOAM_PROT_READ);
	CHECK_OK(loam_vmalloc_check(&fix.vm));
	CHECK(!loam_vfree(&fix.vm, address));
	CHECK(!loam_vunmap(&fix.vm, address + PAGE));
	CHECK(!loam_vunmap(&fix.vm, address + 1));
	CHECK(loam_vunmap(&fix.vm, NULL));
	CHECK(loam_vunmap(&fix.vm, address));
	CHECK(!loam_vunmap(&fix.vm, address));
	CHECK_OK(loam_vmalloc_purge(&fix.vm));
	for (size_t i = 0; i < 100; i++)
		CHECK_EQ(loam_frame_ref_get(fix.rig->frames, pfns[i]), 1);
	loam_frame_free_batch(fix.rig->frames, pfns, 100);
	vm_end();
}

TEST(vmap_refuses_what_it_cannot_do)
{
	const loam_pfn wide[] = {UINT64_C(1) << 45};
	loam_pfn pfn;
	void *address = NULL;

	vm_begin(2048, 16 * MIB);
	pfn = loam_frame_alloc(fix.rig->frames, 0, NULL);
	CHECK_STATUS(loam_vmap(&fix.vm, &pfn, 0, LOAM_PROT_READ, NULL, &address), LOAM_ERR_ZERO_SIZE);
	CHECK_STATUS(loam_vmap(&fix.vm, &pfn, 1, 0, NULL, &address), LOAM_ERR_PROTECTION);
	CHECK_STATUS(loam_vmap(&fix.vm, &pfn, 1, RW | LOAM_PROT_EXEC, NULL, &address), LOAM_ERR_PROTECTION);
	CHECK_STATUS(loam_vmap(&fix.vm, &pfn, 1, RW | LOAM_PROT_USER, NULL, &address), LOAM_ERR_PROTECTION);
	CHECK_STATUS(loam_vmap(&fix.vm, &pfn, 8192, LOAM_PROT_READ, NULL, &address), LOAM_ERR_TOO_LARGE);
	CHECK_STATUS(loam_vmap(&fix.vm, wide, 1, LOAM_PROT_READ, NULL, &address), LOAM_ERR_OUT_OF_RANGE);
	CHECK(address == NULL);
	CHECK_EQ(vm_stats().live_areas, 0);
	loam_frame_free(fix.rig->frames, pfn, 0);
	vm_end();
}

TEST(vmap_phys_maps_devices_at_any_alignment)
{
	struct loam_paging_entry entry;
	struct loam_vmalloc_live live;
	void *at;
	char *address;

	vm_begin(2048, 16 * MIB);
	CHECK_OK(loam_vmap_phys(&fix.vm, 0xfee00ff0, 0x20, LOAM_CACHE_DEVICE, NULL, &at));
	address = at;
	CHECK_EQ((uintptr_t)address % PAGE, 0xff0);
	CHECK_OK(loam_paging_query(&fix.tree, (uintptr_t)address, &entry));
	CHECK_EQ(entry.pa, 0xfee00ff0);
	CHECK_EQ(entry.cache, LOAM_CACHE_DEVICE);
	CHECK_EQ(entry.prot & ~LOAM_PROT_GLOBAL, RW);
	CHECK_OK(loam_paging_query(&fix.tree, (uintptr_t)address + 0x1f, &entry));
	CHECK_EQ(entry.pa, 0xfee0100f);
	CHECK_EQ(loam_vmalloc_whereis(&fix.vm, (uintptr_t)address, &live), LOAM_PLACE_AREA);
	CHECK(live.device && live.mapping);
	CHECK_EQ(live.npages, 2);
	CHECK(!loam_vunmap(&fix.vm, address - 0xff0));
	CHECK(!loam_vunmap(&fix.vm, address + 1));
	CHECK(!loam_vfree(&fix.vm, address - 0xff0));
	CHECK(loam_vunmap(&fix.vm, address));
	CHECK_STATUS(loam_vmap_phys(&fix.vm, 0x1000, 0, LOAM_CACHE_DEVICE, NULL, &at), LOAM_ERR_ZERO_SIZE);
	CHECK_STATUS(loam_vmap_phys(&fix.vm, ~(loam_paddr)0, 2, LOAM_CACHE_DEVICE, NULL, &at), LOAM_ERR_OVERFLOW);
	CHECK_STATUS(loam_vmap_phys(&fix.vm, 0x1000, 17 * MIB, LOAM_CACHE_DEVICE, NULL, &at), LOAM_ERR_TOO_LARGE);
	CHECK_STATUS(loam_vmap_phys(&fix.vm, (loam_paddr)1 << 60, 1, LOAM_CACHE_DEVICE, NULL, &at),
		     LOAM_ERR_OUT_OF_RANGE);
	CHECK_STATUS(loam_vmap_phys(&fix.vm, 0x1000, 1, (enum loam_cache)9, NULL, &at), LOAM_ERR_INVALID);
	vm_end();
}

TEST(vmap_phys_keeps_every_cache_type_and_protect_does_not_change_it)
{
	static const enum loam_cache types[] = {LOAM_CACHE_WRITE_BACK, LOAM_CACHE_WRITE_COMBINING, LOAM_CACHE_UNCACHED,
						LOAM_CACHE_DEVICE};
	struct loam_paging_entry entry;
	void *at[4];

	vm_begin(2048, 16 * MIB);
	for (size_t i = 0; i < 4; i++) {
		CHECK_OK(loam_vmap_phys(&fix.vm, 0xfd000000, 3 * PAGE, types[i], NULL, &at[i]));
		CHECK_OK(loam_vmalloc_protect(&fix.vm, at[i], LOAM_PROT_READ));
	}
	for (size_t i = 0; i < 4; i++) {
		for (size_t page = 0; page < 3; page++) {
			CHECK_OK(loam_paging_query(&fix.tree, (uintptr_t)at[i] + page * PAGE, &entry));
			CHECK_EQ(entry.cache, types[i]);
			CHECK_EQ(entry.pa, 0xfd000000 + page * PAGE);
			CHECK_EQ(entry.prot & ~LOAM_PROT_GLOBAL, LOAM_PROT_READ);
		}
		CHECK(loam_vunmap(&fix.vm, at[i]));
	}
	vm_end();
}

/* In place, where the range has room for one page more; then elsewhere, where old and new pages are mapped in runs. */
TEST(pages_that_a_resize_brings_have_the_areas_permissions)
{
	static const unsigned int prots[] = {LOAM_PROT_READ, LOAM_PROT_READ | LOAM_PROT_EXEC, RW};
	static const size_t lengths[] = {19, 90, 150};
	void *address, *before;

	vm_begin(4096, (size_t)64 << 30); /* granules of more than a page: ranges have room */
	for (size_t i = 0; i < 3; i++) {
		address = vm_alloc(18 * PAGE);
		before = address;
		CHECK_OK(loam_vmalloc_protect(&fix.vm, address, prots[i]));
		for (size_t k = 0; k < 3; k++) {
			CHECK_OK(loam_vrealloc(&fix.vm, address, lengths[k] * PAGE, NULL, &address));
			CHECK((address == before) == (k == 0));
			for (size_t page = 0; page < lengths[k]; page++)
				CHECK_EQ(vm_prot_at((char *)address + page * PAGE), prots[i]);
		}
		CHECK(loam_vfree(&fix.vm, address));
	}
	vm_end();
}

TEST(protect_changes_a_whole_area_and_flushes)
{
	struct loam_tlb_stats before, after;
	char *address;

	vm_begin(2048, 16 * MIB);
	address = vm_alloc(5 * PAGE);
	loam_tlb_read_stats(&fix.tlb, &before);
	CHECK_OK(loam_vmalloc_protect(&fix.vm, address, LOAM_PROT_READ | LOAM_PROT_EXEC));
	loam_tlb_read_stats(&fix.tlb, &after);
	CHECK_EQ(after.flushes, before.flushes + 1);
	for (size_t i = 0; i < 5; i++)
		CHECK_EQ(vm_prot_at(address + i * PAGE), LOAM_PROT_READ | LOAM_PROT_EXEC);
	CHECK_OK(loam_vmalloc_protect(&fix.vm, address, LOAM_PROT_READ));
	CHECK_EQ(vm_prot_at(address), LOAM_PROT_READ);
	CHECK_STATUS(loam_vmalloc_protect(&fix.vm, address, RW | LOAM_PROT_EXEC), LOAM_ERR_PROTECTION);
	CHECK_STATUS(loam_vmalloc_protect(&fix.vm, address, 0), LOAM_ERR_PROTECTION);
	CHECK_STATUS(loam_vmalloc_protect(&fix.vm, address + PAGE, LOAM_PROT_READ), LOAM_ERR_NOT_FOUND);
	CHECK_STATUS(loam_vmalloc_protect(&fix.vm, (void *)16, LOAM_PROT_READ), LOAM_ERR_OUT_OF_RANGE);
	CHECK_EQ(vm_prot_at(address), LOAM_PROT_READ);
	CHECK(loam_vfree(&fix.vm, address));
	CHECK_STATUS(loam_vmalloc_protect(&fix.vm, address, LOAM_PROT_READ), LOAM_ERR_NOT_FOUND);
	vm_end();
}

static void fill(const char *address, size_t npages)
{
	for (size_t i = 0; i < npages; i++)
		*vm_byte(address, i * PAGE) = (unsigned char)(i + 1);
}

static void see(const char *address, size_t npages, size_t filled)
{
	for (size_t i = 0; i < npages; i++)
		CHECK_EQ(*vm_byte(address, i * PAGE), i < filled ? (unsigned char)(i + 1) : 0);
}

TEST(realloc_keeps_contents_and_frames)
{
	static const size_t sizes[] = {1, 3, 2, 40, 41, 300, 299, 10, 12, 10, 700, 1};
	uint64_t frames;
	void *at = NULL;
	size_t filled = 0;

	vm_begin(4096, 64 * MIB);
	frames = vm_free_frames();
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		loam_pfn first = at != NULL ? vm_frame_at(at) : LOAM_PFN_NONE;

		CHECK_OK(loam_vrealloc(&fix.vm, at, sizes[i] * PAGE - 1, NULL, &at));
		if (first != LOAM_PFN_NONE)
			CHECK_EQ(vm_frame_at(at), first);
		see(at, sizes[i], filled);
		fill(at, sizes[i]);
		filled = sizes[i];
		CHECK_EQ(vm_stats().live_areas, 1);
		CHECK_EQ(vm_stats().live_pages, sizes[i]);
		CHECK_OK(loam_vmalloc_check(&fix.vm));
	}
	CHECK(loam_vfree(&fix.vm, at));
	CHECK_OK(loam_vmalloc_purge(&fix.vm));
	CHECK(vm_free_frames() + 40 > frames);
	vm_end();
}

/* Down always, up as far as the range goes; but not again over addresses that may still be translated. Return: how many could grow. */
static size_t resize_in_place(void)
{
	struct loam_area area;
	size_t grown = 0;

	for (size_t npages = 1; npages < 80; npages++) {
		char *at = vm_alloc(npages * PAGE);
		void *out = at;

		CHECK_OK(loam_arena_lookup(&fix.vm.arena, (uintptr_t)at, &area, NULL));
		fill(at, npages);
		if (area.capacity > npages) {
			grown++;
			CHECK_OK(loam_vrealloc(&fix.vm, at, area.capacity * PAGE, NULL, &out));
			CHECK(out == at);
			see(at, area.capacity, npages);
			CHECK_EQ(vm_frame_at(at + area.capacity * PAGE), LOAM_PFN_NONE);
		}
		if (npages > 1) {
			CHECK_OK(loam_vrealloc(&fix.vm, at, (npages - 1) * PAGE, NULL, &out));
			CHECK(out == at);
			CHECK_EQ(vm_frame_at(at + (npages - 1) * PAGE), LOAM_PFN_NONE);
			CHECK_OK(loam_vrealloc(&fix.vm, at, npages * PAGE, NULL, &out));
			CHECK(out != at);
			see(out, npages, npages - 1);
		}
		CHECK(loam_vfree(&fix.vm, out));
	}
	CHECK_OK(loam_vmalloc_check(&fix.vm));
	return grown;
}

TEST(realloc_stays_in_place_where_it_can)
{
	vm_begin(4096, 64 * MIB);
	(void)resize_in_place();
	vm_end();
	vm_begin(4096, (size_t)64 << 30); /* granules of more than a page: ranges have room */
	CHECK(resize_in_place() > 0);
	vm_end();
}

TEST(realloc_that_fails_leaves_the_area_as_it_was)
{
	static int outside; /* not on the stack: in a kernel that is vmalloc memory */
	void *at, *out = NULL;
	uint64_t frames;

	vm_begin(2048, 16 * MIB);
	at = vm_alloc(20 * PAGE);
	fill(at, 20);
	CHECK_OK(loam_vmalloc_purge(&fix.vm));
	frames = vm_free_frames();
	CHECK_STATUS(loam_vrealloc(&fix.vm, at, 0, NULL, &out), LOAM_ERR_ZERO_SIZE);
	CHECK_STATUS(loam_vrealloc(&fix.vm, at, 17 * MIB, NULL, &out), LOAM_ERR_TOO_LARGE);
	CHECK_STATUS(loam_vrealloc(&fix.vm, at, 15 * MIB, NULL, &out), LOAM_ERR_NO_MEMORY);
	CHECK_STATUS(loam_vrealloc(&fix.vm, (char *)at + PAGE, PAGE, NULL, &out), LOAM_ERR_NOT_FOUND);
	CHECK_STATUS(loam_vrealloc(&fix.vm, &outside, PAGE, NULL, &out), LOAM_ERR_OUT_OF_RANGE);
	CHECK(out == NULL);
	CHECK_EQ(vm_free_frames(), frames);
	see(at, 20, 20);
	CHECK_EQ(loam_vmalloc_is_live(&fix.vm, at), 1);
	CHECK(loam_vfree(&fix.vm, at));
	vm_end();
}

TEST(frames_cut_off_wait_for_the_flush)
{
	loam_pfn last;
	void *at;

	vm_begin(2048, 16 * MIB);
	at = vm_alloc(20 * PAGE);
	last = vm_frame_at((char *)at + 19 * PAGE);
	CHECK_OK(loam_vrealloc(&fix.vm, at, 5 * PAGE, NULL, &at));
	CHECK_EQ(vm_frame_at((char *)at + 5 * PAGE), LOAM_PFN_NONE);
	CHECK_EQ(loam_frame_ref_get(fix.rig->frames, last), 1);
	CHECK_OK(loam_vmalloc_purge(&fix.vm));
	CHECK_EQ(loam_frame_ref_get(fix.rig->frames, last), LOAM_FRAME_UNUSED);
	CHECK(loam_vfree(&fix.vm, at));
	vm_end();
}

TEST(huge_areas_use_large_leaves_where_they_can)
{
	struct loam_vmalloc_opts opts = {.huge = true};
	struct loam_paging_entry entry;
	uint64_t frames;
	char *address;
	void *at;

	vm_begin(8192, 64 * MIB);
	frames = vm_free_frames();
	address = loam_vmalloc(&fix.vm, 5 * MIB, &opts);
	CHECK(address != NULL);
	CHECK_EQ((uintptr_t)address % (2 * MIB), 0);
	CHECK_OK(loam_paging_query(&fix.tree, (uintptr_t)address, &entry));
	CHECK_EQ(entry.leaf_shift, 21);
	CHECK_OK(loam_paging_query(&fix.tree, (uintptr_t)address + 5 * MIB - 1, &entry));
	CHECK_EQ(entry.leaf_shift, 12);
	for (size_t i = 0; i < 5 * MIB; i += PAGE)
		CHECK_EQ(*vm_byte(address, i), 0);
	CHECK_OK(loam_vmalloc_check(&fix.vm));
	/* Cut inside a block: its end stays. Then move all of it. */
	CHECK_OK(loam_vrealloc(&fix.vm, address, 3 * MIB, NULL, &at));
	CHECK_EQ(vm_stats().live_pages, 1024);
	CHECK_OK(loam_vrealloc(&fix.vm, at, 9 * MIB, NULL, &at));
	CHECK_OK(loam_paging_query(&fix.tree, (uintptr_t)at, &entry));
	CHECK_EQ(entry.leaf_shift, 21);
	CHECK_OK(loam_vmalloc_check(&fix.vm));
	CHECK(loam_vfree(&fix.vm, at));
	CHECK_OK(loam_vmalloc_purge(&fix.vm));
	CHECK(vm_free_frames() + 40 > frames);
	CHECK(loam_vfree(&fix.vm, loam_vmalloc(&fix.vm, 1, &opts)));
	vm_end();
}

/* Tables of small leaves that stayed from earlier are in the way of large ones: the same blocks in 4 KiB leaves, which can be cut anywhere but are not. */
TEST(a_block_in_small_leaves_is_cut_behind_its_end_too)
{
	struct loam_mapping mapping = {.prot = LOAM_PROT_READ};
	struct loam_vmalloc_opts opts = {.huge = true};
	struct loam_paging_entry entry;
	loam_pfn head;
	void *at;

	vm_begin(8192, 64 * MIB);
	for (uintptr_t va = vm_stats().arena_start + PAGE; va < vm_stats().arena_end; va += 2 * MIB) {
		CHECK_OK(loam_paging_map(&fix.tree, va, 0, 1, &mapping));
		CHECK_OK(loam_paging_unmap(&fix.tree, va, 1, NULL, NULL));
	}
	at = loam_vmalloc(&fix.vm, 5 * MIB, &opts);
	CHECK(at != NULL);
	CHECK_OK(loam_paging_query(&fix.tree, (uintptr_t)at, &entry));
	CHECK_EQ(entry.leaf_shift, 12);
	head = vm_frame_at((char *)at + 2 * MIB);
	CHECK_EQ(head % LOAM_BLOCK_FRAMES, 0);
	CHECK_OK(loam_vrealloc(&fix.vm, at, 3 * MIB, NULL, &at));
	CHECK_EQ(vm_stats().live_pages, 1024);
	CHECK_EQ(vm_frame_at((char *)at + 4 * MIB - PAGE), head + LOAM_BLOCK_FRAMES - 1);
	CHECK_OK(loam_vrealloc(&fix.vm, at, 9 * MIB, NULL, &at));
	CHECK_EQ(vm_frame_at((char *)at + 2 * MIB), head);
	CHECK_OK(loam_vrealloc(&fix.vm, at, PAGE, NULL, &at));
	CHECK_EQ(vm_stats().live_pages, 512);
	CHECK_OK(loam_vmalloc_purge(&fix.vm));
	CHECK_EQ(loam_frame_ref_get(fix.rig->frames, head), LOAM_FRAME_UNUSED);
	CHECK(loam_vfree(&fix.vm, at));
	vm_end();
}

/* In a large arena small areas are places of up to 256 pages, whose length can be cut by 63 only. */
TEST(realloc_shrinks_a_large_place_as_far_as_it_can)
{
	void *at;

	vm_begin(4096, (size_t)64 << 30);
	at = vm_alloc(200 * PAGE);
	fill(at, 200);
	CHECK_OK(loam_vrealloc(&fix.vm, at, PAGE, NULL, &at));
	see(at, 1, 1);
	CHECK_EQ(vm_stats().live_pages, 207 - 63);
	CHECK_OK(loam_vmalloc_check(&fix.vm));
	CHECK_OK(loam_vrealloc(&fix.vm, at, 250 * PAGE, NULL, &at));
	see(at, 1, 1);
	CHECK_EQ(vm_stats().live_pages, 250);
	CHECK(loam_vfree(&fix.vm, at));
	vm_end();
}

/* No two free frames are neighbours, so there is no block: single frames do. */
TEST(huge_areas_without_blocks_are_made_of_single_frames)
{
	static loam_pfn all[8192], odd[8192];
	struct loam_vmalloc_opts opts = {.huge = true};
	struct loam_paging_entry entry;
	size_t n = 0, nodd = 0;
	char *address;

	vm_begin(8192, 64 * MIB);
	while (n < 8192 && (all[n] = loam_frame_alloc(fix.rig->frames, 0, NULL)) != LOAM_PFN_NONE)
		n++;
	for (size_t i = 0; i < n; i++) {
		if (all[i] % 2 == 0)
			loam_frame_free(fix.rig->frames, all[i], 0);
		else
			odd[nodd++] = all[i];
	}
	address = loam_vmalloc(&fix.vm, 5 * MIB, &opts);
	CHECK(address != NULL);
	CHECK_EQ((uintptr_t)address % (2 * MIB), 0);
	for (size_t i = 0; i < 5 * MIB; i += PAGE) {
		CHECK_OK(loam_paging_query(&fix.tree, (uintptr_t)address + i, &entry));
		CHECK_EQ(entry.leaf_shift, 12);
		CHECK_EQ(*vm_byte(address, i), 0);
	}
	CHECK_OK(loam_vmalloc_check(&fix.vm));
	CHECK(loam_vfree(&fix.vm, address));
	loam_frame_free_batch(fix.rig->frames, odd, nodd);
	vm_end();
}
