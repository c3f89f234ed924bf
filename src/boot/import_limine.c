/* boot/import_limine.c: the memory map of the Limine boot protocol: an array of pointers to entries {base 8, length 8, type 8}. */
#include "bytes.h"

#include <base/bits.h>

enum { ENTRY_BYTES = 24 };

static uint32_t type_from_limine(uint64_t type)
{
	static const uint8_t types[] = {
		[0] = LOAM_REGION_USABLE,      [1] = LOAM_REGION_RESERVED,
		[2] = LOAM_REGION_RECLAIMABLE, /* ACPI tables */
		[3] = LOAM_REGION_NVS,         [4] = LOAM_REGION_BAD,
		[5] = LOAM_REGION_RECLAIMABLE, /* the boot loader's: page tables, stack, this very map */
		[6] = LOAM_REGION_KERNEL,      /* executable and modules */
		[7] = LOAM_REGION_DEVICE,      /* framebuffer */
		[8] = LOAM_REGION_RESERVED,    /* reserved, mapped: ACPI tables not to be reclaimed */
	};

	if (type < LOAMI_COUNT(types))
		return types[type];
	return LOAM_REGION_FOREIGN | (uint32_t)type;
}

enum loam_status loam_memmap_import_limine(const void *const *entries, uint64_t nentries, struct loam_region *raw,
					   size_t capacity, size_t *count)
{
	struct loami_raw_out out = {.raw = raw, .capacity = capacity};

	*count = 0;
	if (entries == NULL && nentries > 0)
		return LOAM_ERR_FORMAT;
	for (uint64_t i = 0; i < nentries; i++) {
		const struct loami_bytes b = loami_bytes_make(entries[i], ENTRY_BYTES);

		if (entries[i] == NULL)
			return LOAM_ERR_FORMAT;
		loami_raw_put(&out, loami_le64(&b, 0), loami_le64(&b, 8), type_from_limine(loami_le64(&b, 16)), 0);
	}
	return loami_raw_end(&out, true, count);
}
