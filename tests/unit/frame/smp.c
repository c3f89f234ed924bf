/* Frames on many CPUs at once: nothing lost, nothing owned twice, nobody refused while anything is free. */
#include "rig.h"
#include "tap.h"

#include <loam/frame.h>

#include <base/atomic.h>

enum { CPUS = 4, HELD = 512, ROUNDS = 20000 };

struct stress {
	loam_pfn mailbox[64]; /* frames on their way from one CPU to another; LOAM_PFN_NONE: empty */
	uint64_t share; /* frames each CPU may hold at once, for which none may be refused; 0: refusals are fine */
	uint32_t failed;
};

/* A frame's owner writes its number into the frame and finds it there when it gives it back. */
static void sign(struct rig *rig, loam_pfn pfn, uint64_t owner)
{
	uint64_t *words = loam_frame_virt(rig->frames, pfn);

	words[0] = owner;
	words[511] = pfn;
}
static bool signed_by(struct rig *rig, loam_pfn pfn, uint64_t owner)
{
	const uint64_t *words = loam_frame_virt(rig->frames, pfn);

	return words[0] == owner && words[511] == pfn;
}

static bool churn(struct rig *rig, unsigned int cpu, void *context)
{
	static loam_pfn held[CPUS][HELD];
	struct stress *stress = context;
	uint64_t seed = 17 + cpu, n = 0;

	for (unsigned int round = 0; round < ROUNDS; round++) {
		uint64_t dice = rig_random(&seed);
		struct loam_frame_opts opts = {.uninitialized = true,
					       .purpose =
						       (dice >> 8 & 1) != 0 ? LOAM_PURPOSE_USER : LOAM_PURPOSE_KERNEL};
		loam_pfn *slot = &stress->mailbox[dice >> 16 & 63], pfn;
		unsigned int limit = stress->share != 0 ? (unsigned int)stress->share : HELD;

		switch (dice & 3) {
		case 0:
		case 1:
			if (n >= limit)
				break;
			pfn = loam_frame_alloc(rig->frames, 0, &opts);
			if (pfn == LOAM_PFN_NONE) {
				if (stress->share != 0)
					return false;
				break;
			}
			sign(rig, pfn, cpu + 1);
			held[cpu][n++] = pfn;
			break;
		case 2:
			if (n == 0)
				break;
			pfn = held[cpu][(dice >> 32) % n];
			held[cpu][(dice >> 32) % n] = held[cpu][n - 1];
			n--;
			if (!signed_by(rig, pfn, cpu + 1))
				return false;
			loam_frame_free(rig->frames, pfn, 0);
			break;
		default:
			if (n == 0 || stress->share != 0)
				break;
			/* Into the mailbox; what was there is freed here. */
			pfn = held[cpu][--n];
			if (!signed_by(rig, pfn, cpu + 1))
				return false;
			sign(rig, pfn, 99);
			pfn = loami_exchange(slot, pfn);
			if (pfn != LOAM_PFN_NONE) {
				if (!signed_by(rig, pfn, 99))
					return false;
				loam_frame_free(rig->frames, pfn, 0);
			}
			break;
		}
	}
	while (n > 0) {
		n--;
		if (!signed_by(rig, held[cpu][n], cpu + 1))
			return false;
		loam_frame_free(rig->frames, held[cpu][n], 0);
	}
	return true;
}

static void run_stress(uint64_t npages, struct stress *stress)
{
	struct rig *rig = rig_create(&(struct rig_config){.npages = npages, .ncpus = CPUS});
	struct loam_frames_stats stats;

	if (stress->share != 0) {
		loam_frame_read_stats(rig->frames, &stats);
		stress->share = stats.managed / CPUS < HELD ? stats.managed / CPUS : HELD;
	}
	for (unsigned int i = 0; i < 64; i++)
		stress->mailbox[i] = LOAM_PFN_NONE;
	CHECK(rig_run(rig, churn, stress));
	for (unsigned int i = 0; i < 64; i++)
		if (stress->mailbox[i] != LOAM_PFN_NONE)
			loam_frame_free(rig->frames, stress->mailbox[i], 0);
	CHECK_OK(loam_frame_check(rig->frames));
	loam_frame_read_stats(rig->frames, &stats);
	CHECK_EQ(stats.free, stats.managed);
	loam_frame_drain(rig->frames);
	CHECK_OK(loam_frame_check(rig->frames));
	loam_frame_read_stats(rig->frames, &stats);
	CHECK_EQ(stats.free, stats.managed);
	CHECK_EQ(stats.parked, 0);
	rig_destroy(rig);
}

TEST(F15_frames_cross_cpus_and_none_is_lost)
{
	struct stress stress = {.share = 0};

	if (rig_cpus() < CPUS)
		tap_skip("needs 4 CPUs");
	run_stress(8192, &stress);
}

TEST(F15_nobody_is_refused_while_a_frame_is_free)
{
	struct stress stress = {.share = 1};

	if (rig_cpus() < CPUS)
		tap_skip("needs 4 CPUs");
	run_stress(1024, &stress);
}
