/* loam/inspect.h: everything a person asks of memory: where did it go, who holds it, what leaked since, what is this address, is it intact.
 *
 * Reads every layer and is needed by none. Nothing here takes a lock for longer than one record.
 */
#ifndef LOAM_INSPECT_H
#define LOAM_INSPECT_H

#include <loam/heap.h>
#include <loam/pagemap.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The layers to look at; NULL where the kernel has none. */
struct loam_system {
	const struct loam_memmap *map;
	struct loam_frames *frames;
	struct loam_pagetable *tree;
	struct loam_tlb *tlb;
	struct loam_vm *vm;
	struct loam_heap *heap;
};

struct loam_snapshot {
	struct loam_frames_stats frames;
	struct loam_zone_stats zones[LOAM_ZONES_MAX];
	struct loam_vmalloc_stats vmalloc;
	struct loam_heap_stats heap;
	struct loam_tlb_stats tlb;
	bool has_frames, has_vmalloc, has_heap, has_tlb;
};
void loam_snapshot_take(const struct loam_system *system, struct loam_snapshot *snapshot);

/* Text on the console. */
void loam_dump_map(const struct loam_system *system);    /* regions with sizes, and the sum per type */
void loam_dump_memory(const struct loam_system *system); /* where it all went; the sums are printed as sums */
void loam_dump_zones(const struct loam_system *system);
void loam_dump_frames(const struct loam_system *system);
void loam_dump_slabs(const struct loam_system *system);
void loam_dump_vmalloc(const struct loam_system *system);

/* A piece of output; JSON goes through it. */
typedef void (*loam_write_fn)(void *context, const char *text, size_t nbytes);
/* The snapshot as one JSON object, keys as the fields are named. */
void loam_snapshot_json(const struct loam_system *system, loam_write_fn write, void *context);

/* What is this address? One line into @text, e.g. "heap: live object 0x... + 8 of 64 bytes (size-64), allocated at tour.c:40". Return: its length. Any context. */
size_t loam_whatis(const struct loam_system *system, uintptr_t address, char *text, size_t nbytes);

/* Every invariant of every layer; the sum of the sets is the total. The machine must be at rest. LOAM_ERR_INVALID after saying what is wrong. */
LOAM_NODISCARD enum loam_status loam_audit(const struct loam_system *system);

/* Leaks: a mark remembers the moment; the report says what has been allocated since and still lives, grouped by call site. */
struct loam_leak_mark {
	uint64_t heap_sequence;
	uint64_t vmalloc_sequence;
	uint64_t frames_used;
};
struct loam_leak_group {
	const struct loam_call_site *site; /* NULL: unknown */
	uint64_t count;
	uint64_t nbytes;
};
void loam_leak_mark_set(const struct loam_system *system, struct loam_leak_mark *mark);
/* Groups, largest first, into @groups. Return: how many groups there are (more than @capacity: the rest is summed in the last one). */
size_t loam_leak_report(const struct loam_system *system, const struct loam_leak_mark *mark,
			struct loam_leak_group *groups, size_t capacity);
void loam_dump_leaks(const struct loam_system *system, const struct loam_leak_mark *mark);

#ifdef __cplusplus
}
#endif
#endif
