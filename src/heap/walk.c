/* heap/walk.c: looking at the heap: what an address is, every live object, every invariant.
 *
 * whereis takes no lock: it believes heap->kinds first, and what it then reads is memory of the direct map whatever happens meanwhile. Descriptors and call sites lead
 * on, though: they are believed only when no slab, run or cache was given back (heap->forgotten) between before and after they were read. Who gives one back counts
 * first; whoever writes into it later has it by a lock or a claim of the frame layer, so a reader who sees that write, by an acquire load, sees the count. So an
 * answer may be stale, never a fault.
 * walk copies a few objects at a time under their cache's lock, and calls the visitor without it.
 */
#include "internal.h"

static bool in_slab(uint8_t kind)
{
	return kind == LOAMI_KIND_SLAB || kind == LOAMI_KIND_SLAB_TAIL;
}

static void describe(const struct loami_record *record, uintptr_t start, const struct loam_heap_cache *cache,
		     struct loam_heap_object *object)
{
	*object = (struct loam_heap_object){.start = start, .nbytes = cache->usable, .class_name = cache->name};
	if (!record)
		return;
	object->allocated_at = loami_load_acquire(&record->allocated_at);
	object->freed_at = loami_load_acquire(&record->freed_at);
	object->sequence = loami_load_acquire(&record->sequence);
}

static void describe_large(const struct loam_heap *heap, loam_pfn head, struct loam_heap_object *object)
{
	struct loam_slot *slot = loami_heap_slot(heap, head);

	*object = (struct loam_heap_object){
		.start = (uintptr_t)loami_heap_virt(heap, head),
		.nbytes = (size_t)loami_load_acquire(&LOAMI_TAIL(struct loami_large, slot)->npages) * LOAM_PAGE_SIZE,
		.class_name = "large",
		.allocated_at = (const struct loam_call_site *)(uintptr_t)loami_load_acquire(&slot->next),
		.sequence = loami_load_acquire(&slot->prev),
	};
}

static enum loam_heap_place where_bump(const struct loam_heap *heap, uintptr_t address, struct loam_heap_object *object)
{
	uintptr_t start = loami_align_down(address, LOAM_HEAP_MIN_ALIGN);

	if (address >= heap->bump_next)
		return LOAM_HEAP_INNER;
	while (loami_bump_size(heap, (const void *)start) == 0)
		start -= LOAM_HEAP_MIN_ALIGN;
	*object = (struct loam_heap_object){
		.start = start, .nbytes = loami_bump_size(heap, (const void *)start), .class_name = "early"};
	return LOAM_HEAP_BUMP;
}

/* What a slab's descriptor says, read without its cache's lock. */
struct glance {
	loam_pfn head;
	struct loam_heap_cache *cache;
	uintptr_t records;
	unsigned int code;
	unsigned int nslots;
	uint32_t nbytes;
};

/* Nothing was given back since @forgotten was read. */
static bool still(const struct loam_heap *heap, uint64_t forgotten)
{
	return loami_load_acquire(&heap->forgotten) == forgotten;
}

/* False when what is there is no slab, or is just becoming or ceasing to be one. Every number is checked before it is used to find another. */
static bool glance_at(const struct loam_heap *heap, loam_pfn pfn, uint64_t forgotten, struct glance *glance)
{
	const struct loami_slab *slab;

	glance->head = pfn;
	if (loami_heap_kind(heap, pfn) == LOAMI_KIND_SLAB_TAIL)
		glance->head =
			loami_load_relaxed(&LOAMI_TAIL(struct loami_slab_tail, loami_heap_slot(heap, pfn))->head);
	if (glance->head > pfn || pfn - glance->head >= LOAMI_SLAB_FRAMES_MAX || glance->head < heap->first ||
	    loami_heap_kind(heap, glance->head) != LOAMI_KIND_SLAB)
		return false;
	slab = loami_slab_at(heap, glance->head);
	glance->code = loami_load_acquire(&slab->code);
	glance->nslots = loami_load_acquire(&slab->nslots);
	glance->records = loami_load_acquire(&slab->records);
	if (glance->code < LOAMI_LIVE || !still(heap, forgotten))
		return false;
	glance->cache = loami_cache_of(heap, glance->code);
	if (!glance->cache)
		return false;
	/* Of a cache that is just being destroyed this may be anything. */
	glance->nbytes = loami_load_relaxed(&glance->cache->nbytes);
	return glance->nbytes >= LOAM_HEAP_MIN_ALIGN && glance->nbytes <= LOAM_HEAP_SMALL_MAX;
}

bool loami_slab_look(const struct loam_heap *heap, uintptr_t address, struct loami_slab_view *view)
{
	loam_pfn pfn = loami_heap_pfn(heap, (const void *)address);
	uint64_t forgotten = loami_load_acquire(&heap->forgotten);
	const struct loami_record *record;
	struct glance before, after;
	uintptr_t base, index;

	*view = (struct loami_slab_view){0};
	if (!glance_at(heap, pfn, forgotten, &before))
		return false;
	base = (uintptr_t)loami_heap_virt(heap, before.head);
	index = (address - base) / before.nbytes;
	for (unsigned int i = 0; i < sizeof(view->name) - 1; i++)
		view->name[i] = before.cache->name[i];
	view->usable = before.cache->usable;
	if (index < before.nslots) {
		view->start = base + index * before.nbytes;
		view->state = loami_load_acquire(loami_heap_state(heap, (const void *)view->start));
		record = before.records != 0 ? (const struct loami_record *)before.records + index : NULL;
		if (record) {
			view->allocated_at = loami_load_acquire(&record->allocated_at);
			view->freed_at = loami_load_acquire(&record->freed_at);
			view->sequence = loami_load_acquire(&record->sequence);
		}
	}
	view->cache = before.cache;
	return (view->start == 0 || view->state != LOAMI_NONE) && glance_at(heap, pfn, forgotten, &after) &&
	       after.head == before.head && after.code == before.code && after.cache == before.cache &&
	       after.records == before.records;
}

static enum loam_heap_place where_slab(const struct loam_heap *heap, uintptr_t address, struct loam_heap_object *object)
{
	struct loami_slab_view view;

	if (!loami_slab_look(heap, address, &view) || view.start == 0)
		return LOAM_HEAP_INNER;
	*object = (struct loam_heap_object){
		.start = view.start,
		.nbytes = view.usable,
		.class_name = view.cache->name,
		.allocated_at = view.allocated_at,
		.freed_at = view.freed_at,
		.sequence = view.sequence,
	};
	return view.state >= LOAMI_LIVE ? LOAM_HEAP_LIVE : LOAM_HEAP_FREE;
}

static enum loam_heap_place where_large(const struct loam_heap *heap, loam_pfn head, struct loam_heap_object *object)
{
	uint64_t forgotten = loami_load_acquire(&heap->forgotten);
	uint8_t kind = loami_heap_kind(heap, head);

	if (kind == LOAMI_KIND_LARGE || kind == LOAMI_KIND_IDLE)
		describe_large(heap, head, object);
	if (kind == LOAMI_KIND_IDLE)
		object->freed_at = (const struct loam_call_site *)(uintptr_t)loami_load_acquire(
			&LOAMI_TAIL(struct loami_large, loami_heap_slot(heap, head))->freed_at);
	if (still(heap, forgotten) && loami_heap_kind(heap, head) == kind) {
		if (kind == LOAMI_KIND_LARGE)
			return LOAM_HEAP_LIVE;
		if (kind == LOAMI_KIND_IDLE)
			return LOAM_HEAP_FREE;
	}
	*object = (struct loam_heap_object){0};
	return LOAM_HEAP_INNER;
}

/* In the window of the heap. */
static enum loam_heap_place where_inside(const struct loam_heap *heap, uintptr_t address,
					 struct loam_heap_object *object)
{
	loam_pfn pfn = loami_heap_pfn(heap, (const void *)address);
	uint8_t kind = loami_heap_kind(heap, pfn);

	if (kind == LOAMI_KIND_FOREIGN)
		return LOAM_HEAP_OUTSIDE;
	if (in_slab(kind))
		return where_slab(heap, address, object);
	if (kind != LOAMI_KIND_LARGE && kind != LOAMI_KIND_LARGE_TAIL && kind != LOAMI_KIND_IDLE)
		return LOAM_HEAP_INNER;
	while (pfn > heap->first && loami_heap_kind(heap, pfn) == LOAMI_KIND_LARGE_TAIL)
		pfn--;
	return where_large(heap, pfn, object);
}

/* How often whereis() looks again when something was given back meanwhile. */
enum { ATTEMPTS = 8 };

enum loam_heap_place loam_heap_whereis(const struct loam_heap *heap, uintptr_t address, struct loam_heap_object *object)
{
	const void *at = (const void *)address;
	struct loam_heap_object ignored;

	if (!object)
		object = &ignored;
	*object = (struct loam_heap_object){0};
	if (loami_bump_holds(heap, at))
		return where_bump(heap, address, object);
	if (loami_heap_ready(heap) && loami_heap_vm(heap) && !loami_heap_in_window(heap, at)) {
		struct loam_vmalloc_live live;

		if (loam_vmalloc_whereis(loami_heap_vm(heap), address, &live) != LOAM_PLACE_AREA ||
		    live.site != &heap->vm_owner)
			return LOAM_HEAP_OUTSIDE;
		*object =
			(struct loam_heap_object){.start = live.address, .nbytes = live.nbytes, .class_name = "large"};
		return LOAM_HEAP_LIVE;
	}
	if (!loami_heap_ready(heap) || !loami_heap_in_window(heap, at))
		return LOAM_HEAP_OUTSIDE;
	for (unsigned int attempt = 0;; attempt++) {
		uint64_t forgotten = loami_load_acquire(&heap->forgotten);
		enum loam_heap_place place = where_inside(heap, address, object);

		if (still(heap, forgotten) || attempt == ATTEMPTS)
			return place;
	}
}

/* ---- walking -------------------------------------------------------------------------------------------------------------------------------- */

enum { BATCH = 8 };

struct cursor {
	loam_pfn pfn;
	unsigned int index; /* of the place in the slab at pfn */
};

/* Live objects of the slab at @cursor into @out, under its cache's lock; the cursor moves on. */
static size_t slab_batch(struct loam_heap *heap, struct cursor *cursor, struct loam_heap_object *out)
{
	unsigned int code = loami_load_relaxed(&loami_slab_at(heap, cursor->pfn)->code);
	struct loam_heap_cache *cache = code < LOAMI_LIVE ? NULL : loami_cache_of(heap, code);
	struct loami_slab *slab;
	unsigned long irq;
	size_t n = 0;

	if (!cache) {
		cursor->pfn++;
		return 0;
	}
	irq = loami_lock_irq(&cache->lock);
	slab = loami_slab_at(heap, cursor->pfn);
	if (loami_heap_kind(heap, cursor->pfn) == LOAMI_KIND_SLAB && slab->code == code) {
		uintptr_t base = (uintptr_t)loami_heap_virt(heap, cursor->pfn);

		for (; cursor->index < slab->nslots && n < BATCH; cursor->index++) {
			uintptr_t start = base + (uintptr_t)cursor->index * cache->nbytes;

			if (loami_load_relaxed(loami_heap_state(heap, (const void *)start)) >= LOAMI_LIVE)
				describe(heap->track ? loami_record_of(heap, (const void *)start) : NULL, start, cache,
					 &out[n++]);
		}
		if (cursor->index == slab->nslots)
			*cursor = (struct cursor){cursor->pfn + slab->nframes, 0};
	} else {
		*cursor = (struct cursor){cursor->pfn + 1, 0};
	}
	loami_unlock_irq(&cache->lock, irq);
	return n;
}

static size_t next_batch(struct loam_heap *heap, struct cursor *cursor, struct loam_heap_object *out)
{
	uint8_t kind = loami_heap_kind(heap, cursor->pfn);
	unsigned long irq;
	size_t n = 0;

	if (kind == LOAMI_KIND_SLAB)
		return slab_batch(heap, cursor, out);
	if (kind == LOAMI_KIND_LARGE) {
		irq = loami_lock_irq(&heap->pages);
		if (loami_heap_kind(heap, cursor->pfn) == LOAMI_KIND_LARGE)
			describe_large(heap, cursor->pfn, &out[n++]);
		loami_unlock_irq(&heap->pages, irq);
	}
	*cursor = (struct cursor){cursor->pfn + 1, 0};
	return n;
}

struct visiting {
	loam_heap_visit_fn visit;
	void *context;
	size_t n;
};

size_t loam_heap_walk(struct loam_heap *heap, loam_heap_visit_fn visit, void *context)
{
	struct loam_heap_object batch[BATCH];
	struct cursor cursor = {heap->first, 0};
	size_t n = 0;

	LOAMI_NOT_FROM_NMI();
	if (!loami_heap_ready(heap))
		return 0;
	while (cursor.pfn < loami_load_relaxed(&heap->highest)) {
		size_t got = next_batch(heap, &cursor, batch);

		for (size_t i = 0; i < got; i++)
			visit(context, &batch[i]);
		n += got;
	}
	return n;
}
