/* heap/bump.c: memory before there is a heap.
 *
 * A block of the caller's is handed out from its start to its end and never taken back. A bit per 16 bytes, at the end of the block, says where
 * allocations start, so that a pointer from here is recognised for ever after, its size is known (it ends where the next one starts), and anything else in the block is a
 * named misuse. Lock: pages.
 */
#include "internal.h"

static bool marked(const struct loam_heap *heap, uintptr_t at)
{
	size_t granule = (at - heap->bump_start) >> LOAMI_GRANULE_SHIFT;

	return (loami_load_relaxed(&heap->bump_marks[granule / 8]) >> (granule % 8) & 1) != 0;
}

static void mark(struct loam_heap *heap, uintptr_t at)
{
	size_t granule = (at - heap->bump_start) >> LOAMI_GRANULE_SHIFT;
	uint8_t *byte = &heap->bump_marks[granule / 8];

	loami_store_relaxed(byte, (uint8_t)(loami_load_relaxed(byte) | 1u << (granule % 8)));
}

enum loam_status loam_heap_bump_init(struct loam_heap *heap, void *block, size_t nbytes)
{
	uintptr_t start = loami_align_up((uintptr_t)block, LOAM_HEAP_MIN_ALIGN);
	size_t lost = start - (uintptr_t)block, marks;

	if (loami_load_acquire(&heap->state) != LOAMI_HEAP_NEW)
		return LOAM_ERR_ALREADY;
	if (!block || nbytes < lost + 64 || (uintptr_t)block + nbytes < (uintptr_t)block)
		return LOAM_ERR_INVALID;
	nbytes = (size_t)loami_align_down(nbytes - lost, LOAM_HEAP_MIN_ALIGN);
	/* One bit more than there are granules: the end counts as a start. */
	marks = (size_t)loami_align_up(nbytes / 128 + 2, LOAM_HEAP_MIN_ALIGN);
	heap->bump_start = heap->bump_next = start;
	heap->bump_end = start + nbytes - marks;
	heap->bump_marks = (uint8_t *)heap->bump_end;
	memset(heap->bump_marks, 0, marks);
	heap->pages = LOAMI_LOCK_INIT(LOAMI_RANK_HEAP_LARGE);
	loami_store_release(&heap->state, LOAMI_HEAP_BUMP);
	return LOAM_OK;
}

void *loami_bump_alloc(struct loam_heap *heap, size_t nbytes, size_t align)
{
	unsigned long irq;
	uintptr_t at;

	if (align < LOAM_HEAP_MIN_ALIGN)
		align = LOAM_HEAP_MIN_ALIGN;
	if (nbytes == 0)
		nbytes = 1;
	irq = loami_lock_irq(&heap->pages);
	at = (uintptr_t)loami_align_up(heap->bump_next, align);
	if (at < heap->bump_next || at >= heap->bump_end || nbytes > heap->bump_end - at) {
		loami_unlock_irq(&heap->pages, irq);
		return loami_heap_fail(heap, LOAM_ERR_NO_MEMORY);
	}
	/* What alignment skipped is an allocation nobody has: the one before ends where it ends. */
	if (at != heap->bump_next)
		mark(heap, heap->bump_next);
	mark(heap, at);
	heap->bump_next = (uintptr_t)loami_align_up(at + nbytes, LOAM_HEAP_MIN_ALIGN);
	heap->bump_allocs++;
	loami_unlock_irq(&heap->pages, irq);
	return (void *)at;
}

size_t loami_bump_size(const struct loam_heap *heap, const void *object)
{
	uintptr_t at = (uintptr_t)object, end = at + LOAM_HEAP_MIN_ALIGN;

	if (at % LOAM_HEAP_MIN_ALIGN != 0 || at >= loami_load_relaxed(&heap->bump_next) || !marked(heap, at))
		return 0;
	while (end < heap->bump_next && !marked(heap, end))
		end += LOAM_HEAP_MIN_ALIGN;
	return end - at;
}
