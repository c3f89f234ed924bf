/* kernel/common/torture_things.c: what the torture allocates, and how it tells that nobody else wrote there.
 *
 * The word at offset o of a thing with seed s is mix(s + o). Small things are filled wholly, larger ones at their ends and every so often between. What comes zeroed is looked at
 * before it is filled. What lies in the arena is read and written through the mapping.
 */
#include "torture.h"
#include "console.h"

#define MAGIC UINT64_C(0x746f727475726521)
#define BLOCK_SHIFT (LOAM_PAGE_SHIFT + LOAM_BLOCK_ORDER)
#define BLOCK_NBYTES ((size_t)1 << BLOCK_SHIFT)
#define FAR 4104 /* from one place that is looked at to the next, in what is large */
#define PIECE 64
#define TYPED_HEAD 16 /* the constructor's, which no user changes */

static const size_t typed_nbytes[TORTURE_CACHES] = {112, 728};
struct loam_heap_cache *torture_caches[TORTURE_CACHES];

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

uint64_t torture_random(uint64_t *state)
{
	return mix(*state += UINT64_C(0x9e3779b97f4a7c15));
}

void torture_count(struct torture_worker *w, enum torture_count what)
{
	__atomic_add_fetch(&w->counts[what], 1, __ATOMIC_RELAXED);
}

void torture_wrong(struct torture_worker *w, const char *what, uintptr_t address)
{
	char known[200];

	torture_count(w, TORTURE_WRONG);
	if (__atomic_load_n(&w->counts[TORTURE_WRONG], __ATOMIC_RELAXED) > 8)
		return;
	(void)loam_whatis(&kernel_system, address, known, sizeof(known));
	kprintf("     WRONG on CPU %u, doing %s: %s: %s\n", loam_port_cpu(), w->doing, what, known);
}

/* ---- patterns ----------------------------------------------------------------------------------------------------------------- */

static bool is_mapped(const struct torture_thing *t)
{
	return t->kind == TORTURE_AREA || t->kind == TORTURE_LARGE || t->kind == TORTURE_MAPPING ||
	       t->kind == TORTURE_STACK;
}

static uint64_t load(const struct torture_thing *t, size_t offset)
{
	if (is_mapped(t))
		return machine_load(t->address + offset);
	return *(const volatile uint64_t *)(t->address + offset);
}

static void store(const struct torture_thing *t, size_t offset, uint64_t value)
{
	if (is_mapped(t))
		machine_store(t->address + offset, value);
	else
		*(volatile uint64_t *)(t->address + offset) = value;
}

/* From one place that is looked at to the next; the last word is always one. */
static size_t next_place(const struct torture_thing *t, size_t offset)
{
	size_t step = t->nbytes <= 512 ? 8 : t->nbytes <= 65536 ? 520 : FAR;
	size_t last = t->nbytes - 8;

	return offset == last ? t->nbytes : offset + step < last ? offset + step : last;
}

/* In things of hundreds of pages, a few dozen pages are a piece of work. */
static void place_done(struct torture_worker *w, size_t offset)
{
	if (offset / FAR % PIECE == PIECE - 1)
		torture_got_on(w);
}

static void fill(struct torture_worker *w, const struct torture_thing *t)
{
	for (size_t o = 0; o < t->nbytes; o = next_place(t, o)) {
		store(t, o, mix(t->seed + o));
		place_done(w, o);
	}
}

static void check_zero(struct torture_worker *w, const struct torture_thing *t)
{
	for (size_t o = 0; o < t->nbytes; o = next_place(t, o)) {
		place_done(w, o);
		if (load(t, o) == 0)
			continue;
		torture_wrong(w, "memory that should be zero is not", t->address + o);
		return;
	}
}

/* A mapping shows the frames it was made of; an area with large leaves those its tables say. */
static uint64_t load_behind(const struct torture_thing *t, size_t offset)
{
	struct loam_paging_entry entry;
	const char *page;

	if (t->kind == TORTURE_MAPPING)
		page = loam_frame_virt(kernel_system.frames, t->pfns[offset / LOAM_PAGE_SIZE]);
	else if (loam_paging_query(&torture_large_tree, t->address + offset, &entry) == LOAM_OK)
		page = loam_frame_virt(kernel_system.frames, loam_frame_containing(entry.pa));
	else
		return 0;
	return *(const volatile uint64_t *)(const volatile void *)(page + offset % LOAM_PAGE_SIZE);
}

static void check(struct torture_worker *w, const struct torture_thing *t)
{
	for (size_t o = 0; o < t->nbytes; o = next_place(t, o)) {
		bool good = load(t, o) == mix(t->seed + o);

		if (t->kind == TORTURE_MAPPING || t->kind == TORTURE_LARGE)
			good &= load_behind(t, o) == mix(t->seed + o);
		place_done(w, o);
		if (good)
			continue;
		torture_wrong(w, "somebody else wrote into a thing of ours", t->address + o);
		return;
	}
	if (t->kind == TORTURE_TYPED &&
	    (*(const uint64_t *)(t->address - TYPED_HEAD) != MAGIC || *(const uint64_t *)(t->address - 8) != ~MAGIC))
		torture_wrong(w, "what the constructor wrote is gone", t->address);
}

void torture_touch(struct torture_worker *w, struct torture_thing *t)
{
	if (t->kind == TORTURE_NOTHING)
		return;
	check(w, t);
	if (t->kind == TORTURE_SHARED)
		return;
	t->seed = torture_random(&w->random);
	fill(w, t);
}

/* ---- frames ------------------------------------------------------------------------------------------------------------------- */

static struct loam_frame_opts random_opts(uint64_t random)
{
	return (struct loam_frame_opts){
		.uninitialized = (random & 3) != 0,
		.purpose = (random & 12) == 0 ? LOAM_PURPOSE_USER : LOAM_PURPOSE_KERNEL,
		.use_reserve = (random & 0xf0) == 0,
		.no_reclaim = (random & 0x300) == 0,
	};
}

static void take_frames(struct torture_worker *w, struct torture_thing *t, uint64_t random, bool irq)
{
	static const uint8_t orders[32] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
					   0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 3, 4, 5, 7, 9};
	struct loam_frame_opts opts = random_opts(random >> 8);

	t->order = orders[random % (irq ? 28 : 32)];
	t->pfn = loam_frame_alloc(kernel_system.frames, t->order, &opts);
	if (t->pfn == LOAM_PFN_NONE)
		return;
	t->kind = TORTURE_FRAMES;
	t->address = (uintptr_t)loam_frame_virt(kernel_system.frames, t->pfn);
	t->nbytes = LOAM_PAGE_SIZE << t->order;
	if (!opts.uninitialized)
		check_zero(w, t);
}

static void take_run(struct torture_worker *w, struct torture_thing *t, uint64_t random)
{
	struct loam_frame_opts opts = random_opts(random >> 8);
	struct loam_frame_where where = {0};

	if ((random & 3) == 0)
		where.align = (uint64_t)LOAM_PAGE_SIZE << (random >> 2 & 7);
	if ((random & 0x30) == 0)
		where.boundary = (uint64_t)1 << 20;
	t->npages = 1 + (random >> 24) % 100;
	if (loam_frame_alloc_range(kernel_system.frames, t->npages, &where, &opts, &t->pfn) != LOAM_OK)
		return;
	t->kind = TORTURE_RUN;
	t->address = (uintptr_t)loam_frame_virt(kernel_system.frames, t->pfn);
	t->nbytes = t->npages * LOAM_PAGE_SIZE;
	if (where.align != 0 && loam_frame_address(t->pfn) % where.align != 0)
		torture_wrong(w, "a run is not aligned as asked", t->address);
	if (!opts.uninitialized)
		check_zero(w, t);
}

static void drop_run(const struct torture_thing *t, uint64_t random)
{
	size_t first = random % (t->npages + 1);

	if (first > 0)
		loam_frame_free_range(kernel_system.frames, t->pfn, first);
	if (first < t->npages)
		loam_frame_free_range(kernel_system.frames, t->pfn + first, t->npages - first);
}

bool torture_share(struct torture_thing *t, struct torture_thing *copy)
{
	if (t->kind != TORTURE_FRAMES || t->order != 0)
		return false;
	(void)loam_frame_ref_inc(kernel_system.frames, t->pfn);
	t->kind = TORTURE_SHARED;
	*copy = *t;
	return true;
}

/* ---- objects ------------------------------------------------------------------------------------------------------------------ */

static void construct(void *object, void *context)
{
	uint64_t *words = object;

	(void)context;
	words[0] = MAGIC;
	words[1] = ~MAGIC;
}

bool torture_make_caches(void)
{
	static const char *const names[TORTURE_CACHES] = {"torture-small", "torture-large"};

	for (size_t i = 0; i < TORTURE_CACHES; i++) {
		struct loam_cache_config config = {
			.name = names[i],
			.nbytes = typed_nbytes[i],
			.align = i == 0 ? 0 : 64,
			.construct = construct,
		};
		if (loam_heap_cache_create(torture_heaps[i], &config, &torture_caches[i]) != LOAM_OK)
			return false;
	}
	return true;
}

bool torture_end_caches(void)
{
	bool ended = true;

	for (size_t i = 0; i < TORTURE_CACHES; i++) {
		if (torture_caches[i] != NULL)
			ended &= loam_heap_cache_destroy(torture_heaps[i], torture_caches[i]) == LOAM_OK;
		torture_caches[i] = NULL;
	}
	return ended;
}

/* Mostly small; now and then larger than the largest class, which is a run of frames or an area. */
static size_t random_size(uint64_t random, bool irq)
{
	size_t nbytes = (random & 15) < 10   ? random >> 8 & 0x1ff
			: (random & 15) < 14 ? random >> 8 & 0x1fff
			: irq                ? random >> 8 & 0xfff
					     : random >> 8 & 0x1ffff;

	return (nbytes + 8) & ~(size_t)7;
}

static void take_object(struct torture_worker *w, struct torture_thing *t, uint64_t random, bool irq)
{
	struct loam_heap *heap;
	void *object;

	t->which = (unsigned int)(random % TORTURE_HEAPS);
	t->nbytes = random_size(random >> 8, irq);
	heap = torture_heaps[t->which];
	if ((random >> 40 & 7) == 0) {
		object = loam_heap_alloc_zeroed(heap, t->nbytes);
	} else if ((random >> 40 & 7) == 1) {
		size_t align = (size_t)16 << (random >> 44 & 7);

		object = loam_heap_alloc_aligned(heap, t->nbytes, align);
		if ((uintptr_t)object % align != 0)
			torture_wrong(w, "an object is not aligned as asked", (uintptr_t)object);
	} else {
		object = loam_heap_alloc_at(heap, t->nbytes, LOAM_HERE);
	}
	if (object == NULL)
		return;
	t->kind = TORTURE_OBJECT;
	t->address = (uintptr_t)object;
	if ((random >> 40 & 7) == 0)
		check_zero(w, t);
}

static void take_typed(struct torture_thing *t, uint64_t random)
{
	void *object;

	t->which = (unsigned int)(random % TORTURE_CACHES);
	object = loam_heap_cache_alloc(torture_caches[t->which]);
	if (object == NULL)
		return;
	t->kind = TORTURE_TYPED;
	t->address = (uintptr_t)object + TYPED_HEAD;
	t->nbytes = typed_nbytes[t->which] - TYPED_HEAD;
}

/* ---- mappings ----------------------------------------------------------------------------------------------------------------- */

static struct loam_vm *vm_of(const struct torture_thing *t)
{
	return t->kind == TORTURE_LARGE ? &torture_large_vm : &torture_vm;
}

static void take_area(struct torture_worker *w, struct torture_thing *t, uint64_t random)
{
	struct loam_vmalloc_opts opts = {
		.uninitialized = (random & 3) != 0,
		.huge = (random & 0xfc) == 0,
		.align = (random & 0x300) == 0 ? (size_t)LOAM_PAGE_SIZE << (random >> 10 & 3) : 0,
		.site = LOAM_HERE,
	};
	void *address;

	t->nbytes = (1 + (random >> 16) % ((random & 0xfc) == 4 ? 300 : 20)) * LOAM_PAGE_SIZE;
	if (loam_vmalloc_status(&torture_vm, t->nbytes, &opts, &address) != LOAM_OK)
		return;
	t->kind = TORTURE_AREA;
	t->address = (uintptr_t)address;
	if (!opts.uninitialized)
		check_zero(w, t);
}

/* One to three blocks, and sometimes some pages more, which have a table of their own. */
static size_t large_nbytes(uint64_t random)
{
	return (1 + random % 3) * BLOCK_NBYTES + (random & 0x30 ? 0 : (random >> 8) % 20 * LOAM_PAGE_SIZE);
}

static void take_large(struct torture_worker *w, struct torture_thing *t, uint64_t random)
{
	struct loam_vmalloc_opts opts = {
		.uninitialized = (random & 3) != 0,
		.huge = true,
		.align = (random & 0xc) == 0 ? 2 * BLOCK_NBYTES : 0,
		.site = LOAM_HERE,
	};
	void *address;

	/* In the other arena tables are in the way: the same blocks, in small leaves. */
	t->kind = (random >> 20 & 3) == 0 ? TORTURE_AREA : TORTURE_LARGE;
	t->nbytes = large_nbytes(random >> 4);
	if (loam_vmalloc_status(vm_of(t), t->nbytes, &opts, &address) != LOAM_OK) {
		t->kind = TORTURE_NOTHING;
		return;
	}
	t->address = (uintptr_t)address;
	if (t->kind == TORTURE_LARGE)
		torture_count(w, TORTURE_LARGES);
	if (opts.align != 0 && t->address % opts.align != 0)
		torture_wrong(w, "an area is not aligned as asked", t->address);
	if (!opts.uninitialized)
		check_zero(w, t);
}

/* What its leaves are, once it is filled. */
static void count_leaves(struct torture_worker *w, const struct torture_thing *t)
{
	for (size_t o = 0; t->kind == TORTURE_LARGE && o + BLOCK_NBYTES <= t->nbytes; o += BLOCK_NBYTES) {
		struct loam_paging_entry entry;

		if (loam_paging_query(&torture_large_tree, t->address + o, &entry) != LOAM_OK)
			torture_wrong(w, "an area is not mapped", t->address + o);
		else if (entry.leaf_shift == BLOCK_SHIFT)
			torture_count(w, TORTURE_LEAVES);
	}
}

static void take_mapping(struct torture_thing *t, uint64_t random)
{
	size_t want = 1 + random % TORTURE_MAPPED_MAX;
	struct loam_frame_opts raw = {.uninitialized = true};
	void *address;

	t->npages = loam_frame_alloc_batch(kernel_system.frames, want, &raw, t->pfns);
	if (t->npages == 0)
		return;
	if (loam_vmap(&torture_vm, t->pfns, t->npages, LOAM_PROT_READ | LOAM_PROT_WRITE, LOAM_HERE, &address) !=
	    LOAM_OK) {
		loam_frame_free_batch(kernel_system.frames, t->pfns, t->npages);
		return;
	}
	t->kind = TORTURE_MAPPING;
	t->address = (uintptr_t)address;
	t->nbytes = t->npages * LOAM_PAGE_SIZE;
}

static void take_stack(struct torture_thing *t, uint64_t random)
{
	void *top;

	t->nbytes = (2 + random % 3) * LOAM_PAGE_SIZE;
	if (loam_vstack_alloc(&torture_vm, t->nbytes, LOAM_HERE, &top) != LOAM_OK)
		return;
	t->kind = TORTURE_STACK;
	t->address = (uintptr_t)top - t->nbytes;
}

void torture_resize(struct torture_worker *w, struct torture_thing *t)
{
	uint64_t random = torture_random(&w->random);
	size_t nbytes;
	void *moved;

	if (t->kind == TORTURE_OBJECT) {
		nbytes = random_size(random, false);
		moved = loam_heap_realloc(torture_heaps[t->which], (void *)t->address, nbytes);
		if (moved == NULL) {
			torture_count(w, TORTURE_REFUSED);
			return;
		}
	} else if (t->kind == TORTURE_AREA || t->kind == TORTURE_LARGE) {
		nbytes = t->kind == TORTURE_LARGE ? large_nbytes(random) : (1 + random % 40) * LOAM_PAGE_SIZE;
		if (loam_vrealloc(vm_of(t), (void *)t->address, nbytes, NULL, &moved) != LOAM_OK) {
			torture_count(w, TORTURE_REFUSED);
			return;
		}
	} else {
		return;
	}
	/* The places that are looked at depend on the size: only the first word is surely where it was. */
	t->address = (uintptr_t)moved;
	t->nbytes = nbytes;
	if (load(t, 0) != mix(t->seed))
		torture_wrong(w, "a thing was lost when its size changed", t->address);
	fill(w, t);
}

void torture_protect(struct torture_worker *w, struct torture_thing *t)
{
	enum loam_status status;

	if (t->kind != TORTURE_AREA && t->kind != TORTURE_LARGE && t->kind != TORTURE_MAPPING)
		return;
	status = loam_vmalloc_protect(vm_of(t), (void *)t->address, LOAM_PROT_READ);
	if (status == LOAM_OK || status == LOAM_ERR_TIMEOUT)
		check(w, t);
	/* A large leaf that could not be split is as it was. */
	while ((status = loam_vmalloc_protect(vm_of(t), (void *)t->address, LOAM_PROT_READ | LOAM_PROT_WRITE)) !=
	       LOAM_OK)
		if (status != LOAM_ERR_NO_MEMORY && status != LOAM_ERR_TIMEOUT) {
			torture_wrong(w, "an area's permissions cannot be given back", t->address);
			return;
		}
	fill(w, t);
}

/* ---- any of them -------------------------------------------------------------------------------------------------------------- */

static const char *what_to_take(unsigned int what)
{
	return what < 22   ? "allocate frames"
	       : what < 42 ? "allocate an object"
	       : what < 50 ? "allocate a typed object"
	       : what < 52 ? "allocate a run"
	       : what < 58 ? "allocate an area"
	       : what < 62 ? "map frames"
			   : "allocate a stack";
}

void torture_take(struct torture_worker *w, struct torture_thing *t, bool irq)
{
	uint64_t random = torture_random(irq ? &w->in_random : &w->random);
	unsigned int what = (unsigned int)(random >> 58);

	*t = (struct torture_thing){.seed = random};
	if (!irq)
		torture_doing(w, what_to_take(what));
	if (what < 22)
		take_frames(w, t, random, irq);
	else if (what < 42)
		take_object(w, t, random, irq);
	else if (what < 50 || irq)
		take_typed(t, random);
	else if (what < 52)
		take_run(w, t, random);
	else if (what < 58 && (random >> 40) % 8 != 0)
		take_area(w, t, random);
	else if (what < 58)
		take_large(w, t, random);
	else if (what < 62)
		take_mapping(t, random);
	else
		take_stack(t, random);
	if (t->kind == TORTURE_NOTHING)
		torture_count(w, TORTURE_REFUSED);
	else
		fill(w, t);
	count_leaves(w, t);
}

void torture_drop(struct torture_worker *w, struct torture_thing *t, bool irq)
{
	uint64_t random = torture_random(irq ? &w->in_random : &w->random);
	void *address = (void *)t->address;
	bool freed = true;

	if (t->kind == TORTURE_NOTHING)
		return;
	check(w, t);
	switch (t->kind) {
	case TORTURE_FRAMES:
		loam_frame_free(kernel_system.frames, t->pfn, t->order);
		break;
	case TORTURE_RUN:
		drop_run(t, random);
		break;
	case TORTURE_SHARED:
		(void)loam_frame_put(kernel_system.frames, t->pfn, 0);
		break;
	case TORTURE_OBJECT:
		loam_heap_free_at(torture_heaps[t->which], address, LOAM_HERE);
		break;
	case TORTURE_TYPED:
		loam_heap_cache_free(torture_caches[t->which], (char *)address - TYPED_HEAD);
		break;
	case TORTURE_AREA:
	case TORTURE_LARGE:
		freed = random % 32 == 0 && !irq ? loam_vfree_now(vm_of(t), address) : loam_vfree(vm_of(t), address);
		break;
	case TORTURE_MAPPING:
		/* Nobody reads there any more, so the frames need not wait for the flush as an area's do. */
		freed = loam_vunmap(&torture_vm, address);
		loam_frame_free_batch(kernel_system.frames, t->pfns, t->npages);
		break;
	case TORTURE_STACK:
		freed = loam_vstack_free(&torture_vm, (char *)address + t->nbytes);
		break;
	case TORTURE_NOTHING:
		break;
	}
	if (!freed)
		torture_wrong(w, "what was live could not be freed", t->address);
	t->kind = TORTURE_NOTHING;
}

void torture_batch(struct torture_worker *w)
{
	struct loam_frame_opts opts = random_opts(torture_random(&w->random));
	loam_pfn pfns[64];
	size_t want = 1 + torture_random(&w->random) % 64;
	size_t n = loam_frame_alloc_batch(kernel_system.frames, want, &opts, pfns);

	for (size_t i = 0; i < n; i++)
		*(uint64_t *)loam_frame_virt(kernel_system.frames, pfns[i]) = pfns[i];
	for (size_t i = 0; i < n; i++)
		if (*(uint64_t *)loam_frame_virt(kernel_system.frames, pfns[i]) != pfns[i])
			torture_wrong(w, "a frame was handed out twice",
				      (uintptr_t)loam_frame_virt(kernel_system.frames, pfns[i]));
	loam_frame_free_batch(kernel_system.frames, pfns, n);
	if (n < want)
		torture_count(w, TORTURE_REFUSED);
}

void torture_bulk(struct torture_worker *w)
{
	uint64_t random = torture_random(&w->random);
	struct loam_heap *heap = torture_heaps[random % TORTURE_HEAPS];
	size_t nbytes = 8 + (random >> 8) % 400, want = 1 + (random >> 32) % 64;
	void *objects[64];
	size_t n = loam_heap_alloc_bulk(heap, nbytes, want, objects);

	for (size_t i = 0; i < n; i++)
		*(uintptr_t *)objects[i] = (uintptr_t)objects[i];
	for (size_t i = 0; i < n; i++)
		if (*(uintptr_t *)objects[i] != (uintptr_t)objects[i])
			torture_wrong(w, "an object was handed out twice", (uintptr_t)objects[i]);
	loam_heap_free_bulk(heap, objects, n);
	if (n < want)
		torture_count(w, TORTURE_REFUSED);
}

void torture_own_cache(struct torture_worker *w)
{
	struct loam_heap *heap = torture_heaps[torture_random(&w->random) % TORTURE_HEAPS];
	struct loam_cache_config config = {.name = "torture-own", .nbytes = 200};
	struct loam_heap_cache *cache;
	void *objects[24];

	if (loam_heap_cache_create(heap, &config, &cache) != LOAM_OK) {
		torture_count(w, TORTURE_REFUSED);
		return;
	}
	for (size_t i = 0; i < 24; i++) {
		objects[i] = loam_heap_cache_alloc(cache);
		/* Where memory is short each may wait for shrinkers on other CPUs. */
		torture_got_on(w);
	}
	for (size_t i = 0; i < 24; i++)
		if (objects[i] != NULL)
			loam_heap_cache_free(cache, objects[i]);
	if (loam_heap_cache_destroy(heap, cache) != LOAM_OK)
		torture_wrong(w, "a cache without objects cannot be destroyed", (uintptr_t)cache);
}

void torture_upkeep(struct torture_worker *w)
{
	uint64_t random = torture_random(&w->random);

	switch (random % 8) {
	case 0:
		(void)loam_heap_trim(torture_heaps[random >> 8 & 1]);
		break;
	case 1:
		if (loam_vmalloc_purge(random & 0x100 ? &torture_vm : &torture_large_vm) == LOAM_ERR_NOT_READY)
			torture_wrong(w, "the arena is not there", 0);
		break;
	case 2:
		loam_frame_drain(kernel_system.frames);
		break;
	default:
		(void)loam_frame_zero_idle(kernel_system.frames, 4);
		break;
	}
}
