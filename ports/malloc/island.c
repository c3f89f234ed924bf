/* ports/malloc/island.c: a little memory without locks, for signal handlers that land in a slow path of their own thread.
 *
 * Pages of one range. A word per page says: 0 free; n the first of n pages of an object; INSIDE a further one, or one that is changing hands. A run is taken page by page by compare-and-swap,
 * and given back page by page, first page first: so a second free of it finds no object. Pages that come back are given back to the system, and so are always zero.
 */
#include "private.h"

#include <sys/mman.h>

enum { PAGES = 4096 };
#define INSIDE UINT32_MAX

static uintptr_t start;
static uint32_t *pages; /* (atomic) */

bool island_setup(void)
{
	size_t nbytes = PAGES * (LOAM_PAGE_SIZE + sizeof(uint32_t));
	void *at = mmap(NULL, nbytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		return false;
	pages = (uint32_t *)((char *)at + PAGES * LOAM_PAGE_SIZE);
	__atomic_store_n(&start, (uintptr_t)at, __ATOMIC_RELEASE);
	return true;
}

bool island_holds(const void *at)
{
	uintptr_t from = __atomic_load_n(&start, __ATOMIC_ACQUIRE);

	return from != 0 && (uintptr_t)at - from < PAGES * LOAM_PAGE_SIZE;
}

/* Pages [first, first + n), or none of them. Return: how many were free. */
static size_t take(size_t first, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t was = 0;

		if (__atomic_compare_exchange_n(&pages[first + i], &was, INSIDE, false, __ATOMIC_ACQUIRE,
						__ATOMIC_RELAXED))
			continue;
		for (size_t k = i; k-- > 0;)
			__atomic_store_n(&pages[first + k], 0, __ATOMIC_RELEASE);
		return i;
	}
	return n;
}

void *island_alloc(size_t nbytes, size_t align)
{
	uintptr_t from = __atomic_load_n(&start, __ATOMIC_ACQUIRE);
	size_t n = nbytes / LOAM_PAGE_SIZE + (nbytes % LOAM_PAGE_SIZE != 0 || nbytes == 0);

	if (align < LOAM_PAGE_SIZE)
		align = LOAM_PAGE_SIZE;
	for (size_t at = 0; from != 0 && n <= PAGES && at <= PAGES - n;) {
		size_t skew = (0 - (from + at * LOAM_PAGE_SIZE)) % align / LOAM_PAGE_SIZE, free;

		if (skew != 0) {
			at += skew;
			continue;
		}
		free = take(at, n);
		if (free == n) {
			__atomic_store_n(&pages[at], (uint32_t)n, __ATOMIC_RELEASE);
			return (void *)(from + at * LOAM_PAGE_SIZE);
		}
		at += free + 1;
	}
	return NULL;
}

size_t island_size(const void *object)
{
	uintptr_t offset = (uintptr_t)object - start;
	uint32_t n = __atomic_load_n(&pages[offset / LOAM_PAGE_SIZE], __ATOMIC_ACQUIRE);

	if (offset % LOAM_PAGE_SIZE != 0 || n == 0 || n == INSIDE)
		report_misuse("no object of a signal handler starts there", object);
	return n * LOAM_PAGE_SIZE;
}

void island_free(void *object)
{
	size_t first = ((uintptr_t)object - start) / LOAM_PAGE_SIZE;
	uint32_t n = (uint32_t)(island_size(object) / LOAM_PAGE_SIZE);

	if (!__atomic_compare_exchange_n(&pages[first], &n, INSIDE, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		report_misuse("it was freed twice at once", object);
	memory_give_up(object, n * LOAM_PAGE_SIZE);
	for (size_t i = n; i-- > 0;)
		__atomic_store_n(&pages[first + i], 0, __ATOMIC_RELEASE);
}
