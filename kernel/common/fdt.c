/* kernel/common/fdt.c: a small reader of flattened device trees (Devicetree Specification 0.4, chapter 5). */
#include "fdt.h"

#define MAGIC 0xd00dfeedU
#define HEADER_NBYTES 40U

enum token { BEGIN_NODE = 1, END_NODE = 2, PROPERTY = 3, NOTHING = 4, END = 9 };

static uint32_t word(const struct fdt *fdt, uint32_t at)
{
	return (uint32_t)fdt_cells(fdt->bytes + at, 4);
}

uint64_t fdt_cells(const uint8_t *value, uint32_t nbytes)
{
	uint64_t number = 0;

	for (uint32_t i = 0; i < nbytes && i < 8; i++)
		number = number << 8 | value[i];
	return number;
}

/* Is [at, at + nbytes) inside [at, end)? */
static bool fits(uint32_t at, uint32_t nbytes, uint32_t end)
{
	return at <= end && nbytes <= end - at;
}

bool fdt_open(struct fdt *fdt, const void *bytes, size_t nbytes_max)
{
	*fdt = (struct fdt){.bytes = bytes};
	if (nbytes_max < HEADER_NBYTES || word(fdt, 0) != MAGIC)
		return false;
	fdt->nbytes = word(fdt, 4);
	fdt->structure = word(fdt, 8);
	fdt->strings = word(fdt, 12);
	uint32_t strings_nbytes = word(fdt, 32), structure_nbytes = word(fdt, 36);
	/* Where the structure began in the header, an offset of 0 would do, which is the place before the root. */
	if (fdt->nbytes > nbytes_max || fdt->structure < HEADER_NBYTES ||
	    !fits(fdt->structure, structure_nbytes, fdt->nbytes) || !fits(fdt->strings, strings_nbytes, fdt->nbytes) ||
	    fdt->structure % 4 != 0)
		return false;
	fdt->structure_end = fdt->structure + structure_nbytes;
	fdt->strings_end = fdt->strings + strings_nbytes;
	return true;
}

/* The text at @at if it ends before @end, and *@after, its end rounded up to a word. */
static const char *text_at(const struct fdt *fdt, uint32_t at, uint32_t end, uint32_t *after)
{
	for (uint32_t i = at; i < end; i++) {
		if (fdt->bytes[i] != 0)
			continue;
		*after = (i + 4) & ~UINT32_C(3);
		return (const char *)fdt->bytes + at;
	}
	return NULL;
}

static bool same(const char *a, const char *b)
{
	for (; *a != '\0' && *a == *b; a++)
		b++;
	return *a == *b;
}

/* Behind a property whose token stands at @at. Return: 0 when it does not fit. */
static uint32_t skip_property(const struct fdt *fdt, uint32_t at)
{
	if (!fits(at, 12, fdt->structure_end))
		return 0;
	uint32_t nbytes = word(fdt, at + 4);
	if (!fits(at + 12, nbytes, fdt->structure_end))
		return 0;
	return (at + 12 + nbytes + 3) & ~UINT32_C(3);
}

bool fdt_next(const struct fdt *fdt, struct fdt_node *node)
{
	uint32_t at = node->properties == 0 ? fdt->structure : node->properties;
	unsigned int depth = node->properties == 0 ? 0 : node->depth;
	bool inside = node->properties != 0;

	while (fits(at, 4, fdt->structure_end)) {
		switch (word(fdt, at)) {
		case BEGIN_NODE: {
			uint32_t after;
			const char *name = text_at(fdt, at + 4, fdt->structure_end, &after);

			if (name == NULL)
				return false;
			*node = (struct fdt_node){name, inside ? depth + 1 : 0, after};
			return true;
		}
		case END_NODE:
			if (depth == 0)
				return false;
			depth--;
			at += 4;
			break;
		case PROPERTY:
			at = skip_property(fdt, at);
			if (at == 0)
				return false;
			break;
		case NOTHING:
			at += 4;
			break;
		default:
			return false;
		}
	}
	return false;
}

const uint8_t *fdt_property(const struct fdt *fdt, const struct fdt_node *node, const char *name, uint32_t *nbytes)
{
	uint32_t at = node->properties;

	while (fits(at, 4, fdt->structure_end)) {
		uint32_t token = word(fdt, at), next = at + 4, after;

		if (token == PROPERTY) {
			next = skip_property(fdt, at);
			if (next == 0)
				return NULL;
			uint32_t offset = word(fdt, at + 8);
			const char *own = fits(offset, 1, fdt->strings_end - fdt->strings)
						  ? text_at(fdt, fdt->strings + offset, fdt->strings_end, &after)
						  : NULL;
			if (own != NULL && same(own, name)) {
				*nbytes = word(fdt, at + 4);
				return fdt->bytes + at + 12;
			}
		} else if (token != NOTHING) {
			return NULL; /* properties come before child nodes */
		}
		at = next;
	}
	return NULL;
}

const char *fdt_string(const struct fdt *fdt, const struct fdt_node *node, const char *name)
{
	uint32_t nbytes;
	const uint8_t *value = fdt_property(fdt, node, name, &nbytes);

	return value != NULL && nbytes > 0 && value[nbytes - 1] == 0 ? (const char *)value : NULL;
}
