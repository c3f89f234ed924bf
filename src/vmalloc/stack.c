/* vmalloc/stack.c: kernel stacks with guards, and the few that a CPU keeps mapped.
 *
 * A stack's area begins with its lower guard, a page of its own, so that an overflow is told from any other stray access. A freed stack stays mapped in its
 * CPU's cache, claimed (so it is neither live nor free) with its flag CACHED: handing it out again needs no flush, as it is the same frames at the same
 * addresses; it is only zeroed, through the direct map. A purge drains the caches.
 */
#include "vmalloc.h"

#include <loam/frame.h>

static bool pop_cached(struct loam_vm *vm, size_t npages, struct loam_area *area)
{
	unsigned long irq = loam_port_irq_save();
	struct loami_vm_cpu *cpu = loami_vm_cpu(vm, loam_port_cpu());
	bool found = false;

	loami_lock(&cpu->arena->lock);
	for (uint32_t i = cpu->nstacks; i > 0 && !found; i--) {
		if (cpu->stacks[i - 1].npages != npages + 1)
			continue;
		*area = cpu->stacks[i - 1];
		cpu->stacks[i - 1] = cpu->stacks[--cpu->nstacks];
		found = true;
	}
	loami_unlock(&cpu->arena->lock);
	loam_port_irq_restore(irq);
	return found;
}

static bool push_cached(struct loam_vm *vm, const struct loam_area *area)
{
	unsigned long irq;
	struct loami_vm_cpu *cpu;
	bool room;

	if (area->npages - 1 > LOAMI_VM_STACK_PAGES)
		return false;
	irq = loam_port_irq_save();
	cpu = loami_vm_cpu(vm, loam_port_cpu());
	loami_lock(&cpu->arena->lock);
	room = cpu->nstacks < LOAMI_VM_STACKS;
	if (room)
		cpu->stacks[cpu->nstacks++] = *area;
	loami_unlock(&cpu->arena->lock);
	loam_port_irq_restore(irq);
	return room;
}

static void zero(struct loam_vm *vm, uintptr_t va, size_t npages)
{
	for (size_t i = 0; i < npages; i++) {
		struct loam_paging_entry entry;
		uint64_t *words;

		if (loam_paging_query(vm->config.tree, va + (i << LOAM_PAGE_SHIFT), &entry) != LOAM_OK)
			loami_corrupt("loam: vmalloc: the cached stack at 0x%lx is not mapped", (unsigned long)va);
		words = loam_frame_virt(vm->config.frames, loam_frame_containing(entry.pa));
		for (size_t j = 0; j < LOAM_PAGE_SIZE / sizeof(*words); j++)
			words[j] = 0;
	}
}

static void unmap_and_publish(struct loam_vm *vm, const struct loam_area *area)
{
	struct loami_vm_frames frames;

	loami_vm_unmap(vm, area, loami_vm_base(area, LOAMI_VM_STACK), loami_vm_pages(area, LOAMI_VM_STACK), 0, &frames);
	loami_vm_publish(vm, area, &frames);
}

/* Has none of its frames been marked as poisoned, by its last user or since? */
static bool is_sound(struct loam_vm *vm, const struct loam_area *area)
{
	uintptr_t va = loami_vm_base(area, LOAMI_VM_STACK);
	struct loam_paging_entry entry;

	if (loami_load_acquire(vm->poisonings) == 0)
		return true;
	for (size_t i = 0; i < loami_vm_pages(area, LOAMI_VM_STACK); i++)
		if (loam_paging_query(vm->config.tree, va + (i << LOAM_PAGE_SHIFT), &entry) == LOAM_OK &&
		    loam_frame_is_poisoned(vm->config.frames, loam_frame_containing(entry.pa)))
			return false;
	return true;
}

/* A stack that waits, of the length wanted; a bad one is freed as any area is. */
static bool take_cached(struct loam_vm *vm, size_t npages, struct loam_area *area)
{
	while (pop_cached(vm, npages, area)) {
		if (LOAMI_LIKELY(is_sound(vm, area)))
			return true;
		unmap_and_publish(vm, area);
	}
	return false;
}

enum loam_status loam_vstack_alloc(struct loam_vm *vm, size_t nbytes, const struct loam_call_site *site, void **top)
{
	struct loami_vm_request request;
	struct loam_area area;
	enum loam_status status;

	LOAMI_TASK_ONLY();
	status = loami_vm_ensure(vm);
	if (status == LOAM_OK)
		status = loami_vm_policy(vm, nbytes, 0);
	if (status != LOAM_OK)
		return status;
	loami_vm_request(&request, site, nbytes, (nbytes + LOAM_PAGE_SIZE - 1) >> LOAM_PAGE_SHIFT, LOAMI_VM_STACK);
	loami_vm_repay(vm, request.npages);
	if (take_cached(vm, request.npages, &area)) {
		zero(vm, loami_vm_base(&area, LOAMI_VM_STACK), request.npages);
		loami_vm_start(vm, &area, &request);
	} else {
		status = loami_vm_allocate(vm, &request, 0, false, &area);
	}
	if (status == LOAM_OK)
		*top = (void *)(area.start + (area.npages << LOAM_PAGE_SHIFT));
	return status;
}

bool loam_vstack_free(struct loam_vm *vm, void *top)
{
	struct loam_area area;

	LOAMI_NOT_FROM_NMI();
	if (top == NULL)
		return true;
	if (!loami_vm_is_ready(vm) || !loami_is_aligned((uintptr_t)top, LOAM_PAGE_SIZE) ||
	    loam_arena_lookup(&vm->arena, (uintptr_t)top - 1, &area, NULL) != LOAM_OK ||
	    area.start + (area.npages << LOAM_PAGE_SHIFT) != (uintptr_t)top ||
	    !loami_vm_claim(vm, area.start, LOAMI_VM_STACK, &area))
		return loami_vm_refuse(vm, top);
	loami_vm_uncount(vm, loami_vm_pages(&area, LOAMI_VM_STACK));
	loam_arena_write_record(&area, &(struct loam_area_record){.flags = LOAMI_VM_STACK | LOAMI_VM_CACHED});
	if (!push_cached(vm, &area))
		unmap_and_publish(vm, &area);
	loami_vm_reap_after(vm, loami_vm_pages(&area, LOAMI_VM_STACK));
	return true;
}

void loami_vm_drain_stacks(struct loam_vm *vm, unsigned int number)
{
	struct loami_vm_cpu *cpu = loami_vm_cpu(vm, number);

	for (;;) {
		unsigned long irq = loami_lock_irq(&cpu->arena->lock);
		struct loam_area area;
		bool any = cpu->nstacks > 0;

		if (any)
			area = cpu->stacks[--cpu->nstacks];
		loami_unlock_irq(&cpu->arena->lock, irq);
		if (!any)
			return;
		unmap_and_publish(vm, &area);
	}
}
