/* kernel/arch/aarch64/firmware.c: what the device tree says (devicetree.c). */
#include "../../common/devicetree.h"
#include "../../common/kernel.h"
#include "regs.h"

struct arm_gic arm_gic;
bool arm_psci_by_smc;

LOAM_NORETURN void arm_boot(uint64_t device_tree);

/* First C of all. @device_tree: where the loader says so, for whoever follows Linux's protocol; an ELF finds the tree at the start of RAM. */
void arm_boot(uint64_t device_tree)
{
	if (!devicetree_open(device_tree))
		(void)devicetree_open(ARM_RAM_START);
	kernel_main();
}

static bool find_gic(const char *name, unsigned int version)
{
	arm_gic.version = version;
	for (unsigned int i = 0; i < 2; i++)
		if (!devicetree_device(name, i, &arm_gic.base[i], &arm_gic.nbytes[i]))
			return false;
	return true;
}

unsigned int arch_firmware_cpus(uint32_t *ids, unsigned int capacity)
{
	return devicetree_cpus((uint32_t)(ARM_READ("mpidr_el1") & 0xffffff), ids, capacity);
}

void arch_firmware_read(struct arch_firmware *firmware)
{
	if (!devicetree_is_open())
		kernel_panic("there is no device tree: neither where x0 says nor at the start of RAM");
	if (!find_gic("arm,gic-v3", 3) && !find_gic("arm,cortex-a15-gic", 2) && !find_gic("arm,gic-400", 2))
		kernel_panic("the device tree names no interrupt controller this kernel knows: GICv3 or GICv2");
	const char *method = devicetree_text("method");
	arm_psci_by_smc = method != NULL && strcmp(method, "smc") == 0;
	*firmware = (struct arch_firmware){
		.protocol = "the device tree",
		.command_line = devicetree_command_line(),
		.ncpus = arch_firmware_cpus(NULL, 0),
	};
}

enum loam_status arch_firmware_map(struct loam_region *raw, size_t capacity, size_t *count)
{
	return devicetree_map(raw, capacity, count);
}

void arch_firmware_reserve(arch_reserve_fn reserve)
{
	devicetree_reserve(reserve);
}
