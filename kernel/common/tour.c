/* kernel/common/tour.c: each layer does its work once, in the order a newcomer meets them.
 *
 * The same file runs in a kernel and on the machine in a process: it sees include/loam, console.h and machine.h. Every claim it prints
 * it has checked; what is not as it should be is printed as FAILED and counted.
 */
#include "console.h"
#include "machine.h"
#include "tour.h"

static unsigned int failures;
static unsigned int section = 1; /* 1 was the memory map */
static struct tour_balance before;

static bool expect(bool good, const char *what)
{
	if (!good) {
		failures++;
		kprintf("   FAILED: %s\n", what);
	}
	return good;
}

static void title(const char *text)
{
	kprintf("\n%u  %s\n", ++section, text);
}

/* ---- what is held -------------------------------------------------------------------------------------------------------- */

/* Seconds of a CPU's silence, about. */
#define PATIENCE 60

bool tour_purge(void)
{
	struct loam_vmalloc_stats stats = {0};
	enum loam_status status;
	unsigned int silent = 0;

	do {
		status = loam_vmalloc_purge(kernel_system.vm);
		silent += status == LOAM_ERR_TIMEOUT;
		if (loam_vmalloc_read_stats(kernel_system.vm, &stats) != LOAM_OK)
			return false;
	} while ((status == LOAM_ERR_TIMEOUT && silent < PATIENCE) || (status == LOAM_OK && stats.waiting_areas > 0));
	return status == LOAM_OK;
}

void tour_read_balance(struct tour_balance *balance)
{
	struct loam_frames_stats frames;
	struct loam_vmalloc_stats vmalloc = {0};

	/* What merely waits to be given back is given back. */
	expect(tour_purge(), "every CPU answers a flush");
	machine_rest(true);
	(void)loam_heap_drain(kernel_system.heap);
	machine_rest(false);
	loam_frame_drain(kernel_system.frames);
	loam_frame_read_stats(kernel_system.frames, &frames);
	expect(loam_vmalloc_read_stats(kernel_system.vm, &vmalloc) == LOAM_OK, "vmalloc's figures");
	balance->used = frames.used;
	balance->arena = vmalloc.metadata_pages;
	balance->tables = kernel_system.tree->ntables;
	balance->quarantined = frames.quarantined;
}

bool tour_audit(void)
{
	enum loam_status status;

	machine_rest(true);
	status = loam_audit(&kernel_system);
	machine_rest(false);
	return status == LOAM_OK;
}

/* ---- 2 and 3: where memory is, and how it is handed out -------------------------------------------------------------------- */

static void show_totals(void)
{
	title("Where all of it is");
	loam_dump_memory(&kernel_system);
	loam_dump_zones(&kernel_system);
}

static bool is_zero(loam_pfn first, size_t npages)
{
	const uint64_t *words = loam_frame_virt(kernel_system.frames, first);

	for (size_t i = 0; i < npages * LOAM_PAGE_SIZE / sizeof(*words); i++)
		if (words[i] != 0)
			return false;
	return true;
}

static void show_frame(const char *what, unsigned int order, enum loam_frame_purpose purpose)
{
	struct loam_frame_opts opts = {.purpose = purpose};
	struct loam_frames *frames = kernel_system.frames;
	char size[16];

	if (purpose == LOAM_PURPOSE_CUSTOM)
		opts.custom_flags = LOAM_FRAME_DLL;
	loam_pfn pfn = loam_frame_alloc(frames, order, &opts);
	if (!expect(pfn != LOAM_PFN_NONE, what))
		return;
	expect(is_zero(pfn, (size_t)1 << order), "a fresh frame is zero");
	expect(loam_frame_ref_get(frames, pfn) == 1, "a fresh frame has one reference");
	kprintf("     %-12s %8s at %012lx  flags %04x, generation %u%s\n", what, ksize(size, LOAM_PAGE_SIZE << order),
		(unsigned long)loam_frame_address(pfn), loam_frame_flags(frames, pfn),
		loam_frame_generation(frames, pfn),
		loam_frame_flags(frames, pfn) & LOAM_FRAME_MOVABLE ? ", movable" : "");
	loam_frame_free(frames, pfn, order);
}

/* What an old ISA device asks for: below 16 MiB, not across 64 KiB. */
static void show_dma(void)
{
	struct loam_frame_where where = {.boundary = 65536, .limit = (loam_paddr)16 << 20};
	loam_pfn first;
	enum loam_status status = loam_frame_alloc_range(kernel_system.frames, 5, &where, NULL, &first);
	loam_paddr start = loam_frame_address(first);

	if (status == LOAM_ERR_NO_MEMORY) {
		kprintf("     for DMA      none: no RAM below 16 MiB here\n");
		return;
	}
	if (!expect(status == LOAM_OK, "five frames for DMA"))
		return;
	expect(start + 5 * LOAM_PAGE_SIZE <= where.limit, "below the limit");
	expect(start / 65536 == (start + 5 * LOAM_PAGE_SIZE - 1) / 65536, "within the boundary");
	kprintf("     for DMA        20 KiB at %012lx  below 16 MiB, within 64 KiB\n", (unsigned long)start);
	loam_frame_free_range(kernel_system.frames, first, 5);
}

static void show_frames(void)
{
	title("Frames, for each purpose: zeroed, one reference");
	show_frame("kernel", 0, LOAM_PURPOSE_KERNEL);
	show_frame("page table", 0, LOAM_PURPOSE_PAGE_TABLE);
	show_frame("user", 0, LOAM_PURPOSE_USER);
	show_frame("custom", 0, LOAM_PURPOSE_CUSTOM);
	show_frame("large block", LOAM_BLOCK_ORDER, LOAM_PURPOSE_KERNEL);
	show_dma();
}

/* ---- 4: objects ------------------------------------------------------------------------------------------------------------- */

#define INODES 1000

struct inode {
	uint64_t magic; /* set once by the constructor, kept over free */
	uint64_t number;
	char name[176];
};
#define INODE_MAGIC UINT64_C(0x696e6f6465)

static size_t constructed;

static void construct_inode(void *object, void *context)
{
	struct inode *inode = object;

	(void)context;
	*inode = (struct inode){.magic = INODE_MAGIC};
	constructed++;
}

static void show_cache(void)
{
	struct loam_cache_config config = {
		.name = "inode", .nbytes = sizeof(struct inode), .construct = construct_inode};
	struct loam_heap_cache *cache;
	struct inode **inodes;
	size_t made = 0;

	title("A typed cache");
	inodes = kmalloc(INODES * sizeof(void *));
	if (!expect(inodes != NULL, "memory for a table") ||
	    !expect(loam_heap_cache_create(kernel_system.heap, &config, &cache) == LOAM_OK, "a cache"))
		return;
	constructed = 0;
	for (unsigned int round = 0; round < 3; round++) {
		for (size_t i = 0; i < INODES; i++) {
			inodes[i] = loam_heap_cache_alloc(cache);
			if (!expect(inodes[i] != NULL && inodes[i]->magic == INODE_MAGIC, "a constructed inode"))
				return;
			made++;
		}
		for (size_t i = 0; i < INODES; i++)
			loam_heap_cache_free(cache, inodes[i]);
	}
	expect(constructed < made, "objects are constructed once, not at each allocation");
	expect(loam_heap_cache_destroy(kernel_system.heap, cache) == LOAM_OK, "an empty cache goes");
	kfree(inodes);
	kprintf("     %zu inodes of %zu bytes allocated and freed; the constructor ran %zu times\n", made,
		sizeof(struct inode), constructed);
}

/* ---- 5: an area on every CPU at once ---------------------------------------------------------------------------------------- */

#define AREA_NBYTES ((size_t)1 << 20)

struct shared_area {
	uintptr_t start;
	unsigned int wrong; /* atomic */
	bool reading;
};

static uint64_t pattern(unsigned int cpu, uintptr_t address)
{
	return (uint64_t)address * UINT64_C(0x9e3779b97f4a7c15) + cpu;
}

/* Each CPU writes its own words of every page; then each reads its neighbour's. */
static void touch(void *arg)
{
	struct shared_area *area = arg;
	unsigned int n = machine_cpus(), cpu = loam_port_cpu();
	unsigned int whose = area->reading ? (cpu + 1) % n : cpu;

	for (uintptr_t page = area->start; page < area->start + AREA_NBYTES; page += LOAM_PAGE_SIZE) {
		uintptr_t at = page + whose * sizeof(uint64_t);

		if (!area->reading)
			machine_store(at, pattern(whose, at));
		else if (machine_load(at) != pattern(whose, at))
			__atomic_add_fetch(&area->wrong, 1, __ATOMIC_RELAXED);
	}
}

static void read_freed(void *arg)
{
	(void)machine_load(((struct shared_area *)arg)->start);
}

static void show_vmalloc(void)
{
	struct loam_vmalloc_opts opts = {.site = LOAM_HERE};
	struct shared_area area = {0};
	char text[256];

	title("vmalloc: one area, every CPU at once");
	void *address = loam_vmalloc(kernel_system.vm, AREA_NBYTES, &opts);
	if (!expect(address != NULL, "an area of 1 MiB"))
		return;
	area.start = (uintptr_t)address;
	machine_run(touch, &area);
	area.reading = true;
	machine_run(touch, &area);
	expect(area.wrong == 0, "each CPU reads what its neighbour wrote");
	kprintf("     1 MiB at %016lx: %u CPU%s wrote it, each read its neighbour's\n", (unsigned long)area.start,
		machine_cpus(), machine_cpus() == 1 ? "" : "s");
	expect(loam_vfree_now(kernel_system.vm, address), "a live area can be freed");
	expect(!machine_try(read_freed, &area, text, sizeof(text)), "a freed area faults");
	kprintf("     freed, flushed on every CPU, and read once more:\n       %s\n", text);
}

/* ---- 6: guarded stacks ------------------------------------------------------------------------------------------------------ */

static void use_stack_well(void *arg)
{
	volatile char words[512];

	words[0] = 1;
	*(uintptr_t *)arg = (uintptr_t)&words[0];
}

static void use_stack_up(void *arg)
{
	machine_overflow(arg);
}

static void show_stack(void)
{
	const size_t nbytes = 16384;
	uintptr_t seen = 0;
	char text[256];
	void *top;

	title("A guarded stack, and its overflow");
	if (!expect(loam_vstack_alloc(kernel_system.vm, nbytes, LOAM_HERE, &top) == LOAM_OK, "a stack"))
		return;
	machine_run_on_stack(use_stack_well, &seen, top);
	kprintf("     16 KiB below %016lx, used\n", (unsigned long)(uintptr_t)top);
	expect(!machine_try(use_stack_up, top, text, sizeof(text)), "an overflow is caught");
	kprintf("     used up on purpose:\n       %s\n", text);
	expect(loam_vstack_free(kernel_system.vm, top), "the stack goes");
}

/* ---- 7: a leak -------------------------------------------------------------------------------------------------------------- */

#define LEAKED 3

static void *forget(size_t nbytes)
{
	return kmalloc(nbytes); /* planted: nobody frees this */
}

static void show_leak(void)
{
	struct loam_leak_group groups[8];
	struct loam_leak_mark mark;
	void *leaked[LEAKED];
	bool found = false;

	title("A leak, planted and found");
	loam_leak_mark_set(&kernel_system, &mark);
	void *kept = kmalloc(64);
	for (size_t i = 0; i < LEAKED; i++)
		leaked[i] = forget(100);
	kfree(kept);
	kprintf("     since the mark, %u objects of 100 bytes were forgotten; the report:\n", LEAKED);
	loam_dump_leaks(&kernel_system, &mark);
	size_t count = loam_leak_report(&kernel_system, &mark, groups, sizeof(groups) / sizeof(groups[0]));
	for (size_t i = 0; i < count && i < sizeof(groups) / sizeof(groups[0]); i++)
		if (groups[i].count == LEAKED && groups[i].site != NULL)
			found = true;
	expect(found && count == 1, "exactly the planted leak is found");
	for (size_t i = 0; i < LEAKED; i++)
		kfree(leaked[i]);
}

/* ---- 8: a double free ------------------------------------------------------------------------------------------------------- */

static void free_it_again(void *object)
{
	kfree(object); /* planted: the second free */
}

static void show_double_free(void)
{
	char text[512];
	void *object = kmalloc(48);

	title("A double free, planted and survived");
	if (!expect(object != NULL, "an object"))
		return;
	kfree(object);
	expect(!machine_try(free_it_again, object, text, sizeof(text)), "a double free is caught");
	kprintf("     %s\n", text);
	kprintf("     nothing was changed by it; the kernel goes on\n");
}

/* ---- the whole -------------------------------------------------------------------------------------------------------------- */

unsigned int tour_run(void)
{
	struct loam_task task = {.task = 1, .pid = 1, .tid = 1};

	machine_name_task(&task);
	tour_read_balance(&before);
	show_totals();
	show_frames();
	show_cache();
	show_vmalloc();
	show_stack();
	show_leak();
	show_double_free();
	return failures;
}

void tour_keep(uint64_t nframes)
{
	before.used += nframes;
}

unsigned int tour_end(void)
{
	struct tour_balance now;
	unsigned int found = failures;

	failures = 0;
	title("The end");
	tour_read_balance(&now);
	if (expect(tour_audit(), "the audit"))
		kprintf("     audit: every invariant of every layer holds\n");
	uint64_t grown = now.arena - before.arena + (now.tables - before.tables);
	bool shrunk = (int64_t)grown < 0;
	kprintf("     frames in use: %lu before, %lu now, of which %lu %s page tables and arena metadata\n",
		(unsigned long)before.used, (unsigned long)now.used, (unsigned long)(shrunk ? 0 - grown : grown),
		shrunk ? "fewer" : "new");
	if (expect(now.used == before.used + grown && now.quarantined == before.quarantined, "every frame is back"))
		kprintf("     every frame is back\n");
	found += failures;
	failures = 0;
	return found;
}
