/* kernel/arch/riscv64/layout.h: the address space under Sv48. Read by C and by the assembler.
 *
 *   0xffff800000000000  the direct map: all RAM, writable, never executable
 *   0xffffc00000000000  Loam's arena (vmalloc)
 *   0xffffd00000000000  device registers that are needed before there is an arena
 *   0xffffffff00000000  the kernel's image, at this plus its physical address
 */
#ifndef KERNEL_RISCV64_LAYOUT_H
#define KERNEL_RISCV64_LAYOUT_H

#ifdef __ASSEMBLER__
#define ARCH_ADDRESS(value) value
#else
#define ARCH_ADDRESS(value) value##UL
#endif

#define ARCH_DIRECT_MAP ARCH_ADDRESS(0xffff800000000000)
#define ARCH_DEVICE_MAP ARCH_ADDRESS(0xffffd00000000000)
#define ARCH_IMAGE_BASE ARCH_ADDRESS(0xffffffff00000000)

/* What entry.S maps at 0, at ARCH_DIRECT_MAP, ARCH_DEVICE_MAP and ARCH_IMAGE_BASE, until Loam's tables take over. */
#define ARCH_BOOT_MAP_NBYTES ARCH_ADDRESS(0x100000000)

#define ARCH_BOOT_STACK_NBYTES 16384

/* SATP: Sv48. */
#define RISCV_SATP_SV48 9

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
