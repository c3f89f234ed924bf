/* tests/model/pagemap.c: random operations on a page pool and on a byte per page, side by side.
 *
 * The seed of a failing run is printed; LOAM_SEED=<seed> runs just that one, LOAM_STEPS=<n> fewer steps of it.
 */
#include "pagemap_model.h"
#include "tap.h"

#include <stdlib.h>

enum { RUNS = 2000 };

TEST(P11_random_operations_match_a_byte_per_page)
{
	const char *chosen = getenv("LOAM_SEED");
	const char *steps = getenv("LOAM_STEPS");
	uint64_t first = chosen != NULL ? strtoull(chosen, NULL, 0) : 1;
	uint64_t last = chosen != NULL ? first : RUNS;

	for (uint64_t seed = first; seed <= last; seed++) {
		uint64_t wrong = model_run(seed, steps != NULL ? strtoull(steps, NULL, 0) : 300);

		if (wrong != 0)
			tap_fail(__FILE__, __LINE__, "LOAM_SEED=%lu LOAM_STEPS=%lu: page pool of %lu pages differs",
				 (unsigned long)seed, (unsigned long)wrong, (unsigned long)npages);
	}
}
