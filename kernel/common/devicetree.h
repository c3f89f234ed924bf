/* kernel/common/devicetree.h: what a kernel is told by a device tree, in the shape of arch.h's firmware functions. */
#ifndef KERNEL_DEVICETREE_H
#define KERNEL_DEVICETREE_H

#include "../arch/arch.h"

/** devicetree_open() - look for a tree at @address of the direct map. Return: false, and no tree, where there is none. */
bool devicetree_open(loam_paddr address);
bool devicetree_is_open(void);

/* As arch_firmware_map() and arch_firmware_reserve(). */
LOAM_NODISCARD enum loam_status devicetree_map(struct loam_region *raw, size_t capacity, size_t *count);
void devicetree_reserve(arch_reserve_fn reserve);
/** devicetree_cpus() - as arch_firmware_cpus(); @own: the running CPU's id. */
unsigned int devicetree_cpus(uint32_t own, uint32_t *ids, unsigned int capacity);
/** devicetree_cpus_have() - does the `riscv,isa` of every usable CPU name this extension? False where there is none. */
bool devicetree_cpus_have(const char *extension);
/** devicetree_command_line() - /chosen's, "" where there is none. */
const char *devicetree_command_line(void);

/** devicetree_device() - the @index-th range of registers of the first node compatible with @name that is not disabled. */
bool devicetree_device(const char *name, unsigned int index, loam_paddr *base, uint64_t *nbytes);
/** devicetree_text() - the text of a property of the first node that has it: one whose name no other node uses. NULL: none. */
const char *devicetree_text(const char *property);
/** devicetree_number() - the same of a number; 0: none. */
uint64_t devicetree_number(const char *property);

#endif
