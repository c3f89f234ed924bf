/* paging/tlb.c: TLB shootdown by generations. docs/theory/tlb.md tells it at length; tests/model/tlb.pml proves it for small machines, with these names.
 *
 * 1 Steps. An initiator:  CLEAR entries (its own business), PUBLISH generation g, flush here, ASK each online CPU that lags, and later see DONE.
 *   A target:            ANSWER (asked = 0), LOOK (generation), FLUSH, REPORT (flushed = what it looked at).
 * 2 Ordering, for machines weaker than x86-64. Every arrow is a C11 happens-before or an entry in the order of sequentially consistent operations (S).
 *   a CLEAR -> PUBLISH -> LOOK -> FLUSH: PUBLISH is a release and LOOK an acquire, so a target that looks g sees the cleared entries before it flushes;
 *     its local flush instruction orders what the CPU has seen before it against its own later walks (SFENCE.VMA: privileged spec 12.2.1; TLBI: the
 *     port's dsb before it). On the initiator the same holds by program order.
 *   b FLUSH -> REPORT -> DONE -> reuse: REPORT is a release, DONE acquires it: whoever sees DONE writes to a frame no TLB names any more.
 *   c No ask is lost between CPUs: PUBLISH; ASK = exchange(asked, 1) against ANSWER; LOOK, all in S. If ASK found 1, an ANSWER follows it in S, hence so
 *     does its LOOK, which sees g. If it found 0 an IPI goes out.
 *   d No CPU is overlooked: PUBLISH; read state, against (idle exit, online) state = ONLINE; LOOK, all in S. Either the initiator sees ONLINE and
 *     asks, or the CPU sees g and flushes before it goes on.
 * 3 Recent ranges. Slot g % RECENT holds what generation g asked for. A target reads without a lock: the slot's number before and after; every word is
 *   stored by release and read by acquire, so whoever reads a word of a later generation also sees the number changed. A mismatch, or a lag of
 *   RECENT generations, means flush everything: always right.
 * 4 Deadlock. The lock is held for a few stores with interrupts masked; targets take no lock. A waiter answers for its own CPU in every round, so two
 *   CPUs that wait for each other, even with interrupts masked, both go on. IPIs that got lost are sent again by whoever waits.
 * 5 flushed, asked_at: written by their CPU with interrupts masked (broadcast: flushed of cpu 0 stands for all, raised by compare-and-swap).
 */
#include <loam/paging.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/lock.h"
#include "base/print.h"

enum {
	RECENT = 16,     /* generations whose ranges are remembered; a power of two */
	RANGES = 8,      /* of one generation; more become a full flush */
	GATHERED = 32,   /* ranges one CPU flushes at once */
	FULL_ABOVE = 32, /* invalidations; the default. Linux, measured: 33 */
	FULL_ABOVE_MAX = 64,
	ASK_AGAIN = 16,             /* times per timeout */
	ASK_AGAIN_ROUNDS = 1 << 12, /* without a clock */
	GIVE_UP_ROUNDS = 1 << 22,
};
#define TIMEOUT_NS UINT64_C(1000000000)
#define EVERYTHING UINT64_MAX /* instead of a count of ranges */

enum cpu_state { OFFLINE, ONLINE, IDLE };

struct loami_tlb_cpu {
	uint64_t flushed; /* all generations up to this one */
	uint64_t asked_at;
	uint32_t asked; /* an IPI is on its way, or was lost */
	uint32_t state; /* enum cpu_state; written by the CPU itself */
	char pad[LOAM_CPU_ALIGN - 24];
};

/* What one generation asks for. */
struct loami_tlb_recent {
	uint64_t generation; /* 0: being written */
	uint64_t nranges;    /* or EVERYTHING */
	struct {
		uint64_t start;
		uint64_t npages;
		uint64_t stride_shift;
	} ranges[RANGES];
};

_Static_assert(sizeof(struct loami_tlb_cpu) == LOAM_CPU_ALIGN, "CPUs on lines of their own");
_Static_assert((RECENT & (RECENT - 1)) == 0, "slots by mask");

/* ---- setting up ---- */

static size_t recent_offset(unsigned int ncpus)
{
	return (size_t)ncpus * sizeof(struct loami_tlb_cpu);
}

size_t loam_tlb_metadata_size(const struct loam_tlb_config *config)
{
	if (config == NULL || config->ncpus == 0 || config->ncpus > LOAM_CPUS_MAX)
		return 0;
	return recent_offset(config->ncpus) + RECENT * sizeof(struct loami_tlb_recent);
}

enum loam_status loam_tlb_init(struct loam_tlb *tlb, const struct loam_tlb_config *config, void *metadata,
			       size_t nbytes)
{
	if (tlb == NULL || config == NULL || metadata == NULL || config->full_above > FULL_ABOVE_MAX)
		return LOAM_ERR_INVALID;
	if (tlb->cpus != NULL)
		return LOAM_ERR_ALREADY;
	if (config->ncpus == 0 || config->ncpus > LOAM_CPUS_MAX)
		return LOAM_ERR_CPU;
	if (!loami_is_aligned((uintptr_t)metadata, LOAM_CPU_ALIGN))
		return LOAM_ERR_ALIGNMENT;
	if (nbytes < loam_tlb_metadata_size(config))
		return LOAM_ERR_NO_METADATA;
	__builtin_memset(metadata, 0, loam_tlb_metadata_size(config));
	*tlb = (struct loam_tlb){
		.cpus = metadata,
		.recent = (void *)((char *)metadata + recent_offset(config->ncpus)),
		.ncpus = config->ncpus,
		.full_above = config->full_above == 0 ? FULL_ABOVE : config->full_above,
		.broadcast = config->broadcast,
		.timeout_ns = config->timeout_ns == 0 ? TIMEOUT_NS : config->timeout_ns,
		.lock = LOAMI_LOCK_INIT(LOAMI_RANK_TLB),
	};
	return LOAM_OK;
}

/* This CPU. Interrupts are masked, or the answer is used for nothing but a check. */
static struct loami_tlb_cpu *this_cpu(const struct loam_tlb *tlb)
{
	unsigned int cpu = loam_port_cpu();

	if (cpu >= tlb->ncpus)
		loami_misuse("loam: tlb: called on cpu %u, but it was set up for %u", cpu, tlb->ncpus);
	return &tlb->cpus[cpu];
}

/* Whose flushed counts for @cpu. */
static struct loami_tlb_cpu *counter_of(const struct loam_tlb *tlb, struct loami_tlb_cpu *cpu)
{
	return tlb->broadcast ? &tlb->cpus[0] : cpu;
}

/* ---- the target ---- */

/* Invalidations that a range costs. */
static uint64_t strides(uint64_t npages, uint64_t stride_shift)
{
	uint64_t per_stride = UINT64_C(1) << (stride_shift - LOAM_PAGE_SHIFT);

	return npages / per_stride + 2; /* ends that are not aligned to the stride */
}

/* What the generations @from + 1 .. @to ask for. Return: the count of ranges, or EVERYTHING. */
static uint64_t gather(const struct loam_tlb *tlb, uint64_t from, uint64_t to, struct loam_tlb_range *ranges)
{
	uint64_t cost = 0;
	uint64_t count = 0;

	if (to - from >= RECENT)
		return EVERYTHING;
	for (uint64_t g = from + 1; g <= to; g++) {
		const struct loami_tlb_recent *slot = &tlb->recent[g % RECENT];

		if (loami_load_acquire(&slot->generation) != g)
			return EVERYTHING;
		uint64_t n = loami_load_acquire(&slot->nranges);

		if (n > RANGES || count + n > GATHERED)
			return EVERYTHING;
		for (uint64_t i = 0; i < n; i++) {
			struct loam_tlb_range *range = &ranges[count++];

			range->start = (uintptr_t)loami_load_acquire(&slot->ranges[i].start);
			range->npages = (size_t)loami_load_acquire(&slot->ranges[i].npages);
			range->stride_shift = (unsigned int)loami_load_acquire(&slot->ranges[i].stride_shift);
		}
		if (loami_load_acquire(&slot->generation) != g)
			return EVERYTHING;
		for (uint64_t i = count - n; i < count; i++)
			cost += strides(ranges[i].npages, ranges[i].stride_shift);
		if (cost > tlb->full_above)
			return EVERYTHING;
	}
	return count;
}

static void report(struct loam_tlb *tlb, struct loami_tlb_cpu *counter, uint64_t generation)
{
	uint64_t before = loami_load_relaxed(&counter->flushed);

	if (!tlb->broadcast) {
		loami_store_release(&counter->flushed, generation);
		return;
	}
	while (before < generation && !loami_cas(&counter->flushed, &before, generation))
		;
}

/* Flush here whatever has been asked for. Interrupts are masked. */
static void catch_up(struct loam_tlb *tlb, struct loami_tlb_cpu *cpu, bool everything)
{
	struct loam_tlb_range ranges[GATHERED];
	struct loami_tlb_cpu *counter = counter_of(tlb, cpu);
	uint64_t from;
	uint64_t to;
	uint64_t count;

	if (loami_load_relaxed(&cpu->asked) != 0)
		loami_store_seq(&cpu->asked, 0); /* ANSWER */
	from = loami_load_acquire(&counter->flushed);
	to = loami_load_seq(&tlb->generation); /* LOOK */
	if (from >= to && !everything)
		return;
	count = everything ? EVERYTHING : gather(tlb, from, to, ranges);
	if (count == EVERYTHING) {
		loami_fetch_add_relaxed(&tlb->nfull, 1);
		loam_port_tlb_flush(NULL, 0); /* FLUSH */
	} else if (count > 0) {
		loam_port_tlb_flush(ranges, (size_t)count); /* FLUSH */
	}
	report(tlb, counter, to); /* REPORT */
}

void loam_tlb_ipi(struct loam_tlb *tlb)
{
	unsigned long irq = loam_port_irq_save();
	struct loami_tlb_cpu *cpu = this_cpu(tlb);

	loami_store_seq(
		&cpu->asked,
		0); /* ANSWER, before the LOOK in catch_up(); unlike there always, as another CPU's 1 may not be seen yet */
	catch_up(tlb, cpu, false);
	loam_port_irq_restore(irq);
}

/* ---- the initiator ---- */

static bool is_lagging(const struct loam_tlb *tlb, const struct loami_tlb_cpu *cpu, uint64_t generation)
{
	uint64_t flushed = loami_load_acquire(&cpu->flushed); /* DONE pairs with REPORT */
	uint32_t state;

	if (flushed >= generation)
		return false;
	state = loami_load_seq(&cpu->state);
	if (state == IDLE) {
		/* It owes only the flush for tables, and everything else before it goes on. */
		uint64_t tables = loami_load_acquire(&tlb->tables);

		return flushed < (generation < tables ? generation : tables);
	}
	return state == ONLINE;
}

bool loam_tlb_is_done(const struct loam_tlb *tlb, loam_tlb_generation generation)
{
	if (tlb->broadcast)
		return loami_load_acquire(&tlb->cpus[0].flushed) >= generation;
	for (unsigned int i = 0; i < tlb->ncpus; i++)
		if (is_lagging(tlb, &tlb->cpus[i], generation))
			return false;
	return true;
}

/* ASK every CPU but @self that lags. @again: also those that were asked before. */
static void ask(struct loam_tlb *tlb, const struct loami_tlb_cpu *self, uint64_t generation, bool again)
{
	uint64_t now = loam_port_time();

	for (unsigned int i = 0; i < tlb->ncpus; i++) {
		struct loami_tlb_cpu *cpu = &tlb->cpus[i];

		if (cpu == self || !is_lagging(tlb, cpu, generation))
			continue;
		bool pending = loami_exchange_seq(&cpu->asked, 1) != 0;

		if (pending && !again && now - loami_load_relaxed(&cpu->asked_at) < tlb->timeout_ns / ASK_AGAIN)
			continue;
		loami_store_relaxed(&cpu->asked_at, now);
		loami_fetch_add_relaxed(&tlb->nipis, 1);
		loam_port_ipi(i);
	}
}

/* Fill the slot of generation @g. The lock is held. */
static void write_recent(struct loam_tlb *tlb, uint64_t g, const struct loam_tlb_range *ranges, size_t nranges)
{
	struct loami_tlb_recent *slot = &tlb->recent[g % RECENT];
	uint64_t cost = 0;
	uint64_t n = 0;

	loami_store_release(&slot->generation, 0);
	for (size_t i = 0; i < nranges && n != EVERYTHING; i++) {
		uint64_t shift = ranges[i].stride_shift;
		uint64_t npages = ranges[i].npages;

		if (shift != 12 && shift != 21 && shift != 30)
			shift = LOAM_PAGE_SHIFT;
		if (npages == 0)
			continue;
		if (n == RANGES || npages > UINT64_C(1) << 52) {
			n = EVERYTHING;
			break;
		}
		cost += strides(npages, shift);
		if (cost > tlb->full_above) {
			n = EVERYTHING;
			break;
		}
		loami_store_release(&slot->ranges[n].start, loami_align_down(ranges[i].start, LOAM_PAGE_SIZE));
		loami_store_release(&slot->ranges[n].npages, npages);
		loami_store_release(&slot->ranges[n].stride_shift, shift);
		n++;
	}
	loami_store_release(&slot->nranges, nranges == 0 ? EVERYTHING : n);
	loami_store_release(&slot->generation, g);
}

static loam_tlb_generation start(struct loam_tlb *tlb, const struct loam_tlb_range *ranges, size_t nranges, bool tables)
{
	unsigned long irq = loam_port_irq_save();
	struct loami_tlb_cpu *self = this_cpu(tlb);
	uint64_t g;

	loami_lock(&tlb->lock);
	g = loami_load_relaxed(&tlb->generation) + 1;
	write_recent(tlb, g, ranges, nranges);
	if (tables)
		loami_store_release(&tlb->tables, g);
	loami_store_seq(&tlb->generation, g); /* PUBLISH */
	loami_unlock(&tlb->lock);

	loami_fetch_add_relaxed(&tlb->nflushes, 1);
	catch_up(tlb, self, false);
	if (!tlb->broadcast)
		ask(tlb, self, g, false);
	loam_port_irq_restore(irq);
	return g;
}

loam_tlb_generation loam_tlb_flush_start(struct loam_tlb *tlb, const struct loam_tlb_range *ranges, size_t nranges)
{
	LOAMI_NOT_FROM_NMI();
	return start(tlb, ranges, nranges, false);
}

loam_tlb_generation loam_tlb_flush_tables(struct loam_tlb *tlb)
{
	LOAMI_NOT_FROM_NMI();
	return start(tlb, NULL, 0, true);
}

/* ---- waiting ---- */

/* @rounds: 0, or how long was waited where there is no clock. Return: false when nobody is silent any more. */
static bool name_silent(const struct loam_tlb *tlb, uint64_t generation, unsigned int rounds)
{
	unsigned long long waited = rounds != 0 ? rounds : tlb->timeout_ns / 1000000;
	bool named = false;

	for (unsigned int i = 0; i < tlb->ncpus; i++) {
		if (!is_lagging(tlb, &tlb->cpus[i], generation))
			continue;
		loami_print("loam: tlb: cpu %u has not flushed generation %llu after %llu %s\n", i,
			    (unsigned long long)generation, waited, rounds != 0 ? "rounds" : "ms");
		named = true;
	}
	return named;
}

/* Flush here what others ask for, in case our interrupts are masked; where given, ask them again. */
static void answer_and_ask(struct loam_tlb *tlb, uint64_t generation, bool ask_again)
{
	unsigned long irq = loam_port_irq_save();
	struct loami_tlb_cpu *self = this_cpu(tlb);

	/* With broadcast, what another CPU has published and not finished is finished here. */
	if (tlb->broadcast || loami_load_relaxed(&self->state) == ONLINE)
		catch_up(tlb, self, false);
	if (ask_again && !tlb->broadcast)
		ask(tlb, self, generation, true);
	loam_port_irq_restore(irq);
}

enum loam_status loam_tlb_wait(struct loam_tlb *tlb, loam_tlb_generation generation)
{
	uint64_t started;
	uint64_t asked;

	if (generation > loami_load_acquire(&tlb->generation))
		return LOAM_ERR_INVALID;
	if (loam_tlb_is_done(tlb, generation))
		return LOAM_OK;
	if (loam_port_context() != LOAM_CONTEXT_TASK)
		return LOAM_ERR_CONTEXT;
	LOAMI_ASSERT(!loami_any_lock_held());
	started = loam_port_time();
	asked = started;
	for (unsigned int round = 0;; round++) {
		uint64_t now = loam_port_time();
		bool again =
			now - asked >= tlb->timeout_ns / ASK_AGAIN || round % ASK_AGAIN_ROUNDS == ASK_AGAIN_ROUNDS - 1;

		answer_and_ask(tlb, generation, again);
		if (again)
			asked = now;
		if (loam_tlb_is_done(tlb, generation))
			return LOAM_OK;
		if (now - started >= tlb->timeout_ns || (now == started && round >= GIVE_UP_ROUNDS)) {
			/* Whoever is not named has answered, at the last moment too. */
			if (!name_silent(tlb, generation, now == started ? round : 0))
				return LOAM_OK;
			loami_fetch_add_relaxed(&tlb->ntimeouts, 1);
			return LOAM_ERR_TIMEOUT;
		}
		loam_port_relax(round);
	}
}

/* ---- CPUs come and go ---- */

void loam_tlb_cpu_online(struct loam_tlb *tlb)
{
	unsigned long irq = loam_port_irq_save();
	struct loami_tlb_cpu *cpu = this_cpu(tlb);

	loami_store_seq(&cpu->state, ONLINE); /* before the LOOK: 2d */
	catch_up(tlb, cpu, true);
	loam_port_irq_restore(irq);
}

void loam_tlb_cpu_offline(struct loam_tlb *tlb)
{
	unsigned long irq = loam_port_irq_save();
	struct loami_tlb_cpu *cpu = this_cpu(tlb);

	catch_up(tlb, cpu, true);
	loami_store_seq(&cpu->state, OFFLINE);
	loam_port_irq_restore(irq);
}

void loam_tlb_idle_enter(struct loam_tlb *tlb)
{
	unsigned long irq = loam_port_irq_save();

	loami_store_seq(&this_cpu(tlb)->state, IDLE);
	loam_port_irq_restore(irq);
}

void loam_tlb_idle_exit(struct loam_tlb *tlb)
{
	unsigned long irq = loam_port_irq_save();
	struct loami_tlb_cpu *cpu = this_cpu(tlb);

	if (loami_load_relaxed(&cpu->state) == IDLE) {
		loami_store_seq(&cpu->state, ONLINE); /* before the LOOK: 2d */
		catch_up(tlb, cpu, false);
	}
	loam_port_irq_restore(irq);
}

void loam_tlb_read_stats(const struct loam_tlb *tlb, struct loam_tlb_stats *stats)
{
	*stats = (struct loam_tlb_stats){
		.flushes = loami_load_relaxed(&tlb->nflushes),
		.ipis = loami_load_relaxed(&tlb->nipis),
		.full_flushes = loami_load_relaxed(&tlb->nfull),
		.timeouts = loami_load_relaxed(&tlb->ntimeouts),
	};
}
