/* kernel/common/held.c: memory that a loader filled and nobody may write.
 *
 * Each range is summed before the first allocation and at the end. That alone would not notice a frame inside of it that could be handed out and was
 * not yet; so, when asked, everything that is free is taken first.
 */
#include "console.h"
#include "held.h"
#include "kernel.h"

#define HELD_MAX 16

static struct held {
	loam_paddr base;
	uint64_t nbytes;
	const char *what;
	uint32_t sum;
} held[HELD_MAX];
static unsigned int count;

/* CRC-32 as in zlib, four bits at a time. */
static uint32_t sum_of(loam_paddr base, uint64_t nbytes)
{
	static const uint32_t table[16] = {
		0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
		0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
	};
	const uint8_t *bytes = (const uint8_t *)(uintptr_t)(ARCH_DIRECT_MAP + base);
	uint32_t sum = UINT32_MAX;

	for (uint64_t i = 0; i < nbytes; i++) {
		sum ^= bytes[i];
		sum = sum >> 4 ^ table[sum & 15];
		sum = sum >> 4 ^ table[sum & 15];
	}
	return ~sum;
}

void held_add(loam_paddr base, uint64_t nbytes, const char *what)
{
	if (count == HELD_MAX || base >= ARCH_BOOT_MAP_NBYTES || nbytes > ARCH_BOOT_MAP_NBYTES - base) {
		kprintf("   %s at %012lx cannot be read yet, so it is not watched\n", what, (unsigned long)base);
		return;
	}
	held[count++] = (struct held){base, nbytes, what, sum_of(base, nbytes)};
}

/* ---- every free frame --------------------------------------------------------------------------------------------------------- */

static bool is_held(loam_pfn pfn, unsigned int order)
{
	loam_paddr start = loam_frame_address(pfn), end = start + (LOAM_PAGE_SIZE << order);

	for (unsigned int i = 0; i < count; i++)
		if (start < held[i].base + held[i].nbytes && end > held[i].base)
			return true;
	return false;
}

/* A list of what was taken: first frame and order in a word. Not kept in the frames, which are not touched: a host gives memory to what is. */
struct taken {
	uint64_t *list;
	size_t count, capacity;
	uint64_t nframes;
};

#define SINGLES_MAX 16384

static bool begin(struct taken *taken)
{
	struct loam_frames_stats stats;

	loam_frame_read_stats(kernel_system.frames, &stats);
	*taken = (struct taken){.capacity = stats.managed / LOAM_BLOCK_FRAMES + SINGLES_MAX};
	taken->list = loam_vmalloc(kernel_system.vm, taken->capacity * sizeof(*taken->list), NULL);
	return taken->list != NULL;
}

/* Blocks of 2 MiB as long as there are some, then single frames. Return: how often what was handed out was the loader's. */
static unsigned int take_all(struct taken *taken)
{
	static const unsigned int orders[] = {LOAM_BLOCK_ORDER, 0};
	struct loam_frame_opts raw = {.uninitialized = true};
	unsigned int wrong = 0;

	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		while (taken->count < taken->capacity) {
			loam_pfn pfn = loam_frame_alloc(kernel_system.frames, orders[i], &raw);

			if (pfn == LOAM_PFN_NONE)
				break;
			wrong += is_held(pfn, orders[i]);
			taken->list[taken->count++] = pfn << 8 | orders[i];
			taken->nframes += UINT64_C(1) << orders[i];
		}
	}
	return wrong;
}

static void give_back(struct taken *taken)
{
	for (size_t i = 0; i < taken->count; i++)
		loam_frame_free(kernel_system.frames, taken->list[i] >> 8, (unsigned int)taken->list[i] & 0xff);
	if (!loam_vfree(kernel_system.vm, taken->list))
		kernel_panic("the list of what was taken is not there any more");
}

static unsigned int check_free(void)
{
	struct taken taken;
	unsigned int wrong;

	if (!begin(&taken)) {
		kprintf("   FAILED: no memory for a list of what is free\n");
		return 1;
	}
	wrong = take_all(&taken);
	kprintf("\n   %s: %lu frames taken and given back\n",
		taken.count < taken.capacity ? "All that is free" : "Of what is free", (unsigned long)taken.nframes);
	if (wrong > 0)
		kprintf("   FAILED: %u times it was what the loader left\n", wrong);
	give_back(&taken);
	return wrong;
}

static unsigned int check_sent(uint32_t sum)
{
	for (unsigned int i = 0; i < count; i++)
		if (strcmp(held[i].what, "initrd") == 0 && held[i].sum == sum)
			return 0;
	kprintf("   FAILED: there is no initrd of sum %08x\n", sum);
	return 1;
}

unsigned int held_check(const char *line)
{
	unsigned int wrong = 0;
	uint64_t sum;
	char size[16];

	if (words_numbers(line, "initrd=", 0, &sum, 1))
		wrong += check_free() + check_sent((uint32_t)sum);
	for (unsigned int i = 0; i < count; i++) {
		bool good = sum_of(held[i].base, held[i].nbytes) == held[i].sum;

		wrong += !good;
		kprintf("   %s, %s at %012lx: %s\n", held[i].what, ksize(size, held[i].nbytes),
			(unsigned long)held[i].base, good ? "intact" : "FAILED: somebody wrote to it");
	}
	return wrong;
}
