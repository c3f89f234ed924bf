/* kernel/arch/aarch64/layout.h: the address space. Read by C and by the assembler.
 *
 *   0xffff800000000000  the direct map: all RAM, writable, never executable
 *   0xffffc00000000000  Loam's arena (vmalloc)
 *   0xffffd00000000000  device registers the console needs before there is an arena
 *   0xffffffff00000000  the kernel's image, at this plus its physical address
 *
 * All of it is the upper half, under TTBR1; the lower half, under TTBR0, is the boot tables' and goes with them.
 */
#ifndef KERNEL_AARCH64_LAYOUT_H
#define KERNEL_AARCH64_LAYOUT_H

#ifdef __ASSEMBLER__
#define ARCH_ADDRESS(value) value
#else
#define ARCH_ADDRESS(value) value##UL
#endif

#define ARCH_DIRECT_MAP ARCH_ADDRESS(0xffff800000000000)
#define ARCH_DIRECT_MAP_NBYTES ARCH_ADDRESS(0x400000000000)
#define ARCH_ARENA ARCH_ADDRESS(0xffffc00000000000)
#define ARCH_DEVICE_MAP ARCH_ADDRESS(0xffffd00000000000)
#define ARCH_IMAGE_BASE ARCH_ADDRESS(0xffffffff00000000)

/* What entry.S maps at 0, at ARCH_DIRECT_MAP, ARCH_DEVICE_MAP and ARCH_IMAGE_BASE, until Loam's tables take over. */
#define ARCH_BOOT_MAP_NBYTES ARCH_ADDRESS(0x100000000)

/* A CPU starts wherever it is told to. */
#define ARCH_START_LIMIT 0

#define ARCH_BOOT_STACK_NBYTES 16384

/* QEMU's board `virt` has RAM from here on, and for an ELF puts the device tree there. */
#define ARM_RAM_START ARCH_ADDRESS(0x40000000)
#define ARM_LOAD_OFFSET ARCH_ADDRESS(0x200000)

/* Where vectors.S finds the stack for an overflow: struct cpu, arch.trap_stack[0]; cpu.c asserts it. */
#define ARM_CPU_TRAP_STACK 16

#endif
