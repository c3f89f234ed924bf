/* kernel/arch/arch.h: what an architecture gives to the kernel, and all that the kernel knows of one.
 *
 * Each kernel/arch/<name>/ holds the same files, so whoever knows one can read another:
 *
 *   inline.h     what must cost nothing: this CPU, interrupt flag, pause, cycle counter
 *   regs.h cpu.c a CPU's own state (descriptor tables, trap stacks) and putting it in force
 *   entry.S      the first instructions of the first CPU; start.S: of every other one
 *   vectors.S    trap entry and exit, register frames; trap.c: what each trap means
 *   jump.S       arch_setjmp, arch_longjmp, arch_call_on_stack, arch_peek
 *   firmware.c   memory map, command line, list of CPUs, as the firmware tells them
 *   intc.c       interrupt controller: IPIs; timer.c: the tick and the clock
 *   mmu.c        address space layout, root tables, TLB instructions
 *   smp.c        starting CPUs; console.c: the serial line; power.c: the end, with a status
 *   kernel.ld    where it all lies
 *
 * Order of use: arch_entry (entry.S) -> kernel_main(); it calls the functions below from top to bottom.
 */
#ifndef KERNEL_ARCH_H
#define KERNEL_ARCH_H

#include <loam/paging.h>
#include <loam/port.h>

struct cpu;
struct arch_frame; /* the registers a trap saved; its layout is the architecture's own */

/* inline.h defines, as static inline functions:
 *   struct cpu *arch_this_cpu(void)         this CPU's structure
 *   unsigned int arch_cpu_index(void)       its number, 0 .. count - 1
 *   unsigned long arch_irq_save(void)       mask interrupts, return how it was
 *   void arch_irq_restore(unsigned long)    undo it
 *   bool arch_irq_enabled(void)
 *   void arch_irq_enable(void)
 *   void arch_irq_disable(void)
 *   void arch_pause(void)                   one round of a spin
 *   void arch_wait(void)                    called with interrupts masked: sleep until one comes, and take it
 *   uint64_t arch_cycles(void)              a cheap counter that runs at a constant rate
 *   uint64_t arch_instructions(void)        a counter that under QEMU's -icount goes up by one with each instruction; call
 *                                           arch_instructions_init() first
 *   void arch_pte_sync(void)                loam_port_pte_sync()
 * and the constants
 *   ARCH_NAME
 *   ARCH_FRAME_NEXT, ARCH_FRAME_RETURN      where a frame pointer finds the next one, and the return address: offsets in bytes
 *   ARCH_FRAME_TRAP                         where the frame pointer that vectors.S makes for a trap finds the trap's registers */
#include <inline.h>
#include <layout.h>

/* ---- console: works from the first line of kernel_main, before everything else -------------------------------------- */

void arch_console_init(void);
void arch_console_put(const char *text, size_t nbytes);
/**
 * arch_device_page() - the @index-th page of device registers that is needed before there is an arena: the console's, power's.
 * The boot tables show it at ARCH_DEVICE_MAP plus its address, and Loam's shall too. LOAM_PADDR_NONE past the last.
 */
loam_paddr arch_device_page(unsigned int index);
/** arch_console_drain() - wait until all of it has left the machine. */
void arch_console_drain(void);
/** arch_console_get() - a byte that was typed, or -1 when none waits. */
int arch_console_get(void);

/* ---- this CPU ----------------------------------------------------------------------------------------------------------- */

/** arch_cpu_load() - put @cpu in force as the running CPU's state. Called again when the state moves to memory from Loam. */
void arch_cpu_load(struct cpu *cpu);

/** arch_cpu_name() - the processor's own name for itself. */
const char *arch_cpu_name(void);

/* ---- firmware ------------------------------------------------------------------------------------------------------------ */

/* What the machine was started with. Strings and maps stay where the firmware put them: read before Loam's tables are in force. */
struct arch_firmware {
	const char *protocol;     /* "PVH", "FDT" ... */
	const char *command_line; /* "" where there is none */
	unsigned int ncpus;       /* usable ones, at least 1 */
};

/** arch_firmware_read() - find out what the firmware says. Reads nothing outside what the boot tables map. */
void arch_firmware_read(struct arch_firmware *firmware);

/** arch_firmware_map() - the memory map, as the firmware gives it, through the importer that knows its format. */
LOAM_NODISCARD enum loam_status arch_firmware_map(struct loam_region *raw, size_t capacity, size_t *count);

/**
 * arch_firmware_reserve() - tell @reserve of all memory in use beyond the kernel's image: initrd, tables.
 * @kept: nobody writes it; it holds what the loader left there (initrd, device tree) until the kernel has read it.
 */
typedef void (*arch_reserve_fn)(loam_paddr base, uint64_t nbytes, const char *what, bool kept);
void arch_firmware_reserve(arch_reserve_fn reserve);

/**
 * arch_firmware_cpus() - the hardware's ids of the usable CPUs into @ids, @capacity of them at most. Return: how many were written.
 * The running CPU comes first, whatever its place in the firmware's tables.
 */
unsigned int arch_firmware_cpus(uint32_t *ids, unsigned int capacity);

/* ---- interrupts and time ------------------------------------------------------------------------------------------------ */

enum arch_ipi {
	ARCH_IPI_FLUSH, /* Loam wants its TLB flushes answered */
	ARCH_IPI_CALL,  /* a function waits to be run in interrupt context */
	ARCH_IPI_WAKE,  /* a function waits to be run by the CPU's own loop */
	ARCH_IPI_STOP,  /* stop for good; arrives even where interrupts are masked, if the hardware can */
	ARCH_IPI_COUNT
};

#define ARCH_INTC_WINDOWS_MAX 2
/** arch_intc_init() - the machine's interrupt controller; once, by the first CPU. @registers: where the windows are mapped. */
void arch_intc_init(void *const registers[ARCH_INTC_WINDOWS_MAX]);
/** arch_intc_window() - the @index-th window of registers to be mapped for arch_intc_init(), *@nbytes; LOAM_PADDR_NONE past the last. */
loam_paddr arch_intc_window(unsigned int index, size_t *nbytes);
/** arch_intc_cpu_init() - this CPU's part of it. */
void arch_intc_cpu_init(void);
void arch_ipi_send(unsigned int cpu, enum arch_ipi ipi);

/** arch_timer_init() - learn how fast the counters run; once, by the first CPU. */
void arch_timer_init(void);
/**
 * arch_timer_start() - interrupt this CPU up to @hz times a second from now on: kernel_tick() each time. 0 stops it.
 * The next tick is counted from the end of the last one's handler: a CPU whose handlers take longer than a tick still gets on with its work.
 */
void arch_timer_start(unsigned int hz);
/** arch_time() - nanoseconds since arch_timer_init(), the same on every CPU; 0 before. */
uint64_t arch_time(void);

/** arch_instructions_init() - let arch_instructions() count on this CPU. */
void arch_instructions_init(void);

/* ---- other CPUs --------------------------------------------------------------------------------------------------------- */

/* Nanoseconds: virtual CPUs on a busy machine may not run for seconds. */
#define ARCH_SMP_PATIENCE UINT64_C(10000000000)
/** arch_smp_start() - bring @cpu to kernel_secondary_main(@cpu) on its own stack. Return: whether it came within ARCH_SMP_PATIENCE. */
bool arch_smp_start(struct cpu *cpu);
/** arch_smp_stop() - this CPU stops, with interrupts masked, until arch_smp_start() starts it anew. */
LOAM_NORETURN void arch_smp_stop(void);

/* ---- traps --------------------------------------------------------------------------------------------------------------- */

/* What the common trap handler is told. */
struct arch_fault {
	const char *name;  /* "page fault", "divide error" ... */
	const char *what;  /* of a memory access: "read of", "write to", "execution of"; otherwise NULL */
	uintptr_t address; /* of a memory access: where */
	bool is_access;
	bool is_stack; /* it came while a trap was to be entered: the stack itself is suspect */
};

void arch_frame_print(const struct arch_frame *frame);
uintptr_t arch_frame_pc(const struct arch_frame *frame);
uintptr_t arch_frame_fp(const struct arch_frame *frame);
bool arch_frame_irq_enabled(const struct arch_frame *frame);

/**
 * arch_frame_return() - the return address of a function that a trap met where it has no frame.
 * @function: where the function begins that the program counter is in; 0: in none, after a jump to nowhere.
 * @fp: arch_frame_fp(); out: the frame pointer the chain goes on with, where that is another.
 *
 * Return: an address, right where it is code and not what the chain begins with; 0: the function has a frame, all is in the chain.
 */
uintptr_t arch_frame_return(const struct arch_frame *frame, uintptr_t function, uintptr_t *fp);
/* vectors.S: where the common handler returns to. A frame with this return address is followed by the one that was made for a trap. */
extern const char arch_trap_return[];

/** arch_frame_pointer() - of the caller. */
#define arch_frame_pointer() ((uintptr_t)__builtin_frame_address(0))

/** arch_peek() - read a word that may not be there. Return: false, and nothing read, where it faults. */
bool arch_peek(uintptr_t address, uintptr_t *value);

/* ---- address spaces ------------------------------------------------------------------------------------------------------- */

/* layout.h says where things lie: ARCH_DIRECT_MAP and ARCH_DIRECT_MAP_NBYTES, ARCH_ARENA, ARCH_DEVICE_MAP (constant or not), ARCH_IMAGE_BASE (constant),
 * and how much physical memory the boot tables map at ARCH_DIRECT_MAP: ARCH_BOOT_MAP_NBYTES. ARCH_START_LIMIT: CPUs that are started need a page below it to begin in; 0: they need none. kernel.ld says what the image is made of: kernel_{text,rodata,data}_{start,end}, kernel_image_{start,end}. */

/** arch_mmu_format() - how this CPU's page tables are written. */
const struct loam_paging_format *arch_mmu_format(void);
/** arch_mmu_largest_leaf() - 30 or 21: the largest leaf this CPU knows. */
unsigned int arch_mmu_largest_leaf(void);
/** arch_zones() - the address limits that matter to this architecture's devices. Return: how many, at most LOAM_ZONES_MAX. */
unsigned int arch_zones(struct loam_zone_config zones[]);
/** arch_mmu_load() - put the kernel's tables in force on this CPU, with all the CPU can do to protect them. */
void arch_mmu_load(loam_paddr root);
/** arch_tlb_broadcast() - whether arch_tlb_flush() acts on every CPU. */
bool arch_tlb_broadcast(void);
/** arch_tlb_flush() - loam_port_tlb_flush() on this CPU. */
void arch_tlb_flush(const struct loam_tlb_range *ranges, size_t nranges);

/* ---- leaving one's place ------------------------------------------------------------------------------------------------ */

/* Callee-saved registers, stack pointer, return address; the interrupt flag is not part of it. */
#define ARCH_JUMP_WORDS 32
/** arch_setjmp() - 0 now; 1 when arch_longjmp() comes back here. */
int arch_setjmp(uintptr_t *words) __attribute__((returns_twice));
LOAM_NORETURN void arch_longjmp(uintptr_t *words);

/** arch_call_on_stack() - run @function(@arg) on another stack that ends (exclusive) at @top, and come back. */
void arch_call_on_stack(void (*function)(void *), void *arg, void *top);

/* ---- the end ------------------------------------------------------------------------------------------------------------ */

/** arch_power_off() - end the machine; whoever started it sees success or failure. */
LOAM_NORETURN void arch_power_off(bool success);
/** arch_halt() - this CPU does nothing for ever. */
LOAM_NORETURN void arch_halt(void);

#endif
