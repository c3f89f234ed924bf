/* tests/unit/pagemap/smp.c: several CPUs at one pool: no page has two owners, none is lost. */
#include <loam/pagemap.h>

#include "rig.h"
#include "tap.h"

#define START UINT64_C(0x40000000)

enum { PAGES = 300, HELD = 64, ROUNDS = 3000 };

static struct loam_pagemap pool;
static uint64_t metadata[8];
static uint32_t owners[PAGES]; /* 0: nobody */

static bool take(loam_paddr *held, unsigned int cpu)
{
	*held = loam_pagemap_alloc_uninitialized(&pool);
	return *held == LOAM_PAGEMAP_NONE ||
	       __atomic_exchange_n(&owners[(*held - START) / LOAM_PAGE_SIZE], cpu + 1, __ATOMIC_RELAXED) == 0;
}

static bool give(loam_paddr *held, unsigned int cpu)
{
	loam_paddr page = *held;

	*held = LOAM_PAGEMAP_NONE;
	return page == LOAM_PAGEMAP_NONE ||
	       (__atomic_exchange_n(&owners[(page - START) / LOAM_PAGE_SIZE], 0, __ATOMIC_RELAXED) == cpu + 1 &&
		loam_pagemap_free(&pool, page) == LOAM_OK);
}

static bool churn(struct rig *rig, unsigned int cpu, void *context)
{
	loam_paddr held[HELD] = {0};
	uint64_t state = cpu + 1;

	(void)rig;
	(void)context;
	for (unsigned int i = 0; i < ROUNDS; i++) {
		loam_paddr *one = &held[rig_random(&state) % HELD];

		if (!(*one == LOAM_PAGEMAP_NONE ? take(one, cpu) : give(one, cpu)))
			return false;
	}
	for (unsigned int i = 0; i < HELD; i++) {
		if (!give(&held[i], cpu))
			return false;
	}
	return true;
}

TEST(P6_no_page_has_two_owners)
{
	struct rig_config config = {.npages = 64, .ncpus = rig_cpus() < 8 ? rig_cpus() : 8, .no_frames = true};
	struct rig *rig = rig_create(&config);

	CHECK(sizeof(metadata) >= loam_pagemap_metadata_size(PAGES));
	CHECK_OK(loam_pagemap_init(&pool, START, START + PAGES * LOAM_PAGE_SIZE, 0, metadata, sizeof(metadata)));
	CHECK(rig_run(rig, churn, NULL));
	CHECK_EQ(loam_pagemap_free_count(&pool), PAGES);
	CHECK_OK(loam_pagemap_check(&pool));
	rig_destroy(rig);
}
