/* kernel/arch/host/machine.c: kernel/common/machine.h on the machine in a process, and Loam set up on it as kernel/common/memory.c does on
 * a real one.
 *
 * The arena lies in a window, so that vmalloc memory is memory to ordinary code; machine_load() and machine_store() go through the CPU's
 * own simulated TLB instead, which is stricter: they stop the run at a stale entry.
 */
#include "host_kernel.h"

#include "../../common/bootmap.h"
#include "../../common/console.h"
#include "../../common/machine.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <walk.h>

#define ENTRIES_MAX 32

static struct host_machine *machine;
static struct loam_memmap map;
static struct loam_frames frames;
static struct loam_pagetable tree;
static struct loam_tlb tlb;
static struct loam_vm vm;
static struct loam_heap heap;
struct loam_system kernel_system = {.map = &map};

static struct loam_region raw[ENTRIES_MAX];
static struct loam_region regions[2 * ENTRIES_MAX + 64];

/* ---- setting up ---------------------------------------------------------------------------------------------------------- */

static void must(enum loam_status status, const char *what)
{
	if (status == LOAM_OK)
		return;
	kprintf("%s: %s\n", what, loam_status_name(status));
	exit(1);
}

static void *take(uint64_t nbytes, const char *what)
{
	loam_paddr base;

	must(loam_memmap_alloc(&map, nbytes, NULL, &base), what);
	return memset(host_ram(machine, base), 0, nbytes);
}

static void on_ipi(void *arg)
{
	loam_tlb_ipi(arg);
}

/* A frame inside of a block of 2 MiB has the owner of its first one, whatever leaves it is mapped with. */
static bool look_at_frame(void *context, loam_pfn pfn, uint32_t *generation)
{
	struct loam_frames *of = context;
	loam_pfn head = pfn & ~(loam_pfn)(LOAM_BLOCK_FRAMES - 1);

	if (!loam_frame_has_slot(of, pfn))
		return true;
	if (loam_frame_ref_get(of, pfn) == LOAM_FRAME_UNUSED && loam_frame_has_slot(of, head) &&
	    loam_frame_slot(of, head)->order == LOAM_BLOCK_ORDER)
		pfn = head;
	*generation = loam_frame_generation(of, pfn);
	return loam_frame_ref_get(of, pfn) != LOAM_FRAME_UNUSED;
}

static void cpu_online(void *arg)
{
	unsigned int cpu = loam_port_cpu();

	(void)arg;
	loam_tlb_cpu_online(&tlb);
	must(loam_frame_cpu_online(&frames, cpu), "frames on a CPU");
	must(loam_heap_cpu_online(&heap, cpu), "heap on a CPU");
}

static void make_layers(unsigned int ncpus)
{
	uintptr_t direct_map = host_direct_map(machine);
	struct loam_frames_config frame = {.map = &map, .direct_map = direct_map, .ncpus = ncpus};
	struct loam_tlb_config flush = {.ncpus = ncpus};
	struct loam_heap_config object = {.frames = &frames, .vm = &vm, .ncpus = ncpus, .track = true};
	struct loam_vmalloc_config area = {
		.start = host_window_create(machine, LOAM_VMALLOC_NBYTES),
		.nbytes = LOAM_VMALLOC_NBYTES,
		.ncpus = ncpus,
		.frames = &frames,
		.tree = &tree,
		.tlb = &tlb,
	};
	size_t tlb_nbytes = loam_tlb_metadata_size(&flush), heap_nbytes = loam_heap_metadata_size(&object);
	void *tlb_memory = take(tlb_nbytes, "TLB metadata"), *heap_memory = take(heap_nbytes, "heap metadata");

	frame.zones[0] = (struct loam_zone_config){"dma", (loam_paddr)16 << 20};
	frame.zones[1] = (struct loam_zone_config){"normal", 0};
	frame.nzones = 2;
	must(loam_frames_boot(&frames, &frame, &map), "frames");
	kernel_system.frames = &frames;
	host_watch_frames(machine, look_at_frame, &frames);

	struct loam_table_source tables = loam_paging_tables_from_frames(&frames);
	struct host_mmu mmu = {.kind = HOST_MMU_X86_64, .levels = 4, .pa_bits = 46, .types = LOAM_X86_64_PAT};
	must(loam_pagetable_init(&tree, &loam_paging_x86_64_4level, &tables, LOAM_PADDR_NONE), "page tables");
	kernel_system.tree = &tree;
	host_set_mmu(machine, &mmu, tree.root);

	must(loam_tlb_init(&tlb, &flush, tlb_memory, tlb_nbytes), "TLB");
	kernel_system.tlb = &tlb;
	host_on_ipi(machine, on_ipi, &tlb);
	must(loam_vmalloc_init(&vm, &area), "vmalloc");
	kernel_system.vm = &vm;
	must(loam_heap_init(&heap, &object, heap_memory, heap_nbytes), "heap");
	kernel_system.heap = &heap;
}

void host_machine_start(unsigned int ncpus, uint64_t nbytes)
{
	size_t count = host_firmware_map(raw, ENTRIES_MAX, nbytes);

	must(bootmap_init(&map, raw, count, regions, sizeof(regions) / sizeof(regions[0]), 0, "a careless firmware"),
	     "memory map");
	machine = host_machine_create(
		&(struct host_config){.regions = map.regions, .nregions = map.count, .ncpus = ncpus});
	host_enter(machine, 0);
	make_layers(ncpus);
	host_run(machine, cpu_online, NULL);
	kprintf("   %u of %u CPU%s up\n", ncpus, ncpus, ncpus == 1 ? "" : "s");
}

/* ---- machine.h ----------------------------------------------------------------------------------------------------------- */

/* One level of machine_try(), on the calling thread. */
struct catcher {
	sigjmp_buf jump;
	struct catcher *outer;
	char *text;
	size_t nbytes;
};
static _Thread_local struct catcher *catcher;

static void offer(const char *text)
{
	if (catcher == NULL)
		return;
	(void)kformat(catcher->text, catcher->nbytes, "%s", text);
	siglongjmp(catcher->jump, 1);
}

static void on_panic(enum loam_fatal kind, const char *message)
{
	offer(message);
	host_report(kind == LOAM_FATAL_CORRUPT ? "CORRUPTION" : "MISUSE", message);
	exit(1);
}

static LOAM_NORETURN void page_fault(const char *what, uintptr_t address)
{
	char text[384], known[256];

	(void)loam_whatis(&kernel_system, address, known, sizeof(known));
	(void)kformat(text, sizeof(text), "page fault: %s %s", what, known);
	offer(text);
	host_report("FAULT", text);
	exit(1);
}

static void on_fault(uintptr_t address, enum host_access access, const char *why)
{
	(void)why;
	page_fault(access == HOST_READ ? "read of" : access == HOST_WRITE ? "write to" : "execution of", address);
}

__attribute__((constructor)) static void install(void)
{
	host_hooks.on_panic = on_panic;
	host_hooks.on_fault = on_fault;
}

bool machine_try(void (*function)(void *arg), void *arg, char text[], size_t nbytes)
{
	struct catcher here = {.outer = catcher, .text = text, .nbytes = nbytes};

	text[0] = '\0';
	catcher = &here;
	bool returned = sigsetjmp(here.jump, 1) == 0;
	if (returned)
		function(arg);
	catcher = here.outer;
	return returned;
}

/* CPU by CPU: is it away, and has what was sent there returned? CPU 0 writes the first. */
static bool away[LOAM_CPUS_MAX];
static bool at_work[LOAM_CPUS_MAX]; /* atomic */

unsigned int machine_cpus_all(void)
{
	return host_ncpus(machine);
}

bool machine_is_online(unsigned int cpu)
{
	return !__atomic_load_n(&away[cpu], __ATOMIC_ACQUIRE);
}

unsigned int machine_cpus(void)
{
	unsigned int online = 0;

	for (unsigned int i = 0; i < machine_cpus_all(); i++)
		online += machine_is_online(i);
	return online;
}

static struct {
	void (*function)(void *arg);
	void *arg;
} sent[LOAM_CPUS_MAX];

static void run_sent(void *arg)
{
	unsigned int cpu = loam_port_cpu();

	(void)arg;
	sent[cpu].function(sent[cpu].arg);
	__atomic_store_n(&at_work[cpu], false, __ATOMIC_RELEASE);
}

void machine_send(unsigned int cpu, void (*function)(void *arg), void *arg)
{
	host_wait(machine, cpu);
	sent[cpu].function = function;
	sent[cpu].arg = arg;
	__atomic_store_n(&at_work[cpu], true, __ATOMIC_RELEASE);
	host_send(machine, cpu, run_sent, NULL);
}

bool machine_has_returned(unsigned int cpu)
{
	return !__atomic_load_n(&at_work[cpu], __ATOMIC_ACQUIRE);
}

static void leave(void *arg)
{
	(void)arg;
	loam_tlb_cpu_offline(&tlb);
}

void machine_offline(unsigned int cpu)
{
	machine_send(cpu, leave, NULL);
	host_wait(machine, cpu);
	__atomic_store_n(&away[cpu], true, __ATOMIC_RELEASE);
	must(loam_heap_cpu_offline(&heap, cpu), "heap off a CPU");
	must(loam_vmalloc_cpu_offline(&vm, cpu), "vmalloc off a CPU");
	must(loam_frame_cpu_offline(&frames, cpu), "frames off a CPU");
}

bool machine_online(unsigned int cpu)
{
	machine_send(cpu, cpu_online, NULL);
	host_wait(machine, cpu);
	__atomic_store_n(&away[cpu], false, __ATOMIC_RELEASE);
	return true;
}

void machine_run(void (*function)(void *arg), void *arg)
{
	host_run(machine, function, arg);
}

uint64_t machine_load(uintptr_t address)
{
	uint64_t value;

	if (host_try_read(address, &value, sizeof(value)) != NULL)
		page_fault("read of", address);
	return value;
}

void machine_store(uintptr_t address, uint64_t value)
{
	if (host_try_write(address, &value, sizeof(value)) != NULL)
		page_fault("write to", address);
}

/* The simulated CPU reads and writes; it has no instructions to fetch. But its page tables say what would happen. */
void machine_execute(uintptr_t address)
{
	struct loam_paging_entry entry;

	if (loam_paging_query(&tree, address, &entry) != LOAM_OK || (entry.prot & LOAM_PROT_EXEC) == 0)
		page_fault("execution of", address);
}

/* What makecontext() cannot pass as a pointer. */
static struct {
	void (*function)(void *arg);
	void *arg;
	ucontext_t back;
} on_stack;

static void enter_stack(void)
{
	on_stack.function(on_stack.arg);
}

/* Its pages are touched first: a fault of the window could not be handled on a stack that is not there yet. */
void machine_run_on_stack(void (*function)(void *arg), void *arg, void *top)
{
	const size_t nbytes = 16384;
	char *bottom = (char *)top - nbytes;
	ucontext_t there;

	for (size_t at = 0; at < nbytes; at += LOAM_PAGE_SIZE)
		((volatile char *)bottom)[at] = 0;
	on_stack.function = function;
	on_stack.arg = arg;
	(void)getcontext(&there);
	there.uc_stack.ss_sp = bottom;
	there.uc_stack.ss_size = nbytes;
	there.uc_link = &on_stack.back;
	makecontext(&there, enter_stack, 0);
	(void)swapcontext(&on_stack.back, &there);
}

/* As pushing does it, without a process that would not outlive it. */
void machine_overflow(void *top)
{
	for (uintptr_t at = (uintptr_t)top - sizeof(uint64_t);; at -= sizeof(uint64_t))
		machine_store(at, at);
}

static void (*tick_hook)(bool poked); /* atomic */

static void call_hook(bool poked)
{
	void (*hook)(bool poked) = __atomic_load_n(&tick_hook, __ATOMIC_ACQUIRE);

	if (hook != NULL)
		hook(poked);
}

static void tick(void *arg)
{
	(void)arg;
	call_hook(false);
}

static void poke(void *arg)
{
	(void)arg;
	call_hook(true);
}

void machine_poke(unsigned int cpu)
{
	if (machine_is_online(cpu))
		host_interrupt(machine, cpu, poke, NULL);
}

uintptr_t machine_arena(size_t nbytes)
{
	static uintptr_t start;

	if (start == 0)
		start = host_window_create(machine, nbytes);
	return start;
}

/* The library of the tests, whose failure points this could arm, has an interrupt point at each atomic access too: another build. */
bool machine_fail(bool (*hook)(unsigned int kind))
{
	(void)hook;
	return false;
}

void machine_silent(unsigned int cpu, const char *text)
{
	(void)cpu;
	host_report("PANIC", text);
	exit(1);
}

void machine_ticks(unsigned int hz, void (*hook)(bool poked))
{
	if (__atomic_load_n(&tick_hook, __ATOMIC_RELAXED) != NULL)
		host_storm_end(machine);
	__atomic_store_n(&tick_hook, hook, __ATOMIC_RELEASE);
	if (hook != NULL)
		host_storm_begin(machine, 1000000 / hz, tick, NULL);
}

/* No tick touches the heap here. */
void machine_rest(bool rest)
{
	(void)rest;
}

void machine_name_task(const struct loam_task *task)
{
	host_set_task(task);
}
