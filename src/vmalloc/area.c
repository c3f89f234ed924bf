/* vmalloc/area.c: what all kinds of areas have in common: who asked, the range, the record, and the way back.
 *
 * 1 Order of an allocation (SPEC V2): policy; attribution, before any lock; frames, with no lock held; range; mapping; record. Failure at any step undoes the ones
 *   before. A range that never had an entry is released at once; one that had goes the way of everything freed, through a flush, because a CPU may
 *   have cached an entry that nobody used.
 * 2 A range is reserved claimed, so while it is being mapped no stale address can take it, and becomes live as the last step of all. An area whose sequence is 0 is
 *   being made, and is neither listed nor freed.
 * 3 Failures: policy rejects (zero size, larger than the arena, alignment) and failures are counted apart; both set the failure record, a success clears it.
 */
#include "vmalloc.h"

void loami_vm_request(struct loami_vm_request *request, const struct loam_call_site *site, size_t nbytes, size_t npages,
		      uint32_t flags)
{
	*request = (struct loami_vm_request){.site = site, .nbytes = nbytes, .npages = npages, .flags = flags};
	loam_port_task(&request->task);
	request->time = loam_port_time();
}

static enum loam_status record_failure(struct loam_vm *vm, enum loam_status status, size_t nbytes, size_t npages)
{
	unsigned long irq = loami_lock_irq(&vm->failure_lock);

	vm->failure =
		(struct loam_vmalloc_failure){.status = status,
					      .nbytes = nbytes,
					      .npages = npages,
					      .max_allowed = status == LOAM_ERR_TOO_LARGE ? vm->config.nbytes : 0};
	loami_store_relaxed(&vm->failed, 1);
	loami_unlock_irq(&vm->failure_lock, irq);
	return status;
}

enum loam_status loami_vm_fail(struct loam_vm *vm, enum loam_status status, size_t nbytes, size_t npages)
{
	(void)loami_fetch_add_relaxed(&vm->failures, 1);
	return record_failure(vm, status, nbytes, npages);
}

enum loam_status loami_vm_reject(struct loam_vm *vm, enum loam_status status, size_t nbytes, size_t npages)
{
	(void)loami_fetch_add_relaxed(&vm->policy_rejects, 1);
	return record_failure(vm, status, nbytes, npages);
}

bool loami_vm_refuse(struct loam_vm *vm, const void *address)
{
	(void)loami_fetch_add_relaxed(&vm->refused_frees, 1);
	loami_store_relaxed(&vm->last_refused, (uintptr_t)address);
	return false;
}

static void clear_failure(struct loam_vm *vm)
{
	unsigned long irq;

	if (LOAMI_LIKELY(loami_load_relaxed(&vm->failed) == 0))
		return;
	irq = loami_lock_irq(&vm->failure_lock);
	vm->failure = (struct loam_vmalloc_failure){0};
	loami_store_relaxed(&vm->failed, 0);
	loami_unlock_irq(&vm->failure_lock, irq);
}

struct loam_vmalloc_failure loam_vmalloc_last_failure(struct loam_vm *vm)
{
	struct loam_vmalloc_failure failure = {0};
	unsigned long irq;

	if (loami_load_acquire(&vm->state) == LOAMI_VM_NEW && vm->failure_lock.rank == 0)
		return failure;
	irq = loami_lock_irq(&vm->failure_lock);
	failure = vm->failure;
	loami_unlock_irq(&vm->failure_lock, irq);
	return failure;
}

enum loam_status loami_vm_reserve(struct loam_vm *vm, size_t npages, size_t align, struct loam_area *area)
{
	enum loam_status status = loam_arena_reserve_claimed(&vm->arena, npages, align, area);

	if ((status == LOAM_ERR_NO_RANGE || status == LOAM_ERR_NO_METADATA) && loami_vm_purge_for_memory(vm))
		status = loam_arena_reserve_claimed(&vm->arena, npages, align, area);
	/* As large as the arena, but not as its usable part. */
	return status == LOAM_ERR_TOO_LARGE ? LOAM_ERR_NO_RANGE : status;
}

void loami_vm_write_record(const struct loam_area *area, const struct loami_vm_request *request, uint64_t sequence)
{
	loam_arena_write_record(area, &(struct loam_area_record){.sequence = sequence,
								 .site = request->site,
								 .task = request->task.task,
								 .pid = request->task.pid,
								 .tid = request->task.tid,
								 .silo = request->task.silo,
								 .flags = request->flags,
								 .nbytes = request->nbytes,
								 .time = request->time,
								 .owner = request->owner});
}

void loami_vm_start(struct loam_vm *vm, const struct loam_area *area, const struct loami_vm_request *request)
{
	uint64_t sequence = loami_fetch_add_relaxed(&vm->sequence, 1) + 1;

	loami_vm_count(vm, loami_vm_pages(area, request->flags));
	loami_vm_write_record(area, request, sequence);
	loam_arena_unclaim(&vm->arena, area);
	clear_failure(vm);
}

bool loami_vm_claim(struct loam_vm *vm, uintptr_t start, uint32_t kinds, struct loam_area *area)
{
	return loam_arena_claim_if(&vm->arena, start, kinds, area) == LOAM_OK;
}

void loami_vm_undo(struct loam_vm *vm, const struct loam_area *area, uintptr_t va, size_t mapped, uint32_t flags,
		   struct loam_vmalloc_chain *chain)
{
	struct loami_vm_frames unmapped;

	if (chain != NULL)
		(void)loami_chain_free(vm->config.frames, chain);
	if (mapped == 0) {
		loam_arena_release(&vm->arena, area);
		return;
	}
	loami_vm_unmap(vm, area, va, mapped, flags, chain != NULL ? &unmapped : NULL);
	loami_vm_publish(vm, area, chain != NULL ? &unmapped : NULL);
}
