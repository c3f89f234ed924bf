/* heap/large.c: objects above the largest class.
 *
 * A large object is an exact run of frames, in the direct map; where no run is to be had it is a vmalloc area, which brings its guard page. What a frame is (LARGE)
 * is said by heap->kinds, how long by the head frame's slot. A vmalloc area is this heap's when its recorded call site is the heap's own: so no table is
 * needed. A run that is freed waits, warm, to be an object of the same length again; a second free of it is named as such. Others wait with it while
 * all of them are no more than a 64th of memory and a 32nd of what is in use, or 256 KiB: what waits serves no other length. Lock: pages for the counts and kinds; the frames of a run are taken and given back without it.
 */
#include "internal.h"

static struct loami_large *large_of(const struct loam_heap *heap, loam_pfn pfn)
{
	return LOAMI_TAIL(struct loami_large, loami_heap_slot(heap, pfn));
}

static void account(struct loam_heap *heap, uint64_t nbytes)
{
	heap->large_count++;
	loami_store_relaxed(&heap->large_bytes, heap->large_bytes + nbytes);
	loami_store_relaxed(&heap->large_allocs, heap->large_allocs + 1);
	heap->large_allocated += nbytes;
}

static void set_kinds(struct loam_heap *heap, loam_pfn first, uint64_t n, uint8_t kind)
{
	for (uint64_t i = 0; i < n; i++)
		loami_heap_set_kind(heap, first + i, kind);
}

/* A run whose virtual address is aligned. The direct map need not be aligned to more than a page itself: then a longer run is cut. */
static bool take_run(struct loam_heap *heap, uint64_t npages, size_t align, const struct loam_frame_opts *opts,
		     loam_pfn *first)
{
	uintptr_t direct_map = heap->base - (uintptr_t)(heap->first << LOAM_PAGE_SHIFT);
	struct loam_frame_where where = {.align = align > LOAM_PAGE_SIZE ? align : 0};
	uint64_t spare = align >> LOAM_PAGE_SHIFT, before;

	if (direct_map % align == 0 || align <= LOAM_PAGE_SIZE)
		return loam_frame_alloc_range(heap->frames, npages, &where, opts, first) == LOAM_OK;
	if (loam_frame_alloc_range(heap->frames, npages + spare, NULL, opts, first) != LOAM_OK)
		return false;
	before = (0 - ((uintptr_t)loami_heap_virt(heap, *first) >> LOAM_PAGE_SHIFT)) & (spare - 1);
	if (before != 0)
		loam_frame_free_range(heap->frames, *first, before);
	*first += before;
	loam_frame_free_range(heap->frames, *first + npages, spare - before);
	return true;
}

struct run {
	loam_pfn first;
	uint64_t npages;
};

/* Has none of its frames been marked as poisoned? Such a run is for the frame layer, which keeps what is bad. */
static bool is_sound(const struct loam_heap *heap, loam_pfn first, uint64_t npages)
{
	if (LOAMI_LIKELY(loami_load_acquire(loam_frame_poisonings(heap->frames)) == 0))
		return true;
	for (uint64_t i = 0; i < npages; i++)
		if (loam_frame_is_poisoned(heap->frames, first + i))
			return false;
	return true;
}

/* An idle run of exactly that length. */
static void *idle_alloc(struct loam_heap *heap, uint64_t npages, size_t align, bool zero,
			const struct loam_call_site *site)
{
	unsigned long irq;
	void *object = NULL;

	/* In a hardened heap they wait to be forgotten. */
	if (loami_load_relaxed(&heap->idle_frames) == 0 || heap->hardened)
		return NULL;
	irq = loami_lock_irq(&heap->pages);
	for (unsigned int i = 0; i < LOAM_HEAP_IDLE && !object; i++) {
		loam_pfn first = heap->idle[i];
		struct loam_slot *slot;

		if (first == 0 || large_of(heap, first)->npages != npages ||
		    (uintptr_t)loami_heap_virt(heap, first) % align != 0 || !is_sound(heap, first, npages))
			continue;
		heap->idle[i] = 0;
		loami_store_relaxed(&heap->idle_frames, heap->idle_frames - npages);
		slot = loami_heap_slot(heap, first);
		slot->next = (uintptr_t)site;
		slot->prev = heap->track ? loami_fetch_add_relaxed(&heap->sequence, 1) + 1 : 0;
		loami_heap_set_kind(heap, first, LOAMI_KIND_LARGE);
		account(heap, npages * LOAM_PAGE_SIZE);
		object = loami_heap_virt(heap, first);
		loami_unpoison(object, (size_t)npages * LOAM_PAGE_SIZE);
	}
	loami_unlock_irq(&heap->pages, irq);
	return object && zero ? memset(object, 0, (size_t)npages * LOAM_PAGE_SIZE) : object;
}

static void *run_alloc(struct loam_heap *heap, uint64_t npages, size_t align, bool zero,
		       const struct loam_call_site *site)
{
	struct loam_frame_opts opts = {.uninitialized = !zero};
	struct loam_slot *slot;
	unsigned long irq;
	loam_pfn first;

	if (!take_run(heap, npages, align, &opts, &first))
		return NULL;
	slot = loami_heap_slot(heap, first);
	slot->next = (uintptr_t)site;
	slot->prev = heap->track ? loami_fetch_add_relaxed(&heap->sequence, 1) + 1 : 0;
	*LOAMI_TAIL(struct loami_large, slot) = (struct loami_large){.npages = npages};
	irq = loami_lock_irq(&heap->pages);
	set_kinds(heap, first + 1, npages - 1, LOAMI_KIND_LARGE_TAIL);
	loami_heap_set_kind(heap, first, LOAMI_KIND_LARGE);
	account(heap, npages * LOAM_PAGE_SIZE);
	loami_unlock_irq(&heap->pages, irq);
	return loami_heap_virt(heap, first);
}

static void *area_alloc(struct loam_heap *heap, size_t nbytes, size_t align, bool zero)
{
	struct loam_vmalloc_opts opts = {
		.align = align > LOAM_PAGE_SIZE ? align : 0, .uninitialized = !zero, .site = &heap->vm_owner};
	unsigned long irq;
	void *area;

	if (!loami_heap_vm(heap) || loam_port_context() != LOAM_CONTEXT_TASK)
		return NULL;
	area = loam_vmalloc(loami_heap_vm(heap), nbytes, &opts);
	if (!area)
		return NULL;
	irq = loami_lock_irq(&heap->pages);
	account(heap, nbytes);
	loami_unlock_irq(&heap->pages, irq);
	return area;
}

void *loami_large_alloc(struct loam_heap *heap, size_t nbytes, size_t align, bool zero,
			const struct loam_call_site *site)
{
	uint64_t npages;
	void *object;

	if (nbytes > (SIZE_MAX >> 1) || align > (SIZE_MAX >> 2))
		return loami_heap_fail(heap, LOAM_ERR_TOO_LARGE);
	/* Nothing, but aligned to more than a page, is a page. */
	npages = nbytes == 0 ? 1 : (nbytes + LOAM_PAGE_SIZE - 1) >> LOAM_PAGE_SHIFT;
	object = idle_alloc(heap, npages, align, zero, site);
	if (object)
		return object;
	object = run_alloc(heap, npages, align, zero, site);
	if (!object) {
		/* The heap's own idle memory may be what is missing. */
		(void)loam_heap_trim(heap);
		object = run_alloc(heap, npages, align, zero, site);
	}
	if (!object)
		object = area_alloc(heap, (size_t)npages * LOAM_PAGE_SIZE, align, zero);
	if (!object)
		return loami_heap_fail(heap, LOAM_ERR_NO_MEMORY);
	loami_heap_sample_peak(heap);
	return object;
}

/* The vmalloc area that starts at @object and is this heap's; false: there is none. */
static bool own_area(const struct loam_heap *heap, const void *object, struct loam_vmalloc_live *live)
{
	return loami_heap_vm(heap) &&
	       loam_vmalloc_whereis(loami_heap_vm(heap), (uintptr_t)object, live) == LOAM_PLACE_AREA &&
	       live->address == (uintptr_t)object && live->site == &heap->vm_owner;
}

size_t loami_large_size(const struct loam_heap *heap, const void *object)
{
	struct loam_vmalloc_live live;

	if (!loami_heap_in_window(heap, object))
		return own_area(heap, object, &live) ? live.nbytes : 0;
	if ((uintptr_t)object % LOAM_PAGE_SIZE != 0 ||
	    loami_heap_kind(heap, loami_heap_pfn(heap, object)) != LOAMI_KIND_LARGE)
		return 0;
	return (size_t)large_of(heap, loami_heap_pfn(heap, object))->npages * LOAM_PAGE_SIZE;
}

static void forget_locked(struct loam_heap *heap, uint64_t nbytes)
{
	heap->large_count--;
	loami_store_relaxed(&heap->large_bytes, heap->large_bytes - nbytes);
}

static bool area_free(struct loam_heap *heap, void *object)
{
	struct loam_vmalloc_live live;
	unsigned long irq;

	if (!own_area(heap, object, &live) || !loam_vfree(loami_heap_vm(heap), object))
		return false;
	irq = loami_lock_irq(&heap->pages);
	forget_locked(heap, live.nbytes);
	loami_unlock_irq(&heap->pages, irq);
	return true;
}

/* ---- idle runs --------------------------------------------------------------------------------------------------------------- */

enum { IDLE_FRAMES_MAX = 512, IDLE_FRAMES_ANY = 64 };

/* The run in place @i of the list is the frame layer's to get: the caller frees it, without the lock. */
static struct run idle_give_up_locked(struct loam_heap *heap, unsigned int i)
{
	struct run run = {heap->idle[i], 0};

	if (run.first == 0)
		return run;
	run.npages = large_of(heap, run.first)->npages;
	heap->idle[i] = 0;
	loami_store_relaxed(&heap->idle_frames, heap->idle_frames - run.npages);
	set_kinds(heap, run.first, run.npages, LOAMI_KIND_FOREIGN);
	loami_heap_forget(heap);
	loami_unpoison(loami_heap_virt(heap, run.first), (size_t)run.npages * LOAM_PAGE_SIZE);
	return run;
}

/* Keep a run that has just been freed, if it is not too long; @out is one to be given up for it, or itself. */
static struct run idle_keep_locked(struct loam_heap *heap, loam_pfn first, uint64_t npages,
				   const struct loam_call_site *site)
{
	struct run out;
	unsigned int i;

	if (first == 0 || npages > IDLE_FRAMES_MAX || npages > heap->ram_frames / 256 ||
	    !is_sound(heap, first, npages)) {
		set_kinds(heap, first, npages, LOAMI_KIND_FOREIGN);
		loami_heap_forget(heap);
		return (struct run){first, npages};
	}
	i = heap->idle_next++ % LOAM_HEAP_IDLE;
	for (unsigned int j = 0; j < LOAM_HEAP_IDLE; j++)
		if (heap->idle[j] == 0)
			i = j;
	out = idle_give_up_locked(heap, i);
	heap->idle[i] = first;
	loami_store_relaxed(&heap->idle_frames, heap->idle_frames + npages);
	large_of(heap, first)->freed_at = (uintptr_t)site;
	loami_heap_set_kind(heap, first, LOAMI_KIND_IDLE);
	loami_poison(loami_heap_virt(heap, first), (size_t)npages * LOAM_PAGE_SIZE);
	return out;
}

/* Frames that may wait, beside the run that was freed last. */
static uint64_t idle_most(const struct loam_heap *heap)
{
	uint64_t used =
		loami_load_relaxed(&heap->slab_frames) + (loami_load_relaxed(&heap->large_bytes) >> LOAM_PAGE_SHIFT);
	uint64_t most = used / 32 > IDLE_FRAMES_ANY ? used / 32 : IDLE_FRAMES_ANY;

	return most < heap->ram_frames / 64 ? most : heap->ram_frames / 64;
}

/* One that waits for more than there may be is given up, and not @newest; false: there are no more. */
static bool idle_give_up_beyond(struct loam_heap *heap, loam_pfn newest)
{
	struct run out = {0, 0};
	unsigned long irq;

	if (LOAMI_LIKELY(loami_load_relaxed(&heap->idle_frames) <= idle_most(heap)))
		return false;
	irq = loami_lock_irq(&heap->pages);
	for (unsigned int n = 0; n < LOAM_HEAP_IDLE && out.npages == 0; n++) {
		unsigned int i = heap->idle_next++ % LOAM_HEAP_IDLE;

		if (heap->idle[i] != newest)
			out = idle_give_up_locked(heap, i);
	}
	loami_unlock_irq(&heap->pages, irq);
	if (out.npages != 0)
		loam_frame_free_range(heap->frames, out.first, out.npages);
	return out.npages != 0;
}

size_t loami_large_trim(struct loam_heap *heap)
{
	size_t n = 0;

	for (unsigned int i = 0; i < LOAM_HEAP_IDLE; i++) {
		unsigned long irq = loami_lock_irq(&heap->pages);
		struct run run = idle_give_up_locked(heap, i);

		loami_unlock_irq(&heap->pages, irq);
		if (run.npages != 0)
			loam_frame_free_range(heap->frames, run.first, run.npages);
		n += run.npages;
	}
	return n;
}

bool loami_large_free(struct loam_heap *heap, void *object, const struct loam_call_site *site)
{
	loam_pfn first = loami_heap_pfn(heap, object);
	unsigned long irq;
	struct run out;
	uint64_t npages;

	if (!loami_heap_in_window(heap, object))
		return area_free(heap, object);
	if ((uintptr_t)object % LOAM_PAGE_SIZE != 0)
		return false;
	irq = loami_lock_irq(&heap->pages);
	if (loami_heap_kind(heap, first) != LOAMI_KIND_LARGE) {
		loami_unlock_irq(&heap->pages, irq);
		return false;
	}
	npages = large_of(heap, first)->npages;
	forget_locked(heap, npages * LOAM_PAGE_SIZE);
	if (heap->hardened) {
		/* Claimed, so that it can be cleared without the lock. */
		loami_heap_set_kind(heap, first, LOAMI_KIND_META);
		loami_unlock_irq(&heap->pages, irq);
		memset(object, 0, (size_t)npages * LOAM_PAGE_SIZE);
		irq = loami_lock_irq(&heap->pages);
	}
	out = idle_keep_locked(heap, first, npages, site);
	loami_unlock_irq(&heap->pages, irq);
	if (out.npages != 0)
		loam_frame_free_range(heap->frames, out.first, out.npages);
	while (idle_give_up_beyond(heap, first))
		;
	return true;
}

/* Frames right behind a run, if they are free. */
static bool extend(struct loam_heap *heap, loam_pfn first, uint64_t old, uint64_t npages)
{
	struct loam_frame_where where = {.start = loam_frame_address(first + old),
					 .limit = loam_frame_address(first + npages)};
	struct loam_frame_opts opts = {.uninitialized = true, .no_reclaim = true};
	loam_pfn more;
	unsigned long irq;

	if (loam_frame_alloc_range(heap->frames, npages - old, &where, &opts, &more) != LOAM_OK)
		return false;
	irq = loami_lock_irq(&heap->pages);
	set_kinds(heap, more, npages - old, LOAMI_KIND_LARGE_TAIL);
	*large_of(heap, first) = (struct loami_large){.npages = npages};
	loami_store_relaxed(&heap->large_bytes, heap->large_bytes + (npages - old) * LOAM_PAGE_SIZE);
	heap->large_allocated += (npages - old) * LOAM_PAGE_SIZE;
	loami_unlock_irq(&heap->pages, irq);
	return true;
}

bool loami_large_resize(struct loam_heap *heap, void *object, size_t nbytes)
{
	size_t old_bytes = loami_large_size(heap, object);
	uint64_t npages = ((uint64_t)nbytes + LOAM_PAGE_SIZE - 1) >> LOAM_PAGE_SHIFT, old;
	unsigned long irq;
	loam_pfn first;

	if (nbytes <= LOAM_HEAP_SMALL_MAX || nbytes > SIZE_MAX >> 1)
		return false;
	if (!loami_heap_in_window(heap, object))
		return nbytes <= old_bytes && nbytes >= old_bytes / 2;
	first = loami_heap_pfn(heap, object);
	old = old_bytes >> LOAM_PAGE_SHIFT;
	if (npages == old)
		return true;
	if (npages > old)
		return extend(heap, first, old, npages);
	irq = loami_lock_irq(&heap->pages);
	set_kinds(heap, first + npages, old - npages, LOAMI_KIND_FOREIGN);
	*large_of(heap, first) = (struct loami_large){.npages = npages};
	/* The bytes given back count as freed, the object stays. */
	loami_store_relaxed(&heap->large_bytes, heap->large_bytes - (old - npages) * LOAM_PAGE_SIZE);
	loami_unlock_irq(&heap->pages, irq);
	loam_frame_free_range(heap->frames, first + npages, old - npages);
	return true;
}
