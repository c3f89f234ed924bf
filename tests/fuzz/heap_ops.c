/* tests/fuzz/heap_ops.c: bytes as calls of the heap: any size, alignment and order of them, good pointers and bad ones, memory that runs out. The contents of every object are
 * known; a bad pointer must be named and change nothing; in the end everything is freed, the heap's check holds and every frame is back.
 */
#include "fuzz.h"

#include <base/poison.h>
#include <loam/heap.h>

#include <host.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HELD = 64, RAM_PAGES = 704 };

struct reader {
	const uint8_t *at;
	size_t left;
};

struct held {
	unsigned char *object;
	size_t nbytes;
	unsigned char key;
	bool typed;
};

static struct {
	struct loam_frames frames;
	struct loam_memmap map;
	struct loam_region raw, regions[8];
	struct loam_heap heap;
	struct loam_heap_cache *cache;
	struct held held[HELD];
	uint64_t used;
} s;
static jmp_buf caught;
static bool expecting;
static char panic_text[512];

#define REQUIRE(x) ((x) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x), abort()))

static void on_panic(enum loam_fatal fatal, const char *text)
{
	(void)fatal;
	snprintf(panic_text, sizeof(panic_text), "%s", text);
	if (expecting)
		longjmp(caught, 1);
	fprintf(stderr, "%s\n", text);
	abort();
}
static bool say_nothing(const char *text, size_t nbytes)
{
	(void)text;
	(void)nbytes;
	return true;
}

static uint64_t take(struct reader *r, size_t width)
{
	uint64_t value = 0;

	for (; width > 0 && r->left > 0; width--, r->left--)
		value = value << 8 | *r->at++;
	return value;
}

static uint64_t used(void)
{
	struct loam_frames_stats stats;

	loam_frame_drain(&s.frames);
	loam_frame_read_stats(&s.frames, &stats);
	return stats.used;
}

static void begin(unsigned int flags)
{
	static void *ram;
	struct loam_heap_config config = {
		.frames = &s.frames, .ncpus = 1, .track = (flags & 1) != 0, .hardened = (flags & 2) != 0};
	struct loam_frames_config below = {.map = &s.map, .ncpus = 1};

	if (!ram)
		ram = aligned_alloc(65536, RAM_PAGES * LOAM_PAGE_SIZE);
	REQUIRE(ram != NULL);
	loami_unpoison(ram, RAM_PAGES * LOAM_PAGE_SIZE);
	memset(&s, 0, sizeof(s));
	host_hooks.on_panic = on_panic;
	host_hooks.on_log = say_nothing;
	s.raw = (struct loam_region){
		.base = (uintptr_t)ram, .nbytes = RAM_PAGES * LOAM_PAGE_SIZE, .type = LOAM_REGION_USABLE};
	REQUIRE(loam_memmap_init(&s.map, &s.raw, 1, s.regions, 8, 0, NULL, NULL) == LOAM_OK);
	REQUIRE(loam_frames_boot(&s.frames, &below, &s.map) == LOAM_OK);
	REQUIRE(loam_heap_init(&s.heap, &config, NULL, 0) == LOAM_OK);
	s.used = used();
}

static unsigned char pattern(const struct held *held, size_t i)
{
	return (unsigned char)(held->key + i * 7);
}

/* The first and the last 64 bytes of an object say whose it is. */
static void fill(struct held *held)
{
	for (size_t i = 0; i < held->nbytes; i++)
		if (i < 64 || i + 64 >= held->nbytes)
			held->object[i] = pattern(held, i);
		else
			i = held->nbytes - 65;
}

static void look(const struct held *held, size_t n)
{
	for (size_t i = 0; i < n && i < 64; i++)
		REQUIRE(held->object[i] == pattern(held, i));
	if (n == held->nbytes && n >= 64)
		for (size_t i = n - 64; i < n; i++)
			REQUIRE(held->object[i] == pattern(held, i));
}

static void hold(unsigned int i, void *object, size_t nbytes, bool typed)
{
	s.held[i] = (struct held){0};
	if (!object)
		return;
	s.held[i] = (struct held){object, nbytes, (unsigned char)(i * 37 + nbytes), typed};
	for (unsigned int j = 0; j < HELD; j++)
		if (j != i && s.held[j].object)
			REQUIRE((unsigned char *)object + nbytes <= s.held[j].object ||
				s.held[j].object + s.held[j].nbytes <= (unsigned char *)object);
	REQUIRE(loam_heap_usable_size(&s.heap, object) >= nbytes);
	fill(&s.held[i]);
}

static void let_go(unsigned int i, unsigned int how)
{
	struct held *held = &s.held[i];

	if (held->object)
		look(held, held->nbytes);
	if (held->typed && how % 2 == 0)
		loam_heap_cache_free(s.cache, held->object);
	else
		loam_heap_free(&s.heap, held->object);
	*held = (struct held){0};
}

static size_t size_of(struct reader *r)
{
	uint64_t kind = take(r, 1);

	return kind < 128   ? kind * 5
	       : kind < 240 ? (size_t)take(r, 2)
	       : kind < 250 ? (size_t)take(r, 3)
			    : (size_t)take(r, 8);
}

/* What is no live object's start must be named and change nothing. */
static void bad_free(struct reader *r, uint64_t what)
{
	struct held *held = &s.held[take(r, 1) % HELD];
	unsigned char *at = what % 4 == 0 ? (unsigned char *)(uintptr_t)take(r, 8)
					  : (unsigned char *)(uintptr_t)(s.raw.base + take(r, 3));
	struct loam_heap_stats before, after;

	if (what % 4 == 1 && held->object)
		at = held->object + 1 + take(r, 2);
	for (unsigned int i = 0; i < HELD; i++)
		if (s.held[i].object == at)
			return;
	if (!at)
		return;
	loam_heap_read_stats(&s.heap, &before);
	expecting = true;
	if (setjmp(caught) == 0) {
		if (what & 16)
			(void)loam_heap_usable_size(&s.heap, at);
		else if (what & 32)
			loam_heap_free_sized(&s.heap, at, 64);
		else
			loam_heap_free(&s.heap, at);
		fprintf(stderr, "%p was freed\n", (void *)at);
		abort();
	}
	expecting = false;
	REQUIRE(strncmp(panic_text, "loam: heap: ", 12) == 0);
	loam_heap_read_stats(&s.heap, &after);
	REQUIRE(after.frees == before.frees && after.used_bytes == before.used_bytes);
}

static void step(struct reader *r)
{
	uint64_t what = take(r, 1);
	unsigned int i = (unsigned int)(take(r, 1) % HELD);
	struct held *held = &s.held[i];
	size_t nbytes, align, old;
	void *object;

	switch (what % 12) {
	case 0:
	case 1:
		let_go(i, (unsigned int)what);
		nbytes = size_of(r);
		hold(i, loam_heap_alloc(&s.heap, nbytes), nbytes, false);
		break;
	case 2:
		let_go(i, (unsigned int)what);
		nbytes = size_of(r);
		align = (size_t)1 << (take(r, 1) % 64);
		object = loam_heap_alloc_aligned(&s.heap, nbytes, align);
		REQUIRE((uintptr_t)object % align == 0);
		hold(i, object, nbytes, false);
		break;
	case 3:
		let_go(i, (unsigned int)what);
		nbytes = size_of(r);
		object = loam_heap_alloc_array(&s.heap, what >> 4, nbytes);
		if (object && nbytes * (what >> 4) != 0)
			REQUIRE(((char *)object)[0] == 0 && ((char *)object)[nbytes * (what >> 4) - 1] == 0);
		hold(i, object, nbytes * (what >> 4), false);
		break;
	case 4:
		let_go(i, (unsigned int)what);
		if (s.cache)
			hold(i, loam_heap_cache_alloc(s.cache), 200, true);
		break;
	case 5:
		nbytes = size_of(r);
		if (held->typed)
			break;
		old = held->nbytes;
		object = loam_heap_realloc(&s.heap, held->object, nbytes);
		if (!object)
			break;
		held->object = object;
		look(held, old < nbytes ? old : nbytes);
		hold(i, object, nbytes, false);
		break;
	case 6:
	case 7:
		let_go(i, (unsigned int)what);
		break;
	case 8:
		if (held->object && !held->typed && held->nbytes <= LOAM_HEAP_SMALL_MAX && what & 16) {
			let_go(i, 1);
			break;
		}
		bad_free(r, what / 12);
		break;
	case 9:
		if (!s.cache) {
			struct loam_cache_config config = {.name = "fuzz", .nbytes = 200, .align = what & 64};

			REQUIRE(loam_heap_cache_create(&s.heap, &config, &s.cache) == LOAM_OK || !s.cache);
		} else if (loam_heap_cache_destroy(&s.heap, s.cache) == LOAM_OK) {
			for (unsigned int j = 0; j < HELD; j++)
				REQUIRE(!s.held[j].typed);
			s.cache = NULL;
		}
		break;
	case 10:
		(void)loam_heap_trim(&s.heap);
		break;
	default:
		loam_heap_tick(&s.heap);
		REQUIRE((what & 64) == 0 || loam_heap_check(&s.heap) == LOAM_OK);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nbytes)
{
	struct reader r = {.at = bytes, .left = nbytes};
	struct loam_heap_stats stats;

	begin((unsigned int)take(&r, 1));
	for (unsigned int n = 0; r.left > 0 && n < 400; n++)
		step(&r);
	for (unsigned int i = 0; i < HELD; i++)
		let_go(i, i);
	REQUIRE(loam_heap_check(&s.heap) == LOAM_OK);
	loam_heap_read_stats(&s.heap, &stats);
	REQUIRE(stats.used_bytes == 0 && stats.allocations == stats.frees);
	if (s.cache)
		REQUIRE(loam_heap_cache_destroy(&s.heap, s.cache) == LOAM_OK);
	(void)loam_heap_drain(&s.heap);
	REQUIRE(loam_heap_check(&s.heap) == LOAM_OK);
	REQUIRE(used() == s.used);
	return 0;
}
