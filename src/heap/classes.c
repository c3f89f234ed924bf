/* heap/classes.c: sizes.
 *
 * 16-byte steps to 128, then four steps per doubling to 64 KiB: 44 classes. A request wastes at most a quarter of its place (16 bytes below 128), 12 % on
 * average. Slabs are runs of 1 to 8 frames, or one object's above that. The first slab of a cache is as short as wastes at most a sixteenth (or the least there is), each further one is
 * up to twice as long as the one before: memory is touched only when it is used.
 */
#include "internal.h"

#define R2(c) c, c
#define R4(c) R2(c), R2(c)
#define R8(c) R4(c), R4(c)
#define R16(c) R8(c), R8(c)
#define R32(c) R16(c), R16(c)
#define R64(c) R32(c), R32(c)
#define R128(c) R64(c), R64(c)
#define R256(c) R128(c), R128(c)
#define R512(c) R256(c), R256(c)
#define C(i) (LOAMI_LIVE + (i))

/* Entry i is for up to 16 * i bytes: one for nothing and one each to 128; then four classes of 2 granules, four of 4 ... four of 512. */
const uint8_t loami_class_codes[LOAM_HEAP_SMALL_MAX / 16 + 1] = {
	C(0),        C(0),        C(1),        C(2),        C(3),        C(4),        C(5),        C(6),
	C(7),        R2(C(8)),    R2(C(9)),    R2(C(10)),   R2(C(11)),   R4(C(12)),   R4(C(13)),   R4(C(14)),
	R4(C(15)),   R8(C(16)),   R8(C(17)),   R8(C(18)),   R8(C(19)),   R16(C(20)),  R16(C(21)),  R16(C(22)),
	R16(C(23)),  R32(C(24)),  R32(C(25)),  R32(C(26)),  R32(C(27)),  R64(C(28)),  R64(C(29)),  R64(C(30)),
	R64(C(31)),  R128(C(32)), R128(C(33)), R128(C(34)), R128(C(35)), R256(C(36)), R256(C(37)), R256(C(38)),
	R256(C(39)), R512(C(40)), R512(C(41)), R512(C(42)), R512(C(43)),
};

static uint32_t class_nbytes(unsigned int index)
{
	if (index < 8)
		return 16 * (index + 1);
	return (5 + index % 4) << (5 + (index - 8) / 4);
}

static uint32_t waste(uint32_t frames, uint32_t nbytes)
{
	return frames * (uint32_t)LOAM_PAGE_SIZE % nbytes;
}

unsigned int loami_slab_frames(const struct loam_heap_cache *cache, uint64_t nslabs)
{
	unsigned int least = nslabs >= 3 ? LOAMI_SLAB_FRAMES_GROWN : 1U << nslabs;
	unsigned int best;

	if (least < cache->frames_first)
		least = cache->frames_first;
	best = least;
	for (unsigned int n = least; n <= LOAMI_SLAB_FRAMES_GROWN && n < 2 * least; n++)
		if (waste(n, cache->nbytes) * best < waste(best, cache->nbytes) * n)
			best = n;
	return best;
}

static uint16_t clamp(uint64_t value, uint16_t least, uint16_t most)
{
	if (value < least)
		return least;
	return value > most ? most : (uint16_t)value;
}

void loami_cache_shape(struct loam_heap_cache *cache, uint64_t ram_frames)
{
	uint32_t nbytes = cache->nbytes;
	/* What a CPU may park per class: 256 KiB, less on small machines, where it is a 2048th of memory. */
	uint64_t parked = ram_frames * LOAM_PAGE_SIZE / 2048;
	unsigned int first = 0, best = 0;

	for (unsigned int n = 1; n <= LOAMI_SLAB_FRAMES_MAX && first == 0; n++) {
		if (n * LOAM_PAGE_SIZE < nbytes)
			continue;
		if (best == 0 || waste(n, nbytes) * best < waste(best, nbytes) * n)
			best = n;
		if (waste(n, nbytes) * 16 <= n * LOAM_PAGE_SIZE)
			first = n;
	}
	cache->frames_first = (uint8_t)(first != 0 ? first : best);
	cache->magazine_nbytes = nbytes <= 512    ? 2048
				 : nbytes <= 1024 ? 1024
				 : nbytes <= 2048 ? 512
				 : nbytes <= 4096 ? 256
						  : 128;
	cache->capacity = (uint16_t)(cache->magazine_nbytes / sizeof(struct loami_entry) - 2);
	if (parked > 262144)
		parked = 262144;
	if (nbytes > LOAM_PAGE_SIZE)
		cache->capacity = clamp(parked / nbytes, 1, cache->capacity);
	cache->stock_max = clamp(parked / ((uint64_t)cache->capacity * nbytes), 1, 16);
	cache->depot_max = (uint16_t)(2 * cache->stock_max);
	cache->keep_empty = 1;
	cache->partial = LOAM_FRAME_LINK_NONE;
	cache->empty = LOAM_FRAME_LINK_NONE;
	cache->lock = LOAMI_LOCK_INIT(LOAMI_RANK_HEAP_CACHE);
}

void loami_classes_init(struct loam_heap *heap, uint64_t ram_frames)
{
	for (unsigned int i = 0; i < LOAM_HEAP_SIZE_CLASSES; i++) {
		struct loam_heap_cache *cache = &heap->sizes[i];

		*cache = (struct loam_heap_cache){
			.heap = heap,
			.nbytes = class_nbytes(i),
			.usable = class_nbytes(i) - (heap->hardened ? LOAMI_CANARY_NBYTES : 0),
			.code = (uint8_t)C(i),
		};
		loami_cache_shape(cache, ram_frames);
		/* Where CPUs come and go they are threads, and what one frees another allocates. With a quarter of it 2000 objects of 1500 B that are freed
		 * and allocated again take four times as long. */
		if (heap->cpus_later)
			cache->depot_max = (uint16_t)(16 * cache->stock_max);
		(void)loami_format(cache->name, sizeof(cache->name), "size-%u", cache->nbytes);
		loami_store_release(&heap->caches[cache->code], cache);
	}
}
