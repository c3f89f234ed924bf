/* tests/unit/vmalloc/fixture.h: a vmalloc instance on a small rig: a tree of its own in the rig's frames, a TLB engine whose only online CPU is the caller's.
 * Inside a kernel nobody loads that tree: the tests look at tables and frames, not through addresses.
 */
#ifndef LOAM_TESTS_VMALLOC_FIXTURE_H
#define LOAM_TESTS_VMALLOC_FIXTURE_H

#include "rig.h"
#include "tap.h"

#include <loam/vmalloc.h>

#define VM_START ((uintptr_t)0xffffc00000000000)
#define MIB ((size_t)1 << 20)
#define PAGE LOAM_PAGE_SIZE

struct vm_fixture {
	struct rig *rig;
	struct loam_pagetable tree;
	struct loam_tlb tlb;
	struct loam_vm vm;
	struct loam_vmalloc_config config;
	_Alignas(LOAM_CPU_ALIGN) char tlb_metadata[65536];
};
extern struct vm_fixture fix;

/* A rig of @npages, an arena of @nbytes set up on it; vm_begin_bare() leaves the init to the test. */
void vm_begin_bare(size_t npages, size_t nbytes);
void vm_begin(size_t npages, size_t nbytes);
/* Check, purge, destroy; every frame is back. */
void vm_end(void);

/* Frames that nobody has, wherever they are parked. */
uint64_t vm_free_frames(void);
struct loam_vmalloc_stats vm_stats(void);
void *vm_alloc(size_t nbytes);
/* The frame behind an address, or LOAM_PFN_NONE. */
loam_pfn vm_frame_at(const void *address);
unsigned int vm_prot_at(const void *address);
/* The direct-map view of a byte behind an address. */
unsigned char *vm_byte(const void *address, size_t offset);

#endif
