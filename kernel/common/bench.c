/* kernel/common/bench.c: timing without a clock.
 *
 * Under QEMU's `-icount shift=0,sleep=off` a counter of the CPU (arch_instructions()) goes up by one with each instruction, whatever the host does meanwhile: the same
 * figures on every machine and in every run. tools/bench boots the kernel that way.
 *
 * A row runs n operations twice to warm up, then counts them, and takes off what n = 0 counts. The tick is off, as its instructions would be counted. What is amortised
 * (refills, flushes, page tables that come and go) is in the figure, since n covers many of them.
 */
#include "bench.h"
#include "console.h"

/* Where all of a CPU's time is virtual, so is this: nothing but these instructions. */
#define KNOWN 1000UL

static uint64_t count_nothing(void)
{
	uint64_t start = arch_instructions();

	return arch_instructions() - start;
}

static uint64_t count_known(void)
{
	uint64_t start = arch_instructions();

	__asm__ volatile(".rept 1000\n\tnop\n\t.endr");
	return arch_instructions() - start;
}

static uint64_t count(const struct bench_row *row, unsigned long n)
{
	uint64_t start = arch_instructions();

	row->run(row->context, n);
	return arch_instructions() - start;
}

static void print(const struct bench_row *row, unsigned int ncpus, uint64_t counted, unsigned long n)
{
	uint64_t hundredths = (counted * 100 + n / 2) / n;
	char where[32] = "";

	if (ncpus > 1)
		(void)kformat(where, sizeof(where), ", on %u CPUs at once", ncpus);
	kprintf("{\"layer\": \"%s\", \"name\": \"%s%s\", \"unit\": \"instructions\", \"value\": %lu.%02lu, ",
		row->layer, row->name, where, (unsigned long)(hundredths / 100), (unsigned long)(hundredths % 100));
	if (row->at_most == 0 || ncpus > 1) {
		kprintf("\"gate\": null, \"met\": null}\n");
		return;
	}
	kprintf("\"gate\": \"<= %lu\", \"met\": ", row->at_most);
	if (hundredths <= row->at_most * 100)
		kprintf("true}\n");
	else if (row->why != NULL)
		kprintf("false, \"why\": \"%s\"}\n", row->why);
	else
		kprintf("false}\n");
}

static void run_here(void *arg)
{
	const struct bench_row *row = arg;

	row->run(row->context, row->n);
}

/* All CPUs share the counter, so this is what all of them did. One that is done waits in its idle loop, and CPU 0 in pauses. */
static uint64_t count_everywhere(struct bench_row row, unsigned long n)
{
	uint64_t start = arch_instructions();

	row.n = n;
	machine_run(run_here, &row);
	return arch_instructions() - start;
}

void bench_row(const struct bench_row *row)
{
	unsigned int ncpus = machine_cpus();

	(void)count(row, row->n);
	(void)count(row, row->n);
	print(row, 1, count(row, row->n) - count(row, 0), row->n);
	if (ncpus == 1 || !row->everywhere)
		return;
	(void)count_everywhere(*row, row->n);
	print(row, ncpus, count_everywhere(*row, row->n) - count_everywhere(*row, 0), row->n * ncpus);
}

void bench_fail(const char *what)
{
	kprintf("bench: %s was refused\n", what);
	arch_power_off(false);
}

static void stop_tick(void *arg)
{
	(void)arg;
	arch_timer_start(0);
}

unsigned int bench_run(void)
{
	machine_run(stop_tick, NULL);
	arch_instructions_init();
	(void)count_known();
	if (count_known() - count_nothing() != KNOWN) {
		kprintf("bench: %lu instructions were counted as %lu: boot with -icount shift=0,sleep=off\n", KNOWN,
			(unsigned long)(count_known() - count_nothing()));
		return 1;
	}
	bench_frames();
	bench_vmalloc();
	bench_heap();
	return 0;
}
