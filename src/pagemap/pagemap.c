/* pagemap/pagemap.c: pages of a small board as bits under a tree of 64-way words.
 *
 * 1 Concepts. A page is free (its bit is 1), handed out or reserved (its bit is 0). Reserved are all pages outside of [low, high): the only reservations there
 *   are begin at an end of the window, so two numbers remember them and no second bitmap is needed.
 * 2 Structure, for 770 048 pages:
 *
 *	bits[3]                      1 word      a bit says: some free page among 262 144
 *	bits[2]                      3 words     ... among 4096
 *	bits[1]                    188 words     ... among 64
 *	bits[0]                 12 032 words     a bit a page
 *
 *   The lowest free page is found by four find-first-set from the top; an allocation or a free touches a higher word only when a lower one becomes, or stops
 *   being, zero.
 * 3 Invariants, all checked by loam_pagemap_check(). I1: bit w of level k + 1 is 1 exactly when word w of level k is not zero. I2: bits that stand for
 *   nothing, past the end of a level, are 0. I3: no page outside of [low, high) is free. I4: nfree is the number of free pages.
 * 4 Locks: pool->lock guards all; nfree, low, high and the refusals are also read without it, as single words. It is held for at most nlevels words, but for
 *   a reservation, which goes over the range it reserves word by word, at boot.
 * 5 Alone. This file and the headers it includes need of the port log, irq_save and irq_restore only. That is why it waits for its lock by itself (base/lock.c
 *   would ask for relax) and prints its one number by itself.
 * 6 Not done: reserving in the middle of the window. Who has holes wants the frame layer.
 */
#include <loam/pagemap.h>

#include <base/atomic.h>
#include <base/bits.h>
#include <base/lock.h>

_Static_assert(LOAM_PAGEMAP_PAGES_MAX == UINT64_C(1) << (6 * LOAM_PAGEMAP_LEVELS), "levels and size agree");

static uint64_t words_for(uint64_t nbits)
{
	return (nbits + 63) / 64;
}

static unsigned long lock_pool(struct loam_pagemap *pool)
{
	unsigned long state = loam_port_irq_save();

	loami_witness_lock(&pool->lock, false);
	while (loami_exchange_acquire(&pool->lock.word, 1) != 0) {
		while (loami_load_relaxed(&pool->lock.word) != 0)
			continue;
	}
	return state;
}

static void set_count(uint64_t *count, uint64_t value)
{
	loami_store_relaxed(count, value);
}

size_t loam_pagemap_metadata_size(uint64_t npages)
{
	uint64_t words = npages;
	uint64_t total = 0;

	if (npages == 0 || npages > LOAM_PAGEMAP_PAGES_MAX)
		return 0;
	do {
		words = words_for(words);
		total += words;
	} while (words > 1);
	return (size_t)(total * sizeof(uint64_t));
}

enum loam_status loam_pagemap_init(struct loam_pagemap *pool, loam_paddr start, loam_paddr end, uintptr_t direct_map,
				   void *metadata, size_t nbytes)
{
	uint64_t *next = metadata;
	uint64_t nbits;

	if (pool == NULL || metadata == NULL || start == 0 || start >= end ||
	    (end - start) / LOAM_PAGE_SIZE > LOAM_PAGEMAP_PAGES_MAX)
		return LOAM_ERR_INVALID;
	if (!loami_is_aligned(start | end, LOAM_PAGE_SIZE) || !loami_is_aligned((uintptr_t)metadata, sizeof(uint64_t)))
		return LOAM_ERR_ALIGNMENT;
	nbits = (end - start) / LOAM_PAGE_SIZE;
	if (nbytes < loam_pagemap_metadata_size(nbits))
		return LOAM_ERR_NO_METADATA;

	*pool = (struct loam_pagemap){
		.lock = LOAMI_LOCK_INIT(LOAMI_RANK_BOOT),
		.start = start,
		.npages = nbits,
		.high = nbits,
		.nfree = nbits,
		.direct_map = direct_map,
	};
	do {
		uint64_t words = words_for(nbits);

		pool->bits[pool->nlevels++] = next;
		for (uint64_t i = 0; i < words; i++)
			next[i] = i + 1 < words ? ~UINT64_C(0) : loami_mask64((unsigned int)(nbits - 64 * i));
		next += words;
		nbits = words;
	} while (nbits > 1);
	return LOAM_OK;
}

/* ---- one page --------------------------------------------------------------------------------------------------------- */

static void clear_bit_locked(struct loam_pagemap *pool, uint64_t index)
{
	for (unsigned int level = 0; level < pool->nlevels; level++) {
		uint64_t *word = &pool->bits[level][index / 64];

		*word &= ~(UINT64_C(1) << index % 64);
		if (*word != 0)
			return;
		index /= 64;
	}
}

static void set_bit_locked(struct loam_pagemap *pool, uint64_t index)
{
	for (unsigned int level = 0; level < pool->nlevels; level++) {
		uint64_t *word = &pool->bits[level][index / 64];
		uint64_t before = *word;

		*word = before | UINT64_C(1) << index % 64;
		if (before != 0)
			return;
		index /= 64;
	}
}

loam_paddr loam_pagemap_alloc_uninitialized(struct loam_pagemap *pool)
{
	unsigned long state = lock_pool(pool);
	uint64_t index = 0;

	if (pool->nfree == 0) {
		loami_unlock_irq(&pool->lock, state);
		return LOAM_PAGEMAP_NONE;
	}
	for (unsigned int level = pool->nlevels; level > 0; level--)
		index = index * 64 + loami_ctz64(pool->bits[level - 1][index]);
	clear_bit_locked(pool, index);
	set_count(&pool->nfree, pool->nfree - 1);
	loami_unlock_irq(&pool->lock, state);
	return pool->start + index * LOAM_PAGE_SIZE;
}

loam_paddr loam_pagemap_alloc(struct loam_pagemap *pool)
{
	loam_paddr page = loam_pagemap_alloc_uninitialized(pool);

	if (page != LOAM_PAGEMAP_NONE)
		__builtin_memset((void *)loam_pagemap_to_kernel(pool, page), 0, LOAM_PAGE_SIZE);
	return page;
}

static enum loam_status refuse(uint64_t *count, enum loam_status why)
{
	set_count(count, *count + 1);
	return why;
}

enum loam_status loam_pagemap_free(struct loam_pagemap *pool, loam_paddr page)
{
	unsigned long state = lock_pool(pool);
	uint64_t index = (page - pool->start) / LOAM_PAGE_SIZE;
	enum loam_status status = LOAM_OK;

	if (page < pool->start || index >= pool->npages) {
		status = refuse(&pool->refusals.out_of_range, LOAM_ERR_OUT_OF_RANGE);
	} else if (!loami_is_aligned(page, LOAM_PAGE_SIZE)) {
		status = refuse(&pool->refusals.unaligned, LOAM_ERR_ALIGNMENT);
	} else if (index < pool->low || index >= pool->high) {
		status = refuse(&pool->refusals.reserved, LOAM_ERR_RESERVED);
	} else if ((pool->bits[0][index / 64] >> index % 64 & 1) != 0) {
		status = refuse(&pool->refusals.already_free, LOAM_ERR_ALREADY_FREE);
	} else {
		set_bit_locked(pool, index);
		set_count(&pool->nfree, pool->nfree + 1);
	}
	loami_unlock_irq(&pool->lock, state);
	return status;
}

uintptr_t loam_pagemap_alloc_kernel(struct loam_pagemap *pool)
{
	loam_paddr page = loam_pagemap_alloc(pool);

	return page == LOAM_PAGEMAP_NONE ? 0 : loam_pagemap_to_kernel(pool, page);
}

enum loam_status loam_pagemap_free_kernel(struct loam_pagemap *pool, uintptr_t address)
{
	return loam_pagemap_free(pool, loam_pagemap_to_physical(pool, address));
}

/* ---- ranges ----------------------------------------------------------------------------------------------------------- */

/* Clear bits [from, to) of one level. Return: how many were set. */
static uint64_t clear_bits(uint64_t *bits, uint64_t from, uint64_t to)
{
	uint64_t cleared = 0;

	for (uint64_t word = from / 64; word * 64 < to; word++) {
		uint64_t mask = ~UINT64_C(0);

		if (word == from / 64)
			mask &= ~loami_mask64((unsigned int)(from % 64));
		if (to - word * 64 < 64)
			mask &= loami_mask64((unsigned int)(to - word * 64));
		cleared += loami_popcount64(bits[word] & mask);
		bits[word] &= ~mask;
	}
	return cleared;
}

/* No page of [from, to) is free any more. */
static void reserve_locked(struct loam_pagemap *pool, uint64_t from, uint64_t to)
{
	if (from >= to)
		return;
	set_count(&pool->nfree, pool->nfree - clear_bits(pool->bits[0], from, to));
	/* Of the words just written all are zero but perhaps the first and the last: these are the bits to clear one level up. */
	for (unsigned int level = 1; level < pool->nlevels; level++) {
		uint64_t first = from / 64;
		uint64_t last = (to - 1) / 64;

		from = pool->bits[level - 1][first] == 0 ? first : first + 1;
		to = pool->bits[level - 1][last] == 0 ? last + 1 : last;
		if (from >= to)
			return;
		(void)clear_bits(pool->bits[level], from, to);
	}
}

/* The first page whose address is at or above @address, at most npages. */
static uint64_t page_at_or_above(const struct loam_pagemap *pool, loam_paddr address)
{
	uint64_t nbytes;

	if (address <= pool->start)
		return 0;
	nbytes = address - pool->start;
	if (nbytes > pool->npages * LOAM_PAGE_SIZE)
		return pool->npages;
	return (nbytes + LOAM_PAGE_SIZE - 1) / LOAM_PAGE_SIZE;
}

void loam_pagemap_reserve_below(struct loam_pagemap *pool, loam_paddr end)
{
	uint64_t low = page_at_or_above(pool, end);
	unsigned long state = lock_pool(pool);

	if (low > pool->high)
		low = pool->high;
	if (low > pool->low) {
		reserve_locked(pool, pool->low, low);
		set_count(&pool->low, low);
	}
	loami_unlock_irq(&pool->lock, state);
}

void loam_pagemap_reserve_above(struct loam_pagemap *pool, loam_paddr start)
{
	uint64_t high = page_at_or_above(pool, start);
	unsigned long state = lock_pool(pool);

	if (high < pool->low)
		high = pool->low;
	if (high < pool->high) {
		reserve_locked(pool, high, pool->high);
		set_count(&pool->high, high);
	}
	loami_unlock_irq(&pool->lock, state);
}

/* ---- counts ----------------------------------------------------------------------------------------------------------- */

uint64_t loam_pagemap_total(const struct loam_pagemap *pool)
{
	return loami_load_relaxed(&pool->high) - loami_load_relaxed(&pool->low);
}

uint64_t loam_pagemap_free_count(const struct loam_pagemap *pool)
{
	return loami_load_relaxed(&pool->nfree);
}

struct loam_pagemap_refusals loam_pagemap_read_refusals(const struct loam_pagemap *pool)
{
	return (struct loam_pagemap_refusals){
		.out_of_range = loami_load_relaxed(&pool->refusals.out_of_range),
		.unaligned = loami_load_relaxed(&pool->refusals.unaligned),
		.reserved = loami_load_relaxed(&pool->refusals.reserved),
		.already_free = loami_load_relaxed(&pool->refusals.already_free),
	};
}

uint64_t loam_pagemap_dump_free_count(const struct loam_pagemap *pool)
{
	static const char digits[] = "0123456789abcdef";
	char line[] = "free_pages: 0000000000000000\n";
	uint64_t count = loam_pagemap_free_count(pool);

	for (unsigned int i = 0; i < 16; i++)
		line[sizeof(line) - 3 - i] = digits[count >> (4 * i) & 15];
	loam_port_log(line, sizeof(line) - 1);
	return count;
}

enum loam_status loam_pagemap_check(const struct loam_pagemap *pool)
{
	uint64_t nbits = pool->npages;
	uint64_t free = 0;

	if (pool->low > pool->high || pool->high > pool->npages)
		return LOAM_ERR_INVALID;
	for (unsigned int level = 0; level < pool->nlevels; level++) {
		for (uint64_t i = 0; i < words_for(nbits); i++) {
			uint64_t word = pool->bits[level][i];
			uint64_t valid =
				nbits - 64 * i < 64 ? loami_mask64((unsigned int)(nbits - 64 * i)) : ~UINT64_C(0);

			if ((word & ~valid) != 0)
				return LOAM_ERR_INVALID;
			if (level + 1 < pool->nlevels &&
			    (pool->bits[level + 1][i / 64] >> i % 64 & 1) != (uint64_t)(word != 0))
				return LOAM_ERR_INVALID;
			if (level > 0)
				continue;
			free += loami_popcount64(word);
			for (uint64_t left = word; left != 0; left &= left - 1) {
				uint64_t page = 64 * i + loami_ctz64(left);

				if (page < pool->low || page >= pool->high)
					return LOAM_ERR_INVALID;
			}
		}
		nbits = words_for(nbits);
	}
	return free == pool->nfree ? LOAM_OK : LOAM_ERR_INVALID;
}
