/* kernel/common/backtrace.h: who called whom, also through a trap. */
#ifndef KERNEL_BACKTRACE_H
#define KERNEL_BACKTRACE_H

#include "../arch/arch.h"

#define BACKTRACE_MAX 32

struct backtrace {
	size_t count;
	struct {
		uintptr_t at;       /* a byte of the call, or the instruction a trap met */
		unsigned int times; /* in a row: a function that calls itself */
	} places[BACKTRACE_MAX];    /* innermost first */
	unsigned int depth;         /* places, each as often as it was met */
};

/** backtrace_from() - whoever called the function whose frame pointer is @fp, and outwards. */
void backtrace_from(struct backtrace *trace, uintptr_t fp);
/** backtrace_of_trap() - what a trap met, and outwards. */
void backtrace_of_trap(struct backtrace *trace, const struct arch_frame *frame);
void backtrace_print(const struct backtrace *trace);

#endif
