/* tests/model/frame.c: the frame layer beside a naive model: an array that says of each frame who owns it. Random operations; after each of them every invariant of the
 * layer, and every frame in exactly one set in both. A failure is cut down to the fewest operations that still show it and printed with its seed:
 * LOAM_SEED=n replays one seed.
 */
#include "rig.h"
#include "tap.h"

#include <loam/frame.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGES = 5632, OPS = 400, SEEDS = 60, LIVE = 512 };

struct live {
	loam_pfn first;
	uint64_t n;
	unsigned int order; /* of a block; 99 of a range */
	unsigned int refs;
};

static struct {
	struct rig *rig;
	uint8_t owned[PAGES]; /* 1: handed out */
	uint8_t bad[PAGES];   /* 1: poisoned */
	struct live live[LIVE];
	size_t nlive;
	uint64_t used, quarantined;
	uint64_t npages; /* small, or large enough for magazines of runs and claimed blocks */
	char why[200];
} m;

static bool fail(const char *why)
{
	snprintf(m.why, sizeof(m.why), "%s", why);
	return false;
}

static uint64_t at(loam_pfn pfn)
{
	return pfn - (m.rig->ram >> LOAM_PAGE_SHIFT);
}

static bool take(loam_pfn first, uint64_t n, unsigned int order)
{
	if (m.nlive == LIVE)
		return fail("too many live blocks");
	for (uint64_t i = at(first); i < at(first) + n; i++) {
		if (i >= m.npages || m.owned[i])
			return fail("handed out what is owned, or is no memory");
		if (m.bad[i])
			return fail("handed out a poisoned frame");
		m.owned[i] = 1;
	}
	m.used += n;
	m.live[m.nlive++] = (struct live){first, n, order, 1};
	return true;
}

/* The model's answer to "is there an aligned run": over every frame it has as free. Poisoned free frames are free until somebody meets them. */
static bool model_has(uint64_t n, uint64_t align)
{
	loam_pfn base = m.rig->ram >> LOAM_PAGE_SHIFT;

	for (loam_pfn pfn = (base + align - 1) / align * align; at(pfn) + n <= m.npages; pfn += align) {
		uint64_t i = at(pfn), end = i + n;

		while (i < end && !m.owned[i] && !m.bad[i])
			i++;
		if (i == end)
			return true;
	}
	return false;
}

static bool give(size_t k)
{
	struct live live = m.live[k];
	bool poisoned = false;

	if (live.refs > 1) {
		m.live[k].refs--;
		return loam_frame_put(m.rig->frames, live.first, live.order) ? fail("put said it was the last") : true;
	}
	for (uint64_t i = at(live.first); i < at(live.first) + live.n; i++)
		poisoned |= m.bad[i] != 0;
	for (uint64_t i = at(live.first); i < at(live.first) + live.n; i++) {
		/* A block goes into quarantine whole, of a range the bad frame alone. */
		bool gone = live.order == 99 ? m.bad[i] != 0 : poisoned;

		m.owned[i] = gone ? 2 : 0;
		m.quarantined += gone;
	}
	m.used -= live.n;
	if (live.order == 99)
		loam_frame_free_range(m.rig->frames, live.first, live.n);
	else if (live.first % 2 == 0)
		loam_frame_free(m.rig->frames, live.first, live.order);
	else if (!loam_frame_put(m.rig->frames, live.first, live.order))
		return fail("put said it was not the last");
	m.live[k] = m.live[--m.nlive];
	return true;
}

static bool alloc(uint64_t dice)
{
	static const unsigned int orders[] = {0, 0, 0, 0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 9, 10};
	unsigned int order = orders[dice >> 8 & 15];
	struct loam_frame_opts opts = {.uninitialized = (dice >> 12 & 3) != 0,
				       .purpose = (dice >> 16 & 1) != 0 ? LOAM_PURPOSE_USER : LOAM_PURPOSE_KERNEL};
	loam_pfn first = loam_frame_alloc(m.rig->frames, order, &opts);

	if (first == LOAM_PFN_NONE)
		return model_has(UINT64_C(1) << order, UINT64_C(1) << order) ? fail("refused what the model has")
									     : true;
	return first % (UINT64_C(1) << order) != 0 ? fail("not aligned") : take(first, UINT64_C(1) << order, order);
}

static bool range(uint64_t dice)
{
	uint64_t n = 1 + (dice >> 8) % 700, align = UINT64_C(1) << (dice >> 20) % 5;
	struct loam_frame_where where = {.align = align * LOAM_PAGE_SIZE};
	loam_pfn first;

	if (loam_frame_alloc_range(m.rig->frames, n, &where, NULL, &first) != LOAM_OK)
		return model_has(n, align) ? fail("refused a range the model has") : true;
	return first % align != 0 ? fail("range not aligned") : take(first, n, 99);
}

static bool claim(uint64_t dice)
{
	uint64_t start = (dice >> 8) % m.npages, n = 1 + (dice >> 24) % 40;
	loam_pfn first = (m.rig->ram >> LOAM_PAGE_SHIFT) + start;
	bool had = loam_frame_claim_range(m.rig->frames, first, n, NULL) == LOAM_OK, expected = start + n <= m.npages;

	for (uint64_t i = start; expected && i < start + n; i++)
		expected = !m.owned[i] && !m.bad[i];
	if (had != expected)
		return fail(had ? "claimed what the model has not" : "did not claim what the model has");
	return had ? take(first, n, 99) : true;
}

static bool step(uint64_t dice)
{
	switch (dice & 15) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
		return alloc(dice);
	case 5:
		return range(dice);
	case 6:
		return claim(dice);
	case 7:
		if (m.nlive > 0 && m.live[(dice >> 8) % m.nlive].order != 99) {
			loam_frame_ref_inc(m.rig->frames, m.live[(dice >> 8) % m.nlive].first);
			m.live[(dice >> 8) % m.nlive].refs++;
		}
		return true;
	case 8:
		switch (dice >> 8 & 7) {
		case 0:
			loam_frame_drain(m.rig->frames);
			return true;
		case 1:
			loam_frame_zero_idle(m.rig->frames, 5);
			return true;
		case 2:
			return loam_frame_cpu_offline(m.rig->frames, 0) == LOAM_OK;
		case 3:
			return loam_frame_cpu_online(m.rig->frames, 0) == LOAM_OK;
		case 4:
			/* A frame in use goes bad. */
			if (m.nlive > 0 && m.quarantined < 100) {
				struct live *live = &m.live[(dice >> 16) % m.nlive];
				uint64_t i = (dice >> 32) % live->n;

				loam_frame_mark_poisoned(m.rig->frames, live->first + i);
				m.bad[at(live->first) + i] = 1;
			}
			return true;
		default:
			return true;
		}
	default:
		return m.nlive > 0 ? give((dice >> 8) % m.nlive) : true;
	}
}

static bool agree(void)
{
	struct loam_frames_stats stats;
	loam_pfn base = m.rig->ram >> LOAM_PAGE_SHIFT;

	loam_frame_read_stats(m.rig->frames, &stats);
	if (stats.used != m.used)
		return fail("frames in use differ");
	if (stats.quarantined != m.quarantined)
		return fail("frames in quarantine differ");
	if (stats.free + stats.used + stats.quarantined != stats.managed)
		return fail("the sets do not add up");
	for (size_t k = 0; k < m.nlive; k++)
		if (loam_frame_ref_get(m.rig->frames, m.live[k].first) != m.live[k].refs)
			return fail("references differ");
	(void)base;
	return loam_frame_check(m.rig->frames) == LOAM_OK ? true : fail("an invariant does not hold");
}

/* Operations [0, n) of a seed, but those skipped. */
static bool run(uint64_t seed, size_t n, const bool *skip, bool hardened)
{
	loam_pfn base;
	bool good = true;

	memset(&m, 0, sizeof(m));
	m.npages = seed % 2 == 0 ? 1400 : PAGES;
	m.rig = rig_create(&(struct rig_config){.npages = m.npages, .hardened = hardened});
	base = m.rig->ram >> LOAM_PAGE_SHIFT;
	for (uint64_t i = 0; i < m.npages; i++)
		m.owned[i] = loam_frame_ref_get(m.rig->frames, base + i) == LOAM_FRAME_UNUSED ? 0 : 2;
	for (size_t i = 0; i < n && good; i++) {
		uint64_t dice = rig_random(&seed);

		if (!skip[i])
			good = step(dice) && agree();
	}
	while (good && m.nlive > 0)
		good = give(m.nlive - 1) && agree();
	rig_destroy(m.rig);
	return good;
}

static void shrink_and_fail(uint64_t seed, bool hardened)
{
	static bool skip[OPS];
	size_t n = OPS, left = 0;

	memset(skip, 0, sizeof(skip));
	while (n > 1 && !run(seed, n - 1, skip, hardened))
		n--;
	for (size_t i = 0; i < n; i++) {
		skip[i] = true;
		if (run(seed, n, skip, hardened))
			skip[i] = false;
	}
	run(seed, n, skip, hardened);
	printf("# LOAM_SEED=%llu%s: %s; the operations that show it:", (unsigned long long)seed,
	       hardened ? ", hardened" : "", m.why);
	for (size_t i = 0; i < n; i++) {
		if (!skip[i]) {
			printf(" %zu", i);
			left++;
		}
	}
	printf("\n");
	tap_fail(__FILE__, __LINE__, "the model and the frame layer differ after %zu operations", left);
}

static void run_seeds(bool hardened)
{
	static const bool none[OPS];
	const char *wanted = getenv("LOAM_SEED");

	for (uint64_t i = 0; i < (wanted ? 1 : SEEDS); i++) {
		uint64_t seed = wanted ? strtoull(wanted, NULL, 0) : 0x10a3 + i;

		if (!run(seed, OPS, none, hardened))
			shrink_and_fail(seed, hardened);
	}
}

TEST(F15_random_operations_agree_with_the_model)
{
	run_seeds(false);
}

TEST(F15_random_operations_agree_with_the_model_hardened)
{
	run_seeds(true);
}
