/* kernel/arch/aarch64/vectors.S: trap entry and exit, one frame layout (regs.h).
 *
 * A trap is taken on the stack it interrupts. That stack may be used up, which is often why there is a trap at all: so before the first push the MMU is
 * asked whether the frame could be written (AT), and where not the CPU's trap stack is taken instead. x0 and x1 wait meanwhile in the two thread
 * registers of a user mode that does not exist. The frame pointer chain runs through the trap, so a backtrace shows what was interrupted.
 */
#include "layout.h"

#define FRAME 304

	.macro vector number
	.balign 128
	msr tpidr_el0, x0
	msr tpidrro_el0, x1
	mov x1, #\number
	b trap
	.endm

	.text
	.balign 2048
	.globl arm_vectors
arm_vectors:
	.irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vector \number
	.endr

	.balign 128
trap:
	sub x0, sp, #(FRAME + 16)
	at s1e1w, x0
	isb
	mrs x0, par_el1
	tbnz x0, #0, .Loverflow
	mov x0, sp
	sub sp, sp, #FRAME
.Lsave:
	stp x2, x3, [sp, #16]
	stp x4, x5, [sp, #32]
	stp x6, x7, [sp, #48]
	stp x8, x9, [sp, #64]
	stp x10, x11, [sp, #80]
	stp x12, x13, [sp, #96]
	stp x14, x15, [sp, #112]
	stp x16, x17, [sp, #128]
	stp x18, x19, [sp, #144]
	stp x20, x21, [sp, #160]
	stp x22, x23, [sp, #176]
	stp x24, x25, [sp, #192]
	stp x26, x27, [sp, #208]
	stp x28, x29, [sp, #224]
	stp x30, x0, [sp, #240]
	mrs x2, elr_el1
	mrs x3, spsr_el1
	stp x2, x3, [sp, #256]
	mrs x3, esr_el1
	mrs x4, far_el1
	stp x3, x4, [sp, #272]
	str x1, [sp, #288]
	mrs x3, tpidr_el0
	mrs x4, tpidrro_el0
	stp x3, x4, [sp]
	mov x0, sp
	/* Two words as a call would have left them: the interrupted frame pointer and place. */
	stp x29, x2, [sp, #-16]!
	mov x29, sp
	bl arm_trap
	.globl arch_trap_return
arch_trap_return:
	add sp, sp, #16

	ldp x2, x3, [sp, #256]
	msr elr_el1, x2
	msr spsr_el1, x3
	ldp x2, x3, [sp, #16]
	ldp x4, x5, [sp, #32]
	ldp x6, x7, [sp, #48]
	ldp x8, x9, [sp, #64]
	ldp x10, x11, [sp, #80]
	ldp x12, x13, [sp, #96]
	ldp x14, x15, [sp, #112]
	ldp x16, x17, [sp, #128]
	ldp x18, x19, [sp, #144]
	ldp x20, x21, [sp, #160]
	ldp x22, x23, [sp, #176]
	ldp x24, x25, [sp, #192]
	ldp x26, x27, [sp, #208]
	ldp x28, x29, [sp, #224]
	ldp x30, x1, [sp, #240]
	mov x0, sp
	mov sp, x1
	ldp x0, x1, [x0]
	eret

	/* The stack pointers change places in x0: the sum less the one is the other. */
.Loverflow:
	orr x1, x1, #0x100
	mrs x0, tpidr_el1
	ldr x0, [x0, #ARM_CPU_TRAP_STACK]
	sub x0, x0, #FRAME
	add sp, sp, x0
	sub x0, sp, x0
	sub sp, sp, x0
	b .Lsave

	.section .note.GNU-stack, "", %progbits
