/* tests/unit/heap/check.c: loam_heap_check() finds each kind of damage. The damage is done by hand, and undone. */
#include "heap_rig.h"

#include <heap/internal.h>

struct damaged {
	struct heap_rig rig;
	char *live;   /* of a slab that is partial */
	char *parked; /* in the loaded magazine */
	struct loam_heap_cache *cache;
	struct loami_slab *slab;
	uint8_t *code; /* of its first frame */
	struct loami_heap_cpu *cpu;
};

static struct damaged make(void)
{
	struct damaged d = {.rig = heap_rig_make(1024, 1, false)};
	void *more[40];

	d.cache = &d.rig.heap->sizes[loam_heap_class(256) - LOAMI_LIVE];
	d.live = loam_heap_alloc(d.rig.heap, 256);
	d.parked = loam_heap_alloc(d.rig.heap, 256);
	for (unsigned int i = 0; i < 40; i++)
		more[i] = loam_heap_alloc(d.rig.heap, 256);
	for (unsigned int i = 0; i < 40; i++)
		loam_heap_free(d.rig.heap, more[i]);
	(void)loam_heap_trim(d.rig.heap);
	loam_heap_free(d.rig.heap, d.parked);
	d.slab = loami_slab_at(d.rig.heap, loami_slab_head(d.rig.heap, loami_heap_pfn(d.rig.heap, d.live)));
	d.code = loami_heap_code(d.rig.heap, loami_heap_pfn(d.rig.heap, d.live));
	d.cpu = loami_heap_cpu(d.rig.heap, 0);
	CHECK_OK(loam_heap_check(d.rig.heap));
	return d;
}

static void end(struct damaged *d)
{
	CHECK_OK(loam_heap_check(d->rig.heap));
	loam_heap_free(d->rig.heap, d->live);
	heap_rig_end(&d->rig);
}

static bool begins(const char *text, const char *with)
{
	while (*with != '\0')
		if (*text++ != *with++)
			return false;
	return true;
}

/* The check must fail, and what it says first must begin so. */
static void check_says(struct damaged *d, const char *with)
{
	enum loam_status status;
	const char *said;

	tap_log_capture();
	status = loam_heap_check(d->rig.heap);
	said = tap_log_end();
	CHECK_STATUS(status, LOAM_ERR_INVALID);
	if (!begins(said, with))
		tap_fail(__FILE__, __LINE__, "said \"%s\" and not \"%s\"", said, with);
}

TEST(H6_check_finds_wrong_states)
{
	struct damaged d = make();
	uint8_t *state = loami_heap_state(d.rig.heap, d.live), was = *state;

	state[1] = was;
	check_says(&d, "loam: heap: check: 0x");
	state[1] = LOAMI_NONE;
	*state = LOAMI_CACHED;
	check_says(&d, "loam: heap: check: M3: ");
	*state = LOAMI_IN_SLAB;
	check_says(&d, "loam: heap: check: S");
	*state = 200;
	check_says(&d, "loam: heap: check: 0x");
	*state = was;
	end(&d);
}

TEST(H6_check_finds_wrong_slabs)
{
	struct damaged d = make();

	d.slab->nfree++;
	check_says(&d, "loam: heap: check: S1: ");
	d.slab->nfree--;
	d.slab->cursor = d.slab->nslots;
	check_says(&d, "loam: heap: check: S4: ");
	d.slab->cursor = 0;
	d.slab->nslots++;
	check_says(&d, "loam: heap: check: the slab at frame ");
	d.slab->nslots--;
	d.slab->code = 250;
	check_says(&d, "loam: heap: check: the slab at frame ");
	d.slab->code = d.cache->code;
	*d.code = 0;
	check_says(&d, "loam: heap: check: S5: ");
	*d.code = d.cache->code;
	end(&d);
}

TEST(H6_check_finds_wrong_caches)
{
	struct damaged d = make();
	uint64_t partial = d.cache->partial;

	d.cache->nfree++;
	check_says(&d, "loam: heap: check: S3: ");
	d.cache->nfree--;
	d.cache->nslabs++;
	check_says(&d, "loam: heap: check: S3: ");
	d.cache->nslabs--;
	d.cache->partial = LOAM_FRAME_LINK_NONE;
	d.cache->nempty++;
	check_says(&d, "loam: heap: check: S2: ");
	d.cache->nempty--;
	d.cache->partial = partial;
	d.cache->ndepot++;
	check_says(&d, "loam: heap: check: the depot of size-256 holds 0, it says 1");
	d.cache->ndepot--;
	end(&d);
}

TEST(H6_check_finds_wrong_magazines)
{
	struct damaged d = make();
	struct loami_entry *top = d.cpu->top[d.cache->code];
	uint64_t idle = d.cpu->idle;

	top[-1].object = d.live;
	check_says(&d, "loam: heap: check: M2: ");
	top[-1].object = d.parked;
	d.cpu->top[d.cache->code] = top - 1;
	check_says(&d, "loam: heap: check: M3: ");
	d.cpu->top[d.cache->code] = top + d.cache->capacity;
	check_says(&d, "loam: heap: check: M4: ");
	d.cpu->top[d.cache->code] = top;
	d.cpu->stock[d.cache->code].nfull++;
	check_says(&d, "loam: heap: check: the stock of size-256 on CPU 0 holds 0, it says 1");
	d.cpu->stock[d.cache->code].nfull--;
	d.cpu->idle = 0;
	check_says(&d, "loam: heap: check: CPU 0 is busy");
	d.cpu->idle = idle;
	end(&d);
}

static loam_pfn partial_region(const struct loam_heap *heap)
{
	unsigned int i = 0;

	while (heap->regions_partial[i] == LOAM_FRAME_LINK_NONE)
		i++;
	return heap->regions_partial[i];
}

TEST(H6_check_finds_wrong_frames)
{
	struct damaged d = make();
	struct loam_heap *heap = d.rig.heap;
	struct loami_region *region = LOAMI_TAIL(struct loami_region, loami_heap_slot(heap, partial_region(heap)));
	uint16_t spare = region->spare;

	region->spare = (uint16_t)(spare & (spare - 1));
	check_says(&d, "loam: heap: check: I1, I2: ");
	region->spare = (uint16_t)(spare | 1u << loami_ctz64(~(uint64_t)spare));
	check_says(&d, "loam: heap: check: I");
	region->spare = spare;
	heap->kinds[(loam_pfn)region->number * LOAMI_REGION_FRAMES + loami_ctz64(spare)] = LOAMI_KIND_META;
	check_says(&d, "loam: heap: check: ");
	heap->kinds[(loam_pfn)region->number * LOAMI_REGION_FRAMES + loami_ctz64(spare)] = LOAMI_KIND_SPARE;
	heap->nregions_idle++;
	check_says(&d, "loam: heap: check: I2: not as many idle regions as it says");
	heap->nregions_idle--;
	heap->slab_frames++;
	check_says(&d, "loam: heap: check: ");
	heap->slab_frames--;
	end(&d);
}
