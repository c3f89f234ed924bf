/* base/lock.h: spin locks with ranks.
 *
 * 1 Concepts: test-and-test-and-set with the port's pause and back-off; not FIFO, because a queue collapses where virtual CPUs outnumber real
 *   ones. Interrupts are masked while a lock is held, so a holder runs on and holds for a bounded number of steps.
 * 2 Order: a CPU takes locks in rising rank only, never two of one rank. Debug builds witness it at run time, per CPU (per thread on a
 *   host, where several machines live in one process).
 * 3 No lock is held while waiting for another CPU to do anything but release a lock.
 */
#ifndef LOAMI_BASE_LOCK_H
#define LOAMI_BASE_LOCK_H

#include "atomic.h"
#include "bits.h"
#include "check.h"

/* All ranks, outermost first. A CPU that holds one may take those below it in this list. */
enum loami_rank {
	LOAMI_RANK_HEAP_REGISTRY = 1, /* list of typed caches; heap configuration */
	LOAMI_RANK_HEAP_CACHE,        /* one size class or typed cache: depot and slabs */
	LOAMI_RANK_HEAP_LARGE,        /* large objects */
	LOAMI_RANK_VMALLOC,           /* vmalloc's ring of batches and stock of frames */
	LOAMI_RANK_ARENA_CPU,         /* one CPU's slabs of areas, and what vmalloc keeps of it */
	LOAMI_RANK_ARENA_EXTENT,      /* extents and the radix */
	LOAMI_RANK_ARENA_META,        /* stock of metadata frames */
	LOAMI_RANK_PAGETABLE,         /* one page-table tree */
	LOAMI_RANK_TLB,               /* sealing of flush generations */
	LOAMI_RANK_FRAME_POLICY,      /* zones' watermarks, shrinkers, hot-plug */
	LOAMI_RANK_FRAME_CPU,         /* one CPU's magazines, when another drains them */
	LOAMI_RANK_FRAME_CHUNK,       /* one chunk of frames */
	LOAMI_RANK_FRAME_QUARANTINE,  /* quarantine queues */
	LOAMI_RANK_BOOT,              /* the pagemap, the early allocator */
	LOAMI_RANK_TRACE,             /* counters and failure records; nothing below */
	LOAMI_RANK_COUNT
};

#define LOAMI_LOCK_INIT(lock_rank) ((struct loam_lock){.word = 0, .rank = (lock_rank)})

#if LOAM_CHECKS >= LOAM_CHECKS_DEBUG
void loami_witness_lock(const struct loam_lock *lock, bool tried);
void loami_witness_unlock(const struct loam_lock *lock);
/* True when this CPU holds @lock's rank: for LOAMI_ASSERT(loami_lock_held(...)) in _locked functions. */
bool loami_lock_held(const struct loam_lock *lock);
/* True when this CPU holds any lock: it must not wait for another CPU then. */
bool loami_any_lock_held(void);
/* For tests that left a machine by longjmp: nothing is held, by this thread on a host, else by this CPU; or by any, for whoever plays all of them. */
void loami_witness_forget(void);
void loami_witness_forget_all(void);
#else
static inline void loami_witness_lock(const struct loam_lock *lock, bool tried)
{
	(void)lock;
	(void)tried;
}
static inline void loami_witness_unlock(const struct loam_lock *lock)
{
	(void)lock;
}
static inline bool loami_lock_held(const struct loam_lock *lock)
{
	(void)lock;
	return true;
}
static inline bool loami_any_lock_held(void)
{
	return false;
}
static inline void loami_witness_forget(void)
{
}
static inline void loami_witness_forget_all(void)
{
}
#endif

/* The contended part: spin until the word looks free, pausing. */
void loami_lock_wait(struct loam_lock *lock);

/* Interrupts are already masked by the caller. */
static inline void loami_lock(struct loam_lock *lock)
{
	loami_witness_lock(lock, false);
	while (LOAMI_UNLIKELY(loami_exchange_acquire(&lock->word, 1) != 0))
		loami_lock_wait(lock);
}

static inline bool loami_trylock(struct loam_lock *lock)
{
	if (loami_load_relaxed(&lock->word) != 0 || loami_exchange_acquire(&lock->word, 1) != 0)
		return false;
	loami_witness_lock(lock, true);
	return true;
}

static inline void loami_unlock(struct loam_lock *lock)
{
	loami_witness_unlock(lock);
	loami_store_release(&lock->word, 0);
}

/* Mask interrupts, then lock. Return: what loami_unlock_irq() takes. */
static inline LOAM_NODISCARD unsigned long loami_lock_irq(struct loam_lock *lock)
{
	unsigned long state = loam_port_irq_save();

	loami_lock(lock);
	return state;
}

static inline void loami_unlock_irq(struct loam_lock *lock, unsigned long state)
{
	loami_unlock(lock);
	loam_port_irq_restore(state);
}

/* Like loami_lock_irq(), but gives up at once. *@state is set only on success. */
static inline LOAM_NODISCARD bool loami_trylock_irq(struct loam_lock *lock, unsigned long *state)
{
	unsigned long saved = loam_port_irq_save();

	if (!loami_trylock(lock)) {
		loam_port_irq_restore(saved);
		return false;
	}
	*state = saved;
	return true;
}

#endif
