/* base/percpu.h: pin, don't mask.
 *
 * A fast path touches only its CPU's data. It pins, then sets the CPU's busy byte for the few instructions it needs:
 *
 *	struct loam_pin pin = loam_port_pin();
 *	struct cpu *cpu = &self->cpus[pin.cpu];
 *	if (loami_busy_enter(&cpu->busy)) { ... this CPU's data ... loami_busy_leave(&cpu->busy); }
 *	else { ... an interrupt landed inside the fast path: take the shared path ... }
 *	loam_port_unpin(pin);
 *
 * Only this CPU and its interrupts touch the byte, and an interrupt returns before the interrupted code goes on; so plain loads and stores,
 * kept in place by compiler barriers, are enough, and there is no locked instruction.
 */
#ifndef LOAMI_BASE_PERCPU_H
#define LOAMI_BASE_PERCPU_H

#include "atomic.h"
#include "bits.h"

#include <loam/port.h>

static inline bool loami_busy_enter(uint8_t *busy)
{
	if (LOAMI_UNLIKELY(__atomic_load_n(busy, __ATOMIC_RELAXED) != 0))
		return false;
	__atomic_store_n(busy, 1, __ATOMIC_RELAXED);
	loami_compiler_barrier();
	return true;
}

static inline void loami_busy_leave(uint8_t *busy)
{
	loami_compiler_barrier();
	__atomic_store_n(busy, 0, __ATOMIC_RELAXED);
}

/* A counter that one CPU writes and others read: one plain add, in one instruction where memory can be added to, which nothing can tear. The thread sanitizer is
 * shown two atomic halves. */
#if defined(LOAMI_WATCHES_THREADS) || defined(LOAM_POINTS)
#define LOAMI_COUNT_IN_STEPS 1
#endif
#ifdef LOAMI_COUNT_IN_STEPS
#define loami_count(counter, n) loami_store_relaxed((counter), loami_load_relaxed(counter) + (n))
#define loami_count_down(counter) (loami_count((counter), -UINT64_C(1)), loami_load_relaxed(counter) == 0)
#else
#define loami_count(counter, n) ((void)(*(counter) += (n)))
#define loami_count_down(counter) loami_machine_count_down(counter)
#endif

/* A word that somebody else may write, only to compare it with: for processors that compare with memory, since the compiler loads what is atomic first. */
#ifdef LOAMI_COUNT_IN_STEPS
#define loami_glance(p) loami_load_relaxed(p)
#else
#define loami_glance(p) (*(p))
#endif

/* Busy or not in the fewest instructions the machine has for it: a word, which says that nobody is inside while it is loami_idle_value(). Only whoever runs on its CPU enters.
 *
 * Where memory can be subtracted from, the word counts down from 1, and who arrives at 0 is alone. An interrupt that finds it taken counts back up before it returns, so that the
 * interrupted code never sees that it was there; the same between the halves of a subtraction.
 * Elsewhere it is not 0, whatever it is otherwise, and becomes 0. An interrupt between the load and the store leaves it as it was loaded: not 0. Its own address needs no
 * instruction more when it is left. */
#ifdef LOAMI_ADDS_TO_MEMORY
#define LOAMI_NEVER_IDLE UINT64_C(0x10000)
#define loami_idle_value(word) UINT64_C(1)
#else
#define LOAMI_NEVER_IDLE UINT64_C(0)
#define loami_idle_value(word) ((uint64_t)(uintptr_t)(word))
#endif

/* By a load and a store: where memory can be subtracted from, an instruction more, and what is stored does not wait for what was loaded. */
static inline __attribute__((always_inline)) bool loami_idle_take(uint64_t *idle)
{
#ifdef LOAMI_ADDS_TO_MEMORY
	if (LOAMI_UNLIKELY(loami_load_relaxed(idle) != 1))
#else
	if (LOAMI_UNLIKELY(loami_load_relaxed(idle) == 0))
#endif
		return false;
	loami_store_relaxed(idle, 0);
	loami_compiler_barrier();
	return true;
}

static inline __attribute__((always_inline)) bool loami_idle_enter(uint64_t *idle)
{
#ifdef LOAMI_ADDS_TO_MEMORY
	if (LOAMI_UNLIKELY(!loami_count_down(idle))) {
		loami_compiler_barrier(); /* not the value from before, kept in a register: it need not be the same */
		loami_count(idle, 1);
		return false;
	}
	loami_compiler_barrier();
	return true;
#else
	return loami_idle_take(idle);
#endif
}

static inline __attribute__((always_inline)) void loami_idle_leave(uint64_t *idle)
{
	loami_compiler_barrier();
	loami_store_relaxed(idle, loami_idle_value(idle));
}

#endif
