/* tests/sched/internal.h: between explorer, race detector and the instrumentation's runtime. */
#ifndef LOAM_TESTS_SCHED_INTERNAL_H
#define LOAM_TESTS_SCHED_INTERNAL_H

#include "sched.h"

/* True between the first thread's start and the last one's end. */
extern bool sched_running;
static inline bool sched_is_running(void)
{
	return sched_running;
}

/* An atomic access comes: other threads may run first. */
void sched_before_atomic(const volatile void *where, bool is_write);
/* It is done. @changed: memory is not what it was, so who spins may look again. */
void sched_after_atomic(const volatile void *where, bool is_write, bool changed);

/* ---- race.c: vector clocks ------------------------------------------------------------------------------------------------- */

void race_begin_run(void);
/* @pc: the code that did it. Ends the run when the access is unordered with an earlier one. */
void race_plain(const volatile void *where, size_t nbytes, bool is_write, const void *pc);
enum race_order { RACE_RELAXED = 0, RACE_ACQUIRE = 1, RACE_RELEASE = 2, RACE_BOTH = 3 };
enum race_kind { RACE_LOAD, RACE_STORE, RACE_UPDATE };
void race_atomic(const volatile void *where, size_t nbytes, enum race_kind kind, enum race_order order, const void *pc);

#endif
