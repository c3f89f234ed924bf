/* tests/kernel/backtrace.c: backtraces through traps: whoever called what a trap met is named, once, whether or not that has a frame. */
#include "../tap.h"

#include <backtrace.h>
#include <console.h>
#include <kernel.h>

#define NOINLINE __attribute__((noinline))

/* Is place @index of @trace in the function @name? Compilers add to a name: `.constprop.0`. */
static bool is_in(const struct backtrace *trace, size_t index, const char *name)
{
	uintptr_t offset;
	const char *found = index < trace->count ? symbol_find(trace->places[index].at, &offset) : NULL;
	size_t length = strlen(name);

	return name[0] == '\0' ? index < trace->count && found == NULL
			       : found != NULL && strncmp(found, name, length) == 0 &&
					 (found[length] == '\0' || found[length] == '.');
}

static void show(const struct backtrace *trace)
{
	for (size_t i = 0; i < trace->count; i++) {
		uintptr_t offset = 0;
		const char *name = symbol_find(trace->places[i].at, &offset);

		kprintf("# %zu %s + 0x%lx\n", i, name != NULL ? name : "nowhere", (unsigned long)offset);
	}
}

/* ---- a fault: one instruction, known --------------------------------------------------------------------------------------------------- */

static struct backtrace faulted;
static volatile size_t sink;

static void note_fault(const struct arch_frame *frame)
{
	backtrace_of_trap(&faulted, frame);
}

/* Each calls or is what the fault meets, and is called by outer(). */
static NOINLINE void through_strlen(uintptr_t at)
{
	sink = strlen((const char *)at) + 1;
}

static NOINLINE void through_store(uintptr_t at)
{
	machine_store(at, 1);
	sink = 1;
}

static NOINLINE void through_execute(uintptr_t at)
{
	machine_execute(at);
	sink = 2;
}

/* It has called: the register of the return address holds where that call came back to. */
static NOINLINE void after_a_call(uintptr_t at)
{
	sink = strlen("called");
	sink = *(const volatile unsigned char *)at;
	sink = strlen("called again");
}

static NOINLINE void before_a_call(uintptr_t at)
{
	sink = *(const volatile unsigned char *)at;
	sink = strlen("called");
	sink = 3;
}

/* What looks like a return address is none. */
static NOINLINE void code_on_the_stack(uintptr_t at)
{
	volatile uintptr_t words[2] = {(uintptr_t)arch_trap_return, (uintptr_t)arch_trap_return};

	sink = strlen("called");
	sink = *(const volatile unsigned char *)at + words[0] + words[1];
}

static const struct {
	void (*function)(uintptr_t at);
	const char *names[4]; /* "": no function */
} faults[] = {
	{through_strlen, {"strlen", "through_strlen", "outer", "machine_try"}},
	{through_store, {"machine_store", "through_store", "outer", "machine_try"}},
	{through_execute, {"", "machine_execute", "through_execute", "outer"}},
	{after_a_call, {"after_a_call", "outer", "machine_try"}},
	{before_a_call, {"before_a_call", "outer", "machine_try"}},
	{code_on_the_stack, {"code_on_the_stack", "outer", "machine_try"}},
};

struct attempt {
	size_t index;
	uintptr_t at;
};

static NOINLINE void outer(void *arg)
{
	const struct attempt *attempt = arg;

	faults[attempt->index].function(attempt->at);
	sink = 4;
}

TEST(a_faults_backtrace_names_leaf_caller_and_callers_caller)
{
	void *area = loam_vmalloc(kernel_system.vm, LOAM_PAGE_SIZE, NULL);
	char text[256];

	CHECK(area != NULL);
	kernel_hooks.on_fault = note_fault;
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		/* What follows an area is not there, and the area does not execute. */
		bool execute = faults[i].function == through_execute;
		struct attempt attempt = {i, (uintptr_t)area + (execute ? 0 : LOAM_PAGE_SIZE)};

		faulted.count = 0;
		CHECK(!machine_try(outer, &attempt, text, sizeof(text)));
		for (size_t j = 0; j < 4 && faults[i].names[j] != NULL; j++) {
			if (is_in(&faulted, j, faults[i].names[j]))
				continue;
			show(&faulted);
			kernel_hooks.on_fault = NULL;
			tap_fail(__FILE__, __LINE__, "place %zu is not in '%s'", j, faults[i].names[j]);
		}
	}
	kernel_hooks.on_fault = NULL;
	CHECK(loam_vfree(kernel_system.vm, area));
}

/* ---- interrupts: any instruction --------------------------------------------------------------------------------------------------------- */

/* A leaf each of a kind: without a loop, with one, with variables on the stack, with a frame only where it is no leaf. */
static NOINLINE size_t leaf_plain(size_t value)
{
	__asm__ volatile("" : "+r"(value));
	return value * 3 + 1;
}

static NOINLINE size_t leaf_loop(size_t value)
{
	for (size_t i = 0; i < 5; i++)
		__asm__ volatile("" : "+r"(value));
	return value + 1;
}

static NOINLINE size_t leaf_stack(size_t value)
{
	volatile size_t words[8];

	words[value % 8] = value;
	words[(value + 1) % 8] = 1;
	return words[value % 8];
}

static NOINLINE size_t leaf_sometimes(size_t value)
{
	if (value % 4 != 0)
		return value + 1;
	for (size_t i = 0; i < 3; i++)
		value += leaf_plain(value) & 1;
	return value;
}

/* It ends in a jump there. */
static NOINLINE size_t jumps_to_leaf(size_t value)
{
	return leaf_stack(value + 1);
}

/* Called by name and through a pointer. */
static size_t (*const volatile pointers[])(size_t value) = {leaf_plain, leaf_loop, leaf_stack, leaf_sometimes};

static NOINLINE size_t caller(size_t value)
{
	for (size_t i = 0; i < sizeof(pointers) / sizeof(pointers[0]); i++)
		value += pointers[i](value);
	value = leaf_plain(value);
	value += leaf_loop(value);
	value += leaf_stack(value);
	value += leaf_sometimes(value);
	value += jumps_to_leaf(value);
	return value + 1;
}

static size_t (*const volatile caller_pointer)(size_t value) = caller;

static NOINLINE size_t callers_caller(size_t value)
{
	value += caller(value);
	value += caller_pointer(value);
	return value + 1;
}

static NOINLINE void call_them(unsigned int times)
{
	while (times-- > 0)
		sink = callers_caller(sink);
}

static struct {
	unsigned int leaf, first, wrong; /* interrupts in a leaf; of these, at its first instruction; not told right */
	struct backtrace trace;          /* the last one that was wrong */
} met;

static bool is_leaf(const struct backtrace *trace, size_t index)
{
	return is_in(trace, index, "leaf_plain") || is_in(trace, index, "leaf_loop") ||
	       is_in(trace, index, "leaf_stack") || is_in(trace, index, "leaf_sometimes");
}

/* @at: of the interrupted place in @trace. Return: whether from there on the callers stand, each once. */
static bool told_right(const struct backtrace *trace, size_t at)
{
	if (is_in(trace, at, "leaf_plain") && is_in(trace, at + 1, "leaf_sometimes"))
		at++;
	if (is_leaf(trace, at) && !is_in(trace, ++at, "caller"))
		return false;
	if (is_in(trace, at, "caller") && !is_in(trace, ++at, "callers_caller"))
		return false;
	return !is_in(trace, at, "callers_caller") || is_in(trace, at + 1, "call_them");
}

static void look_back(bool poked)
{
	struct backtrace trace;
	size_t at = 0;

	if (poked || loam_port_cpu() != 0)
		return;
	backtrace_from(&trace, arch_frame_pointer());
	while (at < trace.count && trace.places[at].at != (uintptr_t)arch_trap_return - 1)
		at++;
	at++;
	if (is_leaf(&trace, at)) {
		met.leaf++;
		met.first += symbol_start(trace.places[at].at) == trace.places[at].at;
	}
	if (at < trace.count && told_right(&trace, at))
		return;
	met.wrong++;
	met.trace = trace;
}

/* However slow the machine is. Of a thousand some are at a first instruction; of a million surely. */
static bool met_enough(void)
{
	unsigned int leaf = __atomic_load_n(&met.leaf, __ATOMIC_RELAXED);

	return leaf >= 1000000 || (leaf >= 1000 && __atomic_load_n(&met.first, __ATOMIC_RELAXED) > 0);
}

TEST(an_interrupts_backtrace_names_leaf_caller_and_callers_caller)
{
	met.leaf = met.first = met.wrong = 0;
	machine_ticks(10000, look_back);
	while (!met_enough())
		call_them(1000);
	machine_ticks(0, NULL);
	kprintf("# %u interrupts met a leaf, %u of them at its first instruction\n", met.leaf, met.first);
	if (met.wrong > 0)
		show(&met.trace);
	CHECK_EQ(met.wrong, 0);
	CHECK(met.first > 0);
}
