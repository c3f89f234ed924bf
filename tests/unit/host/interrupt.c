/* tests/unit/host/interrupt.c: interrupts land where they are asked for, and nowhere else. */
#include "tap.h"

#include <base/lock.h>
#include <base/percpu.h>
#include <host.h>

#include <stdatomic.h>

#define MIB ((uint64_t)1 << 20)

static struct host_machine *make(unsigned int ncpus)
{
	static const struct loam_region ram = {.base = MIB, .nbytes = MIB, .type = LOAM_REGION_USABLE};

	return host_machine_create(&(struct host_config){.regions = &ram, .nregions = 1, .ncpus = ncpus});
}

static void count(void *arg)
{
	atomic_fetch_add((atomic_uint *)arg, 1);
}

TEST(masked_interrupts_wait_until_unmasked)
{
	struct host_machine *machine = make(1);
	atomic_uint counter = 0;
	unsigned long outer;
	unsigned long inner;

	host_enter(machine, 0);
	outer = loam_port_irq_save();
	host_interrupt(machine, 0, count, &counter);
	inner = loam_port_irq_save();
	loam_port_irq_restore(inner);
	CHECK_EQ(atomic_load(&counter), 0);
	loam_port_irq_restore(outer);
	CHECK_EQ(atomic_load(&counter), 1);
	host_interrupt(machine, 0, count, &counter);
	CHECK_EQ(atomic_load(&counter), 2);
	host_machine_destroy(machine);
}

static void note_context(void *arg)
{
	*(enum loam_context *)arg = loam_port_context();
}

TEST(handlers_run_in_interrupt_context_on_their_cpu)
{
	struct host_machine *machine = make(2);
	enum loam_context context = LOAM_CONTEXT_TASK;

	host_enter(machine, 1);
	host_interrupt(machine, 1, note_context, &context);
	CHECK_EQ(context, LOAM_CONTEXT_INTERRUPT);
	CHECK_EQ(loam_port_context(), LOAM_CONTEXT_TASK);
	host_machine_destroy(machine);
}

static void note_cpu(void *arg)
{
	*(unsigned int *)arg = loam_port_cpu();
}

TEST(a_halted_cpu_is_served_by_whoever_spins)
{
	struct host_machine *machine = make(3);
	unsigned int served = 99;

	host_enter(machine, 1);
	host_on_ipi(machine, note_cpu, &served);
	loam_port_ipi(2);
	CHECK_EQ(served, 99);
	loam_port_relax(0);
	CHECK_EQ(served, 2);
	CHECK_EQ(loam_port_cpu(), 1);
	host_machine_destroy(machine);
}

TEST(ipis_are_dropped_delayed_and_duplicated)
{
	struct host_machine *machine = make(2);
	atomic_uint counter = 0;

	host_enter(machine, 0);
	host_on_ipi(machine, count, &counter);
	host_set_ipi_policy(machine, HOST_IPI_DROP, 2);
	for (unsigned int i = 0; i < 3; i++) {
		loam_port_ipi(1);
		loam_port_relax(0);
	}
	CHECK_EQ(atomic_load(&counter), 2);

	host_set_ipi_policy(machine, HOST_IPI_DUPLICATE, 0);
	loam_port_ipi(1);
	loam_port_relax(0);
	CHECK_EQ(atomic_load(&counter), 4);

	host_set_ipi_policy(machine, HOST_IPI_DELAY, 0);
	loam_port_ipi(1);
	loam_port_relax(0);
	CHECK_EQ(atomic_load(&counter), 4);
	host_ipi_release(machine);
	loam_port_relax(0);
	CHECK_EQ(atomic_load(&counter), 5);
	CHECK_EQ(host_ipis(machine), 5);
	host_machine_destroy(machine);
}

/* A CPU that is asked again and again while it has interrupts masked is not buried under what it has not answered. */
TEST(ipis_that_wait_are_merged)
{
	struct host_machine *machine = make(2);
	atomic_uint counter = 0;

	host_enter(machine, 0);
	host_on_ipi(machine, count, &counter);
	for (unsigned int i = 0; i < 1000; i++)
		loam_port_ipi(1);
	CHECK_EQ(atomic_load(&counter), 0);
	loam_port_relax(0);
	CHECK_EQ(atomic_load(&counter), 2);
	host_machine_destroy(machine);
}

static void count_other(void *counter)
{
	count(counter);
}

/* Different ones are not merged, and too many of them are a fault of the test, said without a lock held. */
TEST(too_many_interrupts_are_a_fault)
{
	struct host_machine *machine = make(2);
	atomic_uint counters[33];

	host_enter(machine, 0);
	for (unsigned int i = 0; i < 32; i++) {
		host_interrupt(machine, 1, count, &counters[i]);
		host_interrupt(machine, 1, count_other, &counters[i]);
	}
	CHECK_PANIC(host_interrupt(machine, 1, count, &counters[32]), "host: more than 64 interrupts wait at CPU 1");
	host_machine_destroy(machine);
}

TEST(a_held_cpu_answers_when_it_is_released)
{
	struct host_machine *machine = make(2);
	atomic_uint counter = 0;

	host_enter(machine, 0);
	host_on_ipi(machine, count, &counter);
	host_hold(machine, 1, true);
	loam_port_ipi(1);
	loam_port_relax(0);
	CHECK_EQ(atomic_load(&counter), 0);
	host_hold(machine, 1, false);
	loam_port_relax(0);
	CHECK_EQ(atomic_load(&counter), 1);
	host_machine_destroy(machine);
}

static void answer(void *answered)
{
	atomic_store((atomic_bool *)answered + loam_port_cpu(), true);
}

/* IPIs of several senders may be merged into one: each CPU answers, but not each sender. */
static void send_to_all_others(void *arg)
{
	atomic_bool *answered = arg;

	for (unsigned int cpu = 0; cpu < 4; cpu++) {
		if (cpu != loam_port_cpu())
			loam_port_ipi(cpu);
	}
	for (unsigned int cpu = 0; cpu < 4; cpu++) {
		for (unsigned int round = 0; !atomic_load(&answered[cpu]); round++)
			loam_port_relax(round);
	}
}

TEST(cpus_that_spin_answer_each_others_ipis)
{
	struct host_machine *machine = make(4);
	atomic_bool answered[4] = {false, false, false, false};

	host_on_ipi(machine, answer, answered);
	host_enter(machine, 0);
	host_run(machine, send_to_all_others, answered);
	CHECK_EQ(host_ipis(machine), 12);
	host_machine_destroy(machine);
}

static void ipi_to_cpu_0_and_wait(void *arg)
{
	atomic_uint *answered = arg;

	loam_port_ipi(0);
	for (unsigned int round = 0; atomic_load(answered) < 1; round++)
		loam_port_relax(round);
}

TEST(a_cpu_that_waits_for_work_to_end_takes_interrupts)
{
	struct host_machine *machine = make(2);
	atomic_uint answered = 0;

	host_on_ipi(machine, count, &answered);
	host_enter(machine, 0);
	host_send(machine, 1, ipi_to_cpu_0_and_wait, &answered);
	host_wait(machine, 1);
	CHECK_EQ(atomic_load(&answered), 1);
	host_machine_destroy(machine);
}

/* ---- exhaustive: the busy byte of base/percpu.h ------------------------------------------------------------------------ */

struct guarded {
	uint8_t busy;
	uint32_t inside;
	uint32_t fast;
	uint32_t slow;
	bool broken;
	bool unguarded; /* the seeded fault: the byte is not looked at */
};

static void fast_path(void *context)
{
	struct guarded *g = context;
	struct loam_pin pin = loam_port_pin();

	if (loami_busy_enter(&g->busy) || g->unguarded) {
		if (loami_fetch_add(&g->inside, 1) != 0)
			g->broken = true;
		loami_fetch_add(&g->fast, 1);
		loami_fetch_sub(&g->inside, 1);
		loami_busy_leave(&g->busy);
	} else {
		loami_fetch_add(&g->slow, 1);
	}
	loam_port_unpin(pin);
}

static bool guarded_scenario(void *context)
{
	struct guarded *g = context;

	fast_path(g);
	return !g->broken;
}

TEST(every_interrupt_point_is_visited_also_nested)
{
	struct host_machine *machine = make(1);
	struct guarded g = {0};
	uint64_t once;
	uint64_t twice;

	host_enter(machine, 0);
	once = host_each_point(guarded_scenario, fast_path, &g, false);
	CHECK_EQ(once, 7); /* pin, enter, three atomics, leave, unpin */
	CHECK_EQ(g.fast + g.slow, 2 * once + 1);
	CHECK_EQ(g.slow, 5); /* between the byte's two stores */
	twice = host_each_point(guarded_scenario, fast_path, &g, true);
	CHECK(twice > 2 * once);
	host_machine_destroy(machine);
}

TEST(a_fast_path_without_its_busy_byte_is_found)
{
	struct host_machine *machine = make(1);
	struct guarded g = {.unguarded = true};

	host_enter(machine, 0);
	CHECK_PANIC(host_each_point(guarded_scenario, fast_path, &g, false),
		    "host: scenario went wrong with an interrupt at point 4, nested at 0");
	host_machine_destroy(machine);
}

/* ---- a storm -------------------------------------------------------------------------------------------------------------- */

static struct guarded storm_state[4];
static atomic_bool storm_seen;

static void storm_handler(void *arg)
{
	(void)arg;
	atomic_store(&storm_seen, true);
	fast_path(&storm_state[loam_port_cpu()]);
}

static void storm_work(void *arg)
{
	(void)arg;
	for (int i = 0; i < 20000 || (!atomic_load(&storm_seen) && i < 100000000); i++)
		fast_path(&storm_state[loam_port_cpu()]);
}

TEST(signals_interrupt_between_any_two_instructions)
{
	struct host_machine *machine = make(4);

	host_storm_begin(machine, 50, storm_handler, NULL);
	host_run(machine, storm_work, NULL);
	host_storm_end(machine);
	CHECK(atomic_load(&storm_seen));
	for (int i = 0; i < 4; i++)
		CHECK(!storm_state[i].broken);
	host_machine_destroy(machine);
}

/* ---- failure points ---------------------------------------------------------------------------------------------------------- */

struct failing {
	unsigned int tries;
	unsigned int bad_at; /* the seeded fault: a failure at this point is not handled */
};

static bool takes_three_things(void *context)
{
	struct failing *f = context;
	bool fine = true;

	f->tries++;
	for (unsigned int i = 1; i <= 3; i++) {
		if (host_should_fail(i % 2)) {
			fine = i != f->bad_at;
			break;
		}
	}
	return fine;
}

TEST(every_failure_point_fails_once_and_for_good)
{
	struct failing f = {0};

	CHECK_EQ(host_fail_each(HOST_FAIL_ANY, takes_three_things, &f), 3);
	CHECK_EQ(f.tries, 3 * 2 + 1);
	CHECK_EQ(host_fail_each(1, takes_three_things, &f), 2);
	CHECK(!host_should_fail(0));
	f.bad_at = 2;
	CHECK_PANIC(host_fail_each(HOST_FAIL_ANY, takes_three_things, &f),
		    "host: scenario went wrong with failure point 2 failing once");
}
