/* kernel/arch/aarch64/firmware.c: what the device tree says. Read through the boot tables' direct map. */
#include "../../common/fdt.h"
#include "../../common/kernel.h"
#include "regs.h"

/* QEMU writes one of up to a mebibyte. */
#define TREE_MAX ((size_t)2 << 20)

static struct fdt tree;

LOAM_NORETURN void arm_boot(uint64_t device_tree);

/* First C of all. @device_tree: where the loader says so, for whoever follows Linux's protocol; an ELF finds the tree at the start of RAM. */
void arm_boot(uint64_t device_tree)
{
	if (device_tree == 0 || device_tree > ARCH_BOOT_MAP_NBYTES - TREE_MAX || device_tree % 8 != 0 ||
	    !fdt_open(&tree, (const void *)(ARCH_DIRECT_MAP + device_tree), TREE_MAX))
		(void)fdt_open(&tree, (const void *)(ARCH_DIRECT_MAP + ARM_RAM_START), TREE_MAX);
	kernel_main();
}

static bool is_cpu(const struct fdt_node *node)
{
	const char *type = fdt_string(&tree, node, "device_type");
	const char *status = fdt_string(&tree, node, "status");

	return type != NULL && strcmp(type, "cpu") == 0 && (status == NULL || strcmp(status, "okay") == 0);
}

unsigned int arch_firmware_cpus(uint32_t *ids, unsigned int capacity)
{
	uint32_t own = (uint32_t)(ARM_READ("mpidr_el1") & 0xffffff);
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

static const char *command_line(void)
{
	struct fdt_node node = {0};
	const char *line = NULL;

	while (line == NULL && fdt_next(&tree, &node))
		if (strcmp(node.name, "chosen") == 0)
			line = fdt_string(&tree, &node, "bootargs");
	return line == NULL ? "" : line;
}

void arch_firmware_read(struct arch_firmware *firmware)
{
	if (tree.structure_end == 0)
		kernel_panic("there is no device tree: neither where x0 says nor at the start of RAM");
	*firmware = (struct arch_firmware){
		.protocol = "the device tree",
		.command_line = command_line(),
		.ncpus = arch_firmware_cpus(NULL, 0),
	};
}

enum loam_status arch_firmware_map(struct loam_region *raw, size_t capacity, size_t *count)
{
	return loam_memmap_import_fdt(tree.bytes, tree.nbytes, raw, capacity, count);
}

void arch_firmware_reserve(void (*reserve)(loam_paddr base, uint64_t nbytes, const char *what))
{
	reserve((uintptr_t)tree.bytes - ARCH_DIRECT_MAP, tree.nbytes, "the device tree");
}
