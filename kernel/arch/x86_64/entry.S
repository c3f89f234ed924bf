/* kernel/arch/x86_64/entry.S: from the loader's entry (32 bits, no paging) to kernel_main in the higher half.
 *
 * Two loaders come the same way: in flat protected mode, paging and interrupts off, a physical address in EBX. Nothing else is promised, not
 * even a stack. PVH finds the entry by an ELF note, and EBX points to struct hvm_start_info. Multiboot2 (GRUB) finds it by a header in the first
 * 32 KiB of the file, says so by a magic number in EAX, and EBX points to its information.
 */
#include "layout.h"

#define MULTIBOOT2_MAGIC 0xe85250d6
#define MULTIBOOT2_I386 0

#define PHYSICAL(symbol) ((symbol) - ARCH_IMAGE_BASE)

	.section .note.pvh, "a", @note
	.align 4
	.long 4		/* bytes of the name */
	.long 4		/* bytes of the value */
	.long 18	/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long PHYSICAL(arch_entry)

	.section .multiboot2, "a"
	.balign 8
header:
	.long MULTIBOOT2_MAGIC
	.long MULTIBOOT2_I386
	.long header_end - header
	.long -(MULTIBOOT2_MAGIC + MULTIBOOT2_I386 + (header_end - header))
	/* Told to the loader: the entry in 32 bits, text mode is understood and so are pixels, modules lie on page boundaries. */
	.short 3, 0
	.long 12, PHYSICAL(arch_entry), 0
	.short 4, 0
	.long 12, 2, 0
	.short 5, 1
	.long 20, 1024, 768, 32, 0
	.short 6, 0
	.long 8
	.short 0, 0
	.long 8
header_end:

	.section .text.entry, "ax"
	.code32
	.globl arch_entry
arch_entry:
	cli
	cld
	movl %eax, %ebp			/* the magic number and */
	movl %ebx, %esi			/* the information, until C takes them */

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
	movl $(PHYSICAL(x86_boot_low) + 3), PHYSICAL(x86_boot_root) + 416 * 8
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
	movl %ebp, %edi
	xorl %ebp, %ebp			/* where backtraces end */
	call x86_boot
	ud2

	.section .rodata, "a"
	.align 8
	.globl x86_boot_gdt
x86_boot_gdt:
	.quad 0
	.quad 0x00af9b000000ffff	/* 64-bit code */
	.quad 0x00cf93000000ffff	/* data */
	.quad 0x00cf9b000000ffff	/* 32-bit code: start.S */
x86_boot_gdt_pointer:
	.word 8 * X86_BOOT_SEGMENTS - 1
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
