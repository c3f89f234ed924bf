/* tests/fuzz/kernel_fdt.c: bytes as a device tree, read as the kernel reads it: every node, and the properties it asks for. */
#include "../../kernel/common/fdt.c"

#include "fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nbytes)
{
	static const char *const names[] = {"reg", "device_type", "status", "bootargs", "timebase-frequency"};
	struct fdt_node node = {0};
	struct fdt fdt;
	uint64_t seen = 0;

	if (!fdt_open(&fdt, bytes, nbytes))
		return 0;
	while (fdt_next(&fdt, &node)) {
		seen += strlen(node.name) + node.depth;
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
			uint32_t length;
			const uint8_t *value = fdt_property(&fdt, &node, names[i], &length);
			const char *text = fdt_string(&fdt, &node, names[i]);

			if (value != NULL)
				seen += fdt_cells(value, length);
			if (text != NULL)
				seen += strlen(text);
			/* Whatever is handed out lies inside. */
			if (value != NULL && (value < bytes || length > nbytes || value + length > bytes + nbytes))
				__builtin_trap();
		}
	}
	return seen == UINT64_MAX;
}
