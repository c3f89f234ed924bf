/* inspect/owners.c: who holds the frames in use.
 *
 * 1 Each owner is asked for the frames it holds; what is left over is the kernel's own. Nobody's frames may be counted twice: a heap's large objects that lie in vmalloc
 *   areas are the heap's; page tables from before the frame layer was there, and a heap's memory that was given to it, are not in use but reserved.
 * 2 So tables are found by walking the tree and looking at their frames. While the walk runs it counts as a query of the tree: no table it may reach is
 *   given back (paging/tree.h, 3).
 */
#include "inspect.h"

#include <frame/internal.h>
#include <paging/tree.h>

/* Handed out by the frame layer? */
static bool is_managed(const struct loam_frames *frames, loam_paddr pa)
{
	const struct loam_slot *slot = loami_slot_find(frames, loam_frame_containing(pa));

	return slot != NULL && !loami_slot_is_hole(slot) && (loami_load_relaxed(&slot->state) & STATE_RESERVED) == 0;
}

static bool is_inherited(const struct loam_pagetable *tree, unsigned int level, size_t index)
{
	return level == loami_root_level(tree) && index >= tree->inherited_first && index < tree->inherited_end;
}

/* Without recursion: a table and a place in it for each level. */
static uint64_t count_tables(const struct loam_pagetable *tree, const struct loam_frames *frames)
{
	loam_paddr tables[LOAMI_LEVELS_MAX];
	size_t places[LOAMI_LEVELS_MAX];
	unsigned int root = loami_root_level(tree);
	unsigned int level = root;
	uint64_t n = is_managed(frames, tree->root);

	tables[root] = tree->root;
	places[root] = 0;
	for (;;) {
		uint64_t entry;

		if (level == 0 || places[level] == LOAMI_TABLE_ENTRIES) {
			if (level == root)
				return n;
			level++;
			continue;
		}
		entry = loami_load_seq(&loami_table(tree, tables[level])[places[level]]);
		if (!is_inherited(tree, level, places[level]++) && loami_is_table(tree->format, entry)) {
			loam_paddr table = loami_entry_address(tree->format, entry);

			n += is_managed(frames, table);
			tables[--level] = table;
			places[level] = 0;
		}
	}
}

static uint64_t tables_in_frames(struct loam_pagetable *tree, const struct loam_frames *frames)
{
	uint64_t n;

	(void)loami_fetch_add_seq(&tree->queries, 1);
	n = count_tables(tree, frames);
	(void)loami_fetch_sub_release(&tree->queries, 1);
	return n;
}

static void add_area(void *context, const struct loam_vmalloc_live *live)
{
	uint64_t *npages = context;

	if (!live->mapping)
		*npages += live->npages;
}

struct loami_owners loami_owners_take(const struct loam_system *system, const struct loam_snapshot *s)
{
	struct loami_owners owners = {0};

	if (s->has_vmalloc) {
		loami_areas_walk(system->vm, system->heap, add_area, &owners.areas);
		owners.records = s->vmalloc.metadata_pages + 1; /* and the frame at its page 0 */
		owners.ready = s->vmalloc.ready_pages;
	}
	/* A heap over a block of its own has no frames of this machine; what served before it was set up was the kernel's. */
	if (s->has_heap && system->heap->frames == system->frames)
		owners.heap =
			(s->heap.total_bytes - (system->heap->bump_end - system->heap->bump_start)) >> LOAM_PAGE_SHIFT;
	if (system->tree != NULL)
		owners.tables = tables_in_frames(system->tree, system->frames);
	owners.sum = owners.heap + owners.areas + owners.records + owners.ready + owners.tables;
	return owners;
}
