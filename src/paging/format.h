/* paging/format.h: how an architecture writes a page-table entry, as data; and the few inline functions that read that data.
 *
 * 1 Concepts: a table is 512 entries of 64 bits. Level 0 is the table whose entries map 4 KiB; an entry of level n covers 4 KiB << 9n. The root is level
 *   levels - 1. An entry with bit 0 clear is invalid for the hardware of all three architectures, whatever its other bits: Loam uses two such
 *   patterns, loami_breaking and the link of a table that was cut off.
 * 2 Not here: which format fits the machine; the kernel knows. Walking for accessed and dirty bits: Loam sets both beforehand, so that no hardware
 *   ever writes to a leaf and plain stores suffice.
 */
#ifndef LOAMI_PAGING_FORMAT_H
#define LOAMI_PAGING_FORMAT_H

#include <loam/paging.h>

enum {
	LOAMI_TABLE_ENTRIES = 512,
	LOAMI_INDEX_BITS = 9,
	LOAMI_LEVELS_MAX = 5,
	LOAMI_LEAF_LEVELS = 3, /* 4 KiB, 2 MiB, 1 GiB */
};

#define LOAMI_ENTRY_VALID UINT64_C(1)
/* In place of a large leaf while it is being split under LOAM_SPLIT_BREAK: invalid, and not empty. */
#define LOAMI_ENTRY_BREAKING UINT64_C(2)

/* prot as an index: WRITE, EXEC, USER, GLOBAL. READ is always there. */
enum { LOAMI_PROT_COUNT = 16 };
#define LOAMI_PROT_ALL (LOAM_PROT_READ | LOAM_PROT_WRITE | LOAM_PROT_EXEC | LOAM_PROT_USER | LOAM_PROT_GLOBAL)

enum loami_half {
	LOAMI_HALF_BOTH, /* one tree, addresses sign-extended from bit va_bits - 1 */
	LOAMI_HALF_LOW,  /* the bits above va_bits are 0 */
	LOAMI_HALF_HIGH, /* ... are 1 */
};

struct loam_paging_format {
	const char *name;
	unsigned int levels;
	unsigned int va_bits;
	enum loami_half half;
	unsigned int pa_bits;       /* the most an entry can hold */
	unsigned int address_shift; /* entry = (pa >> shift) & mask */
	uint64_t address_mask;      /* of the entry */
	uint64_t table_bits;        /* an entry that points to a table */
	uint64_t table_user;        /* of a leaf's bits: also needed in every entry above it */
	uint64_t table_mask;        /* above level 0: a table when (entry & table_mask) == table_value, else a leaf */
	uint64_t table_value;
	uint64_t leaf_bits[LOAMI_LEAF_LEVELS];
	uint64_t prot_mask;   /* all bits of prot[], */
	uint64_t prot_decode; /* those of them that say what is permitted (not: dirty), */
	uint64_t prot_global; /* and those that LOAM_PROT_GLOBAL decides */
	uint64_t prot[LOAMI_PROT_COUNT];
	uint64_t cache_mask;
	uint64_t cache[4];
	bool break_before_make;
};

static inline unsigned int loami_level_shift(unsigned int level)
{
	return LOAM_PAGE_SHIFT + LOAMI_INDEX_BITS * level;
}

/* Bytes an entry of @level covers. */
static inline uint64_t loami_level_span(unsigned int level)
{
	return UINT64_C(1) << loami_level_shift(level);
}

/* Does the format translate [first, last]? Its ends lie in one half, so nothing between them is outside. The bits that must agree: with one tree for both halves
 * the highest translated bit is one of them, with a tree per half it is not. */
static inline bool loami_is_translatable(const struct loam_paging_format *format, uintptr_t first, uintptr_t last)
{
	unsigned int low = format->half == LOAMI_HALF_BOTH ? format->va_bits - 1 : format->va_bits;

	if ((uint64_t)(first | last) >> low == 0)
		return format->half != LOAMI_HALF_HIGH;
	return (uint64_t)(first & last) >> low == ~UINT64_C(0) >> low && format->half != LOAMI_HALF_LOW;
}

static inline size_t loami_index(uintptr_t va, unsigned int level)
{
	return (va >> loami_level_shift(level)) & (LOAMI_TABLE_ENTRIES - 1);
}

static inline unsigned int loami_prot_index(unsigned int prot)
{
	return (prot >> 1) & (LOAMI_PROT_COUNT - 1);
}

static inline bool loami_is_valid(uint64_t entry)
{
	return (entry & LOAMI_ENTRY_VALID) != 0;
}

/* For entries above level 0. Bit 0 is part of table_mask, and set in table_value. */
static inline bool loami_is_table(const struct loam_paging_format *format, uint64_t entry)
{
	return (entry & format->table_mask) == format->table_value;
}

static inline bool loami_is_leaf(const struct loam_paging_format *format, uint64_t entry, unsigned int level)
{
	return loami_is_valid(entry) && (level == 0 || !loami_is_table(format, entry));
}

static inline uint64_t loami_encode_address(const struct loam_paging_format *format, loam_paddr pa)
{
	return (pa >> format->address_shift) & format->address_mask;
}

/* What an entry of @level points to; bits below the leaf's size mean other things in some formats. */
static inline loam_paddr loami_entry_address(const struct loam_paging_format *format, uint64_t entry)
{
	return (entry & format->address_mask) << format->address_shift;
}

static inline loam_paddr loami_leaf_address(const struct loam_paging_format *format, uint64_t entry, unsigned int level)
{
	return loami_entry_address(format, entry) & ~(loami_level_span(level) - 1);
}

#endif
