/* base/poison.h: telling an address sanitizer which memory of the heap is nobody's just now.
 *
 * Where Loam is compiled with -fsanitize=address (or -fsanitize=kernel-address), as an embedder's sanitizer build does, a freed object is poisoned until it is handed
 * out again: whoever reads or writes it is stopped at that instruction, as with the sanitizer's own malloc. A kernel brings the two functions along with the
 * rest of the sanitizer's runtime. In any other build this is nothing.
 */
#ifndef LOAMI_BASE_POISON_H
#define LOAMI_BASE_POISON_H

#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define LOAMI_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LOAMI_POISONS 1
#endif
#endif

#ifdef LOAMI_POISONS
void __asan_poison_memory_region(const volatile void *at, size_t nbytes);
void __asan_unpoison_memory_region(const volatile void *at, size_t nbytes);
#define loami_poison(at, nbytes) __asan_poison_memory_region((at), (nbytes))
#define loami_unpoison(at, nbytes) __asan_unpoison_memory_region((at), (nbytes))
#else
#define loami_poison(at, nbytes) ((void)(at), (void)(nbytes))
#define loami_unpoison(at, nbytes) ((void)(at), (void)(nbytes))
#endif

#endif
