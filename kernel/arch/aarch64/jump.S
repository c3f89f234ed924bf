/* kernel/arch/aarch64/jump.S: leaving one's place, and reading what may not be there. */
	.text

	.globl arch_setjmp
arch_setjmp:
	mov x2, sp
	stp x19, x20, [x0]
	stp x21, x22, [x0, #16]
	stp x23, x24, [x0, #32]
	stp x25, x26, [x0, #48]
	stp x27, x28, [x0, #64]
	stp x29, x30, [x0, #80]
	str x2, [x0, #96]
	mov w0, #0
	ret

	.globl arch_longjmp
arch_longjmp:
	ldp x19, x20, [x0]
	ldp x21, x22, [x0, #16]
	ldp x23, x24, [x0, #32]
	ldp x25, x26, [x0, #48]
	ldp x27, x28, [x0, #64]
	ldp x29, x30, [x0, #80]
	ldr x2, [x0, #96]
	mov sp, x2
	mov w0, #1
	ret

	/* (function, arg, top) */
	.globl arch_call_on_stack
arch_call_on_stack:
	stp x29, x30, [sp, #-16]!
	mov x29, sp
	and x2, x2, #-16
	mov sp, x2
	mov x3, x0
	mov x0, x1
	blr x3
	mov sp, x29
	ldp x29, x30, [sp], #16
	ret

	/* (address, *value): a fault at the marked instruction continues at the marked place (trap.c). */
	.globl arch_peek, arm_peek_load, arm_peek_failed
arch_peek:
arm_peek_load:
	ldr x2, [x0]
	str x2, [x1]
	mov w0, #1
	ret
arm_peek_failed:
	mov w0, #0
	ret

	.section .note.GNU-stack, "", %progbits
