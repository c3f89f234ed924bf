/* loam/paging.h: page tables of three architectures as data, and the TLB shootdown engine.
 *
 * docs/theory/paging.md explains both. The builders never flush: they say what changed, and the caller decides when the TLBs hear of it.
 */
#ifndef LOAM_PAGING_H
#define LOAM_PAGING_H

#include <loam/frame.h>
#include <loam/port.h>
#include <loam/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- geometry ---------------------------------------------------------------------------------------------------------------------------- */

/* How an architecture writes an entry: levels, shifts, bits. The formats below are all there are. */
struct loam_paging_format;
extern const struct loam_paging_format loam_paging_x86_64_4level; /* Intel SDM 3A ch. 4.5, AMD APM 2 ch. 5 */
extern const struct loam_paging_format loam_paging_x86_64_5level;
extern const struct loam_paging_format loam_paging_aarch64_48; /* Arm ARM D8: VMSAv8-64, 4 KiB granule */
extern const struct loam_paging_format loam_paging_riscv_sv39; /* RISC-V privileged spec, 12.3 ff. */
extern const struct loam_paging_format loam_paging_riscv_sv48;
extern const struct loam_paging_format loam_paging_riscv_sv57;
const char *loam_paging_format_name(const struct loam_paging_format *format);
/* True when @address has the sign-extension the format asks for. */
bool loam_paging_is_canonical(const struct loam_paging_format *format, uintptr_t address);

/* ---- a tree ---------------------------------------------------------------------------------------------------------------------------------- */

/* Permissions. Readable is implied by any. Writable and executable together is LOAM_ERR_PROTECTION. */
#define LOAM_PROT_READ (1u << 0)
#define LOAM_PROT_WRITE (1u << 1)
#define LOAM_PROT_EXEC (1u << 2)
#define LOAM_PROT_USER (1u << 3)
#define LOAM_PROT_GLOBAL (1u << 4) /* the same in every address space */

enum loam_cache {
	LOAM_CACHE_WRITE_BACK = 0,
	LOAM_CACHE_WRITE_COMBINING,
	LOAM_CACHE_UNCACHED,
	LOAM_CACHE_DEVICE, /* uncached, ordered, no speculation */
};

/* Where table frames come from: the frame layer, or the boot map before there is one. All functions get @context. */
struct loam_table_source {
	loam_paddr (*alloc)(void *context);            /* a zeroed frame, or LOAM_PADDR_NONE */
	void (*free)(void *context, loam_paddr table); /* may be NULL: tables are kept for ever */
	void *context;
	uintptr_t direct_map;
};
/* Frames of purpose page table. */
struct loam_table_source loam_paging_tables_from_frames(struct loam_frames *frames);
/* Early tables from the boot map, never given back. */
struct loam_table_source loam_paging_tables_from_memmap(struct loam_memmap *map, uintptr_t direct_map);

struct loam_pagetable {
	const struct loam_paging_format *format;
	loam_paddr root;
	bool keep_empty_tables; /* policy: an emptied table stays for the next mapping */
	/* private */
	struct loam_table_source source;
	struct loam_lock lock; /* extending and emptying the tree; entries of different pages are written without it */
	uint64_t ntables;
};

/* @root: an existing root table, or LOAM_PADDR_NONE for a fresh one. */
LOAM_NODISCARD enum loam_status loam_pagetable_init(struct loam_pagetable *tree,
						    const struct loam_paging_format *format,
						    const struct loam_table_source *source, loam_paddr root);
/* Give every table back but those inherited from another tree; leaves are nobody's business here. */
void loam_pagetable_destroy(struct loam_pagetable *tree);
/* The source may change once: from the boot map to the frame layer. */
void loam_pagetable_set_source(struct loam_pagetable *tree, const struct loam_table_source *source);

/**
 * struct loam_mapping - what a range is to become.
 * @largest_leaf: 12, 21 or 30: leaves up to this size are used where address and physical address are aligned; 0 means 12.
 */
struct loam_mapping {
	unsigned int prot;
	enum loam_cache cache;
	unsigned int largest_leaf;
};

/* Map [va, va + npages * 4096) to consecutive physical memory. Nothing is left behind on failure.
 * Return: LOAM_OK, LOAM_ERR_ZERO_SIZE, LOAM_ERR_ALIGNMENT, LOAM_ERR_OVERFLOW, LOAM_ERR_OUT_OF_RANGE (not canonical, or physical address too wide),
 * LOAM_ERR_PROTECTION, LOAM_ERR_MAPPED, LOAM_ERR_NO_MEMORY (tables). Context: task, interrupt. Locks: the tree's. */
LOAM_NODISCARD enum loam_status loam_paging_map(struct loam_pagetable *tree, uintptr_t va, loam_paddr pa, size_t npages,
						const struct loam_mapping *mapping);
/* The same for @npages single frames in an array. */
LOAM_NODISCARD enum loam_status loam_paging_map_frames(struct loam_pagetable *tree, uintptr_t va, const loam_pfn *pfns,
						       size_t npages, const struct loam_mapping *mapping);
/* Told of each leaf removed or found: @npages of 4 KiB from @pa. */
typedef void (*loam_paging_leaf_fn)(void *context, uintptr_t va, loam_paddr pa, size_t npages);
/* Clear the entries of a wholly mapped range, telling @leaf of each; splits large leaves at its ends. Nothing changed when something in it is not mapped
 * (LOAM_ERR_NOT_MAPPED). The caller flushes. */
LOAM_NODISCARD enum loam_status loam_paging_unmap(struct loam_pagetable *tree, uintptr_t va, size_t npages,
						  loam_paging_leaf_fn leaf, void *context);
/* New permissions for a mapped range; cache type and frames stay. */
LOAM_NODISCARD enum loam_status loam_paging_protect(struct loam_pagetable *tree, uintptr_t va, size_t npages,
						    unsigned int prot);
/* Make all tables down to the last-but-one level for a range, so that every address space that copies the root's entries inherits it. */
LOAM_NODISCARD enum loam_status loam_paging_populate(struct loam_pagetable *tree, uintptr_t va, size_t npages);

/* What is mapped at an address. @leaf_shift: 12, 21 or 30. */
struct loam_paging_entry {
	loam_paddr pa; /* of the address itself, offset included */
	unsigned int prot;
	enum loam_cache cache;
	unsigned int leaf_shift;
};
LOAM_NODISCARD enum loam_status loam_paging_query(const struct loam_pagetable *tree, uintptr_t va,
						  struct loam_paging_entry *entry);

/* ---- TLB shootdown -------------------------------------------------------------------------------------------------------------------------------- */

/* A flush is a generation: it is done when every online CPU has flushed at or after it. */
typedef uint64_t loam_tlb_generation;

struct loam_tlb_config {
	unsigned int ncpus;
	bool broadcast; /* loam_port_tlb_flush() acts on every CPU: no IPIs, a flush is done when it returns */
	uint64_t
		timeout_ns; /* after this a silent CPU is named in a diagnosis; 0: one second. Needs loam_port_time() */
};
size_t loam_tlb_metadata_size(const struct loam_tlb_config *config);

struct loam_tlb; /* defined at the end */

LOAM_NODISCARD enum loam_status loam_tlb_init(struct loam_tlb *tlb, const struct loam_tlb_config *config,
					      void *metadata, size_t nbytes);
/* Called on the CPU itself. Online starts with a full local flush; an offline or idle CPU is not waited for, and flushes everything as it comes back. */
void loam_tlb_cpu_online(struct loam_tlb *tlb);
void loam_tlb_cpu_offline(struct loam_tlb *tlb);
void loam_tlb_idle_enter(struct loam_tlb *tlb);
void loam_tlb_idle_exit(struct loam_tlb *tlb);
/* The kernel's handler for loam_port_ipi() calls this, on the CPU that was asked. Context: interrupt. */
void loam_tlb_ipi(struct loam_tlb *tlb);
/* Ask for pages to be forgotten everywhere; nranges == 0: everything. Never waits; flushes this CPU before it returns.
 * Return: the generation that is done when all have. Context: task, interrupt; interrupts on or off. */
loam_tlb_generation loam_tlb_flush_start(struct loam_tlb *tlb, const struct loam_tlb_range *ranges, size_t nranges);
bool loam_tlb_is_done(const struct loam_tlb *tlb, loam_tlb_generation generation);
/* Wait for it, with interrupts on and no lock held. Return: LOAM_OK; LOAM_ERR_TIMEOUT after naming the silent CPUs on the console; LOAM_ERR_CONTEXT at once when
 * it is not done and the caller must not wait (interrupt context). */
LOAM_NODISCARD enum loam_status loam_tlb_wait(struct loam_tlb *tlb, loam_tlb_generation generation);

struct loam_tlb_stats {
	uint64_t flushes; /* generations started */
	uint64_t ipis;
	uint64_t full_flushes; /* answered by flushing everything */
	uint64_t timeouts;
};
void loam_tlb_read_stats(const struct loam_tlb *tlb, struct loam_tlb_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
