/* tests/fuzz/boot_multiboot2.c: bytes as Multiboot2 information. */
#include "boot_import.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nbytes)
{
	fuzz_import(loam_memmap_import_multiboot2, bytes, nbytes);
	return 0;
}
