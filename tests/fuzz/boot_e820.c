/* tests/fuzz/boot_e820.c: bytes as e820 entries; the first one chooses their size. */
#include "boot_import.h"

static size_t entry_bytes;

static enum loam_status import(const void *bytes, size_t nbytes, struct loam_region *raw, size_t capacity,
			       size_t *count)
{
	return loam_memmap_import_e820(bytes, nbytes, entry_bytes, raw, capacity, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nbytes)
{
	if (nbytes == 0)
		return 0;
	entry_bytes = bytes[0] % 2 == 0 ? 20 : bytes[0] == 255 ? 17 : 24;
	fuzz_import(import, bytes + 1, nbytes - 1);
	return 0;
}
