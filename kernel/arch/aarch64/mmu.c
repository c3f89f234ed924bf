/* kernel/arch/aarch64/mmu.c: 4 KiB granule, 48 bits, the kernel's half under TTBR1. */
#include "../arch.h"
#include "regs.h"

/* More invalidations than this cost more than filling the TLB again. */
#define INVALIDATIONS_MAX 64

/* FEAT_TLBIRANGE: one instruction for (number + 1) << (5 * scale + 1) pages; four scales, up to 32 each. Pages all of them reach together. */
#define RANGE_GRANULE_4K (UINT64_C(1) << 46)
#define RANGE_PAGES_MAX ((size_t)1 << 21)
#define RANGE_SCALE_MAX 3U

static bool has_ranges;

#define TCR_NO_LOWER_HALF (UINT64_C(1) << 7) /* EPD0 */

const struct loam_paging_format *arch_mmu_format(void)
{
	return &loam_paging_aarch64_48;
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
	has_ranges = (ARM_READ("id_aa64isar0_el1") >> 56 & 0xf) >= 2;
	ARM_WRITE("ttbr1_el1", root);
	ARM_WRITE("tcr_el1", ARM_READ("tcr_el1") | TCR_NO_LOWER_HALF);
	arm_isb();
	arch_tlb_flush(NULL, 0);
}

static void flush_page(uintptr_t at)
{
	__asm__ volatile("tlbi vaae1is, %0" : : "r"(at >> LOAM_PAGE_SHIFT & 0xfffffffffffUL) : "memory");
}

static void flush_by_page(const struct loam_tlb_range *range)
{
	uintptr_t end = range->start + range->npages * LOAM_PAGE_SIZE;

	for (uintptr_t at = range->start; at < end; at += 1UL << range->stride_shift)
		flush_page(at);
}

/* From the largest scale down: each takes what its five bits hold, and a last odd page goes by itself. */
static void flush_by_range(const struct loam_tlb_range *range)
{
	uintptr_t at = range->start;
	size_t npages = range->npages;

	for (unsigned int scale = RANGE_SCALE_MAX + 1; scale-- > 0;) {
		unsigned int shift = 5 * scale + 1;
		size_t count = npages >> shift;

		if (count == 0)
			continue;
		/* TLBI RVAAE1IS */
		__asm__ volatile("sys #0, c8, c2, #3, %0"
				 :
				 : "r"(RANGE_GRANULE_4K | (uint64_t)scale << 44 | (count - 1) << 39 |
				       (at >> LOAM_PAGE_SHIFT & 0x1fffffffffUL))
				 : "memory");
		at += count << shift << LOAM_PAGE_SHIFT;
		npages -= count << shift;
	}
	if (npages > 0)
		flush_page(at);
}

/* How many instructions it takes; above INVALIDATIONS_MAX just that it is too many. */
static size_t invalidations(const struct loam_tlb_range *ranges, size_t nranges)
{
	size_t sum = 0;

	for (size_t i = 0; i < nranges && sum <= INVALIDATIONS_MAX; i++) {
		if (!has_ranges)
			sum += 1 + ((ranges[i].npages - 1) >> (ranges[i].stride_shift - LOAM_PAGE_SHIFT));
		else
			sum += ranges[i].npages < RANGE_PAGES_MAX ? 1 : INVALIDATIONS_MAX + 1;
	}
	return sum;
}

bool arch_tlb_broadcast(void)
{
	return true;
}

/* The IS forms reach every CPU; the barrier waits until all have done it. */
void arch_tlb_flush(const struct loam_tlb_range *ranges, size_t nranges)
{
	__asm__ volatile("dsb ishst" : : : "memory");
	if (nranges == 0 || invalidations(ranges, nranges) > INVALIDATIONS_MAX) {
		__asm__ volatile("tlbi vmalle1is" : : : "memory");
		nranges = 0;
	}
	for (size_t i = 0; i < nranges; i++) {
		if (has_ranges)
			flush_by_range(&ranges[i]);
		else
			flush_by_page(&ranges[i]);
	}
	__asm__ volatile("dsb ish\n\tisb" : : : "memory");
}
