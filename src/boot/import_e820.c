/* boot/import_e820.c: the BIOS's own memory map, and the entries others took over from it. ACPI 6, chapter 15.
 *
 *	0 base 8   8 length 8   16 type 4   20 attributes 4 (ACPI 3.0, only in entries of 24 bytes: bit 0 clear means ignore)
 */
#include "bytes.h"

enum {
	ENTRY_BYTES = 20,
	ENTRY_BYTES_ACPI3 = 24,
	ATTRIBUTE_ENABLED = 1,
};

static uint32_t type_from_e820(uint32_t type)
{
	switch (type) {
	case 1:
		return LOAM_REGION_USABLE;
	case 2:
		return LOAM_REGION_RESERVED;
	case 3: /* ACPI tables */
		return LOAM_REGION_RECLAIMABLE;
	case 4:
		return LOAM_REGION_NVS;
	case 5: /* unusable */
		return LOAM_REGION_BAD;
	default:
		return LOAM_REGION_FOREIGN | type;
	}
}

static void put_entry(const struct loami_bytes *b, size_t at, struct loami_raw_out *out)
{
	loami_raw_put(out, loami_le64(b, at), loami_le64(b, at + 8), type_from_e820(loami_le32(b, at + 16)), 0);
}

bool loami_import_e820_entries(const struct loami_bytes *b, size_t stride, struct loami_raw_out *out)
{
	for (size_t i = 0; i < b->nbytes / stride; i++)
		put_entry(b, i * stride, out);
	return b->nbytes % stride == 0;
}

enum loam_status loam_memmap_import_e820(const void *bytes, size_t nbytes, size_t entry_bytes, struct loam_region *raw,
					 size_t capacity, size_t *count)
{
	const struct loami_bytes b = loami_bytes_make(bytes, nbytes);
	struct loami_raw_out out = {.raw = raw, .capacity = capacity};

	*count = 0;
	if (loami_bytes_missing(bytes, nbytes) || (entry_bytes != ENTRY_BYTES && entry_bytes != ENTRY_BYTES_ACPI3))
		return LOAM_ERR_FORMAT;
	for (size_t i = 0; i < b.nbytes / entry_bytes; i++) {
		size_t at = i * entry_bytes;

		if (entry_bytes == ENTRY_BYTES || (loami_le32(&b, at + 20) & ATTRIBUTE_ENABLED) != 0)
			put_entry(&b, at, &out);
	}
	return loami_raw_end(&out, b.nbytes % entry_bytes == 0, count);
}
