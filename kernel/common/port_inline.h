/* kernel/common/port_inline.h: the port functions worth inlining, by the architecture's inline.h, which includes this in the middle of <loam/port.h>. */
#ifndef KERNEL_PORT_INLINE_H
#define KERNEL_PORT_INLINE_H

#define LOAM_PORT_INLINES_CPU
static inline unsigned int loam_port_cpu(void)
{
	return arch_cpu_index();
}

#define LOAM_PORT_INLINES_IRQ_SAVE
static inline unsigned long loam_port_irq_save(void)
{
	return arch_irq_save();
}

#define LOAM_PORT_INLINES_IRQ_RESTORE
static inline void loam_port_irq_restore(unsigned long state)
{
	arch_irq_restore(state);
}

#define LOAM_PORT_INLINES_PTE_SYNC
static inline void loam_port_pte_sync(void)
{
	arch_pte_sync();
}

/* Kernel code is never preempted here, only interrupted: a CPU number is all that pinning takes. */
#define LOAM_PORT_INLINES_PIN
static inline struct loam_pin loam_port_pin(void)
{
	struct loam_pin pin = {0, arch_cpu_index()};
	__asm__ volatile("" : : : "memory");
	return pin;
}

#define LOAM_PORT_INLINES_UNPIN
static inline void loam_port_unpin(struct loam_pin pin)
{
	(void)pin;
	__asm__ volatile("" : : : "memory");
}

#endif
