/* ports/host/port.c: loam_port_...() for threads as CPUs. */
#include "private.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct host_hooks host_hooks;

/* ---- tier 0 ------------------------------------------------------------------------------------------------------------------- */

void loam_port_log(const char *text, size_t nbytes)
{
	unsigned long state = loam_port_irq_save();

	if (host_hooks.on_log == NULL || !host_hooks.on_log(text, nbytes)) {
		fwrite(text, 1, nbytes, stdout);
		fflush(stdout);
	}
	loam_port_irq_restore(state);
}

void loam_port_panic(enum loam_fatal kind, const char *message)
{
	struct host_cpu *cpu = host_this;

	if (cpu != NULL && cpu->catcher != NULL) {
		struct host_machine *machine = cpu->machine;

		host_lock(machine);
		if (!atomic_load(&machine->stopped)) {
			machine->panic_kind = kind;
			snprintf(machine->panic_text, sizeof(machine->panic_text), "%s", message);
			atomic_store(&machine->stopped, true);
		}
		host_unlock(machine, true);
		host_stop_here(cpu);
	}
	host_return_loan();
	if (host_this != NULL)
		host_reset_cpu(host_this);
	if (host_hooks.on_panic != NULL)
		host_hooks.on_panic(kind, message);
	fprintf(stderr, "%s: %s\n", kind == LOAM_FATAL_MISUSE ? "misuse" : "corruption", message);
	abort();
}

unsigned long loam_port_irq_save(void)
{
	struct host_cpu *cpu = host_this;
	unsigned long state;

	if (cpu == NULL)
		return 0;
	state = cpu->masked;
	cpu->masked = true;
	return state;
}

void loam_port_irq_restore(unsigned long state)
{
	struct host_cpu *cpu = host_this;

	if (cpu == NULL)
		return;
	cpu->masked = state != 0;
	if (state == 0)
		host_interrupt_point(cpu);
}

unsigned int loam_port_cpu(void)
{
	return host_this == NULL ? 0 : host_this->index;
}

/* ---- tier 1 ------------------------------------------------------------------------------------------------------------------- */

/* Two real CPUs may carry sixteen simulated ones: after a few rounds the one waited for is probably not running. */
void loam_port_relax(unsigned int round)
{
	struct host_cpu *cpu = host_this;

	if (cpu != NULL) {
		host_interrupt_point(cpu);
		host_serve_halted(cpu);
	}
	if (host_hooks.on_relax != NULL)
		host_hooks.on_relax(round);
	else if (round >= 8)
		sched_yield();
}

/* ---- tier 3 ------------------------------------------------------------------------------------------------------------------- */

struct loam_pin loam_port_pin(void)
{
	struct host_cpu *cpu = host_this;
	struct loam_pin pin = {0};

	if (cpu == NULL)
		return pin;
	if (cpu->machine->config.pin_masks)
		pin.state = loam_port_irq_save();
	else
		host_interrupt_point(cpu);
	pin.cpu = cpu->index;
	return pin;
}

void loam_port_unpin(struct loam_pin pin)
{
	struct host_cpu *cpu = host_this;

	if (cpu == NULL)
		return;
	if (cpu->machine->config.pin_masks)
		loam_port_irq_restore(pin.state);
	else
		host_interrupt_point(cpu);
}

enum loam_context loam_port_context(void)
{
	return host_this == NULL ? LOAM_CONTEXT_TASK : host_this->context;
}

void loam_port_task(struct loam_task *task)
{
	*task = host_this == NULL ? (struct loam_task){0} : host_this->task;
}

/* 0: the real one. */
static atomic_ullong simulated_clock;

void host_clock_set(uint64_t ns)
{
	atomic_store(&simulated_clock, ns == 0 ? 1 : ns);
}

void host_clock_real(void)
{
	atomic_store(&simulated_clock, 0);
}

uint64_t loam_port_time(void)
{
	uint64_t simulated = atomic_load_explicit(&simulated_clock, memory_order_relaxed);
	struct timespec now;

	if (simulated != 0)
		return simulated;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* splitmix64: what a test wants is the same numbers again. */
uint64_t loam_port_random(void)
{
	static atomic_ullong without_machine;
	atomic_ullong *state = host_this != NULL ? &host_this->machine->random : &without_machine;
	uint64_t x = atomic_fetch_add(state, UINT64_C(0x9e3779b97f4a7c15)) + UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}
