/* tests/sched/runtime.c: what code compiled with -fsanitize=thread calls, by the compilers' interface (gcc/tsan.h, llvm tsan_interface.h): every access
 * comes by here. Outside of a run it is just done.
 */
#include "internal.h"

#include <string.h>

#define PC __builtin_return_address(0)

/* The compilers have these names built in, with types of their own; declared here so that each definition has been. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wbuiltin-declaration-mismatch"
#endif

void __tsan_init(void)
{
}

void __tsan_func_entry(const void *pc)
{
	(void)pc;
}

void __tsan_func_exit(void)
{
}

#define PLAIN(name, nbytes, is_write)                                                                                  \
	void name(const volatile void *where)                                                                          \
	{                                                                                                              \
		if (sched_is_running())                                                                                \
			race_plain(where, nbytes, is_write, PC);                                                       \
	}

PLAIN(__tsan_read1, 1, false)
PLAIN(__tsan_read2, 2, false)
PLAIN(__tsan_read4, 4, false)
PLAIN(__tsan_read8, 8, false)
PLAIN(__tsan_read16, 16, false)
PLAIN(__tsan_write1, 1, true)
PLAIN(__tsan_write2, 2, true)
PLAIN(__tsan_write4, 4, true)
PLAIN(__tsan_write8, 8, true)
PLAIN(__tsan_write16, 16, true)
PLAIN(__tsan_unaligned_read2, 2, false)
PLAIN(__tsan_unaligned_read4, 4, false)
PLAIN(__tsan_unaligned_read8, 8, false)
PLAIN(__tsan_unaligned_read16, 16, false)
PLAIN(__tsan_unaligned_write2, 2, true)
PLAIN(__tsan_unaligned_write4, 4, true)
PLAIN(__tsan_unaligned_write8, 8, true)
PLAIN(__tsan_unaligned_write16, 16, true)
/* Volatile accesses order nothing, but are used where tearing is meant not to matter: a race all the same. */
PLAIN(__tsan_volatile_read1, 1, false)
PLAIN(__tsan_volatile_read2, 2, false)
PLAIN(__tsan_volatile_read4, 4, false)
PLAIN(__tsan_volatile_read8, 8, false)
PLAIN(__tsan_volatile_write1, 1, true)
PLAIN(__tsan_volatile_write2, 2, true)
PLAIN(__tsan_volatile_write4, 4, true)
PLAIN(__tsan_volatile_write8, 8, true)

void __tsan_read_range(const volatile void *where, size_t nbytes)
{
	if (sched_is_running())
		race_plain(where, nbytes, false, PC);
}

void __tsan_write_range(const volatile void *where, size_t nbytes)
{
	if (sched_is_running())
		race_plain(where, nbytes, true, PC);
}

void *__tsan_memset(void *to, int value, size_t nbytes)
{
	if (sched_is_running())
		race_plain(to, nbytes, true, PC);
	return memset(to, value, nbytes);
}

void *__tsan_memcpy(void *to, const void *from, size_t nbytes)
{
	if (sched_is_running()) {
		race_plain(from, nbytes, false, PC);
		race_plain(to, nbytes, true, PC);
	}
	return memcpy(to, from, nbytes);
}

void *__tsan_memmove(void *to, const void *from, size_t nbytes)
{
	if (sched_is_running()) {
		race_plain(from, nbytes, false, PC);
		race_plain(to, nbytes, true, PC);
	}
	return memmove(to, from, nbytes);
}

/* Memory orders as the compilers number them: relaxed 0, consume 1, acquire 2, release 3, acq_rel 4, seq_cst 5. */
static enum race_order order_of(int mo)
{
	static const enum race_order orders[] = {RACE_RELAXED, RACE_ACQUIRE, RACE_ACQUIRE,
						 RACE_RELEASE, RACE_BOTH,    RACE_BOTH};

	return orders[mo & 7];
}

/* Others first; then this access is one step, nobody in between. */
static void before(const volatile void *where, size_t nbytes, enum race_kind kind, int mo, const void *pc)
{
	if (!sched_is_running())
		return;
	sched_before_atomic(where, kind != RACE_LOAD);
	race_atomic(where, nbytes, kind, order_of(mo), pc);
}

/* NOLINTBEGIN(bugprone-macro-parentheses): types cannot have any. */
static void after(const volatile void *where, enum race_kind kind, bool changed)
{
	if (sched_is_running())
		sched_after_atomic(where, kind != RACE_LOAD, changed);
}

#define UPDATE(bits, type, name, result)                                                                               \
	type __tsan_atomic##bits##_##name(volatile type *where, type value, int mo)                                    \
	{                                                                                                              \
		type old;                                                                                              \
		before(where, sizeof(type), RACE_UPDATE, mo, PC);                                                      \
		old = *where;                                                                                          \
		*where = (type)(result);                                                                               \
		after(where, RACE_UPDATE, *where != old);                                                              \
		return old;                                                                                            \
	}

/* A swap that fails is a load. Whether it will is known only when it is this thread's turn. */
#define SWAP(bits, type)                                                                                               \
	static type swap##bits(volatile type *where, type expected, type value, int mo, int failed_mo, const void *pc) \
	{                                                                                                              \
		type found;                                                                                            \
		if (sched_is_running())                                                                                \
			sched_before_atomic(where, true);                                                              \
		found = *where;                                                                                        \
		if (sched_is_running()) {                                                                              \
			if (found == expected)                                                                         \
				race_atomic(where, sizeof(type), RACE_UPDATE, order_of(mo), pc);                       \
			else                                                                                           \
				race_atomic(where, sizeof(type), RACE_LOAD, order_of(failed_mo), pc);                  \
		}                                                                                                      \
		if (found == expected)                                                                                 \
			*where = value;                                                                                \
		after(where, found == expected ? RACE_UPDATE : RACE_LOAD, *where != found);                            \
		return found;                                                                                          \
	}                                                                                                              \
	int __tsan_atomic##bits##_compare_exchange_strong(volatile type *where, type *expected, type value, int mo,    \
							  int failed_mo)                                               \
	{                                                                                                              \
		type wanted = *expected;                                                                               \
		*expected = swap##bits(where, wanted, value, mo, failed_mo, PC);                                       \
		return *expected == wanted;                                                                            \
	}                                                                                                              \
	int __tsan_atomic##bits##_compare_exchange_weak(volatile type *where, type *expected, type value, int mo,      \
							int failed_mo)                                                 \
	{                                                                                                              \
		type wanted = *expected;                                                                               \
		*expected = swap##bits(where, wanted, value, mo, failed_mo, PC);                                       \
		return *expected == wanted;                                                                            \
	}                                                                                                              \
	type __tsan_atomic##bits##_compare_exchange_val(volatile type *where, type expected, type value, int mo,       \
							int failed_mo)                                                 \
	{                                                                                                              \
		return swap##bits(where, expected, value, mo, failed_mo, PC);                                          \
	}

#define ATOMIC(bits, type)                                                                                             \
	type __tsan_atomic##bits##_load(const volatile type *where, int mo)                                            \
	{                                                                                                              \
		before(where, sizeof(type), RACE_LOAD, mo, PC);                                                        \
		after(where, RACE_LOAD, false);                                                                        \
		return *where;                                                                                         \
	}                                                                                                              \
	void __tsan_atomic##bits##_store(volatile type *where, type value, int mo)                                     \
	{                                                                                                              \
		before(where, sizeof(type), RACE_STORE, mo, PC);                                                       \
		*where = value;                                                                                        \
		after(where, RACE_STORE, true);                                                                        \
	}                                                                                                              \
	UPDATE(bits, type, exchange, value)                                                                            \
	UPDATE(bits, type, fetch_add, old + value)                                                                     \
	UPDATE(bits, type, fetch_sub, old - value)                                                                     \
	UPDATE(bits, type, fetch_and, old &value)                                                                      \
	UPDATE(bits, type, fetch_or, old | value)                                                                      \
	UPDATE(bits, type, fetch_xor, old ^ value)                                                                     \
	UPDATE(bits, type, fetch_nand, ~(old & value))                                                                 \
	SWAP(bits, type)

ATOMIC(8, uint8_t)
ATOMIC(16, uint16_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)
/* NOLINTEND(bugprone-macro-parentheses) */

void __tsan_atomic_thread_fence(int mo)
{
	(void)mo;
}

void __tsan_atomic_signal_fence(int mo)
{
	(void)mo;
}
