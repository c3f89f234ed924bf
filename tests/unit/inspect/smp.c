/* tests/unit/inspect/smp.c: looking while others work. What is said may be a moment old; it is never a fault, and nothing is disturbed. */
#include "fixture.h"

enum { HELD = 32, ROUNDS = 400, LOOKS = 12 };

static const struct loam_call_site worker_site = {"worker.c", "work", 1, 0};
static void *held[16][HELD]; /* addresses to be curious about */

static bool work(unsigned int cpu)
{
	uint64_t state = cpu;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		void **one = &held[cpu][rig_random(&state) % HELD];
		loam_pfn pfn = loam_frame_alloc(whole.frames, (unsigned int)(rig_random(&state) % 3), NULL);

		if (*one != NULL)
			loam_heap_free(whole.heap, *one);
		__atomic_store_n(one, loam_heap_alloc_at(whole.heap, 1 + rig_random(&state) % 3000, &worker_site),
				 __ATOMIC_RELAXED);
		if (pfn != LOAM_PFN_NONE)
			loam_frame_free(whole.frames, pfn, loam_frame_slot(whole.frames, pfn)->order);
	}
	for (unsigned int i = 0; i < HELD; i++) {
		loam_heap_free(whole.heap, held[cpu][i]);
		__atomic_store_n(&held[cpu][i], NULL, __ATOMIC_RELAXED);
	}
	return true;
}

static void swallow(void *context, const char *text, size_t nbytes)
{
	(void)text;
	*(size_t *)context += nbytes;
}

static bool look(struct rig *rig)
{
	struct loam_leak_group groups[4];
	struct loam_leak_mark mark;
	uint64_t state = 99;
	size_t written = 0;
	char text[256];

	for (unsigned int i = 0; i < LOOKS; i++) {
		loam_leak_mark_set(&whole, &mark);
		tap_log_capture();
		loam_dump_memory(&whole);
		loam_dump_zones(&whole);
		loam_dump_frames(&whole);
		loam_dump_slabs(&whole);
		(void)tap_log_end();
		loam_snapshot_json(&whole, swallow, &written);
		for (unsigned int k = 0; k < 200; k++) {
			void *object =
				__atomic_load_n(&held[rig_random(&state) % rig->ncpus][k % HELD], __ATOMIC_RELAXED);
			uintptr_t ram = rig->direct_map + (uintptr_t)rig->ram;

			(void)loam_whatis(&whole, (uintptr_t)object + k, text, sizeof(text));
			(void)loam_whatis(&whole, ram + rig_random(&state) % (rig->npages * LOAM_PAGE_SIZE), text,
					  sizeof(text));
		}
		(void)loam_leak_report(&whole, &mark, groups, 4);
	}
	return written > 0;
}

static bool work_or_look(struct rig *rig, unsigned int cpu, void *context)
{
	(void)context;
	return cpu == 0 ? look(rig) : work(cpu);
}

TEST(inspect_looks_while_others_work)
{
	unsigned int ncpus = rig_cpus() < 4 ? rig_cpus() : 4;

	for (unsigned int track = 0; track < 2; track++) {
		inspect_begin_smp(track != 0, ncpus);
		CHECK(rig_run(inspect_rig, work_or_look, NULL));
		inspect_end();
	}
}
