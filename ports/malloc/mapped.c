/* ports/malloc/mapped.c: objects of 33 MiB and more: a mapping each.
 *
 * 1 Concepts. A table says which mappings are objects: open addressing by address, where an entry that goes leaves a tombstone, so that entries never move and a reader needs no lock.
 *   Address space is rounded to 2 MiB, so that mappings lie side by side aligned to a huge page, and whole huge pages are asked for. Growing moves page tables, not bytes.
 * 4 Locks: tables, a word; held inside only.
 */
#include "private.h"

#include <string.h>
#include <sys/mman.h>

#define ENTRIES ((size_t)1 << 17) /* twice the mappings that Linux allows by default */
#define TOMB ((uintptr_t)1)

struct entry {
	uintptr_t address; /* (atomic) 0: never used; TOMB */
	size_t nbytes;     /* (atomic) as asked for, in pages */
};

static struct entry *entries;
static uint32_t tables; /* (atomic) */
static size_t count, total;

static void lock(void)
{
	for (unsigned int round = 0; __atomic_exchange_n(&tables, 1, __ATOMIC_ACQUIRE) != 0; round++)
		loam_port_relax(round);
}

static void unlock(void)
{
	__atomic_store_n(&tables, 0, __ATOMIC_RELEASE);
}

static size_t slot_of(uintptr_t address)
{
	return (size_t)((uint64_t)(address / LOAM_PAGE_SIZE) * UINT64_C(0x9e3779b97f4a7c15) >> 47) % ENTRIES;
}

static struct entry *find(uintptr_t address)
{
	struct entry *table = __atomic_load_n(&entries, __ATOMIC_ACQUIRE);
	size_t at = slot_of(address);

	for (size_t i = 0; table && i < ENTRIES; i++, at = (at + 1) % ENTRIES) {
		uintptr_t there = __atomic_load_n(&table[at].address, __ATOMIC_ACQUIRE);

		if (there == address)
			return &table[at];
		if (there == 0)
			break;
	}
	return NULL;
}

static bool make_table(void)
{
	void *at;

	if (entries)
		return true;
	at = mmap(NULL, ENTRIES * sizeof(struct entry), PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return false;
	__atomic_store_n(&entries, (struct entry *)at, __ATOMIC_RELEASE);
	return true;
}

/* False: the table is full. */
static bool add_locked(uintptr_t address, size_t nbytes)
{
	size_t at = slot_of(address);

	if (!make_table() || count >= ENTRIES / 4 * 3)
		return false;
	while (entries[at].address > TOMB)
		at = (at + 1) % ENTRIES;
	__atomic_store_n(&entries[at].nbytes, nbytes, __ATOMIC_RELAXED);
	__atomic_store_n(&entries[at].address, address, __ATOMIC_RELEASE);
	count++;
	total += nbytes;
	return true;
}

static size_t remove_locked(uintptr_t address)
{
	struct entry *entry = find(address);
	size_t nbytes;

	if (!entry)
		return 0;
	nbytes = entry->nbytes;
	__atomic_store_n(&entry->address, TOMB, __ATOMIC_RELEASE);
	count--;
	total -= nbytes;
	return nbytes;
}

static size_t round_up(size_t nbytes, size_t to)
{
	return (nbytes + to - 1) / to * to;
}

static void *map(size_t nbytes)
{
	void *at = mmap(NULL, nbytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

static void *map_aligned(size_t nbytes, size_t align)
{
	char *at = map(nbytes);
	size_t skew;

	if (!at || (uintptr_t)at % align == 0)
		return at;
	(void)munmap(at, nbytes);
	at = map(nbytes + align);
	if (!at)
		return NULL;
	skew = (0 - (uintptr_t)at) % align;
	if (skew != 0)
		(void)munmap(at, skew);
	(void)munmap(at + skew + nbytes, align - skew);
	return at + skew;
}

void *mapped_alloc(size_t nbytes, size_t align)
{
	size_t mapped = round_up(nbytes == 0 ? 1 : nbytes, HUGE_PAGE);
	bool added;
	void *at;

	if (align < HUGE_PAGE)
		align = HUGE_PAGE;
	if (mapped < nbytes || mapped + align < mapped)
		return NULL;
	at = map_aligned(mapped, align);
	if (!at)
		return NULL;
	(void)madvise(at, nbytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
	lock();
	added = add_locked((uintptr_t)at, round_up(nbytes == 0 ? 1 : nbytes, LOAM_PAGE_SIZE));
	unlock();
	if (added)
		return at;
	(void)munmap(at, mapped);
	return NULL;
}

bool mapped_free(void *object)
{
	size_t nbytes;

	lock();
	nbytes = remove_locked((uintptr_t)object);
	unlock();
	if (nbytes == 0)
		return false;
	(void)munmap(object, round_up(nbytes, HUGE_PAGE));
	return true;
}

size_t mapped_size(const void *object)
{
	const struct entry *entry = (uintptr_t)object <= TOMB ? NULL : find((uintptr_t)object);

	return entry ? __atomic_load_n(&entry->nbytes, __ATOMIC_RELAXED) : 0;
}

void *mapped_resize(void *object, size_t nbytes)
{
	size_t old = mapped_size(object), from = round_up(old, HUGE_PAGE), to = round_up(nbytes, HUGE_PAGE);
	void *at = object;

	if (old == 0 || to < nbytes)
		return NULL;
	if (from != to) {
		/* Nobody else has the object: the entry is ours. It may move, and another thread be given its old address at once: so its entry goes first. */
		lock();
		(void)remove_locked((uintptr_t)object);
		unlock();
		at = mremap(object, from, to, MREMAP_MAYMOVE);
		if (at == MAP_FAILED) {
			lock();
			(void)add_locked((uintptr_t)object, old);
			unlock();
			return NULL;
		}
		(void)madvise(at, nbytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
		lock();
		(void)add_locked((uintptr_t)at, round_up(nbytes, LOAM_PAGE_SIZE));
		unlock();
		return at;
	}
	lock();
	(void)remove_locked((uintptr_t)object);
	(void)add_locked((uintptr_t)object, round_up(nbytes, LOAM_PAGE_SIZE));
	unlock();
	return object;
}

size_t mapped_count(size_t *nbytes)
{
	size_t n;

	lock();
	n = count;
	*nbytes = total;
	unlock();
	return n;
}
