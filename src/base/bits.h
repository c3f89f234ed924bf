/* base/bits.h: counting and finding bits without a compiler library.
 *
 * The builtins are right wherever the machine has the instruction; where it has none (RISC-V without Zbb, AArch64 popcount, which
 * wants a vector register) they become calls into libgcc, which kernels do not link. machine.h says which is which.
 */
#ifndef LOAMI_BASE_BITS_H
#define LOAMI_BASE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "machine.h"

/* Ones in @x. Hacker's Delight, 5-1. */
static inline unsigned int loami_popcount64(uint64_t x)
{
#ifdef LOAMI_HAS_POPCOUNT
	return (unsigned int)__builtin_popcountll(x);
#else
	x = x - ((x >> 1) & UINT64_C(0x5555555555555555));
	x = (x & UINT64_C(0x3333333333333333)) + ((x >> 2) & UINT64_C(0x3333333333333333));
	x = (x + (x >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	return (unsigned int)((x * UINT64_C(0x0101010101010101)) >> 56);
#endif
}

/* Index of the lowest one. @x is not 0. */
static inline unsigned int loami_ctz64(uint64_t x)
{
#ifdef LOAMI_HAS_BIT_SCAN
	return (unsigned int)__builtin_ctzll(x);
#else
	return loami_popcount64((x & (0 - x)) - 1);
#endif
}

/* Index of the highest one. @x is not 0. */
static inline unsigned int loami_log2_floor(uint64_t x)
{
#ifdef LOAMI_HAS_BIT_SCAN
	return 63 - (unsigned int)__builtin_clzll(x);
#else
	x |= x >> 1;
	x |= x >> 2;
	x |= x >> 4;
	x |= x >> 8;
	x |= x >> 16;
	x |= x >> 32;
	return loami_popcount64(x) - 1;
#endif
}

/* The least n with 2^n >= @x; 0 for 0 and 1. */
static inline unsigned int loami_log2_ceil(uint64_t x)
{
	return x <= 1 ? 0 : loami_log2_floor(x - 1) + 1;
}

static inline bool loami_is_power_of_two(uint64_t x)
{
	return x != 0 && (x & (x - 1)) == 0;
}

/* @align is a power of two; the caller has excluded overflow. */
static inline uint64_t loami_align_up(uint64_t x, uint64_t align)
{
	return (x + align - 1) & ~(align - 1);
}

static inline uint64_t loami_align_down(uint64_t x, uint64_t align)
{
	return x & ~(align - 1);
}

static inline bool loami_is_aligned(uint64_t x, uint64_t align)
{
	return (x & (align - 1)) == 0;
}

/* The low @n bits set, 0 <= @n <= 64. */
static inline uint64_t loami_mask64(unsigned int n)
{
	return n >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1;
}

/* a + b and a * b; true when they wrap. */
#define loami_add_overflows(a, b, sum) __builtin_add_overflow((a), (b), (sum))
#define loami_mul_overflows(a, b, product) __builtin_mul_overflow((a), (b), (product))

#define LOAMI_LIKELY(x) __builtin_expect(!!(x), 1)
#define LOAMI_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define LOAMI_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define LOAMI_CONTAINER(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* @x, of which the compiler has forgotten all it knew: no instruction. It then takes what it already has, and does not keep addresses for later. */
#define LOAMI_OPAQUE(x)                                                                                                \
	__extension__({                                                                                                \
		__typeof__(x) loami_opaque = (x);                                                                      \
		__asm__("" : "+r"(loami_opaque));                                                                      \
		loami_opaque;                                                                                          \
	})
/* An address that is used more than once, as one sum. Where an instruction may name memory by two registers and add to it, compilers know best. */
#ifdef LOAMI_ADDS_TO_MEMORY
#define LOAMI_ADDRESS(x) (x)
#else
#define LOAMI_ADDRESS(x) LOAMI_OPAQUE(x)
#endif

#endif
