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

#endif
