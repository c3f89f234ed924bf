/* tests/fuzz/arch/layout.h: of a kernel's address space, what its device tree's reader asks: a direct map that lies where the fuzz target says. */
#ifndef LOAM_TESTS_FUZZ_LAYOUT_H
#define LOAM_TESTS_FUZZ_LAYOUT_H

#include <stdint.h>

#define ARCH_DIRECT_MAP fuzz_direct_map
#define ARCH_BOOT_MAP_NBYTES UINT64_C(0x100000000)

extern uintptr_t fuzz_direct_map;

#endif
