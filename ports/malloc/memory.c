/* ports/malloc/memory.c: address space becomes RAM for the frame layer, and goes back to the system.
 *
 * 1 Concepts. One range of address space is reserved, without access: the window. Its first step, 2 MiB, is the RAM that the frames are set up over; more is hot-plugged step
 *   by step, twice as much each time up to 16 MiB and then in multiples of that, by a shrinker, which the frame layer runs when it is short of memory: so growth is the first thing tried, and the heap's own trimming the second. Metadata lies beside
 *   the window in mappings that cost nothing where they are not touched. Physical addresses are offsets in the window, from FIRST on: 0 is no frame.
 * 2 Giving back. The frame layer remembers which free frames have been in use (loam_frame_report()). When they, and what waits in the heap's depots, are more than the bound (36 MiB and half of what is in use), a free trims the heap and gives all of it back by
 *   madvise(). Frames that were given back read as zero, so that calloc() of them touches nothing.
 * 3 Huge pages. A process is small until shown otherwise: the window is ordinary pages up to HUGE_FROM, and what lies beyond asks for huge ones.
 * 4 Locks: growing, a word; whoever finds it taken waits. Held inside only.
 */
#include "private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define STEP (16 * MIB) /* a section of the frame layer */
#define FIRST ((loam_paddr)STEP)
#define FIRST_STEP (2 * MIB) /* a block */
#define WINDOW_LEAST (64 * MIB)
#define WINDOW_MOST ((size_t)1 << 40)
#define HUGE_FROM STEP
#define DIRTY_MOST (36 * MIB) /* the largest object of the window, and some */
enum { DEPOT_TURNS = 32, SOON = 4 /* seconds */ };

struct loam_heap loam_malloc_heap __attribute__((visibility("hidden")));
uintptr_t memory_window;
size_t memory_window_nbytes;

static struct loam_frames frames;
static struct loam_shrinker grower;
static uint32_t ready;   /* (atomic) 0 no, 1 being made, 2 yes, 3 it cannot be had */
static uint32_t growing; /* (atomic) */
static uint32_t purging; /* (atomic) */
static size_t grown;     /* bytes */
static size_t metadata_nbytes;
static size_t dirty_most = DIRTY_MOST;
static size_t dirty_again = 2 * DIRTY_MOST;
static size_t allowed = DIRTY_MOST; /* (atomic) dirty_most, or dirty_again for a while */
static size_t touched_then;         /* (atomic) bytes in use or dirty when memory last went; 0: that has been used up */
static uint32_t purged_at;          /* (atomic) and when; seconds */
static uint64_t purged, purges;     /* (atomic) */

/* ---- the environment ------------------------------------------------------------------------------------------------------------- */

extern char **environ; /* NOLINT(readability-redundant-declaration): not in every C library's headers */
extern void *__libc_stack_end __attribute__((weak)); /* of ld.so: where argc is */

const char *memory_option(const char *name)
{
	size_t length = strlen(name);
	char **at = environ;

	if (getauxval(AT_SECURE) != 0)
		return NULL;
	/* The dynamic linker allocates before the C library has been set up. */
	if (!at && &__libc_stack_end && __libc_stack_end) {
		long argc = *(long *)__libc_stack_end;

		at = (char **)__libc_stack_end + 1 + argc + 1;
	}
	for (; at && *at; at++)
		if (strncmp(*at, name, length) == 0 && (*at)[length] == '=')
			return *at + length + 1;
	return NULL;
}

/* ---- growing --------------------------------------------------------------------------------------------------------------------- */

static void *map(size_t nbytes, int protection, int flags)
{
	void *at = mmap(NULL, nbytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

static size_t round_up(size_t nbytes, size_t to)
{
	return (nbytes + to - 1) / to * to;
}

/* The slots of the first section, which are written now, one by one. */
static void populate_slots(size_t from, size_t to)
{
#ifdef MADV_POPULATE_WRITE
	uintptr_t slots = (uintptr_t)loam_frame_slot(&frames, FIRST >> LOAM_PAGE_SHIFT);
	uintptr_t start = (slots + from / LOAM_PAGE_SIZE * sizeof(struct loam_slot)) / LOAM_PAGE_SIZE * LOAM_PAGE_SIZE;

	(void)madvise((void *)start, slots + to / LOAM_PAGE_SIZE * sizeof(struct loam_slot) - start,
		      MADV_POPULATE_WRITE);
#else
	(void)from, (void)to;
#endif
}

/* Where the next step ends, that adds at least @nbytes; 0: beyond the window. */
static size_t next_end(size_t nbytes)
{
	size_t least = round_up(grown + nbytes, grown + nbytes <= STEP ? FIRST_STEP : STEP);
	size_t end = grown < STEP ? 2 * grown : grown + round_up(grown / 8, STEP);

	if (end < least || end > memory_window_nbytes)
		end = least;
	return nbytes > memory_window_nbytes || end > memory_window_nbytes ? 0 : end;
}

/* One more step of at least @nbytes; @growing is held. */
static size_t grow_locked(size_t nbytes)
{
	static const struct loam_zone_watermarks marks = {.low = MIB / LOAM_PAGE_SIZE};
	loam_paddr base = FIRST + grown;
	size_t end = next_end(nbytes), step = end - grown, metadata;
	void *at;

	if (end <= grown)
		return 0;
	metadata = loam_frame_add_memory_size(&frames, base, step);
	if (metadata == 0 || mprotect((void *)(memory_window + grown), step, PROT_READ | PROT_WRITE) != 0)
		return 0;
	at = map(metadata, PROT_READ | PROT_WRITE, MAP_POPULATE);
	if (grown < STEP)
		populate_slots(grown, end < STEP ? end : STEP);
	if (!at || loam_heap_cover(HEAP, base + step) != LOAM_OK ||
	    (end >= STEP && loam_frame_set_watermarks(&frames, 0, &marks) != LOAM_OK) ||
	    loam_frame_add_memory(&frames, base, step, 0, at, metadata) != LOAM_OK) {
		if (at)
			(void)munmap(at, metadata);
		return 0;
	}
	if (end > HUGE_FROM) {
		size_t from = grown > HUGE_FROM ? grown : HUGE_FROM;

		(void)madvise((void *)(memory_window + from), end - from, MADV_HUGEPAGE);
	}
	metadata_nbytes += metadata;
	__atomic_store_n(&grown, end, __ATOMIC_RELAXED);
	return step;
}

static size_t grow(struct loam_shrinker *self, size_t npages)
{
	size_t got;

	(void)self;
	for (unsigned int round = 0; __atomic_exchange_n(&growing, 1, __ATOMIC_ACQUIRE) != 0; round++)
		loam_port_relax(round);
	got = npages > memory_window_nbytes / LOAM_PAGE_SIZE ? 0 : grow_locked(npages * LOAM_PAGE_SIZE);
	__atomic_store_n(&growing, 0, __ATOMIC_RELEASE);
	return got / LOAM_PAGE_SIZE;
}

/* ---- setting up -------------------------------------------------------------------------------------------------------------------- */

/* Address space for the window: four times the RAM, within reason, and no more than may be had. */
static bool reserve(void)
{
	long pages = sysconf(_SC_PHYS_PAGES);
	size_t want = WINDOW_LEAST, ram = pages > 0 ? (size_t)pages * LOAM_PAGE_SIZE : 0;
	struct rlimit limit;

	while (want < 4 * ram && want < WINDOW_MOST)
		want *= 2;
	if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
		while (want > WINDOW_LEAST && want > limit.rlim_cur / 2)
			want /= 2;
	for (; want >= WINDOW_LEAST; want /= 2) {
		char *at = map(want + STEP, PROT_NONE, 0);
		size_t skew;

		if (!at)
			continue;
		skew = (0 - (uintptr_t)at) % STEP;
		if (skew != 0)
			(void)munmap(at, skew);
		(void)munmap(at + skew + want, STEP - skew);
		memory_window = (uintptr_t)at + skew;
		memory_window_nbytes = want;
		return true;
	}
	return false;
}

static bool make_frames(void)
{
	struct loam_region raw = {.base = FIRST, .nbytes = FIRST_STEP, .type = LOAM_REGION_USABLE}, regions[3];
	struct loam_zone_watermarks marks = {.low = FIRST_STEP / 8 / LOAM_PAGE_SIZE};
	struct loam_memmap memmap;
	struct loam_frames_config config = {
		.map = &memmap,
		.direct_map = memory_window - (uintptr_t)FIRST,
		.ncpus = 1,
		.hotplug_limit = FIRST + memory_window_nbytes,
		.zeroed = true,
		.report = true,
	};
	uint64_t nbytes;
	char *at;

	if (mprotect((void *)memory_window, FIRST_STEP, PROT_READ | PROT_WRITE) != 0 ||
	    loam_memmap_init(&memmap, &raw, 1, regions, 3, 0, NULL, NULL) != LOAM_OK)
		return false;
	nbytes = loam_frames_metadata_size(&config);
	at = nbytes == 0 ? NULL : map(nbytes, PROT_READ | PROT_WRITE, 0);
	if (!at)
		return false;
	if (loam_frames_init(&frames, &config, at, nbytes) != LOAM_OK ||
	    loam_frame_cpu_offline(&frames, 0) != LOAM_OK || loam_frame_set_watermarks(&frames, 0, &marks) != LOAM_OK)
		return false;
	metadata_nbytes = nbytes;
	__atomic_store_n(&grown, FIRST_STEP, __ATOMIC_RELAXED);
	return true;
}

static bool make_heap(void)
{
	const char *profile = memory_option("LOAM_PROFILE");
	struct loam_heap_config config = {
		.frames = &frames,
		.ncpus = PLACES,
		.cpus_later = true,
		.limit = FIRST + memory_window_nbytes,
		.hardened = profile && strcmp(profile, "hardened") == 0,
	};
	size_t nbytes = loam_heap_metadata_size(&config);
	void *at = map(nbytes, PROT_READ | PROT_WRITE, 0);

	if (!at || loam_heap_init(HEAP, &config, at, nbytes) != LOAM_OK)
		return false;
	metadata_nbytes += nbytes;
	/* The last one registered is the first one asked. */
	grower = (struct loam_shrinker){.shrink = grow, .name = "window"};
	return loam_frame_add_shrinker(&frames, &grower) == LOAM_OK;
}

static bool make(void)
{
	const char *dirty = memory_option("LOAM_DIRTY_MIB");

	if (dirty)
		dirty_most = dirty_again = allowed = strtoul(dirty, NULL, 10) * MIB;
	if (!reserve() || !make_frames() || !island_setup() || !make_heap())
		return false;
	thread_setup();
	return true;
}

bool memory_ready(void)
{
	uint32_t state = __atomic_load_n(&ready, __ATOMIC_ACQUIRE);

	if (LIKELY(state == 2))
		return true;
	state = 0;
	if (__atomic_compare_exchange_n(&ready, &state, 1, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
		int saved = errno;
		/* What this thread's own signals allocate meanwhile must not wait for it. */
		bool made;

		SELF->inside = 1;
		made = make();
		SELF->inside = 0;
		__atomic_store_n(&ready, made ? 2 : 3, __ATOMIC_RELEASE);
		errno = saved;
		return made;
	}
	if (SELF->inside != 0)
		return false;
	for (unsigned int round = 0; state == 1; round++) {
		loam_port_relax(round);
		state = __atomic_load_n(&ready, __ATOMIC_ACQUIRE);
	}
	return state == 2;
}

/* ---- giving back --------------------------------------------------------------------------------------------------------------------- */

/* It reads as zero then. Locked memory stays, and there is no telling how much of the rest has gone. */
void memory_give_up(void *at, size_t nbytes)
{
	if (UNLIKELY(madvise(at, nbytes, MADV_DONTNEED) != 0))
		memset(at, 0, nbytes);
}

static void give_back(void *context, loam_pfn first, uint64_t npages)
{
	(void)context;
	memory_give_up(loam_frame_virt(&frames, first), npages * LOAM_PAGE_SIZE);
}

static size_t purge(uint64_t npages)
{
	uint64_t done;

	/* One at a time, and nobody waits. */
	if (npages == 0 || __atomic_exchange_n(&purging, 1, __ATOMIC_ACQUIRE) != 0)
		return 0;
	done = loam_frame_report(&frames, npages, give_back, NULL);
	__atomic_store_n(&purging, 0, __ATOMIC_RELEASE);
	(void)__atomic_fetch_add(&purged, done * LOAM_PAGE_SIZE, __ATOMIC_RELAXED);
	(void)__atomic_fetch_add(&purges, 1, __ATOMIC_RELAXED);
	return (size_t)done * LOAM_PAGE_SIZE;
}

/* Seconds, by a clock that costs no system call. */
static uint32_t now(void)
{
	struct timespec t = {0};

	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint32_t)t.tv_sec;
}

/* Memory is to be given back. Was it in vain the last time: is as much of the window touched again, soon after? Then twice as much may stay dirty for a while, and this time
 * nothing goes: true. That is decided once for each time that memory went. */
static bool asked_again(size_t touched, size_t dirty)
{
	size_t then = __atomic_exchange_n(&touched_then, 0, __ATOMIC_RELAXED);
	uint32_t second = now();

	if (then != 0 && touched >= then / 4 * 3 && second - __atomic_load_n(&purged_at, __ATOMIC_RELAXED) < SOON &&
	    dirty <= dirty_again) {
		__atomic_store_n(&allowed, dirty_again, __ATOMIC_RELAXED);
		__atomic_store_n(&purged_at, second, __ATOMIC_RELAXED);
		return true;
	}
	__atomic_store_n(&allowed, dirty_most, __ATOMIC_RELAXED);
	__atomic_store_n(&touched_then, touched, __ATOMIC_RELAXED);
	__atomic_store_n(&purged_at, second, __ATOMIC_RELAXED);
	return false;
}

void memory_upkeep(void)
{
	size_t dirty = (size_t)loam_frame_unreported_racy(&frames) * LOAM_PAGE_SIZE, used, most;
	struct loam_frames_stats counts;

	/* Objects that wait in depots hold memory too. To add them up takes a while. */
	if (++SELF->turns % DEPOT_TURNS == 0)
		dirty += loam_heap_depots_racy(HEAP);
	if (LIKELY(dirty <= dirty_most))
		return;
	most = __atomic_load_n(&allowed, __ATOMIC_RELAXED);
	/* A bound that was raised falls again when nothing has asked for it. */
	if (dirty <= most && now() - __atomic_load_n(&purged_at, __ATOMIC_RELAXED) < SOON)
		return;
	/* Who uses much may keep more: what goes back now would be asked for again. */
	loam_frame_read_stats(&frames, &counts);
	used = (size_t)counts.used * LOAM_PAGE_SIZE;
	if (dirty - dirty_most <= used / 2 || asked_again(used + dirty, dirty))
		return;
	(void)thread_flush_idle();
	(void)loam_heap_trim(HEAP);
	(void)memory_purge();
}

size_t memory_purge(void)
{
	return purge(loam_frame_unreported_racy(&frames));
}

void memory_read_stats(struct memory_stats *stats)
{
	struct loam_frames_stats counts;

	loam_frame_read_stats(&frames, &counts);
	*stats = (struct memory_stats){
		.window = memory_window_nbytes,
		.grown = __atomic_load_n(&grown, __ATOMIC_RELAXED),
		.free = (size_t)counts.free * LOAM_PAGE_SIZE,
		.dirty = (size_t)loam_frame_unreported_racy(&frames) * LOAM_PAGE_SIZE,
		.metadata = metadata_nbytes,
		.purged = __atomic_load_n(&purged, __ATOMIC_RELAXED),
		.purges = __atomic_load_n(&purges, __ATOMIC_RELAXED),
	};
}
