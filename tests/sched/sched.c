/* tests/sched/sched.c: the explorer, see sched.h.
 *
 * A run follows a list of decisions as far as it goes and then takes the default at each further one, appending it. Where the running thread could go on, the
 * default is to let it, and every other choice is a preemption; where it spins or has ended, the default is the next thread that can run, and all choices are
 * free. The next run changes the last decision that has a choice left within the bound, and forgets what came after.
 */
#include "internal.h"

#include "../tap.h"

#include <base/lock.h>
#include <host.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { STACK_BYTES = 256 * 1024, DECISIONS_MAX = 1 << 16, STARTLED_MAX = 64, AGAIN_MAX = 16, VISITED_MAX = 1 << 21 };
#define TICK_NS UINT64_C(100)              /* of simulated time per step */
#define NOTHING_GOES_NS UINT64_C(50000000) /* ... and when every thread spins: a timeout may be what they wait for */

enum thread_state { READY, SPINS, DONE };

struct thread {
	enum thread_state state;
	uint64_t saw; /* SPINS: what the others had written by then */
	uint64_t writes;
	ucontext_t context;
	char *stack;
	void *cpu; /* which CPU it is */
};

struct decision {
	uint64_t step;
	uint8_t choice;
	uint8_t usual;      /* the default */
	uint8_t untried;    /* a bit for each thread that could be chosen instead and has not been */
	bool preempts;      /* the running thread could have gone on: another choice than the default is a preemption */
	unsigned int spent; /* preemptions before this one */
};

/* An address, and who has used it how: by thread, in any run of this exploration. */
struct used {
	uintptr_t where;
	uint8_t readers;
	uint8_t writers;
	/* In run @run: what its content depends on, and the sum of those who have read that. */
	uint64_t run;
	uint64_t written;
	uint64_t read;
};

/* A state that was decided in: everything below it has been run with as many preemptions left. */
struct visited {
	uint64_t key; /* 0: none */
	unsigned int spent;
};

static struct {
	const struct sched_test *test;
	struct sched_result *result;
	struct host_machine *machine; /* of this run */
	struct host_machine *bare;    /* for tests that make none: CPUs and nothing else */
	struct thread threads[SCHED_THREADS_MAX];
	ucontext_t explorer;
	unsigned int current;
	unsigned int bound;
	unsigned int preemptions; /* in this run so far */
	uint64_t steps;
	uint64_t time;
	unsigned int startled; /* times in a row that nothing went and time was moved on */

	struct decision decisions[DECISIONS_MAX];
	size_t ndecisions; /* to be followed, then recorded */
	size_t at;         /* the next one of this run */
	bool cut;          /* this run has been seen from here on */
	bool replays;      /* decisions are only the unusual ones, found by their step */

	struct used *used;
	size_t used_size, nused;
	bool grew;

	uint64_t
		trace; /* hash of this run so far, the same for runs that differ only in the order of what does not depend on each other */
	uint64_t history[SCHED_THREADS_MAX]; /* of each thread: what it has done and what that depended on */
	struct visited *visited;
	size_t nvisited;
	uint64_t exploration; /* part of the keys, so that the table need not be emptied for each */
} sched;

unsigned int sched_self(void)
{
	return sched_running ? sched.current : 0;
}

bool sched_running;

/* ---- who has used what ------------------------------------------------------------------------------------------------------- */

static struct used *find_used(uintptr_t where)
{
	size_t i;

	if (sched.nused * 2 >= sched.used_size) {
		struct used *old = sched.used;
		size_t n = sched.used_size;

		sched.used_size = n == 0 ? 1024 : 2 * n;
		sched.used = calloc(sched.used_size, sizeof(*sched.used));
		sched.nused = 0;
		if (sched.used == NULL)
			abort();
		for (size_t k = 0; k < n; k++) {
			if (old[k].where != 0)
				*find_used(old[k].where) = old[k];
		}
		free(old);
	}
	i = (where * UINT64_C(0x9e3779b97f4a7c15)) >> 20;
	for (i &= sched.used_size - 1; sched.used[i].where != 0 && sched.used[i].where != where;)
		i = (i + 1) & (sched.used_size - 1);
	if (sched.used[i].where == 0) {
		sched.used[i].where = where;
		sched.nused++;
	}
	return &sched.used[i];
}

static bool is_shared(const struct used *used)
{
	unsigned int all = used->readers | used->writers;

	return used->writers != 0 && (all & (all - 1)) != 0;
}

/* ---- which state is this? ----------------------------------------------------------------------------------------------------------
 *
 * An access depends on what its thread did before, and on the last write of its word (a write also on the reads since). Hash that, and a run is the sum over its
 * accesses: two runs with the same sum have the same accesses with the same dependences, so they are in the same state (Mazurkiewicz traces; happens-before
 * caching in CHESS). Deciding there again with no more preemptions left than before shows nothing new.
 */

static uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t x = a * UINT64_C(0x9e3779b97f4a7c15) + b;

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static void note_event(uint64_t what)
{
	uint64_t *history = &sched.history[sched.current];

	*history = mix(*history + sched.current + 1, what);
	sched.trace += *history;
}

void sched_after_atomic(const volatile void *where, bool is_write, bool changed)
{
	uintptr_t word = ((uintptr_t)where >> 3) + 1;
	struct used *used = find_used(word);

	if (used->run != sched.result->runs) {
		used->run = sched.result->runs;
		used->written = used->read = 0;
	}
	note_event(mix(word, is_write ? mix(used->written, used->read) : used->written));
	if (is_write) {
		used->written = sched.history[sched.current];
		used->read = 0;
	} else {
		used->read += sched.history[sched.current];
	}
	if (changed) {
		sched.threads[sched.current].writes++;
		sched.startled = 0;
	}
}

/* Whether this state has been decided in before, with as much left to spend; if not, it has now. */
static bool been_here(unsigned int set, bool preempts)
{
	uint64_t key = mix(sched.trace + sched.exploration, (uint64_t)set << 8 | sched.current << 1 | preempts);
	struct visited *v;

	for (unsigned int i = 0; i < sched.test->nthreads; i++)
		key = mix(key, host_cpu_is_interrupted(sched.threads[i].cpu));
	key += key == 0;
	for (size_t i = key & (VISITED_MAX - 1);; i = (i + 1) & (VISITED_MAX - 1)) {
		v = &sched.visited[i];
		if (v->key == key || v->key == 0)
			break;
	}
	if (v->key == key && v->spent <= sched.preemptions)
		return true;
	if (v->key == 0 && sched.nvisited >= VISITED_MAX / 2)
		return false;
	sched.nvisited += v->key == 0;
	*v = (struct visited){key, sched.preemptions};
	return false;
}

/* Note an access. Return: whether another thread's order relative to it can matter. */
static bool note_use(const volatile void *where, bool is_write)
{
	struct used *used =
		find_used(((uintptr_t)where >> 3) + 1); /* words: a slot's count is also read as half of one */
	bool before = is_shared(used);

	if (is_write)
		used->writers |= (uint8_t)(1u << sched.current);
	else
		used->readers |= (uint8_t)(1u << sched.current);
	if (is_shared(used) && !before)
		sched.grew = true;
	return is_shared(used);
}

/* ---- switching ------------------------------------------------------------------------------------------------------------------ */

static void become(unsigned int next)
{
	unsigned int self = sched.current;

	if (next == self)
		return;
	sched.threads[self].cpu = host_cpu_save();
	sched.current = next;
	host_cpu_load(sched.threads[next].cpu);
	swapcontext(&sched.threads[self].context, &sched.threads[next].context);
}

static LOAM_NORETURN void end_run(void)
{
	setcontext(&sched.explorer);
	abort();
}

static void fail_run(const char *text)
{
	sched.result->failed = true;
	snprintf(sched.result->failure, sizeof(sched.result->failure), "%s", text);
}

void sched_fail(const char *format, ...)
{
	char text[sizeof(sched.result->failure)];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (!sched_running)
		host_fault("%s", text);
	fail_run(text);
	end_run();
}

static void on_panic(enum loam_fatal kind, const char *message)
{
	(void)kind;
	fail_run(message);
	end_run();
}

static uint64_t others_writes(unsigned int self)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < sched.test->nthreads; i++)
		sum += i == self ? 0 : sched.threads[i].writes;
	return sum;
}

static bool can_run(unsigned int i)
{
	struct thread *t = &sched.threads[i];

	return t->state == READY ||
	       (t->state == SPINS && (others_writes(i) != t->saw || host_cpu_is_interrupted(t->cpu)));
}

static unsigned int who_can_run(void)
{
	unsigned int set = 0;

	for (unsigned int i = 0; i < sched.test->nthreads; i++)
		set |= (unsigned int)can_run(i) << i;
	return set;
}

/* The lowest thread of @set after @self, cyclically. */
static unsigned int next_of(unsigned int set, unsigned int self)
{
	for (unsigned int n = 1; n <= SCHED_THREADS_MAX; n++) {
		unsigned int i = (self + n) % SCHED_THREADS_MAX;

		if ((set & (1u << i)) != 0)
			return i;
	}
	return self;
}

static LOAM_NORETURN void cut_run(void)
{
	sched.result->pruned++;
	sched.cut = true;
	end_run();
}

/* The choice of a schedule that is run again. */
static unsigned int look_up(unsigned int usual)
{
	if (sched.at < sched.ndecisions && sched.decisions[sched.at].step == sched.steps)
		return sched.decisions[sched.at++].choice;
	return usual;
}

/* Follow or make the next decision. @set: who can run; @preempts: the running thread could go on. */
static unsigned int decide(unsigned int set, bool preempts)
{
	struct decision *d = &sched.decisions[sched.at];
	unsigned int usual = preempts ? sched.current : next_of(set, sched.current);
	unsigned int choice;

	if (sched.replays) {
		choice = look_up(usual);
	} else if ((set & (set - 1)) == 0 || (preempts && sched.preemptions >= sched.bound)) {
		/* Nothing to decide, but still a state: seldom enough that the table lasts, the same ones in every run. */
		if (sched.at == sched.ndecisions && (sched.trace & 3) == 0 && been_here(set, preempts))
			cut_run();
		return usual;
	} else {
		if (sched.at >= DECISIONS_MAX)
			sched_fail("more than %d decisions in a run", DECISIONS_MAX);
		if (sched.at == sched.ndecisions && been_here(set, preempts))
			cut_run();
		if (sched.at == sched.ndecisions) {
			*d = (struct decision){.step = sched.steps,
					       .choice = (uint8_t)usual,
					       .usual = (uint8_t)usual,
					       .untried = (uint8_t)(set & ~(1u << usual)),
					       .preempts = preempts,
					       .spent = sched.preemptions};
			sched.ndecisions++;
		}
		choice = d->choice;
		sched.at++;
	}
	if ((set & (1u << choice)) == 0)
		sched_fail("the test does not repeat itself: thread %u cannot run at step %llu", choice,
			   (unsigned long long)sched.steps);
	sched.preemptions += preempts && choice != usual;
	return choice;
}

static void step(void)
{
	sched.steps++;
	sched.time += TICK_NS;
	host_clock_set(sched.time);
	if (sched.steps > SCHED_STEPS_MAX)
		sched_fail("livelock: more than %d steps", SCHED_STEPS_MAX);
}

void sched_before_atomic(const volatile void *where, bool is_write)
{
	step();
	if (note_use(where, is_write) || sched.replays)
		become(decide(who_can_run() | (1u << sched.current), true));
}

/* This thread cannot go on: it spins or has ended. */
static void go_elsewhere(void)
{
	unsigned int set;

	while ((set = who_can_run()) == 0) {
		unsigned int left = 0;

		for (unsigned int i = 0; i < sched.test->nthreads; i++)
			left += sched.threads[i].state != DONE;
		if (left == 0)
			end_run();
		if (++sched.startled > STARTLED_MAX)
			sched_fail("deadlock: %u threads spin and nobody writes", left);
		sched.time += NOTHING_GOES_NS;
		host_clock_set(sched.time);
		for (unsigned int i = 0; i < sched.test->nthreads; i++) {
			if (sched.threads[i].state == SPINS)
				sched.threads[i].state = READY;
		}
	}
	become(decide(set, false));
}

static void on_relax(unsigned int round)
{
	struct thread *self = &sched.threads[sched.current];

	(void)round;
	if (!sched_running)
		return;
	step();
	note_event(0);
	self->saw = others_writes(sched.current);
	self->cpu = host_cpu_save();
	self->state = SPINS;
	go_elsewhere();
	self->state = READY;
}

static void thread_main(void)
{
	unsigned int self = sched.current;

	host_enter(sched.machine, self);
	sched.test->thread(sched.test->context, self);
	host_leave();
	sched.threads[self].cpu = NULL;
	sched.threads[self].state = DONE;
	step();
	go_elsewhere();
}

/* ---- a run --------------------------------------------------------------------------------------------------------------------------- */

static void start_thread(unsigned int i)
{
	struct thread *t = &sched.threads[i];

	if (t->stack == NULL)
		t->stack = malloc(STACK_BYTES);
	if (t->stack == NULL)
		abort();
	t->state = READY;
	t->writes = 0;
	t->cpu = NULL;
	getcontext(&t->context);
	t->context.uc_stack.ss_sp = t->stack;
	t->context.uc_stack.ss_size = STACK_BYTES;
	t->context.uc_link = NULL;
	makecontext(&t->context, thread_main, 0);
}

static void run_threads(void)
{
	void (*outer_panic)(enum loam_fatal, const char *) = host_hooks.on_panic;
	volatile bool started = false;

	host_hooks.on_panic = on_panic;
	host_hooks.on_relax = on_relax;
	getcontext(&sched.explorer);
	if (!started) {
		started = true;
		sched_running = true;
		sched.current = decide((1u << sched.test->nthreads) - 1, false);
		setcontext(&sched.threads[sched.current].context);
	}
	sched_running = false;
	host_hooks.on_panic = outer_panic;
	host_hooks.on_relax = NULL;
}

static jmp_buf check_jump;

static void on_panic_in_check(enum loam_fatal kind, const char *message)
{
	(void)kind;
	fail_run(message);
	longjmp(check_jump, 1);
}

static void check(void)
{
	void (*outer_panic)(enum loam_fatal, const char *) = host_hooks.on_panic;

	host_hooks.on_panic = on_panic_in_check;
	if (setjmp(check_jump) == 0 && !sched.test->check(sched.test->context))
		fail_run("the check after the run does not hold");
	host_hooks.on_panic = outer_panic;
}

/* The threads were left where they were; their machine goes as a whole. */
static void abandon(void)
{
	host_vacate_all(sched.machine);
	if (sched.machine != sched.bare)
		host_enter(sched.machine, 0);
	if (sched.test->teardown != NULL)
		sched.test->teardown(sched.test->context);
}

static void run_once(void)
{
	const struct sched_test *test = sched.test;

	loami_witness_forget_all();
	sched.result->runs++;
	sched.at = 0;
	sched.cut = false;
	sched.trace = 0;
	memset(sched.history, 0, sizeof(sched.history));
	sched.steps = 0;
	sched.preemptions = 0;
	sched.startled = 0;
	sched.time = UINT64_C(1000000000);
	host_clock_set(sched.time);
	if (test->setup != NULL)
		test->setup(test->context);
	sched.machine = host_current() != NULL ? host_current() : sched.bare;
	host_leave();
	race_begin_run();
	for (unsigned int i = 0; i < test->nthreads; i++)
		start_thread(i);
	sched.current = test->nthreads - 1; /* so that the default begins with thread 0 */
	run_threads();
	if (sched.steps > sched.result->points)
		sched.result->points = sched.steps;
	host_cpu_load(NULL);
	if (sched.cut) {
		abandon();
	} else if (!sched.result->failed) {
		host_enter(sched.machine, 0);
		if (test->check != NULL)
			check();
		if (!sched.result->failed && test->teardown != NULL)
			test->teardown(test->context);
		if (sched.machine == sched.bare)
			host_leave();
	}
	host_clock_real();
}

/* ---- all runs ------------------------------------------------------------------------------------------------------------------------ */

/* Change the last decision that has a choice left. False when all have been made. */
static bool next_schedule(void)
{
	while (sched.ndecisions > 0) {
		struct decision *d = &sched.decisions[sched.ndecisions - 1];

		if (d->untried != 0 && (!d->preempts || d->spent < sched.bound)) {
			d->choice = (uint8_t)__builtin_ctz(d->untried);
			d->untried &= (uint8_t)(d->untried - 1);
			return true;
		}
		sched.ndecisions--;
	}
	return false;
}

/* The decisions that are not the default: "step>thread,step>thread". */
static void print_schedule(char *out, size_t nbytes)
{
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < sched.at && used + 32 < nbytes; i++) {
		const struct decision *d = &sched.decisions[i];

		if (d->choice != d->usual)
			used += (size_t)snprintf(out + used, nbytes - used, "%s%llu>%u", used == 0 ? "" : ",",
						 (unsigned long long)d->step, d->choice);
	}
	if (used == 0)
		snprintf(out, nbytes, "-");
}

static void begin(const struct sched_test *test, struct sched_result *result)
{
	if (test->nthreads == 0 || test->nthreads > SCHED_THREADS_MAX)
		host_fault("a schedule of %u threads", test->nthreads);
	*result = (struct sched_result){0};
	if (sched.bare != NULL)
		host_machine_destroy(sched.bare);
	sched.bare = host_machine_create(&(struct host_config){.ncpus = SCHED_THREADS_MAX});
	sched.test = test;
	sched.result = result;
	sched.ndecisions = 0;
	if (sched.visited == NULL)
		sched.visited = calloc(VISITED_MAX, sizeof(*sched.visited));
	if (sched.visited == NULL)
		abort();
	memset(sched.used, 0, sched.used_size * sizeof(*sched.used));
	sched.nused = 0;
}

/* All schedules with at most sched.bound preemptions. False when one failed or runs have run out. */
static bool explore_bound(void)
{
	unsigned int again = 0;

	do {
		if (again++ > AGAIN_MAX)
			host_fault("the test does not repeat itself: other addresses in every run");
		sched.grew = false;
		sched.ndecisions = 0;
		sched.exploration++;
		if (sched.nvisited > VISITED_MAX / 4) {
			memset(sched.visited, 0, VISITED_MAX * sizeof(*sched.visited));
			sched.nvisited = 0;
		}
		do {
			run_once();
			if (sched.result->failed) {
				print_schedule(sched.result->schedule, sizeof(sched.result->schedule));
				return false;
			}
			if (sched.test->max_runs != 0 && sched.result->runs >= sched.test->max_runs)
				return false;
		} while (next_schedule());
	} while (sched.grew);
	return true;
}

bool sched_explore(const struct sched_test *test, struct sched_result *result)
{
	const char *more = getenv("SCHED_PREEMPTIONS");
	unsigned int most = test->preemptions == 0            ? SCHED_PREEMPTIONS
			    : test->preemptions == SCHED_NONE ? 0
							      : test->preemptions;

	if (more != NULL)
		most = (unsigned int)strtoul(more, NULL, 10);
	begin(test, result);
	for (sched.bound = 0; sched.bound <= most; sched.bound++) {
		result->bound = sched.bound;
		if (!explore_bound())
			return !result->failed;
	}
	result->complete = true;
	return true;
}

bool sched_replay(const struct sched_test *test, const char *schedule, struct sched_result *result)
{
	begin(test, result);
	for (const char *at = schedule; *at >= '0' && *at <= '9' && sched.ndecisions < DECISIONS_MAX;) {
		char *rest;
		struct decision *d = &sched.decisions[sched.ndecisions++];

		*d = (struct decision){.step = strtoull(at, &rest, 10)};
		if (*rest != '>')
			host_fault("no schedule: %s", schedule);
		d->choice = (uint8_t)strtoul(rest + 1, &rest, 10);
		at = *rest == ',' ? rest + 1 : rest;
	}
	sched.replays = true;
	run_once();
	sched.replays = false;
	snprintf(result->schedule, sizeof(result->schedule), "%s", schedule);
	return !result->failed;
}

void sched_explore_or_fail(const char *file, int line, const struct sched_test *test)
{
	static struct sched_result result;
	const char *replay = getenv("SCHED_REPLAY");
	bool fine = replay != NULL ? sched_replay(test, replay, &result) : sched_explore(test, &result);

	if (!fine)
		tap_fail(file, line, "%s; SCHED_REPLAY='%s' (run %llu)", result.failure, result.schedule,
			 (unsigned long long)result.runs);
	if (replay == NULL && !result.complete && test->max_runs == 0)
		tap_fail(file, line, "not complete after %llu runs", (unsigned long long)result.runs);
	printf("# %llu schedules, up to %u preemptions%s, runs of up to %llu steps\n", (unsigned long long)result.runs,
	       result.bound, result.complete ? "" : " (not all)", (unsigned long long)result.points);
}
