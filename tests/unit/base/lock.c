/* tests/unit/base/lock.c: spin locks, and the witness of their order with the exact text of each of its panics. */
#include <base/check.h>
#include <base/lock.h>
#include <base/percpu.h>
#include <base/print.h>

#include "rig.h"
#include "tap.h"

static struct loam_lock outer;
static struct loam_lock inner;

static void fresh(void)
{
	outer = LOAMI_LOCK_INIT(LOAMI_RANK_PAGETABLE);
	inner = LOAMI_LOCK_INIT(LOAMI_RANK_FRAME_CHUNK);
}

static void needs_witness(void)
{
	if (LOAM_CHECKS < LOAM_CHECKS_DEBUG)
		tap_skip("the witness is there in debug builds");
}

/* After an expected panic: nothing is held, whatever the environment made of it. */
static void let_go(unsigned long state)
{
	loami_witness_forget();
	fresh();
	loam_port_irq_restore(state);
}

/* Ranks as bits, as the panics print them. */
static unsigned int bit(enum loami_rank rank)
{
	return 1u << rank;
}

TEST(base_lock_is_held_and_released)
{
	unsigned long other = 0;

	fresh();
	unsigned long state = loami_lock_irq(&outer);

	CHECK_EQ(outer.word, 1);
	CHECK(loami_lock_held(&outer));
	loami_lock(&inner);
	CHECK_EQ(inner.word, 1);
	CHECK(!loami_trylock_irq(&inner, &other));
	loami_unlock(&inner);
	CHECK_EQ(inner.word, 0);
	loami_unlock_irq(&outer, state);
	CHECK_EQ(outer.word, 0);
	CHECK(loami_trylock_irq(&inner, &other));
	loami_unlock_irq(&inner, other);
}

TEST(base_lock_against_the_order_is_named)
{
	char expected[128];

	needs_witness();
	fresh();
	unsigned long state = loami_lock_irq(&inner);

	(void)loami_format(expected, sizeof(expected), "loam: lock order: rank %u taken while holding ranks 0x%x",
			   (unsigned int)LOAMI_RANK_PAGETABLE, bit(LOAMI_RANK_FRAME_CHUNK));
	CHECK_PANIC(loami_lock(&outer), expected);
	CHECK_EQ(outer.word, 0); /* and was not taken */
	let_go(state);
}

TEST(base_lock_of_the_rank_one_holds_is_named)
{
	struct loam_lock twin = LOAMI_LOCK_INIT(LOAMI_RANK_PAGETABLE);
	char expected[128];

	needs_witness();
	fresh();
	unsigned long state = loami_lock_irq(&outer);

	(void)loami_format(expected, sizeof(expected), "loam: lock order: rank %u taken while holding ranks 0x%x",
			   (unsigned int)LOAMI_RANK_PAGETABLE, bit(LOAMI_RANK_PAGETABLE));
	CHECK_PANIC(loami_lock(&outer), expected); /* else it would wait for itself */
	let_go(state);
	state = loami_lock_irq(&outer);
	CHECK_PANIC(loami_lock(&twin), expected);
	CHECK_EQ(twin.word, 0);
	let_go(state);
}

TEST(base_lock_trylock_may_go_against_the_order)
{
	fresh();
	unsigned long state = loami_lock_irq(&inner);

	CHECK(loami_trylock(&outer));
	loami_unlock(&outer);
	loami_unlock_irq(&inner, state);
}

TEST(base_lock_never_initialised_is_named)
{
	struct loam_lock raw = {0};
	struct loam_lock wild = {.rank = LOAMI_RANK_COUNT};
	char expected[128];

	needs_witness();
	unsigned long state = loam_port_irq_save();

	(void)loami_format(expected, sizeof(expected), "loam: lock %p was never initialised (rank 0)", (void *)&raw);
	CHECK_PANIC(loami_lock(&raw), expected);
	(void)loami_format(expected, sizeof(expected), "loam: lock %p was never initialised (rank %u)", (void *)&wild,
			   (unsigned int)LOAMI_RANK_COUNT);
	CHECK_PANIC(loami_lock(&wild), expected);
	let_go(state);
}

TEST(base_lock_released_by_somebody_else_is_named)
{
	char expected[128];

	needs_witness();
	fresh();
	(void)loami_format(expected, sizeof(expected), "loam: unlock of rank %u, which this CPU does not hold",
			   (unsigned int)LOAMI_RANK_PAGETABLE);
	unsigned long state = loam_port_irq_save();

	outer.word = 1;
	CHECK_PANIC(loami_unlock(&outer), expected);
	CHECK_EQ(outer.word, 1); /* and was not released */
	let_go(state);
}

TEST(base_assertions_say_what_and_where)
{
	char expected[128];
	int line = __LINE__;

	needs_witness();
	(void)loami_format(expected, sizeof(expected), "loam: assertion failed: line == 0 at %s:%d", __FILE__,
			   line + 5);
	CHECK_PANIC(LOAMI_ASSERT(line == 0), expected);
}

TEST(base_misuse_and_corruption_carry_their_values)
{
	CHECK_PANIC(loami_misuse("loam: test: %s %u", "value", 7u), "loam: test: value 7");
	CHECK_PANIC(loami_corrupt("loam: test: 0x%lx", 0xabcul), "loam: test: 0xabc");
}

TEST(base_busy_byte_is_entered_once)
{
	uint8_t busy = 0;

	CHECK(loami_busy_enter(&busy));
	CHECK(!loami_busy_enter(&busy)); /* an interrupt in between */
	loami_busy_leave(&busy);
	CHECK(loami_busy_enter(&busy));
}

enum { ROUNDS = 2000 };

static uint64_t shared;

/* An increment that loses updates unless the lock holds others off. */
static bool add_up(struct rig *rig, unsigned int cpu, void *context)
{
	(void)rig;
	(void)cpu;
	for (unsigned int i = 0; i < ROUNDS; i++) {
		unsigned long state = loami_lock_irq(context);
		uint64_t before = shared;

		for (volatile unsigned int j = 0; j < 4; j++)
			continue;
		shared = before + 1;
		loami_unlock_irq(context, state);
	}
	return true;
}

TEST(base_lock_keeps_cpus_apart)
{
	struct rig_config config = {.npages = 64, .ncpus = rig_cpus() < 4 ? rig_cpus() : 4, .no_frames = true};
	struct rig *rig = rig_create(&config);

	fresh();
	shared = 0;
	CHECK(rig_run(rig, add_up, &outer));
	CHECK_EQ(shared, (uint64_t)ROUNDS * rig->ncpus);
	rig_destroy(rig);
}
