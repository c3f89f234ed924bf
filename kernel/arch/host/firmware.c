/* kernel/arch/host/firmware.c: no firmware here, so a map as the worse ones are: unsorted, overlapping, ragged, wrapping. */
#include "host_kernel.h"

#define MIB ((uint64_t)1 << 20)

size_t host_firmware_map(struct loam_region *raw, size_t capacity, uint64_t nbytes)
{
	const struct loam_region entries[] = {
		{.base = MIB, .nbytes = nbytes - MIB, .type = LOAM_REGION_USABLE},
		{.base = 0, .nbytes = 639 * 1024, .type = LOAM_REGION_USABLE},
		{.base = 0x9fc00, .nbytes = 1024, .type = LOAM_REGION_RESERVED},
		{.base = 0xf0000, .nbytes = 65536, .type = LOAM_REGION_RESERVED},
		/* The end of RAM, which the first entry calls usable: ACPI's tables, and its own. */
		{.base = nbytes - 192 * 1024, .nbytes = 64 * 1024, .type = LOAM_REGION_RECLAIMABLE},
		{.base = nbytes - 128 * 1024, .nbytes = 128 * 1024 + 512, .type = LOAM_REGION_NVS},
		{.base = 8 * MIB + 4096, .nbytes = 4096, .type = LOAM_REGION_BAD},
		{.base = 8 * MIB + 4096, .nbytes = 4096, .type = LOAM_REGION_BAD},
		{.base = 16 * MIB, .nbytes = 0, .type = LOAM_REGION_USABLE},
	};
	size_t count = sizeof(entries) / sizeof(entries[0]);

	for (size_t i = 0; i < count && i < capacity; i++)
		raw[i] = entries[i];
	return count;
}
