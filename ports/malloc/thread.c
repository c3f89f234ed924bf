/* ports/malloc/thread.c: threads as CPUs: coming, going, signals, fork.
 *
 * 1 Coming. A thread takes a free place at its first slow path: its number is the thread's CPU from then on. When none is free it stays CPU 0.
 * 2 Going. A destructor of thread-specific data gives the place back. Its caches stay with it, warm, for the next thread, for up to WARM places; beyond that they are flushed.
 *   What the thread still allocates and frees after that is served under locks.
 * 3 Inside. SELF->inside is set from the start of a slow path to its end, and the place says so to others. Only who is inside takes a lock of Loam's, so a signal handler that finds the flag
 *   clear may go in: at worst it landed in a fast path, whose busy byte sends it to the shared one. One that finds it set must not.
 * 4 Fork. The gate: the forking thread closes it, then waits until nobody else is inside. Whoever enters says so first and looks at the gate second, both sequentially
 *   consistent, so one of the two sees the other. In the child all locks are free, and other threads' places are as a fast path left them: at worst one object was on its way into
 *   or out of a magazine, and is lost. They are flushed and free.
 * 5 A handler's frees are linked through their own first words; each was found live before, and is freed with all checks when the slow path ends.
 */
#include "private.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

enum thread_state { THREAD_NEW = 0, THREAD_ATTACHED, THREAD_GONE };
enum place_owner { PLACE_FREE = 0, PLACE_WARM, PLACE_OWNED };
enum { WARM = 4, FREES_AT_END = 32 };

_Thread_local struct thread loam_malloc_self;

static struct place places[PLACES];
static uint32_t places_end = 1; /* (atomic) past the highest one that ever had an owner */
static uint32_t places_owned;   /* (atomic) */
static uint32_t gate;           /* (atomic) 1: a fork is under way */
static uint32_t forker;         /* (atomic) 1: somebody wants to fork */
static pthread_key_t key;
static bool have_key;

void loam_port_relax(unsigned int round)
{
	if (round < 64) {
#if defined(__x86_64__)
		__builtin_ia32_pause();
#endif
	} else if (round < 1024) {
		sched_yield();
	} else {
		struct timespec moment = {.tv_nsec = 100000};

		nanosleep(&moment, NULL);
	}
}

/* ---- inside ------------------------------------------------------------------------------------------------------------------------ */

static void say_inside(struct place *place)
{
	if (place == &places[0])
		(void)__atomic_fetch_add(&place->inside, 1, __ATOMIC_SEQ_CST);
	else
		(void)__atomic_exchange_n(&place->inside, 1, __ATOMIC_SEQ_CST);
}

static void say_outside(struct place *place)
{
	if (place == &places[0])
		(void)__atomic_fetch_sub(&place->inside, 1, __ATOMIC_RELEASE);
	else
		__atomic_store_n(&place->inside, 0, __ATOMIC_RELEASE);
}

static struct place *own_place(void)
{
	return SELF->place ? SELF->place : &places[0];
}

bool thread_enter(void)
{
	if (SELF->inside != 0)
		return false;
	SELF->inside = 1;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	say_inside(own_place());
	while (UNLIKELY(__atomic_load_n(&gate, __ATOMIC_SEQ_CST) != 0 && !SELF->forking)) {
		say_outside(own_place());
		for (unsigned int round = 0; __atomic_load_n(&gate, __ATOMIC_ACQUIRE) != 0; round++)
			loam_port_relax(round);
		say_inside(own_place());
	}
	return true;
}

void thread_leave_for_good(void)
{
	say_outside(own_place());
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	SELF->inside = 0;
}

void thread_leave(void)
{
	thread_leave_for_good();
	while (UNLIKELY(__atomic_load_n(&SELF->deferred, __ATOMIC_RELAXED) != NULL)) {
		void *object = __atomic_exchange_n(&SELF->deferred, NULL, __ATOMIC_ACQUIRE);

		while (object) {
			void *next = *(void **)object;

			free_slow("free", object);
			object = next;
		}
	}
}

void thread_defer(void *object)
{
	void *head = __atomic_load_n(&SELF->deferred, __ATOMIC_RELAXED);

	/* Another signal may land between any two of these. */
	do
		*(void **)object = head;
	while (!__atomic_compare_exchange_n(&SELF->deferred, &head, object, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
}

/* ---- coming and going ---------------------------------------------------------------------------------------------------------------- */

static bool take_place(unsigned int number)
{
	uint32_t owner = __atomic_load_n(&places[number].owner, __ATOMIC_RELAXED);

	return owner != PLACE_OWNED && __atomic_compare_exchange_n(&places[number].owner, &owner, PLACE_OWNED, false,
								   __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* Neither fails on a CPU that there is. */
static void bring(unsigned int number, bool online)
{
	enum loam_status status = online ? loam_heap_cpu_online(HEAP, number) : loam_heap_cpu_offline(HEAP, number);

	if (status != LOAM_OK)
		report_misuse(loam_status_name(status), &places[number]);
}

static void own(unsigned int number)
{
	unsigned int end = __atomic_load_n(&places_end, __ATOMIC_RELAXED);

	(void)__atomic_fetch_add(&places_owned, 1, __ATOMIC_RELAXED);
	while (end <= number &&
	       !__atomic_compare_exchange_n(&places_end, &end, number + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		;
	bring(number, true);
	say_inside(&places[number]);
	SELF->place = &places[number];
	say_outside(&places[0]);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	SELF->cpu = number;
	SELF->part = loam_heap_part(HEAP, number);
	SELF->state = THREAD_ATTACHED;
}

void thread_attach(void)
{
	unsigned int number = 1;

	if (LIKELY(SELF->state != THREAD_NEW) || !have_key ||
	    __atomic_load_n(&places_owned, __ATOMIC_RELAXED) >= PLACES - 1 || !thread_enter())
		return;
	while (number < PLACES && !take_place(number))
		number++;
	if (number < PLACES)
		own(number);
	thread_leave();
	/* May allocate, where the program has many keys. Without it the place is never given back. */
	if (SELF->place)
		(void)pthread_setspecific(key, SELF->place);
}

void thread_attach_to_free(void)
{
	if (UNLIKELY(SELF->state == THREAD_NEW) && SELF->turns >= FREES_AT_END)
		thread_attach();
}

static unsigned int count_warm(void)
{
	unsigned int end = __atomic_load_n(&places_end, __ATOMIC_ACQUIRE), n = 0;

	for (unsigned int i = 1; i < end; i++)
		n += __atomic_load_n(&places[i].owner, __ATOMIC_RELAXED) == PLACE_WARM;
	return n;
}

/* The end of a thread. */
static void detach(void *argument)
{
	struct place *place = argument;
	unsigned int number = (unsigned int)(place - places);
	bool warm = count_warm() < WARM;

	if (SELF->place != place || !thread_enter())
		return;
	if (!warm)
		bring(number, false);
	SELF->part = NULL;
	SELF->state = THREAD_GONE;
	SELF->cpu = 0;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	say_inside(&places[0]);
	SELF->place = NULL;
	say_outside(place);
	(void)__atomic_fetch_sub(&places_owned, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&place->owner, warm ? PLACE_WARM : PLACE_FREE, __ATOMIC_RELEASE);
	thread_leave();
}

unsigned int thread_flush_idle(void)
{
	unsigned int end = __atomic_load_n(&places_end, __ATOMIC_ACQUIRE), n = 0;

	for (unsigned int i = 1; i < end; i++) {
		uint32_t owner = PLACE_WARM;

		if (!__atomic_compare_exchange_n(&places[i].owner, &owner, PLACE_OWNED, false, __ATOMIC_ACQ_REL,
						 __ATOMIC_RELAXED))
			continue;
		bring(i, false);
		__atomic_store_n(&places[i].owner, PLACE_FREE, __ATOMIC_RELEASE);
		n++;
	}
	return n;
}

/* ---- fork ------------------------------------------------------------------------------------------------------------------------------- */

static void before_fork(void)
{
	for (unsigned int round = 0; __atomic_exchange_n(&forker, 1, __ATOMIC_ACQUIRE) != 0; round++)
		loam_port_relax(round);
	SELF->forking = true;
	__atomic_store_n(&gate, 1, __ATOMIC_SEQ_CST);
	for (unsigned int i = 0; i < PLACES; i++) {
		/* This thread may be inside itself, if a signal handler forks. */
		uint32_t own = own_place() == &places[i] && SELF->inside != 0;

		if (i != 0 && i >= __atomic_load_n(&places_end, __ATOMIC_SEQ_CST))
			break;
		for (unsigned int round = 0; __atomic_load_n(&places[i].inside, __ATOMIC_SEQ_CST) != own; round++)
			loam_port_relax(round);
	}
}

static void open_gate(void)
{
	/* In this order: a signal handler of this thread must not find the gate closed and itself no forker. */
	__atomic_store_n(&gate, 0, __ATOMIC_SEQ_CST);
	SELF->forking = false;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	__atomic_store_n(&forker, 0, __ATOMIC_RELEASE);
}

static void after_fork_child(void)
{
	for (unsigned int i = 1; i < places_end; i++) {
		if (&places[i] == SELF->place || places[i].owner == PLACE_FREE)
			continue;
		/* In a signal handler that landed inside, no lock may be taken: then what they parked stays there until the place is taken again. */
		if (SELF->inside == 0)
			bring(i, false);
		places[i].owner = SELF->inside == 0 ? PLACE_FREE : PLACE_WARM;
	}
	places_owned = SELF->place != NULL;
	open_gate();
}

static void register_fork(void) __attribute__((constructor));
static void register_fork(void)
{
	(void)memory_ready();
	(void)pthread_atfork(before_fork, open_gate, after_fork_child);
}

void thread_setup(void)
{
	have_key = pthread_key_create(&key, detach) == 0;
}
