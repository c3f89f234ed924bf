/* frame/magazine.c: frames parked on a CPU, so that most allocations touch nothing shared; and how another CPU gets at them.
 *
 * 1 Concepts
 *   A magazine is a stack of cells, each with a name {index, generation}. A cell is no ownership, only a hint: the frame is taken by the swap {UNUSED, g} -> {CLAIMED, g} on
 *   its slot, by the CPU that owns the magazine, or by a thief's {UNUSED, g} -> {UNUSED, g + 1}, and exactly one of them wins. The loser sees the frame claimed or its
 *   generation moved and goes on to the next cell. Any other refcount under an unmoved generation is corruption.
 *   A claimed block is the row of a 2 MiB block that this CPU took out of its chunk in one lock hold; the magazine is filled from it.
 * 3 Invariants
 *   I7 A frame {UNUSED, g} that is in a bitmap or a claimed row is named with g by no cell below any top. So a good cell is a frame that is nowhere else.
 *        Frames enter a magazine from a row (after the row's bit is cleared) or from a free (whose generation no older cell carries). They leave it by a claim,
 *        which moves the generation, or to the bitmaps: by the owner, who takes the cell off first, or by a thief, who moves the generation first.
 *   I8 What a thief reads below top was pushed, not left over: a push stores top with release after the cell, and it is loaded with acquire. A pop stores a lower one without:
 *      whoever reads that sees what the last push before it released, for only its CPU stores there (C11, 5.1.2.4, a release sequence; in RISC-V's order two stores to one
 *      place, in AArch64's a store after a store with release to the same place).
 *      A name may be read before the top above it: where the owner popped and pushes again. Nothing hangs on that: whoever takes the frame by it swaps the slot's word
 *      with acquire, which the free before swapped with release.
 * 4 Locks
 *   idle     (a word in each magazine, taken without a locked operation: base/percpu.h) keeps an interrupt on the same CPU out of the magazine while a fast path is inside: it
 *            takes the shared path, or steals.
 *   cpu.lock guards claimed rows and the FIFO, and makes refill, drain and theft exclude each other. It is held with interrupts masked and never
 *            while waiting, so it may be taken in any context. The owner pops and pushes without it, against a thief that holds it: I7 and the swap settle that.
 * 5 Bounds: a refill moves REFILL frames, an overflow half a magazine, a theft one magazine per lock hold. No loop waits for another CPU.
 */
#include "internal.h"

/* What a machine this size lets one CPU park, in frames. */
static uint64_t parking(const struct loam_frames *frames)
{
	return loami_load_relaxed(&frames->managed) / (8 * (uint64_t)frames->ncpus);
}

static unsigned int at_most(uint64_t value, unsigned int limit)
{
	return value < limit ? (unsigned int)value : limit;
}

static void set_limit(struct loami_magazine *magazine, unsigned int cells)
{
	loami_store_relaxed(&magazine->full, loami_floor(magazine) + cells);
}

void loami_cpu_size(struct loam_frames *frames, unsigned int number, bool online)
{
	struct loami_frame_cpu *cpu = &frames->cpus[number];
	uint64_t room = frames->hardened || !online ? 0 : parking(frames);

	for (unsigned int type = 0; type < TYPE_COUNT; type++) {
		set_limit(&cpu->singles[type].head, room < 16 ? 0 : at_most(room / 4, MAGAZINE_CELLS));
		set_limit(&cpu->zeroed[type].head, room < 16 ? 0 : at_most(room / 8, MAGAZINE_CELLS));
		set_limit(&cpu->runs[type].head, room < 512 ? 0 : at_most(room / 64, MAGAZINE_CELLS_3));
	}
	set_limit(&cpu->blocks.head, at_most(room / 4 / LOAM_BLOCK_FRAMES, MAGAZINE_CELLS_9));
	cpu->claims = room >= 2 * LOAM_BLOCK_FRAMES;
}

/* The floor's word is that of the kind, whose flags are never those of an unused refcount. */
static void make(struct loami_magazine *magazine, unsigned int order, unsigned int type, unsigned int cpu)
{
	magazine->idle = loami_idle_value(&magazine->idle);
	magazine->plain = loami_kind_plain(loami_flags_by_type[type], order, cpu);
	magazine->floor.word = &magazine->plain;
	magazine->top = loami_floor(magazine);
}

void loami_cpu_make(struct loam_frames *frames, unsigned int number)
{
	struct loami_frame_cpu *cpu = &frames->cpus[number];

	for (unsigned int type = 0; type < TYPE_COUNT; type++) {
		make(&cpu->singles[type].head, 0, type, number);
		make(&cpu->zeroed[type].head, 0, type, number);
		make(&cpu->runs[type].head, 3, type, number);
	}
	make(&cpu->blocks.head, LOAM_BLOCK_ORDER, TYPE_UNMOVABLE, number);
	loami_cpu_size(frames, number, true);
}

static unsigned int type_of(const struct loami_magazine *magazine)
{
	return (loami_glance(&magazine->plain) & LOAM_FRAME_MOVABLE) != 0 ? TYPE_MOVABLE : TYPE_UNMOVABLE;
}

static struct loami_magazine *magazine_for(struct loami_frame_cpu *cpu, unsigned int order, unsigned int type)
{
	switch (order) {
	case 0:
		return &cpu->singles[type].head;
	case 3:
		return &cpu->runs[type].head;
	case LOAM_BLOCK_ORDER:
		return &cpu->blocks.head;
	default:
		return NULL;
	}
}

/* Every magazine of a CPU, by number. */
enum { MAGAZINE_COUNT = 3 * TYPE_COUNT + 1 };
static struct loami_magazine *magazine_number(struct loami_frame_cpu *cpu, unsigned int i)
{
	if (i < TYPE_COUNT)
		return &cpu->singles[i].head;
	if (i < 2 * TYPE_COUNT)
		return &cpu->zeroed[i - TYPE_COUNT].head;
	if (i < 3 * TYPE_COUNT)
		return &cpu->runs[i - 2 * TYPE_COUNT].head;
	return &cpu->blocks.head;
}

/* ---- refill ---------------------------------------------------------------------------------------------------------------------------------- */

static void cell_fill(struct loami_cell *cell, uint32_t index, struct loam_slot *slot, loam_pfn first)
{
	uint64_t *word = loami_slot_word(slot);

	loami_cell_set(cell, loami_name_make(index, loami_load_relaxed(word)), word, first);
}

/* Frames of the claimed row into an empty magazine, so that they are popped in rising order. */
static void unload(const struct loam_frames *frames, struct loami_claimed *claimed, struct loami_magazine *magazine)
{
	const struct loami_frame_section *section = loami_section_of(frames, claimed->base);
	uint32_t n = at_most(claimed->left, loami_magazine_limit(magazine)), at;

	if (n > REFILL)
		n = REFILL;
	at = n;
	for (unsigned int w = 0; at != 0; w++) {
		uint64_t word = claimed->row[w];

		for (; word != 0 && at != 0; word &= word - 1) {
			loam_pfn pfn = claimed->base + w * 64 + loami_ctz64(word);
			struct loam_slot *slot = loami_section_slot(section, pfn);

			/* For the next refill: 64 slots are a page, where the processor's own prefetching ends. */
			__builtin_prefetch((const char *)slot + REFILL * sizeof(*slot), 1);
			cell_fill(loami_floor(magazine) + at--, (uint32_t)(section->index + pfn), slot, pfn);
		}
		claimed->row[w] = word;
	}
	claimed->left -= n;
	loami_store_release(&magazine->top, loami_floor(magazine) + n);
}

static void refill_singles(struct loam_frames *frames, struct loami_frame_cpu *cpu, struct loami_magazine *magazine)
{
	unsigned int type = type_of(magazine);
	struct loami_frame_want want = {.type = (uint8_t)type, .zones = (uint8_t)frames->nzones, .refill = true};
	struct loami_claimed *claimed = &cpu->claimed[type];

	if (claimed->left == 0 && !loami_blocks_claim(frames, &want, claimed,
						      cpu->claims ? LOAM_BLOCK_FRAMES : loami_magazine_limit(magazine)))
		return;
	unload(frames, claimed, magazine);
}

static void refill_blocks(struct loam_frames *frames, struct loami_magazine *magazine)
{
	struct loami_frame_want want = {
		.type = (uint8_t)type_of(magazine), .zones = (uint8_t)frames->nzones, .refill = true};
	loam_pfn firsts[MAGAZINE_CELLS_3];
	unsigned int n = loami_blocks_take_many(frames, loami_magazine_order(magazine), &want, firsts,
						(loami_magazine_limit(magazine) + 1) / 2);

	for (unsigned int i = 0; i < n; i++)
		cell_fill(loami_floor(magazine) + n - i, loami_index_of(frames, firsts[i]),
			  loami_slot_of(frames, firsts[i]), firsts[i]);
	loami_store_release(&magazine->top, loami_floor(magazine) + n);
}

/* Fill a magazine of this CPU, which was entered and has no cell of use. */
static void refill(struct loam_frames *frames, struct loami_frame_cpu *cpu, struct loami_magazine *magazine)
{
	unsigned long irq = loami_lock_irq(&cpu->lock);

	if (loami_magazine_limit(magazine) != 0 && loami_magazine_order(magazine) == 0)
		refill_singles(frames, cpu, magazine);
	else if (loami_magazine_limit(magazine) != 0)
		refill_blocks(frames, magazine);
	loami_unlock_irq(&cpu->lock, irq);
}

/* The claim of a parked block: the magazine is this CPU's, and entered. Return: its slot; NULL when the magazine is empty, or *refcount is not unused when what was found is
 * neither free nor somebody else's by right. */
static struct loam_slot *pop(struct loami_magazine *magazine, loam_pfn *first, uint32_t *refcount)
{
	struct loami_cell *top = loami_load_relaxed(&magazine->top);
	struct loam_slot *slot = NULL;

	for (; top != loami_floor(magazine) && !slot && *refcount == REF_UNUSED; top--) {
		uint64_t name = loami_load_relaxed(&top->name), seen = loami_name_word(name);

		*first = top->first;
		if (loami_cas(top->word, &seen, loami_word_claimed(seen)))
			slot = loami_word_slot(top->word);
		else if (!loami_name_is_stale(name, seen))
			*refcount = loami_word_ref(seen);
	}
	loami_store_release(&magazine->top, top);
	return slot;
}

/* One block of this CPU's magazine, after filling it if @cpu is not NULL. */
static struct loam_slot *take_from(struct loam_frames *frames, struct loami_frame_cpu *cpu,
				   struct loami_magazine *magazine, loam_pfn *first, uint32_t *refcount)
{
	struct loam_slot *slot;

	if (!loami_magazine_enter(magazine))
		return NULL;
	slot = pop(magazine, first, refcount);
	if (!slot && cpu && *refcount == REF_UNUSED) {
		refill(frames, cpu, magazine);
		slot = pop(magazine, first, refcount);
	}
	if (slot)
		loami_count(&magazine->popped, 1);
	loami_magazine_leave(magazine);
	return slot;
}

struct loam_slot *loami_cpu_take(struct loam_frames *frames, unsigned int order, struct loami_frame_want *want,
				 bool fill, loam_pfn *first)
{
	struct loam_pin pin = loam_port_pin();
	struct loam_slot *slot = NULL;
	uint32_t refcount = REF_UNUSED;

	want->zeroed = false;
	if (pin.cpu < frames->ncpus) {
		struct loami_frame_cpu *cpu = &frames->cpus[pin.cpu];
		struct loami_magazine *magazine = magazine_for(cpu, order, want->type);

		if (order == 0 && want->zero) {
			slot = take_from(frames, NULL, &cpu->zeroed[want->type].head, first, &refcount);
			want->zeroed = slot != NULL;
		}
		if (!slot && magazine && refcount == REF_UNUSED)
			slot = take_from(frames, fill ? cpu : NULL, magazine, first, &refcount);
	}
	loam_port_unpin(pin);
	if (LOAMI_UNLIKELY(refcount != REF_UNUSED))
		loami_frame_corrupt(*first, refcount);
	return slot;
}

/* ---- overflow ---------------------------------------------------------------------------------------------------------------------------------- */

/* The older half of a full magazine to the blocks. It is this CPU's, and entered. */
static void overflow(struct loam_frames *frames, struct loami_frame_cpu *cpu, struct loami_magazine *magazine)
{
	unsigned long irq = loami_lock_irq(&cpu->lock);
	struct loami_cell *floor = loami_floor(magazine), *top = loami_load_relaxed(&magazine->top);
	struct loami_cell *half = floor + (top - floor + 1) / 2, *to = floor + 1;
	loam_pfn firsts[(MAGAZINE_CELLS + 1) / 2];
	unsigned int n = 0;

	for (const struct loami_cell *cell = floor + 1; cell <= half; cell++) {
		/* Under the lock nobody steals: what is good now stays so. */
		if (loami_load_acquire(cell->word) == loami_name_word(loami_load_relaxed(&cell->name)))
			firsts[n++] = cell->first;
	}
	for (const struct loami_cell *from = half + 1; from <= top; from++)
		loami_cell_set(to++, loami_load_relaxed(&from->name), from->word, from->first);
	loami_store_release(&magazine->top, to - 1);
	loami_blocks_put_many(frames, firsts, n, loami_magazine_order(magazine));
	loami_unlock_irq(&cpu->lock, irq);
}

/* Hardened: the block waits in the CPU's FIFO, and the one that has waited longest comes out. Up to 2 MiB each. */
static void fifo_swap(struct loam_frames *frames, struct loami_frame_cpu *cpu, loam_pfn *first, unsigned int *order)
{
	unsigned long irq = loami_lock_irq(&cpu->lock);
	uint64_t *entry = &cpu->fifo[cpu->fifo_next], out = *entry;

	(void)frames;
	*entry = *first << 8 | *order;
	cpu->fifo_next = (cpu->fifo_next + 1) % FIFO_FRAMES;
	loami_unlock_irq(&cpu->lock, irq);
	*first = out == LOAM_PFN_NONE ? LOAM_PFN_NONE : out >> 8;
	*order = (unsigned int)(out & 0xff);
}

static bool is_full(struct loami_magazine *magazine)
{
	return loami_load_relaxed(&magazine->top) >= loami_load_relaxed(&magazine->full);
}

/* Onto a magazine that was entered and has room. */
static void push(const struct loam_frames *frames, struct loami_magazine *magazine, loam_pfn first,
		 struct loam_slot *slot)
{
	struct loami_cell *cell = loami_load_relaxed(&magazine->top) + 1;

	cell_fill(cell, loami_index_of(frames, first), slot, first);
	loami_store_release(&magazine->top, cell);
}

void loami_cpu_park(struct loam_frames *frames, struct loam_slot *slot, loam_pfn first, unsigned int order,
		    unsigned int type)
{
	struct loam_pin pin = loam_port_pin();
	bool parked = false;

	if (pin.cpu < frames->ncpus && frames->cpus[pin.cpu].fifo && order <= LOAM_BLOCK_ORDER) {
		fifo_swap(frames, &frames->cpus[pin.cpu], &first, &order);
		parked = first == LOAM_PFN_NONE;
	} else if (pin.cpu < frames->ncpus) {
		struct loami_frame_cpu *cpu = &frames->cpus[pin.cpu];
		struct loami_magazine *magazine = magazine_for(cpu, order, type);

		if (magazine && loami_magazine_limit(magazine) != 0 && (slot->state & STATE_UNPARKED) == 0 &&
		    loami_magazine_enter(magazine)) {
			if (is_full(magazine))
				overflow(frames, cpu, magazine);
			push(frames, magazine, first, slot);
			loami_magazine_leave(magazine);
			parked = true;
		}
	}
	loam_port_unpin(pin);
	if (!parked)
		loami_blocks_put(frames, first, UINT64_C(1) << order);
}

/* ---- idle zeroing ----------------------------------------------------------------------------------------------------------------------------- */

/* Push onto a magazine of this CPU that has room. */
static bool park_zeroed(struct loam_frames *frames, struct loam_slot *slot, loam_pfn pfn, unsigned int type)
{
	struct loam_pin pin = loam_port_pin();
	bool parked = false;

	if (pin.cpu < frames->ncpus) {
		struct loami_magazine *magazine = &frames->cpus[pin.cpu].zeroed[type].head;

		if (loami_magazine_enter(magazine)) {
			parked = !is_full(magazine);
			if (parked)
				push(frames, magazine, pfn, slot);
			loami_magazine_leave(magazine);
		}
	}
	loam_port_unpin(pin);
	return parked;
}

static bool has_room(const struct loam_frames *frames, unsigned int type)
{
	unsigned int cpu = loam_port_cpu();

	return cpu < frames->ncpus && !is_full(&frames->cpus[cpu].zeroed[type].head);
}

/* Zero one free frame and park it. While it is zeroed it is claimed, and counts as on its way. False: there is none to spare, or no room. */
static bool zero_one(struct loam_frames *frames, unsigned int type)
{
	struct loami_frame_want want = {.type = (uint8_t)type, .zones = (uint8_t)frames->nzones, .idle = true};
	bool parked = false;
	loam_pfn pfn;

	(void)loami_fetch_add(&frames->in_flight, 1);
	do {
		pfn = loami_blocks_take(frames, 0, &want);
	} while (pfn != LOAM_PFN_NONE && !loami_frame_claim(frames, pfn, 0));
	if (pfn != LOAM_PFN_NONE) {
		struct loam_slot *slot = loami_slot_of(frames, pfn);

		__builtin_memset(loam_frame_virt(frames, pfn), 0, LOAM_PAGE_SIZE);
		loami_frame_unclaim(slot);
		parked = park_zeroed(frames, slot, pfn, type);
		if (!parked)
			loami_blocks_put(frames, pfn, 1);
	}
	(void)loami_fetch_sub(&frames->in_flight, 1);
	return parked;
}

size_t loam_frame_zero_idle(struct loam_frames *frames, size_t n)
{
	size_t done = 0;

	LOAMI_TASK_ONLY();
	if (loami_load_acquire(&frames->ready) == 0)
		return 0;
	for (unsigned int type = 0; type < TYPE_COUNT; type++)
		while (done < n && has_room(frames, type) && zero_one(frames, type))
			done++;
	return done;
}

/* ---- theft ----------------------------------------------------------------------------------------------------------------------------------- */

/* The good cells of a magazine to the blocks, under the CPU's lock, while its owner may pop and push. */
static uint64_t steal(struct loam_frames *frames, struct loami_magazine *magazine)
{
	const struct loami_cell *top = loami_load_acquire(&magazine->top);
	loam_pfn firsts[MAGAZINE_CELLS];
	unsigned int n = 0, order = loami_magazine_order(magazine);

	for (struct loami_cell *cell = loami_floor(magazine) + 1; cell <= top; cell++) {
		uint64_t name = loami_load_acquire(&cell->name), word = loami_name_word(name);

		/* {UNUSED, g} -> {UNUSED, g + 1}: every copy of the name is stale now, the owner's in a register too. */
		if (!loami_cas(loami_slot_word(loami_index_slot(frames, (uint32_t)name)), &word,
			       word + (UINT64_C(1) << 32)))
			continue;
		firsts[n++] = loami_index_pfn(frames, (uint32_t)name);
		/* Not needed, but that a stale name must not lie for 2^32 claims. The owner may have put another there. */
		(void)loami_cas(&cell->name, &name, NAME_NONE);
	}
	loami_blocks_put_many(frames, firsts, n, order);
	return (uint64_t)n << order;
}

static uint64_t unclaim(struct loam_frames *frames, struct loami_claimed *claimed)
{
	uint64_t n = claimed->left;

	for (unsigned int w = 0; claimed->left != 0 && w < ROW_WORDS; w++) {
		loam_pfn firsts[64];
		unsigned int k = 0;

		for (uint64_t word = claimed->row[w]; word != 0; word &= word - 1)
			firsts[k++] = claimed->base + w * 64 + loami_ctz64(word);
		claimed->row[w] = 0;
		claimed->left -= k;
		loami_blocks_put_many(frames, firsts, k, 0);
	}
	return n;
}

static uint64_t fifo_drain(struct loam_frames *frames, struct loami_frame_cpu *cpu)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < FIFO_FRAMES; i++) {
		if (cpu->fifo[i] == LOAM_PFN_NONE)
			continue;
		loami_blocks_put(frames, cpu->fifo[i] >> 8, UINT64_C(1) << (cpu->fifo[i] & 0xff));
		n += UINT64_C(1) << (cpu->fifo[i] & 0xff);
		cpu->fifo[i] = LOAM_PFN_NONE;
	}
	return n;
}

uint64_t loami_cpu_drain(struct loam_frames *frames, unsigned int number)
{
	struct loami_frame_cpu *cpu = &frames->cpus[number];
	unsigned long irq;
	uint64_t n = 0;

	for (unsigned int i = 0; i < MAGAZINE_COUNT; i++) {
		struct loami_magazine *magazine = magazine_number(cpu, i);

		irq = loami_lock_irq(&cpu->lock);
		n += steal(frames, magazine);
		loami_unlock_irq(&cpu->lock, irq);
	}
	irq = loami_lock_irq(&cpu->lock);
	for (unsigned int type = 0; type < TYPE_COUNT; type++)
		n += unclaim(frames, &cpu->claimed[type]);
	if (cpu->fifo)
		n += fifo_drain(frames, cpu);
	loami_unlock_irq(&cpu->lock, irq);
	return n;
}

/* ---- counting ---------------------------------------------------------------------------------------------------------------------------------- */

uint64_t loami_cpu_allocs(const struct loam_frames *frames, unsigned int number)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < MAGAZINE_COUNT; i++) {
		const struct loami_magazine *magazine = magazine_number(&frames->cpus[number], i);

		n += loami_load_acquire(&magazine->popped) << loami_magazine_order(magazine);
	}
	return n;
}

static bool is_idle(const struct loami_magazine *magazine)
{
	return loami_load_acquire(&magazine->idle) == loami_idle_value(&magazine->idle);
}

bool loami_cpu_is_busy(const struct loam_frames *frames, unsigned int number)
{
	for (unsigned int i = 0; i < MAGAZINE_COUNT; i++)
		if (!is_idle(magazine_number(&frames->cpus[number], i)))
			return true;
	return false;
}

static bool in_zones(const struct loam_frames *frames, loam_pfn pfn, unsigned int from, unsigned int to)
{
	for (unsigned int zone = from; zone < to; zone++)
		if (pfn >= loami_load_relaxed(&frames->zone_start[zone]) &&
		    pfn < loami_load_relaxed(&frames->zone_end[zone]))
			return true;
	return false;
}

static uint64_t count_magazine(const struct loam_frames *frames, struct loami_magazine *magazine, unsigned int from,
			       unsigned int to)
{
	const struct loami_cell *top = loami_load_acquire(&magazine->top);
	uint64_t n = 0;

	for (const struct loami_cell *cell = loami_floor(magazine) + 1; cell <= top; cell++) {
		uint64_t name = loami_load_relaxed(&cell->name);

		if (loami_load_relaxed(loami_slot_word(loami_index_slot(frames, (uint32_t)name))) ==
			    loami_name_word(name) &&
		    in_zones(frames, loami_index_pfn(frames, (uint32_t)name), from, to))
			n += UINT64_C(1) << loami_magazine_order(magazine);
	}
	return n;
}

uint64_t loami_cpu_parked(const struct loam_frames *frames, unsigned int number, unsigned int from, unsigned int to)
{
	struct loami_frame_cpu *cpu = &frames->cpus[number];
	unsigned long irq = loami_lock_irq(&cpu->lock);
	uint64_t n = 0;

	for (unsigned int i = 0; i < MAGAZINE_COUNT; i++)
		n += count_magazine(frames, magazine_number(cpu, i), from, to);
	for (unsigned int type = 0; type < TYPE_COUNT; type++)
		if (cpu->claimed[type].zone >= from && cpu->claimed[type].zone < to)
			n += cpu->claimed[type].left;
	for (unsigned int i = 0; cpu->fifo && i < FIFO_FRAMES; i++)
		if (cpu->fifo[i] != LOAM_PFN_NONE && in_zones(frames, cpu->fifo[i] >> 8, from, to))
			n += UINT64_C(1) << (cpu->fifo[i] & 0xff);
	loami_unlock_irq(&cpu->lock, irq);
	return n;
}
