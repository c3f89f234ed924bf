/* kernel/arch/x86_64/entry.S: from the PVH entry point (32 bits, no paging) to kernel_main in the higher half.
 *
 * PVH in short: an ELF note names a physical address; there the CPU arrives in flat protected mode with paging off, interrupts
 * off and the physical address of struct hvm_start_info in EBX. Nothing else is promised, not even a stack.
 */
#include "layout.h"

#define PHYSICAL(symbol) ((symbol) - ARCH_IMAGE_BASE)

	.section .note.pvh, "a", @note
	.align 4
	.long 4		/* bytes of the name */
	.long 4		/* bytes of the value */
	.long 18	/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long PHYSICAL(arch_entry)

	.section .text.entry, "ax"
	.code32
	.globl arch_entry
arch_entry:
	cli
	cld
	movl %ebx, %esi			/* the start info, until C takes it */

	/* .bss is ours to clear: a loader that restarts us need not have done it. */
	movl $PHYSICAL(kernel_bss_start), %edi
	movl $PHYSICAL(kernel_bss_end), %ecx
	subl %edi, %ecx
	shrl $2, %ecx
	xorl %eax, %eax
	rep stosl

	/* Four tables of 512 leaves of 2 MiB: the first 4 GiB. */
	movl $PHYSICAL(x86_boot_leaves), %edi
	movl $0x83, %eax		/* present, writable, large */
	xorl %edx, %edx
	movl $2048, %ecx
1:	movl %eax, (%edi)
	movl %edx, 4(%edi)
	addl $0x200000, %eax
	addl $8, %edi
	loop 1b

	movl $PHYSICAL(x86_boot_low), %edi
	movl $(PHYSICAL(x86_boot_leaves) + 3), %eax
	movl $4, %ecx
2:	movl %eax, (%edi)
	addl $0x1000, %eax
	addl $8, %edi
	loop 2b

	/* The image: the first GiB once more, in the last but one slot of the last slot. */
	movl $(PHYSICAL(x86_boot_leaves) + 3), PHYSICAL(x86_boot_high) + 510 * 8
	movl $(PHYSICAL(x86_boot_low) + 3), PHYSICAL(x86_boot_root)
	movl $(PHYSICAL(x86_boot_low) + 3), PHYSICAL(x86_boot_root) + 256 * 8
	movl $(PHYSICAL(x86_boot_high) + 3), PHYSICAL(x86_boot_root) + 511 * 8

	movl $PHYSICAL(x86_boot_root), %eax
	movl %eax, %cr3
	movl %cr4, %eax
	orl $0x20, %eax			/* PAE */
	movl %eax, %cr4
	movl $0xc0000080, %ecx		/* EFER: long mode, no-execute */
	rdmsr
	orl $0x900, %eax
	wrmsr
	movl %cr0, %eax
	orl $0x80010001, %eax		/* paging, write protect, protected mode */
	movl %eax, %cr0
	/* Long mode now, in its 32-bit guise until a 64-bit code segment is loaded. */
	lgdt PHYSICAL(x86_boot_gdt_pointer)
	ljmp $0x08, $PHYSICAL(3f)

	.code64
3:	movabsq $4f, %rax
	jmpq *%rax
4:	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	leaq x86_boot_stack_end(%rip), %rsp
	xorl %ebp, %ebp			/* where backtraces end */
	movl %esi, %edi
	call x86_boot
	ud2

	.section .rodata, "a"
	.align 8
	.globl x86_boot_gdt
x86_boot_gdt:
	.quad 0
	.quad 0x00af9b000000ffff	/* 64-bit code */
	.quad 0x00cf93000000ffff	/* data */
	.globl x86_boot_gdt_end
x86_boot_gdt_end:
x86_boot_gdt_pointer:
	.word x86_boot_gdt_end - x86_boot_gdt - 1
	.long PHYSICAL(x86_boot_gdt)

	.section .bss
	.align 4096
	.globl x86_boot_root
x86_boot_root:	.skip 4096
x86_boot_low:	.skip 4096
x86_boot_high:	.skip 4096
x86_boot_leaves: .skip 4 * 4096
	.globl x86_boot_stack, x86_boot_stack_end
x86_boot_stack:	.skip ARCH_BOOT_STACK_NBYTES
x86_boot_stack_end:

	.section .note.GNU-stack, "", @progbits
