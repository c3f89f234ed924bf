/* frame/internal.h: the private structures of the frame layer, and who may touch them. docs/theory/frame.md explains the whole.
 *
 * 1 Concepts
 *   section   16 MiB of address space; says where the slots of its frames and its first chunk are.
 *   cell      2^cell_order frames, aligned: 1 GiB, less on small machines so that CPUs do not share one lock.
 *   chunk     the RAM of one cell, zone and node. Holds its free frames as bitmaps; one lock. Nearly always a cell has one chunk.
 *   domain    the chunks of one (node, zone), with top bitmaps that say which have what.
 *
 * 2 A chunk's free memory
 *   rows[b]      a bit per frame of 2 MiB block b: 1 = free in this chunk
 *   counts[b]    ones in rows[b]
 *   used[b]      a bit per frame: it has been handed out and come back since it was last reported (report.c). Says nothing of a frame in use
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
	SECTION_SHIFT = 12, /* 16 MiB */
	SECTION_FRAMES = 1 << SECTION_SHIFT,
	CELL_ORDER_MIN = 12,
	CELL_ORDER_MAX = 18,
	ROW_WORDS = 8,
	CHUNK_BLOCKS = 512, /* at most */
	CHUNK_WORDS = CHUNK_BLOCKS / 64,
	SECTIONS_MAX = 1 << 20, /* what a frame's index can name */
	FIFO_FRAMES = 256,      /* hardened: a freed frame waits for this many more frees on its CPU */
};

/* Who moves with whom: blocks are of one of these types. */
enum loami_frame_type { TYPE_UNMOVABLE = 0, TYPE_MOVABLE = 1, TYPE_COUNT };

/* loam_slot.state: what a frame is for good. */
#define STATE_RESERVED 2u    /* RAM in use for good, unless it is released */
#define STATE_UNPARKED 8u    /* of a small zone that others fall back on: goes to the blocks at once */
#define STATE_SPECIAL 16u    /* has hooks or guard bits, or had them: freed and allocated the slow way */
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
_Static_assert(offsetof(struct loam_slot, state) == 29 && offsetof(struct loam_slot, cpu) == 30,
	       "flags, order, state and the CPU are one 64-bit word");
_Static_assert(offsetof(struct loam_slot, aux) == 44 && offsetof(struct loam_slot, tail) == 48, "SPEC F1");
_Static_assert(sizeof(struct loam_frame_vtable) == 64, "SPEC F10");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the claim reads refcount as the low half");

/* 16 MiB of address space, from first_pfn on, the last one cut off where memory ends. Where any of it is RAM, all its frames have slots in a row, and a number: sections are numbered from 1 as they are found. A frame's index,
 * 32 bits, is its section's number << 12 | its place in it: what magazines name it by. 2^32 frames are 16 TiB of RAM, wherever it lies. */
struct loami_frame_section {
	uintptr_t slots;                 /* slot of a frame = slots + pfn * 64, modulo 2^64; 0: no RAM here */
	uint64_t index;                  /* index of a frame = index + pfn, modulo 2^64 */
	struct loami_frame_chunk *chunk; /* (atomic) the lowest one with frames here */
	uint64_t pad;
};

/* The way back from an index. Number 0 has no frames, but one slot, which is never unused. */
struct loami_frame_number {
	uintptr_t slots; /* of its first frame */
	loam_pfn base;
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
	struct loami_frame_chunk *above; /* the next in order of address */
	uint64_t (*rows)[ROW_WORDS];
	uint64_t (*used)[ROW_WORDS]; /* a bit per frame: given back since it was last reported; NULL: nobody asks */
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

/* A cell names a parked frame: {index, generation}. The frame is here exactly as long as its slot says {UNUSED, that generation}; a claim by anybody makes
 * every copy of the name stale. So a cell can be taken by its owner and by a thief at once, and the swap on the slot decides. magazine.c has the proof.
 * What the name leads to stands beside it for the owner, who need not look it up. */
struct loami_cell {
	uint64_t name;  /* read by thieves, who turn what they took into NAME_NONE; written by the owner */
	uint64_t *word; /* its slot's; the owner's, as is the next */
	loam_pfn first;
};

/* A magazine: free frames, or free blocks of one order, parked on a CPU. Its cells follow it. Whoever runs on its CPU enters it, and then alone pops and pushes. Each
 * field is written and read in its own width only: a processor forwards a store to a load of another width slowly (docs/why/040-what-a-pair-costs.md). */
struct loami_magazine {
	uint64_t idle;          /* loami_idle_value(), unless somebody is inside: loami_idle_enter() */
	struct loami_cell *top; /* (atomic) the highest cell in use; the floor: none is */
	struct loami_cell *
		full; /* (atomic) the highest there may be; the floor: the CPU is offline, or the machine too small for these */
	uint64_t popped; /* (atomic) blocks handed out from here */
	uint64_t
		plain; /* (atomic: the floor's swap fails on it) the kind of a block that is handed out as it is: loami_slot_kind() */
	struct loami_cell
		floor; /* names a word that is never unused, so that an empty magazine needs no test: a pop's swap fails */
};
_Static_assert(sizeof(struct loami_magazine) == 64, "a line; cells follow it");

static inline struct loami_cell *loami_floor(struct loami_magazine *magazine)
{
	return (struct loami_cell *)(void *)((char *)magazine + offsetof(struct loami_magazine, floor));
}
static inline unsigned int loami_magazine_order(const struct loami_magazine *magazine)
{
	return loami_glance(&magazine->plain) >> 32 & 0xff;
}
/* How many cells may be used. */
static inline unsigned int loami_magazine_limit(struct loami_magazine *magazine)
{
	return (unsigned int)(loami_load_relaxed(&magazine->full) - loami_floor(magazine));
}

enum {
	MAGAZINE_CELLS = 127, /* a magazine is 3 KiB */
	MAGAZINE_CELLS_3 = 31,
	MAGAZINE_CELLS_9 = 7,
	REFILL = 64, /* frames at a time */
};

/* One type's claimed block: what is left of a row that this CPU took out of a chunk whole. Guarded by the CPU's lock. */
struct loami_claimed {
	uint64_t row[ROW_WORDS];
	loam_pfn base;
	uint32_t left; /* ones in row */
	uint32_t zone;
};

struct loami_magazine0 {
	struct loami_magazine head;
	struct loami_cell cells[MAGAZINE_CELLS];
};
struct loami_magazine3 {
	struct loami_magazine head;
	struct loami_cell cells[MAGAZINE_CELLS_3];
};
struct loami_magazine9 {
	struct loami_magazine head;
	struct loami_cell cells[MAGAZINE_CELLS_9];
};

/* What a CPU keeps. Its own fast paths write a magazine while they are inside; others read top and cells under the lock. */
struct loami_frame_cpu {
	struct loami_magazine0 singles[TYPE_COUNT];
	struct loami_magazine3 runs[TYPE_COUNT];
	struct loami_magazine9 blocks;
	struct loami_magazine0 zeroed[TYPE_COUNT];
	uint8_t node;
	bool claims;   /* the machine is large enough for claimed blocks */
	uint32_t home; /* (atomic) chunk number where the last search ended */
	struct loam_lock lock;
	struct loami_claimed claimed[TYPE_COUNT];
	uint64_t *fifo; /* hardened: the last frees, pfns; LOAM_PFN_NONE where empty. Guarded by the lock */
	uint32_t fifo_next;
	struct loam_frame_failure failure;
	uint8_t pad[1856];
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct loami_frame_cpu) == 1 << 14,
	       "found by a shift: a multiplication is up to three instructions more for each allocation and each free");

/* How an allocation is to be made, decoded from its options. */
struct loami_frame_want {
	uint32_t flags;
	uint8_t type;
	uint8_t zones; /* only zones 0 .. zones - 1 */
	uint8_t node;  /* 1 + node, 0: the CPU's */
	bool zero;
	bool zeroed; /* what was found needs no zeroing */
	bool reclaim;
	bool reserve;
	bool refill; /* on behalf of a magazine, a CPU's lock held */
	bool idle;   /* for the idle loop */
};

/* How often a search that finds nothing has looked again, for which reason. */
struct loami_frame_patience {
	unsigned int flights; /* frames were on their way */
	unsigned int busy;    /* a CPU was busy */
	unsigned int narrow;  /* for more than a frame, or in some zones only */
	unsigned int shrinks;
	unsigned int passes; /* of others' shrinkers, waited for, that freed nothing */
};

/* ---- policy.c --------------------------------------------------------------------------------------------------------------------------------- */

struct loam_frames;
/* Free frames of a zone, parked ones included. */
uint64_t loami_zone_free(const struct loam_frames *frames, unsigned int zone);
/* May @n frames of the zone go to such an allocation? */
bool loami_zone_allows(const struct loam_frames *frames, unsigned int zone, const struct loami_frame_want *want,
		       uint64_t n);
/* Run shrinkers: for an allocation that would fail; true when it is worth looking again. Before one, when memory is low. */
bool loami_frame_shrink(struct loam_frames *frames, uint64_t npages, const struct loami_frame_want *want,
			struct loami_frame_patience *patience);
void loami_frame_relieve(struct loam_frames *frames, const struct loami_frame_want *want);

/* ---- slots ------------------------------------------------------------------------------------------------------------------------------- */

/* The word {refcount, generation} of a slot. */
static inline uint64_t *loami_slot_word(struct loam_slot *slot)
{
	return (uint64_t *)(void *)&slot->refcount;
}
static inline struct loam_slot *loami_word_slot(uint64_t *word)
{
	return (struct loam_slot *)(void *)((char *)word - LOAM_FRAME_REFCOUNT_OFFSET);
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

/* No RAM: a slot only because its section has RAM elsewhere. It is all zero, as no slot of a frame is: so it need not be written. */
static inline bool loami_slot_is_hole(const struct loam_slot *slot)
{
	return loami_load_acquire((const uint64_t *)(const void *)&slot->refcount) == 0;
}

/* The section of a frame that has a slot. */
static inline struct loami_frame_section *loami_section_of(const struct loam_frames *frames, loam_pfn pfn)
{
	return &frames->sections[(pfn - frames->first_pfn) >> SECTION_SHIFT];
}

/* Of any frame number; NULL where there is no RAM. */
static inline struct loami_frame_section *loami_section_find(const struct loam_frames *frames, loam_pfn pfn)
{
	uint64_t at = pfn - frames->first_pfn;

	if (LOAMI_UNLIKELY(at >= frames->span) ||
	    LOAMI_UNLIKELY(loami_load_acquire(&frames->sections[at >> SECTION_SHIFT].slots) == 0))
		return NULL;
	return &frames->sections[at >> SECTION_SHIFT];
}

static inline struct loam_slot *loami_section_slot(const struct loami_frame_section *section, loam_pfn pfn)
{
	return (struct loam_slot *)(section->slots + (uintptr_t)pfn * sizeof(struct loam_slot));
}

/* What is set of a frame for kernel or user data. */
static const uint32_t loami_flags_by_type[TYPE_COUNT] = {
	[TYPE_UNMOVABLE] = LOAM_FRAME_KERNEL | LOAM_FRAME_ALLOCATED,
	[TYPE_MOVABLE] = LOAM_FRAME_USER | LOAM_FRAME_ALLOCATED | LOAM_FRAME_MOVABLE,
};

/* The word of the @at-th frame of the dense part of memory: most of it, so that most frees need not ask the table of sections. */
static inline uint64_t *loami_dense_word(const struct loam_frames *frames, uint64_t at)
{
	return (uint64_t *)(frames->dense_words + (uintptr_t)at * sizeof(struct loam_slot));
}

/* The word of a frame's slot, NULL where there is none. *@naming: what is added to {UNUSED, g} to get the frame's name. */
static inline uint64_t *loami_find_word(const struct loam_frames *frames, loam_pfn pfn, uint64_t *naming)
{
	const struct loami_frame_section *section;
	uint64_t at = pfn - frames->dense_first;

	if (LOAMI_LIKELY(at < frames->dense)) {
		*naming = frames->dense_naming + pfn;
		return loami_dense_word(frames, at);
	}
	section = loami_section_find(frames, pfn);
	if (!section)
		return NULL;
	*naming = section->index + pfn - REF_UNUSED;
	return loami_slot_word(loami_section_slot(section, pfn));
}

/* Flags, order, state and the owner's CPU in one, so that one look tells a block there is nothing special about. */
static inline uint64_t loami_slot_kind(const struct loam_slot *slot)
{
	typedef uint64_t __attribute__((may_alias)) word;

	return loami_glance((const word *)(const void *)&slot->flags);
}
static inline uint64_t loami_kind_plain(uint32_t flags, unsigned int order, unsigned int cpu)
{
	return (uint64_t)cpu << 48 | (uint64_t)order << 32 | flags;
}
/* Nothing but the order above its flags, whichever CPU's? */
static inline bool loami_kind_is_plain(uint64_t kind, unsigned int order)
{
	return (kind >> 32 & 0xffff) == order;
}
/* The owner's CPU: for whoever asks (SPEC F14), and once more where the fast paths compare it with the rest. */
static inline void loami_slot_set_cpu(struct loam_slot *slot, unsigned int cpu)
{
	loami_store_relaxed(&slot->aux, cpu);
	loami_store_relaxed(&slot->cpu, (uint16_t)cpu);
}

/* Of a frame that has one. */
static inline struct loam_slot *loami_slot_of(const struct loam_frames *frames, loam_pfn pfn)
{
	return loami_section_slot(loami_section_of(frames, pfn), pfn);
}

/* Of any number: NULL where there is none. */
static inline struct loam_slot *loami_slot_find(const struct loam_frames *frames, loam_pfn pfn)
{
	const struct loami_frame_section *section = loami_section_find(frames, pfn);

	return LOAMI_LIKELY(section != NULL) ? loami_section_slot(section, pfn) : NULL;
}

/* A frame's index, and back. */
static inline uint32_t loami_index_of(const struct loam_frames *frames, loam_pfn pfn)
{
	return (uint32_t)(loami_section_of(frames, pfn)->index + pfn);
}
static inline struct loam_slot *loami_index_slot(const struct loam_frames *frames, uint32_t index)
{
	return (struct loam_slot *)(frames->numbers[index >> SECTION_SHIFT].slots +
				    (uintptr_t)(index % SECTION_FRAMES) * sizeof(struct loam_slot));
}
static inline loam_pfn loami_index_pfn(const struct loam_frames *frames, uint32_t index)
{
	return frames->numbers[index >> SECTION_SHIFT].base + index % SECTION_FRAMES;
}

/* Names. The slot that NAME_NONE names has generation 1, so that it looks like a frame somebody else has taken. */
#define NAME_NONE UINT64_C(0)
static inline uint64_t loami_name_make(uint32_t index, uint64_t word)
{
	return (word & UINT64_C(0xffffffff00000000)) | index;
}
/* What the slot's word is while the name is good. */
static inline uint64_t loami_name_word(uint64_t name)
{
	return name | REF_UNUSED;
}
static inline void loami_cell_set(struct loami_cell *cell, uint64_t name, uint64_t *word, loam_pfn first)
{
	cell->word = word;
	cell->first = first;
	loami_store_relaxed(&cell->name, name);
}
/* {UNUSED, g} -> {CLAIMED, g} -> {1, g + 1}. */
static inline uint64_t loami_word_claimed(uint64_t word)
{
	return word - 1;
}
static inline uint64_t loami_word_owned(uint64_t word)
{
	return word + 3;
}
/* A claimed frame nobody is to have after all becomes unused again, under a new generation. */
static inline void loami_frame_unclaim(struct loam_slot *slot)
{
	loami_store_release(loami_slot_word(slot),
			    loami_word_make(REF_UNUSED, loami_word_gen(loami_load_relaxed(loami_slot_word(slot))) + 1));
}
/* A claim that failed on this word: was it another CPU's? Else the frame is neither free nor anybody's by right. */
static inline bool loami_name_is_stale(uint64_t name, uint64_t seen)
{
	return loami_word_gen(name) != loami_word_gen(seen) || loami_word_ref(seen) == REF_CLAIMED;
}

/* ---- chunk.c: one chunk, its lock held ------------------------------------------------------------------------------------------------------ */

/* The chunk of a frame, NULL where there is none. No lock needed. */
static inline struct loami_frame_chunk *loami_chunk_of(const struct loam_frames *frames, loam_pfn pfn)
{
	const struct loami_frame_section *section = loami_section_find(frames, pfn);
	struct loami_frame_chunk *chunk;

	if (!section)
		return NULL;
	chunk = loami_load_acquire(&section->chunk);
	while (chunk && pfn >= chunk->end)
		chunk = loami_load_acquire(&chunk->above);
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
/* Frames that hold zeros, and need not be reported. */
void loami_chunk_put_clean(struct loam_frames *frames, struct loami_frame_chunk *chunk, uint64_t offset, uint64_t n);
/* 2^order frames, order <= 6; the caller adds up what it put and tells loami_chunk_count(). */
void loami_chunk_put_small(struct loam_frames *frames, struct loami_frame_chunk *chunk, uint64_t offset,
			   unsigned int order);
void loami_chunk_count(struct loam_frames *frames, struct loami_frame_chunk *chunk, uint64_t n);
/* Up to @n blocks of 2^order frames, order <= 6, out of partial blocks of @type, or out of one whole block; or @n whole blocks. Return: how many. */
unsigned int loami_chunk_take_many(struct loam_frames *frames, struct loami_frame_chunk *chunk, bool whole,
				   unsigned int type, unsigned int order, loam_pfn *firsts, unsigned int n);
/* Up to @most frames of a partial block of @type, or of a whole one, into @claimed, which is empty. */
bool loami_chunk_claim_partial(struct loam_frames *frames, struct loami_frame_chunk *chunk, unsigned int type,
			       struct loami_claimed *claimed, unsigned int most);
bool loami_chunk_claim_whole(struct loam_frames *frames, struct loami_frame_chunk *chunk, unsigned int type,
			     struct loami_claimed *claimed, unsigned int most);
/* First free (or used) frame at or after @offset; the chunk's end offset when there is none. */
uint64_t loami_chunk_next(const struct loami_frame_chunk *chunk, uint64_t offset, bool free);
/* Every invariant of the chunk at rest. Return: LOAM_OK, or LOAM_ERR_INVALID after saying what is wrong. */
enum loam_status loami_chunk_check(struct loam_frames *frames, struct loami_frame_chunk *chunk);

/* ---- blocks.c: the shared path over all chunks ------------------------------------------------------------------------------------------------ */

/* 2^order frames out of the blocks, not claimed. LOAM_PFN_NONE when the blocks have none. */
loam_pfn loami_blocks_take(struct loam_frames *frames, unsigned int order, const struct loami_frame_want *want);
/* Frames back into the blocks; they are unused and nobody else's. */
void loami_blocks_put(struct loam_frames *frames, loam_pfn first, uint64_t n);
void loami_blocks_put_clean(struct loam_frames *frames, loam_pfn first, uint64_t n);
/* A run of @n frames out of the blocks, not claimed. */
loam_pfn loami_blocks_take_run(struct loam_frames *frames, uint64_t n, const struct loam_frame_where *where,
			       const struct loami_frame_want *want);
/* Exactly these frames; false when they are not all free, and then nothing is changed. */
bool loami_blocks_take_exact(struct loam_frames *frames, loam_pfn first, uint64_t n);

/* Many blocks of one order back at once. */
void loami_blocks_put_many(struct loam_frames *frames, loam_pfn *firsts, unsigned int n, unsigned int order);
/* Up to @n blocks of 2^order frames, order <= 6 or 9, all of one chunk. Return: how many. */
unsigned int loami_blocks_take_many(struct loam_frames *frames, unsigned int order, const struct loami_frame_want *want,
				    loam_pfn *firsts, unsigned int n);
/* Up to @most frames of one block into @claimed, which is empty. False when the blocks have none. */
bool loami_blocks_claim(struct loam_frames *frames, const struct loami_frame_want *want, struct loami_claimed *claimed,
			unsigned int most);

/* ---- report.c --------------------------------------------------------------------------------------------------------------------------------- */

/* A frame that was just taken out of the blocks holds zeros. */
bool loami_frame_is_clean(const struct loam_frames *frames, loam_pfn pfn);

/* ---- slot.c ----------------------------------------------------------------------------------------------------------------------------------- */

/* A frame got hooks or poison: its 2 MiB block is to be looked at more closely when freed. Asked for all blocks that [first, first + n) touches. */
void loami_frame_special(struct loam_frames *frames, loam_pfn pfn);
bool loami_frame_is_special(const struct loam_frames *frames, loam_pfn first, uint64_t n);
void loami_frame_run_hooks(struct loam_frames *frames, loam_pfn first, uint64_t n);
/* An owned block out of use for good. */
void loami_frame_quarantine(struct loam_frames *frames, loam_pfn first, uint64_t n);

/* Frames of an owned block whose hooks have run: plain again, but for poison. */
void loami_frame_reset_special(struct loam_frames *frames, loam_pfn first, uint64_t n);

/* ---- alloc.c ------------------------------------------------------------------------------------------------------------------------------------ */

enum loam_status loami_frame_decode(const struct loam_frames *frames, const struct loam_frame_opts *opts,
				    struct loami_frame_want *want);
void loami_frame_failed(struct loam_frames *frames, unsigned int order, uint64_t npages, enum loam_status status);
/* A block out of the blocks becomes claimed; panics when its head is not unused. False when there was poison in it: what is sound has gone back. */
bool loami_frame_claim(struct loam_frames *frames, loam_pfn first, unsigned int order);
LOAM_NORETURN void loami_frame_corrupt(loam_pfn pfn, uint32_t refcount);
/* A claimed block becomes an owned one, filled in and published. */
void loami_frame_publish(struct loam_frames *frames, struct loam_slot *slot, loam_pfn first, unsigned int order,
			 const struct loami_frame_want *want);
/* Everything an allocation may try when nothing was found: other CPUs' caches, shrinkers. True: it is worth looking again. @before is what
 * loami_frame_moment() said before the search. */
uint64_t loami_frame_moment(const struct loam_frames *frames);
bool loami_frame_look_again(struct loam_frames *frames, uint64_t npages, const struct loami_frame_want *want,
			    uint64_t before, struct loami_frame_patience *patience);

/* range.c: claim each frame of a run. Where one is poisoned, it goes into quarantine and the others back: false. */
bool loami_frame_claim_range(struct loam_frames *frames, loam_pfn first, uint64_t npages);

/* ---- free.c ------------------------------------------------------------------------------------------------------------------------------------- */

/* Panics unless [first, first + 2^order) is an owned block without references but the caller's. Return: the head's slot and its count, 0 or 1. */
struct loam_slot *loami_frame_check_owned(struct loam_frames *frames, loam_pfn first, unsigned int order,
					  uint32_t *refcount);
/* An owned block whose last reference is gone (its refcount is @refcount, 0 or 1): hooks, then unused or quarantined.
 * Return: true when the caller may put it back. */
bool loami_frame_retire(struct loam_frames *frames, struct loam_slot *slot, loam_pfn first, unsigned int order,
			uint32_t refcount);

/* ---- magazine.c ------------------------------------------------------------------------------------------------------------------------------ */

/* A CPU's magazines, all zero before. How much it may park: what suits the machine, or nothing. */
void loami_cpu_make(struct loam_frames *frames, unsigned int number);
void loami_cpu_size(struct loam_frames *frames, unsigned int number, bool online);
/* Take and claim a block from this CPU's caches, filling them first if asked. NULL when they have none. Says in want->zeroed whether it is zeroed. */
struct loam_slot *loami_cpu_take(struct loam_frames *frames, unsigned int order, struct loami_frame_want *want,
				 bool fill, loam_pfn *first);
/* Park an unused block on this CPU, or put it into the blocks. */
void loami_cpu_park(struct loam_frames *frames, struct loam_slot *slot, loam_pfn first, unsigned int order,
		    unsigned int type);
/* Everything parked on a CPU back to the blocks; whoever runs there may go on. Return: how many frames. */
uint64_t loami_cpu_drain(struct loam_frames *frames, unsigned int number);
/* Frames parked on a CPU in zones [from, to). Exact at rest. */
uint64_t loami_cpu_parked(const struct loam_frames *frames, unsigned int number, unsigned int from, unsigned int to);

/* Frames the magazines of a CPU handed out; whether somebody is inside one of them. */
uint64_t loami_cpu_allocs(const struct loam_frames *frames, unsigned int number);
bool loami_cpu_is_busy(const struct loam_frames *frames, unsigned int number);

/* Somebody is inside from the owner's first touch to the last; the release lets a search on another CPU see what was done when it finds the magazine idle. */
static inline bool loami_magazine_enter(struct loami_magazine *magazine)
{
	return loami_idle_enter(&magazine->idle);
}
static inline void loami_magazine_leave(struct loami_magazine *magazine)
{
	loami_store_release(&magazine->idle, loami_idle_value(&magazine->idle));
}

#endif
