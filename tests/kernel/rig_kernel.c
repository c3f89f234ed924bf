/* tests/kernel/rig_kernel.c: tests/rig.h inside a kernel: the RAM is a run of the kernel's own frames, the CPUs are its CPUs. */
#include "../rig.h"
#include "../tap.h"

#include <base/lock.h>
#include <console.h>
#include <kernel.h>

static struct rig the_rig;
static struct loam_frames rig_frames;
static loam_pfn borrowed = LOAM_PFN_NONE; /* also what a failed test left behind */

static void give_back(void)
{
	if (borrowed != LOAM_PFN_NONE)
		loam_frame_free_range(kernel_system.frames, borrowed, the_rig.npages);
	borrowed = LOAM_PFN_NONE;
}

static void borrow(uint64_t npages)
{
	struct loam_frame_where where = {.align = LOAM_BLOCK_FRAMES * LOAM_PAGE_SIZE};
	struct loam_frame_opts opts = {.uninitialized = true};

	if (loam_frame_alloc_range(kernel_system.frames, npages, &where, &opts, &borrowed) != LOAM_OK) {
		borrowed = LOAM_PFN_NONE;
		tap_skip("this machine has no run of frames as long as the test's RAM");
	}
	/* As the host machine's RAM is: tests count on it. */
	memset(loam_frame_virt(kernel_system.frames, borrowed), 0, npages * LOAM_PAGE_SIZE);
}

static void set_frames_up(const struct rig_config *config)
{
	struct loam_frames_config frames_config = {
		.direct_map = the_rig.direct_map,
		.ncpus = the_rig.ncpus,
		.nzones = config->nzones,
		.hardened = config->hardened,
	};

	for (unsigned int i = 0; i < config->nzones; i++) {
		frames_config.zones[i] = config->zones[i];
		if (frames_config.zones[i].limit != 0)
			frames_config.zones[i].limit += the_rig.ram;
	}
	CHECK_OK(loam_frames_boot(&rig_frames, &frames_config, &the_rig.map));
	for (unsigned int cpu = 0; cpu < the_rig.ncpus; cpu++) {
		enum loam_status status = loam_frame_cpu_online(&rig_frames, cpu);

		if (status != LOAM_ERR_ALREADY)
			CHECK_OK(status);
	}
	the_rig.frames = &rig_frames;
}

struct rig *rig_create(const struct rig_config *config)
{
	unsigned int ncpus = config->ncpus == 0 ? 1 : config->ncpus;
	struct loam_region raw;

	if (ncpus > machine_cpus())
		tap_skip("this machine has fewer CPUs than the test's");
	give_back();
	the_rig = (struct rig){.npages = config->npages, .ncpus = ncpus, .direct_map = ARCH_DIRECT_MAP};
	rig_frames = (struct loam_frames){0};
	borrow(config->npages);
	the_rig.ram = loam_frame_address(borrowed);
	raw = (struct loam_region){
		.base = the_rig.ram,
		.nbytes = the_rig.npages * LOAM_PAGE_SIZE,
		.type = LOAM_REGION_USABLE,
	};
	CHECK_OK(loam_memmap_init(&the_rig.map, &raw, 1, the_rig.regions,
				  sizeof(the_rig.regions) / sizeof(the_rig.regions[0]), 0, NULL, NULL));
	if (!config->no_frames)
		set_frames_up(config);
	return &the_rig;
}

void rig_destroy(struct rig *rig)
{
	(void)rig;
	give_back();
}

unsigned int rig_cpus(void)
{
	return machine_cpus();
}

struct running {
	bool (*run)(struct rig *rig, unsigned int cpu, void *context);
	void *context;
	bool failed;       /* atomic */
	uint32_t panicked; /* atomic: somebody wrote @text; a word, as RISC-V swaps no bytes */
	char text[512];
};

static void run_here(void *arg)
{
	struct running *running = arg;

	if (!running->run(&the_rig, loam_port_cpu(), running->context))
		__atomic_store_n(&running->failed, true, __ATOMIC_RELAXED);
}

static void run_one(void *arg)
{
	struct running *running = arg;
	char text[512];

	if (loam_port_cpu() >= the_rig.ncpus || machine_try(run_here, running, text, sizeof(text)))
		return;
	loami_witness_forget();
	if (__atomic_exchange_n(&running->panicked, 1, __ATOMIC_RELAXED) == 0)
		memcpy(running->text, text, sizeof(text));
}

bool rig_run(struct rig *rig, bool (*run)(struct rig *rig, unsigned int cpu, void *context), void *context)
{
	struct running running = {.run = run, .context = context};

	(void)rig;
	machine_run(run_one, &running);
	/* As on the host machine: a panic on any CPU is one of the test's. */
	if (running.panicked != 0)
		loam_port_panic(LOAM_FATAL_MISUSE, running.text);
	return !running.failed;
}
