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
		smp_offline(cpu);
		CHECK_EQ(machine_cpus(), online - 1);
		machine_run(use_everything, NULL);
		CHECK(smp_online(cpu));
		CHECK_EQ(machine_cpus(), online);
	}
	machine_run(use_everything, NULL);
	tour_read_balance(&after);
	CHECK_EQ(after.used - after.arena - after.tables, before.used - before.arena - before.tables);
	CHECK_EQ(after.quarantined, before.quarantined);
	CHECK_OK(loam_audit(&kernel_system));
}

TEST(every_layer_under_load_with_interrupts_that_allocate)
{
	CHECK_EQ(stress_run(4), 0);
}
