/* loam/paging.h: page tables of three architectures as data, and the TLB shootdown engine.
 *
 * docs/theory/paging.md and docs/theory/tlb.md explain both. The builders never flush (one exception, LOAM_SPLIT_BREAK): they change tables, and the
 * caller decides when the TLBs hear of it. The engine flushes and knows no tables.
 *
 * Concurrency, for all of loam_paging_*: operations on different pages may run at once, on any CPU, also where they share tables; two that touch the
 * same page at the same time are the caller's mistake. loam_paging_query() may run beside anything.
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

/* Intel SDM 3A ch. 4.5, AMD APM 2 ch. 5. EFER.NXE set; IA32_PAT entry 1 write-combining, the others as after reset (LOAM_X86_64_PAT). */
extern const struct loam_paging_format loam_paging_x86_64_4level;
extern const struct loam_paging_format loam_paging_x86_64_5level;
#define LOAM_X86_64_PAT UINT64_C(0x0007040600070106)

/* Arm ARM D8: VMSAv8-64, 4 KiB granule, 48 bit. The upper half of the address space, under TTBR1, and the lower one, under TTBR0: a tree each.
 * MAIR_EL1 = LOAM_AARCH64_MAIR: write-back; normal non-cacheable twice (write-combining, uncached); Device-nGnRE. */
extern const struct loam_paging_format loam_paging_aarch64_48;
extern const struct loam_paging_format loam_paging_aarch64_48_low;
#define LOAM_AARCH64_MAIR UINT64_C(0x044444ff)

/* RISC-V privileged spec 12.3 ff. Without Svpbmt the platform's memory attributes decide what is cached, and a cache type is only remembered; with it
 * (_svpbmt) it is enforced: bits 62:61 are reserved otherwise, so ask for it only where the CPU has it. */
extern const struct loam_paging_format loam_paging_riscv_sv39;
extern const struct loam_paging_format loam_paging_riscv_sv48;
extern const struct loam_paging_format loam_paging_riscv_sv57;
extern const struct loam_paging_format loam_paging_riscv_sv39_svpbmt;
extern const struct loam_paging_format loam_paging_riscv_sv48_svpbmt;
extern const struct loam_paging_format loam_paging_riscv_sv57_svpbmt;

/** loam_paging_format_name() - "x86-64 4-level" and so on, for people. Context: any. */
const char *loam_paging_format_name(const struct loam_paging_format *format);

/** loam_paging_is_canonical() - whether a tree of @format can translate @address: sign-extended, or in the format's half. Context: any. */
bool loam_paging_is_canonical(const struct loam_paging_format *format, uintptr_t address);

/* ---- a tree ---------------------------------------------------------------------------------------------------------------------------------- */

/* Permissions. Readable is implied by any. Writable and executable together is LOAM_ERR_PROTECTION, and so is none at all. EXEC is for the kernel,
 * EXEC | USER for user code. */
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

/**
 * struct loam_table_source - where table frames come from: the frame layer, or the boot map before there is one.
 * @alloc: a frame, or LOAM_PADDR_NONE.   @free: NULL: tables cannot be given back.   @context: what both get.
 * @direct_map: virtual address of physical address 0; every table frame is reachable there.
 * @needs_zeroing: frames come as they are; else they are full of zeros.
 * Both are called with no lock of the tree held.
 */
struct loam_table_source {
	loam_paddr (*alloc)(void *context);
	void (*free)(void *context, loam_paddr table);
	void *context;
	uintptr_t direct_map;
	bool needs_zeroing;
};

/** loam_paging_tables_from_frames() - frames of purpose page table. */
struct loam_table_source loam_paging_tables_from_frames(struct loam_frames *frames);

/** loam_paging_tables_from_memmap() - early tables from the boot map, lowest address above 1 MiB first, never given back. */
struct loam_table_source loam_paging_tables_from_memmap(struct loam_memmap *map, uintptr_t direct_map);

/* What to do when part of a large leaf changes, so that it must become a table of smaller ones. */
enum loam_split {
	/* As the architecture allows without care: in place on x86-64 and RISC-V, where the old and the new translation may be used side by side as they
	 * agree; on AArch64 refused (LOAM_ERR_ALIGNMENT), because it wants the entry invalid for a moment (break before make). */
	LOAM_SPLIT_DEFAULT = 0,
	/* AArch64: invalid entry, loam_port_tlb_flush(), then the table. The flush must reach all CPUs. Meanwhile other CPUs fault on the leaf: their fault
	 * handler asks loam_paging_query() and returns to try again on LOAM_ERR_BUSY. Never for a leaf that holds what splitting itself touches. */
	LOAM_SPLIT_BREAK,
	/* In place: AArch64 with FEAT_BBM level 2. */
	LOAM_SPLIT_IN_PLACE,
};

/**
 * struct loam_pagetable - a tree of page tables.
 * @format, @root: as given to init, to be loaded into CR3, TTBRn or satp.
 * @keep_empty_tables: policy, true after init: an emptied table stays for the next mapping. False: it is cut off, and the caller gives it back with
 *	loam_pagetable_seal() and loam_pagetable_release(). Set it before the first mapping.
 * @pa_bits: physical addresses above are refused; after init the format's most, lower it to the machine's (MAXPHYADDR, PARange).
 * @split: as above.
 */
struct loam_pagetable {
	const struct loam_paging_format *format;
	loam_paddr root;
	bool keep_empty_tables;
	uint8_t pa_bits;
	enum loam_split split;

	/* private; what @lock guards, the rest is set by init or atomic */
	struct loam_table_source source;
	struct loam_lock lock;
	uint32_t changers;        /* lock: operations that may be writing to tables (keep_empty_tables false only) */
	uint32_t queries;         /* queries under way, likewise */
	uint64_t ntables;         /* tables taken and not given back, root included */
	loam_paddr stock;         /* lock: tables left over from a source that takes none back */
	loam_paddr detached;      /* lock: tables cut off, waiting for a flush */
	size_t ndetached;         /* lock */
	loam_paddr flushed;       /* lock: flushed, but a query was under way */
	uintptr_t trim_low;       /* lock: addresses whose tables may have become empty, inclusive */
	uintptr_t trim_high;      /* lock */
	uint16_t inherited_first; /* entries of the root that belong to another tree */
	uint16_t inherited_end;
	bool foreign_root;
};

/**
 * loam_pagetable_init() - a fresh tree, or one that is there already.
 * @root: an existing root table, or LOAM_PADDR_NONE for a new one.
 *
 * Return: LOAM_OK, LOAM_ERR_INVALID, LOAM_ERR_ALIGNMENT (root), LOAM_ERR_NO_MEMORY.  Context: task.
 */
LOAM_NODISCARD enum loam_status loam_pagetable_init(struct loam_pagetable *tree,
						    const struct loam_paging_format *format,
						    const struct loam_table_source *source, loam_paddr root);

/**
 * loam_pagetable_destroy() - give every table back but those inherited from another tree.
 * No CPU walks the tree any more, and all have flushed since. Leaves are nobody's business here. Of a tree made over an existing root only the tables
 * cut off so far are given back: the rest is not known to be Loam's.  Context: task.
 */
void loam_pagetable_destroy(struct loam_pagetable *tree);

/**
 * loam_pagetable_set_source() - from now on tables come from @source, e.g. the frame layer instead of the boot map.
 * Tables of a source that takes none back stay for ever: @tree->keep_empty_tables becomes true then.  Context: task, nobody else uses the tree.
 */
void loam_pagetable_set_source(struct loam_pagetable *tree, const struct loam_table_source *source);

/**
 * loam_pagetable_inherit() - the new tree @tree shows what @parent shows in [va, va + npages * 4096), now and later.
 * Copies the entries of the parent's root; populate the range in the parent first, so that there are entries to copy. Once per tree. From then on what lies
 * under those entries is changed through the parent only: LOAM_ERR_OUT_OF_RANGE here.
 *
 * Return: LOAM_OK, LOAM_ERR_INVALID (formats differ), LOAM_ERR_ALREADY, LOAM_ERR_MAPPED (@tree has something there), LOAM_ERR_NOT_MAPPED (an entry of the
 * parent's root is empty, or a leaf), and those of a range, see loam_paging_map().  Context: task.
 */
LOAM_NODISCARD enum loam_status loam_pagetable_inherit(struct loam_pagetable *tree, const struct loam_pagetable *parent,
						       uintptr_t va, size_t npages);

/* Tables cut off, on their way back. Private, but for the count. */
struct loam_table_batch {
	loam_paddr first;
	size_t ntables;
};

/**
 * loam_pagetable_seal() - take the tables cut off so far into @batch. Return: false when there are none.
 * A table frame must not be reused while a CPU's walker may still reach it through a cached upper entry. So the caller then flushes everything on every
 * CPU, idle ones too, with loam_tlb_flush_tables(), waits, and calls loam_pagetable_release(). Flushing page by page is not enough for tables.
 * Context: task, interrupt.  Locks: the tree's.
 */
bool loam_pagetable_seal(struct loam_pagetable *tree, struct loam_table_batch *batch);

/** loam_pagetable_release() - the flush for @batch is done: its tables go back to the source.  Context: task, interrupt.  Locks: the tree's. */
void loam_pagetable_release(struct loam_pagetable *tree, struct loam_table_batch *batch);

/** loam_pagetable_count_racy() - how many tables the tree holds: its root, those in use, those cut off.  Context: any. */
uint64_t loam_pagetable_count_racy(const struct loam_pagetable *tree);

/**
 * struct loam_mapping - what a range is to become.
 * @largest_leaf: 12, 21 or 30: leaves up to this size are used where address and physical address are aligned; 0 means 12. Where a table of smaller leaves
 * is in the way, those are used.
 */
struct loam_mapping {
	unsigned int prot;
	enum loam_cache cache;
	unsigned int largest_leaf;
};

/**
 * loam_paging_map() - map [va, va + npages * 4096) to consecutive physical memory.
 * All tables are at hand before the first entry is written: on failure no entry was there for a single moment, and nothing needs to be flushed.
 * Pages unmapped shortly before must have been flushed before they are mapped anew.
 *
 * Return: LOAM_OK, LOAM_ERR_ZERO_SIZE, LOAM_ERR_ALIGNMENT, LOAM_ERR_OVERFLOW, LOAM_ERR_OUT_OF_RANGE (not canonical, inherited, or physical address too wide),
 * LOAM_ERR_PROTECTION, LOAM_ERR_INVALID (an unknown bit or leaf size), LOAM_ERR_MAPPED, LOAM_ERR_NO_MEMORY (tables).
 * Context: task, interrupt.  Locks: the tree's, and the source's.  Cost: one walk per leaf table, one store per leaf.
 */
LOAM_NODISCARD enum loam_status loam_paging_map(struct loam_pagetable *tree, uintptr_t va, loam_paddr pa, size_t npages,
						const struct loam_mapping *mapping);

/** loam_paging_map_frames() - the same for @npages single frames in an array. Large leaves are used where they happen to follow each other. */
LOAM_NODISCARD enum loam_status loam_paging_map_frames(struct loam_pagetable *tree, uintptr_t va, const loam_pfn *pfns,
						       size_t npages, const struct loam_mapping *mapping);

/* Told of each leaf removed: @npages of 4 KiB from @pa, at @va. In rising order of @va. */
typedef void (*loam_paging_leaf_fn)(void *context, uintptr_t va, loam_paddr pa, size_t npages);

/**
 * loam_paging_unmap() - clear the entries of a wholly mapped range, telling @leaf (may be NULL) of each; splits large leaves at its ends.
 * The caller flushes before he reuses addresses or frames.
 *
 * Return: LOAM_OK, or with nothing changed: LOAM_ERR_ZERO_SIZE, LOAM_ERR_ALIGNMENT (also: a large leaf may not be split), LOAM_ERR_OVERFLOW,
 * LOAM_ERR_OUT_OF_RANGE, LOAM_ERR_NOT_MAPPED (something in it is not mapped), LOAM_ERR_NO_MEMORY (a table to split into).
 * Context: task, interrupt.  Locks: the tree's, and the source's.
 */
LOAM_NODISCARD enum loam_status loam_paging_unmap(struct loam_pagetable *tree, uintptr_t va, size_t npages,
						  loam_paging_leaf_fn leaf, void *context);

/** loam_paging_unmap_frames() - the same, with the frames behind the @npages into @pfns. Return: as loam_paging_unmap(), and LOAM_ERR_INVALID for NULL. */
LOAM_NODISCARD enum loam_status loam_paging_unmap_frames(struct loam_pagetable *tree, uintptr_t va, size_t npages,
							 loam_pfn *pfns);

/**
 * loam_paging_protect() - new permissions for a wholly mapped range; cache type, frames and LOAM_PROT_GLOBAL stay. The caller flushes.
 * Return: as loam_paging_unmap(), and LOAM_ERR_PROTECTION, LOAM_ERR_INVALID.  Context: task, interrupt.  Locks: the tree's, and the source's.
 */
LOAM_NODISCARD enum loam_status loam_paging_protect(struct loam_pagetable *tree, uintptr_t va, size_t npages,
						    unsigned int prot);

/**
 * loam_paging_populate() - make the tables that the root's entries for this range point to, so that every address space that copies those entries inherits
 * what is mapped there later. Before anything is mapped there.
 * Return: LOAM_OK, or the errors of a range, LOAM_ERR_MAPPED (a large leaf in the root), LOAM_ERR_NO_MEMORY.  Context: task.
 */
LOAM_NODISCARD enum loam_status loam_paging_populate(struct loam_pagetable *tree, uintptr_t va, size_t npages);

/* What is mapped at an address. @pa: of the address itself, offset included.  @leaf_shift: 12, 21, 30 (a foreign tree may have larger ones). */
struct loam_paging_entry {
	loam_paddr pa;
	unsigned int prot;
	enum loam_cache cache;
	unsigned int leaf_shift;
};

/**
 * loam_paging_query() - look an address up. Lock-free.
 * Return: LOAM_OK, LOAM_ERR_NOT_MAPPED, LOAM_ERR_OUT_OF_RANGE (not canonical), LOAM_ERR_INVALID, LOAM_ERR_BUSY (its leaf is being split right now: mapped,
 * but not for the CPU; try again).  Context: any.
 */
LOAM_NODISCARD enum loam_status loam_paging_query(const struct loam_pagetable *tree, uintptr_t va,
						  struct loam_paging_entry *entry);

/* ---- TLB shootdown -------------------------------------------------------------------------------------------------------------------------------- */

/* A flush is a generation: it is done when every CPU that may hold old translations has flushed at or after it. */
typedef uint64_t loam_tlb_generation;

/**
 * struct loam_tlb_config - the CPUs to be asked, and how.
 * @broadcast: loam_port_tlb_flush() acts on every CPU: no IPIs, a flush is done when loam_tlb_flush_start() returns.
 * @timeout_ns: after this a silent CPU is named in a diagnosis; 0: one second. Needs loam_port_time().
 * @full_above: a CPU with more invalidations than this to do flushes everything instead; 0: 32, at most 64.
 */
struct loam_tlb_config {
	unsigned int ncpus;
	bool broadcast;
	uint64_t timeout_ns;
	unsigned int full_above;
};

struct loami_tlb_cpu;
struct loami_tlb_recent;

/* One machine's shootdown engine; all zero before init. Private. */
struct loam_tlb {
	uint64_t generation; /* started last */
	uint64_t tables;     /* the last one that idle CPUs must answer too */
	struct loami_tlb_cpu *cpus;
	struct loami_tlb_recent *recent; /* ranges of the last generations */
	unsigned int ncpus;
	unsigned int full_above;
	bool broadcast;
	uint64_t timeout_ns;
	struct loam_lock lock; /* writing generation, tables, recent */
	uint64_t nflushes;     /* counters, relaxed */
	uint64_t nipis;
	uint64_t nfull;
	uint64_t ntimeouts;
};

/** loam_tlb_metadata_size() - bytes of metadata for init; 0 for an impossible configuration.  Context: any. */
size_t loam_tlb_metadata_size(const struct loam_tlb_config *config);

/**
 * loam_tlb_init() - set the engine up; every CPU is offline.
 * @metadata: @nbytes aligned to LOAM_CPU_ALIGN, owned by the engine from here on.
 * Return: LOAM_OK, LOAM_ERR_INVALID, LOAM_ERR_CPU (no CPU, or more than LOAM_CPUS_MAX), LOAM_ERR_ALIGNMENT, LOAM_ERR_NO_METADATA, LOAM_ERR_ALREADY.
 */
LOAM_NODISCARD enum loam_status loam_tlb_init(struct loam_tlb *tlb, const struct loam_tlb_config *config,
					      void *metadata, size_t nbytes);

/**
 * loam_tlb_cpu_online(), loam_tlb_cpu_offline() - this CPU begins to use the address space, or ceases to.
 * Called on the CPU itself. Both flush everything here. An offline CPU is not waited for: it must run nothing any more, until it is online again, that
 * uses an address which may be unmapped meanwhile.  Context: task, interrupt.
 */
void loam_tlb_cpu_online(struct loam_tlb *tlb);
void loam_tlb_cpu_offline(struct loam_tlb *tlb);

/**
 * loam_tlb_idle_enter(), loam_tlb_idle_exit() - this CPU halts, or was woken.
 * An idle CPU is neither asked nor waited for; it catches up in idle_exit, which whatever wakes it (the interrupt handler, not the idle loop) calls before
 * it touches anything that may be unmapped. Only loam_tlb_flush_tables() asks idle CPUs too.  Context: task, interrupt. Harmless when repeated.
 */
void loam_tlb_idle_enter(struct loam_tlb *tlb);
void loam_tlb_idle_exit(struct loam_tlb *tlb);

/** loam_tlb_ipi() - the kernel's handler for loam_port_ipi() calls this, on the CPU that was asked.  Context: interrupt. */
void loam_tlb_ipi(struct loam_tlb *tlb);

/**
 * loam_tlb_flush_start() - ask for pages to be forgotten everywhere; @nranges == 0: everything.
 * Their entries have been changed before. Never waits; has flushed this CPU when it returns.
 * Return: the generation that is done when all have.  Context: task, interrupt; interrupts on or off.  Locks: the engine's.
 */
loam_tlb_generation loam_tlb_flush_start(struct loam_tlb *tlb, const struct loam_tlb_range *ranges, size_t nranges);

/** loam_tlb_flush_tables() - like loam_tlb_flush_start() for everything, and CPUs that idle must answer too: page-table frames are to be reused. */
loam_tlb_generation loam_tlb_flush_tables(struct loam_tlb *tlb);

/** loam_tlb_is_done() - whether every CPU has flushed at or after @generation. Pure.  Context: any. */
bool loam_tlb_is_done(const struct loam_tlb *tlb, loam_tlb_generation generation);

/**
 * loam_tlb_wait() - wait for it, with interrupts on and no lock held. Answers what other CPUs ask of this one meanwhile, and asks again for IPIs that got lost.
 * Return: LOAM_OK; LOAM_ERR_TIMEOUT after naming each silent CPU on the console; LOAM_ERR_CONTEXT at once when it is not done and the caller must not wait
 * (interrupt context); LOAM_ERR_INVALID for a generation never started.  Context: task to wait, any to ask.  Locks: none.
 */
LOAM_NODISCARD enum loam_status loam_tlb_wait(struct loam_tlb *tlb, loam_tlb_generation generation);

struct loam_tlb_stats {
	uint64_t flushes; /* generations started */
	uint64_t ipis;
	uint64_t full_flushes; /* times a CPU flushed everything */
	uint64_t timeouts;
};
void loam_tlb_read_stats(const struct loam_tlb *tlb, struct loam_tlb_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
