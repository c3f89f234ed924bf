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
#if defined(__SANITIZE_THREAD__) || defined(LOAM_POINTS)
#define LOAMI_COUNT_IN_STEPS 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LOAMI_COUNT_IN_STEPS 1
#endif
#endif
#ifdef LOAMI_COUNT_IN_STEPS
#define loami_count(counter, n) loami_store_relaxed((counter), loami_load_relaxed(counter) + (n))
#else
#define loami_count(counter, n) ((void)(*(counter) += (n)))
#endif

/* A word that somebody else may write, only to compare it with: for processors that compare with memory, since the compiler loads what is atomic first. */
#ifdef LOAMI_COUNT_IN_STEPS
#define loami_glance(p) loami_load_relaxed(p)
#else
#define loami_glance(p) (*(p))
#endif

/* Busy or not, one instruction shorter where memory can be subtracted from: the word counts down from 1, and who arrives at 0 is alone. An interrupt that finds
 * it taken counts back up before it returns, so that the interrupted code never sees that it was there; the same between the halves of a subtraction. */
#define LOAMI_NEVER_IDLE 0x10000
static inline bool loami_idle_enter(uint64_t *idle)
{
#ifdef LOAMI_COUNT_IN_STEPS
	loami_count(idle, -UINT64_C(1));
	if (LOAMI_UNLIKELY(loami_load_relaxed(idle) != 0)) {
#else
	if (LOAMI_UNLIKELY(--*idle != 0)) {
#endif
		loami_compiler_barrier(); /* not the value from before, kept in a register: it need not be the same */
		loami_count(idle, 1);
		return false;
	}
	loami_compiler_barrier();
	return true;
}

/* The same by a load and a store: an instruction more, and what is stored does not wait for what was loaded. */
static inline bool loami_idle_take(uint64_t *idle)
{
	if (LOAMI_UNLIKELY(loami_load_relaxed(idle) != 1))
		return false;
	loami_store_relaxed(idle, 0);
	loami_compiler_barrier();
	return true;
}

static inline void loami_idle_leave(uint64_t *idle)
{
	loami_compiler_barrier();
	__atomic_store_n(idle, 1, __ATOMIC_RELAXED);
}

#endif
