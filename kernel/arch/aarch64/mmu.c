/* kernel/arch/aarch64/mmu.c: 4 KiB granule, 48 bits, the kernel's half under TTBR1. */
#include "../arch.h"
#include "regs.h"

/* More invalidations than this cost more than filling the TLB again. */
#define INVALIDATIONS_MAX 64

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
	ARM_WRITE("ttbr1_el1", root);
	ARM_WRITE("tcr_el1", ARM_READ("tcr_el1") | TCR_NO_LOWER_HALF);
	arm_isb();
	arch_tlb_flush(NULL, 0);
}

/* The IS forms reach every CPU; the barrier waits until all have done it. */
void arch_tlb_flush(const struct loam_tlb_range *ranges, size_t nranges)
{
	size_t invalidations = 0;

	for (size_t i = 0; i < nranges && invalidations <= INVALIDATIONS_MAX; i++)
		invalidations += 1 + ((ranges[i].npages - 1) >> (ranges[i].stride_shift - LOAM_PAGE_SHIFT));
	__asm__ volatile("dsb ishst" : : : "memory");
	if (nranges == 0 || invalidations > INVALIDATIONS_MAX) {
		__asm__ volatile("tlbi vmalle1is" : : : "memory");
		nranges = 0;
	}
	for (size_t i = 0; i < nranges; i++) {
		uintptr_t end = ranges[i].start + ranges[i].npages * LOAM_PAGE_SIZE;

		for (uintptr_t at = ranges[i].start; at < end; at += 1UL << ranges[i].stride_shift)
			__asm__ volatile("tlbi vaae1is, %0"
					 :
					 : "r"(at >> LOAM_PAGE_SHIFT & 0xfffffffffffUL)
					 : "memory");
	}
	__asm__ volatile("dsb ish\n\tisb" : : : "memory");
}

void arch_pte_sync(void)
{
	__asm__ volatile("dsb ishst\n\tisb" : : : "memory");
}
