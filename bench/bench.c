/* bench/bench.c: rounds, medians and rows. Rows go to stdout, one JSON object a line; progress goes to stderr. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS_DEFAULT 11
#define ROUNDS_MAX 1001
#define ROUND_NS 20000000.0
#define N_MAX (UINT64_C(1) << 40)

static struct {
	const char *layer;
	const char *only;
} bench;

struct side {
	void (*run)(void *context, uint64_t n);
	void *context;
	void (*before)(void *context);
	void (*after)(void *context);
	uint64_t n;
	double ns[ROUNDS_MAX];
};

uint64_t bench_now(enum bench_clock clock)
{
	struct timespec t;

	clock_gettime(clock == BENCH_WALL ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void bench_begin(const char *layer, int argc, char **argv)
{
	bench.layer = layer;
	bench.only = argc > 1 ? argv[1] : NULL;
}

bool bench_wanted(const char *name)
{
	return !bench.only || strstr(name, bench.only);
}

int bench_end(void)
{
	return fflush(stdout) == 0 ? 0 : 1;
}

static double one_round(const struct side *side, uint64_t n, enum bench_clock clock)
{
	uint64_t start, end;

	if (side->before)
		side->before(side->context);
	start = bench_now(clock);
	side->run(side->context, n);
	end = bench_now(clock);
	if (side->after)
		side->after(side->context);
	return (double)(end - start);
}

/* Double n until a round is long enough to be measured, then scale it to ROUND_NS. Also warms up. A workload that the compiler
 * has removed ends at N_MAX. */
static uint64_t calibrate(const struct side *side, enum bench_clock clock)
{
	for (uint64_t n = 16;; n *= 2) {
		double ns = one_round(side, n, clock);

		if (ns >= ROUND_NS / 4 || n >= N_MAX)
			return (uint64_t)((double)n * ROUND_NS / (ns + 1)) + 1;
	}
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, unsigned int count)
{
	qsort(values, count, sizeof *values, compare);
	return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static void put_string(const char *s)
{
	if (!s) {
		fputs("null", stdout);
		return;
	}
	putchar('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			putchar('\\');
		putchar(*s);
	}
	putchar('"');
}

/* Append one bound to the gate's text; clear *met when it does not hold. */
static void bound(char *gate, size_t size, bool *met, const char *what, const char *sign, double limit, bool holds)
{
	size_t used = strlen(gate);

	if (limit == 0)
		return;
	snprintf(gate + used, size - used, "%s%s%s %g", used ? ", " : "", what, sign, limit);
	*met = *met && holds;
}

void bench_figure(const struct bench_figure *f)
{
	double ratio = f->reference && f->reference_value != 0 ? f->value / f->reference_value : 0;
	char gate[160] = "";
	bool met = true;

	if (!bench_wanted(f->name))
		return;
	bound(gate, sizeof gate, &met, "", "<=", f->at_most, f->value <= f->at_most);
	bound(gate, sizeof gate, &met, "", ">=", f->at_least, f->value >= f->at_least);
	bound(gate, sizeof gate, &met, "more by ", "<=", f->more_at_most,
	      f->reference && f->value - f->reference_value <= f->more_at_most);
	bound(gate, sizeof gate, &met, "ratio ", "<=", f->ratio_at_most, ratio != 0 && ratio <= f->ratio_at_most);
	bound(gate, sizeof gate, &met, "ratio ", ">=", f->ratio_at_least, ratio >= f->ratio_at_least);

	fputs("{\"layer\": ", stdout);
	put_string(bench.layer);
	fputs(", \"name\": ", stdout);
	put_string(f->name);
	fputs(", \"unit\": ", stdout);
	put_string(f->unit);
	printf(", \"value\": %.6g, \"reference\": ", f->value);
	put_string(f->reference);
	if (f->reference)
		printf(", \"reference_value\": %.6g, ", f->reference_value);
	else
		printf(", \"reference_value\": null, ");
	if (ratio != 0)
		printf("\"ratio\": %.4g", ratio);
	else
		printf("\"ratio\": null");
	fputs(", \"gate\": ", stdout);
	put_string(gate[0] ? gate : NULL);
	printf(", \"met\": %s", !gate[0] ? "null" : met ? "true" : "false");
	if (!met && f->why) {
		fputs(", \"why\": ", stdout);
		put_string(f->why);
	}
	puts("}");
	fflush(stdout);
}

double bench_case(const struct bench_case *c)
{
	static struct side thing, reference;
	unsigned int rounds = c->rounds ? c->rounds : ROUNDS_DEFAULT;
	struct bench_figure figure = {.name = c->name, .unit = "ns", .reference = c->reference, .why = c->why};

	if (!bench_wanted(c->name))
		return 0;
	if (rounds > ROUNDS_MAX)
		rounds = ROUNDS_MAX;
	fprintf(stderr, "bench %s: %s ...\n", bench.layer, c->name);

	thing = (struct side){.run = c->run, .context = c->context, .before = c->before, .after = c->after};
	thing.n = c->n ? c->n : calibrate(&thing, c->clock);
	reference = (struct side){.run = c->reference_run, .context = c->reference_context};
	if (c->reference) {
		reference.before = c->reference_before;
		reference.after = c->reference_after;
		reference.n = c->reference_n ? c->reference_n : c->n ? c->n : calibrate(&reference, c->clock);
	}

	for (unsigned int round = 0; round < rounds; round++) {
		for (unsigned int turn = 0; turn < 2; turn++) {
			struct side *side = (round + turn) % 2 ? &reference : &thing;

			if (side->run)
				side->ns[round] = one_round(side, side->n, c->clock) / (double)side->n;
		}
	}

	figure.value = median(thing.ns, rounds);
	if (c->reference)
		figure.reference_value = median(reference.ns, rounds);
	figure.at_most = c->at_most;
	figure.at_least = c->at_least;
	figure.more_at_most = c->more_at_most;
	figure.ratio_at_most = c->ratio_at_most;
	figure.ratio_at_least = c->ratio_at_least;
	bench_figure(&figure);
	return figure.value;
}
