/* ports/host/machine.c: RAM as a window, CPUs as threads.
 *
 * A CPU is a role, not a thread: one thread at a time occupies it. host_enter() occupies it by the calling thread; work sent to a CPU that has no
 * thread gives it one, which occupies the CPU while it works and waits, unoccupied, in between.
 */
#include "private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

_Thread_local struct host_cpu *host_this;

static LOAM_NORETURN void give_up(const char *what)
{
	perror(what);
	abort();
}

void host_fault(const char *format, ...)
{
	char text[HOST_PANIC_BYTES];
	va_list args;
	int used = snprintf(text, sizeof(text), "host: ");

	va_start(args, format);
	vsnprintf(text + used, sizeof(text) - (size_t)used, format, args);
	va_end(args);
	loam_port_panic(LOAM_FATAL_CORRUPT, text);
}

/* ---- RAM -------------------------------------------------------------------------------------------------------------------- */

static bool has_ram(const struct loam_region *region)
{
	return region->type != LOAM_REGION_DEVICE;
}

static void map_ram(struct host_machine *machine)
{
	const struct loam_region *regions = machine->regions;
	loam_paddr end = 0;

	machine->base = LOAM_PADDR_NONE;
	for (size_t i = 0; i < machine->config.nregions; i++) {
		if ((regions[i].base | regions[i].nbytes) % LOAM_PAGE_SIZE != 0 || regions[i].nbytes == 0)
			host_fault("region %zu is not whole pages", i);
		if (!has_ram(&regions[i]))
			continue;
		if (regions[i].base < machine->base)
			machine->base = regions[i].base;
		if (regions[i].base + regions[i].nbytes > end)
			end = regions[i].base + regions[i].nbytes;
	}
	if (end == 0)
		machine->base = 0;
	machine->span = end - machine->base;

	/* Everything is a hole first. A page more, so that a machine without RAM has a window too, and running off the end is a fault. */
	machine->window = mmap(NULL, machine->span + LOAM_PAGE_SIZE, PROT_NONE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (machine->window == MAP_FAILED)
		give_up("host: address space for RAM");
	machine->file = -1;
	if (!machine->config.anonymous) {
		machine->file = memfd_create("loam-ram", MFD_CLOEXEC);
		if (machine->file < 0 || ftruncate(machine->file, (off_t)machine->span) != 0)
			give_up("host: memory file");
	}
	for (size_t i = 0; i < machine->config.nregions; i++) {
		uint64_t offset = regions[i].base - machine->base;
		int flags = machine->file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;

		if (!has_ram(&regions[i]))
			continue;
		if (mmap(machine->window + offset, regions[i].nbytes, PROT_READ | PROT_WRITE,
			 flags | MAP_FIXED | MAP_NORESERVE, machine->file,
			 machine->file < 0 ? 0 : (off_t)offset) == MAP_FAILED)
			give_up("host: RAM");
	}
}

uintptr_t host_direct_map(const struct host_machine *machine)
{
	return (uintptr_t)machine->window - machine->base;
}

bool host_is_ram(const struct host_machine *machine, loam_paddr address, uint64_t nbytes)
{
	for (size_t i = 0; i < machine->config.nregions; i++) {
		const struct loam_region *r = &machine->regions[i];

		if (has_ram(r) && address >= r->base && address - r->base < r->nbytes &&
		    nbytes <= r->nbytes - (address - r->base))
			return true;
	}
	return false;
}

void *host_ram(const struct host_machine *machine, loam_paddr address)
{
	if (!host_is_ram(machine, address, 1))
		host_fault("no RAM at 0x%llx", (unsigned long long)address);
	return machine->window + (address - machine->base);
}

/* ---- the machine -------------------------------------------------------------------------------------------------------------- */

struct host_machine *host_machine_create(const struct host_config *config)
{
	struct host_machine *machine = calloc(1, sizeof(*machine));

	if (machine == NULL)
		give_up("host: machine");
	if (config->ncpus > LOAM_CPUS_MAX)
		host_fault("%u CPUs, at most %u", config->ncpus, LOAM_CPUS_MAX);
	machine->config = *config;
	machine->ncpus = config->ncpus == 0 ? 1 : config->ncpus;
	machine->cpus = aligned_alloc(LOAM_CPU_ALIGN, (sizeof(*machine->cpus) * machine->ncpus + LOAM_CPU_ALIGN - 1) /
							      LOAM_CPU_ALIGN * LOAM_CPU_ALIGN);
	machine->regions = calloc(config->nregions + 1, sizeof(*machine->regions));
	if (machine->cpus == NULL || machine->regions == NULL)
		give_up("host: machine");
	memset(machine->cpus, 0, sizeof(*machine->cpus) * machine->ncpus);
	if (config->nregions > 0)
		memcpy(machine->regions, config->regions, config->nregions * sizeof(*machine->regions));
	pthread_mutex_init(&machine->lock, NULL);
	pthread_cond_init(&machine->changed, NULL);
	for (unsigned int i = 0; i < machine->ncpus; i++) {
		machine->cpus[i].machine = machine;
		machine->cpus[i].index = i;
		host_tlb_create(&machine->cpus[i]);
	}
	atomic_store(&machine->random, config->seed);
	map_ram(machine);
	return machine;
}

void host_machine_destroy(struct host_machine *machine)
{
	if (host_this != NULL && host_this->machine == machine)
		host_leave();
	for (unsigned int i = 0; i < machine->ncpus; i++) {
		struct host_cpu *cpu = &machine->cpus[i];
		bool has_thread;

		pthread_mutex_lock(&machine->lock);
		cpu->quit = true;
		has_thread = cpu->has_thread;
		pthread_cond_broadcast(&machine->changed);
		pthread_mutex_unlock(&machine->lock);
		if (has_thread)
			pthread_join(cpu->thread, NULL);
		host_tlb_destroy(cpu);
	}
	host_window_destroy_all(machine);
	munmap(machine->window, machine->span + LOAM_PAGE_SIZE);
	if (machine->file >= 0)
		close(machine->file);
	pthread_cond_destroy(&machine->changed);
	pthread_mutex_destroy(&machine->lock);
	free(machine->regions);
	free(machine->cpus);
	free(machine);
}

unsigned int host_ncpus(const struct host_machine *machine)
{
	return machine->ncpus;
}

/* ---- being a CPU ---------------------------------------------------------------------------------------------------------------- */

void host_reset_cpu(struct host_cpu *cpu)
{
	cpu->context = LOAM_CONTEXT_TASK;
	cpu->depth = 0;
	cpu->armed_at = 0;
	cpu->masked = false;
}

void host_occupy_locked(struct host_cpu *cpu)
{
	while (cpu->occupied)
		pthread_cond_wait(&cpu->machine->changed, &cpu->machine->lock);
	cpu->occupied = true;
	cpu->occupant = pthread_self();
	host_reset_cpu(cpu);
	cpu->masked = true; /* a late signal must not run a handler under the machine's lock */
	host_this = cpu;
}

void host_vacate_locked(struct host_cpu *cpu)
{
	cpu->occupied = false;
	cpu->catcher = NULL;
	host_this = NULL;
	pthread_cond_broadcast(&cpu->machine->changed);
}

void host_enter(struct host_machine *machine, unsigned int cpu)
{
	if (cpu >= machine->ncpus)
		host_fault("no CPU %u", cpu);
	host_leave();
	host_window_thread();
	pthread_mutex_lock(&machine->lock);
	host_occupy_locked(&machine->cpus[cpu]);
	pthread_mutex_unlock(&machine->lock);
	host_this->masked = false;
	host_deliver(host_this);
}

void host_leave(void)
{
	struct host_cpu *cpu = host_this;

	if (cpu == NULL)
		return;
	cpu->masked = true;
	pthread_mutex_lock(&cpu->machine->lock);
	host_vacate_locked(cpu);
	pthread_mutex_unlock(&cpu->machine->lock);
}

struct host_machine *host_current(void)
{
	return host_this == NULL ? NULL : host_this->machine;
}

void *host_cpu_save(void)
{
	return host_this;
}

void host_cpu_load(void *cpu)
{
	host_this = cpu;
}

void host_vacate_all(struct host_machine *machine)
{
	host_this = NULL;
	pthread_mutex_lock(&machine->lock);
	for (unsigned int i = 0; i < machine->ncpus; i++) {
		machine->cpus[i].occupied = false;
		machine->cpus[i].catcher = NULL;
		machine->cpus[i].lender = NULL;
		atomic_store(&machine->cpus[i].npending, 0);
	}
	pthread_mutex_unlock(&machine->lock);
}

bool host_cpu_is_interrupted(const void *cpu)
{
	return cpu != NULL && host_has_interrupt(cpu);
}

void host_set_task(const struct loam_task *task)
{
	if (host_this == NULL)
		host_fault("host_set_task() on a thread that is no CPU");
	host_this->task = *task;
}

/* ---- work --------------------------------------------------------------------------------------------------------------------------- */

/* Run @fn on this CPU; a panic in it, or anywhere else on the machine, ends it here. */
static void run_caught(struct host_cpu *cpu, host_fn fn, void *arg)
{
	jmp_buf here;
	jmp_buf *outer = cpu->catcher;

	if (setjmp(here) == 0) {
		cpu->catcher = &here;
		fn(arg);
	}
	host_return_loan();
	cpu->catcher = outer;
	host_reset_cpu(cpu);
}

void host_stop_here(struct host_cpu *cpu)
{
	if (cpu->catcher != NULL)
		longjmp(*cpu->catcher, 1);
}

/* What a CPU's own thread was woken for: interrupts, work or both. */
static void wake(void *arg)
{
	struct host_interrupt *job = arg;

	host_deliver(host_this);
	if (job->fn != NULL)
		job->fn(job->arg);
}

static void *cpu_thread(void *arg)
{
	struct host_cpu *cpu = arg;
	struct host_machine *machine = cpu->machine;

	host_window_thread();
	pthread_mutex_lock(&machine->lock);
	while (!cpu->quit) {
		if (cpu->work == NULL && (cpu->occupied || !host_has_interrupt(cpu))) {
			pthread_cond_wait(&machine->changed, &machine->lock);
			continue;
		}
		struct host_interrupt job;

		host_occupy_locked(cpu);
		job = (struct host_interrupt){cpu->work, cpu->work_arg};
		pthread_mutex_unlock(&machine->lock);
		cpu->masked = false;
		run_caught(cpu, wake, &job);
		cpu->masked = true;
		pthread_mutex_lock(&machine->lock);
		if (job.fn != NULL)
			cpu->work = NULL;
		host_vacate_locked(cpu);
	}
	pthread_mutex_unlock(&machine->lock);
	host_window_thread_ends();
	return NULL;
}

static void wait_idle(struct host_cpu *cpu)
{
	struct host_machine *machine = cpu->machine;
	bool masked = host_lock(machine);

	while (cpu->work != NULL) {
		if (!masked && host_this != NULL && host_has_interrupt(host_this)) {
			host_unlock(machine, masked);
			host_deliver(host_this);
			masked = host_lock(machine);
			continue;
		}
		pthread_cond_wait(&machine->changed, &machine->lock);
	}
	host_unlock(machine, masked);
}

void host_send(struct host_machine *machine, unsigned int cpu_index, host_fn fn, void *arg)
{
	struct host_cpu *cpu;
	bool masked;

	if (cpu_index >= machine->ncpus || &machine->cpus[cpu_index] == host_this)
		host_fault("CPU %u cannot be sent work by CPU %u", cpu_index, loam_port_cpu());
	cpu = &machine->cpus[cpu_index];
	wait_idle(cpu);
	masked = host_lock(machine);
	cpu->work_arg = arg;
	cpu->work = fn;
	if (!cpu->has_thread) {
		if (pthread_create(&cpu->thread, NULL, cpu_thread, cpu) != 0)
			give_up("host: thread for a CPU");
		cpu->has_thread = true;
	}
	pthread_cond_broadcast(&machine->changed);
	host_unlock(machine, masked);
}

static void wait_all_idle(struct host_machine *machine)
{
	for (unsigned int i = 0; i < machine->ncpus; i++) {
		if (&machine->cpus[i] != host_this)
			wait_idle(&machine->cpus[i]);
	}
}

/* Raise here what happened elsewhere, once nothing runs any more. */
static void raise_panic(struct host_machine *machine)
{
	if (!atomic_load(&machine->stopped))
		return;
	wait_all_idle(machine);
	atomic_store(&machine->stopped, false);
	loam_port_panic(machine->panic_kind, machine->panic_text);
}

void host_wait(struct host_machine *machine, unsigned int cpu)
{
	if (cpu >= machine->ncpus || &machine->cpus[cpu] == host_this)
		host_fault("CPU %u cannot be waited for by CPU %u", cpu, loam_port_cpu());
	wait_idle(&machine->cpus[cpu]);
	raise_panic(machine);
}

void host_run(struct host_machine *machine, host_fn fn, void *arg)
{
	struct host_cpu *self = host_this;

	for (unsigned int i = 0; i < machine->ncpus; i++) {
		if (&machine->cpus[i] != self)
			host_send(machine, i, fn, arg);
	}
	if (self != NULL && self->machine == machine)
		run_caught(self, fn, arg);
	wait_all_idle(machine);
	raise_panic(machine);
}
