/* bench/bench.h: measure a workload beside its reference and say whether a gate is met.
 *
 * A program bench/<layer>.c is a main() of this shape; tools/bench builds it for release, runs it and prints the table:
 *
 *	static void pair(void *context, uint64_t n)                     // do n operations, nothing else
 *	{
 *		for (uint64_t i = 0; i < n; i++)
 *			loam_frame_free(context, loam_frame_alloc(context, 0, NULL), 0);
 *	}
 *
 *	int main(int argc, char **argv)
 *	{
 *		bench_begin("frame", argc, argv);
 *		bench_case(&(struct bench_case){
 *			.name = "order 0, hot pair", .run = pair, .context = &frames,
 *			.reference = "classic buddy", .reference_run = buddy_pair, .reference_context = &buddy,
 *			.at_most = 12, .ratio_at_most = 1,
 *		});
 *		bench_figure(&(struct bench_figure){.name = "metadata", .unit = "B/frame", .value = 64.1, .at_most = 64.2});
 *		return bench_end();
 *	}
 *
 * A round runs the thing, then its reference; rounds alternate which goes first, and medians over the rounds are compared, so
 * that a noisy machine disturbs both alike. Time is CPU time of the whole process per operation: with threads, n is the sum of
 * what they do. Where the elapsed time is the point (throughput of two CPUs), ask for .clock = BENCH_WALL.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stdint.h>

enum bench_clock { BENCH_CPU, BENCH_WALL };

/* What is asked of a value. 0: not asked. Ratios are value / reference_value, more is value - reference_value. */
#define BENCH_GATE                                                                                                     \
	double at_most;                                                                                                \
	double at_least;                                                                                               \
	double more_at_most;                                                                                           \
	double ratio_at_most;                                                                                          \
	double ratio_at_least

/* A workload measured here. The unit is nanoseconds per operation. */
struct bench_case {
	const char *name;
	void (*run)(void *context, uint64_t n);
	void *context;
	void (*before)(void *context); /* around every round, not timed; may be NULL */
	void (*after)(void *context);

	const char *reference; /* NULL: no reference */
	void (*reference_run)(void *context, uint64_t n);
	void *reference_context;
	void (*reference_before)(void *context);
	void (*reference_after)(void *context);

	uint64_t n;           /* operations per round; 0: as many as take about 20 ms */
	uint64_t reference_n; /* the same for the reference; 0: n if that is set, else found alike */
	unsigned int rounds;  /* 0: 11 */
	enum bench_clock clock;
	const char *why; /* said under the table when the gate is missed; may be NULL */
	BENCH_GATE;
};

/* A value that comes from elsewhere: bytes, counts, percentages. */
struct bench_figure {
	const char *name;
	const char *unit;
	double value;
	const char *reference; /* NULL: no reference */
	double reference_value;
	const char *why;
	BENCH_GATE;
};

/* Start. argv[1], if given, is a part of a name: only what contains it is run. */
void bench_begin(const char *layer, int argc, char **argv);

/* Whether a row of this name would be run: to skip a costly preparation. */
bool bench_wanted(const char *name);

/* Measure and print a row. Return: the value, in nanoseconds; 0 when it is not wanted. */
double bench_case(const struct bench_case *c);

void bench_figure(const struct bench_figure *f);

/* The end; what main() returns: 0, met gates or not. A gate that is missed is a row of the table and no error. */
int bench_end(void);

/* Keep the compiler from dropping what computes @value, and from knowing what memory holds. */
static inline void bench_keep(const volatile void *value)
{
	__asm__ volatile("" : : "r"(value) : "memory");
}

/* Nanoseconds of this process's CPU time, or of the wall clock. */
uint64_t bench_now(enum bench_clock clock);

/* xorshift64*: for access orders. @state is not 0. */
static inline uint64_t bench_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * UINT64_C(0x2545f4914f6cdd1d);
}

#endif
