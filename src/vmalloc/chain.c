/* vmalloc/chain.c: frames in a row without an array.
 *
 * A frame's slot lends its link words and its tail to the owner, so the frames of an area are chained through their slots from the moment they are taken until
 * they are mapped, and again from the moment they are unmapped until every CPU has flushed. In between the page tables are the list.
 *
 *	next      the next element's first frame, or LOAM_PFN_NONE
 *	tail[0]   order of the element: a block of 512 frames, or 0
 *	tail[1]   further single frames that it stands for, 0 to 2: prev, tail[8..15]
 *
 * So one slot in three is touched where single frames are chained many at a time. A chain of one page, whatever its slot says, is its first frame: nothing need be
 * written for it.
 */
#include "vmalloc.h"

static uint64_t *third(struct loam_slot *slot)
{
	return (uint64_t *)(void *)&slot->tail[8];
}

static struct loam_slot *push(struct loam_frames *frames, struct loam_vmalloc_chain *chain, loam_pfn pfn,
			      unsigned int order, unsigned int more)
{
	struct loam_slot *slot = loam_frame_slot(frames, pfn);

	slot->next = chain->first;
	slot->tail[0] = (uint8_t)order;
	slot->tail[1] = (uint8_t)more;
	if (chain->first == LOAM_PFN_NONE)
		chain->last = pfn;
	chain->first = pfn;
	chain->npages += ((size_t)1 << order) + more;
	return slot;
}

void loami_chain_push(struct loam_frames *frames, struct loam_vmalloc_chain *chain, loam_pfn pfn, unsigned int order)
{
	loami_chain_settle(frames, chain);
	(void)push(frames, chain, pfn, order, 0);
}

void loami_chain_push_run(struct loam_frames *frames, struct loam_vmalloc_chain *chain, const loam_pfn *run, size_t n)
{
	if (n == 1 && chain->first == LOAM_PFN_NONE) {
		*chain = (struct loam_vmalloc_chain){run[0], run[0], 1};
		return;
	}
	loami_chain_settle(frames, chain);
	while (n > 0) {
		unsigned int more = n < LOAMI_VM_ELEMENT ? (unsigned int)n - 1 : LOAMI_VM_ELEMENT - 1;
		struct loam_slot *slot = push(frames, chain, run[0], 0, more);

		if (more > 0)
			slot->prev = run[1];
		if (more > 1)
			*third(slot) = run[2];
		run += more + 1;
		n -= more + 1;
	}
}

void loami_chain_settle(struct loam_frames *frames, const struct loam_vmalloc_chain *chain)
{
	struct loam_slot *slot;

	if (chain->npages != 1)
		return;
	slot = loam_frame_slot(frames, chain->first);
	slot->next = LOAM_PFN_NONE;
	slot->tail[0] = 0;
	slot->tail[1] = 0;
}

unsigned int loami_chain_order(struct loam_frames *frames, loam_pfn pfn)
{
	return loam_frame_slot(frames, pfn)->tail[0];
}

size_t loami_chain_pop(struct loam_frames *frames, struct loam_vmalloc_chain *chain, loam_pfn *run, unsigned int *order)
{
	loam_pfn pfn = chain->first;
	struct loam_slot *slot;
	unsigned int more;

	if (pfn == LOAM_PFN_NONE)
		return 0;
	run[0] = pfn;
	*order = 0;
	if (chain->npages == 1) {
		chain->first = LOAM_PFN_NONE;
		chain->npages = 0;
		return 1;
	}
	slot = loam_frame_slot(frames, pfn);
	*order = slot->tail[0];
	more = slot->tail[1];
	if (more > 0)
		run[1] = slot->prev;
	if (more > 1)
		run[2] = *third(slot);
	chain->first = slot->next;
	chain->npages -= ((size_t)1 << *order) + more;
	return more + 1;
}

void loami_chain_join(struct loam_frames *frames, struct loam_vmalloc_chain *chain, struct loam_vmalloc_chain *more)
{
	if (more->first == LOAM_PFN_NONE)
		return;
	if (chain->first == LOAM_PFN_NONE) {
		*chain = *more;
	} else {
		loami_chain_settle(frames, chain);
		loami_chain_settle(frames, more);
		loam_frame_slot(frames, chain->last)->next = more->first;
		chain->last = more->last;
		chain->npages += more->npages;
	}
	*more = LOAMI_CHAIN_EMPTY;
}

void loami_bag_empty(struct loam_frames *frames, struct loami_vm_bag *bag)
{
	if (bag->n > 0)
		loam_frame_free_batch(frames, bag->run, bag->n);
	bag->n = 0;
}

void loami_bag_put_chain(struct loam_frames *frames, struct loami_vm_bag *bag, struct loam_vmalloc_chain *chain)
{
	unsigned int order;
	size_t n;

	for (;;) {
		if (bag->n + LOAMI_VM_ELEMENT > LOAMI_VM_RUN)
			loami_bag_empty(frames, bag);
		n = loami_chain_pop(frames, chain, &bag->run[bag->n], &order);
		if (n == 0)
			break;
		if (order > 0)
			loam_frame_free(frames, bag->run[bag->n], order);
		else
			bag->n += n;
	}
	*chain = LOAMI_CHAIN_EMPTY;
}

void loami_chain_free(struct loam_frames *frames, struct loam_vmalloc_chain *chain)
{
	struct loami_vm_bag bag;

	bag.n = 0;
	loami_bag_put_chain(frames, &bag, chain);
	loami_bag_empty(frames, &bag);
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
	loami_chain_free(vm->config.frames, chain);
	return LOAM_ERR_NO_MEMORY;
}
