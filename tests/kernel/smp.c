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

TEST(every_layer_under_load_with_interrupts_that_allocate)
{
	CHECK_EQ(stress_run(4), 0);
}
