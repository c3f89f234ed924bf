/* tests/unit/heap/sanitizer.c: an address sanitizer sees what is done to freed objects, where Loam is compiled with one. On the host, in build/host-asan. */
#include "heap_rig.h"

#ifdef LOAMI_POISONS
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int __asan_address_is_poisoned(const volatile void *at);

static bool poisoned(const void *at)
{
	return __asan_address_is_poisoned(at) != 0;
}

/* What a child says that reads @at, and whether it came to its end. */
static bool survives_reading(const volatile char *at, char *said, size_t nbytes)
{
	int ends[2], status;
	ssize_t n, got = 0;
	pid_t child;

	if (pipe(ends) != 0)
		return true;
	fflush(NULL);
	child = fork();
	if (child == 0) {
		(void)dup2(ends[1], 2);
		(void)*at;
		_exit(0);
	}
	close(ends[1]);
	while ((size_t)got < nbytes - 1 && (n = read(ends[0], said + got, nbytes - 1 - (size_t)got)) > 0)
		got += n;
	said[got] = '\0';
	close(ends[0]);
	(void)waitpid(child, &status, 0);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
#endif

TEST(H6_an_address_sanitizer_sees_a_use_after_free)
{
#ifndef LOAMI_POISONS
	tap_skip("not compiled with an address sanitizer");
#else
	static const size_t sizes[] = {1, 64, 1000, 5000, 60000, 90000};
	static char said[4096];
	struct heap_rig rig = heap_rig_make(8192, 1, false);

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		/* The slow way first, then the fast one. */
		for (unsigned int round = 0; round < 3; round++) {
			char *object = loam_heap_alloc(rig.heap, sizes[i]);
			size_t usable = loam_heap_usable_size(rig.heap, object);

			heap_rig_fill(object, usable, i);
			CHECK(!poisoned(object) && !poisoned(object + usable - 1));
			loam_heap_free(rig.heap, object);
			CHECK(poisoned(object) && poisoned(object + usable - 1));
			if (round != 0)
				continue;
			CHECK(!survives_reading(object + usable / 2, said, sizeof(said)));
			CHECK(strstr(said, "use-after-poison") != NULL);
		}
	}
	heap_rig_end(&rig);
#endif
}

TEST(H6_an_address_sanitizer_sees_places_nobody_owns_yet)
{
#ifndef LOAMI_POISONS
	tap_skip("not compiled with an address sanitizer");
#else
	struct heap_rig rig = heap_rig_make(2048, 1, false);
	struct loam_cache_config config = {.name = "narrow", .nbytes = 40, .align = 128};
	struct loam_heap_cache *cache;
	char *object;

	CHECK_OK(loam_heap_cache_create(rig.heap, &config, &cache));
	object = loam_heap_cache_alloc(cache);
	CHECK(!poisoned(object) && !poisoned(object + 47));
	CHECK(poisoned(object + 48));
	CHECK(poisoned((char *)((uintptr_t)object ^ 128)));
	loam_heap_cache_free(cache, object);
	CHECK(poisoned(object));
	CHECK_OK(loam_heap_cache_destroy(rig.heap, cache));
	/* Frames that are no longer the heap's are nobody's business. */
	(void)loam_heap_drain(rig.heap);
	CHECK(!poisoned(object));
	heap_rig_end(&rig);
#endif
}
