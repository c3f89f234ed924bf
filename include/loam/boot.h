/* loam/boot.h: from the firmware's memory map to a sorted list of regions, reservations in it, and the first allocations from it.
 *
 * Order of use: an importer turns firmware bytes into raw entries; loam_memmap_init() normalises them; loam_memmap_reserve() takes out what is
 * in use (the kernel's image, an initrd); loam_memmap_alloc() hands out memory until loam_frames_init() takes the rest over.
 * Needs tier 0 of the port without a CPU number. Context of everything here: one CPU, early boot.
 */
#ifndef LOAM_BOOT_H
#define LOAM_BOOT_H

#include <loam/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a range of physical addresses is. Where entries overlap the strictest wins: the highest value. */
enum loam_region_type {
	LOAM_REGION_USABLE = 1,      /* RAM, free */
	LOAM_REGION_RECLAIMABLE = 2, /* RAM, free once the firmware's tables or the loader are no longer needed */
	LOAM_REGION_BOOT = 3,        /* RAM handed out by loam_memmap_alloc(), owned by whoever asked */
	LOAM_REGION_KERNEL = 4,      /* RAM under the kernel's image and what came with it */
	LOAM_REGION_NVS = 5,         /* firmware's own, to be kept over sleep */
	LOAM_REGION_RESERVED = 6,    /* anything the firmware keeps, and every type it does not explain */
	LOAM_REGION_DEVICE = 7,      /* device registers: memory-mapped I/O */
	LOAM_REGION_BAD = 8,         /* RAM that failed */
	LOAM_REGION_TYPE_COUNT
};

/* Set by importers in the type of a raw entry whose firmware type they do not know; the rest is the firmware's number. */
#define LOAM_REGION_FOREIGN UINT32_C(0x80000000)

/* @base and @nbytes in bytes, in a raw list as the firmware gave them; in a normalised one base + nbytes never exceeds 2^64 - 4096. */
struct loam_region {
	loam_paddr base;
	uint64_t nbytes;
	uint32_t type; /* enum loam_region_type */
	uint32_t node; /* NUMA node; 0 where the firmware says nothing */
};

/* What normalising found; each note is also given to the caller's function as it is found. */
enum loam_memmap_note_kind {
	LOAM_NOTE_EMPTY,   /* length zero: ignored */
	LOAM_NOTE_WRAP,    /* base + length wraps: clipped to the end of the address space */
	LOAM_NOTE_CLIP,    /* usable bytes lost to page alignment or to the address limit */
	LOAM_NOTE_OVERLAP, /* entries overlap: the strictest type wins */
	LOAM_NOTE_TYPE,    /* an unknown type, taken as reserved */
	LOAM_NOTE_KIND_COUNT
};

/**
 * struct loam_memmap_note - something about [base, base + nbytes).
 * @winner, @loser: region types, the same where only one entry is concerned.
 *
 * EMPTY, WRAP    one entry; after WRAP, base + nbytes is 2^64.
 * CLIP           @nbytes usable bytes, the first at @base, are not in the map as usable: they share a page with what @winner says, or with nothing
 *                (USABLE), or lie at or above the limit (USABLE).
 * OVERLAP        bytes that two or more entries hold. @loser is the least strict of their types: @winner itself where entries repeat each other.
 * TYPE           @loser is the type as it was given, outside the enum; LOAM_REGION_FOREIGN marks a firmware's number.
 */
struct loam_memmap_note {
	enum loam_memmap_note_kind kind;
	uint32_t winner;
	uint32_t loser;
	loam_paddr base;
	uint64_t nbytes;
};

typedef void (*loam_memmap_note_fn)(void *context, const struct loam_memmap_note *note);

/**
 * struct loam_memmap - sorted, disjoint, page-aligned regions in the caller's storage.
 * Neighbours of one type and node are one region. A page is usable when all of its bytes are; otherwise it has the strictest type of any of them.
 */
struct loam_memmap {
	struct loam_region *regions;
	size_t count;
	size_t capacity;
	uint32_t notes[LOAM_NOTE_KIND_COUNT]; /* how many of each kind init reported */
};

/**
 * loam_memmap_init() - normalise raw entries.
 * @map: filled in.  @raw: @nraw entries in any order, overlapping, duplicated, wrapping; their order is changed.  @storage: room for @capacity
 * regions, not overlapping @raw; 2 * nraw + 1 always suffices.  @limit: exclusive physical address limit of the machine, 0 for none: nothing at or above
 * it, and never the last page below 2^64, is in the map.  @note: told of each overlap and clip; may be NULL.
 *
 * Each byte gets the strictest type of the entries that hold it; where entries of one type differ in node, the lowest node. What comes out does not depend
 * on the order of @raw. O(n log n), no recursion, no allocation, any number of entries; never panics on input.
 * Return: LOAM_OK; LOAM_ERR_NO_METADATA when @capacity regions do not suffice (the map is empty then); LOAM_ERR_INVALID for NULL pointers.
 */
LOAM_NODISCARD enum loam_status loam_memmap_init(struct loam_memmap *map, struct loam_region *raw, size_t nraw,
						 struct loam_region *storage, size_t capacity, loam_paddr limit,
						 loam_memmap_note_fn note, void *context);

/**
 * loam_memmap_reserve() - make [base, base + nbytes) the given type where it is less strict now, rounded outwards to pages.
 * @type: any but USABLE. Address space no region covers stays uncovered for RECLAIMABLE..KERNEL and is added for the stricter ones.
 * Return: LOAM_OK, LOAM_ERR_ZERO_SIZE, LOAM_ERR_OVERFLOW, LOAM_ERR_INVALID (type), LOAM_ERR_NO_METADATA (regions split beyond capacity); on error nothing
 * changed.  Cost: O(n), as all that change the map.
 */
LOAM_NODISCARD enum loam_status loam_memmap_reserve(struct loam_memmap *map, loam_paddr base, uint64_t nbytes,
						    enum loam_region_type type);
/* Everything usable below / at or above an address becomes reserved, a page that straddles it too. Return: LOAM_OK or LOAM_ERR_NO_METADATA. */
LOAM_NODISCARD enum loam_status loam_memmap_reserve_below(struct loam_memmap *map, loam_paddr end);
LOAM_NODISCARD enum loam_status loam_memmap_reserve_above(struct loam_memmap *map, loam_paddr start);
/* Everything reclaimable becomes usable: the firmware's tables and the loader are no longer needed. LOAM_OK or LOAM_ERR_NO_METADATA. */
LOAM_NODISCARD enum loam_status loam_memmap_reclaim(struct loam_memmap *map);

/* Where an early allocation may lie. All zero: anywhere, page aligned, highest address first. */
struct loam_memmap_where {
	uint64_t align;   /* power of two, at least a page is used */
	loam_paddr start; /* at or above */
	loam_paddr limit; /* below, 0 for none: the last byte is < limit */
	bool lowest;      /* lowest address first instead of highest */
};

/**
 * loam_memmap_alloc() - take memory before there is a frame allocator. What is taken becomes LOAM_REGION_BOOT.
 * @nbytes: rounded up to whole pages.  @where: NULL for anywhere.
 * Return: LOAM_OK and *@base; LOAM_ERR_NO_MEMORY, LOAM_ERR_NO_METADATA, LOAM_ERR_ZERO_SIZE, LOAM_ERR_ALIGNMENT. Contents are not cleared.
 */
LOAM_NODISCARD enum loam_status loam_memmap_alloc(struct loam_memmap *map, uint64_t nbytes,
						  const struct loam_memmap_where *where, loam_paddr *base);
/* Give early memory, or a part of it, back: usable again. LOAM_ERR_NOT_FOUND when not all of it is LOAM_REGION_BOOT; LOAM_ERR_ZERO_SIZE, LOAM_ERR_ALIGNMENT
 * (@base), LOAM_ERR_OVERFLOW, LOAM_ERR_NO_METADATA. On error nothing changed. */
LOAM_NODISCARD enum loam_status loam_memmap_free(struct loam_memmap *map, loam_paddr base, uint64_t nbytes);

/* Sum of the bytes of one type. */
uint64_t loam_memmap_bytes(const struct loam_memmap *map, enum loam_region_type type);
/* The region that covers @address, or NULL. O(log n). */
const struct loam_region *loam_memmap_find(const struct loam_memmap *map, loam_paddr address);
/* Sorted, disjoint, aligned, merged? LOAM_ERR_INVALID when not. */
LOAM_NODISCARD enum loam_status loam_memmap_check(const struct loam_memmap *map);
/* "usable", "reserved" ...; "unknown" outside the enum. */
const char *loam_region_type_name(uint32_t type);

/* ---- importers: bytes as the firmware left them -> raw entries ---------------------------------------------------------------------
 * Pure functions: they read [bytes, bytes + nbytes) and nothing else, with any alignment, and write at most @capacity entries.
 * *@count is how many entries there are in all, also when they do not fit. A firmware type that is not known becomes LOAM_REGION_FOREIGN | type.
 * Return: LOAM_OK; LOAM_ERR_TRUNCATED when the bytes end early or entries do not fit (what is there is imported); LOAM_ERR_FORMAT when they are not what they
 * should be, LOAM_ERR_FORMAT or LOAM_ERR_TRUNCATED when they are NULL with a length; LOAM_ERR_NOT_FOUND when there is no memory map in them.
 */

/* What Xen's hvm_start_info (PVH boot) says, as physical addresses. @memmap: @nmemmap entries of 24 bytes; none before version 1. */
struct loam_pvh_info {
	uint32_t version;
	uint32_t nmodules;
	loam_paddr modules; /* entries of 32 bytes: address, size, command line, reserved */
	loam_paddr cmdline; /* 0: none */
	loam_paddr rsdp;
	loam_paddr memmap;
	uint32_t nmemmap;
};
#define LOAM_PVH_INFO_BYTES 56 /* of the structure, version 1 */
#define LOAM_PVH_ENTRY_BYTES 24
LOAM_NODISCARD enum loam_status loam_pvh_parse(const void *bytes, size_t nbytes, struct loam_pvh_info *info);
/* Its memory map table: entries {address 8, size 8, type 4, reserved 4}; types are e820's. */
LOAM_NODISCARD enum loam_status loam_memmap_import_pvh(const void *bytes, size_t nbytes, struct loam_region *raw,
						       size_t capacity, size_t *count);

/* What the BIOS answers to int 15h, ax=e820h, one after the other. @entry_bytes: 20, or 24 with ACPI 3.0's attributes, whose bit 0 tells entries to
 * be ignored. Other sizes: LOAM_ERR_FORMAT. */
LOAM_NODISCARD enum loam_status loam_memmap_import_e820(const void *bytes, size_t nbytes, size_t entry_bytes,
							struct loam_region *raw, size_t capacity, size_t *count);

/* The Multiboot2 information structure, from its total_size on: its memory map (tag 6), else its EFI memory map (tag 17); its modules (tag 3) as
 * LOAM_REGION_KERNEL. */
LOAM_NODISCARD enum loam_status loam_memmap_import_multiboot2(const void *bytes, size_t nbytes, struct loam_region *raw,
							      size_t capacity, size_t *count);

/* The Limine protocol's memory map response: its entries, each 24 bytes, which are reached through pointers and are taken as they are.
 * LOAM_ERR_FORMAT for a NULL among them. What the kernel and its modules lie in becomes LOAM_REGION_KERNEL, the framebuffer LOAM_REGION_DEVICE. */
LOAM_NODISCARD enum loam_status loam_memmap_import_limine(const void *const *entries, uint64_t nentries,
							  struct loam_region *raw, size_t capacity, size_t *count);

/* The map GetMemoryMap() gives, @descriptor_bytes apart, which is what it says and not sizeof anything. Loader and boot services become reclaimable: the
 * page tables and the stack the kernel was entered with are among them. Special-purpose and unaccepted memory is reserved. */
LOAM_NODISCARD enum loam_status loam_memmap_import_uefi(const void *bytes, size_t nbytes, size_t descriptor_bytes,
							struct loam_region *raw, size_t capacity, size_t *count);

/* Bytes of a flattened device tree, read from the first LOAM_FDT_HEADER_BYTES of it; 0 when it is none. The kernel reserves them. */
#define LOAM_FDT_HEADER_BYTES 40
size_t loam_fdt_size(const void *bytes, size_t nbytes);
/* A flattened device tree, versions 16 and up: /memory nodes with their NUMA node, the memory reservation block, /reserved-memory's places, /chosen's initrd
 * as LOAM_REGION_KERNEL. Disabled nodes are left out, and what asks for memory without naming a place. */
LOAM_NODISCARD enum loam_status loam_memmap_import_fdt(const void *bytes, size_t nbytes, struct loam_region *raw,
						       size_t capacity, size_t *count);

#ifdef __cplusplus
}
#endif
#endif
