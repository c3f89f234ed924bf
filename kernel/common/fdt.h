/* kernel/common/fdt.h: what a kernel wants of a flattened device tree besides memory: CPUs and the command line.
 *
 * Every offset and length of the tree is checked against its size; a tree that lies ends early and nothing is read outside of it.
 */
#ifndef KERNEL_FDT_H
#define KERNEL_FDT_H

#include <loam/types.h>

struct fdt {
	const uint8_t *bytes;
	uint32_t nbytes;
	uint32_t structure, structure_end;
	uint32_t strings, strings_end;
};

/* A place in the walk over all nodes, parents before children. All zero: before the root. */
struct fdt_node {
	const char *name; /* "" for the root */
	unsigned int depth;
	uint32_t properties; /* offset of what follows the name */
};

/** fdt_open() - look at the header. @nbytes_max: how much may be read at @bytes. */
bool fdt_open(struct fdt *fdt, const void *bytes, size_t nbytes_max);
/** fdt_next() - to the next node. Return: false after the last. */
bool fdt_next(const struct fdt *fdt, struct fdt_node *node);
/** fdt_property() - a property's value and *@nbytes, or NULL. */
const uint8_t *fdt_property(const struct fdt *fdt, const struct fdt_node *node, const char *name, uint32_t *nbytes);
/** fdt_string() - a property that is text with its end, or NULL. */
const char *fdt_string(const struct fdt *fdt, const struct fdt_node *node, const char *name);
/** fdt_cells() - up to eight bytes, big-endian, as a number. */
uint64_t fdt_cells(const uint8_t *value, uint32_t nbytes);

#endif
