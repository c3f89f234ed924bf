/* vmalloc/list.c: the frames of what is freed, as numbers in whole frames.
 *
 * 1 Concepts: up to 64 frames unmapped at once, which is nearly every area, are written down in the *list* that is open on this CPU: frames full of frame numbers, 512 to each, chained by
 *   their own slots (next; prev holds the count). So giving an area up reads and writes no slot of its frames, and giving them back hands arrays to the frame layer. Longer areas, and
 *   blocks of 2 MiB, are chained through their slots (chain.c), on the area's record.
 * 2 Frames for lists: each CPU begins with one; those that have been emptied wait in the instance's stock, a few of them; else the frame layer is asked, without reclaim. Where there is none
 *   the frames are chained like those of a long area. So giving up cannot fail.
 * 3 Invariant: a list is sealed together with the areas published on its CPU, and an area with its frames is added under the one lock that sealing takes. So a flush of exactly a batch's
 *   areas covers its list.
 * 4 Locks: the CPU's, which is the arena's too, for its open list and to publish; the instance's for the stock. Never both.
 */
#include "vmalloc.h"

#include <loam/frame.h>

enum {
	STOCK_MAX = 16, /* frames for lists that wait for their next use */
};

static loam_pfn *numbers(const struct loam_vm *vm, loam_pfn pfn)
{
	return loam_frame_virt(vm->config.frames, pfn);
}

static void chain_frame(struct loam_vm *vm, loam_pfn *first, loam_pfn pfn, uint64_t count)
{
	struct loam_slot *slot = loam_frame_slot(vm->config.frames, pfn);

	slot->next = *first;
	slot->prev = count;
	*first = pfn;
}

static loam_pfn unchain_frame(struct loam_vm *vm, loam_pfn *first, uint64_t *count)
{
	loam_pfn pfn = *first;
	const struct loam_slot *slot = loam_frame_slot(vm->config.frames, pfn);

	*first = slot->next;
	*count = slot->prev;
	return pfn;
}

/* ---- frames for lists ------------------------------------------------------------------------------------------------------------------------------- */

/* For a caller with no lock; LOAM_PFN_NONE: there is none. */
static loam_pfn take_frame(struct loam_vm *vm)
{
	const struct loam_frame_opts opts = {.uninitialized = true, .no_reclaim = true, .use_reserve = true};
	loam_pfn pfn = LOAM_PFN_NONE;
	unsigned long irq = loami_lock_irq(&vm->lock);
	uint64_t count;

	if (vm->list_stock != LOAM_PFN_NONE) {
		pfn = unchain_frame(vm, &vm->list_stock, &count);
		vm->nlist_stock--;
	}
	loami_unlock_irq(&vm->lock, irq);
	if (pfn == LOAM_PFN_NONE && !LOAMI_FAIL(LOAMI_FAIL_METADATA)) {
		pfn = loam_frame_alloc(vm->config.frames, 0, &opts);
		if (pfn != LOAM_PFN_NONE)
			(void)loami_fetch_add_relaxed(&vm->nlists, 1);
	}
	return pfn;
}

static void free_frame(struct loam_vm *vm, loam_pfn pfn)
{
	(void)loami_fetch_sub_relaxed(&vm->nlists, 1);
	loam_frame_free(vm->config.frames, pfn, 0);
}

static void put_frame(struct loam_vm *vm, loam_pfn pfn)
{
	unsigned long irq = loami_lock_irq(&vm->lock);
	bool room = vm->nlist_stock < STOCK_MAX;

	if (room) {
		chain_frame(vm, &vm->list_stock, pfn, 0);
		vm->nlist_stock++;
	}
	loami_unlock_irq(&vm->lock, irq);
	if (!room)
		free_frame(vm, pfn);
}

size_t loami_list_drop_stock(struct loam_vm *vm)
{
	unsigned long irq = loami_lock_irq(&vm->lock);
	loam_pfn first = vm->list_stock;
	size_t n = 0;
	uint64_t count;

	vm->list_stock = LOAM_PFN_NONE;
	vm->nlist_stock = 0;
	loami_unlock_irq(&vm->lock, irq);
	for (; first != LOAM_PFN_NONE; n++)
		free_frame(vm, unchain_frame(vm, &first, &count));
	return n;
}

bool loami_list_open(struct loam_vm *vm, struct loami_vm_cpu *cpu)
{
	cpu->list_frame = take_frame(vm);
	cpu->list = cpu->list_frame == LOAM_PFN_NONE ? NULL : numbers(vm, cpu->list_frame);
	cpu->nlist = 0;
	return cpu->list != NULL;
}

void loami_list_close(struct loam_vm *vm, struct loami_vm_cpu *cpu)
{
	if (cpu->list != NULL)
		free_frame(vm, cpu->list_frame);
	cpu->list = NULL;
}

/* ---- filling, sealing, emptying ------------------------------------------------------------------------------------------------------------------- */

/* What is in the CPU's current frame joins the rest of its list. The CPU's lock is held. */
static void close_current(struct loam_vm *vm, struct loami_vm_cpu *cpu)
{
	chain_frame(vm, &cpu->full.frames, cpu->list_frame, cpu->nlist);
	cpu->list = NULL;
	cpu->nlist = 0;
}

bool loami_list_publish(struct loam_vm *vm, const struct loam_area *area, const struct loami_vm_frames *frames,
			struct loam_arena_open *open)
{
	loam_pfn spare = LOAM_PFN_NONE;

	for (bool done = false; !done;) {
		unsigned long irq = loam_port_irq_save();
		unsigned int number = loam_port_cpu();
		struct loami_vm_cpu *cpu = loami_vm_cpu(vm, number);

		loami_lock(&cpu->arena->lock);
		if (spare != LOAM_PFN_NONE && (cpu->list == NULL || cpu->nlist + frames->nrun > LOAMI_LIST_NUMBERS)) {
			if (cpu->list != NULL)
				close_current(vm, cpu);
			cpu->list_frame = spare;
			cpu->list = numbers(vm, spare);
			spare = LOAM_PFN_NONE;
		}
		if (LOAMI_LIKELY(cpu->list != NULL && cpu->nlist + frames->nrun <= LOAMI_LIST_NUMBERS)) {
			__builtin_memcpy(&cpu->list[cpu->nlist], frames->run, frames->nrun * sizeof(loam_pfn));
			cpu->nlist += (uint32_t)frames->nrun;
			cpu->full.npages += frames->nrun;
			loami_arena_publish(&vm->arena, cpu->arena, number, area, open);
			done = true;
		}
		loami_unlock(&cpu->arena->lock);
		loam_port_irq_restore(irq);
		if (!done && spare == LOAM_PFN_NONE && (spare = take_frame(vm)) == LOAM_PFN_NONE)
			return false;
	}
	if (spare != LOAM_PFN_NONE)
		put_frame(vm, spare);
	return true;
}

void loami_list_seal(struct loam_vm *vm, struct loami_vm_cpu *cpu, struct loam_vmalloc_list *list)
{
	LOAMI_ASSERT(loami_lock_held(&cpu->arena->lock));
	if (cpu->nlist > 0)
		close_current(vm, cpu);
	loami_list_join(vm, list, &cpu->full);
}

void loami_list_join(struct loam_vm *vm, struct loam_vmalloc_list *list, struct loam_vmalloc_list *more)
{
	uint64_t count;

	while (more->frames != LOAM_PFN_NONE) {
		loam_pfn pfn = unchain_frame(vm, &more->frames, &count);

		chain_frame(vm, &list->frames, pfn, count);
	}
	list->npages += more->npages;
	*more = LOAMI_LIST_EMPTY;
}

size_t loami_list_take(struct loam_vm *vm, struct loam_vmalloc_list *list, size_t most, loam_pfn *run,
		       struct loam_vmalloc_list *whole)
{
	struct loam_slot *slot;
	size_t n;

	if (list->frames == LOAM_PFN_NONE)
		return 0;
	slot = loam_frame_slot(vm->config.frames, list->frames);
	if (slot->prev > LOAMI_VM_RUN && slot->prev <= most) {
		uint64_t count;
		loam_pfn pfn = unchain_frame(vm, &list->frames, &count);

		chain_frame(vm, &whole->frames, pfn, count);
		whole->npages += count;
		list->npages -= count;
		return 0;
	}
	n = most < LOAMI_VM_RUN ? most : LOAMI_VM_RUN;
	if (n > slot->prev)
		n = slot->prev;
	slot->prev -= n;
	__builtin_memcpy(run, numbers(vm, list->frames) + slot->prev, n * sizeof(loam_pfn));
	list->npages -= n;
	if (slot->prev == 0) {
		uint64_t count;

		chain_frame(vm, &whole->frames, unchain_frame(vm, &list->frames, &count), 0);
	}
	return n;
}

size_t loami_list_free(struct loam_vm *vm, struct loam_vmalloc_list *list)
{
	size_t npages = list->npages;
	uint64_t count;

	while (list->frames != LOAM_PFN_NONE) {
		loam_pfn pfn = unchain_frame(vm, &list->frames, &count);

		if (count > 0)
			loam_frame_free_batch(vm->config.frames, numbers(vm, pfn), count);
		put_frame(vm, pfn);
	}
	*list = LOAMI_LIST_EMPTY;
	return npages;
}
