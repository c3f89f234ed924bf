/* kernel/common/bootmap.c: the firmware's memory map, shown as it came and as it was understood. */
#include "bootmap.h"
#include "console.h"

static void print_range(const char *before, loam_paddr base, uint64_t nbytes)
{
	char size[16];

	kprintf("     %s%012lx - %012lx  %8s  ", before, (unsigned long)base, (unsigned long)(base + nbytes),
		ksize(size, nbytes));
}

static void print_note(void *context, const struct loam_memmap_note *note)
{
	bool *any = context;

	if (!*any)
		kprintf("   Put right\n");
	*any = true;
	switch (note->kind) {
	case LOAM_NOTE_EMPTY:
		kprintf("     empty    %012lx: no bytes, ignored\n", (unsigned long)note->base);
		return;
	case LOAM_NOTE_WRAP:
		print_range("wrap     ", note->base, note->nbytes);
		kprintf("runs past the end of all addresses, clipped\n");
		return;
	case LOAM_NOTE_CLIP:
		print_range("clip     ", note->base, note->nbytes);
		kprintf("%s, no whole page or past the limit\n", loam_region_type_name(note->loser));
		return;
	case LOAM_NOTE_OVERLAP:
		print_range("overlap  ", note->base, note->nbytes);
		kprintf("%s and %s: %s it is\n", loam_region_type_name(note->loser),
			loam_region_type_name(note->winner), loam_region_type_name(note->winner));
		return;
	case LOAM_NOTE_TYPE:
		print_range("type     ", note->base, note->nbytes);
		kprintf("of a type nobody knows, taken as reserved\n");
		return;
	case LOAM_NOTE_KIND_COUNT:
		return;
	}
}

enum loam_status bootmap_init(struct loam_memmap *map, struct loam_region *raw, size_t nraw,
			      struct loam_region *storage, size_t capacity, loam_paddr limit, const char *source)
{
	char size[16];
	bool any = false;

	kprintf("\n1  The memory map, as %s gives it\n", source);
	for (size_t i = 0; i < nraw; i++) {
		print_range("", raw[i].base, raw[i].nbytes);
		kprintf("%s\n", loam_region_type_name(raw[i].type));
	}
	enum loam_status status = loam_memmap_init(map, raw, nraw, storage, capacity, limit, print_note, &any);
	uint64_t usable = loam_memmap_bytes(map, LOAM_REGION_USABLE);
	if (status == LOAM_OK)
		kprintf("   %s %zu regions; usable are %lu frames, %s\n",
			any ? "Leaves" : "Nothing to put right:", map->count,
			(unsigned long)(usable >> LOAM_PAGE_SHIFT), ksize(size, usable));
	return status;
}

size_t bootmap_cut(struct loam_region *raw, size_t nraw, size_t capacity, loam_paddr base, uint64_t nbytes)
{
	loam_paddr limit = base + nbytes;
	size_t count = nraw;

	for (size_t i = 0; i < nraw; i++) {
		struct loam_region whole = raw[i];
		loam_paddr end = whole.base + whole.nbytes;

		if (whole.type != LOAM_REGION_USABLE || end <= base || whole.base >= limit)
			continue;
		raw[i].nbytes = whole.base < base ? base - whole.base : 0;
		if (end <= limit)
			continue;
		struct loam_region rest = {limit, end - limit, whole.type, whole.node};
		if (raw[i].nbytes == 0)
			raw[i] = rest;
		else if (count < capacity)
			raw[count++] = rest;
	}
	return count;
}
