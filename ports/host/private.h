/* ports/host/private.h: what the files of the host machine share. */
#ifndef LOAM_HOST_PRIVATE_H
#define LOAM_HOST_PRIVATE_H

#include "host.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>

enum { HOST_PANIC_BYTES = 512 };

struct host_cpu {
	struct host_machine *machine;
	unsigned int index;

	/* The occupant's own: only the thread that is this CPU touches them. */
	volatile bool masked; /* interrupts off */
	volatile enum loam_context context;
	struct loam_task task;
	jmp_buf *catcher; /* where a panic on this CPU goes; NULL: to the hook */

	/* Guarded by machine->lock; changes are told by machine->changed. */
	bool occupied;
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

	/* The first panic of a CPU that host_run() started. Written under @lock before @stopped is set. */
	atomic_bool stopped;
	enum loam_fatal panic_kind;
	char panic_text[HOST_PANIC_BYTES];
};

extern _Thread_local struct host_cpu *host_this;

/* The machine has panicked elsewhere: leave for the catcher. Called at each interrupt point. */
void host_stop_here(struct host_cpu *cpu);

#endif
