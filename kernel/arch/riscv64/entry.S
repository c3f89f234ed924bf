/* kernel/arch/riscv64/entry.S: from the SBI's entry (S-mode, paging off, a0 the CPU's id, a1 the device tree) to kernel_main in the
 * higher half.
 */
#include "layout.h"

#define LEAF 0xef			/* valid, readable, writable, executable, global, accessed, dirty */
#define TABLE 1

	.section .text.entry, "ax"
	.globl arch_entry
arch_entry:
	csrw sie, zero
	csrci sstatus, 2
	mv s0, a0
	mv s1, a1

	lla t0, kernel_bss_start
	lla t1, kernel_bss_end
1:	sd zero, 0(t0)
	addi t0, t0, 8
	bltu t0, t1, 1b

	/* One table of four 1 GiB leaves, and the same at the image's place in another. */
	lla t0, riscv_boot_low
	lla t1, riscv_boot_high
	li t2, 508 * 8
	add t2, t1, t2
	li t3, LEAF
	li t4, 0x10000000		/* a GiB, as entries count it: shifted by 12 and back by 10 */
	li t5, 4
2:	sd t3, 0(t0)
	sd t3, 0(t2)
	add t3, t3, t4
	addi t0, t0, 8
	addi t2, t2, 8
	addi t5, t5, -1
	bnez t5, 2b

	lla t0, riscv_boot_low
	srli t0, t0, 2
	ori t0, t0, TABLE
	srli t1, t1, 2
	ori t1, t1, TABLE
	lla t2, riscv_boot_root
	sd t0, 0(t2)
	li t3, 256 * 8
	add t3, t3, t2
	sd t0, 0(t3)			/* ARCH_DIRECT_MAP */
	li t3, 416 * 8
	add t3, t3, t2
	sd t0, 0(t3)			/* ARCH_DEVICE_MAP */
	li t3, 511 * 8
	add t3, t3, t2
	sd t1, 0(t3)			/* ARCH_IMAGE_BASE */

	call riscv_mmu_on
	lla t0, high
	ld t0, 0(t0)
	jr t0
3:	lla sp, riscv_boot_stack_end
	mv a0, s0
	mv a1, s1
	mv s0, zero			/* where backtraces end */
	mv ra, zero
	call riscv_boot
	ebreak
	.balign 8
high:	.dword 3b

	/* The boot tables in force. Clobbers t0, t1. */
	.globl riscv_mmu_on
riscv_mmu_on:
	lla t0, riscv_boot_root
	srli t0, t0, 12
	li t1, RISCV_SATP_SV48
	slli t1, t1, 60
	or t0, t0, t1
	sfence.vma
	csrw satp, t0
	sfence.vma
	ret

	.section .bss
	.balign 4096
	.globl riscv_boot_root
riscv_boot_root: .skip 4096
riscv_boot_low:	.skip 4096
riscv_boot_high: .skip 4096
riscv_boot_stack: .skip ARCH_BOOT_STACK_NBYTES
riscv_boot_stack_end:

	.section .note.GNU-stack, "", %progbits
