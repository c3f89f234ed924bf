/* tests/kernel/smp.c: every CPU at once, and interrupts in between. */
#include "../rig.h"
#include "../tap.h"

#include <console.h>
#include <cpu.h>
#include <kernel.h>
#include <tour.h>

static void count_cpu(void *arg)
{
	__atomic_add_fetch((unsigned int *)arg, 1, __ATOMIC_RELAXED);
}

TEST(every_cpu_runs_what_it_is_sent)
{
	unsigned int ran = 0;

	for (unsigned int i = 0; i < 100; i++)
		machine_run(count_cpu, &ran);
	CHECK_EQ(ran, 100 * machine_cpus());
	CHECK_EQ(machine_cpus(), cpu_count);
}

struct from_interrupt {
	unsigned int wrong;
	unsigned int ran;
};

static void allocate_in_interrupt(void *arg)
{
	struct from_interrupt *result = arg;
	struct loam_frames *frames = kernel_system.frames;
	loam_pfn pfn = loam_frame_alloc(frames, 0, NULL);
	loam_pfn block = loam_frame_alloc(frames, 3, NULL);
	void *object = kmalloc(200);

	result->wrong += loam_port_context() != LOAM_CONTEXT_INTERRUPT;
	result->wrong += pfn == LOAM_PFN_NONE || block == LOAM_PFN_NONE || object == NULL;
	kfree(object);
	if (block != LOAM_PFN_NONE)
		loam_frame_free(frames, block, 3);
	if (pfn != LOAM_PFN_NONE)
		loam_frame_free(frames, pfn, 0);
	result->ran++;
}

TEST(interrupts_on_every_cpu_allocate_and_free)
{
	struct from_interrupt result = {0};

	for (unsigned int round = 0; round < 50; round++)
		for (unsigned int cpu = 1; cpu < cpu_count; cpu++)
			smp_interrupt(cpu, allocate_in_interrupt, &result);
	CHECK_EQ(result.wrong, 0);
	CHECK_EQ(result.ran, 50 * (cpu_count - 1));
}

/* ---- what a CPU has parked and does not need ---- */

enum { PARKED = 20, PARKED_NBYTES = 1024 };

static void park(void *arg)
{
	void *objects[PARKED];

	for (size_t i = 0; i < PARKED; i++)
		objects[i] = kmalloc(PARKED_NBYTES);
	for (size_t i = 0; i < PARKED; i++) {
		if (objects[i] == NULL)
			__atomic_add_fetch((unsigned int *)arg, 1, __ATOMIC_RELAXED);
		kfree(objects[i]);
	}
}

/* Free objects of that size that are parked on CPUs, or in the depot. */
static uint64_t parked(void)
{
	struct loam_heap_class_stats stats;

	for (size_t i = 0; loam_heap_read_class_stats(kernel_system.heap, i, &stats) == LOAM_OK; i++)
		if (stats.nbytes == PARKED_NBYTES)
			return stats.cached;
	return 0;
}

/* Ticks by hand, on top of the timer's: what they do is not up to how fast those come. */
static void tick_for_seconds(void *arg)
{
	for (unsigned int i = 0; i < *(unsigned int *)arg * machine_tick_rate(); i++)
		kernel_tick();
}

TEST(what_an_idle_cpu_has_parked_goes_back_with_its_ticks)
{
	unsigned int failed = 0, seconds = 2;
	uint64_t before;

	if (cpu_count < 2)
		tap_skip("needs two CPUs");
	machine_rest(true);
	(void)loam_heap_drain(kernel_system.heap);
	CHECK_EQ(parked(), 0);
	machine_send(1, park, &failed);
	for (unsigned int round = 0; !machine_has_returned(1); round++)
		loam_port_relax(round);
	CHECK_EQ(failed, 0);
	before = parked();
	CHECK(before >= PARKED);
	smp_interrupt(1, tick_for_seconds, &seconds);
	CHECK_EQ(parked(), before);
	machine_rest(false);
	smp_interrupt(1, tick_for_seconds, &seconds);
	CHECK_EQ(parked(), 0);
}

#define CYCLES 200

static void use_everything(void *arg)
{
	loam_pfn pfns[40];
	void *objects[40];

	(void)arg;
	size_t n = loam_frame_alloc_batch(kernel_system.frames, 40, NULL, pfns);
	for (size_t i = 0; i < 40; i++)
		objects[i] = kmalloc(100 + 10 * i);
	void *area = loam_vmalloc(kernel_system.vm, 3 * LOAM_PAGE_SIZE, NULL);
	for (size_t i = 0; i < 40; i++)
		kfree(objects[i]);
	loam_frame_free_batch(kernel_system.frames, pfns, n);
	CHECK(loam_vfree(kernel_system.vm, area));
}

/* What a CPU parked goes with it, back to all; nothing is stranded, and nobody waits for it to flush. */
TEST(F15_cpus_leave_and_come_back_and_nothing_is_stranded)
{
	struct tour_balance before, after;
	unsigned int online = machine_cpus();

	if (cpu_count < 2)
		tap_skip("needs two CPUs");
	machine_run(use_everything, NULL);
	tour_read_balance(&before);
	for (unsigned int i = 0; i < CYCLES; i++) {
		unsigned int cpu = 1 + i % (cpu_count - 1);

		machine_run(use_everything, NULL);
		machine_offline(cpu);
		CHECK_EQ(machine_cpus(), online - 1);
		machine_run(use_everything, NULL);
		CHECK(machine_online(cpu));
		CHECK_EQ(machine_cpus(), online);
	}
	machine_run(use_everything, NULL);
	tour_read_balance(&after);
	CHECK_EQ(after.used - after.arena - after.tables, before.used - before.arena - before.tables);
	CHECK_EQ(after.quarantined, before.quarantined);
	CHECK(tour_audit());
}

TEST(every_layer_under_load_with_interrupts_that_allocate)
{
	CHECK_EQ(torture_run(&(struct torture_options){.seconds = 4, .silence = 60, .seed = 7}), 0);
}

/* ---- the heap under a timer of 10 kHz on every CPU ------------------------------------------------------------------------------------ */

enum { TICKS_A_SECOND = 10000, ROUNDS = 3000, KEPT = 64 };

static struct {
	void *left[256]; /* by a tick of that CPU, for its next one */
	unsigned int ticks;
	unsigned int wrong;
} ticking;

static void fill_with(void *object, size_t nbytes, unsigned char byte)
{
	for (size_t i = 0; i < nbytes; i++)
		((unsigned char *)object)[i] = byte;
}

static bool filled_with(const void *object, size_t nbytes, unsigned char byte)
{
	for (size_t i = 0; i < nbytes; i++)
		if (((const unsigned char *)object)[i] != byte)
			return false;
	return true;
}

/* In the interrupt: one object lives within it, one until the next. */
static void tick_allocates(bool poked)
{
	unsigned int cpu = loam_port_cpu();
	void *here = kmalloc(64), *stays = kmalloc(200);

	(void)poked;
	if (!here || !stays || (ticking.left[cpu] && !filled_with(ticking.left[cpu], 200, 0xa0))) {
		__atomic_add_fetch(&ticking.wrong, 1, __ATOMIC_RELAXED);
		return;
	}
	fill_with(here, 64, 0xb0);
	fill_with(stays, 200, 0xa0);
	kfree(ticking.left[cpu]);
	ticking.left[cpu] = stays;
	kfree(here);
	__atomic_add_fetch(&ticking.ticks, 1, __ATOMIC_RELAXED);
}

static void allocate_meanwhile(void *arg)
{
	void *kept[KEPT] = {NULL};

	(void)arg;
	/* Until this CPU's work has met enough ticks, however fast the machine is. */
	for (unsigned int round = 0; round < ROUNDS || __atomic_load_n(&ticking.ticks, __ATOMIC_RELAXED) < 500;
	     round++) {
		unsigned int i = round % KEPT;
		size_t nbytes = i % 2 == 0 ? 64 : 200;

		if (kept[i] && !filled_with(kept[i], nbytes, (unsigned char)i))
			__atomic_add_fetch(&ticking.wrong, 1, __ATOMIC_RELAXED);
		kfree(kept[i]);
		kept[i] = kmalloc(nbytes);
		if (kept[i])
			fill_with(kept[i], nbytes, (unsigned char)i);
	}
	for (unsigned int i = 0; i < KEPT; i++)
		kfree(kept[i]);
}

TEST(H2_the_heap_under_a_10_kHz_timer_on_every_cpu)
{
	ticking.ticks = ticking.wrong = 0;
	machine_ticks(TICKS_A_SECOND, tick_allocates);
	machine_run(allocate_meanwhile, NULL);
	machine_ticks(0, NULL);
	for (unsigned int cpu = 0; cpu < sizeof(ticking.left) / sizeof(ticking.left[0]); cpu++) {
		kfree(ticking.left[cpu]);
		ticking.left[cpu] = NULL;
	}
	CHECK_EQ(ticking.wrong, 0);
	CHECK(ticking.ticks >= 500);
	CHECK(tour_audit());
}
