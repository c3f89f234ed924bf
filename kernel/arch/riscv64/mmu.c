/* kernel/arch/riscv64/mmu.c: Sv48. */
#include "../arch.h"
#include "regs.h"

/* More invalidations than this cost more than filling the TLB again. */
#define INVALIDATIONS_MAX 64

const struct loam_paging_format *arch_mmu_format(void)
{
	return &loam_paging_riscv_sv48;
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
	RISCV_WRITE("satp", (uint64_t)RISCV_SATP_SV48 << 60 | root >> LOAM_PAGE_SHIFT);
	__asm__ volatile("sfence.vma" : : : "memory");
}

void arch_tlb_flush(const struct loam_tlb_range *ranges, size_t nranges)
{
	size_t invalidations = 0;

	for (size_t i = 0; i < nranges && invalidations <= INVALIDATIONS_MAX; i++)
		invalidations += ranges[i].npages;
	if (nranges == 0 || invalidations > INVALIDATIONS_MAX) {
		__asm__ volatile("sfence.vma" : : : "memory");
		return;
	}
	for (size_t i = 0; i < nranges; i++) {
		uintptr_t end = ranges[i].start + ranges[i].npages * LOAM_PAGE_SIZE;

		for (uintptr_t at = ranges[i].start; at < end; at += 1UL << ranges[i].stride_shift)
			__asm__ volatile("sfence.vma %0, zero" : : "r"(at) : "memory");
	}
}
