/* arena/check.c: every invariant of the arena, for tests and audits. The arena is at rest: nobody else uses it. Linear in its granules in use. */
#include "find.h"

#include "base/print.h"

struct sums {
	uint64_t granules_free;
	uint64_t granules_used;
	uint64_t runs;
	uint64_t dirty;      /* ranges found dirty */
	uint64_t live;       /* live or claimed */
	uint64_t live_pages; /* of them */
	uint64_t free_slot_pages;
	bool broken;
};

static void LOAM_PRINTF(2, 3) broken(struct sums *sums, const char *format, ...)
{
	char text[200];
	va_list args;

	va_start(args, format);
	(void)loami_vformat(text, sizeof(text), format, args);
	va_end(args);
	if (!sums->broken)
		loami_print("loam: arena check: %s\n", text);
	sums->broken = true;
}

/* I3, I5: the free run at @g. */
static uint64_t check_run(const struct loam_arena *arena, uint64_t g, uint64_t head, bool after_free, struct sums *sums)
{
	uint64_t n = loami_run_length(arena, g, head);

	if (n == 0 || n > arena->limit - g) {
		broken(sums, "free run at granule %lu has length %lu", (unsigned long)g, (unsigned long)n);
		return 1;
	}
	if (after_free)
		broken(sums, "free run at granule %lu has a free neighbour", (unsigned long)g);
	if (n > 1 && loami_radix_get(arena, g + n - 1) != (LOAMI_WORD_LENGTH | n << 2))
		broken(sums, "free run at granule %lu: first and last length differ", (unsigned long)g);
	for (uint64_t i = 2; i + 1 < n;) {
		uint64_t gap = loami_radix_gap(arena, g + i);

		if (gap == 0) {
			if (loami_radix_get(arena, g + i) != 0)
				broken(sums, "granule %lu inside a free run has a word", (unsigned long)(g + i));
			gap = 1;
		}
		i += gap;
	}
	sums->granules_free += n;
	sums->runs++;
	return n;
}

static void count_state(const struct loam_arena *arena, const struct loami_span *span, unsigned int index,
			struct sums *sums)
{
	uint8_t state = loami_load_relaxed(loami_state(span, index));

	if ((state & LOAMI_AREA_STATE) == LOAMI_AREA_DIRTY)
		sums->dirty++;
	if ((state & LOAMI_AREA_STATE) == LOAMI_AREA_LIVE || (state & LOAMI_AREA_STATE) == LOAMI_AREA_CLAIMED) {
		sums->live++;
		sums->live_pages += loami_area_npages(arena, span, span->where, state);
	}
}

static bool in_list(const struct loam_arena *arena, const struct loami_span *span)
{
	for (const struct loami_span *s = loami_arena_cpu(arena, span->cpu)->partial[span->size_class]; s != NULL;
	     s = s->next)
		if (s == span)
			return true;
	return false;
}

/* I6, I8: the span at @g. */
static uint64_t check_span(const struct loam_arena *arena, uint64_t g, struct loami_span *span, struct sums *sums)
{
	uint64_t n = span->ngranules;
	unsigned int nslots = loami_span_nslots(span->where), slot = loami_span_slot(span->where);

	if (loami_span_first(span->where) != g || n == 0 || n > arena->limit - g) {
		broken(sums, "granule %lu: a span that begins at %lu with %lu granules", (unsigned long)g,
		       (unsigned long)loami_span_first(span->where), (unsigned long)n);
		return 1;
	}
	for (uint64_t i = 1; i < n; i++)
		if (loami_radix_get(arena, g + i) != ((uint64_t)(uintptr_t)span | LOAMI_WORD_SPAN)) {
			broken(sums, "granule %lu does not name its span", (unsigned long)(g + i));
			break;
		}
	sums->granules_used += n;
	if (loami_span_is_extent(span)) {
		if ((span->own_state[0] & LOAMI_AREA_STATE) == LOAMI_AREA_FREE)
			broken(sums, "extent at granule %lu is free", (unsigned long)g);
		count_state(arena, span, 0, sums);
		return n;
	}
	if ((uint64_t)nslots * slot > n << arena->shift || slot != loami_class_pages(span->size_class) || nslots == 0)
		broken(sums, "slab at granule %lu: %u places of %u pages", (unsigned long)g, nslots, slot);
	for (unsigned int i = 0; i < nslots; i++) {
		bool is_free = (loami_load_relaxed(&span->state[i]) & LOAMI_AREA_STATE) == LOAMI_AREA_FREE;

		if (is_free != ((span->free >> i & 1) != 0))
			broken(sums, "slab at granule %lu: place %u has state %u and free bit %u", (unsigned long)g, i,
			       loami_load_relaxed(loami_state(span, i)) & LOAMI_AREA_STATE,
			       (unsigned int)(span->free >> i & 1));
		if (is_free && loami_load_relaxed(&span->records[i].sequence) != 0)
			broken(sums, "slab at granule %lu: place %u is free and has a record", (unsigned long)g, i);
		count_state(arena, span, i, sums);
		sums->free_slot_pages += is_free ? slot : 0;
	}
	if (in_list(arena, span) != (span->free != 0))
		broken(sums, "slab at granule %lu: free places and list disagree", (unsigned long)g);
	return n;
}

/* I4: lists of the bins. */
static void check_bins(const struct loam_arena *arena, struct sums *sums)
{
	uint64_t runs = 0;

	for (unsigned int bin = 0; bin < LOAMI_ARENA_BINS; bin++) {
		if ((arena->bins->head[bin] != 0) != ((arena->bins->map[bin / 64] >> (bin % 64) & 1) != 0))
			broken(sums, "bin %u: map and list disagree", bin);
		for (uint64_t link = arena->bins->head[bin]; link != 0; runs++) {
			uint64_t head = loami_radix_get(arena, link - 1);

			if ((head & LOAMI_WORD_TAG) != LOAMI_WORD_HEAD ||
			    loami_bin(loami_run_length(arena, link - 1, head)) != bin || runs > sums->runs) {
				broken(sums, "bin %u lists granule %lu", bin, (unsigned long)(link - 1));
				break;
			}
			link = loami_head_next(head);
		}
	}
	if (runs != sums->runs || runs != arena->nruns)
		broken(sums, "%lu free runs, %lu listed, %lu counted", (unsigned long)sums->runs, (unsigned long)runs,
		       (unsigned long)arena->nruns);
}

struct open_batch {
	struct loam_arena *arena;
	struct sums *sums;
	uint64_t nareas;
	uint64_t npages;
};

static void check_open(void *context, uintptr_t start, size_t npages, const struct loam_area_record *record)
{
	struct open_batch *open = context;
	struct loam_area area;
	uint8_t state;

	(void)record;
	open->nareas++;
	open->npages += npages;
	if (loami_area_find(open->arena, start, &area, &state) != LOAM_OK || area.start != start ||
	    (state & LOAMI_AREA_STATE) != LOAMI_AREA_DIRTY)
		broken(open->sums, "0x%lx is in an open batch but not dirty", (unsigned long)start);
}

/* I7, I9 for open batches, and the CPU's sums. */
static uint64_t check_cpu(struct loam_arena *arena, unsigned int number, struct sums *sums)
{
	struct loami_arena_cpu *cpu = loami_arena_cpu(arena, number);
	struct open_batch open = {.arena = arena, .sums = sums};
	struct loam_arena_batch rest = cpu->open;

	for (unsigned int size_class = 0; size_class < LOAMI_ARENA_CLASSES; size_class++) {
		unsigned int empty = 0;

		for (struct loami_span *span = cpu->partial[size_class]; span != NULL; span = span->next) {
			if (span->free == loami_mask64(loami_span_nslots(span->where)))
				empty++;
			if (span->cpu != number || span->size_class != size_class)
				broken(sums, "cpu %u class %u lists a slab of cpu %u class %u", number, size_class,
				       span->cpu, span->size_class);
		}
		if (empty != cpu->nempty[size_class])
			broken(sums, "cpu %u class %u: %u empty slabs, counted %u", number, size_class, empty,
			       cpu->nempty[size_class]);
	}
	loam_arena_batch_each(arena, &rest, check_open, &open);
	for (uint32_t i = 0; i < cpu->nentries; i++) {
		struct loami_span *span = loami_entry_span(cpu->entries[i]);
		struct loam_area area;

		(void)loami_area_describe(arena, span, span->where, loami_entry_index(cpu->entries[i]), &area);
		check_open(&open, area.start, area.npages, area.record);
	}
	if (open.nareas != cpu->open.nareas || open.npages != cpu->open.npages)
		broken(sums, "cpu %u: open batch has %lu ranges, counted %lu", number, (unsigned long)open.nareas,
		       (unsigned long)cpu->open.nareas);
	return open.nareas;
}

enum loam_status loam_arena_check(struct loam_arena *arena)
{
	struct sums sums = {0};
	struct loam_arena_stats stats;
	uint64_t open = 0;
	bool after_free = false;

	for (uint64_t g = arena->first; g < arena->limit && !sums.broken;) {
		uint64_t word = loami_radix_get(arena, g);

		if ((word & LOAMI_WORD_TAG) == LOAMI_WORD_HEAD) {
			g += check_run(arena, g, word, after_free, &sums);
			after_free = true;
		} else if ((word & LOAMI_WORD_TAG) == LOAMI_WORD_SPAN) {
			g += check_span(arena, g, (struct loami_span *)(uintptr_t)(word & ~(uint64_t)LOAMI_WORD_TAG),
					&sums);
			after_free = false;
		} else {
			broken(&sums, "granule %lu begins nothing: word 0x%lx", (unsigned long)g, (unsigned long)word);
		}
	}
	if (!sums.broken) {
		check_bins(arena, &sums);
		for (unsigned int i = 0; i < arena->ncpus; i++)
			open += check_cpu(arena, i, &sums);
	}
	if (!sums.broken) {
		loam_arena_read_stats(arena, &stats);
		if (sums.granules_free + sums.granules_used != arena->limit - arena->first ||
		    sums.granules_free != arena->free_granules)
			broken(&sums, "%lu free and %lu used granules of %lu", (unsigned long)sums.granules_free,
			       (unsigned long)sums.granules_used, (unsigned long)(arena->limit - arena->first));
		if (stats.live_areas != sums.live || stats.live_pages != sums.live_pages)
			broken(&sums, "%lu live ranges of %lu pages, counted %lu and %lu", (unsigned long)sums.live,
			       (unsigned long)sums.live_pages, (unsigned long)stats.live_areas,
			       (unsigned long)stats.live_pages);
		if (stats.dirty_areas != sums.dirty || open > sums.dirty)
			broken(&sums, "%lu dirty ranges, counted %lu, %lu of them open", (unsigned long)sums.dirty,
			       (unsigned long)stats.dirty_areas, (unsigned long)open);
		if (stats.free_pages != (sums.granules_free << arena->shift) + sums.free_slot_pages)
			broken(&sums, "free pages: %lu counted", (unsigned long)stats.free_pages);
	}
	return sums.broken ? LOAM_ERR_INVALID : LOAM_OK;
}
