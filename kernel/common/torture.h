/* kernel/common/torture.h: what the files of the torture share. torture.c tells the whole story. */
#ifndef KERNEL_TORTURE_H
#define KERNEL_TORTURE_H

#include "machine.h"

#define TORTURE_SECOND UINT64_C(1000000000)

/* ---- things: torture_things.c -------------------------------------------------------------------------------------------------- */

enum torture_kind {
	TORTURE_NOTHING = 0,
	TORTURE_FRAMES,  /* 2^order of them */
	TORTURE_RUN,     /* any number of them */
	TORTURE_SHARED,  /* a frame with two references, one of them here: read only */
	TORTURE_OBJECT,  /* of one of the heaps */
	TORTURE_TYPED,   /* of one of the typed caches */
	TORTURE_AREA,    /* vmalloc */
	TORTURE_LARGE,   /* the same of 2 MiB and more, with leaves of that size where blocks are to be had */
	TORTURE_MAPPING, /* vmap of frames of ours */
	TORTURE_STACK,
};

#define TORTURE_MAPPED_MAX 8

/* Something allocated, filled with a pattern that its seed tells. */
struct torture_thing {
	enum torture_kind kind;
	unsigned int order;
	unsigned int which; /* heap or cache */
	loam_pfn pfn;
	size_t npages;
	uintptr_t address; /* what may be written: [address, address + nbytes), multiples of 8 */
	size_t nbytes;
	uint64_t seed;
	loam_pfn pfns[TORTURE_MAPPED_MAX];
};

/* A place to leave a thing for somebody: another CPU, or the other context of this one. */
struct torture_box {
	uint32_t state; /* atomic */
	struct torture_thing thing;
};

#define TORTURE_HELD 40
#define TORTURE_BOXES 8
#define TORTURE_FAIL_KINDS (LOAM_FAIL_RANGE + 1)

/* What a worker counts. Added to by any context of its CPU, read by CPU 0: atomic. */
enum torture_count {
	TORTURE_OPERATIONS,
	TORTURE_IN_INTERRUPTS, /* allocations and frees there */
	TORTURE_TICKS,
	TORTURE_POKES,   /* interrupts from other CPUs */
	TORTURE_REFUSED, /* for want of memory or by injection */
	TORTURE_INJECTED,
	TORTURE_MAILED,
	TORTURE_SHRUNK, /* frames that the shrinker gave */
	TORTURE_SQUEEZES,
	TORTURE_LARGES, /* areas of 2 MiB and more */
	TORTURE_LEAVES, /* of 2 MiB in them: mapped, written and read */
	TORTURE_WRONG,
	TORTURE_COUNTS
};

/* One CPU's part. */
struct torture_worker {
	struct torture_thing held[TORTURE_HELD];
	struct torture_box boxes[TORTURE_BOXES]; /* anybody may put into them; this CPU takes out */
	uint64_t counts[TORTURE_COUNTS];
	uint64_t random;      /* the task's */
	uint64_t in_random;   /* the interrupts' */
	uint64_t fail_random; /* atomic: both */
	bool here;            /* atomic: it works, and so do its interrupts */
	bool leave;           /* atomic: it is to return */
	uint32_t squeeze;     /* atomic: it is to take all there is, for a moment; a word, as RISC-V swaps no bytes */
	bool calm;            /* no failure is injected: somebody counts on this one */
	uint32_t still;       /* atomic: how still it stands, as the conductor wants it */
	const char *doing;    /* atomic */
	uint64_t ticked_at;   /* atomic: when its timer came last */
	uint64_t beats;       /* atomic: + 1 whenever the task gets on */
	unsigned int left;    /* beats that the step may still give */
	/* What this CPU's ticks know of the CPU they watch. */
	unsigned int watched;
	uint64_t watched_beats, watched_ticks, watched_at;
	uint64_t silence, no_ticks; /* nanoseconds */
	uint64_t longest;           /* silence, of anybody watched from here */
	const char *longest_doing;
};

extern struct torture_worker *torture_workers;
extern struct loam_heap *torture_heaps[];
#define TORTURE_HEAPS 3
#define TORTURE_CACHES 2
extern struct loam_heap_cache *torture_caches[TORTURE_CACHES];
extern struct loam_vm torture_vm;
/* An arena for large leaves, and the tree it is mapped in: over the kernel's root, but its tables come and go. */
extern struct loam_vm torture_large_vm;
extern struct loam_pagetable torture_large_tree;

uint64_t torture_random(uint64_t *state);
void torture_count(struct torture_worker *w, enum torture_count what);
/** torture_wrong() - something is not as it should be: said, and counted. */
void torture_wrong(struct torture_worker *w, const char *what, uintptr_t address);

/** torture_make_caches() - the typed caches of a run; false when there is no memory. */
bool torture_make_caches(void);
/** torture_end_caches() - false when objects of theirs are alive. */
bool torture_end_caches(void);

/** torture_take() - allocate anything into @t; it stays TORTURE_NOTHING when that was refused. @irq: only what may be had in an interrupt. */
void torture_take(struct torture_worker *w, struct torture_thing *t, bool irq);
/** torture_drop() - look at it, and give it back. */
void torture_drop(struct torture_worker *w, struct torture_thing *t, bool irq);
/** torture_touch() - look at it, and fill it anew. */
void torture_touch(struct torture_worker *w, struct torture_thing *t);
/** torture_resize(), torture_protect() - of what can be. Task. */
void torture_resize(struct torture_worker *w, struct torture_thing *t);
void torture_protect(struct torture_worker *w, struct torture_thing *t);
/** torture_share() - a frame of @t with a second reference into @copy. Return: whether. */
bool torture_share(struct torture_thing *t, struct torture_thing *copy);

/* Many at once, a typed cache's whole life, upkeep: nothing is held between two calls. Task. */
void torture_batch(struct torture_worker *w);
void torture_bulk(struct torture_worker *w);
void torture_own_cache(struct torture_worker *w);
void torture_upkeep(struct torture_worker *w);

/* ---- workers: torture_work.c --------------------------------------------------------------------------------------------------- */

/** torture_step() - one operation of @w, whichever chance says. */
void torture_step(struct torture_worker *w);
/** torture_squeeze() - take every frame there is, work on, and give them back. */
void torture_squeeze(struct torture_worker *w);
/** torture_empty_boxes() - free what nobody has taken out. */
void torture_empty_boxes(struct torture_worker *w);
/** torture_interrupt() - the work of an interrupt, between any two instructions of the above. */
void torture_interrupt(struct torture_worker *w);
/** torture_fails() - the hook of machine_fail(). */
bool torture_fails(unsigned int kind);
/* Frames that are kept to be given back when memory is short. */
LOAM_NODISCARD enum loam_status torture_reserve_begin(void);
void torture_reserve_end(void);
void torture_reserve_fill(struct torture_worker *w);

/** torture_doing() - what the task is at, for whoever watches it. */
void torture_doing(struct torture_worker *w, const char *what);
/** torture_got_on() - a bounded piece of a long step is done. Of one step so many count as the longest has pieces: one that goes on for ever falls silent. In an interrupt: nothing. */
void torture_got_on(struct torture_worker *w);
/** torture_watch() - from each tick: does the next CPU get on? Ends the machine when it has not for @limit nanoseconds. */
void torture_watch(struct torture_worker *w, uint64_t limit);

/* ---- sums: torture_sums.c ------------------------------------------------------------------------------------------------------ */

/* What is in every set, when all that waits or is parked has been given back. */
struct torture_sums {
	struct loam_snapshot all;
	struct loam_heap_stats heaps[TORTURE_HEAPS];
	uint64_t which; /* a sum over the numbers of all frames in use */
	uint64_t large_tables;
};
/** torture_read_sums() - drains first. The machine must be at rest. Return: false when a CPU does not answer a flush. */
bool torture_read_sums(struct torture_sums *sums);
/** torture_compare() - a table on the console. Return: how many sets differ. */
unsigned int torture_compare(const struct torture_sums *before, const struct torture_sums *after);
/** torture_audit() - every invariant, of the torture's own instances too. The machine must be at rest. */
bool torture_audit(bool with_vm);

#endif
