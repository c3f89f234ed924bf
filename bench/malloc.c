/* bench/malloc.c: libloam-malloc beside glibc, jemalloc, tcmalloc and mimalloc, each by LD_PRELOAD, on the same work in the same run.
 *
 * Every workload of malloc_work.c is run by every allocator in turn, each time in a process of its own; so are a few programs; and that several times over. The least CPU time per operation (what
 * else a machine does to a run only adds to it) and the median of peak resident memory are compared with the best peer on each workload, and their geometric means with the best single peer's. An allocator that is not installed has no part in it.
 */
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 5, WORKS_MAX = 40, ALLOCATORS = 6, LOAM = 0, HARDENED = 1, GLIBC = 2 };

static struct {
	const char *name;
	const char *library; /* NULL: the C library's */
	const char *environment;
	bool there;
} allocators[ALLOCATORS] = {
	{"loam", BENCH_MALLOC_LIBRARY, NULL, true},
	{"loam, hardened", BENCH_MALLOC_LIBRARY, "LOAM_PROFILE=hardened", true},
	{"glibc", NULL, NULL, true},
	{"jemalloc", "libjemalloc.so.2", NULL, false},
	{"tcmalloc", "libtcmalloc_minimal.so.4", NULL, false},
	{"mimalloc", "libmimalloc.so.2", NULL, false},
};

struct work {
	char name[80];
	const char *command; /* a program, by the shell; NULL: a workload */
	double ns[ALLOCATORS][ROUNDS];
	double kib[ALLOCATORS][ROUNDS];
};
static struct work works[WORKS_MAX];
static unsigned int nworks;

static const struct {
	const char *name;
	const char *command;
} programs[] = {
	{"python3 objects.py", "python3 " BENCH_PROGRAMS "/objects.py"},
	{"perl words.pl", "perl " BENCH_PROGRAMS "/words.pl"},
	{"sqlite3 work.sql", "sqlite3 :memory: < " BENCH_PROGRAMS "/work.sql"},
	{"g++ templates.cpp", "g++ -std=c++17 -O0 -S -DWIDE=100 -o /dev/null " BENCH_PROGRAMS "/templates.cpp"},
};

/* Run it with an allocator. @said: its output's first line. False: it did not end well. */
static bool run(unsigned int allocator, const struct work *work, char *said, size_t nbytes, struct rusage *usage)
{
	int ends[2], status;
	size_t n = 0;
	ssize_t got;
	pid_t child;

	if (pipe(ends) != 0)
		return false;
	child = fork();
	if (child == 0) {
		if (allocators[allocator].library)
			setenv("LD_PRELOAD", allocators[allocator].library, 1);
		if (allocators[allocator].environment)
			putenv((char *)(uintptr_t)allocators[allocator].environment);
		setenv("PYTHONHASHSEED", "0", 1);
		setenv("PERL_HASH_SEED", "0", 1);
		dup2(ends[1], STDOUT_FILENO);
		close(ends[0]);
		close(ends[1]);
		if (work->command)
			execl("/bin/sh", "sh", "-c", work->command, (char *)NULL);
		else
			execl(BENCH_MALLOC_WORK, "malloc-work", work->name, (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	for (char rest[4096]; (got = read(ends[0], n < nbytes - 1 ? said + n : rest,
					  n < nbytes - 1 ? nbytes - 1 - n : sizeof(rest))) > 0;)
		n += n < nbytes - 1 ? (size_t)got : 0;
	said[n] = '\0';
	close(ends[0]);
	return wait4(child, &status, 0, usage) == child && status == 0;
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static void measure(struct work *work, unsigned int allocator, unsigned int round)
{
	unsigned long long ns, n;
	struct rusage usage;
	char said[256];

	if (!run(allocator, work, said, sizeof(said), &usage)) {
		fprintf(stderr, "bench malloc: %s with %s did not end well\n", work->name, allocators[allocator].name);
		exit(1);
	}
	if (work->command)
		work->ns[allocator][round] = (seconds(usage.ru_utime) + seconds(usage.ru_stime)) * 1e9;
	else if (sscanf(said, "%llu %llu", &ns, &n) == 2)
		work->ns[allocator][round] = (double)ns / (double)n;
	work->kib[allocator][round] = (double)usage.ru_maxrss;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(const double *values)
{
	double sorted[ROUNDS];

	memcpy(sorted, values, sizeof(sorted));
	qsort(sorted, ROUNDS, sizeof(double), compare);
	return sorted[ROUNDS / 2];
}

static double least(const double *values)
{
	double found = values[0];

	for (unsigned int i = 1; i < ROUNDS; i++)
		found = values[i] < found ? values[i] : found;
	return found;
}

/* What stands for all rounds. */
static double time_of(const struct work *work, unsigned int allocator)
{
	return least(work->ns[allocator]);
}

static double memory_of(const struct work *work, unsigned int allocator)
{
	return median(work->kib[allocator]);
}

static bool is_peer(unsigned int allocator)
{
	return allocator >= GLIBC && allocators[allocator].there;
}

/* The peer with the least of it. */
static unsigned int best_peer(const struct work *work, double (*value)(const struct work *work, unsigned int allocator))
{
	unsigned int best = GLIBC;

	for (unsigned int a = GLIBC; a < ALLOCATORS; a++)
		if (is_peer(a) && value(work, a) < value(work, best))
			best = a;
	return best;
}

static double geometric_mean(unsigned int allocator, bool memory)
{
	double sum = 0;

	for (unsigned int w = 0; w < nworks; w++)
		sum += log(memory ? memory_of(&works[w], allocator) : time_of(&works[w], allocator));
	return exp(sum / nworks);
}

static void summary(const char *name, const char *unit, bool memory, unsigned int first_peer, double at_most)
{
	char reference[64];
	double best = 0;

	for (unsigned int a = first_peer; a < ALLOCATORS; a++) {
		double mean = is_peer(a) ? geometric_mean(a, memory) : 0;

		if (mean != 0 && (best == 0 || mean < best)) {
			best = mean;
			snprintf(reference, sizeof(reference), "%s, the best of all", allocators[a].name);
		}
	}
	if (best != 0)
		bench_figure(&(struct bench_figure){.name = name,
						    .unit = unit,
						    .value = geometric_mean(LOAM, memory),
						    .reference = reference,
						    .reference_value = best,
						    .ratio_at_most = at_most});
}

static void find_peers(void)
{
	for (unsigned int a = GLIBC + 1; a < ALLOCATORS; a++) {
		char command[200];

		snprintf(command, sizeof(command), "test -z \"$(LD_PRELOAD=%s /bin/true 2>&1)\"",
			 allocators[a].library);
		allocators[a].there = system(command) == 0;
		if (!allocators[a].there)
			fprintf(stderr, "bench malloc: %s is not installed\n", allocators[a].name);
	}
}

static void find_works(void)
{
	FILE *list = popen(BENCH_MALLOC_WORK, "r");
	char line[80];

	if (!list)
		exit(1);
	while (nworks < WORKS_MAX && fgets(line, sizeof(line), list)) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "peak", 4) != 0 && bench_wanted(line))
			snprintf(works[nworks++].name, sizeof(line), "%s", line);
	}
	pclose(list);
	for (unsigned int i = 0; i < sizeof(programs) / sizeof(programs[0]) && nworks < WORKS_MAX; i++) {
		char tool[100];

		snprintf(tool, sizeof(tool), "command -v %.*s >/dev/null", (int)strcspn(programs[i].command, " "),
			 programs[i].command);
		if (!bench_wanted(programs[i].name) || system(tool) != 0)
			continue;
		snprintf(works[nworks].name, sizeof(works[nworks].name), "%s", programs[i].name);
		works[nworks++].command = programs[i].command;
	}
}

static void rows_of(const struct work *work)
{
	unsigned int best = best_peer(work, time_of);
	char name[128];

	bench_figure(&(struct bench_figure){.name = work->name,
					    .unit = "ns",
					    .value = time_of(work, LOAM),
					    .reference = allocators[best].name,
					    .reference_value = time_of(work, best),
					    .ratio_at_most = strcmp(work->name, "pair 64 B") == 0     ? 1.1
							     : strstr(work->name, "freed by another") ? 1
												      : 1.25});
	best = best_peer(work, memory_of);
	snprintf(name, sizeof(name), "%s: peak", work->name);
	bench_figure(&(struct bench_figure){.name = name,
					    .unit = "KiB",
					    .value = memory_of(work, LOAM),
					    .reference = allocators[best].name,
					    .reference_value = memory_of(work, best)});
}

/* What each of the others has, for who wants to see it. */
static void others(void)
{
	for (unsigned int w = 0; w < nworks; w++) {
		fprintf(stderr, "%-44s", works[w].name);
		for (unsigned int a = 0; a < ALLOCATORS; a++)
			if (a < GLIBC || is_peer(a))
				fprintf(stderr, " %s %.4g (%.0f)", allocators[a].name, time_of(&works[w], a),
					memory_of(&works[w], a));
		fputc('\n', stderr);
	}
}

static void handed_back(const char *workload, const char *name, double at_least)
{
	struct work work = {.command = NULL};
	unsigned long high, after;
	struct rusage usage;
	char said[100];

	if (!bench_wanted(name))
		return;
	snprintf(work.name, sizeof(work.name), "%s", workload);
	if (run(LOAM, &work, said, sizeof(said), &usage) && sscanf(said, "%lu %lu", &high, &after) == 2)
		bench_figure(&(struct bench_figure){.name = name,
						    .unit = "%",
						    .value = 100.0 * (double)(high - after) / (double)high,
						    .at_least = at_least});
}

int main(int argc, char **argv)
{
	bench_begin("malloc", argc, argv);
	find_peers();
	find_works();
	/* One round of all after the other: what disturbs for a while disturbs one of them. */
	for (unsigned int round = 0; round < ROUNDS; round++)
		for (unsigned int w = 0; w < nworks; w++) {
			fprintf(stderr, "bench malloc: round %u of %d, %s ...\n", round + 1, ROUNDS, works[w].name);
			for (unsigned int a = 0; a < ALLOCATORS; a++) {
				unsigned int turn = (a + round) % ALLOCATORS;

				if (turn < GLIBC || is_peer(turn))
					measure(&works[w], turn, round);
			}
		}
	for (unsigned int w = 0; w < nworks; w++)
		rows_of(&works[w]);
	if (nworks > 0) {
		summary("time, geometric mean", "ns", false, GLIBC, 1.0);
		summary("peak memory, geometric mean", "KiB", true, GLIBC + 1, 1.05);
		bench_figure(&(struct bench_figure){.name = "hardened, geometric mean of time",
						    .unit = "ns",
						    .value = geometric_mean(HARDENED, false),
						    .reference = "default",
						    .reference_value = geometric_mean(LOAM, false),
						    .ratio_at_most = 1.35});
	}
	handed_back("peak", "handed back after a peak of 1 GiB", 95);
	handed_back("peak, spread", "the same, with the 1 MiB that lives spread over it", 0);
	others();
	return bench_end();
}
