/* kernel/common/stress.c: every CPU works all layers at once, while interrupts on every CPU do so too.
 *
 * Each CPU holds a few dozen things (frames, blocks, objects, areas), each filled with a pattern of its own, and again and again replaces one
 * picked at random: check the pattern, free, allocate another. Some are passed to the next CPU, which checks and frees them. At the end
 * all are freed and the balance must be what it was.
 */
#include "console.h"
#include "machine.h"
#include "tour.h"

#define HOLD 48
#define HZ 1000
#define SECOND UINT64_C(1000000000)
#define SILENCE (5 * SECOND)

enum kind { NOTHING, FRAME, OBJECT, AREA, KINDS };

struct thing {
	enum kind kind;
	unsigned int order;
	loam_pfn pfn;
	uintptr_t address;
	size_t nbytes;
	uint64_t seed;
};

/* One CPU's part; only that CPU writes it, but for @mail, which it swaps with the one before it. */
struct worker {
	struct thing held[HOLD];
	struct thing *mail; /* atomic: a thing from the CPU before, or NULL */
	uint64_t random;
	uint64_t operations; /* atomic: read by CPU 0 */
	uint64_t interrupts; /* atomic */
	uint64_t refused;
	uint64_t wrong;
	uint64_t heard; /* CPU 0's: operations when it last looked, and when they last moved */
	uint64_t heard_at;
};

static struct worker *workers;
static uint64_t until;

static uint64_t next_random(struct worker *w)
{
	uint64_t x = w->random += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* First word, last word and one of each page between: enough to notice whoever else writes there. */
static void fill(const struct thing *t)
{
	if (t->kind == AREA) {
		for (uintptr_t at = t->address; at < t->address + t->nbytes; at += LOAM_PAGE_SIZE)
			machine_store(at, t->seed ^ at);
		return;
	}
	for (uintptr_t at = t->address; at < t->address + t->nbytes; at += LOAM_PAGE_SIZE)
		*(uint64_t *)at = t->seed ^ at;
	*(uint64_t *)(t->address + t->nbytes - 8) = t->seed;
}

static bool is_intact(const struct thing *t)
{
	uintptr_t end = t->address + t->nbytes;
	bool intact = true;

	if (t->kind == AREA) {
		for (uintptr_t at = t->address; at < end; at += LOAM_PAGE_SIZE)
			intact &= machine_load(at) == (t->seed ^ at);
		return intact;
	}
	if (t->nbytes > 8)
		for (uintptr_t at = t->address; at < end - 8; at += LOAM_PAGE_SIZE)
			intact &= *(const uint64_t *)at == (t->seed ^ at);
	return intact && *(const uint64_t *)(end - 8) == t->seed;
}

static void drop(struct worker *w, struct thing *t)
{
	if (t->kind == NOTHING)
		return;
	w->wrong += !is_intact(t);
	if (t->kind == FRAME)
		loam_frame_free(kernel_system.frames, t->pfn, t->order);
	else if (t->kind == OBJECT)
		kfree((void *)t->address);
	else
		w->wrong += !loam_vfree(kernel_system.vm, (void *)t->address);
	t->kind = NOTHING;
}

static void take(struct worker *w, struct thing *t)
{
	struct loam_frame_opts raw = {.uninitialized = true};
	struct loam_vmalloc_opts area = {.uninitialized = true, .site = LOAM_HERE};
	uint64_t random = next_random(w);

	*t = (struct thing){.seed = random};
	if (random % 16 < 7) {
		t->order = random >> 8 & 3 ? 0 : (unsigned int)(random >> 10 & 3);
		t->pfn = loam_frame_alloc(kernel_system.frames, t->order, &raw);
		if (t->pfn == LOAM_PFN_NONE)
			goto refused;
		t->address = (uintptr_t)loam_frame_virt(kernel_system.frames, t->pfn);
		t->nbytes = LOAM_PAGE_SIZE << t->order;
		t->kind = FRAME;
	} else if (random % 16 < 14) {
		t->nbytes = ((random >> 8) % (random >> 20 & 15 ? 512 : 40000) + 15) & ~UINT64_C(15);
		t->nbytes += t->nbytes == 0 ? 16 : 0;
		t->address = (uintptr_t)kmalloc(t->nbytes);
		if (t->address == 0)
			goto refused;
		t->kind = OBJECT;
	} else {
		t->nbytes = (1 + (random >> 8) % 16) * LOAM_PAGE_SIZE;
		t->address = (uintptr_t)loam_vmalloc(kernel_system.vm, t->nbytes, &area);
		if (t->address == 0)
			goto refused;
		t->kind = AREA;
	}
	fill(t);
	return;
refused:
	w->refused++;
}

/* To the next CPU: it frees what this one allocated. */
static void post(struct worker *w, struct thing *t)
{
	struct worker *next = &workers[(size_t)(w - workers + 1) % machine_cpus()];
	struct thing *nobody = NULL;
	struct thing *parcel = kmalloc(sizeof(*parcel));

	if (parcel == NULL)
		return;
	*parcel = *t;
	if (__atomic_compare_exchange_n(&next->mail, &nobody, parcel, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		t->kind = NOTHING;
	else
		kfree(parcel);
}

static void open_mail(struct worker *w)
{
	struct thing *parcel = __atomic_exchange_n(&w->mail, NULL, __ATOMIC_ACQ_REL);

	if (parcel == NULL)
		return;
	drop(w, parcel);
	kfree(parcel);
}

/* In interrupt context, between any two instructions of the above. */
static void tick(void)
{
	struct worker *w = &workers[loam_port_cpu()];
	loam_pfn pfn = loam_frame_alloc(kernel_system.frames, 0, &(struct loam_frame_opts){.uninitialized = true});
	uint64_t *object = kmalloc(64);

	if (object != NULL) {
		object[0] = (uintptr_t)object;
		w->wrong += object[0] != (uintptr_t)object;
		kfree(object);
	}
	if (pfn != LOAM_PFN_NONE)
		loam_frame_free(kernel_system.frames, pfn, 0);
	__atomic_add_fetch(&w->interrupts, 1, __ATOMIC_RELAXED);
}

static uint64_t total(size_t offset)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < machine_cpus(); i++)
		sum += __atomic_load_n((uint64_t *)((uintptr_t)&workers[i] + offset), __ATOMIC_RELAXED);
	return sum;
}

/* CPU 0, now and then: who has not moved for long? */
static void look_around(uint64_t now)
{
	for (unsigned int i = 0; i < machine_cpus(); i++) {
		struct worker *w = &workers[i];
		uint64_t operations = __atomic_load_n(&w->operations, __ATOMIC_RELAXED);

		if (operations != w->heard || w->heard_at == 0) {
			w->heard = operations;
			w->heard_at = now;
		} else if (now - w->heard_at > SILENCE) {
			kprintf("     CPU %u has been silent for 5 s\n", i);
			w->wrong++;
			w->heard_at = now;
		}
	}
}

static void work(void *arg)
{
	unsigned int cpu = loam_port_cpu();
	struct worker *w = &workers[cpu];
	uint64_t said = loam_port_time();

	(void)arg;
	for (;;) {
		uint64_t now = loam_port_time();
		struct thing *t = &w->held[next_random(w) % HOLD];

		if (now >= until)
			break;
		if (t->kind != NOTHING && next_random(w) % 8 == 0)
			post(w, t);
		drop(w, t);
		take(w, t);
		open_mail(w);
		__atomic_add_fetch(&w->operations, 1, __ATOMIC_RELAXED);
		if (cpu == 0 && now - said >= SECOND) {
			said = now;
			look_around(now);
			kprintf("     %3lu s left: %lu operations, %lu in interrupts\n",
				(unsigned long)((until - now) / SECOND),
				(unsigned long)total(offsetof(struct worker, operations)),
				(unsigned long)total(offsetof(struct worker, interrupts)));
		}
	}
	for (size_t i = 0; i < HOLD; i++)
		drop(w, &w->held[i]);
}

unsigned int stress_run(unsigned int seconds)
{
	struct tour_balance before, after;
	unsigned int failures = 0;
	size_t n = machine_cpus();

	tour_read_balance(&before);
	workers = loam_heap_alloc_array(kernel_system.heap, n, sizeof(*workers));
	if (workers == NULL) {
		kprintf("     no memory for %zu workers\n", n);
		return 1;
	}
	for (size_t i = 0; i < n; i++)
		workers[i].random = i;
	until = loam_port_time() + seconds * SECOND;
	machine_ticks(HZ, tick);
	machine_run(work, NULL);
	machine_ticks(0, NULL);
	for (size_t i = 0; i < n; i++)
		open_mail(&workers[i]);

	uint64_t wrong = total(offsetof(struct worker, wrong));
	kprintf("     %lu operations, %lu in interrupts, %lu refused for want of memory, %lu wrong\n",
		(unsigned long)total(offsetof(struct worker, operations)),
		(unsigned long)total(offsetof(struct worker, interrupts)),
		(unsigned long)total(offsetof(struct worker, refused)), (unsigned long)wrong);
	kfree(workers);
	workers = NULL;
	failures += wrong != 0;

	tour_read_balance(&after);
	bool audited = loam_audit(&kernel_system) == LOAM_OK;
	bool back = after.used - after.arena - after.tables == before.used - before.arena - before.tables;
	if (!back)
		kprintf("     frames in use %lu, were %lu; arena metadata %lu, was %lu; page tables %lu, were %lu\n",
			(unsigned long)after.used, (unsigned long)before.used, (unsigned long)after.arena,
			(unsigned long)before.arena, (unsigned long)after.tables, (unsigned long)before.tables);
	kprintf("     audit %s; %s\n", audited ? "passed" : "FAILED",
		back ? "every frame is back" : "FAILED: frames are missing");
	return failures + !audited + !back;
}
