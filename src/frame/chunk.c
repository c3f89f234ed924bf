/* frame/chunk.c: the bitmaps of one chunk. Every function here needs the chunk's lock and is bounded by its 512 blocks.
 *
 * 3 Invariants (loami_chunk_check)
 *   I1 counts[b] is the number of ones in rows[b]; bits outside [start, end) are zero.
 *   I2 whole has b exactly when counts[b] == 512; partial[t] exactly when 0 < counts[b] < 512 and b is of type t.
 *   I3 nfree, nwhole, npartial are the sums of I1 and I2; the domain's top bitmaps have the chunk's bit exactly when nwhole or npartial[t] > 0.
 *   I4 no aligned run of more than 2^run_order frames lies inside a partial block.
 * 5 Bounds: take and put of n frames touch n / 64 + 1 row words; a search touches at most every row once (4096 words).
 */
#include "internal.h"

#include <base/print.h>

static bool bit_get(const uint64_t *words, uint64_t bit)
{
	return (words[bit / 64] >> (bit % 64) & 1) != 0;
}
static void bit_set(uint64_t *words, uint64_t bit)
{
	words[bit / 64] |= UINT64_C(1) << (bit % 64);
}
static void bit_clear(uint64_t *words, uint64_t bit)
{
	words[bit / 64] &= ~(UINT64_C(1) << (bit % 64));
}

static void top_set(uint64_t *top, uint32_t number)
{
	(void)loami_fetch_or_relaxed(&top[number / 64], UINT64_C(1) << (number % 64));
}
static void top_clear(uint64_t *top, uint32_t number)
{
	(void)loami_fetch_and_relaxed(&top[number / 64], ~(UINT64_C(1) << (number % 64)));
}

static unsigned int block_type(const struct loami_frame_chunk *chunk, uint64_t b)
{
	return bit_get(chunk->movable, b) ? TYPE_MOVABLE : TYPE_UNMOVABLE;
}

static void whole_add(struct loami_frame_domain *domain, struct loami_frame_chunk *chunk, uint64_t b)
{
	bit_set(chunk->whole, b);
	if (chunk->nwhole++ == 0)
		top_set(domain->whole, chunk->number);
}
static void whole_remove(struct loami_frame_domain *domain, struct loami_frame_chunk *chunk, uint64_t b)
{
	bit_clear(chunk->whole, b);
	if (--chunk->nwhole == 0)
		top_clear(domain->whole, chunk->number);
}
static void partial_add(struct loami_frame_domain *domain, struct loami_frame_chunk *chunk, unsigned int type,
			uint64_t b)
{
	bit_set(chunk->partial[type], b);
	if (chunk->npartial[type]++ == 0)
		top_set(domain->partial[type], chunk->number);
}
static void partial_remove(struct loami_frame_domain *domain, struct loami_frame_chunk *chunk, unsigned int type,
			   uint64_t b)
{
	bit_clear(chunk->partial[type], b);
	if (--chunk->npartial[type] == 0)
		top_clear(domain->partial[type], chunk->number);
}

/* Block b goes from its count to @count: keep I1 to I3. */
static void count_set(struct loami_frame_domain *domain, struct loami_frame_chunk *chunk, uint64_t b,
		      unsigned int count)
{
	unsigned int old = chunk->counts[b], type = block_type(chunk, b);

	chunk->counts[b] = (uint16_t)count;
	if (old == LOAM_BLOCK_FRAMES)
		whole_remove(domain, chunk, b);
	else if (old != 0 && (count == 0 || count == LOAM_BLOCK_FRAMES))
		partial_remove(domain, chunk, type, b);
	if (count == LOAM_BLOCK_FRAMES)
		whole_add(domain, chunk, b);
	else if (count != 0 && (old == 0 || old == LOAM_BLOCK_FRAMES))
		partial_add(domain, chunk, type, b);
	if (old == LOAM_BLOCK_FRAMES || count > old)
		chunk->run_order = LOAM_BLOCK_ORDER - 1;
}

static void free_add(struct loami_frame_domain *domain, struct loami_frame_chunk *chunk, uint64_t n)
{
	chunk->nfree += (uint32_t)n;
	(void)loami_fetch_add_relaxed(&domain->free, n);
}
static void free_sub(struct loami_frame_domain *domain, struct loami_frame_chunk *chunk, uint64_t n)
{
	chunk->nfree -= (uint32_t)n;
	(void)loami_fetch_sub_relaxed(&domain->free, n);
}

/* A whole block that is about to be used takes the type of its first user. */
static void type_set(struct loami_frame_chunk *chunk, uint64_t b, unsigned int type)
{
	if (type == TYPE_MOVABLE)
		bit_set(chunk->movable, b);
	else
		bit_clear(chunk->movable, b);
}

/* Bits of @word where an aligned run of 2^order ones begins, order 0 .. 6. */
static uint64_t runs_in_word(uint64_t word, unsigned int order)
{
	static const uint64_t heads[7] = {
		UINT64_C(0xffffffffffffffff),
		UINT64_C(0x5555555555555555),
		UINT64_C(0x1111111111111111),
		UINT64_C(0x0101010101010101),
		UINT64_C(0x0001000100010001),
		UINT64_C(0x0000000100000001),
		1,
	};

	for (unsigned int k = 0; k < order; k++)
		word &= word >> (1u << k);
	return word & heads[order];
}

/* First frame of an aligned run of 2^order in a row, or -1. */
static int run_in_row(const uint64_t *row, unsigned int order)
{
	if (order <= 6) {
		for (unsigned int w = 0; w < ROW_WORDS; w++) {
			uint64_t heads = row[w] == 0 ? 0 : runs_in_word(row[w], order);

			if (heads != 0)
				return (int)(w * 64 + loami_ctz64(heads));
		}
		return -1;
	}
	for (unsigned int w = 0, step = 1u << (order - 6); w < ROW_WORDS; w += step) {
		uint64_t all = ~UINT64_C(0);

		for (unsigned int k = 0; k < step; k++)
			all &= row[w + k];
		if (all == ~UINT64_C(0))
			return (int)(w * 64);
	}
	return -1;
}

loam_pfn loami_chunk_take_partial(struct loam_frames *frames, struct loami_frame_chunk *chunk, unsigned int type,
				  unsigned int order)
{
	LOAMI_ASSERT(loami_lock_held(&chunk->lock));
	if (chunk->npartial[type] == 0 || order > chunk->run_order)
		return LOAM_PFN_NONE;
	for (unsigned int w = 0; w < CHUNK_WORDS; w++) {
		for (uint64_t blocks = chunk->partial[type][w]; blocks != 0; blocks &= blocks - 1) {
			uint64_t b = w * 64 + loami_ctz64(blocks);
			int bit = chunk->counts[b] >> order == 0 ? -1 : run_in_row(chunk->rows[b], order);

			if (bit < 0)
				continue;
			loami_chunk_take(frames, chunk, b * LOAM_BLOCK_FRAMES + (unsigned int)bit,
					 UINT64_C(1) << order);
			return chunk->base + b * LOAM_BLOCK_FRAMES + (unsigned int)bit;
		}
	}
	/* Not here; with none of the other type either, larger runs need not be looked for until something comes back. */
	if (order > 0 && chunk->npartial[type ^ 1] == 0)
		chunk->run_order = order - 1;
	return LOAM_PFN_NONE;
}

loam_pfn loami_chunk_take_whole(struct loam_frames *frames, struct loami_frame_chunk *chunk, unsigned int type,
				unsigned int order)
{
	LOAMI_ASSERT(loami_lock_held(&chunk->lock));
	for (unsigned int w = 0; chunk->nwhole != 0 && w < CHUNK_WORDS; w++) {
		if (chunk->whole[w] != 0) {
			uint64_t b = w * 64 + loami_ctz64(chunk->whole[w]);

			type_set(chunk, b, type);
			loami_chunk_take(frames, chunk, b * LOAM_BLOCK_FRAMES, UINT64_C(1) << order);
			return chunk->base + b * LOAM_BLOCK_FRAMES;
		}
	}
	return LOAM_PFN_NONE;
}

/* The first zero bit of [from, from + n) of the words, or from + n. */
static uint64_t first_zero(const uint64_t *words, uint64_t from, uint64_t n)
{
	uint64_t end = from + n;

	while (from < end) {
		uint64_t zeros = ~words[from / 64] >> (from % 64);

		if (zeros != 0) {
			from += loami_ctz64(zeros);
			return from < end ? from : end;
		}
		from = (from / 64 + 1) * 64;
	}
	return end;
}

loam_pfn loami_chunk_take_blocks(struct loam_frames *frames, struct loami_frame_chunk *chunk, unsigned int type,
				 uint64_t nblocks, uint64_t align)
{
	uint64_t skew = chunk->base >> LOAM_BLOCK_ORDER;
	uint64_t b = loami_align_up(skew, align) - skew;

	LOAMI_ASSERT(loami_lock_held(&chunk->lock));
	if (chunk->nwhole < nblocks)
		return LOAM_PFN_NONE;
	while (b + nblocks <= chunk->nblocks) {
		uint64_t zero = first_zero(chunk->whole, b, nblocks);

		if (zero == b + nblocks) {
			for (uint64_t k = b; k < b + nblocks; k++)
				type_set(chunk, k, type);
			loami_chunk_take(frames, chunk, b * LOAM_BLOCK_FRAMES, nblocks * LOAM_BLOCK_FRAMES);
			return chunk->base + b * LOAM_BLOCK_FRAMES;
		}
		b = loami_align_up(zero + 1 + skew, align) - skew;
	}
	return LOAM_PFN_NONE;
}

/* The bits of word @w of a row that lie in [from, end), offsets into the row. */
static uint64_t word_mask(uint64_t w, uint64_t from, uint64_t end)
{
	uint64_t mask = ~UINT64_C(0);

	if (from > w * 64)
		mask &= ~loami_mask64((unsigned int)(from - w * 64));
	if (end < w * 64 + 64)
		mask &= loami_mask64((unsigned int)(end - w * 64));
	return mask;
}

bool loami_chunk_is_free(const struct loami_frame_chunk *chunk, uint64_t offset, uint64_t n)
{
	return loami_chunk_next(chunk, offset, false) >= offset + n;
}

uint64_t loami_chunk_next(const struct loami_frame_chunk *chunk, uint64_t offset, bool free)
{
	uint64_t end = chunk->end - chunk->base;

	LOAMI_ASSERT(loami_lock_held(&chunk->lock));
	while (offset < end) {
		uint64_t b = offset / LOAM_BLOCK_FRAMES, w = offset % LOAM_BLOCK_FRAMES / 64, bits;

		if (chunk->counts[b] == (free ? 0 : LOAM_BLOCK_FRAMES)) {
			offset = (b + 1) * LOAM_BLOCK_FRAMES;
			continue;
		}
		bits = (free ? chunk->rows[b][w] : ~chunk->rows[b][w]) >> (offset % 64);
		if (bits != 0) {
			offset += loami_ctz64(bits);
			break;
		}
		offset = (offset / 64 + 1) * 64;
	}
	return offset < end ? offset : end;
}

/* Word @w of block b: some frames leave, or come back from use. */
static void used_leave(struct loam_frames *frames, const struct loami_frame_chunk *chunk, uint64_t b, uint64_t w,
		       uint64_t mask)
{
	unsigned int n = chunk->used ? loami_popcount64(chunk->used[b][w] & mask) : 0;

	if (n != 0)
		(void)loami_fetch_sub_relaxed(&frames->unreported, n);
}
static void used_return(struct loam_frames *frames, struct loami_frame_chunk *chunk, uint64_t b, uint64_t w,
			uint64_t mask, bool clean)
{
	if (!chunk->used)
		return;
	if (clean) {
		loami_store_relaxed(&chunk->used[b][w], chunk->used[b][w] & ~mask);
		return;
	}
	loami_store_relaxed(&chunk->used[b][w], chunk->used[b][w] | mask);
	(void)loami_fetch_add_relaxed(&frames->unreported, loami_popcount64(mask));
}

void loami_chunk_take(struct loam_frames *frames, struct loami_frame_chunk *chunk, uint64_t offset, uint64_t n)
{
	struct loami_frame_domain *domain = &frames->domains[chunk->domain];
	uint64_t end = offset + n;

	LOAMI_ASSERT(loami_lock_held(&chunk->lock));
	for (uint64_t b = offset / LOAM_BLOCK_FRAMES; b * LOAM_BLOCK_FRAMES < end; b++) {
		uint64_t from = offset > b * LOAM_BLOCK_FRAMES ? offset - b * LOAM_BLOCK_FRAMES : 0;
		uint64_t to = end - b * LOAM_BLOCK_FRAMES < LOAM_BLOCK_FRAMES ? end - b * LOAM_BLOCK_FRAMES
									      : LOAM_BLOCK_FRAMES;

		for (uint64_t w = from / 64; w * 64 < to; w++) {
			used_leave(frames, chunk, b, w, word_mask(w, from, to));
			chunk->rows[b][w] &= ~word_mask(w, from, to);
		}
		count_set(domain, chunk, b, chunk->counts[b] - (unsigned int)(to - from));
	}
	free_sub(domain, chunk, n);
}

LOAM_NORETURN static void twice_free(const struct loami_frame_chunk *chunk, uint64_t b)
{
	loami_corrupt("loam: frame: block at 0x%llx: a frame goes free that its bitmap has as free",
		      (unsigned long long)(chunk->base + b * LOAM_BLOCK_FRAMES) << LOAM_PAGE_SHIFT);
}

static void put(struct loam_frames *frames, struct loami_frame_chunk *chunk, uint64_t offset, uint64_t n, bool clean)
{
	struct loami_frame_domain *domain = &frames->domains[chunk->domain];
	uint64_t end = offset + n;

	LOAMI_ASSERT(loami_lock_held(&chunk->lock));
	for (uint64_t b = offset / LOAM_BLOCK_FRAMES; b * LOAM_BLOCK_FRAMES < end; b++) {
		uint64_t from = offset > b * LOAM_BLOCK_FRAMES ? offset - b * LOAM_BLOCK_FRAMES : 0;
		uint64_t to = end - b * LOAM_BLOCK_FRAMES < LOAM_BLOCK_FRAMES ? end - b * LOAM_BLOCK_FRAMES
									      : LOAM_BLOCK_FRAMES;

		for (uint64_t w = from / 64; w * 64 < to; w++) {
			uint64_t mask = word_mask(w, from, to);

			if (LOAMI_UNLIKELY((chunk->rows[b][w] & mask) != 0))
				twice_free(chunk, b);
			chunk->rows[b][w] |= mask;
			used_return(frames, chunk, b, w, mask, clean);
		}
		count_set(domain, chunk, b, chunk->counts[b] + (unsigned int)(to - from));
	}
	free_add(domain, chunk, n);
}

void loami_chunk_put(struct loam_frames *frames, struct loami_frame_chunk *chunk, uint64_t offset, uint64_t n)
{
	put(frames, chunk, offset, n, false);
}
void loami_chunk_put_clean(struct loam_frames *frames, struct loami_frame_chunk *chunk, uint64_t offset, uint64_t n)
{
	put(frames, chunk, offset, n, true);
}

void loami_chunk_count(struct loam_frames *frames, struct loami_frame_chunk *chunk, uint64_t n)
{
	free_add(&frames->domains[chunk->domain], chunk, n);
}

void loami_chunk_put_small(struct loam_frames *frames, struct loami_frame_chunk *chunk, uint64_t offset,
			   unsigned int order)
{
	uint64_t b = offset / LOAM_BLOCK_FRAMES, w = offset % LOAM_BLOCK_FRAMES / 64;
	uint64_t bits = loami_mask64(1u << order) << (offset % 64), word = chunk->rows[b][w];
	unsigned int old = chunk->counts[b], count = old + (1u << order);

	LOAMI_ASSERT(loami_lock_held(&chunk->lock));
	if (LOAMI_UNLIKELY((word & bits) != 0))
		twice_free(chunk, b);
	chunk->rows[b][w] = word | bits;
	used_return(frames, chunk, b, w, bits, false);
	/* Most often a partial block stays one, and nothing but the count changes. */
	if (LOAMI_LIKELY(old != 0 && count != LOAM_BLOCK_FRAMES))
		chunk->counts[b] = (uint16_t)count;
	else
		count_set(&frames->domains[chunk->domain], chunk, b, count);
	chunk->run_order = LOAM_BLOCK_ORDER - 1;
}

/* Up to @n runs of 2^order frames of block b. */
static unsigned int carve(struct loam_frames *frames, struct loami_frame_chunk *chunk, uint64_t b, unsigned int order,
			  loam_pfn *firsts, unsigned int n)
{
	uint64_t *row = chunk->rows[b], run = loami_mask64(1u << order);
	unsigned int got = 0;

	for (unsigned int w = 0; w < ROW_WORDS && got < n; w++) {
		uint64_t heads = row[w] == 0 ? 0 : runs_in_word(row[w], order);

		for (; heads != 0 && got < n; heads &= heads - 1) {
			unsigned int bit = loami_ctz64(heads);

			used_leave(frames, chunk, b, w, run << bit);
			row[w] &= ~(run << bit);
			firsts[got++] = chunk->base + b * LOAM_BLOCK_FRAMES + w * 64 + bit;
		}
	}
	if (got != 0) {
		count_set(&frames->domains[chunk->domain], chunk, b, chunk->counts[b] - (got << order));
		free_sub(&frames->domains[chunk->domain], chunk, (uint64_t)got << order);
	}
	return got;
}

unsigned int loami_chunk_take_many(struct loam_frames *frames, struct loami_frame_chunk *chunk, bool whole,
				   unsigned int type, unsigned int order, loam_pfn *firsts, unsigned int n)
{
	unsigned int got = 0;

	LOAMI_ASSERT(loami_lock_held(&chunk->lock));
	if (order == LOAM_BLOCK_ORDER) {
		while (whole && got < n &&
		       (firsts[got] = loami_chunk_take_blocks(frames, chunk, type, 1, 1)) != LOAM_PFN_NONE)
			got++;
		return got;
	}
	if (whole ? chunk->nwhole == 0 : chunk->npartial[type] == 0 || order > chunk->run_order)
		return 0;
	for (unsigned int w = 0; w < CHUNK_WORDS && got < n; w++) {
		for (uint64_t blocks = whole ? chunk->whole[w] : chunk->partial[type][w]; blocks != 0 && got < n;
		     blocks &= blocks - 1) {
			uint64_t b = w * 64 + loami_ctz64(blocks);

			if (whole)
				type_set(chunk, b, type);
			got += carve(frames, chunk, b, order, firsts + got, n - got);
			if (whole)
				return got;
		}
	}
	return got;
}

/* Move up to @most frames of block b. */
static void claim_row(struct loam_frames *frames, struct loami_frame_chunk *chunk, uint64_t b,
		      struct loami_claimed *claimed, unsigned int most)
{
	struct loami_frame_domain *domain = &frames->domains[chunk->domain];
	uint64_t *row = chunk->rows[b];
	unsigned int n = chunk->counts[b];

	claimed->base = chunk->base + b * LOAM_BLOCK_FRAMES;
	claimed->zone = chunk->zone;
	if (n <= most) {
		for (unsigned int w = 0; w < ROW_WORDS; w++) {
			claimed->row[w] = row[w];
			used_leave(frames, chunk, b, w, row[w]);
			row[w] = 0;
		}
	} else {
		n = 0;
		for (unsigned int w = 0; w < ROW_WORDS && n < most; w++) {
			uint64_t taken = row[w];
			unsigned int ones = loami_popcount64(taken);

			for (; ones > most - n; ones--)
				taken &= ~(UINT64_C(1) << loami_log2_floor(taken));
			claimed->row[w] = taken;
			used_leave(frames, chunk, b, w, taken);
			row[w] &= ~taken;
			n += ones;
		}
	}
	claimed->left = n;
	count_set(domain, chunk, b, chunk->counts[b] - n);
	free_sub(domain, chunk, n);
}

static int first_one(const uint64_t *words)
{
	for (unsigned int w = 0; w < CHUNK_WORDS; w++)
		if (words[w] != 0)
			return (int)(w * 64 + loami_ctz64(words[w]));
	return -1;
}

bool loami_chunk_claim_partial(struct loam_frames *frames, struct loami_frame_chunk *chunk, unsigned int type,
			       struct loami_claimed *claimed, unsigned int most)
{
	int b = chunk->npartial[type] == 0 ? -1 : first_one(chunk->partial[type]);

	if (b < 0)
		return false;
	claim_row(frames, chunk, (unsigned int)b, claimed, most);
	return true;
}

bool loami_chunk_claim_whole(struct loam_frames *frames, struct loami_frame_chunk *chunk, unsigned int type,
			     struct loami_claimed *claimed, unsigned int most)
{
	int b = chunk->nwhole == 0 ? -1 : first_one(chunk->whole);

	if (b < 0)
		return false;
	type_set(chunk, (unsigned int)b, type);
	claim_row(frames, chunk, (unsigned int)b, claimed, most);
	return true;
}

static enum loam_status wrong(const struct loami_frame_chunk *chunk, uint64_t b, const char *what)
{
	loami_print("loam: frame: check: block at 0x%llx: %s\n",
		    (unsigned long long)(chunk->base + b * LOAM_BLOCK_FRAMES) << LOAM_PAGE_SHIFT, what);
	return LOAM_ERR_INVALID;
}

static enum loam_status check_block(const struct loami_frame_chunk *chunk, uint64_t b)
{
	unsigned int ones = 0, type = block_type(chunk, b);

	for (unsigned int w = 0; w < ROW_WORDS; w++) {
		for (uint64_t word = chunk->rows[b][w]; word != 0; word &= word - 1) {
			loam_pfn pfn = chunk->base + b * LOAM_BLOCK_FRAMES + w * 64 + loami_ctz64(word);

			if (pfn < chunk->start || pfn >= chunk->end)
				return wrong(chunk, b, "free frames outside of the chunk");
			ones++;
		}
	}
	if (ones != chunk->counts[b])
		return wrong(chunk, b, "the count differs from the bitmap");
	if (bit_get(chunk->whole, b) != (ones == LOAM_BLOCK_FRAMES))
		return wrong(chunk, b, "wrongly among the whole blocks, or not among them");
	if (bit_get(chunk->partial[type], b) != (ones > 0 && ones < LOAM_BLOCK_FRAMES) ||
	    bit_get(chunk->partial[type ^ 1], b))
		return wrong(chunk, b, "wrongly among the partly used blocks, or not among them");
	for (unsigned int order = chunk->run_order + 1; order < LOAM_BLOCK_ORDER && ones < LOAM_BLOCK_FRAMES; order++)
		if (run_in_row(chunk->rows[b], order) >= 0)
			return wrong(chunk, b, "has a run that searches would skip");
	return LOAM_OK;
}

enum loam_status loami_chunk_check(struct loam_frames *frames, struct loami_frame_chunk *chunk)
{
	const struct loami_frame_domain *domain = &frames->domains[chunk->domain];
	uint32_t nfree = 0, nwhole = 0, npartial[TYPE_COUNT] = {0, 0};

	for (uint64_t b = 0; b < chunk->nblocks; b++) {
		enum loam_status status = check_block(chunk, b);

		if (status != LOAM_OK)
			return status;
		nfree += chunk->counts[b];
		nwhole += bit_get(chunk->whole, b);
		for (unsigned int type = 0; type < TYPE_COUNT; type++)
			npartial[type] += bit_get(chunk->partial[type], b);
	}
	if (nfree != chunk->nfree || nwhole != chunk->nwhole || npartial[0] != chunk->npartial[0] ||
	    npartial[1] != chunk->npartial[1])
		return wrong(chunk, 0, "the chunk's sums differ from its blocks");
	if (bit_get(domain->whole, chunk->number) != (nwhole > 0) ||
	    bit_get(domain->partial[0], chunk->number) != (npartial[0] > 0) ||
	    bit_get(domain->partial[1], chunk->number) != (npartial[1] > 0))
		return wrong(chunk, 0, "the top bitmaps do not know what the chunk has");
	return LOAM_OK;
}
