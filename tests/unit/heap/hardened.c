/* tests/unit/heap/hardened.c: what the hardened profile catches, and that it still is a heap. */
#include "heap_rig.h"

static struct heap_rig make(unsigned int ncpus)
{
	return heap_rig_make_with(4096, &(struct loam_heap_config){.ncpus = ncpus, .hardened = true});
}

TEST(H6_hardened_a_write_beyond_the_end_is_named_at_the_free)
{
	struct heap_rig rig = make(1);
	char *object = loam_heap_alloc(rig.heap, 56);
	char kept;

	CHECK_EQ(loam_heap_usable_size(rig.heap, object), 56);
	kept = object[56];
	object[56] = (char)(kept + 1);
	const char *volatile text = NULL;
	char begin[96];
	TAP_PANICS(loam_heap_free(rig.heap, object), text);
	(void)loami_format(begin, sizeof(begin),
			   "loam: heap: free of 0x%lx (size-64), which was written to beyond its end (", HEX(object));
	CHECK(text != NULL);
	for (size_t i = 0; begin[i] != '\0'; i++)
		CHECK(text[i] == begin[i]);
	/* Nothing has changed: repaired, it can be freed. */
	object[56] = kept;
	loam_heap_free(rig.heap, object);
	heap_rig_end(&rig);
}

/* Allocate and free until the place of a freed object comes up again; what is said then. Each free takes one of 256 out of quarantine: that none of so many is that one
 * would be a chance of 10^-33, whatever the random numbers are.
 */
static const char *until_named(struct heap_rig *rig, size_t nbytes)
{
	const char *volatile text = NULL;

	for (unsigned int i = 0; i < 20000 && !text; i++)
		TAP_PANICS(loam_heap_free(rig->heap, loam_heap_alloc(rig->heap, nbytes)), text);
	return text;
}

TEST(H6_hardened_a_write_after_free_is_named_when_the_place_is_used_again)
{
	HEAP_RIG_TOUCHES_FREED();
	struct heap_rig rig = make(1);
	char *object = loam_heap_alloc(rig.heap, 1000);
	char expected[128];

	loam_heap_free(rig.heap, object);
	object[24] = 1;
	(void)loami_format(expected, sizeof(expected),
			   "loam: heap: 0x%lx (size-1024) was written to while it was free, at byte 24", HEX(object));
	CHECK_STR(until_named(&rig, 1000), expected);
	CHECK_OK(loam_heap_check(rig.heap));
	rig_destroy(rig.rig);
}

TEST(H6_hardened_a_write_after_free_is_named_wherever_it_was)
{
	HEAP_RIG_TOUCHES_FREED();
	for (size_t nbytes = 1, usable; nbytes <= LOAM_HEAP_SMALL_MAX - 8; nbytes = usable + 1) {
		struct heap_rig rig = make(1);
		void *object = loam_heap_alloc(rig.heap, nbytes);
		size_t words;

		usable = loam_heap_usable_size(rig.heap, object);
		/* Where the canary was too. */
		words = usable / 8 + 1;
		loam_heap_free(rig.heap, object);
		for (size_t i = 0; i < words;
		     i += words <= 64 || i < 20 || i + 20 >= words ? 1 : (words - 20 - i) / 20 + 1) {
			uint64_t *at = loam_heap_alloc(rig.heap, usable);
			char expected[128];

			CHECK(at != NULL);
			loam_heap_free(rig.heap, at);
			at[i] = UINT64_C(1) << i % 64;
			(void)loami_format(expected, sizeof(expected),
					   "loam: heap: 0x%lx (size-%zu) was written to while it was free, at byte %zu",
					   HEX(at), words * 8, i * 8);
			CHECK_STR(until_named(&rig, usable), expected);
		}
		rig_destroy(rig.rig);
	}
}

TEST(H6_hardened_freed_memory_is_cleared_and_waits)
{
	HEAP_RIG_TOUCHES_FREED();
	struct heap_rig rig = make(1);
	unsigned int soon = 0;

	for (unsigned int i = 0; i < 200; i++) {
		unsigned char *object = loam_heap_alloc(rig.heap, 200), *next;

		CHECK(object != NULL);
		for (unsigned int j = 0; j < 200; j++)
			CHECK(object[j] == 0);
		heap_rig_fill(object, 200, i);
		loam_heap_free(rig.heap, object);
		for (unsigned int j = 0; j < 200; j++)
			CHECK(object[j] == 0);
		next = loam_heap_alloc(rig.heap, 200);
		soon += next == object;
		loam_heap_free(rig.heap, next);
	}
	CHECK(soon < 20);
	heap_rig_end(&rig);
}

TEST(H6_hardened_places_come_in_no_order)
{
	struct heap_rig rig = make(1);
	char *objects[64];
	unsigned int neighbours = 0;

	for (unsigned int i = 0; i < 64; i++)
		objects[i] = loam_heap_alloc(rig.heap, 100);
	for (unsigned int i = 1; i < 64; i++)
		neighbours += objects[i] == objects[i - 1] + 112;
	CHECK(neighbours < 20);
	for (unsigned int i = 0; i < 64; i++)
		loam_heap_free(rig.heap, objects[i]);
	heap_rig_end(&rig);
}

TEST(H6_hardened_double_free_and_its_like_are_named)
{
	struct heap_rig rig = make(1);
	char *object = loam_heap_alloc(rig.heap, 50);

	CHECK_MISUSE(loam_heap_free(rig.heap, object + 16),
		     "loam: heap: free of interior pointer 0x%lx, 16 bytes into live object 0x%lx (size-64)",
		     HEX(object + 16), HEX(object));
	CHECK_MISUSE(loam_heap_free_sized(rig.heap, object, 64),
		     "loam: heap: sized free of 0x%lx (size-64) with 64 bytes, but its place has 56", HEX(object));
	loam_heap_free_sized(rig.heap, object, 50);
	CHECK_MISUSE(loam_heap_free(rig.heap, object), "loam: heap: double free of 0x%lx (size-64)", HEX(object));
	heap_rig_end(&rig);
}

TEST(H1_hardened_sizes_leave_room_for_the_canary)
{
	struct heap_rig rig = make(1);

	for (size_t nbytes = 0; nbytes <= 80000; nbytes += nbytes < 300 ? 1 : 211) {
		void *object = loam_heap_alloc(rig.heap, nbytes),
		     *aligned = loam_heap_alloc_aligned(rig.heap, nbytes, 128);

		CHECK(object && aligned);
		CHECK(loam_heap_usable_size(rig.heap, object) >= nbytes);
		CHECK_EQ((uintptr_t)aligned % 128, 0);
		heap_rig_fill(object, loam_heap_usable_size(rig.heap, object), nbytes);
		heap_rig_fill(aligned, loam_heap_usable_size(rig.heap, aligned), nbytes);
		loam_heap_free(rig.heap, aligned);
		loam_heap_free_sized(rig.heap, object, nbytes);
	}
	heap_rig_end(&rig);
}

static void construct(void *object, void *context)
{
	*(uint64_t *)object = (uintptr_t)context;
}

TEST(H1_hardened_constructed_objects_stay_constructed)
{
	struct heap_rig rig = make(1);
	struct loam_cache_config config = {
		.name = "made", .nbytes = 100, .construct = construct, .context = (void *)0x1234};
	struct loam_heap_cache *cache;

	CHECK_OK(loam_heap_cache_create(rig.heap, &config, &cache));
	for (unsigned int i = 0; i < 1000; i++) {
		uint64_t *object = loam_heap_cache_alloc(cache);

		CHECK(object && *object == 0x1234);
		loam_heap_cache_free(cache, object);
	}
	config.nbytes = LOAM_HEAP_SMALL_MAX;
	CHECK_STATUS(loam_heap_cache_create(rig.heap, &config, &cache), LOAM_ERR_TOO_LARGE);
	rig_destroy(rig.rig);
}

struct race {
	struct loam_heap *heap;
	void *objects[1000];
	uint64_t done;
};

static bool churn(struct rig *rig, unsigned int cpu, void *context)
{
	struct race *race = context;
	uint64_t seed = cpu + 1;

	(void)rig;
	for (unsigned int i = 0; i < 5000; i++) {
		uint64_t r = rig_random(&seed);
		void *object = loam_heap_alloc(race->heap, r % 500);
		void *other;

		if (!object)
			return false;
		*(char *)object = 1;
		other = __atomic_exchange_n(&race->objects[(r >> 20) % 100], object, __ATOMIC_ACQ_REL);
		loam_heap_free(race->heap, other);
	}
	return true;
}

TEST(H2_hardened_cpus_share_a_heap)
{
	unsigned int ncpus = rig_cpus() < 4 ? rig_cpus() : 4;
	struct heap_rig rig = make(ncpus);
	static struct race race;

	race = (struct race){.heap = rig.heap};
	CHECK(rig_run(rig.rig, churn, &race));
	for (unsigned int i = 0; i < 100; i++)
		loam_heap_free(rig.heap, race.objects[i]);
	heap_rig_end(&rig);
}
