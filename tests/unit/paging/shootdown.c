/* tests/unit/paging/shootdown.c: several CPUs of the host machine, whose TLBs forget nothing by themselves and whose IPIs get lost, late and doubled.
 *
 * The workload: pages that come and go at fixed addresses, read by all CPUs while they are live. An access through an entry that was not flushed, or to a frame that
 * was given back too early, ends the run (ports/host/mmu.c).
 */
#include "fixture.h"

#include <host.h>
#include <walk.h>

#include <stdlib.h>

#define BASE UINT64_C(0xffff900000000000)
enum { SLOTS = 24, SLOT_PAGES = 4 };

/* @state: 0 free; LIVE + count of readers; DYING while its owner waits for readers. Slots lie 8 MiB apart, so that tables come and go too. */
enum { LIVE = 1 << 16 };
enum { USES = 40 };

struct machine {
	struct rig *rig;
	struct loam_pagetable tree;
	struct loam_tlb tlb;
	void *metadata;
	uint32_t slot[SLOTS];
	loam_pfn pfns[SLOTS][SLOT_PAGES];
	unsigned int rounds;
	bool single_pages; /* flush by ranges */
	bool idle;         /* CPUs idle now and then */
	bool mask;         /* CPUs mask interrupts for long now and then */
	bool leave;        /* CPUs go offline now and then */
	uint32_t timeouts;
	uint64_t uses[16];
};

static struct machine machine;

static void on_ipi(void *arg)
{
	/* What any kernel does first in an interrupt that may have woken the CPU. */
	loam_tlb_idle_exit(arg);
	loam_tlb_ipi(arg);
}

/* @timeout_ns: 0, nobody is given up. */
static void machine_begin(unsigned int ncpus, uint64_t timeout_ns)
{
	struct rig_config config = {.npages = 4096, .ncpus = ncpus};
	struct loam_tlb_config tlb_config = {.ncpus = ncpus,
					     .timeout_ns = timeout_ns == 0 ? RIG_PATIENCE_NS : timeout_ns};
	struct loam_table_source source;
	struct host_mmu mmu = {.kind = HOST_MMU_X86_64, .levels = 4, .pa_bits = 52, .types = LOAM_X86_64_PAT};

	machine = (struct machine){.rig = rig_create(&config), .rounds = 1000};
	source = loam_paging_tables_from_frames(machine.rig->frames);
	CHECK_OK(loam_pagetable_init(&machine.tree, &loam_paging_x86_64_4level, &source, LOAM_PADDR_NONE));
	machine.tree.keep_empty_tables = false;
	machine.metadata = aligned_alloc(LOAM_CPU_ALIGN, 65536);
	CHECK_OK(loam_tlb_init(&machine.tlb, &tlb_config, machine.metadata, 65536));
	host_on_ipi(machine.rig->machine, on_ipi, &machine.tlb);
	host_set_mmu(machine.rig->machine, &mmu, machine.tree.root);
}

static uint64_t used_frames(void)
{
	struct loam_frames_stats stats;

	loam_frame_drain(machine.rig->frames);
	loam_frame_read_stats(machine.rig->frames, &stats);
	return stats.used;
}

static void machine_end(void)
{
	struct loam_table_batch batch;

	if (loam_pagetable_seal(&machine.tree, &batch))
		loam_pagetable_release(&machine.tree, &batch);
	loam_pagetable_destroy(&machine.tree);
	CHECK_EQ(used_frames(), 0);
	CHECK_OK(loam_frame_check(machine.rig->frames));
	rig_destroy(machine.rig);
	free(machine.metadata);
}

static uintptr_t slot_address(unsigned int slot)
{
	return BASE + (uintptr_t)slot * (8 << 20);
}

static bool wait_for(loam_tlb_generation generation)
{
	enum loam_status status;

	/* What waits stays where it is until it is flushed, however long that takes. */
	while ((status = loam_tlb_wait(&machine.tlb, generation)) == LOAM_ERR_TIMEOUT) {
		__atomic_fetch_add(&machine.timeouts, 1, __ATOMIC_RELAXED);
		host_ipi_release(machine.rig->machine);
	}
	return status == LOAM_OK;
}

static bool make(unsigned int slot)
{
	struct loam_mapping mapping = {.prot = RW};
	uint64_t text = slot;

	if (loam_frame_alloc_batch(machine.rig->frames, SLOT_PAGES, NULL, machine.pfns[slot]) != SLOT_PAGES ||
	    loam_paging_map_frames(&machine.tree, slot_address(slot), machine.pfns[slot], SLOT_PAGES, &mapping) !=
		    LOAM_OK)
		return false;
	for (unsigned int i = 0; i < SLOT_PAGES; i++)
		host_write(slot_address(slot) + i * LOAM_PAGE_SIZE, &text, sizeof(text));
	__atomic_store_n(&machine.slot[slot], LIVE, __ATOMIC_RELEASE);
	return true;
}

/* The slot is ours and nobody reads it any more. */
static bool unmake(unsigned int slot)
{
	struct loam_tlb_range range = {.start = slot_address(slot), .npages = SLOT_PAGES, .stride_shift = 12};
	struct loam_table_batch batch;

	if (loam_paging_unmap(&machine.tree, slot_address(slot), SLOT_PAGES, NULL, NULL) != LOAM_OK)
		return false;
	if (!wait_for(machine.single_pages ? loam_tlb_flush_start(&machine.tlb, &range, 1)
					   : loam_tlb_flush_start(&machine.tlb, NULL, 0)))
		return false;
	loam_frame_free_batch(machine.rig->frames, machine.pfns[slot], SLOT_PAGES);
	__atomic_store_n(&machine.slot[slot], 0, __ATOMIC_RELEASE);
	if (loam_pagetable_seal(&machine.tree, &batch)) {
		if (!wait_for(loam_tlb_flush_tables(&machine.tlb)))
			return false;
		loam_pagetable_release(&machine.tree, &batch);
	}
	return true;
}

/* Take the right to change @slot: free -> ours, or live with no reader -> ours. */
static bool claim(unsigned int slot, uint32_t from)
{
	return __atomic_compare_exchange_n(&machine.slot[slot], &from, 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static bool use(unsigned int slot)
{
	uint32_t state = __atomic_load_n(&machine.slot[slot], __ATOMIC_RELAXED);
	uint64_t text = 0;

	if (state < LIVE || !__atomic_compare_exchange_n(&machine.slot[slot], &state, state + 1, false,
							 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return true;
	host_read(slot_address(slot) + (state % SLOT_PAGES) * LOAM_PAGE_SIZE, &text, sizeof(text));
	__atomic_fetch_sub(&machine.slot[slot], 1, __ATOMIC_ACQ_REL);
	machine.uses[loam_port_cpu()]++;
	return text == slot;
}

/* Where CPUs mask interrupts, none ends before somebody's patience has: CPU 0 masks them until then. */
static bool nobody_timed_out(void)
{
	return machine.mask && __atomic_load_n(&machine.timeouts, __ATOMIC_RELAXED) == 0;
}

static bool churn(struct rig *rig, unsigned int cpu, void *context)
{
	uint64_t random = cpu + 77;

	(void)rig;
	(void)context;
	loam_tlb_cpu_online(&machine.tlb);
	/* Each CPU uses enough, however many pages it finds in others' hands. */
	for (unsigned int round = 0; round < machine.rounds || machine.uses[cpu] < USES || nobody_timed_out();
	     round++) {
		unsigned int slot = (unsigned int)(rig_random(&random) % SLOTS);

		if (claim(slot, 0) && !make(slot))
			return false;
		for (unsigned int i = 0; i < 8; i++)
			if (!use((unsigned int)(rig_random(&random) % SLOTS)))
				return false;
		slot = (unsigned int)(rig_random(&random) % SLOTS);
		if (claim(slot, LIVE) && !unmake(slot))
			return false;
		if (machine.idle && rig_random(&random) % 4 == 0) {
			loam_tlb_idle_enter(&machine.tlb);
			loam_port_relax(100);
			loam_tlb_idle_exit(&machine.tlb);
		}
		if (machine.mask && rig_random(&random) % 32 == 0) {
			unsigned long irq = loam_port_irq_save();
			uint64_t end = loam_port_time() + 30 * 1000 * 1000;

			while (loam_port_time() < end || (cpu == 0 && nobody_timed_out()))
				loam_port_relax(100);
			loam_port_irq_restore(irq);
		}
		if (machine.leave && rig_random(&random) % 16 == 0) {
			loam_tlb_cpu_offline(&machine.tlb);
			loam_port_relax(100);
			loam_tlb_cpu_online(&machine.tlb);
		}
	}
	loam_tlb_cpu_offline(&machine.tlb);
	return true;
}

static void run(void)
{
	CHECK(rig_run(machine.rig, churn, NULL));
	host_set_ipi_policy(machine.rig->machine, HOST_IPI_DELIVER, 0);
	loam_tlb_cpu_online(&machine.tlb);
	for (unsigned int slot = 0; slot < SLOTS; slot++)
		if (claim(slot, LIVE))
			CHECK(unmake(slot));
	for (unsigned int i = 0; i < machine.rig->ncpus; i++)
		CHECK(machine.uses[i] >= USES);
	machine_end();
}

TEST(tlb_nothing_stale_when_everything_is_flushed)
{
	machine_begin(4, 0);
	run();
}

TEST(tlb_nothing_stale_when_pages_are_flushed)
{
	machine_begin(4, 0);
	machine.single_pages = true;
	run();
}

TEST(tlb_nothing_stale_when_cpus_idle_and_leave)
{
	machine_begin(4, 0);
	machine.single_pages = true;
	machine.idle = true;
	machine.leave = true;
	run();
}

TEST(tlb_nothing_stale_on_more_cpus_than_there_are)
{
	machine_begin(12, 0);
	machine.rounds = 80;
	machine.single_pages = true;
	machine.idle = true;
	run();
}

TEST(tlb_nothing_stale_when_ipis_come_twice)
{
	machine_begin(4, 0);
	host_set_ipi_policy(machine.rig->machine, HOST_IPI_DUPLICATE, 0);
	run();
}

/* The waiter asks again. */
TEST(tlb_nothing_stale_when_ipis_get_lost)
{
	machine_begin(4, 200 * 1000 * 1000);
	machine.rounds = 60;
	for (uint64_t nth = 1; nth < 20; nth += 3)
		host_set_ipi_policy(machine.rig->machine, HOST_IPI_DROP, nth);
	run();
}

/* All of them lost: those who wait answer for themselves, and those who do not wait are busy for a bounded time only. */
TEST(tlb_nothing_stale_when_every_ipi_gets_lost)
{
	machine_begin(3, 20 * 1000 * 1000);
	machine.rounds = 40;
	host_set_ipi_policy(machine.rig->machine, HOST_IPI_DROP, 0);
	run();
}

/* Diagnoses of several CPUs at once: counted. */
static uint32_t diagnoses;

static bool count_log(const char *text, size_t nbytes)
{
	static const char prefix[] = "loam: tlb: cpu ";

	if (nbytes > sizeof(prefix) && __builtin_memcmp(text, prefix, sizeof(prefix) - 1) == 0)
		__atomic_fetch_add(&diagnoses, 1, __ATOMIC_RELAXED);
	return true;
}

/* All of them late: delivered when somebody has given up waiting for them. */
TEST(tlb_nothing_stale_when_every_ipi_is_late)
{
	machine_begin(3, 5 * 1000 * 1000);
	machine.rounds = 40;
	host_hooks.on_log = count_log;
	host_set_ipi_policy(machine.rig->machine, HOST_IPI_DELAY, 0);
	run();
	host_hooks.on_log = tap_on_log;
}

/* Each CPU masks interrupts for 30 ms now and then; 10 ms is all the patience there is. */
TEST(tlb_nothing_stale_when_cpus_mask_interrupts_for_long)
{
	machine_begin(3, 10 * 1000 * 1000);
	machine.rounds = 60;
	machine.mask = true;
	diagnoses = 0;
	host_hooks.on_log = count_log;
	run();
	host_hooks.on_log = tap_on_log;
	CHECK(machine.timeouts > 0);
	CHECK(diagnoses >= machine.timeouts); /* always one */
}

/* ---- one CPU that does not answer ---- */

static bool is_set(const bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static bool silent_released, silent_now;

static void silent_cpu(void *arg)
{
	unsigned long irq;

	(void)arg;
	loam_tlb_cpu_online(&machine.tlb);
	irq = loam_port_irq_save();
	__atomic_store_n(&silent_now, true, __ATOMIC_RELEASE);
	for (unsigned int round = 0; !is_set(&silent_released); round++)
		loam_port_relax(round);
	loam_port_irq_restore(irq);
}

/* @cpu is online and has interrupts masked from now on. */
static void silence(unsigned int cpu)
{
	silent_released = false;
	silent_now = false;
	host_send(machine.rig->machine, cpu, silent_cpu, NULL);
	while (!is_set(&silent_now))
		loam_port_relax(100);
}

TEST(tlb_names_a_silent_cpu_and_keeps_what_waits)
{
	struct loam_tlb_stats stats;
	loam_tlb_generation generation;

	machine_begin(3, 20 * 1000 * 1000);
	loam_tlb_cpu_online(&machine.tlb);
	silence(2);
	generation = loam_tlb_flush_start(&machine.tlb, NULL, 0);
	tap_log_capture();
	CHECK_STATUS(loam_tlb_wait(&machine.tlb, generation), LOAM_ERR_TIMEOUT);

	char expected[128];
	int length = 0;
	const char *prefix = "loam: tlb: cpu 2 has not flushed generation ";
	uint64_t digits[20];
	int ndigits = 0;

	for (; prefix[length] != '\0'; length++)
		expected[length] = prefix[length];
	for (uint64_t g = generation; g > 0; g /= 10)
		digits[ndigits++] = g % 10;
	while (ndigits > 0)
		expected[length++] = (char)('0' + digits[--ndigits]);
	for (const char *rest = " after 20 ms\n"; *rest != '\0'; rest++)
		expected[length++] = *rest;
	expected[length] = '\0';
	CHECK_STR(tap_log_end(), expected);
	CHECK(!loam_tlb_is_done(&machine.tlb, generation));
	loam_tlb_read_stats(&machine.tlb, &stats);
	CHECK_EQ(stats.timeouts, 1);
	CHECK(stats.ipis > 1); /* asked again */

	__atomic_store_n(&silent_released, true, __ATOMIC_RELEASE);
	host_wait(machine.rig->machine, 2);
	CHECK_OK(loam_tlb_wait(&machine.tlb, generation));
	loam_tlb_cpu_offline(&machine.tlb);
	machine_end();
}

static loam_tlb_generation pending;
static enum loam_status in_interrupt;

static void wait_in_interrupt(void *arg)
{
	(void)arg;
	in_interrupt = loam_tlb_wait(&machine.tlb, pending);
}

TEST(tlb_an_interrupt_does_not_wait)
{
	machine_begin(2, 0);
	loam_tlb_cpu_online(&machine.tlb);
	silence(1);
	pending = loam_tlb_flush_start(&machine.tlb, NULL, 0);
	in_interrupt = LOAM_OK;
	host_interrupt(machine.rig->machine, 0, wait_in_interrupt, NULL);
	loam_port_irq_restore(loam_port_irq_save());
	CHECK_STATUS(in_interrupt, LOAM_ERR_CONTEXT);
	__atomic_store_n(&silent_released, true, __ATOMIC_RELEASE);
	host_wait(machine.rig->machine, 1);
	CHECK_OK(loam_tlb_wait(&machine.tlb, pending));
	host_interrupt(machine.rig->machine, 0, wait_in_interrupt, NULL);
	loam_port_irq_restore(loam_port_irq_save());
	CHECK_OK(in_interrupt); /* done: asking is no waiting */
	loam_tlb_cpu_offline(&machine.tlb);
	machine_end();
}

/* All wait at once with interrupts masked, for the newest generation there is: each must answer for itself. */
static bool wait_masked(struct rig *rig, unsigned int cpu, void *context)
{
	loam_tlb_generation *newest = context;
	bool ok = true;

	(void)rig;
	(void)cpu;
	loam_tlb_cpu_online(&machine.tlb);
	for (unsigned int i = 0; ok && i < 200; i++) {
		unsigned long irq = loam_port_irq_save();
		loam_tlb_generation mine = loam_tlb_flush_start(&machine.tlb, NULL, 0);
		loam_tlb_generation seen = __atomic_load_n(newest, __ATOMIC_ACQUIRE);

		while (seen < mine &&
		       !__atomic_compare_exchange_n(newest, &seen, mine, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			;
		ok = loam_tlb_wait(&machine.tlb, seen > mine ? seen : mine) == LOAM_OK;
		loam_port_irq_restore(irq);
	}
	loam_tlb_cpu_offline(&machine.tlb);
	return ok;
}

TEST(tlb_waiters_answer_each_other_with_interrupts_masked)
{
	loam_tlb_generation newest = 0;

	machine_begin(4, 0);
	CHECK(rig_run(machine.rig, wait_masked, &newest));
	CHECK_EQ(newest, 4 * 200);
	machine_end();
}

TEST(tlb_idle_cpus_are_not_asked_but_for_tables)
{
	struct loam_tlb_stats before, after;
	loam_tlb_generation generation;

	machine_begin(2, 0);
	/* CPU 1 goes idle on its own thread, which halts with interrupts on. */
	loam_tlb_cpu_online(&machine.tlb);
	host_enter(machine.rig->machine, 1);
	loam_tlb_cpu_online(&machine.tlb);
	loam_tlb_idle_enter(&machine.tlb);
	host_enter(machine.rig->machine, 0);
	loam_tlb_read_stats(&machine.tlb, &before);
	generation = loam_tlb_flush_start(&machine.tlb, NULL, 0);
	CHECK(loam_tlb_is_done(&machine.tlb, generation));
	loam_tlb_read_stats(&machine.tlb, &after);
	CHECK_EQ(after.ipis, before.ipis);
	generation = loam_tlb_flush_tables(&machine.tlb);
	CHECK_OK(loam_tlb_wait(&machine.tlb, generation));
	loam_tlb_read_stats(&machine.tlb, &after);
	CHECK_EQ(after.ipis, before.ipis + 1);
	CHECK_EQ(after.full_flushes, before.full_flushes + 3); /* two here, one there */
	machine_end();
}

TEST(tlb_broadcast_needs_nobody_elses_help)
{
	struct loam_tlb_config config = {.ncpus = 2, .broadcast = true, .timeout_ns = RIG_PATIENCE_NS};
	struct loam_tlb tlb = {0};
	struct loam_tlb_stats stats;
	void *metadata = aligned_alloc(LOAM_CPU_ALIGN, 8192);
	loam_tlb_generation generation;

	machine_begin(2, 0);
	CHECK_OK(loam_tlb_init(&tlb, &config, metadata, 8192));
	host_enter(machine.rig->machine, 1);
	loam_tlb_cpu_online(&tlb);
	host_enter(machine.rig->machine, 0);
	loam_tlb_cpu_online(&tlb);
	generation = loam_tlb_flush_start(&tlb, NULL, 0);
	CHECK(loam_tlb_is_done(&tlb, generation));
	CHECK_OK(loam_tlb_wait(&tlb, generation));
	/* One that another CPU has published and not finished. */
	__atomic_store_n(&tlb.generation, generation + 1, __ATOMIC_RELEASE);
	CHECK(!loam_tlb_is_done(&tlb, generation + 1));
	CHECK_OK(loam_tlb_wait(&tlb, generation + 1));
	loam_tlb_read_stats(&tlb, &stats);
	CHECK_EQ(stats.ipis, 0);
	machine_end();
	free(metadata);
}

TEST(tlb_a_cpu_beyond_the_set_up_is_misuse)
{
	struct loam_tlb_config config = {.ncpus = 1};
	struct loam_tlb small = {0};
	void *metadata = aligned_alloc(LOAM_CPU_ALIGN, 8192);

	machine_begin(2, 0);
	CHECK_OK(loam_tlb_init(&small, &config, metadata, 8192));
	host_enter(machine.rig->machine, 1);
	CHECK_PANIC(loam_tlb_cpu_online(&small), "loam: tlb: called on cpu 1, but it was set up for 1");
	CHECK_PANIC((void)loam_tlb_flush_start(&small, NULL, 0), "loam: tlb: called on cpu 1, but it was set up for 1");
	CHECK_EQ(small.generation, 0);
	host_enter(machine.rig->machine, 0);
	machine_end();
	free(metadata);
}
