/* kernel/arch/riscv64/firmware.c: what the device tree says. Read through the boot tables' direct map. */
#include "../../common/fdt.h"
#include "../../common/kernel.h"
#include "regs.h"

#define TREE_MAX ((size_t)2 << 20)

static struct fdt tree;
static uint64_t first_hart;
static uint64_t time_hz;

LOAM_NORETURN void riscv_boot(uint64_t hart, uint64_t device_tree);

/* First C of all: what the SBI says. */
void riscv_boot(uint64_t hart, uint64_t device_tree)
{
	first_hart = hart;
	if (device_tree != 0 && device_tree <= ARCH_BOOT_MAP_NBYTES - TREE_MAX)
		(void)fdt_open(&tree, (const void *)(ARCH_DIRECT_MAP + device_tree), TREE_MAX);
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
	struct fdt_node node = {0};
	unsigned int count = 1;

	if (capacity > 0)
		ids[0] = (uint32_t)first_hart;
	while (fdt_next(&tree, &node)) {
		uint32_t nbytes;
		const uint8_t *reg = is_cpu(&node) ? fdt_property(&tree, &node, "reg", &nbytes) : NULL;

		if (reg == NULL || fdt_cells(reg, nbytes) == first_hart)
			continue;
		if (count < capacity)
			ids[count] = (uint32_t)fdt_cells(reg, nbytes);
		count++;
	}
	return count;
}

uint64_t riscv_time_hz(void)
{
	return time_hz;
}

void arch_firmware_read(struct arch_firmware *firmware)
{
	struct fdt_node node = {0};
	const char *line = NULL;

	if (tree.structure_end == 0)
		kernel_panic("there is no device tree where a1 says");
	while (fdt_next(&tree, &node)) {
		uint32_t nbytes;
		const uint8_t *rate = fdt_property(&tree, &node, "timebase-frequency", &nbytes);

		if (rate != NULL)
			time_hz = fdt_cells(rate, nbytes);
		if (strcmp(node.name, "chosen") == 0)
			line = fdt_string(&tree, &node, "bootargs");
	}
	if (time_hz == 0)
		kernel_panic("the device tree does not say how fast the time counter runs");
	*firmware = (struct arch_firmware){
		.protocol = "the device tree",
		.command_line = line == NULL ? "" : line,
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
