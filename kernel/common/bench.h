/* kernel/common/bench.h: counts of instructions per operation, taken by the command line `bench` on a machine whose counter counts them. */
#ifndef KERNEL_BENCH_H
#define KERNEL_BENCH_H

#include "kernel.h"

struct bench_row {
	const char *layer;
	const char *name;
	void (*run)(const void *context, unsigned long n); /* do n operations, nothing else */
	const void *context;
	unsigned long n;       /* operations that are counted, after as many again to warm up */
	unsigned long at_most; /* instructions an operation may take; 0: not asked */
	const char *why;       /* said where that is missed */
	bool everywhere;       /* @run may run on several CPUs at once: where there are several, count that too */
};

/** bench_row() - count, and print the row as one line of JSON: the keys are those of bench/bench.h, tools/bench adds the reference. */
void bench_row(const struct bench_row *row);

/** bench_fail() - a row cannot be measured: an operation was refused. The run ends as a failure. */
LOAM_NORETURN void bench_fail(const char *what);

/** bench_run() - the command line `bench`: every row. Return: how many things went wrong. */
unsigned int bench_run(void);

void bench_frames(void);
void bench_vmalloc(void);
void bench_heap(void);

#endif
