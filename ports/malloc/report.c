/* ports/malloc/report.c: what is said on stderr: misuse and corruption, by the call that met it; and where the memory went, when LOAM_STATS asks for it: 1, or the path of a
 * file to append it to, for programs whose stderr is looked at.
 *
 * A report is put together on the stack and written with one write(). It ends in abort(). Misuse was found before anything changed, with no lock held, so the thread is outside again by then: whoever
 * catches the signal may go on allocating.
 */
#include "private.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void say_to(int to, const char *text, size_t nbytes)
{
	while (nbytes != 0) {
		ssize_t n = write(to, text, nbytes);

		if (n <= 0)
			return;
		text += n;
		nbytes -= (size_t)n;
	}
}

static void say(const char *text, size_t nbytes)
{
	say_to(STDERR_FILENO, text, nbytes);
}

void loam_port_log(const char *text, size_t nbytes)
{
	say(text, nbytes);
}

void loam_port_panic(enum loam_fatal kind, const char *message)
{
	static const char prefix[] = "loam: ";
	char text[512];
	int n;

	if (strncmp(message, prefix, sizeof(prefix) - 1) == 0)
		message += sizeof(prefix) - 1;
	n = snprintf(text, sizeof(text), "libloam-malloc: %s(%p): %s\n", SELF->call ? SELF->call : "malloc",
		     SELF->argument, message);
	say(text, (size_t)(n < (int)sizeof(text) ? n : (int)sizeof(text) - 1));
	if (kind == LOAM_FATAL_MISUSE && SELF->inside != 0)
		thread_leave_for_good();
	abort();
}

void report_misuse(const char *what, const void *object)
{
	char text[256];

	(void)snprintf(text, sizeof(text), "loam: malloc: %p: %s", object, what);
	loam_port_panic(LOAM_FATAL_MISUSE, text);
}

/* ---- the rest of the port: no page tables, no interrupts to send --------------------------------------------------------------------------- */

void loam_port_ipi(unsigned int cpu)
{
	(void)cpu;
}

void loam_port_tlb_flush(const struct loam_tlb_range *ranges, size_t nranges)
{
	(void)ranges;
	(void)nranges;
}

void loam_port_pte_sync(void)
{
}

/* ---- figures ---------------------------------------------------------------------------------------------------------------------------------- */

static unsigned long long kib(uint64_t nbytes)
{
	return (unsigned long long)(nbytes / 1024);
}

static void say_stats(int to)
{
	struct loam_heap_class_stats class;
	struct loam_heap_stats heap;
	struct memory_stats memory;
	size_t nmapped, mapped = 0;
	char text[256];
	int n;

	if (!memory_ready() || !thread_enter())
		return;
	nmapped = mapped_count(&mapped);
	memory_read_stats(&memory);
	loam_heap_read_stats(HEAP, &heap);
	say_to(to, "libloam-malloc:\n", 16);
	say_to(to, "class              bytes        live      parked     places     frames\n", 71);
	for (size_t i = 0; loam_heap_read_class_stats(HEAP, i, &class) == LOAM_OK; i++) {
		if (class.slots == 0)
			continue;
		n = snprintf(text, sizeof(text), "%-15s %8zu %11llu %11llu %10llu %10llu\n", class.name,
			     (size_t) class.nbytes, (unsigned long long)class.live, (unsigned long long)class.cached,
			     (unsigned long long)class.slots, (unsigned long long)class.frames);
		say_to(to, text, (size_t)n);
	}
	n = snprintf(
		text, sizeof(text),
		"allocations %llu, frees %llu\nin use %llu KiB, at most %llu KiB; %zu mappings of %llu KiB beside\n",
		(unsigned long long)heap.allocations, (unsigned long long)heap.frees, kib(heap.used_bytes),
		kib(heap.peak_bytes), nmapped, kib(mapped));
	say_to(to, text, (size_t)n);
	n = snprintf(text, sizeof(text),
		     "window %llu KiB: %llu KiB free, of them %llu KiB dirty; %llu KiB given back in %llu turns\n",
		     kib(memory.grown), kib(memory.free), kib(memory.dirty), kib(memory.purged),
		     (unsigned long long)memory.purges);
	say_to(to, text, (size_t)n);
	thread_leave();
}

#pragma GCC visibility push(default)

void malloc_stats(void)
{
	say_stats(STDERR_FILENO);
}

static void at_exit(void) __attribute__((destructor));
static void at_exit(void)
{
	const char *wanted = memory_option("LOAM_STATS");
	int to;

	if (!wanted || (strcmp(wanted, "1") != 0 && wanted[0] != '/'))
		return;
	to = wanted[0] == '/' ? open(wanted, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : STDERR_FILENO;
	if (to < 0) {
		static const char why[] = "libloam-malloc: the file that LOAM_STATS names cannot be written\n";

		say(why, sizeof(why) - 1);
		return;
	}
	say_stats(to);
	if (to != STDERR_FILENO)
		(void)close(to);
}

struct mallinfo2 mallinfo2(void)
{
	struct mallinfo2 info = {0};
	struct memory_stats memory;
	struct loam_heap_stats heap;

	if (!memory_ready() || !thread_enter())
		return info;
	memory_read_stats(&memory);
	loam_heap_read_stats(HEAP, &heap);
	info.arena = memory.grown;
	info.hblks = mapped_count(&info.hblkhd);
	info.uordblks = heap.used_bytes;
	info.fordblks = memory.grown - heap.used_bytes;
	info.keepcost = memory.dirty;
	thread_leave();
	return info;
}

struct mallinfo mallinfo(void)
{
	struct mallinfo2 wide = mallinfo2();

	return (struct mallinfo){
		.arena = (int)wide.arena,
		.hblks = (int)wide.hblks,
		.hblkhd = (int)wide.hblkhd,
		.uordblks = (int)wide.uordblks,
		.fordblks = (int)wide.fordblks,
		.keepcost = (int)wide.keepcost,
	};
}

#pragma GCC visibility pop
