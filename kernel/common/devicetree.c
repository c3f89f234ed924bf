/* kernel/common/devicetree.c: what a device tree tells a kernel. Memory is Loam's importer's affair; the rest is read here with fdt.h, through the boot
 * tables' direct map.
 */
#include "devicetree.h"
#include "fdt.h"
#include "kernel.h"

/* QEMU writes one of up to a mebibyte. */
#define TREE_MAX ((size_t)2 << 20)
#define DEPTH_MAX 8

static struct fdt tree;

bool devicetree_open(loam_paddr address)
{
	tree = (struct fdt){0};
	if (address == 0 || address % 8 != 0 || address > ARCH_BOOT_MAP_NBYTES - TREE_MAX)
		return false;
	if (fdt_open(&tree, (const void *)(uintptr_t)(ARCH_DIRECT_MAP + address), TREE_MAX))
		return true;
	tree = (struct fdt){0};
	return false;
}

bool devicetree_is_open(void)
{
	return tree.structure_end != 0;
}

static bool is_enabled(const struct fdt_node *node)
{
	const char *status = fdt_string(&tree, node, "status");

	return status == NULL || strcmp(status, "okay") == 0;
}

static bool is_cpu(const struct fdt_node *node)
{
	const char *type = fdt_string(&tree, node, "device_type");

	return type != NULL && strcmp(type, "cpu") == 0 && is_enabled(node);
}

unsigned int devicetree_cpus(uint32_t own, uint32_t *ids, unsigned int capacity)
{
	struct fdt_node node = {0};
	unsigned int count = 1;

	if (capacity > 0)
		ids[0] = own;
	while (fdt_next(&tree, &node)) {
		uint32_t nbytes;
		const uint8_t *reg = is_cpu(&node) ? fdt_property(&tree, &node, "reg", &nbytes) : NULL;

		if (reg == NULL || fdt_cells(reg, nbytes) == own)
			continue;
		if (count < capacity)
			ids[count] = (uint32_t)fdt_cells(reg, nbytes);
		count++;
	}
	return count;
}

/* Single letters first, then longer names, each behind an underscore. */
static bool isa_has(const char *isa, const char *extension)
{
	size_t length = strlen(extension);

	for (; *isa != '\0'; isa++)
		if (*isa == '_' && strncmp(isa + 1, extension, length) == 0 &&
		    (isa[1 + length] == '_' || isa[1 + length] == '\0'))
			return true;
	return false;
}

bool devicetree_cpus_have(const char *extension)
{
	struct fdt_node node = {0};
	unsigned int with = 0;

	while (fdt_next(&tree, &node)) {
		const char *isa = is_cpu(&node) ? fdt_string(&tree, &node, "riscv,isa") : NULL;

		if (isa == NULL && is_cpu(&node))
			return false;
		if (isa != NULL && !isa_has(isa, extension))
			return false;
		with += isa != NULL;
	}
	return with > 0;
}

static bool find_chosen(struct fdt_node *node)
{
	*node = (struct fdt_node){0};
	while (fdt_next(&tree, node))
		if (node->depth == 1 && strcmp(node->name, "chosen") == 0)
			return true;
	return false;
}

const char *devicetree_command_line(void)
{
	struct fdt_node chosen;
	const char *line = find_chosen(&chosen) ? fdt_string(&tree, &chosen, "bootargs") : NULL;

	return line == NULL ? "" : line;
}

enum loam_status devicetree_map(struct loam_region *raw, size_t capacity, size_t *count)
{
	return loam_memmap_import_fdt(tree.bytes, tree.nbytes, raw, capacity, count);
}

void devicetree_reserve(arch_reserve_fn reserve)
{
	struct fdt_node chosen;
	uint32_t start_nbytes, end_nbytes;

	reserve((uintptr_t)tree.bytes - ARCH_DIRECT_MAP, tree.nbytes, "device tree", true);
	if (!find_chosen(&chosen))
		return;
	const uint8_t *start = fdt_property(&tree, &chosen, "linux,initrd-start", &start_nbytes);
	const uint8_t *end = fdt_property(&tree, &chosen, "linux,initrd-end", &end_nbytes);
	if (start == NULL || end == NULL || fdt_cells(end, end_nbytes) <= fdt_cells(start, start_nbytes))
		return;
	reserve(fdt_cells(start, start_nbytes), fdt_cells(end, end_nbytes) - fdt_cells(start, start_nbytes), "initrd",
		true);
}

/* ---- devices ------------------------------------------------------------------------------------------------------------------ */

static bool is_compatible(const struct fdt_node *node, const char *name)
{
	uint32_t nbytes;
	const char *list = (const char *)fdt_property(&tree, node, "compatible", &nbytes);
	size_t length = strlen(name) + 1;

	if (list == NULL || nbytes == 0 || list[nbytes - 1] != '\0')
		return false;
	for (uint32_t at = 0; at < nbytes; at += (uint32_t)strlen(list + at) + 1)
		if (nbytes - at >= length && memcmp(list + at, name, length) == 0)
			return true;
	return false;
}

/* How many bytes of address and size the children of a node have in their `reg`. */
struct cells {
	uint32_t address, size;
};

static uint32_t cells_or(const struct fdt_node *node, const char *name, uint32_t otherwise)
{
	uint32_t nbytes;
	const uint8_t *value = fdt_property(&tree, node, name, &nbytes);

	return 4 * (value != NULL && nbytes == 4 ? (uint32_t)fdt_cells(value, nbytes) : otherwise);
}

static struct cells cells_of(const struct fdt_node *node)
{
	return (struct cells){.address = cells_or(node, "#address-cells", 2), .size = cells_or(node, "#size-cells", 1)};
}

bool devicetree_device(const char *name, unsigned int index, loam_paddr *base, uint64_t *nbytes)
{
	struct cells cells[DEPTH_MAX + 1] = {{8, 4}};
	struct fdt_node node = {0};

	while (fdt_next(&tree, &node)) {
		uint32_t length;

		if (node.depth >= DEPTH_MAX)
			continue;
		cells[node.depth + 1] = cells_of(&node);
		if (!is_compatible(&node, name) || !is_enabled(&node))
			continue;
		const struct cells *own = &cells[node.depth];
		const uint8_t *reg = fdt_property(&tree, &node, "reg", &length);
		uint64_t each = (uint64_t)own->address + own->size;
		if (reg == NULL || own->address > 8 || own->size > 8 || length / 4 < each * (index + 1) / 4)
			return false;
		reg += each * index;
		*base = fdt_cells(reg, own->address);
		*nbytes = fdt_cells(reg + own->address, own->size);
		return true;
	}
	return false;
}

const char *devicetree_text(const char *property)
{
	struct fdt_node node = {0};

	while (fdt_next(&tree, &node)) {
		const char *text = fdt_string(&tree, &node, property);

		if (text != NULL)
			return text;
	}
	return NULL;
}

uint64_t devicetree_number(const char *property)
{
	struct fdt_node node = {0};

	while (fdt_next(&tree, &node)) {
		uint32_t nbytes;
		const uint8_t *value = fdt_property(&tree, &node, property, &nbytes);

		if (value != NULL)
			return fdt_cells(value, nbytes);
	}
	return 0;
}
