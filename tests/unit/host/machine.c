/* tests/unit/host/machine.c: the host machine itself: RAM with holes, CPUs as threads, panics that cross them. */
#include "rig.h"
#include "tap.h"

#include <host.h>

#include <stdatomic.h>

#define MIB ((uint64_t)1 << 20)

static const struct loam_region holey[] = {
	{.base = 4 * MIB, .nbytes = MIB, .type = LOAM_REGION_USABLE},
	{.base = 1 * MIB, .nbytes = MIB, .type = LOAM_REGION_RESERVED},
	{.base = 64 * MIB, .nbytes = MIB, .type = LOAM_REGION_DEVICE},
};

static struct host_machine *make(unsigned int ncpus)
{
	return host_machine_create(&(struct host_config){.regions = holey, .nregions = 3, .ncpus = ncpus});
}

TEST(ram_has_holes_and_does_not_start_at_zero)
{
	struct host_machine *machine = make(1);
	uint8_t *low = host_ram(machine, MIB);
	uint8_t *high = host_ram(machine, 5 * MIB - 1);

	CHECK_EQ((uintptr_t)low, host_direct_map(machine) + MIB);
	CHECK_EQ(high - low, 4 * MIB - 1);
	*low = 1;
	*high = 2;
	CHECK(host_is_ram(machine, MIB, MIB));
	CHECK(!host_is_ram(machine, MIB, MIB + 1));
	CHECK(!host_is_ram(machine, 2 * MIB, 1));
	CHECK(!host_is_ram(machine, 64 * MIB, 1));
	CHECK_PANIC(host_ram(machine, 0), "host: no RAM at 0x0");
	host_machine_destroy(machine);
}

TEST(a_thread_is_one_cpu_of_one_machine)
{
	struct host_machine *a = make(4);
	struct host_machine *b = make(2);

	CHECK(host_current() == NULL);
	CHECK_EQ(loam_port_cpu(), 0);
	host_enter(a, 3);
	CHECK(host_current() == a);
	CHECK_EQ(loam_port_cpu(), 3);
	host_enter(b, 1);
	CHECK(host_current() == b);
	CHECK_EQ(loam_port_pin().cpu, 1);
	host_machine_destroy(b);
	CHECK(host_current() == NULL);
	host_machine_destroy(a);
}

struct meeting {
	atomic_uint here;
	atomic_uint seen;
	unsigned int ncpus;
};

/* Ends only when all CPUs run at once. */
static void meet(void *arg)
{
	struct meeting *meeting = arg;

	atomic_fetch_or(&meeting->seen, 1u << loam_port_cpu());
	atomic_fetch_add(&meeting->here, 1);
	for (unsigned int round = 0; atomic_load(&meeting->here) < meeting->ncpus; round++)
		loam_port_relax(round);
}

TEST(all_cpus_run_at_the_same_time)
{
	struct host_machine *machine = make(16);

	for (int again = 0; again < 10; again++) {
		struct meeting meeting = {.ncpus = 16};

		if (again == 5)
			host_enter(machine, 7);
		host_run(machine, meet, &meeting);
		CHECK_EQ(atomic_load(&meeting.seen), 0xffff);
	}
	host_machine_destroy(machine);
}

static void count(void *arg)
{
	atomic_fetch_add((atomic_uint *)arg, 1);
}

TEST(work_is_sent_to_one_cpu_and_waited_for)
{
	struct host_machine *machine = make(3);
	atomic_uint counter = 0;

	host_enter(machine, 0);
	for (int i = 0; i < 100; i++)
		host_send(machine, 1 + (unsigned int)i % 2, count, &counter);
	host_wait(machine, 1);
	host_wait(machine, 2);
	CHECK_EQ(atomic_load(&counter), 100);
	CHECK_PANIC(host_send(machine, 0, count, &counter), "host: CPU 0 cannot be sent work by CPU 0");
	host_machine_destroy(machine);
}

static void one_panics_others_wait(void *arg)
{
	(void)arg;
	if (loam_port_cpu() == 2)
		loam_port_panic(LOAM_FATAL_MISUSE, "seen on CPU 2");
	for (unsigned int round = 0;; round++)
		loam_port_relax(round);
}

TEST(a_panic_on_any_cpu_ends_them_all_and_is_raised_on_the_caller)
{
	struct host_machine *machine = make(4);
	atomic_uint counter = 0;

	host_enter(machine, 0);
	CHECK_PANIC(host_run(machine, one_panics_others_wait, NULL), "seen on CPU 2");
	CHECK_EQ(loam_port_cpu(), 0);
	host_run(machine, count, &counter);
	CHECK_EQ(atomic_load(&counter), 4);
	host_machine_destroy(machine);
}

TEST(tasks_belong_to_cpus)
{
	struct host_machine *machine = make(2);
	struct loam_task task = {.task = 7, .pid = 8, .tid = 9, .silo = 10};
	struct loam_task found;

	host_enter(machine, 0);
	host_set_task(&task);
	host_enter(machine, 1);
	loam_port_task(&found);
	CHECK_EQ(found.task, 0);
	host_enter(machine, 0);
	loam_port_task(&found);
	CHECK_EQ(found.silo, 10);
	host_machine_destroy(machine);
}
