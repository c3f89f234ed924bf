/* tests/unit/inspect/json.c: the snapshot as JSON, for check_json.py, which knows what JSON is. Host only: it writes files. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>

static void to_file(void *context, const char *text, size_t nbytes)
{
	CHECK_EQ(fwrite(text, 1, nbytes, context), nbytes);
}

static void write_json(const struct loam_system *system, const char *folder, const char *name)
{
	char path[4096];
	FILE *file;

	CHECK(snprintf(path, sizeof(path), "%s/%s", folder, name) < (int)sizeof(path));
	file = fopen(path, "w");
	CHECK(file != NULL);
	loam_snapshot_json(system, to_file, file);
	CHECK(fclose(file) == 0);
}

TEST(inspect_json_is_written_for_check_json)
{
	const struct loam_cache_config odd = {.name = "quote \" slash \\ tab \t", .nbytes = 48};
	struct loam_system nothing = {0};
	const char *folder = getenv("LOAM_JSON");
	struct loam_heap_cache *cache = NULL;

	if (folder == NULL)
		tap_skip("LOAM_JSON names no folder; check_json.py does");
	inspect_begin(true);
	CHECK_OK(loam_heap_cache_create(whole.heap, &odd, &cache));
	void *object = loam_heap_cache_alloc(cache);
	void *area = loam_vmalloc(whole.vm, 5000, NULL);

	CHECK(object != NULL && area != NULL);
	CHECK(loam_vmalloc(whole.vm, (size_t)1 << 40, NULL) == NULL);
	write_json(&whole, folder, "whole.json");
	write_json(&nothing, folder, "nothing.json");
	loam_heap_cache_free(cache, object);
	CHECK(loam_vfree(whole.vm, area));
	CHECK_OK(loam_vmalloc_purge(whole.vm));
	CHECK_OK(loam_heap_cache_destroy(whole.heap, cache));
	inspect_end();
}
