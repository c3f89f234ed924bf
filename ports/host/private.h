/* ports/host/private.h: what the files of the host machine share. */
#ifndef LOAM_HOST_PRIVATE_H
#define LOAM_HOST_PRIVATE_H

#include "host.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>

enum { HOST_PANIC_BYTES = 512, HOST_PENDING_MAX = 64, HOST_SAME_MAX = 2, HOST_NEST_MAX = 2 };

struct host_interrupt {
	host_fn fn;
	void *arg;
};

struct host_cpu {
	struct host_machine *machine;
	unsigned int index;

	/* The occupant's own: only the thread that is this CPU touches them. */
	volatile bool masked; /* interrupts off */
	volatile enum loam_context context;
	struct loam_task task;
	jmp_buf *catcher;            /* where a panic on this CPU goes; NULL: to the hook */
	struct host_cpu *lender;     /* whose thread this is, when only lent for an interrupt */
	volatile unsigned int depth; /* of interrupts being handled */
	uint64_t points;             /* met with interrupts on since host_interrupt_at() */
	uint64_t armed_at;           /* the point at which @armed is delivered; 0: none */
	struct host_interrupt armed;

	struct host_tlb *tlb;
	bool quiet; /* the machine itself is at work: no points */

	/* Interrupts that wait, oldest first. Guarded by queue_lock; npending is also read without. */
	atomic_flag queue_lock;
	atomic_uint npending;
	struct host_interrupt pending[HOST_PENDING_MAX];
	atomic_bool held;    /* as if masked for ever */
	atomic_bool delayed; /* an IPI waits for host_ipi_release() */

	/* Guarded by machine->lock; changes are told by machine->changed. */
	bool occupied;
	pthread_t occupant;
	bool has_thread;
	bool quit;
	pthread_t thread;
	host_fn work; /* NULL: idle */
	void *work_arg;
};

struct host_machine {
	struct host_config config;
	struct loam_region *regions;
	uint8_t *window; /* RAM from physical address @base */
	loam_paddr base;
	uint64_t span;
	int file; /* the memory file, or -1 */

	unsigned int ncpus;
	struct host_cpu *cpus;

	pthread_mutex_t lock;
	pthread_cond_t changed;

	/* Set while nothing runs. */
	bool has_mmu;
	struct host_mmu mmu;
	loam_paddr root;
	host_frame_look look;
	void *look_context;

	atomic_ullong random;

	/* IPIs and storms. ipi_... guarded by @lock, the rest set while nothing runs. */
	struct host_interrupt ipi;
	enum host_ipi_policy ipi_policy;
	uint64_t ipi_nth;
	uint64_t ipi_count; /* since the policy was set */
	uint64_t ipi_total;
	struct host_interrupt storm;
	unsigned int storm_microseconds;
	pthread_t storm_thread;
	atomic_bool storm_ends;
	bool signals; /* interrupts come with a signal */

	/* The first panic of a CPU that host_run() started. Written under @lock before @stopped is set. */
	atomic_bool stopped;
	enum loam_fatal panic_kind;
	char panic_text[HOST_PANIC_BYTES];
};

extern _Thread_local struct host_cpu *host_this;

/* The machine's mutex, with interrupts masked on this CPU. Return: whether they were. */
bool host_lock(struct host_machine *machine);
void host_unlock(struct host_machine *machine, bool masked);

/* Be @cpu, with interrupts masked: the caller unmasks them once the machine's lock is released. */
void host_occupy_locked(struct host_cpu *cpu);
void host_vacate_locked(struct host_cpu *cpu);
/* Back to task context with interrupts on, whatever was going on. */
void host_reset_cpu(struct host_cpu *cpu);

/* Deliver what waits, if interrupts are on. @cpu is the calling thread's. */
void host_deliver(struct host_cpu *cpu);
bool host_has_interrupt(const struct host_cpu *cpu);
/* An interrupt may come here, or the end when another CPU has panicked. */
void host_interrupt_point(struct host_cpu *cpu);
/* Handle the interrupts of CPUs that no thread occupies. */
void host_serve_halted(struct host_cpu *self);
void host_tlb_create(struct host_cpu *cpu);
void host_tlb_destroy(struct host_cpu *cpu);
void host_window_flush(struct host_machine *machine, const struct loam_tlb_range *ranges, size_t nranges);
void host_window_thread(void);
void host_window_thread_ends(void);
void host_window_destroy_all(struct host_machine *machine);

/* When this thread was lent to a CPU: be the lender again. */
void host_return_loan(void);

/* The machine has panicked elsewhere: leave for the catcher. Called at each interrupt point. */
void host_stop_here(struct host_cpu *cpu);

#endif
