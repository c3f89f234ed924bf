/* tests/fuzz/boot_pvh.c: bytes as a PVH memory map table, and as hvm_start_info. */
#include "boot_import.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nbytes)
{
	struct loam_pvh_info info;

	(void)(loam_pvh_parse(bytes, nbytes, &info) == LOAM_OK);
	fuzz_import(loam_memmap_import_pvh, bytes, nbytes);
	return 0;
}
