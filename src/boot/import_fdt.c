/* boot/import_fdt.c: where a flattened device tree says memory is, and where it says hands off. Devicetree Specification 0.4, chapters 3 and 5.
 *
 * 1 Structure, all big-endian:
 *
 *	header      0 magic   4 total size   8 structure   12 strings   16 reservations   20 version   24 last compatible
 *	            28 boot cpu   32 size of strings   36 size of structure (from version 17 on)
 *	reserved    pairs {address 8, size 8} up to {0, 0}
 *	structure   tokens: 1 begin node, name   2 end node   3 property, length, name's offset in strings, value   4 nothing   9 end
 *
 * 2 How. One pass over the tokens with a depth and a state per node of interest: the root, its children /memory, /reserved-memory and /chosen, and the
 *   children of /reserved-memory. A node's properties come before its children, in any order; so a reg is kept and read when its node's properties are over.
 *   No recursion; each token moves on by at least 4 bytes.
 * 3 Cells. How many 32-bit words an address and a size have is the parent's #address-cells and #size-cells; 2 and 1 where it does not say. A number that
 *   does not fit 64 bits is LOAM_ERR_FORMAT.
 */
#include "bytes.h"

#include <base/bits.h>

#define FDT_MAGIC UINT32_C(0xd00dfeed)

enum {
	VERSION_COMPATIBLE = 16, /* what we read: the layout of versions 16 and 17 */
	VERSION_STRUCT_SIZE = 17,
	TOKEN_BEGIN = 1,
	TOKEN_END_NODE = 2,
	TOKEN_PROPERTY = 3,
	TOKEN_NOTHING = 4,
	TOKEN_END = 9,
	CELLS_MAX = 4,
};

enum node_kind { NODE_OTHER, NODE_MEMORY, NODE_RESERVED_MEMORY, NODE_RESERVATION, NODE_CHOSEN };

struct cells {
	uint32_t address;
	uint32_t size;
};

/* What is known of the node whose properties are being read. */
struct node {
	enum node_kind kind;
	bool open; /* its properties are not over */
	bool disabled;
	bool is_memory; /* device_type says so */
	bool has_reg;
	struct loami_bytes reg;
	uint32_t numa_node;
	uint64_t initrd_start;
	uint64_t initrd_end;
	struct cells cells; /* for its children */
};

struct fdt {
	struct loami_bytes structure;
	struct loami_bytes strings;
	struct loami_raw_out *out;
	struct cells root;           /* #cells of / */
	struct cells reserved_cells; /* #cells of /reserved-memory */
	bool in_reserved_memory;
	bool reserved_memory_disabled;
	unsigned int depth;
	struct node node;
};

/* The NUL-terminated text at @offset is @expected; a name may go on with a unit address after '@' where @unit. */
static bool text_is(const struct loami_bytes *b, uint64_t offset, const char *expected, bool unit)
{
	for (; *expected != '\0'; expected++, offset++) {
		if (!loami_bytes_have(b, offset, 1) || b->at[offset] != (unsigned char)*expected)
			return false;
	}
	return loami_bytes_have(b, offset, 1) && (b->at[offset] == '\0' || (unit && b->at[offset] == '@'));
}

/* A number of 0 to 4 cells; false when it does not fit. */
static bool read_cells(const struct loami_bytes *b, uint64_t offset, uint32_t ncells, uint64_t *value)
{
	*value = 0;
	for (uint32_t i = 0; i < ncells; i++) {
		if (*value >> 32 != 0)
			return false;
		*value = *value << 32 | loami_be32(b, offset + (uint64_t)i * 4);
	}
	return true;
}

/* Each {address, size} of a reg. */
static bool put_reg(struct fdt *fdt, const struct cells *cells, uint32_t type)
{
	const struct loami_bytes *reg = &fdt->node.reg;
	uint64_t stride = ((uint64_t)cells->address + cells->size) * 4;

	if (cells->address == 0 || cells->address > CELLS_MAX || cells->size == 0 || cells->size > CELLS_MAX ||
	    reg->nbytes % stride != 0)
		return false;
	for (uint64_t at = 0; at < reg->nbytes; at += stride) {
		uint64_t base;
		uint64_t nbytes;

		if (!read_cells(reg, at, cells->address, &base) ||
		    !read_cells(reg, at + (uint64_t)cells->address * 4, cells->size, &nbytes))
			return false;
		loami_raw_put(fdt->out, base, nbytes, type, fdt->node.numa_node);
	}
	return true;
}

/* A node's properties are over: use them. */
static bool close_properties(struct fdt *fdt)
{
	struct node *node = &fdt->node;

	if (!node->open)
		return true;
	node->open = false;
	if (fdt->depth == 1)
		fdt->root = node->cells;
	switch (node->kind) {
	case NODE_MEMORY:
		if (node->is_memory && !node->disabled && node->has_reg)
			return put_reg(fdt, &fdt->root, LOAM_REGION_USABLE);
		return true;
	case NODE_RESERVED_MEMORY:
		fdt->reserved_cells = node->cells;
		fdt->reserved_memory_disabled = node->disabled;
		return true;
	case NODE_RESERVATION:
		node->numa_node = 0;
		if (!node->disabled && !fdt->reserved_memory_disabled && node->has_reg)
			return put_reg(fdt, &fdt->reserved_cells, LOAM_REGION_RESERVED);
		return true;
	case NODE_CHOSEN:
		if (node->initrd_end > node->initrd_start)
			loami_raw_put(fdt->out, node->initrd_start, node->initrd_end - node->initrd_start,
				      LOAM_REGION_KERNEL, 0);
		return true;
	case NODE_OTHER:
		return true;
	}
	return true;
}

static void open_node(struct fdt *fdt, uint64_t name)
{
	fdt->depth++;
	fdt->node = (struct node){.open = true, .cells = {.address = 2, .size = 1}};
	if (fdt->depth == 2) {
		fdt->in_reserved_memory = text_is(&fdt->structure, name, "reserved-memory", false);
		if (fdt->in_reserved_memory)
			fdt->node.kind = NODE_RESERVED_MEMORY;
		else if (text_is(&fdt->structure, name, "memory", true))
			fdt->node.kind = NODE_MEMORY;
		else if (text_is(&fdt->structure, name, "chosen", false))
			fdt->node.kind = NODE_CHOSEN;
	} else if (fdt->depth == 3 && fdt->in_reserved_memory) {
		fdt->node.kind = NODE_RESERVATION;
	}
}

static void read_property(struct fdt *fdt, uint64_t name, struct loami_bytes value)
{
	const struct loami_bytes *strings = &fdt->strings;
	struct node *node = &fdt->node;

	if (text_is(strings, name, "#address-cells", false)) {
		node->cells.address = loami_be32(&value, 0);
	} else if (text_is(strings, name, "#size-cells", false)) {
		node->cells.size = loami_be32(&value, 0);
	} else if (node->kind == NODE_OTHER) {
		return;
	} else if (text_is(strings, name, "reg", false)) {
		node->reg = value;
		node->has_reg = true;
	} else if (text_is(strings, name, "device_type", false)) {
		node->is_memory = text_is(&value, 0, "memory", false);
	} else if (text_is(strings, name, "status", false)) {
		node->disabled = !text_is(&value, 0, "okay", false) && !text_is(&value, 0, "ok", false);
	} else if (text_is(strings, name, "numa-node-id", false)) {
		node->numa_node = loami_be32(&value, 0);
	} else if (node->kind == NODE_CHOSEN && value.nbytes <= 8 && value.nbytes % 4 == 0) {
		if (text_is(strings, name, "linux,initrd-start", false))
			(void)read_cells(&value, 0, (uint32_t)(value.nbytes / 4), &node->initrd_start);
		else if (text_is(strings, name, "linux,initrd-end", false))
			(void)read_cells(&value, 0, (uint32_t)(value.nbytes / 4), &node->initrd_end);
	}
}

/* The tokens. LOAM_ERR_TRUNCATED where they end without an end token. */
static enum loam_status walk_structure(struct fdt *fdt)
{
	const struct loami_bytes *b = &fdt->structure;
	uint64_t at = 0;

	while (loami_bytes_have(b, at, 4)) {
		uint32_t token = loami_be32(b, at);

		at += 4;
		if (token == TOKEN_BEGIN) {
			uint64_t name = at;

			if (!close_properties(fdt))
				return LOAM_ERR_FORMAT;
			while (loami_bytes_have(b, at, 1) && b->at[at] != '\0')
				at++;
			if (!loami_bytes_have(b, at, 1))
				return LOAM_ERR_TRUNCATED;
			at = loami_align_up(at + 1, 4);
			open_node(fdt, name);
		} else if (token == TOKEN_END_NODE) {
			if (fdt->depth == 0 || !close_properties(fdt))
				return LOAM_ERR_FORMAT;
			fdt->depth--;
		} else if (token == TOKEN_PROPERTY) {
			uint32_t nbytes = loami_be32(b, at);
			uint32_t name = loami_be32(b, at + 4);

			if (!loami_bytes_have(b, at, 8) || !loami_bytes_have(b, at + 8, nbytes))
				return LOAM_ERR_TRUNCATED;
			/* After a child there should be none; what stands there is not of the node that was read last. */
			if (fdt->node.open)
				read_property(fdt, name, loami_bytes_part(b, at + 8, nbytes));
			at = loami_align_up(at + 8 + nbytes, 4);
		} else if (token == TOKEN_END) {
			return fdt->depth == 0 ? LOAM_OK : LOAM_ERR_FORMAT;
		} else if (token != TOKEN_NOTHING) {
			return LOAM_ERR_FORMAT;
		}
	}
	return LOAM_ERR_TRUNCATED;
}

/* The memory reservation block. Return: whether it ends as it should. */
static bool read_reservations(const struct loami_bytes *b, uint64_t at, struct loami_raw_out *out)
{
	for (; loami_bytes_have(b, at, 16); at += 16) {
		uint64_t base = loami_be64(b, at);
		uint64_t nbytes = loami_be64(b, at + 8);

		if (base == 0 && nbytes == 0)
			return true;
		loami_raw_put(out, base, nbytes, LOAM_REGION_RESERVED, 0);
	}
	return false;
}

size_t loam_fdt_size(const void *bytes, size_t nbytes)
{
	const struct loami_bytes b = loami_bytes_make(bytes, nbytes);
	uint32_t size = loami_be32(&b, 4);

	if (loami_be32(&b, 0) != FDT_MAGIC || size < LOAM_FDT_HEADER_BYTES)
		return 0;
	return size;
}

enum loam_status loam_memmap_import_fdt(const void *bytes, size_t nbytes, struct loam_region *raw, size_t capacity,
					size_t *count)
{
	struct loami_bytes b = loami_bytes_make(bytes, nbytes);
	struct loami_raw_out out = {.raw = raw, .capacity = capacity};
	struct fdt fdt = {.out = &out};
	enum loam_status status;
	bool whole;

	*count = 0;
	if (b.nbytes < LOAM_FDT_HEADER_BYTES)
		return LOAM_ERR_TRUNCATED;
	if (loam_fdt_size(bytes, nbytes) == 0 || loami_be32(&b, 24) > VERSION_STRUCT_SIZE ||
	    loami_be32(&b, 20) < VERSION_COMPATIBLE)
		return LOAM_ERR_FORMAT;
	whole = loam_fdt_size(bytes, nbytes) <= b.nbytes;
	b = loami_bytes_part(&b, 0, loam_fdt_size(bytes, nbytes));
	fdt.structure = loami_bytes_part(&b, loami_be32(&b, 8),
					 loami_be32(&b, 20) >= VERSION_STRUCT_SIZE ? loami_be32(&b, 36) : b.nbytes);
	fdt.strings = loami_bytes_part(&b, loami_be32(&b, 12), loami_be32(&b, 32));

	whole = read_reservations(&b, loami_be32(&b, 16), &out) && whole;
	status = walk_structure(&fdt);
	if (status == LOAM_ERR_FORMAT)
		return status;
	return loami_raw_end(&out, whole && status == LOAM_OK, count);
}
