/* boot/import_pvh.c: Xen's hvm_start_info, which QEMU and other monitors give to a kernel they boot by its PVH note.
 *
 * xen/include/public/arch-x86/hvm/start_info.h, all little-endian:
 *
 *	 0 magic 0x336ec578   4 version   8 flags   12 nr_modules   16 modlist   24 cmdline   32 rsdp
 *	40 memmap   48 memmap_entries   52 reserved             (from version 1 on)
 *	module: paddr, size, cmdline, reserved: 8 bytes each    memmap entry: addr 8, size 8, type 4, reserved 4
 */
#include "bytes.h"

enum {
	PVH_MAGIC = 0x336ec578,
	PVH_BYTES_V0 = 40,
	PVH_BYTES_V1 = LOAM_PVH_INFO_BYTES,
};

enum loam_status loam_pvh_parse(const void *bytes, size_t nbytes, struct loam_pvh_info *info)
{
	const struct loami_bytes b = loami_bytes_make(bytes, nbytes);

	*info = (struct loam_pvh_info){0};
	if (!loami_bytes_have(&b, 0, PVH_BYTES_V0))
		return LOAM_ERR_TRUNCATED;
	if (loami_le32(&b, 0) != PVH_MAGIC)
		return LOAM_ERR_FORMAT;
	info->version = loami_le32(&b, 4);
	if (info->version >= 1 && !loami_bytes_have(&b, 0, PVH_BYTES_V1))
		return LOAM_ERR_TRUNCATED;
	info->nmodules = loami_le32(&b, 12);
	info->modules = loami_le64(&b, 16);
	info->cmdline = loami_le64(&b, 24);
	info->rsdp = loami_le64(&b, 32);
	if (info->version >= 1) {
		info->memmap = loami_le64(&b, 40);
		info->nmemmap = loami_le32(&b, 48);
	}
	return LOAM_OK;
}

enum loam_status loam_memmap_import_pvh(const void *bytes, size_t nbytes, struct loam_region *raw, size_t capacity,
					size_t *count)
{
	const struct loami_bytes b = loami_bytes_make(bytes, nbytes);
	struct loami_raw_out out = {.raw = raw, .capacity = capacity};
	bool whole;

	*count = 0;
	if (loami_bytes_missing(bytes, nbytes))
		return LOAM_ERR_FORMAT;
	whole = loami_import_e820_entries(&b, LOAM_PVH_ENTRY_BYTES, &out);
	return loami_raw_end(&out, whole, count);
}
