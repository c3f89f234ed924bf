/* ports/malloc/private.h: what the files of libloam-malloc share. docs/theory/malloc.md tells the whole story; in short:
 *
 * thread   is a CPU of the heap: it has a place (one of PLACES) and with it the caches of a CPU, from its first slow path to its end. Threads beyond that are CPU 0, which is
 *          never online: they are served under locks.
 * inside   a thread in a slow path. Only who is inside takes a lock of Loam's. A signal that lands there finds the flag set and takes memory from the island instead;
 *          what it frees waits in the thread's list until the slow path ends. A fork waits until nobody else is inside.
 * window   the address space that is the frame layer's RAM. It grows by hot-plug.
 * mapping  an object of MAPPED_MIN (33 MiB) and more: a mapping of its own.
 * island   a little memory that is managed without locks.
 */
#ifndef LOAM_MALLOC_PRIVATE_H
#define LOAM_MALLOC_PRIVATE_H

#include <loam/heap.h>
#include <loam/port.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

#define MIB ((size_t)1 << 20)
#define MAPPED_MIN (33 * MIB)
#define HUGE_PAGE (2 * MIB)
enum { PLACES = LOAM_CPUS_MAX < 256 ? LOAM_CPUS_MAX : 256 };

/* A thread's place: CPU number and index are the same. Place 0 is nobody's: its @inside counts the threads inside that have none. */
struct place {
	uint32_t inside; /* (atomic) */
	uint32_t owner;  /* (atomic) enum place_owner in thread.c */
} __attribute__((aligned(64)));

extern struct loam_heap loam_malloc_heap;
#define HEAP (&loam_malloc_heap)
#define SELF (&loam_malloc_self)

/* ---- memory.c --------------------------------------------------------------------------------------------------------------------- */

/* Set everything up, once; waits for whoever is at it. Called by every slow path; true when there is a heap. */
bool memory_ready(void);
static inline bool memory_in_window(const void *at);
/* Give back to the system what is free and dirty, if it is more than there may be. Inside. */
void memory_upkeep(void);
/* All of it. Return: bytes. Inside. */
size_t memory_purge(void);
/* What is in these pages is not needed: back to the system, where that takes it. They read as zero. Takes no lock. */
void memory_give_up(void *at, size_t nbytes);
struct memory_stats {
	size_t window;   /* bytes of address space */
	size_t grown;    /* of them handed to the frame layer */
	size_t free;     /* of them free */
	size_t dirty;    /* of them free and not given back */
	size_t metadata; /* bytes of bookkeeping mapped beside the window, untouched ones included */
	uint64_t purged; /* bytes given back, ever */
	uint64_t purges;
};
void memory_read_stats(struct memory_stats *stats);
extern uintptr_t memory_window;
extern size_t memory_window_nbytes;
static inline bool memory_in_window(const void *at)
{
	return (uintptr_t)at - memory_window < memory_window_nbytes;
}
/* LOAM_... of the environment, also before the C library has it; NULL in a set-uid program. */
const char *memory_option(const char *name);

/* ---- thread.c ---------------------------------------------------------------------------------------------------------------------- */

/* Begin a slow path; false: this is a signal handler that landed in one. */
bool thread_enter(void);
void thread_leave(void);
/* The same as leave, where a panic must not run what waits. */
void thread_leave_for_good(void);
/* Give the thread caches of its own, if it has none and there are any. Not inside. */
void thread_attach(void);
/* The same for a thread that has only freed so far. A few frees are none: the C library makes some after the last destructor has run, and nobody would give the place back. Not inside. */
void thread_attach_to_free(void);
/* The object is freed when the slow path ends that this signal landed in. */
void thread_defer(void *object);
/* The caches of threads that have ended go back. Inside. Return: how many threads'. */
unsigned int thread_flush_idle(void);
void thread_setup(void);

/* ---- mapped.c: inside, but for mapped_size() -------------------------------------------------------------------------------------------- */

void *mapped_alloc(size_t nbytes, size_t align);
/* False: no mapping of ours starts there. */
bool mapped_free(void *object);
/* Usable bytes; 0: none of ours. Takes no lock. */
size_t mapped_size(const void *object);
/* The object at another size, perhaps elsewhere; NULL: it is as it was. */
void *mapped_resize(void *object, size_t nbytes);
size_t mapped_count(size_t *nbytes);

/* ---- island.c: anywhere ------------------------------------------------------------------------------------------------------------------ */

bool island_setup(void);
bool island_holds(const void *at);
/* Zeroed memory, or NULL. */
void *island_alloc(size_t nbytes, size_t align);
/* Panics when nothing starts there. */
void island_free(void *object);
size_t island_size(const void *object);

/* ---- report.c --------------------------------------------------------------------------------------------------------------------------------- */

LOAM_NORETURN void report_misuse(const char *what, const void *object);

/* ---- the fast path: inlined into what the program calls ---------------------------------------------------------------------------------------- */

/* From the thread's caches, or NULL. */
static inline __attribute__((always_inline)) void *quick_alloc(size_t nbytes)
{
	struct loami_heap_cpu *part = SELF->part;

	return LIKELY(part != NULL) ? loam_heap_try_alloc(HEAP, part, nbytes) : NULL;
}

/* Into them; false: it is not freed. The object is what the next malloc of its class hands out, and nothing here touches it: it is fetched ahead. */
static inline __attribute__((always_inline)) bool quick_free(void *object)
{
	struct loami_heap_cpu *part = SELF->part;

	__builtin_prefetch(object, 1);
	return LIKELY(part != NULL) && LIKELY(loam_heap_try_free(HEAP, part, object));
}

/* ---- malloc.c -------------------------------------------------------------------------------------------------------------------------------- */

/* For the operators: as malloc() and free(), but for the name in a report. */
void *malloc_slow(const char *call, size_t nbytes, size_t align, bool zero);
void free_slow(const char *call, void *object);

#pragma GCC visibility pop

#endif
