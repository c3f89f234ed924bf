/* kernel/arch/x86_64/mmu.c: four levels of tables, leaves of 4 KiB, 2 MiB and, where the CPU has them, 1 GiB. */
#include "../arch.h"
#include "regs.h"

/* More invalidations than this cost more than filling the TLB again. */
#define INVALIDATIONS_MAX 64

const struct loam_paging_format *arch_mmu_format(void)
{
	return &loam_paging_x86_64_4level;
}

unsigned int arch_mmu_largest_leaf(void)
{
	return (x86_cpuid(0x80000001).edx & 1U << 26) != 0 ? 30 : 21;
}

/* What the ISA bus can reach, what 32-bit devices can, and the rest. */
unsigned int arch_zones(struct loam_zone_config zones[])
{
	zones[0] = (struct loam_zone_config){"dma", (loam_paddr)16 << 20};
	zones[1] = (struct loam_zone_config){"dma32", (loam_paddr)4 << 30};
	zones[2] = (struct loam_zone_config){"normal", 0};
	return 3;
}

void arch_mmu_load(loam_paddr root)
{
	x86_wrmsr(X86_MSR_EFER, x86_rdmsr(X86_MSR_EFER) | X86_EFER_NXE);
	x86_wrmsr(X86_MSR_PAT, LOAM_X86_64_PAT);
	x86_write_cr3(root);
	x86_write_cr4(x86_read_cr4() | X86_CR4_PGE);
	arch_tlb_flush(NULL, 0);
}

/* INVLPG acts on the CPU it runs on. */
bool arch_tlb_broadcast(void)
{
	return false;
}

/* Turning global pages off forgets everything, global entries too. */
static void flush_all(void)
{
	unsigned long flags = arch_irq_save();
	uint64_t cr4 = x86_read_cr4();

	x86_write_cr4(cr4 & ~X86_CR4_PGE);
	x86_write_cr4(cr4);
	arch_irq_restore(flags);
}

void arch_tlb_flush(const struct loam_tlb_range *ranges, size_t nranges)
{
	size_t invalidations = 0;

	for (size_t i = 0; i < nranges && invalidations <= INVALIDATIONS_MAX; i++)
		invalidations += 1 + ((ranges[i].npages - 1) >> (ranges[i].stride_shift - LOAM_PAGE_SHIFT));
	if (nranges == 0 || invalidations > INVALIDATIONS_MAX) {
		flush_all();
		return;
	}
	for (size_t i = 0; i < nranges; i++) {
		uintptr_t end = ranges[i].start + ranges[i].npages * LOAM_PAGE_SIZE;

		for (uintptr_t at = ranges[i].start; at < end; at += 1UL << ranges[i].stride_shift)
			x86_invlpg(at);
	}
}
