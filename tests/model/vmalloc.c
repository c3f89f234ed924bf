/* tests/model/vmalloc.c: vmalloc beside a list: what should be live, where, how long, of which kind, with which contents.
 *
 * Random operations; after each the snapshot must be the list in address order, the counts must agree and the layer's own check must pass; after a purge, frames
 * held = frames of live areas + tables + metadata. Each run's seed is printed before it; LOAM_SEED=n in the environment runs just that one.
 */
#include "../unit/vmalloc/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { NOTHING = 0, MEMORY, STACK, FRAMES, DEVICE };
enum { HELD = 48, STEPS = 1500 };

static struct held {
	enum kind kind;
	char *base; /* lowest mapped address */
	void *handle;
	size_t npages;
	size_t nbytes;
	unsigned char mark;
} held[HELD];

static loam_pfn lent[16];
static unsigned char marks;

static void write_mark(struct held *h)
{
	h->mark = ++marks;
	for (size_t i = 0; i < h->npages; i++)
		*vm_byte(h->base, i * PAGE + 5) = h->mark;
}

static void see_mark(const struct held *h, size_t npages)
{
	for (size_t i = 0; i < npages; i++)
		CHECK_EQ(*vm_byte(h->base, i * PAGE + 5), h->mark);
}

static void make(struct held *h, uint64_t *random)
{
	struct loam_vmalloc_opts opts = {.align = rig_random(random) % 6 == 0 ? PAGE << rig_random(random) % 6 : 0};
	uint64_t dice = rig_random(random) % 10;
	enum loam_status status;

	*h = (struct held){0};
	h->nbytes = 1 + rig_random(random) % ((dice == 9 ? 120 : 12) * PAGE);
	h->npages = (h->nbytes + PAGE - 1) / PAGE;
	if (dice < 6 || dice == 9) {
		status = loam_vmalloc_status(&fix.vm, h->nbytes, &opts, &h->handle);
		h->kind = MEMORY;
		h->base = h->handle;
	} else if (dice == 6) {
		status = loam_vstack_alloc(&fix.vm, h->nbytes, NULL, &h->handle);
		h->kind = STACK;
		h->base = (char *)((uintptr_t)h->handle -
				   h->npages * PAGE); /* NULL when it failed: no pointer arithmetic */
	} else if (dice == 7) {
		h->npages = 1 + rig_random(random) % 16;
		h->nbytes = h->npages * PAGE;
		status = loam_vmap(&fix.vm, lent, h->npages, LOAM_PROT_READ, NULL, &h->handle);
		h->kind = FRAMES;
		h->base = h->handle;
	} else {
		size_t offset = rig_random(random) % PAGE;

		h->npages = (offset + h->nbytes + PAGE - 1) / PAGE;
		status = loam_vmap_phys(&fix.vm, 0xfd000000 + offset, h->nbytes, LOAM_CACHE_UNCACHED, NULL, &h->handle);
		h->kind = DEVICE;
		h->base = (char *)((uintptr_t)h->handle - offset);
	}
	if (status != LOAM_OK) {
		CHECK(status == LOAM_ERR_NO_MEMORY || status == LOAM_ERR_NO_RANGE);
		h->kind = NOTHING;
		return;
	}
	if (h->kind == MEMORY || h->kind == STACK) {
		for (size_t i = 0; i < h->npages; i++)
			CHECK_EQ(*vm_byte(h->base, i * PAGE + 5), 0);
		write_mark(h);
	}
}

static void unmake(struct held *h, uint64_t *random)
{
	if (h->kind == MEMORY || h->kind == STACK)
		see_mark(h, h->npages);
	/* By the wrong call first: nothing happens. */
	if (h->kind != MEMORY)
		CHECK(!loam_vfree(&fix.vm, h->base));
	if (h->kind != STACK)
		CHECK(!loam_vstack_free(&fix.vm, h->base + h->npages * PAGE));
	if (h->kind == MEMORY || h->kind == STACK)
		CHECK(!loam_vunmap(&fix.vm, h->base));
	if (h->kind == MEMORY)
		CHECK(rig_random(random) % 4 == 0 ? loam_vfree_now(&fix.vm, h->handle)
						  : loam_vfree(&fix.vm, h->handle));
	else if (h->kind == STACK)
		CHECK(loam_vstack_free(&fix.vm, h->handle));
	else
		CHECK(loam_vunmap(&fix.vm, h->handle));
	CHECK(!loam_vfree(&fix.vm, h->base));
	h->kind = NOTHING;
}

static void resize(struct held *h, uint64_t *random)
{
	size_t nbytes = 1 + rig_random(random) % (30 * PAGE), before = h->npages;
	enum loam_status status;

	if (h->kind != MEMORY)
		return;
	status = loam_vrealloc(&fix.vm, h->handle, nbytes, NULL, &h->handle);
	if (status == LOAM_OK) {
		h->base = h->handle;
		h->nbytes = nbytes;
		h->npages = (nbytes + PAGE - 1) / PAGE;
	} else {
		CHECK(status == LOAM_ERR_NO_MEMORY || status == LOAM_ERR_NO_RANGE);
	}
	see_mark(h, before < h->npages ? before : h->npages);
	write_mark(h);
}

static void protect(struct held *h)
{
	if (h->kind != MEMORY)
		return;
	CHECK_OK(loam_vmalloc_protect(&fix.vm, h->handle, LOAM_PROT_READ | LOAM_PROT_EXEC));
	CHECK_EQ(vm_prot_at(h->base), LOAM_PROT_READ | LOAM_PROT_EXEC);
	CHECK_OK(loam_vmalloc_protect(&fix.vm, h->handle, LOAM_PROT_READ | LOAM_PROT_WRITE));
}

static const struct held *held_at(uintptr_t base)
{
	for (size_t i = 0; i < HELD; i++)
		if (held[i].kind != NOTHING && (uintptr_t)held[i].base == base)
			return &held[i];
	return NULL;
}

static void compare(void)
{
	struct loam_vmalloc_live live[HELD + 1];
	size_t total, n = loam_vmalloc_snapshot(&fix.vm, live, HELD + 1, &total), nareas = 0, npages = 0;
	struct loam_vmalloc_stats stats = vm_stats();
	uintptr_t last = 0;

	for (size_t i = 0; i < HELD; i++) {
		nareas += held[i].kind != NOTHING;
		npages += held[i].kind != NOTHING ? held[i].npages : 0;
	}
	CHECK_EQ(n, nareas);
	CHECK_EQ(total, nareas);
	CHECK_EQ(stats.live_areas, nareas);
	CHECK_EQ(stats.live_pages, npages);
	for (size_t i = 0; i < n; i++) {
		const struct held *h = held_at(live[i].address);

		CHECK(live[i].address > last && h != NULL);
		CHECK_EQ(live[i].npages, h->npages);
		CHECK_EQ(live[i].nbytes, h->nbytes);
		CHECK_EQ(live[i].stack, h->kind == STACK);
		CHECK_EQ(live[i].device, h->kind == DEVICE);
		CHECK_EQ(live[i].mapping, h->kind == FRAMES || h->kind == DEVICE);
		last = live[i].address;
	}
	CHECK_OK(loam_vmalloc_check(&fix.vm));
}

static void purge(void)
{
	struct loam_frames_stats frames;
	struct loam_vmalloc_stats stats;
	uint64_t owned = 0;

	CHECK_OK(loam_vmalloc_purge(&fix.vm));
	stats = vm_stats();
	CHECK_EQ(stats.waiting_areas, 0);
	CHECK_EQ(stats.cached_stacks, 0);
	for (size_t i = 0; i < HELD; i++)
		if (held[i].kind == MEMORY || held[i].kind == STACK)
			owned += held[i].npages;
	loam_frame_read_stats(fix.rig->frames, &frames);
	/* Page 0 and the lent ones as well. */
	CHECK_EQ(frames.used, owned + stats.metadata_pages + loam_pagetable_count_racy(&fix.tree) + 1 + 16);
}

static void run(uint64_t seed)
{
	static const size_t sizes[] = {MIB, 2 * MIB, 16 * MIB};
	uint64_t random = seed;

	memset(held, 0, sizeof(held));
	vm_begin(2500, sizes[seed % 3]);
	for (size_t i = 0; i < 16; i++)
		lent[i] = loam_frame_alloc(fix.rig->frames, 0, NULL);
	for (unsigned int step = 0; step < STEPS; step++) {
		struct held *h = &held[rig_random(&random) % HELD];
		uint64_t dice = rig_random(&random) % 100;

		if (h->kind == NOTHING)
			make(h, &random);
		else if (dice < 55)
			unmake(h, &random);
		else if (dice < 80)
			resize(h, &random);
		else if (dice < 85)
			protect(h);
		if (dice >= 97)
			purge();
		compare();
	}
	for (size_t i = 0; i < HELD; i++)
		if (held[i].kind != NOTHING)
			unmake(&held[i], &random);
	loam_frame_free_batch(fix.rig->frames, lent, 16);
	vm_end();
}

TEST(V4_vmalloc_beside_a_list_of_areas)
{
	const char *one = getenv("LOAM_SEED");

	if (one != NULL) {
		run(strtoull(one, NULL, 0));
		return;
	}
	for (uint64_t seed = 1; seed <= 12; seed++) {
		printf("# LOAM_SEED=%llu\n", (unsigned long long)seed);
		run(seed);
	}
}
