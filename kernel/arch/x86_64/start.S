/* kernel/arch/x86_64/start.S: the first instructions of every CPU but the first.
 *
 * The start-up IPI names a page of the first MiB; the CPU begins there in real mode. smp.c copies what stands between x86_start and
 * x86_start_end to X86_START_PAGE, so all addresses here are counted from there. It then borrows the boot tables, which still map
 * the first 4 GiB at 0, until it stands in the higher half and can take Loam's.
 */
#include "layout.h"

#define MOVED(symbol) ((symbol) - x86_start + X86_START_PAGE)

	.section .rodata.start, "a"
	.align 16
	.globl x86_start, x86_start_end
	.code16
x86_start:
	cli
	cld
	xorw %ax, %ax
	movw %ax, %ds
	lgdtl MOVED(gdt_pointer)
	movl %cr0, %eax
	orl $1, %eax
	movl %eax, %cr0
	ljmpl $0x18, $MOVED(1f)

	.code32
1:	movw $0x10, %ax
	movw %ax, %ds
	movl %cr4, %eax
	orl $0x20, %eax			/* PAE */
	movl %eax, %cr4
	movl $(x86_boot_root - ARCH_IMAGE_BASE), %eax
	movl %eax, %cr3
	movl $0xc0000080, %ecx		/* EFER: long mode, no-execute */
	rdmsr
	orl $0x900, %eax
	wrmsr
	movl %cr0, %eax
	orl $0x80010001, %eax		/* paging, write protect, protected mode */
	movl %eax, %cr0
	ljmpl $0x08, $MOVED(2f)

	.code64
2:	movabsq $x86_secondary_entry, %rax
	jmpq *%rax

	.align 8
gdt:	.quad 0
	.quad 0x00af9b000000ffff	/* 0x08: 64-bit code */
	.quad 0x00cf93000000ffff	/* 0x10: data */
	.quad 0x00cf9b000000ffff	/* 0x18: 32-bit code */
gdt_pointer:
	.word gdt_pointer - gdt - 1
	.long MOVED(gdt)
x86_start_end:

	.text
	.code64
x86_secondary_entry:
	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	movq x86_secondary_root(%rip), %rax
	movq %rax, %cr3			/* from here on the stack exists: it is vmalloc memory */
	movq x86_secondary_stack(%rip), %rsp
	movq x86_secondary_cpu(%rip), %rdi
	xorl %ebp, %ebp
	call x86_secondary
	ud2

	.section .note.GNU-stack, "", @progbits
