/* loam/status.h: what a call answers. Zero is success; everything else says why nothing was changed. */
#ifndef LOAM_STATUS_H
#define LOAM_STATUS_H

#include <loam/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum loam_status {
	LOAM_OK = 0,

	/* The arguments are wrong, whatever the state. */
	LOAM_ERR_INVALID,      /* an argument no call could accept */
	LOAM_ERR_ZERO_SIZE,    /* a size of nothing */
	LOAM_ERR_TOO_LARGE,    /* larger than policy or the machine allows */
	LOAM_ERR_OVERFLOW,     /* base + length or count * size wraps */
	LOAM_ERR_ORDER,        /* order above LOAM_ORDER_MAX */
	LOAM_ERR_ALIGNMENT,    /* not aligned, or an alignment that is no power of two */
	LOAM_ERR_OUT_OF_RANGE, /* outside of what this instance manages */
	LOAM_ERR_ZONE,         /* no such zone, or not of that zone */
	LOAM_ERR_CPU,          /* no such CPU */
	LOAM_ERR_PROTECTION,   /* writable and executable together, or no access at all */
	LOAM_ERR_FORMAT,       /* input bytes that are not what they claim to be */
	LOAM_ERR_TRUNCATED,    /* input or output longer than its buffer */

	/* The state does not allow it. */
	LOAM_ERR_NOT_READY,    /* before init */
	LOAM_ERR_ALREADY,      /* a second init, or done before */
	LOAM_ERR_BUSY,         /* held by somebody; trying again may help */
	LOAM_ERR_IN_USE,       /* objects or references are still live */
	LOAM_ERR_RESERVED,     /* reserved for good */
	LOAM_ERR_ALREADY_FREE, /* free before the call */
	LOAM_ERR_NOT_FOUND,    /* no such live thing */
	LOAM_ERR_MAPPED,       /* something is mapped there */
	LOAM_ERR_NOT_MAPPED,   /* nothing is mapped there */
	LOAM_ERR_STALE,        /* a generation that has passed */
	LOAM_ERR_CONTEXT,      /* not from this context */

	/* There is not enough. */
	LOAM_ERR_NO_MEMORY,   /* physical memory exhausted */
	LOAM_ERR_NO_METADATA, /* memory for bookkeeping exhausted, or the storage given is too small */
	LOAM_ERR_NO_RANGE,    /* address space exhausted */
	LOAM_ERR_MAP_FAILED,  /* page tables could not be extended */
	LOAM_ERR_LIMIT,       /* an accounting limit is reached */
	LOAM_ERR_TIMEOUT,     /* a CPU did not answer in time; what waited for it stays quarantined */

	LOAM_STATUS_COUNT
};

/**
 * loam_status_name() - the status as text, "no memory" for LOAM_ERR_NO_MEMORY.
 * Return: a string that lives for ever; "unknown status" for a value outside the enum.
 * Context: any.
 */
const char *loam_status_name(enum loam_status status);

#ifdef __cplusplus
}
#endif
#endif
