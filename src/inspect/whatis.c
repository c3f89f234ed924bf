/* inspect/whatis.c: what is this address? The first layer from above that knows it answers; nothing here takes a lock or waits, so that a fault handler may ask.
 */
#include "inspect.h"

#include <base/bits.h>

static void say_site(struct loami_line *line, const char *what, const struct loam_call_site *site)
{
	if (site == NULL)
		return;
	loami_say(line, ", %s at %s:%u", what, loami_file_text(site->file), site->line);
	if (site->function != NULL)
		loami_say(line, " (%s)", site->function);
}

static void say_task(struct loami_line *line, const struct loam_task *task)
{
	if (task->task != 0 || task->pid != 0 || task->tid != 0)
		loami_say(line, " by task %lu (pid %u, tid %u)", (unsigned long)task->task, task->pid, task->tid);
	if (task->silo != 0)
		loami_say(line, " of silo %u", task->silo);
}

/* ---- layer by layer ------------------------------------------------------------------------------------------------------ */

static bool say_heap(struct loami_line *line, const struct loam_heap *heap, uintptr_t address)
{
	struct loam_heap_object object = {0};
	enum loam_heap_place place;

	if (heap == NULL)
		return false;
	place = loam_heap_whereis(heap, address, &object);
	if (place == LOAM_HEAP_OUTSIDE)
		return false;
	if (place == LOAM_HEAP_INNER) {
		loami_say(line, "heap: %s", "its own bookkeeping, or room no object fits in");
		return true;
	}
	if (place == LOAM_HEAP_BUMP) {
		loami_say(line, "heap: given out before the heap was set up");
		return true;
	}
	loami_say(line, "heap: %s object 0x%lx", place == LOAM_HEAP_LIVE ? "live" : "free",
		  (unsigned long)object.start);
	if (address != object.start)
		loami_say(line, " + %lu", (unsigned long)(address - object.start));
	loami_say(line, " of %lu bytes", (unsigned long)object.nbytes);
	if (object.class_name != NULL)
		loami_say(line, " (%s)", object.class_name);
	if (place == LOAM_HEAP_FREE)
		say_site(line, "freed", object.freed_at);
	say_site(line, "allocated", object.allocated_at);
	return true;
}

static bool say_vmalloc(struct loami_line *line, const struct loam_vm *vm, uintptr_t address)
{
	struct loam_vmalloc_live live = {0};
	enum loam_vmalloc_place place;
	const char *kind;

	if (vm == NULL)
		return false;
	place = loam_vmalloc_whereis(vm, address, &live);
	kind = live.stack ? "stack" : live.device ? "device registers" : live.mapping ? "mapping" : "area";
	switch (place) {
	case LOAM_PLACE_OUTSIDE:
		return false;
	case LOAM_PLACE_UNUSED:
		loami_say(line, "vmalloc: in the arena, in no live area");
		return true;
	case LOAM_PLACE_FREED:
		loami_say(line, "vmalloc: FREED %s 0x%lx", kind, (unsigned long)live.address);
		if (address != live.address)
			loami_say(line, " + %lu", (unsigned long)(address - live.address));
		loami_say(line, " of %lu bytes, not reused yet", (unsigned long)live.nbytes);
		break;
	case LOAM_PLACE_AREA:
		loami_say(line, "vmalloc: %s 0x%lx", kind, (unsigned long)live.address);
		if (address != live.address)
			loami_say(line, " + %lu", (unsigned long)(address - live.address));
		loami_say(line, " of %lu bytes", (unsigned long)live.nbytes);
		break;
	case LOAM_PLACE_GUARD:
		loami_say(line, "vmalloc: guard page, %lu bytes past the end of %s 0x%lx of %lu bytes",
			  (unsigned long)(address - live.address - live.nbytes), kind, (unsigned long)live.address,
			  (unsigned long)live.nbytes);
		break;
	case LOAM_PLACE_STACK_GUARD:
		loami_say(line, "vmalloc: STACK OVERFLOW: guard page, %lu bytes below stack 0x%lx of %lu bytes",
			  (unsigned long)(live.address - address), (unsigned long)live.address,
			  (unsigned long)live.nbytes);
		break;
	}
	say_site(line, "allocated", live.site);
	say_task(line, &live.task);
	return true;
}

static void say_physical(struct loami_line *line, const struct loam_system *system, loam_paddr pa)
{
	const struct loam_region *region = system->map != NULL ? loam_memmap_find(system->map, pa) : NULL;

	loami_say(line, "physical 0x%lx", (unsigned long)pa);
	if (region != NULL && region->type != LOAM_REGION_USABLE)
		loami_say(line, " (%s)", loam_region_type_name(region->type));
	if (system->frames != NULL && loam_frame_has_slot(system->frames, loam_frame_containing(pa))) {
		loami_say(line, ": ");
		loami_say_frame(line, system->frames, loam_frame_containing(pa));
	} else if (region == NULL) {
		loami_say(line, ": not in the memory map");
	}
}

static bool say_direct_map(struct loami_line *line, const struct loam_system *system, uintptr_t address)
{
	loam_paddr pa;

	if (system->frames == NULL)
		return false;
	pa = (loam_paddr)(address - system->frames->direct_map);
	if (!loam_frame_has_slot(system->frames, loam_frame_containing(pa)))
		return false;
	loami_say(line, "direct map of ");
	say_physical(line, system, pa);
	return true;
}

static bool say_tables(struct loami_line *line, const struct loam_system *system, uintptr_t address)
{
	static const char *const caches[] = {"", ", write-combining", ", uncached", ", device"};
	struct loam_paging_entry entry;
	char size[LOAMI_SIZE_TEXT];
	enum loam_status status;

	if (system->tree == NULL)
		return false;
	if (!loam_paging_is_canonical(system->tree->format, address)) {
		loami_say(line, "no address at all: not canonical for %s",
			  loam_paging_format_name(system->tree->format));
		return true;
	}
	status = loam_paging_query(system->tree, address, &entry);
	if (status != LOAM_OK)
		return false;
	loami_say(line, "not Loam's; mapped %s%s%s%s by a %s leaf%s to ", entry.prot & LOAM_PROT_USER ? "user " : "",
		  entry.prot & LOAM_PROT_READ ? "r" : "-", entry.prot & LOAM_PROT_WRITE ? "w" : "-",
		  entry.prot & LOAM_PROT_EXEC ? "x" : "-", loami_size_text(size, UINT64_C(1) << entry.leaf_shift),
		  (unsigned int)entry.cache < LOAMI_COUNT(caches) ? caches[entry.cache] : "");
	say_physical(line, system, entry.pa);
	return true;
}

size_t loam_whatis(const struct loam_system *system, uintptr_t address, char *text, size_t nbytes)
{
	struct loami_line line = {.text = text, .nbytes = text != NULL ? nbytes : 0};

	loami_say(&line, "0x%lx: ", (unsigned long)address);
	if (say_heap(&line, system->heap, address) || say_vmalloc(&line, system->vm, address) ||
	    say_direct_map(&line, system, address))
		return line.length;
	if (address < LOAM_PAGE_SIZE) {
		loami_say(&line, "a NULL pointer");
		if (address != 0)
			loami_say(&line, ", or a field at offset %lu of one", (unsigned long)address);
	} else if (!say_tables(&line, system, address)) {
		loami_say(&line, "nothing is mapped here%s", system->tree == NULL ? ", as far as Loam knows" : "");
		/* A number from a log may well be a physical one. */
		if (system->frames != NULL && loam_frame_has_slot(system->frames, loam_frame_containing(address))) {
			loami_say(&line, "; as a ");
			say_physical(&line, system, address);
		}
	}
	return line.length;
}
