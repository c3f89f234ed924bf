/* vmalloc/flush.c: from freed to free: batches, flushes, and who gives back.
 *
 * 1 Protocol, with the names of tests/model/tlb.pml. claim: loam_arena_claim, one winner. clear: loam_paging_unmap. publish: the range joins the open batch of this CPU, and its frames this CPU's list; those of long areas
 *   hang on its record. seal: the batch is taken from the CPU and one flush for all of it is started, with no lock held. release: when that flush is done, first the
 *   frames go back, then the ranges. A batch is sealed when it is full, when it is old, and when an allocation would fail.
 * 2 Who waits? Nobody who frees. A sealed batch stands in the ring until somebody who allocates, frees or ticks finds its flush done; he gives back a
 *   bounded part of it: who allocates as much as he takes, in portions, so that frames go from one CPU's batch to its magazine and out again; who frees,
 *   where more than one batch waits, twice as much as he adds. Only a purge waits, and only in task context, with no lock held.
 * 3 Invariants: I1 a frame or a range in a batch of generation g is given back only after loam_tlb_is_done(g), and its entries were cleared before g was
 *   started: publish precedes seal, seal precedes flush_start. I2 a batch is in exactly one place: a CPU, the ring, or the hands of one context, which
 *   @busy counts; so when nothing is open, sealed or in hand, nothing waits. I3 a CPU that stays silent delays; it never lets go of anything.
 * 4 A full ring: a new batch joins the youngest in the ring and takes the younger generation. So sealing cannot fail, and interrupts can do it.
 * 5 Locks: the CPU's arena lock to seal, the instance's for the ring; neither while flushing. The shrinker does not wait for other CPUs, as its caller may
 *   hold a lock they spin on: it polls for some microseconds.
 */
#include "vmalloc.h"

enum {
	POLL_ROUNDS = 2000, /* of loam_port_relax(), where waiting properly is not allowed */
	ASK_AGE = 8,        /* every so many areas; tests count on it that a batch of no more is never too old */
};

/* ---- sealing ------------------------------------------------------------------------------------------------------------------------------------------ */

static void hold(struct loam_vm *vm)
{
	(void)loami_fetch_add(&vm->busy, 1);
}

static void let_go(struct loam_vm *vm)
{
	(void)loami_fetch_sub(&vm->busy, 1);
}

/* What is open on a CPU: its areas and their frames under one hold of its lock, as they were published. */
static void seal_cpu(struct loam_vm *vm, unsigned int number, struct loam_vmalloc_sealed *sealed)
{
	struct loami_vm_cpu *cpu = loami_vm_cpu(vm, number);
	struct loam_arena_batch areas;
	struct loam_vmalloc_chain loose;
	unsigned long irq = loami_lock_irq(&cpu->arena->lock);

	areas = loami_arena_seal(&vm->arena, cpu->arena);
	loami_list_seal(vm, cpu, &sealed->list);
	loose = cpu->loose;
	cpu->loose = LOAMI_CHAIN_EMPTY;
	loami_unlock_irq(&cpu->arena->lock, irq);
	loam_arena_join(&vm->arena, &sealed->areas, &areas);
	loami_chain_join(vm->config.frames, &sealed->loose, &loose);
}

struct ranges {
	struct loam_tlb_range range[LOAMI_VM_RANGES];
	size_t n;
	bool all; /* an area was longer than it says: frames cut off it may wait on another CPU, so the rest of it is not flushed yet */
};

static void add_range(void *context, uintptr_t start, size_t npages, const struct loam_area_record *record)
{
	struct ranges *ranges = context;

	if ((record->flags & LOAMI_VM_SHRUNK) != 0)
		ranges->all = true;
	ranges->range[ranges->n++] =
		(struct loam_tlb_range){.start = start, .npages = npages, .stride_shift = LOAM_PAGE_SHIFT};
}

/* One flush for all of it, by address when that is little. */
static loam_tlb_generation start_flush(struct loam_vm *vm, const struct loam_vmalloc_sealed *sealed, bool tables)
{
	struct ranges ranges;

	(void)loami_fetch_add_relaxed(&vm->flushes, 1);
	if (tables)
		return loam_tlb_flush_tables(vm->config.tlb);
	ranges.n = 0;
	ranges.all = false;
	if (sealed->areas.nareas <= LOAMI_VM_RANGES && sealed->loose.npages == 0)
		loam_arena_batch_each(&vm->arena, &sealed->areas, add_range, &ranges);
	return loam_tlb_flush_start(vm->config.tlb, ranges.range, ranges.all ? 0 : ranges.n);
}

/* A batch whose flush has been started goes into the ring. */
static void put_sealed(struct loam_vm *vm, struct loam_vmalloc_sealed *sealed)
{
	unsigned long irq = loami_lock_irq(&vm->lock);
	uint32_t n = vm->nsealed;

	if (n == LOAM_VMALLOC_SEALED) {
		struct loam_vmalloc_sealed *last = &vm->sealed[n - 1];

		loam_arena_join(&vm->arena, &last->areas, &sealed->areas);
		loami_list_join(vm, &last->list, &sealed->list);
		loami_chain_join(vm->config.frames, &last->loose, &sealed->loose);
		if (sealed->generation > last->generation)
			last->generation = sealed->generation;
	} else {
		vm->sealed[n] = *sealed;
		loami_store_release(&vm->nsealed, n + 1);
	}
	loami_unlock_irq(&vm->lock, irq);
}

/* Seal what is open on CPUs [first, end) and start its flush. Return: false: nothing was open. */
static bool seal(struct loam_vm *vm, unsigned int first, unsigned int end, loam_tlb_generation *generation)
{
	struct loam_vmalloc_sealed sealed = {
		.areas = LOAM_ARENA_BATCH_EMPTY, .list = LOAMI_LIST_EMPTY, .loose = LOAMI_CHAIN_EMPTY};

	hold(vm);
	for (unsigned int i = first; i < end; i++)
		seal_cpu(vm, i, &sealed); /* SEAL */
	if (sealed.areas.nareas == 0 && sealed.loose.npages == 0) {
		let_go(vm);
		return false;
	}
	sealed.generation = start_flush(vm, &sealed, false);
	*generation = sealed.generation;
	put_sealed(vm, &sealed);
	let_go(vm);
	return true;
}

/* The same for tables that were cut off the tree. They wait in the instance, one batch at a time. */
static bool seal_tables(struct loam_vm *vm, loam_tlb_generation *generation)
{
	struct loam_table_batch batch = {0};
	unsigned long irq;
	bool taken;

	if (vm->config.tree->keep_empty_tables)
		return false;
	irq = loami_lock_irq(&vm->lock);
	taken = vm->tables_generation != 0;
	if (!taken)
		vm->tables_generation = UINT64_MAX; /* ours */
	loami_unlock_irq(&vm->lock, irq);
	if (taken)
		return false;
	taken = loam_pagetable_seal(vm->config.tree, &batch);
	if (taken)
		*generation = start_flush(vm, NULL, true);
	irq = loami_lock_irq(&vm->lock);
	vm->tables = batch;
	vm->tables_generation = taken ? *generation : 0;
	loami_unlock_irq(&vm->lock, irq);
	return taken;
}

/* ---- giving back --------------------------------------------------------------------------------------------------------------------------------------- */

static void reap_tables(struct loam_vm *vm)
{
	struct loam_table_batch batch = {0};
	unsigned long irq;

	if (vm->config.tree->keep_empty_tables)
		return;
	irq = loami_lock_irq(&vm->lock);
	if (vm->tables_generation != 0 && vm->tables_generation != UINT64_MAX &&
	    loam_tlb_is_done(vm->config.tlb, vm->tables_generation)) {
		batch = vm->tables;
		vm->tables_generation = 0;
	}
	loami_unlock_irq(&vm->lock, irq);
	if (batch.ntables > 0)
		loam_pagetable_release(vm->config.tree, &batch);
}

/* Part of a batch whose flush is done. */
struct part {
	struct loam_vmalloc_chain loose;
	struct loam_vmalloc_list whole;
	size_t nrun;
	size_t nareas;
	loam_pfn run[LOAMI_VM_RUN];
	uint64_t areas[LOAMI_VM_REAP_AREAS];
};

static void take_part(struct loam_vm *vm, struct loam_vmalloc_sealed *sealed, size_t npages, struct part *part)
{
	part->loose = sealed->loose;
	sealed->loose = LOAMI_CHAIN_EMPTY;
	if (npages == SIZE_MAX)
		loami_list_join(vm, &part->whole, &sealed->list);
	else
		part->nrun = loami_list_take(vm, &sealed->list, npages, part->run, &part->whole);
	part->nareas = loam_arena_pop(&vm->arena, &sealed->areas, npages, part->areas, LOAMI_VM_REAP_AREAS);
}

static bool take_flushed(struct loam_vm *vm, size_t npages, struct part *part)
{
	unsigned long irq = loami_lock_irq(&vm->lock);
	bool found = false;

	part->loose = LOAMI_CHAIN_EMPTY;
	part->whole = LOAMI_LIST_EMPTY;
	part->nrun = part->nareas = 0;
	for (uint32_t i = 0; i < vm->nsealed && !found; i++) {
		struct loam_vmalloc_sealed *sealed = &vm->sealed[i];

		if (sealed->generation != 0 && !loam_tlb_is_done(vm->config.tlb, sealed->generation))
			continue;
		sealed->generation = 0;
		found = true;
		hold(vm);
		take_part(vm, sealed, npages, part);
		if (sealed->areas.nareas > 0 || sealed->list.npages > 0)
			break;
		for (uint32_t j = i + 1; j < vm->nsealed; j++)
			vm->sealed[j - 1] = vm->sealed[j];
		loami_store_release(&vm->nsealed, vm->nsealed - 1);
	}
	loami_unlock_irq(&vm->lock, irq);
	return found;
}

/* Frames for this CPU's next areas, as far as there is room. Return: how many of the front of @run. */
static size_t keep_ready(struct loam_vm *vm, const loam_pfn *run, size_t n)
{
	uint32_t poisonings = loami_load_acquire(vm->poisonings); /* before they are looked at */
	struct loami_vm_cpu *cpu;
	unsigned long irq;

	n = loam_frame_renew_batch(vm->config.frames, run, n);
	irq = loam_port_irq_save();
	cpu = loami_vm_cpu(vm, loam_port_cpu());
	loami_lock(&cpu->arena->lock);
	if (n > LOAMI_VM_READY - cpu->nready)
		n = LOAMI_VM_READY - cpu->nready;
	if (cpu->nready == 0 || (int32_t)(poisonings - cpu->poisonings) < 0)
		cpu->poisonings = poisonings;
	__builtin_memcpy(&cpu->ready[cpu->nready], run, n * sizeof(run[0]));
	cpu->nready += (uint32_t)n;
	loami_unlock_irq(&cpu->arena->lock, irq);
	return n;
}

size_t loami_vm_drain_ready(struct loam_vm *vm, unsigned int number)
{
	struct loami_vm_cpu *cpu = loami_vm_cpu(vm, number);
	loam_pfn run[LOAMI_VM_READY];
	unsigned long irq = loami_lock_irq(&cpu->arena->lock);
	size_t n = cpu->nready;

	__builtin_memcpy(run, cpu->ready, n * sizeof(run[0]));
	cpu->nready = 0;
	loami_unlock_irq(&cpu->arena->lock, irq);
	if (n > 0)
		loam_frame_free_batch(vm->config.frames, run, n);
	return n;
}

/* @ready: frames may go to this CPU's next areas. Return: pages of frames. */
static size_t give_back(struct loam_vm *vm, struct part *part, bool ready)
{
	size_t given = loami_chain_free(vm->config.frames, &part->loose) + part->nrun;
	size_t kept = 0;

	given += loami_list_free(vm, &part->whole);
	if (ready && part->nrun > 0)
		kept = keep_ready(vm, part->run, part->nrun);
	if (kept < part->nrun)
		loam_frame_free_batch(vm->config.frames, part->run + kept, part->nrun - kept);
	for (size_t i = 0; i < part->nareas; i++) {
		struct loam_vmalloc_chain chain = LOAMI_CHAIN_EMPTY;

		chain.first = loami_load_relaxed(&loami_entry_record(part->areas[i])->owner);
		if (chain.first != LOAM_PFN_NONE)
			given += loami_chain_free(vm->config.frames, &chain);
	}
	loam_arena_release_popped(&vm->arena, part->areas, part->nareas); /* RELEASE, as all of the above */
	return given;
}

size_t loami_vm_reap(struct loam_vm *vm, size_t npages)
{
	struct part part;
	size_t given = 0;

	reap_tables(vm);
	while (loami_load_acquire(&vm->nsealed) > 0 && take_flushed(vm, npages, &part)) {
		given += give_back(vm, &part, false);
		let_go(vm);
		if (npages != SIZE_MAX)
			break;
	}
	return given;
}

void loami_vm_repay_now(struct loam_vm *vm, size_t npages)
{
	struct part part;

	reap_tables(vm);
	if (!take_flushed(vm, npages, &part))
		return;
	(void)give_back(vm, &part, true);
	let_go(vm);
}

void loami_vm_reap_more(struct loam_vm *vm, size_t npages)
{
	if (loam_port_context() == LOAM_CONTEXT_TASK)
		(void)loami_vm_reap(vm, npages < LOAMI_VM_REAP_PAGES / 2 ? 2 * npages : LOAMI_VM_REAP_PAGES);
}

/* ---- publishing --------------------------------------------------------------------------------------------------------------------------------------- */

void loami_vm_seal_due(struct loam_vm *vm, const struct loam_arena_open *open)
{
	struct loami_vm_cpu *cpu = loami_vm_cpu(vm, open->cpu);
	loam_tlb_generation generation;
	bool full = open->nareas >= vm->batch_areas || open->npages >= vm->batch_pages;

	if (open->nareas == 1)
		loami_store_relaxed(&cpu->opened, loam_port_time());
	else if (!full && open->nareas % ASK_AGE == 0)
		full = loam_port_time() - loami_load_relaxed(&cpu->opened) > LOAMI_VM_BATCH_AGE_NS;
	if (full)
		(void)seal(vm, open->cpu, open->cpu + 1, &generation);
}

void loami_vm_publish(struct loam_vm *vm, const struct loam_area *area, struct loami_vm_frames *frames)
{
	struct loam_arena_open open;

	loami_store_release(&area->record->owner, LOAM_PFN_NONE);
	if (frames == NULL || (frames->nrun == 0 && frames->chain.first == LOAM_PFN_NONE)) {
		loam_arena_publish(&vm->arena, area, &open);
	} else if (frames->nrun == 0 || !loami_list_publish(vm, area, frames, &open)) {
		loami_run_to_chain(vm->config.frames, frames);
		loami_store_release(&area->record->owner, frames->chain.first);
		loam_arena_publish(&vm->arena, area, &open);
	}
	loami_vm_seal_due(vm, &open);
}

void loami_vm_publish_loose(struct loam_vm *vm, struct loami_vm_frames *frames)
{
	unsigned long irq;
	unsigned int number;
	struct loami_vm_cpu *cpu;
	loam_tlb_generation generation;
	bool full;

	loami_run_to_chain(vm->config.frames, frames);
	irq = loam_port_irq_save();
	number = loam_port_cpu();
	cpu = loami_vm_cpu(vm, number);
	loami_lock(&cpu->arena->lock);
	loami_chain_join(vm->config.frames, &cpu->loose, &frames->chain);
	full = cpu->loose.npages >= vm->batch_pages;
	loami_unlock(&cpu->arena->lock);
	loam_port_irq_restore(irq);
	if (full)
		(void)seal(vm, number, number + 1, &generation);
}

/* ---- purging ------------------------------------------------------------------------------------------------------------------------------------------ */

/* Frames that are kept for later use back to the frame layer. Return: how many. */
static size_t drop_kept(struct loam_vm *vm)
{
	size_t n = loami_list_drop_stock(vm);

	for (unsigned int i = 0; i < vm->config.ncpus; i++)
		n += loami_vm_drain_ready(vm, i);
	return n;
}

/* Start a flush for everything that waits. Return: false: nothing waits. */
static bool start_all(struct loam_vm *vm, loam_tlb_generation *generation)
{
	loam_tlb_generation tables = 0;
	bool any;
	unsigned long irq;

	for (unsigned int i = 0; i < vm->config.ncpus; i++)
		loami_vm_drain_stacks(vm, i);
	*generation = 0;
	any = seal(vm, 0, vm->config.ncpus, generation);
	if (seal_tables(vm, &tables)) {
		*generation = tables > *generation ? tables : *generation;
		any = true;
	}
	irq = loami_lock_irq(&vm->lock);
	for (uint32_t i = 0; i < vm->nsealed; i++) {
		any = true;
		if (vm->sealed[i].generation > *generation)
			*generation = vm->sealed[i].generation;
	}
	if (vm->tables_generation != 0 && vm->tables_generation != UINT64_MAX) {
		any = true;
		if (vm->tables_generation > *generation)
			*generation = vm->tables_generation;
	}
	loami_unlock_irq(&vm->lock, irq);
	return any;
}

/* Others may hold a batch in hand for a moment. */
static void await_others(struct loam_vm *vm)
{
	for (unsigned int round = 0; loami_load_acquire(&vm->busy) != 0 && round < POLL_ROUNDS; round++)
		loam_port_relax(round);
}

enum loam_status loam_vmalloc_purge(struct loam_vm *vm)
{
	loam_tlb_generation generation;
	enum loam_status status = LOAM_OK;

	LOAMI_NOT_FROM_NMI();
	if (!loami_vm_is_ready(vm))
		return LOAM_ERR_NOT_READY;
	if (start_all(vm, &generation)) {
		status = loam_tlb_wait(vm->config.tlb, generation);
		(void)loami_vm_reap(vm, SIZE_MAX);
	}
	(void)loam_arena_trim(&vm->arena);
	(void)drop_kept(vm);
	if (loam_port_context() == LOAM_CONTEXT_TASK) {
		await_others(vm);
		(void)loami_vm_reap(vm, SIZE_MAX);
	}
	return status;
}

bool loami_vm_purge_for_memory(struct loam_vm *vm)
{
	loam_tlb_generation generation;
	bool any = start_all(vm, &generation);

	if (any) {
		enum loam_status status = loam_tlb_wait(vm->config.tlb, generation);

		(void)status; /* a silent CPU has been named on the console; what waits for it stays where it is */
		(void)loami_vm_reap(vm, SIZE_MAX);
	}
	if (loami_load_acquire(&vm->busy) != 0) {
		await_others(vm);
		any = true;
	}
	return drop_kept(vm) > 0 || any;
}

size_t loami_vm_shrink(struct loam_shrinker *shrinker, size_t npages)
{
	struct loam_vm *vm = LOAMI_CONTAINER(shrinker, struct loam_vm, shrinker);
	loam_tlb_generation generation;

	(void)npages;
	if (!loami_vm_is_ready(vm))
		return 0;
	if (!start_all(vm, &generation))
		return drop_kept(vm);
	for (unsigned int round = 0; round < POLL_ROUNDS && !loam_tlb_is_done(vm->config.tlb, generation); round++)
		loam_port_relax(round);
	return loami_vm_reap(vm, SIZE_MAX) + drop_kept(vm);
}

void loam_vmalloc_tick(struct loam_vm *vm)
{
	unsigned int number;
	loam_tlb_generation generation;
	uint64_t opened;

	LOAMI_NOT_FROM_NMI();
	if (!loami_vm_is_ready(vm))
		return;
	number = loam_port_cpu();
	opened = loami_load_relaxed(&loami_vm_cpu(vm, number)->opened);
	if (loam_port_time() - opened > LOAMI_VM_BATCH_AGE_NS)
		(void)seal(vm, number, number + 1, &generation);
	if (loami_load_relaxed(&vm->nsealed) > 0)
		(void)loami_vm_reap(vm, LOAMI_VM_REAP_PAGES);
}

enum loam_status loam_vmalloc_cpu_offline(struct loam_vm *vm, unsigned int cpu)
{
	loam_tlb_generation generation;

	LOAMI_NOT_FROM_NMI();
	if (!loami_vm_is_ready(vm))
		return LOAM_ERR_NOT_READY;
	if (cpu >= vm->config.ncpus)
		return LOAM_ERR_CPU;
	loami_vm_drain_stacks(vm, cpu);
	(void)loami_vm_drain_ready(vm, cpu);
	(void)seal(vm, cpu, cpu + 1, &generation);
	return LOAM_OK;
}
