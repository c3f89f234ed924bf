/* Fork while other threads allocate, and a timer's handler does: the child goes on by itself. */
#include <tap.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 3, FORKS = 60 };

static atomic_bool over;

static void *busy(void *argument)
{
	void *objects[64] = {NULL};
	size_t seed = (size_t)(uintptr_t)argument;

	while (!atomic_load(&over)) {
		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
		free(objects[seed >> 58]);
		objects[seed >> 58] = malloc((seed >> 33) % ((seed & 0x700) == 0 ? 300000 : 2000));
	}
	for (unsigned int i = 0; i < 64; i++)
		free(objects[i]);
	return NULL;
}

static void handler(int number)
{
	(void)number;
	free(malloc(2000));
	free(calloc(3, 11));
}

static int child(void)
{
	pthread_t thread;

	for (size_t i = 1; i < 3000; i++) {
		char *object = malloc(i * 17 % 40000);

		if (!object)
			return 1;
		*object = 1;
		free(object);
	}
	atomic_store(&over, true);
	if (pthread_create(&thread, NULL, busy, (void *)5) != 0)
		return 2;
	pthread_join(thread, NULL);
	return 0;
}

TEST(fork_with_threads_and_signals)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART}, old;
	struct itimerval every = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
	pthread_t threads[THREADS];
	int status = 0, bad = 0;

	CHECK_EQ(sigaction(SIGPROF, &action, &old), 0);
	atomic_store(&over, false);
	for (size_t i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, busy, (void *)(i + 1)), 0);
	CHECK_EQ(setitimer(ITIMER_PROF, &every, NULL), 0);
	for (unsigned int i = 0; i < FORKS; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			alarm(1000); /* a hang is a failure */
			_exit(child());
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
			bad++;
	}
	(void)setitimer(ITIMER_PROF, &never, NULL);
	(void)sigaction(SIGPROF, &old, NULL);
	atomic_store(&over, true);
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ(bad, 0);
}

TEST(fork_of_a_fork)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		pid_t next = fork();

		if (next == 0)
			_exit(child());
		_exit(waitpid(next, &status, 0) == next && status == 0 ? child() : 9);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
}
