/* inspect/json.c: the snapshot for programs. One object; a key per struct, keys of fields inside; numbers are integers; what a kernel has not is null. */
#include "inspect.h"

#include <base/bits.h>

struct json {
	loam_write_fn write;
	void *context;
	bool comma; /* the next member needs one before it */
};

static void put(struct json *json, const char *format, ...) LOAM_PRINTF(2, 3);
static void put(struct json *json, const char *format, ...)
{
	char text[160];
	va_list args;
	size_t n;

	va_start(args, format);
	n = loami_vformat(text, sizeof(text), format, args);
	va_end(args);
	json->write(json->context, text, n < sizeof(text) ? n : sizeof(text) - 1);
}

static void key(struct json *json, const char *name)
{
	if (name != NULL)
		put(json, "%s\n\"%s\": ", json->comma ? "," : "", name);
	else
		put(json, "%s\n", json->comma ? "," : "");
	json->comma = true;
}

static void open(struct json *json, const char *name, char bracket)
{
	key(json, name);
	put(json, "%c", bracket);
	json->comma = false;
}

static void close(struct json *json, char bracket)
{
	put(json, "%c", bracket);
	json->comma = true;
}

static void number(struct json *json, const char *name, uint64_t value)
{
	key(json, name);
	put(json, "%lu", (unsigned long)value);
}

static void string(struct json *json, const char *name, const char *value)
{
	key(json, name);
	if (value == NULL) {
		put(json, "null");
		return;
	}
	put(json, "\"");
	for (; *value != '\0'; value++) {
		unsigned char c = (unsigned char)*value;

		if (c == '"' || c == '\\')
			put(json, "\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			put(json, "\\u%04x", c);
		else
			put(json, "%c", c);
	}
	put(json, "\"");
}

#define NUMBER(s, field) number(json, #field, (uint64_t)(s)->field)

static void put_map(struct json *json, const struct loam_memmap *map)
{
	open(json, "map", '[');
	for (size_t i = 0; i < map->count; i++) {
		const struct loam_region *region = &map->regions[i];

		open(json, NULL, '{');
		NUMBER(region, base);
		NUMBER(region, nbytes);
		string(json, "type", loam_region_type_name(region->type));
		NUMBER(region, node);
		close(json, '}');
	}
	close(json, ']');
}

static void put_frames(struct json *json, const struct loam_snapshot *s)
{
	const struct loam_frames_stats *f = &s->frames;

	open(json, "frames", '{');
	NUMBER(f, ram);
	NUMBER(f, reserved);
	NUMBER(f, metadata);
	NUMBER(f, managed);
	NUMBER(f, free);
	NUMBER(f, used);
	NUMBER(f, parked);
	NUMBER(f, quarantined);
	NUMBER(f, allocs);
	NUMBER(f, frees);
	open(json, "failures", '[');
	for (size_t order = 0; order < LOAMI_COUNT(f->failures); order++)
		number(json, NULL, f->failures[order]);
	close(json, ']');
	NUMBER(f, range_pages_out);
	NUMBER(f, range_pages_back);
	NUMBER(f, range_failures);
	open(json, "zones", '[');
	for (unsigned int i = 0; i < f->nzones; i++) {
		const struct loam_zone_stats *z = &s->zones[i];

		open(json, NULL, '{');
		string(json, "name", z->name);
		NUMBER(z, start);
		NUMBER(z, end);
		NUMBER(z, present);
		NUMBER(z, managed);
		NUMBER(z, free);
		NUMBER(z, free_blocks);
		NUMBER(z, low);
		NUMBER(z, min);
		NUMBER(z, fragmentation);
		close(json, '}');
	}
	close(json, ']');
	close(json, '}');
}

static void put_vmalloc(struct json *json, const struct loam_vmalloc_stats *v)
{
	open(json, "vmalloc", '{');
	NUMBER(v, arena_start);
	NUMBER(v, arena_end);
	NUMBER(v, live_areas);
	NUMBER(v, live_pages);
	NUMBER(v, free_pages);
	NUMBER(v, peak_pages);
	NUMBER(v, total_sequence);
	NUMBER(v, failures);
	NUMBER(v, policy_rejects);
	NUMBER(v, free_extents);
	NUMBER(v, largest_free_pages);
	NUMBER(v, metadata_pages);
	NUMBER(v, free_nodes);
	NUMBER(v, waiting_areas);
	NUMBER(v, cached_stacks);
	NUMBER(v, ready_pages);
	NUMBER(v, flushes);
	NUMBER(v, refused_frees);
	NUMBER(v, last_refused);
	open(json, "last_failure", '{');
	string(json, "status", loam_status_name(v->last_failure.status));
	NUMBER(&v->last_failure, nbytes);
	NUMBER(&v->last_failure, npages);
	NUMBER(&v->last_failure, max_allowed);
	close(json, '}');
	close(json, '}');
}

static void put_heap(struct json *json, struct loam_heap *heap, const struct loam_heap_stats *h)
{
	struct loam_heap_class_stats stats;
	const struct loam_heap_class_stats *c = &stats;

	open(json, "heap", '{');
	NUMBER(h, allocated_bytes);
	NUMBER(h, freed_bytes);
	NUMBER(h, used_bytes);
	NUMBER(h, peak_bytes);
	NUMBER(h, allocations);
	NUMBER(h, frees);
	NUMBER(h, total_bytes);
	NUMBER(h, free_bytes);
	NUMBER(h, end);
	open(json, "classes", '[');
	for (size_t i = 0; loam_heap_read_class_stats(heap, i, &stats) == LOAM_OK; i++) {
		open(json, NULL, '{');
		string(json, "name", c->name);
		NUMBER(c, nbytes);
		NUMBER(c, live);
		NUMBER(c, cached);
		NUMBER(c, slots);
		NUMBER(c, frames);
		close(json, '}');
	}
	close(json, ']');
	close(json, '}');
}

static void put_tlb(struct json *json, const struct loam_tlb_stats *t)
{
	open(json, "tlb", '{');
	NUMBER(t, flushes);
	NUMBER(t, ipis);
	NUMBER(t, full_flushes);
	NUMBER(t, timeouts);
	close(json, '}');
}

static void absent(struct json *json, const char *name)
{
	key(json, name);
	put(json, "null");
}

void loam_snapshot_json(const struct loam_system *system, loam_write_fn write, void *context)
{
	struct json output = {.write = write, .context = context};
	struct json *json = &output;
	struct loam_snapshot s;

	loam_snapshot_take(system, &s);
	put(json, "{");
	if (system->map != NULL)
		put_map(json, system->map);
	else
		absent(json, "map");
	if (s.has_frames)
		put_frames(json, &s);
	else
		absent(json, "frames");
	number(json, "tables", s.tables);
	if (s.has_vmalloc)
		put_vmalloc(json, &s.vmalloc);
	else
		absent(json, "vmalloc");
	if (s.has_heap)
		put_heap(json, system->heap, &s.heap);
	else
		absent(json, "heap");
	if (s.has_tlb)
		put_tlb(json, &s.tlb);
	else
		absent(json, "tlb");
	put(json, "\n}\n");
}
