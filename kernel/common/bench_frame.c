/* kernel/common/bench_frame.c: instructions per frame operation: a pair is one allocation and one free. */
#include "bench.h"

#define HELD_MAX 512

struct work {
	unsigned int order;
	unsigned int held; /* blocks taken before the first goes back */
	struct loam_frame_opts opts;
};

static loam_pfn held[HELD_MAX];

static void pair(const void *context, unsigned long n)
{
	const struct work *work = context;
	struct loam_frames *frames = kernel_system.frames;
	unsigned int order = work->order;

	for (; n != 0; n--) {
		loam_pfn pfn = loam_frame_alloc(frames, order, &work->opts);

		if (pfn == LOAM_PFN_NONE)
			bench_fail("a frame");
		loam_frame_free(frames, pfn, order);
	}
}

static void bulk(const void *context, unsigned long n)
{
	const struct work *work = context;

	for (unsigned long done = 0; done < n; done += work->held) {
		for (unsigned int i = 0; i < work->held; i++) {
			held[i] = loam_frame_alloc(kernel_system.frames, work->order, &work->opts);
			if (held[i] == LOAM_PFN_NONE)
				bench_fail("a frame of many");
		}
		for (unsigned int i = 0; i < work->held; i++)
			loam_frame_free(kernel_system.frames, held[i], work->order);
	}
}

static void batch(const void *context, unsigned long n)
{
	const struct work *work = context;

	for (unsigned long done = 0; done < n; done += work->held) {
		if (loam_frame_alloc_batch(kernel_system.frames, work->held, &work->opts, held) != work->held)
			bench_fail("a batch of frames");
		loam_frame_free_batch(kernel_system.frames, held, work->held);
	}
}

static const char why[] = "each half is a swap on the frame's own word with every check of the call around it, "
			  "against interrupts and thieves too; what a batch shares shows what one call pays for";

static void row(const char *name, void (*run)(const void *, unsigned long), const struct work *work, unsigned long n,
		unsigned long at_most)
{
	bench_row(&(struct bench_row){.layer = "frame",
				      .name = name,
				      .run = run,
				      .context = work,
				      .n = n,
				      .at_most = at_most,
				      .why = why,
				      .everywhere = run == pair});
}

void bench_frames(void)
{
	const struct loam_frame_opts plain = {.uninitialized = true};

	row("order 0, pair", pair, &(struct work){.order = 0, .opts = plain}, 4096, 90);
	row("order 3, pair", pair, &(struct work){.order = 3, .opts = plain}, 4096, 0);
	row("order 9, pair", pair, &(struct work){.order = 9, .opts = plain}, 4096, 0);
	row("order 0, bulk of 512, pair", bulk, &(struct work){.order = 0, .held = 512, .opts = plain}, 4096, 0);
	row("order 3, bulk of 64, pair", bulk, &(struct work){.order = 3, .held = 64, .opts = plain}, 4096, 0);
	row("order 9, bulk of 8, pair", bulk, &(struct work){.order = 9, .held = 8, .opts = plain}, 4096, 0);
	row("order 0, batch of 64, pair", batch, &(struct work){.held = 64, .opts = plain}, 4096, 0);
	row("order 0, zeroed, pair", pair, &(struct work){.order = 0}, 256, 0);
	row("order 3, zeroed, pair", pair, &(struct work){.order = 3}, 64, 0);
	row("order 9, zeroed, pair", pair, &(struct work){.order = 9}, 2, 0);
	row("order 0, zeroed, bulk of 512, pair", bulk, &(struct work){.order = 0, .held = 512}, 512, 0);
	row("order 0, zeroed, batch of 64, pair", batch, &(struct work){.held = 64}, 256, 0);
}
