/* kernel/arch/riscv64/vectors.S: trap entry and exit, one frame layout (regs.h).
 *
 * A trap is taken on the stack it interrupts. That stack may be used up, which is often why there is a trap at all, and there is no instruction that
 * asks. So what the trap was is put away in struct cpu (TP), a flag is raised, and the frame's ends are written; should that fault, the second trap finds
 * the flag up and takes the CPU's trap stack for the first one.
 */
#include "layout.h"

#define FRAME 288
#define STATUS 256
#define CAUSE 264
#define TVAL 272
#define OVERFLOW 280

	.macro each action
	\action x3, 24(sp)
	\action x4, 32(sp)
	\action x7, 56(sp)
	\action x8, 64(sp)
	\action x9, 72(sp)
	\action x10, 80(sp)
	\action x11, 88(sp)
	\action x12, 96(sp)
	\action x13, 104(sp)
	\action x14, 112(sp)
	\action x15, 120(sp)
	\action x16, 128(sp)
	\action x17, 136(sp)
	\action x18, 144(sp)
	\action x19, 152(sp)
	\action x20, 160(sp)
	\action x21, 168(sp)
	\action x22, 176(sp)
	\action x23, 184(sp)
	\action x24, 192(sp)
	\action x25, 200(sp)
	\action x26, 208(sp)
	\action x27, 216(sp)
	\action x28, 224(sp)
	\action x29, 232(sp)
	\action x30, 240(sp)
	\action x31, 248(sp)
	.endm

	.text
	.balign 4
	.globl riscv_vectors
riscv_vectors:
	csrw sscratch, t0
	lw t0, RISCV_CPU_ENTERING(tp)
	bnez t0, .Loverflow
	sd t1, RISCV_CPU_T1(tp)
	csrr t1, sscratch
	sd t1, RISCV_CPU_T0(tp)
	csrr t1, sepc
	sd t1, RISCV_CPU_EPC(tp)
	csrr t1, scause
	sd t1, RISCV_CPU_CAUSE(tp)
	csrr t1, stval
	sd t1, RISCV_CPU_TVAL(tp)
	csrr t1, sstatus
	sd t1, RISCV_CPU_STATUS(tp)
	li t1, 1
	sw t1, RISCV_CPU_ENTERING(tp)
	sd zero, -(FRAME + 16)(sp)
	sd zero, -8(sp)
	mv t1, sp
	addi sp, sp, -FRAME
	sd zero, OVERFLOW(sp)
.Lsave:
	sw zero, RISCV_CPU_ENTERING(tp)
	sd ra, 8(sp)
	sd t1, 16(sp)			/* sp */
	each sd
	ld t0, RISCV_CPU_T0(tp)
	sd t0, 40(sp)
	ld t0, RISCV_CPU_T1(tp)
	sd t0, 48(sp)
	ld t0, RISCV_CPU_CAUSE(tp)
	sd t0, CAUSE(sp)
	ld t0, RISCV_CPU_TVAL(tp)
	sd t0, TVAL(sp)
	ld t0, RISCV_CPU_STATUS(tp)
	sd t0, STATUS(sp)
	ld t0, RISCV_CPU_EPC(tp)
	sd t0, 0(sp)
	mv a0, sp
	/* Two words as a call would have left them: the interrupted frame pointer and place. */
	addi sp, sp, -16
	sd s0, 0(sp)
	sd t0, 8(sp)
	addi s0, sp, 16
	call riscv_trap
	.globl arch_trap_return
arch_trap_return:
	addi sp, sp, 16

	ld t0, STATUS(sp)
	csrw sstatus, t0
	ld t0, 0(sp)
	csrw sepc, t0
	ld ra, 8(sp)
	each ld
	ld t0, 40(sp)
	ld t1, 48(sp)
	ld sp, 16(sp)
	sret

.Loverflow:
	mv t1, sp
	ld sp, RISCV_CPU_TRAP_STACK(tp)
	addi sp, sp, -FRAME
	sd t0, OVERFLOW(sp)		/* 1 */
	j .Lsave

	.section .note.GNU-stack, "", %progbits
