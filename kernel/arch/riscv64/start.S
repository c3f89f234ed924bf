/* kernel/arch/riscv64/start.S: every CPU but the first, from entry.S, with paging still off. */
#include "layout.h"

	.section .text.entry, "ax"
	.globl riscv_start
riscv_start:
	csrw sie, zero
	csrci sstatus, 2
	lla t0, riscv_secondary_cpu
	ld t0, 0(t0)
	beqz t0, nobody
	call riscv_mmu_on
	lla t0, high
	ld t0, 0(t0)
	jr t0
1:	lla t0, riscv_secondary_satp
	ld t0, 0(t0)
	csrw satp, t0			/* from here on the stack exists: it is vmalloc memory */
	sfence.vma
	lla t0, riscv_secondary_stack
	ld sp, 0(t0)
	lla t0, riscv_secondary_cpu
	ld a0, 0(t0)
	mv s0, zero
	mv ra, zero
	call riscv_secondary
	ebreak
	/* Nobody asked for this CPU: a firmware without HSM starts them all. */
nobody:	wfi
	j nobody
	.balign 8
high:	.dword 1b

	.section .note.GNU-stack, "", %progbits
