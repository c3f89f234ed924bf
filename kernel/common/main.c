/* kernel/common/main.c: the order in which a machine comes to life. */
#include "bench.h"
#include "console.h"
#include "cpu.h"
#include "held.h"
#include "kernel.h"
#include "tour.h"

/* The first CPU's structure and trap stack until Loam gives it others. */
static struct cpu first_cpu;
static char first_trap_stack[4096] __attribute__((aligned(16)));

static void begin(void)
{
	for (unsigned int i = 0; i < ARCH_TRAP_STACKS; i++)
		first_cpu.arch.trap_stack[i] = first_trap_stack + sizeof(first_trap_stack);
	cpus = &first_cpu;
	arch_console_init();
	arch_cpu_load(&first_cpu);
}

/* The decimal number behind @name, "seconds="; @otherwise where it does not stand there. */
static unsigned int decimal(const char *line, const char *name, unsigned int otherwise)
{
	const char *at = words_find(line, name, 0);
	unsigned int number = 0;

	if (at == NULL)
		return otherwise;
	for (; *at >= '0' && *at <= '9' && number < 1000000; at++)
		number = number * 10 + (unsigned int)(*at - '0');
	return number;
}

static unsigned int torture(const char *line)
{
	static const char *const faults[] = {"",           "fault=leak",    "fault=scribble", "fault=silent",
					     "fault=deaf", "fault=endless", "fault=small"};
	struct torture_options options = {
		.seconds = decimal(line, "seconds=", 60),
		.leaves = decimal(line, "leaves=", 0),
		.silence = decimal(line, "silence=", 5),
		.hz = decimal(line, "hz=", TORTURE_HZ),
		.rate = decimal(line, "rate=", 0),
		.seed = decimal(line, "seed=", 1),
	};

	for (unsigned int i = 1; i < sizeof(faults) / sizeof(faults[0]); i++)
		if (words_find(line, faults[i], 0) != NULL)
			options.fault = (enum torture_fault)i;
	kprintf("\nTorture for %u s, seed %lu\n", options.seconds, (unsigned long)options.seed);
	return torture_run(&options);
}

/* `test`, or `test=PART`. */
static unsigned int test(const char *line)
{
	const char *part = words_find(line, "test=", 0);
	char filter[64] = "";

	for (size_t i = 0; part != NULL && i + 1 < sizeof(filter) && part[i] != '\0' && part[i] != ' '; i++)
		filter[i] = part[i];
	return kernel_test != NULL ? kernel_test(filter) : 1;
}

/* The rest of life, on a stack from Loam. @arg: the command line. */
static void live(void *arg)
{
	const char *line = arg;
	unsigned int online = smp_start();
	unsigned int failures = 0;

	arch_irq_enable();
	machine_ticks(0, NULL);
	kprintf("   %u of %u CPU%s up\n", online, cpu_count, cpu_count == 1 ? "" : "s");
	failures += online != cpu_count;
	if (words_find(line, "test", 0) != NULL || words_find(line, "test=", 0) != NULL) {
		failures += test(line);
	} else if (words_find(line, "crash=", 0) != NULL) {
		shell_crash(words_find(line, "crash=", 0));
		failures++;
	} else if (words_find(line, "bench", 0) != NULL) {
		failures += bench_run();
	} else if (words_find(line, "torture", 0) != NULL) {
		failures += torture(line);
	} else {
		failures += tour_run();
		if (words_find(line, "shell", 0) != NULL)
			failures += shell_run();
		failures += held_check(line);
		failures += tour_end();
	}
	arch_power_off(failures == 0);
}

void kernel_main(void)
{
	struct arch_firmware firmware;

	begin();
	arch_firmware_read(&firmware);
	kprintf("Loam reference kernel, " ARCH_NAME ", %u CPU%s: %s\n", firmware.ncpus, firmware.ncpus == 1 ? "" : "s",
		arch_cpu_name());
	char *line = memory_init(&firmware);
	arch_call_on_stack(live, line, cpus[0].stack_top);
	arch_power_off(false);
}

void kernel_secondary_main(struct cpu *cpu)
{
	memory_cpu_online();
	machine_tick_here();
	__atomic_store_n(&cpu->online, true, __ATOMIC_RELEASE);
	smp_idle();
}
