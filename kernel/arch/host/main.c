/* kernel/arch/host/main.c: `make run ARCH=host`: the kernel's tour and shell on the machine in a process.
 *
 * Arguments are the kernel's command line, `tour` and `shell` or `torture` and seconds=60, and what QEMU gets as options: cpus=4, mem=2G.
 */
#include "host_kernel.h"

#include "../../common/console.h"
#include "../../common/tour.h"

#include <stdlib.h>
#include <string.h>

#define MEMORY_MIN ((uint64_t)32 << 20)

static uint64_t parse_size(const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 10);

	switch (*end) {
	case 'G':
		return value << 30;
	case 'M':
		return value << 20;
	case 'K':
		return value << 10;
	default:
		return value;
	}
}

int main(int argc, char **argv)
{
	unsigned int ncpus = 4, failures = 0, seconds = 60;
	uint64_t nbytes = (uint64_t)2 << 30;
	bool shell = false, torture = false;
	char size[16];

	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], "cpus=", 5) == 0)
			ncpus = (unsigned int)strtoul(argv[i] + 5, NULL, 10);
		else if (strncmp(argv[i], "mem=", 4) == 0)
			nbytes = parse_size(argv[i] + 4);
		else if (strncmp(argv[i], "seconds=", 8) == 0)
			seconds = (unsigned int)strtoul(argv[i] + 8, NULL, 10);
		else if (strcmp(argv[i], "torture") == 0)
			torture = true;
		else
			shell |= strstr(argv[i], "shell") != NULL;
	}
	if (ncpus < 1 || ncpus > LOAM_CPUS_MAX) {
		kprintf("cpus=%u: 1 to %u\n", ncpus, LOAM_CPUS_MAX);
		return 2;
	}
	if (nbytes < MEMORY_MIN || nbytes % LOAM_PAGE_SIZE != 0) {
		kprintf("mem: whole pages, and at least %s are needed\n", ksize(size, MEMORY_MIN));
		return 2;
	}
	kprintf("Loam reference kernel, host machine, %u CPU%s, %s\n", ncpus, ncpus == 1 ? "" : "s",
		ksize(size, nbytes));
	host_machine_start(ncpus, nbytes);
	if (torture)
		return stress_run(seconds) == 0 ? 0 : 1;
	failures += tour_run();
	if (shell)
		failures += shell_run();
	failures += tour_end();
	return failures == 0 ? 0 : 1;
}
