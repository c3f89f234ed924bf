/* loam/frame.h: physical frames.
 *
 * Every 4 KiB frame has a 64-byte slot in an array apart; nothing is written into a free frame to manage it. Free memory is bitmaps per 2 MiB block;
 * CPUs keep magazines of frames in front of them. docs/theory/frame.md explains the design.
 */
#ifndef LOAM_FRAME_H
#define LOAM_FRAME_H

#include <loam/boot.h>
#include <loam/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the slot: layout is a contract (SPEC F1) ---------------------------------------------------------------------------------------- */

#define LOAM_FRAME_UNUSED UINT32_MAX /* refcount of a free frame, wherever it is parked */
#define LOAM_FRAME_REF_MAX                                                                                             \
	(UINT32_MAX - 2) /* a count that got here stays: the frame is never freed, rather than too early */
#define LOAM_FRAME_LINK_NONE UINT64_MAX /* "no neighbour" in next and prev */
#define LOAM_FRAME_REFCOUNT_OFFSET 32   /* of refcount in a slot */

/**
 * struct loam_slot - the metadata of one frame.
 * Who may touch it: while a frame is free, the allocator alone, and it only swaps refcount and generation. While it is owned, next, prev and tail belong to the
 * owner; the other fields are written through the functions below. refcount and generation are neighbours so that one 64-bit swap moves both.
 */
struct loam_slot {
	uint64_t next;
	uint64_t prev;
	uint64_t vtable; /* address of a struct loam_frame_vtable; 0 or misaligned: no hooks */
	uint32_t flags;  /* LOAM_FRAME_... below; of a free frame its last owner's: ask loam_frame_flags() */
	uint8_t order;
	uint8_t state; /* private: what the frame is to the allocator for good */
	uint16_t cpu;  /* private: the owner's CPU once more */
	uint32_t refcount;
	uint32_t generation; /* + 1 at each allocation */
	uint32_t guard;      /* LOAM_GUARD_... below */
	uint32_t aux;        /* low 16 bits: the CPU that allocated it */
	uint8_t tail[16];
};

/* flags */
#define LOAM_FRAME_COW (UINT32_C(1) << 0)
#define LOAM_FRAME_DLL (UINT32_C(1) << 1) /* shared library page: shared, never copied on write */
#define LOAM_FRAME_ANONYMOUS (UINT32_C(1) << 2)
#define LOAM_FRAME_ALLOCATED (UINT32_C(1) << 8)
#define LOAM_FRAME_FREE (UINT32_C(1) << 9) /* what loam_frame_flags() says of a free frame */
#define LOAM_FRAME_KERNEL (UINT32_C(1) << 10)
#define LOAM_FRAME_USER (UINT32_C(1) << 11)
#define LOAM_FRAME_POISONED (UINT32_C(1) << 12)
#define LOAM_FRAME_MOVABLE (UINT32_C(1) << 13)

/* guard bits: a space apart from flags */
#define LOAM_GUARD_NONE UINT32_C(0)
#define LOAM_GUARD_KERNEL_ONLY (UINT32_C(1) << 0)
#define LOAM_GUARD_POISONED (UINT32_C(1) << 31)

/**
 * struct loam_frame_vtable - hooks of a frame's owner, 64 bytes, static.
 * @on_last_ref: once for a block's head when its last reference goes.  @on_unmap: then once per 4 KiB page, also of a block that will be quarantined.
 * Both run with interrupts masked and no lock held; they must not allocate, lock or fail.
 */
struct loam_frame_vtable {
	void (*on_last_ref)(loam_paddr head);
	void (*on_unmap)(loam_paddr page);
	uint64_t reserved[6];
};

/* ---- the instance ------------------------------------------------------------------------------------------------------------------------- */

#define LOAM_ZONES_MAX 4
#define LOAM_NODES_MAX 8

/* A zone: all frames below @limit (exclusive; 0 = no limit) that no lower zone holds. */
struct loam_zone_config {
	const char *name; /* lives for ever, e.g. "dma", "dma32", "normal" */
	loam_paddr limit;
};

/**
 * struct loam_frames_config - how to set up the frames of a machine.
 * @map: normalised map; USABLE regions become free frames, every other RAM region frames that are in use for good.
 * @direct_map: virtual address of physical address 0: virtual = physical + direct_map, modulo 2^64. All of @map's RAM must be reachable there.
 * @ncpus: CPU numbers are 0 .. ncpus - 1.   @zones: in rising order of limit; @nzones 0: one zone "normal".
 */
struct loam_frames_config {
	const struct loam_memmap *map;
	uintptr_t direct_map;
	unsigned int ncpus;
	unsigned int nzones;
	struct loam_zone_config zones[LOAM_ZONES_MAX];
	bool hardened;            /* free frames wait in a FIFO before they are reused */
	const uint8_t *cpu_nodes; /* the NUMA node of each CPU; NULL: all on node 0. Read by init only */
	loam_paddr hotplug_limit; /* memory may be added up to here later, exclusive; 0: none */
	bool zeroed; /* the metadata is all zero, now and when memory is added: what is not used yet is not touched */
	bool report; /* loam_frame_report() is wanted; free memory, now and when it is added, is all zero */
};

/* Private to the frame layer; they live in the metadata. */
struct loami_frame_section;
struct loami_frame_number;
struct loami_frame_chunk;
struct loami_frame_domain;
struct loami_frame_cpu;
struct loam_shrinker;

/**
 * struct loam_frames - the frames of a machine. All zero before loam_frames_init(). Every field is private.
 * Fields without a key are written by init alone. (h) by hot-plug too, one at a time, published with release. (a) atomic.
 */
struct loam_frames {
	struct loami_frame_section *sections; /* (h) 16 MiB each: where the slots are; by (pfn - first_pfn) >> 12 */
	loam_pfn first_pfn;                   /* of a block */
	uint64_t span;                        /* frames from there to the end of memory, or to where it may grow */
	loam_pfn
		dense_first; /* the most sections in a row that had RAM from the start, so that their slots lie in a row too */
	uint64_t dense;        /* frames there */
	uintptr_t dense_words; /* where the first one's slot has its refcount */
	uint64_t
		dense_naming; /* what is added to {UNUSED, generation} and a frame's number to get the frame's name (magazine.c) */
	struct loami_frame_number *numbers; /* (h) sections with RAM, in the order they were found, from 1 */
	uint32_t numbers_used;              /* (h) */
	uint32_t numbers_max;
	struct loami_frame_chunk *lowest; /* (h) chunks in order of address */
	uint64_t *tops;                   /* the domains' bitmaps */
	struct loami_frame_cpu *cpus;
	struct loam_slot *nobody;          /* the slot of no frame */
	struct loami_frame_chunk **chunks; /* (h) by number */
	uint32_t nchunks;                  /* (h) */
	uint32_t chunks_max;
	struct loami_frame_domain *domains; /* one per (node, zone) that has memory */
	uintptr_t direct_map;
	unsigned int ncpus;
	unsigned int ndomains;
	unsigned int nzones;
	unsigned int nnodes;
	unsigned int cell_order;
	uint32_t ready; /* (a) */
	uint32_t
		direct; /* (a) orders below this are handed out by the first lines of loam_frame_alloc(): 1 once ready */
	bool hardened;
	bool report;
	bool zeroed;
	uint8_t search[LOAM_NODES_MAX][LOAM_ZONES_MAX * LOAM_NODES_MAX]; /* domains in the order a node tries them */
	struct loam_zone_config zones[LOAM_ZONES_MAX];
	loam_pfn zone_start[LOAM_ZONES_MAX];
	loam_pfn zone_end[LOAM_ZONES_MAX];
	uint64_t zone_present[LOAM_ZONES_MAX]; /* (h) frames */
	uint64_t zone_managed[LOAM_ZONES_MAX]; /* (h) frames */
	uint64_t ram;                          /* (h) frames */
	uint64_t managed;                      /* (h) frames */
	uint64_t metadata_frames;              /* (h) */
	uint64_t moves; /* (a) + 1 for each return of frames to the blocks: a search that saw none looks again */
	uint64_t
		in_flight; /* (a) frames on their way: runs being gathered chunk by chunk, interrupts masked; one that is zeroed in idle time; runs being reported */
	uint64_t quarantined;    /* (a) frames */
	uint64_t unreported;     /* (a) free frames in the blocks that were in use since they were last reported */
	uint64_t allocs;         /* (a) frames handed out by the shared path */
	uint64_t range_out;      /* (a) frames of runs, out and back, and runs not to be had */
	uint64_t range_back;     /* (a) */
	uint64_t range_failures; /* (a) */
	uint64_t failures[LOAM_ORDER_MAX + 1]; /* (a) */
	uint32_t specials;                     /* (a) 1 since the first frame with hooks or poison */
	uint32_t saturation_said;              /* (a) */
	uint64_t zone_low[LOAM_ZONES_MAX];     /* (a) frames */
	uint64_t zone_min[LOAM_ZONES_MAX];     /* (a) */
	uint64_t zone_reserve[LOAM_ZONES_MAX]; /* (a) */
	uint32_t outline;                      /* (a) guards (h): one change of the outline at a time */
	uint32_t shrinking;                    /* (a) guards shrinkers */
	uint64_t shrinks;                      /* (a) who holds it: a task or a CPU; 0 nobody */
	uint32_t passes;                       /* (a) of shrinkers, that are over */
	uint32_t poisonings;                   /* (a) how often a frame was marked as poisoned */
	uint32_t changes;                      /* (a) who waits to change the list of shrinkers: no pass begins */
	uint64_t shrunk;                       /* (a) frames that they freed */
	struct loam_shrinker *shrinkers;
	uint64_t shrunk_in_vain; /* (a) 1 + moves when shrinkers last found nothing */
};

/* What a frame is for (SPEC F3). */
enum loam_frame_purpose {
	LOAM_PURPOSE_KERNEL = 0, /* the default */
	LOAM_PURPOSE_PAGE_TABLE, /* zeroed whatever is asked */
	LOAM_PURPOSE_USER,       /* movable */
	LOAM_PURPOSE_CUSTOM,     /* flags as given, plus ALLOCATED */
};

/**
 * struct loam_frame_opts - how to allocate. All zero is the default: kernel data, zeroed, any zone and node.
 * @zone_limit: only frames of zones 0..zone_limit - 1; 0 for any.
 * @node: 1 + the preferred node; 0 for the CPU's own.
 */
struct loam_frame_opts {
	bool uninitialized; /* the caller overwrites all of it before anybody reads it */
	uint8_t zone_limit;
	uint16_t node;
	enum loam_frame_purpose purpose;
	uint32_t custom_flags; /* read for LOAM_PURPOSE_CUSTOM only */
	bool no_reclaim;       /* do not call shrinkers: the caller is one, or holds locks they take */
	bool use_reserve;      /* may dip below the low-memory reserve: the caller is about to free memory */
} __attribute__((aligned(8))); /* read as words */

/* Bytes of the slot array for @ram_bytes of RAM: ceil(ram_bytes / 4096) * 64 (SPEC F2). */
uint64_t loam_frame_slots_size(uint64_t ram_bytes);
/* Bytes of metadata loam_frames_init() needs for this machine: slots, blocks, per-CPU. 0 for an impossible configuration. */
uint64_t loam_frames_metadata_size(const struct loam_frames_config *config);

/**
 * loam_frames_init() - take the machine's memory over.
 * @frames: all zero.  @metadata: the virtual address of metadata_size() bytes, 64-byte aligned, not in USABLE memory of the map any more (take it with
 * loam_memmap_alloc(), or loam_memmap_alloc_metadata()).
 * Return: LOAM_OK, LOAM_ERR_INVALID, LOAM_ERR_NO_METADATA, LOAM_ERR_ALREADY, LOAM_ERR_CPU. Zero RAM gives an empty, safe machine.
 */
LOAM_NODISCARD enum loam_status loam_frames_init(struct loam_frames *frames, const struct loam_frames_config *config,
						 void *metadata, uint64_t nbytes);

/**
 * loam_frames_boot() - the usual way to init: takes the metadata from @map itself by loam_memmap_alloc() and calls loam_frames_init().
 * @config->map is ignored, @map is used. Panics "loam: frame: boot allocator could not reserve N bytes (align A) for F frames" when it cannot (SPEC F2).
 */
LOAM_NODISCARD enum loam_status loam_frames_boot(struct loam_frames *frames, const struct loam_frames_config *config,
						 struct loam_memmap *map);

/* ---- allocating ---------------------------------------------------------------------------------------------------------------------------------- */

/* Why the last allocation on this CPU failed. */
struct loam_frame_failure {
	enum loam_status status;
	unsigned int order;
	uint64_t npages;
};

/**
 * loam_frame_alloc() - take 2^order contiguous frames.
 * @order: 0 .. LOAM_ORDER_MAX.   @opts: purpose, zeroing, zone, node; NULL for the defaults.
 *
 * They are naturally aligned, owned once by the caller, and zeroed unless @opts says otherwise. Where memory is short, shrinkers run (task context), then every CPU's
 * caches are looked through: with no watermark set it fails only when no such block is free anywhere. loam_frame_alloc_status() is the same with the reason.
 *
 * Return:  the first frame, or LOAM_PFN_NONE, and loam_frame_last_failure() says why: LOAM_ERR_ORDER, LOAM_ERR_ZONE, LOAM_ERR_INVALID (options),
 *	LOAM_ERR_NOT_READY, LOAM_ERR_NO_MEMORY.
 * Context: task, interrupt.  Locks: none on a hit; CPU, chunk.  Cost: O(1) on a hit; else a search over chunks by bitmaps. Panics when what it found is not free.
 */
loam_pfn loam_frame_alloc(struct loam_frames *frames, unsigned int order, const struct loam_frame_opts *opts);
LOAM_NODISCARD enum loam_status loam_frame_alloc_status(struct loam_frames *frames, unsigned int order,
							const struct loam_frame_opts *opts, loam_pfn *first);
/**
 * loam_frame_free() - give a block back whose refcount is 1, or was brought to 0 by loam_frame_ref_dec().
 * @first, @order: as it was allocated.
 *
 * Hooks run, then it is free for anybody; a block with a poisoned frame is quarantined instead. Panics, before anything is changed, on a double free, references left,
 * another order, an unaligned, foreign, reserved or quarantined block, and says which.
 *
 * Context: task, interrupt.  Locks: none on a hit; CPU, chunk.  Cost: O(1); O(2^order) where hooks or poison were ever used in its blocks.
 */
void loam_frame_free(struct loam_frames *frames, loam_pfn first, unsigned int order);

/* Where a run of frames may lie: DMA's needs. All zero: anywhere. Powers of two, in bytes; @limit exclusive. */
struct loam_frame_where {
	uint64_t align;
	uint64_t boundary; /* the run does not cross a multiple of it */
	loam_paddr limit;
	loam_paddr start;
};
/**
 * loam_frame_alloc_range() - take any number of contiguous frames.
 * @npages: 1 .. 2^40.   @where: NULL for anywhere.   @opts: as for loam_frame_alloc().
 *
 * Each frame of the run is owned once, by itself: loam_frame_free_range() takes the whole of it or parts. First fit, in high zones first.
 *
 * Return:  LOAM_OK and *@first; LOAM_ERR_ZERO_SIZE, LOAM_ERR_TOO_LARGE, LOAM_ERR_ALIGNMENT and LOAM_ERR_OUT_OF_RANGE (@where), what @opts may give, LOAM_ERR_NO_MEMORY.
 * Context: task, interrupt.  Locks: CPU, chunk.  Cost: each chunk's bitmap once, and O(npages); interrupts masked for the chunks of one candidate.
 */
LOAM_NODISCARD enum loam_status loam_frame_alloc_range(struct loam_frames *frames, uint64_t npages,
						       const struct loam_frame_where *where,
						       const struct loam_frame_opts *opts, loam_pfn *first);
/**
 * loam_frame_free_range() - give frames of runs back.
 * @first, @npages: frames of order 0, each owned once. 0 pages are nothing.
 *
 * All are checked before the first is changed; panics as loam_frame_free() does. Poisoned ones are quarantined alone.
 *
 * Context: task, interrupt.  Locks: chunk.  Cost: O(npages).
 */
void loam_frame_free_range(struct loam_frames *frames, loam_pfn first, uint64_t npages);

/**
 * loam_frame_claim_range() - take exactly these frames, for a device or a balloon.
 *
 * Each is then owned once, as after loam_frame_alloc_range(). On an error nothing is changed.
 *
 * Return:  LOAM_OK; LOAM_ERR_IN_USE when one of them is not free; LOAM_ERR_OUT_OF_RANGE when one is no memory; LOAM_ERR_ZERO_SIZE, LOAM_ERR_OVERFLOW, what @opts may give.
 * Context: task, interrupt.  Locks: CPU, chunk.  Cost: O(npages); drains the CPUs when some of it is parked.
 */
LOAM_NODISCARD enum loam_status loam_frame_claim_range(struct loam_frames *frames, loam_pfn first, uint64_t npages,
						       const struct loam_frame_opts *opts);
/**
 * loam_frame_release_range() - reserved frames (the loader's, the kernel's init code, early allocations no longer needed) become free.
 *
 * On an error nothing is changed.
 *
 * Return:  LOAM_OK; LOAM_ERR_INVALID when one of them is not reserved; LOAM_ERR_IN_USE when somebody has a reference; LOAM_ERR_OUT_OF_RANGE, LOAM_ERR_ZERO_SIZE,
 *	LOAM_ERR_OVERFLOW, LOAM_ERR_NOT_READY; LOAM_ERR_BUSY while another change is under way.
 * Context: task.  Locks: chunk.  Cost: O(npages).
 */
LOAM_NODISCARD enum loam_status loam_frame_release_range(struct loam_frames *frames, loam_pfn first, uint64_t npages);
/**
 * loam_frame_add_memory() - new memory [base, base + nbytes) becomes free, while others allocate.
 * @base, @nbytes: multiples of 2 MiB, below hotplug_limit, reachable in the direct map.   @node: 0 .. LOAM_NODES_MAX - 1.
 * @metadata: 128-byte aligned, of the size that loam_frame_add_memory_size() says (0: impossible); the layer's from now on. It may be the new
 *	memory's own if it is left out of what is added.
 *
 * On an error nothing is changed.
 *
 * Return:  LOAM_OK; LOAM_ERR_IN_USE when there is memory already, or in the same 16 MiB below and above it; LOAM_ERR_OUT_OF_RANGE above hotplug_limit; LOAM_ERR_ZONE above every zone; LOAM_ERR_ALIGNMENT,
 *	LOAM_ERR_ZERO_SIZE, LOAM_ERR_OVERFLOW, LOAM_ERR_INVALID, LOAM_ERR_NO_METADATA, LOAM_ERR_NOT_READY; LOAM_ERR_BUSY while another change is under way.
 * Context: task.  Locks: chunk.  Cost: O(pages).
 */
uint64_t loam_frame_add_memory_size(const struct loam_frames *frames, loam_paddr base, uint64_t nbytes);
LOAM_NODISCARD enum loam_status loam_frame_add_memory(struct loam_frames *frames, loam_paddr base, uint64_t nbytes,
						      unsigned int node, void *metadata, uint64_t metadata_nbytes);

/**
 * loam_frame_alloc_batch() - up to @n single frames into @out.   loam_frame_free_batch() - all of @n single frames back, in any order.
 *
 * Freeing fetches slots ahead of their use. A bad frame panics as in loam_frame_free(); what came before it has gone back.
 *
 * Return:  how many there were.
 * Context: task, interrupt.  Locks: CPU, chunk.  Cost: O(n).
 */
size_t loam_frame_alloc_batch(struct loam_frames *frames, size_t n, const struct loam_frame_opts *opts, loam_pfn *out);
void loam_frame_free_batch(struct loam_frames *frames, const loam_pfn *pfns, size_t n);

/**
 * loam_frame_renew_batch() - keep single frames of kernel data instead of giving them back and taking others: new generations, contents as they are.
 *
 * From the front of @pfns as far as each frame could be given back and be had again: not one with more references than the caller's, with hooks, a guard or poison, of another
 * purpose; none where free frames wait (hardened). What is left over is for loam_frame_free_batch().
 *
 * Return:  how many.
 * Context: task, interrupt.  Locks: none.  Cost: O(n).
 */
size_t loam_frame_renew_batch(struct loam_frames *frames, const loam_pfn *pfns, size_t n);

/* What failed last on this CPU; status LOAM_OK when nothing has yet. Context: task, interrupt. */
struct loam_frame_failure loam_frame_last_failure(const struct loam_frames *frames);

/* ---- slots and references ---------------------------------------------------------------------------------------------------------------------- */

/* The slot of a frame. Panics before init and past the end of memory (SPEC F9). loam_frame_has_slot() asks. Context: any.  Locks: none.  Cost: O(1). */
struct loam_slot *loam_frame_slot(const struct loam_frames *frames, loam_pfn pfn);
bool loam_frame_has_slot(const struct loam_frames *frames, loam_pfn pfn);

/**
 * loam_frame_ref_inc(), loam_frame_ref_dec(), loam_frame_ref_get(), loam_frame_ref_cas() - count references to a block, by its first frame.
 *
 * inc: relaxed; saturates at LOAM_FRAME_REF_MAX, stays there and says so once. dec: release; does not free: loam_frame_put() does. get: acquire. cas: acquire
 * and release; @expected holds what was found. inc of a free frame and dec of one without references panic.
 *
 * Return:  inc, dec: the count before; get: the count, LOAM_FRAME_UNUSED of a free frame; cas: whether it swapped.
 * Context: task, interrupt.  Locks: none.  Cost: O(1).
 */
uint32_t loam_frame_ref_inc(struct loam_frames *frames, loam_pfn pfn);
uint32_t loam_frame_ref_dec(struct loam_frames *frames, loam_pfn pfn);
uint32_t loam_frame_ref_get(const struct loam_frames *frames, loam_pfn pfn);
bool loam_frame_ref_cas(struct loam_frames *frames, loam_pfn pfn, uint32_t *expected, uint32_t desired);
/**
 * loam_frame_put() - drop one reference to the block of @order; the last one runs the hooks and frees or quarantines it.
 *
 * Panics when there is no reference, and when the block is of another order, whether or not it is the last one.
 *
 * Return:  true when it was the last.
 * Context: task, interrupt.  Locks: CPU, chunk with the last.  Cost: as loam_frame_free().
 */
bool loam_frame_put(struct loam_frames *frames, loam_pfn first, unsigned int order);

/* Fields of a slot, with the order SPEC F8 asks for: generation and flags are read with acquire and written with release. Writing is the owner's; guard bits and hooks
 * make a frame special for the rest of its epoch, which takes the slow way. Context: any.  Locks: none.  Cost: O(1). */
uint32_t loam_frame_generation(const struct loam_frames *frames, loam_pfn pfn);
bool loam_frame_generation_matches(const struct loam_frames *frames, loam_pfn pfn, uint32_t expected);
uint32_t loam_frame_flags(const struct loam_frames *frames, loam_pfn pfn);
void loam_frame_set_flags(struct loam_frames *frames, loam_pfn pfn, uint32_t flags);
bool loam_frame_is_cow(const struct loam_frames *frames, loam_pfn pfn);
bool loam_frame_is_dll(const struct loam_frames *frames, loam_pfn pfn);
uint32_t loam_frame_guard(const struct loam_frames *frames, loam_pfn pfn);
void loam_frame_set_guard(struct loam_frames *frames, loam_pfn pfn, uint32_t guard);
void loam_frame_set_vtable(struct loam_frames *frames, loam_pfn pfn, const struct loam_frame_vtable *vtable);

/* Poisoned: set in flags and guard; a block with such a frame is quarantined when freed, for good; a free frame when somebody is about to get it. Asking before init:
 * false. Context: task, interrupt.  Locks: none.  Cost: O(1); of a block O(2^order). */
void loam_frame_mark_poisoned(struct loam_frames *frames, loam_pfn pfn);
/* Where it is counted, atomically, how often a frame has been marked: who keeps frames for later use gives them back when that has changed, lest he hand a bad one out. Context: any. */
const uint32_t *loam_frame_poisonings(const struct loam_frames *frames);
bool loam_frame_is_poisoned(const struct loam_frames *frames, loam_pfn pfn);
bool loam_frame_block_is_poisoned(const struct loam_frames *frames, loam_pfn first, unsigned int order);
uint64_t loam_frame_quarantined_racy(const struct loam_frames *frames);

struct loam_frame_debug {
	uint32_t generation;
	uint32_t guard;
	uint64_t vtable;
};
struct loam_frame_debug loam_frame_read_debug(const struct loam_frames *frames, loam_pfn pfn);

/* ---- frame values (SPEC F12) --------------------------------------------------------------------------------------------------------------------- */

static inline loam_pfn loam_frame_containing(loam_paddr address)
{
	return address >> LOAM_PAGE_SHIFT;
}
static inline loam_paddr loam_frame_address(loam_pfn pfn)
{
	return pfn << LOAM_PAGE_SHIFT;
}
LOAM_NODISCARD enum loam_status loam_frame_from_address(loam_paddr address, loam_pfn *pfn);
/* Virtual address of a frame in the direct map. */
void *loam_frame_virt(const struct loam_frames *frames, loam_pfn pfn);
/* Inclusive range: for (struct loam_frame_range r = loam_frame_range_make(a, b); loam_frame_range_next(&r, &pfn);) */
struct loam_frame_range {
	loam_pfn next;
	loam_pfn last;
	bool done;
};
struct loam_frame_range loam_frame_range_make(loam_pfn first, loam_pfn last);
bool loam_frame_range_next(struct loam_frame_range *range, loam_pfn *pfn);

/* ---- CPUs, pressure, accounting ------------------------------------------------------------------------------------------------------------------ */

/**
 * loam_frame_cpu_online(), loam_frame_cpu_offline() - a CPU begins or ends to use its caches.
 * @cpu: for offline one that runs no more code; call it on any other.
 *
 * Offline gives everything parked there back. Every CPU is online after init; a CPU that is offline may allocate, and parks nothing.
 *
 * Return:  LOAM_OK, LOAM_ERR_CPU, LOAM_ERR_NOT_READY.
 * Context: task, interrupt.  Locks: CPU, chunk.  Cost: O(what is parked there).
 */
LOAM_NODISCARD enum loam_status loam_frame_cpu_online(struct loam_frames *frames, unsigned int cpu);
LOAM_NODISCARD enum loam_status loam_frame_cpu_offline(struct loam_frames *frames, unsigned int cpu);
/* Everything parked on any CPU back to the blocks, e.g. before an audit; whoever runs there goes on meanwhile. Context: task, interrupt.  Locks: CPU, chunk.
 * Cost: O(what is parked). */
void loam_frame_drain(struct loam_frames *frames);

/**
 * loam_frame_report() - tell a hypervisor, or whoever lends this memory, of frames that are free and may hold something.
 * @frames: set up with .report.   @npages: about how many frames.   @report: gives their memory up; it reads as zero then. Called with no lock held; it must not call @frames.
 *
 * While a run is reported it is not free; an allocation that finds nothing else waits for it. Runs (loam_frame_alloc_range()) of frames that were not in use
 * since they were reported are not zeroed again. Frames parked on CPUs are not reported.
 *
 * Return:  frames reported.
 * Context: task.  Locks: chunk.
 */
uint64_t loam_frame_report(struct loam_frames *frames, uint64_t npages,
			   void (*report)(void *context, loam_pfn first, uint64_t npages), void *context);
/* Free frames that there would be to report. */
uint64_t loam_frame_unreported_racy(const struct loam_frames *frames);

/**
 * loam_frame_zero_idle() - for the idle loop: zero up to @n free frames and park them on this CPU, where allocations that want zeroed frames take them first.
 *
 * Only frames of a zone above its low watermark, and never the last one. May be interrupted at any time.
 *
 * Return:  how many; fewer when there is no room, or memory is low.
 * Context: task.  Locks: CPU, chunk.  Cost: O(n) pages written.
 */
size_t loam_frame_zero_idle(struct loam_frames *frames, size_t n);

/**
 * struct loam_shrinker - somebody who can give memory back. In the caller's storage while registered.
 * @shrink: try to free @npages frames; return how many were freed. Called without locks, in the context of the allocation that needs them, by one CPU at a time; an
 *	allocation that would fail meanwhile on another waits for it, for a bounded time. What it allocates itself is refused where nothing is free, and it may
 *	not change the list of shrinkers (LOAM_ERR_BUSY).
 */
struct loam_shrinker {
	size_t (*shrink)(struct loam_shrinker *self, size_t npages);
	const char *name;
	struct loam_shrinker *next; /* private */
};
/**
 * loam_frame_add_shrinker(), loam_frame_remove_shrinker() - when remove returns, it is not called any more.
 *
 * Return:  LOAM_OK; LOAM_ERR_ALREADY, LOAM_ERR_INVALID; LOAM_ERR_NOT_FOUND; LOAM_ERR_BUSY inside of a shrinker; LOAM_ERR_NOT_READY.
 * Context: task; waits for a pass that is under way, and none begins meanwhile.  Locks: none.  Cost: O(shrinkers).
 */
LOAM_NODISCARD enum loam_status loam_frame_add_shrinker(struct loam_frames *frames, struct loam_shrinker *shrinker);
LOAM_NODISCARD enum loam_status loam_frame_remove_shrinker(struct loam_frames *frames, struct loam_shrinker *shrinker);

/* What a zone keeps, in frames; all but low is 0 at first, and then an allocation fails only when no frame is free at all.
 * @low: below it shrinkers run.  @min: for use_reserve allocations only; at most @low.
 * @reserve: on top of @min, left to allocations that cannot use a higher zone. */
struct loam_zone_watermarks {
	uint64_t low;
	uint64_t min;
	uint64_t reserve;
};
/* Return: LOAM_OK; LOAM_ERR_ZONE, LOAM_ERR_INVALID (@min above @low), LOAM_ERR_NOT_READY. Context: any.  Locks: none.  Cost: O(1). */
LOAM_NODISCARD enum loam_status loam_frame_set_watermarks(struct loam_frames *frames, unsigned int zone,
							  const struct loam_zone_watermarks *marks);

/* Counts in frames; consistent when read at rest. */
struct loam_zone_stats {
	const char *name;
	loam_pfn start;
	loam_pfn end;
	uint64_t present;     /* frames of RAM in the zone */
	uint64_t managed;     /* those this layer hands out */
	uint64_t free;        /* free, parked on CPUs included */
	uint64_t free_blocks; /* 2 MiB blocks wholly free */
	uint64_t low;         /* watermarks: below low shrinkers run, below min only use_reserve allocations pass */
	uint64_t min;
	unsigned int fragmentation; /* 0..1000: share of free memory not in whole 2 MiB blocks */
};
struct loam_frames_stats {
	uint64_t ram;      /* frames the map calls RAM of any kind */
	uint64_t reserved; /* RAM never handed out: kernel, firmware, bad */
	uint64_t metadata; /* RAM under slots and bitmaps */
	uint64_t managed;  /* ram = reserved + metadata + managed */
	uint64_t free;     /* managed = free + used + quarantined */
	uint64_t used;
	uint64_t parked; /* of free: in CPU caches */
	uint64_t quarantined;
	uint64_t allocs;
	uint64_t frees;
	uint64_t failures[LOAM_ORDER_MAX + 1];
	uint64_t range_pages_out;
	uint64_t range_pages_back;
	uint64_t range_failures;
	unsigned int nzones;
};
/* Return of the second: LOAM_OK or LOAM_ERR_ZONE. Context: task, interrupt.  Locks: CPU, chunk, one at a time.  Cost: O(what is parked); of a zone O(chunks) too. */
void loam_frame_read_stats(const struct loam_frames *frames, struct loam_frames_stats *stats);
LOAM_NODISCARD enum loam_status loam_frame_read_zone_stats(const struct loam_frames *frames, unsigned int zone,
							   struct loam_zone_stats *stats);

/**
 * loam_frame_check() - every invariant of the layer, each frame in exactly one set.
 * The machine must be at rest.
 *
 * Return:  LOAM_OK; LOAM_ERR_INVALID after saying on the console what is wrong; LOAM_ERR_NOT_READY.
 * Context: task.  Locks: chunk.  Cost: O(frames).
 */
LOAM_NODISCARD enum loam_status loam_frame_check(struct loam_frames *frames);

#ifdef __cplusplus
}
#endif
#endif
