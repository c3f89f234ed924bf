/* ports/template/port.c: copy this file into your kernel and answer its questions.
 *
 * As it stands it is right for one CPU that never takes an interrupt and has a console: enough for tier 0, so enough to boot the
 * frame layer and the heap. Each function says what to ask of your kernel and what the answer looks like; the contracts are in <loam/port.h>.
 * For all of them: they are called with Loam's spin locks held, so they do not sleep, take no lock that is held around a call into
 * Loam, and do not call Loam.
 */
#include <loam/port.h>

/* ---- yours to replace --------------------------------------------------------------------------------------------------- */

/* Where does early text go: a UART, a frame buffer, a ring buffer in memory? Must work before Loam does. */
static void console_put(char c)
{
	static char last_words[4096];
	static size_t at;

	last_words[at++ % sizeof(last_words)] = c;
}

/* How does your kernel stop one CPU for good? With the interrupts masked, in a loop of the instruction that waits for one. */
LOAM_NORETURN static void halt(void)
{
	for (;;)
		;
}

/* ---- tier 0: one CPU, no paging -------------------------------------------------------------------------------------- */

/* Can two CPUs log at once? Then take a lock of your own here, one that is never held around a call into Loam. Can a panic come while it is
 * held? Then let the panicking CPU pass it. */
void loam_port_log(const char *text, size_t nbytes)
{
	for (size_t i = 0; i < nbytes; i++)
		console_put(text[i]);
}

/* Who reads this? Print the message, the registers and a backtrace. What should happen on misuse, a double free say? Loam has changed nothing and
 * holds nothing, so your kernel may end the task that did it and go on; after LOAM_FATAL_CORRUPT it should stop every CPU. */
void loam_port_panic(enum loam_fatal kind, const char *message)
{
	const char *prefix = kind == LOAM_FATAL_MISUSE ? "misuse: " : "corruption: ";

	for (; *prefix; prefix++)
		console_put(*prefix);
	for (; *message; message++)
		console_put(*message);
	console_put('\n');
	halt();
}

/* Are interrupts on yet? What says so must be returned, because calls nest. x86-64: pushfq, pop, cli. AArch64: mrs daif, msr daifset, #2.
 * RISC-V: csrrci sstatus, 2. */
unsigned long loam_port_irq_save(void)
{
	return 0;
}

/* Put back exactly what @state says; do not simply turn interrupts on. */
void loam_port_irq_restore(unsigned long state)
{
	(void)state;
}

/* How does this CPU know its number: a per-CPU segment, TPIDR_EL1, tp? Numbers are dense from 0, below the count given to init, and right from
 * the first call into Loam on that CPU. With interrupts on, the answer may be old by the time it is used; Loam pins where that matters. */
unsigned int loam_port_cpu(void)
{
	return 0;
}

/* ---- tier 1: more than one CPU ------------------------------------------------------------------------------------------ */

/* Are your CPUs virtual? Then after some thousands of rounds tell the hypervisor that this one only waits. x86-64: pause. AArch64: yield.
 * RISC-V: pause where there is Zihintpause. */
void loam_port_relax(unsigned int round)
{
	(void)round;
}

/* Which vector is Loam's? Its handler acknowledges the interrupt and calls loam_tlb_ipi(). Do not wait for the other CPU here. */
void loam_port_ipi(unsigned int cpu)
{
	(void)cpu;
}

/* ---- tier 2: paging -------------------------------------------------------------------------------------------------------- */

/* Is a full flush cheaper than many single ones? @nranges == 0 means everything, global entries too; above some 32 pages most kernels do
 * that anyway. x86-64: invlpg per stride, or toggle CR4.PGE. AArch64: tlbi vaae1is, dsb ish, isb. RISC-V: sfence.vma. */
void loam_port_tlb_flush(const struct loam_tlb_range *ranges, size_t nranges)
{
	(void)ranges;
	(void)nranges;
}

/* May your table walkers see page-table writes late, or remember that an entry was empty? x86-64: no, nothing to do. AArch64: dsb ishst, isb.
 * RISC-V: fence w, w, and sfence.vma where Svvptc is missing. */
void loam_port_pte_sync(void)
{
}

/* ---- tier 3: optional. The library has a default for each; delete what you do not answer. ----------------------------------- */

/* Can kernel code be moved to another CPU between two instructions? If not, return the CPU's number and do nothing else. If so, raise the
 * preemption count. Masking interrupts, the default, is always right and costs most. */
struct loam_pin loam_port_pin(void)
{
	return (struct loam_pin){.state = loam_port_irq_save(), .cpu = loam_port_cpu()};
}

void loam_port_unpin(struct loam_pin pin)
{
	loam_port_irq_restore(pin.state);
}

/* Does your kernel know when it is in an interrupt handler, or in an NMI? Debug builds check contracts by it, and what must not wait asks it. */
enum loam_context loam_port_context(void)
{
	return LOAM_CONTEXT_TASK;
}

/* Who is running? Fill in what can be read without a lock and without waiting; zeros where there is no task yet. */
void loam_port_task(struct loam_task *task)
{
	*task = (struct loam_task){0};
}

/* Is there a clock that never goes back? Nanoseconds since any moment. 0 for ever turns ageing and time limits off. */
uint64_t loam_port_time(void)
{
	return 0;
}

/* Only a library built with -Dfailures=true asks: shall what it is about to take be treated as not to be had? For a kernel that wants to see what its own code makes of it. */
bool loam_port_fail(enum loam_fail_kind kind)
{
	(void)kind;
	return false;
}

/* Is there entropy? x86-64: rdrand. Without any, delete this function: the default differs from call to call but is no secret. */
uint64_t loam_port_random(void)
{
	static uint64_t state = UINT64_C(0x9e3779b97f4a7c15);

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}
