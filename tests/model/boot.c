/* tests/model/boot.c: a million adversarial memory maps against a model that works page by page.
 *
 * The seed of a failing map is printed; LOAM_SEED=<seed> runs just that one.
 */
#include "memmap_model.h"
#include "tap.h"

#include <stdlib.h>

enum { MAPS = 1000 * 1000 };

static struct memmap_model model;

TEST(boot_a_million_random_maps_match_a_page_by_page_model)
{
	const char *chosen = getenv("LOAM_SEED");
	uint64_t entries = 0;
	uint64_t notes = 0;
	size_t most = 0;

	if (chosen != NULL) {
		if (!model_run(&model, strtoull(chosen, NULL, 0), loam_memmap_init))
			tap_fail(__FILE__, __LINE__, "LOAM_SEED=%s: %s", chosen, model.why);
		return;
	}
	for (uint64_t seed = 1; seed <= MAPS; seed++) {
		if (!model_run(&model, seed, loam_memmap_init))
			tap_fail(__FILE__, __LINE__, "LOAM_SEED=%lu: %s", (unsigned long)seed, model.why);
		entries += model.nraw;
		notes += model.noted;
		most = model.nraw > most ? model.nraw : most;
	}
	loami_print("# %u maps, %lu entries, the largest map %lu, %lu notes\n", (unsigned int)MAPS,
		    (unsigned long)entries, (unsigned long)most, (unsigned long)notes);
	CHECK(most > MODEL_ENTRIES - 64);
	CHECK(notes > MAPS);
}
