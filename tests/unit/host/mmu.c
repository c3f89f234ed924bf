/* tests/unit/host/mmu.c: the MMU sees what the tables say, remembers it too long, and catches whoever relies on its forgetting. */
#include "rig.h"
#include "tap.h"

#include <host.h>
#include <loam/paging.h>

#include <stdio.h>
#include <string.h>
#include <ucontext.h>

#define VA ((uintptr_t)0xffffc00000000000)

static struct rig *rig;
static struct loam_pagetable tree;

static void begin(unsigned int ncpus)
{
	struct rig_config config = {.npages = 2048, .ncpus = ncpus};
	struct loam_table_source source;
	struct host_mmu mmu = {.kind = HOST_MMU_X86_64, .levels = 4, .pa_bits = 52, .types = LOAM_X86_64_PAT};

	rig = rig_create(&config);
	source = loam_paging_tables_from_frames(rig->frames);
	tree = (struct loam_pagetable){0};
	CHECK_OK(loam_pagetable_init(&tree, &loam_paging_x86_64_4level, &source, LOAM_PADDR_NONE));
	host_set_mmu(rig->machine, &mmu, tree.root);
}

static loam_pfn map(uintptr_t va, unsigned int prot)
{
	struct loam_mapping mapping = {.prot = prot};
	loam_pfn pfn = loam_frame_alloc(rig->frames, 0, NULL);

	CHECK(pfn != LOAM_PFN_NONE);
	CHECK_OK(loam_paging_map(&tree, va, pfn << LOAM_PAGE_SHIFT, 1, &mapping));
	return pfn;
}

static void unmap(uintptr_t va)
{
	CHECK_OK(loam_paging_unmap(&tree, va, 1, NULL, NULL));
}

static void flush_page(uintptr_t va)
{
	struct loam_tlb_range range = {.start = va, .npages = 1, .stride_shift = LOAM_PAGE_SHIFT};

	loam_port_tlb_flush(&range, 1);
}

TEST(accesses_go_through_the_tables)
{
	uint64_t out = 0x1122334455667788;
	uint64_t in = 0;
	loam_pfn pfn;

	begin(1);
	CHECK_STR(host_try_read(VA, &in, 8), "not present");
	pfn = map(VA, LOAM_PROT_WRITE);
	map(VA + 4096, LOAM_PROT_READ);
	host_write(VA + 8, &out, 8);
	CHECK_EQ(*(uint64_t *)host_ram(rig->machine, (pfn << LOAM_PAGE_SHIFT) + 8), out);
	host_read(VA + 8, &in, 8);
	CHECK_EQ(in, out);
	host_read(VA + 4092, &in, 8);
	CHECK_EQ(in, 0);
	CHECK_STR(host_try_write(VA + 4092, &in, 8), "not writable");
	CHECK_PANIC(host_write(VA + 4096, &in, 8), "host: CPU 0 cannot write 0xffffc00000001000: not writable");
	CHECK_EQ(host_tlb_read_stats(rig->machine, 0).entries, 2);
	rig_destroy(rig);
}

TEST(an_entry_stays_until_it_is_flushed)
{
	uint64_t word;

	begin(1);
	map(VA, LOAM_PROT_WRITE);
	host_read(VA, &word, 8);
	unmap(VA);
	host_read(VA, &word, 8);
	flush_page(VA + 4096);
	host_read(VA, &word, 8);
	flush_page(VA);
	CHECK_STR(host_try_read(VA, &word, 8), "not present");
	rig_destroy(rig);
}

TEST(more_rights_need_no_flush_and_fewer_do)
{
	uint64_t word = 1;

	begin(1);
	map(VA, LOAM_PROT_READ);
	host_read(VA, &word, 8);
	CHECK_OK(loam_paging_protect(&tree, VA, 1, LOAM_PROT_READ | LOAM_PROT_WRITE));
	host_write(VA, &word, 8);
	CHECK_OK(loam_paging_protect(&tree, VA, 1, LOAM_PROT_READ));
	host_write(VA, &word, 8);
	loam_port_tlb_flush(NULL, 0);
	CHECK_STR(host_try_write(VA, &word, 8), "not writable");
	rig_destroy(rig);
}

TEST(a_stale_access_to_a_freed_frame_is_caught)
{
	uint64_t word;
	loam_pfn pfn;
	char text[128];

	begin(1);
	pfn = map(VA, LOAM_PROT_WRITE);
	host_read(VA, &word, 8);
	unmap(VA);
	loam_frame_free(rig->frames, pfn, 0);
	snprintf(text, sizeof(text), "host: CPU 0: stale entry for 0xffffc00000000000: its frame 0x%llx is free",
		 (unsigned long long)pfn);
	CHECK_PANIC(host_read(VA, &word, 8), text);
	flush_page(VA);
	CHECK_STR(host_try_read(VA, &word, 8), "not present");
	rig_destroy(rig);
}

TEST(a_stale_access_to_a_reused_frame_is_caught)
{
	uint64_t word = 0;
	loam_pfn pfn;
	char text[128];

	begin(1);
	pfn = map(VA, LOAM_PROT_WRITE);
	host_read(VA, &word, 8);
	unmap(VA);
	loam_frame_free(rig->frames, pfn, 0);
	while (loam_frame_ref_get(rig->frames, pfn) == LOAM_FRAME_UNUSED)
		CHECK(loam_frame_alloc(rig->frames, 0, NULL) != LOAM_PFN_NONE);
	snprintf(
		text, sizeof(text),
		"host: CPU 0: stale entry for 0xffffc00000000000: its frame 0x%llx has a new owner (generation %u, was %u)",
		(unsigned long long)pfn, loam_frame_generation(rig->frames, pfn),
		loam_frame_generation(rig->frames, pfn) - 1);
	CHECK_PANIC(host_write(VA, &word, 8), text);
	rig_destroy(rig);
}

TEST(an_address_reused_before_its_flush_is_caught)
{
	uint64_t word;
	loam_pfn old;
	loam_pfn new;
	char text[160];

	begin(1);
	old = map(VA, LOAM_PROT_WRITE);
	host_read(VA, &word, 8);
	unmap(VA);
	new = map(VA, LOAM_PROT_WRITE);
	snprintf(text, sizeof(text),
		 "host: CPU 0: stale entry for 0xffffc00000000000: it leads to 0x%llx, the tables to 0x%llx",
		 (unsigned long long)old << LOAM_PAGE_SHIFT, (unsigned long long)new << LOAM_PAGE_SHIFT);
	CHECK_PANIC(host_read(VA, &word, 8), text);
	rig_destroy(rig);
}

TEST(a_page_table_freed_before_a_full_flush_is_caught)
{
	struct loam_table_batch batch;
	uint64_t word;
	const char *volatile text = NULL;

	begin(1);
	tree.keep_empty_tables = false;
	map(VA, LOAM_PROT_WRITE);
	host_read(VA, &word, 8);
	unmap(VA);
	CHECK(loam_pagetable_seal(&tree, &batch));
	flush_page(VA);
	loam_pagetable_release(&tree, &batch);
	TAP_PANICS(host_read(VA, &word, 8), text);
	CHECK(text != NULL && strstr((const char *)text, "its cached page table") != NULL);
	loam_port_tlb_flush(NULL, 0);
	CHECK_STR(host_try_read(VA, &word, 8), "not present");
	rig_destroy(rig);
}

static void read_va(void *arg)
{
	host_read(VA, arg, 8);
}

TEST(each_cpu_remembers_for_itself)
{
	uint64_t word;

	begin(2);
	map(VA, LOAM_PROT_WRITE);
	host_read(VA, &word, 8);
	host_send(rig->machine, 1, read_va, &word);
	host_wait(rig->machine, 1);
	unmap(VA);
	flush_page(VA);
	CHECK_STR(host_try_read(VA, &word, 8), "not present");
	host_send(rig->machine, 1, read_va, &word);
	host_wait(rig->machine, 1);
	CHECK_EQ(host_tlb_read_stats(rig->machine, 1).entries, 1);
	rig_destroy(rig);
}

static void answer(void *arg)
{
	loam_tlb_ipi(arg);
}

TEST(loams_shootdown_makes_every_cpu_forget)
{
	struct loam_tlb tlb = {0};
	struct loam_tlb_config config = {.ncpus = 3, .timeout_ns = RIG_PATIENCE_NS};
	static _Alignas(LOAM_CPU_ALIGN) char metadata[8192];
	struct loam_tlb_range range = {.start = VA, .npages = 1, .stride_shift = LOAM_PAGE_SHIFT};
	uint64_t word;
	loam_pfn pfn;

	begin(3);
	CHECK(loam_tlb_metadata_size(&config) <= sizeof(metadata));
	CHECK_OK(loam_tlb_init(&tlb, &config, metadata, sizeof(metadata)));
	host_on_ipi(rig->machine, answer, &tlb);
	pfn = map(VA, LOAM_PROT_WRITE);
	for (unsigned int cpu = 0; cpu < 3; cpu++) {
		host_enter(rig->machine, cpu);
		loam_tlb_cpu_online(&tlb);
		host_read(VA, &word, 8);
	}
	host_enter(rig->machine, 0);
	unmap(VA);
	CHECK_OK(loam_tlb_wait(&tlb, loam_tlb_flush_start(&tlb, &range, 1)));
	loam_frame_free(rig->frames, pfn, 0);
	for (unsigned int cpu = 0; cpu < 3; cpu++) {
		host_enter(rig->machine, cpu);
		CHECK_STR(host_try_read(VA, &word, 8), "not present");
	}
	rig_destroy(rig);
}

TEST(a_window_makes_mapped_memory_memory)
{
	volatile uint64_t *at;
	uintptr_t va;
	loam_pfn pfn;
	char text[128];

	begin(1);
	va = host_window_create(rig->machine, 64 * LOAM_PAGE_SIZE);
	at = (volatile uint64_t *)va;
	pfn = map(va, LOAM_PROT_WRITE);
	map(va + LOAM_PAGE_SIZE, LOAM_PROT_READ);
	at[0] = 42;
	CHECK_EQ(*(uint64_t *)host_ram(rig->machine, pfn << LOAM_PAGE_SHIFT), 42);
	CHECK_EQ(at[LOAM_PAGE_SIZE / 8], 0);
	snprintf(text, sizeof(text), "host: page fault on CPU 0: write of 0x%llx: not writable",
		 (unsigned long long)va + LOAM_PAGE_SIZE);
	CHECK_PANIC(at[LOAM_PAGE_SIZE / 8] = 1, text);
	snprintf(text, sizeof(text), "host: page fault on CPU 0: read of 0x%llx: not present",
		 (unsigned long long)va + 2 * LOAM_PAGE_SIZE);
	CHECK_PANIC((void)at[2 * LOAM_PAGE_SIZE / 8], text);
	unmap(va);
	flush_page(va);
	snprintf(text, sizeof(text), "host: page fault on CPU 0: read of 0x%llx: not present", (unsigned long long)va);
	CHECK_PANIC((void)at[0], text);
	rig_destroy(rig);
}

static ucontext_t back, there;
static uintptr_t stack_va;

static void on_window_stack(void)
{
	volatile char used[3 * LOAM_PAGE_SIZE];

	for (size_t i = 0; i < sizeof(used); i += 64)
		used[i] = 1;
	loam_port_tlb_flush(NULL, 0); /* hides the stack this runs on */
	for (size_t i = 0; i < sizeof(used); i += 64)
		used[i]++;
	swapcontext(&there, &back);
}

TEST(a_stack_may_lie_in_a_window)
{
	begin(1);
	stack_va = host_window_create(rig->machine, 8 * LOAM_PAGE_SIZE);
	for (uintptr_t at = 0; at < 8; at++)
		map(stack_va + at * LOAM_PAGE_SIZE, LOAM_PROT_WRITE);
	getcontext(&there);
	there.uc_stack.ss_sp = (void *)stack_va;
	there.uc_stack.ss_size = 8 * LOAM_PAGE_SIZE;
	makecontext(&there, on_window_stack, 0);
	swapcontext(&back, &there);
	rig_destroy(rig);
}
