/* tests/fuzz/boot_fdt.c: bytes as a flattened device tree. */
#include "boot_import.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nbytes)
{
	fuzz_import(loam_memmap_import_fdt, bytes, nbytes);
	return 0;
}
