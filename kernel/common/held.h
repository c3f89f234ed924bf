/* kernel/common/held.h: memory that a loader filled and nobody may write: initrd, device tree, boot information. */
#ifndef KERNEL_HELD_H
#define KERNEL_HELD_H

#include <loam/types.h>

/** held_add() - remember a range and the sum of its bytes. Before Loam's tables are in force. */
void held_add(loam_paddr base, uint64_t nbytes, const char *what);
/**
 * held_check() - is all of it still as it was? With `initrd=SUM` on the command line (CRC-32, hexadecimal) also: is the initrd what was sent, and
 * is none of it handed out when all that is free is taken?
 * Return: how many things were not as they should be.
 */
unsigned int held_check(const char *line);

#endif
