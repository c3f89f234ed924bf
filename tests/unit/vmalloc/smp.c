/* tests/unit/vmalloc/smp.c: shootdown as it is seen through addresses: on the host machine's software MMU, whose TLBs remember stale entries and end the test when an access
 * goes through one to a frame that has another owner. Several CPUs, IPIs that are held back, areas freed by others.
 */
#include "fixture.h"

#include <host.h>
#include <loam/port.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { CPUS = 4 };

static struct smp {
	struct rig *rig;
	struct host_machine *machine;
	struct loam_pagetable tree;
	struct loam_tlb tlb;
	struct loam_vm vm;
	void *tlb_metadata;
	atomic_uint turn;
	char *shared;
	uint64_t seed;
	atomic_uint failed;
} smp;

static void on_ipi(void *arg)
{
	loam_tlb_ipi(arg);
}

static void go_online(void *arg)
{
	loam_tlb_cpu_online(arg);
}

/* @timeout_ns: 0, nobody is given up. */
static void smp_begin(size_t batch_areas, uint64_t timeout_ns)
{
	struct host_mmu mmu = {.kind = HOST_MMU_X86_64, .levels = 4, .pa_bits = 46, .types = LOAM_X86_64_PAT};
	struct loam_tlb_config tlb_config = {.ncpus = CPUS,
					     .timeout_ns = timeout_ns == 0 ? RIG_PATIENCE_NS : timeout_ns};
	struct loam_vmalloc_config config;
	struct loam_table_source source;
	size_t nbytes = loam_tlb_metadata_size(&tlb_config);

	memset(&smp, 0, sizeof(smp));
	smp.rig = rig_create(&(struct rig_config){.npages = 16384, .ncpus = CPUS});
	smp.machine = smp.rig->machine;
	source = loam_paging_tables_from_frames(smp.rig->frames);
	CHECK_OK(loam_pagetable_init(&smp.tree, &loam_paging_x86_64_4level, &source, LOAM_PADDR_NONE));
	smp.tlb_metadata =
		aligned_alloc(LOAM_CPU_ALIGN, (nbytes + LOAM_CPU_ALIGN - 1) / LOAM_CPU_ALIGN * LOAM_CPU_ALIGN);
	CHECK_OK(loam_tlb_init(&smp.tlb, &tlb_config, smp.tlb_metadata, nbytes));
	host_set_mmu(smp.machine, &mmu, smp.tree.root);
	host_on_ipi(smp.machine, on_ipi, &smp.tlb);
	host_run(smp.machine, go_online, &smp.tlb);
	config = (struct loam_vmalloc_config){.nbytes = 64 * MIB,
					      .ncpus = CPUS,
					      .frames = smp.rig->frames,
					      .tree = &smp.tree,
					      .tlb = &smp.tlb,
					      .batch_areas = batch_areas};
	tap_log_capture();
	CHECK_OK(loam_vmalloc_init(&smp.vm, &config));
	(void)tap_log_end();
}

static void smp_end(void)
{
	struct loam_frames_stats stats;

	CHECK_OK(loam_vmalloc_check(&smp.vm));
	CHECK_OK(loam_vmalloc_destroy(&smp.vm));
	loam_pagetable_destroy(&smp.tree);
	loam_frame_drain(smp.rig->frames);
	loam_frame_read_stats(smp.rig->frames, &stats);
	CHECK_EQ(stats.used, 0);
	rig_destroy(smp.rig);
	free(smp.tlb_metadata);
}

/* The silent CPU answers again, and gets the time for it. */
static void let_go_of(unsigned int cpu)
{
	smp.tlb.timeout_ns = RIG_PATIENCE_NS;
	host_hold(smp.machine, cpu, false);
}

static char *alloc(size_t npages)
{
	void *address = NULL;

	CHECK_OK(loam_vmalloc_status(&smp.vm, npages * PAGE, NULL, &address));
	return address;
}

static void touch(void *arg)
{
	uint64_t value = 0;

	host_read((uint64_t)(uintptr_t)arg, &value, sizeof(value));
	value += 1;
	host_write((uint64_t)(uintptr_t)arg, &value, sizeof(value));
}

static uint32_t references(const void *address)
{
	struct loam_paging_entry entry;

	CHECK_OK(loam_paging_query(&smp.tree, (uintptr_t)address, &entry));
	return loam_frame_ref_get(smp.rig->frames, loam_frame_containing(entry.pa));
}

TEST(V4_after_a_purge_every_cpu_has_forgotten)
{
	const char *why;
	uint64_t value;
	char *address;

	smp_begin(0, 0);
	address = alloc(4);
	for (size_t i = 0; i < 4; i++)
		host_run(smp.machine, touch, address + i * PAGE);
	host_read((uint64_t)(uintptr_t)address, &value, sizeof(value));
	CHECK(value >= 1 && value <= CPUS); /* all at once, and no add is atomic */
	CHECK(loam_vfree(&smp.vm, address));
	CHECK_OK(loam_vmalloc_purge(&smp.vm));
	why = host_try_read((uint64_t)(uintptr_t)address, &value, sizeof(value));
	CHECK_STR(why, "not present");
	smp_end();
}

/* The seed's first fault: it puts the range back before the shootdown. Here a CPU is deaf, so that the flush cannot be done. */
TEST(V4_seed_fault_a_range_is_not_handed_out_before_the_shootdown)
{
	loam_pfn pfns[8];
	struct loam_paging_entry entry;
	uint32_t generations[8];
	char *address;

	smp_begin(1, 0); /* each free starts a flush */
	address = alloc(8);
	for (size_t i = 0; i < 8; i++) {
		host_run(smp.machine, touch, address + i * PAGE);
		CHECK_OK(loam_paging_query(&smp.tree, (uintptr_t)address + i * PAGE, &entry));
		pfns[i] = loam_frame_containing(entry.pa);
		generations[i] = loam_frame_generation(smp.rig->frames, pfns[i]);
	}
	host_hold(smp.machine, 2, true);
	CHECK(loam_vfree(&smp.vm, address)); /* returns: it does not wait */
	/* Whatever is asked for now, it is neither that range nor those frames. */
	for (int round = 0; round < 300; round++) {
		char *other = alloc(8);

		CHECK(other >= address + 9 * PAGE || other + 9 * PAGE <= address);
		if (round % 2 == 0)
			CHECK(loam_vfree(&smp.vm, other));
	}
	for (size_t i = 0; i < 8; i++) {
		CHECK_EQ(loam_frame_ref_get(smp.rig->frames, pfns[i]), 1);
		CHECK_EQ(loam_frame_generation(smp.rig->frames, pfns[i]), generations[i]);
	}
	host_hold(smp.machine, 2, false);
	CHECK_OK(loam_vmalloc_purge(&smp.vm));
	for (size_t i = 0; i < 8; i++)
		CHECK(loam_frame_ref_get(smp.rig->frames, pfns[i]) == LOAM_FRAME_UNUSED ||
		      loam_frame_generation(smp.rig->frames, pfns[i]) != generations[i]);
	for (struct loam_vmalloc_live live; loam_vmalloc_snapshot(&smp.vm, &live, 1, NULL) == 1;)
		CHECK(loam_vfree(&smp.vm, (void *)live.address));
	smp_end();
}

/* The seed's second fault: a list of frames in a contiguous block of a power of two. Two million bytes of area, and not two free frames side by side. */
TEST(V5_seed_fault_no_contiguous_storage_for_lists_of_frames)
{
	static loam_pfn all[16384], odd[16384];
	size_t n = 0, nodd = 0;
	char *address;

	smp_begin(0, 0);
	while ((all[n] = loam_frame_alloc(smp.rig->frames, 0, NULL)) != LOAM_PFN_NONE)
		n++;
	for (size_t i = 0; i < n; i++) {
		if (all[i] % 2 == 0)
			loam_frame_free(smp.rig->frames, all[i], 0);
		else
			odd[nodd++] = all[i];
	}
	for (unsigned int order = 1; order <= 3; order++)
		CHECK_EQ(loam_frame_alloc(smp.rig->frames, order, NULL), LOAM_PFN_NONE);
	address = alloc(4096); /* its list would be 32 KiB */
	CHECK_EQ(references(address + 4095 * PAGE), 1);
	CHECK(loam_vfree_now(&smp.vm, address));
	loam_frame_free_batch(smp.rig->frames, odd, nodd);
	smp_end();
}

TEST(V4_a_silent_cpu_delays_and_is_named_and_nothing_is_let_go)
{
	const char *text;
	uint64_t value;
	char *address;

	smp_begin(0, 20000000);
	address = alloc(3);
	host_run(smp.machine, touch, address);
	host_hold(smp.machine, 3, true);
	CHECK(loam_vfree(&smp.vm, address));
	tap_log_capture();
	CHECK_STATUS(loam_vmalloc_purge(&smp.vm), LOAM_ERR_TIMEOUT);
	text = tap_log_end();
	CHECK(strstr(text, "cpu 3") != NULL || strstr(text, "CPU 3") != NULL);
	CHECK(host_try_read((uint64_t)(uintptr_t)address, &value, sizeof(value)) != NULL);
	CHECK_OK(loam_vmalloc_check(&smp.vm));
	tap_log_capture();
	CHECK_STATUS(loam_vmalloc_purge(&smp.vm), LOAM_ERR_TIMEOUT);
	(void)tap_log_end();
	let_go_of(3);
	CHECK_OK(loam_vmalloc_purge(&smp.vm));
	smp_end();
}

/* A CPU keeps interrupts masked for a whole second: ten times somebody's patience ends, each time with the CPU's name, and what it may still read stays whose it was. */
TEST(V4_a_cpu_with_interrupts_off_for_a_second_is_named_and_reuses_nothing)
{
	unsigned int named = 0, asked = 0;
	loam_pfn behind[3];
	char *address, *other;

	smp_begin(0, 100000000);
	address = alloc(3);
	for (size_t i = 0; i < 3; i++) {
		struct loam_paging_entry entry;

		CHECK_OK(loam_paging_query(&smp.tree, (uintptr_t)address + i * PAGE, &entry));
		behind[i] = loam_frame_containing(entry.pa);
	}
	host_run(smp.machine, touch, address);
	host_hold(smp.machine, 3, true);
	CHECK(loam_vfree(&smp.vm, address));
	for (; asked < 10; asked++) {
		tap_log_capture();
		CHECK_STATUS(loam_vmalloc_purge(&smp.vm), LOAM_ERR_TIMEOUT);
		named += strstr(tap_log_end(), "cpu 3 has not flushed generation") != NULL;
		other = alloc(3);
		CHECK(other != address);
		for (size_t i = 0; i < 3; i++)
			CHECK_EQ(loam_frame_ref_get(smp.rig->frames, behind[i]), 1);
		CHECK(loam_vfree(&smp.vm, other));
	}
	CHECK_EQ(named, asked);
	let_go_of(3);
	CHECK_OK(loam_vmalloc_purge(&smp.vm));
	smp_end();
}

TEST(V4_free_now_with_a_silent_cpu_leaves_it_to_wait)
{
	struct loam_vmalloc_stats stats;
	char *address;

	smp_begin(0, 20000000);
	address = alloc(3);
	host_run(smp.machine, touch, address);
	host_hold(smp.machine, 1, true);
	tap_log_capture();
	CHECK(loam_vfree_now(&smp.vm, address));
	(void)tap_log_end();
	CHECK(!loam_vfree(&smp.vm, address));
	CHECK_OK(loam_vmalloc_read_stats(&smp.vm, &stats));
	CHECK_EQ(stats.waiting_areas, 1);
	let_go_of(1);
	smp_end();
}

TEST(V4_lost_ipis_are_asked_for_again)
{
	char *address;

	smp_begin(0, 0);
	for (int round = 0; round < 10; round++) {
		address = alloc(2);
		host_run(smp.machine, touch, address);
		host_set_ipi_policy(smp.machine, HOST_IPI_DROP, 1);
		CHECK(loam_vfree_now(&smp.vm, address));
		host_set_ipi_policy(smp.machine, HOST_IPI_DELIVER, 0);
	}
	smp_end();
}

struct held {
	char *address;
	size_t npages;
};

static void write_all(const struct held *held, uint64_t mark)
{
	for (size_t i = 0; i < held->npages; i++) {
		uint64_t value = mark ^ i;

		host_write((uint64_t)(uintptr_t)held->address + i * PAGE, &value, sizeof(value));
	}
}

static bool read_all(const struct held *held, uint64_t mark)
{
	for (size_t i = 0; i < held->npages; i++) {
		uint64_t value;

		host_read((uint64_t)(uintptr_t)held->address + i * PAGE, &value, sizeof(value));
		if (value != (mark ^ i))
			return false;
	}
	return true;
}

/* Areas come and go on all CPUs, are touched where they were not made and freed where they were not touched. */
static void churn(void *arg)
{
	enum { HELD = 24 };
	unsigned int cpu = loam_port_cpu();
	uint64_t seed = *(uint64_t *)arg + cpu;
	struct held held[HELD] = {0};

	for (int round = 0; round < 1500; round++) {
		size_t i = rig_random(&seed) % HELD;
		uint64_t dice = rig_random(&seed) % 100;

		if (held[i].address != NULL) {
			void *out = held[i].address;

			if (!read_all(&held[i], (uintptr_t)held[i].address))
				atomic_store(&smp.failed, 1);
			if (dice < 8) {
				size_t npages = 1 + rig_random(&seed) % 20;

				if (loam_vrealloc(&smp.vm, out, npages * PAGE, NULL, &out) == LOAM_OK) {
					held[i] = (struct held){out, npages};
					write_all(&held[i], (uintptr_t)out);
				}
				continue;
			}
			if (dice < 40) {
				/* Given to another CPU, which takes over the one before. */
				out = atomic_exchange((_Atomic(char *) *)&smp.shared, out);
				if (out != NULL && !loam_vfree(&smp.vm, out))
					atomic_store(&smp.failed, 2);
			} else if (dice < 45) {
				if (!loam_vfree_now(&smp.vm, out))
					atomic_store(&smp.failed, 3);
			} else if (!loam_vfree(&smp.vm, out)) {
				atomic_store(&smp.failed, 4);
			}
			held[i].address = NULL;
		} else {
			held[i].npages = 1 + rig_random(&seed) % (dice < 90 ? 6 : 40);
			held[i].address = loam_vmalloc(&smp.vm, held[i].npages * PAGE, NULL);
			if (held[i].address != NULL)
				write_all(&held[i], (uintptr_t)held[i].address);
		}
		if (dice == 99)
			loam_vmalloc_tick(&smp.vm);
	}
	for (size_t i = 0; i < HELD; i++)
		if (held[i].address != NULL && !loam_vfree(&smp.vm, held[i].address))
			atomic_store(&smp.failed, 5);
}

TEST(V4_areas_churned_on_all_cpus_at_once)
{
	for (uint64_t seed = 1; seed <= 3; seed++) {
		smp_begin(16, 0);
		host_run(smp.machine, churn, &seed);
		CHECK_EQ(atomic_load(&smp.failed), 0);
		if (smp.shared != NULL)
			CHECK(loam_vfree(&smp.vm, smp.shared));
		CHECK_OK(loam_vmalloc_check(&smp.vm));
		CHECK_OK(loam_vmalloc_purge(&smp.vm));
		smp_end();
	}
}

/* In a tree that does not keep empty tables. The MMU ends the test when a CPU walks through one that has been given back. */
TEST(V4_empty_tables_are_given_back_after_a_flush_of_their_own)
{
	uint64_t seed = 5, before;

	smp_begin(16, 0);
	smp.tree.keep_empty_tables = false;
	before = loam_pagetable_count_racy(&smp.tree);
	host_run(smp.machine, churn, &seed);
	CHECK_EQ(atomic_load(&smp.failed), 0);
	if (smp.shared != NULL)
		CHECK(loam_vfree(&smp.vm, smp.shared));
	CHECK_OK(loam_vmalloc_purge(&smp.vm));
	CHECK_OK(loam_vmalloc_purge(&smp.vm)); /* tables go one batch at a time */
	CHECK_EQ(loam_pagetable_count_racy(&smp.tree), before);

	smp_end();
}

TEST(V4_tables_are_not_given_back_before_every_cpu_has_flushed)
{
	uint64_t before, most;
	char *address;

	smp_begin(0, 100000000);
	smp.tree.keep_empty_tables = false;
	before = loam_pagetable_count_racy(&smp.tree);
	address = alloc(2048);
	most = loam_pagetable_count_racy(&smp.tree);
	CHECK(most >= before + 4);
	for (size_t i = 0; i < 2048; i += 512)
		host_run(smp.machine, touch, address + i * PAGE);
	host_hold(smp.machine, 3, true);
	CHECK(loam_vfree(&smp.vm, address));
	tap_log_capture();
	CHECK_STATUS(loam_vmalloc_purge(&smp.vm), LOAM_ERR_TIMEOUT);
	(void)tap_log_end();
	CHECK_EQ(loam_pagetable_count_racy(&smp.tree), most); /* CPU 3 may still walk through them */
	let_go_of(3);
	CHECK_OK(loam_vmalloc_purge(&smp.vm));
	CHECK_OK(loam_vmalloc_purge(&smp.vm)); /* tables go one batch at a time */
	CHECK_EQ(loam_pagetable_count_racy(&smp.tree), before);
	smp_end();
}

/* Every CPU frees the same area. */
static void free_the_same(void *arg)
{
	unsigned int round = 0;

	(void)arg;
	for (; round < 200; round++) {
		while (atomic_load(&smp.turn) / (CPUS + 1) < round)
			loam_port_relax(100);
		if (loam_vfree(&smp.vm, smp.shared))
			atomic_fetch_add(&smp.failed, 1);
		atomic_fetch_add(&smp.turn, 1);
		if (loam_port_cpu() == 0) {
			while (atomic_load(&smp.turn) % (CPUS + 1) != CPUS)
				loam_port_relax(100);
			smp.shared = loam_vmalloc(&smp.vm, PAGE * (1 + round % 20), NULL);
			atomic_fetch_add(&smp.turn, 1);
		}
	}
}

TEST(V4_of_racing_frees_exactly_one_succeeds)
{
	smp_begin(8, 0);
	smp.shared = alloc(1);
	host_run(smp.machine, free_the_same, NULL);
	CHECK_EQ(atomic_load(&smp.failed), 200);
	CHECK(loam_vfree(&smp.vm, smp.shared));
	smp_end();
}

static void free_on_this_cpu(void *arg)
{
	if (!loam_vfree(&smp.vm, arg))
		atomic_store(&smp.failed, 1);
}

TEST(V4_what_an_offline_cpu_freed_is_flushed_by_others)
{
	struct loam_vmalloc_stats stats;
	void *top;
	char *address;

	smp_begin(0, 0);
	address = alloc(3);
	host_send(smp.machine, 2, free_on_this_cpu, address);
	host_wait(smp.machine, 2);
	CHECK_OK(loam_vmalloc_read_stats(&smp.vm, &stats));
	CHECK_EQ(stats.waiting_areas, 1);
	CHECK_OK(loam_vstack_alloc(&smp.vm, 8192, NULL, &top));
	CHECK(loam_vstack_free(&smp.vm, top));
	CHECK_STATUS(loam_vmalloc_cpu_offline(&smp.vm, CPUS), LOAM_ERR_CPU);
	CHECK_OK(loam_vmalloc_cpu_offline(&smp.vm, 2));
	CHECK_OK(loam_vmalloc_cpu_offline(&smp.vm, 0));
	for (int round = 0; round < 1000; round++)
		loam_vmalloc_tick(&smp.vm);
	CHECK_OK(loam_vmalloc_purge(&smp.vm));
	CHECK_OK(loam_vmalloc_read_stats(&smp.vm, &stats));
	CHECK_EQ(stats.waiting_areas, 0);
	CHECK_EQ(stats.cached_stacks, 0);
	smp_end();
}

/* Readers without locks beside all this: what they see is whole. */
static void look(void *arg)
{
	struct loam_vmalloc_live live;
	uint64_t seed = 7;

	if (loam_port_cpu() < 2) {
		churn(arg);
		atomic_fetch_add(&smp.turn, 1);
		return;
	}
	while (atomic_load(&smp.turn) < 2) {
		uintptr_t address = VM_START + rig_random(&seed) % (4 * MIB);
		enum loam_vmalloc_place place = loam_vmalloc_whereis(&smp.vm, address, &live);
		uintptr_t last = 0;
		struct loam_vmalloc_live list[32];
		size_t n;

		loam_port_relax(0); /* reading alone never lets an interrupt in */
		if ((place == LOAM_PLACE_AREA &&
		     (address < live.address || address >= live.address + live.npages * PAGE)) ||
		    (place == LOAM_PLACE_GUARD && address / PAGE != live.address / PAGE + live.npages))
			atomic_store(&smp.failed, 6);
		n = loam_vmalloc_snapshot(&smp.vm, list, 32, NULL);
		for (size_t i = 0; i < n; i++) {
			if (list[i].address <= last || list[i].sequence == 0 || list[i].npages > 41)
				atomic_store(&smp.failed, 7);
			last = list[i].address;
		}
	}
}

TEST(V8_readers_without_locks_see_whole_areas)
{
	uint64_t seed = 99;

	smp_begin(16, 0);
	host_run(smp.machine, look, &seed);
	CHECK_EQ(atomic_load(&smp.failed), 0);
	if (smp.shared != NULL)
		CHECK(loam_vfree(&smp.vm, smp.shared));
	smp_end();
}

static atomic_bool seen_wrong;

static void see_byte(void *arg)
{
	uint64_t value = 0;

	host_read((uint64_t)(uintptr_t)arg, &value, sizeof(value));
	if (value != 0)
		seen_wrong = true;
}

static void let_go_now(void *arg)
{
	if (loam_port_cpu() == 1 && !loam_vfree_now(&smp.vm, arg))
		seen_wrong = true;
}
static void let_go_by_flush(void *arg)
{
	if (loam_port_cpu() != 1)
		return;
	if (!loam_vfree(&smp.vm, arg))
		seen_wrong = true;
	/* Seals what is open on CPU 1, and on no other. */
	if (loam_vmalloc_cpu_offline(&smp.vm, 1) != LOAM_OK || loam_tlb_wait(&smp.tlb, smp.tlb.generation) != LOAM_OK)
		seen_wrong = true;
}

/* What an area was longer by is as stale as the rest when its range is free, whichever CPU keeps the frames that were cut off. */
static void shrunk_and_freed(void (*let_go)(void *))
{
	char *address, *again = NULL, *others[64];
	void *shrunk = NULL;
	size_t n = 0;

	smp_begin(0, 0);
	address = alloc(10);
	for (size_t i = 0; i < 10; i++)
		host_run(smp.machine, touch, address + i * PAGE);
	CHECK_OK(loam_vrealloc(&smp.vm, address, PAGE, NULL, &shrunk)); /* on CPU 0 */
	CHECK(shrunk == address);
	seen_wrong = false;
	host_run(smp.machine, let_go, address);
	CHECK(!seen_wrong);
	for (; n < 64 && again != address; n++) {
		again = alloc(10);
		others[n] = again;
	}
	CHECK(again == address);
	host_run(smp.machine, see_byte, address + 5 * PAGE);
	CHECK(!seen_wrong);
	while (n > 0)
		CHECK(loam_vfree(&smp.vm, others[--n]));
	CHECK_OK(loam_vmalloc_purge(&smp.vm));
	smp_end();
}

TEST(V4_an_area_that_was_longer_is_flushed_as_long_as_it_was)
{
	shrunk_and_freed(let_go_now);
	shrunk_and_freed(let_go_by_flush);
}

/* ---- who asked ---- */

TEST(V6_the_record_names_the_task_that_asked)
{
	static const struct loam_call_site site = {"t.c", "ft", 12, 5};
	const struct loam_task task = {.task = 71, .pid = 72, .tid = 73, .silo = 74}, nobody = {0};
	struct loam_vmalloc_live live;
	void *address;

	smp_begin(0, 0);
	host_set_task(&task);
	address = loam_vmalloc(&smp.vm, 5000, &(struct loam_vmalloc_opts){.align = MIB, .site = &site});
	host_set_task(&nobody); /* it is who asked that counts, not who looks */
	CHECK_EQ(loam_vmalloc_whereis(&smp.vm, (uintptr_t)address, &live), LOAM_PLACE_AREA);
	CHECK_EQ(live.task.task, 71);
	CHECK_EQ(live.task.pid, 72);
	CHECK_EQ(live.task.tid, 73);
	CHECK_EQ(live.task.silo, 74);
	tap_log_capture();
	loam_vmalloc_dump_live(&smp.vm);
	CHECK_STR(tap_log_end(),
		  "loam: vmalloc live: seq=1 kind=vmalloc task=71 pid=72 tid=73 silo=74 size=5000 pages=2 "
		  "vaddr=0xffffc00000100000 caller=t.c:12:5\n"
		  "loam: vmalloc live: total 1 areas, 2 pages (8 KiB), peak_pages=2\n");
	CHECK(loam_vfree(&smp.vm, address));
	smp_end();
}

/* ---- batches that are old, and interrupts that free ---- */

TEST(V4_an_open_batch_is_flushed_when_it_is_10_ms_old)
{
	struct loam_vmalloc_stats stats;
	char *address;

	smp_begin(0, 0);
	address = alloc(1);
	host_clock_set(1000000000);
	CHECK(loam_vfree(&smp.vm, address));
	host_clock_set(1010000000);
	loam_vmalloc_tick(&smp.vm);
	CHECK_OK(loam_vmalloc_read_stats(&smp.vm, &stats));
	CHECK_EQ(stats.flushes, 0);
	host_clock_set(1010000001);
	loam_vmalloc_tick(&smp.vm);
	CHECK_OK(loam_vmalloc_read_stats(&smp.vm, &stats));
	CHECK_EQ(stats.flushes, 1);
	host_clock_real();
	smp_end();
}

static void free_in_interrupt(void *arg)
{
	if (loam_port_context() != LOAM_CONTEXT_INTERRUPT || !loam_vfree(&smp.vm, arg))
		atomic_store(&smp.failed, 1);
	atomic_fetch_add(&smp.turn, 1);
}

/* Each free starts a flush that CPU 2 does not answer: the interrupt returns all the same, and what it freed waits. */
TEST(V4_an_interrupt_that_frees_does_not_wait_for_a_deaf_cpu)
{
	struct loam_vmalloc_stats stats;
	char *address[12];

	smp_begin(1, 0);
	for (size_t i = 0; i < 12; i++)
		address[i] = alloc(1 + i);
	host_hold(smp.machine, 2, true);
	for (unsigned int i = 0; i < 12; i++) { /* more than the ring of batches holds */
		host_interrupt(smp.machine, 0, free_in_interrupt, address[i]);
		for (unsigned int round = 0; atomic_load(&smp.turn) <= i; round++)
			loam_port_relax(round);
	}
	CHECK_EQ(atomic_load(&smp.failed), 0);
	CHECK_OK(loam_vmalloc_read_stats(&smp.vm, &stats));
	CHECK_EQ(stats.waiting_areas, 12);
	CHECK_OK(loam_vmalloc_check(&smp.vm));
	host_hold(smp.machine, 2, false);
	CHECK_OK(loam_vmalloc_purge(&smp.vm));
	smp_end();
}

/* ---- permissions, on every CPU ---- */

static void try_all(void *arg)
{
	uint64_t va = (uint64_t)(uintptr_t)arg, value;
	loam_paddr pa;

	if (host_try_read(va, &value, sizeof(value)) != NULL)
		atomic_fetch_add(&smp.failed, 1);
	if (host_translate(va, HOST_WRITE, &pa) == NULL)
		atomic_fetch_add(&smp.turn, 1);
	if (host_translate(va, HOST_EXECUTE, &pa) == NULL)
		atomic_fetch_add(&smp.turn, 1000);
}

static unsigned int who_may(const char *address, size_t npages)
{
	atomic_store(&smp.turn, 0);
	for (size_t i = 0; i < npages; i++)
		host_run(smp.machine, try_all, (void *)(uintptr_t)(address + i * PAGE));
	return atomic_load(&smp.turn);
}

/* After protect() returns no CPU writes or executes by a translation it remembers: thousands are executions, ones are writes. */
TEST(protect_holds_on_every_cpu_when_it_returns)
{
	char *address;

	smp_begin(0, 0);
	address = alloc(3);
	for (size_t i = 0; i < 3; i++)
		host_run(smp.machine, touch, address + i * PAGE);
	CHECK_EQ(who_may(address, 3), 3 * CPUS);
	CHECK_OK(loam_vmalloc_protect(&smp.vm, address, LOAM_PROT_READ | LOAM_PROT_EXEC));
	CHECK_EQ(who_may(address, 3), 3 * CPUS * 1000);
	CHECK_OK(loam_vmalloc_protect(&smp.vm, address, LOAM_PROT_READ));
	CHECK_EQ(who_may(address, 3), 0);
	CHECK_STATUS(loam_vmalloc_protect(&smp.vm, address, LOAM_PROT_READ | LOAM_PROT_WRITE | LOAM_PROT_EXEC),
		     LOAM_ERR_PROTECTION);
	CHECK_EQ(who_may(address, 3), 0);
	CHECK_EQ(atomic_load(&smp.failed), 0);
	CHECK(loam_vfree(&smp.vm, address));
	smp_end();
}

/* ---- several arenas ---- */

static struct loam_vm second;

static void use_both(void *arg)
{
	struct loam_vm *vm[2] = {&smp.vm, &second};

	(void)arg;
	for (unsigned int round = 0; round < 100; round++) {
		uint64_t value[2];
		void *at[2];

		for (unsigned int i = 0; i < 2; i++) {
			at[i] = loam_vmalloc(vm[i], (1 + round % 3) * PAGE, NULL);
			if (at[i] == NULL) {
				atomic_store(&smp.failed, 1);
				return;
			}
			value[i] = (uintptr_t)at[i] + loam_port_cpu();
			host_write((uint64_t)(uintptr_t)at[i], &value[i], sizeof(value[i]));
		}
		for (unsigned int i = 0; i < 2; i++) {
			uint64_t found;

			host_read((uint64_t)(uintptr_t)at[i], &found, sizeof(found));
			if (found != value[i] || loam_vfree(vm[1 - i], at[i]) ||
			    loam_vmalloc_is_live(vm[1 - i], at[i]) != 0 || !loam_vfree(vm[i], at[i]))
				atomic_store(&smp.failed, 2);
		}
	}
}

TEST(V1_several_arenas_at_once_on_the_same_frames_tables_and_engine)
{
	struct loam_vmalloc_config config;
	struct loam_vmalloc_stats stats;

	smp_begin(8, 0);
	config = smp.vm.config;
	config.start = VM_START + ((uintptr_t)1 << 40);
	config.nbytes = (size_t)64 << 30;
	config.batch_areas = 3;
	memset(&second, 0, sizeof(second));
	tap_log_capture();
	CHECK_OK(loam_vmalloc_init(&second, &config));
	(void)tap_log_end();
	CHECK_OK(loam_vmalloc_read_stats(&second, &stats));
	CHECK_EQ(stats.arena_start, config.start);
	CHECK_EQ(stats.arena_end, config.start + config.nbytes);
	host_run(smp.machine, use_both, NULL);
	CHECK_EQ(atomic_load(&smp.failed), 0);
	CHECK_OK(loam_vmalloc_check(&smp.vm));
	CHECK_OK(loam_vmalloc_check(&second));
	CHECK_OK(loam_vmalloc_read_stats(&second, &stats));
	CHECK_EQ(stats.total_sequence, 100 * CPUS);
	CHECK_OK(loam_vmalloc_purge(&smp.vm));
	CHECK_OK(loam_vmalloc_destroy(&second));
	smp_end();
}
