/* kernel/common/tour.h: each layer at work, and what tells whether all came back. */
#ifndef KERNEL_TOUR_H
#define KERNEL_TOUR_H

#include <loam/inspect.h>

/* Frames in use when nothing waits to be given back; of them those under the arena's bookkeeping and page tables, which may stay. */
struct tour_balance {
	uint64_t used;
	uint64_t arena;
	uint64_t tables;
	uint64_t quarantined;
};
/* Whatever waits in the kernel's arena is given back; a CPU that is slow to answer, or has some of it in hand, is waited for. Return: false when one stays silent. */
bool tour_purge(void);
/* Purges, trims and drains first. The machine must be at rest. */
void tour_read_balance(struct tour_balance *balance);

/* Every invariant of every layer, while no tick touches the heap. False after saying what is wrong. */
bool tour_audit(void);

/* @nframes were taken since the tour began, for good and with reason. */
void tour_keep(uint64_t nframes);

/* Return: how many things were not as they should be. */
unsigned int tour_run(void);
/* Audit, and is every frame back that tour_run() found? */
unsigned int tour_end(void);

/* A check is only as good as what it finds: things done wrong on purpose. */
enum torture_fault {
	TORTURE_FAULT_NONE = 0,
	TORTURE_FAULT_LEAK,     /* a frame is forgotten */
	TORTURE_FAULT_SCRIBBLE, /* a word of somebody's memory is changed */
	TORTURE_FAULT_SILENT,   /* a CPU loops for ever */
	TORTURE_FAULT_DEAF,     /* the same with interrupts masked */
	TORTURE_FAULT_ENDLESS,  /* a CPU does a piece of a step for ever */
	TORTURE_FAULT_SMALL,    /* tables of small leaves stand where large ones should be */
};

/* @silence: seconds after which a CPU that does not get on ends the machine.   @seed: what is random comes from it. */
#define TORTURE_HZ 10000
struct torture_options {
	unsigned int seconds;
	unsigned int leaves; /* of 2 MiB: not over before so many, however slow the machine is */
	unsigned int silence;
	unsigned int hz;   /* of each CPU's timer */
	unsigned int rate; /* ticks a CPU must have had, a second of its work; 0: not asked */
	uint64_t seed;
	enum torture_fault fault;
};

/* Every CPU allocates, maps, writes, reads and frees, with interrupts that do so too (torture.c). Return: as above. */
unsigned int torture_run(const struct torture_options *asked);
/* The same with the usual options. */
unsigned int stress_run(unsigned int seconds);

/* Reads lines until `off` or the end of input. Return: as above. */
unsigned int shell_run(void);

/* What the shell's `crash` does; @how may have more words behind it. Comes back only when there is no such way. */
void shell_crash(const char *how);

#endif
