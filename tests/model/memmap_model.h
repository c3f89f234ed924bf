/* tests/model/memmap_model.h: adversarial memory maps, and what normalising them must give, computed page by page.
 *
 * The model has no intervals and no sorting. A window of pages, each cut into four cells at places drawn per map, is an array of bytes; entries are painted
 * into it one after the other; a page is then looked at by itself. Below the window lies one more cell that reaches down to 0, above it one that reaches
 * up to 2^64, so that entries which begin at 0, end at 2^64 or wrap are modelled too.
 */
#ifndef LOAM_TESTS_MEMMAP_MODEL_H
#define LOAM_TESTS_MEMMAP_MODEL_H

#include <base/print.h>
#include <loam/boot.h>

#include "rig.h"

#include <string.h>

enum {
	MODEL_ENTRIES = 4096,
	MODEL_PAGES = 512,
	MODEL_CUTS = 4,
	MODEL_CELLS = MODEL_PAGES * MODEL_CUTS + 2, /* [0] below the window, [ncells - 1] above it */
};

typedef enum loam_status (*model_init_fn)(struct loam_memmap *map, struct loam_region *raw, size_t nraw,
					  struct loam_region *storage, size_t capacity, loam_paddr limit,
					  loam_memmap_note_fn note, void *context);

struct memmap_model {
	uint64_t state; /* of the random numbers */
	size_t nraw;
	struct loam_region raw[MODEL_ENTRIES];
	struct loam_region storage[2 * MODEL_ENTRIES + 1];
	struct loam_region again[2 * MODEL_ENTRIES + 1];

	loam_paddr low; /* of the window */
	size_t npages;
	size_t ncells;
	uint64_t cuts[MODEL_CUTS]; /* offsets of the cells in a page; [0] is 0 */
	loam_paddr limit;          /* as given; 0: none */
	loam_paddr top;            /* what it comes to, page aligned */

	uint8_t best[MODEL_CELLS];  /* type << 4 | 15 - node of the winner, 0: nothing there */
	uint8_t least[MODEL_CELLS]; /* the least strict type */
	uint8_t twice[MODEL_CELLS]; /* 2 or more entries: 2 */
	uint8_t result[MODEL_PAGES + 2];

	/* From the notes: bytes by winner and loser. */
	uint64_t overlap[LOAM_REGION_TYPE_COUNT][LOAM_REGION_TYPE_COUNT];
	uint64_t noted;

	char why[160];
};

static inline uint64_t model_random(struct memmap_model *m, uint64_t below)
{
	return (rig_random(&m->state) >> 11) % below;
}

/* First byte of a cell; cell ncells - 1 starts where the window ends, which may be 2^64, written 0. */
static inline loam_paddr model_cell_start(const struct memmap_model *m, size_t cell)
{
	if (cell == 0)
		return 0;
	return m->low + (cell - 1) / MODEL_CUTS * LOAM_PAGE_SIZE + m->cuts[(cell - 1) % MODEL_CUTS];
}

static inline uint32_t model_type(uint32_t type)
{
	return type >= LOAM_REGION_USABLE && type < LOAM_REGION_TYPE_COUNT ? type : (uint32_t)LOAM_REGION_RESERVED;
}

static inline void model_paint(struct memmap_model *m, size_t from, size_t to, uint32_t type, uint32_t node)
{
	uint8_t key = (uint8_t)(type << 4 | (15 - node));
	uint8_t least = (uint8_t)type;

	for (size_t c = from; c < to; c++) {
		m->best[c] = m->best[c] > key ? m->best[c] : key;
		m->least[c] = m->least[c] < least ? m->least[c] : least;
		m->twice[c] = (uint8_t)(m->twice[c] < 2 ? m->twice[c] + 1 : 2);
	}
}

/* An entry over cells [from, to), in the clear or disguised as one that wraps. */
static inline void model_add(struct memmap_model *m, size_t from, size_t to, uint32_t type, uint32_t node)
{
	struct loam_region *entry = &m->raw[m->nraw++];
	uint64_t nbytes;

	entry->base = model_cell_start(m, from);
	entry->type = type;
	entry->node = node;
	if (to < m->ncells) {
		nbytes = model_cell_start(m, to) - entry->base;
	} else {
		nbytes = 0 - entry->base; /* to 2^64 exactly; a whole address space cannot be said */
		if (entry->base == 0)
			nbytes = UINT64_MAX;
		else if (model_random(m, 2) == 0)
			nbytes += model_random(m, entry->base);
	}
	entry->nbytes = nbytes;
	model_paint(m, from, to, model_type(type), node);
}

static inline void model_generate(struct memmap_model *m)
{
	static const uint64_t lows[] = {0, 0, 0x1000, 0x100000, UINT64_C(1) << 52, UINT64_C(1) << 63};
	uint64_t size = model_random(m, 4096);
	size_t wanted = (size_t)(size == 0    ? 1 + model_random(m, MODEL_ENTRIES)
				 : size < 256 ? 1 + model_random(m, 64)
					      : 1 + model_random(m, 10));
	bool aligned = model_random(m, 2) == 0;
	bool many_nodes = model_random(m, 4) == 0;
	uint64_t where = model_random(m, 8);

	m->nraw = 0;
	m->npages = 1 + (size_t)model_random(m, wanted > 64 ? MODEL_PAGES : wanted > 10 ? 64 : 16);
	m->ncells = m->npages * MODEL_CUTS + 2;
	m->low = where < 6 ? lows[where] : 0 - m->npages * LOAM_PAGE_SIZE - (where - 6) * LOAM_PAGE_SIZE;
	for (size_t i = 1; i < MODEL_CUTS; i++) /* 1 .. 4095, rising, at least one byte apart */
		m->cuts[i] = m->cuts[i - 1] + 1 + model_random(m, LOAM_PAGE_SIZE / MODEL_CUTS - 1);
	m->limit = model_random(m, 4) != 0 ? 0 : model_cell_start(m, 1 + (size_t)model_random(m, m->ncells - 1));
	m->top = m->limit == 0 || m->limit > 0 - (uint64_t)LOAM_PAGE_SIZE ? 0 - (uint64_t)LOAM_PAGE_SIZE
									  : m->limit & ~(LOAM_PAGE_SIZE - 1);
	memset(m->best, 0, m->ncells);
	memset(m->least, 255, m->ncells);
	memset(m->twice, 0, m->ncells);

	while (m->nraw < wanted) {
		uint64_t kind = model_random(m, 32);
		uint64_t pick = model_random(m, 24);
		uint32_t type = (uint32_t)(pick < 10    ? 1
					   : pick < 22  ? pick - 9
					   : pick == 22 ? 0
							: LOAM_REGION_FOREIGN | 7);
		uint32_t node = many_nodes ? (uint32_t)model_random(m, 4) : 0;
		size_t step = aligned ? MODEL_CUTS : 1;
		size_t places = (m->ncells - 2) / step; /* window only */
		size_t from = 1 + (size_t)model_random(m, places) * step;
		size_t to = from + (1 + (size_t)model_random(m, kind < 8 ? places : 6)) * step;

		if (to >= m->ncells)
			to = m->ncells - 1;
		if (kind == 31) { /* nothing, anywhere */
			m->raw[m->nraw++] = (struct loam_region){
				.base = rig_random(&m->state), .nbytes = 0, .type = type, .node = node};
		} else if (kind >= 29 && m->low + m->npages * LOAM_PAGE_SIZE != 0) { /* up to the top */
			model_add(m, from, m->ncells, type, node);
		} else if (kind == 28 && m->low > 0) { /* from the bottom */
			model_add(m, 0, model_cell_start(m, to) == 0 ? 1 : to, type,
				  node);                /* all of 2^64 cannot be said */
		} else if (kind >= 24 && m->nraw > 0) { /* again, perhaps as something else, perhaps to wrap */
			const struct loam_region *old = &m->raw[model_random(m, m->nraw)];
			struct loam_region copy = *old;

			if (copy.nbytes != 0 && copy.base >= m->low && copy.base != 0 &&
			    m->low + m->npages * LOAM_PAGE_SIZE != 0) {
				size_t cell = 1;

				while (model_cell_start(m, cell) != copy.base)
					cell++;
				model_add(m, cell, m->ncells, copy.type, node);
			} else {
				model_add(m, from, to, copy.type, node);
			}
		} else {
			model_add(m, from, to, type, node);
		}
	}
}

/* What page @page of the window must be: a key as in best, 0 for nothing. */
static inline uint8_t model_page(const struct memmap_model *m, size_t page)
{
	const uint8_t *cell = &m->best[1 + page * MODEL_CUTS];
	uint8_t key = 0;
	bool whole = true;

	if (m->low + page * LOAM_PAGE_SIZE >= m->top)
		return 0;
	for (size_t i = 0; i < MODEL_CUTS; i++) {
		key = key > cell[i] ? key : cell[i];
		whole = whole && cell[i] != 0;
	}
	return key >> 4 == LOAM_REGION_USABLE && !whole ? 0 : key;
}

static inline void model_hear(void *context, const struct loam_memmap_note *note)
{
	struct memmap_model *m = context;

	m->noted++;
	if (note->kind == LOAM_NOTE_OVERLAP)
		m->overlap[note->winner][note->loser] += note->nbytes;
}

/* The bytes of each kind of overlap, cell by cell. */
static inline bool model_overlaps_match(struct memmap_model *m)
{
	for (size_t c = 0; c < m->ncells; c++) {
		loam_paddr start = model_cell_start(m, c);
		loam_paddr end = c + 1 < m->ncells ? model_cell_start(m, c + 1) : 0;

		if (m->twice[c] < 2 || start >= m->top || (c > 0 && start == 0 && m->low != 0))
			continue;
		if (end == 0 || end > m->top)
			end = m->top;
		m->overlap[m->best[c] >> 4][m->least[c]] -= end - start;
	}
	for (size_t i = 0; i < LOAM_REGION_TYPE_COUNT; i++) {
		for (size_t j = 0; j < LOAM_REGION_TYPE_COUNT; j++) {
			if (m->overlap[i][j] != 0) {
				(void)loami_format(m->why, sizeof(m->why), "overlap of %s over %s is off by %ld bytes",
						   loam_region_type_name((uint32_t)i),
						   loam_region_type_name((uint32_t)j), (long)m->overlap[i][j]);
				return false;
			}
		}
	}
	return true;
}

/* Take the result apart into pages. */
static inline bool model_expand(struct memmap_model *m, const struct loam_memmap *map)
{
	loam_paddr window_end = m->low + m->npages * LOAM_PAGE_SIZE; /* 0: 2^64 */
	uint64_t below = 0;
	uint64_t above = 0;

	memset(m->result, 0, m->npages + 2);
	for (size_t i = 0; i < map->count; i++) {
		const struct loam_region *r = &map->regions[i];
		uint8_t key = (uint8_t)(r->type << 4 | (15 - r->node));
		loam_paddr end = r->base + r->nbytes;

		if (r->base < m->low) {
			m->result[m->npages] = key;
			below += (end < m->low ? end : m->low) - r->base;
		}
		if (window_end != 0 && end > window_end) {
			m->result[m->npages + 1] = key;
			above += end - (r->base > window_end ? r->base : window_end);
		}
		for (size_t p = r->base < m->low ? 0 : (size_t)((r->base - m->low) / LOAM_PAGE_SIZE);
		     p < m->npages && m->low + p * LOAM_PAGE_SIZE < end; p++)
			m->result[p] = key;
	}
	/* What lies outside of the window is all of one kind. */
	if (below != 0 && below != (m->low < m->top ? m->low : m->top))
		return false;
	return above == 0 || (window_end < m->top && above == m->top - window_end);
}

static inline bool model_same(const struct memmap_model *m, const struct loam_memmap *a, const struct loam_region *b,
			      size_t n)
{
	(void)m;
	return a->count == n && memcmp(a->regions, b, n * sizeof(*b)) == 0;
}

static inline uint64_t model_hash(const struct memmap_model *m)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < m->nraw; i++) {
		uint64_t x = m->raw[i].base ^ m->raw[i].nbytes << 7 ^ (uint64_t)m->raw[i].type << 40 ^ m->raw[i].node;

		sum += rig_random(&x);
	}
	return sum;
}

/* One map, all that can be said of it. Return: true when @init is right; else m->why says why not. */
static inline bool model_run(struct memmap_model *m, uint64_t seed, model_init_fn init)
{
	struct loam_memmap map;
	uint64_t hash;
	uint64_t total = 0;

	m->state = seed;
	m->why[0] = '\0';
	model_generate(m);
	hash = model_hash(m);
	memset(m->overlap, 0, sizeof(m->overlap));
	m->noted = 0;

	if (init(&map, m->raw, m->nraw, m->storage, 2 * m->nraw + 1, m->limit, model_hear, m) != LOAM_OK) {
		(void)loami_format(m->why, sizeof(m->why), "init failed");
		return false;
	}
	if (loam_memmap_check(&map) != LOAM_OK) {
		(void)loami_format(m->why, sizeof(m->why), "loam_memmap_check() is not content");
		return false;
	}
	if (!model_expand(m, &map)) {
		(void)loami_format(m->why, sizeof(m->why), "outside of the window");
		return false;
	}
	for (size_t p = 0; p < m->npages; p++) {
		uint8_t expected = model_page(m, p);

		if (m->result[p] != expected) {
			(void)loami_format(m->why, sizeof(m->why), "page 0x%lx: %s node %u, the model says %s node %u",
					   (unsigned long)(m->low + p * LOAM_PAGE_SIZE),
					   loam_region_type_name(m->result[p] >> 4), 15u - (m->result[p] & 15),
					   loam_region_type_name(expected >> 4), 15u - (expected & 15));
			return false;
		}
	}
	if (m->low > 0 && m->result[m->npages] != m->best[0]) {
		(void)loami_format(m->why, sizeof(m->why), "below the window");
		return false;
	}
	if (m->low + m->npages * LOAM_PAGE_SIZE != 0 && m->low + m->npages * LOAM_PAGE_SIZE < m->top &&
	    m->result[m->npages + 1] != m->best[m->ncells - 1]) {
		(void)loami_format(m->why, sizeof(m->why), "above the window");
		return false;
	}
	if (!model_overlaps_match(m))
		return false;
	for (size_t i = 0; i < LOAM_NOTE_KIND_COUNT; i++)
		total += map.notes[i];
	if (total != m->noted || model_hash(m) != hash) {
		(void)loami_format(m->why, sizeof(m->why), "notes were lost, or raw entries");
		return false;
	}

	/* Now and then: the order of the entries does not matter, the exact room suffices, one less is refused. */
	if (seed % 16 == 0 && map.count > 0) {
		struct loam_memmap second;

		for (size_t i = m->nraw; i > 1; i--) {
			size_t j = (size_t)model_random(m, i);
			struct loam_region saved = m->raw[i - 1];

			m->raw[i - 1] = m->raw[j];
			m->raw[j] = saved;
		}
		if (init(&second, m->raw, m->nraw, m->again, map.count, m->limit, NULL, NULL) != LOAM_OK ||
		    !model_same(m, &second, map.regions, map.count)) {
			(void)loami_format(m->why, sizeof(m->why), "another order of the entries gives another map");
			return false;
		}
		if (init(&second, m->raw, m->nraw, m->again, map.count - 1, m->limit, NULL, NULL) !=
			    LOAM_ERR_NO_METADATA ||
		    second.count != 0) {
			(void)loami_format(m->why, sizeof(m->why), "too little room was not refused");
			return false;
		}
	}
	return true;
}

#endif
