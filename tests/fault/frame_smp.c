/* tests/fault/frame_smp.c: sixteen CPUs take and give frames; once by themselves, and once with an interrupt that does the same at every interrupt point of each of them.
 *
 * Whoever owns a frame writes to it with plain stores, so that a second owner is a wrong word, or a data race that the thread sanitizer sees (the suite runs under it).
 * LOAM_STRESS_OPS sets how many operations a test does in all, interrupts' included: tools/stress runs 10^8 under the sanitizer.
 */
#include "rig.h"
#include "tap.h"

#include <base/atomic.h>
#include <loam/frame.h>

#include <host.h>

#include <stdio.h>
#include <stdlib.h>

enum { CPUS = 16, HELD = 48, MAIL = 64, FEW = 6144, MANY = 65536, DEFAULT_OPS = 100000 };

/* What one context of one CPU has. */
struct hand {
	struct {
		loam_pfn first;
		unsigned int order;
	} had[HELD];
	unsigned int n;
	uint64_t seed;
	uint64_t owner;
	uint64_t ops;
};

static struct {
	struct rig *rig;
	struct hand task[CPUS];
	struct hand interrupt[CPUS]; /* of one at a time: a second one, inside the first, only takes and gives */
	bool inside[CPUS];
	bool interrupts;
	uint64_t mail[MAIL]; /* single frames on their way to another CPU; LOAM_PFN_NONE: none */
	uint64_t each;       /* operations of a CPU */
	uint32_t wrong;
} s;

static void sign(loam_pfn pfn, uint64_t owner)
{
	uint64_t *words = loam_frame_virt(s.rig->frames, pfn);

	words[0] = owner;
	words[511] = ~pfn;
}

static void check_signed(loam_pfn pfn, uint64_t owner)
{
	const uint64_t *words = loam_frame_virt(s.rig->frames, pfn);

	if (words[0] != owner || words[511] != ~pfn)
		loami_store_relaxed(&s.wrong, 1);
}

static void take(struct hand *hand, uint64_t dice)
{
	static const unsigned int orders[] = {0, 0, 0, 0, 0, 3, 1, 9};
	unsigned int order = orders[dice >> 8 & 7];
	struct loam_frame_opts opts = {.uninitialized = true,
				       .purpose = (dice >> 16 & 1) != 0 ? LOAM_PURPOSE_USER : LOAM_PURPOSE_KERNEL};
	loam_pfn first = loam_frame_alloc(s.rig->frames, order, &opts);

	if (first == LOAM_PFN_NONE)
		return;
	sign(first, hand->owner);
	hand->had[hand->n].first = first;
	hand->had[hand->n++].order = order;
}

static void give(struct hand *hand, uint64_t dice)
{
	unsigned int k = (unsigned int)(dice >> 24) % hand->n;
	loam_pfn first = hand->had[k].first;
	unsigned int order = hand->had[k].order;
	uint64_t *box = &s.mail[dice >> 40 & (MAIL - 1)];

	hand->had[k] = hand->had[--hand->n];
	check_signed(first, hand->owner);
	if (order == 0 && (dice >> 48 & 3) == 0) {
		/* To another CPU; who gave what lay there frees it. */
		sign(first, 0);
		first = loami_exchange(box, first);
		if (first == LOAM_PFN_NONE)
			return;
		check_signed(first, 0);
	}
	loam_frame_free(s.rig->frames, first, order);
}

static void act(struct hand *hand)
{
	uint64_t dice = rig_random(&hand->seed);

	hand->ops++;
	if (hand->n == 0 || (hand->n < HELD && (dice & 1) != 0))
		take(hand, dice);
	else
		give(hand, dice);
}

static void interrupt(void *context)
{
	unsigned int cpu = loam_port_cpu();

	(void)context;
	if (s.inside[cpu]) {
		loam_pfn pfn = loam_frame_alloc(s.rig->frames, 0, &(struct loam_frame_opts){.uninitialized = true});

		if (pfn != LOAM_PFN_NONE)
			loam_frame_free(s.rig->frames, pfn, 0);
		return;
	}
	s.inside[cpu] = true;
	/* One inside this one, somewhere; and the next at the first point after it. */
	host_interrupt_at(1 + rig_random(&s.interrupt[cpu].seed) % 16, interrupt, NULL);
	act(&s.interrupt[cpu]);
	(void)host_interrupt_cancel();
	s.inside[cpu] = false;
	host_interrupt_at(1, interrupt, NULL);
}

static bool churn(struct rig *rig, unsigned int cpu, void *context)
{
	struct hand *task = &s.task[cpu], *inner = &s.interrupt[cpu];

	(void)rig;
	(void)context;
	if (s.interrupts)
		host_interrupt_at(1, interrupt, NULL);
	while (task->ops + inner->ops < s.each && loami_load_relaxed(&s.wrong) == 0)
		act(task);
	(void)host_interrupt_cancel();
	while (task->n > 0)
		give(task, 0);
	while (inner->n > 0)
		give(inner, 0);
	return true;
}

/* @npages: few, so that often nothing is left and everybody looks everywhere, or many. */
static void stress(bool with_interrupts, uint64_t npages)
{
	const char *wanted = getenv("LOAM_STRESS_OPS");
	struct loam_frames_stats stats;
	uint64_t ops = 0, interrupts = 0;

	s.each = (wanted ? strtoull(wanted, NULL, 0) : DEFAULT_OPS) / CPUS;
	s.interrupts = with_interrupts;
	s.rig = rig_create(&(struct rig_config){.npages = npages, .ncpus = CPUS});
	for (unsigned int i = 0; i < CPUS; i++) {
		s.task[i] = (struct hand){.seed = 100 + i, .owner = 2 * i + 1};
		s.interrupt[i] = (struct hand){.seed = 200 + i, .owner = 2 * i + 2};
	}
	for (unsigned int i = 0; i < MAIL; i++)
		s.mail[i] = LOAM_PFN_NONE;
	CHECK(rig_run(s.rig, churn, NULL));
	for (unsigned int i = 0; i < MAIL; i++)
		if (s.mail[i] != LOAM_PFN_NONE)
			loam_frame_free(s.rig->frames, s.mail[i], 0);
	for (unsigned int i = 0; i < CPUS; i++) {
		ops += s.task[i].ops + s.interrupt[i].ops;
		interrupts += s.interrupt[i].ops;
	}
	printf("# %llu operations, %llu of them in interrupts\n", (unsigned long long)ops,
	       (unsigned long long)interrupts);
	CHECK_EQ(s.wrong, 0);
	CHECK((interrupts > 0) == with_interrupts);
	for (unsigned int round = 0; round < 2; round++) {
		loam_frame_read_stats(s.rig->frames, &stats);
		CHECK_EQ(stats.free, stats.managed);
		CHECK_EQ(stats.allocs, stats.frees);
		CHECK_OK(loam_frame_check(s.rig->frames));
		loam_frame_drain(s.rig->frames);
	}
	CHECK_EQ(stats.used, 0);
	rig_destroy(s.rig);
}

TEST(F15_sixteen_cpus_take_and_give)
{
	stress(false, MANY);
}

TEST(F15_sixteen_cpus_with_an_interrupt_at_every_point)
{
	stress(true, FEW);
}
