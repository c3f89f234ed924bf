/* kernel/arch/x86_64/start.S: the first instructions of every CPU but the first.
 *
 * The start-up IPI names a page of the first MiB; the CPU begins there in real mode, with CS at the page. smp.c copies what stands between x86_start and
 * x86_start_end to that page, wherever it is: nothing there knows its own address but by CS, and the way on leads into the image, where it was loaded. The CPU
 * then borrows the boot tables, which still map the first 4 GiB at 0, until it stands in the higher half and can take Loam's.
 */
#include "layout.h"

#define PHYSICAL(symbol) ((symbol) - ARCH_IMAGE_BASE)

	.section .rodata.start, "a"
	.align 16
	.globl x86_start, x86_start_end
	.code16
x86_start:
	cli
	cld
	movw %cs, %ax
	movw %ax, %ds
	lgdtl gdt_pointer - x86_start
	movl %cr0, %eax
	orl $1, %eax
	movl %eax, %cr0
	ljmpl $0x18, $PHYSICAL(x86_start_protected)
gdt_pointer:
	.word 8 * X86_BOOT_SEGMENTS - 1
	.long PHYSICAL(x86_boot_gdt)
x86_start_end:

	.text
	.code32
x86_start_protected:
	movw $0x10, %ax
	movw %ax, %ds
	movl %cr4, %eax
	orl $0x20, %eax			/* PAE */
	movl %eax, %cr4
	movl $PHYSICAL(x86_boot_root), %eax
	movl %eax, %cr3
	movl $0xc0000080, %ecx		/* EFER: long mode, no-execute */
	rdmsr
	orl $0x900, %eax
	wrmsr
	movl %cr0, %eax
	orl $0x80010001, %eax		/* paging, write protect, protected mode */
	movl %eax, %cr0
	ljmpl $0x08, $PHYSICAL(2f)

	.code64
2:	movabsq $x86_secondary_entry, %rax
	jmpq *%rax

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
