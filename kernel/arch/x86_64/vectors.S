/* kernel/arch/x86_64/vectors.S: trap entry and exit. 256 stubs of 16 bytes, one common path, one frame layout (regs.h).
 *
 * There is no user mode, so no GS to swap and no stack to change: the CPU pushes onto the stack it interrupts, or onto the one its
 * interrupt stack table names. The frame pointer chain runs through the trap, so a backtrace shows what was interrupted.
 */
	.text
	.globl x86_vectors
	.align 16
x86_vectors:
	.set vector, 0
	.rept 256
	.align 16
	.if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
	.else
	pushq $0			/* these push no error code */
	.endif
	pushq $vector
	jmp trap
	.set vector, vector + 1
	.endr

	.align 16
trap:
	cld
	pushq %rax
	pushq %rbx
	pushq %rcx
	pushq %rdx
	pushq %rsi
	pushq %rdi
	pushq %rbp
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, %rdi
	/* A frame of two words, as a call would have made it: the interrupted place, and its frame pointer. */
	pushq 17 * 8(%rdi)
	pushq %rbp
	movq %rsp, %rbp
	movq %rdi, %rbx
	andq $-16, %rsp
	call x86_trap
	.globl arch_trap_return
arch_trap_return:
	movq %rbx, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rbp
	popq %rdi
	popq %rsi
	popq %rdx
	popq %rcx
	popq %rbx
	popq %rax
	addq $16, %rsp
	iretq

	.section .note.GNU-stack, "", @progbits
