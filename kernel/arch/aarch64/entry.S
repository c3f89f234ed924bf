/* kernel/arch/aarch64/entry.S: from QEMU's or a loader's entry (EL1 or EL2, MMU off) to kernel_main in the higher half.
 *
 * As an ELF the kernel is entered at arch_entry. As a flat image it begins with the 64 bytes by which loaders know a kernel for this architecture
 * (Linux, Documentation/arm64/booting), and has the device tree's address in x0.
 */
#include "layout.h"

#define IMAGE_PAGES_4K (1 << 1)

#define MAIR 0x044444ff			/* LOAM_AARCH64_MAIR */
#define BLOCK_NORMAL 0x701		/* block, accessed, inner shareable, write-back */
#define BLOCK_DEVICE 0x40d		/* block, accessed, device */

	/* \reg: physical address of \symbol, wherever the MMU is. */
	.macro physical reg, symbol
	adrp \reg, \symbol
	add \reg, \reg, :lo12:\symbol
	.endm

	.section .text.head, "ax"
	b arch_entry
	.long 0
	.quad ARM_LOAD_OFFSET		/* from a 2 MiB boundary, the first in RAM */
	.quad kernel_image_nbytes
	.quad IMAGE_PAGES_4K
	.quad 0, 0, 0
	.ascii "ARM\x64"
	.long 0

	.section .text.entry, "ax"
	.globl arch_entry
arch_entry:
	msr daifset, #0xf
	mov x20, x0			/* the device tree, where the loader follows Linux's protocol */
	bl arm_to_el1

	physical x0, kernel_bss_start
	physical x1, kernel_bss_end
1:	stp xzr, xzr, [x0], #16
	cmp x0, x1
	b.lo 1b

	/* One table of four 1 GiB blocks, the first of devices; and the same at the image's place in another. */
	physical x0, arm_boot_low
	physical x1, arm_boot_high
	ldr x2, =BLOCK_DEVICE
	str x2, [x0]
	str x2, [x1, #508 * 8]
	ldr x2, =0x40000000 + BLOCK_NORMAL
	str x2, [x0, #8]
	str x2, [x1, #509 * 8]
	ldr x2, =0x80000000 + BLOCK_NORMAL
	str x2, [x0, #16]
	str x2, [x1, #510 * 8]
	ldr x2, =0xc0000000 + BLOCK_NORMAL
	str x2, [x0, #24]
	str x2, [x1, #511 * 8]
	physical x2, arm_boot_root
	orr x0, x0, #3
	orr x1, x1, #3
	str x0, [x2]			/* identity, under TTBR0 */
	str x0, [x2, #256 * 8]		/* ARCH_DIRECT_MAP */
	str x0, [x2, #416 * 8]		/* ARCH_DEVICE_MAP */
	str x1, [x2, #511 * 8]		/* ARCH_IMAGE_BASE */

	bl arm_mmu_on
	ldr x0, =2f
	br x0
2:	ldr x0, =arm_boot_stack_end
	mov sp, x0
	mov x29, xzr			/* where backtraces end */
	mov x30, xzr
	mov x0, x20
	bl arm_boot
	brk #0

	/* Where there is an EL2 it is left for good, for EL1 below it, with nothing trapped. Clobbers x0, x1. */
	.globl arm_to_el1
arm_to_el1:
	mrs x0, currentel
	cmp x0, #(2 << 2)
	b.ne 2f
	mov x0, #(1 << 31)		/* EL1 runs AArch64 */
	msr hcr_el2, x0
	mov x0, #0x33ff			/* nothing trapped, reserved ones kept */
	msr cptr_el2, x0
	msr hstr_el2, xzr
	mrs x0, cnthctl_el2
	orr x0, x0, #3			/* the counter and the timer are EL1's */
	msr cnthctl_el2, x0
	msr cntvoff_el2, xzr
	mrs x0, midr_el1
	msr vpidr_el2, x0
	mrs x0, mpidr_el1
	msr vmpidr_el2, x0
	mrs x0, id_aa64pfr0_el1
	ubfx x0, x0, #24, #4
	cbz x0, 1f
	mrs x0, s3_4_c12_c9_5		/* ICC_SRE_EL2: EL1 may use the GIC's registers */
	mov x1, #9
	orr x0, x0, x1
	msr s3_4_c12_c9_5, x0
	isb
1:	ldr x0, =0x30d00800		/* SCTLR_EL1: what must be one, MMU off */
	msr sctlr_el1, x0
	mov x0, #0x3c5			/* EL1 on its own stack pointer, all masked */
	msr spsr_el2, x0
	msr elr_el2, x30
	eret
2:	ret

	/* The boot tables in force for both halves. Clobbers x0, x1. Called where it is and where it is mapped one to one. */
	.globl arm_mmu_on
arm_mmu_on:
	physical x0, arm_boot_root
	msr ttbr0_el1, x0
	msr ttbr1_el1, x0
	ldr x0, =MAIR
	msr mair_el1, x0
	/* 48 bits each half, 4 KiB granule, tables write-back and inner shareable; as much physical address as the CPU has, up to 48 bits. */
	ldr x0, =0x00000000b5103510
	mrs x1, id_aa64mmfr0_el1
	and x1, x1, #0xf
	cmp x1, #5
	b.ls 1f
	mov x1, #5
1:	orr x0, x0, x1, lsl #32
	msr tcr_el1, x0
	isb
	tlbi vmalle1
	dsb nsh
	isb
	mrs x0, sctlr_el1
	mov x1, #0x1005			/* instruction cache, data cache, MMU */
	orr x0, x0, x1
	bic x0, x0, #0x2		/* no alignment checks */
	bic x0, x0, #0x80000		/* writable does not mean never executable: not in the boot tables */
	msr sctlr_el1, x0
	isb
	ret
	.ltorg

	.section .bss
	.align 12
	.globl arm_boot_root
arm_boot_root:	.skip 4096
arm_boot_low:	.skip 4096
arm_boot_high:	.skip 4096
arm_boot_stack:	.skip ARCH_BOOT_STACK_NBYTES
arm_boot_stack_end:

	.section .note.GNU-stack, "", %progbits
