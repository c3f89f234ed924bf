/* vmalloc/chain.c: frames in a row without an array.
 *
 * A frame's slot lends its link words and its tail to the owner, so the frames of an area are chained through their slots from the moment they are taken until
 * they are mapped, and again from the moment they are unmapped until every CPU has flushed. In between the page tables are the list. The next word links;
 * the first byte of the tail says whether the element is one frame or a block of 512.
 */
#include "vmalloc.h"

void loami_chain_push(struct loam_frames *frames, struct loam_vmalloc_chain *chain, loam_pfn pfn, unsigned int order)
{
	struct loam_slot *slot = loam_frame_slot(frames, pfn);

	slot->next = chain->first;
	slot->tail[0] = (uint8_t)order;
	if (chain->first == LOAM_PFN_NONE)
		chain->last = pfn;
	chain->first = pfn;
	chain->npages += (size_t)1 << order;
}

unsigned int loami_chain_order(struct loam_frames *frames, loam_pfn pfn)
{
	return loam_frame_slot(frames, pfn)->tail[0];
}

loam_pfn loami_chain_pop(struct loam_frames *frames, struct loam_vmalloc_chain *chain, unsigned int *order)
{
	loam_pfn pfn = chain->first;
	struct loam_slot *slot;

	if (pfn == LOAM_PFN_NONE)
		return pfn;
	slot = loam_frame_slot(frames, pfn);
	*order = slot->tail[0];
	chain->first = slot->next;
	chain->npages -= (size_t)1 << *order;
	return pfn;
}

void loami_run_to_chain(struct loam_frames *frames, struct loami_vm_frames *of)
{
	for (size_t i = 0; i < of->nrun; i++)
		loami_chain_push(frames, &of->chain, of->run[i], 0);
	of->nrun = 0;
}

void loami_chain_join(struct loam_frames *frames, struct loam_vmalloc_chain *chain, struct loam_vmalloc_chain *more)
{
	if (more->first == LOAM_PFN_NONE)
		return;
	if (chain->first == LOAM_PFN_NONE) {
		*chain = *more;
	} else {
		loam_frame_slot(frames, chain->last)->next = more->first;
		chain->last = more->last;
		chain->npages += more->npages;
	}
	*more = LOAMI_CHAIN_EMPTY;
}

size_t loami_chain_free(struct loam_frames *frames, struct loam_vmalloc_chain *chain)
{
	loam_pfn run[LOAMI_VM_RUN];
	unsigned int order;
	size_t n = 0, npages = 0;

	for (loam_pfn pfn; (pfn = loami_chain_pop(frames, chain, &order)) != LOAM_PFN_NONE;) {
		npages += (size_t)1 << order;
		if (order > 0) {
			loam_frame_free(frames, pfn, order);
			continue;
		}
		run[n++] = pfn;
		if (n == LOAMI_VM_RUN) {
			loam_frame_free_batch(frames, run, n);
			n = 0;
		}
	}
	if (n > 0)
		loam_frame_free_batch(frames, run, n);
	*chain = LOAMI_CHAIN_EMPTY;
	return npages;
}

size_t loami_run_take(struct loam_vm *vm, size_t n, const struct loam_frame_opts *opts, loam_pfn *run)
{
	if (LOAMI_FAIL(LOAMI_FAIL_FRAME))
		return 0;
	return loam_frame_alloc_batch(vm->config.frames, n, opts, run);
}

/* Up to @npages in all; what can be had without waiting. Blocks come before single frames. */
static void take_what_there_is(struct loam_vm *vm, size_t npages, const struct loam_frame_opts *opts, bool huge,
			       struct loam_vmalloc_chain *chain)
{
	struct loam_frames *frames = vm->config.frames;
	struct loam_vmalloc_chain singles = LOAMI_CHAIN_EMPTY;
	loam_pfn run[LOAMI_VM_RUN];

	while (huge && npages - chain->npages >= LOAM_BLOCK_FRAMES) {
		loam_pfn pfn = loam_frame_alloc(frames, LOAM_BLOCK_ORDER, opts);

		if (pfn == LOAM_PFN_NONE)
			break;
		loami_chain_push(frames, chain, pfn, LOAM_BLOCK_ORDER);
	}
	while (chain->npages + singles.npages < npages) {
		size_t n = npages - chain->npages - singles.npages;

		n = loami_run_take(vm, n < LOAMI_VM_RUN ? n : LOAMI_VM_RUN, opts, run);
		if (n == 0)
			break;
		for (size_t i = 0; i < n; i++)
			loami_chain_push(frames, &singles, run[i], 0);
	}
	loami_chain_join(frames, chain, &singles);
}

enum loam_status loami_chain_take(struct loam_vm *vm, size_t npages, bool uninitialized, bool huge,
				  struct loam_vmalloc_chain *chain)
{
	struct loam_frame_opts opts = {.purpose = LOAM_PURPOSE_KERNEL, .uninitialized = uninitialized};

	*chain = LOAMI_CHAIN_EMPTY;
	if (npages > vm->ram_pages)
		return LOAM_ERR_NO_MEMORY;
	take_what_there_is(vm, npages, &opts, huge, chain);
	if (chain->npages < npages && loami_vm_purge_for_memory(vm))
		take_what_there_is(vm, npages, &opts, false, chain);
	if (chain->npages == npages)
		return LOAM_OK;
	(void)loami_chain_free(vm->config.frames, chain);
	return LOAM_ERR_NO_MEMORY;
}
