/* vmalloc/realloc.c: another size for an area.
 *
 * 1 Shrink in place: the frames cut off wait for a flush without an area of their own (flush.c, loose); their addresses stay with the area, which is flushed as long
 *   as it was when it goes. A cut inside a 2 MiB block is rounded up to its end, one in a slab's place to what its state can say.
 * 2 Grow in place, where the range has room behind the area and has not been longer before: then nobody can hold old translations of the addresses it grows into.
 * 3 Move: the same frames are mapped at a new range too, new ones behind them; then the old entries are cleared and the old range is published without
 *   frames. A stale translation of the old address leads to a frame that still has the same owner.
 * 4 What comes in has the permissions of what is there (loam_vmalloc_protect()): an area has one set of them.
 * All of it under a claim, so nobody can free the area meanwhile. Failure undoes the step and leaves the area as it was.
 */
#include "vmalloc.h"

static void write_record(const struct loam_area *area, const struct loam_area_record *old, size_t nbytes,
			 uint32_t flags)
{
	struct loam_area_record record = *old;

	record.nbytes = nbytes;
	record.flags = flags;
	record.owner = 0; /* its entries may reach into another table now */
	loam_arena_write_record(area, &record);
}

/* Does @page lie inside a block, whatever leaves show it? Blocks come first in an area, so that each begins at a multiple of its length. */
static bool is_in_block(struct loam_vm *vm, const struct loam_area *area, size_t page)
{
	struct loam_paging_entry entry;
	size_t head = (size_t)loami_align_down(page, LOAM_BLOCK_FRAMES);

	return loam_paging_query(vm->config.tree, area->start + (head << LOAM_PAGE_SHIFT), &entry) == LOAM_OK &&
	       loami_chain_order(vm->config.frames, loam_frame_containing(entry.pa)) > 0;
}

static enum loam_status shrink(struct loam_vm *vm, struct loam_area *area, const struct loam_area_record *record,
			       size_t nbytes, size_t npages)
{
	struct loami_vm_frames frames;
	uint32_t flags = record->flags;
	size_t before = area->npages;
	enum loam_status status;

	if ((flags & LOAMI_VM_HUGE) != 0 && is_in_block(vm, area, npages - 1))
		npages = (size_t)loami_align_up(npages, LOAM_BLOCK_FRAMES);
	/* A place of a slab can say no less than its capacity less some pages: as near to that as it goes. */
	while (npages < before && (status = loam_arena_resize(&vm->arena, area, npages)) != LOAM_OK) {
		if (status != LOAM_ERR_NO_RANGE)
			loami_corrupt("loam: vmalloc: the area at 0x%lx cannot shrink: %s", (unsigned long)area->start,
				      loam_status_name(status));
		npages++;
	}
	if (npages < before) {
		loami_vm_unmap(vm, area, area->start + (npages << LOAM_PAGE_SHIFT), before - npages, flags, &frames);
		loami_vm_publish_loose(vm, &frames);
		loami_vm_uncount(vm, before - npages);
		flags |= LOAMI_VM_SHRUNK;
	}
	write_record(area, record, nbytes, flags);
	return LOAM_OK;
}

/* One for all of an area: what loam_vmalloc_protect() was told last. */
static unsigned int prot_of(struct loam_vm *vm, const struct loam_area *area)
{
	struct loam_paging_entry entry;

	if (loam_paging_query(vm->config.tree, area->start, &entry) != LOAM_OK)
		loami_corrupt("loam: vmalloc: the area at 0x%lx is not mapped", (unsigned long)area->start);
	return entry.prot;
}

static enum loam_status grow(struct loam_vm *vm, struct loam_area *area, const struct loam_area_record *record,
			     size_t nbytes, size_t npages, bool uninitialized)
{
	uintptr_t va = area->start + (area->npages << LOAM_PAGE_SHIFT);
	size_t before = area->npages, mapped;
	struct loam_vmalloc_chain chain;
	enum loam_status status = loami_chain_take(vm, npages - before, uninitialized, false, &chain);

	if (status != LOAM_OK)
		return status;
	status = loami_vm_map_chain(vm, va, &chain, prot_of(vm, area), &mapped);
	if (status != LOAM_OK) {
		struct loami_vm_frames unmapped;

		(void)loami_chain_free(vm->config.frames, &chain);
		if (mapped > 0) {
			loami_vm_unmap(vm, area, va, mapped, 0, &unmapped);
			loami_vm_publish_loose(vm, &unmapped);
			write_record(area, record, record->nbytes, record->flags | LOAMI_VM_SHRUNK);
		}
		return status;
	}
	status = loam_arena_resize(&vm->arena, area, npages);
	if (status != LOAM_OK)
		loami_corrupt("loam: vmalloc: the area at 0x%lx cannot grow: %s", (unsigned long)area->start,
			      loam_status_name(status));
	loami_vm_count(vm, npages - before);
	write_record(area, record, nbytes, record->flags);
	return LOAM_OK;
}

/* Map what is behind the first @npages of @from at @to as well, in leaves of the same size. */
static enum loam_status map_again(struct loam_vm *vm, uintptr_t from, uintptr_t to, size_t npages, size_t *mapped)
{
	struct loam_mapping mapping = {.prot = LOAM_PROT_READ | LOAM_PROT_WRITE | LOAM_PROT_GLOBAL};

	*mapped = 0;
	while (*mapped < npages) {
		uintptr_t va = from + (*mapped << LOAM_PAGE_SHIFT);
		struct loam_paging_entry entry;
		loam_pfn run[LOAMI_VM_RUN];
		enum loam_status status;
		size_t n = 0;

		status = loam_paging_query(vm->config.tree, va, &entry);
		if (status == LOAM_OK && entry.leaf_shift > LOAM_PAGE_SHIFT) {
			n = LOAM_BLOCK_FRAMES;
			mapping.largest_leaf = 21;
			mapping.prot = entry.prot | LOAM_PROT_GLOBAL;
			status = loam_paging_map(vm->config.tree, to + (*mapped << LOAM_PAGE_SHIFT), entry.pa, n,
						 &mapping);
		} else {
			unsigned int prot = entry.prot;

			for (; status == LOAM_OK && n < LOAMI_VM_RUN && *mapped + n < npages; n++) {
				status = loam_paging_query(vm->config.tree, va + (n << LOAM_PAGE_SHIFT), &entry);
				if (status != LOAM_OK || entry.leaf_shift > LOAM_PAGE_SHIFT)
					break;
				run[n] = loam_frame_containing(entry.pa);
			}
			mapping.largest_leaf = LOAM_PAGE_SHIFT;
			mapping.prot = prot | LOAM_PROT_GLOBAL;
			if (status == LOAM_OK)
				status = loam_paging_map_frames(vm->config.tree, to + (*mapped << LOAM_PAGE_SHIFT), run,
								n, &mapping);
		}
		if (status != LOAM_OK)
			return LOAM_ERR_MAP_FAILED;
		*mapped += n;
	}
	return LOAM_OK;
}

static enum loam_status move(struct loam_vm *vm, struct loam_area *area, const struct loami_vm_request *request,
			     const struct loam_vmalloc_opts *opts, struct loam_area *fresh)
{
	struct loam_vmalloc_chain chain;
	size_t align = opts->align, mapped = 0, more = 0;
	enum loam_status status =
		loami_chain_take(vm, request->npages - area->npages, opts->uninitialized, false, &chain);

	if (status != LOAM_OK)
		return status;
	if ((request->flags & LOAMI_VM_HUGE) != 0 && align < LOAM_BLOCK_FRAMES << LOAM_PAGE_SHIFT)
		align = LOAM_BLOCK_FRAMES << LOAM_PAGE_SHIFT;
	status = loami_vm_reserve(vm, request->npages, align, fresh);
	if (status != LOAM_OK) {
		(void)loami_chain_free(vm->config.frames, &chain);
		return status;
	}
	status = map_again(vm, area->start, fresh->start, area->npages, &mapped);
	if (status == LOAM_OK)
		status = loami_vm_map_chain(vm, fresh->start + (mapped << LOAM_PAGE_SHIFT), &chain, prot_of(vm, area),
					    &more);
	if (status != LOAM_OK) {
		struct loami_vm_frames unmapped;

		/* New frames that were mapped wait; the old ones, mapped a second time, are not ours to give. */
		if (more > 0) {
			loami_vm_unmap(vm, fresh, fresh->start + (mapped << LOAM_PAGE_SHIFT), more, 0, &unmapped);
			loami_vm_publish_loose(vm, &unmapped);
		}
		(void)loami_chain_free(vm->config.frames, &chain);
		loami_vm_undo(vm, fresh, fresh->start, mapped, request->flags, NULL);
		return status;
	}
	loami_vm_start(vm, fresh, request);
	loami_vm_unmap(vm, area, area->start, area->npages, request->flags, NULL);
	loami_vm_uncount(vm, area->npages);
	loami_vm_publish(vm, area, NULL);
	return LOAM_OK;
}

enum loam_status loam_vrealloc(struct loam_vm *vm, void *address, size_t nbytes, const struct loam_vmalloc_opts *opts,
			       void **out)
{
	static const struct loam_vmalloc_opts defaults;
	struct loami_vm_request request;
	struct loam_area_record record;
	struct loam_area area, fresh;
	enum loam_status status;

	LOAMI_TASK_ONLY();
	if (opts == NULL)
		opts = &defaults;
	if (address == NULL)
		return loam_vmalloc_status(vm, nbytes, opts, out);
	if (!loami_vm_is_ready(vm))
		return LOAM_ERR_NOT_READY;
	if ((uintptr_t)address < vm->arena.start || (uintptr_t)address >= vm->arena.end)
		return LOAM_ERR_OUT_OF_RANGE;
	status = loami_vm_policy(vm, nbytes, opts->align);
	if (status != LOAM_OK)
		return status;
	if (!loami_vm_claim(vm, (uintptr_t)address, LOAMI_VM_MEMORY, &area))
		return LOAM_ERR_NOT_FOUND;
	record = *area.record;

	loami_vm_request(&request, opts->site != NULL ? opts->site : record.site, nbytes,
			 (nbytes + LOAM_PAGE_SIZE - 1) >> LOAM_PAGE_SHIFT, record.flags & ~(uint32_t)LOAMI_VM_SHRUNK);
	if (request.npages <= area.npages) {
		status = shrink(vm, &area, &record, nbytes, request.npages);
	} else if (request.npages <= area.capacity && (record.flags & LOAMI_VM_SHRUNK) == 0) {
		status = grow(vm, &area, &record, nbytes, request.npages, opts->uninitialized);
	} else {
		status = move(vm, &area, &request, opts, &fresh);
		if (status == LOAM_OK) {
			*out = (void *)fresh.start;
			loami_vm_reap_after(vm, request.npages);
			return LOAM_OK;
		}
	}
	loam_arena_unclaim(&vm->arena, &area);
	loami_vm_reap_after(vm, request.npages);
	if (status != LOAM_OK)
		return loami_vm_fail(vm, status, nbytes, request.npages);
	*out = address;
	return LOAM_OK;
}
