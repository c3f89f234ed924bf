/* base/fail.h: places where memory may not be had, so that a test can make each of them fail, once or for good.
 *
 * A layer asks LOAMI_FAIL(kind) right before it takes something; true means: answer as if there were none. Without LOAM_POINTS it is false and costs nothing.
 */
#ifndef LOAMI_BASE_FAIL_H
#define LOAMI_BASE_FAIL_H

#include <stdbool.h>

enum loami_fail_kind {
	LOAMI_FAIL_FRAME,    /* a frame or a run of frames */
	LOAMI_FAIL_METADATA, /* a frame for bookkeeping */
	LOAMI_FAIL_TABLE,    /* a page-table frame */
	LOAMI_FAIL_RANGE,    /* a range of address space */
	LOAMI_FAIL_KIND_COUNT
};

#ifdef LOAM_POINTS
bool loami_should_fail(enum loami_fail_kind kind);
#define LOAMI_FAIL(kind) loami_should_fail(kind)
#else
#define LOAMI_FAIL(kind) false
#endif

#endif
