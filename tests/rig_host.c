/* tests/rig_host.c: tests/rig.h on the host machine. Several rigs may be alive; the calling thread is CPU 0 of the last one made. */
#include "rig.h"
#include "tap.h"

#include <base/poison.h>

#include <host.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Not 0, so that a physical address is never taken for an offset. */
#define RIG_RAM ((loam_paddr)1 << 30)

struct host_rig {
	struct rig rig;
	struct loam_frames frames;
};

static struct loam_region rig_ram(uint64_t npages)
{
	return (struct loam_region){.base = RIG_RAM, .nbytes = npages * LOAM_PAGE_SIZE, .type = LOAM_REGION_USABLE};
}

/* For the MMU's TLBs: whose frame is it? */
static bool look_at_frame(void *context, loam_pfn pfn, uint32_t *generation)
{
	const struct loam_frames *frames = context;

	if (!loam_frame_has_slot(frames, pfn))
		return true;
	*generation = loam_frame_generation(frames, pfn);
	return loam_frame_ref_get(frames, pfn) != LOAM_FRAME_UNUSED;
}

static void set_frames_up(struct rig *rig, const struct rig_config *config, struct loam_frames *frames)
{
	struct loam_frames_config frames_config = {
		.direct_map = rig->direct_map,
		.ncpus = rig->ncpus,
		.nzones = config->nzones,
		.hardened = config->hardened,
	};

	for (unsigned int i = 0; i < config->nzones; i++) {
		frames_config.zones[i] = config->zones[i];
		if (frames_config.zones[i].limit != 0)
			frames_config.zones[i].limit += rig->ram;
	}
	CHECK_OK(loam_frames_boot(frames, &frames_config, &rig->map));
	for (unsigned int cpu = 0; cpu < rig->ncpus; cpu++) {
		enum loam_status status = loam_frame_cpu_online(frames, cpu);

		if (status != LOAM_ERR_ALREADY)
			CHECK_OK(status);
	}
	rig->frames = frames;
	host_watch_frames(rig->machine, look_at_frame, frames);
}

struct rig *rig_create(const struct rig_config *config)
{
	struct host_rig *host = aligned_alloc(64, (sizeof(*host) + 63) / 64 * 64);
	struct loam_region raw = rig_ram(config->npages);
	struct host_machine *machine;
	struct rig *rig;

	CHECK(host != NULL);
	memset(host, 0, sizeof(*host));
	rig = &host->rig;
	rig->ncpus = config->ncpus == 0 ? 1 : config->ncpus;
	rig->npages = config->npages;
	machine = host_machine_create(&(struct host_config){.regions = &raw, .nregions = 1, .ncpus = rig->ncpus});
	rig->machine = machine;
	rig->ram = RIG_RAM;
	rig->direct_map = host_direct_map(machine);
	host_enter(machine, 0);
	/* What an earlier rig's heap left poisoned at these addresses. */
	loami_unpoison((void *)(rig->direct_map + RIG_RAM), rig->npages * LOAM_PAGE_SIZE);
	CHECK_OK(loam_memmap_init(&rig->map, &raw, 1, rig->regions, sizeof(rig->regions) / sizeof(rig->regions[0]), 0,
				  NULL, NULL));
	if (!config->no_frames)
		set_frames_up(rig, config, &host->frames);
	return rig;
}

void rig_destroy(struct rig *rig)
{
	host_machine_destroy(rig->machine);
	free(rig);
}

/* More than there are for real, so that holders are preempted and waiters really wait. */
unsigned int rig_cpus(void)
{
	return 16;
}

struct running {
	struct rig *rig;
	bool (*run)(struct rig *rig, unsigned int cpu, void *context);
	void *context;
	atomic_bool failed;
};

static void run_one(void *arg)
{
	struct running *running = arg;

	if (!running->run(running->rig, loam_port_cpu(), running->context))
		atomic_store(&running->failed, true);
}

bool rig_run(struct rig *rig, bool (*run)(struct rig *rig, unsigned int cpu, void *context), void *context)
{
	struct running running = {.rig = rig, .run = run, .context = context};

	host_run(rig->machine, run_one, &running);
	return !atomic_load(&running.failed);
}
