/* tests/kernel/vmalloc.c: areas on every CPU at once, over the real page tables: made by one, read, freed and fought over by others. */
#include "../rig.h"
#include "../tap.h"

#include <console.h>
#include <kernel.h>
#include <tour.h>

enum { AREAS = 24, CPUS_MOST = 16, ROUNDS = 6 };

static struct {
	void *area[CPUS_MOST][AREAS];
	void *top[CPUS_MOST];
	unsigned int ncpus;
	unsigned int wrong; /* atomic */
	unsigned int freed; /* atomic */
	unsigned int read;  /* atomic: CPUs that could read what is freed */
} many;

static void check(bool fine)
{
	if (!fine)
		__atomic_add_fetch(&many.wrong, 1, __ATOMIC_RELAXED);
}

static size_t pages_of(unsigned int cpu, size_t i)
{
	return 1 + (cpu * 7 + i * 5) % 40;
}

static void make_areas(void *arg)
{
	unsigned int cpu = loam_port_cpu();

	(void)arg;
	for (size_t i = 0; i < AREAS; i++) {
		struct loam_vmalloc_opts opts = {.uninitialized = i % 2 != 0, .site = LOAM_HERE};
		void *area = loam_vmalloc(kernel_system.vm, pages_of(cpu, i) * LOAM_PAGE_SIZE, &opts);

		check(area != NULL && loam_vmalloc_is_live(kernel_system.vm, area) == 1);
		for (size_t page = 0; area != NULL && page < pages_of(cpu, i); page++)
			machine_store((uintptr_t)area + page * LOAM_PAGE_SIZE, (uintptr_t)area ^ cpu ^ page);
		many.area[cpu][i] = area;
	}
	check(loam_vstack_alloc(kernel_system.vm, 8192, LOAM_HERE, &many.top[cpu]) == LOAM_OK);
}

/* The next CPU's areas: read; every other one freed by both at once; the rest by this one. */
static void use_neighbours(void *arg)
{
	unsigned int cpu = loam_port_cpu(), other = (cpu + 1) % many.ncpus;

	(void)arg;
	for (size_t i = 0; i < AREAS; i++) {
		uintptr_t area = (uintptr_t)many.area[other][i];

		if (i % 2 != 0)
			continue;
		for (size_t page = 0; page < pages_of(other, i); page++)
			check(machine_load(area + page * LOAM_PAGE_SIZE) == (area ^ other ^ page));
		if (loam_vfree(kernel_system.vm, (void *)area))
			__atomic_add_fetch(&many.freed, 1, __ATOMIC_RELAXED);
	}
	/* Both of a pair of CPUs want these. */
	for (size_t i = 1; i < AREAS; i += 2)
		for (unsigned int k = 0; k < 2; k++)
			if (loam_vfree(kernel_system.vm, many.area[(cpu + k) % many.ncpus][i]))
				__atomic_add_fetch(&many.freed, 1, __ATOMIC_RELAXED);
	check(loam_vstack_free(kernel_system.vm, many.top[other]));
}

static void read_one(void *address)
{
	(void)machine_load((uintptr_t)address);
}

static void read_what_is_gone(void *arg)
{
	char text[256];

	(void)arg;
	for (unsigned int cpu = 0; cpu < many.ncpus; cpu++)
		if (machine_try(read_one, many.area[cpu][0], text, sizeof(text)))
			__atomic_add_fetch(&many.read, 1, __ATOMIC_RELAXED);
}

TEST(V4_areas_of_each_cpu_are_read_and_freed_by_others_and_gone_everywhere)
{
	struct loam_vmalloc_stats before, after;

	many.ncpus = machine_cpus();
	if (many.ncpus > CPUS_MOST)
		tap_skip("more CPUs than this test keeps areas for");
	CHECK(tour_purge());
	CHECK_OK(loam_vmalloc_read_stats(kernel_system.vm, &before));
	for (unsigned int round = 0; round < ROUNDS; round++) {
		size_t total;

		many.freed = many.read = 0;
		machine_run(make_areas, NULL);
		(void)loam_vmalloc_snapshot(kernel_system.vm, NULL, 0, &total);
		CHECK_EQ(total, before.live_areas + many.ncpus * (AREAS + 1));
		machine_run(use_neighbours, NULL);
		CHECK_EQ(many.freed, many.ncpus * AREAS);
		CHECK(tour_purge());
		machine_run(read_what_is_gone, NULL);
		CHECK_EQ(many.read, 0);
		CHECK_EQ(many.wrong, 0);
	}
	CHECK_OK(loam_vmalloc_read_stats(kernel_system.vm, &after));
	CHECK_EQ(after.live_areas, before.live_areas);
	CHECK_EQ(after.live_pages, before.live_pages);
	CHECK_EQ(after.waiting_areas, 0);
	CHECK_EQ(after.total_sequence, before.total_sequence + ROUNDS * many.ncpus * (AREAS + 1));
	CHECK(tour_audit());
}
