/* kernel/common/console.c: one line at a time on the serial line, from any CPU and context.
 *
 * The lock is its own, below everything: text is written with Loam's locks held. A CPU that reports a panic breaks it after a while, since
 * its holder may be the one that is stopped.
 */
#include "console.h"
#include "cpu.h"
#include "kernel.h"

#define PATIENCE 100000000U

static uint32_t locked;

static unsigned long console_lock(void)
{
	unsigned long state = arch_irq_save();
	uint32_t rounds = 0;

	while (__atomic_exchange_n(&locked, 1, __ATOMIC_ACQUIRE) != 0)
		while (__atomic_load_n(&locked, __ATOMIC_RELAXED) != 0) {
			arch_pause();
			if (kernel_is_panicking() && ++rounds > PATIENCE)
				return state;
		}
	return state;
}

static void console_unlock(unsigned long state)
{
	__atomic_store_n(&locked, 0, __ATOMIC_RELEASE);
	arch_irq_restore(state);
}

void console_write(const char *text, size_t nbytes)
{
	unsigned long state;

	if (kernel_hooks.on_log != NULL && kernel_hooks.on_log(text, nbytes))
		return;
	state = console_lock();
	arch_console_put(text, nbytes);
	console_unlock(state);
}

void kvprintf(const char *format, va_list args)
{
	char line[512];
	size_t length = kvformat(line, sizeof(line), format, args);

	console_write(line, length < sizeof(line) ? length : sizeof(line) - 1);
}

void kprintf(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	kvprintf(format, args);
	va_end(args);
}

/* The tick wakes the CPU to look again: the UART's FIFO holds what was typed meanwhile. */
static int wait_byte(void)
{
	for (;;) {
		int byte = arch_console_get();

		if (byte >= 0)
			return byte;
		arch_irq_disable();
		arch_wait();
	}
}

bool console_read_line(const char *prompt, char *buffer, size_t nbytes)
{
	size_t length = 0;

	kprintf("%s", prompt);
	for (;;) {
		int byte = wait_byte();

		if (byte == '\r' || byte == '\n') {
			kprintf("\n");
			buffer[length] = '\0';
			return true;
		}
		if (byte == 4 && length == 0) /* Ctrl-D */
			return false;
		if ((byte == 8 || byte == 127) && length > 0) {
			length--;
			kprintf("\b \b");
		} else if (byte == 21) { /* Ctrl-U */
			for (; length > 0; length--)
				kprintf("\b \b");
		} else if (byte >= ' ' && byte < 127 && length + 1 < nbytes) {
			buffer[length++] = (char)byte;
			kprintf("%c", byte);
		}
	}
}
