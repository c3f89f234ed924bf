/* kernel/arch/aarch64/trap.c: what each trap means. */
#include "../../common/cpu.h"
#include "../../common/console.h"
#include "../../common/kernel.h"

#define ESR_CLASS(esr) ((unsigned int)((esr) >> 26 & 0x3f))
#define ESR_WRITE (1U << 6)

enum {
	CLASS_UNKNOWN = 0x00,
	CLASS_ILLEGAL_STATE = 0x0e,
	CLASS_FETCH = 0x21,
	CLASS_PC = 0x22,
	CLASS_DATA = 0x25,
	CLASS_SP = 0x26,
	CLASS_ERROR = 0x2f,
	CLASS_BRK = 0x3c,
};

extern const char arm_peek_load[];
extern const char arm_peek_failed[];

void arm_trap(struct arch_frame *frame);

static const char *name_of(unsigned int class)
{
	switch (class) {
	case CLASS_UNKNOWN:
		return "undefined instruction";
	case CLASS_ILLEGAL_STATE:
		return "illegal execution state";
	case CLASS_PC:
		return "misaligned program counter";
	case CLASS_SP:
		return "misaligned stack pointer";
	case CLASS_ERROR:
		return "error of the memory system";
	case CLASS_BRK:
		return "breakpoint";
	default:
		return "unexpected trap";
	}
}

static void fault(struct arch_frame *frame)
{
	unsigned int class = ESR_CLASS(frame->esr);
	struct arch_fault fault = {.name = name_of(class)};

	if (class == CLASS_DATA || class == CLASS_FETCH) {
		fault.name = "page fault";
		fault.is_access = true;
		fault.is_stack = (frame->vector & ARM_VECTOR_OVERFLOW) != 0;
		fault.address = frame->far;
		fault.what = class == CLASS_FETCH ? "execution of" : frame->esr & ESR_WRITE ? "write to" : "read of";
		if (fault.is_stack)
			fault.what = "push to";
	}
	kernel_fault(frame, &fault);
}

static void interrupt(void)
{
	uint32_t token, number = arm_intc_acknowledge(&token);

	if (number >= ARM_SPURIOUS)
		return;
	kernel_interrupt_begin();
	/* Ended before it is handled: the handler of a stop does not come back. Interrupts are masked, so none nests. */
	if (number == ARM_TIMER)
		arm_timer_hold();
	arm_intc_end(token);
	if (number == ARM_TIMER) {
		kernel_tick();
		arm_timer_again();
	} else if (number < ARCH_IPI_COUNT) {
		kernel_ipi((enum arch_ipi)number);
	}
	kernel_interrupt_end();
}

void arm_trap(struct arch_frame *frame)
{
	unsigned int vector = (unsigned int)frame->vector & 0xf;

	if (vector == ARM_VECTOR_IRQ) {
		interrupt();
		return;
	}
	if (vector == ARM_VECTOR_SYNC && frame->elr == (uintptr_t)arm_peek_load) {
		frame->elr = (uintptr_t)arm_peek_failed;
		return;
	}
	fault(frame);
}

void arch_frame_print(const struct arch_frame *f)
{
	for (unsigned int i = 0; i < 28; i += 4)
		kprintf("  x%-2u %016lx  x%-2u %016lx  x%-2u %016lx  x%-2u %016lx\n", i, f->x[i], i + 1, f->x[i + 1],
			i + 2, f->x[i + 2], i + 3, f->x[i + 3]);
	kprintf("  x28 %016lx  fp  %016lx  lr  %016lx  sp  %016lx\n", f->x[28], f->x[29], f->x[30], f->sp);
	kprintf("  pc  %016lx  pstate %lx  esr %lx  far %016lx\n", f->elr, f->spsr, f->esr, f->far);
}

uintptr_t arch_frame_pc(const struct arch_frame *frame)
{
	return frame->elr;
}

uintptr_t arch_frame_fp(const struct arch_frame *frame)
{
	return frame->x[29];
}

/* LR. In a function that has called another it is where that one came back to: in the function itself. */
uintptr_t arch_frame_return(const struct arch_frame *frame, uintptr_t function, uintptr_t *fp)
{
	uintptr_t link = frame->x[30];

	(void)fp;
	return function != frame->elr && symbol_start(link - 1) == function ? 0 : link;
}

bool arch_frame_irq_enabled(const struct arch_frame *frame)
{
	return (frame->spsr & ARCH_DAIF_I) == 0;
}
