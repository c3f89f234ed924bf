/* base/status.c: the names of the statuses. */
#include "bits.h"

#include <loam/status.h>

static const char *const names[] = {
	[LOAM_OK] = "ok",
	[LOAM_ERR_INVALID] = "invalid argument",
	[LOAM_ERR_ZERO_SIZE] = "zero size",
	[LOAM_ERR_TOO_LARGE] = "too large",
	[LOAM_ERR_OVERFLOW] = "overflow",
	[LOAM_ERR_ORDER] = "invalid order",
	[LOAM_ERR_ALIGNMENT] = "bad alignment",
	[LOAM_ERR_OUT_OF_RANGE] = "out of range",
	[LOAM_ERR_ZONE] = "wrong zone",
	[LOAM_ERR_CPU] = "no such cpu",
	[LOAM_ERR_PROTECTION] = "bad protection",
	[LOAM_ERR_FORMAT] = "bad format",
	[LOAM_ERR_TRUNCATED] = "truncated",
	[LOAM_ERR_NOT_READY] = "not ready",
	[LOAM_ERR_ALREADY] = "already done",
	[LOAM_ERR_BUSY] = "busy",
	[LOAM_ERR_IN_USE] = "in use",
	[LOAM_ERR_RESERVED] = "reserved",
	[LOAM_ERR_ALREADY_FREE] = "already free",
	[LOAM_ERR_NOT_FOUND] = "not found",
	[LOAM_ERR_MAPPED] = "already mapped",
	[LOAM_ERR_NOT_MAPPED] = "not mapped",
	[LOAM_ERR_STALE] = "stale generation",
	[LOAM_ERR_CONTEXT] = "wrong context",
	[LOAM_ERR_NO_MEMORY] = "no memory",
	[LOAM_ERR_NO_METADATA] = "no memory for metadata",
	[LOAM_ERR_NO_RANGE] = "no address range",
	[LOAM_ERR_MAP_FAILED] = "map failed",
	[LOAM_ERR_LIMIT] = "limit reached",
	[LOAM_ERR_TIMEOUT] = "timeout",
};

_Static_assert(LOAMI_COUNT(names) == LOAM_STATUS_COUNT, "each status has a name");

const char *loam_status_name(enum loam_status status)
{
	return (unsigned int)status < LOAM_STATUS_COUNT ? names[status] : "unknown status";
}
