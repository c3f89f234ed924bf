/* base/fail.h: places where memory may not be had, so that a test can make each of them fail, once or for good.
 *
 * A layer asks LOAMI_FAIL(kind) right before it takes something; true means: answer as if there were none. It is false and costs nothing but in the tests' build with
 * LOAM_POINTS, where the test is asked, and in a kernel's with -Dfailures=true (LOAM_FAILURES), where the port is. With both, either may refuse.
 */
#ifndef LOAMI_BASE_FAIL_H
#define LOAMI_BASE_FAIL_H

#include <loam/port.h>

enum loami_fail_kind {
	LOAMI_FAIL_FRAME = LOAM_FAIL_FRAME,
	LOAMI_FAIL_METADATA = LOAM_FAIL_METADATA,
	LOAMI_FAIL_TABLE = LOAM_FAIL_TABLE,
	LOAMI_FAIL_RANGE = LOAM_FAIL_RANGE,
	LOAMI_FAIL_KIND_COUNT
};

#ifdef LOAM_POINTS
bool loami_should_fail(enum loami_fail_kind kind);
#define LOAMI_TEST_FAILS(kind) loami_should_fail(kind)
#else
#define LOAMI_TEST_FAILS(kind) false
#endif
#ifdef LOAM_FAILURES
#define LOAMI_PORT_FAILS(kind) loam_port_fail((enum loam_fail_kind)(kind))
#else
#define LOAMI_PORT_FAILS(kind) false
#endif
#define LOAMI_FAIL(kind) (LOAMI_TEST_FAILS(kind) || LOAMI_PORT_FAILS(kind))

#endif
