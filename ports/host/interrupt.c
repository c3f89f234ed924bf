/* ports/host/interrupt.c: interrupts of simulated CPUs.
 *
 * 1 Concepts. An interrupt is a function and its argument, queued at a CPU. It is delivered on the thread that is this CPU, at an interrupt point: an atomic
 *   access of the library's LOAM_POINTS build, a pin, an unmasking, a spin round; or, when it is sent with a signal, between any two instructions. Never while
 *   the CPU has interrupts masked or is held. Handlers run with interrupts on, nested up to HOST_NEST_MAX deep. Of one function and argument HOST_SAME_MAX
 *   wait at most, further ones are merged with them: an interrupt controller remembers one per vector in service and one behind it.
 * 2 A CPU that no thread occupies is halted with interrupts on: its own thread wakes up for it; where it has none, whoever spins on the same machine with
 *   interrupts on lends it its thread. So one thread can play a whole machine.
 * 3 Locks. A CPU's queue has a spin flag; the machine's mutex orders occupation. Both are only taken with interrupts masked, so that a signal never
 *   lands on a thread that holds one.
 */
#include "private.h"

#include <sched.h>
#include <signal.h>
#include <time.h>

/* ---- locks of the machine itself ----------------------------------------------------------------------------------------------- */

bool host_lock(struct host_machine *machine)
{
	struct host_cpu *cpu = host_this;
	bool masked = cpu != NULL && cpu->masked;

	if (cpu != NULL)
		cpu->masked = true;
	pthread_mutex_lock(&machine->lock);
	return masked;
}

void host_unlock(struct host_machine *machine, bool masked)
{
	struct host_cpu *cpu = host_this;

	pthread_mutex_unlock(&machine->lock);
	if (cpu != NULL)
		cpu->masked = masked;
}

static void queue_lock(struct host_cpu *cpu)
{
	while (atomic_flag_test_and_set_explicit(&cpu->queue_lock, memory_order_acquire))
		sched_yield();
}

static void queue_unlock(struct host_cpu *cpu)
{
	atomic_flag_clear_explicit(&cpu->queue_lock, memory_order_release);
}

/* ---- sending ------------------------------------------------------------------------------------------------------------------------ */

/* Interrupts that wait at @cpu and are the same as this one. The queue is locked. */
static unsigned int count_same(const struct host_cpu *cpu, unsigned int n, host_fn fn, const void *arg)
{
	unsigned int same = 0;

	for (unsigned int i = 0; i < n; i++)
		same += cpu->pending[i].fn == fn && cpu->pending[i].arg == arg;
	return same;
}

/* Return: false, the queue is full. */
static bool queue(struct host_cpu *cpu, host_fn fn, void *arg)
{
	unsigned int n;
	bool merged;

	queue_lock(cpu);
	n = atomic_load_explicit(&cpu->npending, memory_order_relaxed);
	merged = count_same(cpu, n, fn, arg) >= HOST_SAME_MAX;
	if (!merged && n < HOST_PENDING_MAX) {
		cpu->pending[n] = (struct host_interrupt){fn, arg};
		atomic_store_explicit(&cpu->npending, n + 1, memory_order_release);
	}
	queue_unlock(cpu);
	return merged || n < HOST_PENDING_MAX;
}

static void post(struct host_cpu *cpu, host_fn fn, void *arg, bool signal)
{
	struct host_machine *machine = cpu->machine;
	bool masked = host_lock(machine);
	bool queued = queue(cpu, fn, arg);

	if (signal && cpu->occupied)
		pthread_kill(cpu->occupant, SIGUSR1);
	pthread_cond_broadcast(&machine->changed);
	host_unlock(machine, masked);
	if (!queued)
		host_fault("more than %d interrupts wait at CPU %u", HOST_PENDING_MAX, cpu->index);
}

void host_interrupt(struct host_machine *machine, unsigned int cpu, host_fn fn, void *arg)
{
	if (cpu >= machine->ncpus)
		host_fault("interrupt for CPU %u of %u", cpu, machine->ncpus);
	post(&machine->cpus[cpu], fn, arg, false);
	if (host_this != NULL)
		host_deliver(host_this);
}

/* ---- delivering ------------------------------------------------------------------------------------------------------------------------ */

static bool can_deliver(const struct host_cpu *cpu)
{
	return !cpu->masked && cpu->depth < HOST_NEST_MAX && !atomic_load_explicit(&cpu->held, memory_order_relaxed);
}

static bool take(struct host_cpu *cpu, struct host_interrupt *out)
{
	unsigned int n;

	queue_lock(cpu);
	n = atomic_load_explicit(&cpu->npending, memory_order_relaxed);
	if (n > 0) {
		*out = cpu->pending[0];
		for (unsigned int i = 1; i < n; i++)
			cpu->pending[i - 1] = cpu->pending[i];
		atomic_store_explicit(&cpu->npending, n - 1, memory_order_relaxed);
	}
	queue_unlock(cpu);
	return n > 0;
}

static void handle(struct host_cpu *cpu, const struct host_interrupt *interrupt)
{
	enum loam_context context = cpu->context;

	cpu->depth++;
	cpu->context = LOAM_CONTEXT_INTERRUPT;
	cpu->masked = false;
	interrupt->fn(interrupt->arg);
	cpu->masked = true;
	cpu->context = context;
	cpu->depth--;
}

void host_deliver(struct host_cpu *cpu)
{
	while (atomic_load_explicit(&cpu->npending, memory_order_acquire) > 0 && can_deliver(cpu)) {
		struct host_interrupt interrupt;

		cpu->masked = true;
		if (take(cpu, &interrupt))
			handle(cpu, &interrupt);
		cpu->masked = false;
	}
}

bool host_has_interrupt(const struct host_cpu *cpu)
{
	return atomic_load_explicit(&cpu->npending, memory_order_acquire) > 0 && !atomic_load(&cpu->held);
}

/* Be @other for as long as it takes to handle what waits there. */
static void lend(struct host_cpu *self, struct host_cpu *other)
{
	struct host_machine *machine = self->machine;
	bool masked = host_lock(machine);
	bool free = !other->occupied && !other->has_thread && host_has_interrupt(other);

	if (free) {
		host_occupy_locked(other);
		other->lender = self;
		other->catcher = self->catcher;
		pthread_mutex_unlock(&machine->lock);
		other->masked = false;
		host_deliver(other);
		host_return_loan();
		pthread_mutex_lock(&machine->lock);
	}
	host_unlock(machine, masked);
}

void host_return_loan(void)
{
	struct host_cpu *borrower = host_this;
	struct host_cpu *lender;

	if (borrower == NULL || borrower->lender == NULL)
		return;
	borrower->masked = true;
	pthread_mutex_lock(&borrower->machine->lock);
	lender = borrower->lender;
	borrower->lender = NULL;
	host_vacate_locked(borrower);
	host_this = lender;
	pthread_mutex_unlock(&borrower->machine->lock);
}

void host_serve_halted(struct host_cpu *self)
{
	struct host_machine *machine = self->machine;

	if (!can_deliver(self) || self->lender != NULL)
		return;
	for (unsigned int i = 0; i < machine->ncpus; i++) {
		struct host_cpu *other = &machine->cpus[i];

		if (other != self && host_has_interrupt(other))
			lend(self, other);
	}
}

/* ---- interrupt points ------------------------------------------------------------------------------------------------------------------- */

void host_interrupt_point(struct host_cpu *cpu)
{
	if (atomic_load_explicit(&cpu->machine->stopped, memory_order_relaxed))
		host_stop_here(cpu);
	if (!can_deliver(cpu))
		return;
	cpu->points++;
	if (cpu->armed_at != 0 && cpu->points == cpu->armed_at) {
		struct host_interrupt armed = cpu->armed;

		cpu->armed_at = 0;
		cpu->masked = true;
		handle(cpu, &armed);
		cpu->masked = false;
	}
	host_deliver(cpu);
}

void host_interrupt_at(uint64_t nth, host_fn fn, void *arg)
{
	struct host_cpu *cpu = host_this;

	if (cpu == NULL)
		host_fault("host_interrupt_at() on a thread that is no CPU");
	cpu->armed = (struct host_interrupt){fn, arg};
	cpu->points = 0;
	cpu->armed_at = nth;
}

bool host_interrupt_cancel(void)
{
	struct host_cpu *cpu = host_this;
	bool was_armed = cpu != NULL && cpu->armed_at != 0;

	if (cpu != NULL)
		cpu->armed_at = 0;
	return was_armed;
}

/* The handler of host_each_point(): within it the same handler once more, at its own @inner-th point. */
struct twice {
	host_fn fn;
	void *arg;
	uint64_t inner;
	bool inner_delivered;
};

static void inner_handler(void *arg)
{
	struct twice *twice = arg;

	twice->inner_delivered = true;
	twice->fn(twice->arg);
}

static void outer_handler(void *arg)
{
	struct twice *twice = arg;

	if (twice->inner != 0)
		host_interrupt_at(twice->inner, inner_handler, twice);
	twice->fn(twice->arg);
	if (twice->inner != 0)
		host_interrupt_cancel();
}

uint64_t host_each_point(bool (*scenario)(void *context), host_fn handler, void *context, bool nested)
{
	uint64_t runs = 0;
	uint64_t outer = 1;
	struct twice twice = {.fn = handler, .arg = context, .inner = nested ? 1 : 0};

	for (;;) {
		bool missed;

		twice.inner_delivered = false;
		host_interrupt_at(outer, outer_handler, &twice);
		if (!scenario(context))
			host_fault("scenario went wrong with an interrupt at point %llu, nested at %llu",
				   (unsigned long long)outer, (unsigned long long)twice.inner);
		missed = host_interrupt_cancel();
		if (missed)
			return runs;
		runs++;
		if (twice.inner_delivered) {
			twice.inner++;
		} else {
			outer++;
			twice.inner = nested ? 1 : 0;
		}
	}
}

void host_hold(struct host_machine *machine, unsigned int cpu, bool hold)
{
	bool masked = host_lock(machine);

	atomic_store(&machine->cpus[cpu].held, hold);
	pthread_cond_broadcast(&machine->changed);
	host_unlock(machine, masked);
}

/* ---- IPIs ------------------------------------------------------------------------------------------------------------------------------------ */

void host_on_ipi(struct host_machine *machine, host_fn fn, void *arg)
{
	machine->ipi = (struct host_interrupt){fn, arg};
}

void host_set_ipi_policy(struct host_machine *machine, enum host_ipi_policy policy, uint64_t nth)
{
	bool masked = host_lock(machine);

	machine->ipi_policy = policy;
	machine->ipi_nth = nth;
	machine->ipi_count = 0;
	host_unlock(machine, masked);
	if (policy != HOST_IPI_DELAY)
		host_ipi_release(machine);
}

void host_ipi_release(struct host_machine *machine)
{
	for (unsigned int i = 0; i < machine->ncpus; i++) {
		if (atomic_exchange(&machine->cpus[i].delayed, false))
			post(&machine->cpus[i], machine->ipi.fn, machine->ipi.arg, machine->signals);
	}
}

uint64_t host_ipis(struct host_machine *machine)
{
	bool masked = host_lock(machine);
	uint64_t count = machine->ipi_total;

	host_unlock(machine, masked);
	return count;
}

void loam_port_ipi(unsigned int cpu)
{
	struct host_machine *machine = host_current();
	enum host_ipi_policy policy;
	struct host_cpu *target;
	bool masked;

	if (machine == NULL || machine->ipi.fn == NULL || cpu >= machine->ncpus || cpu == host_this->index)
		host_fault("IPI for CPU %u: no such CPU, no handler, or the sender itself", cpu);
	target = &machine->cpus[cpu];
	masked = host_lock(machine);
	policy = machine->ipi_policy;
	machine->ipi_total++;
	machine->ipi_count++;
	if (machine->ipi_nth != 0 && machine->ipi_nth != machine->ipi_count)
		policy = HOST_IPI_DELIVER;
	host_unlock(machine, masked);

	if (policy == HOST_IPI_DELAY)
		atomic_store(&target->delayed, true);
	if (policy == HOST_IPI_DELIVER || policy == HOST_IPI_DUPLICATE)
		post(target, machine->ipi.fn, machine->ipi.arg, machine->signals);
	if (policy == HOST_IPI_DUPLICATE)
		post(target, machine->ipi.fn, machine->ipi.arg, machine->signals);
}

/* ---- signals: interrupts between any two instructions ------------------------------------------------------------------------------- */

static void on_signal(int number)
{
	struct host_cpu *cpu = host_this;

	(void)number;
	if (cpu != NULL && !cpu->masked)
		host_deliver(cpu);
}

static void *storm_thread(void *arg)
{
	struct host_machine *machine = arg;
	unsigned int next = 0;

	while (!atomic_load(&machine->storm_ends)) {
		struct timespec pause = {.tv_nsec = (long)machine->storm_microseconds * 1000};
		struct host_cpu *cpu = &machine->cpus[next++ % machine->ncpus];

		nanosleep(&pause, NULL);
		if (atomic_load(&cpu->npending) == 0)
			post(cpu, machine->storm.fn, machine->storm.arg, true);
	}
	return NULL;
}

void host_storm_begin(struct host_machine *machine, unsigned int microseconds, host_fn fn, void *arg)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_NODEFER};

	sigemptyset(&action.sa_mask);
	sigaction(SIGUSR1, &action, NULL);
	machine->storm = (struct host_interrupt){fn, arg};
	machine->storm_microseconds = microseconds;
	machine->signals = true;
	atomic_store(&machine->storm_ends, false);
	if (pthread_create(&machine->storm_thread, NULL, storm_thread, machine) != 0)
		host_fault("no thread for the storm");
}

void host_storm_end(struct host_machine *machine)
{
	atomic_store(&machine->storm_ends, true);
	pthread_join(machine->storm_thread, NULL);
	machine->signals = false;
}
