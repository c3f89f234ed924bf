/* loam/vmalloc.h: virtually contiguous memory: a range, frames behind it, a mapping, and a record of who asked.
 *
 * Neither an address nor a frame is reused before every CPU has flushed. Guard pages are unmapped. Mappings are never executable unless
 * loam_vmalloc_protect() makes them so. docs/theory/vmalloc.md explains the protocol.
 *
 * What is freed waits in a batch of the CPU that freed it, until the batch is full, old, or wanted; then one flush serves all of it. Nobody who frees waits
 * for that flush: whoever comes by later and finds it done gives the frames back. loam_vmalloc_tick() comes by when nobody else does.
 */
#ifndef LOAM_VMALLOC_H
#define LOAM_VMALLOC_H

#include <loam/arena.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LOAM_VMALLOC_START UINT64_C(0xffffc00000000000)
#define LOAM_VMALLOC_NBYTES ((size_t)1 << 30)
#define LOAM_VMALLOC_BATCH 512    /* areas freed per flush */
#define LOAM_VMALLOC_DUMP_MAX 256 /* areas listed by loam_vmalloc_dump_live() */

/**
 * struct loam_vmalloc_config - where, and on what.
 * @start, @nbytes: the arena, page aligned; 0: LOAM_VMALLOC_START, LOAM_VMALLOC_NBYTES.
 * @ncpus: CPU numbers are 0 .. ncpus - 1.
 * @tree: the kernel's page tables.   @tlb: its shootdown engine.
 * @batch_areas: areas freed per flush; 0: LOAM_VMALLOC_BATCH. A batch also ends at the least of 32 MiB, a 64th of the arena, a 64th of RAM.
 */
struct loam_vmalloc_config {
	uintptr_t start;
	size_t nbytes;
	unsigned int ncpus;
	struct loam_frames *frames;
	struct loam_pagetable *tree;
	struct loam_tlb *tlb;
	size_t batch_areas;
};

struct loam_vm; /* defined at the end */

/**
 * loam_vmalloc_init() - set the arena up, and map its page 0 for good, so that every address space made later inherits the tables.
 * @vm: all zero the first time.
 *
 * Idempotent: with a @config like the first one it does nothing more. When memory is short it says so on the console and keeps the configuration: the
 * first use tries again. An instance whose @vm->config was filled in by a static initialiser needs no init at all: its first allocation does it.
 * The metadata comes one frame at a time from @config->frames. Registers a shrinker there.
 *
 * Return:  LOAM_OK; LOAM_ERR_INVALID, LOAM_ERR_CPU, LOAM_ERR_ALIGNMENT, LOAM_ERR_TOO_LARGE, LOAM_ERR_OVERFLOW, LOAM_ERR_OUT_OF_RANGE for the configuration;
 *	    LOAM_ERR_ALREADY: set up with another one; LOAM_ERR_MAPPED: something is mapped at its page 0; LOAM_ERR_NO_METADATA.
 * Context: task.
 */
LOAM_NODISCARD enum loam_status loam_vmalloc_init(struct loam_vm *vm, const struct loam_vmalloc_config *config);

/**
 * loam_vmalloc_destroy() - purge, unmap page 0, give all metadata back. Nobody else may use @vm any more.
 * Return:  LOAM_OK; LOAM_ERR_NOT_READY; LOAM_ERR_IN_USE: areas are live; LOAM_ERR_TIMEOUT: a CPU stays silent. Nothing but the purge is done then.
 * Context: task.
 */
LOAM_NODISCARD enum loam_status loam_vmalloc_destroy(struct loam_vm *vm);

/* ---- memory --------------------------------------------------------------------------------------------------------------------------------------- */

/**
 * struct loam_vmalloc_opts - how to allocate; all zero (or NULL) is the default: zeroed, read and write, 4 KiB leaves.
 * @align: of the address, a power of two; 0: a page.
 * @uninitialized: contents do not matter.
 * @huge: 2 MiB leaves, and blocks behind them, where the size allows and memory is to be had; 4 KiB elsewhere.
 * @site: LOAM_HERE, or NULL.
 */
struct loam_vmalloc_opts {
	size_t align;
	bool uninitialized;
	bool huge;
	const struct loam_call_site *site;
};

/* The error of an allocation with its figures (SPEC V3). */
struct loam_vmalloc_failure {
	enum loam_status status; /* LOAM_OK: none since the last success */
	size_t nbytes;
	size_t npages;
	size_t max_allowed; /* with LOAM_ERR_TOO_LARGE */
};

/**
 * loam_vmalloc() - @nbytes of virtually contiguous memory.
 * Frames are taken one by one before any range is; when either runs out, what waits for a flush is flushed and it is tried again. A failure leaves
 * no trace but the failure record.
 *
 * Return:  the address, page aligned; NULL: loam_vmalloc_last_failure() says why.
 * Context: task, interrupts on.  Locks: ARENA_CPU, ARENA_EXTENT, PAGETABLE, the frame layer's.
 */
void *loam_vmalloc(struct loam_vm *vm, size_t nbytes, const struct loam_vmalloc_opts *opts);

/**
 * loam_vmalloc_status() - the same, with the reason.
 * Return:  LOAM_OK and *@address. Policy: LOAM_ERR_ZERO_SIZE, LOAM_ERR_TOO_LARGE, LOAM_ERR_ALIGNMENT. Otherwise LOAM_ERR_NO_METADATA, LOAM_ERR_NO_MEMORY,
 *	    LOAM_ERR_NO_RANGE, LOAM_ERR_MAP_FAILED, LOAM_ERR_NOT_READY (no configuration).
 */
LOAM_NODISCARD enum loam_status loam_vmalloc_status(struct loam_vm *vm, size_t nbytes,
						    const struct loam_vmalloc_opts *opts, void **address);

/**
 * loam_vfree() - give an allocation up.
 * Its entries are gone when it returns; its frames and its addresses wait for a flush.
 *
 * Return:  true for NULL and for a live base, which is freed; false for anything else: outside the arena, inside an area, not live, freed by another
 *	    CPU a moment ago, a vmap, a stack. Nothing changed then but the count of refused frees (loam_vmalloc_stats).
 * Context: task, interrupt; never waits.  Locks: PAGETABLE, ARENA_CPU, VMALLOC, TLB; in task context the frame layer's.
 */
LOAM_NODISCARD bool loam_vfree(struct loam_vm *vm, void *address);

/**
 * loam_vfree_now() - the same, and when it returns the frames are free and every TLB has forgotten them. Where a CPU stays silent they wait like others.
 * Context: task, interrupts on.
 */
LOAM_NODISCARD bool loam_vfree_now(struct loam_vm *vm, void *address);

/**
 * loam_vrealloc() - another size.
 * Shrinks in place, grows in place where the range has room, and else moves: the frames stay the same ones and are mapped elsewhere, nothing is copied.
 * Pages that come in are zeroed unless @opts says otherwise, and have the area's permissions. The old address is dead when a new one is returned.
 * @address: NULL: loam_vmalloc_status().
 *
 * Return:  LOAM_OK and *@out; the errors of loam_vmalloc_status(), and LOAM_ERR_NOT_FOUND or LOAM_ERR_OUT_OF_RANGE: not a live allocation. On failure
 *	    the area is as it was.
 * Context: task, interrupts on. While it runs, other calls with the same address answer that it is not live.
 */
LOAM_NODISCARD enum loam_status loam_vrealloc(struct loam_vm *vm, void *address, size_t nbytes,
					      const struct loam_vmalloc_opts *opts, void **out);

/**
 * loam_vmalloc_protect() - new permissions for a whole area or mapping: LOAM_PROT_READ, READ | WRITE or READ | EXEC.
 * When it returns every CPU has flushed.
 *
 * Return:  LOAM_OK; LOAM_ERR_PROTECTION, LOAM_ERR_INVALID; LOAM_ERR_OUT_OF_RANGE, LOAM_ERR_NOT_FOUND; LOAM_ERR_NO_MEMORY (to split a large leaf);
 *	    LOAM_ERR_TIMEOUT: changed, but a CPU stays silent and may still use the old ones.
 * Context: task, interrupts on.
 */
LOAM_NODISCARD enum loam_status loam_vmalloc_protect(struct loam_vm *vm, void *address, unsigned int prot);

/* ---- waiting flushes -------------------------------------------------------------------------------------------------------------------------------- */

/**
 * loam_vmalloc_purge() - flush whatever waits, now, and give it back; cached stacks too.
 * Return:  LOAM_OK; LOAM_ERR_TIMEOUT: a CPU stays silent, what waits for it stays quarantined until it answers; LOAM_ERR_CONTEXT: from an interrupt the
 *	    flush was only started; LOAM_ERR_NOT_READY.
 * Context: task with interrupts on, to wait.
 */
LOAM_NODISCARD enum loam_status loam_vmalloc_purge(struct loam_vm *vm);

/**
 * loam_vmalloc_tick() - start a flush for what this CPU freed more than 10 ms ago, and give back what has been flushed.
 * For a kernel's timer or idle loop; without it, freed memory waits until somebody allocates or frees.
 * Context: task, interrupt; never waits. At most 16 areas are given back at a time.
 */
void loam_vmalloc_tick(struct loam_vm *vm);

/**
 * loam_vmalloc_cpu_offline() - what @cpu freed is flushed by others from now on, its cached stacks are freed. Call it when @cpu runs no more code.
 * Return:  LOAM_OK; LOAM_ERR_CPU; LOAM_ERR_NOT_READY.
 * Context: task, interrupt; never waits.
 */
LOAM_NODISCARD enum loam_status loam_vmalloc_cpu_offline(struct loam_vm *vm, unsigned int cpu);

/* ---- mappings of other people's memory ----------------------------------------------------------------------------------------------------------- */

/**
 * loam_vmap() - map frames that belong to the caller, and stay his.
 * @prot: LOAM_PROT_READ, READ | WRITE or READ | EXEC.
 * Return:  as loam_vmalloc_status(), and LOAM_ERR_PROTECTION, LOAM_ERR_INVALID; LOAM_ERR_OUT_OF_RANGE: a frame number too wide for the tables.
 * Context: task, interrupts on.
 */
LOAM_NODISCARD enum loam_status loam_vmap(struct loam_vm *vm, const loam_pfn *pfns, size_t npages, unsigned int prot,
					  const struct loam_call_site *site, void **address);

/**
 * loam_vmap_phys() - map device registers [pa, pa + nbytes), any alignment, read and write; *@address has the offset in it.
 * Return:  as loam_vmap(), and LOAM_ERR_OVERFLOW.
 */
LOAM_NODISCARD enum loam_status loam_vmap_phys(struct loam_vm *vm, loam_paddr pa, size_t nbytes, enum loam_cache cache,
					       const struct loam_call_site *site, void **address);

/** loam_vunmap() - give a mapping of either kind up, by the address it was returned with. Otherwise like loam_vfree(); a vfree does not take a mapping. */
LOAM_NODISCARD bool loam_vunmap(struct loam_vm *vm, void *address);

/* ---- stacks ---------------------------------------------------------------------------------------------------------------------------------------------- */

/**
 * loam_vstack_alloc() - a kernel stack of @nbytes rounded up to pages, zeroed, with an unmapped guard page below and above.
 * *@top is the address past its highest byte. The CPU keeps a few freed ones mapped and hands them out again.
 * Return:  as loam_vmalloc_status().  Context: task, interrupts on.
 */
LOAM_NODISCARD enum loam_status loam_vstack_alloc(struct loam_vm *vm, size_t nbytes, const struct loam_call_site *site,
						  void **top);

/** loam_vstack_free() - by its @top. Return: true for NULL and a live stack; else false, nothing changed. Context: task, interrupt; never waits. */
LOAM_NODISCARD bool loam_vstack_free(struct loam_vm *vm, void *top);

/* ---- asking ------------------------------------------------------------------------------------------------------------------------------------------------- */

/* What a faulting or otherwise curious address is. */
enum loam_vmalloc_place {
	LOAM_PLACE_OUTSIDE = 0, /* not in the arena */
	LOAM_PLACE_UNUSED,      /* in no live area */
	LOAM_PLACE_FREED,       /* in an area that was freed and waits for its flush: a stale pointer */
	LOAM_PLACE_AREA,        /* in a live area */
	LOAM_PLACE_GUARD,       /* in the guard page behind a live area */
	LOAM_PLACE_STACK_GUARD, /* in the guard page below a live stack: an overflow */
};

/* One live area, copied out. @address is the lowest mapped one. */
struct loam_vmalloc_live {
	uint64_t sequence;
	uintptr_t address;
	size_t nbytes;
	size_t npages;
	struct loam_task task;
	const struct loam_call_site *site;
	uint64_t time;
	bool stack;
	bool mapping; /* vmap or vmap_phys: the frames are not ours */
	bool device;
};

/** loam_vmalloc_whereis() - what is at @address; *@live (may be NULL) is filled for FREED, AREA, GUARD and STACK_GUARD. Context: any, also a fault handler. Locks: none. */
enum loam_vmalloc_place loam_vmalloc_whereis(const struct loam_vm *vm, uintptr_t address,
					     struct loam_vmalloc_live *live);

/** loam_vmalloc_is_live() - the base of a live area of any kind? 1 yes, 0 no, -1 could not tell: it is changing hands. Never waits. Context: any. */
int loam_vmalloc_is_live(const struct loam_vm *vm, const void *address);

/**
 * loam_vmalloc_snapshot() - live areas in address order into @out.
 * Return:  how many were written; *@total (may be NULL) is how many there were: more than @capacity when it was cut.
 * Context: any.  Locks: none. Areas that come and go meanwhile may or may not be seen.
 */
size_t loam_vmalloc_snapshot(const struct loam_vm *vm, struct loam_vmalloc_live *out, size_t capacity, size_t *total);

/* All figures are consistent when read at rest. */
struct loam_vmalloc_stats {
	uintptr_t arena_start;
	uintptr_t arena_end;
	uint64_t live_areas;
	uint64_t live_pages;     /* without guards */
	uint64_t free_pages;     /* of addresses: can be handed out now */
	uint64_t peak_pages;     /* most live_pages ever */
	uint64_t total_sequence; /* successful allocations */
	uint64_t failures;
	uint64_t policy_rejects;
	uint64_t free_extents;
	uint64_t largest_free_pages;
	uint64_t metadata_pages;
	uint64_t free_nodes;
	uint64_t waiting_areas; /* freed, not yet flushed and given back */
	uint64_t cached_stacks;
	uint64_t ready_pages; /* frames that CPUs keep for their next areas */
	uint64_t flushes;
	uint64_t refused_frees; /* calls that answered false */
	uintptr_t last_refused; /* the address of the last of them */
	struct loam_vmalloc_failure last_failure;
};
/** loam_vmalloc_read_stats() - LOAM_ERR_NOT_READY before init. Context: task, interrupt.  Locks: one at a time. */
LOAM_NODISCARD enum loam_status loam_vmalloc_read_stats(struct loam_vm *vm, struct loam_vmalloc_stats *stats);

/** loam_vmalloc_last_failure() - of any CPU; status LOAM_OK when the last allocation succeeded. Context: task, interrupt. */
struct loam_vmalloc_failure loam_vmalloc_last_failure(struct loam_vm *vm);

/**
 * loam_vmalloc_dump_live(), loam_vmalloc_dump_stats() - on the console: a line per live area with every attribution field, a total with peak, a line saying how
 * many more there are when LOAM_VMALLOC_DUMP_MAX is exceeded; the statistics.  Context: task.
 */
void loam_vmalloc_dump_live(struct loam_vm *vm);
void loam_vmalloc_dump_stats(struct loam_vm *vm);

/** loam_vmalloc_check() - loam_arena_check(), and that every live page is mapped and every guard is not. At rest. Return: LOAM_OK, or LOAM_ERR_INVALID after saying why. */
LOAM_NODISCARD enum loam_status loam_vmalloc_check(struct loam_vm *vm);

/* Private from here on. [A] atomic; [V] @lock; the rest does not change once ready. */
#define LOAM_VMALLOC_SEALED 8
struct loam_vmalloc_chain { /* frames by their slots' links */
	loam_pfn first;
	loam_pfn last;
	size_t npages;
};
struct loam_vmalloc_list { /* frames by their numbers, in frames of their own */
	loam_pfn frames;
	size_t npages;
};
struct loam_vmalloc_sealed {
	struct loam_arena_batch areas;
	struct loam_vmalloc_list list;   /* frames of these areas */
	struct loam_vmalloc_chain loose; /* frames without an area */
	loam_tlb_generation generation;  /* 0: seen done */
};
struct loam_vm {
	struct loam_vmalloc_config config; /* may be set statically, see init */
	uint32_t state;                    /* [A] */
	uint32_t failed;                   /* [A] a failure is recorded */
	struct loam_arena arena;
	struct loam_shrinker shrinker;
	loam_pfn anchor; /* behind page 0 */
	size_t batch_areas;
	size_t batch_pages;
	uint64_t ram_pages;
	uint64_t bits;              /* of an entry for memory, beside its address */
	const uint32_t *poisonings; /* [A] the frame layer's count */
	void **cpus;                /* frames of per-CPU structs */
	struct loam_vmalloc_chain cpu_frames;
	struct loam_lock lock;                                  /* rank VMALLOC */
	struct loam_vmalloc_sealed sealed[LOAM_VMALLOC_SEALED]; /* [V] oldest first */
	uint32_t nsealed;                                       /* [V], read as a hint */
	uint32_t busy;                                          /* [A] contexts that hold a batch in hand */
	struct loam_table_batch tables;                         /* [V] cut-off tables waiting for a flush */
	loam_tlb_generation tables_generation;                  /* [V] */
	loam_pfn list_stock;                                    /* [V] unused frames for lists */
	uint32_t nlist_stock;                                   /* [V] */
	uint64_t nlists;                                        /* [A] frames for lists, in use and not */
	uint64_t sequence;                                      /* [A] this and the counters below */
	uint64_t live_pages;
	uint64_t peak_pages;
	uint64_t failures;
	uint64_t policy_rejects;
	uint64_t flushes;
	uint64_t refused_frees;
	uintptr_t last_refused;
	struct loam_lock failure_lock;       /* rank TRACE */
	struct loam_vmalloc_failure failure; /* failure_lock */
};

#ifdef __cplusplus
}
#endif
#endif
