# From PVH's 32-bit entry to kernel_main(start_info) in long mode, the first GiB mapped one to one, SSE never turned on.
	.section .note.pvh, "a", @note
	.long 4, 4, 18
	.ascii "Xen\0"
	.long start

	.section .bss
	.balign 4096
pml4:	.skip 4096
pdpt:	.skip 4096
pd:	.skip 4096
	.skip 16384
stack:

	.section .rodata
gdt:	.quad 0, 0x00af9a000000ffff
gdtr:	.word gdtr - gdt - 1
	.long gdt

	.text
	.code32
	.globl start
start:
	cli
	movl $pdpt + 3, pml4
	movl $pd + 3, pdpt
	movl $0x83, %eax		# present, writable, 2 MiB
	xorl %ecx, %ecx
1:	movl %eax, pd(,%ecx,8)
	addl $0x200000, %eax
	incl %ecx
	cmpl $512, %ecx
	jne 1b
	movl $pml4, %eax
	movl %eax, %cr3
	movl $0xa0, %eax		# PAE, PGE
	movl %eax, %cr4
	movl $0xc0000080, %ecx
	rdmsr
	orl $0x900, %eax		# EFER: long mode, no-execute
	wrmsr
	movl $0x80010001, %eax		# paging, write protect, protection
	movl %eax, %cr0
	lgdt gdtr
	ljmp $8, $long_mode

	.code64
long_mode:
	xorl %eax, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $stack, %esp
	movl %ebx, %edi
	call kernel_main
2:	hlt
	jmp 2b
	.section .note.GNU-stack, "", @progbits
