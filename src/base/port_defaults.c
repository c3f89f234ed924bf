/* base/port_defaults.c: tier 3 of the port, for kernels that do not answer it. Weak, each of them: the kernel's own wins. */
#include "bits.h"

#include <loam/port.h>

#define WEAK __attribute__((weak))

#ifndef LOAM_PORT_INLINES_PIN
WEAK struct loam_pin loam_port_pin(void)
{
	struct loam_pin pin = {.state = loam_port_irq_save(), .cpu = loam_port_cpu()};

	return pin;
}
#endif

#ifndef LOAM_PORT_INLINES_UNPIN
WEAK void loam_port_unpin(struct loam_pin pin)
{
	loam_port_irq_restore(pin.state);
}
#endif

WEAK enum loam_context loam_port_context(void)
{
	return LOAM_CONTEXT_TASK;
}

WEAK void loam_port_task(struct loam_task *task)
{
	*task = (struct loam_task){0};
}

WEAK uint64_t loam_port_time(void)
{
	return 0;
}

WEAK bool loam_port_fail(enum loam_fail_kind kind)
{
	(void)kind;
	return false;
}

/* splitmix64 over the stack's address and the clock: differs from call to call, is no secret from an attacker. */
WEAK uint64_t loam_port_random(void)
{
	static uint64_t counter;
	uint64_t x = (uintptr_t)&x + loam_port_time() +
		     __atomic_fetch_add(&counter, UINT64_C(0x9e3779b97f4a7c15), __ATOMIC_RELAXED);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}
