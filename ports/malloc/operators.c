/* ports/malloc/operators.c: C++'s operators new and delete, by their names in the Itanium ABI: the C++ library's own would come here by malloc() and free(), with a call more.
 *
 * When there is no memory, new calls the new-handler until there is none, then throws: both are the C++ library's, and are there when the program has one. Built with -fexceptions, for
 * the exception passes through.
 */
#include "private.h"

#include <errno.h>
#include <stdlib.h>

typedef void (*handler_fn)(void);
extern handler_fn get_new_handler(void) __asm__("_ZSt15get_new_handlerv") __attribute__((weak));
extern LOAM_NORETURN void throw_bad_alloc(void) __asm__("_ZSt17__throw_bad_allocv") __attribute__((weak));

static __attribute__((noinline)) void *new_slow(size_t nbytes, size_t align, bool nothrow)
{
	for (;;) {
		void *object = malloc_slow("operator new", nbytes, align, false);
		handler_fn handler;

		if (object)
			return object;
		handler = get_new_handler ? get_new_handler() : NULL;
		if (handler)
			handler();
		else if (nothrow)
			return NULL;
		else if (throw_bad_alloc)
			throw_bad_alloc();
		else
			abort();
	}
}

static inline __attribute__((always_inline)) void *new (size_t nbytes, bool nothrow)
{
	void *object = quick_alloc(nbytes);

	return LIKELY(object != NULL) ? object : new_slow(nbytes, LOAM_HEAP_MIN_ALIGN, nothrow);
}

static inline __attribute__((always_inline)) void delete (void *object)
{
	if (UNLIKELY(!quick_free(object)))
		free_slow("operator delete", object);
}

/* A size is a hint of the compiler's; what counts is what is there. */
#define NEW(name, args, nbytes, align, nothrow)                                                                        \
	void *loam_malloc_##name args __asm__(#name);                                                                  \
	__attribute__((flatten)) void *loam_malloc_##name args                                                         \
	{                                                                                                              \
		return (align) > LOAM_HEAP_MIN_ALIGN ? new_slow(nbytes, align, nothrow) : new (nbytes, nothrow);       \
	}
#define DELETE(name, args)                                                                                             \
	void loam_malloc_##name args __asm__(#name);                                                                   \
	__attribute__((flatten)) void loam_malloc_##name args                                                          \
	{                                                                                                              \
		delete (object);                                                                                       \
	}

#pragma GCC visibility push(default)

NEW(_Znwm, (size_t n), n, 1, false)
NEW(_Znam, (size_t n), n, 1, false)
NEW(_ZnwmRKSt9nothrow_t, (size_t n, const void *tag __attribute__((unused))), n, 1, true)
NEW(_ZnamRKSt9nothrow_t, (size_t n, const void *tag __attribute__((unused))), n, 1, true)
NEW(_ZnwmSt11align_val_t, (size_t n, size_t align), n, align, false)
NEW(_ZnamSt11align_val_t, (size_t n, size_t align), n, align, false)
NEW(_ZnwmSt11align_val_tRKSt9nothrow_t, (size_t n, size_t align, const void *tag __attribute__((unused))), n, align,
    true)
NEW(_ZnamSt11align_val_tRKSt9nothrow_t, (size_t n, size_t align, const void *tag __attribute__((unused))), n, align,
    true)

DELETE(_ZdlPv, (void *object))
DELETE(_ZdaPv, (void *object))
DELETE(_ZdlPvm, (void *object, size_t n __attribute__((unused))))
DELETE(_ZdaPvm, (void *object, size_t n __attribute__((unused))))
DELETE(_ZdlPvRKSt9nothrow_t, (void *object, const void *tag __attribute__((unused))))
DELETE(_ZdaPvRKSt9nothrow_t, (void *object, const void *tag __attribute__((unused))))
DELETE(_ZdlPvSt11align_val_t, (void *object, size_t align __attribute__((unused))))
DELETE(_ZdaPvSt11align_val_t, (void *object, size_t align __attribute__((unused))))
DELETE(_ZdlPvmSt11align_val_t, (void *object, size_t n __attribute__((unused)), size_t align __attribute__((unused))))
DELETE(_ZdaPvmSt11align_val_t, (void *object, size_t n __attribute__((unused)), size_t align __attribute__((unused))))
DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t,
       (void *object, size_t align __attribute__((unused)), const void *tag __attribute__((unused))))
DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t,
       (void *object, size_t align __attribute__((unused)), const void *tag __attribute__((unused))))

#pragma GCC visibility pop
