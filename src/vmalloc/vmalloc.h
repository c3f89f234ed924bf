/* vmalloc/vmalloc.h: what the files of vmalloc share. docs/theory/vmalloc.md draws the protocol.
 *
 * List     numbers of frames that wait for a flush, in whole frames
 * Chain    frames linked through their slots while vmalloc owns them: no list of frames needs memory of its own, whatever its length
 * Batch    areas given up that one flush will free; open on a CPU, then sealed in the instance's ring, then in the hands of whoever reaps it
 */
#ifndef LOAMI_VMALLOC_VMALLOC_H
#define LOAMI_VMALLOC_VMALLOC_H

#include "arena/arena.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "base/check.h"
#include "base/fail.h"
#include "base/lock.h"

#include <loam/vmalloc.h>

enum {
	LOAMI_VM_NEW = 0,
	LOAMI_VM_SETTING_UP = 1,
	LOAMI_VM_IS_READY = 2,

	LOAMI_VM_RUN = 64,         /* frames handled at a time, in an array on the stack */
	LOAMI_VM_STACKS = 4,       /* mapped stacks a CPU keeps */
	LOAMI_VM_STACK_PAGES = 16, /* larger ones are not kept */
	LOAMI_VM_REAP_AREAS = 16,  /* given back by one call in passing, so that no single vfree pays for a batch */
	LOAMI_VM_REAP_PAGES = 512,
	LOAMI_VM_LEAVES = 8,
	LOAMI_VM_READY = 64, /* frames a CPU keeps for its next areas */
	LOAMI_VM_QUICK =
		32, /* pages of an area that quick.c makes; interrupts are masked while so many entries are cleared */
	LOAMI_VM_OWED_AREA = 1 << 16,
	LOAMI_VM_OWED_DUE = 0x7ff0ffc0, /* 16 areas or 64 pages */
	LOAMI_VM_RANGES = 16, /* a batch of so many areas is flushed by address; a larger one flushes everything */
	LOAMI_VM_CPU_BYTES = 1024,
	LOAMI_VM_CPUS_PER_FRAME = 4096 / LOAMI_VM_CPU_BYTES,
};
#define LOAMI_VM_BATCH_AGE_NS UINT64_C(10000000)
#define LOAMI_VM_BATCH_NBYTES (UINT64_C(32) << 20)

/* Flags of an area's record. */
enum {
	LOAMI_VM_MEMORY = 1 << 0, /* vmalloc */
	LOAMI_VM_FRAMES = 1 << 1, /* vmap */
	LOAMI_VM_DEVICE = 1 << 2, /* vmap_phys */
	LOAMI_VM_STACK = 1 << 3,  /* the first page of the area is its lower guard */
	LOAMI_VM_KIND = 15,
	LOAMI_VM_HUGE = 1 << 4,   /* blocks of 2 MiB may be among its frames */
	LOAMI_VM_CACHED = 1 << 5, /* a stack that waits, mapped and claimed, for its next user */
	LOAMI_VM_SHRUNK = 1 << 6, /* it was longer: the addresses behind it may not be flushed yet */
};

/* Everything in it is guarded by the lock of the arena's struct of this CPU, except what is atomic: what vmalloc and the arena keep of a CPU changes together. */
struct loami_vm_cpu {
	struct loami_arena_cpu *arena;
	uint32_t nstacks;
	uint32_t nlist; /* in use of @list */
	uint32_t owed;  /* [A] what allocations took since they last gave back: pages, and areas from bit 16 */
	uint32_t nready;
	loam_pfn *list; /* the open list's current frame, or NULL */
	loam_pfn list_frame;
	struct loam_vmalloc_list full;   /* the rest of it; counts all of it */
	uint64_t opened;                 /* [A] when the CPU's open batch got its first area */
	struct loam_vmalloc_chain loose; /* frames cut off a shrunk area */
	struct loam_area stacks[LOAMI_VM_STACKS];
	uint32_t poisonings; /* how many there were, at the latest, when the first of @ready was looked at */
	/* Leaf tables of the last stretches of 2 MiB in which this CPU made areas: number of the stretch, table. */
	struct {
		uintptr_t stretch;
		uint64_t *table;
	} leaves[LOAMI_VM_LEAVES];
	loam_pfn ready[LOAMI_VM_READY]; /* frames that were flushed, and renewed */
};

static inline struct loami_vm_cpu *loami_vm_cpu(const struct loam_vm *vm, unsigned int cpu)
{
	return (struct loami_vm_cpu *)(void *)((char *)vm->cpus[cpu / LOAMI_VM_CPUS_PER_FRAME] +
					       (size_t)(cpu % LOAMI_VM_CPUS_PER_FRAME) * LOAMI_VM_CPU_BYTES);
}

static inline bool loami_vm_is_ready(const struct loam_vm *vm)
{
	return loami_load_acquire(&vm->state) == LOAMI_VM_IS_READY;
}

/* setup.c: set up if it is not yet. LOAM_ERR_NOT_READY: no configuration. */
LOAM_NODISCARD enum loam_status loami_vm_ensure(struct loam_vm *vm);

/* ---- chain.c ---- */
#define LOAMI_CHAIN_EMPTY ((struct loam_vmalloc_chain){LOAM_PFN_NONE, LOAM_PFN_NONE, 0})
/* @order 0 or LOAM_BLOCK_ORDER is remembered in the slot's tail. */
void loami_chain_push(struct loam_frames *frames, struct loam_vmalloc_chain *chain, loam_pfn pfn, unsigned int order);
unsigned int loami_chain_order(struct loam_frames *frames, loam_pfn pfn);
/* The first, or LOAM_PFN_NONE; links stay as they were, so a copy of @chain taken before still holds it. */
loam_pfn loami_chain_pop(struct loam_frames *frames, struct loam_vmalloc_chain *chain, unsigned int *order);
/* Up to @n <= LOAMI_VM_RUN single frames, without a chain. */
size_t loami_run_take(struct loam_vm *vm, size_t n, const struct loam_frame_opts *opts, loam_pfn *run);
void loami_chain_join(struct loam_frames *frames, struct loam_vmalloc_chain *chain, struct loam_vmalloc_chain *more);
/* Every frame back to the frame layer. Return: pages. */
size_t loami_chain_free(struct loam_frames *frames, struct loam_vmalloc_chain *chain);
/* @npages frames; purges before it gives up. On failure nothing is kept. @huge: blocks where they are to be had, in front. */
LOAM_NODISCARD enum loam_status loami_chain_take(struct loam_vm *vm, size_t npages, bool uninitialized, bool huge,
						 struct loam_vmalloc_chain *chain);

/* ---- list.c ---- */
enum { LOAMI_LIST_NUMBERS = LOAM_PAGE_SIZE / sizeof(loam_pfn) }; /* in a frame of a list */
#define LOAMI_LIST_EMPTY ((struct loam_vmalloc_list){LOAM_PFN_NONE, 0})
/* The frames of what has been unmapped: a few in an array, or many in a chain. */
struct loami_vm_frames {
	size_t nrun;
	struct loam_vmalloc_chain chain;
	loam_pfn run[LOAMI_VM_RUN];
};
/* A CPU's first frame for its list, and its last. */
LOAM_NODISCARD bool loami_list_open(struct loam_vm *vm, struct loami_vm_cpu *cpu);
void loami_list_close(struct loam_vm *vm, struct loami_vm_cpu *cpu);
/* The frames in @frames->run wait in this CPU's list, and @area in its open batch. False: there is no room for them, nothing is done. */
LOAM_NODISCARD bool loami_list_publish(struct loam_vm *vm, const struct loam_area *area,
				       const struct loami_vm_frames *frames, struct loam_arena_open *open);
/* What is open on @cpu, whose lock is held, joins *@list. */
void loami_list_seal(struct loam_vm *vm, struct loami_vm_cpu *cpu, struct loam_vmalloc_list *list);
void loami_list_join(struct loam_vm *vm, struct loam_vmalloc_list *list, struct loam_vmalloc_list *more);
/* Up to @most frames out of *@list: into @run (return: how many); a frame of numbers, emptied so or whole where it holds more than a run and no more than @most, into *@whole. */
size_t loami_list_take(struct loam_vm *vm, struct loam_vmalloc_list *list, size_t most, loam_pfn *run,
		       struct loam_vmalloc_list *whole);
/* Every frame back to the frame layer. Return: pages. */
size_t loami_list_free(struct loam_vm *vm, struct loam_vmalloc_list *list);
/* Frames for lists that nobody needs now. Return: how many. */
size_t loami_list_drop_stock(struct loam_vm *vm);

/* chain.c: the frames of the array go into the chain. */
void loami_run_to_chain(struct loam_frames *frames, struct loami_vm_frames *of);

/* ---- map.c: entries ---- */
extern const struct loam_mapping loami_vm_mapping; /* of memory */
/* Map a chain's frames at @va. Failure: nothing is mapped that was not, unless *@mapped > 0: so many pages from @va on are; the chain holds the rest. */
LOAM_NODISCARD enum loam_status loami_vm_map_chain(struct loam_vm *vm, uintptr_t va, struct loam_vmalloc_chain *chain,
						   unsigned int prot, size_t *mapped);
/* Clear the entries of @npages at @va; *@frames is what was there (NULL: it belongs to somebody else). A hole is corruption; nothing is changed then. */
void loami_vm_unmap(struct loam_vm *vm, const struct loam_area *area, uintptr_t va, size_t npages, uint32_t flags,
		    struct loami_vm_frames *frames);
/* Back to the frame layer at once. */
void loami_vm_free_frames(struct loam_vm *vm, struct loami_vm_frames *frames);
bool loami_vm_prot_is_valid(unsigned int prot);

/* ---- area.c: from range to live area and back ---- */
struct loami_vm_request {
	struct loam_task task;
	uint64_t time;
	const struct loam_call_site *site;
	size_t nbytes;
	size_t npages;
	uint64_t owner; /* of a device: the offset of its address in its page; quick.c's: where the entries are */
	uint32_t flags;
};
/* Who asks; before any lock. */
void loami_vm_request(struct loami_vm_request *request, const struct loam_call_site *site, size_t nbytes, size_t npages,
		      uint32_t flags);
/* Count and record; returns @status. */
enum loam_status loami_vm_fail(struct loam_vm *vm, enum loam_status status, size_t nbytes, size_t npages);
enum loam_status loami_vm_reject(struct loam_vm *vm, enum loam_status status, size_t nbytes, size_t npages);
/* A free of what is not there to free is counted. Return: false. */
bool loami_vm_refuse(struct loam_vm *vm, const void *address);
/* A range, claimed by the caller, with a purge before giving up. LOAM_ERR_NO_RANGE, LOAM_ERR_NO_METADATA. */
LOAM_NODISCARD enum loam_status loami_vm_reserve(struct loam_vm *vm, size_t npages, size_t align,
						 struct loam_area *area);
/* The claimed range of a mapped area becomes a live allocation. */
void loami_vm_start(struct loam_vm *vm, const struct loam_area *area, const struct loami_vm_request *request);
static inline void loami_vm_count(struct loam_vm *vm, size_t npages)
{
	uint64_t live = loami_fetch_add_relaxed(&vm->live_pages, npages) + npages;
	uint64_t peak = loami_load_relaxed(&vm->peak_pages);

	while (LOAMI_UNLIKELY(live > peak) && !loami_cas(&vm->peak_pages, &peak, live))
		;
}
static inline void loami_vm_uncount(struct loam_vm *vm, size_t npages)
{
	(void)loami_fetch_sub_relaxed(&vm->live_pages, npages);
}
void loami_vm_write_record(const struct loam_area *area, const struct loami_vm_request *request, uint64_t sequence);
/* Claim the live area of one of @kinds at @start; its record is the caller's then. False: there is none. */
bool loami_vm_claim(struct loam_vm *vm, uintptr_t start, uint32_t kinds, struct loam_area *area);
/* An area whose mapping failed after @mapped pages; frames still in @chain (may be NULL) were not mapped. */
void loami_vm_undo(struct loam_vm *vm, const struct loam_area *area, uintptr_t va, size_t mapped, uint32_t flags,
		   struct loam_vmalloc_chain *chain);
static inline uintptr_t loami_vm_base(const struct loam_area *area, uint32_t flags)
{
	return area->start + ((flags & LOAMI_VM_STACK) != 0 ? LOAM_PAGE_SIZE : 0);
}
static inline size_t loami_vm_pages(const struct loam_area *area, uint32_t flags)
{
	return area->npages - ((flags & LOAMI_VM_STACK) != 0 ? 1 : 0);
}

/* ---- alloc.c ---- */
/* Whatever the common case (quick.c) is not. */
LOAM_NODISCARD enum loam_status loami_vm_alloc(struct loam_vm *vm, size_t nbytes, const struct loam_vmalloc_opts *opts,
					       void **address);
bool loami_vm_free(struct loam_vm *vm, void *address);
/* Size and alignment, before anything is taken. */
LOAM_NODISCARD enum loam_status loami_vm_policy(struct loam_vm *vm, size_t nbytes, size_t align);
/* Frames, range, entries, record; everything undone on failure. */
LOAM_NODISCARD enum loam_status loami_vm_allocate(struct loam_vm *vm, const struct loami_vm_request *request,
						  size_t align, bool uninitialized, struct loam_area *area);

/* ---- flush.c ---- */
/* The entries of a claimed area are cleared; its frames (NULL: none) and its range wait. */
void loami_vm_publish(struct loam_vm *vm, const struct loam_area *area, struct loami_vm_frames *frames);
/* Frames of a live area whose entries are cleared wait. */
void loami_vm_publish_loose(struct loam_vm *vm, struct loami_vm_frames *frames);
/* Give back what has been flushed: all of it (SIZE_MAX), or about @npages of addresses and of frames. Return: pages of frames. */
size_t loami_vm_reap(struct loam_vm *vm, size_t npages);
/* In passing, and in task context only. repay: who allocates @npages gives back as much, now or with a later allocation, to this CPU's ready frames first. after: who has freed gives back
 * twice as much, but only when a second batch waits. */
void loami_vm_repay_now(struct loam_vm *vm, size_t npages);
void loami_vm_reap_more(struct loam_vm *vm, size_t npages);
/* @npages more are owed by the CPU. Return: how many are to be paid back now. */
static inline size_t loami_vm_owe(const struct loam_vm *vm, struct loami_vm_cpu *cpu, size_t npages)
{
	uint32_t sum;

	if (loami_load_relaxed(&vm->nsealed) == 0)
		return 0;
	sum = loami_load_relaxed(&cpu->owed) + LOAMI_VM_OWED_AREA + (uint32_t)npages;
	if (LOAMI_LIKELY((sum & LOAMI_VM_OWED_DUE) == 0)) {
		loami_store_relaxed(&cpu->owed, sum);
		return 0;
	}
	loami_store_relaxed(&cpu->owed, 0);
	return sum & (LOAMI_VM_OWED_AREA - 1);
}
/* By the CPU that happens to run: an update lost to an interrupt or a migration only delays. */
static inline void loami_vm_repay(struct loam_vm *vm, size_t npages)
{
	size_t due = loami_vm_owe(vm, loami_vm_cpu(vm, loam_port_cpu()),
				  npages < LOAMI_VM_REAP_PAGES ? npages : LOAMI_VM_REAP_PAGES);

	if (due > 0)
		loami_vm_repay_now(vm, due);
}
static inline void loami_vm_reap_after(struct loam_vm *vm, size_t npages)
{
	if (LOAMI_UNLIKELY(loami_load_relaxed(&vm->nsealed) > 1))
		loami_vm_reap_more(vm, npages);
}
/* An area has been added to an open batch: seals it if it is full, or old, for which it looks at every eighth. */
void loami_vm_seal_due(struct loam_vm *vm, const struct loam_arena_open *open);
static inline bool loami_vm_may_be_due(const struct loam_vm *vm, const struct loam_arena_open *open)
{
	return (open->nareas & 7) <= 1 || open->nareas >= vm->batch_areas || open->npages >= vm->batch_pages;
}
/* A CPU's ready frames back to the frame layer. Return: how many. */
size_t loami_vm_drain_ready(struct loam_vm *vm, unsigned int number);
size_t loami_vm_shrink(struct loam_shrinker *shrinker, size_t npages);
/* Purge, waiting if the context allows. Return: whether anything may have been freed. */
bool loami_vm_purge_for_memory(struct loam_vm *vm);

/* ---- quick.c ---- */
/* ---- stack.c ---- */
/* Free the cached stacks of a CPU: they wait for a flush then. */
void loami_vm_drain_stacks(struct loam_vm *vm, unsigned int number);

#endif
