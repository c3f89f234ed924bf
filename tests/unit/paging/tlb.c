/* tests/unit/paging/tlb.c: the shootdown engine as far as one CPU can show it: set-up, bad input, bookkeeping. tests/unit/paging/shootdown.c has the rest. */
#include "fixture.h"

static struct loam_tlb tlb;
static _Alignas(LOAM_CPU_ALIGN) char metadata[16384];

static void tlb_begin(unsigned int ncpus)
{
	struct loam_tlb_config config = {.ncpus = ncpus};

	tlb = (struct loam_tlb){0};
	CHECK(loam_tlb_metadata_size(&config) <= sizeof(metadata));
	CHECK_OK(loam_tlb_init(&tlb, &config, metadata, sizeof(metadata)));
}

static struct loam_tlb_stats stats(void)
{
	struct loam_tlb_stats out;

	loam_tlb_read_stats(&tlb, &out);
	return out;
}

TEST(tlb_init_refuses_what_it_cannot_use)
{
	struct loam_tlb_config config = {.ncpus = 2};
	size_t nbytes = loam_tlb_metadata_size(&config);

	tlb = (struct loam_tlb){0};
	CHECK_STATUS(loam_tlb_init(NULL, &config, metadata, nbytes), LOAM_ERR_INVALID);
	CHECK_STATUS(loam_tlb_init(&tlb, NULL, metadata, nbytes), LOAM_ERR_INVALID);
	CHECK_STATUS(loam_tlb_init(&tlb, &config, NULL, nbytes), LOAM_ERR_INVALID);
	CHECK_STATUS(loam_tlb_init(&tlb, &config, metadata + 8, nbytes), LOAM_ERR_ALIGNMENT);
	CHECK_STATUS(loam_tlb_init(&tlb, &config, metadata, nbytes - 1), LOAM_ERR_NO_METADATA);
	config.ncpus = 0;
	CHECK_EQ(loam_tlb_metadata_size(&config), 0);
	CHECK_STATUS(loam_tlb_init(&tlb, &config, metadata, nbytes), LOAM_ERR_CPU);
	config.ncpus = LOAM_CPUS_MAX + 1;
	CHECK_EQ(loam_tlb_metadata_size(&config), 0);
	CHECK_STATUS(loam_tlb_init(&tlb, &config, metadata, nbytes), LOAM_ERR_CPU);
	config = (struct loam_tlb_config){.ncpus = 2, .full_above = 65};
	CHECK_STATUS(loam_tlb_init(&tlb, &config, metadata, nbytes), LOAM_ERR_INVALID);
	CHECK_EQ(loam_tlb_metadata_size(NULL), 0);
	config.full_above = 64;
	CHECK_OK(loam_tlb_init(&tlb, &config, metadata, nbytes));
	CHECK_STATUS(loam_tlb_init(&tlb, &config, metadata, nbytes), LOAM_ERR_ALREADY);
}

TEST(tlb_a_flush_alone_is_done_at_once)
{
	struct loam_tlb_range range = {.start = 0xffff900000000000, .npages = 3, .stride_shift = 12};
	struct rig_config config = {.npages = 16, .no_frames = true};
	struct rig *rig = rig_create(&config);
	loam_tlb_generation first, second;

	tlb_begin(3); /* the others are offline */
	loam_tlb_cpu_online(&tlb);
	CHECK_EQ(stats().full_flushes, 1);
	CHECK(loam_tlb_is_done(&tlb, 0));
	CHECK_OK(loam_tlb_wait(&tlb, 0));
	CHECK(!loam_tlb_is_done(&tlb, 1));
	CHECK_STATUS(loam_tlb_wait(&tlb, 1), LOAM_ERR_INVALID); /* never started */
	first = loam_tlb_flush_start(&tlb, &range, 1);
	CHECK_EQ(first, 1);
	CHECK(loam_tlb_is_done(&tlb, first));
	CHECK_OK(loam_tlb_wait(&tlb, first));
	CHECK_EQ(stats().full_flushes, 1);
	second = loam_tlb_flush_start(&tlb, NULL, 0);
	CHECK_EQ(second, 2);
	CHECK_EQ(stats().full_flushes, 2);
	CHECK_OK(loam_tlb_wait(&tlb, second));
	CHECK_OK(loam_tlb_wait(&tlb, loam_tlb_flush_tables(&tlb)));
	CHECK_EQ(stats().flushes, 3);
	CHECK_EQ(stats().full_flushes, 3);
	CHECK_EQ(stats().ipis, 0);
	CHECK_EQ(stats().timeouts, 0);
	loam_tlb_ipi(&tlb); /* a spurious one */
	CHECK_EQ(stats().full_flushes, 3);
	loam_tlb_cpu_offline(&tlb);
	CHECK_EQ(stats().full_flushes, 4);
	rig_destroy(rig);
}

/* When pages are named, and when it is cheaper to forget everything. */
TEST(tlb_flushes_everything_when_ranges_cost_more)
{
	struct rig_config config = {.npages = 16, .no_frames = true};
	struct rig *rig = rig_create(&config);
	struct loam_tlb_range ranges[10];
	struct loam_tlb_range one = {.start = 0xffff900000000000, .npages = 30, .stride_shift = 12};

	tlb_begin(1);
	loam_tlb_cpu_online(&tlb);
	for (unsigned int i = 0; i < 10; i++)
		ranges[i] = (struct loam_tlb_range){
			.start = 0xffff900000000000 + i * 0x10000, .npages = 1, .stride_shift = 12};
	CHECK_OK(loam_tlb_wait(&tlb, loam_tlb_flush_start(&tlb, ranges, 8)));
	CHECK_OK(loam_tlb_wait(&tlb, loam_tlb_flush_start(&tlb, &one, 1)));
	CHECK_EQ(stats().full_flushes, 1);
	CHECK_OK(loam_tlb_wait(&tlb, loam_tlb_flush_start(&tlb, ranges, 9))); /* too many ranges */
	CHECK_EQ(stats().full_flushes, 2);
	one.npages = 40; /* too many invalidations */
	CHECK_OK(loam_tlb_wait(&tlb, loam_tlb_flush_start(&tlb, &one, 1)));
	CHECK_EQ(stats().full_flushes, 3);
	one.npages = 10 * 512; /* ten large leaves */
	one.stride_shift = 21;
	CHECK_OK(loam_tlb_wait(&tlb, loam_tlb_flush_start(&tlb, &one, 1)));
	CHECK_EQ(stats().full_flushes, 3);
	one.stride_shift = 17; /* no leaf has this size: taken as pages */
	CHECK_OK(loam_tlb_wait(&tlb, loam_tlb_flush_start(&tlb, &one, 1)));
	CHECK_EQ(stats().full_flushes, 4);
	one = (struct loam_tlb_range){.start = 0xffff900000000000, .npages = SIZE_MAX, .stride_shift = 30};
	CHECK_OK(loam_tlb_wait(&tlb, loam_tlb_flush_start(&tlb, &one, 1)));
	CHECK_EQ(stats().full_flushes, 5);
	one.npages = 0; /* nothing */
	CHECK_OK(loam_tlb_wait(&tlb, loam_tlb_flush_start(&tlb, &one, 1)));
	CHECK_EQ(stats().full_flushes, 5);
	CHECK_EQ(stats().flushes, 8);
	rig_destroy(rig);
}

TEST(tlb_an_idle_cpu_catches_up_as_it_wakes)
{
	struct rig_config config = {.npages = 16, .no_frames = true};
	struct rig *rig = rig_create(&config);

	tlb_begin(1);
	loam_tlb_cpu_online(&tlb);
	loam_tlb_idle_enter(&tlb);
	loam_tlb_idle_enter(&tlb);
	loam_tlb_idle_exit(&tlb);
	CHECK_EQ(stats().full_flushes, 1); /* nothing happened meanwhile */
	loam_tlb_idle_exit(&tlb);
	loam_tlb_cpu_offline(&tlb);
	loam_tlb_idle_exit(&tlb); /* not idle: nothing */
	loam_tlb_cpu_online(&tlb);
	CHECK_EQ(stats().full_flushes, 3);
	rig_destroy(rig);
}
