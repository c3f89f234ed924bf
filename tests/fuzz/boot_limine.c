/* tests/fuzz/boot_limine.c: bytes as entries of the Limine protocol, reached through pointers; a type byte of 255 makes a NULL. */
#include "boot_import.h"

static enum loam_status import(const void *bytes, size_t nbytes, struct loam_region *raw, size_t capacity,
			       size_t *count)
{
	static const void *entries[IMPORT_MAX];
	const uint8_t *first = bytes;
	size_t n = nbytes / 24 < IMPORT_MAX ? nbytes / 24 : IMPORT_MAX;

	for (size_t i = 0; i < n; i++)
		entries[i] = first[24 * i + 16] == 255 ? NULL : first + 24 * i;
	return loam_memmap_import_limine(entries, n, raw, capacity, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nbytes)
{
	fuzz_import(import, bytes, nbytes);
	return 0;
}
