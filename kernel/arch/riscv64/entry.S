/* kernel/arch/riscv64/entry.S: from the SBI's entry (S-mode, paging off, a0 the CPU's id, a1 the device tree) to kernel_main in the
 * higher half.
 *
 * All CPUs come here, and the first one boots (docs/why/091-riscv-one-entry.md).
 */
#include "layout.h"

#define LEAF 0xef			/* valid, readable, writable, executable, global, accessed, dirty */

	.section .text.entry, "ax"
	.globl arch_entry
arch_entry:
	csrw sie, zero
	csrci sstatus, 2
	lla t0, riscv_entered
	li t1, 1
	amoswap.w.aqrl t1, t1, (t0)
	beqz t1, 1f
	j riscv_start
1:	mv s0, a0
	mv s1, a1

	lla t0, kernel_bss_start
	lla t1, kernel_bss_end
1:	sd zero, 0(t0)
	addi t0, t0, 8
	bltu t0, t1, 1b

	/* The root of Sv39 has leaves of 1 GiB: four of them, at 0 and at the three places of layout.h. */
	lla t0, riscv_boot_root
	li t1, 256 * 8
	add t1, t0, t1			/* the direct map */
	li t2, 448 * 8
	add t2, t0, t2			/* device registers */
	li t3, 508 * 8
	add t3, t0, t3			/* the image */
	li t4, LEAF
	li t5, 0x10000000		/* a GiB, as entries count it: shifted by 12 and back by 10 */
	li t6, 4
2:	sd t4, 0(t0)
	sd t4, 0(t1)
	sd t4, 0(t2)
	sd t4, 0(t3)
	add t4, t4, t5
	addi t0, t0, 8
	addi t1, t1, 8
	addi t2, t2, 8
	addi t3, t3, 8
	addi t6, t6, -1
	bnez t6, 2b

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
	li t1, RISCV_SV39
	slli t1, t1, 60
	or t0, t0, t1
	sfence.vma
	csrw satp, t0
	sfence.vma
	ret

	.section .data
	.balign 4
riscv_entered: .word 0			/* not in .bss, which is cleared after it was set */

	.section .bss
	.balign 4096
	.globl riscv_boot_root
riscv_boot_root: .skip 4096
riscv_boot_stack: .skip ARCH_BOOT_STACK_NBYTES
riscv_boot_stack_end:

	.section .note.GNU-stack, "", %progbits
