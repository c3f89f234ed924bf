/* tests/sched/sched.h: a deterministic scheduler: runs a few threads of a test in every order that matters.
 *
 * 1 Concepts. The threads of a test are coroutines on one real thread, each a CPU of the host machine. One runs until the explorer switches: before an atomic
 *   access (a preemption), or when it spins in loam_port_relax() or ends. Runs are enumerated depth first, with at most 0, then 1, 2 ... preemptions (iterative
 *   context bounding, Musuvathi and Qadeer 2007): most bugs need two. Each run starts afresh with @setup and ends with @check.
 * 2 How it sees. The library and the test are compiled with -fsanitize=thread and linked with this instead of the sanitizer's runtime: every atomic access with its memory
 *   order and every plain access comes by. So nothing has to be annotated.
 * 3 What it finds. A wrong result, in @check or by SCHED_CHECK; a panic; a deadlock: every thread spins and none has written since; a livelock: a run of more than
 *   SCHED_STEPS_MAX accesses; and a data race: two accesses, one of them plain, one of them a write, that no release and acquire order (vector clocks). So a release that
 *   is missing is found in whatever order the run happens to be, if the data it should have published is plain.
 * 4 What it cannot see. Runs are sequentially consistent: an atomic load never returns an older value, so a wrong order between relaxed atomics alone stays hidden, and so
 *   does a missing seq_cst (store buffering). Memory written by memset or memcpy inside of the C library is not watched where the compiler calls it directly. Frames and
 *   locks of the host machine itself are no points.
 * 5 Reduction. Only accesses to addresses that two threads have used, one of them writing, are points: a switch elsewhere changes nothing that another thread can
 *   see. The set is learnt while running; when it grows, the bound is run again. And a run ends where an earlier one has been in the same state: the same accesses
 *   with the same dependences. What is outside of the machine's memory and the watched code (files, the test's own uninstrumented state) is not part of that.
 * 6 Replay. A failure prints its schedule, e.g. "17>1,40>0": at step 17 thread 1 goes on, at step 40 thread 0, else whoever would anyway. SCHED_REPLAY=that in the environment
 *   runs just it. SCHED_PREEMPTIONS=n sets the bound of every test, to look deeper.
 */
#ifndef LOAM_TESTS_SCHED_H
#define LOAM_TESTS_SCHED_H

#include <loam/types.h>

enum { SCHED_THREADS_MAX = 8, SCHED_PREEMPTIONS = 3, SCHED_STEPS_MAX = 1000000 };

/**
 * struct sched_test - what to run.
 * @setup: before each run, on the calling thread; CHECK may be used. When it leaves the thread a CPU of a host machine (rig_create()), thread i is that
 *	machine's CPU i; else CPU i of a machine without RAM.
 * @thread: the body of thread @i of 0 .. @nthreads - 1. It may end itself by SCHED_CHECK, not by CHECK.
 * @check: after all have ended, on the calling thread as CPU 0; @teardown: last, also after a run that
 *	was cut short. Both may be NULL; neither runs after a failure.
 * @preemptions: at most so many in a run; 0 is SCHED_PREEMPTIONS, SCHED_NONE none.   @max_runs: give up after so many; 0 never.
 */
#define SCHED_NONE (~0u)
struct sched_test {
	unsigned int nthreads;
	void (*setup)(void *context);
	void (*thread)(void *context, unsigned int i);
	bool (*check)(void *context);
	void (*teardown)(void *context);
	void *context;
	unsigned int preemptions;
	uint64_t max_runs;
};

struct sched_result {
	bool failed;
	bool complete;      /* every schedule within the bound was run */
	unsigned int bound; /* the last bound that was run to its end, or failed */
	uint64_t runs;
	uint64_t pruned;    /* of them: ended where an earlier run had been in the same state */
	uint64_t points;    /* of the longest run */
	char failure[512];  /* what went wrong */
	char schedule[512]; /* how to get there again */
};

/* Run it. Return: whether nothing failed. */
bool sched_explore(const struct sched_test *test, struct sched_result *result);
/* The same inside a TEST: fails it with failure and schedule, or when the bound was not reached. */
#define SCHED_EXPLORE(test) sched_explore_or_fail(__FILE__, __LINE__, (test))
void sched_explore_or_fail(const char *file, int line, const struct sched_test *test);

/* Run one schedule again. */
bool sched_replay(const struct sched_test *test, const char *schedule, struct sched_result *result);

/* In a thread: end the run as failed. */
LOAM_NORETURN LOAM_PRINTF(1, 2) void sched_fail(const char *format, ...);
#define SCHED_CHECK(condition) ((condition) ? (void)0 : sched_fail("%s:%d: %s", __FILE__, __LINE__, #condition))

/* Which thread this is; 0 outside of a run. */
unsigned int sched_self(void);

#endif
