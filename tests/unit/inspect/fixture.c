/* tests/unit/inspect/fixture.c: see fixture.h. */
#include "fixture.h"

struct loam_system whole;
struct rig *inspect_rig;

static struct loam_pagetable tree;
static struct loam_tlb tlb;
static struct loam_vm vm;
static struct loam_heap heap;
static _Alignas(LOAM_CPU_ALIGN) char tlb_metadata[65536];

void inspect_begin_smp(bool track, unsigned int ncpus)
{
	struct loam_tlb_config tlb_config = {.ncpus = 1};
	struct loam_vmalloc_config vm_config = {.nbytes = (size_t)64 << 20, .ncpus = 1, .tree = &tree, .tlb = &tlb};
	struct loam_heap_config heap_config = {.vm = &vm, .ncpus = ncpus, .track = track};
	struct loam_table_source source;

	tree = (struct loam_pagetable){0};
	tlb = (struct loam_tlb){0};
	vm = (struct loam_vm){0};
	heap = (struct loam_heap){0};
	inspect_rig = rig_create(&(struct rig_config){.npages = 6144, .ncpus = ncpus});
	source = loam_paging_tables_from_frames(inspect_rig->frames);
	CHECK_OK(loam_pagetable_init(&tree, &loam_paging_x86_64_4level, &source, LOAM_PADDR_NONE));
	CHECK(loam_tlb_metadata_size(&tlb_config) <= sizeof(tlb_metadata));
	CHECK_OK(loam_tlb_init(&tlb, &tlb_config, tlb_metadata, sizeof(tlb_metadata)));
	loam_tlb_cpu_online(&tlb);
	vm_config.frames = heap_config.frames = inspect_rig->frames;
	tap_log_capture(); /* it says where the arena is */
	CHECK_OK(loam_vmalloc_init(&vm, &vm_config));
	(void)tap_log_end();
	CHECK_OK(loam_heap_init(&heap, &heap_config, NULL, 0));
	whole = (struct loam_system){.map = &inspect_rig->map,
				     .frames = inspect_rig->frames,
				     .tree = &tree,
				     .tlb = &tlb,
				     .vm = &vm,
				     .heap = &heap};
	CHECK_OK(loam_audit(&whole));
}

void inspect_begin(bool track)
{
	inspect_begin_smp(track, 1);
}

void inspect_end(void)
{
	struct loam_heap_stats stats;

	loam_heap_read_stats(&heap, &stats);
	CHECK_EQ(stats.used_bytes, 0);
	CHECK_OK(loam_audit(&whole));
	rig_destroy(inspect_rig);
}

bool inspect_contains(const char *text, const char *part)
{
	return inspect_count(text, part) > 0;
}

unsigned int inspect_count(const char *text, const char *part)
{
	unsigned int n = 0;

	for (; *text != '\0'; text++) {
		size_t i = 0;

		while (part[i] != '\0' && text[i] == part[i])
			i++;
		n += part[i] == '\0';
	}
	return n;
}

void inspect_check_columns(const char *text)
{
	size_t column = 0;

	for (; *text != '\0'; text++) {
		column = *text == '\n' ? 0 : column + 1;
		CHECK(column < 100);
	}
}
