/* kernel/common/machine.c: machine.h on real CPUs. machine_run() is in smp.c, machine_try() in panic.c. */
#include "cpu.h"
#include "kernel.h"

/* What a CPU ticks at when nobody asks for more: the shell looks for typed bytes that often. */
#define HZ 100

unsigned int machine_cpus_all(void)
{
	return cpu_count;
}

bool machine_is_online(unsigned int cpu)
{
	return __atomic_load_n(&cpus[cpu].online, __ATOMIC_ACQUIRE);
}

unsigned int machine_cpus(void)
{
	unsigned int online = 0;

	for (unsigned int i = 0; i < cpu_count; i++)
		online += machine_is_online(i);
	return online;
}

/* Behind the kernel's own arena there is nothing, and at least a page is left between. */
uintptr_t machine_arena(size_t nbytes)
{
	struct loam_vmalloc_stats stats;

	(void)nbytes;
	if (loam_vmalloc_read_stats(kernel_system.vm, &stats) != LOAM_OK)
		return 0;
	return (stats.arena_end + ((uintptr_t)1 << 30)) & ~(((uintptr_t)1 << 21) - 1);
}

void machine_silent(unsigned int cpu, const char *text)
{
	kernel_silent(cpu, text);
}

/* Asked by a library that was built for it: often, by every CPU, in every context. */
static bool (*failure_hook)(unsigned int kind);

bool loam_port_fail(enum loam_fail_kind kind)
{
	bool (*hook)(unsigned int kind) = __atomic_load_n(&failure_hook, __ATOMIC_ACQUIRE);

	return hook != NULL && hook((unsigned int)kind);
}

bool machine_fail(bool (*hook)(unsigned int kind))
{
	__atomic_store_n(&failure_hook, hook, __ATOMIC_RELEASE);
#ifdef LOAM_FAILURES
	return true;
#else
	return false;
#endif
}

uint64_t machine_load(uintptr_t address)
{
	return *(const volatile uint64_t *)address;
}

void machine_store(uintptr_t address, uint64_t value)
{
	*(volatile uint64_t *)address = value;
}

void machine_execute(uintptr_t address)
{
	void (*code)(void);

	memcpy(&code, &address, sizeof(code));
	code();
}

void machine_run_on_stack(void (*function)(void *arg), void *arg, void *top)
{
	arch_call_on_stack(function, arg, top);
}

/* Each level uses some stack and needs what the next one returns, so that no compiler makes a loop of it. */
static __attribute__((noinline)) uintptr_t use_stack(volatile uintptr_t *outer)
{
	volatile uintptr_t words[32];

	words[0] = (uintptr_t)outer;
	if (*outer == 0)
		return 0;
	return use_stack(words) + words[0];
}

static void overflow(void *arg)
{
	volatile uintptr_t start = 1;

	(void)arg;
	(void)use_stack(&start);
}

void machine_overflow(void *top)
{
	arch_call_on_stack(overflow, NULL, top);
}

static unsigned int rate; /* 0: nobody ticks yet */

unsigned int machine_tick_rate(void)
{
	return rate != 0 ? rate : HZ;
}

void machine_tick_here(void)
{
	if (rate != 0)
		arch_timer_start(rate);
}

static void start_timer(void *arg)
{
	(void)arg;
	machine_tick_here();
}

void machine_ticks(unsigned int hz, void (*hook)(bool poked))
{
	rate = hz == 0 ? HZ : hz;
	kernel_set_tick_hook(hook);
	machine_run(start_timer, NULL);
}

void machine_name_task(const struct loam_task *task)
{
	arch_this_cpu()->task = *task;
}
