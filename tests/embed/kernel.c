/* A kernel that embeds Loam, as small as it gets: x86-64, one CPU, booted by PVH with the first GiB mapped one to one.
 * It brings every layer up and takes memory from each. README.md, "your first half hour", follows these steps.
 */
#include <loam/inspect.h>

#include "kernel.h"

#define FIRST_GIB (UINT64_C(1) << 30)
#define POOL_PAGES 16
#define BY_HAND ((uintptr_t)0xffff900000000000)

extern char kernel_end[];

static struct loam_region raw[64], regions[2 * 64 + 1];
static struct loam_memmap map;
static struct loam_pagemap pool;
static struct loam_frames frames;
static struct loam_pagetable tree;
static struct loam_tlb tlb;
static struct loam_vm vm;
static struct loam_heap heap;
static const struct loam_system everything = {
	.map = &map, .frames = &frames, .tree = &tree, .tlb = &tlb, .vm = &vm, .heap = &heap};

static void must(enum loam_status status, const char *what)
{
	if (status == LOAM_OK)
		return;
	say(what);
	say(": ");
	say(loam_status_name(status));
	say("\n");
	power_off(1);
}

static void check(bool good, const char *what)
{
	must(good ? LOAM_OK : LOAM_ERR_INVALID, what);
}

/* Memory before there are frames, from the boot layer. Physical and virtual addresses are the same in this kernel. */
static void *boot_memory(uint64_t nbytes)
{
	loam_paddr base;

	must(loam_memmap_alloc(&map, nbytes, NULL, &base), "boot memory");
	return memset((void *)base, 0, nbytes);
}

static void bring_up(const char *start_info)
{
	const void *entries = (const void *)*(const uint64_t *)(start_info + 40);
	size_t count, nbytes = 24 * *(const uint32_t *)(start_info + 48);
	struct loam_frames_config frames_config = {.ncpus = 1};
	struct loam_tlb_config tlb_config = {.ncpus = 1};
	struct loam_vmalloc_config vm_config = {.ncpus = 1, .frames = &frames, .tree = &tree, .tlb = &tlb};
	struct loam_heap_config heap_config = {.frames = &frames, .vm = &vm, .ncpus = 1, .track = true};
	size_t tlb_bytes = loam_tlb_metadata_size(&tlb_config);
	size_t heap_bytes = loam_heap_metadata_size(&heap_config);
	size_t pool_bytes = loam_pagemap_metadata_size(POOL_PAGES);
	void *tlb_memory, *heap_memory;
	loam_paddr root, window;
	struct loam_table_source tables;

	must(loam_memmap_import_pvh(entries, nbytes, raw, 64, &count), "the firmware's memory map");
	must(loam_memmap_init(&map, raw, count, regions, 129, FIRST_GIB, NULL, NULL), "memory map");
	must(loam_memmap_reserve(&map, 0, (uintptr_t)kernel_end, LOAM_REGION_KERNEL), "this kernel's own memory");
	tlb_memory = boot_memory(tlb_bytes);
	heap_memory = boot_memory(heap_bytes);

	window = (loam_paddr)boot_memory(POOL_PAGES * LOAM_PAGE_SIZE);
	must(loam_pagemap_init(&pool, window, window + POOL_PAGES * LOAM_PAGE_SIZE, 0, boot_memory(pool_bytes),
			       pool_bytes),
	     "page pool");

	must(loam_frames_boot(&frames, &frames_config, &map), "frames");

	tables = loam_paging_tables_from_frames(&frames);
	__asm__("mov %%cr3, %0" : "=r"(root));
	must(loam_pagetable_init(&tree, &loam_paging_x86_64_4level, &tables, root), "page tables");
	must(loam_tlb_init(&tlb, &tlb_config, tlb_memory, tlb_bytes), "TLB");
	loam_tlb_cpu_online(&tlb);

	must(loam_vmalloc_init(&vm, &vm_config), "vmalloc");
	must(loam_heap_init(&heap, &heap_config, heap_memory, heap_bytes), "heap");
}

/* A little of everything, and everything back. */
static void use(void)
{
	struct loam_mapping writable = {.prot = LOAM_PROT_READ | LOAM_PROT_WRITE};
	loam_paddr page = loam_pagemap_alloc(&pool);
	loam_pfn frame = loam_frame_alloc(&frames, 0, NULL);
	volatile uint64_t *by_hand = (volatile uint64_t *)BY_HAND;
	char *area = loam_vmalloc(&vm, 100000, NULL);
	uint64_t *object = loam_heap_alloc(&heap, 64);
	void *stack;

	check(page != LOAM_PAGEMAP_NONE, "a page of the pool");
	must(loam_pagemap_free(&pool, page), "a page back");

	check(frame != LOAM_PFN_NONE, "a frame");
	must(loam_paging_map(&tree, BY_HAND, loam_frame_address(frame), 1, &writable), "a mapping");
	*by_hand = 42;
	check(*(uint64_t *)loam_frame_virt(&frames, frame) == 42, "what was written through the mapping");
	must(loam_paging_unmap(&tree, BY_HAND, 1, NULL, NULL), "no mapping");
	must(loam_tlb_wait(&tlb, loam_tlb_flush_start(&tlb, NULL, 0)), "a flush");
	loam_frame_free(&frames, frame, 0);

	check(area && area[99999] == 0, "an area");
	area[99999] = 1;
	must(loam_vstack_alloc(&vm, 16384, LOAM_HERE, &stack), "a guarded stack");
	((uint64_t *)stack)[-1] = 1;
	check(loam_vstack_free(&vm, stack) && loam_vfree(&vm, area), "areas back");

	check(object, "an object");
	*object = 1;
	loam_heap_free(&heap, object);
}

void kernel_main(const char *start_info);
void kernel_main(const char *start_info)
{
	bring_up(start_info);
	use();
	must(loam_vmalloc_purge(&vm), "a purge");
	loam_dump_memory(&everything);
	must(loam_audit(&everything), "the audit");
	say("embedded: every layer used, the audit passes\n");
	power_off(0x10);
}
