/* vmalloc/alloc.c: memory: allocate, free, free now. area.c says in which order and why; flush.c what happens to what is freed. */
#include "vmalloc.h"

/* Map a chain at @va in a fresh area, or undo all of it. A lack of page tables is met with a purge first. */
static enum loam_status map_or_undo(struct loam_vm *vm, const struct loam_area *area, uintptr_t va, uint32_t flags,
				    struct loam_vmalloc_chain *chain)
{
	size_t mapped, more = 0;
	enum loam_status status = loami_vm_map_chain(vm, va, chain, loami_vm_mapping.prot, &mapped);

	if (status != LOAM_OK && loami_vm_purge_for_memory(vm)) {
		status = loami_vm_map_chain(vm, va + (mapped << LOAM_PAGE_SHIFT), chain, loami_vm_mapping.prot, &more);
		mapped += more;
	}
	if (status != LOAM_OK)
		loami_vm_undo(vm, area, va, mapped, flags, chain);
	return status;
}

/* Small areas need no chain on their way in: their frames fit in an array, and one call maps all of them or none. LOAM_ERR_BUSY: not that easily. */
static enum loam_status allocate_small(struct loam_vm *vm, const struct loami_vm_request *request, size_t align,
				       bool uninitialized, struct loam_area *area)
{
	struct loam_frame_opts opts = {.purpose = LOAM_PURPOSE_KERNEL, .uninitialized = uninitialized};
	size_t lead = (request->flags & LOAMI_VM_STACK) != 0 ? 1 : 0;
	loam_pfn run[LOAMI_VM_RUN];
	size_t n = loami_run_take(vm, request->npages, &opts, run);

	if (n == request->npages &&
	    loam_arena_reserve_claimed(&vm->arena, request->npages + lead, align, area) == LOAM_OK) {
		if (loam_paging_map_frames(vm->config.tree, area->start + (lead << LOAM_PAGE_SHIFT), run, n,
					   &loami_vm_mapping) == LOAM_OK) {
			loami_vm_start(vm, area, request);
			return LOAM_OK;
		}
		loami_vm_undo(vm, area, area->start, 0, request->flags, NULL);
	}
	if (n > 0)
		loam_frame_free_batch(vm->config.frames, run, n);
	return LOAM_ERR_BUSY;
}

enum loam_status loami_vm_allocate(struct loam_vm *vm, const struct loami_vm_request *request, size_t align,
				   bool uninitialized, struct loam_area *area)
{
	size_t lead = (request->flags & LOAMI_VM_STACK) != 0 ? 1 : 0;
	struct loam_vmalloc_chain chain;
	enum loam_status status;

	if (request->npages <= LOAMI_VM_RUN && allocate_small(vm, request, align, uninitialized, area) == LOAM_OK)
		return LOAM_OK;
	/* Large, or something was short: with purges, in pieces. */
	status = loami_chain_take(vm, request->npages, uninitialized, (request->flags & LOAMI_VM_HUGE) != 0, &chain);
	if (status == LOAM_OK) {
		status = loami_vm_reserve(vm, request->npages + lead, align, area);
		if (status != LOAM_OK)
			(void)loami_chain_free(vm->config.frames, &chain);
	}
	if (status == LOAM_OK)
		status = map_or_undo(vm, area, area->start + (lead << LOAM_PAGE_SHIFT), request->flags, &chain);
	if (status != LOAM_OK)
		return loami_vm_fail(vm, status, request->nbytes, request->npages);
	loami_vm_start(vm, area, request);
	return LOAM_OK;
}

enum loam_status loami_vm_policy(struct loam_vm *vm, size_t nbytes, size_t align)
{
	size_t npages = nbytes / LOAM_PAGE_SIZE + (nbytes % LOAM_PAGE_SIZE != 0);

	if (nbytes == 0)
		return loami_vm_reject(vm, LOAM_ERR_ZERO_SIZE, 0, 0);
	if (nbytes > vm->config.nbytes)
		return loami_vm_reject(vm, LOAM_ERR_TOO_LARGE, nbytes, npages);
	if (align != 0 && !loami_is_power_of_two(align))
		return loami_vm_reject(vm, LOAM_ERR_ALIGNMENT, nbytes, npages);
	return LOAM_OK;
}

enum loam_status loami_vm_alloc(struct loam_vm *vm, size_t nbytes, const struct loam_vmalloc_opts *opts, void **address)
{
	struct loami_vm_request request;
	struct loam_area area = {0};
	enum loam_status status;
	size_t align;
	bool huge;

	status = loami_vm_ensure(vm);
	if (status != LOAM_OK)
		return status;
	status = loami_vm_policy(vm, nbytes, opts->align);
	if (status != LOAM_OK)
		return status;

	huge = opts->huge && nbytes >= LOAM_BLOCK_FRAMES << LOAM_PAGE_SHIFT;
	align = opts->align;
	if (huge && align < LOAM_BLOCK_FRAMES << LOAM_PAGE_SHIFT)
		align = LOAM_BLOCK_FRAMES << LOAM_PAGE_SHIFT;
	loami_vm_request(&request, opts->site, nbytes, (nbytes + LOAM_PAGE_SIZE - 1) >> LOAM_PAGE_SHIFT,
			 LOAMI_VM_MEMORY | (huge ? LOAMI_VM_HUGE : 0));
	loami_vm_repay(vm, request.npages);
	status = loami_vm_allocate(vm, &request, align, opts->uninitialized, &area);
	if (status == LOAM_OK)
		*address = (void *)area.start;
	return status;
}

/* Claim and clear. */
static bool take_down(struct loam_vm *vm, void *address, struct loam_area *area, struct loami_vm_frames *frames)
{
	if (!loami_vm_is_ready(vm) || !loami_vm_claim(vm, (uintptr_t)address, LOAMI_VM_MEMORY, area)) {
		(void)loami_vm_refuse(vm, address);
		return false;
	}
	loami_vm_unmap(vm, area, area->start, area->npages, area->record->flags, frames);
	loami_vm_uncount(vm, area->npages);
	return true;
}

bool loami_vm_free(struct loam_vm *vm, void *address)
{
	struct loami_vm_frames frames;
	struct loam_area area;

	if (address == NULL)
		return true;
	if (!take_down(vm, address, &area, &frames))
		return false;
	loami_vm_publish(vm, &area, &frames);
	loami_vm_reap_after(vm, area.npages);
	return true;
}

bool loam_vfree_now(struct loam_vm *vm, void *address)
{
	struct loam_tlb_range range = {.start = (uintptr_t)address, .stride_shift = LOAM_PAGE_SHIFT};
	struct loami_vm_frames frames;
	struct loam_area area;
	bool shrunk;

	LOAMI_TASK_ONLY();
	if (address == NULL)
		return true;
	if (!take_down(vm, address, &area, &frames))
		return false;
	shrunk = (area.record->flags & LOAMI_VM_SHRUNK) != 0;
	range.npages = area.npages;
	(void)loami_fetch_add_relaxed(&vm->flushes, 1);
	/* What was cut off a longer area may wait for its flush elsewhere, but its addresses are free from here on: then all of it. */
	if (loam_tlb_wait(vm->config.tlb, loam_tlb_flush_start(vm->config.tlb, &range, shrunk ? 0 : 1)) != LOAM_OK) {
		loami_vm_publish(vm, &area, &frames);
		return true;
	}
	loami_vm_free_frames(vm, &frames);
	loam_arena_release(&vm->arena, &area);
	loami_vm_reap_after(vm, area.npages);
	return true;
}
