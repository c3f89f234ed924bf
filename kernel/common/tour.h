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
/* Purges, trims and drains first. The machine must be at rest. */
void tour_read_balance(struct tour_balance *balance);

/* Return: how many things were not as they should be. */
unsigned int tour_run(void);
/* Audit, and is every frame back that tour_run() found? */
unsigned int tour_end(void);

/* Every CPU allocates, maps, writes, reads and frees for @seconds, with interrupts that do so too. Return: as above. */
unsigned int stress_run(unsigned int seconds);

/* Reads lines until `off` or the end of input. Return: as above. */
unsigned int shell_run(void);

/* What the shell's `crash` does; @how may have more words behind it. Comes back only when there is no such way. */
void shell_crash(const char *how);

#endif
