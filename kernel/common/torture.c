/* kernel/common/torture.c: every CPU works all layers at once, while interrupts on every CPU do so too, and all that can go wrong around them does.
 *
 * 1 Who
 *   workers     one per CPU: hold a few dozen things, each filled with a pattern of its own, and again and again replace, resize, protect, read and write one picked at random,
 *               or hand it to any CPU, which looks at it and frees it (torture_things.c, torture_work.c)
 *   interrupts  a timer of 10 kHz and pokes from other CPUs: they allocate and free too, between any two instructions of the workers, and free what workers allocated
 *   conductor   CPU 0, beside its work: takes CPUs away and brings them back, has one worker take all memory there is, stops the world for an audit, says how it goes
 *   failures    where the library was built for it, one in a hundred of all attempts to take a frame, a table, a range finds none
 *   watch       each tick looks at the next CPU: a task or a timer that does not move for 5 s ends the machine with that CPU's backtrace
 *
 * 2 What it stands on
 *   The kernel's frames, page tables and TLB engine; an arena of its own, so that it can be taken down and leaves nothing; three heaps of its own, one of each profile,
 *   which stay for the next time. The tables under the arena are made before: they stay too, and then the same frames are in use before and after, to the last one.
 *   Large leaves need addresses where no table of small ones ever was, so that theirs is an arena and a tree of their own: over the kernel's root, with a gibibyte that nobody
 *   else maps in, so that tables may come and go there while the kernel's stay.
 *
 * 3 The world stops in two steps. First everybody stands between two operations, interrupts on and doing nothing, so that whoever waits for a flush is answered. When all
 *   stand, all mask interrupts. Nobody is inside of Loam then.
 */
#include "torture.h"
#include "console.h"
#include "tour.h"

#define ARENA_MAX ((size_t)256 << 20)
#define GIBIBYTE ((uintptr_t)1 << 30)
#define HEAP_TICKS 64 /* ticks of a CPU to one of its heaps' */

enum stillness { MOVING = 0, STANDING, MASKED };

struct torture_worker *torture_workers;
struct loam_heap *torture_heaps[TORTURE_HEAPS];
struct loam_vm torture_vm;
struct loam_vm torture_large_vm;
struct loam_pagetable torture_large_tree;

static struct loam_heap heaps[TORTURE_HEAPS];
static const struct torture_options *options;
static uint64_t started, until;
static uint32_t stillness; /* atomic: what is wanted of all */
static bool can_fail;
static bool gone_wrong; /* atomic: what was to, has */

/* The conductor's. */
static uint64_t next_word, next_move, next_squeeze, next_audit;
static uint64_t offline_cycles, audits, problems;

/* ---- setting up --------------------------------------------------------------------------------------------------------------- */

static bool can_be_large(void)
{
	return options->fault != TORTURE_FAULT_SMALL;
}

static bool make_heaps(void)
{
	struct loam_frames_stats without, with;

	loam_frame_read_stats(kernel_system.frames, &without);
	for (size_t i = 0; i < TORTURE_HEAPS; i++) {
		struct loam_heap_config config = {
			.frames = kernel_system.frames,
			.vm = &torture_vm,
			.ncpus = machine_cpus_all(),
			.hardened = i == 1,
			.track = i == 2,
		};
		if (torture_heaps[i] != NULL)
			continue;
		if (loam_heap_init(&heaps[i], &config, NULL, 0) != LOAM_OK)
			return false;
		torture_heaps[i] = &heaps[i];
	}
	loam_frame_read_stats(kernel_system.frames, &with);
	tour_keep(with.used - without.used);
	return true;
}

static size_t arena_nbytes(void)
{
	struct loam_frames_stats stats;
	size_t nbytes;

	loam_frame_read_stats(kernel_system.frames, &stats);
	nbytes = (size_t)(stats.ram * LOAM_PAGE_SIZE / 4) & ~(((size_t)1 << 21) - 1);
	return nbytes < ARENA_MAX ? nbytes : ARENA_MAX;
}

/* A CPU that is slow to answer is no failure: it will. */
static bool is_flushed(loam_tlb_generation generation)
{
	enum loam_status status;

	while ((status = loam_tlb_wait(kernel_system.tlb, generation)) == LOAM_ERR_TIMEOUT)
		;
	return status == LOAM_OK;
}

/* One page in each table's reach is mapped for a moment: the tables stay. */
static bool make_tables(uintptr_t start, size_t nbytes)
{
	struct loam_mapping mapping = {.prot = LOAM_PROT_READ | LOAM_PROT_WRITE};
	struct loam_pagetable *tree = kernel_system.tree;
	loam_pfn pfn = loam_frame_alloc(kernel_system.frames, 0, NULL);
	bool made = pfn != LOAM_PFN_NONE;

	for (uintptr_t va = start; made && va < start + nbytes; va += (uintptr_t)1 << 21)
		made = loam_paging_map(tree, va, loam_frame_address(pfn), 1, &mapping) == LOAM_OK &&
		       loam_paging_unmap(tree, va, 1, NULL, NULL) == LOAM_OK;
	made = made && is_flushed(loam_tlb_flush_start(kernel_system.tlb, NULL, 0));
	if (pfn != LOAM_PFN_NONE)
		loam_frame_free(kernel_system.frames, pfn, 0);
	return made;
}

/* The gibibyte for large leaves: behind the arena. */
static uintptr_t large_start(uintptr_t start, size_t nbytes)
{
	return (start + nbytes + GIBIBYTE - 1) & ~(GIBIBYTE - 1);
}

/* 2. What the root points to stays. */
static bool make_large_tree(uintptr_t start)
{
	struct loam_pagetable *kernels = kernel_system.tree;
	struct loam_table_source source = loam_paging_tables_from_frames(kernel_system.frames);

	if (loam_paging_populate(kernels, start, GIBIBYTE / LOAM_PAGE_SIZE) != LOAM_OK ||
	    loam_pagetable_init(&torture_large_tree, kernels->format, &source, kernels->root) != LOAM_OK)
		return false;
	torture_large_tree.keep_empty_tables = false;
	torture_large_tree.pa_bits = kernels->pa_bits;
	torture_large_tree.split = kernels->split;
	return true;
}

static bool make_vm(struct loam_vm *vm, struct loam_pagetable *tree, uintptr_t start, size_t nbytes)
{
	struct loam_vmalloc_config config = {
		.start = start,
		.nbytes = nbytes,
		.ncpus = machine_cpus_all(),
		.frames = kernel_system.frames,
		.tree = tree,
		.tlb = kernel_system.tlb,
	};

	*vm = (struct loam_vm){0};
	return loam_vmalloc_init(vm, &config) == LOAM_OK;
}

/* A sixteenth of each zone is where shrinkers begin, the last 1024th is for those who are about to free. */
static void set_watermarks(bool set)
{
	struct loam_zone_stats stats;

	for (unsigned int zone = 0; loam_frame_read_zone_stats(kernel_system.frames, zone, &stats) == LOAM_OK; zone++) {
		struct loam_zone_watermarks marks = {0};

		if (set)
			marks = (struct loam_zone_watermarks){.low = stats.managed / 16, .min = stats.managed / 1024};
		if (loam_frame_set_watermarks(kernel_system.frames, zone, &marks) != LOAM_OK)
			problems++;
	}
}

/* ---- workers ------------------------------------------------------------------------------------------------------------------ */

static uint64_t total(enum torture_count what)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < machine_cpus_all(); i++)
		sum += __atomic_load_n(&torture_workers[i].counts[what], __ATOMIC_RELAXED);
	return sum;
}

static uint32_t wanted(void)
{
	return __atomic_load_n(&stillness, __ATOMIC_ACQUIRE);
}

static void hook(bool poked)
{
	struct torture_worker *w = &torture_workers[loam_port_cpu()];

	if (!__atomic_load_n(&w->here, __ATOMIC_ACQUIRE))
		return;
	torture_count(w, poked ? TORTURE_POKES : TORTURE_TICKS);
	torture_watch(w, options->silence * TORTURE_SECOND);
	if (wanted() != MOVING)
		return;
	loam_vmalloc_tick(&torture_vm);
	loam_vmalloc_tick(&torture_large_vm);
	if (w->counts[TORTURE_TICKS] % HEAP_TICKS == 0)
		for (size_t i = 0; i < TORTURE_HEAPS; i++)
			loam_heap_tick(torture_heaps[i]);
	torture_interrupt(w);
}

static void beat(struct torture_worker *w, unsigned int round)
{
	__atomic_add_fetch(&w->beats, 1, __ATOMIC_RELEASE);
	loam_port_relax(round);
}

static void stand_still(struct torture_worker *w)
{
	unsigned long irq = 0;
	unsigned int round;

	__atomic_store_n(&w->still, STANDING, __ATOMIC_RELEASE);
	for (round = 0; wanted() == STANDING; round++)
		beat(w, round);
	if (wanted() == MASKED) {
		irq = loam_port_irq_save();
		__atomic_store_n(&w->still, MASKED, __ATOMIC_RELEASE);
		for (round = 0; wanted() == MASKED; round++)
			loam_port_relax(round);
		loam_port_irq_restore(irq);
	}
	__atomic_store_n(&w->still, MOVING, __ATOMIC_RELEASE);
}

/* What a check must find is done on purpose by the last CPU. */
static void do_wrong(struct torture_worker *w)
{
	struct torture_thing *t = &w->held[0];

	if (options->fault == TORTURE_FAULT_NONE || !can_be_large() || loam_port_cpu() != machine_cpus_all() - 1 ||
	    __atomic_load_n(&w->counts[TORTURE_OPERATIONS], __ATOMIC_RELAXED) != 1000)
		return;
	if (options->fault == TORTURE_FAULT_DEAF)
		(void)loam_port_irq_save();
	if (options->fault == TORTURE_FAULT_SILENT || options->fault == TORTURE_FAULT_DEAF)
		for (unsigned int round = 0;; round++)
			loam_port_relax(round);
	while (options->fault == TORTURE_FAULT_ENDLESS)
		torture_got_on(w);
	while (t->kind != TORTURE_FRAMES) {
		torture_drop(w, t, false);
		torture_take(w, t, false);
	}
	if (options->fault == TORTURE_FAULT_SCRIBBLE)
		*(volatile uint64_t *)t->address ^= 1;
	else
		t->kind = TORTURE_NOTHING;
	__atomic_store_n(&gone_wrong, true, __ATOMIC_RELEASE);
}

/* Now and then there is no block; of many areas some have one. */
#define LARGES_ENOUGH 16

/* The seconds are the least: what is asked for has been done, and what must go wrong has gone wrong. Who is silent is waited for until the watch has seen it. */
static bool is_over(uint64_t now)
{
	if (now < until || total(TORTURE_LEAVES) < options->leaves)
		return false;
	switch (options->fault) {
	case TORTURE_FAULT_LEAK:
	case TORTURE_FAULT_SCRIBBLE:
		return __atomic_load_n(&gone_wrong, __ATOMIC_ACQUIRE);
	case TORTURE_FAULT_SILENT:
	case TORTURE_FAULT_DEAF:
	case TORTURE_FAULT_ENDLESS:
		return false;
	case TORTURE_FAULT_SMALL:
		return total(TORTURE_LARGES) >= LARGES_ENOUGH;
	case TORTURE_FAULT_NONE:
		break;
	}
	return true;
}

static void conduct(struct torture_worker *w, uint64_t now);

static void work(void *arg)
{
	unsigned int cpu = loam_port_cpu();
	struct torture_worker *w = &torture_workers[cpu];
	uint64_t now;

	(void)arg;
	for (size_t i = 0; i < TORTURE_HEAPS; i++)
		if (loam_heap_cpu_online(torture_heaps[i], cpu) != LOAM_OK)
			torture_wrong(w, "a heap does not know this CPU", 0);
	__atomic_store_n(&w->ticked_at, loam_port_time(), __ATOMIC_RELEASE);
	__atomic_store_n(&w->here, true, __ATOMIC_RELEASE);
	while (!is_over(now = loam_port_time()) && !__atomic_load_n(&w->leave, __ATOMIC_ACQUIRE)) {
		if (cpu == 0)
			conduct(w, now);
		if (wanted() != MOVING)
			stand_still(w);
		if (__atomic_exchange_n(&w->squeeze, 0, __ATOMIC_ACQUIRE) != 0)
			torture_squeeze(w);
		do_wrong(w);
		torture_step(w);
	}
	/* One that leaves goes with its hands full, and finds all as it was when it is back. */
	for (size_t i = 0; i < TORTURE_HELD && is_over(now); i++)
		torture_drop(w, &w->held[i], false);
	__atomic_store_n(&w->here, false, __ATOMIC_RELEASE);
}

/* ---- the conductor ------------------------------------------------------------------------------------------------------------ */

static void say(uint64_t now)
{
	uint64_t seconds = (now - started) / TORTURE_SECOND, cpus = machine_cpus_all();

	kprintf("     %3lu s of %u: %lu operations, %lu interrupts (%lu Hz a CPU), %lu pokes; %lu handed over, %lu refused, "
		"%lu of them on purpose;\n"
		"           %lu leaves of 2 MiB, %lu times offline, all memory taken %lu times, %lu frames shrunk, %lu audits, %lu wrong\n",
		(unsigned long)seconds, options->seconds, (unsigned long)total(TORTURE_OPERATIONS),
		(unsigned long)total(TORTURE_TICKS),
		(unsigned long)(total(TORTURE_TICKS) / (cpus * (seconds == 0 ? 1 : seconds))),
		(unsigned long)total(TORTURE_POKES), (unsigned long)total(TORTURE_MAILED),
		(unsigned long)total(TORTURE_REFUSED), (unsigned long)total(TORTURE_INJECTED),
		(unsigned long)total(TORTURE_LEAVES), (unsigned long)offline_cycles,
		(unsigned long)total(TORTURE_SQUEEZES), (unsigned long)total(TORTURE_SHRUNK), (unsigned long)audits,
		(unsigned long)total(TORTURE_WRONG));
}

/* What was closest to being taken for silent. */
static void say_longest(void)
{
	const struct torture_worker *w = &torture_workers[0];

	for (unsigned int i = 1; i < machine_cpus_all(); i++)
		if (torture_workers[i].longest > w->longest)
			w = &torture_workers[i];
	kprintf("     longest without a sign of a task: %lu ms, doing %s\n",
		(unsigned long)(w->longest / (TORTURE_SECOND / 1000)),
		w->longest_doing != NULL ? w->longest_doing : "nothing yet");
}

/* How often the timer has met each CPU so far: asked once, while all are there and there is memory. */
static void check_rates(uint64_t now)
{
	uint64_t milliseconds = (now - started) / (TORTURE_SECOND / 1000), least = UINT64_MAX, most = 0;

	for (unsigned int i = 0; i < machine_cpus_all(); i++) {
		uint64_t ticks = __atomic_load_n(&torture_workers[i].counts[TORTURE_TICKS], __ATOMIC_RELAXED);
		uint64_t rate = ticks * 1000 / milliseconds;

		least = rate < least ? rate : least;
		most = rate > most ? rate : most;
	}
	kprintf("     timer: %u Hz asked for, %lu to %lu Hz on each CPU in the first second\n", options->hz,
		(unsigned long)least, (unsigned long)most);
	if (least >= options->rate)
		return;
	kprintf("     TOO SLOW: rate=%u was to be had on every CPU\n", options->rate);
	problems++;
}

static void take_away(struct torture_worker *w, unsigned int cpu)
{
	__atomic_store_n(&torture_workers[cpu].leave, true, __ATOMIC_RELEASE);
	for (unsigned int round = 0; !machine_has_returned(cpu); round++)
		beat(w, round);
	__atomic_store_n(&torture_workers[cpu].leave, false, __ATOMIC_RELEASE);
	machine_offline(cpu);
	for (size_t i = 0; i < TORTURE_HEAPS; i++)
		if (loam_heap_cpu_offline(torture_heaps[i], cpu) != LOAM_OK)
			problems++;
	if (loam_vmalloc_cpu_offline(&torture_vm, cpu) != LOAM_OK ||
	    loam_vmalloc_cpu_offline(&torture_large_vm, cpu) != LOAM_OK)
		problems++;
}

static bool bring_back(unsigned int cpu)
{
	if (!machine_online(cpu)) {
		kprintf("     CPU %u does not come back\n", cpu);
		problems++;
		return false;
	}
	offline_cycles++;
	machine_send(cpu, work, NULL);
	return true;
}

/* One that is there goes, one that is not comes back; at least half of them stay. */
static void move_one(struct torture_worker *w)
{
	unsigned int all = machine_cpus_all();
	unsigned int cpu = all < 2 ? 0 : 1 + (unsigned int)(torture_random(&w->random) % (all - 1));

	if (cpu == 0)
		return;
	w->calm = true;
	if (!machine_is_online(cpu))
		(void)bring_back(cpu);
	else if (machine_cpus() > (all + 1) / 2 || all == 2)
		take_away(w, cpu);
	w->calm = false;
}

static void wait_for(struct torture_worker *w, uint32_t step)
{
	__atomic_store_n(&stillness, step, __ATOMIC_RELEASE);
	for (unsigned int i = 1; i < machine_cpus_all(); i++)
		for (unsigned int round = 0; machine_is_online(i) && !machine_has_returned(i) &&
					     __atomic_load_n(&torture_workers[i].still, __ATOMIC_ACQUIRE) != step;
		     round++)
			beat(w, round);
}

static void audit(struct torture_worker *w)
{
	unsigned long irq;

	w->calm = true;
	wait_for(w, STANDING);
	wait_for(w, MASKED);
	irq = loam_port_irq_save();
	if (!torture_audit(true))
		problems++;
	loam_port_irq_restore(irq);
	__atomic_store_n(&stillness, MOVING, __ATOMIC_RELEASE);
	w->calm = false;
	audits++;
}

static void conduct(struct torture_worker *w, uint64_t now)
{
	if (now >= next_word) {
		if (next_word == started + TORTURE_SECOND)
			check_rates(now);
		say(now);
		next_word = now + 5 * TORTURE_SECOND;
	}
	if (now >= next_move) {
		next_move = now + TORTURE_SECOND / 5;
		w->doing = "take a CPU away or bring it back";
		move_one(w);
	}
	if (now >= next_squeeze) {
		next_squeeze = now + 4 * TORTURE_SECOND;
		__atomic_store_n(&torture_workers[torture_random(&w->random) % machine_cpus_all()].squeeze, 1,
				 __ATOMIC_RELEASE);
	}
	if (now >= next_audit) {
		next_audit = now + 10 * TORTURE_SECOND;
		w->doing = "audit";
		audit(w);
	}
}

/* ---- a run -------------------------------------------------------------------------------------------------------------------- */

static void prepare(void)
{
	uint64_t seed = options->seed;

	for (unsigned int i = 0; i < machine_cpus_all(); i++) {
		torture_workers[i].random = torture_random(&seed);
		torture_workers[i].in_random = torture_random(&seed);
		torture_workers[i].fail_random = torture_random(&seed);
		torture_workers[i].watched = UINT32_MAX;
		torture_workers[i].doing = "nothing yet";
	}
	started = loam_port_time();
	until = started + options->seconds * TORTURE_SECOND;
	next_word = next_move = next_squeeze = started + TORTURE_SECOND;
	next_audit = started + 3 * TORTURE_SECOND;
	offline_cycles = audits = 0;
	gone_wrong = false;
}

static void run(void)
{
	can_fail = machine_fail(torture_fails);
	machine_ticks(options->hz, hook);
	for (unsigned int i = 1; i < machine_cpus_all(); i++)
		if (machine_is_online(i))
			machine_send(i, work, NULL);
	work(NULL);
	/* Who is away comes back for what he holds. */
	for (unsigned int i = 1; i < machine_cpus_all(); i++)
		if (!machine_is_online(i))
			(void)bring_back(i);
	for (unsigned int i = 1; i < machine_cpus_all(); i++)
		for (unsigned int round = 0; !machine_has_returned(i); round++)
			loam_port_relax(round);
	machine_ticks(0, NULL);
	(void)machine_fail(NULL);
	for (unsigned int i = 0; i < machine_cpus_all(); i++)
		torture_empty_boxes(&torture_workers[i]);
}

static bool end_vm(struct loam_vm *vm)
{
	enum loam_status status;

	if (vm->config.frames == NULL)
		return true;
	/* A CPU that is slow to answer is no failure: it will. */
	while ((status = loam_vmalloc_purge(vm)) == LOAM_ERR_TIMEOUT)
		;
	if (status == LOAM_OK)
		status = loam_vmalloc_destroy(vm);
	if (status != LOAM_OK)
		kprintf("     the arena cannot be taken down: %s\n", loam_status_name(status));
	return status == LOAM_OK;
}

/* The last tables of a tree whose arena is gone. */
static bool end_large_tree(void)
{
	bool flushed = is_flushed(loam_tlb_flush_tables(kernel_system.tlb));

	loam_pagetable_destroy(&torture_large_tree);
	return flushed && loam_pagetable_count_racy(&torture_large_tree) == 0;
}

static void check_leaves(void)
{
	if (total(TORTURE_LARGES) < LARGES_ENOUGH || total(TORTURE_LEAVES) > 0)
		return;
	kprintf("     NO LARGE LEAF: %lu areas of 2 MiB and more, and none has a leaf of that size\n",
		(unsigned long)total(TORTURE_LARGES));
	problems++;
}

static bool torture(uintptr_t start, size_t nbytes)
{
	size_t n = machine_cpus_all();
	bool ready;

	torture_workers = loam_heap_alloc_array(kernel_system.heap, n, sizeof(*torture_workers));
	if (torture_workers == NULL)
		return false;
	ready = make_vm(&torture_vm, kernel_system.tree, start, nbytes) &&
		make_vm(&torture_large_vm, can_be_large() ? &torture_large_tree : kernel_system.tree,
			large_start(start, nbytes), nbytes) &&
		torture_make_caches() && torture_reserve_begin() == LOAM_OK;
	if (ready) {
		set_watermarks(true);
		prepare();
		run();
		set_watermarks(false);
		torture_reserve_end();
		say(loam_port_time());
		say_longest();
		check_leaves();
		problems += total(TORTURE_WRONG) != 0;
		problems += !torture_audit(true);
	}
	if (!torture_end_caches())
		problems++;
	problems += !end_vm(&torture_vm);
	problems += !end_vm(&torture_large_vm) || !end_large_tree();
	kfree(torture_workers);
	torture_workers = NULL;
	return ready;
}

unsigned int torture_run(const struct torture_options *asked)
{
	static struct torture_sums before, after;
	size_t nbytes = arena_nbytes();
	uintptr_t start = machine_arena(nbytes + 2 * GIBIBYTE);

	options = asked;
	problems = 0;
	if (start == 0 || !make_heaps() || !make_tables(start, nbytes) ||
	    !make_large_tree(large_start(start, nbytes)) ||
	    (!can_be_large() && !make_tables(large_start(start, nbytes), nbytes))) {
		kprintf("     no memory for heaps and tables\n");
		return 1;
	}
	problems += !torture_read_sums(&before);
	if (!torture(start, nbytes)) {
		kprintf("     no memory for workers, arena and caches\n");
		return 1;
	}
	problems += !torture_read_sums(&after);
	bool audited = torture_audit(false);
	problems += !audited;
	problems += torture_compare(&before, &after);
	kprintf("     failures were %s\n",
		can_fail ? "injected" : "not injected: the library was built without -Dfailures=true");
	kprintf("     audit %s; %s\n", audited ? "passed" : "FAILED",
		problems == 0 ? "every frame, range and object is back" : "FAILED");
	return problems == 0 ? 0 : 1;
}

unsigned int stress_run(unsigned int seconds)
{
	return torture_run(&(struct torture_options){.seconds = seconds, .silence = 5, .hz = TORTURE_HZ});
}
