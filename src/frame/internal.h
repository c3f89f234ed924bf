/* frame/internal.h: the private structures of the frame layer, and who may touch them. docs/theory/frame.md explains the whole.
 *
 * 1 Concepts
 *   section   128 MiB of address space; says where the slots of its RAM are.
 *   cell      2^cell_order frames, aligned: 1 GiB, less on small machines so that CPUs do not share one lock.
 *   chunk     the RAM of one cell, zone and node. Holds its free frames as bitmaps; one lock. Nearly always a cell has one chunk.
 *   domain    the chunks of one (node, zone), with top bitmaps that say which have what.
 *
 * 2 A chunk's free memory
 *   rows[b]      a bit per frame of 2 MiB block b: 1 = free in this chunk
 *   counts[b]    ones in rows[b]
 *   whole        a bit per block: counts[b] == 512
 *   partial[t]   a bit per block: 0 < counts[b] < 512 and the block's type is t
 *   Freed neighbours coalesce by the count reaching 512: there is no merge to run and no list to corrupt.
 */
#ifndef LOAMI_FRAME_INTERNAL_H
#define LOAMI_FRAME_INTERNAL_H

#include <base/atomic.h>
#include <base/bits.h>
#include <base/check.h>
#include <base/fail.h>
#include <base/lock.h>
#include <base/percpu.h>

#include <loam/frame.h>

enum {
	SECTION_SHIFT = 15, /* 128 MiB */
	CELL_ORDER_MIN = 12,
	CELL_ORDER_MAX = 18,
	ROW_WORDS = 8,
	CHUNK_BLOCKS = 512, /* at most */
	CHUNK_WORDS = CHUNK_BLOCKS / 64,
	DOMAINS_MAX = LOAM_ZONES_MAX * LOAM_NODES_MAX,
};

/* Who moves with whom: blocks are of one of these types. */
enum loami_frame_type { TYPE_UNMOVABLE = 0, TYPE_MOVABLE = 1, TYPE_COUNT };

/* loam_slot.state: what a frame is for good. */
#define STATE_HOLE 1u        /* no RAM: a slot only because its section's slots are one run */
#define STATE_RESERVED 2u    /* RAM in use for good, unless it is released */
#define STATE_QUARANTINED 4u /* poisoned, or in a block with such a frame; stays claimed for ever */

/* Refcounts that are no counts. A claimed frame is owned and not yet published: its owner is filling its slot in and zeroing it. */
#define REF_UNUSED LOAM_FRAME_UNUSED
#define REF_CLAIMED (LOAM_FRAME_UNUSED - 1)
#define REF_MAX LOAM_FRAME_REF_MAX

_Static_assert(sizeof(struct loam_slot) == 64, "a slot is 64 bytes");
_Static_assert(offsetof(struct loam_slot, next) == 0 && offsetof(struct loam_slot, prev) == 8, "SPEC F1");
_Static_assert(offsetof(struct loam_slot, vtable) == 16 && offsetof(struct loam_slot, flags) == 24, "SPEC F1");
_Static_assert(offsetof(struct loam_slot, order) == 28 && offsetof(struct loam_slot, guard) == 40, "SPEC F1");
_Static_assert(offsetof(struct loam_slot, refcount) == LOAM_FRAME_REFCOUNT_OFFSET, "SPEC F1");
_Static_assert(offsetof(struct loam_slot, generation) == 36, "refcount and generation are one 64-bit word");
_Static_assert(offsetof(struct loam_slot, aux) == 44 && offsetof(struct loam_slot, tail) == 48, "SPEC F1");
_Static_assert(sizeof(struct loam_frame_vtable) == 64, "SPEC F10");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the claim reads refcount as the low half");

/* Slots of the frames [start, end) of a section; slot of pfn = slots + pfn * 64, modulo 2^64. end is 0 where there is no RAM. */
struct loami_frame_section {
	uintptr_t slots;
	uint32_t start; /* within the section */
	uint32_t count;
};

/* A chunk. Everything below the lock is guarded by it. */
struct loami_frame_chunk {
	struct loam_lock lock;
	uint32_t number;
	uint8_t domain;
	uint8_t zone;
	uint8_t node;
	uint8_t pad;
	loam_pfn base; /* of block 0: start rounded down to a block */
	loam_pfn start;
	loam_pfn end;
	struct loami_frame_chunk *next; /* in the same cell, higher */
	uint64_t (*rows)[ROW_WORDS];
	uint16_t *counts;
	uint32_t nblocks;

	uint32_t nfree;
	uint32_t nwhole;
	uint32_t npartial[TYPE_COUNT];
	uint32_t run_order; /* no aligned run above this order lies in a partial block; 8: not known */
	uint64_t whole[CHUNK_WORDS];
	uint64_t partial[TYPE_COUNT][CHUNK_WORDS];
	uint64_t movable[CHUNK_WORDS]; /* the block's type */
	uint64_t special[CHUNK_WORDS]; /* (atomic) a frame of the block has hooks or is poisoned */
};

/* What chunks of a (node, zone) have, a bit per chunk number. Set and cleared under the chunk's lock, read without: a hint. */
struct loami_frame_domain {
	uint64_t *whole;
	uint64_t *partial[TYPE_COUNT];
	uint8_t zone;
	uint8_t node;
	uint64_t free; /* (atomic) frames in the blocks of its chunks */
};

struct loami_frame_cpu {
	uint8_t busy;
	uint8_t node;
	uint32_t home;   /* chunk number where the last search ended */
	uint64_t allocs; /* frames handed out */
	struct loam_frame_failure failure;
} __attribute__((aligned(LOAM_CPU_ALIGN)));

/* How an allocation is to be made, decoded from its options. */
struct loami_frame_want {
	uint32_t flags;
	uint8_t type;
	uint8_t zones; /* only zones 0 .. zones - 1 */
	uint8_t node;  /* 1 + node, 0: the CPU's */
	bool zero;
	bool reclaim;
	bool reserve;
};

/* ---- slots ------------------------------------------------------------------------------------------------------------------------------- */

/* The word {refcount, generation} of a slot. */
static inline uint64_t *loami_slot_word(struct loam_slot *slot)
{
	return (uint64_t *)(void *)&slot->refcount;
}
static inline uint64_t loami_word_make(uint32_t refcount, uint32_t generation)
{
	return (uint64_t)generation << 32 | refcount;
}
static inline uint32_t loami_word_ref(uint64_t word)
{
	return (uint32_t)word;
}
static inline uint32_t loami_word_gen(uint64_t word)
{
	return (uint32_t)(word >> 32);
}

/* Of a frame that has one. */
static inline struct loam_slot *loami_slot_of(const struct loam_frames *frames, loam_pfn pfn)
{
	return (struct loam_slot *)(frames->sections[(pfn - frames->first_pfn) >> SECTION_SHIFT].slots +
				    (uintptr_t)pfn * sizeof(struct loam_slot));
}

/* Of any number: NULL where there is none. */
static inline struct loam_slot *loami_slot_find(const struct loam_frames *frames, loam_pfn pfn)
{
	uint64_t index = (pfn - frames->first_pfn) >> SECTION_SHIFT;
	const struct loami_frame_section *section;

	if (LOAMI_UNLIKELY(index >= frames->nsections))
		return NULL;
	section = &frames->sections[index];
	if (LOAMI_UNLIKELY((uint32_t)(pfn & ((1u << SECTION_SHIFT) - 1)) - section->start >= section->count))
		return NULL;
	return (struct loam_slot *)(section->slots + (uintptr_t)pfn * sizeof(struct loam_slot));
}

/* ---- chunk.c: one chunk, its lock held ------------------------------------------------------------------------------------------------------ */

/* The chunk of a frame, NULL where there is none. No lock needed. */
static inline struct loami_frame_chunk *loami_chunk_of(const struct loam_frames *frames, loam_pfn pfn)
{
	uint64_t index = (pfn - frames->first_pfn) >> frames->cell_order;
	struct loami_frame_chunk *chunk;

	if (index >= frames->ncells)
		return NULL;
	chunk = loami_load_acquire(&frames->cells[index]);
	while (chunk && pfn >= chunk->end)
		chunk = loami_load_acquire(&chunk->next);
	return chunk && pfn >= chunk->start ? chunk : NULL;
}

/* Take 2^order aligned frames from a partial block of @type; order < LOAM_BLOCK_ORDER. LOAM_PFN_NONE when there is no such run. */
loam_pfn loami_chunk_take_partial(struct loam_frames *frames, struct loami_frame_chunk *chunk, unsigned int type,
				  unsigned int order);
/* Take 2^order frames, order < LOAM_BLOCK_ORDER, from a whole block, which becomes of @type. */
loam_pfn loami_chunk_take_whole(struct loam_frames *frames, struct loami_frame_chunk *chunk, unsigned int type,
				unsigned int order);
/* Take @nblocks whole blocks in a row, the first's number aligned to @align (a power of two). */
loam_pfn loami_chunk_take_blocks(struct loam_frames *frames, struct loami_frame_chunk *chunk, unsigned int type,
				 uint64_t nblocks, uint64_t align);
/* The part of [first, first + n) that lies in the chunk is given as offsets from base. All free? Take or put it. */
bool loami_chunk_is_free(const struct loami_frame_chunk *chunk, uint64_t offset, uint64_t n);
void loami_chunk_take(struct loam_frames *frames, struct loami_frame_chunk *chunk, uint64_t offset, uint64_t n);
void loami_chunk_put(struct loam_frames *frames, struct loami_frame_chunk *chunk, uint64_t offset, uint64_t n);
/* First free (or used) frame at or after @offset; the chunk's end offset when there is none. */
uint64_t loami_chunk_next(const struct loami_frame_chunk *chunk, uint64_t offset, bool free);
/* Every invariant of the chunk at rest. Return: LOAM_OK, or LOAM_ERR_INVALID after saying what is wrong. */
enum loam_status loami_chunk_check(struct loam_frames *frames, struct loami_frame_chunk *chunk);

/* ---- blocks.c: the shared path over all chunks ------------------------------------------------------------------------------------------------ */

/* 2^order frames out of the blocks, not claimed. LOAM_PFN_NONE when the blocks have none. */
loam_pfn loami_blocks_take(struct loam_frames *frames, unsigned int order, const struct loami_frame_want *want);
/* Frames back into the blocks; they are unused and nobody else's. */
void loami_blocks_put(struct loam_frames *frames, loam_pfn first, uint64_t n);
/* A run of @n frames out of the blocks, not claimed. */
loam_pfn loami_blocks_take_run(struct loam_frames *frames, uint64_t n, const struct loam_frame_where *where,
			       const struct loami_frame_want *want);
/* Exactly these frames; false when they are not all free, and then nothing is changed. */
bool loami_blocks_take_exact(struct loam_frames *frames, loam_pfn first, uint64_t n);

/* ---- alloc.c, slot.c ------------------------------------------------------------------------------------------------------------------------ */

enum loam_status loami_frame_decode(const struct loam_frames *frames, const struct loam_frame_opts *opts,
				    struct loami_frame_want *want);
/* An unused block that is ours alone becomes an owned one; panics when its head is not unused. */
void loami_frame_claim(struct loam_frames *frames, loam_pfn first, unsigned int order,
		       const struct loami_frame_want *want);
/* An owned block whose last reference is gone (its refcount is @refcount, 0 or 1): hooks, then unused or quarantined.
 * Return: true when the caller may put it back. */
bool loami_frame_retire(struct loam_frames *frames, struct loam_slot *slot, loam_pfn first, unsigned int order,
			uint32_t refcount);
/* A frame got hooks or poison: its 2 MiB block is to be looked at more closely when freed. Asked for all blocks that [first, first + n) touches. */
void loami_frame_special(struct loam_frames *frames, loam_pfn pfn);
bool loami_frame_is_special(const struct loam_frames *frames, loam_pfn first, uint64_t n);
void loami_frame_run_hooks(struct loam_frames *frames, loam_pfn first, uint64_t n);
void loami_frame_failed(struct loam_frames *frames, unsigned int order, uint64_t npages, enum loam_status status);
/* All frames parked on CPUs back to the blocks. Return: how many. */
uint64_t loami_cpus_drain(struct loam_frames *frames);

#endif
