/* tests/model/arena.c: the arena beside a naive one: an array with a state for every page.
 *
 * Random operations, the same on both; after each, what the arena says is compared and, for small arenas, its invariants are checked. Each run's seed is
 * printed before it; LOAM_SEED=n in the environment runs just that one.
 */
#include "rig.h"
#include "tap.h"

#include <loam/arena.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define START ((uintptr_t)0xffff800000000000)
#define PAGES_MAX 16384
#define HELD_MAX 512

enum page_state { NOBODY, LIVE, GUARD, WAITING };

static struct model {
	struct rig *rig;
	struct loam_arena arena;
	size_t npages;
	size_t guard;
	uint8_t state[PAGES_MAX];
	uint16_t owner[PAGES_MAX]; /* index into held, where LIVE or GUARD */
	struct {
		uintptr_t start;
		size_t npages;
		uint64_t sequence;
	} held[HELD_MAX];
	struct {
		uintptr_t start;
		size_t npages;
	} waiting[HELD_MAX * 4];
	size_t nwaiting;
	uint64_t sequence;
	uint64_t seed;
} m;

static size_t page_of(uintptr_t address)
{
	return (address - START) >> LOAM_PAGE_SHIFT;
}

static void paint(uintptr_t start, size_t npages, enum page_state from, enum page_state to, size_t owner)
{
	for (size_t i = 0; i < npages + m.guard; i++) {
		size_t page = page_of(start) + i;
		uint8_t is = m.state[page];

		CHECK(page < m.npages);
		CHECK(is == from || (from == LIVE && is == GUARD));
		m.state[page] = (uint8_t)(to == LIVE && i >= npages ? GUARD : to);
		m.owner[page] = (uint16_t)owner;
	}
}

static void reserve(uint64_t *random)
{
	static const unsigned int largest[] = {1, 4, 16, 40, 200};
	size_t npages = 1 + rig_random(random) % largest[rig_random(random) % 5];
	size_t align = rig_random(random) % 8 == 0 ? (size_t)LOAM_PAGE_SIZE << rig_random(random) % 8 : 0;
	size_t slot = rig_random(random) % HELD_MAX;
	struct loam_area area;
	enum loam_status status;

	if (m.held[slot].start != 0)
		return;
	status = loam_arena_reserve(&m.arena, npages, align, &area);
	if (status != LOAM_OK) {
		struct loam_arena_stats stats;

		/* Refused only when no free run of address space holds it. */
		CHECK_STATUS(status, LOAM_ERR_NO_RANGE);
		(void)loam_arena_trim(&m.arena);
		loam_arena_read_stats(&m.arena, &stats);
		CHECK(align > LOAM_PAGE_SIZE || stats.largest_free < npages + m.guard);
		return;
	}
	CHECK_EQ(area.npages, npages);
	CHECK(align == 0 || area.start % align == 0);
	CHECK(area.start >= START + LOAM_PAGE_SIZE && page_of(area.start) + npages + m.guard <= m.npages);
	paint(area.start, npages, NOBODY, LIVE, slot);
	m.held[slot].start = area.start;
	m.held[slot].npages = npages;
	m.held[slot].sequence = ++m.sequence;
	loam_arena_write_record(&area, &(struct loam_area_record){.sequence = m.sequence, .nbytes = npages});
}

static void give(uint64_t *random)
{
	size_t slot = rig_random(random) % HELD_MAX;
	struct loam_area area, again;
	uint64_t how = rig_random(random) % 10;

	if (m.held[slot].start == 0)
		return;
	CHECK_OK(loam_arena_claim(&m.arena, m.held[slot].start, &area));
	CHECK_EQ(area.npages, m.held[slot].npages);
	CHECK_STATUS(loam_arena_claim(&m.arena, m.held[slot].start, &again), LOAM_ERR_NOT_FOUND);
	if (how == 0) {
		loam_arena_unclaim(&m.arena, &area);
		return;
	}
	if (how == 1) {
		size_t npages = 1 + rig_random(random) % (area.capacity + 3);
		enum loam_status status = loam_arena_resize(&m.arena, &area, npages);

		CHECK((status == LOAM_OK) == (npages <= area.capacity));
		loam_arena_unclaim(&m.arena, &area);
		if (status == LOAM_OK) {
			paint(m.held[slot].start, m.held[slot].npages, LIVE, NOBODY, 0);
			paint(m.held[slot].start, npages, NOBODY, LIVE, slot);
			m.held[slot].npages = npages;
		}
		return;
	}
	if (how == 2) {
		loam_arena_release(&m.arena, &area);
		paint(m.held[slot].start, m.held[slot].npages, LIVE, NOBODY, 0);
	} else {
		loam_arena_publish(&m.arena, &area, NULL);
		paint(m.held[slot].start, m.held[slot].npages, LIVE, WAITING, 0);
		m.waiting[m.nwaiting].start = m.held[slot].start;
		m.waiting[m.nwaiting++].npages = m.held[slot].npages;
	}
	m.held[slot].start = 0;
}

static void flush(uint64_t *random)
{
	struct loam_arena_batch batch = LOAM_ARENA_BATCH_EMPTY, empty = LOAM_ARENA_BATCH_EMPTY;

	for (unsigned int cpu = 0; cpu < 2; cpu++)
		(void)loam_arena_seal(&m.arena, cpu, &batch);
	loam_arena_join(&m.arena, &empty, &batch);
	CHECK_EQ(empty.nareas, m.nwaiting);
	if (rig_random(random) % 2 == 0) {
		uint64_t entries[3];
		size_t n;

		do {
			n = loam_arena_pop(&m.arena, &empty, 1 + rig_random(random) % 8, entries, 3);
			loam_arena_release_popped(&m.arena, entries, n);
		} while (n > 0);
	} else {
		loam_arena_release_sealed(&m.arena, &empty);
	}
	CHECK_EQ(empty.nareas, 0);
	CHECK_EQ(empty.npages, 0);
	while (m.nwaiting > 0) {
		m.nwaiting--;
		paint(m.waiting[m.nwaiting].start, m.waiting[m.nwaiting].npages, WAITING, NOBODY, 0);
	}
}

static void look(uint64_t *random)
{
	size_t page = rig_random(random) % m.npages;
	uintptr_t address = START + (page << LOAM_PAGE_SHIFT) + rig_random(random) % LOAM_PAGE_SIZE;
	struct loam_area_record copy;
	struct loam_area area;
	enum loam_status status = loam_arena_lookup(&m.arena, address, &area, &copy);

	if (m.state[page] == LIVE || m.state[page] == GUARD) {
		size_t slot = m.owner[page];

		CHECK_OK(status);
		CHECK_EQ(area.start, m.held[slot].start);
		CHECK_EQ(area.npages, m.held[slot].npages);
		CHECK_EQ(copy.sequence, m.held[slot].sequence);
	} else {
		CHECK_STATUS(status, LOAM_ERR_NOT_FOUND);
	}
	if (page == 0 || m.state[page] != LIVE || area.start != START + (page << LOAM_PAGE_SHIFT))
		CHECK_STATUS(loam_arena_claim(&m.arena, START + (page << LOAM_PAGE_SHIFT), &area), LOAM_ERR_NOT_FOUND);
}

/* The whole list, in order, against the map. */
static void list(void)
{
	struct loam_area_record copy;
	struct loam_area area;
	size_t page = 0;

	for (uintptr_t at = START; loam_arena_next(&m.arena, at, &area, &copy) == LOAM_OK; at = area.start + 1) {
		for (; page < page_of(area.start); page++)
			CHECK(m.state[page] == NOBODY || m.state[page] == WAITING);
		CHECK_EQ(copy.sequence, m.held[m.owner[page]].sequence);
		page += area.npages + m.guard;
	}
	for (; page < m.npages; page++)
		CHECK(m.state[page] == NOBODY || m.state[page] == WAITING);
}

static void run(uint64_t seed, unsigned int operations)
{
	static const size_t sizes[] = {256, 700, 4096, 16384};
	uint64_t random = seed;
	struct loam_frames_stats stats;

	memset(&m, 0, sizeof(m));
	m.seed = seed;
	m.npages = sizes[rig_random(&random) % 4];
	m.guard = rig_random(&random) % 4 != 0;
	m.rig = rig_create(&(struct rig_config){.npages = 4096, .ncpus = 2});
	CHECK_OK(loam_arena_init(&m.arena, &(struct loam_arena_config){.start = START,
								       .nbytes = m.npages << LOAM_PAGE_SHIFT,
								       .head_pages = 1,
								       .ncpus = 2,
								       .no_guard_pages = m.guard == 0,
								       .frames = m.rig->frames}));
	for (unsigned int i = 0; i < operations; i++) {
		uint64_t dice = rig_random(&random) % 100;

		if (dice < 45)
			reserve(&random);
		else if (dice < 80)
			give(&random);
		else if (dice < 85 || m.nwaiting > HELD_MAX * 3)
			flush(&random);
		else
			look(&random);
		if (m.npages <= 4096 || i % 64 == 0)
			CHECK_OK(loam_arena_check(&m.arena));
		if (i % 128 == 0)
			list();
	}
	flush(&random);
	for (size_t i = 0; i < HELD_MAX; i++) {
		struct loam_area area;

		if (m.held[i].start == 0)
			continue;
		CHECK_OK(loam_arena_claim(&m.arena, m.held[i].start, &area));
		loam_arena_release(&m.arena, &area);
	}
	CHECK_OK(loam_arena_check(&m.arena));
	CHECK_OK(loam_arena_destroy(&m.arena));
	loam_frame_read_stats(m.rig->frames, &stats);
	CHECK_EQ(stats.used, 0);
	rig_destroy(m.rig);
}

TEST(V5_arena_beside_a_map_of_pages)
{
	const char *one = getenv("LOAM_SEED");

	if (one != NULL) {
		run(strtoull(one, NULL, 0), 3000);
		return;
	}
	for (uint64_t seed = 1; seed <= 24; seed++) {
		printf("# LOAM_SEED=%llu\n", (unsigned long long)seed);
		run(seed, 3000);
	}
}
