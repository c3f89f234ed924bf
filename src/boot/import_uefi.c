/* boot/import_uefi.c: UEFI's memory map. UEFI 2.10, 7.2.3, EFI_MEMORY_DESCRIPTOR; the distance of two descriptors is told at run time.
 *
 *	0 type 4   4 padding   8 physical start 8   16 virtual start 8   24 pages of 4 KiB 8   32 attributes 8
 */
#include "bytes.h"

enum { DESCRIPTOR_BYTES = 40 };

#define ATTRIBUTE_SPECIAL_PURPOSE (UINT64_C(1) << 18) /* e.g. high-bandwidth memory somebody has plans for */

static uint32_t type_from_uefi(uint32_t type, uint64_t attributes)
{
	switch (type) {
	case 1: /* loader code and data: the kernel's own image may lie here */
	case 2:
	case 3: /* boot services code and data */
	case 4:
	case 9: /* ACPI tables */
		return LOAM_REGION_RECLAIMABLE;
	case 7: /* conventional */
		return (attributes & ATTRIBUTE_SPECIAL_PURPOSE) != 0 ? LOAM_REGION_RESERVED : LOAM_REGION_USABLE;
	case 8: /* errors were found in it */
		return LOAM_REGION_BAD;
	case 10:
		return LOAM_REGION_NVS;
	case 11: /* memory-mapped I/O, and the window of I/O ports */
	case 12:
		return LOAM_REGION_DEVICE;
	case 0:
	case 5: /* runtime services code and data: called by the system as long as it runs */
	case 6:
	case 13: /* PAL */
	case 14: /* persistent memory holds somebody's files */
	case 15: /* unaccepted: touching it before it is accepted is fatal */
		return LOAM_REGION_RESERVED;
	default:
		return LOAM_REGION_FOREIGN | type;
	}
}

bool loami_import_uefi_entries(const struct loami_bytes *b, size_t stride, struct loami_raw_out *out)
{
	for (size_t i = 0; i < b->nbytes / stride; i++) {
		size_t at = i * stride;
		uint64_t npages = loami_le64(b, at + 24);
		uint64_t nbytes = npages <= UINT64_MAX >> LOAM_PAGE_SHIFT ? npages << LOAM_PAGE_SHIFT : UINT64_MAX;

		loami_raw_put(out, loami_le64(b, at + 8), nbytes,
			      type_from_uefi(loami_le32(b, at), loami_le64(b, at + 32)), 0);
	}
	return b->nbytes % stride == 0;
}

enum loam_status loam_memmap_import_uefi(const void *bytes, size_t nbytes, size_t descriptor_bytes,
					 struct loam_region *raw, size_t capacity, size_t *count)
{
	const struct loami_bytes b = loami_bytes_make(bytes, nbytes);
	struct loami_raw_out out = {.raw = raw, .capacity = capacity};
	bool whole;

	*count = 0;
	if (loami_bytes_missing(bytes, nbytes) || descriptor_bytes < DESCRIPTOR_BYTES)
		return LOAM_ERR_FORMAT;
	whole = loami_import_uefi_entries(&b, descriptor_bytes, &out);
	return loami_raw_end(&out, whole, count);
}
