/* base/atomic.h: every atomic access of the library goes through here, so that a test build can stand between any two of them.
 *
 * Fields are plain integers and pointers (the public structs must be C++ too); the builtins give them their order. There are no
 * bare fences: acquire, release and seq_cst operations only, so that the thread sanitizer sees all. Read-modify-writes are 32 or
 * 64 bits wide: RISC-V without Zabha would call a library for less. Bytes may be loaded and stored, and swapped by loami_swap_byte().
 *
 * With LOAM_POINTS, each access first calls loami_point(): there the deterministic scheduler switches threads and the host machine
 * lets interrupts in. Plain code between two atomics cannot be seen by another CPU, so these are all the points there are; code that
 * only an interrupt on the same CPU can see adds LOAMI_POINT() by hand.
 */
#ifndef LOAMI_BASE_ATOMIC_H
#define LOAMI_BASE_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#include "machine.h"

/* LOAMI_AT(p) is p, evaluated once, with a point before its access. */
#ifdef LOAM_POINTS
void loami_point(const volatile void *where);
static inline void *loami_at(const volatile void *p)
{
	loami_point(p);
	return (void *)(__UINTPTR_TYPE__)p;
}
#define LOAMI_AT(p) ((__typeof__(p))loami_at(p))
#define LOAMI_POINT() loami_point((const volatile void *)0)
#else
#define LOAMI_AT(p) (p)
#define LOAMI_POINT() ((void)0)
#endif

#ifdef LOAMI_MACHINE_ACCESSES
#define loami_load_relaxed(p) loami_machine_load(LOAMI_AT(p))
#define loami_store_relaxed(p, v) loami_machine_store(LOAMI_AT(p), (v))
#else
#define loami_load_relaxed(p) __atomic_load_n(LOAMI_AT(p), __ATOMIC_RELAXED)
#define loami_store_relaxed(p, v) __atomic_store_n(LOAMI_AT(p), (v), __ATOMIC_RELAXED)
#endif
#define loami_load_acquire(p) __atomic_load_n(LOAMI_AT(p), __ATOMIC_ACQUIRE)
#define loami_load_seq(p) __atomic_load_n(LOAMI_AT(p), __ATOMIC_SEQ_CST)

#define loami_store_seq(p, v) __atomic_store_n(LOAMI_AT(p), (v), __ATOMIC_SEQ_CST)

/* Exchange and fetch-and-op return the value before. The unsuffixed ones are acquire-release. */
#define loami_exchange_acquire(p, v) __atomic_exchange_n(LOAMI_AT(p), (v), __ATOMIC_ACQUIRE)
#define loami_exchange_seq(p, v) __atomic_exchange_n(LOAMI_AT(p), (v), __ATOMIC_SEQ_CST)
#define loami_fetch_add_relaxed(p, v) __atomic_fetch_add(LOAMI_AT(p), (v), __ATOMIC_RELAXED)
#define loami_fetch_sub_relaxed(p, v) __atomic_fetch_sub(LOAMI_AT(p), (v), __ATOMIC_RELAXED)
#define loami_fetch_or_relaxed(p, v) __atomic_fetch_or(LOAMI_AT(p), (v), __ATOMIC_RELAXED)
#define loami_fetch_and_relaxed(p, v) __atomic_fetch_and(LOAMI_AT(p), (v), __ATOMIC_RELAXED)
#define loami_fetch_add_seq(p, v) __atomic_fetch_add(LOAMI_AT(p), (v), __ATOMIC_SEQ_CST)
#define loami_fetch_or_seq(p, v) __atomic_fetch_or(LOAMI_AT(p), (v), __ATOMIC_SEQ_CST)

/* loami_cas() is compare and swap; true when it swapped, and whatever it found is in *expected. Acquire-release, acquire on failure. */
#ifdef LOAMI_MACHINE_ATOMICS
#define loami_store_release(p, v) loami_machine_store_release(LOAMI_AT(p), (v))
#define loami_exchange(p, v) loami_machine_amo(amoswap, aqrl, LOAMI_AT(p), (v))
#define loami_fetch_add(p, v) loami_machine_amo(amoadd, aqrl, LOAMI_AT(p), (v))
#define loami_fetch_sub(p, v)                                                                                          \
	loami_machine_amo(amoadd, aqrl, LOAMI_AT(p), (__typeof__(*(p)))(0 - (__typeof__(*(p)))(v)))
#define loami_fetch_or(p, v) loami_machine_amo(amoor, aqrl, LOAMI_AT(p), (v))
#define loami_fetch_and(p, v) loami_machine_amo(amoand, aqrl, LOAMI_AT(p), (v))
#define loami_fetch_sub_release(p, v)                                                                                  \
	loami_machine_amo(amoadd, rl, LOAMI_AT(p), (__typeof__(*(p)))(0 - (__typeof__(*(p)))(v)))
#define loami_cas(p, expected, desired) loami_machine_cas(LOAMI_AT(p), (expected), (desired))
#else
#define loami_store_release(p, v) __atomic_store_n(LOAMI_AT(p), (v), __ATOMIC_RELEASE)
#define loami_exchange(p, v) __atomic_exchange_n(LOAMI_AT(p), (v), __ATOMIC_ACQ_REL)
#define loami_fetch_add(p, v) __atomic_fetch_add(LOAMI_AT(p), (v), __ATOMIC_ACQ_REL)
#define loami_fetch_sub(p, v) __atomic_fetch_sub(LOAMI_AT(p), (v), __ATOMIC_ACQ_REL)
#define loami_fetch_or(p, v) __atomic_fetch_or(LOAMI_AT(p), (v), __ATOMIC_ACQ_REL)
#define loami_fetch_and(p, v) __atomic_fetch_and(LOAMI_AT(p), (v), __ATOMIC_ACQ_REL)
#define loami_fetch_sub_release(p, v) __atomic_fetch_sub(LOAMI_AT(p), (v), __ATOMIC_RELEASE)
#define loami_cas(p, expected, desired)                                                                                \
	__atomic_compare_exchange_n(LOAMI_AT(p), (expected), (desired), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
#endif

/* The same for a word of which only is asked whether it was @was. */
static inline __attribute__((always_inline)) bool loami_swap_word(uint64_t *word, uint64_t was, uint64_t is)
{
#ifdef LOAMI_MACHINE_SWAPS
	return loami_machine_swap(LOAMI_AT(word), was, is);
#else
	return loami_cas(word, &was, is);
#endif
}

/* A byte from @was to @is in one step; false: it was another. Acquire-release. Where there is no such instruction the word around it is swapped. */
static inline __attribute__((always_inline)) bool loami_swap_byte(uint8_t *byte, uint8_t was, uint8_t is)
{
#if defined(__GCC_HAVE_SYNC_COMPARE_AND_SWAP_1) && !defined(LOAMI_MACHINE_ATOMICS)
	return loami_cas(byte, &was, is);
#else
	uint32_t *word = (uint32_t *)(void *)((uintptr_t)byte & ~(uintptr_t)3);
	unsigned int shift = (unsigned int)((uintptr_t)byte & 3) * 8;
	uint32_t seen = loami_load_relaxed(word);

	while ((seen >> shift & 0xff) == was)
		if (loami_cas(word, &seen, (seen & ~(UINT32_C(0xff) << shift)) | (uint32_t)is << shift))
			return true;
	return false;
#endif
}

/* Order against an interrupt on this CPU only: the compiler may not move memory accesses across. No instruction. */
#define loami_compiler_barrier() (LOAMI_POINT(), __atomic_signal_fence(__ATOMIC_SEQ_CST))

#endif
