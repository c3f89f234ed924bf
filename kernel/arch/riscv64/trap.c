/* kernel/arch/riscv64/trap.c: what each trap means. */
#include "../../common/cpu.h"
#include "../../common/console.h"
#include "../../common/kernel.h"

enum {
	INTERRUPT_SOFTWARE = 1,
	INTERRUPT_TIMER = 5,
};

enum {
	FAULT_FETCH = 12,
	FAULT_LOAD = 13,
	FAULT_STORE = 15,
};

#define STATUS_SPIE (1UL << 5)

extern const char riscv_peek_load[];
extern const char riscv_peek_failed[];

void riscv_trap(struct arch_frame *frame);

static const char *const names[16] = {
	"misaligned jump",
	"execution refused by the platform",
	"undefined instruction",
	"breakpoint",
	"misaligned read",
	"read refused by the platform",
	"misaligned write",
	"write refused by the platform",
	"system call",
	"system call",
	"reserved trap",
	"system call",
	"page fault",
	"page fault",
	"reserved trap",
	"page fault",
};

static void fault(struct arch_frame *frame)
{
	struct arch_fault fault = {.name = frame->cause < 16 ? names[frame->cause] : "unexpected trap"};

	if (frame->cause == FAULT_FETCH || frame->cause == FAULT_LOAD || frame->cause == FAULT_STORE) {
		fault.is_access = true;
		fault.is_stack = frame->overflow != 0;
		fault.address = frame->tval;
		fault.what = frame->cause == FAULT_FETCH   ? "execution of"
			     : frame->cause == FAULT_STORE ? "write to"
							   : "read of";
		if (fault.is_stack)
			fault.what = "push to";
	}
	kernel_fault(frame, &fault);
}

/* A CPU may remember that nothing was mapped where something is by now (arch_pte_sync()). */
static bool is_stale(const struct arch_frame *frame)
{
	struct loam_paging_entry entry;
	unsigned int wanted = frame->cause == FAULT_FETCH   ? LOAM_PROT_EXEC
			      : frame->cause == FAULT_STORE ? LOAM_PROT_WRITE
			      : frame->cause == FAULT_LOAD  ? LOAM_PROT_READ
							    : 0;

	if (wanted == 0 || kernel_system.tree == NULL)
		return false;
	return loam_paging_query(kernel_system.tree, frame->tval, &entry) == LOAM_OK && (entry.prot & wanted) != 0;
}

static void software_interrupt(void)
{
	struct cpu *cpu = arch_this_cpu();

	__asm__ volatile("csrc sip, %0" : : "r"(RISCV_SOFTWARE) : "memory");
	uint32_t pending = __atomic_exchange_n(&cpu->arch.pending, 0, __ATOMIC_ACQUIRE);
	for (unsigned int ipi = 0; ipi < ARCH_IPI_COUNT; ipi++)
		if ((pending & 1U << ipi) != 0)
			kernel_ipi((enum arch_ipi)ipi);
}

static void interrupt(uint64_t number)
{
	kernel_interrupt_begin();
	if (number == INTERRUPT_TIMER) {
		kernel_tick(); /* the request stays up meanwhile: interrupts are masked */
		riscv_timer_again();
	} else if (number == INTERRUPT_SOFTWARE) {
		software_interrupt();
	}
	kernel_interrupt_end();
}

void riscv_trap(struct arch_frame *frame)
{
	if ((frame->cause & RISCV_CAUSE_INTERRUPT) != 0) {
		interrupt(frame->cause & ~RISCV_CAUSE_INTERRUPT);
		return;
	}
	if (is_stale(frame)) {
		__asm__ volatile("sfence.vma" : : : "memory");
		return;
	}
	if (frame->epc == (uintptr_t)riscv_peek_load) {
		frame->epc = (uintptr_t)riscv_peek_failed;
		return;
	}
	fault(frame);
}

void arch_frame_print(const struct arch_frame *f)
{
	static const char *const registers[31] = {"ra", "sp", "gp", "tp",  "t0",  "t1", "t2", "s0", "s1", "a0", "a1",
						  "a2", "a3", "a4", "a5",  "a6",  "a7", "s2", "s3", "s4", "s5", "s6",
						  "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6"};

	for (unsigned int i = 0; i < 31; i++)
		kprintf("  %-3s %016lx%s", registers[i], f->x[i], i % 4 == 3 ? "\n" : "");
	kprintf("  pc  %016lx\n  status %lx, cause %lu, tval %016lx\n", f->epc, f->status, f->cause, f->tval);
}

uintptr_t arch_frame_pc(const struct arch_frame *frame)
{
	return frame->epc;
}

uintptr_t arch_frame_fp(const struct arch_frame *frame)
{
	return frame->x[7];
}

/* RA. In a function that has called another it is where that one came back to: in the function itself. A leaf's frame holds the frame pointer
 * alone, where others have the return address. */
uintptr_t arch_frame_return(const struct arch_frame *frame, uintptr_t function, uintptr_t *fp)
{
	uintptr_t ra = frame->x[0], word;

	if (function != 0 && *fp != 0 && arch_peek(*fp + ARCH_FRAME_RETURN, &word) && !symbol_is_code(word)) {
		*fp = word;
		return ra;
	}
	return function != frame->epc && symbol_start(ra - 1) == function ? 0 : ra;
}

bool arch_frame_irq_enabled(const struct arch_frame *frame)
{
	return (frame->status & STATUS_SPIE) != 0;
}
