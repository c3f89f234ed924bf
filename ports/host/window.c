/* ports/host/window.c: addresses that real instructions may use, translated by the simulated page tables.
 *
 * A window is a range of this process's addresses with nothing behind it. The first access to a page faults; the handler asks the MMU of the CPU that this thread is
 * and maps the page of the memory file that it names. loam_port_tlb_flush() on any CPU takes mappings away again, so the next access asks again. All threads share
 * the process's real page tables: a mapping another CPU should still remember is gone early here. host_read() and host_write() are the strict way.
 */
#include "private.h"

#include "walk.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum { WINDOWS_MAX = 16 };

/* Set while nothing runs on the window's machine; the handler only reads. Other machines make theirs meanwhile. */
static pthread_mutex_t windows_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	atomic_uintptr_t start;
	size_t nbytes;
	struct host_machine *machine;
} windows[WINDOWS_MAX];

static struct sigaction before;
static bool installed;

/* x86-64 says in its error code whether the access wrote; elsewhere ask for reading first and for writing when that was not enough. */
static enum host_access wanted(const void *context)
{
#if defined(__x86_64__)
	const ucontext_t *u = context;

	return (u->uc_mcontext.gregs[REG_ERR] & 2) != 0 ? HOST_WRITE : HOST_READ;
#else
	(void)context;
	return HOST_WRITE;
#endif
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	uintptr_t va = (uintptr_t)info->si_addr;
	uintptr_t page = va & ~(uintptr_t)(LOAM_PAGE_SIZE - 1);
	struct host_machine *machine = host_current();
	enum host_access access = wanted(context);
	const char *fault;
	loam_paddr pa;

	for (unsigned int i = 0; i < WINDOWS_MAX; i++) {
		uintptr_t start = atomic_load(&windows[i].start);

		if (start == 0 || va - start >= windows[i].nbytes || windows[i].machine != machine)
			continue;
		fault = host_translate(va, access, &pa);
		if (fault == NULL) {
			loam_paddr frame = pa & ~(loam_paddr)(LOAM_PAGE_SIZE - 1);
			bool writable = access == HOST_WRITE || host_translate(va, HOST_WRITE, &pa) == NULL;

			if (!host_is_ram(machine, frame, LOAM_PAGE_SIZE))
				host_fault("0x%llx leads to 0x%llx, which is no RAM", (unsigned long long)va,
					   (unsigned long long)frame);
			if (mmap((void *)page, LOAM_PAGE_SIZE, PROT_READ | (writable ? PROT_WRITE : 0),
				 MAP_SHARED | MAP_FIXED, machine->file, (off_t)(frame - machine->base)) == MAP_FAILED)
				host_fault("too many pages of a window in use");
			return;
		}
		/* From here on control may leave by longjmp: with the signals that were let in where the fault happened. A sanitizer has masked
		 * them all. */
		pthread_sigmask(SIG_SETMASK, &((ucontext_t *)context)->uc_sigmask, NULL);
		if (host_hooks.on_fault != NULL)
			host_hooks.on_fault(va, access, fault);
		host_fault("page fault on CPU %u: %s of 0x%llx: %s", loam_port_cpu(),
			   access == HOST_WRITE ? "write" : "read", (unsigned long long)va, fault);
	}
	/* Not ours: let whoever was there before have it, e.g. a sanitizer, or the default. */
	if ((before.sa_flags & SA_SIGINFO) != 0)
		before.sa_sigaction(number, info, context);
	else
		sigaction(SIGSEGV, &before, NULL);
}

/* A stack may lie in a window, and a flush on another CPU may hide it under whoever runs on it: faults need a stack of their own. */
void host_window_thread(void)
{
	static _Thread_local bool done;
	stack_t stack = {.ss_size = 65536};
	stack_t now;

	if (done)
		return;
	done = true;
	if (sigaltstack(NULL, &now) == 0 && (now.ss_flags & SS_DISABLE) != 0) {
		stack.ss_sp = mmap(NULL, stack.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (stack.ss_sp != MAP_FAILED)
			sigaltstack(&stack, NULL);
	}
}

/* The same for the threads of CPUs, which end: give it back. */
void host_window_thread_ends(void)
{
	stack_t off = {.ss_flags = SS_DISABLE};
	stack_t was;

	if (sigaltstack(&off, &was) == 0 && (was.ss_flags & SS_DISABLE) == 0)
		munmap(was.ss_sp, was.ss_size);
}

static bool take_window(struct host_machine *machine, uintptr_t at, size_t nbytes)
{
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
	unsigned int i = 0;

	pthread_mutex_lock(&windows_lock);
	if (!installed) {
		installed = true;
		sigemptyset(&action.sa_mask);
		sigaction(SIGSEGV, &action, &before);
	}
	while (i < WINDOWS_MAX && atomic_load(&windows[i].start) != 0)
		i++;
	if (i < WINDOWS_MAX) {
		windows[i].nbytes = nbytes;
		windows[i].machine = machine;
		atomic_store(&windows[i].start, at);
	}
	pthread_mutex_unlock(&windows_lock);
	return i < WINDOWS_MAX;
}

uintptr_t host_window_create(struct host_machine *machine, size_t nbytes)
{
	const size_t align = (size_t)2 << 20;
	uintptr_t at;
	void *reserved;

	if (machine->file < 0)
		host_fault("a window needs RAM that is a memory file");
	reserved = mmap(NULL, nbytes + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (reserved == MAP_FAILED)
		host_fault("no address space for a window of 0x%zx bytes", nbytes);
	at = ((uintptr_t)reserved + align - 1) & ~(align - 1);
	if (!take_window(machine, at, nbytes))
		host_fault("more than %d windows", WINDOWS_MAX);
	return at;
}

static void hide(uintptr_t start, size_t nbytes)
{
	if (mmap((void *)start, nbytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) ==
	    MAP_FAILED)
		host_fault("a window cannot be hidden");
}

void host_window_flush(struct host_machine *machine, const struct loam_tlb_range *ranges, size_t nranges)
{
	for (unsigned int i = 0; i < WINDOWS_MAX; i++) {
		uintptr_t start = atomic_load(&windows[i].start);

		if (start == 0 || windows[i].machine != machine)
			continue;
		if (nranges == 0)
			hide(start, windows[i].nbytes);
		for (size_t r = 0; r < nranges; r++) {
			uintptr_t from = ranges[r].start;
			uintptr_t to = from + (ranges[r].npages << LOAM_PAGE_SHIFT);

			from = from < start ? start : from;
			to = to > start + windows[i].nbytes ? start + windows[i].nbytes : to;
			if (from < to)
				hide(from, to - from);
		}
	}
}

void host_window_destroy_all(struct host_machine *machine)
{
	pthread_mutex_lock(&windows_lock);
	for (unsigned int i = 0; i < WINDOWS_MAX; i++) {
		uintptr_t start = atomic_load(&windows[i].start);

		if (start != 0 && windows[i].machine == machine) {
			munmap((void *)start, windows[i].nbytes);
			atomic_store(&windows[i].start, 0);
		}
	}
	pthread_mutex_unlock(&windows_lock);
}
