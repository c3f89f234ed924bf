/* ports/malloc/port.h: the port inlined into the heap of a malloc (LOAM_PORT_INLINE). A thread is a CPU: its number is a word of thread-local storage. A pin costs nothing: a
 * thread that is moved to another processor stays the same CPU. Masking interrupts costs nothing either: whoever gets here by a slow path is inside
 * (private.h), and a signal that lands there does not come in.
 */
#ifndef LOAM_MALLOC_PORT_H
#define LOAM_MALLOC_PORT_H

#include <stdbool.h>
#include <stdint.h>

struct loami_heap_cpu;

/* What a thread is to the malloc. Its thread-local storage is there from the first instruction. */
struct thread {
	struct loami_heap_cpu *part; /* of the heap, its CPU's; NULL: it has none of its own */
	unsigned int cpu;            /* 0: none of its own; it is served under locks */
	uint8_t inside;              /* in a slow path */
	uint8_t state;               /* enum thread_state in thread.c */
	bool forking;                /* it holds the gate */
	uint32_t turns;              /* slow frees */
	struct place *place;         /* of its CPU; NULL when it has none */
	void *deferred;              /* freed by a signal handler that landed inside: linked by their first words */
	const char *call;            /* what the program called */
	const void *argument;        /* and with what pointer */
};
extern _Thread_local struct thread loam_malloc_self __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* The frame layer is asked once for 64 KiB or a large object, always under locks: all threads are its CPU 0, which is offline. */
static inline unsigned int loam_port_cpu(void)
{
#ifdef LOAM_MALLOC_ONE_CPU
	return 0;
#else
	return loam_malloc_self.cpu;
#endif
}

static inline unsigned long loam_port_irq_save(void)
{
	return 0;
}

static inline void loam_port_irq_restore(unsigned long state)
{
	(void)state;
}

static inline struct loam_pin loam_port_pin(void)
{
	struct loam_pin pin = {0, loam_port_cpu()};

	return pin;
}

static inline void loam_port_unpin(struct loam_pin pin)
{
	(void)pin;
}

#define LOAM_PORT_INLINES_CPU
#define LOAM_PORT_INLINES_IRQ_SAVE
#define LOAM_PORT_INLINES_IRQ_RESTORE
#define LOAM_PORT_INLINES_PIN
#define LOAM_PORT_INLINES_UNPIN

#endif
