/* heap/misuse.c: saying what is wrong with a pointer that cannot be freed.
 *
 * Called with nothing changed, no lock held, not pinned and not busy. Each case has a text of its own; call sites are added where the heap tracks.
 */
#include "internal.h"

enum { SITES_BYTES = 200, LOOKS = 100 };

static size_t add_site(char *text, size_t at, const char *what, const struct loam_call_site *site)
{
	if (!site || at >= SITES_BYTES)
		return at;
	return at + loami_format(text + at, SITES_BYTES - at, ", %s at %s:%u", what, site->file, site->line);
}

struct loami_record *loami_record_of(const struct loam_heap *heap, const void *object)
{
	loam_pfn head = loami_slab_head(heap, loami_heap_pfn(heap, object));
	const struct loami_slab *slab = loami_slab_at(heap, head);
	uintptr_t offset = (uintptr_t)object - (uintptr_t)loami_heap_virt(heap, head);

	if (slab->records == 0)
		return NULL;
	return (struct loami_record *)(uintptr_t)slab->records + offset / loami_cache_of(heap, slab->code)->nbytes;
}

/* Everything is read at once and then believed or not (walk.c): the slab may just be going, or its cache. */
static void refuse_place(const struct loam_heap *heap, const char *verb, const void *object,
			 const struct loam_call_site *site)
{
	unsigned long address = (unsigned long)(uintptr_t)object;
	struct loami_slab_view view;
	char sites[SITES_BYTES] = "";
	bool seen = false;
	size_t at = 0;

	/* Other CPUs give other slabs back, and each time nothing is believed: look again. */
	for (unsigned int i = 0; i < LOOKS && !(seen = loami_slab_look(heap, address, &view)); i++)
		;
	if (!seen)
		loami_misuse("loam: heap: %s of 0x%lx, in a slab that is just being made or given back", verb, address);
	if (view.start == 0)
		loami_misuse("loam: heap: %s of 0x%lx, which lies behind the last object of its slab (%s)", verb,
			     address, view.name);
	if (view.start != address)
		loami_misuse("loam: heap: %s of %s pointer 0x%lx, %lu bytes into %s object 0x%lx (%s)", verb,
			     address % LOAM_HEAP_MIN_ALIGN != 0 ? "misaligned" : "interior", address,
			     address - (unsigned long)view.start, view.state >= LOAMI_LIVE ? "live" : "free",
			     (unsigned long)view.start, view.name);
	if (view.state >= LOAMI_LIVE)
		return;
	if (view.state == LOAMI_FRESH || view.state == LOAMI_FRESH_CACHED)
		loami_misuse("loam: heap: %s of 0x%lx (%s), which was never allocated", verb, address, view.name);
	if (heap->track) {
		at = add_site(sites, at, "allocated", view.allocated_at);
		at = add_site(sites, at, "freed", view.freed_at);
		(void)add_site(sites, at, "freed again", site);
	}
	if (verb[0] == 'f')
		loami_misuse("loam: heap: double free of 0x%lx (%s)%s", address, view.name, sites);
	loami_misuse("loam: heap: %s of 0x%lx (%s), which is free%s", verb, address, view.name, sites);
}

static void refuse_large(const struct loam_heap *heap, const char *verb, const void *object,
			 const struct loam_call_site *site)
{
	unsigned long address = (unsigned long)(uintptr_t)object;
	loam_pfn pfn = loami_heap_pfn(heap, object);
	char sites[SITES_BYTES] = "";
	unsigned long start;
	size_t at = 0;
	bool idle;

	while (pfn > heap->first && loami_heap_kind(heap, pfn) == LOAMI_KIND_LARGE_TAIL)
		pfn--;
	start = (unsigned long)(uintptr_t)loami_heap_virt(heap, pfn);
	idle = loami_heap_kind(heap, pfn) == LOAMI_KIND_IDLE;
	if (start != address)
		loami_misuse("loam: heap: %s of pointer 0x%lx, %lu bytes into %s large object 0x%lx", verb, address,
			     address - start, idle ? "free" : "live", start);
	if (!idle)
		return;
	if (heap->track) {
		const struct loam_slot *slot = loami_heap_slot(heap, pfn);

		at = add_site(sites, at, "allocated", (const struct loam_call_site *)(uintptr_t)slot->next);
		at = add_site(sites, at, "freed",
			      (const struct loam_call_site *)(uintptr_t)LOAMI_TAIL(struct loami_large,
										   loami_heap_slot(heap, pfn))
				      ->freed_at);
		(void)add_site(sites, at, "freed again", site);
	}
	if (verb[0] == 'f')
		loami_misuse("loam: heap: double free of large object 0x%lx%s", address, sites);
	loami_misuse("loam: heap: %s of large object 0x%lx, which is free%s", verb, address, sites);
}

void loami_refuse(const struct loam_heap *heap, const char *verb, const void *object, const struct loam_call_site *site)
{
	unsigned long address = (unsigned long)(uintptr_t)object;
	struct loam_vmalloc_live live;

	if (loami_bump_holds(heap, object))
		loami_misuse("loam: heap: %s of 0x%lx, which is early memory where no allocation starts", verb,
			     address);
	if (!loami_heap_ready(heap))
		loami_misuse("loam: heap: %s of 0x%lx before there is a heap", verb, address);
	if (!loami_heap_in_window(heap, object)) {
		if (loami_heap_vm(heap) &&
		    loam_vmalloc_whereis(loami_heap_vm(heap), (uintptr_t)object, &live) != LOAM_PLACE_OUTSIDE)
			loami_misuse("loam: heap: %s of 0x%lx, a vmalloc address where no large object starts", verb,
				     address);
		loami_misuse("loam: heap: %s of wild pointer 0x%lx, which is no memory of this machine", verb, address);
	}
	switch (loami_heap_kind(heap, loami_heap_pfn(heap, object))) {
	case LOAMI_KIND_FOREIGN:
		loami_misuse("loam: heap: %s of foreign pointer 0x%lx, in a frame that is not the heap's", verb,
			     address);
	case LOAMI_KIND_META:
		loami_misuse("loam: heap: %s of 0x%lx, which is the heap's own bookkeeping", verb, address);
	case LOAMI_KIND_SPARE:
		loami_misuse("loam: heap: %s of 0x%lx, in a frame of the heap that holds no objects now", verb,
			     address);
	case LOAMI_KIND_LARGE:
	case LOAMI_KIND_LARGE_TAIL:
	case LOAMI_KIND_IDLE:
		refuse_large(heap, verb, object, site);
		return;
	default:
		refuse_place(heap, verb, object, site);
	}
}
