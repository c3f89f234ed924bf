/* kernel/arch/aarch64/start.S: the first instructions of every CPU but the first: PSCI starts it here with the MMU off. */
#include "layout.h"

	.section .text.entry, "ax"
	.globl arm_start
arm_start:
	msr daifset, #0xf
	bl arm_to_el1
	bl arm_mmu_on
	ldr x0, =1f
	br x0
1:	ldr x0, =arm_secondary_root
	ldr x0, [x0]
	msr ttbr1_el1, x0		/* from here on the stack exists: it is vmalloc memory */
	isb
	tlbi vmalle1
	dsb nsh
	isb
	ldr x0, =arm_secondary_stack
	ldr x0, [x0]
	mov sp, x0
	ldr x0, =arm_secondary_cpu
	ldr x0, [x0]
	mov x29, xzr
	mov x30, xzr
	bl arm_secondary
	brk #0
	.ltorg

	.section .note.GNU-stack, "", %progbits
