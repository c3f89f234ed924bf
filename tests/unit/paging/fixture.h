/* tests/unit/paging/fixture.h: trees of every format over a rig's RAM, and a source of tables that can fail and knows what is out.
 *
 * The trees are never loaded into a CPU: any format can be tested on any machine.
 */
#ifndef LOAM_TESTS_PAGING_FIXTURE_H
#define LOAM_TESTS_PAGING_FIXTURE_H

#include "rig.h"
#include "tap.h"

#include <loam/paging.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define RW (LOAM_PROT_READ | LOAM_PROT_WRITE)

enum { FIXTURE_TABLES = 4000 };

/* @base: a canonical address, aligned to whatever a root entry covers, with 256 GiB after it, in the upper half (but for AArch64's lower tree). */
struct fixture_format {
	const struct loam_paging_format *format;
	uintptr_t base;
	unsigned int levels;
	unsigned int pa_bits;
	bool may_split; /* by default */
};

static const struct fixture_format fixture_formats[] = {
	{&loam_paging_x86_64_4level, 0xffff900000000000, 4, 52, true},
	{&loam_paging_x86_64_5level, 0xff11000000000000, 5, 52, true},
	{&loam_paging_aarch64_48, 0xffff100000000000, 4, 48, false},
	{&loam_paging_aarch64_48_low, 0x0000100000000000, 4, 48, false},
	{&loam_paging_riscv_sv39, 0xffffffc000000000, 3, 56, true},
	{&loam_paging_riscv_sv48, 0xffff900000000000, 4, 56, true},
	{&loam_paging_riscv_sv57, 0xff11000000000000, 5, 56, true},
	{&loam_paging_riscv_sv39_svpbmt, 0xffffffc000000000, 3, 56, true},
	{&loam_paging_riscv_sv48_svpbmt, 0xffff900000000000, 4, 56, true},
	{&loam_paging_riscv_sv57_svpbmt, 0xff11000000000000, 5, 56, true},
};
#define EACH_FORMAT(f)                                                                                                 \
	for (const struct fixture_format *f = fixture_formats;                                                         \
	     f < fixture_formats + sizeof(fixture_formats) / sizeof(fixture_formats[0]); f++)

struct fixture {
	struct rig *rig;
	struct loam_pagetable tree;
	const struct fixture_format *f;
	uint32_t lock;    /* the source may be asked from several CPUs */
	uint32_t nfree;   /* free[0 .. nfree) */
	uint32_t out;     /* tables taken and not given back */
	uint32_t taken;   /* tables taken in all */
	uint32_t fail_at; /* the n-th take from now fails; 0: none */
	bool fail_for_good;
	bool wrong; /* a table came back that was not out */
	uint16_t free[FIXTURE_TABLES];
	uint8_t is_out[FIXTURE_TABLES];
};
/* One, static: too large for a kernel's stack. */
extern struct fixture fixture;

/* A rig of tables only, and a tree of format @f over it. */
void fixture_begin(const struct fixture_format *f);
/* Destroy the tree; every table must be back. */
void fixture_end(void);
struct loam_table_source fixture_source(void);
/* The n-th table from now on cannot be had, once or for good; 0: all can. */
void fixture_fail(uint32_t nth, bool for_good);

static inline struct loam_mapping mapping_of(unsigned int prot)
{
	return (struct loam_mapping){.prot = prot};
}

static inline enum loam_status map_pages(uintptr_t va, loam_paddr pa, size_t npages, unsigned int prot,
					 unsigned int largest_leaf)
{
	struct loam_mapping mapping = {.prot = prot, .largest_leaf = largest_leaf};

	return loam_paging_map(&fixture.tree, va, pa, npages, &mapping);
}

static inline enum loam_status query_status(uintptr_t va)
{
	struct loam_paging_entry entry;

	return loam_paging_query(&fixture.tree, va, &entry);
}

/* Fails the test unless @va is mapped to @pa like this. */
void check_mapped(const char *file, int line, uintptr_t va, loam_paddr pa, unsigned int prot, unsigned int leaf_shift);
#define CHECK_MAPPED(va, pa, prot, leaf_shift) check_mapped(__FILE__, __LINE__, (va), (pa), (prot), (leaf_shift))
#define CHECK_UNMAPPED(va) CHECK_STATUS(query_status(va), LOAM_ERR_NOT_MAPPED)

#endif
