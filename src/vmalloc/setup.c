/* vmalloc/setup.c: setting up, once, by whoever comes first; and taking down.
 *
 * 1 States: new -> setting up -> ready, and back to new when memory is short; the next use tries again (SPEC V11). The others wait for the one that sets up, which never
 *   waits for anybody.
 * 2 Page 0 of the arena is mapped with a frame that stays, and the tables that the root's entries for the arena point to are made; address spaces that copy
 *   those entries afterwards see every later mapping. The arena never hands page 0 out.
 */
#include "vmalloc.h"

#include "base/print.h"
#include "paging/quick.h"

#include <loam/frame.h>

_Static_assert(sizeof(struct loami_vm_cpu) <= LOAMI_VM_CPU_BYTES, "per-CPU structs fit their stride");

static void set_defaults(struct loam_vmalloc_config *config)
{
	if (config->start == 0)
		config->start = (uintptr_t)LOAM_VMALLOC_START;
	if (config->nbytes == 0)
		config->nbytes = LOAM_VMALLOC_NBYTES;
	if (config->batch_areas == 0)
		config->batch_areas = LOAM_VMALLOC_BATCH;
}

static bool is_same(struct loam_vmalloc_config a, struct loam_vmalloc_config b)
{
	set_defaults(&a);
	set_defaults(&b);
	return a.start == b.start && a.nbytes == b.nbytes && a.ncpus == b.ncpus && a.frames == b.frames &&
	       a.tree == b.tree && a.tlb == b.tlb && a.batch_areas == b.batch_areas;
}

static enum loam_status check_config(const struct loam_vmalloc_config *config)
{
	uintptr_t end;

	if (config->frames == NULL || config->tree == NULL || config->tlb == NULL)
		return LOAM_ERR_INVALID;
	if (config->ncpus == 0 || config->ncpus > LOAM_CPUS_MAX ||
	    config->ncpus > (LOAM_PAGE_SIZE / sizeof(void *)) * LOAMI_VM_CPUS_PER_FRAME)
		return LOAM_ERR_CPU;
	if (loami_add_overflows(config->start, config->nbytes, &end))
		return LOAM_ERR_OVERFLOW;
	if (!loam_paging_is_canonical(config->tree->format, config->start) ||
	    !loam_paging_is_canonical(config->tree->format, end - 1))
		return LOAM_ERR_OUT_OF_RANGE;
	return LOAM_OK;
}

static void *take_frame(struct loam_vm *vm)
{
	loam_pfn pfn = LOAM_PFN_NONE;

	if (!LOAMI_FAIL(LOAMI_FAIL_METADATA))
		pfn = loam_frame_alloc(vm->config.frames, 0, NULL);
	if (pfn == LOAM_PFN_NONE)
		return NULL;
	loami_chain_push(vm->config.frames, &vm->cpu_frames, pfn, 0);
	return loam_frame_virt(vm->config.frames, pfn);
}

/* Those that were made. Unmade ones are zero. */
static void free_cpus(struct loam_vm *vm)
{
	for (unsigned int i = 0; vm->cpus != NULL && i < vm->config.ncpus; i++)
		if (vm->cpus[i / LOAMI_VM_CPUS_PER_FRAME] != NULL)
			loami_list_close(vm, loami_vm_cpu(vm, i));
	(void)loami_list_drop_stock(vm);
	(void)loami_chain_free(vm->config.frames, &vm->cpu_frames);
	vm->cpus = NULL;
}

static enum loam_status make_cpus(struct loam_vm *vm)
{
	vm->list_stock = LOAM_PFN_NONE;
	vm->nlist_stock = 0;
	vm->nlists = 0;
	vm->cpu_frames = LOAMI_CHAIN_EMPTY;
	vm->cpus = take_frame(vm);
	for (unsigned int i = 0; vm->cpus != NULL && i < vm->config.ncpus; i++) {
		if (i % LOAMI_VM_CPUS_PER_FRAME == 0)
			vm->cpus[i / LOAMI_VM_CPUS_PER_FRAME] = take_frame(vm);
		if (vm->cpus[i / LOAMI_VM_CPUS_PER_FRAME] == NULL)
			break;
		*loami_vm_cpu(vm, i) = (struct loami_vm_cpu){.full = LOAMI_LIST_EMPTY, .loose = LOAMI_CHAIN_EMPTY};
		for (unsigned int j = 0; j < LOAMI_VM_LEAVES; j++)
			loami_vm_cpu(vm, i)->leaves[j].stretch = UINTPTR_MAX;
		if (!loami_list_open(vm, loami_vm_cpu(vm, i)))
			break;
		if (i + 1 == vm->config.ncpus)
			return LOAM_OK;
	}
	free_cpus(vm);
	return LOAM_ERR_NO_METADATA;
}

static enum loam_status map_anchor(struct loam_vm *vm)
{
	const struct loam_mapping mapping = {.prot = LOAM_PROT_READ | LOAM_PROT_WRITE | LOAM_PROT_GLOBAL};
	enum loam_status status =
		loam_paging_populate(vm->config.tree, vm->config.start, vm->config.nbytes >> LOAM_PAGE_SHIFT);

	if (status != LOAM_OK)
		return status == LOAM_ERR_NO_MEMORY ? LOAM_ERR_NO_METADATA : status;
	vm->anchor = LOAM_PFN_NONE;
	if (!LOAMI_FAIL(LOAMI_FAIL_METADATA))
		vm->anchor = loam_frame_alloc(vm->config.frames, 0, NULL);
	if (vm->anchor == LOAM_PFN_NONE)
		return LOAM_ERR_NO_METADATA;
	status = loam_paging_map_frames(vm->config.tree, vm->config.start, &vm->anchor, 1, &mapping);
	if (status == LOAM_OK)
		return LOAM_OK;
	loam_frame_free(vm->config.frames, vm->anchor, 0);
	return status == LOAM_ERR_NO_MEMORY ? LOAM_ERR_NO_METADATA : status;
}

/* What it takes, all or nothing; only tables of the arena's top may stay behind. */
static enum loam_status set_up(struct loam_vm *vm)
{
	struct loam_vmalloc_config *config = &vm->config;
	struct loam_frames_stats stats;
	enum loam_status status;

	set_defaults(config);
	if (vm->lock.rank == 0) {
		vm->lock = LOAMI_LOCK_INIT(LOAMI_RANK_VMALLOC);
		vm->failure_lock = LOAMI_LOCK_INIT(LOAMI_RANK_TRACE);
	}
	status = check_config(config);
	if (status == LOAM_OK)
		status = make_cpus(vm);
	if (status != LOAM_OK)
		return status;
	status = loam_arena_init(&vm->arena, &(struct loam_arena_config){.start = config->start,
									 .nbytes = config->nbytes,
									 .head_pages = 1,
									 .ncpus = config->ncpus,
									 .frames = config->frames});
	if (status == LOAM_OK) {
		status = map_anchor(vm);
		if (status != LOAM_OK && loam_arena_destroy(&vm->arena) != LOAM_OK)
			loami_corrupt("loam: vmalloc: a fresh arena is in use");
	}
	if (status != LOAM_OK) {
		free_cpus(vm);
		return status;
	}

	loam_frame_read_stats(config->frames, &stats);
	vm->ram_pages = stats.managed;
	vm->batch_areas = config->batch_areas;
	vm->batch_pages = LOAMI_VM_BATCH_NBYTES >> LOAM_PAGE_SHIFT;
	if (vm->batch_pages > config->nbytes >> LOAM_PAGE_SHIFT >> 6)
		vm->batch_pages = config->nbytes >> LOAM_PAGE_SHIFT >> 6;
	if (vm->batch_pages > stats.managed >> 6)
		vm->batch_pages = (size_t)(stats.managed >> 6);
	if (vm->batch_pages == 0)
		vm->batch_pages = 1;
	for (unsigned int i = 0; i < config->ncpus; i++)
		loami_vm_cpu(vm, i)->arena = loami_arena_cpu(&vm->arena, i);
	vm->bits = loami_quick_bits(config->tree->format, &loami_vm_mapping);
	vm->poisonings = loam_frame_poisonings(config->frames);
	vm->shrinker = (struct loam_shrinker){.shrink = loami_vm_shrink, .name = "vmalloc"};
	return loam_frame_add_shrinker(config->frames, &vm->shrinker);
}

static enum loam_status become_ready(struct loam_vm *vm)
{
	enum loam_status status = set_up(vm);

	if (status == LOAM_OK)
		loami_print("loam: vmalloc: 0x%lx..0x%lx, %lu pages, %lu MiB\n", (unsigned long)vm->config.start,
			    (unsigned long)(vm->config.start + vm->config.nbytes),
			    (unsigned long)(vm->config.nbytes >> LOAM_PAGE_SHIFT),
			    (unsigned long)(vm->config.nbytes >> 20));
	else
		loami_print("loam: vmalloc: cannot set up: %s; the first use tries again\n", loam_status_name(status));
	loami_store_release(&vm->state, status == LOAM_OK ? LOAMI_VM_IS_READY : LOAMI_VM_NEW);
	return status;
}

/* True: the caller is the one to set up. False: it is ready. */
static bool enter_set_up(struct loam_vm *vm)
{
	for (unsigned int round = 0;; round++) {
		uint32_t state = LOAMI_VM_NEW;

		if (loami_cas(&vm->state, &state, LOAMI_VM_SETTING_UP))
			return true;
		if (state == LOAMI_VM_IS_READY)
			return false;
		loam_port_relax(round);
	}
}

enum loam_status loami_vm_ensure(struct loam_vm *vm)
{
	if (LOAMI_LIKELY(loami_vm_is_ready(vm)))
		return LOAM_OK;
	if (!enter_set_up(vm))
		return LOAM_OK;
	if (vm->config.frames == NULL) {
		loami_store_release(&vm->state, LOAMI_VM_NEW);
		return LOAM_ERR_NOT_READY;
	}
	return become_ready(vm);
}

enum loam_status loam_vmalloc_init(struct loam_vm *vm, const struct loam_vmalloc_config *config)
{
	LOAMI_TASK_ONLY();
	if (!enter_set_up(vm))
		return is_same(vm->config, *config) ? LOAM_OK : LOAM_ERR_ALREADY;
	vm->config = *config;
	return become_ready(vm);
}

enum loam_status loam_vmalloc_destroy(struct loam_vm *vm)
{
	struct loam_arena_stats stats;
	enum loam_status status;

	LOAMI_TASK_ONLY();
	status = loam_vmalloc_purge(vm);
	if (status != LOAM_OK)
		return status;
	loam_arena_read_stats(&vm->arena, &stats);
	if (stats.live_areas + stats.dirty_areas > 0)
		return LOAM_ERR_IN_USE;
	status = loam_paging_unmap(vm->config.tree, vm->config.start, 1, NULL, NULL);
	if (status != LOAM_OK)
		return status;
	status = loam_tlb_wait(vm->config.tlb, loam_tlb_flush_start(vm->config.tlb, NULL, 0));
	if (status != LOAM_OK) {
		const struct loam_mapping mapping = {.prot = LOAM_PROT_READ | LOAM_PROT_WRITE | LOAM_PROT_GLOBAL};

		/* Its tables are there, so this does not fail. */
		if (loam_paging_map_frames(vm->config.tree, vm->config.start, &vm->anchor, 1, &mapping) != LOAM_OK)
			loami_corrupt("loam: vmalloc: page 0 cannot be mapped again");
		return status;
	}
	status = loam_frame_remove_shrinker(vm->config.frames, &vm->shrinker);
	if (status == LOAM_OK)
		status = loam_arena_destroy(&vm->arena);
	loam_frame_free(vm->config.frames, vm->anchor, 0);
	free_cpus(vm);
	*vm = (struct loam_vm){0};
	return status;
}
