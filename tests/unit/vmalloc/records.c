/* Who holds what: SPEC V6 to V10. */
#include "fixture.h"

static const struct loam_call_site site_a = {"a.c", "fa", 11, 3};
static const struct loam_call_site site_b = {"b.c", "fb", 22, 0};

TEST(a_freed_area_is_known_until_its_flush)
{
	struct loam_vmalloc_opts opts = {.site = &site_a};
	struct loam_vmalloc_live live;

	vm_begin(2048, 16 * MIB);
	void *a = loam_vmalloc(&fix.vm, 5000, &opts);
	CHECK(loam_vfree(&fix.vm, a));
	CHECK_EQ(loam_vmalloc_whereis(&fix.vm, (uintptr_t)a + 4999, &live), LOAM_PLACE_FREED);
	CHECK_EQ(live.address, (uintptr_t)a);
	CHECK_EQ(live.nbytes, 5000);
	CHECK(live.site == &site_a);
	CHECK_EQ(loam_vmalloc_is_live(&fix.vm, a), 0);
	CHECK_OK(loam_vmalloc_purge(&fix.vm));
	CHECK_EQ(loam_vmalloc_whereis(&fix.vm, (uintptr_t)a, &live), LOAM_PLACE_UNUSED);
	vm_end();
}

TEST(V6_each_area_says_who_asked)
{
	struct loam_vmalloc_live live[2];
	struct loam_task task;
	void *a, *b;

	vm_begin(2048, 16 * MIB);
	a = loam_vmalloc(&fix.vm, 5000, &(struct loam_vmalloc_opts){.site = &site_a});
	b = loam_vmalloc(&fix.vm, 1, &(struct loam_vmalloc_opts){.site = &site_b});
	CHECK_EQ(loam_vmalloc_whereis(&fix.vm, (uintptr_t)a + 4999, &live[0]), LOAM_PLACE_AREA);
	CHECK_EQ(loam_vmalloc_whereis(&fix.vm, (uintptr_t)b, &live[1]), LOAM_PLACE_AREA);
	CHECK_EQ(live[0].address, (uintptr_t)a);
	CHECK_EQ(live[0].nbytes, 5000);
	CHECK_EQ(live[0].npages, 2);
	CHECK(live[0].site == &site_a);
	CHECK(live[1].site == &site_b);
	CHECK_EQ(live[0].sequence, 1);
	CHECK_EQ(live[1].sequence, 2);
	CHECK(!live[0].stack && !live[0].mapping && !live[0].device);
	loam_port_task(&task);
	CHECK_EQ(live[0].task.task, task.task);
	CHECK_EQ(live[0].task.pid, task.pid);
	CHECK_EQ(live[0].task.tid, task.tid);
	CHECK_EQ(live[0].task.silo, task.silo);
	CHECK(loam_vfree(&fix.vm, a) && loam_vfree(&fix.vm, b));
	vm_end();
}

TEST(V7_sequence_counts_successes_and_peak_stays)
{
	void *a, *b;

	vm_begin(2048, 16 * MIB);
	a = vm_alloc(100 * PAGE);
	b = vm_alloc(50 * PAGE);
	CHECK_EQ(vm_stats().total_sequence, 2);
	CHECK_EQ(vm_stats().peak_pages, 150);
	CHECK(loam_vmalloc(&fix.vm, 0, NULL) == NULL);
	CHECK(loam_vmalloc(&fix.vm, 16 * MIB, NULL) == NULL);
	CHECK_EQ(vm_stats().total_sequence, 2);
	CHECK(loam_vfree(&fix.vm, a));
	CHECK_EQ(vm_stats().live_pages, 50);
	CHECK_EQ(vm_stats().peak_pages, 150);
	a = vm_alloc(PAGE);
	CHECK_EQ(vm_stats().total_sequence, 3);
	CHECK_EQ(vm_stats().peak_pages, 150);
	CHECK(loam_vfree(&fix.vm, a) && loam_vfree(&fix.vm, b));
	vm_end();
}

TEST(V8_snapshot_is_in_address_order_and_says_when_it_is_cut)
{
	struct loam_vmalloc_live live[30];
	size_t total = 99;
	void *address[40];

	vm_begin(2048, 16 * MIB);
	CHECK_EQ(loam_vmalloc_snapshot(&fix.vm, live, 30, &total), 0);
	CHECK_EQ(total, 0);
	for (size_t i = 0; i < 40; i++)
		address[i] = vm_alloc((1 + i * 11 % 37) * PAGE);
	for (size_t i = 0; i < 40; i += 2)
		CHECK(loam_vfree(&fix.vm, address[i]));
	CHECK_EQ(loam_vmalloc_snapshot(&fix.vm, live, 30, &total), 20);
	CHECK_EQ(total, 20);
	for (size_t i = 1; i < 20; i++)
		CHECK(live[i].address > live[i - 1].address);
	for (size_t i = 0; i < 20; i++)
		CHECK_EQ(live[i].address, (uintptr_t)address[live[i].sequence - 1]);
	CHECK_EQ(loam_vmalloc_snapshot(&fix.vm, live, 7, &total), 7);
	CHECK_EQ(total, 20);
	for (size_t i = 1; i < 40; i += 2)
		CHECK(loam_vfree(&fix.vm, address[i]));
	vm_end();
}

TEST(V8_diagnostics_add_up)
{
	struct loam_vmalloc_stats stats;
	void *a, *b;

	vm_begin_bare(8192, 16 * MIB);
	CHECK_STATUS(loam_vmalloc_read_stats(&fix.vm, &stats), LOAM_ERR_NOT_READY);
	tap_log_capture();
	CHECK_OK(loam_vmalloc_init(&fix.vm, &fix.config));
	(void)tap_log_end();
	stats = vm_stats();
	CHECK_EQ(stats.arena_end - stats.arena_start, 16 * MIB);
	CHECK_EQ(stats.free_pages, 16 * MIB / PAGE - 1);
	CHECK_EQ(stats.largest_free_pages, stats.free_pages);
	CHECK_EQ(stats.free_extents, 1);
	CHECK(stats.metadata_pages > 0);
	a = vm_alloc(60 * PAGE);
	b = vm_alloc(40 * PAGE);
	stats = vm_stats();
	CHECK_EQ(stats.live_areas, 2);
	CHECK_EQ(stats.live_pages, 100);
	CHECK_EQ(stats.free_pages, 16 * MIB / PAGE - 1 - 102); /* with guards */
	CHECK(loam_vfree(&fix.vm, a));
	CHECK_EQ(vm_stats().waiting_areas, 1);
	CHECK_EQ(vm_stats().live_areas, 1);
	CHECK(loam_vfree(&fix.vm, b));
	CHECK_OK(loam_vmalloc_purge(&fix.vm));
	stats = vm_stats();
	CHECK_EQ(stats.free_pages, 16 * MIB / PAGE - 1);
	CHECK_EQ(stats.free_extents, 1);
	CHECK(stats.free_nodes > 0);
	vm_end();
}

TEST(V9_is_live_answers_without_waiting)
{
	char *address;
	void *top;

	vm_begin(2048, 16 * MIB);
	address = vm_alloc(3 * PAGE);
	CHECK_EQ(loam_vmalloc_is_live(&fix.vm, address), 1);
	CHECK_EQ(loam_vmalloc_is_live(&fix.vm, address + PAGE), 0);
	CHECK_EQ(loam_vmalloc_is_live(&fix.vm, NULL), 0);
	CHECK_EQ(loam_vmalloc_is_live(&fix.vm, (void *)VM_START), 0);
	CHECK_OK(loam_vstack_alloc(&fix.vm, 2 * PAGE, NULL, &top));
	CHECK_EQ(loam_vmalloc_is_live(&fix.vm, (char *)top - 2 * PAGE), 1);
	CHECK(loam_vstack_free(&fix.vm, top));
	CHECK_EQ(loam_vmalloc_is_live(&fix.vm, (char *)top - 2 * PAGE), 0);
	CHECK(loam_vfree(&fix.vm, address));
	CHECK_EQ(loam_vmalloc_is_live(&fix.vm, address), 0);
	vm_end();
}

TEST(V9_is_live_cannot_tell_while_an_area_changes_hands)
{
	struct loam_area area;
	void *address;

	vm_begin(2048, 16 * MIB);
	address = vm_alloc(PAGE);
	CHECK_OK(loam_arena_claim(&fix.vm.arena, (uintptr_t)address, &area));
	CHECK_EQ(loam_vmalloc_is_live(&fix.vm, address), (uint64_t)-1);
	CHECK(!loam_vfree(&fix.vm, address));
	loam_arena_unclaim(&fix.vm.arena, &area);
	CHECK_EQ(loam_vmalloc_is_live(&fix.vm, address), 1);
	CHECK(loam_vfree(&fix.vm, address));
	vm_end();
}

TEST(V10_dump_shows_every_attribution_field)
{
	void *address;

	vm_begin(2048, 16 * MIB);
	address = loam_vmalloc(&fix.vm, 5000, &(struct loam_vmalloc_opts){.align = MIB, .site = &site_a});
	CHECK_EQ((uintptr_t)address, VM_START + MIB);
	tap_log_capture();
	loam_vmalloc_dump_live(&fix.vm);
	CHECK_STR(tap_log_end(), "loam: vmalloc live: seq=1 kind=vmalloc task=0 pid=0 tid=0 silo=0 size=5000 pages=2 "
				 "vaddr=0xffffc00000100000 caller=a.c:11:3\n"
				 "loam: vmalloc live: total 1 areas, 2 pages (8 KiB), peak_pages=2\n");
	CHECK(loam_vfree(&fix.vm, address));
	vm_end();
}

static bool has_line(const char *text, const char *line)
{
	for (; *text != '\0'; text++) {
		size_t n = 0;

		while (line[n] != '\0' && text[n] == line[n])
			n++;
		if (line[n] == '\0')
			return true;
	}
	return false;
}

TEST(V10_a_long_dump_is_cut_and_says_so)
{
	static void *address[LOAM_VMALLOC_DUMP_MAX + 5];
	const char *text;

	vm_begin(2048, 16 * MIB);
	for (size_t i = 0; i < LOAM_VMALLOC_DUMP_MAX + 5; i++)
		address[i] = vm_alloc(1);
	tap_log_capture();
	loam_vmalloc_dump_live(&fix.vm);
	text = tap_log_end();
	CHECK(has_line(text, "loam: vmalloc live: seq="));
	CHECK(has_line(text, "loam: vmalloc live: total 261 areas, 261 pages (1044 KiB), peak_pages=261\n"
			     "loam: vmalloc live: truncated, 5 more areas not shown\n"));
	for (size_t i = 0; i < LOAM_VMALLOC_DUMP_MAX + 5; i++)
		CHECK(loam_vfree(&fix.vm, address[i]));
	tap_log_capture();
	loam_vmalloc_dump_live(&fix.vm);
	CHECK_STR(tap_log_end(), "loam: vmalloc live: total 0 areas, 0 pages (0 KiB), peak_pages=261\n");
	vm_end();
}

TEST(V10_diagnostics_are_printed)
{
	const char *text;

	vm_begin_bare(2048, 16 * MIB);
	tap_log_capture();
	loam_vmalloc_dump_live(&fix.vm);
	loam_vmalloc_dump_stats(&fix.vm);
	CHECK_STR(tap_log_end(), "loam: vmalloc live: not initialised\nloam: vmalloc stats: not initialised\n");
	tap_log_capture();
	CHECK_OK(loam_vmalloc_init(&fix.vm, &fix.config));
	(void)tap_log_end();
	CHECK(loam_vmalloc(&fix.vm, 17 * MIB, NULL) == NULL);
	tap_log_capture();
	loam_vmalloc_dump_stats(&fix.vm);
	text = tap_log_end();
	CHECK(has_line(text,
		       "arena=0xffffc00000000000..0xffffc00001000000 areas=0 pages=0 free_pages=4095 peak_pages=0 "
		       "total_seq=0 failures=0 policy_rejects=1\n"));
	CHECK(has_line(text, "free_extents=1 largest_free_pages=4095 "));
	CHECK(has_line(text, "last_failure: size=17825792 pages=4352 max=16777216 error=too large\n"));
	vm_end();
}
