/* base/lock.c: the waiting side of a spin lock, and the witness of the lock order in debug builds. See lock.h. */
#include "lock.h"

void loami_lock_wait(struct loam_lock *lock)
{
	for (unsigned int round = 0; loami_load_relaxed(&lock->word) != 0; round++)
		loam_port_relax(round);
}

#if LOAM_CHECKS >= LOAM_CHECKS_DEBUG

_Static_assert(LOAMI_RANK_COUNT <= 32, "the ranks a CPU holds are one word of bits");

/* Ranks held, a bit each. On a host each simulated CPU is a thread; in a kernel only the CPU itself, with interrupts masked, touches its word. */
#ifdef LOAM_HOSTED
static _Thread_local uint32_t held_here;
static uint32_t *held_ranks(void)
{
	return &held_here;
}
#else
static uint32_t held_by_cpu[LOAM_CPUS_MAX];
static uint32_t *held_ranks(void)
{
	return &held_by_cpu[loam_port_cpu()];
}
#endif

void loami_witness_lock(const struct loam_lock *lock, bool tried)
{
	uint32_t *held = held_ranks();
	uint32_t bit;

	if (lock->rank == 0 || lock->rank >= LOAMI_RANK_COUNT)
		loami_corrupt("loam: lock %p was never initialised (rank %u)", (const void *)lock, lock->rank);
	bit = UINT32_C(1) << lock->rank;
	/* A trylock cannot deadlock, so it may go against the order; one's own lock it may not even try. */
	if (tried ? (*held & bit) != 0 : *held >= bit)
		loami_corrupt("loam: lock order: rank %u taken while holding ranks 0x%x", lock->rank, *held);
	*held |= bit;
}

void loami_witness_unlock(const struct loam_lock *lock)
{
	uint32_t *held = held_ranks();
	uint32_t bit = UINT32_C(1) << lock->rank;

	if ((*held & bit) == 0)
		loami_corrupt("loam: unlock of rank %u, which this CPU does not hold", lock->rank);
	*held &= ~bit;
}

bool loami_lock_held(const struct loam_lock *lock)
{
	return (*held_ranks() & (UINT32_C(1) << lock->rank)) != 0;
}

bool loami_any_lock_held(void)
{
	return *held_ranks() != 0;
}

void loami_witness_forget(void)
{
	*held_ranks() = 0; /* the others go on, and hold what they hold */
}

void loami_witness_forget_all(void)
{
#ifdef LOAM_HOSTED
	held_here = 0;
#else
	for (unsigned int cpu = 0; cpu < LOAM_CPUS_MAX; cpu++)
		held_by_cpu[cpu] = 0;
#endif
}

#endif
