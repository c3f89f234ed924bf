/* kernel/arch/riscv64/mmu.c: Sv39, Sv48 or Sv57, whichever is the widest; and what the CPU has beyond that (Svpbmt, Svinval). */
#include "../../common/console.h"
#include "../../common/devicetree.h"
#include "../../common/kernel.h"
#include "regs.h"

/* More invalidations than this cost more than filling the TLB again. */
#define INVALIDATIONS_MAX 64

#define LEAF UINT64_C(0xef) /* valid, readable, writable, executable, global, accessed, dirty */
#define TABLE UINT64_C(1)
#define GIB_SHIFT 30
#define BOOT_GIBS (ARCH_BOOT_MAP_NBYTES >> GIB_SHIFT)

static const struct riscv_layout narrow = {
	.mode = RISCV_SV39,
	.direct_map = 0xffffffc000000000,
	.direct_map_nbytes = UINT64_C(128) << GIB_SHIFT,
	.arena = 0xffffffe000000000,
	.device_map = 0xfffffff000000000,
};
static const struct riscv_layout wide = {
	.direct_map = 0xffff800000000000,
	.direct_map_nbytes = UINT64_C(65536) << GIB_SHIFT,
	.arena = 0xffffc00000000000,
	.device_map = 0xffffd00000000000,
};
struct riscv_layout riscv_layout;

/* On all CPUs alike. */
static struct {
	bool svpbmt;
	bool svinval;
	bool remote_fence;
} has;

/* ---- the widest mode ------------------------------------------------------------------------------------------------------------- */

typedef uint64_t boot_table[512] __attribute__((aligned(4096)));
static boot_table root57, root48, low, high;

static uint64_t to_table(const uint64_t *table)
{
	return ((uintptr_t)table - ARCH_IMAGE_BASE) >> 2 | TABLE;
}

static unsigned int slot(uintptr_t address, unsigned int level)
{
	return (unsigned int)(address >> (LOAM_PAGE_SHIFT + 9 * level) & 511);
}

/* What entry.S has under Sv39, but not at 0: one table of GiBs for the direct map and the devices, one for the image. */
static void make_boot_tables(void)
{
	for (unsigned int i = 0; i < BOOT_GIBS; i++)
		low[i] = high[512 - BOOT_GIBS + i] = (uint64_t)i << (GIB_SHIFT - 2) | LEAF;
	root48[slot(wide.direct_map, 3)] = to_table(low);
	root48[slot(wide.device_map, 3)] = to_table(low);
	root48[slot(ARCH_IMAGE_BASE, 3)] = to_table(high);
	root57[slot(ARCH_IMAGE_BASE, 4)] = to_table(root48);
}

/* A CPU that does not have the mode ignores the whole write; one that has it goes on here, as the image lies at one place in all modes. */
static bool try_mode(unsigned int mode, const uint64_t *root)
{
	uint64_t satp = (uint64_t)mode << 60 | ((uintptr_t)root - ARCH_IMAGE_BASE) >> LOAM_PAGE_SHIFT;

	RISCV_WRITE("satp", satp);
	__asm__ volatile("sfence.vma" : : : "memory");
	if (RISCV_READ("satp") != satp)
		return false;
	riscv_layout = wide;
	riscv_layout.mode = mode;
	return true;
}

void riscv_mmu_begin(void)
{
	riscv_layout = narrow;
}

void riscv_mmu_widen(unsigned int widest)
{
	make_boot_tables();
	if (widest >= RISCV_SV57 && try_mode(RISCV_SV57, root57))
		return;
	if (widest >= RISCV_SV48)
		(void)try_mode(RISCV_SV48, root48);
}

void riscv_mmu_features(bool remote_fence)
{
	has.svpbmt = devicetree_cpus_have("svpbmt");
	has.svinval = devicetree_cpus_have("svinval");
	has.remote_fence = remote_fence;
}

const char *arch_cpu_name(void)
{
	static char name[64];

	(void)kformat(name, sizeof(name), "RV64, Sv%u%s%s%s", 39 + 9 * (riscv_layout.mode - RISCV_SV39),
		      has.svpbmt ? ", Svpbmt" : "", has.svinval ? ", Svinval" : "",
		      has.remote_fence ? ", flushes by the SBI" : "");
	return name;
}

/* ---- the contract ---------------------------------------------------------------------------------------------------------------- */

const struct loam_paging_format *arch_mmu_format(void)
{
	static const struct loam_paging_format *const formats[2][3] = {
		{&loam_paging_riscv_sv39, &loam_paging_riscv_sv48, &loam_paging_riscv_sv57},
		{&loam_paging_riscv_sv39_svpbmt, &loam_paging_riscv_sv48_svpbmt, &loam_paging_riscv_sv57_svpbmt},
	};

	return formats[has.svpbmt][riscv_layout.mode - RISCV_SV39];
}

unsigned int arch_mmu_largest_leaf(void)
{
	return 30;
}

/* What 32-bit devices reach, and the rest. */
unsigned int arch_zones(struct loam_zone_config zones[])
{
	zones[0] = (struct loam_zone_config){"dma32", (loam_paddr)4 << 30};
	zones[1] = (struct loam_zone_config){"normal", 0};
	return 2;
}

void arch_mmu_load(loam_paddr root)
{
	RISCV_WRITE("satp", (uint64_t)riscv_layout.mode << 60 | root >> LOAM_PAGE_SHIFT);
	__asm__ volatile("sfence.vma" : : : "memory");
}

bool arch_tlb_broadcast(void)
{
	return has.remote_fence;
}

/* The SBI makes all started CPUs do it, this one too, and waits for them. */
static void flush_remotely(const struct loam_tlb_range *ranges, size_t nranges)
{
	static const struct loam_tlb_range all = {.start = 0, .npages = UINT64_MAX >> LOAM_PAGE_SHIFT};

	for (size_t i = 0; i < (nranges == 0 ? 1 : nranges); i++) {
		const struct loam_tlb_range *range = nranges == 0 ? &all : &ranges[i];
		uint64_t nbytes = nranges == 0 ? UINT64_MAX : range->npages << LOAM_PAGE_SHIFT;

		if (riscv_sbi(SBI_FENCE, SBI_FENCE_VMA, 0, UINT64_MAX, range->start, nbytes) != 0)
			kernel_panic("the SBI refuses a remote fence");
	}
}

/* Svinval takes the ordering out of the loop: SFENCE.W.INVAL, SINVAL.VMA for each page, SFENCE.INVAL.IR. */
static void flush_range(const struct loam_tlb_range *range)
{
	uintptr_t end = range->start + range->npages * LOAM_PAGE_SIZE;

	for (uintptr_t at = range->start; at < end; at += 1UL << range->stride_shift) {
		if (has.svinval)
			__asm__ volatile(".insn r 0x73, 0, 0x0b, x0, %0, x0" : : "r"(at) : "memory");
		else
			__asm__ volatile("sfence.vma %0, zero" : : "r"(at) : "memory");
	}
}

void arch_tlb_flush(const struct loam_tlb_range *ranges, size_t nranges)
{
	size_t invalidations = 0;

	if (has.remote_fence) {
		flush_remotely(ranges, nranges);
		return;
	}
	for (size_t i = 0; i < nranges && invalidations <= INVALIDATIONS_MAX; i++)
		invalidations += 1 + ((ranges[i].npages - 1) >> (ranges[i].stride_shift - LOAM_PAGE_SHIFT));
	if (nranges == 0 || invalidations > INVALIDATIONS_MAX) {
		__asm__ volatile("sfence.vma" : : : "memory");
		return;
	}
	if (has.svinval)
		__asm__ volatile(".4byte 0x18000073" : : : "memory");
	for (size_t i = 0; i < nranges; i++)
		flush_range(&ranges[i]);
	if (has.svinval)
		__asm__ volatile(".4byte 0x18100073" : : : "memory");
}
