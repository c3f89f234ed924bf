/* vmalloc/map.c: entries for areas, and mappings of other people's memory.
 *
 * Permissions: what is mapped is global, readable, usually writable, and executable only when loam_vmalloc_protect() says so, which excludes writable.
 */
#include "vmalloc.h"

const struct loam_mapping loami_vm_mapping = {
	.prot = LOAM_PROT_READ | LOAM_PROT_WRITE | LOAM_PROT_GLOBAL,
	.cache = LOAM_CACHE_WRITE_BACK,
	.largest_leaf = 12,
};

enum loam_status loami_vm_map_chain(struct loam_vm *vm, uintptr_t va, struct loam_vmalloc_chain *chain,
				    unsigned int prot, size_t *mapped)
{
	struct loam_frames *frames = vm->config.frames;
	struct loam_mapping mapping = loami_vm_mapping, block_mapping;

	mapping.prot = prot | LOAM_PROT_GLOBAL;
	block_mapping = mapping;
	block_mapping.largest_leaf = 21;
	*mapped = 0;
	while (chain->first != LOAM_PFN_NONE) {
		struct loam_vmalloc_chain before = *chain;
		loam_pfn run[LOAMI_VM_RUN];
		enum loam_status status;
		unsigned int order = 0;
		size_t n = 0;

		run[n] = loami_chain_pop(frames, chain, &order);
		if (order > 0) {
			n = LOAM_BLOCK_FRAMES;
			status = loam_paging_map(vm->config.tree, va, loam_frame_address(run[0]), n, &block_mapping);
		} else {
			/* Blocks come first, so only single frames follow. */
			for (n = 1; n < LOAMI_VM_RUN && chain->first != LOAM_PFN_NONE; n++)
				run[n] = loami_chain_pop(frames, chain, &order);
			status = loam_paging_map_frames(vm->config.tree, va, run, n, &mapping);
		}
		if (status != LOAM_OK) {
			*chain = before; /* popping left the links as they were */
			return LOAM_ERR_MAP_FAILED;
		}
		va += n << LOAM_PAGE_SHIFT;
		*mapped += n;
	}
	return LOAM_OK;
}

struct collect {
	struct loam_frames *frames;
	struct loam_vmalloc_chain *chain;
	bool huge;
	size_t inner; /* pages to come that belong to a block whose head has been seen */
};

static void collect_leaf(void *context, uintptr_t va, loam_paddr pa, size_t npages)
{
	struct collect *collect = context;
	loam_pfn pfn = loam_frame_containing(pa);

	(void)va;
	for (size_t i = 0; i < npages;) {
		size_t n = 1;

		if (collect->inner > 0) {
			n = collect->inner < npages - i ? collect->inner : npages - i;
			collect->inner -= n;
		} else if (collect->huge && loami_chain_order(collect->frames, pfn + i) > 0) {
			loami_chain_push(collect->frames, collect->chain, pfn + i, LOAM_BLOCK_ORDER);
			collect->inner = LOAM_BLOCK_FRAMES - 1;
		} else {
			loami_chain_push(collect->frames, collect->chain, pfn + i, 0);
		}
		i += n;
	}
}

void loami_vm_unmap(struct loam_vm *vm, const struct loam_area *area, uintptr_t va, size_t npages, uint32_t flags,
		    struct loami_vm_frames *frames)
{
	struct collect collect = {.frames = vm->config.frames, .huge = (flags & LOAMI_VM_HUGE) != 0};
	enum loam_status status;

	if (frames == NULL) {
		status = loam_paging_unmap(vm->config.tree, va, npages, NULL, NULL);
	} else {
		frames->nrun = 0;
		frames->chain = LOAMI_CHAIN_EMPTY;
		collect.chain = &frames->chain;
		if (LOAMI_LIKELY(npages <= LOAMI_VM_RUN && !collect.huge)) {
			status = loam_paging_unmap_frames(vm->config.tree, va, npages, frames->run);
			frames->nrun = npages;
		} else {
			status = loam_paging_unmap(vm->config.tree, va, npages, collect_leaf, &collect);
		}
	}
	if (LOAMI_LIKELY(status == LOAM_OK))
		return;
	loam_arena_unclaim(&vm->arena, area);
	loami_corrupt("loam: vmalloc: the area at 0x%lx of %lu pages cannot be unmapped: %s", (unsigned long)va,
		      (unsigned long)npages, loam_status_name(status));
}

void loami_vm_free_frames(struct loam_vm *vm, struct loami_vm_frames *frames)
{
	if (frames->nrun > 0)
		loam_frame_free_batch(vm->config.frames, frames->run, frames->nrun);
	(void)loami_chain_free(vm->config.frames, &frames->chain);
}

bool loami_vm_prot_is_valid(unsigned int prot)
{
	return prot == LOAM_PROT_READ || prot == (LOAM_PROT_READ | LOAM_PROT_WRITE) ||
	       prot == (LOAM_PROT_READ | LOAM_PROT_EXEC);
}

/* A range with entries of the caller's choice. @pfns NULL: consecutive memory from @pa on. */
static enum loam_status map_foreign(struct loam_vm *vm, const loam_pfn *pfns, loam_paddr pa,
				    const struct loam_mapping *mapping, const struct loami_vm_request *request,
				    struct loam_area *area)
{
	enum loam_status status = loami_vm_reserve(vm, request->npages, 0, area);

	if (status != LOAM_OK)
		return loami_vm_fail(vm, status, request->nbytes, request->npages);
	for (bool again = true;; again = false) {
		if (pfns != NULL)
			status = loam_paging_map_frames(vm->config.tree, area->start, pfns, request->npages, mapping);
		else
			status = loam_paging_map(vm->config.tree, area->start, pa, request->npages, mapping);
		if (status != LOAM_ERR_NO_MEMORY || !again || !loami_vm_purge_for_memory(vm))
			break;
	}
	if (status != LOAM_OK) {
		loami_vm_undo(vm, area, area->start, 0, request->flags, NULL);
		if (status != LOAM_ERR_OUT_OF_RANGE && status != LOAM_ERR_INVALID)
			status = LOAM_ERR_MAP_FAILED;
		return loami_vm_fail(vm, status, request->nbytes, request->npages);
	}
	loami_vm_start(vm, area, request);
	return LOAM_OK;
}

enum loam_status loam_vmap(struct loam_vm *vm, const loam_pfn *pfns, size_t npages, unsigned int prot,
			   const struct loam_call_site *site, void **address)
{
	struct loam_mapping mapping = {.prot = prot | LOAM_PROT_GLOBAL, .cache = LOAM_CACHE_WRITE_BACK};
	struct loami_vm_request request;
	struct loam_area area;
	enum loam_status status;

	LOAMI_TASK_ONLY();
	if (!loami_vm_prot_is_valid(prot))
		return LOAM_ERR_PROTECTION;
	status = loami_vm_ensure(vm);
	if (status != LOAM_OK)
		return status;
	if (npages == 0)
		return loami_vm_reject(vm, LOAM_ERR_ZERO_SIZE, 0, 0);
	if (npages > vm->config.nbytes >> LOAM_PAGE_SHIFT)
		return loami_vm_reject(vm, LOAM_ERR_TOO_LARGE, npages << LOAM_PAGE_SHIFT, npages);
	loami_vm_request(&request, site, npages << LOAM_PAGE_SHIFT, npages, LOAMI_VM_FRAMES);
	status = map_foreign(vm, pfns, 0, &mapping, &request, &area);
	if (status == LOAM_OK)
		*address = (void *)area.start;
	return status;
}

enum loam_status loam_vmap_phys(struct loam_vm *vm, loam_paddr pa, size_t nbytes, enum loam_cache cache,
				const struct loam_call_site *site, void **address)
{
	struct loam_mapping mapping = {.prot = LOAM_PROT_READ | LOAM_PROT_WRITE | LOAM_PROT_GLOBAL, .cache = cache};
	size_t offset = (size_t)(pa & (LOAM_PAGE_SIZE - 1));
	loam_paddr end;
	struct loami_vm_request request;
	struct loam_area area;
	enum loam_status status;

	LOAMI_TASK_ONLY();
	if ((unsigned int)cache > LOAM_CACHE_DEVICE)
		return LOAM_ERR_INVALID;
	status = loami_vm_ensure(vm);
	if (status != LOAM_OK)
		return status;
	if (nbytes == 0)
		return loami_vm_reject(vm, LOAM_ERR_ZERO_SIZE, 0, 0);
	if (nbytes > vm->config.nbytes)
		return loami_vm_reject(vm, LOAM_ERR_TOO_LARGE, nbytes, 0);
	if (loami_add_overflows(pa, nbytes + LOAM_PAGE_SIZE - 1, &end))
		return LOAM_ERR_OVERFLOW;
	loami_vm_request(&request, site, nbytes, (offset + nbytes + LOAM_PAGE_SIZE - 1) >> LOAM_PAGE_SHIFT,
			 LOAMI_VM_DEVICE);
	request.owner = offset;
	status = map_foreign(vm, NULL, pa - offset, &mapping, &request, &area);
	if (status == LOAM_OK)
		*address = (void *)(area.start + offset);
	return status;
}

bool loam_vunmap(struct loam_vm *vm, void *address)
{
	uintptr_t start = loami_align_down((uintptr_t)address, LOAM_PAGE_SIZE);
	struct loam_area area;

	LOAMI_NOT_FROM_NMI();
	if (address == NULL)
		return true;
	if (!loami_vm_is_ready(vm))
		return loami_vm_refuse(vm, address);
	if (!loami_vm_claim(vm, start,
			    start == (uintptr_t)address ? LOAMI_VM_FRAMES | LOAMI_VM_DEVICE : LOAMI_VM_DEVICE, &area))
		return loami_vm_refuse(vm, address);
	if ((area.record->flags & LOAMI_VM_DEVICE) != 0 && area.record->owner != (uintptr_t)address - start) {
		loam_arena_unclaim(&vm->arena, &area); /* not the address it was returned with */
		return loami_vm_refuse(vm, address);
	}
	loami_vm_unmap(vm, &area, area.start, area.npages, area.record->flags, NULL);
	loami_vm_uncount(vm, area.npages);
	loami_vm_publish(vm, &area, NULL);
	loami_vm_reap_after(vm, area.npages);
	return true;
}

enum loam_status loam_vmalloc_protect(struct loam_vm *vm, void *address, unsigned int prot)
{
	struct loam_tlb_range range = {.start = (uintptr_t)address, .stride_shift = LOAM_PAGE_SHIFT};
	struct loam_area area;
	enum loam_status status;

	LOAMI_TASK_ONLY();
	if (!loami_vm_prot_is_valid(prot))
		return LOAM_ERR_PROTECTION;
	if (!loami_vm_is_ready(vm))
		return LOAM_ERR_NOT_READY;
	if ((uintptr_t)address < vm->arena.start || (uintptr_t)address >= vm->arena.end)
		return LOAM_ERR_OUT_OF_RANGE;
	if (!loami_vm_claim(vm, (uintptr_t)address, LOAMI_VM_MEMORY | LOAMI_VM_FRAMES | LOAMI_VM_DEVICE, &area))
		return LOAM_ERR_NOT_FOUND;
	/* Claimed, so that nobody frees it while its entries change. */
	status = loam_paging_protect(vm->config.tree, area.start, area.npages, prot | LOAM_PROT_GLOBAL);
	loam_arena_unclaim(&vm->arena, &area);
	if (status != LOAM_OK)
		return status;
	range.npages = area.npages;
	return loam_tlb_wait(vm->config.tlb, loam_tlb_flush_start(vm->config.tlb, &range, 1));
}
