/* boot/import_multiboot2.c: the boot information of Multiboot2, 3.6. Little-endian; tags begin at multiples of 8.
 *
 *	information: 0 total size 4   4 reserved 4   8 tags ...
 *	tag:         0 type 4   4 size 4, padding not included   8 contents
 *	 0 end            nothing
 *	 3 module         start 4, end 4, command line
 *	 6 memory map     entry size 4, entry version 4, entries {base 8, length 8, type 4, reserved 4}
 *	17 EFI map        descriptor size 4, descriptor version 4, descriptors
 */
#include "bytes.h"

#include <base/bits.h>

enum {
	TAG_END = 0,
	TAG_MODULE = 3,
	TAG_MEMORY = 6,
	TAG_EFI = 17,
	TAG_HEADER = 8,
	TAG_MAP_HEADER = 16,
	TAG_ALIGN = 8,
	ENTRY_BYTES = 24,
	DESCRIPTOR_BYTES = 40,
};

static void import_module(const struct loami_bytes *tag, struct loami_raw_out *out)
{
	uint32_t start = loami_le32(tag, 8);
	uint32_t end = loami_le32(tag, 12);

	if (end > start)
		loami_raw_put(out, start, end - start, LOAM_REGION_KERNEL, 0);
}

enum loam_status loam_memmap_import_multiboot2(const void *bytes, size_t nbytes, struct loam_region *raw,
					       size_t capacity, size_t *count)
{
	struct loami_bytes b = loami_bytes_make(bytes, nbytes);
	struct loami_raw_out out = {.raw = raw, .capacity = capacity};
	struct loami_bytes memory = {0};
	struct loami_bytes efi = {0};
	bool whole = true;
	uint32_t total = loami_le32(&b, 0);
	size_t at = TAG_HEADER;

	*count = 0;
	if (b.nbytes < TAG_HEADER)
		return LOAM_ERR_TRUNCATED;
	if (total < TAG_HEADER + TAG_HEADER)
		return LOAM_ERR_FORMAT;
	whole = total <= b.nbytes;
	b = loami_bytes_part(&b, 0, total);

	for (;;) {
		struct loami_bytes tag;
		uint32_t type = loami_le32(&b, at);
		uint32_t size = loami_le32(&b, at + 4);

		if (!loami_bytes_have(&b, at, TAG_HEADER)) { /* no end tag */
			whole = false;
			break;
		}
		if (type == TAG_END)
			break;
		if (size < TAG_HEADER)
			return LOAM_ERR_FORMAT;
		tag = loami_bytes_part(&b, at, size);
		whole = whole && tag.nbytes == size;
		if (type == TAG_MODULE)
			import_module(&tag, &out);
		else if (type == TAG_MEMORY && memory.nbytes == 0)
			memory = tag;
		else if (type == TAG_EFI && efi.nbytes == 0)
			efi = tag;
		if (size > b.nbytes - at)
			break;
		at += (size_t)loami_align_up(size, TAG_ALIGN); /* both at most 2^32: no wrap */
	}

	if (memory.nbytes > 0) {
		uint32_t stride = loami_le32(&memory, 8);
		struct loami_bytes entries = loami_bytes_part(&memory, TAG_MAP_HEADER, memory.nbytes);

		if (stride < ENTRY_BYTES)
			return LOAM_ERR_FORMAT;
		whole = loami_import_e820_entries(&entries, stride, &out) && whole;
	} else if (efi.nbytes > 0) {
		uint32_t stride = loami_le32(&efi, 8);
		struct loami_bytes descriptors = loami_bytes_part(&efi, TAG_MAP_HEADER, efi.nbytes);

		if (stride < DESCRIPTOR_BYTES)
			return LOAM_ERR_FORMAT;
		whole = loami_import_uefi_entries(&descriptors, stride, &out) && whole;
	} else if (whole) {
		return LOAM_ERR_NOT_FOUND;
	}
	return loami_raw_end(&out, whole, count);
}
