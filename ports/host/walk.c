/* ports/host/walk.c: see walk.h. Chapter numbers are those of the Intel SDM volume 3A, the Arm ARM (DDI 0487), and the RISC-V privileged specification. */
#include "walk.h"

#include <stddef.h>

static bool bit(uint64_t word, unsigned int n)
{
	return (word >> n & 1) != 0;
}

/* Bits high..low of @word, where they are. */
static uint64_t field(uint64_t word, unsigned int high, unsigned int low)
{
	return high < low ? 0 : word & (~UINT64_C(0) >> (63 - high)) & (~UINT64_C(0) << low);
}

/* ---- x86-64: SDM 4.5 ------------------------------------------------------------------------------------------------- */

/* PAT entry, SDM 12.12.2. MTRRs say write-back, so the PAT type is the memory's. */
static enum host_memory x86_memory(uint64_t pat, unsigned int index)
{
	switch (pat >> (8 * index) & 7) {
	case 0:
		return HOST_DEVICE; /* UC: nothing overrides it */
	case 1:
		return HOST_WRITE_COMBINING;
	case 4:
		return HOST_WRITE_THROUGH;
	case 7:
		return HOST_UNCACHED; /* UC- */
	default:
		return HOST_WRITE_BACK;
	}
}

static const char *walk_x86(const struct host_mmu *mmu, uint64_t root, uint64_t va, host_read_entry read, void *context,
			    struct host_translation *out)
{
	unsigned int top_bit = mmu->levels == 5 ? 56 : 47;
	bool write = true, user = true, execute_disable = false, accessed = true;
	uint64_t table = root;

	if (field(va, 63, top_bit) != 0 && field(va, 63, top_bit) != field(~UINT64_C(0), 63, top_bit))
		return "not canonical";
	for (unsigned int level = mmu->levels; level >= 1; level--) { /* 5 PML5E, 4 PML4E, 3 PDPTE, 2 PDE, 1 PTE */
		unsigned int shift = 12 + 9 * (level - 1);
		uint64_t entry = read(context, table + 8 * (va >> shift & 511));

		if (!bit(entry, 0))
			return "not present";
		if (field(entry, 51, mmu->pa_bits) != 0)
			return "reserved bit: physical address too wide";
		write = write && bit(entry, 1);
		user = user && bit(entry, 2);
		execute_disable = execute_disable || bit(entry, 63);
		accessed = accessed && bit(entry, 5);
		if (level >= 4 && bit(entry, 7))
			return "reserved bit: PS in a PML4E or PML5E";
		if (level > 1 && !bit(entry, 7)) {
			table = field(entry, mmu->pa_bits - 1, 12);
			continue;
		}
		/* A leaf. In large ones bit 12 is PAT and those between it and the page are reserved. */
		if (level > 1 && field(entry, shift - 1, 13) != 0)
			return "reserved bit: large page not aligned";
		*out = (struct host_translation){
			.pa = field(entry, mmu->pa_bits - 1, shift) | field(va, shift - 1, 0),
			.shift = shift,
			.read = true,
			.write = write,                       /* CR0.WP = 1 */
			.execute = !execute_disable && !user, /* CR4.SMEP = 1 */
			.user_read = user,
			.user_write = user && write,
			.user_execute = user && !execute_disable,
			.global = bit(entry, 8),
			.memory =
				x86_memory(mmu->types, (unsigned int)bit(entry, 3) | (unsigned int)bit(entry, 4) << 1 |
							       (unsigned int)bit(entry, level == 1 ? 7 : 12) << 2),
			.needs_update = !accessed || (write && !bit(entry, 6)),
		};
		return NULL;
	}
	return "unreachable";
}

/* ---- AArch64: D8.2 to D8.5, 4 KiB granule, 48 bit, stage 1, EL1&0 -------------------------------------------------------- */

/* MAIR_EL1 attribute, D19.2.97 */
static enum host_memory arm_memory(uint64_t mair, unsigned int index)
{
	unsigned int attr = (unsigned int)(mair >> (8 * index) & 0xff);

	if ((attr & 0xf0) == 0)
		return HOST_DEVICE;
	if (attr == 0x44)
		return HOST_WRITE_COMBINING; /* normal, non-cacheable: uncached and gathering alike */
	if (attr == 0xff)
		return HOST_WRITE_BACK;
	return HOST_WRITE_THROUGH;
}

static const char *walk_arm(const struct host_mmu *mmu, uint64_t root, uint64_t va, host_read_entry read, void *context,
			    struct host_translation *out)
{
	bool no_user = false, no_write = false, pxn_table = false, uxn_table = false;
	uint64_t table = root;

	if (field(va, 63, 48) != (mmu->upper_half ? field(~UINT64_C(0), 63, 48) : 0))
		return "not in this TTBR's half";
	for (unsigned int level = 0; level <= 3; level++) {
		unsigned int shift = 39 - 9 * level;
		uint64_t entry = read(context, table + 8 * (va >> shift & 511));

		if (!bit(entry, 0))
			return "translation fault";
		if (level < 3 && bit(entry, 1)) { /* table descriptor, D8.3.1: bits 63:59 restrict what is below */
			if (field(entry, 47, mmu->pa_bits) != 0)
				return "address size fault";
			no_user = no_user || bit(entry, 61);
			no_write = no_write || bit(entry, 62);
			uxn_table = uxn_table || bit(entry, 60);
			pxn_table = pxn_table || bit(entry, 59);
			table = field(entry, 47, 12);
			continue;
		}
		if (level == 3 && !bit(entry, 1))
			return "translation fault: reserved descriptor";
		if (level == 0)
			return "translation fault: block at level 0";
		if (field(entry, 50, 48) != 0 || (level < 3 && field(entry, shift - 1, 17) != 0) ||
		    (level < 3 && field(entry, 15, 12) != 0))
			return "reserved bit in a descriptor";
		if (field(entry, 47, mmu->pa_bits) != 0)
			return "address size fault";
		if (bit(entry, 52))
			return "contiguous bit, which nobody sets";

		/* D8.4: AP[2:1] */
		bool user = bit(entry, 6) && !no_user;
		bool write = !bit(entry, 7) && !no_write;
		unsigned int shareable = (unsigned int)(entry >> 8 & 3);
		enum host_memory memory = arm_memory(mmu->types, (unsigned int)(entry >> 2 & 7));

		if (memory != HOST_DEVICE && shareable != 3)
			return "normal memory that is not inner shareable";
		*out = (struct host_translation){
			.pa = field(entry, 47, shift) | field(va, shift - 1, 0),
			.shift = shift,
			.read = true,
			.write = write,
			/* What users may write the kernel never executes. */
			.execute = !bit(entry, 53) && !pxn_table && !(user && write),
			.user_read = user,
			.user_write = user && write,
			.user_execute = !bit(entry, 54) && !uxn_table, /* EL0 may execute what it may not read */
			.global = !bit(entry, 11),
			.memory = memory,
			.needs_update = !bit(entry, 10),
		};
		return NULL;
	}
	return "unreachable";
}

/* ---- RISC-V: 12.3.2, and 12.4, 12.5 ------------------------------------------------------------------------------------ */

static const char *walk_riscv(const struct host_mmu *mmu, uint64_t root, uint64_t va, host_read_entry read,
			      void *context, struct host_translation *out)
{
	unsigned int va_bits = 12 + 9 * mmu->levels;
	bool global = false;
	uint64_t a = root;

	if (field(va, 63, va_bits - 1) != 0 && field(va, 63, va_bits - 1) != field(~UINT64_C(0), 63, va_bits - 1))
		return "page fault: address not sign-extended";
	for (int i = (int)mmu->levels - 1; i >= 0; i--) {
		unsigned int shift = 12 + 9 * (unsigned int)i;
		uint64_t pte = read(context, a + 8 * (va >> shift & 511));
		bool r = bit(pte, 1), w = bit(pte, 2), x = bit(pte, 3);
		uint64_t pbmt = pte >> 61 & 3;

		if (!bit(pte, 0))
			return "page fault: V clear";
		if (!r && w)
			return "page fault: writable and not readable";
		if (bit(pte, 63))
			return "page fault: N without Svnapot";
		if (field(pte, 60, 54) != 0)
			return "page fault: reserved bit";
		if ((pbmt != 0 && !mmu->svpbmt) || pbmt == 3)
			return "page fault: PBMT";
		global = global || bit(pte, 5);
		if (!r && !x) { /* a pointer to the next level: D, A, U and PBMT must be clear */
			if (bit(pte, 7) || bit(pte, 6) || bit(pte, 4) || pbmt != 0)
				return "page fault: D, A, U or PBMT in a non-leaf entry";
			a = field(pte, 53, 10) << 2;
			continue;
		}
		if (i > 0 && field(pte, 10 + 9 * (unsigned int)i - 1, 10) != 0)
			return "page fault: misaligned superpage";

		bool user = bit(pte, 4);

		*out = (struct host_translation){
			.pa = field(field(pte, 53, 10) << 2, 55, shift) | field(va, shift - 1, 0),
			.shift = shift,
			.read = r, /* SUM = 1 */
			.write = w,
			.execute = x && !user,
			.user_read = user && r,
			.user_write = user && w,
			.user_execute = user && x,
			.global = global,
			.memory = pbmt == 1   ? HOST_WRITE_COMBINING
				  : pbmt == 2 ? HOST_DEVICE
					      : HOST_WRITE_BACK,
			.needs_update = !bit(pte, 6) || (w && !bit(pte, 7)),
		};
		return NULL;
	}
	return "page fault: no leaf";
}

const char *host_walk(const struct host_mmu *mmu, uint64_t root, uint64_t va, host_read_entry read, void *context,
		      struct host_translation *out)
{
	switch (mmu->kind) {
	case HOST_MMU_X86_64:
		return walk_x86(mmu, root, va, read, context, out);
	case HOST_MMU_AARCH64:
		return walk_arm(mmu, root, va, read, context, out);
	case HOST_MMU_RISCV:
		return walk_riscv(mmu, root, va, read, context, out);
	}
	return "no such MMU";
}
