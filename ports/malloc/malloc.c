/* ports/malloc/malloc.c: the calls.
 *
 * A hit of the thread's caches is the heap's fast path inlined, with all its checks. Everything else is a slow path: the call is remembered for a report, the thread attached, and then it is inside
 * (thread.c); or it is a signal handler that landed there, and is served from the island.
 *
 * Answers. Size 0 is an object of its own; realloc to size 0 frees. Above PTRDIFF_MAX, or with a product that overflows: NULL and ENOMEM. An alignment that is no power of two: EINVAL. free() keeps errno, and so does
 * whatever succeeds.
 */
#include "private.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): the C library calls them by reserved names. */

static void remember(const char *call, const void *argument)
{
	SELF->call = call;
	SELF->argument = argument;
}

static void *no_memory(void)
{
	errno = ENOMEM;
	return NULL;
}

static bool is_power_of_two(size_t x)
{
	return x != 0 && (x & (x - 1)) == 0;
}

/* ---- slow paths ------------------------------------------------------------------------------------------------------------------ */

static void *alloc_inside(size_t nbytes, size_t align, bool zero)
{
	void *object = NULL;

	if (nbytes < MAPPED_MIN && align <= HUGE_PAGE)
		object = align > LOAM_HEAP_MIN_ALIGN ? loam_heap_alloc_aligned(HEAP, nbytes, align)
			 : zero                      ? loam_heap_alloc_zeroed(HEAP, nbytes)
						     : loam_heap_alloc(HEAP, nbytes);
	/* Where the window is used up there may be room elsewhere. */
	if (!object && (nbytes > LOAM_HEAP_SMALL_MAX || align > HUGE_PAGE))
		object = mapped_alloc(nbytes, align);
	return object;
}

__attribute__((noinline)) void *malloc_slow(const char *call, size_t nbytes, size_t align, bool zero)
{
	bool inside = false;
	int saved = errno;
	void *object;

	if (align == LOAM_HEAP_MIN_ALIGN && SELF->part && (object = loam_heap_retry_alloc(HEAP, SELF->part, nbytes)))
		return zero ? memset(object, 0, nbytes) : object;
	if (nbytes > PTRDIFF_MAX || align > PTRDIFF_MAX)
		return no_memory();
	remember(call, NULL);
	if (memory_ready()) {
		thread_attach();
		inside = thread_enter();
	}
	if (inside) {
		object = alloc_inside(nbytes, align, zero);
		thread_leave();
	} else {
		object = island_alloc(nbytes, align);
	}
	if (!object)
		return no_memory();
	errno = saved;
	return object;
}

__attribute__((noinline)) void free_slow(const char *call, void *object)
{
	int saved = errno;

	if (!object || (SELF->part && loam_heap_retry_free(HEAP, SELF->part, object)))
		return;
	remember(call, object);
	if (!memory_ready() && SELF->inside == 0)
		report_misuse("free before anything was allocated", object);
	if (island_holds(object)) {
		island_free(object);
		errno = saved;
		return;
	}
	thread_attach_to_free();
	if (thread_enter()) {
		if (memory_in_window(object) || !mapped_free(object))
			loam_heap_free(HEAP, object);
		memory_upkeep();
		thread_leave();
	} else {
		/* It is to be found bad now, if it is. */
		if (mapped_size(object) == 0)
			(void)loam_heap_usable_size(HEAP, object);
		thread_defer(object);
	}
	errno = saved;
}

#pragma GCC visibility push(default)

/* The heap's fast path is to lie inside of these, not a call away, and begin where a line of code does (a twentieth of a pair). */
#define FLAT __attribute__((flatten, aligned(64)))

/* ---- the C calls ------------------------------------------------------------------------------------------------------------------- */

static inline __attribute__((always_inline)) void *alloc(const char *call, size_t nbytes)
{
	void *object = quick_alloc(nbytes);

	return LIKELY(object != NULL) ? object : malloc_slow(call, nbytes, LOAM_HEAP_MIN_ALIGN, false);
}

FLAT void *malloc(size_t nbytes)
{
	return alloc("malloc", nbytes);
}

FLAT void free(void *object)
{
	if (UNLIKELY(!quick_free(object)))
		free_slow("free", object);
}

FLAT void *calloc(size_t count, size_t nbytes)
{
	void *object;

	if (UNLIKELY(__builtin_mul_overflow(count, nbytes, &nbytes)))
		return no_memory();
	object = quick_alloc(nbytes);
	return LIKELY(object != NULL) ? memset(object, 0, nbytes)
				      : malloc_slow("calloc", nbytes, LOAM_HEAP_MIN_ALIGN, true);
}

static size_t size_of(const void *object)
{
	size_t nbytes;

	if (memory_in_window(object))
		return loam_heap_usable_size(HEAP, object);
	if (island_holds(object))
		return island_size(object);
	nbytes = mapped_size(object);
	/* Names what is wrong with it. */
	return nbytes != 0 ? nbytes : loam_heap_usable_size(HEAP, object);
}

/* In place, or by moving page tables. */
static void *resize(void *object, size_t old, size_t nbytes)
{
	void *resized = NULL;

	if (nbytes <= LOAM_HEAP_SMALL_MAX || old <= LOAM_HEAP_SMALL_MAX || island_holds(object) || !thread_enter())
		return NULL;
	if (!memory_in_window(object)) {
		if (nbytes >= MAPPED_MIN / 2)
			resized = mapped_resize(object, nbytes);
	} else if (nbytes < MAPPED_MIN) {
		resized = loam_heap_realloc(HEAP, object, nbytes);
		memory_upkeep();
	}
	thread_leave();
	return resized;
}

static void *change(const char *call, void *object, size_t nbytes)
{
	int saved = errno;
	size_t old;
	void *moved;

	if (!object)
		return alloc(call, nbytes);
	if (nbytes == 0) {
		free(object);
		return NULL;
	}
	if (nbytes > PTRDIFF_MAX)
		return no_memory();
	remember(call, object);
	if (!memory_ready() && SELF->inside == 0)
		report_misuse("realloc before anything was allocated", object);
	old = size_of(object);
	/* It stays unless its place is too small, or half of it would be idle. */
	if (nbytes <= old && (nbytes > old / 2 || old <= 64))
		return object;
	moved = resize(object, old, nbytes);
	if (!moved) {
		moved = alloc(call, nbytes);
		if (!moved)
			return NULL;
		memcpy(moved, object, nbytes < old ? nbytes : old);
		free(object);
	}
	errno = saved;
	return moved;
}

void *realloc(void *object, size_t nbytes)
{
	return change("realloc", object, nbytes);
}

void *reallocarray(void *object, size_t count, size_t nbytes)
{
	if (__builtin_mul_overflow(count, nbytes, &nbytes))
		return no_memory();
	return change("reallocarray", object, nbytes);
}

int posix_memalign(void **object, size_t align, size_t nbytes)
{
	int saved = errno;
	void *made;

	if (!is_power_of_two(align) || align % sizeof(void *) != 0)
		return EINVAL;
	made = malloc_slow("posix_memalign", nbytes, align, false);
	errno = saved;
	if (!made)
		return ENOMEM;
	*object = made;
	return 0;
}

static void *aligned(const char *call, size_t align, size_t nbytes)
{
	if (!is_power_of_two(align)) {
		errno = EINVAL;
		return NULL;
	}
	return align <= LOAM_HEAP_MIN_ALIGN ? alloc(call, nbytes) : malloc_slow(call, nbytes, align, false);
}

void *aligned_alloc(size_t align, size_t nbytes)
{
	return aligned("aligned_alloc", align, nbytes);
}

void *memalign(size_t align, size_t nbytes)
{
	return aligned("memalign", align, nbytes);
}

void *valloc(size_t nbytes)
{
	return aligned("valloc", LOAM_PAGE_SIZE, nbytes);
}

void *pvalloc(size_t nbytes)
{
	if (nbytes > PTRDIFF_MAX)
		return no_memory();
	return aligned("pvalloc", LOAM_PAGE_SIZE,
		       nbytes == 0 ? LOAM_PAGE_SIZE : (nbytes + LOAM_PAGE_SIZE - 1) / LOAM_PAGE_SIZE * LOAM_PAGE_SIZE);
}

size_t malloc_usable_size(void *object)
{
	if (!object)
		return 0;
	remember("malloc_usable_size", object);
	return size_of(object);
}

int malloc_trim(size_t pad)
{
	int saved = errno;
	size_t got = 0;

	(void)pad;
	if (!memory_ready() || !thread_enter())
		return 0;
	(void)thread_flush_idle();
	got = loam_heap_trim(HEAP);
	got += memory_purge();
	thread_leave();
	errno = saved;
	return got != 0;
}

/* ---- C23 ------------------------------------------------------------------------------------------------------------------------------ */

void free_sized(void *object, size_t nbytes);
void free_aligned_sized(void *object, size_t align, size_t nbytes);

/* The size is what was asked for: the object must hold it. */
static void check_size(const char *call, void *object, size_t nbytes)
{
	remember(call, object);
	if (object && size_of(object) < nbytes)
		report_misuse("freed with a size that it does not have", object);
}

void free_sized(void *object, size_t nbytes)
{
	check_size("free_sized", object, nbytes);
	free(object);
}

void free_aligned_sized(void *object, size_t align, size_t nbytes)
{
	check_size("free_aligned_sized", object, nbytes);
	if (object && (!is_power_of_two(align) || (uintptr_t)object % align != 0))
		report_misuse("freed with an alignment that it does not have", object);
	free(object);
}

#pragma GCC visibility pop

/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
