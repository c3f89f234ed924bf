/* tests/fuzz/boot_import.h: what all fuzz targets of the importers do with what came out. */
#ifndef LOAM_TESTS_FUZZ_BOOT_IMPORT_H
#define LOAM_TESTS_FUZZ_BOOT_IMPORT_H

#include <loam/boot.h>

#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#define FUZZ_REQUIRE(condition) ((condition) ? (void)0 : abort())

enum { IMPORT_MAX = 512 };

typedef enum loam_status (*import_fn)(const void *bytes, size_t nbytes, struct loam_region *raw, size_t capacity,
				      size_t *count);

/* Import with room and without; normalise whatever came out; use it. */
static inline void fuzz_import(import_fn import, const uint8_t *bytes, size_t nbytes)
{
	static struct loam_region raw[IMPORT_MAX + 1];
	static struct loam_region again[IMPORT_MAX + 1];
	static struct loam_region storage[2 * IMPORT_MAX + 4];
	const struct loam_region marker = {0x5a5a5a5a5a5a5a5a, 1, 2, 3};
	struct loam_memmap map;
	size_t count = 0;
	size_t count_again = 0;
	loam_paddr base = 0;
	enum loam_status status;

	raw[IMPORT_MAX] = marker;
	status = import(bytes, nbytes, raw, IMPORT_MAX, &count);
	FUZZ_REQUIRE(memcmp(&raw[IMPORT_MAX], &marker, sizeof(marker)) == 0);
	FUZZ_REQUIRE(status == LOAM_OK || status == LOAM_ERR_TRUNCATED || status == LOAM_ERR_FORMAT ||
		     status == LOAM_ERR_NOT_FOUND);
	FUZZ_REQUIRE(status == LOAM_OK || status == LOAM_ERR_TRUNCATED || count == 0);
	FUZZ_REQUIRE(status != LOAM_OK || count <= IMPORT_MAX);

	/* One place too few: the same count, said by its name. */
	if (count > 0 && count <= IMPORT_MAX) {
		again[count - 1] = marker;
		FUZZ_REQUIRE(import(bytes, nbytes, again, count - 1, &count_again) == LOAM_ERR_TRUNCATED);
		FUZZ_REQUIRE(count_again == count);
		FUZZ_REQUIRE(memcmp(&again[count - 1], &marker, sizeof(marker)) == 0);
		FUZZ_REQUIRE(memcmp(again, raw, (count - 1) * sizeof(raw[0])) == 0);
	}

	count = count < IMPORT_MAX ? count : IMPORT_MAX;
	FUZZ_REQUIRE(loam_memmap_init(&map, raw, count, storage, 2 * count + 4, 0, NULL, NULL) == LOAM_OK);
	FUZZ_REQUIRE(loam_memmap_check(&map) == LOAM_OK);
	if (loam_memmap_alloc(&map, 1, NULL, &base) == LOAM_OK)
		FUZZ_REQUIRE(loam_memmap_find(&map, base)->type == LOAM_REGION_BOOT);
	FUZZ_REQUIRE(loam_memmap_check(&map) == LOAM_OK);
}

#endif
