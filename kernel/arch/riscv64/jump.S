/* kernel/arch/riscv64/jump.S: leaving one's place, and reading what may not be there. */
	.macro each action
	\action ra, 0(a0)
	\action sp, 8(a0)
	\action s0, 16(a0)
	\action s1, 24(a0)
	\action s2, 32(a0)
	\action s3, 40(a0)
	\action s4, 48(a0)
	\action s5, 56(a0)
	\action s6, 64(a0)
	\action s7, 72(a0)
	\action s8, 80(a0)
	\action s9, 88(a0)
	\action s10, 96(a0)
	\action s11, 104(a0)
	.endm

	.text

	.globl arch_setjmp
arch_setjmp:
	each sd
	li a0, 0
	ret

	.globl arch_longjmp
arch_longjmp:
	each ld
	li a0, 1
	ret

	/* (function, arg, top) */
	.globl arch_call_on_stack
arch_call_on_stack:
	addi sp, sp, -16
	sd ra, 8(sp)
	sd s0, 0(sp)
	addi s0, sp, 16
	andi sp, a2, -16
	mv t0, a0
	mv a0, a1
	jalr t0
	addi sp, s0, -16
	ld s0, 0(sp)
	ld ra, 8(sp)
	addi sp, sp, 16
	ret

	/* (address, *value): a fault at the marked instruction continues at the marked place (trap.c). */
	.globl arch_peek, riscv_peek_load, riscv_peek_failed
	.balign 4
arch_peek:
riscv_peek_load:
	ld a2, 0(a0)
	sd a2, 0(a1)
	li a0, 1
	ret
riscv_peek_failed:
	li a0, 0
	ret

	.section .note.GNU-stack, "", %progbits
