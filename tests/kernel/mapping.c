/* tests/kernel/mapping.c: what the real MMU and the real TLBs make of Loam's mappings. */
#include "../rig.h"
#include "../tap.h"

#include <console.h>
#include <kernel.h>

#define ROUNDS 200

struct look {
	uintptr_t address;
	unsigned int saw;    /* atomic: CPUs that could read */
	unsigned int denied; /* atomic: CPUs that faulted */
	uint64_t value;
};

static void read_it(void *arg)
{
	struct look *look = arg;

	__atomic_store_n(&look->value, machine_load(look->address), __ATOMIC_RELAXED);
}

/* On each CPU: read, expecting either. */
static void look_there(void *arg)
{
	struct look *look = arg;
	char text[256];

	if (machine_try(read_it, look, text, sizeof(text)))
		__atomic_add_fetch(&look->saw, 1, __ATOMIC_RELAXED);
	else
		__atomic_add_fetch(&look->denied, 1, __ATOMIC_RELAXED);
}

/* The report has what, where, where from and whose. */
static void check_report(const char *text, const char *what, uintptr_t area)
{
	char address[24];

	(void)kformat(address, sizeof(address), "0x%lx", (unsigned long)area);
	CHECK(tap_contains(text, what));
	CHECK(tap_contains(text, address));
	CHECK(tap_contains(text, "allocated at tests/kernel/mapping.c:"));
	CHECK(tap_contains(text, "by task 6 (pid 60, tid 61)"));
}

static void *attributed_area(void)
{
	struct loam_task task = {.task = 6, .pid = 60, .tid = 61};
	struct loam_vmalloc_opts opts = {.site = LOAM_HERE};

	machine_name_task(&task);
	void *address = loam_vmalloc(kernel_system.vm, 2 * LOAM_PAGE_SIZE, &opts);
	CHECK(address != NULL);
	return address;
}

static void *area_of(size_t npages)
{
	void *address = loam_vmalloc(kernel_system.vm, npages * LOAM_PAGE_SIZE, NULL);

	CHECK(address != NULL);
	return address;
}

TEST(V4_after_vfree_now_no_cpu_can_read)
{
	for (unsigned int i = 0; i < ROUNDS; i++) {
		void *address = area_of(1);
		struct look look = {.address = (uintptr_t)address};

		machine_run(look_there, &look);
		CHECK_EQ(look.saw, machine_cpus());
		CHECK(loam_vfree_now(kernel_system.vm, address));
		look.saw = 0;
		machine_run(look_there, &look);
		CHECK_EQ(look.saw, 0);
		CHECK_EQ(look.denied, machine_cpus());
	}
}

/* Shows that the test above can see anything: without a flush the old translation lives on where it was used. */
TEST(a_translation_outlives_its_entry_until_the_flush)
{
	struct loam_mapping mapping = {.prot = LOAM_PROT_READ | LOAM_PROT_WRITE};
	uintptr_t va = ARCH_ARENA + LOAM_VMALLOC_NBYTES + (64 << 20);
	loam_pfn pfn = loam_frame_alloc(kernel_system.frames, 0, NULL);
	struct look look = {.address = va};
	struct loam_tlb_range range = {.start = va, .npages = 1, .stride_shift = LOAM_PAGE_SHIFT};

	CHECK(pfn != LOAM_PFN_NONE);
	CHECK_OK(loam_paging_map(kernel_system.tree, va, loam_frame_address(pfn), 1, &mapping));
	machine_run(look_there, &look);
	CHECK_EQ(look.saw, machine_cpus());
	CHECK_OK(loam_paging_unmap(kernel_system.tree, va, 1, NULL, NULL));
	look.saw = 0;
	machine_run(look_there, &look);
	kprintf("# %u of %u CPUs still read through the stale translation\n", look.saw, machine_cpus());
	CHECK_OK(loam_tlb_wait(kernel_system.tlb, loam_tlb_flush_start(kernel_system.tlb, &range, 1)));
	look.saw = 0;
	machine_run(look_there, &look);
	CHECK_EQ(look.saw, 0);
	loam_frame_free(kernel_system.frames, pfn, 0);
}

#define OURS UINT64_C(0x6f757273)
#define THEIRS UINT64_C(0x746865697273)

struct race {
	uintptr_t address; /* atomic: the area, or 0 between two; its page holds OURS */
	bool over;         /* atomic */
	unsigned int foreign;
	unsigned int reads; /* atomic */
};

static void read_racing(void *arg)
{
	struct race *race = arg;

	for (;;) {
		uintptr_t at = __atomic_load_n(&race->address, __ATOMIC_ACQUIRE);

		if (__atomic_load_n(&race->over, __ATOMIC_ACQUIRE))
			return;
		if (at == 0)
			continue;
		uint64_t value = machine_load(at);
		if (value == THEIRS)
			__atomic_add_fetch(&race->foreign, 1, __ATOMIC_RELAXED);
		__atomic_add_fetch(&race->reads, 1, __ATOMIC_RELAXED);
	}
}

/* CPU 0 maps, unmaps and hands the frame out again at once; the others read through the area all the while, and may fault but never see the new owner's
 * data. */
static void race_one(void *arg)
{
	struct race *race = arg;
	struct loam_frame_opts raw = {.uninitialized = true};
	char text[256];

	if (loam_port_cpu() != 0) {
		while (!__atomic_load_n(&race->over, __ATOMIC_ACQUIRE))
			(void)machine_try(read_racing, race, text, sizeof(text));
		return;
	}
	for (unsigned int i = 0; i < ROUNDS; i++) {
		uint64_t *address = loam_vmalloc(kernel_system.vm, LOAM_PAGE_SIZE, NULL);
		unsigned int reads = __atomic_load_n(&race->reads, __ATOMIC_RELAXED);
		loam_pfn taken[32];

		if (address == NULL)
			continue;
		*address = OURS;
		__atomic_store_n(&race->address, (uintptr_t)address, __ATOMIC_RELEASE);
		for (unsigned int round = 0;
		     round < 200 && machine_cpus() > 1 && __atomic_load_n(&race->reads, __ATOMIC_RELAXED) == reads;
		     round++)
			loam_port_relax(round);
		if (!loam_vfree_now(kernel_system.vm, address))
			__atomic_add_fetch(&race->foreign, 1, __ATOMIC_RELAXED);
		size_t n = loam_frame_alloc_batch(kernel_system.frames, 32, &raw, taken);
		for (size_t j = 0; j < n; j++)
			*(uint64_t *)loam_frame_virt(kernel_system.frames, taken[j]) = THEIRS;
		for (unsigned int round = 0; round < 20; round++)
			loam_port_relax(round);
		__atomic_store_n(&race->address, 0, __ATOMIC_RELEASE);
		for (size_t j = 0; j < n; j++)
			*(uint64_t *)loam_frame_virt(kernel_system.frames, taken[j]) = 0;
		loam_frame_free_batch(kernel_system.frames, taken, n);
	}
	__atomic_store_n(&race->over, true, __ATOMIC_RELEASE);
}

TEST(V4_no_cpu_reads_a_frames_next_owner_through_an_old_area)
{
	struct race race = {0};

	machine_run(race_one, &race);
	CHECK_EQ(race.foreign, 0);
}

/* A CPU that masks interrupts for a while delays a flush; nothing is reused before it answers. */
struct deaf {
	bool ready; /* atomic */
	bool hears; /* atomic */
};

static uint64_t flushes(void)
{
	struct loam_tlb_stats stats;

	loam_tlb_read_stats(kernel_system.tlb, &stats);
	return stats.flushes;
}

static void be_deaf(void *arg)
{
	struct deaf *deaf = arg;

	if (loam_port_cpu() != 1)
		return;
	unsigned long state = loam_port_irq_save();
	uint64_t before = flushes();
	__atomic_store_n(&deaf->ready, true, __ATOMIC_RELEASE);
	/* Until it has been asked, and then for long. */
	for (unsigned int round = 0; round < 100000 || flushes() == before; round++)
		arch_pause();
	__atomic_store_n(&deaf->hears, true, __ATOMIC_RELEASE);
	loam_port_irq_restore(state);
}

static void free_meanwhile(void *arg)
{
	struct deaf *deaf = arg;

	be_deaf(arg);
	if (loam_port_cpu() != 0)
		return;
	void *address = loam_vmalloc(kernel_system.vm, LOAM_PAGE_SIZE, NULL);
	while (!__atomic_load_n(&deaf->ready, __ATOMIC_ACQUIRE))
		arch_pause();
	if (!loam_vfree_now(kernel_system.vm, address) || !__atomic_load_n(&deaf->hears, __ATOMIC_ACQUIRE))
		deaf->ready = false; /* it came back before every CPU had flushed */
}

TEST(V4_a_cpu_with_interrupts_masked_is_waited_for)
{
	struct deaf deaf = {0};

	if (machine_cpus() < 2)
		tap_skip("needs two CPUs");
	if (arch_tlb_broadcast())
		tap_skip("this architecture's TLBs are flushed without asking their CPUs");
	machine_run(free_meanwhile, &deaf);
	CHECK(deaf.ready);
}

static void run_it(void *arg)
{
	machine_execute((uintptr_t)arg);
}

static void write_it(void *arg)
{
	machine_store((uintptr_t)arg, 0xc3c3c3c3c3c3c3c3UL);
}

TEST(V2_vmalloc_memory_does_not_execute)
{
	void *address = attributed_area();
	char text[384];

	write_it(address); /* the processor's return instructions, on x86-64 */
	CHECK(!machine_try(run_it, address, text, sizeof(text)));
	check_report(text, "page fault: execution of", (uintptr_t)address);
	CHECK(loam_vfree_now(kernel_system.vm, address));
}

TEST(the_direct_map_does_not_execute_and_the_image_is_not_written)
{
	loam_pfn pfn = loam_frame_alloc(kernel_system.frames, 0, NULL);
	char text[256];

	CHECK(pfn != LOAM_PFN_NONE);
	write_it(loam_frame_virt(kernel_system.frames, pfn));
	CHECK(!machine_try(run_it, loam_frame_virt(kernel_system.frames, pfn), text, sizeof(text)));
	CHECK(tap_contains(text, "execution of"));
	loam_frame_free(kernel_system.frames, pfn, 0);

	void (*code)(void *) = write_it;
	void *image;
	memcpy(&image, &code, sizeof(image));
	CHECK(!machine_try(write_it, image, text, sizeof(text)));
	CHECK(tap_contains(text, "write to"));
}

/* On each CPU: write, expecting either. */
static void write_there(void *arg)
{
	struct look *look = arg;
	char text[256];

	if (machine_try(write_it, (char *)look->address + LOAM_PAGE_SIZE, text, sizeof(text)))
		__atomic_add_fetch(&look->saw, 1, __ATOMIC_RELAXED);
	else
		__atomic_add_fetch(&look->denied, 1, __ATOMIC_RELAXED);
}

TEST(a_read_only_area_is_not_written_on_any_cpu)
{
	uint64_t *address = attributed_area();
	struct look look = {.address = (uintptr_t)address};
	char text[384];

	address[0] = 7;
	machine_run(write_there, &look); /* every CPU has a translation that permits it */
	CHECK_EQ(look.saw, machine_cpus());
	CHECK_OK(loam_vmalloc_protect(kernel_system.vm, address, LOAM_PROT_READ));
	CHECK(!machine_try(write_it, address, text, sizeof(text)));
	check_report(text, "page fault: write to", (uintptr_t)address);
	CHECK_EQ(address[0], 7);
	machine_run(write_there, &look);
	CHECK_EQ(look.denied, machine_cpus());
	CHECK(loam_vfree_now(kernel_system.vm, address));
}

/* The entry is gone with the free; this CPU has not used the address since it was mapped, so that no stale translation lets the write through. */
TEST(a_write_through_a_freed_area_is_named)
{
	void *address = attributed_area();
	char text[384];

	/* No tick in between: it might flush, and then the area is nobody's. */
	unsigned long irq = loam_port_irq_save();
	bool freed = loam_vfree(kernel_system.vm, address);
	bool went_through = machine_try(write_it, (char *)address + LOAM_PAGE_SIZE, text, sizeof(text));

	loam_port_irq_restore(irq);
	CHECK(freed && !went_through);
	check_report(text, "page fault: write to", (uintptr_t)address);
	CHECK(tap_contains(text, "FREED area"));
}

/* What the flush forgets, range forms included: an odd number of pages, more than one instruction takes. */
TEST(a_long_area_is_flushed_to_its_last_page_on_every_cpu)
{
	size_t npages = 1 + 2 + 64 + 2048;
	char *address = area_of(npages);
	const size_t pages[] = {0, 1, 2, 63, 64, 65, 66, 67, npages / 2, npages - 2, npages - 1};

	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		struct look look = {.address = (uintptr_t)address + pages[i] * LOAM_PAGE_SIZE};

		machine_run(look_there, &look);
		CHECK_EQ(look.saw, machine_cpus());
	}
	CHECK(loam_vfree_now(kernel_system.vm, address));
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		struct look look = {.address = (uintptr_t)address + pages[i] * LOAM_PAGE_SIZE};

		machine_run(look_there, &look);
		CHECK_EQ(look.denied, machine_cpus());
	}
}

/* On each CPU at once: a stack of its own, used up, and the report names it and its task. */
struct overflow {
	unsigned int named; /* atomic */
	unsigned int failed;
};

static void use_up(void *top)
{
	machine_overflow(top);
}

static void overflow_here(void *arg)
{
	struct overflow *overflow = arg;
	struct loam_task task = {
		.task = 100 + loam_port_cpu(), .pid = 200 + loam_port_cpu(), .tid = 300 + loam_port_cpu()};
	char text[384], whose[64];
	void *top;

	(void)kformat(whose, sizeof(whose), "by task %u (pid %u, tid %u)", 100 + loam_port_cpu(), task.pid, task.tid);
	machine_name_task(&task);
	if (loam_vstack_alloc(kernel_system.vm, 8192, LOAM_HERE, &top) != LOAM_OK) {
		__atomic_add_fetch(&overflow->failed, 1, __ATOMIC_RELAXED);
		return;
	}
	if (!machine_try(use_up, top, text, sizeof(text)) && tap_contains(text, "STACK OVERFLOW") &&
	    tap_contains(text, "allocated at tests/kernel/mapping.c:") && tap_contains(text, whose))
		__atomic_add_fetch(&overflow->named, 1, __ATOMIC_RELAXED);
	if (!loam_vstack_free(kernel_system.vm, top))
		__atomic_add_fetch(&overflow->failed, 1, __ATOMIC_RELAXED);
}

TEST(a_stack_overflow_is_named_on_every_cpu)
{
	struct overflow overflow = {0};

	machine_run(overflow_here, &overflow);
	CHECK_EQ(overflow.failed, 0);
	CHECK_EQ(overflow.named, machine_cpus());
}
