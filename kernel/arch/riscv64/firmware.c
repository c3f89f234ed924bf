/* kernel/arch/riscv64/firmware.c: what the device tree says (devicetree.c). */
#include "../../common/devicetree.h"
#include "../../common/kernel.h"
#include "regs.h"

static uint64_t first_hart;
static uint64_t time_hz;

LOAM_NORETURN void riscv_boot(uint64_t hart, uint64_t device_tree);

/* First C of all: what the SBI says. `sv39` and `sv48` on the command line keep from what is wider; `remote-fence` flushes TLBs by the SBI;
 * `counted` says that the machine counts instructions. */
void riscv_boot(uint64_t hart, uint64_t device_tree)
{
	const char *line;

	first_hart = hart;
	riscv_mmu_begin();
	if (devicetree_open(device_tree)) {
		line = devicetree_command_line();
		riscv_mmu_widen(words_find(line, "sv39", 0) != NULL   ? RISCV_SV39
				: words_find(line, "sv48", 0) != NULL ? RISCV_SV48
								      : RISCV_SV57);
		(void)devicetree_open(device_tree); /* the direct map may lie elsewhere now */
		riscv_mmu_features(words_find(devicetree_command_line(), "remote-fence", 0) != NULL);
		riscv_pause_sleeps = words_find(devicetree_command_line(), "counted", 0) != NULL;
	}
	kernel_main();
}

unsigned int arch_firmware_cpus(uint32_t *ids, unsigned int capacity)
{
	return devicetree_cpus((uint32_t)first_hart, ids, capacity);
}

uint64_t riscv_time_hz(void)
{
	return time_hz;
}

void arch_firmware_read(struct arch_firmware *firmware)
{
	if (!devicetree_is_open())
		kernel_panic("there is no device tree where a1 says");
	time_hz = devicetree_number("timebase-frequency");
	if (time_hz == 0)
		kernel_panic("the device tree does not say how fast the time counter runs");
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
