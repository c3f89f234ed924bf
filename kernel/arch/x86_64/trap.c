/* kernel/arch/x86_64/trap.c: what each vector means. */
#include "../../common/cpu.h"
#include "../../common/console.h"
#include "../../common/kernel.h"
#include "apic.h"

#define ERROR_WRITE 0x02U
#define ERROR_FETCH 0x10U

extern const char x86_peek_load[];
extern const char x86_peek_failed[];

void x86_trap(struct arch_frame *frame);

static const char *const names[32] = {
	"divide error",
	"debug trap",
	"non-maskable interrupt",
	"breakpoint",
	"overflow",
	"bound exceeded",
	"undefined instruction",
	"no coprocessor",
	"double fault",
	"coprocessor overrun",
	"invalid task state",
	"segment not present",
	"stack segment fault",
	"general protection fault",
	"page fault",
	"reserved trap",
	"floating-point error",
	"misaligned access",
	"machine check",
	"vector floating-point error",
	"virtualisation fault",
	"control protection fault",
};

static void fault(struct arch_frame *frame)
{
	struct arch_fault fault = {.name = frame->vector < 32 ? names[frame->vector] : NULL};

	if (fault.name == NULL)
		fault.name = "unexpected interrupt";
	if (frame->vector == X86_VECTOR_PAGE_FAULT || frame->vector == X86_VECTOR_DOUBLE_FAULT) {
		/* A double fault is most often a page fault whose frame could not be pushed: CR2 says where. */
		fault.is_access = true;
		fault.is_stack = frame->vector == X86_VECTOR_DOUBLE_FAULT;
		fault.address = x86_read_cr2();
		fault.what = frame->error & ERROR_FETCH   ? "execution of"
			     : frame->error & ERROR_WRITE ? "write to"
							  : "read of";
		if (fault.is_stack)
			fault.what = "push to";
	}
	kernel_fault(frame, &fault);
}

static void interrupt(const struct arch_frame *frame)
{
	kernel_interrupt_begin();
	x86_apic_write(X86_APIC_END, 0);
	switch (frame->vector) {
	case X86_VECTOR_TIMER:
		kernel_tick();
		x86_timer_again();
		break;
	case X86_VECTOR_FLUSH:
		kernel_ipi(ARCH_IPI_FLUSH);
		break;
	case X86_VECTOR_CALL:
		kernel_ipi(ARCH_IPI_CALL);
		break;
	default:
		break; /* wake: that the CPU is awake now is all */
	}
	kernel_interrupt_end();
}

void x86_trap(struct arch_frame *frame)
{
	switch (frame->vector) {
	case X86_VECTOR_TIMER:
	case X86_VECTOR_FLUSH:
	case X86_VECTOR_CALL:
	case X86_VECTOR_WAKE:
		interrupt(frame);
		return;
	case X86_VECTOR_SPURIOUS:
	case X86_VECTOR_PIC + 7:
	case X86_VECTOR_PIC + 15:
		return; /* the 8259s' spurious ones come although they are masked */
	case X86_VECTOR_NMI:
		arch_this_cpu()->nmi_depth++;
		kernel_ipi(ARCH_IPI_STOP);
		arch_this_cpu()->nmi_depth--;
		return;
	case X86_VECTOR_PAGE_FAULT:
	case X86_VECTOR_GENERAL_PROTECTION:
		if (frame->rip == (uintptr_t)x86_peek_load) {
			frame->rip = (uintptr_t)x86_peek_failed;
			return;
		}
		break;
	default:
		break;
	}
	fault(frame);
}

void arch_frame_print(const struct arch_frame *f)
{
	kprintf("  rip %016lx  rsp %016lx  rbp %016lx  flags %06lx\n", f->rip, f->rsp, f->rbp, f->rflags);
	kprintf("  rax %016lx  rbx %016lx  rcx %016lx  rdx %016lx\n", f->rax, f->rbx, f->rcx, f->rdx);
	kprintf("  rsi %016lx  rdi %016lx  r8  %016lx  r9  %016lx\n", f->rsi, f->rdi, f->r8, f->r9);
	kprintf("  r10 %016lx  r11 %016lx  r12 %016lx  r13 %016lx\n", f->r10, f->r11, f->r12, f->r13);
	kprintf("  r14 %016lx  r15 %016lx  cr2 %016lx  cr3 %016lx\n", f->r14, f->r15, x86_read_cr2(), x86_read_cr3());
	kprintf("  vector %lu, error code 0x%lx\n", f->vector, f->error);
}

uintptr_t arch_frame_pc(const struct arch_frame *frame)
{
	return frame->rip;
}

uintptr_t arch_frame_fp(const struct arch_frame *frame)
{
	return frame->rbp;
}

bool arch_frame_irq_enabled(const struct arch_frame *frame)
{
	return (frame->rflags & ARCH_RFLAGS_IF) != 0;
}
