/* loam/inspect.h: everything a person asks of memory: where did it go, who holds it, what leaked since, what is this address, is it intact.
 *
 * Reads every layer and is needed by none. Nothing here allocates; nothing holds a lock for longer than one record. Unless it says otherwise, the context of
 * everything here is task, and figures are consistent when the machine is at rest. docs/theory/inspect.md shows what it all looks like.
 */
#ifndef LOAM_INSPECT_H
#define LOAM_INSPECT_H

#include <loam/heap.h>
#include <loam/pagemap.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The layers to look at; NULL where the kernel has none. Plain pointers: a kernel declares one, static. */
struct loam_system {
	const struct loam_memmap *map;
	struct loam_frames *frames;
	struct loam_pagetable *tree;
	struct loam_tlb *tlb;
	struct loam_vm *vm;
	struct loam_heap *heap;
};

/* The statistics of all layers. What has_... says is missing is all zero. */
struct loam_snapshot {
	struct loam_frames_stats frames;
	struct loam_zone_stats zones[LOAM_ZONES_MAX];
	uint64_t tables; /* frames under page tables */
	struct loam_vmalloc_stats vmalloc;
	struct loam_heap_stats heap;
	struct loam_tlb_stats tlb;
	bool has_frames, has_vmalloc, has_heap, has_tlb;
};
void loam_snapshot_take(const struct loam_system *system, struct loam_snapshot *snapshot);

/* Tables on the console, below 100 columns; what is a sum stands under its parts, with what it must come to. */
void loam_dump_map(const struct loam_system *system);     /* regions with sizes, and the sum per type */
void loam_dump_memory(const struct loam_system *system);  /* where it all went */
void loam_dump_zones(const struct loam_system *system);   /* zone by zone */
void loam_dump_frames(const struct loam_system *system);  /* every slot counted: O(frames) */
void loam_dump_slabs(const struct loam_system *system);   /* size classes and typed caches */
void loam_dump_vmalloc(const struct loam_system *system); /* live areas, up to LOAM_VMALLOC_DUMP_MAX, and the arena */

/* A piece of output; JSON goes through it. */
typedef void (*loam_write_fn)(void *context, const char *text, size_t nbytes);
/**
 * loam_snapshot_json() - the snapshot as one JSON object: map, frames (with zones), tables, vmalloc, heap (with classes), tlb.
 * Keys are the names of the fields; numbers are integers up to 2^64 - 1; a layer the kernel has not is null.
 */
void loam_snapshot_json(const struct loam_system *system, loam_write_fn write, void *context);

/**
 * loam_whatis() - what is this address? One line into @text, always terminated when @nbytes > 0.
 *	0xffff888001234008: heap: live object 0xffff888001234000 + 8 of 64 bytes (size-64), allocated at tour.c:40 (show_leak)
 * The heap is asked first, then vmalloc (areas, guard pages, stack guards), then the direct map (what the frame is), then the page tables.
 * Return:  the length the line would have.
 * Context: any, also a fault handler.  Locks: none.
 */
size_t loam_whatis(const struct loam_system *system, uintptr_t address, char *text, size_t nbytes);

/**
 * loam_audit() - every invariant of every layer, and the sums between them (src/inspect/audit.c lists the laws). The machine must be at rest.
 * Return:  LOAM_OK; LOAM_ERR_INVALID after saying on the console what is wrong, a line each.  Cost: O(frames + objects + areas).
 */
LOAM_NODISCARD enum loam_status loam_audit(const struct loam_system *system);

/* A moment to compare with. Private. */
struct loam_leak_mark {
	uint64_t heap_sequence; /* highest alive; 0: the heap does not track */
	uint64_t heap_count;
	uint64_t heap_nbytes;
	uint64_t vmalloc_sequence;
	uint64_t frames_used;
};
struct loam_leak_group {
	const struct loam_call_site *site; /* NULL: unknown */
	uint64_t count;
	uint64_t nbytes;
};
/** loam_leak_mark_set() - remember this moment. Cost: O(objects). */
void loam_leak_mark_set(const struct loam_system *system, struct loam_leak_mark *mark);
/**
 * loam_leak_report() - heap objects and vmalloc areas that were allocated after @mark and still live, by call site.
 * A heap that tracks gives call sites; of one that does not, only the difference since the mark is known: one group without a site.
 * @groups: filled with the largest, by bytes, largest first. Where there are more than @capacity, the last one is the sum of all the others, without a site.
 * Return: how many groups there are.
 */
size_t loam_leak_report(const struct loam_system *system, const struct loam_leak_mark *mark,
			struct loam_leak_group *groups, size_t capacity);
/** loam_dump_leaks() - the report on the console. */
void loam_dump_leaks(const struct loam_system *system, const struct loam_leak_mark *mark);

#ifdef __cplusplus
}
#endif
#endif
