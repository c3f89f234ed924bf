/* loam/types.h: the vocabulary every other header speaks.
 *
 * frame    4 KiB of physical memory, counted by its frame number (pfn)
 * order    log2 of a frame count
 * block    2 MiB of physical memory, 512 frames, aligned
 * slot     the 64 bytes of metadata of one frame
 * area     a live allocation of address space with frames behind it
 * Ends are exclusive. Sizes are bytes (nbytes) or pages (npages), and the name says which.
 * Pointers to instances and results are not NULL unless a function says that they may be: set-up calls answer LOAM_ERR_INVALID, the others trust the caller.
 */
#ifndef LOAM_TYPES_H
#define LOAM_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <loam/config.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A physical address, and the number of a physical frame: address >> LOAM_PAGE_SHIFT. */
typedef uint64_t loam_paddr;
typedef uint64_t loam_pfn;

#define LOAM_PAGE_SHIFT 12
#define LOAM_PAGE_SIZE ((size_t)1 << LOAM_PAGE_SHIFT)
#define LOAM_BLOCK_ORDER 9 /* 2 MiB: the unit of migratetypes and of large leaves */
#define LOAM_BLOCK_FRAMES ((size_t)1 << LOAM_BLOCK_ORDER)
#define LOAM_ORDER_MAX 18 /* 1 GiB */

/* "No frame" and "no address": all ones, which no machine can have. */
#define LOAM_PFN_NONE (~(loam_pfn)0)
#define LOAM_PADDR_NONE (~(loam_paddr)0)

#define LOAM_NODISCARD __attribute__((warn_unused_result))
#define LOAM_NORETURN __attribute__((noreturn))
#define LOAM_PRINTF(format_at, args_at) __attribute__((format(printf, format_at, args_at)))

/**
 * struct loam_call_site - where in the source an allocation was asked for.
 *
 * One static record per place, so that attributing an allocation costs one word. Make one with LOAM_HERE; from another
 * language, pass the address of a record of your own that lives for ever. @column is 0 where the compiler has none.
 */
struct loam_call_site {
	const char *file;
	const char *function;
	uint32_t line;
	uint32_t column;
};

/* LOAM_HERE: a pointer to this place's own static record. A statement expression, so it works in C and C++ function bodies. */
#define LOAM_HERE                                                                                                      \
	(__extension__({                                                                                               \
		static const struct loam_call_site loam_here_site = {__FILE__, __func__, __LINE__, 0};                 \
		&loam_here_site;                                                                                       \
	}))

/**
 * struct loam_task - who is asking: what the kernel says of the running task.
 * All zero where there is no task yet, or where it cannot be told without waiting.
 */
struct loam_task {
	uint64_t task; /* scheduler's id */
	uint32_t pid;
	uint32_t tid;
	uint32_t silo; /* container, jail, silo: the unit that is billed */
};

/* A set of CPUs, by number. */
struct loam_cpuset {
	uint64_t word[(LOAM_CPUS_MAX + 63) / 64];
};

/* Private: a spin lock, here because instances hold some. @rank: its place in the lock order (src/base/lock.h). */
struct loam_lock {
	uint32_t word;
	uint32_t rank;
};

/* Where Loam was called from. A port that cannot tell says LOAM_CONTEXT_TASK. */
enum loam_context {
	LOAM_CONTEXT_TASK = 0,
	LOAM_CONTEXT_INTERRUPT = 1,
	LOAM_CONTEXT_NMI = 2,
};

#ifdef __cplusplus
}
#endif
#endif
