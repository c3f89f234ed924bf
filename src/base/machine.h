/* base/machine.h: the one place in base that knows compilers and instruction sets: what a machine has, and what is better said in its own words.
 *
 * What stands here in assembler is what C11 makes of the same operations (RISC-V: table A.6 of the unprivileged specification), so it goes together with what compilers make of
 * the others. GCC 12 on RISC-V makes every atomic store a swap, with a fence before it where there is an order, and forgets the release of a compare-and-swap whose
 * failure asks for less (its bug 100265). On both load-and-store machines its compare-and-swap compares once more than is needed.
 */
#ifndef LOAMI_BASE_MACHINE_H
#define LOAMI_BASE_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#if defined(__x86_64__) || defined(__aarch64__) || defined(__riscv_zbb)
#define LOAMI_HAS_BIT_SCAN 1
#endif
#if defined(__POPCNT__) || defined(__riscv_zbb)
#define LOAMI_HAS_POPCOUNT 1
#endif

/* One instruction adds to memory, or compares with it. */
#if defined(__x86_64__)
#define LOAMI_ADDS_TO_MEMORY 1
#endif

/* A compiler that watches threads has to see what is atomic. */
#if defined(__SANITIZE_THREAD__)
#define LOAMI_WATCHES_THREADS 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LOAMI_WATCHES_THREADS 1
#endif
#endif

/* A function that calls nothing but last needs no frame: backtraces know its caller by the register of return addresses. GCC on RISC-V makes it one where others have frames. */
#if defined(__riscv) && defined(__GNUC__) && !defined(__clang__)
#define LOAMI_LEAF __attribute__((optimize("omit-frame-pointer")))
#else
#define LOAMI_LEAF
#endif

#if defined(LOAMI_ADDS_TO_MEMORY) && !defined(LOAMI_WATCHES_THREADS)
/* One less in @word, in one instruction: is it 0 now? Compilers do not always see that it can be one. */
static inline __attribute__((always_inline)) bool loami_machine_count_down(uint64_t *word)
{
	bool more;

	__asm__ volatile("subq $1, %0" : "+m"(*word), "=@ccnz"(more));
	return !more;
}
#endif

/* A volatile access is one access, of its width: what relaxed ones are, but that GCC addresses those by a register alone. */
#if (defined(__aarch64__) || defined(__riscv)) && !defined(LOAMI_WATCHES_THREADS)
#define LOAMI_MACHINE_ACCESSES 1
#define loami_machine_load(p) (*(const volatile __typeof__(*(p)) *)(p))
#define loami_machine_store(p, v) ((void)(*(volatile __typeof__(*(p)) *)(p) = (v)))
#endif

/* ---- swapping a word: all that is asked is whether it went well -------------------------------------------------------------- */

#if defined(__aarch64__) && !defined(__ARM_FEATURE_ATOMICS) && !defined(LOAMI_WATCHES_THREADS)
#define LOAMI_MACHINE_SWAPS 1
static inline __attribute__((always_inline)) bool loami_machine_swap(uint64_t *word, uint64_t was, uint64_t is)
{
	__asm__ goto("1:\tldaxr x16, [%0]\n\tcmp x16, %1\n\tb.ne %l3\n\tstlxr w17, %2, [%0]\n\tcbnz w17, 1b"
		     :
		     : "r"(word), "r"(was), "r"(is)
		     : "x16", "x17", "cc", "memory"
		     : another);
	return true;
another:
	return false;
}
#endif

#if defined(__riscv) && !defined(LOAMI_WATCHES_THREADS)
#define LOAMI_MACHINE_SWAPS 1
static inline __attribute__((always_inline)) bool loami_machine_swap(uint64_t *word, uint64_t was, uint64_t is)
{
	__asm__ goto("1:\tlr.d.aq t5, (%0)\n\tbne t5, %1, %l3\n\tsc.d.rl t6, %2, (%0)\n\tbnez t6, 1b"
		     :
		     : "r"(word), "r"(was), "r"(is)
		     : "t5", "t6", "memory"
		     : another);
	return true;
another:
	return false;
}

/* ---- RISC-V's atomics ----------------------------------------------------------------------------------------------------------- */

#define LOAMI_MACHINE_ATOMICS 1

static inline __attribute__((always_inline)) bool loami_machine_cas_64(uint64_t *word, uint64_t *expected,
								       uint64_t desired)
{
	uint64_t seen, was = *expected, failed;

	__asm__ volatile("1:\tlr.d.aq %0, (%2)\n\tbne %0, %3, 2f\n\tsc.d.rl %1, %z4, (%2)\n\tbnez %1, 1b\n2:"
			 : "=&r"(seen), "=&r"(failed)
			 : "r"(word), "r"(was), "rJ"(desired)
			 : "memory");
	*expected = seen;
	return seen == was;
}

/* What LR leaves of a word is its sign, in all of the register. */
static inline __attribute__((always_inline)) bool loami_machine_cas_32(uint32_t *word, uint32_t *expected,
								       uint32_t desired)
{
	int64_t seen, was = (int32_t)*expected, failed;

	__asm__ volatile("1:\tlr.w.aq %0, (%2)\n\tbne %0, %3, 2f\n\tsc.w.rl %1, %z4, (%2)\n\tbnez %1, 1b\n2:"
			 : "=&r"(seen), "=&r"(failed)
			 : "r"(word), "r"(was), "rJ"(desired)
			 : "memory");
	*expected = (uint32_t)seen;
	return seen == was;
}

/* Of less than a word there is none: that is not to compile. */
#define LOAMI_MACHINE_WORD(p) _Static_assert(sizeof(*(p)) >= sizeof(uint32_t), "a word")

#define loami_machine_cas(p, expected, desired)                                                                        \
	__extension__({                                                                                                \
		LOAMI_MACHINE_WORD(p);                                                                                 \
		sizeof(*(p)) == 8 ? loami_machine_cas_64((uint64_t *)(void *)(p), (uint64_t *)(void *)(expected),      \
							 (uint64_t)(uintptr_t)(desired))                               \
				  : loami_machine_cas_32((uint32_t *)(void *)(p), (uint32_t *)(void *)(expected),      \
							 (uint32_t)(uintptr_t)(desired));                              \
	})

/* The value before, by amoOP.ORDER. */
#define loami_machine_amo(op, order, p, v)                                                                             \
	__extension__({                                                                                                \
		__typeof__(&*(p)) loami_at = (p);                                                                      \
		__typeof__(*loami_at) loami_v = (v), loami_before;                                                     \
		LOAMI_MACHINE_WORD(loami_at);                                                                          \
		if (sizeof(*loami_at) == 8)                                                                            \
			__asm__ volatile(#op ".d." #order " %0, %z2, (%1)"                                             \
					 : "=r"(loami_before)                                                          \
					 : "r"(loami_at), "rJ"(loami_v)                                                \
					 : "memory");                                                                  \
		else                                                                                                   \
			__asm__ volatile(#op ".w." #order " %0, %z2, (%1)"                                             \
					 : "=r"(loami_before)                                                          \
					 : "r"(loami_at), "rJ"(loami_v)                                                \
					 : "memory");                                                                  \
		loami_before;                                                                                          \
	})

/* A store with release: of a word, by a swap that has it; of less, behind a fence. */
#define loami_machine_store_release(p, v)                                                                              \
	__extension__({                                                                                                \
		__typeof__(&*(p)) loami_at = (p);                                                                      \
		__typeof__(*loami_at) loami_v = (v);                                                                   \
		if (sizeof(*loami_at) == 8) {                                                                          \
			__asm__ volatile("amoswap.d.rl zero, %z1, (%0)" : : "r"(loami_at), "rJ"(loami_v) : "memory");  \
		} else if (sizeof(*loami_at) == 4) {                                                                   \
			__asm__ volatile("amoswap.w.rl zero, %z1, (%0)" : : "r"(loami_at), "rJ"(loami_v) : "memory");  \
		} else {                                                                                               \
			__asm__ volatile("fence rw, w" : : : "memory");                                                \
			loami_machine_store(loami_at, loami_v);                                                        \
		}                                                                                                      \
	})
#endif

#endif
