/* kernel/arch/riscv64/layout.h: the address space. Read by C and by the assembler.
 *
 *                        Sv48, Sv57          Sv39, where the upper half is 256 GiB
 *   the direct map       0xffff800000000000  0xffffffc000000000  all RAM, writable, never executable
 *   Loam's arena         0xffffc00000000000  0xffffffe000000000  vmalloc
 *   device registers     0xffffd00000000000  0xfffffff000000000  that are needed before there is an arena
 *   the kernel's image   0xffffffff00000000  the same            at this plus its physical address
 *
 * The kernel starts in Sv39, which every CPU with an MMU has, and goes on in the widest mode it finds (mmu.c).
 */
#ifndef KERNEL_RISCV64_LAYOUT_H
#define KERNEL_RISCV64_LAYOUT_H

#ifdef __ASSEMBLER__
#define ARCH_ADDRESS(value) value
#else
#define ARCH_ADDRESS(value) value##UL
#endif

#define ARCH_IMAGE_BASE ARCH_ADDRESS(0xffffffff00000000)

#ifndef __ASSEMBLER__
#include <stdbool.h>
#include <stdint.h>

/* What the mode decides. */
struct riscv_layout {
	unsigned int mode; /* as in SATP */
	uintptr_t direct_map;
	uint64_t direct_map_nbytes;
	uintptr_t arena;
	uintptr_t device_map;
};
extern struct riscv_layout riscv_layout;

#define ARCH_DIRECT_MAP riscv_layout.direct_map
#define ARCH_DIRECT_MAP_NBYTES riscv_layout.direct_map_nbytes
#define ARCH_ARENA riscv_layout.arena
#define ARCH_DEVICE_MAP riscv_layout.device_map
#endif

/* What entry.S maps at 0, at ARCH_DIRECT_MAP, ARCH_DEVICE_MAP and ARCH_IMAGE_BASE, until Loam's tables take over. */
#define ARCH_BOOT_MAP_NBYTES ARCH_ADDRESS(0x100000000)

/* A CPU starts wherever it is told to. */
#define ARCH_START_LIMIT 0

#define ARCH_BOOT_STACK_NBYTES 16384

/* Modes in SATP. */
#define RISCV_SV39 8
#define RISCV_SV48 9
#define RISCV_SV57 10

/* Where vectors.S finds and keeps things: offsets in struct cpu, asserted by cpu.c. */
#define RISCV_CPU_TRAP_STACK 16
#define RISCV_CPU_T0 24
#define RISCV_CPU_T1 32
#define RISCV_CPU_EPC 40
#define RISCV_CPU_CAUSE 48
#define RISCV_CPU_TVAL 56
#define RISCV_CPU_STATUS 64
#define RISCV_CPU_ENTERING 72

#endif
