/* kernel/common/backtrace.c: who called whom, also through a trap.
 *
 * Every function that calls another has a frame, and frames are chained by the frame pointer. A trap may meet a function that has no frame: a leaf, or one that
 * is about to make its frame or has just ended it. The chain then begins with its caller's frame, which knows the caller's caller, and the caller itself
 * is known by a register or by the stack alone: arch_frame_return().
 *
 * vectors.S puts two words into the chain as a call would have left them, so that it runs on through a trap. Where it does, the registers of the trap
 * stand beside those words, and the interrupted function is looked at in the same way.
 */
#include "backtrace.h"

#include "console.h"
#include "cpu.h"
#include "kernel.h"

/* A chain that was overwritten may go round in circles. */
#define DEPTH_MAX 1000

static bool is_full(const struct backtrace *trace)
{
	return trace->count == BACKTRACE_MAX || trace->depth >= DEPTH_MAX;
}

static void add(struct backtrace *trace, uintptr_t place)
{
	trace->depth++;
	if (trace->count > 0 && trace->places[trace->count - 1].at == place) {
		trace->places[trace->count - 1].times++;
	} else if (trace->count < BACKTRACE_MAX) {
		trace->places[trace->count].at = place;
		trace->places[trace->count++].times = 1;
	}
}

static bool peek_frame(uintptr_t fp, uintptr_t *next, uintptr_t *pc)
{
	return fp != 0 && fp % sizeof(uintptr_t) == 0 && arch_peek(fp + ARCH_FRAME_NEXT, next) &&
	       arch_peek(fp + ARCH_FRAME_RETURN, pc);
}

/* A copy of the registers at @address: the chain may have led nowhere. */
static bool peek_registers(uintptr_t address, struct arch_frame *frame)
{
	uintptr_t words[sizeof(*frame) / sizeof(uintptr_t)];

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (!arch_peek(address + i * sizeof(words[0]), &words[i]))
			return false;
	memcpy(frame, words, sizeof(words));
	return true;
}

/* Return: the frame pointer the chain goes on with. */
static uintptr_t add_interrupted(struct backtrace *trace, const struct arch_frame *frame)
{
	uintptr_t pc = arch_frame_pc(frame), fp = arch_frame_fp(frame), next, chained = 0;
	uintptr_t caller = arch_frame_return(frame, symbol_start(pc), &fp);

	add(trace, pc);
	if (!peek_frame(fp, &next, &chained))
		chained = 0;
	if (caller != chained && symbol_is_code(caller))
		add(trace, caller - 1);
	return fp;
}

/* A return address may lie past its function's end, where that ends in a call; the call itself does not. A chain may cross stacks, and may lead
 * nowhere. */
static void add_callers(struct backtrace *trace, uintptr_t fp)
{
	struct arch_frame interrupted;
	uintptr_t next, pc;

	while (!is_full(trace) && peek_frame(fp, &next, &pc) && pc != 0) {
		add(trace, pc - 1);
		if (pc == (uintptr_t)arch_trap_return && peek_registers(next + ARCH_FRAME_TRAP, &interrupted))
			fp = add_interrupted(trace, &interrupted);
		else
			fp = next;
	}
}

void backtrace_from(struct backtrace *trace, uintptr_t fp)
{
	trace->count = trace->depth = 0;
	add_callers(trace, fp);
}

void backtrace_of_trap(struct backtrace *trace, const struct arch_frame *frame)
{
	trace->count = trace->depth = 0;
	add_callers(trace, add_interrupted(trace, frame));
}

void backtrace_print(const struct backtrace *trace)
{
	unsigned int number = 0;

	for (size_t i = 0; i < trace->count; i++) {
		symbol_print_place(number, trace->places[i].at);
		if (trace->places[i].times > 1)
			kprintf("      ... and %u times more\n", trace->places[i].times - 1);
		number += trace->places[i].times;
	}
}
