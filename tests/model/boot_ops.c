/* tests/model/boot_ops.c: random reservations, early allocations and frees beside an array with one type per page.
 *
 * The seed of a failing run is printed; LOAM_SEED=<seed> runs just that one.
 */
#include <loam/boot.h>

#include "rig.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

enum { PAGES = 200, CAPACITY = 64, RUNS = 5000, STEPS = 60 };

static struct loam_memmap map;
static struct loam_region storage[CAPACITY];
static struct loam_region saved[CAPACITY];
static uint8_t types[PAGES]; /* 0: not covered */
static uint64_t state;

static uint64_t below(uint64_t n)
{
	return rig_random(&state) % n;
}

static bool same(void)
{
	uint8_t seen[PAGES] = {0};
	uint64_t usable = 0;

	for (size_t i = 0; i < map.count; i++) {
		const struct loam_region *r = &map.regions[i];

		for (uint64_t p = r->base / LOAM_PAGE_SIZE; p < (r->base + r->nbytes) / LOAM_PAGE_SIZE && p < PAGES;
		     p++)
			seen[p] = (uint8_t)r->type;
	}
	for (size_t p = 0; p < PAGES; p++) {
		const struct loam_region *found = loam_memmap_find(&map, p * LOAM_PAGE_SIZE + 5);

		if ((found != NULL ? found->type : 0) != types[p])
			return false;
		usable += types[p] == LOAM_REGION_USABLE ? LOAM_PAGE_SIZE : 0;
	}
	return memcmp(seen, types, PAGES) == 0 && loam_memmap_check(&map) == LOAM_OK &&
	       loam_memmap_bytes(&map, LOAM_REGION_USABLE) == usable;
}

static void paint(uint64_t from, uint64_t to, uint32_t type)
{
	for (uint64_t p = from; p < to && p < PAGES; p++) {
		if (types[p] == 0 ? type > LOAM_REGION_KERNEL : types[p] < type)
			types[p] = (uint8_t)type;
	}
}

/* Where the allocation must be, by trying every page; PAGES when nowhere. */
static uint64_t expected_place(uint64_t n, const struct loam_memmap_where *where)
{
	for (uint64_t i = 0; i < PAGES; i++) {
		uint64_t p = where->lowest ? i : PAGES - 1 - i;
		loam_paddr base = p * LOAM_PAGE_SIZE;
		bool fits = p + n <= PAGES && base >= where->start &&
			    (where->limit == 0 || base + n * LOAM_PAGE_SIZE <= where->limit) &&
			    (where->align == 0 || base % where->align == 0);

		for (uint64_t j = p; fits && j < p + n; j++)
			fits = types[j] == LOAM_REGION_USABLE;
		if (fits)
			return p;
	}
	return PAGES;
}

static bool step(void)
{
	uint64_t from = below(PAGES);
	uint64_t n = 1 + below(below(2) == 0 ? 4 : 40);
	uint32_t type = (uint32_t)(LOAM_REGION_RECLAIMABLE + below(LOAM_REGION_TYPE_COUNT - LOAM_REGION_RECLAIMABLE));
	uint64_t base_offset = below(2) * below(LOAM_PAGE_SIZE);
	size_t count = map.count;
	enum loam_status status;

	memcpy(saved, storage, sizeof(saved));
	switch (below(8)) {
	case 0:
	case 1: {
		uint64_t nbytes = n * LOAM_PAGE_SIZE - base_offset;

		if (from + n > PAGES)
			return true;
		status = loam_memmap_reserve(&map, from * LOAM_PAGE_SIZE + base_offset, nbytes,
					     (enum loam_region_type)type);
		if (status == LOAM_OK)
			paint(from, from + n, type);
		break;
	}
	case 2:
	case 3:
	case 4: {
		struct loam_memmap_where where = {
			.align = below(2) << (8 + below(8)),
			.start = below(3) == 0 ? below(PAGES * LOAM_PAGE_SIZE) : 0,
			.limit = below(3) == 0 ? below(PAGES * LOAM_PAGE_SIZE) : 0,
			.lowest = below(2) == 0,
		};
		uint64_t place = expected_place(n, &where);
		loam_paddr base = 0;

		status = loam_memmap_alloc(&map, n * LOAM_PAGE_SIZE - base_offset % LOAM_PAGE_SIZE, &where, &base);
		if (status == LOAM_OK) {
			if (place == PAGES || base != place * LOAM_PAGE_SIZE)
				return false;
			for (uint64_t p = place; p < place + n; p++)
				types[p] = LOAM_REGION_BOOT;
		} else if (status == LOAM_ERR_NO_MEMORY ? place != PAGES : status != LOAM_ERR_NO_METADATA) {
			return false;
		}
		break;
	}
	case 5:
	case 6: {
		bool all = true;

		for (uint64_t p = from; p < from + n; p++)
			all = all && p < PAGES && types[p] == LOAM_REGION_BOOT;
		status = loam_memmap_free(&map, from * LOAM_PAGE_SIZE, n * LOAM_PAGE_SIZE);
		if (status == LOAM_OK ? !all : status == LOAM_ERR_NOT_FOUND ? all : status != LOAM_ERR_NO_METADATA)
			return false;
		for (uint64_t p = from; status == LOAM_OK && p < from + n; p++)
			types[p] = LOAM_REGION_USABLE;
		break;
	}
	default:
		if (below(8) != 0)
			return true;
		status = loam_memmap_reclaim(&map);
		for (size_t p = 0; status == LOAM_OK && p < PAGES; p++) {
			if (types[p] == LOAM_REGION_RECLAIMABLE)
				types[p] = LOAM_REGION_USABLE;
		}
		break;
	}
	if (status == LOAM_OK)
		return same();
	/* Refused: bit for bit as before. */
	return map.count == count && memcmp(saved, storage, count * sizeof(saved[0])) == 0;
}

static bool run(uint64_t seed)
{
	struct loam_region raw[2];
	uint64_t first = below(PAGES / 2);
	uint64_t middle = first + 1 + below(PAGES / 2 - 1);

	state = seed;
	raw[0] = (struct loam_region){first * LOAM_PAGE_SIZE, (middle - first) * LOAM_PAGE_SIZE, LOAM_REGION_USABLE, 0};
	raw[1] = (struct loam_region){(middle + 3) * LOAM_PAGE_SIZE, (PAGES - middle - 3) * LOAM_PAGE_SIZE,
				      LOAM_REGION_RECLAIMABLE, 0};
	memset(types, 0, sizeof(types));
	memset(types + first, LOAM_REGION_USABLE, middle - first);
	if (middle + 3 < PAGES)
		memset(types + middle + 3, LOAM_REGION_RECLAIMABLE, PAGES - middle - 3);
	if (loam_memmap_init(&map, raw, middle + 3 < PAGES ? 2 : 1, storage, 3 + below(CAPACITY - 3), 0, NULL, NULL) !=
		    LOAM_OK ||
	    !same())
		return false;
	for (size_t i = 0; i < STEPS; i++) {
		if (!step())
			return false;
	}
	return true;
}

TEST(F15_boot_random_reservations_and_allocations_match_a_type_per_page)
{
	const char *chosen = getenv("LOAM_SEED");
	uint64_t first = chosen != NULL ? strtoull(chosen, NULL, 0) : 1;
	uint64_t last = chosen != NULL ? first : RUNS;

	for (uint64_t seed = first; seed <= last; seed++) {
		state = seed;
		if (!run(seed))
			tap_fail(__FILE__, __LINE__, "LOAM_SEED=%lu", (unsigned long)seed);
	}
}
