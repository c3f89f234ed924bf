/* boot/bytes.h: reading what the firmware left: any alignment, never past the end, either byte order. */
#ifndef LOAMI_BOOT_BYTES_H
#define LOAMI_BOOT_BYTES_H

#include <loam/boot.h>

/* A window of bytes. Reads outside of it give 0; ask loami_bytes_have() first where that matters. */
struct loami_bytes {
	const unsigned char *at;
	size_t nbytes;
};

static inline struct loami_bytes loami_bytes_make(const void *bytes, size_t nbytes)
{
	return (struct loami_bytes){.at = (const unsigned char *)bytes, .nbytes = bytes != NULL ? nbytes : 0};
}

/* A length, and nothing there: not an empty map, but a caller's mistake. */
static inline bool loami_bytes_missing(const void *bytes, size_t nbytes)
{
	return bytes == NULL && nbytes > 0;
}

static inline bool loami_bytes_have(const struct loami_bytes *b, uint64_t offset, uint64_t nbytes)
{
	return offset <= b->nbytes && nbytes <= b->nbytes - offset;
}

static inline uint64_t loami_bytes_le(const struct loami_bytes *b, uint64_t offset, unsigned int width)
{
	uint64_t value = 0;

	if (!loami_bytes_have(b, offset, width))
		return 0;
	for (unsigned int i = width; i > 0; i--)
		value = value << 8 | b->at[offset + i - 1];
	return value;
}

static inline uint32_t loami_le32(const struct loami_bytes *b, uint64_t offset)
{
	return (uint32_t)loami_bytes_le(b, offset, 4);
}

static inline uint64_t loami_le64(const struct loami_bytes *b, uint64_t offset)
{
	return loami_bytes_le(b, offset, 8);
}

static inline uint32_t loami_be32(const struct loami_bytes *b, uint64_t offset)
{
	if (!loami_bytes_have(b, offset, 4))
		return 0;
	return (uint32_t)b->at[offset] << 24 | (uint32_t)b->at[offset + 1] << 16 | (uint32_t)b->at[offset + 2] << 8 |
	       b->at[offset + 3];
}

static inline uint64_t loami_be64(const struct loami_bytes *b, uint64_t offset)
{
	return (uint64_t)loami_be32(b, offset) << 32 | loami_be32(b, offset + 4);
}

/* [offset, offset + nbytes) of @b, cut where @b ends. */
static inline struct loami_bytes loami_bytes_part(const struct loami_bytes *b, uint64_t offset, uint64_t nbytes)
{
	if (offset > b->nbytes)
		offset = b->nbytes;
	if (nbytes > b->nbytes - offset)
		nbytes = b->nbytes - offset;
	return (struct loami_bytes){.at = b->nbytes > 0 ? b->at + offset : b->at, .nbytes = (size_t)nbytes};
}

/* Where an importer puts its entries. */
struct loami_raw_out {
	struct loam_region *raw;
	size_t capacity;
	size_t count; /* all of them, also those that did not fit */
};

static inline void loami_raw_put(struct loami_raw_out *out, loam_paddr base, uint64_t nbytes, uint32_t type,
				 uint32_t node)
{
	if (out->count < out->capacity)
		out->raw[out->count] = (struct loam_region){.base = base, .nbytes = nbytes, .type = type, .node = node};
	out->count++;
}

/* The answer of an importer that has read everything there is; @whole: the bytes did not end early. */
static inline enum loam_status loami_raw_end(const struct loami_raw_out *out, bool whole, size_t *count)
{
	*count = out->count;
	return whole && out->count <= out->capacity ? LOAM_OK : LOAM_ERR_TRUNCATED;
}

/* Entries {base 8, length 8, type 4, ...}, @stride apart, with e820's types: PVH and multiboot2 have them too. Return: whether the bytes end with an entry. */
bool loami_import_e820_entries(const struct loami_bytes *b, size_t stride, struct loami_raw_out *out);
/* UEFI's descriptors: multiboot2 may pass them on. */
bool loami_import_uefi_entries(const struct loami_bytes *b, size_t stride, struct loami_raw_out *out);

#endif
