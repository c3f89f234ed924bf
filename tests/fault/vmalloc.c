/* tests/fault/vmalloc.c: an interrupt at every point of every operation, which itself frees and looks; and every place that takes memory failing, once and
 * for good; and faults that the layer's own checks must find.
 *
 * An interrupt may free but not allocate areas. What it may not do is find anything half done: after each run the layer's own check passes, everything freed is
 * free exactly once, and every frame is back.
 */
#include "../unit/vmalloc/fixture.h"

#include <arena/arena.h>
#include <base/fail.h>
#include <host.h>
#include <vmalloc/vmalloc.h>

#include <stdio.h>
#include <string.h>

/* ---- interrupts --------------------------------------------------------------------------------------------------------- */

static struct {
	void *prepared[8]; /* for the handler to free */
	void *stack;
	size_t nprepared;
	uint64_t wrong;
	bool purge;
} scene;

static void prepare(size_t n)
{
	unsigned long irq = loam_port_irq_save();
	void *top;

	for (size_t i = 0; i < n; i++) {
		void *address = vm_alloc((1 + 20 * i) * PAGE);

		scene.prepared[scene.nprepared++] = address;
	}
	CHECK_OK(loam_vstack_alloc(&fix.vm, 2 * PAGE, NULL, &top));
	scene.stack = top;
	loam_port_irq_restore(irq);
}

/* Frees one area, twice; looks around; ticks. */
static void handler(void *context)
{
	struct loam_vmalloc_live live;

	(void)context;
	if (scene.nprepared > 0) {
		void *address = scene.prepared[--scene.nprepared];

		if (loam_vmalloc_is_live(&fix.vm, address) != 1 || !loam_vfree(&fix.vm, address) ||
		    loam_vfree(&fix.vm, address) || loam_vmalloc_is_live(&fix.vm, address) != 0)
			scene.wrong++;
	} else if (scene.stack != NULL) {
		void *top = scene.stack;

		scene.stack = NULL;
		if (!loam_vstack_free(&fix.vm, top))
			scene.wrong++;
	}
	(void)loam_vmalloc_snapshot(&fix.vm, &live, 1, NULL);
	(void)loam_vmalloc_whereis(&fix.vm, VM_START + 5 * PAGE, &live);
	loam_vmalloc_tick(&fix.vm);
	if (scene.purge && loam_vmalloc_purge(&fix.vm) != LOAM_OK)
		scene.wrong++;
}

static bool tidy(void)
{
	unsigned long irq = loam_port_irq_save();
	bool fine = true;

	while (scene.nprepared > 0)
		fine = loam_vfree(&fix.vm, scene.prepared[--scene.nprepared]) && fine;
	fine = (scene.stack == NULL || loam_vstack_free(&fix.vm, scene.stack)) && fine;
	scene.stack = NULL;
	fine = fine && scene.wrong == 0 && loam_arena_check(&fix.vm.arena) == LOAM_OK && vm_stats().live_areas == 0 &&
	       loam_vmalloc_purge(&fix.vm) == LOAM_OK && vm_stats().waiting_areas == 0 &&
	       vm_stats().cached_stacks == 0 && vm_stats().live_pages == 0;
	loam_port_irq_restore(irq);
	return fine;
}

/* A fresh slab, an extent, a free, a resize, a stack: each with the handler somewhere inside. */
static bool operations(void *context)
{
	void *small, *large, *top;
	bool fine;

	(void)context;
	prepare(3);
	small = loam_vmalloc(&fix.vm, 3 * PAGE, NULL);
	large = loam_vmalloc(&fix.vm, 40 * PAGE, NULL);
	fine = small != NULL && large != NULL;
	fine = fine && loam_vstack_alloc(&fix.vm, 2 * PAGE, NULL, &top) == LOAM_OK;
	fine = fine && loam_vrealloc(&fix.vm, large, 50 * PAGE, NULL, &large) == LOAM_OK;
	fine = fine && loam_vrealloc(&fix.vm, small, PAGE, NULL, &small) == LOAM_OK;
	fine = fine && loam_vstack_free(&fix.vm, top);
	fine = fine && loam_vfree(&fix.vm, small) && !loam_vfree(&fix.vm, small);
	fine = fine && loam_vfree_now(&fix.vm, large);
	return fine && tidy();
}

TEST(V4_an_interrupt_frees_at_every_point_of_every_operation)
{
	vm_begin(4096, MIB);
	CHECK(host_each_point(operations, handler, NULL, false) > 500);
	vm_end();
}

/* Each free seals and flushes, and the interrupt purges. */
TEST(V4_an_interrupt_purges_at_every_point_of_every_operation)
{
	vm_begin_bare(4096, MIB);
	fix.config.batch_areas = 1;
	tap_log_capture();
	CHECK_OK(loam_vmalloc_init(&fix.vm, &fix.config));
	(void)tap_log_end();
	scene.purge = true;
	CHECK(host_each_point(operations, handler, NULL, false) > 500);
	scene.purge = false;
	vm_end();
}

static bool free_only(void *context)
{
	void *a, *b;

	(void)context;
	a = vm_alloc(2 * PAGE);
	b = vm_alloc(PAGE);
	prepare(2);
	return loam_vfree(&fix.vm, a) && loam_vfree(&fix.vm, b) && tidy();
}

TEST(V4_frees_nest_in_interrupts_in_interrupts)
{
	vm_begin(4096, MIB);
	CHECK(host_each_point(free_only, handler, NULL, true) > 500);
	vm_end();
}

/* ---- interrupts in the common case ---- */

static struct {
	loam_pfn bad; /* to be marked as poisoned by the interrupt; LOAM_PFN_NONE: none */
	bool marked;
	uint64_t ready; /* pages that were ready, in all runs: did they meet the common case? */
} reused;

/* An area of @npages; when the frame has been marked before, without it. */
static bool make_without(size_t npages, loam_pfn chosen, void **address)
{
	bool marked = reused.marked, fine;

	*address = loam_vmalloc(&fix.vm, npages * PAGE, NULL);
	reused.ready += loami_load_relaxed(&loami_vm_cpu(&fix.vm, 0)->nready);
	fine = *address != NULL;
	for (size_t i = 0; fine && marked && i < npages; i++)
		fine = vm_frame_at((char *)*address + i * PAGE) != chosen;
	return fine;
}

/* Four areas freed and flushed together, whose frames are ready then and go out again, with the handler somewhere between. */
static bool reuse(void *context)
{
	unsigned long irq = loam_port_irq_save();
	void *address[4];
	loam_pfn chosen;
	bool fine = true;

	(void)context;
	prepare(2);
	for (size_t i = 0; i < 4; i++)
		address[i] = vm_alloc((1 + i) * PAGE);
	chosen = vm_frame_at(address[0]); /* first in, last out */
	reused.marked = false;
	if (reused.bad != LOAM_PFN_NONE)
		reused.bad = chosen;
	for (size_t i = 0; i < 4; i++)
		fine = loam_vfree(&fix.vm, address[i]) && fine;
	loam_port_irq_restore(irq);

	for (size_t i = 0; i < 4; i++)
		fine = make_without(1 + i, chosen, &address[i]) && fine;
	fine = loam_vfree(&fix.vm, address[0]) && loam_vfree(&fix.vm, address[3]) && fine;

	irq = loam_port_irq_save();
	for (size_t i = 1; i < 3; i++)
		fine = loam_vfree(&fix.vm, address[i]) && fine;
	for (size_t i = 0; i < 4; i++)
		fine = make_without(4, chosen, &address[i]) && fine;
	for (size_t i = 0; i < 4; i++)
		fine = loam_vfree(&fix.vm, address[i]) && fine;
	loam_port_irq_restore(irq);
	return tidy() && fine;
}

static void mark(void *context)
{
	(void)context;
	if (!reused.marked)
		loam_frame_mark_poisoned(fix.rig->frames, reused.bad);
	reused.marked = true;
}

static void begin_reuse(void)
{
	vm_begin_bare(4096, 16 * MIB);
	fix.config.batch_areas = 4;
	tap_log_capture();
	CHECK_OK(loam_vmalloc_init(&fix.vm, &fix.config));
	(void)tap_log_end();
	reused.ready = 0;
	reused.bad = LOAM_PFN_NONE;
}

TEST(V4_an_interrupt_frees_at_every_point_of_the_common_case)
{
	begin_reuse();
	CHECK(host_each_point(reuse, handler, NULL, false) > 100);
	CHECK(reused.ready > 0);
	scene.purge = true;
	CHECK(host_each_point(reuse, handler, NULL, false) > 100);
	scene.purge = false;
	vm_end();
}

TEST(F11_a_frame_that_is_poisoned_at_any_point_of_the_common_case_is_not_handed_out_later)
{
	begin_reuse();
	reused.bad = 0;
	CHECK(host_each_point(reuse, mark, NULL, false) > 100);
	CHECK(reused.ready > 0);
	CHECK(loam_frame_quarantined_racy(fix.rig->frames) > 100);
	vm_end();
}

/* ---- failures ------------------------------------------------------------------------------------------------------------- */

/* Everything that takes memory. Whatever fails leaves no trace; what succeeded is undone by the test. */
static bool everything(void *context)
{
	struct loam_vmalloc_stats before, after;
	loam_pfn frame = loam_frame_alloc(fix.rig->frames, 0, NULL);
	uint64_t sequence = 0, tried = frame != LOAM_PFN_NONE ? 6 : 5;
	void *address[6] = {0};
	bool fine = true;

	(void)context;
	before = vm_stats();
	for (size_t i = 0; i < 3; i++) {
		static const size_t npages[] = {2, 70, 700};

		if (loam_vmalloc_status(&fix.vm, npages[i] * PAGE, NULL, &address[i]) == LOAM_OK)
			sequence++;
		else
			fine = fine && address[i] == NULL;
	}
	if (loam_vstack_alloc(&fix.vm, 4 * PAGE, NULL, &address[3]) == LOAM_OK)
		sequence++;
	if (frame != LOAM_PFN_NONE && loam_vmap(&fix.vm, &frame, 1, LOAM_PROT_READ, NULL, &address[4]) == LOAM_OK)
		sequence++;
	if (loam_vmap_phys(&fix.vm, 0xfee00000, PAGE, LOAM_CACHE_DEVICE, NULL, &address[5]) == LOAM_OK)
		sequence++;
	after = vm_stats();
	fine = fine && after.total_sequence == before.total_sequence + sequence && after.live_areas == sequence;
	fine = fine && after.failures == before.failures + tried - sequence;
	fine = fine && loam_vmalloc_check(&fix.vm) == LOAM_OK;
	if (address[1] != NULL) {
		void *grown = NULL;

		if (loam_vrealloc(&fix.vm, address[1], 300 * PAGE, NULL, &grown) == LOAM_OK)
			address[1] = grown;
		else
			fine = fine && loam_vmalloc_is_live(&fix.vm, address[1]) == 1 &&
			       vm_frame_at(address[1]) != LOAM_PFN_NONE;
		fine = fine && loam_vmalloc_check(&fix.vm) == LOAM_OK;
	}
	for (size_t i = 0; i < 3; i++)
		fine = fine && loam_vfree(&fix.vm, address[i]);
	fine = fine && loam_vstack_free(&fix.vm, address[3]) && loam_vunmap(&fix.vm, address[4]) &&
	       loam_vunmap(&fix.vm, address[5]);
	fine = fine && loam_vmalloc_purge(&fix.vm) == LOAM_OK && loam_vmalloc_check(&fix.vm) == LOAM_OK;
	after = vm_stats();
	fine = fine && after.live_areas == 0 && after.waiting_areas == 0;
	if (frame != LOAM_PFN_NONE)
		loam_frame_free(fix.rig->frames, frame, 0);
	return fine;
}

/* Each in a machine of its own: what earlier runs left in stock hides no failure. */
static void fail_each(enum loami_fail_kind kind, uint64_t at_least)
{
	uint64_t points = 0;

	for (uint64_t nth = 1;; nth++) {
		uint64_t met = 0;

		for (int for_good = 0; for_good <= 1; for_good++) {
			bool fine;

			vm_begin(4096, 64 * MIB);
			host_fail_set((unsigned int)kind, nth, for_good != 0);
			fine = everything(NULL);
			met = host_fail_clear();
			if (!fine)
				tap_fail(__FILE__, __LINE__, "failure %u of kind %u, %s", (unsigned int)nth,
					 (unsigned int)kind, for_good ? "for good" : "once");
			CHECK(everything(NULL));
			vm_end();
		}
		if (met < nth)
			break;
		points++;
	}
	CHECK(points >= at_least);
}

TEST(V2_every_frame_that_cannot_be_had_leaves_no_trace)
{
	fail_each(LOAMI_FAIL_FRAME, 10);
}

TEST(V2_every_metadata_frame_that_cannot_be_had_leaves_no_trace)
{
	fail_each(LOAMI_FAIL_METADATA, 5);
}

TEST(V2_every_range_that_cannot_be_had_leaves_no_trace)
{
	fail_each(LOAMI_FAIL_RANGE, 5);
}

TEST(V2_every_table_that_cannot_be_had_leaves_no_trace)
{
	fail_each(LOAMI_FAIL_TABLE, 2);
}

/* Which of SPEC V3's errors it is. */
TEST(V3_a_lack_of_metadata_or_of_tables_is_named)
{
	enum loam_status status = LOAM_OK;
	void *address = NULL;

	vm_begin(4096, 64 * MIB);
	host_fail_set(LOAMI_FAIL_TABLE, 1, true);
	CHECK_STATUS(loam_vmalloc_status(&fix.vm, 4 * MIB, NULL, &address), LOAM_ERR_MAP_FAILED);
	host_fail_clear();
	CHECK(address == NULL);
	CHECK_EQ(loam_vmalloc_last_failure(&fix.vm).status, LOAM_ERR_MAP_FAILED);
	CHECK_EQ(loam_vmalloc_last_failure(&fix.vm).nbytes, 4 * MIB);
	CHECK_EQ(loam_vmalloc_last_failure(&fix.vm).npages, 1024);
	CHECK_EQ(vm_stats().failures, 1);

	host_fail_set(LOAMI_FAIL_METADATA, 1, true);
	for (unsigned int i = 0; i < 3000 && status == LOAM_OK; i++)
		status = loam_vmalloc_status(&fix.vm, PAGE, NULL, &address);
	host_fail_clear();
	CHECK_STATUS(status, LOAM_ERR_NO_METADATA);
	CHECK_EQ(loam_vmalloc_last_failure(&fix.vm).status, LOAM_ERR_NO_METADATA);
	CHECK_EQ(vm_stats().failures, 2);
	CHECK_OK(loam_vmalloc_check(&fix.vm));
	CHECK(loam_vfree(&fix.vm, vm_alloc(PAGE)));
	CHECK_EQ(loam_vmalloc_last_failure(&fix.vm).status, LOAM_OK);
	for (struct loam_vmalloc_live live; loam_vmalloc_snapshot(&fix.vm, &live, 1, NULL) == 1;)
		CHECK(loam_vfree(&fix.vm, (void *)live.address));
	vm_end();
}

static bool make_and_use(void *context)
{
	struct loam_frames_stats stats;
	void *address = NULL;
	bool fine = true;

	(void)context;
	fix.vm = (struct loam_vm){0};
	tap_log_capture();
	if (loam_vmalloc_init(&fix.vm, &fix.config) != LOAM_OK) {
		loam_frame_read_stats(fix.rig->frames, &stats);
		if (loam_vmalloc_status(&fix.vm, PAGE, NULL, &address) == LOAM_OK)
			fine = loam_vfree(&fix.vm, address);
	}
	host_fail_clear();
	fine = fine && loam_vmalloc_status(&fix.vm, PAGE, NULL, &address) == LOAM_OK && loam_vfree(&fix.vm, address) &&
	       loam_vmalloc_check(&fix.vm) == LOAM_OK && loam_vmalloc_destroy(&fix.vm) == LOAM_OK;
	(void)tap_log_end();
	loam_pagetable_destroy(&fix.tree);
	loam_frame_read_stats(fix.rig->frames, &stats);
	return fine && stats.used == 0;
}

TEST(V11_every_failure_of_init_is_retried_at_first_use)
{
	for (int kind = 0; kind < LOAMI_FAIL_KIND_COUNT; kind++)
		for (uint64_t nth = 1; nth <= 30; nth++)
			for (int for_good = 0; for_good <= 1; for_good++) {
				vm_begin_bare(2048, 16 * MIB);
				host_fail_set((unsigned int)kind, nth, for_good != 0);
				CHECK(make_and_use(NULL));
				rig_destroy(fix.rig);
			}
}

/* ---- what the checks find: each fault is seeded, found by its name, and taken back ------------------------------------------------------ */

static void is_found(const char *name)
{
	const char *text;
	enum loam_status status;

	tap_log_capture();
	status = loam_vmalloc_check(&fix.vm);
	text = tap_log_end();
	CHECK_STATUS(status, LOAM_ERR_INVALID);
	if (strstr(text, name) == NULL)
		tap_fail(__FILE__, __LINE__, "expected: %s; found: %s", name, text);
}

static struct loam_area place_of(const void *address)
{
	struct loam_area area;

	CHECK_OK(loam_arena_lookup(&fix.vm.arena, (uintptr_t)address, &area, NULL));
	return area;
}

TEST(V5_a_place_is_free_live_or_dirty_and_in_one_list)
{
	struct loam_area area, other;
	struct loami_span *span;
	uint8_t state, *at;
	char text[128];
	void *address, *freed;

	vm_begin(4096, 16 * MIB);
	address = vm_alloc(PAGE);
	freed = vm_alloc(PAGE);
	area = place_of(address);
	other = place_of(freed);
	span = area.span;
	CHECK(loam_vfree(&fix.vm, freed));
	CHECK_OK(loam_vmalloc_check(&fix.vm));

	at = loami_state(span, area.index);
	state = *at;
	*at = LOAMI_AREA_FREE;
	(void)snprintf(text, sizeof(text), "place %u has state 0 and free bit 0\n", area.index);
	is_found(text);
	*at = LOAMI_AREA_DIRTY;
	is_found(" live ranges of ");
	*at = state;

	span->free |= UINT64_C(1) << area.index;
	(void)snprintf(text, sizeof(text), "place %u has state 1 and free bit 1\n", area.index);
	is_found(text);
	span->free &= ~(UINT64_C(1) << area.index);

	at = loami_state(other.span, other.index);
	state = *at;
	*at = LOAMI_AREA_LIVE;
	(void)snprintf(text, sizeof(text), "loam: arena check: 0x%lx is in an open batch but not dirty\n",
		       (unsigned long)(uintptr_t)freed);
	is_found(text);
	*at = state;

	fix.vm.arena.nruns++;
	is_found(" free runs, ");
	fix.vm.arena.nruns--;
	fix.vm.arena.free_granules++;
	is_found(" used granules of ");
	fix.vm.arena.free_granules--;
	CHECK_OK(loam_vmalloc_check(&fix.vm));
	CHECK(loam_vfree(&fix.vm, address));
	vm_end();
}

TEST(V4_tables_and_records_that_disagree_are_found)
{
	const struct loam_mapping mapping = {.prot = LOAM_PROT_READ | LOAM_PROT_WRITE | LOAM_PROT_GLOBAL};
	char text[128], *address, *sealed;
	loam_pfn pfn;

	vm_begin_bare(4096, 16 * MIB);
	fix.config.batch_areas = 1;
	tap_log_capture();
	CHECK_OK(loam_vmalloc_init(&fix.vm, &fix.config));
	(void)tap_log_end();
	address = vm_alloc(3 * PAGE);
	sealed = vm_alloc(PAGE);
	CHECK(loam_vfree(&fix.vm, sealed)); /* flushed, and given back by nobody yet */
	CHECK_EQ(vm_stats().waiting_areas, 1);
	CHECK_OK(loam_vmalloc_check(&fix.vm));

	pfn = vm_frame_at(address + PAGE);
	CHECK_OK(loam_paging_unmap(&fix.tree, (uintptr_t)address + PAGE, 1, NULL, NULL));
	(void)snprintf(text, sizeof(text), "loam: vmalloc check: page 1 of the area at 0x%lx is not mapped\n",
		       (unsigned long)(uintptr_t)address);
	is_found(text);
	CHECK_OK(loam_paging_map_frames(&fix.tree, (uintptr_t)address + PAGE, &pfn, 1, &mapping));

	CHECK_OK(loam_paging_map_frames(&fix.tree, (uintptr_t)address + 3 * PAGE, &pfn, 1, &mapping));
	(void)snprintf(text, sizeof(text), "loam: vmalloc check: a guard of the area at 0x%lx is mapped\n",
		       (unsigned long)(uintptr_t)address);
	is_found(text);
	CHECK_OK(loam_paging_unmap(&fix.tree, (uintptr_t)address + 3 * PAGE, 1, NULL, NULL));

	CHECK_OK(loam_paging_map_frames(&fix.tree, (uintptr_t)sealed, &pfn, 1, &mapping));
	(void)snprintf(text, sizeof(text), "loam: vmalloc check: 0x%lx is sealed and mapped\n",
		       (unsigned long)(uintptr_t)sealed);
	is_found(text);
	CHECK_OK(loam_paging_unmap(&fix.tree, (uintptr_t)sealed, 1, NULL, NULL));

	fix.vm.live_pages++;
	is_found("loam: vmalloc check: 1 areas of 3 pages, counted 1 of 4; 1 sealed of 1 waiting\n");
	fix.vm.live_pages--;
	CHECK_OK(loam_vmalloc_check(&fix.vm));
	CHECK(loam_vfree(&fix.vm, address));
	vm_end();
}
