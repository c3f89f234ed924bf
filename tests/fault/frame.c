/* tests/fault/frame.c: an interrupt that allocates and frees at every interrupt point of every path of the frame layer, and memory that fails at every failure point.
 *
 * Each scenario is a sequence of calls on a machine in a certain state, and a kind of interrupt. The machine is small, so that refills, overflows, thefts and the last frame
 * are all near. Afterwards every frame is in exactly one set, and none is missing. The machine does not mask interrupts when it pins: they land inside the fast paths.
 */
#include "rig.h"
#include "tap.h"

#include <base/fail.h>
#include <loam/frame.h>

#include <host.h>

#include <stdio.h>
#include <stdlib.h>

static const struct loam_frame_opts raw = {.uninitialized = true};
static const struct loam_frame_opts user = {.uninitialized = true, .purpose = LOAM_PURPOSE_USER};

enum { HELD = 1024 };

/* What the scenario's calls do, one after the other; and what its interrupt does. */
enum step {
	END,
	GET,       /* one frame */
	GET_USER,  /* one movable frame */
	GET_RUN,   /* order 3 */
	GET_BLOCK, /* order 9 */
	GET_MID,   /* order 5: not parked */
	GET_RANGE, /* 21 frames */
	GET_ZEROED,
	PUT_ONE,  /* the last had, whatever it was */
	PUT_MANY, /* all single frames, one by one: overflows */
	GET_MANY, /* 80 frames: refills */
	GET_ALL,  /* to the last */
	DRAIN,
	OFFLINE,
	ONLINE,
	ZERO_IDLE,
	REF, /* a reference taken and dropped by put */
};

struct scenario {
	const char *name;
	enum step steps[8];
	enum step interrupt[4];
	bool nested;
	bool hardened;
};

struct had {
	loam_pfn first;
	uint64_t n; /* of a range; 0: a block of @order */
	unsigned int order;
};

struct hand {
	struct had had[HELD];
	size_t n;
};

static struct {
	const struct scenario *scenario;
	struct rig *rig;
	struct hand task, interrupt;
	bool wrong;
	bool few_left;
} s;

static void keep(struct hand *hand, loam_pfn first, unsigned int order, uint64_t n)
{
	if (first == LOAM_PFN_NONE)
		return;
	/* Nobody else may own what was just had. */
	for (size_t i = 0; i < s.task.n + s.interrupt.n; i++) {
		const struct had *other = i < s.task.n ? &s.task.had[i] : &s.interrupt.had[i - s.task.n];
		uint64_t mine = n != 0 ? n : UINT64_C(1) << order,
			 theirs = other->n != 0 ? other->n : UINT64_C(1) << other->order;

		if (first < other->first + theirs && other->first < first + mine)
			s.wrong = true;
	}
	if (hand->n < HELD)
		hand->had[hand->n++] = (struct had){first, n, order};
}

static void give(struct hand *hand)
{
	struct had had;

	if (hand->n == 0)
		return;
	had = hand->had[--hand->n];
	if (had.n != 0)
		loam_frame_free_range(s.rig->frames, had.first, had.n);
	else
		loam_frame_free(s.rig->frames, had.first, had.order);
}

static void get(struct hand *hand, unsigned int order, const struct loam_frame_opts *opts)
{
	keep(hand, loam_frame_alloc(s.rig->frames, order, opts), order, 0);
}

static void take_step(struct hand *hand, enum step step)
{
	struct loam_frames *frames = s.rig->frames;
	loam_pfn pfn;

	switch (step) {
	case END:
		break;
	case GET:
		get(hand, 0, &raw);
		break;
	case GET_USER:
		get(hand, 0, &user);
		break;
	case GET_RUN:
		get(hand, 3, &raw);
		break;
	case GET_BLOCK:
		get(hand, 9, &raw);
		break;
	case GET_MID:
		get(hand, 5, &raw);
		break;
	case GET_ZEROED:
		get(hand, 0, NULL);
		break;
	case GET_RANGE:
		if (loam_frame_alloc_range(frames, 21, NULL, &raw, &pfn) == LOAM_OK)
			keep(hand, pfn, 0, 21);
		break;
	case PUT_ONE:
		give(hand);
		break;
	case PUT_MANY:
		while (hand->n > 0)
			give(hand);
		break;
	case GET_MANY:
		for (unsigned int i = 0; i < 80; i++)
			get(hand, 0, &raw);
		break;
	case GET_ALL:
		while ((pfn = loam_frame_alloc(frames, 0, &raw)) != LOAM_PFN_NONE)
			keep(hand, pfn, 0, 0);
		break;
	case DRAIN:
		loam_frame_drain(frames);
		break;
	case OFFLINE:
		(void)!loam_frame_cpu_offline(frames, 0);
		break;
	case ONLINE:
		(void)!loam_frame_cpu_online(frames, 0);
		break;
	case ZERO_IDLE:
		loam_frame_zero_idle(frames, 3);
		break;
	case REF:
		if (hand->n > 0 && hand->had[hand->n - 1].n == 0) {
			loam_frame_ref_inc(frames, hand->had[hand->n - 1].first);
			if (loam_frame_put(frames, hand->had[hand->n - 1].first, hand->had[hand->n - 1].order))
				s.wrong = true;
		}
		break;
	}
}

static void interrupt(void *context)
{
	(void)context;
	for (unsigned int i = 0; i < 4; i++)
		take_step(&s.interrupt, s.scenario->interrupt[i]);
}

/* The calls whose points are of interest have ended: no interrupt in what follows. One that was not delivered stays armed, far away, to say so. */
static void end_of_points(void)
{
	if (host_interrupt_cancel())
		host_interrupt_at(UINT64_MAX, interrupt, NULL);
}

static bool run(void *context)
{
	struct loam_frames_stats stats;
	loam_pfn pfn;

	(void)context;
	s.task.n = s.interrupt.n = 0;
	s.wrong = false;
	for (unsigned int i = 0; i < 8; i++)
		take_step(&s.task, s.scenario->steps[i]);
	end_of_points();
	while (s.task.n > 0)
		give(&s.task);
	while (s.interrupt.n > 0)
		give(&s.interrupt);
	(void)!loam_frame_cpu_online(s.rig->frames, 0);
	loam_frame_read_stats(s.rig->frames, &stats);
	if (s.wrong || stats.free != stats.managed || stats.used != 0 || loam_frame_check(s.rig->frames) != LOAM_OK)
		return false;
	/* The same state for the next run: a few frames parked. */
	loam_frame_drain(s.rig->frames);
	pfn = loam_frame_alloc(s.rig->frames, 0, &raw);
	if (pfn == LOAM_PFN_NONE)
		return false;
	loam_frame_free(s.rig->frames, pfn, 0);
	return true;
}

static const struct scenario scenarios[] = {
	{"hit, hit", {GET, PUT_ONE}, {GET, PUT_ONE}, true, false},
	{"hit, interrupt keeps", {GET, PUT_ONE}, {GET}, true, false},
	{"hit, interrupt frees two", {GET, PUT_ONE, GET, PUT_ONE}, {GET, GET, PUT_ONE, PUT_ONE}, false, false},
	{"types", {GET, GET_USER, PUT_ONE, PUT_ONE}, {GET_USER, GET, PUT_ONE, PUT_ONE}, false, false},
	{"first refill", {DRAIN, GET, PUT_ONE}, {GET, PUT_ONE}, false, false},
	{"first refill, interrupt keeps", {DRAIN, GET, PUT_ONE}, {GET, GET_USER}, false, false},
	{"refills", {GET_MANY, PUT_ONE}, {GET, PUT_ONE}, false, false},
	{"refills, interrupt refills", {GET_MANY}, {GET_MANY, PUT_MANY}, false, false},
	{"overflow", {GET_MANY, GET_MANY, PUT_MANY}, {GET, PUT_ONE}, false, false},
	{"overflow, interrupt gets", {GET_MANY, GET_MANY, PUT_MANY}, {GET, GET_USER}, false, false},
	{"drain, interrupt hits", {GET, PUT_ONE, DRAIN, GET, PUT_ONE}, {GET, PUT_ONE}, true, false},
	{"hit, interrupt drains", {GET, PUT_ONE, GET, PUT_ONE}, {DRAIN}, true, false},
	{"hit, interrupt drains and gets", {GET, PUT_ONE}, {DRAIN, GET, PUT_ONE}, false, false},
	{"refill, interrupt drains", {GET_MANY, PUT_MANY}, {DRAIN}, false, false},
	{"run", {GET_RUN, PUT_ONE}, {GET_RUN, PUT_ONE}, false, false},
	{"run, interrupt keeps", {GET_RUN, GET_RUN}, {GET_RUN}, false, false},
	{"run, interrupt drains", {GET_RUN, PUT_ONE, GET_RUN, PUT_ONE}, {DRAIN}, false, false},
	{"run, interrupt gets singles", {GET_RUN, PUT_ONE}, {GET, GET_USER}, false, false},
	{"block", {GET_BLOCK, PUT_ONE}, {GET_BLOCK, PUT_ONE}, false, false},
	{"block, interrupt keeps", {GET_BLOCK}, {GET_BLOCK}, false, false},
	{"block, interrupt breaks one", {GET_BLOCK, PUT_ONE, GET_BLOCK}, {GET_MID, GET_USER}, false, false},
	{"mid order", {GET_MID, PUT_ONE}, {GET_MID, PUT_ONE}, false, false},
	{"mid order, interrupt gets singles", {GET_MID, PUT_ONE, GET_MID}, {GET, GET_USER, PUT_ONE}, false, false},
	{"range", {GET_RANGE, PUT_ONE}, {GET_RANGE, PUT_ONE}, false, false},
	{"range, interrupt keeps a frame", {GET_RANGE, PUT_ONE}, {GET}, false, false},
	{"range, interrupt takes a block", {GET_RANGE, GET_RANGE}, {GET_BLOCK}, false, false},
	{"zeroed", {GET_ZEROED, PUT_ONE}, {GET_ZEROED, PUT_ONE}, false, false},
	{"idle zeroing", {ZERO_IDLE, GET_ZEROED, PUT_ONE}, {GET_ZEROED, PUT_ONE}, false, false},
	{"idle zeroing, interrupt drains", {ZERO_IDLE, GET_ZEROED, PUT_ONE}, {DRAIN}, false, false},
	{"idle zeroing, interrupt keeps", {ZERO_IDLE, ZERO_IDLE}, {GET_ZEROED}, false, false},
	{"offline", {GET, PUT_ONE, OFFLINE, GET, PUT_ONE}, {GET, PUT_ONE}, false, false},
	{"offline, interrupt keeps", {GET, PUT_ONE, OFFLINE}, {GET, GET_RUN}, false, false},
	{"online again", {OFFLINE, GET, ONLINE, PUT_ONE, GET, PUT_ONE}, {GET, PUT_ONE}, false, false},
	{"references", {GET, REF, REF, PUT_ONE}, {GET, REF, PUT_ONE}, true, false},
	{"references, interrupt drains", {GET, REF, PUT_ONE}, {DRAIN, GET, PUT_ONE}, false, false},
	{"mixed orders",
	 {GET, GET_RUN, GET_MID, PUT_ONE, PUT_ONE, PUT_ONE},
	 {GET_RUN, GET, PUT_ONE, PUT_ONE},
	 false,
	 false},
	{"mixed orders, interrupt keeps", {GET_BLOCK, GET, GET_RUN, PUT_ONE}, {GET, GET_RUN, GET_MID}, false, false},
	{"user hit", {GET_USER, PUT_ONE}, {GET_USER, PUT_ONE}, false, false},
	{"user refills", {GET_USER, GET_USER, DRAIN, GET_USER}, {GET_USER}, false, false},
	{"free after drain", {GET, DRAIN, PUT_ONE}, {GET, PUT_ONE}, false, false},
	{"hardened", {GET, PUT_ONE}, {GET, PUT_ONE}, true, true},
	{"hardened, interrupt keeps", {GET, PUT_ONE, GET, PUT_ONE}, {GET}, false, true},
	{"hardened runs", {GET_RUN, PUT_ONE, GET, PUT_ONE}, {GET_RUN, PUT_ONE}, false, true},
	{"hardened, interrupt drains", {GET, PUT_ONE, GET, PUT_ONE}, {DRAIN}, false, true},
	{"hardened ranges", {GET_RANGE, PUT_ONE}, {GET, PUT_ONE}, false, true},
	{"two interrupts' frees", {GET_MANY, PUT_ONE, PUT_ONE}, {GET, GET, PUT_ONE}, false, false},
	{"interrupt ranges", {GET, PUT_ONE, GET, PUT_ONE}, {GET_RANGE, PUT_ONE}, false, false},
	{"interrupt blocks", {GET, PUT_ONE, GET_RUN, PUT_ONE}, {GET_BLOCK, PUT_ONE}, false, false},
	{"interrupt of mid order", {GET, PUT_ONE}, {GET_MID, PUT_ONE}, false, false},
	{"interrupt offline", {GET, PUT_ONE, GET, PUT_ONE}, {OFFLINE, ONLINE}, false, false},
	{"drain twice", {GET, PUT_ONE, DRAIN, DRAIN}, {GET, PUT_ONE}, false, false},
	{"range and singles", {GET, GET_RANGE, PUT_ONE, PUT_ONE}, {GET, PUT_ONE}, false, false},
};

/* Runs and blocks are parked on machines of some size only; where they are not wanted a small one is faster. */
static bool parks_runs(const struct scenario *scenario)
{
	for (unsigned int i = 0; i < 8; i++)
		if (scenario->steps[i] == GET_RUN || scenario->steps[i] == GET_BLOCK)
			return true;
	return false;
}

TEST(F15_interrupts_at_every_point_of_every_path)
{
	const unsigned int n = sizeof(scenarios) / sizeof(scenarios[0]);
	uint64_t runs = 0;

	for (unsigned int i = 0; i < n; i++) {
		struct rig_config config = {.npages = parks_runs(&scenarios[i]) ? 6144 : 1200,
					    .hardened = scenarios[i].hardened};
		uint64_t here;

		s.scenario = &scenarios[i];
		s.rig = rig_create(&config);
		CHECK(run(NULL));
		here = host_each_point(run, interrupt, NULL, scenarios[i].nested);
		CHECK(here > 0);
		runs += here;
		if (getenv("VERBOSE"))
			printf("# %s: %llu\n", scenarios[i].name, (unsigned long long)here);
		rig_destroy(s.rig);
	}
	printf("# %u scenarios, %llu runs\n", n, (unsigned long long)runs);
	CHECK(n >= 50);
}

/* All frames are taken but few; task and interrupt take the last ones, in every order: together exactly all, and each is refused only when none is left. */
static bool last_frames(void *context)
{
	const uint64_t left = 3;
	static loam_pfn held[4096];
	size_t n = loam_frame_alloc_batch(s.rig->frames, 4096, &raw, held);
	struct loam_frames_stats stats;

	(void)context;
	s.task.n = s.interrupt.n = 0;
	s.wrong = false;
	for (uint64_t i = 0; i < left; i++)
		loam_frame_free(s.rig->frames, held[--n], 0);
	s.few_left = true;
	take_step(&s.task, GET_ALL);
	s.few_left = false;
	end_of_points();
	if (s.task.n + s.interrupt.n != left || s.wrong)
		return false;
	while (s.task.n > 0)
		give(&s.task);
	while (s.interrupt.n > 0)
		give(&s.interrupt);
	loam_frame_free_batch(s.rig->frames, held, n);
	loam_frame_drain(s.rig->frames);
	loam_frame_read_stats(s.rig->frames, &stats);
	return stats.free == stats.managed && loam_frame_check(s.rig->frames) == LOAM_OK;
}

static void take_last(void *context)
{
	(void)context;
	if (s.few_left)
		get(&s.interrupt, 0, &raw);
}

TEST(F15_the_last_frames_go_to_task_and_interrupt_in_every_order)
{
	s.rig = rig_create(&(struct rig_config){.npages = 96});
	CHECK(last_frames(NULL));
	CHECK(host_each_point(last_frames, take_last, NULL, false) > 0);
	rig_destroy(s.rig);
}

static bool fails_cleanly(void *context)
{
	struct loam_frames_stats stats;

	(void)context;
	s.task.n = s.interrupt.n = 0;
	s.wrong = false;
	for (unsigned int i = GET; i <= GET_ZEROED; i++)
		take_step(&s.task, (enum step)i);
	take_step(&s.task, PUT_MANY);
	loam_frame_read_stats(s.rig->frames, &stats);
	return !s.wrong && stats.free == stats.managed && loam_frame_check(s.rig->frames) == LOAM_OK;
}

TEST(F13_every_allocation_may_fail_and_leaves_nothing_behind)
{
	s.rig = rig_create(&(struct rig_config){.npages = 2560});
	CHECK_EQ(host_fail_each(LOAMI_FAIL_FRAME, fails_cleanly, NULL), 7);
	rig_destroy(s.rig);
}
