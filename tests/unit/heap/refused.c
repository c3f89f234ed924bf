/* tests/unit/heap/refused.c: who is asked before memory is taken: the port where the library is built with failures=true, the test where it is built with points, both where it is built with both;
 * else nobody. tools/options builds each. On the host: a kernel has a loam_port_fail() of its own.
 */
#include "heap_rig.h"

#include <base/fail.h>
#include <host.h>

#ifdef LOAM_FAILURES
enum { PORT_IS_ASKED = true };
#else
enum { PORT_IS_ASKED = false };
#endif
#ifdef LOAM_POINTS
enum { TEST_IS_ASKED = true };
#else
enum { TEST_IS_ASKED = false };
#endif

static bool port_refuses;
static unsigned int port_was_asked;

bool loam_port_fail(enum loam_fail_kind kind)
{
	port_was_asked++;
	return port_refuses && kind == LOAM_FAIL_FRAME;
}

static bool gets_frames(struct heap_rig *rig)
{
	void *object = loam_heap_alloc(rig->heap, 40 * LOAM_PAGE_SIZE);

	loam_heap_free(rig->heap, object);
	(void)loam_heap_trim(rig->heap);
	return object != NULL;
}

TEST(heap_refusals_come_from_the_port_and_from_the_test_as_the_library_is_built)
{
	struct heap_rig rig = heap_rig_make(1024, 1, false);

	port_was_asked = 0;
	CHECK(gets_frames(&rig));
	CHECK_EQ(port_was_asked != 0, PORT_IS_ASKED);

	port_refuses = true;
	CHECK_EQ(gets_frames(&rig), !PORT_IS_ASKED);
	port_refuses = false;

	host_fail_set(LOAMI_FAIL_FRAME, 1, true);
	CHECK_EQ(gets_frames(&rig), !TEST_IS_ASKED);
	(void)host_fail_clear();
	CHECK(gets_frames(&rig));
	heap_rig_end(&rig);
}
