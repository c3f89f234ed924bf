/* inspect/leak.c: what has been allocated since a moment and still lives, by call site.
 *
 * 1 Concepts. Allocations of a heap that tracks, and vmalloc areas, have sequence numbers that only grow: what is above the highest one alive at the mark came after
 *   it. A heap that does not track has none: then only the difference in objects and bytes is known, and one group without a call site says it.
 * 2 Grouping without memory. Call sites are taken BATCH at a time in the order of their addresses: one walk over everything that lives sums up the BATCH lowest above
 *   those done before. The caller's array keeps the largest groups. So any number of call sites costs a walk per BATCH of them and a kilobyte of stack.
 * 3 Not done: frames taken from the frame layer directly have no call site; their number is compared and said.
 */
#include "inspect.h"

enum { BATCH = 32 };

struct batch {
	const struct loam_leak_mark *mark;
	uintptr_t floor; /* sites up to here are done */
	bool first;      /* no floor yet: NULL, the unknown site, is among this batch */
	size_t n;
	struct loam_leak_group groups[BATCH]; /* rising by the address of the site */
};

static void batch_add(struct batch *batch, const struct loam_call_site *site, uint64_t nbytes)
{
	struct loam_leak_group *groups = batch->groups;
	uintptr_t key = (uintptr_t)site;
	size_t at = 0;

	if (!batch->first && key <= batch->floor)
		return;
	while (at < batch->n && (uintptr_t)groups[at].site < key)
		at++;
	if (at == BATCH)
		return; /* a later batch's */
	if (at == batch->n || groups[at].site != site) {
		if (batch->n < BATCH)
			batch->n++;
		for (size_t i = batch->n - 1; i > at; i--)
			groups[i] = groups[i - 1];
		groups[at] = (struct loam_leak_group){.site = site};
	}
	groups[at].count++;
	groups[at].nbytes += nbytes;
}

static void see_object(void *context, const struct loam_heap_object *object)
{
	struct batch *batch = context;

	if (object->sequence > batch->mark->heap_sequence)
		batch_add(batch, object->allocated_at, object->nbytes);
}

static void see_area(void *context, const struct loam_vmalloc_live *live)
{
	struct batch *batch = context;

	if (live->sequence > batch->mark->vmalloc_sequence)
		batch_add(batch, live->site, live->nbytes);
}

/* Objects of a heap that does not track. */
static struct loam_leak_group untracked(const struct loam_system *system, const struct loam_leak_mark *mark)
{
	struct loam_leak_group group = {0};
	struct loami_heap_sum now = loami_heap_sum(system->heap);

	if (now.sequence == 0 && mark->heap_sequence == 0 && now.count > mark->heap_count) {
		group.count = now.count - mark->heap_count;
		group.nbytes = now.nbytes > mark->heap_nbytes ? now.nbytes - mark->heap_nbytes : 0;
	}
	return group;
}

/* The largest groups, largest first, and the sum of those there is no room for. */
struct top {
	struct loam_leak_group *groups;
	size_t capacity;
	size_t held;
	size_t n;
	struct loam_leak_group rest;
};

static void top_add(struct top *top, struct loam_leak_group group)
{
	struct loam_leak_group *groups = top->groups;

	top->n++;
	if (top->held < top->capacity) {
		groups[top->held++] = group;
	} else {
		struct loam_leak_group out = group;

		if (top->held > 0 && group.nbytes > groups[top->held - 1].nbytes) {
			out = groups[top->held - 1];
			groups[top->held - 1] = group;
		}
		top->rest.count += out.count;
		top->rest.nbytes += out.nbytes;
	}
	for (size_t i = top->held; i > 1 && groups[i - 1].nbytes > groups[i - 2].nbytes; i--) {
		struct loam_leak_group up = groups[i - 1];

		groups[i - 1] = groups[i - 2];
		groups[i - 2] = up;
	}
}

void loam_leak_mark_set(const struct loam_system *system, struct loam_leak_mark *mark)
{
	struct loami_heap_sum heap = loami_heap_sum(system->heap);
	struct loam_snapshot s;

	loam_snapshot_take(system, &s);
	*mark = (struct loam_leak_mark){
		.heap_sequence = heap.sequence,
		.heap_count = heap.count,
		.heap_nbytes = heap.nbytes,
		.vmalloc_sequence = s.vmalloc.total_sequence,
		.frames_used = s.frames.used,
	};
}

size_t loam_leak_report(const struct loam_system *system, const struct loam_leak_mark *mark,
			struct loam_leak_group *groups, size_t capacity)
{
	struct top top = {.groups = groups, .capacity = groups != NULL ? capacity : 0};
	struct loam_leak_group unknown = untracked(system, mark);
	struct batch batch = {.mark = mark, .first = true};

	do {
		batch.n = 0;
		if (system->heap != NULL)
			(void)loam_heap_walk(system->heap, see_object, &batch);
		loami_areas_walk(system->vm, system->heap, see_area, &batch);
		for (size_t i = 0; i < batch.n; i++) {
			struct loam_leak_group group = batch.groups[i];

			if (group.site == NULL) { /* both kinds of not knowing are one group */
				group.count += unknown.count;
				group.nbytes += unknown.nbytes;
				unknown = (struct loam_leak_group){0};
			}
			top_add(&top, group);
		}
		if (batch.n > 0)
			batch.floor = (uintptr_t)batch.groups[batch.n - 1].site;
		batch.first = false;
	} while (batch.n == BATCH);
	if (unknown.count > 0)
		top_add(&top, unknown);
	if (top.n > top.capacity && top.capacity > 0) {
		struct loam_leak_group *last = &groups[top.capacity - 1];

		last->site = NULL;
		last->count += top.rest.count;
		last->nbytes += top.rest.nbytes;
	}
	return top.n;
}

void loam_dump_leaks(const struct loam_system *system, const struct loam_leak_mark *mark)
{
	enum { SHOWN = 24 };
	struct loam_leak_group groups[SHOWN];
	size_t n = loam_leak_report(system, mark, groups, SHOWN);
	struct loam_leak_group sum = {0};
	struct loam_snapshot s;
	char size[LOAMI_SIZE_TEXT];

	loam_snapshot_take(system, &s);
	if (n == 0)
		loami_print("leaks: nothing allocated since the mark is still alive\n");
	else
		loami_print("leaks: allocated since the mark and still alive, in usable bytes\n");
	for (size_t i = 0; i < n && i < SHOWN; i++) {
		const struct loam_call_site *site = groups[i].site;

		loami_print("  %8lu x %12lu bytes  ", (unsigned long)groups[i].count, (unsigned long)groups[i].nbytes);
		if (site != NULL)
			loami_print("%s:%u%s%s%s\n", loami_file_text(site->file), site->line,
				    site->function != NULL ? " (" : "", site->function != NULL ? site->function : "",
				    site->function != NULL ? ")" : "");
		else if (n > SHOWN && i + 1 == SHOWN)
			loami_print("%lu more call sites\n", (unsigned long)(n - SHOWN + 1));
		else
			loami_print("unknown call site\n");
		sum.count += groups[i].count;
		sum.nbytes += groups[i].nbytes;
	}
	if (n > 1)
		loami_print("= %8lu x %12lu bytes  (%s)\n", (unsigned long)sum.count, (unsigned long)sum.nbytes,
			    loami_size_text(size, sum.nbytes));
	if (s.has_frames)
		loami_print("  frames in use: %lu at the mark, %lu now\n", (unsigned long)mark->frames_used,
			    (unsigned long)s.frames.used);
}
