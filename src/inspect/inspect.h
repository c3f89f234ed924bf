/* inspect/inspect.h: what the files of this layer share. Nothing below knows of it. */
#ifndef LOAMI_INSPECT_H
#define LOAMI_INSPECT_H

#include <loam/inspect.h>

#include <base/print.h>

enum { LOAMI_SIZE_TEXT = 16 };

/* "632.0 KiB": for people; to the nearest tenth. Return: @text. */
const char *loami_size_text(char text[LOAMI_SIZE_TEXT], uint64_t nbytes);

/* A file's name as a person knows it: without the ../ a build directory puts before it. */
const char *loami_file_text(const char *file);

static inline uint64_t loami_frames_to_bytes(uint64_t nframes)
{
	return nframes << LOAM_PAGE_SHIFT;
}

/* A line of a table of sums: label, frames, size. */
void loami_print_frames(const char *label, uint64_t nframes);
/* The line under them: the sum, and whether it is what it must be. */
void loami_print_frames_sum(uint64_t sum, uint64_t expected, const char *of);

/* Every live vmalloc area in address order. A heap's own are left out where @heap is given: they are objects of that heap. */
typedef void (*loami_area_fn)(void *context, const struct loam_vmalloc_live *live);
void loami_areas_walk(const struct loam_vm *vm, const struct loam_heap *heap, loami_area_fn visit, void *context);

/* Every slot of the machine counted, O(frames). */
struct loami_census {
	uint64_t kernel; /* in use: kernel data, page tables, custom */
	uint64_t user;
	uint64_t quarantined;
	uint64_t free;
	uint64_t shared; /* of those in use: more than one reference */
	uint64_t blocks; /* owned blocks larger than a frame */
};
struct loami_census loami_census_take(struct loam_frames *frames);

/* Who holds the frames in use; the rest of them is the kernel's own. */
struct loami_owners {
	uint64_t heap;
	uint64_t areas;   /* live vmalloc areas, but for the heap's */
	uint64_t records; /* vmalloc's and the arena's metadata, and the frame behind page 0 */
	uint64_t ready;   /* frames that CPUs keep for their next areas */
	uint64_t tables;
	uint64_t sum;
};
struct loami_owners loami_owners_take(const struct loam_system *system, const struct loam_snapshot *s);

/* A line of text as it grows: what does not fit is cut, the length goes on. */
struct loami_line {
	char *text;
	size_t nbytes;
	size_t length;
};
void loami_say(struct loami_line *line, const char *format, ...) LOAM_PRINTF(2, 3);

/* What a frame of RAM is, in a few words. */
void loami_say_frame(struct loami_line *line, const struct loam_frames *frames, loam_pfn pfn);

/* Live heap objects, and what they come to; the highest sequence number, 0 when the heap does not track. */
struct loami_heap_sum {
	uint64_t count;
	uint64_t nbytes;
	uint64_t sequence;
};
struct loami_heap_sum loami_heap_sum(struct loam_heap *heap);

#endif
