/* Threads come and go, free each other's objects, and are interrupted by signals that allocate. */
#include <tap.h>

#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

enum { SLOTS = 512, THREADS = 4, ROUNDS = 60000 };

/* Objects that whoever comes by exchanges: each is as long as its first word says, and filled with its second. */
static _Atomic(size_t *) shared[SLOTS];
static atomic_uint wrong;
/* Signals: how many have been handled, how many handlers run at this moment; and how many there must have been before a thread ends. */
static atomic_uint handled, handlers, handled_least;

static size_t *make(size_t seed)
{
	size_t nbytes = 16 + seed % ((seed & 15) == 0 ? 60000 : 700);
	size_t *object = malloc(nbytes);

	if (!object) {
		atomic_fetch_add(&wrong, 1);
		return NULL;
	}
	object[0] = nbytes;
	memset((char *)object + 8, (int)(nbytes & 0x7f), nbytes - 8);
	return object;
}

static void unmake(size_t *object)
{
	const unsigned char *bytes = (const unsigned char *)object;

	if (!object)
		return;
	for (size_t i = 8; i < object[0]; i += 1 + object[0] / 64)
		if (bytes[i] != (object[0] & 0x7f))
			atomic_fetch_add(&wrong, 1);
	free(object);
}

static void *churn(void *argument)
{
	size_t seed = (size_t)(uintptr_t)argument * 2654435761u + 1;

	for (unsigned int i = 0; i < ROUNDS || atomic_load(&handled) < atomic_load(&handled_least); i++) {
		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
		unmake(atomic_exchange(&shared[(seed >> 33) % SLOTS], make(seed >> 40)));
	}
	return NULL;
}

static void clear_shared(void)
{
	for (unsigned int i = 0; i < SLOTS; i++)
		unmake(atomic_exchange(&shared[i], NULL));
}

TEST(threads_free_each_others_objects)
{
	pthread_t threads[THREADS];

	for (size_t i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), 0);
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	clear_shared();
	CHECK_EQ(atomic_load(&wrong), 0);
}

static void *short_life(void *argument)
{
	void *objects[40];

	for (unsigned int i = 0; i < 40; i++)
		objects[i] = malloc(50 + 97 * i);
	for (unsigned int i = 0; i < 40; i++)
		free(objects[i]);
	return argument;
}

/* Runs after the malloc's own destructor, or before: either way it is served. */
static pthread_key_t late;
static void at_end(void *object)
{
	static atomic_uint again;

	free(object);
	for (unsigned int i = 0; i < 100; i++)
		free(malloc(i * 11));
	if (atomic_fetch_add(&again, 1) % 3 != 0)
		(void)pthread_setspecific(late, malloc(33));
}

static void *with_late_data(void *argument)
{
	(void)pthread_setspecific(late, malloc(77));
	return short_life(argument);
}

TEST(caches_of_threads_that_ended_are_there_for_others)
{
	size_t before, after;

	CHECK_EQ(pthread_key_create(&late, at_end), 0);
	for (unsigned int round = 0; round < 2; round++) {
		before = mallinfo2().arena;
		for (unsigned int i = 0; i < 1000; i++) {
			pthread_t thread;

			CHECK_EQ(pthread_create(&thread, NULL, i % 2 ? with_late_data : short_life, NULL), 0);
			pthread_join(thread, NULL);
		}
		after = mallinfo2().arena;
	}
	CHECK_EQ(after, before);
	pthread_key_delete(late);
}

static pthread_barrier_t barrier;
static void *all_at_once(void *argument)
{
	size_t *objects[20];

	pthread_barrier_wait(&barrier);
	for (size_t i = 0; i < 20; i++)
		objects[i] = make((size_t)(uintptr_t)argument * 131 + i);
	pthread_barrier_wait(&barrier);
	for (size_t i = 0; i < 20; i++)
		unmake(objects[i]);
	return NULL;
}

TEST(more_threads_than_places)
{
	enum { MANY = 300 };
	static pthread_t threads[MANY];
	pthread_attr_t attributes;

	CHECK_EQ(pthread_barrier_init(&barrier, NULL, MANY), 0);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 128 << 10);
	for (size_t i = 0; i < MANY; i++)
		CHECK_EQ(pthread_create(&threads[i], &attributes, all_at_once, (void *)i), 0);
	for (unsigned int i = 0; i < MANY; i++)
		pthread_join(threads[i], NULL);
	pthread_attr_destroy(&attributes);
	pthread_barrier_destroy(&barrier);
	CHECK_EQ(atomic_load(&wrong), 0);
}

static void handler(int number)
{
	static atomic_size_t seed;
	size_t x = atomic_fetch_add(&seed, 7919);

	(void)number;
	atomic_fetch_add(&handlers, 1);
	for (unsigned int i = 0; i < 6; i++) {
		size_t *object = make(x + i * 1237);

		if (object && i % 3 == 2) {
			size_t *more = realloc(object, object[0] + 500);

			object = more ? more : object;
		}
		unmake(atomic_exchange(&shared[(x + i * 31) % SLOTS], object));
	}
	atomic_fetch_add(&handled, 1);
	atomic_fetch_sub(&handlers, 1);
}

enum { SIGNALS = 4000, HANDLED = 100, NESTED = 64 };

/* A timer interrupts whoever runs, wherever it is; on top of it each thread is sent signals one in the other, no more of them at once than a stack has room for. The
 * threads go on until enough have come.
 */
TEST(signal_handlers_allocate_wherever_they_land)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART | SA_NODEFER}, old, old2;
	struct itimerval every = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
	pthread_t threads[THREADS];

	CHECK_EQ(sigaction(SIGPROF, &action, &old), 0);
	CHECK_EQ(sigaction(SIGUSR1, &action, &old2), 0);
	atomic_store(&handled, 0);
	atomic_store(&handled_least, HANDLED);
	CHECK_EQ(setitimer(ITIMER_PROF, &every, NULL), 0);
	for (size_t i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, churn, (void *)(i + 11)), 0);
	for (unsigned int i = 0; i < SIGNALS || atomic_load(&handled) < HANDLED; i++) {
		while (atomic_load(&handlers) > NESTED)
			sched_yield();
		if (i >= SIGNALS)
			sched_yield();
		(void)pthread_kill(threads[i % THREADS], SIGUSR1);
	}
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	(void)setitimer(ITIMER_PROF, &never, NULL);
	(void)sigaction(SIGPROF, &old, NULL);
	(void)sigaction(SIGUSR1, &old2, NULL);
	atomic_store(&handled_least, 0);
	clear_shared();
	CHECK(atomic_load(&handled) >= HANDLED);
	CHECK_EQ(atomic_load(&wrong), 0);
}

/* ---- a thread that only frees ------------------------------------------------------------------------------------------------------------ */

enum { HANDED = 200 };
static void *handed[HANDED];

static void *frees_what_it_was_handed(void *argument)
{
	for (unsigned int i = 0; i < HANDED; i++)
		free(handed[i]);
	/* Caches of its own hand out what came last. */
	*(void **)argument = malloc(64);
	return NULL;
}

TEST(a_thread_that_only_frees_has_caches_of_its_own)
{
	pthread_t thread;
	void *got = NULL;

	if (getenv("LOAM_PROFILE"))
		tap_skip("what was freed last waits in quarantine");
	for (unsigned int i = 0; i < HANDED; i++)
		handed[i] = malloc(64);
	CHECK_EQ(pthread_create(&thread, NULL, frees_what_it_was_handed, &got), 0);
	pthread_join(thread, NULL);
	CHECK(got == handed[HANDED - 1]);
	free(got);
}
