/* kernel/common/panic.c: the last words, and leaving before them.
 *
 * A panic or fault is first offered to whoever expects one on this CPU (machine_try, a running test). Otherwise: one line that says what
 * happened, the registers, what Loam knows of the address, a backtrace with names; then all CPUs stop and the machine ends as failed.
 */
#include "backtrace.h"
#include "console.h"
#include "cpu.h"
#include "kernel.h"

/* One level of machine_try(). */
struct catcher {
	uintptr_t jump[ARCH_JUMP_WORDS];
	struct catcher *outer;
	unsigned int irq_depth;
	unsigned long irq_state;
	char *text;
	size_t nbytes;
};

struct kernel_hooks kernel_hooks;
static uint32_t panicking; /* 1 + the CPU that reports */

bool kernel_is_panicking(void)
{
	return __atomic_load_n(&panicking, __ATOMIC_RELAXED) != 0;
}

bool machine_try(void (*function)(void *arg), void *arg, char text[], size_t nbytes)
{
	struct cpu *cpu = arch_this_cpu();
	struct catcher catcher = {
		.outer = cpu->catcher,
		.irq_depth = cpu->irq_depth,
		.text = text,
		.nbytes = nbytes,
	};

	text[0] = '\0';
	catcher.irq_state = arch_irq_save();
	arch_irq_restore(catcher.irq_state);
	cpu->catcher = &catcher;
	bool returned = arch_setjmp(catcher.jump) == 0;
	if (returned)
		function(arg);
	else
		arch_irq_restore(catcher.irq_state); /* it may have died with interrupts masked */
	cpu->catcher = catcher.outer;
	return returned;
}

/* Does not return where somebody on this CPU expects it. */
static void offer(const char *text)
{
	struct cpu *cpu = arch_this_cpu();
	struct catcher *catcher = cpu->catcher;

	if (catcher == NULL || catcher->irq_depth != cpu->irq_depth)
		return;
	(void)kformat(catcher->text, catcher->nbytes, "%s", text);
	arch_longjmp(catcher->jump);
}

/* Only one CPU reports; another that gets here meanwhile, or the same one a second time, just stops. */
static void begin_report(void)
{
	uint32_t nobody = 0, me = arch_cpu_index() + 1;

	(void)arch_irq_save();
	if (!__atomic_compare_exchange_n(&panicking, &nobody, me, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
		if (nobody == me)
			arch_power_off(false); /* the report itself went wrong */
		__atomic_store_n(&arch_this_cpu()->stopped, true, __ATOMIC_RELEASE);
		arch_halt();
	}
	smp_stop_others();
}

static const char *context_name(void)
{
	switch (loam_port_context()) {
	case LOAM_CONTEXT_INTERRUPT:
		return "in an interrupt";
	case LOAM_CONTEXT_NMI:
		return "in an NMI";
	default:
		return "in task context";
	}
}

/* @frame: of the trap that is reported, or NULL where somebody called for the report. */
static void print_backtrace(const struct arch_frame *frame)
{
	struct backtrace trace;

	if (frame != NULL)
		backtrace_of_trap(&trace, frame);
	else
		backtrace_from(&trace, arch_frame_pointer());
	kprintf("backtrace\n");
	backtrace_print(&trace);
}

static void headline(const char *kind, const char *text)
{
	kprintf("\n%s on CPU %u of %u, %s\n  %s\n", kind, arch_cpu_index(), cpu_count, context_name(), text);
}

void kernel_panic(const char *format, ...)
{
	char text[384];
	va_list args;

	va_start(args, format);
	(void)kvformat(text, sizeof(text), format, args);
	va_end(args);
	offer(text);
	begin_report();
	headline("PANIC", text);
	print_backtrace(NULL);
	arch_power_off(false);
}

void kernel_silent(unsigned int cpu, const char *text)
{
	struct backtrace trace;

	begin_report();
	headline("PANIC", text);
	if (__atomic_load_n(&cpus[cpu].stopped, __ATOMIC_ACQUIRE)) {
		kprintf("backtrace of CPU %u\n", cpu);
		backtrace_from(&trace, cpus[cpu].stopped_at);
		backtrace_print(&trace);
	} else {
		kprintf("CPU %u does not stop either: it has interrupts masked\n", cpu);
	}
	arch_power_off(false);
}

void loam_port_panic(enum loam_fatal kind, const char *message)
{
	/* Tests run in task context of CPU 0 and leave from here by themselves. */
	if (kernel_hooks.on_panic != NULL && arch_this_cpu()->catcher == NULL && arch_cpu_index() == 0 &&
	    arch_this_cpu()->irq_depth == 0)
		kernel_hooks.on_panic(kind, message);
	offer(message);
	begin_report();
	headline(kind == LOAM_FATAL_CORRUPT ? "CORRUPTION" : "MISUSE", message);
	print_backtrace(NULL);
	arch_power_off(false);
}

void kernel_fault(const struct arch_frame *frame, const struct arch_fault *fault)
{
	char text[384];
	char known[256];

	if (fault->is_access) {
		(void)loam_whatis(&kernel_system, fault->address, known, sizeof(known));
		(void)kformat(text, sizeof(text), "%s: %s %s", fault->name, fault->what, known);
	} else {
		(void)kformat(text, sizeof(text), "%s", fault->name);
	}
	if (kernel_hooks.on_fault != NULL)
		kernel_hooks.on_fault(frame);
	offer(text);
	begin_report();
	headline("FAULT", text);
	kprintf("registers\n");
	arch_frame_print(frame);
	print_backtrace(frame);
	arch_power_off(false);
}
