/* boot/memmap.c: reservations in a normalised map, early allocation from it, questions to it.
 *
 * 1 Concepts. Every change is one operation: repaint() walks the regions that touch [start, end), cuts them at its two ends, gives the part inside a
 *   new type, fills gaps where the operation wants that, and merges neighbours that have become alike.
 * 2 How. The walk runs twice. The first time nothing is written: it finds how many regions come out, and how far writing would ever get ahead of
 *   reading. The regions are moved up by that much, and the second walk writes behind its own reading. So an operation that does not fit changes
 *   nothing, and one that fits needs no second array.
 * 3 Invariants. I1: see normalise.c; checked by loam_memmap_check().
 * 4 Bounds. One operation adds at most 2 regions, plus one for each gap it fills. O(n); finding a region O(log n).
 */
#include "memmap.h"

#include <base/bits.h>
#include <base/check.h>

/* What repaint() does to the pages in [start, end). */
struct paint {
	loam_paddr start;
	loam_paddr end;
	uint32_t only;  /* regions of this type become @type; 0: all that are less strict */
	uint32_t type;  /* the new type */
	bool fill_gaps; /* address space that no region covers becomes @type, node 0 */
};

struct walk {
	struct loam_region *out; /* NULL: count only */
	size_t written;
	size_t read;
	size_t lead;             /* the most that written was ever ahead of read */
	struct loam_region last; /* not written yet: it may grow. nbytes == 0: none */
};

static void walk_flush(struct walk *walk)
{
	if (walk->last.nbytes == 0)
		return;
	if (walk->out != NULL)
		walk->out[walk->written] = walk->last;
	walk->written++;
	if (walk->written > walk->read && walk->written - walk->read > walk->lead)
		walk->lead = walk->written - walk->read;
	walk->last.nbytes = 0;
}

static void walk_put(struct walk *walk, loam_paddr base, loam_paddr end, uint32_t type, uint32_t node)
{
	struct loam_region *last = &walk->last;

	if (base >= end)
		return;
	if (last->nbytes > 0 && last->base + last->nbytes == base && last->type == type && last->node == node) {
		last->nbytes += end - base;
		return;
	}
	walk_flush(walk);
	*last = (struct loam_region){.base = base, .nbytes = end - base, .type = type, .node = node};
}

static void walk_region(struct walk *walk, const struct paint *paint, const struct loam_region *region)
{
	loam_paddr base = region->base;
	loam_paddr end = base + region->nbytes;
	loam_paddr from = base > paint->start ? base : paint->start;
	loam_paddr to = end < paint->end ? end : paint->end;
	bool repainted = paint->only != 0 ? region->type == paint->only : region->type < paint->type;

	if (from >= to || !repainted) {
		walk_put(walk, base, end, region->type, region->node);
		return;
	}
	walk_put(walk, base, from, region->type, region->node);
	walk_put(walk, from, to, paint->type, region->node);
	walk_put(walk, to, end, region->type, region->node);
}

/* regions[0 .. n) -> walk, with the gaps between them. */
static void walk_regions(struct walk *walk, const struct paint *paint, const struct loam_region *regions, size_t n)
{
	loam_paddr at = paint->start; /* up to here the operation's range is dealt with */

	for (size_t i = 0; i < n; i++) {
		const struct loam_region region = regions[i];

		if (paint->fill_gaps && at < region.base)
			walk_put(walk, at, region.base < paint->end ? region.base : paint->end, paint->type, 0);
		walk->read++;
		walk_region(walk, paint, &region);
		if (at < region.base + region.nbytes)
			at = region.base + region.nbytes;
	}
	if (paint->fill_gaps && at < paint->end)
		walk_put(walk, at, paint->end, paint->type, 0);
	walk_flush(walk);
}

/* Index of the first region whose end is at or above @address. */
static size_t first_reaching(const struct loam_memmap *map, loam_paddr address)
{
	size_t low = 0;
	size_t high = map->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (map->regions[middle].base + map->regions[middle].nbytes < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static enum loam_status repaint(struct loam_memmap *map, const struct paint *paint)
{
	size_t first = first_reaching(map, paint->start);
	size_t after = first;
	struct walk dry = {0};
	struct walk wet = {0};

	/* Regions that only touch the range are walked too: they may merge with what it becomes. */
	while (after < map->count && map->regions[after].base <= paint->end)
		after++;
	walk_regions(&dry, paint, &map->regions[first], after - first);
	if (dry.lead > map->capacity - map->count)
		return LOAM_ERR_NO_METADATA;

	__builtin_memmove(&map->regions[first + dry.lead], &map->regions[first],
			  (map->count - first) * sizeof(map->regions[0]));
	wet.out = &map->regions[first];
	walk_regions(&wet, paint, &map->regions[first + dry.lead], after - first);
	__builtin_memmove(&map->regions[first + wet.written], &map->regions[after + dry.lead],
			  (map->count - after) * sizeof(map->regions[0]));
	map->count = map->count - (after - first) + wet.written;
	LOAMI_PARANOID(loam_memmap_check(map) == LOAM_OK ? (void)0 : loami_corrupt("loam: boot: map out of order"));
	return LOAM_OK;
}

/* [base, base + nbytes) in whole pages, outwards; false when it is not below LOAMI_MEMMAP_TOP. */
static bool page_range(loam_paddr base, uint64_t nbytes, struct paint *paint)
{
	loam_paddr end;

	if (loami_add_overflows(base, nbytes, &end) || end > LOAMI_MEMMAP_TOP)
		return false;
	paint->start = loami_align_down(base, LOAM_PAGE_SIZE);
	paint->end = loami_align_up(end, LOAM_PAGE_SIZE);
	return true;
}

enum loam_status loam_memmap_reserve(struct loam_memmap *map, loam_paddr base, uint64_t nbytes,
				     enum loam_region_type type)
{
	struct paint paint = {.type = (uint32_t)type, .fill_gaps = type > LOAM_REGION_KERNEL};

	if (!loami_region_type_valid((uint32_t)type) || type == LOAM_REGION_USABLE)
		return LOAM_ERR_INVALID;
	if (nbytes == 0)
		return LOAM_ERR_ZERO_SIZE;
	if (!page_range(base, nbytes, &paint))
		return LOAM_ERR_OVERFLOW;
	return repaint(map, &paint);
}

enum loam_status loam_memmap_reserve_below(struct loam_memmap *map, loam_paddr end)
{
	const struct paint paint = {
		.start = 0,
		.end = end < LOAMI_MEMMAP_TOP ? loami_align_up(end, LOAM_PAGE_SIZE) : LOAMI_MEMMAP_TOP,
		.only = LOAM_REGION_USABLE,
		.type = LOAM_REGION_RESERVED,
	};

	return repaint(map, &paint);
}

enum loam_status loam_memmap_reserve_above(struct loam_memmap *map, loam_paddr start)
{
	const struct paint paint = {
		.start = loami_align_down(start, LOAM_PAGE_SIZE),
		.end = LOAMI_MEMMAP_TOP,
		.only = LOAM_REGION_USABLE,
		.type = LOAM_REGION_RESERVED,
	};

	return repaint(map, &paint);
}

enum loam_status loam_memmap_reclaim(struct loam_memmap *map)
{
	const struct paint paint = {
		.start = 0, .end = LOAMI_MEMMAP_TOP, .only = LOAM_REGION_RECLAIMABLE, .type = LOAM_REGION_USABLE};

	return repaint(map, &paint);
}

/* Where in [start, end) a run of @nbytes would lie; LOAM_PADDR_NONE when it does not fit. */
static loam_paddr place(loam_paddr start, loam_paddr end, uint64_t nbytes, uint64_t align, bool lowest)
{
	loam_paddr base;

	if (start >= end || nbytes > end - start)
		return LOAM_PADDR_NONE;
	if (!lowest) {
		base = loami_align_down(end - nbytes, align);
		return base >= start ? base : LOAM_PADDR_NONE;
	}
	if (loami_add_overflows(start, align - 1, &base))
		return LOAM_PADDR_NONE;
	base = loami_align_down(base, align);
	return base <= end - nbytes ? base : LOAM_PADDR_NONE;
}

enum loam_status loam_memmap_alloc(struct loam_memmap *map, uint64_t nbytes, const struct loam_memmap_where *where,
				   loam_paddr *base)
{
	static const struct loam_memmap_where anywhere = {0};
	const struct loam_memmap_where *w = where != NULL ? where : &anywhere;
	uint64_t align = w->align < LOAM_PAGE_SIZE ? LOAM_PAGE_SIZE : w->align;
	loam_paddr limit = w->limit != 0 ? loami_align_down(w->limit, LOAM_PAGE_SIZE) : LOAMI_MEMMAP_TOP;

	if (nbytes == 0)
		return LOAM_ERR_ZERO_SIZE;
	if (w->align != 0 && !loami_is_power_of_two(w->align))
		return LOAM_ERR_ALIGNMENT;
	if (nbytes > LOAMI_MEMMAP_TOP)
		return LOAM_ERR_NO_MEMORY;
	nbytes = loami_align_up(nbytes, LOAM_PAGE_SIZE);

	for (size_t i = 0; i < map->count; i++) {
		const struct loam_region *region = &map->regions[w->lowest ? i : map->count - 1 - i];
		loam_paddr end = region->base + region->nbytes;
		loam_paddr found;

		if (region->type != LOAM_REGION_USABLE)
			continue;
		found = place(region->base > w->start ? region->base : w->start, end < limit ? end : limit, nbytes,
			      align, w->lowest);
		if (found == LOAM_PADDR_NONE)
			continue;

		const struct paint paint = {
			.start = found, .end = found + nbytes, .only = LOAM_REGION_USABLE, .type = LOAM_REGION_BOOT};
		enum loam_status status = repaint(map, &paint);

		if (status == LOAM_OK)
			*base = found;
		return status;
	}
	return LOAM_ERR_NO_MEMORY;
}

enum loam_status loam_memmap_free(struct loam_memmap *map, loam_paddr base, uint64_t nbytes)
{
	struct paint paint = {.only = LOAM_REGION_BOOT, .type = LOAM_REGION_USABLE};
	loam_paddr at;

	if (nbytes == 0)
		return LOAM_ERR_ZERO_SIZE;
	if (!loami_is_aligned(base, LOAM_PAGE_SIZE))
		return LOAM_ERR_ALIGNMENT;
	if (!page_range(base, nbytes, &paint))
		return LOAM_ERR_OVERFLOW;
	/* All of it must be early memory. */
	for (at = paint.start; at < paint.end;) {
		const struct loam_region *region = loam_memmap_find(map, at);

		if (region == NULL || region->type != LOAM_REGION_BOOT)
			return LOAM_ERR_NOT_FOUND;
		at = region->base + region->nbytes;
	}
	return repaint(map, &paint);
}

uint64_t loam_memmap_bytes(const struct loam_memmap *map, enum loam_region_type type)
{
	uint64_t nbytes = 0;

	for (size_t i = 0; i < map->count; i++) {
		if (map->regions[i].type == (uint32_t)type)
			nbytes += map->regions[i].nbytes;
	}
	return nbytes;
}

const struct loam_region *loam_memmap_find(const struct loam_memmap *map, loam_paddr address)
{
	size_t at = address < LOAMI_MEMMAP_TOP ? first_reaching(map, address + 1) : map->count;

	return at < map->count && map->regions[at].base <= address ? &map->regions[at] : NULL;
}

enum loam_status loam_memmap_check(const struct loam_memmap *map)
{
	loam_paddr end = 0;

	if (map->count > map->capacity)
		return LOAM_ERR_INVALID;
	for (size_t i = 0; i < map->count; i++) {
		const struct loam_region *region = &map->regions[i];
		const struct loam_region *before = i > 0 ? region - 1 : NULL;

		if (region->nbytes == 0 || !loami_region_type_valid(region->type) ||
		    !loami_is_aligned(region->base | region->nbytes, LOAM_PAGE_SIZE))
			return LOAM_ERR_INVALID;
		if (region->base < end || region->base > LOAMI_MEMMAP_TOP ||
		    region->nbytes > LOAMI_MEMMAP_TOP - region->base)
			return LOAM_ERR_INVALID;
		if (before != NULL && region->base == end && region->type == before->type &&
		    region->node == before->node)
			return LOAM_ERR_INVALID;
		end = region->base + region->nbytes;
	}
	return LOAM_OK;
}

const char *loam_region_type_name(uint32_t type)
{
	static const char *const names[] = {
		[LOAM_REGION_USABLE] = "usable", [LOAM_REGION_RECLAIMABLE] = "reclaimable",
		[LOAM_REGION_BOOT] = "boot",     [LOAM_REGION_KERNEL] = "kernel",
		[LOAM_REGION_NVS] = "nvs",       [LOAM_REGION_RESERVED] = "reserved",
		[LOAM_REGION_DEVICE] = "device", [LOAM_REGION_BAD] = "bad",
	};

	_Static_assert(LOAMI_COUNT(names) == LOAM_REGION_TYPE_COUNT, "each region type has a name");
	return loami_region_type_valid(type) ? names[type] : "unknown";
}
