/* ports/host/host.h: a machine in a process.
 *
 * RAM is a window of a memory file, CPUs are threads, interrupts come at points or by signal. Any number of machines live side by side; each
 * thread is at most one CPU of one of them at a time, and loam_port_...() answers for that one. A thread that is no CPU may still call Loam
 * where CPU numbers do not matter: it counts as CPU 0 without interrupts.
 *
 *	struct loam_region ram[] = {{.base = 0x100000, .nbytes = 64 << 20, .type = LOAM_REGION_USABLE}};
 *	struct host_machine *machine = host_machine_create(&(struct host_config){.regions = ram, .nregions = 1, .ncpus = 4});
 *
 *	host_enter(machine, 0);           // this thread is CPU 0 now
 *	... set Loam up over it ...
 *	host_run(machine, stress, NULL);  // on all four at once
 *	host_leave();
 *	host_machine_destroy(machine);
 */
#ifndef LOAM_HOST_H
#define LOAM_HOST_H

#include <loam/boot.h>
#include <loam/port.h>

#include "walk.h"

/* ---- the machine ----------------------------------------------------------------------------------------------------- */

struct host_machine; /* private */

/**
 * struct host_config - what the machine is made of.
 * @regions: its physical memory, page aligned, disjoint, in any order. RAM is behind every type but DEVICE and gaps: touching those is a real fault.
 * @ncpus:   1 .. LOAM_CPUS_MAX; 0 is 1.
 * @pin_masks: loam_port_pin() masks interrupts, as the library's default does. Otherwise interrupts land inside the fast paths.
 * @broadcast: loam_port_tlb_flush() reaches the TLBs of all CPUs, as on AArch64.
 * @seed: of loam_port_random(), which is the same in every run.
 * @anonymous: RAM is not a memory file: large pages, faster; but no windows.
 */
struct host_config {
	const struct loam_region *regions;
	size_t nregions;
	unsigned int ncpus;
	bool pin_masks;
	bool broadcast;
	bool anonymous;
	uint64_t seed;
};

/* Stops the program with a message when it cannot be had: a test has nothing to do without it. */
struct host_machine *host_machine_create(const struct host_config *config);
/* Ends its CPUs' threads, which must be idle. The calling thread may still be one of its CPUs; it leaves. */
void host_machine_destroy(struct host_machine *machine);

/* Virtual address of physical address 0, modulo 2^64: what loam_frames_config.direct_map wants. */
uintptr_t host_direct_map(const struct host_machine *machine);
/* Where a physical address is in this process. It must be RAM. */
void *host_ram(const struct host_machine *machine, loam_paddr address);
bool host_is_ram(const struct host_machine *machine, loam_paddr address, uint64_t nbytes);
unsigned int host_ncpus(const struct host_machine *machine);

/* ---- CPUs ---------------------------------------------------------------------------------------------------------------- */

/* Make the calling thread a CPU of a machine, interrupts on, until it leaves or enters another. Waits while another thread is that CPU. */
void host_enter(struct host_machine *machine, unsigned int cpu);
void host_leave(void);
/* Which machine the calling thread is a CPU of, or NULL. */
struct host_machine *host_current(void);

/* For whoever runs several CPUs on one thread, switching stacks: which CPU this thread is; be another one or none. No lock, nothing is told anybody. */
void *host_cpu_save(void);
void host_cpu_load(void *cpu);
/* ... and has abandoned the stacks: no thread is any CPU of it any more. Nothing else runs on the machine. */
void host_vacate_all(struct host_machine *machine);
/* An interrupt waits at that CPU, which is not held. */
bool host_cpu_is_interrupted(const void *cpu);

/* What a CPU does. */
typedef void (*host_fn)(void *arg);

/**
 * host_run() - run @fn(@arg) on every CPU at the same time.
 * The CPU that the calling thread is runs it there, the others on threads of their own, which stay for the next time. Returns when all are done.
 * A panic on any of them stops the machine, ends @fn on each CPU at its next interrupt point, and is then raised on the calling thread.
 */
void host_run(struct host_machine *machine, host_fn fn, void *arg);
/* The same in pieces: start @fn on one CPU and go on; wait until it has ended. A thread of its own per CPU is idle, with interrupts on, in between. */
void host_send(struct host_machine *machine, unsigned int cpu, host_fn fn, void *arg);
void host_wait(struct host_machine *machine, unsigned int cpu);

/* What loam_port_task() says on the calling CPU from now on. */
void host_set_task(const struct loam_task *task);

/* loam_port_time(): the real clock, or one that stands at @ns until it is set again. For the whole process. */
void host_clock_set(uint64_t ns);
void host_clock_real(void);

/* ---- interrupts -------------------------------------------------------------------------------------------------------------
 *
 * An interrupt is a function run on the thread that is the CPU, at an interrupt point: wherever interrupts are unmasked, a CPU pins or spins, and, in the library's
 * -DLOAM_POINTS build, at every atomic access. Never while the CPU has them masked. Handlers run with interrupts on, up to two deep, and
 * loam_port_context() says LOAM_CONTEXT_INTERRUPT. A CPU that no thread occupies is halted with interrupts on: its handlers run on its own thread or, where it
 * has none, on the thread of any CPU of the machine that spins.
 */

/* Queue an interrupt at a CPU. Of one function and argument two wait at most, further ones are merged with them: count CPUs that answered, not interrupts. */
void host_interrupt(struct host_machine *machine, unsigned int cpu, host_fn fn, void *arg);
/* Interrupt the calling CPU exactly at its @nth (1, 2 ...) point from now on with interrupts on. One at a time; a handler may arm the next.
 * cancel: true when it had not been delivered yet. */
void host_interrupt_at(uint64_t nth, host_fn fn, void *arg);
bool host_interrupt_cancel(void);
/**
 * host_each_point() - run a scenario on the calling CPU with an interrupt at its first point, at its second, and so on to the last.
 * @scenario: false when something is wrong, which ends in host_fault() with the point's number.   @handler: the interrupt; also gets @context.
 * @nested: and, for each of these, with a second interrupt of the same kind at each point of the first one's handler.
 * Return: how many runs had all their interrupts delivered.
 */
uint64_t host_each_point(bool (*scenario)(void *context), host_fn handler, void *context, bool nested);
/* A CPU that leaves interrupts masked for long: nothing is delivered there while it is held. */
void host_hold(struct host_machine *machine, unsigned int cpu, bool hold);

/* What an IPI runs: for Loam, a function that calls loam_tlb_ipi(). Set before loam_port_ipi() is used. */
void host_on_ipi(struct host_machine *machine, host_fn fn, void *arg);
/* What becomes of IPIs: of the @nth from now on, or of all of them with 0. Delayed ones wait for host_ipi_release() or another policy. */
enum host_ipi_policy { HOST_IPI_DELIVER = 0, HOST_IPI_DROP, HOST_IPI_DELAY, HOST_IPI_DUPLICATE };
void host_set_ipi_policy(struct host_machine *machine, enum host_ipi_policy policy, uint64_t nth);
void host_ipi_release(struct host_machine *machine);
uint64_t host_ipis(struct host_machine *machine);

/* From begin to end, @fn(@arg) interrupts one CPU after the other every so often, by a signal: between any two instructions. For stress. IPIs come by signal too. */
void host_storm_begin(struct host_machine *machine, unsigned int microseconds, host_fn fn, void *arg);
void host_storm_end(struct host_machine *machine);

/* ---- the MMU --------------------------------------------------------------------------------------------------------------------
 *
 * Page tables lie in the machine's RAM and are walked as the architecture says (walk.h). Each CPU has a TLB that forgets nothing but what
 * loam_port_tlb_flush() takes away. An access through an entry whose frame has been freed or handed out anew since, or is not what the tables say any more,
 * ends in host_fault("CPU 1: stale entry for ..."); so does a walk through a page table that was freed.
 */

/* Paging on, with this root, on all CPUs. Every TLB is empty then. */
void host_set_mmu(struct host_machine *machine, const struct host_mmu *mmu, loam_paddr root);
/* Who knows about frames: true when somebody owns @pfn, with its generation. Frames the watcher does not manage are owned. tests/rig_host.c sets one. */
typedef bool (*host_frame_look)(void *context, loam_pfn pfn, uint32_t *generation);
void host_watch_frames(struct host_machine *machine, host_frame_look look, void *context);

/* Accesses of the calling CPU, as its kernel. try: NULL, or why it faulted ("not present", "not writable" ...); the others end in host_fault(). A range may be
 * copied in part when it faults. */
enum host_access { HOST_READ, HOST_WRITE, HOST_EXECUTE };
const char *host_translate(uint64_t va, enum host_access access, loam_paddr *pa);
LOAM_NODISCARD const char *host_try_read(uint64_t va, void *buffer, size_t nbytes);
LOAM_NODISCARD const char *host_try_write(uint64_t va, const void *buffer, size_t nbytes);
void host_read(uint64_t va, void *buffer, size_t nbytes);
void host_write(uint64_t va, const void *buffer, size_t nbytes);

struct host_tlb_stats {
	uint64_t entries;
	uint64_t full_flushes;
	uint64_t range_flushes;
};
struct host_tlb_stats host_tlb_read_stats(struct host_machine *machine, unsigned int cpu);

/**
 * host_window_create() - @nbytes of addresses, 2 MiB aligned, that real loads and stores may use: a page fault is answered from the page tables.
 * Set a vmalloc arena up there and its memory is memory. All CPUs share what is filled, and any CPU's flush empties it: host_read() and host_write() are stricter.
 * An access that the tables do not allow goes to host_hooks.on_fault and then to host_fault(). Gone with the machine.
 */
uintptr_t host_window_create(struct host_machine *machine, size_t nbytes);

/* ---- what the machine does with text and with the end ------------------------------------------------------------------- */

/**
 * host_hooks - whoever runs the machine may look on.
 * @on_log: true when it has taken the text; else the text goes to stdout.
 * @on_panic: may leave by longjmp; when it returns, or is NULL, the message goes to stderr and the program aborts. Only called on threads that host_run() did
 * not start: see there.
 * @on_point: told of each atomic access in a -DLOAM_POINTS build, with its address or NULL.   @on_relax: replaces the pause in a spin round.
 * @on_fault: an access to a window that the page tables do not allow. May leave by longjmp.
 */
struct host_hooks {
	bool (*on_log)(const char *text, size_t nbytes);
	void (*on_panic)(enum loam_fatal kind, const char *message);
	void (*on_point)(const volatile void *where);
	void (*on_relax)(unsigned int round);
	void (*on_fault)(uintptr_t address, enum host_access access, const char *why);
};
extern struct host_hooks host_hooks;

/* What loami_point() and loami_should_fail() of the library's -DLOAM_POINTS build call. */
void host_point(const volatile void *where);
bool host_should_fail(unsigned int kind);

/* ---- failures: in the library's -DLOAM_POINTS build ------------------------------------------------------------------------ */

#define HOST_FAIL_ANY (~0u)

/* From now on the @nth (1, 2 ...) failure point of @kind (enum loami_fail_kind, or HOST_FAIL_ANY) that any thread meets fails, once or with all after it. One
 * setting for the whole process. clear: no more; returns how many points of that kind were met. */
void host_fail_set(unsigned int kind, uint64_t nth, bool for_good);
uint64_t host_fail_clear(void);
/**
 * host_fail_each() - run a scenario with each of its failure points failing, once and then for good.
 * @scenario: does its work, cleans up, checks that nothing is left behind; false when something is wrong, which ends in host_fault() with the point's number.
 * Ends with the first run that meets no failure. Return: how many failure points there are.
 */
uint64_t host_fail_each(unsigned int kind, bool (*scenario)(void *context), void *context);

/* ---- ending it ----------------------------------------------------------------------------------------------------------- */

/* A fault of the test or of the simulated hardware, not of Loam: loam_port_panic() with a text that begins "host: ". */
LOAM_NORETURN LOAM_PRINTF(1, 2) void host_fault(const char *format, ...);

#endif
