/* kernel/arch/x86_64/jump.S: leaving one's place, and reading what may not be there. */
	.text

	.globl arch_setjmp
arch_setjmp:
	movq %rbx, 0(%rdi)
	movq %rbp, 8(%rdi)
	movq %r12, 16(%rdi)
	movq %r13, 24(%rdi)
	movq %r14, 32(%rdi)
	movq %r15, 40(%rdi)
	leaq 8(%rsp), %rax		/* as it is after the return */
	movq %rax, 48(%rdi)
	movq (%rsp), %rax
	movq %rax, 56(%rdi)
	xorl %eax, %eax
	ret

	.globl arch_longjmp
arch_longjmp:
	movl $1, %eax
	movq 0(%rdi), %rbx
	movq 8(%rdi), %rbp
	movq 16(%rdi), %r12
	movq 24(%rdi), %r13
	movq 32(%rdi), %r14
	movq 40(%rdi), %r15
	movq 48(%rdi), %rsp
	jmpq *56(%rdi)

	/* (function, arg, top) */
	.globl arch_call_on_stack
arch_call_on_stack:
	pushq %rbp
	movq %rsp, %rbp
	movq %rdx, %rsp
	andq $-16, %rsp
	movq %rdi, %rax
	movq %rsi, %rdi
	call *%rax
	movq %rbp, %rsp
	popq %rbp
	ret

	/* (address, *value): a fault at the marked instruction continues at the marked place (trap.c). */
	.globl arch_peek, x86_peek_load, x86_peek_failed
arch_peek:
x86_peek_load:
	movq (%rdi), %rax
	movq %rax, (%rsi)
	movl $1, %eax
	ret
x86_peek_failed:
	xorl %eax, %eax
	ret

	.section .note.GNU-stack, "", @progbits
