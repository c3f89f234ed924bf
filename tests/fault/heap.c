/* tests/fault/heap.c: the heap while interrupts land everywhere, and while memory runs out everywhere. */
#include "../unit/heap/heap_rig.h"

#include <base/fail.h>
#include <host.h>

#include <setjmp.h>
#include <string.h>

enum { HELD = 200, MANY = 600 };

struct scene {
	struct heap_rig rig;
	struct loam_heap_cache *cache;
	void *held[HELD];
	void *left; /* by an interrupt, for the next one to free */
	uint64_t used;
	unsigned int wrong;
};

enum profile { PLAIN, TRACKING, HARDENED };

static void scene_make(struct scene *scene, enum profile profile)
{
	struct loam_heap_config heap = {.ncpus = 1, .track = profile == TRACKING, .hardened = profile == HARDENED};
	struct loam_cache_config config = {.name = "scene", .nbytes = 100};

	*scene = (struct scene){.rig = heap_rig_make_with(1024, &heap)};
	CHECK_OK(loam_heap_cache_create(scene->rig.heap, &config, &scene->cache));
}

static void scene_end(struct scene *scene)
{
	loam_heap_free(scene->rig.heap, scene->left);
	CHECK_EQ(scene->wrong, 0);
	CHECK_OK(loam_heap_cache_destroy(scene->rig.heap, scene->cache));
	heap_rig_end(&scene->rig);
}

/* An interrupt handler that uses the heap like any: an object that lives within it, one that outlives it, one of an earlier handler's freed. */
static void handler(void *context)
{
	struct scene *scene = context;
	struct loam_heap *heap = scene->rig.heap;
	void *here = loam_heap_alloc(heap, 64), *stays = loam_heap_alloc(heap, 64), *left;

	if (!here || !stays || here == stays) {
		scene->wrong++;
		return;
	}
	heap_rig_fill(here, 64, 1);
	heap_rig_fill(stays, 64, 2);
	left = scene->left;
	scene->left = stays;
	if (left && !heap_rig_filled(left, 64, 2))
		scene->wrong++;
	loam_heap_free(heap, left);
	if (!heap_rig_filled(here, 64, 1))
		scene->wrong++;
	loam_heap_free(heap, here);
}

/* ---- who looks without a lock, while what it looks at is given back, written over and taken again --------------------------------- */

static struct {
	struct heap_rig rig;
	void *object;
	bool small; /* an object of a slab, else a large one */

	uint64_t point, give_at, take_at; /* of the look; what happens there */
	bool busy;                        /* at it: no points */
	bool given, taken;
	uint64_t same; /* runs in which the same place came back */
} looked;

static void *take_looked_at(void)
{
	return loam_heap_alloc_at(looked.rig.heap, looked.small ? 3000 : 90000, LOAM_HERE);
}

static void take_again(void)
{
	const void *old = looked.object;

	looked.object = take_looked_at();
	looked.taken = true;
	looked.same += looked.object == old;
}

/* The words of a free frame's slot are nobody's. */
static void give_back_and_write_over(void)
{
	struct loam_frames *frames = looked.rig.rig->frames;
	loam_pfn first = loam_frame_containing((loam_paddr)((uintptr_t)looked.object - frames->direct_map));

	loam_heap_free_at(looked.rig.heap, looked.object, LOAM_HERE);
	(void)loam_heap_drain(looked.rig.heap);
	looked.given = true;
	if (loam_frame_ref_get(frames, first) == LOAM_FRAME_UNUSED) {
		struct loam_slot *slot = loam_frame_slot(frames, first);

		slot->next = 0xdead;
		memset(slot->tail, 0xfe, sizeof(slot->tail));
	}
}

/* What another CPU does between two loads of this one. */
static void at_point(const volatile void *where)
{
	(void)where;
	if (looked.busy)
		return;
	looked.busy = true;
	looked.point++;
	if (looked.point == looked.give_at)
		give_back_and_write_over();
	if (looked.point == looked.take_at)
		take_again();
	looked.busy = false;
}

static bool known(const struct loam_call_site *site)
{
	return !site || site->line > 0;
}

/* Given back at each point of the look, and taken again at each later one. */
static void look_at_every_pair_of_points(bool small)
{
	struct loam_heap_object object;
	uint64_t both = 0;

	memset(&looked, 0, sizeof(looked));
	looked.rig = heap_rig_make(2048, 1, true);
	looked.small = small;
	looked.object = take_looked_at();
	do {
		looked.take_at = ++looked.give_at;
		do {
			looked.take_at++;
			looked.point = 0;
			looked.given = looked.taken = false;
			host_hooks.on_point = at_point;
			(void)loam_heap_whereis(looked.rig.heap, (uintptr_t)looked.object + 5, &object);
			host_hooks.on_point = NULL;
			CHECK(known(object.allocated_at) && known(object.freed_at));
			both += looked.taken;
			if (looked.given && !looked.taken)
				break;
		} while (looked.taken);
		if (looked.given)
			take_again();
	} while (looked.given);
	CHECK(both > 20 && looked.same > 20);
	loam_heap_free(looked.rig.heap, looked.object);
	heap_rig_end(&looked.rig);
}

TEST(H6_a_look_at_a_large_object_believes_nothing_that_was_given_back)
{
	look_at_every_pair_of_points(false);
}

TEST(H6_a_look_at_a_small_object_believes_nothing_that_was_given_back)
{
	look_at_every_pair_of_points(true);
}

/* ---- interrupts at every point, nested twice -------------------------------------------------------------------------------------- */

static bool at_rest(struct scene *scene)
{
	unsigned long irq = loam_port_irq_save();
	bool fine = scene->wrong == 0 && loam_heap_check(scene->rig.heap) == LOAM_OK;

	loam_port_irq_restore(irq);
	return fine;
}

static bool hot(void *context)
{
	struct scene *scene = context;
	struct loam_heap *heap = scene->rig.heap;
	void *a = loam_heap_alloc(heap, 64), *b = loam_heap_alloc(heap, 64);

	if (!a || !b || a == b)
		return false;
	heap_rig_fill(a, 64, 3);
	heap_rig_fill(b, 64, 4);
	loam_heap_free_sized(heap, a, 64);
	if (!heap_rig_filled(b, 64, 4))
		return false;
	loam_heap_free(heap, b);
	return at_rest(scene);
}

TEST(H2_interrupts_inside_the_fast_paths_nested_twice)
{
	struct scene scene;
	uint64_t runs;

	scene_make(&scene, PLAIN);
	runs = host_each_point(hot, handler, &scene, true);
	CHECK(runs > 300);
	scene_end(&scene);
}

/* What malloc does: at once where that is possible, in the interrupt too. */
static void *quick_alloc(struct loam_heap *heap)
{
	void *object = loam_heap_try_alloc(heap, loam_heap_part(heap, 0), 64);

	if (!object)
		object = loam_heap_retry_alloc(heap, loam_heap_part(heap, 0), 64);
	return object ? object : loam_heap_alloc(heap, 64);
}

static void quick_free(struct loam_heap *heap, void *object)
{
	if (!loam_heap_try_free(heap, loam_heap_part(heap, 0), object) &&
	    !loam_heap_retry_free(heap, loam_heap_part(heap, 0), object))
		loam_heap_free(heap, object);
}

static bool quick(void *context)
{
	struct scene *scene = context;
	struct loam_heap *heap = scene->rig.heap;
	void *a = quick_alloc(heap), *b = quick_alloc(heap);

	if (!a || !b || a == b)
		return false;
	heap_rig_fill(a, 64, 3);
	heap_rig_fill(b, 64, 4);
	quick_free(heap, a);
	if (!heap_rig_filled(b, 64, 4))
		return false;
	quick_free(heap, b);
	return at_rest(scene);
}

static void quick_handler(void *context)
{
	struct scene *scene = context;
	void *a = quick_alloc(scene->rig.heap), *b = quick_alloc(scene->rig.heap);

	if (!a || !b || a == b)
		scene->wrong++;
	quick_free(scene->rig.heap, a);
	quick_free(scene->rig.heap, b);
}

/* The loaded magazine is empty, and the stock has another: allocating exchanges them. Then the same the other way round. */
static bool quick_exchange(void *context)
{
	struct scene *scene = context;
	struct loam_heap *heap = scene->rig.heap;
	struct loami_heap_cpu *part = loam_heap_part(heap, 0);
	void *objects[HELD];
	unsigned int n = 0;
	bool exchanged = false, spilled = false;

	while (n < HELD && !exchanged) {
		objects[n] = loam_heap_try_alloc(heap, part, 64);
		exchanged = !objects[n];
		if (!objects[n] && !(objects[n] = quick_alloc(heap)))
			return false;
		n++;
	}
	while (n > 0) {
		n--;
		if (loam_heap_try_free(heap, part, objects[n]))
			continue;
		spilled = true;
		quick_free(heap, objects[n]);
	}
	return exchanged && spilled && at_rest(scene);
}

static void fill_stock(struct loam_heap *heap)
{
	static void *objects[MANY];

	for (unsigned int i = 0; i < MANY; i++)
		CHECK((objects[i] = loam_heap_alloc(heap, 50)) != NULL);
	for (unsigned int i = 0; i < MANY; i++)
		loam_heap_free(heap, objects[i]);
}

TEST(H2_interrupts_inside_what_is_done_at_once_nested_twice)
{
	struct scene scene;

	scene_make(&scene, PLAIN);
	CHECK(host_each_point(quick, quick_handler, &scene, true) > 300);
	scene_end(&scene);
}

TEST(H2_interrupts_inside_an_exchange_with_the_stock)
{
	struct scene scene;

	scene_make(&scene, PLAIN);
	fill_stock(scene.rig.heap);
	CHECK(host_each_point(quick_exchange, quick_handler, &scene, false) > 100);
	scene_end(&scene);
}

/* ---- threads that a fork leaves behind ------------------------------------------------------------------------------------------- */

static struct {
	uint64_t point, at;
	jmp_buf out;
} behind;

static void leave_behind(const volatile void *where)
{
	(void)where;
	if (++behind.point == behind.at)
		longjmp(behind.out, 1);
}

enum { TAKES = 1, GIVES = 2, EXCHANGES = 4, HARDENS = 8 };

static void *take(struct loam_heap *heap, unsigned int what)
{
	struct loami_heap_cpu *part = loam_heap_part(heap, 0);

	return (what & (EXCHANGES | HARDENS)) == 0 ? loam_heap_try_alloc(heap, part, 50)
						   : loam_heap_retry_alloc(heap, part, 50);
}

static bool give(struct loam_heap *heap, unsigned int what, void *object)
{
	struct loami_heap_cpu *part = loam_heap_part(heap, 0);

	return (what & (EXCHANGES | HARDENS)) == 0 ? loam_heap_try_free(heap, part, object)
						   : loam_heap_retry_free(heap, part, object);
}

/* What may be done at once ends at its @at-th point; @held objects are live beside the one it is about. False: it has fewer points, and has come to its end. */
static bool left_behind(struct loam_heap *heap, unsigned int what, uint64_t at, uint64_t *held)
{
	static void *objects[MANY];
	volatile unsigned int n = 0;
	volatile bool left = true;

	/* For an exchange, the loaded magazine is empty, or has been filled again. */
	while (n < ((what & EXCHANGES) != 0 ? MANY - 1 : 3) && (objects[n] = take(heap, what & HARDENS)) != NULL)
		n++;
	CHECK(n > 0 && n < MANY - 1);
	if (what == (GIVES | EXCHANGES)) {
		CHECK((objects[n] = take(heap, what)) != NULL);
		while (give(heap, 0, objects[n]))
			CHECK(n-- > 0);
	} else if ((what & GIVES) != 0) {
		n--;
	}
	behind.point = 0;
	behind.at = at;
	if (setjmp(behind.out) == 0) {
		host_hooks.on_point = leave_behind;
		left = (what & GIVES) != 0 ? !give(heap, what, objects[n]) : take(heap, what) == NULL;
	}
	host_hooks.on_point = NULL;
	*held = n;
	return left;
}

/* In the child of a fork: its CPU is taken offline, as it was found. What it was just handling may be lost, up to @most objects, and nothing else; all that is left can be used. */
static void leave_behind_everywhere(unsigned int what, uint64_t most)
{
	uint64_t points = 0, lost = 0;
	bool left = true;

	while (left && points < 100) {
		struct heap_rig rig = heap_rig_make_with(
			1024, &(struct loam_heap_config){.ncpus = 1, .cpus_later = true, .hardened = what >= HARDENS});
		struct loam_heap_class_stats stats;
		uint64_t held;

		CHECK_OK(loam_heap_cpu_online(rig.heap, 0));
		fill_stock(rig.heap);
		left = left_behind(rig.heap, what, ++points, &held);
		CHECK_OK(loam_heap_cpu_offline(rig.heap, 0));
		CHECK_OK(loam_heap_read_class_stats(rig.heap, 3, &stats));
		CHECK_EQ(stats.nbytes, what >= HARDENS ? 56 : 64);
		CHECK(stats.live >= held && stats.live <= held + most);
		lost += stats.live > held;
		CHECK_OK(loam_heap_cpu_online(rig.heap, 0));
		fill_stock(rig.heap);
		rig_destroy(rig.rig);
	}
	CHECK(!left);
	CHECK(points > 3 && lost > 0);
}

TEST(H2_a_thread_left_behind_by_a_fork_loses_an_object_at_most)
{
	leave_behind_everywhere(TAKES, 1);
	leave_behind_everywhere(GIVES, 1);
}

TEST(H2_a_thread_left_behind_by_a_fork_in_an_exchange_loses_a_magazine_at_most)
{
	leave_behind_everywhere(TAKES | EXCHANGES, 126);
	leave_behind_everywhere(GIVES | EXCHANGES, 127);
}

TEST(H2_a_thread_of_a_hardened_heap_left_behind_by_a_fork_loses_two_objects_at_most)
{
	leave_behind_everywhere(TAKES | HARDENS, 2);
	leave_behind_everywhere(GIVES | HARDENS, 2);
}

TEST(H2_interrupts_inside_a_tracking_heap_nested_twice)
{
	struct scene scene;

	scene_make(&scene, TRACKING);
	CHECK(host_each_point(hot, handler, &scene, true) > 300);
	scene_end(&scene);
}

TEST(H2_interrupts_inside_a_hardened_heap_nested_twice)
{
	struct scene scene;

	scene_make(&scene, HARDENED);
	CHECK(host_each_point(hot, handler, &scene, true) > 300);
	CHECK(host_each_point(quick, quick_handler, &scene, true) > 300);
	scene_end(&scene);
}

/* From nothing: a slab, a region, a magazine. And back to nothing. */
static bool cold(void *context)
{
	struct scene *scene = context;
	struct loam_heap *heap = scene->rig.heap;
	unsigned long irq = loam_port_irq_save();
	void *a, *b, *left = scene->left;

	scene->left = NULL;
	loam_port_irq_restore(irq);
	loam_heap_free(heap, left);
	(void)loam_heap_trim(heap);
	a = loam_heap_alloc(heap, 64);
	b = loam_heap_cache_alloc(scene->cache);
	if (!a || !b)
		return false;
	heap_rig_fill(a, 64, 3);
	loam_heap_cache_free(scene->cache, b);
	if (!heap_rig_filled(a, 64, 3))
		return false;
	loam_heap_free(heap, a);
	(void)loam_heap_trim(heap);
	return at_rest(scene);
}

TEST(H2_interrupts_while_slabs_come_and_go)
{
	struct scene scene;

	scene_make(&scene, PLAIN);
	CHECK(host_each_point(cold, handler, &scene, false) > 100);
	scene_end(&scene);
}

/* More objects than a magazine and its stock hold: exchanges with stock, depot and slabs in both directions. */
static bool brim(void *context)
{
	struct scene *scene = context;
	struct loam_heap *heap = scene->rig.heap;

	for (unsigned int i = 0; i < 40; i++) {
		scene->held[i] = loam_heap_alloc(heap, 8192);
		if (!scene->held[i])
			return false;
		heap_rig_fill(scene->held[i], 64, i);
	}
	for (unsigned int i = 0; i < 40; i++) {
		if (!heap_rig_filled(scene->held[i], 64, i))
			return false;
		loam_heap_free(heap, scene->held[i]);
	}
	return at_rest(scene);
}

static void big_handler(void *context)
{
	struct scene *scene = context;
	void *a = loam_heap_alloc(scene->rig.heap, 8192), *b = loam_heap_alloc(scene->rig.heap, 8192);

	if (!a || !b || a == b)
		scene->wrong++;
	loam_heap_free(scene->rig.heap, b);
	loam_heap_free(scene->rig.heap, a);
}

TEST(H2_interrupts_while_magazines_are_exchanged)
{
	struct scene scene;

	scene_make(&scene, PLAIN);
	CHECK(host_each_point(brim, big_handler, &scene, false) > 100);
	scene_end(&scene);
}

static bool large(void *context)
{
	struct scene *scene = context;
	struct loam_heap *heap = scene->rig.heap;
	void *object = loam_heap_alloc(heap, 140000), *grown;

	if (!object)
		return false;
	heap_rig_fill(object, 140000, 5);
	grown = loam_heap_realloc(heap, object, 200000);
	if (!grown || !heap_rig_filled(grown, 140000, 5))
		return false;
	loam_heap_free(heap, grown);
	return at_rest(scene);
}

static void large_handler(void *context)
{
	struct scene *scene = context;
	void *object = loam_heap_alloc(scene->rig.heap, 90000);

	if (!object)
		scene->wrong++;
	loam_heap_free(scene->rig.heap, object);
}

TEST(H2_interrupts_around_large_objects_nested_twice)
{
	struct scene scene;

	scene_make(&scene, PLAIN);
	CHECK(host_each_point(large, large_handler, &scene, false) > 10);
	scene_end(&scene);
}

/* ---- one object freed twice at the same instant ---------------------------------------------------------------------------------------- */

struct double_free {
	struct loam_heap *heap;
	void *object;
};

static void free_it(void *context)
{
	struct double_free *twice = context;

	loam_heap_free(twice->heap, twice->object);
}

static bool same_text(const char *a, const char *b)
{
	while (*a != '\0' && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

static void want_again(struct loam_heap *heap)
{
	for (unsigned int i = 0; i < 100; i++)
		(void)loam_heap_alloc(heap, 40);
}

/* An interrupt at point @nth of a free frees the same object. Return: false when there was no such point. */
static bool free_at_once(struct double_free *twice, uint64_t nth, unsigned int *at_the_call, unsigned int *later)
{
	const char *volatile text = NULL;
	char double_text[128], twice_text[128], slab_text[128];
	bool cancelled;

	twice->object = loam_heap_alloc(twice->heap, 40);
	CHECK(twice->object != NULL);
	(void)loami_format(double_text, sizeof(double_text), "loam: heap: double free of 0x%lx (size-48)",
			   HEX(twice->object));
	(void)loami_format(twice_text, sizeof(twice_text),
			   "loam: heap: 0x%lx (size-48) was freed twice at once, by two CPUs or an interrupt",
			   HEX(twice->object));
	(void)loami_format(
		slab_text, sizeof(slab_text),
		"loam: heap: an object of the slab at 0x%lx was freed twice at once, by two CPUs or an interrupt",
		HEX(twice->object) & ~4095ul);
	host_interrupt_at(nth, free_it, twice);
	TAP_PANICS(loam_heap_free(twice->heap, twice->object), text);
	cancelled = host_interrupt_cancel();
	if (text) {
		CHECK(same_text(text, double_text));
		(*at_the_call)++;
	} else if (!cancelled) {
		/* Both believed it live: found out when it is wanted again. */
		TAP_PANICS(want_again(twice->heap), text);
		CHECK(text != NULL && (same_text(text, twice_text) || same_text(text, slab_text)));
		(*later)++;
	}
	return !cancelled;
}

static void free_twice(bool hardened, unsigned int *at_the_call, unsigned int *later)
{
	struct loam_heap_config config = {.ncpus = 1, .hardened = hardened};
	uint64_t nth = 1;

	*at_the_call = *later = 0;
	for (bool more = true; more; nth++) {
		struct heap_rig rig = heap_rig_make_with(1024, &config);
		struct double_free twice = {.heap = rig.heap};

		loam_heap_free(rig.heap, loam_heap_alloc(rig.heap, 40));
		more = free_at_once(&twice, nth, at_the_call, later);
		rig_destroy(rig.rig);
	}
}

TEST(H6_an_object_freed_twice_at_once_is_named_at_the_call_or_when_it_is_wanted_again)
{
	unsigned int at_the_call, later;

	free_twice(false, &at_the_call, &later);
	CHECK(at_the_call > 0 && later > 0);
}

TEST(H6_an_object_freed_twice_at_once_is_named_at_the_call_when_hardened)
{
	unsigned int at_the_call, later;

	free_twice(true, &at_the_call, &later);
	CHECK(at_the_call > 5);
	CHECK_EQ(later, 0);
}

/* ---- memory that is not to be had ----------------------------------------------------------------------------------------------------- */

/* Everything the heap does, taking NULL for an answer. At the end nothing is left behind. */
static bool everything(void *context)
{
	struct scene *scene = context;
	struct loam_heap *heap = scene->rig.heap;
	struct loam_cache_config config = {.name = "typed", .nbytes = 300};
	struct loam_heap_cache *cache = NULL;
	struct loam_heap_stats stats;
	void *typed[8] = {0};

	for (unsigned int i = 0; i < HELD; i++)
		scene->held[i] = loam_heap_alloc(heap, i % 9 == 0 ? (i % 2 ? 90000 : 40000) : 16u << (i % 8));
	if (loam_heap_cache_create(heap, &config, &cache) == LOAM_OK)
		for (unsigned int i = 0; i < 8; i++)
			typed[i] = loam_heap_cache_alloc(cache);
	for (unsigned int i = 0; i < HELD; i += 7) {
		void *moved = loam_heap_realloc(heap, scene->held[i], 3000);

		if (moved)
			scene->held[i] = moved;
	}
	for (unsigned int i = 0; i < 8; i++)
		if (cache)
			loam_heap_cache_free(cache, typed[i]);
	if (cache && loam_heap_cache_destroy(heap, cache) != LOAM_OK)
		return false;
	for (unsigned int i = 0; i < HELD; i++)
		loam_heap_free(heap, scene->held[i]);
	if (loam_heap_check(heap) != LOAM_OK)
		return false;
	loam_heap_read_stats(heap, &stats);
	(void)loam_heap_drain(heap);
	return stats.used_bytes == 0 && loam_heap_check(heap) == LOAM_OK &&
	       heap_rig_used(scene->rig.rig) == scene->used;
}

static uint64_t fail_everything(bool track, unsigned int kind)
{
	struct scene scene = {.rig = heap_rig_make(2048, 1, track)};
	uint64_t points;

	scene.used = heap_rig_used(scene.rig.rig);
	points = host_fail_each(kind, everything, &scene);
	heap_rig_end(&scene.rig);
	return points;
}

TEST(H1_every_failure_point_once_and_for_good)
{
	CHECK(fail_everything(false, HOST_FAIL_ANY) > 20);
}

TEST(H1_every_failure_point_of_a_tracking_heap)
{
	CHECK(fail_everything(true, HOST_FAIL_ANY) > 20);
}

struct making {
	struct rig *rig;
	uint64_t used;
};

static struct loam_heap made;

static bool make_heap(void *context)
{
	struct making *making = context;
	struct loam_heap_config config = {.frames = making->rig->frames, .ncpus = 1};
	enum loam_status status;

	made = (struct loam_heap){0};
	status = loam_heap_init(&made, &config, NULL, 0);
	if (status == LOAM_OK) {
		/* There is no way back from a heap that is made: a rig for each. */
		rig_destroy(making->rig);
		making->rig = rig_create(&(struct rig_config){.npages = 1024});
		return true;
	}
	return status == LOAM_ERR_NO_METADATA && heap_rig_used(making->rig) == making->used &&
	       loam_heap_alloc(&made, 16) == NULL;
}

TEST(H3_an_init_that_fails_leaves_nothing_and_can_be_tried_again)
{
	struct making making = {.rig = rig_create(&(struct rig_config){.npages = 1024})};

	making.used = heap_rig_used(making.rig);
	CHECK(host_fail_each(LOAMI_FAIL_METADATA, make_heap, &making) >= 4);
	rig_destroy(making.rig);
}
