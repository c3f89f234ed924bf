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

#define INSTRUCTION_RET 0xc3
#define INSTRUCTION_CALL 0xe8       /* and the way there, 32 bits */
#define INSTRUCTION_BY_POINTER 0xff /* and a byte that says what is done and where the pointer is */
#define DOES_CALL(mode) (((mode)&0x38) == 0x10)

/* Is there a `movq %rsp, %rbp`, which ends the making of a frame, in [start, end)? */
static bool makes_frame(uintptr_t start, uintptr_t end)
{
	for (const uint8_t *at = (const uint8_t *)start; (uintptr_t)at + 3 <= end; at++)
		if (at[0] == 0x48 && at[1] == 0x89 && at[2] == 0xe5)
			return true;
	return false;
}

/* Does the instruction before @place call @function by name? */
static bool follows_call(uintptr_t place, uintptr_t function)
{
	int32_t way;

	if (!symbol_is_code(place) || !symbol_is_code(place - 5) || *(const uint8_t *)(place - 5) != INSTRUCTION_CALL)
		return false;
	memcpy(&way, (const void *)(place - 4), sizeof(way));
	return place + (uintptr_t)(intptr_t)way == function;
}

/* Does the instruction before @place call through a pointer: in a register, or in memory at an offset of none, one or four bytes? */
static bool follows_call_by_pointer(uintptr_t place)
{
	for (size_t nbytes = 2; nbytes <= 7; nbytes++) {
		const uint8_t *at = (const uint8_t *)(place - nbytes);

		if (!symbol_is_code(place) || !symbol_is_code((uintptr_t)at))
			return false;
		if (at[0] != INSTRUCTION_BY_POINTER || !DOES_CALL(at[1]))
			continue;
		unsigned int where = at[1] >> 6, base = at[1] & 7;
		unsigned int more = where != 3 && base == 4;
		unsigned int offset = where == 1 ? 1 : where == 2 || (where == 0 && base == 5) ? 4 : 0;
		if (nbytes == 2 + more + offset)
			return true;
	}
	return false;
}

/* Behind the making of a frame in @function: is none there, and @word a return address? At a RET; and in a part that needs none, which only
 * shows in how @function was called: from @word, or from where the chain begins. */
static bool is_frameless(const struct arch_frame *frame, uintptr_t function, uintptr_t word)
{
	uintptr_t chained = 0;

	if (*(const uint8_t *)frame->rip == INSTRUCTION_RET || follows_call(word, function))
		return true;
	return !(arch_peek(frame->rbp + ARCH_FRAME_RETURN, &chained) && follows_call(chained, function)) &&
	       symbol_start(word) != function && follows_call_by_pointer(word);
}

/* The word RSP points to, or the next one where RBP has just been pushed. */
uintptr_t arch_frame_return(const struct arch_frame *frame, uintptr_t function, uintptr_t *fp)
{
	uintptr_t word;

	(void)fp;

	if (!arch_peek(frame->rsp, &word))
		return 0;
	if (function == 0)
		return word;
	if (!makes_frame(function, frame->rip)) {
		if (word == frame->rbp && !arch_peek(frame->rsp + sizeof(word), &word))
			return 0;
		return word;
	}
	return is_frameless(frame, function, word) ? word : 0;
}

bool arch_frame_irq_enabled(const struct arch_frame *frame)
{
	return (frame->rflags & ARCH_RFLAGS_IF) != 0;
}
