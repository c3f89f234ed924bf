/* ports/host/walk.h: what an MMU finds at an address: the table walks of x86-64, AArch64 and RISC-V, from the manuals.
 *
 * Written from the architectures' definitions and not from src/paging, which it judges: it knows nothing of loam_paging_format and shares no constant with it.
 * It is strict where hardware is: a reserved bit that is set, a misaligned large page or a level that may hold no leaf is a fault and named as such. The software
 * MMU of the host machine walks with it, and the tests of src/paging compare with it.
 */
#ifndef LOAM_HOST_WALK_H
#define LOAM_HOST_WALK_H

#include <stdbool.h>
#include <stdint.h>

enum host_mmu_kind { HOST_MMU_X86_64, HOST_MMU_AARCH64, HOST_MMU_RISCV };

/* The registers that decide how tables are read. */
struct host_mmu {
	enum host_mmu_kind kind;
	unsigned int levels;  /* x86-64: 4, 5; AArch64: 4; RISC-V: 3, 4, 5 */
	unsigned int pa_bits; /* MAXPHYADDR, PARange, 56 */
	bool upper_half;      /* AArch64: the tables are TTBR1's */
	bool svpbmt;          /* RISC-V */
	uint64_t types;       /* IA32_PAT, MAIR_EL1 */
};

enum host_memory { HOST_WRITE_BACK, HOST_WRITE_COMBINING, HOST_UNCACHED, HOST_DEVICE, HOST_WRITE_THROUGH };

struct host_translation {
	uint64_t pa;
	unsigned int shift; /* of the leaf */
	/* for the kernel, for users */
	bool read, write, execute;
	bool user_read, user_write, user_execute;
	bool global;
	enum host_memory memory;
	bool needs_update; /* hardware would set accessed or dirty, or fault for it */
};

/* Where the walker reads table entries: the 64-bit word at a physical address, with acquire order. */
typedef uint64_t (*host_read_entry)(void *context, uint64_t address);

/* Walk from @root. Return: NULL when *@out holds a translation, else why not, e.g. "not present". */
const char *host_walk(const struct host_mmu *mmu, uint64_t root, uint64_t va, host_read_entry read, void *context,
		      struct host_translation *out);

#endif
