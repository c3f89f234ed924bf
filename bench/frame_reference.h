/* bench/frame_reference.h: what frames are measured against, written for it: a byte map scanned from its start, as the seed has it; and the classic: a buddy
 * allocator with its free lists in 64-byte slots and a cache of 64 frames per CPU, both under spin locks, as most kernels have it.
 */
#ifndef BENCH_FRAME_REFERENCE_H
#define BENCH_FRAME_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <base/bits.h>

#define REF_NONE UINT32_MAX

/* Memory as a kernel's metadata has it: in large pages where the system gives them. */
static void *reference_memory(size_t nbytes)
{
	size_t large = (size_t)2 << 20;
	char *memory =
		mmap(NULL, nbytes + large, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		abort();
	memory = (char *)(((uintptr_t)memory + large - 1) & ~(uintptr_t)(large - 1));
	madvise(memory, nbytes, MADV_HUGEPAGE);
	return memory;
}

struct spin {
	uint32_t word;
};
static inline void spin_lock(struct spin *lock)
{
	while (__builtin_expect(__atomic_exchange_n(&lock->word, 1, __ATOMIC_ACQUIRE) != 0, 0))
		for (unsigned int round = 0; __atomic_load_n(&lock->word, __ATOMIC_RELAXED) != 0; round++)
			loam_port_relax(round);
}
static inline void spin_unlock(struct spin *lock)
{
	__atomic_store_n(&lock->word, 0, __ATOMIC_RELEASE);
}

/* ---- the byte map --------------------------------------------------------------------------------------------------------- */

struct bytemap {
	uint8_t *used;
	size_t n;
};

static inline uint32_t bytemap_alloc(struct bytemap *map)
{
	for (size_t i = 0; i < map->n; i++) {
		if (*(volatile uint8_t *)&map->used[i] == 0) {
			map->used[i] = 1;
			return (uint32_t)i;
		}
	}
	return REF_NONE;
}
static inline void bytemap_free(struct bytemap *map, uint32_t frame)
{
	map->used[frame] = 0;
}

/* ---- the classic buddy ------------------------------------------------------------------------------------------------------- */

enum { BUDDY_ORDERS = 19, BUDDY_CPUS = 4, BUDDY_CACHES = 3 };

struct buddy_slot {
	uint32_t next, prev;
	uint32_t flags;
	uint8_t order;
	bool free;
	uint32_t refcount;
	uint8_t rest[40];
} __attribute__((aligned(64)));

struct buddy_list {
	uint32_t head, tail, count;
};

struct buddy_cpu {
	struct spin lock;
	struct buddy_list lists[BUDDY_CACHES]; /* orders 0, 3, 9 */
} __attribute__((aligned(128)));

struct buddy {
	struct spin lock;
	struct buddy_slot *slots;
	uint32_t n;
	struct buddy_list free[BUDDY_ORDERS];
	struct buddy_cpu cpus[BUDDY_CPUS];
};

static const uint32_t buddy_high[BUDDY_CACHES] = {64, 16, 4};

static inline int buddy_cache(unsigned int order)
{
	return order == 0 ? 0 : order == 3 ? 1 : order == 9 ? 2 : -1;
}

static inline void buddy_push(struct buddy *buddy, struct buddy_list *list, uint32_t frame)
{
	struct buddy_slot *slot = &buddy->slots[frame];

	slot->prev = REF_NONE;
	slot->next = list->head;
	if (list->head != REF_NONE)
		buddy->slots[list->head].prev = frame;
	else
		list->tail = frame;
	list->head = frame;
	list->count++;
}

static inline void buddy_unlink(struct buddy *buddy, struct buddy_list *list, uint32_t frame)
{
	struct buddy_slot *slot = &buddy->slots[frame];

	if (slot->prev != REF_NONE)
		buddy->slots[slot->prev].next = slot->next;
	else
		list->head = slot->next;
	if (slot->next != REF_NONE)
		buddy->slots[slot->next].prev = slot->prev;
	else
		list->tail = slot->prev;
	list->count--;
}

static uint32_t buddy_take(struct buddy *buddy, unsigned int order)
{
	for (unsigned int o = order; o < BUDDY_ORDERS; o++) {
		uint32_t frame = buddy->free[o].head;

		if (frame == REF_NONE)
			continue;
		buddy_unlink(buddy, &buddy->free[o], frame);
		buddy->slots[frame].free = false;
		while (o > order) {
			uint32_t half = frame + (UINT32_C(1) << --o);

			buddy->slots[half].order = (uint8_t)o;
			buddy->slots[half].free = true;
			buddy_push(buddy, &buddy->free[o], half);
		}
		return frame;
	}
	return REF_NONE;
}

static void buddy_give(struct buddy *buddy, uint32_t frame, unsigned int order)
{
	while (order + 1 < BUDDY_ORDERS) {
		uint32_t other = frame ^ (UINT32_C(1) << order);

		if (other >= buddy->n || !buddy->slots[other].free || buddy->slots[other].order != order)
			break;
		buddy_unlink(buddy, &buddy->free[order], other);
		buddy->slots[other].free = false;
		frame &= other;
		order++;
	}
	buddy->slots[frame].order = (uint8_t)order;
	buddy->slots[frame].free = true;
	buddy_push(buddy, &buddy->free[order], frame);
}

static void buddy_init(struct buddy *buddy, uint32_t n)
{
	memset(buddy, 0, sizeof(*buddy));
	buddy->n = n;
	buddy->slots = reference_memory((size_t)n * sizeof(struct buddy_slot));
	memset(buddy->slots, 0, (size_t)n * sizeof(struct buddy_slot));
	for (unsigned int o = 0; o < BUDDY_ORDERS; o++)
		buddy->free[o] = (struct buddy_list){REF_NONE, REF_NONE, 0};
	for (unsigned int c = 0; c < BUDDY_CPUS; c++)
		for (unsigned int k = 0; k < BUDDY_CACHES; k++)
			buddy->cpus[c].lists[k] = (struct buddy_list){REF_NONE, REF_NONE, 0};
	for (uint32_t frame = n; frame > 0; frame -= UINT32_C(1) << 18)
		buddy_give(buddy, frame - (UINT32_C(1) << 18), 18);
}

static inline uint32_t buddy_alloc(struct buddy *buddy, unsigned int order)
{
	int k = buddy_cache(order);
	uint32_t frame;

	if (k >= 0) {
		struct buddy_cpu *cpu = &buddy->cpus[loam_port_cpu()];
		struct buddy_list *list = &cpu->lists[k];

		spin_lock(&cpu->lock);
		if (__builtin_expect(list->head == REF_NONE, 0)) {
			spin_lock(&buddy->lock);
			for (uint32_t i = 0; i < buddy_high[k] / 2; i++) {
				frame = buddy_take(buddy, order);
				if (frame == REF_NONE)
					break;
				buddy_push(buddy, list, frame);
			}
			spin_unlock(&buddy->lock);
		}
		frame = list->head;
		if (frame != REF_NONE)
			buddy_unlink(buddy, list, frame);
		spin_unlock(&cpu->lock);
	} else {
		spin_lock(&buddy->lock);
		frame = buddy_take(buddy, order);
		spin_unlock(&buddy->lock);
	}
	if (__builtin_expect(frame != REF_NONE, 1)) {
		buddy->slots[frame].order = (uint8_t)order;
		__atomic_store_n(&buddy->slots[frame].refcount, 1, __ATOMIC_RELEASE);
	}
	return frame;
}

static inline void buddy_free(struct buddy *buddy, uint32_t frame, unsigned int order)
{
	int k = buddy_cache(order);

	if (__atomic_fetch_sub(&buddy->slots[frame].refcount, 1, __ATOMIC_ACQ_REL) != 1)
		abort();
	if (k >= 0) {
		struct buddy_cpu *cpu = &buddy->cpus[loam_port_cpu()];
		struct buddy_list *list = &cpu->lists[k];

		spin_lock(&cpu->lock);
		buddy_push(buddy, list, frame);
		if (__builtin_expect(list->count >= buddy_high[k], 0)) {
			spin_lock(&buddy->lock);
			for (uint32_t i = 0; i < buddy_high[k] / 2; i++) {
				uint32_t oldest = list->tail;

				buddy_unlink(buddy, list, oldest);
				buddy_give(buddy, oldest, order);
			}
			spin_unlock(&buddy->lock);
		}
		spin_unlock(&cpu->lock);
	} else {
		spin_lock(&buddy->lock);
		buddy_give(buddy, frame, order);
		spin_unlock(&buddy->lock);
	}
}

#endif
