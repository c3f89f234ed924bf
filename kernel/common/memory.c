/* kernel/common/memory.c: the kernel takes its whole memory from Loam.
 *
 *	firmware's map -> regions -> early allocations -> the kernel's page tables -> frames -> vmalloc, stacks -> heap
 *
 * What is static here is what must exist before there is anything to ask: the instances, and the table the map is put right in.
 */
#include "bootmap.h"
#include "console.h"
#include "cpu.h"
#include "held.h"
#include "kernel.h"

#define STACK_NBYTES ((size_t)16384)
#define TRAP_STACK_NBYTES ((size_t)8192)

/* Firmware maps have a few dozen entries; PVH's reader in QEMU stops at 128. */
#define MAP_ENTRIES_MAX 128

/* What tour, shell and tests take at their peak, with room to spare. */
#define WORKING_NBYTES ((uint64_t)8 << 20)

extern const char kernel_image_start[], kernel_image_end[];
extern const char kernel_text_start[], kernel_text_end[];
extern const char kernel_rodata_start[], kernel_rodata_end[];
extern const char kernel_data_start[], kernel_data_end[];

static struct loam_memmap map;
static struct loam_frames frames;
static struct loam_pagetable tree;
static struct loam_tlb tlb;
static struct loam_vm vm;
static struct loam_heap heap;
struct loam_system kernel_system = {.map = &map};

static struct loam_region raw[MAP_ENTRIES_MAX];
static struct loam_region regions[2 * MAP_ENTRIES_MAX + 64];

static void must(enum loam_status status, const char *what)
{
	if (status != LOAM_OK)
		kernel_panic("%s: %s", what, loam_status_name(status));
}

static loam_paddr image_address(const char *symbol)
{
	return (uintptr_t)symbol - ARCH_IMAGE_BASE;
}

static void *direct(loam_paddr address)
{
	return (void *)(uintptr_t)(ARCH_DIRECT_MAP + address);
}

/* ---- the map ---------------------------------------------------------------------------------------------------------------- */

static void reserve(loam_paddr base, uint64_t nbytes, const char *what, bool kept)
{
	enum loam_status status = loam_memmap_reserve(&map, base, nbytes, LOAM_REGION_KERNEL);

	if (status != LOAM_OK)
		kernel_panic("cannot reserve %s at 0x%lx, %lu bytes: %s", what, (unsigned long)base,
			     (unsigned long)nbytes, loam_status_name(status));
	if (kept)
		held_add(base, nbytes, what);
}

/* `hole=BASE,NBYTES`: a range of RAM that shall not be there, for trying maps this machine does not have. */
static size_t make_holes(const char *line, size_t count)
{
	uint64_t hole[2];

	for (unsigned int i = 0; words_find(line, "hole=", i) != NULL; i++) {
		if (!words_numbers(line, "hole=", i, hole, 2))
			kernel_panic("command line: hole=BASE,NBYTES, both in hexadecimal");
		count = bootmap_cut(raw, count, MAP_ENTRIES_MAX, hole[0], hole[1]);
	}
	return count;
}

static void read_map(const struct arch_firmware *firmware)
{
	size_t count;
	enum loam_status status = arch_firmware_map(raw, MAP_ENTRIES_MAX, &count);

	if (status == LOAM_ERR_TRUNCATED && count > MAP_ENTRIES_MAX) {
		kprintf("  the map has %zu entries, %u are read\n", count, MAP_ENTRIES_MAX);
		count = MAP_ENTRIES_MAX;
	} else {
		must(status, "firmware memory map");
	}
	count = make_holes(firmware->command_line, count);
	must(bootmap_init(&map, raw, count, regions, sizeof(regions) / sizeof(regions[0]), ARCH_DIRECT_MAP_NBYTES,
			  firmware->protocol),
	     "memory map");
	reserve(image_address(kernel_image_start), (uint64_t)(kernel_image_end - kernel_image_start),
		"the kernel's image", false);
	arch_firmware_reserve(reserve);
}

/* From what is left of the map below the limit; smp_start() says so where nothing is. */
static void take_start_page(void)
{
	const struct loam_memmap_where low = {.limit = ARCH_START_LIMIT};

	if (ARCH_START_LIMIT != 0 && loam_memmap_alloc(&map, LOAM_PAGE_SIZE, &low, &cpu_start_page) != LOAM_OK)
		cpu_start_page = LOAM_PADDR_NONE;
}

/* ---- before there are frames ------------------------------------------------------------------------------------------------ */

/* Until Loam's tables are in force only what the boot tables map can be written. */
static const struct loam_memmap_where reachable = {.limit = ARCH_BOOT_MAP_NBYTES};

static void *take(uint64_t nbytes, const char *what)
{
	loam_paddr base;
	enum loam_status status = loam_memmap_alloc(&map, nbytes, &reachable, &base);

	if (status != LOAM_OK)
		kernel_panic("no %lu bytes for %s: %s", (unsigned long)nbytes, what, loam_status_name(status));
	return memset(direct(base), 0, nbytes);
}

static loam_paddr take_table(void *context)
{
	loam_paddr table;

	(void)context;
	if (loam_memmap_alloc(&map, LOAM_PAGE_SIZE, &reachable, &table) != LOAM_OK)
		return LOAM_PADDR_NONE;
	memset(direct(table), 0, LOAM_PAGE_SIZE);
	return table;
}

static struct loam_frames_config frames_config(void)
{
	struct loam_frames_config config = {.map = &map, .direct_map = ARCH_DIRECT_MAP, .ncpus = cpu_count};

	config.nzones = arch_zones(config.zones);
	return config;
}

/* Said before anything is taken, so that whoever runs a machine too small learns how large it must be. */
static void check_enough(void)
{
	struct loam_frames_config config = frames_config();
	uint64_t has = loam_memmap_bytes(&map, LOAM_REGION_USABLE);
	uint64_t metadata = loam_frames_metadata_size(&config);
	uint64_t per_cpu = sizeof(struct cpu) + STACK_NBYTES + ARCH_TRAP_STACKS * TRAP_STACK_NBYTES;
	uint64_t need = metadata + cpu_count * per_cpu + WORKING_NBYTES;
	char a[16], b[16], c[16], d[16], e[16];

	if (has >= need)
		return;
	kprintf("\nToo little memory: %s is free, %s is needed (%s for frame metadata, %s for %u CPU%s, %s to work with).\n",
		ksize(a, has), ksize(b, need), ksize(c, metadata), ksize(d, cpu_count * per_cpu), cpu_count,
		cpu_count == 1 ? "" : "s", ksize(e, WORKING_NBYTES));
	kprintf("Give the machine at least %lu MiB more.\n", (unsigned long)((need - has + 0xfffff) >> 20));
	arch_power_off(false);
}

static void take_cpus(const struct arch_firmware *firmware)
{
	struct cpu *first = arch_this_cpu();
	uint32_t *ids = take(firmware->ncpus * sizeof(*ids), "CPU ids");

	cpus = take(cpu_count * sizeof(struct cpu), "per-CPU areas");
	(void)arch_firmware_cpus(ids, cpu_count);
	for (unsigned int i = 0; i < cpu_count; i++) {
		cpus[i].index = i;
		cpus[i].hardware_id = ids[i];
		for (unsigned int j = 0; j < ARCH_TRAP_STACKS; j++)
			cpus[i].arch.trap_stack[j] = first->arch.trap_stack[j];
	}
	cpus[0].online = true;
	arch_cpu_load(&cpus[0]);
}

/* ---- the kernel's page tables ----------------------------------------------------------------------------------------------- */

static bool is_ram(uint32_t type)
{
	return type <= LOAM_REGION_NVS;
}

/* The next stretch of RAM at or above @from, of whatever types: tables taken meanwhile split regions but not stretches. */
static bool next_ram(loam_paddr from, loam_paddr *start, loam_paddr *end)
{
	bool found = false;

	for (size_t i = 0; i < map.count; i++) {
		const struct loam_region *r = &map.regions[i];

		if (!is_ram(r->type) || r->base < from)
			continue;
		if (!found)
			*start = r->base;
		else if (r->base != *end)
			break;
		*end = r->base + r->nbytes;
		found = true;
	}
	return found;
}

static void map_image(const char *start, const char *end, unsigned int prot)
{
	struct loam_mapping mapping = {.prot = prot | LOAM_PROT_READ | LOAM_PROT_GLOBAL, .largest_leaf = 21};

	must(loam_paging_map(&tree, (uintptr_t)start, image_address(start), (size_t)(end - start) >> LOAM_PAGE_SHIFT,
			     &mapping),
	     "mapping the kernel's image");
}

/* Not areas: the console must work before there is an arena, and when the arena is what is wrong. */
static void map_devices(void)
{
	struct loam_mapping mapping = {
		.prot = LOAM_PROT_READ | LOAM_PROT_WRITE | LOAM_PROT_GLOBAL,
		.cache = LOAM_CACHE_DEVICE,
	};

	for (unsigned int i = 0; arch_device_page(i) != LOAM_PADDR_NONE; i++)
		must(loam_paging_map(&tree, ARCH_DEVICE_MAP + arch_device_page(i), arch_device_page(i), 1, &mapping),
		     "mapping device registers");
}

static void make_tables(void)
{
	struct loam_mapping mapping = {
		.prot = LOAM_PROT_READ | LOAM_PROT_WRITE | LOAM_PROT_GLOBAL,
		.largest_leaf = arch_mmu_largest_leaf(),
	};
	struct loam_table_source early_tables = {.alloc = take_table, .direct_map = ARCH_DIRECT_MAP};
	loam_paddr start, end = 0;

	must(loam_pagetable_init(&tree, arch_mmu_format(), &early_tables, LOAM_PADDR_NONE), "page tables");
	while (next_ram(end, &start, &end))
		must(loam_paging_map(&tree, ARCH_DIRECT_MAP + start, start, (end - start) >> LOAM_PAGE_SHIFT, &mapping),
		     "mapping RAM");
	map_image(kernel_text_start, kernel_text_end, LOAM_PROT_EXEC);
	map_image(kernel_rodata_start, kernel_rodata_end, 0);
	map_image(kernel_data_start, kernel_data_end, LOAM_PROT_WRITE);
	map_devices();
	arch_mmu_load(tree.root);
	kernel_system.tree = &tree;
}

/* ---- the layers ------------------------------------------------------------------------------------------------------------- */

static void *guarded_stack(size_t nbytes, const struct loam_call_site *site)
{
	void *top;

	must(loam_vstack_alloc(&vm, nbytes, site, &top), "a guarded stack");
	return top;
}

static void make_stacks(void)
{
	for (unsigned int i = 0; i < cpu_count; i++) {
		cpus[i].stack_top = guarded_stack(STACK_NBYTES, LOAM_HERE);
		for (unsigned int j = 0; j < ARCH_TRAP_STACKS; j++)
			cpus[i].arch.trap_stack[j] = guarded_stack(TRAP_STACK_NBYTES, LOAM_HERE);
	}
	arch_cpu_load(&cpus[0]);
}

static void make_layers(void *tlb_memory, size_t tlb_nbytes, void *heap_memory, size_t heap_nbytes)
{
	struct loam_frames_config frame = frames_config();
	struct loam_tlb_config flush = {.ncpus = cpu_count, .broadcast = arch_tlb_broadcast()};
	struct loam_vmalloc_config area = {
		.start = ARCH_ARENA, .ncpus = cpu_count, .frames = &frames, .tree = &tree, .tlb = &tlb};
	struct loam_heap_config object = {.frames = &frames, .vm = &vm, .ncpus = cpu_count, .track = true};

	must(loam_frames_boot(&frames, &frame, &map), "frames");
	kernel_system.frames = &frames;
	struct loam_table_source tables = loam_paging_tables_from_frames(&frames);
	loam_pagetable_set_source(&tree, &tables);

	must(loam_tlb_init(&tlb, &flush, tlb_memory, tlb_nbytes), "TLB");
	kernel_system.tlb = &tlb;
	must(loam_vmalloc_init(&vm, &area), "vmalloc");
	kernel_system.vm = &vm;
	must(loam_heap_init(&heap, &object, heap_memory, heap_nbytes), "heap");
	kernel_system.heap = &heap;
}

static void make_interrupts(void)
{
	void *registers[ARCH_INTC_WINDOWS_MAX] = {NULL};

	for (unsigned int i = 0; i < ARCH_INTC_WINDOWS_MAX; i++) {
		size_t nbytes;
		loam_paddr window = arch_intc_window(i, &nbytes);

		if (window == LOAM_PADDR_NONE)
			break;
		must(loam_vmap_phys(&vm, window, nbytes, LOAM_CACHE_DEVICE, LOAM_HERE, &registers[i]),
		     "mapping the interrupt controller");
	}
	arch_intc_init(registers);
	arch_intc_cpu_init();
	arch_timer_init();
}

void memory_cpu_online(void)
{
	unsigned int cpu = arch_cpu_index();

	loam_tlb_cpu_online(&tlb);
	must(loam_frame_cpu_online(&frames, cpu), "frames on a CPU");
	must(loam_heap_cpu_online(&heap, cpu), "heap on a CPU");
}

void memory_cpu_offline(unsigned int cpu)
{
	must(loam_heap_cpu_offline(&heap, cpu), "heap off a CPU");
	must(loam_vmalloc_cpu_offline(&vm, cpu), "vmalloc off a CPU");
	must(loam_frame_cpu_offline(&frames, cpu), "frames off a CPU");
}

char *memory_init(const struct arch_firmware *firmware)
{
	struct loam_tlb_config flush;
	struct loam_heap_config object;

	cpu_count = firmware->ncpus < LOAM_CPUS_MAX ? firmware->ncpus : LOAM_CPUS_MAX;
	flush = (struct loam_tlb_config){.ncpus = cpu_count, .broadcast = arch_tlb_broadcast()};
	object = (struct loam_heap_config){.frames = &frames, .vm = &vm, .ncpus = cpu_count, .track = true};

	read_map(firmware);
	take_start_page();
	check_enough();
	take_cpus(firmware);
	size_t tlb_nbytes = loam_tlb_metadata_size(&flush);
	size_t heap_nbytes = loam_heap_metadata_size(&object);
	void *tlb_memory = take(tlb_nbytes, "TLB metadata");
	void *heap_memory = take(heap_nbytes, "heap metadata");
	size_t line_nbytes = strlen(firmware->command_line) + 1;
	char *line = memcpy(take(line_nbytes, "the command line"), firmware->command_line, line_nbytes);
	make_tables();
	make_layers(tlb_memory, tlb_nbytes, heap_memory, heap_nbytes);
	memory_cpu_online();
	make_stacks();
	make_interrupts();
	return line;
}
