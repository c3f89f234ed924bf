/* The glue: what Loam asks of a kernel, for one CPU without interrupts. Tiers 0 to 2 of <loam/port.h>; tier 3 has defaults. */
#include "kernel.h"

static void out(unsigned short port, unsigned char value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

void power_off(unsigned char status)
{
	for (;;)
		out(0xf4, status); /* QEMU's isa-debug-exit; 0x10 means well */
}

void say(const char *text)
{
	size_t length = 0;

	while (text[length] != '\0')
		length++;
	loam_port_log(text, length);
}

/* ---- tier 0 */

void loam_port_log(const char *text, size_t nbytes)
{
	for (size_t i = 0; i < nbytes; i++)
		out(0x3f8, (unsigned char)text[i]);
}

void loam_port_panic(enum loam_fatal kind, const char *message)
{
	(void)kind;
	say(message);
	say("\n");
	power_off(1);
}

unsigned long loam_port_irq_save(void)
{
	return 0;
}

void loam_port_irq_restore(unsigned long state)
{
	(void)state;
}

unsigned int loam_port_cpu(void)
{
	return 0;
}

/* ---- tier 1 */

void loam_port_relax(unsigned int round)
{
	(void)round;
}

void loam_port_ipi(unsigned int cpu)
{
	(void)cpu; /* never called with one CPU */
}

/* ---- tier 2 */

void loam_port_tlb_flush(const struct loam_tlb_range *ranges, size_t nranges)
{
	unsigned long cr4;

	(void)ranges, (void)nranges; /* always everything: toggle CR4.PGE */
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("mov %0, %%cr4; mov %1, %%cr4" : : "r"(cr4 & ~0x80ul), "r"(cr4) : "memory");
}

void loam_port_pte_sync(void)
{
}

/* ---- the four functions every C compiler expects */

void *memset(void *to, int value, size_t n)
{
	void *start = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
	return start;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	void *start = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	return start;
}

void *memmove(void *to, const void *from, size_t n)
{
	unsigned char *t = to;
	const unsigned char *f = from;

	if (t <= f)
		return memcpy(to, from, n);
	while (n-- > 0) {
		t[n] = f[n];
		__asm__ volatile("" : : : "memory"); /* or the compiler makes this a call to memmove */
	}
	return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const unsigned char *x = a, *y = b;

	for (size_t i = 0; i < n; i++)
		if (x[i] != y[i])
			return x[i] - y[i];
	return 0;
}
