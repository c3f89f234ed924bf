/* arena/extent.c: runs of free granules: a two-level segregated fit with boundary words in the radix.
 *
 * 1 Concepts: a free run is in the bin of its length: lengths below 128 have a bin each, longer ones sixteen bins per doubling. A request takes the head of the first bin
 *   all of whose runs are long enough: O(1) by bitmap, the best fit below 128 granules and within 6.25 % of it above. Only when there is none are the bins below searched for a
 *   run that happens to fit, so nothing is refused that fits. That search lets go of the lock after every LOAMI_ARENA_LOOK_CHUNK runs and goes on where it was, if the run
 *   it stood at is still there, else at the beginning of that bin; it ends after as many runs as there were twice over, so that others cannot keep it for ever.
 * 2 Boundary words: a run's length stands in its second and last granules, its list links in the first (arena.h); so a run that is given back finds both
 *   neighbours in O(1) and merges with them. Free runs need no descriptor, so giving back cannot fail.
 * 3 Invariants: I3 no two free runs are neighbours; I4 a run is in the list of loami_bin(length), a bin's bit is set when its list is not empty; I5 the
 *   granules inside a free run, boundary words apart, have the word 0. Checked by loam_arena_check().
 * 4 Locks: all under the extent lock, each hold for a bounded number of steps. The exact search is linear in the runs of the bins it looks at, over many holds.
 */
#include "arena.h"

enum {
	EXACT_LOG = 7, /* runs shorter than 128 granules have a bin for each length */
	EXACT_BINS = 1 << EXACT_LOG,
	PER_DOUBLING_LOG = 4, /* then 16 bins per doubling */
};

_Static_assert(EXACT_BINS + ((28 - EXACT_LOG) << PER_DOUBLING_LOG) <= LOAMI_ARENA_BINS,
	       "a bin for 2^28 granules less one");

#define LINK_SHIFT 3
#define LINK_BITS 28
#define LINK_MASK ((UINT64_C(1) << LINK_BITS) - 1)
#define SINGLE UINT64_C(4)

_Static_assert(LINK_SHIFT + 2 * LINK_BITS <= 64, "both links fit in a word");
_Static_assert(LOAMI_GRANULES_MAX < LINK_MASK, "a link holds 1 + granule");

unsigned int loami_bin(uint64_t n)
{
	unsigned int log;

	if (n < EXACT_BINS)
		return (unsigned int)n;
	log = loami_log2_floor(n);
	return EXACT_BINS + ((log - EXACT_LOG) << PER_DOUBLING_LOG) +
	       ((unsigned int)(n >> (log - PER_DOUBLING_LOG)) & ((1u << PER_DOUBLING_LOG) - 1));
}

/* The first bin all of whose runs have at least @n granules. */
static unsigned int bin_above(uint64_t n)
{
	if (n < EXACT_BINS)
		return (unsigned int)n;
	return loami_bin(n + (UINT64_C(1) << (loami_log2_floor(n) - PER_DOUBLING_LOG)) - 1);
}

static uint64_t make_head(uint64_t n, uint64_t next, uint64_t prev)
{
	return LOAMI_WORD_HEAD | (n == 1 ? SINGLE : 0) | next << LINK_SHIFT | prev << (LINK_SHIFT + LINK_BITS);
}

uint64_t loami_head_next(uint64_t head)
{
	return (head >> LINK_SHIFT) & LINK_MASK;
}

static uint64_t head_prev(uint64_t head)
{
	return (head >> (LINK_SHIFT + LINK_BITS)) & LINK_MASK;
}

uint64_t loami_run_length(const struct loam_arena *arena, uint64_t g, uint64_t head)
{
	return (head & SINGLE) != 0 ? 1 : loami_radix_get(arena, g + 1) >> 2;
}

static void set_next(struct loam_arena *arena, uint64_t g, uint64_t next)
{
	uint64_t head = loami_radix_get(arena, g);

	loami_radix_set(arena, g, (head & ~(LINK_MASK << LINK_SHIFT)) | next << LINK_SHIFT);
}

static void set_prev(struct loam_arena *arena, uint64_t g, uint64_t prev)
{
	uint64_t head = loami_radix_get(arena, g);

	loami_radix_set(arena, g, (head & ~(LINK_MASK << (LINK_SHIFT + LINK_BITS))) | prev << (LINK_SHIFT + LINK_BITS));
}

/* A free run comes into being. Links are 1 + granule. */
static void insert(struct loam_arena *arena, uint64_t g, uint64_t n)
{
	unsigned int bin = loami_bin(n);
	uint64_t next = arena->bins->head[bin];

	if (n > 1) {
		loami_radix_set(arena, g + 1, LOAMI_WORD_LENGTH | n << 2);
		loami_radix_set(arena, g + n - 1, LOAMI_WORD_LENGTH | n << 2);
	}
	loami_radix_set(arena, g, make_head(n, next, 0));
	if (next != 0)
		set_prev(arena, next - 1, g + 1);
	arena->bins->head[bin] = (uint32_t)(g + 1);
	arena->bins->map[bin / 64] |= UINT64_C(1) << (bin % 64);
	arena->nruns++;
	arena->free_granules += n;
}

/* A free run ceases to be one; its boundary words are cleared. */
static void take_out(struct loam_arena *arena, uint64_t g, uint64_t n)
{
	unsigned int bin = loami_bin(n);
	uint64_t head = loami_radix_get(arena, g);
	uint64_t next = loami_head_next(head), prev = head_prev(head);

	if (prev != 0)
		set_next(arena, prev - 1, next);
	else
		arena->bins->head[bin] = (uint32_t)next;
	if (next != 0)
		set_prev(arena, next - 1, prev);
	if (arena->bins->head[bin] == 0)
		arena->bins->map[bin / 64] &= ~(UINT64_C(1) << (bin % 64));
	loami_radix_set(arena, g, 0);
	if (n > 1) {
		loami_radix_set(arena, g + 1, 0);
		loami_radix_set(arena, g + n - 1, 0);
	}
	arena->nruns--;
	arena->free_granules -= n;
}

/* The first bin at or above @bin that has a run; LOAMI_ARENA_BINS: none. */
static unsigned int next_bin(const struct loam_arena *arena, unsigned int bin)
{
	for (unsigned int word = bin / 64; word < LOAMI_ARENA_BINS / 64; word++) {
		uint64_t map = arena->bins->map[word];

		if (word == bin / 64)
			map &= ~UINT64_C(0) << (bin % 64);
		if (map != 0)
			return word * 64 + loami_ctz64(map);
	}
	return LOAMI_ARENA_BINS;
}

/* Granules to skip from @g to the next that is @phase modulo @align. */
static uint64_t skip_to(uint64_t g, uint64_t align, uint64_t phase)
{
	return (phase - g) & (align - 1);
}

/* An exact search that has let go of the lock: where it goes on. */
struct search {
	unsigned int bin; /* LOAMI_ARENA_BINS: it has not begun */
	uint64_t link;    /* 1 + granule of the run to look at next; 0: the bin's first */
	uint64_t left;    /* runs it may still look at */
};

/* LOAM_OK: the run at *@g holds @n granules at the alignment. LOAM_ERR_BUSY: let go of the lock, and call again with the same @search. */
static enum loam_status search(const struct loam_arena *arena, uint64_t n, uint64_t align, uint64_t phase,
			       struct search *search, uint64_t *g, uint64_t *length)
{
	unsigned int above = bin_above(n + align - 1), looked = 0;

	if (search->bin == LOAMI_ARENA_BINS)
		*search = (struct search){.bin = loami_bin(n), .left = 2 * arena->nruns};
	while ((search->bin = next_bin(arena, search->bin)) < LOAMI_ARENA_BINS && search->bin < above) {
		uint64_t link = search->link;

		/* Others had the lock meanwhile. */
		if (link != 0) {
			uint64_t head = loami_radix_get(arena, link - 1);

			if ((head & LOAMI_WORD_TAG) != LOAMI_WORD_HEAD ||
			    loami_bin(loami_run_length(arena, link - 1, head)) != search->bin)
				link = 0;
		}
		search->link = 0;
		for (link = link != 0 ? link : arena->bins->head[search->bin]; link != 0;) {
			uint64_t head = loami_radix_get(arena, link - 1);

			if (search->left == 0)
				return LOAM_ERR_NO_RANGE;
			if (looked++ == LOAMI_ARENA_LOOK_CHUNK) {
				search->link = link;
				return LOAM_ERR_BUSY;
			}
			search->left--;
			*g = link - 1;
			*length = loami_run_length(arena, *g, head);
			if (*length >= n && *length - n >= skip_to(*g, align, phase))
				return LOAM_OK;
			link = loami_head_next(head);
		}
		search->bin++;
	}
	return LOAM_ERR_NO_RANGE;
}

/* A run that holds @n granules at the alignment. */
static enum loam_status find(const struct loam_arena *arena, uint64_t n, uint64_t align, uint64_t phase,
			     struct search *exact, uint64_t *g, uint64_t *length)
{
	unsigned int bin = next_bin(arena, bin_above(n + align - 1));

	if (bin == LOAMI_ARENA_BINS)
		return search(arena, n, align, phase, exact, g, length);
	*g = (uint64_t)arena->bins->head[bin] - 1;
	*length = loami_run_length(arena, *g, loami_radix_get(arena, *g));
	return LOAM_OK;
}

/* Take @n granules at the alignment out of the free run of @length at @g. Return: the first. */
static uint64_t cut(struct loam_arena *arena, uint64_t g, uint64_t length, uint64_t n, uint64_t align, uint64_t phase)
{
	uint64_t skip = skip_to(g, align, phase), rest = length - skip - n, first = g + skip;

	take_out(arena, g, length);
	loami_radix_prepare(arena, first);
	if (n > 1) {
		loami_radix_prepare(arena, first + 1);
		loami_radix_prepare(arena, first + n - 1);
	}
	if (skip > 0) {
		loami_radix_prepare(arena, first - 1);
		insert(arena, g, skip);
	}
	if (rest > 0) {
		loami_radix_prepare(arena, first + n);
		if (rest > 1)
			loami_radix_prepare(arena, first + n + 1);
		insert(arena, first + n, rest);
	}
	return first;
}

enum loam_status loami_extent_lock_and_take(struct loam_arena *arena, uint64_t n, uint64_t align, uint64_t phase,
					    unsigned long *irq, uint64_t *first)
{
	struct search exact = {.bin = LOAMI_ARENA_BINS};
	unsigned int added = 0;
	uint64_t g = 0, length = 0;
	enum loam_status status;

	for (;;) {
		status = loami_meta_lock(arena, irq, &added);
		if (status != LOAM_OK)
			return status;
		status = LOAMI_FAIL(LOAMI_FAIL_RANGE) ? LOAM_ERR_NO_RANGE
						      : find(arena, n, align, phase, &exact, &g, &length);
		if (status != LOAM_ERR_BUSY)
			break;
		loami_unlock_irq(&arena->lock, *irq);
	}
	if (status != LOAM_OK) {
		loami_meta_unlock_undo(arena, *irq, added);
		return status;
	}
	*first = cut(arena, g, length, n, align, phase);
	return LOAM_OK;
}

void loami_extent_give(struct loam_arena *arena, uint64_t first, uint64_t n)
{
	LOAMI_ASSERT(loami_lock_held(&arena->lock));
	if (first + n < arena->limit) {
		uint64_t word = loami_radix_get(arena, first + n);

		if ((word & LOAMI_WORD_TAG) == LOAMI_WORD_HEAD) {
			uint64_t length = loami_run_length(arena, first + n, word);

			take_out(arena, first + n, length);
			n += length;
		}
	}
	if (first > arena->first) {
		uint64_t word = loami_radix_get(arena, first - 1);
		uint64_t length = 0;

		if ((word & LOAMI_WORD_TAG) == LOAMI_WORD_HEAD)
			length = 1;
		else if ((word & LOAMI_WORD_TAG) == LOAMI_WORD_LENGTH)
			length = word >> 2;
		if (length > 0) {
			take_out(arena, first - length, length);
			first -= length;
			n += length;
		}
	}
	insert(arena, first, n);
}

uint64_t loami_extent_largest(const struct loam_arena *arena)
{
	uint64_t largest = 0;
	unsigned int top = LOAMI_ARENA_BINS / 64;

	while (top > 0 && arena->bins->map[top - 1] == 0)
		top--;
	if (top == 0)
		return 0;
	top = (top - 1) * 64 + loami_log2_floor(arena->bins->map[top - 1]);
	if (top < EXACT_BINS)
		return top;
	for (uint64_t link = arena->bins->head[top]; link != 0;) {
		uint64_t head = loami_radix_get(arena, link - 1);
		uint64_t length = loami_run_length(arena, link - 1, head);

		if (length > largest)
			largest = length;
		link = loami_head_next(head);
	}
	return largest;
}
