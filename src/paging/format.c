/* paging/format.c: the page-table formats, each from its manual.
 *
 * 1 x86-64 (Intel SDM 3A 4.5, AMD APM 2 5.3): P 0, R/W 1, U/S 2, PWT 3, PCD 4, A 5, D 6, PS 7 (large), G 8, address 51:12, NX 63. Permissions of all
 *   levels are combined, so tables permit everything but user access, which they permit when something below is for users. Cache types through
 *   PWT and PCD alone: the PAT bit sits in a different place in large leaves, and four types need no third bit.
 * 2 AArch64 (Arm ARM D8.3): valid 0, table/page 1, AttrIndx 4:2, AP[1] 6 (user), AP[2] 7 (read only), SH 9:8, AF 10, nG 11, address 47:12, PXN 53,
 *   UXN 54. A leaf that users may execute is never executable for the kernel, and the reverse. Normal memory is inner shareable.
 * 3 RISC-V (privileged spec 12.3.1, 12.4): V 0, R 1, W 2, X 3, U 4, G 5, A 6, D 7, RSW 9:8, ppn 53:10, PBMT 62:61 with Svpbmt. R, W and X clear: a
 *   table; A, D and U must be clear in those. RSW remembers the cache type, which PBMT cannot tell apart or does not exist for.
 * 4 Accessed and dirty are set beforehand (format.h, 2). Dirty only where writable: AArch64 without it has none, and RISC-V faults without it.
 */
#include "format.h"

enum { W = 1, X = 2, U = 4, G = 8 }; /* bits of a prot index */
#define BIT(n) (UINT64_C(1) << (n))
#define PROTS(f)                                                                                                       \
	{                                                                                                              \
		f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), f(13), f(14), f(15)   \
	}
#define WHEN(condition, bits) ((condition) ? (bits) : UINT64_C(0))

_Static_assert(LOAM_PROT_WRITE >> 1 == W && LOAM_PROT_EXEC >> 1 == X && LOAM_PROT_USER >> 1 == U &&
		       LOAM_PROT_GLOBAL >> 1 == G,
	       "loami_prot_index() relies on the order of LOAM_PROT_...");

/* ---- x86-64 ---- */

enum {
	X86_WRITE = 1,
	X86_USER = 2,
	X86_PWT = 3,
	X86_PCD = 4,
	X86_ACCESSED = 5,
	X86_DIRTY = 6,
	X86_LARGE = 7,
	X86_GLOBAL = 8,
	X86_NX = 63
};

#define X86_PROT(i)                                                                                                    \
	(WHEN((i)&W, BIT(X86_WRITE) | BIT(X86_DIRTY)) | WHEN(!((i)&X), BIT(X86_NX)) | WHEN((i)&U, BIT(X86_USER)) |     \
	 WHEN((i)&G, BIT(X86_GLOBAL)))

#define X86_64(format_name, format_levels)                                                                             \
	{                                                                                                              \
		.name = (format_name), .levels = (format_levels), .va_bits = LOAM_PAGE_SHIFT + 9 * (format_levels),    \
		.half = LOAMI_HALF_BOTH, .pa_bits = 52, .address_shift = 0,                                            \
		.address_mask = UINT64_C(0x000ffffffffff000),                                                          \
		.table_bits = BIT(0) | BIT(X86_WRITE) | BIT(X86_ACCESSED), .table_user = BIT(X86_USER),                \
		.table_mask = BIT(0) | BIT(X86_LARGE), .table_value = BIT(0),                                          \
		.leaf_bits = {BIT(0) | BIT(X86_ACCESSED), BIT(0) | BIT(X86_ACCESSED) | BIT(X86_LARGE),                 \
			      BIT(0) | BIT(X86_ACCESSED) | BIT(X86_LARGE)},                                            \
		.prot_mask = BIT(X86_WRITE) | BIT(X86_DIRTY) | BIT(X86_USER) | BIT(X86_GLOBAL) | BIT(X86_NX),          \
		.prot_decode = BIT(X86_WRITE) | BIT(X86_USER) | BIT(X86_GLOBAL) | BIT(X86_NX),                         \
		.prot_global = BIT(X86_GLOBAL), .prot = PROTS(X86_PROT), .cache_mask = BIT(X86_PWT) | BIT(X86_PCD),    \
		.cache = {0, BIT(X86_PWT), BIT(X86_PCD), BIT(X86_PWT) | BIT(X86_PCD)}, .break_before_make = false,     \
	}

const struct loam_paging_format loam_paging_x86_64_4level = X86_64("x86-64 4-level", 4);
const struct loam_paging_format loam_paging_x86_64_5level = X86_64("x86-64 5-level", 5);

/* ---- AArch64 ---- */

enum { ARM_PAGE = 1, ARM_USER = 6, ARM_READ_ONLY = 7, ARM_AF = 10, ARM_NOT_GLOBAL = 11, ARM_PXN = 53, ARM_UXN = 54 };
#define ARM_ATTR(index) ((uint64_t)(index) << 2)
#define ARM_INNER_SHAREABLE (UINT64_C(3) << 8)

#define ARM_PROT(i)                                                                                                    \
	(WHEN(!((i)&W), BIT(ARM_READ_ONLY)) | WHEN((i)&U, BIT(ARM_USER)) | WHEN(!((i)&G), BIT(ARM_NOT_GLOBAL)) |       \
	 WHEN(((i) & (X | U)) != X, BIT(ARM_PXN)) | WHEN(((i) & (X | U)) != (X | U), BIT(ARM_UXN)))
#define ARM_PROT_MASK (BIT(ARM_READ_ONLY) | BIT(ARM_USER) | BIT(ARM_NOT_GLOBAL) | BIT(ARM_PXN) | BIT(ARM_UXN))

#define AARCH64(format_name, format_half)                                                                              \
	{                                                                                                              \
		.name = (format_name), .levels = 4, .va_bits = 48, .half = (format_half), .pa_bits = 48,               \
		.address_shift = 0, .address_mask = UINT64_C(0x0000fffffffff000),                                      \
		.table_bits = BIT(0) | BIT(ARM_PAGE), .table_user = 0, .table_mask = BIT(0) | BIT(ARM_PAGE),           \
		.table_value = BIT(0) | BIT(ARM_PAGE),                                                                 \
		.leaf_bits = {BIT(0) | BIT(ARM_PAGE) | BIT(ARM_AF), BIT(0) | BIT(ARM_AF), BIT(0) | BIT(ARM_AF)},       \
		.prot_mask = ARM_PROT_MASK, .prot_decode = ARM_PROT_MASK, .prot_global = BIT(ARM_NOT_GLOBAL),          \
		.prot = PROTS(ARM_PROT), .cache_mask = ARM_ATTR(7) | ARM_INNER_SHAREABLE,                              \
		.cache = {ARM_ATTR(0) | ARM_INNER_SHAREABLE, ARM_ATTR(1) | ARM_INNER_SHAREABLE,                        \
			  ARM_ATTR(2) | ARM_INNER_SHAREABLE, ARM_ATTR(3)},                                             \
		.break_before_make = true,                                                                             \
	}

const struct loam_paging_format loam_paging_aarch64_48 = AARCH64("AArch64 48-bit, upper half", LOAMI_HALF_HIGH);
const struct loam_paging_format loam_paging_aarch64_48_low = AARCH64("AArch64 48-bit, lower half", LOAMI_HALF_LOW);

/* ---- RISC-V ---- */

enum { RV_READ = 1, RV_WRITE = 2, RV_EXEC = 3, RV_USER = 4, RV_GLOBAL = 5, RV_ACCESSED = 6, RV_DIRTY = 7 };
#define RV_RSW(n) ((uint64_t)(n) << 8)
#define RV_PBMT(n) ((uint64_t)(n) << 61)
enum { RV_PBMT_NONE = 0, RV_PBMT_NC = 1, RV_PBMT_IO = 2, RV_PBMT_ALL = 3 };

#define RV_PROT(i)                                                                                                     \
	(WHEN((i)&W, BIT(RV_WRITE) | BIT(RV_DIRTY)) | WHEN((i)&X, BIT(RV_EXEC)) | WHEN((i)&U, BIT(RV_USER)) |          \
	 WHEN((i)&G, BIT(RV_GLOBAL)))
#define RV_LEAF (BIT(0) | BIT(RV_READ) | BIT(RV_ACCESSED))

/* @pbmt: 1 with Svpbmt, 0 without */
#define RISCV(format_name, format_levels, pbmt)                                                                        \
	{                                                                                                              \
		.name = (format_name), .levels = (format_levels), .va_bits = LOAM_PAGE_SHIFT + 9 * (format_levels),    \
		.half = LOAMI_HALF_BOTH, .pa_bits = 56, .address_shift = 2,                                            \
		.address_mask = UINT64_C(0x003ffffffffffc00), .table_bits = BIT(0), .table_user = 0,                   \
		.table_mask = BIT(0) | BIT(RV_READ) | BIT(RV_WRITE) | BIT(RV_EXEC), .table_value = BIT(0),             \
		.leaf_bits = {RV_LEAF, RV_LEAF, RV_LEAF},                                                              \
		.prot_mask = BIT(RV_WRITE) | BIT(RV_EXEC) | BIT(RV_USER) | BIT(RV_GLOBAL) | BIT(RV_DIRTY),             \
		.prot_decode = BIT(RV_WRITE) | BIT(RV_EXEC) | BIT(RV_USER) | BIT(RV_GLOBAL),                           \
		.prot_global = BIT(RV_GLOBAL), .prot = PROTS(RV_PROT),                                                 \
		.cache_mask = RV_RSW(3) | RV_PBMT((pbmt)*RV_PBMT_ALL),                                                 \
		.cache = {RV_RSW(0) | RV_PBMT((pbmt)*RV_PBMT_NONE), RV_RSW(1) | RV_PBMT((pbmt)*RV_PBMT_NC),            \
			  RV_RSW(2) | RV_PBMT((pbmt)*RV_PBMT_NC), RV_RSW(3) | RV_PBMT((pbmt)*RV_PBMT_IO)},             \
		.break_before_make = false,                                                                            \
	}

const struct loam_paging_format loam_paging_riscv_sv39 = RISCV("RISC-V Sv39", 3, 0);
const struct loam_paging_format loam_paging_riscv_sv48 = RISCV("RISC-V Sv48", 4, 0);
const struct loam_paging_format loam_paging_riscv_sv57 = RISCV("RISC-V Sv57", 5, 0);
const struct loam_paging_format loam_paging_riscv_sv39_svpbmt = RISCV("RISC-V Sv39, Svpbmt", 3, 1);
const struct loam_paging_format loam_paging_riscv_sv48_svpbmt = RISCV("RISC-V Sv48, Svpbmt", 4, 1);
const struct loam_paging_format loam_paging_riscv_sv57_svpbmt = RISCV("RISC-V Sv57, Svpbmt", 5, 1);

/* ---- what anybody may ask of a format ---- */

const char *loam_paging_format_name(const struct loam_paging_format *format)
{
	return format->name;
}

bool loam_paging_is_canonical(const struct loam_paging_format *format, uintptr_t address)
{
	return loami_is_translatable(format, address, address);
}
