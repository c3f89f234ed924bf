/* kernel/arch/x86_64/layout.h: the address space. Read by C and by the assembler.
 *
 *   0x0000000000000000  nothing, once Loam's tables are in force
 *   0xffff800000000000  the direct map: all RAM, writable, never executable
 *   0xffffc00000000000  Loam's arena (vmalloc)
 *   0xffffd00000000000  what the console needs before there is an arena: the VGA's text
 *   0xffffffff80000000  the kernel's image, at this plus its physical address
 */
#ifndef KERNEL_X86_64_LAYOUT_H
#define KERNEL_X86_64_LAYOUT_H

#ifdef __ASSEMBLER__
#define ARCH_ADDRESS(value) value
#else
#define ARCH_ADDRESS(value) value##UL
#endif

#define ARCH_DIRECT_MAP ARCH_ADDRESS(0xffff800000000000)
#define ARCH_DIRECT_MAP_NBYTES ARCH_ADDRESS(0x400000000000)
#define ARCH_ARENA ARCH_ADDRESS(0xffffc00000000000)
#define ARCH_DEVICE_MAP ARCH_ADDRESS(0xffffd00000000000)
#define ARCH_IMAGE_BASE ARCH_ADDRESS(0xffffffff80000000)

/* What entry.S maps at 0, at ARCH_DIRECT_MAP, ARCH_DEVICE_MAP, and (its first GiB) at ARCH_IMAGE_BASE, until Loam's tables take over. */
#define ARCH_BOOT_MAP_NBYTES ARCH_ADDRESS(0x100000000)

/* A CPU wakes up in real mode, at a page of the first MiB: cpu_start_page, below this. */
#define ARCH_START_LIMIT ARCH_ADDRESS(0x100000)

/* In entry.S's descriptor table, which start.S borrows. */
#define X86_BOOT_SEGMENTS 4

#define ARCH_BOOT_STACK_NBYTES 16384

#endif
