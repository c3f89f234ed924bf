/* loam/vmalloc.h: virtually contiguous memory: a range, frames behind it, a mapping, and a record of who asked.
 *
 * Neither an address nor a frame is reused before every CPU has flushed. Guard pages are unmapped. Mappings are never executable unless loam_vmalloc_protect()
 * makes them so. docs/theory/vmalloc.md explains the protocol.
 */
#ifndef LOAM_VMALLOC_H
#define LOAM_VMALLOC_H

#include <loam/arena.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LOAM_VMALLOC_START UINT64_C(0xffffc00000000000)
#define LOAM_VMALLOC_NBYTES ((size_t)1 << 30)

struct loam_vmalloc_config {
	uintptr_t start; /* 0: LOAM_VMALLOC_START */
	size_t nbytes;   /* 0: LOAM_VMALLOC_NBYTES */
	unsigned int ncpus;
	struct loam_frames *frames;
	struct loam_pagetable *tree; /* the kernel's */
	struct loam_tlb *tlb;
	size_t batch_areas; /* areas freed per flush; 0: 512 */
};

struct loam_vm; /* defined at the end by its owner */
/**
 * loam_vmalloc_init() - set the arena up; maps its page 0 for good so that every address space inherits the tables.
 * Idempotent with the same @config. When memory is short it says so on the console, returns LOAM_ERR_NO_METADATA, and the first use tries again. The metadata comes
 * one frame at a time from @config->frames.
 */
LOAM_NODISCARD enum loam_status loam_vmalloc_init(struct loam_vm *vm, const struct loam_vmalloc_config *config);

/* How to allocate; all zero (or NULL) is the default: zeroed, read-write, 4 KiB leaves. */
struct loam_vmalloc_opts {
	size_t align; /* of the address; 0: a page */
	bool uninitialized;
	bool huge; /* 2 MiB leaves where it pays */
	const struct loam_call_site *site;
};

/* The error of an allocation with its figures (SPEC V3). */
struct loam_vmalloc_failure {
	enum loam_status status; /* LOAM_OK: none since the last success */
	size_t nbytes;
	size_t npages;
	size_t max_allowed; /* with LOAM_ERR_TOO_LARGE */
};

/* Return: the address, or NULL; the failure record says why. Context: task. */
void *loam_vmalloc(struct loam_vm *vm, size_t nbytes, const struct loam_vmalloc_opts *opts);
/* LOAM_ERR_ZERO_SIZE, LOAM_ERR_TOO_LARGE, LOAM_ERR_NO_METADATA, LOAM_ERR_NO_MEMORY, LOAM_ERR_NO_RANGE, LOAM_ERR_MAP_FAILED. */
LOAM_NODISCARD enum loam_status loam_vmalloc_status(struct loam_vm *vm, size_t nbytes,
						    const struct loam_vmalloc_opts *opts, void **address);
/* Return: true for NULL and for a live base, which is freed; false otherwise, nothing changed. Context: task, interrupt; never waits. */
bool loam_vfree(struct loam_vm *vm, void *address);
/* The same, and when it returns the frames are free and every TLB has forgotten them. Context: task. */
bool loam_vfree_now(struct loam_vm *vm, void *address);
/* Flush whatever waits, now. LOAM_ERR_TIMEOUT when a CPU stays silent: what waits for it stays quarantined. Context: task. */
LOAM_NODISCARD enum loam_status loam_vmalloc_purge(struct loam_vm *vm);

/* Map frames that belong to the caller; loam_vunmap() gives the range up and leaves the frames alone. */
LOAM_NODISCARD enum loam_status loam_vmap(struct loam_vm *vm, const loam_pfn *pfns, size_t npages, unsigned int prot,
					  const struct loam_call_site *site, void **address);
/* Map device registers [pa, pa + nbytes), any alignment; *@address has the offset in it. */
LOAM_NODISCARD enum loam_status loam_vmap_phys(struct loam_vm *vm, loam_paddr pa, size_t nbytes, enum loam_cache cache,
					       const struct loam_call_site *site, void **address);
bool loam_vunmap(struct loam_vm *vm, void *address);
/* New permissions for a whole area: LOAM_PROT_READ, READ|WRITE or READ|EXEC. Flushes. */
LOAM_NODISCARD enum loam_status loam_vmalloc_protect(struct loam_vm *vm, void *address, unsigned int prot);

/* A kernel stack: @nbytes rounded up to pages, an unmapped guard page below and above. *@top is the address past its highest byte, 16-byte aligned. */
LOAM_NODISCARD enum loam_status loam_vstack_alloc(struct loam_vm *vm, size_t nbytes, const struct loam_call_site *site,
						  void **top);
bool loam_vstack_free(struct loam_vm *vm, void *top);

/* What a faulting or otherwise curious address is. */
enum loam_vmalloc_place {
	LOAM_PLACE_OUTSIDE = 0, /* not in the arena */
	LOAM_PLACE_UNUSED,      /* in no live area */
	LOAM_PLACE_AREA,        /* in a live area */
	LOAM_PLACE_GUARD,       /* in the guard page of a live area */
	LOAM_PLACE_STACK_GUARD, /* below a live stack: an overflow */
};
/* One live area, copied out. */
struct loam_vmalloc_live {
	uint64_t sequence;
	uintptr_t address;
	size_t nbytes;
	size_t npages;
	struct loam_task task;
	const struct loam_call_site *site;
	uint64_t time;
	bool stack;
	bool device;
};
/* Lock-free, any context, also from a fault handler. *@live is filled for AREA, GUARD and STACK_GUARD. */
enum loam_vmalloc_place loam_vmalloc_whereis(const struct loam_vm *vm, uintptr_t address,
					     struct loam_vmalloc_live *live);
/* Is it the base of a live allocation? 1 yes, 0 no, -1 could not tell; never waits. */
int loam_vmalloc_is_live(const struct loam_vm *vm, const void *address);
/* Live areas in address order into @out. Return: how many were written; *@total is how many there are. */
size_t loam_vmalloc_snapshot(const struct loam_vm *vm, struct loam_vmalloc_live *out, size_t capacity, size_t *total);

struct loam_vmalloc_stats {
	uintptr_t arena_start;
	uintptr_t arena_end;
	uint64_t live_areas;
	uint64_t live_pages;
	uint64_t free_pages;
	uint64_t peak_pages;
	uint64_t total_sequence;
	uint64_t failures;
	uint64_t policy_rejects;
	uint64_t free_extents;
	uint64_t largest_free_pages;
	uint64_t metadata_pages;
	uint64_t free_nodes;
	uint64_t waiting_areas; /* freed, not yet flushed */
	uint64_t flushes;
	struct loam_vmalloc_failure last_failure;
};
/* LOAM_ERR_NOT_READY before init. */
LOAM_NODISCARD enum loam_status loam_vmalloc_read_stats(const struct loam_vm *vm, struct loam_vmalloc_stats *stats);
struct loam_vmalloc_failure loam_vmalloc_last_failure(const struct loam_vm *vm);
/* On the console: one line per live allocation with every attribution field, a total with peak (SPEC V10); the statistics. */
void loam_vmalloc_dump_live(const struct loam_vm *vm);
void loam_vmalloc_dump_stats(const struct loam_vm *vm);
LOAM_NODISCARD enum loam_status loam_vmalloc_check(struct loam_vm *vm);

#ifdef __cplusplus
}
#endif
#endif
