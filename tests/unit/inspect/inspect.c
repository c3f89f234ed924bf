/* tests/unit/inspect/inspect.c: what is said of a small machine with every layer on it. */
#include <base/print.h>

#include "fixture.h"

static char text[256];

static const char *what(uintptr_t address)
{
	size_t length = loam_whatis(&whole, address, text, sizeof(text));

	CHECK(length < sizeof(text));
	CHECK_EQ(text[length], '\0');
	return text;
}

/* The line must be "0x<address>: <rest>". */
static void is(uintptr_t address, const char *rest)
{
	char expected[256];

	(void)loami_format(expected, sizeof(expected), "0x%lx: %s", (unsigned long)address, rest);
	CHECK_STR(what(address), expected);
}

static const char *formatted(const char *format, uintptr_t a, unsigned long b)
{
	static char line[256];

	(void)loami_format(line, sizeof(line), format, (unsigned long)a, b);
	return line;
}

static const struct loam_call_site site_a = {"../../kernel/fs/inode.c", "read_inode", 41, 0};
static const struct loam_call_site site_b = {"kernel/net/socket.c", NULL, 7, 0};

/* ---- whatis ---------------------------------------------------------------------------------------------------------------- */

TEST(inspect_whatis_names_heap_objects)
{
	inspect_begin(true);
	char *object = loam_heap_alloc_at(whole.heap, 100, &site_a);
	uintptr_t at = (uintptr_t)object;
	size_t usable = loam_heap_usable_size(whole.heap, object);

	is(at,
	   formatted("heap: live object 0x%lx of %lu bytes (size-112), allocated at kernel/fs/inode.c:41 (read_inode)",
		     at, usable));
	is(at + 8, formatted("heap: live object 0x%lx + 8 of %lu bytes (size-112), allocated at kernel/fs/inode.c:41 "
			     "(read_inode)",
			     at, usable));
	loam_heap_free_at(whole.heap, object, &site_b);
	is(at,
	   formatted("heap: free object 0x%lx of %lu bytes (size-112), freed at kernel/net/socket.c:7, allocated at "
		     "kernel/fs/inode.c:41 (read_inode)",
		     at, usable));
	inspect_end();
}

TEST(inspect_whatis_names_vmalloc_areas_and_their_guards)
{
	struct loam_vmalloc_opts opts = {.site = &site_b};
	void *area = NULL;
	void *top = NULL;

	inspect_begin(true);
	CHECK_OK(loam_vmalloc_status(whole.vm, 5000, &opts, &area));
	uintptr_t at = (uintptr_t)area;

	is(at, formatted("vmalloc: area 0x%lx of 5000 bytes, allocated at kernel/net/socket.c:7", at, 0));
	is(at + 4097, formatted("vmalloc: area 0x%lx + 4097 of 5000 bytes, allocated at kernel/net/socket.c:7", at, 0));
	is(at + 8192 + 16,
	   formatted("vmalloc: guard page, 3208 bytes past the end of area 0x%lx of 5000 bytes, allocated at "
		     "kernel/net/socket.c:7",
		     at, 0));
	CHECK(loam_vfree(whole.vm, area));
	is(at + 8,
	   formatted("vmalloc: FREED area 0x%lx + 8 of 5000 bytes, not reused yet, allocated at kernel/net/socket.c:7",
		     at, 0));
	CHECK_OK(loam_vmalloc_purge(whole.vm));
	is(at, "vmalloc: in the arena, in no live area");

	CHECK_OK(loam_vstack_alloc(whole.vm, 16384, &site_a, &top));
	uintptr_t low = (uintptr_t)top - 16384;

	is(low - 8,
	   formatted("vmalloc: STACK OVERFLOW: guard page, 8 bytes below stack 0x%lx of 16384 bytes, allocated at "
		     "kernel/fs/inode.c:41 (read_inode)",
		     low, 0));
	is(low + 256,
	   formatted("vmalloc: stack 0x%lx + 256 of 16384 bytes, allocated at kernel/fs/inode.c:41 (read_inode)", low,
		     0));
	CHECK(loam_vstack_free(whole.vm, top));
	CHECK_OK(loam_vmalloc_purge(whole.vm));
	inspect_end();
}

TEST(inspect_whatis_names_frames_in_the_direct_map)
{
	struct loam_frame_opts user = {.purpose = LOAM_PURPOSE_USER};
	char expected[256];

	inspect_begin(true);
	loam_pfn pfn = loam_frame_alloc(whole.frames, 3, &user);
	uintptr_t at = (uintptr_t)loam_frame_virt(whole.frames, pfn);

	(void)loami_format(
		expected, sizeof(expected),
		"direct map of physical 0x%lx: frame in use: user, page 5 of a block of 32.0 KiB, 1 reference, "
		"taken by cpu 0",
		(unsigned long)loam_frame_address(pfn) + 5 * 4096 + 7);
	is(at + 5 * 4096 + 7, expected);
	loam_frame_free(whole.frames, pfn, 3);
	CHECK(inspect_contains(what(at), ": free frame, generation "));

	/* The frame layer's own metadata. */
	at = (uintptr_t)loam_frame_slot(whole.frames, pfn);
	CHECK(inspect_contains(what(at), " (boot): RAM that is never handed out"));
	inspect_end();
}

TEST(inspect_whatis_reads_the_page_tables)
{
	struct loam_mapping code = {.prot = LOAM_PROT_READ | LOAM_PROT_EXEC};
	uintptr_t image = (uintptr_t)0xffffffff80200000;

	inspect_begin(true);
	CHECK_OK(loam_paging_map(whole.tree, image, 0x200000, 1, &code));
	is(image + 0x123, "not Loam's; mapped r-x by a 4.0 KiB leaf to physical 0x200123: not in the memory map");
	is(image + 0x1000, "nothing is mapped here");
	is((uintptr_t)0x8000000000000000, "no address at all: not canonical for x86-64 4-level");
	is(0, "a NULL pointer");
	is(24, "a NULL pointer, or a field at offset 24 of one");
	is((uintptr_t)inspect_rig->ram + inspect_rig->npages * LOAM_PAGE_SIZE, "nothing is mapped here");
	/* Somebody typed a physical address. */
	CHECK(inspect_contains(what((uintptr_t)inspect_rig->ram + 8), "nothing is mapped here; as a physical 0x") ||
	      inspect_contains(text, "direct map"));
	CHECK_OK(loam_paging_unmap(whole.tree, image, 1, NULL, NULL));
	inspect_end();
}

TEST(inspect_whatis_without_layers_and_with_little_room)
{
	struct loam_system nothing = {0};
	char small[8];

	CHECK_EQ(loam_whatis(&nothing, 0x123456, text, sizeof(text)), 54);
	CHECK_STR(text, "0x123456: nothing is mapped here, as far as Loam knows");
	CHECK(loam_whatis(&nothing, 0x123456, small, sizeof(small)) > sizeof(small));
	CHECK_STR(small, "0x12345");
	CHECK(loam_whatis(&nothing, 0x123456, NULL, 0) > 0);
}

/* ---- dumps ----------------------------------------------------------------------------------------------------------------- */

static const char *text_of_last;

static const char *shown(void (*dump)(const struct loam_system *))
{
	const char *said;

	tap_log_capture();
	dump(&whole);
	said = tap_log_end();
	inspect_check_columns(said);
	text_of_last = said;
	return said;
}

TEST(inspect_dumps_have_sums_that_add_up)
{
	static void (*const dumps[])(const struct loam_system *) = {
		loam_dump_map, loam_dump_memory, loam_dump_zones, loam_dump_frames, loam_dump_slabs, loam_dump_vmalloc,
	};
	struct loam_vmalloc_opts opts = {.site = &site_a};
	void *object;
	void *large;
	void *area = NULL;

	inspect_begin(true);
	object = loam_heap_alloc_at(whole.heap, 64, &site_a);
	large = loam_heap_alloc(whole.heap, 100000);
	CHECK_OK(loam_vmalloc_status(whole.vm, 12345, &opts, &area));
	for (size_t i = 0; i < sizeof(dumps) / sizeof(dumps[0]); i++) {
		const char *said = shown(dumps[i]);

		CHECK(inspect_contains(said, "= sum") || dumps[i] == loam_dump_zones);
		CHECK(!inspect_contains(said, "BUT"));
	}
	CHECK_EQ(inspect_count(shown(loam_dump_memory), "= sum"), 3);
	/* Nobody has taken frames but the layers. */
	CHECK(inspect_contains(text_of_last,
			       "  the rest: the kernel's own                      0 frames          0 B\n"));
	CHECK(inspect_contains(shown(loam_dump_vmalloc),
			       "12345 B      4 pages  vmalloc  task 0  kernel/fs/inode.c:41\n"));
	CHECK(inspect_contains(shown(loam_dump_slabs), "size-64"));
	CHECK(inspect_contains(shown(loam_dump_map), "boot"));
	loam_heap_free(whole.heap, large);
	loam_heap_free(whole.heap, object);
	CHECK(loam_vfree(whole.vm, area));
	CHECK_OK(loam_vmalloc_purge(whole.vm));
	inspect_end();
}

TEST(inspect_dumps_of_a_machine_without_layers_say_so)
{
	struct loam_system nothing = {0};
	const char *said;

	tap_log_capture();
	loam_dump_map(&nothing);
	loam_dump_memory(&nothing);
	loam_dump_zones(&nothing);
	loam_dump_frames(&nothing);
	loam_dump_slabs(&nothing);
	loam_dump_vmalloc(&nothing);
	said = tap_log_end();
	CHECK_STR(said, "memory map: none\nmemory: no frame layer\nzones: no frame layer\nframes: no frame layer\n"
			"slabs: no heap\nvmalloc: not set up\n");
	CHECK_OK(loam_audit(&nothing));
}

/* ---- audit ----------------------------------------------------------------------------------------------------------------- */

TEST(inspect_audit_finds_what_is_broken)
{
	const char *said;

	inspect_begin(true);
	void *object = loam_heap_alloc(whole.heap, 64);
	struct loam_slot *slot =
		loam_frame_slot(whole.frames, loam_frame_containing((uintptr_t)object - inspect_rig->direct_map));
	uint32_t refcount = slot->refcount;

	slot->refcount = LOAM_FRAME_UNUSED; /* a frame in use that says it is free */
	tap_log_capture();
	CHECK_STATUS(loam_audit(&whole), LOAM_ERR_INVALID);
	said = tap_log_end();
	CHECK(inspect_contains(said, "audit: does not hold: slots that say free"));
	slot->refcount = refcount;
	CHECK_OK(loam_audit(&whole));

	inspect_rig->map.regions[0].nbytes += 1;
	tap_log_capture();
	CHECK_STATUS(loam_audit(&whole), LOAM_ERR_INVALID);
	CHECK(inspect_contains(tap_log_end(), "audit: boot: its own check fails: invalid argument\n"));
	inspect_rig->map.regions[0].nbytes -= 1;
	loam_heap_free(whole.heap, object);
	inspect_end();
}

/* ---- leaks ----------------------------------------------------------------------------------------------------------------- */

TEST(inspect_leaks_are_found_by_call_site)
{
	struct loam_leak_mark mark;
	struct loam_leak_group groups[4];
	void *before;
	void *leaked[5];
	struct loam_vmalloc_opts opts = {.site = &site_b};
	void *area = NULL;

	inspect_begin(true);
	before = loam_heap_alloc_at(whole.heap, 64, &site_a);
	loam_leak_mark_set(&whole, &mark);
	CHECK_EQ(loam_leak_report(&whole, &mark, groups, 4), 0);
	for (size_t i = 0; i < 5; i++)
		leaked[i] = loam_heap_alloc_at(whole.heap, 128, &site_a);
	loam_heap_free(whole.heap, leaked[4]);
	CHECK_OK(loam_vmalloc_status(whole.vm, 5000, &opts, &area));
	CHECK_EQ(loam_leak_report(&whole, &mark, groups, 4), 2);
	CHECK(groups[0].site == &site_b);
	CHECK_EQ(groups[0].count, 1);
	CHECK_EQ(groups[0].nbytes, 5000);
	CHECK(groups[1].site == &site_a);
	CHECK_EQ(groups[1].count, 4);
	CHECK_EQ(groups[1].nbytes, 512);
	/* Less room than groups: the rest in one. */
	CHECK_EQ(loam_leak_report(&whole, &mark, groups, 1), 2);
	CHECK(groups[0].site == NULL);
	CHECK_EQ(groups[0].count, 5);
	CHECK_EQ(groups[0].nbytes, 5512);
	CHECK_EQ(loam_leak_report(&whole, &mark, NULL, 0), 2);

	tap_log_capture();
	loam_dump_leaks(&whole, &mark);
	const char *said = tap_log_end();
	inspect_check_columns(said);
	CHECK(inspect_contains(said, "leaks: allocated since the mark and still alive, in usable bytes\n"
				     "         1 x         5000 bytes  kernel/net/socket.c:7\n"
				     "         4 x          512 bytes  kernel/fs/inode.c:41 (read_inode)\n"
				     "=        5 x         5512 bytes  (5.4 KiB)\n"));
	for (size_t i = 0; i < 4; i++)
		loam_heap_free(whole.heap, leaked[i]);
	loam_heap_free(whole.heap, before);
	CHECK(loam_vfree(whole.vm, area));
	CHECK_OK(loam_vmalloc_purge(whole.vm));
	CHECK_EQ(loam_leak_report(&whole, &mark, groups, 4), 0);
	tap_log_capture();
	loam_dump_leaks(&whole, &mark);
	CHECK(inspect_contains(tap_log_end(), "leaks: nothing allocated since the mark is still alive\n"));
	inspect_end();
}

TEST(inspect_leaks_from_many_call_sites)
{
	enum { SITES = 100 };
	static struct loam_call_site sites[SITES];
	static struct loam_leak_group groups[SITES];
	static void *leaked[SITES][2];
	struct loam_leak_mark mark;

	inspect_begin(true);
	loam_leak_mark_set(&whole, &mark);
	for (size_t i = 0; i < SITES; i++) { /* in an order that is not that of their addresses; sizes 16 .. 1600 */
		size_t k = i * 37 % SITES;

		sites[k] = (struct loam_call_site){"many.c", NULL, (uint32_t)k, 0};
		leaked[k][0] = loam_heap_alloc_at(whole.heap, 16 * (k + 1), &sites[k]);
		leaked[k][1] = loam_heap_alloc_at(whole.heap, 16 * (k + 1), &sites[k]);
	}
	CHECK_EQ(loam_leak_report(&whole, &mark, groups, SITES), SITES);
	for (size_t i = 0; i < SITES; i++) {
		CHECK_EQ(groups[i].count, 2);
		CHECK(i == 0 || groups[i].nbytes <= groups[i - 1].nbytes);
	}
	CHECK_EQ(loam_leak_report(&whole, &mark, groups, 10), SITES);
	CHECK_EQ(groups[9].count, 2 * (SITES - 9));
	CHECK(groups[8].site != NULL && groups[9].site == NULL);
	tap_log_capture();
	loam_dump_leaks(&whole, &mark);
	CHECK(inspect_contains(tap_log_end(), "77 more call sites\n"));
	for (size_t i = 0; i < SITES; i++) {
		loam_heap_free(whole.heap, leaked[i][0]);
		loam_heap_free(whole.heap, leaked[i][1]);
	}
	inspect_end();
}

TEST(inspect_leaks_of_a_heap_that_does_not_track)
{
	struct loam_leak_mark mark;
	struct loam_leak_group group;
	void *object;

	inspect_begin(false);
	loam_leak_mark_set(&whole, &mark);
	object = loam_heap_alloc(whole.heap, 64);
	CHECK_EQ(loam_leak_report(&whole, &mark, &group, 1), 1);
	CHECK(group.site == NULL);
	CHECK_EQ(group.count, 1);
	CHECK_EQ(group.nbytes, 64);
	loam_heap_free(whole.heap, object);
	CHECK_EQ(loam_leak_report(&whole, &mark, &group, 1), 0);
	inspect_end();
}
