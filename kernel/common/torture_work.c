/* kernel/common/torture_work.c: what each CPU does, in task and in interrupt context; failures on demand; who watches whom.
 *
 * Boxes. A box goes EMPTY -> BUSY -> FULL -> BUSY -> EMPTY, each step towards BUSY by a swap, so that any context of any CPU may try and nobody waits: a box that is busy is passed by.
 */
#include "torture.h"
#include "console.h"

enum box_state { EMPTY = 0, BUSY, FULL };

/* ---- boxes -------------------------------------------------------------------------------------------------------------------- */

static bool claim(struct torture_box *box, uint32_t expected)
{
	return __atomic_compare_exchange_n(&box->state, &expected, BUSY, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static bool put(struct torture_box *box, const struct torture_thing *t)
{
	if (!claim(box, EMPTY))
		return false;
	box->thing = *t;
	__atomic_store_n(&box->state, FULL, __ATOMIC_RELEASE);
	return true;
}

static bool get(struct torture_box *box, struct torture_thing *t)
{
	if (!claim(box, FULL))
		return false;
	*t = box->thing;
	__atomic_store_n(&box->state, EMPTY, __ATOMIC_RELEASE);
	return true;
}

/* To any CPU, this one included; one that is offline keeps it until it is back. */
static bool give(uint64_t random, const struct torture_thing *t)
{
	struct torture_worker *to = &torture_workers[random % machine_cpus_all()];

	return put(&to->boxes[(random >> 32) % TORTURE_BOXES], t);
}

static void mail(struct torture_worker *w, struct torture_thing *t)
{
	struct torture_thing copy;
	uint64_t random = torture_random(&w->random);

	if (t->kind == TORTURE_NOTHING)
		return;
	if ((random >> 60) < 4 && torture_share(t, &copy)) {
		if (give(random, &copy))
			torture_count(w, TORTURE_MAILED);
		else
			torture_drop(w, &copy, false);
	} else if (give(random, t)) {
		t->kind = TORTURE_NOTHING;
		torture_count(w, TORTURE_MAILED);
	}
}

static void open_one(struct torture_worker *w, uint64_t random, bool irq)
{
	struct torture_thing t;

	if (get(&w->boxes[random % TORTURE_BOXES], &t))
		torture_drop(w, &t, irq);
}

void torture_empty_boxes(struct torture_worker *w)
{
	for (uint64_t i = 0; i < TORTURE_BOXES; i++)
		open_one(w, i, false);
}

/* ---- what is given back when memory is short ---------------------------------------------------------------------------------- */

#define RESERVE 64
static loam_pfn reserve[RESERVE]; /* atomic: a frame + 1, or 0 */

/* In the context of whoever needs frames: an interrupt, or another worker. */
static size_t shrink(struct loam_shrinker *self, size_t npages)
{
	struct torture_worker *w = &torture_workers[loam_port_cpu()];
	size_t given = 0;

	(void)self;
	for (size_t i = 0; i < RESERVE && given < npages; i++) {
		loam_pfn pfn = __atomic_exchange_n(&reserve[i], 0, __ATOMIC_ACQ_REL);

		if (pfn == 0)
			continue;
		loam_frame_free(kernel_system.frames, pfn - 1, 0);
		torture_count(w, TORTURE_SHRUNK);
		given++;
	}
	return given;
}

static struct loam_shrinker shrinker = {.shrink = shrink, .name = "torture"};

enum loam_status torture_reserve_begin(void)
{
	return loam_frame_add_shrinker(kernel_system.frames, &shrinker);
}

void torture_reserve_end(void)
{
	if (loam_frame_remove_shrinker(kernel_system.frames, &shrinker) != LOAM_OK)
		torture_wrong(&torture_workers[0], "a shrinker that was added is not there", (uintptr_t)&shrinker);
	(void)shrink(&shrinker, RESERVE);
}

void torture_reserve_fill(struct torture_worker *w)
{
	struct loam_frame_opts opts = {.uninitialized = true, .no_reclaim = true};
	loam_pfn pfn = loam_frame_alloc(kernel_system.frames, 0, &opts);
	loam_pfn nobody = 0;

	if (pfn == LOAM_PFN_NONE)
		return;
	if (!__atomic_compare_exchange_n(&reserve[torture_random(&w->random) % RESERVE], &nobody, pfn + 1, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		loam_frame_free(kernel_system.frames, pfn, 0);
}

/* ---- the task ----------------------------------------------------------------------------------------------------------------- */

void torture_doing(struct torture_worker *w, const char *what)
{
	__atomic_store_n(&w->doing, what, __ATOMIC_RELAXED);
}

static void replace(struct torture_worker *w, struct torture_thing *t)
{
	torture_doing(w, "free");
	torture_drop(w, t, false);
	torture_take(w, t, false);
}

/* The longest step takes three blocks frame by frame, with a question to torture_fails() for each, and looks at them; twice that is more than any needs. */
#define PIECES_MAX (6 * LOAM_BLOCK_FRAMES)

void torture_got_on(struct torture_worker *w)
{
	if (w->left == 0 || loam_port_context() != LOAM_CONTEXT_TASK)
		return;
	w->left--;
	__atomic_add_fetch(&w->beats, 1, __ATOMIC_RELEASE);
}

void torture_step(struct torture_worker *w)
{
	uint64_t random = torture_random(&w->random);
	struct torture_thing *t = &w->held[(random >> 32) % TORTURE_HELD];

	w->left = PIECES_MAX;
	switch (random % 32) {
	case 0:
		torture_doing(w, "batch of frames");
		torture_batch(w);
		break;
	case 1:
		torture_doing(w, "objects in bulk");
		torture_bulk(w);
		break;
	case 2:
	case 3:
		torture_doing(w, "resize");
		torture_resize(w, t);
		break;
	case 4:
		torture_doing(w, "protect");
		if ((random >> 8) % 4 == 0)
			torture_protect(w, t);
		break;
	case 5:
		torture_doing(w, "a cache's life");
		if ((random >> 8) % 8 == 0)
			torture_own_cache(w);
		break;
	case 6:
		torture_doing(w, "upkeep");
		if ((random >> 8) % 8 == 0)
			torture_upkeep(w);
		break;
	case 7:
		torture_doing(w, "reserve");
		torture_reserve_fill(w);
		break;
	case 8:
	case 9:
	case 10:
		machine_poke((unsigned int)((random >> 8) % machine_cpus_all()));
		break;
	case 11:
	case 12:
	case 13:
	case 14:
		torture_doing(w, "read and write");
		torture_touch(w, t);
		break;
	case 15:
	case 16:
	case 17:
	case 18:
		torture_doing(w, "hand over");
		mail(w, t);
		break;
	case 19:
	case 20:
		torture_doing(w, "free another's");
		open_one(w, random >> 8, false);
		break;
	default:
		replace(w, t);
		break;
	}
	torture_count(w, TORTURE_OPERATIONS);
	__atomic_add_fetch(&w->beats, 1, __ATOMIC_RELEASE);
}

/* All of memory in a list through the slots, whose links are the owner's: nothing else is needed to hold it. */
static loam_pfn take_all(struct torture_worker *w, unsigned int order, loam_pfn list)
{
	struct loam_frame_opts raw = {.uninitialized = true};

	for (;;) {
		loam_pfn pfn = loam_frame_alloc(kernel_system.frames, order, &raw);

		__atomic_add_fetch(&w->beats, 1, __ATOMIC_RELEASE);
		if (pfn == LOAM_PFN_NONE)
			return list;
		loam_frame_slot(kernel_system.frames, pfn)->next = list;
		list = pfn;
	}
}

static void give_all(struct torture_worker *w, unsigned int order, loam_pfn list)
{
	while (list != LOAM_PFN_NONE) {
		loam_pfn next = loam_frame_slot(kernel_system.frames, list)->next;

		loam_frame_free(kernel_system.frames, list, order);
		__atomic_add_fetch(&w->beats, 1, __ATOMIC_RELEASE);
		list = next;
	}
}

void torture_squeeze(struct torture_worker *w)
{
	torture_doing(w, "take all memory");
	w->calm = true; /* an injected failure would end it too early */
	loam_pfn blocks = take_all(w, LOAM_BLOCK_ORDER, LOAM_PFN_NONE);
	loam_pfn singles = take_all(w, 0, LOAM_PFN_NONE);
	w->calm = false;
	for (unsigned int i = 0; i < 200; i++)
		torture_step(w);
	torture_doing(w, "give all memory back");
	give_all(w, 0, singles);
	give_all(w, LOAM_BLOCK_ORDER, blocks);
	torture_count(w, TORTURE_SQUEEZES);
}

/* ---- interrupts --------------------------------------------------------------------------------------------------------------- */

/* Allocate, and leave it in a box for a task or an interrupt, here or elsewhere; take something out of a box, whoever allocated it, and free it. */
void torture_interrupt(struct torture_worker *w)
{
	uint64_t random = torture_random(&w->in_random);
	struct torture_thing t;

	torture_take(w, &t, true);
	if (t.kind != TORTURE_NOTHING && (random & 3) == 0 && give(random >> 8, &t))
		t.kind = TORTURE_NOTHING;
	torture_drop(w, &t, true);
	if ((random & 0x30) == 0)
		open_one(w, random >> 8, true);
	torture_count(w, TORTURE_IN_INTERRUPTS);
}

/* ---- failures ----------------------------------------------------------------------------------------------------------------- */

#define FAIL_ONE_IN 100

bool torture_fails(unsigned int kind)
{
	struct torture_worker *w = &torture_workers[loam_port_cpu()];
	uint64_t state;

	(void)kind;
	if (!__atomic_load_n(&w->here, __ATOMIC_RELAXED))
		return false;
	torture_got_on(w); /* the attempts before this one are over */
	if (w->calm)
		return false;
	state = __atomic_add_fetch(&w->fail_random, UINT64_C(0x9e3779b97f4a7c15), __ATOMIC_RELAXED);
	if (torture_random(&state) % FAIL_ONE_IN != 0)
		return false;
	torture_count(w, TORTURE_INJECTED);
	return true;
}

/* ---- who watches whom --------------------------------------------------------------------------------------------------------- */

#define LOOK_EVERY (TORTURE_SECOND / 10)

static unsigned int successor(unsigned int cpu)
{
	unsigned int n = machine_cpus_all();

	for (unsigned int i = 1; i < n; i++) {
		unsigned int other = (cpu + i) % n;

		if (__atomic_load_n(&torture_workers[other].here, __ATOMIC_ACQUIRE))
			return other;
	}
	return cpu;
}

static uint64_t unmoved(uint64_t now, uint64_t *before, uint64_t so_far, uint64_t passed)
{
	if (now == *before)
		return so_far + passed;
	*before = now;
	return 0;
}

/* A CPU that takes no interrupt keeps others waiting: then it is the one to be named, by who watches it, and not they. */
static bool somebody_is_deaf(uint64_t now, uint64_t limit)
{
	for (unsigned int i = 0; i < machine_cpus_all(); i++) {
		uint64_t at = __atomic_load_n(&torture_workers[i].ticked_at, __ATOMIC_ACQUIRE);

		if (__atomic_load_n(&torture_workers[i].here, __ATOMIC_ACQUIRE) && now > at && now - at > limit / 2)
			return true;
	}
	return false;
}

/* Of the time between two looks no more than two intervals count: where the whole machine stood still, nobody was silent. */
void torture_watch(struct torture_worker *w, uint64_t limit)
{
	unsigned int cpu = loam_port_cpu(), other = successor(cpu);
	struct torture_worker *o = &torture_workers[other];
	uint64_t now = loam_port_time(), passed = now - w->watched_at;
	char text[160];

	__atomic_store_n(&w->ticked_at, now, __ATOMIC_RELEASE);
	if (other != w->watched) {
		w->watched = other;
		w->watched_at = now;
		w->silence = w->no_ticks = 0;
		return;
	}
	if (passed < LOOK_EVERY)
		return;
	passed = passed > 2 * LOOK_EVERY ? 2 * LOOK_EVERY : passed;
	w->watched_at = now;
	w->silence = unmoved(__atomic_load_n(&o->beats, __ATOMIC_ACQUIRE), &w->watched_beats, w->silence, passed);
	w->no_ticks = unmoved(__atomic_load_n(&o->counts[TORTURE_TICKS], __ATOMIC_RELAXED), &w->watched_ticks,
			      w->no_ticks, passed);
	if (w->silence > w->longest) {
		w->longest = w->silence;
		w->longest_doing = __atomic_load_n(&o->doing, __ATOMIC_RELAXED);
	}
	if (w->silence < limit && w->no_ticks < limit)
		return;
	if (w->no_ticks < limit && somebody_is_deaf(now, limit))
		return;
	(void)kformat(text, sizeof(text), "CPU %u has been silent for %lu s: %s, doing %s", other,
		      (unsigned long)(limit / TORTURE_SECOND),
		      w->silence >= limit ? (w->no_ticks >= limit ? "its task and its timer" : "its task")
					  : "its timer",
		      __atomic_load_n(&o->doing, __ATOMIC_RELAXED));
	machine_silent(other, text);
}
