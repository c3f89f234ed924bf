/* inspect/census.c: what single frames are, from their slots. The one file here that reads what is private to the frame layer: loam_slot.state. */
#include "inspect.h"

#include <frame/internal.h>

/* A block's head speaks for all of it; the slots of the others are as when they were free. */
struct loami_census loami_census_take(struct loam_frames *frames)
{
	struct loami_census census = {0};
	struct loam_zone_stats zone;

	for (unsigned int i = 0; loam_frame_read_zone_stats(frames, i, &zone) == LOAM_OK; i++) {
		for (loam_pfn pfn = zone.start; pfn < zone.end;) {
			const struct loam_slot *slot = loami_slot_find(frames, pfn);
			bool hole = slot == NULL || loami_slot_is_hole(slot);
			unsigned int state = hole ? 0 : loami_load_relaxed(&slot->state);
			uint32_t refcount = hole ? 0 : loami_load_relaxed(&slot->refcount);
			uint64_t n = 1;

			if ((state & STATE_QUARANTINED) != 0) {
				census.quarantined++;
			} else if (hole || (state & STATE_RESERVED) != 0) {
				/* not the layer's to hand out */
			} else if (refcount == REF_UNUSED) {
				census.free++;
			} else {
				n = UINT64_C(1) << (loami_load_relaxed(&slot->order) & 63);
				*((loami_load_relaxed(&slot->flags) & LOAM_FRAME_USER) != 0 ? &census.user
											    : &census.kernel) += n;
				census.blocks += n > 1;
				census.shared += refcount > 1 && refcount <= REF_MAX ? n : 0;
			}
			pfn += n;
		}
	}
	return census;
}

/* Free or owned, alone or in a block: the head of what @pfn belongs to. The order in the slot of a free frame is of a former life. */
static loam_pfn head_of(const struct loam_frames *frames, loam_pfn pfn, unsigned int *order)
{
	for (unsigned int k = 0; k <= LOAM_ORDER_MAX; k++) {
		loam_pfn head = loami_align_down(pfn, UINT64_C(1) << k);
		const struct loam_slot *slot = loami_slot_find(frames, head);

		if (slot == NULL || loami_load_relaxed(&slot->refcount) == REF_UNUSED)
			continue;
		*order = loami_load_relaxed(&slot->order);
		if (head + (UINT64_C(1) << (*order & 63)) > pfn)
			return head;
	}
	*order = 0;
	return LOAM_PFN_NONE;
}

void loami_say_frame(struct loami_line *line, const struct loam_frames *frames, loam_pfn pfn)
{
	const struct loam_slot *slot = loami_slot_find(frames, pfn);
	unsigned int state;
	char size[LOAMI_SIZE_TEXT];
	const char *poisoned;
	unsigned int order;
	uint32_t refcount;
	uint32_t flags;
	loam_pfn head;

	if (slot == NULL || loami_slot_is_hole(slot)) {
		loami_say(line, "no RAM");
		return;
	}
	state = loami_load_relaxed(&slot->state);
	poisoned = (loami_load_relaxed(&slot->guard) & LOAM_GUARD_POISONED) != 0 ? ", poisoned" : "";
	if ((state & STATE_QUARANTINED) != 0) {
		loami_say(line, "frame in quarantine for good%s", poisoned);
		return;
	}
	if ((state & STATE_RESERVED) != 0) {
		loami_say(line, "RAM that is never handed out%s", poisoned);
		return;
	}
	head = head_of(frames, pfn, &order);
	if (head == LOAM_PFN_NONE) {
		loami_say(line, "free frame%s, generation %u", poisoned, loami_load_relaxed(&slot->generation));
		return;
	}
	slot = loami_slot_find(frames, head);
	flags = loami_load_relaxed(&slot->flags);
	refcount = loami_load_relaxed(&slot->refcount);
	if (refcount == REF_CLAIMED) {
		loami_say(line, "frame that is just being allocated");
		return;
	}
	loami_say(line, "frame in use: %s%s%s",
		  (flags & LOAM_FRAME_USER) != 0     ? "user"
		  : (flags & LOAM_FRAME_KERNEL) != 0 ? "kernel"
						     : "custom",
		  (flags & LOAM_FRAME_COW) != 0 ? ", copy on write" : "", poisoned);
	if (order > 0)
		loami_say(line, ", page %lu of a block of %s", (unsigned long)(pfn - head),
			  loami_size_text(size, LOAM_PAGE_SIZE << order));
	loami_say(line, ", %u reference%s, taken by cpu %u", refcount, refcount == 1 ? "" : "s",
		  loami_load_relaxed(&slot->aux) & 0xffff);
}
