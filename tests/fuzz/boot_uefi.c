/* tests/fuzz/boot_uefi.c: bytes as UEFI descriptors; the first one chooses their distance. */
#include "boot_import.h"

static size_t descriptor_bytes;

static enum loam_status import(const void *bytes, size_t nbytes, struct loam_region *raw, size_t capacity,
			       size_t *count)
{
	return loam_memmap_import_uefi(bytes, nbytes, descriptor_bytes, raw, capacity, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nbytes)
{
	if (nbytes == 0)
		return 0;
	descriptor_bytes = bytes[0];
	fuzz_import(import, bytes + 1, nbytes - 1);
	return 0;
}
