/* tests/sched/race.c: which accesses does no release and acquire order? FastTrack's idea (Flanagan and Freund 2009), small.
 *
 * 1 Clocks. CPU i has a vector C[i]; C[i][i] counts its releases. A release store of x sets L[x] = C[i]; a relaxed store of x empties L[x]; a read-modify-write adds to
 *   it (a release sequence goes on); an acquire load of x joins L[x] into C[i]. No entry means nothing to join.
 * 2 Shadow. Per eight bytes: the last write (CPU, its clock, which bytes, whether atomic, code) and each CPU's last read. An access races when an earlier one to a common byte by
 *   another CPU has a clock above what this CPU has joined, one of them writes, and one of them is plain.
 * 3 Misses: of several writers of different bytes of one granule only the last is kept. Never a false alarm from that.
 * 4 The tables are keyed by address and stamped with the run, so a new run starts empty at no cost.
 */
#include "internal.h"

#include <loam/port.h>

#include <host.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CPUS = 16, GRANULE_SHIFT = 3 };

struct access {
	uint32_t clock; /* 0: none */
	uint8_t bytes;
	bool atomic;
	const void *pc;
};

struct shadow {
	uintptr_t key;
	uint64_t run;
	unsigned int writer;
	struct access write;
	struct access reads[CPUS];
};

struct release {
	uintptr_t key;
	uint64_t run;
	uint32_t clock[CPUS];
};

static struct {
	uint64_t run;
	uint32_t clocks[CPUS][CPUS];
	size_t nshadows, shadows_size;
	struct shadow *shadows;
	size_t nreleases, releases_size;
	struct release *releases;
} race = {.run = 1};

static size_t hash(uintptr_t key)
{
	return (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 17);
}

/* An entry of another run is free for the taking, but its key is kept, so that the table stays small and probing right. */
static struct shadow *find_shadow(uintptr_t key)
{
	size_t i;

	if (race.nshadows * 2 >= race.shadows_size) {
		struct shadow *old = race.shadows;
		size_t n = race.shadows_size;

		race.shadows_size = n == 0 ? 1024 : n * 2;
		race.shadows = calloc(race.shadows_size, sizeof(*race.shadows));
		race.nshadows = 0;
		if (race.shadows == NULL)
			abort();
		for (size_t k = 0; k < n; k++) {
			if (old[k].run == race.run)
				*find_shadow(old[k].key) = old[k];
		}
		free(old);
	}
	for (i = hash(key) & (race.shadows_size - 1); race.shadows[i].key != 0; i = (i + 1) & (race.shadows_size - 1)) {
		if (race.shadows[i].key == key)
			break;
	}
	race.nshadows += race.shadows[i].key == 0;
	if (race.shadows[i].run != race.run)
		race.shadows[i] = (struct shadow){.key = key, .run = race.run};
	return &race.shadows[i];
}

static struct release *find_release(uintptr_t key)
{
	size_t i;

	if (race.nreleases * 2 >= race.releases_size) {
		struct release *old = race.releases;
		size_t n = race.releases_size;

		race.releases_size = n == 0 ? 256 : n * 2;
		race.releases = calloc(race.releases_size, sizeof(*race.releases));
		race.nreleases = 0;
		if (race.releases == NULL)
			abort();
		for (size_t k = 0; k < n; k++) {
			if (old[k].run == race.run)
				*find_release(old[k].key) = old[k];
		}
		free(old);
	}
	for (i = hash(key) & (race.releases_size - 1); race.releases[i].key != 0;
	     i = (i + 1) & (race.releases_size - 1)) {
		if (race.releases[i].key == key)
			break;
	}
	race.nreleases += race.releases[i].key == 0;
	if (race.releases[i].run != race.run)
		race.releases[i] = (struct release){.key = key, .run = race.run};
	return &race.releases[i];
}

/* A CPU's clock belongs to the CPU, also while another thread handles its interrupts. */
static unsigned int self(void)
{
	return host_current() != NULL ? loam_port_cpu() % CPUS : sched_self();
}

void race_begin_run(void)
{
	race.run++;
	memset(race.clocks, 0, sizeof(race.clocks));
	for (unsigned int i = 0; i < CPUS; i++)
		race.clocks[i][i] = 1;
}

static bool races(const struct access *before, unsigned int cpu, unsigned int me, const struct access *now)
{
	return before->clock != 0 && cpu != me && (before->bytes & now->bytes) != 0 &&
	       !(before->atomic && now->atomic) && before->clock > race.clocks[me][cpu];
}

static LOAM_NORETURN void report(const volatile void *where, const char *what, unsigned int me, const void *pc,
				 const char *before, unsigned int cpu, const void *before_pc)
{
	extern const char __executable_start;
	uintptr_t start = (uintptr_t)&__executable_start;

	sched_fail("data race at %p: %s on CPU %u (code at +0x%lx) is not ordered after %s on CPU %u (code at +0x%lx)",
		   (const void *)(uintptr_t)where, what, me, (unsigned long)((uintptr_t)pc - start), before, cpu,
		   (unsigned long)((uintptr_t)before_pc - start));
}

static void granule(uintptr_t key, const volatile void *where, const struct access *now, bool is_write)
{
	struct shadow *s = find_shadow(key);
	unsigned int me = self();

	if (races(&s->write, s->writer, me, now))
		report(where, is_write ? "a write" : "a read", me, now->pc, "a write", s->writer, s->write.pc);
	if (!is_write) {
		s->reads[me] = *now;
		return;
	}
	for (unsigned int cpu = 0; cpu < CPUS; cpu++) {
		if (races(&s->reads[cpu], cpu, me, now))
			report(where, "a write", me, now->pc, "a read", cpu, s->reads[cpu].pc);
	}
	s->write = *now;
	s->writer = me;
}

static void touch(const volatile void *where, size_t nbytes, bool is_write, bool atomic, const void *pc)
{
	uintptr_t at = (uintptr_t)where;
	uintptr_t end = at + nbytes;
	struct access now = {.clock = race.clocks[self()][self()], .atomic = atomic, .pc = pc};

	while (at < end) {
		unsigned int first = at & 7;
		unsigned int last = end - at >= 8 - first ? 8 : first + (unsigned int)(end - at);

		now.bytes = (uint8_t)((0xffu << first) & (0xffu >> (8 - last)));
		granule((at >> GRANULE_SHIFT) + 1, where, &now, is_write);
		at += last - first;
	}
}

void race_plain(const volatile void *where, size_t nbytes, bool is_write, const void *pc)
{
	touch(where, nbytes, is_write, false, pc);
}

static void join(uint32_t *into, const uint32_t *from)
{
	for (unsigned int i = 0; i < CPUS; i++) {
		if (from[i] > into[i])
			into[i] = from[i];
	}
}

void race_atomic(const volatile void *where, size_t nbytes, enum race_kind kind, enum race_order order, const void *pc)
{
	struct release *release = find_release((uintptr_t)where + 1);
	uint32_t *clock = race.clocks[self()];

	if (kind != RACE_STORE && (order & RACE_ACQUIRE) != 0)
		join(clock, release->clock);
	touch(where, nbytes, kind != RACE_LOAD, true, pc);
	if (kind == RACE_LOAD)
		return;
	if (kind == RACE_STORE)
		memset(release->clock, 0, sizeof(release->clock));
	if ((order & RACE_RELEASE) != 0) {
		join(release->clock, clock);
		clock[self()]++;
	}
}
