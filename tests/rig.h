/* tests/rig.h: a small machine for a test: some RAM with a frame layer on it, and CPUs to run on. The same on the host machine and inside a kernel, where it is a run of
 * frames borrowed from the kernel itself.
 */
#ifndef LOAM_TESTS_RIG_H
#define LOAM_TESTS_RIG_H

#include <loam/frame.h>

struct rig_config {
	uint64_t npages;    /* of RAM, metadata included; at most 8192 where the test is to run in a kernel */
	unsigned int ncpus; /* 0: one */
	unsigned int nzones;
	struct loam_zone_config zones[LOAM_ZONES_MAX]; /* limits count from the start of the RAM */
	bool hardened;
	bool no_frames; /* RAM only: the test sets its own layers up */
};

struct rig {
	loam_paddr ram; /* physical address of the first byte */
	uint64_t npages;
	uintptr_t direct_map;
	unsigned int ncpus;
	struct loam_memmap map; /* normalised; what is left of it after the frame layer's metadata */
	struct loam_region regions[32];
	struct loam_frames *frames; /* NULL with no_frames */
	void *machine;              /* private */
};

/* Fails the test when it cannot be had. Only one rig is alive at a time inside a kernel. The calling thread is its CPU 0 until rig_destroy(). */
struct rig *rig_create(const struct rig_config *config);
void rig_destroy(struct rig *rig);

/* A TLB engine's timeout where no CPU is silent on purpose: nobody is given up because a machine is busy, and who really hangs is ended with the program. */
#define RIG_PATIENCE_NS (UINT64_C(36000) * 1000000000)

/* How many CPUs this environment can run at once. */
unsigned int rig_cpus(void);
/* Run @run on CPUs 0 .. ncpus - 1 at the same time; returns when all have returned. CHECK may not be used in it: return false to fail. */
bool rig_run(struct rig *rig, bool (*run)(struct rig *rig, unsigned int cpu, void *context), void *context);

/* Numbers for random tests: splitmix64, the same everywhere. */
static inline uint64_t rig_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

#endif
