/* bench/port.h: the port inlined into the library that is measured, as a kernel does it (LOAM_PORT_INLINE): the CPU's number is one load from
 * thread-local storage, as a kernel's is one from its per-CPU segment; a pin is free, as in a kernel that does not preempt its own code. Masking interrupts
 * cannot be had in a process: it costs a load and a store here, on slow paths only.
 */
#ifndef BENCH_PORT_H
#define BENCH_PORT_H

extern _Thread_local unsigned int bench_cpu __attribute__((tls_model("local-exec")));
extern _Thread_local unsigned long bench_masked __attribute__((tls_model("local-exec")));

#define LOAM_PORT_INLINES_CPU
static inline unsigned int loam_port_cpu(void)
{
	return bench_cpu;
}

#define LOAM_PORT_INLINES_IRQ_SAVE
static inline unsigned long loam_port_irq_save(void)
{
	unsigned long was = bench_masked;

	*(volatile unsigned long *)&bench_masked = 1;
	return was;
}

#define LOAM_PORT_INLINES_IRQ_RESTORE
static inline void loam_port_irq_restore(unsigned long state)
{
	*(volatile unsigned long *)&bench_masked = state;
}

#define LOAM_PORT_INLINES_PIN
static inline struct loam_pin loam_port_pin(void)
{
	struct loam_pin pin = {0, bench_cpu};

	return pin;
}

#define LOAM_PORT_INLINES_UNPIN
static inline void loam_port_unpin(struct loam_pin pin)
{
	(void)pin;
}

#endif
