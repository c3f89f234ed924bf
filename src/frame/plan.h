/* frame/plan.h: how a machine's memory is cut into sections, chunks and domains, and its metadata into arrays: see plan.c. */
#ifndef LOAMI_FRAME_PLAN_H
#define LOAMI_FRAME_PLAN_H

#include "internal.h"

/* RAM that crosses no border of a section, cell, zone or node, as asked for. */
struct loami_piece {
	loam_pfn start;
	loam_pfn end;
	unsigned int zone;
	unsigned int node;
	uint32_t type; /* enum loam_region_type */
};

/* A walk over the RAM of a map that lies in the zones of @frames. */
struct loami_walk {
	const struct loam_frames *frames;
	const struct loam_memmap *map;
	unsigned int shift; /* pieces do not cross multiples of 2^shift frames */
	size_t region;      /* where the walk is */
	loam_pfn at;        /* within the region; 0: at its start */
};
bool loami_walk_next(struct loami_walk *walk, struct loami_piece *piece);

/* Pieces of one cell, zone and node in a row are one chunk. */
struct loami_outline {
	loam_pfn start;
	loam_pfn end;
	unsigned int zone;
	unsigned int node;
};
/* The next chunk of the walk, whose shift is the cell's order; @piece carries the piece after it, end 0 before the first call. */
bool loami_walk_chunk(struct loami_walk *walk, struct loami_piece *piece, struct loami_outline *outline);
/* Blocks that [start, end) touches. */
uint64_t loami_blocks_of(loam_pfn start, loam_pfn end);

struct loami_plan {
	loam_pfn first_pfn;
	loam_pfn end_pfn;
	uint64_t ram;      /* frames */
	uint64_t span;     /* from first_pfn */
	uint64_t nnumbers; /* room for this many with RAM, number 0 included */
	uint64_t nchunks;  /* room for this many */
	uint64_t nblocks;  /* of all chunks */
	uint64_t nslots;
	unsigned int cell_order;
	unsigned int ndomains; /* room for this many */
	unsigned int nnodes;
	bool hardened;
	bool report;
};
struct loami_plan loami_plan_make(const struct loam_frames *frames, const struct loam_memmap *map,
				  loam_paddr hotplug_limit);

/* Where each array is, in the order of the metadata. */
struct loami_parts {
	uintptr_t cpus, fifos, sections, numbers, chunk_pointers, domains, tops, nobody, chunks, rows, counts, slots;
	uint64_t nbytes;
};
struct loami_parts loami_plan_cut(const struct loami_plan *plan, unsigned int ncpus, uintptr_t base);

/* 64-bit words of a top bitmap. */
static inline uint64_t loami_top_words(uint64_t nchunks)
{
	return (nchunks + 63) / 64;
}

/* setup.c, for hot-plug too: the slot of a free frame (@state 0) or a reserved one; slots for one section, where frames of [start, end) are free and the others holes; a chunk over rows and counts that are zero, of which
 * it takes its part. */
void loami_slot_reset(struct loam_slot *slot, uint32_t state);
void loami_section_add(struct loam_frames *frames, loam_pfn pfn, uintptr_t slots, loam_pfn start, loam_pfn end);
void loami_chunk_add(struct loam_frames *frames, struct loami_frame_chunk *chunk, const struct loami_outline *outline,
		     uint64_t (**rows)[ROW_WORDS], uint16_t **counts);
/* Frames whose slots say they are free become so: counted and put. Clean: where reports are wanted, they hold zeros. */
void loami_frames_give(struct loam_frames *frames, loam_pfn start, loam_pfn end, bool clean);
/* The sizes that follow from how much memory is managed: magazines, watermarks. */
void loami_frames_tune(struct loam_frames *frames);

#endif
