/* kernel/arch/host/host_kernel.h: what the files of the kernel on the host machine call of each other. */
#ifndef KERNEL_HOST_KERNEL_H
#define KERNEL_HOST_KERNEL_H

#include <host.h>

/* firmware.c: the map that a firmware with all the usual faults would give for a machine of @nbytes. Return: how many entries, at most @capacity. */
size_t host_firmware_map(struct loam_region *raw, size_t capacity, uint64_t nbytes);

/* machine.c: the machine, and Loam on it. */
void host_machine_start(unsigned int ncpus, uint64_t nbytes);

/* report.c: what happened, and a backtrace. */
void host_report(const char *kind, const char *text);

#endif
