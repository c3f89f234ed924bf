/* frame/blocks.c: the shared path: which chunk to take from, and how runs that span chunks are had.
 *
 * 1 Concepts: a domain's top bitmaps name the chunks worth locking; they are hints, read without a lock. What a search misses because it moved
 *   meanwhile is the caller's to notice: frames->moves changes with each return, and in_flight is not 0 while frames are on their way.
 * 2 Order of a search, domain by domain in the order of the CPU's node: a partly used block of the type; a whole block, which takes the type; a
 *   partly used block of the other type. Whole blocks are broken last but for mixing types.
 * 4 Locks: one chunk's at a time. A run over several chunks is taken chunk by chunk with interrupts masked, and rolled back when one has not its part.
 * 5 Bounds: a search of order < 9 locks each chunk at most three times; masked time is one chunk's search, or the chunks of one run.
 */
#include "internal.h"

static unsigned int preferred_node(const struct loam_frames *frames, const struct loami_frame_want *want)
{
	unsigned int cpu = loam_port_cpu();

	if (want->node != 0)
		return want->node - 1u;
	return cpu < frames->ncpus ? frames->cpus[cpu].node : 0;
}

/* The next chunk number >= @from whose bit is set in @top, or @end. */
static uint32_t next_chunk(const uint64_t *top, uint32_t from, uint32_t end)
{
	while (from < end) {
		uint64_t bits = loami_load_relaxed(&top[from / 64]) >> (from % 64);

		if (bits != 0) {
			from += loami_ctz64(bits);
			return from < end ? from : end;
		}
		from = (from / 64 + 1) * 64;
	}
	return end;
}

/* What to do in a chunk, and where its result goes. */
enum source { FROM_PARTIAL, FROM_WHOLE, FROM_OTHER };
struct search {
	enum source source;
	unsigned int type;
	unsigned int order;
	struct loami_claimed *claimed; /* NULL: take 2^order frames */
	unsigned int most;             /* frames to claim, or blocks to take: 0 for one by itself */
	loam_pfn first;
	loam_pfn *firsts;
	unsigned int got;
};

static bool search_locked(struct loam_frames *frames, struct loami_frame_chunk *chunk, struct search *search)
{
	unsigned int type = search->source == FROM_OTHER ? search->type ^ 1 : search->type;

	if (search->claimed)
		return search->source == FROM_WHOLE
			       ? loami_chunk_claim_whole(frames, chunk, type, search->claimed, search->most)
			       : loami_chunk_claim_partial(frames, chunk, type, search->claimed, search->most);
	if (search->firsts) {
		search->got = loami_chunk_take_many(frames, chunk, search->source == FROM_WHOLE, type, search->order,
						    search->firsts, search->most);
		return search->got != 0;
	}
	if (search->source != FROM_WHOLE)
		search->first = loami_chunk_take_partial(frames, chunk, type, search->order);
	else if (search->order < LOAM_BLOCK_ORDER)
		search->first = loami_chunk_take_whole(frames, chunk, type, search->order);
	else
		search->first =
			loami_chunk_take_blocks(frames, chunk, type, UINT64_C(1) << (search->order - LOAM_BLOCK_ORDER),
						UINT64_C(1) << (search->order - LOAM_BLOCK_ORDER));
	return search->first != LOAM_PFN_NONE;
}

/* Search the chunks of a top bitmap from @home on, round to it again. */
static bool search_top(struct loam_frames *frames, const uint64_t *top, struct search *search, uint32_t *home)
{
	uint32_t n = loami_load_acquire(&frames->nchunks);
	uint32_t start = *home < n ? *home : 0;

	for (unsigned int half = 0; half < 2; half++) {
		uint32_t end = half == 0 ? n : start;

		for (uint32_t c = next_chunk(top, half == 0 ? start : 0, end); c < end;
		     c = next_chunk(top, c + 1, end)) {
			struct loami_frame_chunk *chunk = frames->chunks[c];
			unsigned long irq = loami_lock_irq(&chunk->lock);
			bool found = search_locked(frames, chunk, search);

			loami_unlock_irq(&chunk->lock, irq);
			if (found) {
				*home = c;
				return true;
			}
		}
	}
	return false;
}

static bool wanted_domain(const struct loam_frames *frames, const struct loami_frame_want *want, unsigned int d)
{
	return frames->domains[d].zone < want->zones;
}

/* Above a cell: aligned runs of whole cells. */
static loam_pfn take_huge(struct loam_frames *frames, unsigned int order, const struct loami_frame_want *want)
{
	struct loam_frame_where where = {.align = LOAM_PAGE_SIZE << order};

	return loami_blocks_take_run(frames, UINT64_C(1) << order, &where, want);
}

/* Domain by domain: a partly used block of the type, a whole one, a partly used one of the other type. */
static bool search_domains(struct loam_frames *frames, const struct loami_frame_want *want, struct search *search)
{
	const uint8_t *order = frames->search[preferred_node(frames, want)];
	unsigned int cpu = loam_port_cpu(), n = loami_load_acquire(&frames->ndomains);
	uint32_t home = cpu < frames->ncpus ? loami_load_relaxed(&frames->cpus[cpu].home) : 0, was = home;
	bool found = false;

	for (unsigned int i = 0; i < n && !found; i++) {
		unsigned int d = loami_load_relaxed(&order[i]);
		struct loami_frame_domain *domain = &frames->domains[d];

		if (!wanted_domain(frames, want, d) ||
		    !loami_zone_allows(frames, domain->zone, want,
				       search->claimed
					       ? search->most
					       : (search->firsts ? search->most : UINT64_C(1)) << search->order))
			continue;
		search->source = FROM_PARTIAL;
		found = search->order < LOAM_BLOCK_ORDER &&
			search_top(frames, domain->partial[want->type], search, &home);
		if (!found) {
			search->source = FROM_WHOLE;
			found = search_top(frames, domain->whole, search, &home);
		}
		if (!found && search->order < LOAM_BLOCK_ORDER) {
			search->source = FROM_OTHER;
			found = search_top(frames, domain->partial[want->type ^ 1], search, &home);
		}
	}
	if (home != was && cpu < frames->ncpus)
		loami_store_relaxed(&frames->cpus[cpu].home, home);
	return found;
}

loam_pfn loami_blocks_take(struct loam_frames *frames, unsigned int order, const struct loami_frame_want *want)
{
	struct search search = {.type = want->type, .order = order};

	if (order > frames->cell_order)
		return take_huge(frames, order, want);
	return search_domains(frames, want, &search) ? search.first : LOAM_PFN_NONE;
}

bool loami_blocks_claim(struct loam_frames *frames, const struct loami_frame_want *want, struct loami_claimed *claimed,
			unsigned int most)
{
	struct search search = {.type = want->type, .claimed = claimed, .most = most};

	return search_domains(frames, want, &search);
}

unsigned int loami_blocks_take_many(struct loam_frames *frames, unsigned int order, const struct loami_frame_want *want,
				    loam_pfn *firsts, unsigned int n)
{
	struct search search = {.type = want->type, .order = order, .most = n, .firsts = firsts};

	return search_domains(frames, want, &search) ? search.got : 0;
}

/* Chunk by chunk: what lies in the first one's is put, the others are left for the next round. At most a magazine's worth, so the rounds are cheap beside the locks. */
void loami_blocks_put_many(struct loam_frames *frames, loam_pfn *firsts, unsigned int n, unsigned int order)
{
	if (n == 0)
		return;
	while (n != 0) {
		struct loami_frame_chunk *chunk = loami_chunk_of(frames, firsts[0]);
		loam_pfn start = chunk->start, span = chunk->end - start;
		unsigned long irq = loami_lock_irq(&chunk->lock);
		unsigned int left = 0;

		for (unsigned int i = 0; i < n; i++) {
			if (firsts[i] - start >= span)
				firsts[left++] = firsts[i];
			else if (order <= 6)
				loami_chunk_put_small(frames, chunk, firsts[i] - chunk->base, order);
			else
				loami_chunk_put(frames, chunk, firsts[i] - chunk->base, UINT64_C(1) << order);
		}
		if (order <= 6)
			loami_chunk_count(frames, chunk, (uint64_t)(n - left) << order);
		loami_unlock_irq(&chunk->lock, irq);
		n = left;
	}
	(void)loami_fetch_add(&frames->moves, 1);
}

/* ---- ranges ------------------------------------------------------------------------------------------------------------------------------- */

enum action { TAKE, PUT, PUT_CLEAN };

/* Take or put the part of [first, end) in each chunk. Interrupts are masked. On a take, stops at the first chunk that has not all of its part. */
static loam_pfn each_chunk(struct loam_frames *frames, loam_pfn first, loam_pfn end, enum action action)
{
	while (first < end) {
		struct loami_frame_chunk *chunk = loami_chunk_of(frames, first);
		loam_pfn stop;
		bool ok = true;

		if (!chunk)
			return first;
		stop = end < chunk->end ? end : chunk->end;
		loami_lock(&chunk->lock);
		if (action == PUT)
			loami_chunk_put(frames, chunk, first - chunk->base, stop - first);
		else if (action == PUT_CLEAN)
			loami_chunk_put_clean(frames, chunk, first - chunk->base, stop - first);
		else if (loami_chunk_is_free(chunk, first - chunk->base, stop - first))
			loami_chunk_take(frames, chunk, first - chunk->base, stop - first);
		else
			ok = false;
		loami_unlock(&chunk->lock);
		if (!ok)
			return first;
		first = stop;
	}
	return end;
}

static void put(struct loam_frames *frames, loam_pfn first, uint64_t n, enum action action)
{
	unsigned long irq = loam_port_irq_save();

	(void)each_chunk(frames, first, first + n, action);
	(void)loami_fetch_add(&frames->moves, 1);
	loam_port_irq_restore(irq);
}

void loami_blocks_put(struct loam_frames *frames, loam_pfn first, uint64_t n)
{
	put(frames, first, n, PUT);
}

void loami_blocks_put_clean(struct loam_frames *frames, loam_pfn first, uint64_t n)
{
	put(frames, first, n, PUT_CLEAN);
}

bool loami_blocks_take_exact(struct loam_frames *frames, loam_pfn first, uint64_t n)
{
	unsigned long irq = loam_port_irq_save();
	loam_pfn reached;

	(void)loami_fetch_add(&frames->in_flight, 1);
	reached = each_chunk(frames, first, first + n, TAKE);
	if (reached != first + n && reached != first) {
		(void)each_chunk(frames, first, reached, PUT);
		(void)loami_fetch_add(&frames->moves, 1);
	}
	(void)loami_fetch_sub(&frames->in_flight, 1);
	loam_port_irq_restore(irq);
	return reached == first + n;
}

/* The chunk that holds @pfn or the first one above it; NULL when there is none. */
static struct loami_frame_chunk *chunk_from(const struct loam_frames *frames, loam_pfn pfn)
{
	struct loami_frame_chunk *chunk = loami_chunk_of(frames, pfn);

	if (chunk)
		return chunk;
	for (chunk = loami_load_acquire(&frames->lowest); chunk && chunk->end <= pfn;)
		chunk = loami_load_acquire(&chunk->above);
	return chunk;
}

/* First frame >= @pfn that is free in a chunk of an allowed zone; LOAM_PFN_NONE when there is none below @limit. */
static loam_pfn next_free(struct loam_frames *frames, loam_pfn pfn, loam_pfn limit, unsigned int zones)
{
	while (pfn < limit) {
		struct loami_frame_chunk *chunk = chunk_from(frames, pfn);
		unsigned long irq;
		uint64_t offset;

		if (!chunk)
			return LOAM_PFN_NONE;
		if (pfn < chunk->start)
			pfn = chunk->start;
		if (chunk->zone >= zones) {
			pfn = chunk->end;
			continue;
		}
		irq = loami_lock_irq(&chunk->lock);
		offset =
			chunk->nfree == 0 ? chunk->end - chunk->base : loami_chunk_next(chunk, pfn - chunk->base, true);
		loami_unlock_irq(&chunk->lock, irq);
		pfn = chunk->base + offset;
		if (pfn < chunk->end)
			return pfn < limit ? pfn : LOAM_PFN_NONE;
	}
	return LOAM_PFN_NONE;
}

/* First frame of [pfn, end) that is not free or not of an allowed zone; end when all are. */
static loam_pfn next_used(struct loam_frames *frames, loam_pfn pfn, loam_pfn end, unsigned int zones)
{
	while (pfn < end) {
		struct loami_frame_chunk *chunk = loami_chunk_of(frames, pfn);
		unsigned long irq;
		uint64_t offset;

		if (!chunk || chunk->zone >= zones)
			return pfn;
		irq = loami_lock_irq(&chunk->lock);
		offset = loami_chunk_next(chunk, pfn - chunk->base, false);
		loami_unlock_irq(&chunk->lock, irq);
		pfn = chunk->base + offset;
		if (pfn < chunk->end)
			return pfn < end ? pfn : end;
	}
	return end;
}

struct window {
	loam_pfn start;
	loam_pfn end;
	uint64_t align;    /* frames */
	uint64_t boundary; /* frames, 0: none */
	unsigned int zones;
};

/* Move @pfn up to where a run of @n may begin. LOAM_PFN_NONE beyond the window. */
static loam_pfn place(const struct window *window, loam_pfn pfn, uint64_t n)
{
	pfn = loami_align_up(pfn, window->align);
	if (window->boundary != 0 && n != 0 && (pfn & (window->boundary - 1)) + n > window->boundary)
		pfn = loami_align_up(loami_align_up(pfn, window->boundary), window->align);
	return pfn <= window->end && n <= window->end - pfn ? pfn : LOAM_PFN_NONE;
}

/* First fit from the window's start. */
static loam_pfn scan(struct loam_frames *frames, const struct window *window, uint64_t n)
{
	loam_pfn pfn = window->start;

	for (;;) {
		loam_pfn used;

		pfn = next_free(frames, pfn, window->end, window->zones);
		if (pfn == LOAM_PFN_NONE)
			return LOAM_PFN_NONE;
		pfn = place(window, pfn, n);
		if (pfn == LOAM_PFN_NONE)
			return LOAM_PFN_NONE;
		used = next_used(frames, pfn, pfn + n, window->zones);
		if (used < pfn + n)
			pfn = used + 1;
		else if (loami_blocks_take_exact(frames, pfn, n))
			return pfn;
	}
}

loam_pfn loami_blocks_take_run(struct loam_frames *frames, uint64_t n, const struct loam_frame_where *where,
			       const struct loami_frame_want *want)
{
	struct window window = {
		.align = where->align > LOAM_PAGE_SIZE ? where->align >> LOAM_PAGE_SHIFT : 1,
		.boundary = where->boundary >> LOAM_PAGE_SHIFT,
		.zones = want->zones,
	};
	loam_pfn start = (where->start >> LOAM_PAGE_SHIFT) + (where->start % LOAM_PAGE_SIZE != 0);
	loam_pfn limit = where->limit != 0 ? where->limit >> LOAM_PAGE_SHIFT : LOAM_PFN_NONE;

	for (unsigned int zone = 0; zone < want->zones; zone++) {
		loam_pfn zone_end = loami_load_relaxed(&frames->zone_end[zone]);

		if (zone_end > window.end)
			window.end = zone_end;
	}
	if (window.end > limit)
		window.end = limit;
	/* High zones first, so that what only low memory can serve keeps it. */
	for (unsigned int zone = want->zones; zone-- > 0;) {
		loam_pfn zone_start = loami_load_relaxed(&frames->zone_start[zone]), pfn;

		if (loami_load_relaxed(&frames->zone_end[zone]) <= zone_start)
			continue;
		window.start = start > zone_start ? start : zone_start;
		pfn = scan(frames, &window, n);
		if (pfn != LOAM_PFN_NONE)
			return pfn;
	}
	return LOAM_PFN_NONE;
}
