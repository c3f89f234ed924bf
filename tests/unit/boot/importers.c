/* tests/unit/boot/importers.c: what each firmware hands over, byte for byte, and every way to cut it short. */
#include <base/bits.h>
#include <loam/boot.h>

#include "tap.h"

/* ---- a writer of bytes ------------------------------------------------------------------------------------------------ */

static unsigned char bytes[1024];
static size_t nbytes;
static struct loam_region raw[16];
static size_t count;

static void le(unsigned int width, uint64_t value)
{
	for (unsigned int i = 0; i < width; i++)
		bytes[nbytes++] = (unsigned char)(value >> (8 * i));
}

static void be32(uint32_t value)
{
	for (unsigned int i = 0; i < 4; i++)
		bytes[nbytes++] = (unsigned char)(value >> (24 - 8 * i));
}

static void be64(uint64_t value)
{
	be32((uint32_t)(value >> 32));
	be32((uint32_t)value);
}

static void text(const char *t)
{
	do
		bytes[nbytes++] = (unsigned char)*t;
	while (*t++ != '\0');
}

static void pad(size_t align)
{
	while (nbytes % align != 0)
		bytes[nbytes++] = 0;
}

static void start(void)
{
	nbytes = 0;
	count = 99;
}

static void entry_is(size_t i, loam_paddr base, uint64_t length, uint32_t type)
{
	CHECK(i < count);
	CHECK_EQ(raw[i].base, base);
	CHECK_EQ(raw[i].nbytes, length);
	CHECK_EQ(raw[i].type, type);
}

typedef enum loam_status (*import_fn)(const void *b, size_t n, struct loam_region *r, size_t capacity, size_t *c);

/* Every shorter prefix is refused by name, or is a map with fewer entries; capacity is respected. */
static void cut_short(import_fn import)
{
	size_t all = count;

	for (size_t n = 0; n < nbytes; n++) {
		enum loam_status status = import(bytes, n, raw, LOAMI_COUNT(raw), &count);

		CHECK(status == LOAM_ERR_TRUNCATED || status == LOAM_ERR_FORMAT || (status == LOAM_OK && count < all));
	}
	for (size_t capacity = 0; capacity < all; capacity++) {
		raw[capacity].base = 0x123456789;
		CHECK_STATUS(import(bytes, nbytes, raw, capacity, &count), LOAM_ERR_TRUNCATED);
		CHECK_EQ(count, all);
		CHECK_EQ(raw[capacity].base, 0x123456789);
	}
	/* No bytes at all, but a length: refused, not taken for an empty map. */
	CHECK(import(NULL, nbytes, raw, LOAMI_COUNT(raw), &count) != LOAM_OK);
	CHECK_EQ(count, 0);
	CHECK_OK(import(bytes, nbytes, raw, LOAMI_COUNT(raw), &count));
	CHECK_EQ(count, all);
}

/* ---- e820 and PVH ----------------------------------------------------------------------------------------------------- */

static const uint32_t e820_types[] = {
	LOAM_REGION_FOREIGN | 0, LOAM_REGION_USABLE, LOAM_REGION_RESERVED,    LOAM_REGION_RECLAIMABLE,
	LOAM_REGION_NVS,         LOAM_REGION_BAD,    LOAM_REGION_FOREIGN | 6, LOAM_REGION_FOREIGN | 7,
};

static enum loam_status e820_20(const void *b, size_t n, struct loam_region *r, size_t capacity, size_t *c)
{
	return loam_memmap_import_e820(b, n, 20, r, capacity, c);
}

TEST(F15_boot_e820_entries_of_20_bytes)
{
	start();
	for (uint32_t type = 0; type < LOAMI_COUNT(e820_types); type++) {
		le(8, UINT64_C(0x123456789000) * type);
		le(8, 0x1000 + type);
		le(4, type);
	}
	CHECK_OK(e820_20(bytes, nbytes, raw, LOAMI_COUNT(raw), &count));
	CHECK_EQ(count, LOAMI_COUNT(e820_types));
	for (uint32_t type = 0; type < LOAMI_COUNT(e820_types); type++)
		entry_is(type, UINT64_C(0x123456789000) * type, 0x1000 + type, e820_types[type]);
	cut_short(e820_20);
}

TEST(F15_boot_e820_entries_of_24_bytes_may_be_switched_off)
{
	start();
	for (uint32_t i = 0; i < 4; i++) {
		le(8, 0x1000 * i);
		le(8, 0x1000);
		le(4, 1);
		le(4, i); /* bit 0: enabled */
	}
	CHECK_OK(loam_memmap_import_e820(bytes, nbytes, 24, raw, LOAMI_COUNT(raw), &count));
	CHECK_EQ(count, 2);
	entry_is(0, 0x1000, 0x1000, LOAM_REGION_USABLE);
	entry_is(1, 0x3000, 0x1000, LOAM_REGION_USABLE);
	CHECK_STATUS(loam_memmap_import_e820(bytes, nbytes, 0, raw, 16, &count), LOAM_ERR_FORMAT);
	CHECK_STATUS(loam_memmap_import_e820(bytes, nbytes, 21, raw, 16, &count), LOAM_ERR_FORMAT);
	CHECK_EQ(count, 0);
}

TEST(F15_boot_pvh_table)
{
	start();
	for (uint32_t type = 1; type < 4; type++) {
		le(8, 0x100000 * type);
		le(8, 0x1000);
		le(4, type);
		le(4, 0xffffffff);
	}
	CHECK_OK(loam_memmap_import_pvh(bytes, nbytes, raw, LOAMI_COUNT(raw), &count));
	CHECK_EQ(count, 3);
	for (uint32_t type = 1; type < 4; type++)
		entry_is(type - 1, 0x100000 * type, 0x1000, e820_types[type]);
	cut_short(loam_memmap_import_pvh);
}

static void pvh_info(uint32_t version)
{
	start();
	le(4, 0x336ec578);
	le(4, version);
	le(4, 0);
	le(4, 2);
	le(8, 0x1111000);
	le(8, 0x2222000);
	le(8, 0x3333000);
	le(8, 0x4444000);
	le(4, 7);
	le(4, 0);
}

TEST(F15_boot_pvh_start_info)
{
	struct loam_pvh_info info;

	pvh_info(1);
	CHECK_EQ(nbytes, LOAM_PVH_INFO_BYTES);
	CHECK_OK(loam_pvh_parse(bytes, nbytes, &info));
	CHECK_EQ(info.version, 1);
	CHECK_EQ(info.nmodules, 2);
	CHECK_EQ(info.modules, 0x1111000);
	CHECK_EQ(info.cmdline, 0x2222000);
	CHECK_EQ(info.rsdp, 0x3333000);
	CHECK_EQ(info.memmap, 0x4444000);
	CHECK_EQ(info.nmemmap, 7);
	for (size_t n = 0; n < LOAM_PVH_INFO_BYTES; n++)
		CHECK_STATUS(loam_pvh_parse(bytes, n, &info), LOAM_ERR_TRUNCATED);
	bytes[0]++;
	CHECK_STATUS(loam_pvh_parse(bytes, nbytes, &info), LOAM_ERR_FORMAT);

	pvh_info(0);
	CHECK_OK(loam_pvh_parse(bytes, 40, &info)); /* no memory map in version 0 */
	CHECK_EQ(info.nmemmap, 0);
	CHECK_EQ(info.rsdp, 0x3333000);
}

/* ---- UEFI ------------------------------------------------------------------------------------------------------------- */

static enum loam_status uefi_48(const void *b, size_t n, struct loam_region *r, size_t capacity, size_t *c)
{
	return loam_memmap_import_uefi(b, n, 48, r, capacity, c);
}

static void descriptor(uint32_t type, loam_paddr base, uint64_t npages, uint64_t attributes)
{
	le(4, type);
	le(4, 0xdeadbeef);
	le(8, base);
	le(8, 0xffff800000000000);
	le(8, npages);
	le(8, attributes);
	le(8, 0xaaaaaaaaaaaaaaaa); /* of a later version */
}

TEST(F15_boot_uefi_types)
{
	static const uint32_t types[] = {
		LOAM_REGION_RESERVED,    LOAM_REGION_RECLAIMABLE, LOAM_REGION_RECLAIMABLE, LOAM_REGION_RECLAIMABLE,
		LOAM_REGION_RECLAIMABLE, LOAM_REGION_RESERVED,    LOAM_REGION_RESERVED,    LOAM_REGION_USABLE,
		LOAM_REGION_BAD,         LOAM_REGION_RECLAIMABLE, LOAM_REGION_NVS,         LOAM_REGION_DEVICE,
		LOAM_REGION_DEVICE,      LOAM_REGION_RESERVED,    LOAM_REGION_RESERVED,    LOAM_REGION_RESERVED,
	};

	start();
	for (uint32_t type = 0; type < 16; type++)
		descriptor(type, UINT64_C(0x100000000) * type, 3, 0xf);
	CHECK_OK(uefi_48(bytes, nbytes, raw, LOAMI_COUNT(raw), &count));
	CHECK_EQ(count, 16);
	for (uint32_t type = 0; type < 16; type++)
		entry_is(type, UINT64_C(0x100000000) * type, 0x3000, types[type]);
	count = 16;
	cut_short(uefi_48);
}

TEST(F15_boot_uefi_oddities)
{
	start();
	descriptor(7, 0x1000, 1, UINT64_C(1) << 18);
	descriptor(16, 0x2000, 1, 0);
	descriptor(0x80000001, 0x3000, 1, 0);
	descriptor(7, 0x4000, UINT64_C(1) << 52, 0);
	descriptor(7, 0x5000, UINT64_MAX, 0);
	CHECK_OK(uefi_48(bytes, nbytes, raw, LOAMI_COUNT(raw), &count));
	CHECK_EQ(count, 5);
	entry_is(0, 0x1000, 0x1000, LOAM_REGION_RESERVED);
	entry_is(1, 0x2000, 0x1000, LOAM_REGION_FOREIGN | 16);
	entry_is(2, 0x3000, 0x1000, LOAM_REGION_FOREIGN | 1);
	entry_is(3, 0x4000, UINT64_MAX, LOAM_REGION_USABLE);
	entry_is(4, 0x5000, UINT64_MAX, LOAM_REGION_USABLE);
	CHECK_STATUS(loam_memmap_import_uefi(bytes, nbytes, 39, raw, 16, &count), LOAM_ERR_FORMAT);
	CHECK_STATUS(loam_memmap_import_uefi(bytes, nbytes, 0, raw, 16, &count), LOAM_ERR_FORMAT);
	CHECK_STATUS(loam_memmap_import_uefi(bytes, nbytes, SIZE_MAX, raw, 16, &count), LOAM_ERR_TRUNCATED);
}

/* ---- Limine ----------------------------------------------------------------------------------------------------------- */

TEST(F15_boot_limine_entries_behind_pointers)
{
	static const uint32_t types[] = {
		LOAM_REGION_USABLE,   LOAM_REGION_RESERVED,    LOAM_REGION_RECLAIMABLE, LOAM_REGION_NVS,
		LOAM_REGION_BAD,      LOAM_REGION_RECLAIMABLE, LOAM_REGION_KERNEL,      LOAM_REGION_DEVICE,
		LOAM_REGION_RESERVED, LOAM_REGION_FOREIGN | 9,
	};
	const void *entries[10];

	start();
	for (uint32_t type = 0; type < 10; type++) {
		entries[9 - type] = &bytes[nbytes];
		le(8, 0x1000 * type);
		le(8, 0x1000);
		le(8, type);
	}
	CHECK_OK(loam_memmap_import_limine(entries, 10, raw, LOAMI_COUNT(raw), &count));
	CHECK_EQ(count, 10);
	for (uint32_t type = 0; type < 10; type++)
		entry_is(9 - type, 0x1000 * type, 0x1000, types[type]);
	CHECK_STATUS(loam_memmap_import_limine(entries, 10, raw, 3, &count), LOAM_ERR_TRUNCATED);
	CHECK_EQ(count, 10);
	CHECK_OK(loam_memmap_import_limine(NULL, 0, raw, 3, &count));
	CHECK_EQ(count, 0);
	CHECK_STATUS(loam_memmap_import_limine(NULL, 1, raw, 3, &count), LOAM_ERR_FORMAT);
	entries[5] = NULL;
	CHECK_STATUS(loam_memmap_import_limine(entries, 10, raw, LOAMI_COUNT(raw), &count), LOAM_ERR_FORMAT);
	CHECK_EQ(count, 0);
}

/* ---- Multiboot2 ------------------------------------------------------------------------------------------------------- */

static void tag(uint32_t type, uint32_t size)
{
	pad(8);
	le(4, type);
	le(4, size);
}

static void finish_multiboot2(void)
{
	uint32_t total;

	tag(0, 8);
	total = (uint32_t)nbytes;
	for (unsigned int i = 0; i < 4; i++)
		bytes[i] = (unsigned char)(total >> (8 * i));
}

static void start_multiboot2(void)
{
	start();
	le(8, 0);
	tag(1, 8 + 3);
	text("hi");
	tag(3, 16 + 4);
	le(4, 0x200000);
	le(4, 0x212345);
	text("ini");
}

static void memory_tag(void)
{
	tag(6, 16 + 2 * 32);
	le(4, 32); /* entries larger than we know */
	le(4, 0);
	for (uint32_t i = 0; i < 2; i++) {
		le(8, 0x100000 * i);
		le(8, 0x9f000);
		le(4, i + 1);
		le(4, 0);
		le(8, UINT64_MAX);
	}
}

static void efi_tag(void)
{
	tag(17, 16 + 48);
	le(4, 48);
	le(4, 1);
	descriptor(7, 0x1000, 2, 0);
}

TEST(F15_boot_multiboot2_memory_map_and_modules)
{
	start_multiboot2();
	efi_tag();
	memory_tag();
	finish_multiboot2();
	CHECK_OK(loam_memmap_import_multiboot2(bytes, nbytes, raw, LOAMI_COUNT(raw), &count));
	CHECK_EQ(count, 3);
	entry_is(0, 0x200000, 0x12345, LOAM_REGION_KERNEL);
	entry_is(1, 0, 0x9f000, LOAM_REGION_USABLE);
	entry_is(2, 0x100000, 0x9f000, LOAM_REGION_RESERVED);
	cut_short(loam_memmap_import_multiboot2);
}

TEST(F15_boot_multiboot2_efi_map_where_there_is_no_other)
{
	start_multiboot2();
	efi_tag();
	finish_multiboot2();
	CHECK_OK(loam_memmap_import_multiboot2(bytes, nbytes, raw, LOAMI_COUNT(raw), &count));
	CHECK_EQ(count, 2);
	entry_is(1, 0x1000, 0x2000, LOAM_REGION_USABLE);
	cut_short(loam_memmap_import_multiboot2);
}

TEST(F15_boot_multiboot2_that_is_none)
{
	start_multiboot2();
	finish_multiboot2();
	CHECK_STATUS(loam_memmap_import_multiboot2(bytes, nbytes, raw, 16, &count), LOAM_ERR_NOT_FOUND);
	bytes[12] = 7; /* a tag smaller than its own header */
	CHECK_STATUS(loam_memmap_import_multiboot2(bytes, nbytes, raw, 16, &count), LOAM_ERR_FORMAT);
	bytes[12] = bytes[13] = bytes[14] = bytes[15] = 0xff; /* and one as large as can be */
	CHECK_STATUS(loam_memmap_import_multiboot2(bytes, nbytes, raw, 16, &count), LOAM_ERR_TRUNCATED);
	bytes[0] = 15; /* no room for an end tag */
	CHECK_STATUS(loam_memmap_import_multiboot2(bytes, nbytes, raw, 16, &count), LOAM_ERR_FORMAT);

	start();
	le(8, 0);
	tag(6, 16);
	le(4, 23); /* entries too small */
	le(4, 0);
	finish_multiboot2();
	CHECK_STATUS(loam_memmap_import_multiboot2(bytes, nbytes, raw, 16, &count), LOAM_ERR_FORMAT);
	CHECK_EQ(count, 0);
}

/* ---- flattened device tree -------------------------------------------------------------------------------------------- */

/* Offsets of these names in the strings block. */
enum {
	S_ADDRESS_CELLS = 0,
	S_SIZE_CELLS = 15,
	S_REG = 27,
	S_DEVICE_TYPE = 31,
	S_STATUS = 43,
	S_NUMA = 50,
	S_INITRD_START = 63,
	S_INITRD_END = 82,
	S_SIZE = 99,
};

static size_t structure_at;

static void put_be32_at(size_t at, uint32_t value)
{
	size_t saved = nbytes;

	nbytes = at;
	be32(value);
	nbytes = saved;
}

static void start_fdt(void)
{
	start();
	be32(0xd00dfeed);
	for (unsigned int i = 0; i < 9; i++)
		be32(0);
	put_be32_at(20, 17);
	put_be32_at(24, 16);
	put_be32_at(16, (uint32_t)nbytes);
	be64(0x80000000); /* reservation block */
	be64(0x1234);
	be64(0);
	be64(0);
	put_be32_at(8, (uint32_t)nbytes);
	structure_at = nbytes;
}

static void finish_fdt(void)
{
	be32(9);
	put_be32_at(36, (uint32_t)(nbytes - structure_at));
	put_be32_at(12, (uint32_t)nbytes);
	size_t strings = nbytes;
	text("#address-cells");
	text("#size-cells");
	text("reg");
	text("device_type");
	text("status");
	text("numa-node-id");
	text("linux,initrd-start");
	text("linux,initrd-end");
	text("size");
	put_be32_at(32, (uint32_t)(nbytes - strings));
	put_be32_at(4, (uint32_t)nbytes);
}

static void node(const char *name)
{
	be32(1);
	text(name);
	pad(4);
}

static void end_node(void)
{
	be32(2);
}

static void property(uint32_t name, uint32_t length)
{
	be32(3);
	be32(length);
	be32(name);
}

static void cell_property(uint32_t name, uint32_t value)
{
	property(name, 4);
	be32(value);
}

static void text_property(uint32_t name, const char *value)
{
	uint32_t length = 1;

	while (value[length - 1] != '\0')
		length++;
	property(name, length);
	text(value);
	pad(4);
}

static void board(void)
{
	start_fdt();
	node("");
	cell_property(S_ADDRESS_CELLS, 2);
	cell_property(S_SIZE_CELLS, 2);
	node("memory@40000000");
	property(S_REG, 32); /* before device_type: order does not matter */
	be64(0x40000000);
	be64(0x80000000);
	be64(0x100000000);
	be64(0x100000);
	be32(4); /* nothing */
	text_property(S_DEVICE_TYPE, "memory");
	cell_property(S_NUMA, 3);
	end_node();
	node("memory@200000000"); /* switched off */
	text_property(S_DEVICE_TYPE, "memory");
	text_property(S_STATUS, "disabled");
	property(S_REG, 16);
	be64(0x200000000);
	be64(0x1000);
	end_node();
	node("reserved-memory");
	cell_property(S_ADDRESS_CELLS, 1);
	cell_property(S_SIZE_CELLS, 1);
	node("secure@50000000");
	property(S_REG, 8);
	be32(0x50000000);
	be32(0x200000);
	end_node();
	node("anywhere"); /* asks for memory, names no place */
	cell_property(S_SIZE, 0x1000);
	end_node();
	node("off@60000000");
	text_property(S_STATUS, "disabled");
	property(S_REG, 8);
	be32(0x60000000);
	be32(0x1000);
	end_node();
	end_node();
	node("soc");
	cell_property(S_ADDRESS_CELLS, 1);
	node("memory@0"); /* some device's, not the system's */
	text_property(S_DEVICE_TYPE, "memory");
	property(S_REG, 8);
	be32(0);
	be32(0x1000);
	end_node();
	end_node();
	node("chosen");
	property(S_INITRD_START, 4);
	be32(0x48000000);
	property(S_INITRD_END, 8);
	be64(0x48123456);
	end_node();
	end_node();
	finish_fdt();
}

TEST(F15_boot_fdt_memory_reservations_and_initrd)
{
	board();
	CHECK_EQ(loam_fdt_size(bytes, LOAM_FDT_HEADER_BYTES), nbytes);
	CHECK_OK(loam_memmap_import_fdt(bytes, nbytes, raw, LOAMI_COUNT(raw), &count));
	CHECK_EQ(count, 5);
	entry_is(0, 0x80000000, 0x1234, LOAM_REGION_RESERVED);
	entry_is(1, 0x40000000, 0x80000000, LOAM_REGION_USABLE);
	CHECK_EQ(raw[1].node, 3);
	entry_is(2, 0x100000000, 0x100000, LOAM_REGION_USABLE);
	entry_is(3, 0x50000000, 0x200000, LOAM_REGION_RESERVED);
	entry_is(4, 0x48000000, 0x123456, LOAM_REGION_KERNEL);
	cut_short(loam_memmap_import_fdt);
}

TEST(F15_boot_fdt_that_is_none)
{
	board();
	CHECK_EQ(loam_fdt_size(bytes, 7), 0);
	CHECK_EQ(loam_fdt_size(NULL, 40), 0);
	bytes[3] ^= 1;
	CHECK_STATUS(loam_memmap_import_fdt(bytes, nbytes, raw, 16, &count), LOAM_ERR_FORMAT);
	CHECK_EQ(loam_fdt_size(bytes, nbytes), 0);
	board();
	put_be32_at(24, 18); /* needs a later reader */
	CHECK_STATUS(loam_memmap_import_fdt(bytes, nbytes, raw, 16, &count), LOAM_ERR_FORMAT);
	board();
	put_be32_at(structure_at, 5); /* no such token */
	CHECK_STATUS(loam_memmap_import_fdt(bytes, nbytes, raw, 16, &count), LOAM_ERR_FORMAT);
	board();
	put_be32_at(structure_at, 2); /* ends before it begins */
	CHECK_STATUS(loam_memmap_import_fdt(bytes, nbytes, raw, 16, &count), LOAM_ERR_FORMAT);
	board();
	put_be32_at(16, (uint32_t)nbytes - 8); /* reservations that never end */
	CHECK_STATUS(loam_memmap_import_fdt(bytes, nbytes, raw, 16, &count), LOAM_ERR_TRUNCATED);
	for (size_t field = 4; field < LOAM_FDT_HEADER_BYTES; field += 4) {
		board();
		put_be32_at(field, UINT32_MAX);
		enum loam_status status = loam_memmap_import_fdt(bytes, nbytes, raw, 16, &count);

		CHECK(status == LOAM_OK || status == LOAM_ERR_TRUNCATED || status == LOAM_ERR_FORMAT);
	}
}

static enum loam_status one_memory_node(uint32_t address_cells, uint32_t size_cells, uint32_t words, uint32_t first)
{
	start_fdt();
	node("");
	cell_property(S_ADDRESS_CELLS, address_cells);
	cell_property(S_SIZE_CELLS, size_cells);
	node("memory");
	text_property(S_DEVICE_TYPE, "memory");
	property(S_REG, words * 4);
	be32(first);
	for (uint32_t i = 1; i < words; i++)
		be32(i);
	end_node();
	end_node();
	finish_fdt();
	return loam_memmap_import_fdt(bytes, nbytes, raw, LOAMI_COUNT(raw), &count);
}

TEST(F15_boot_fdt_cells)
{
	CHECK_OK(one_memory_node(1, 1, 4, 7));
	CHECK_EQ(count, 3);
	entry_is(1, 7, 1, LOAM_REGION_USABLE);
	entry_is(2, 2, 3, LOAM_REGION_USABLE);
	CHECK_OK(one_memory_node(3, 2, 5, 0));
	entry_is(1, UINT64_C(0x100000002), UINT64_C(0x300000004), LOAM_REGION_USABLE);
	CHECK_STATUS(one_memory_node(3, 2, 5, 1), LOAM_ERR_FORMAT); /* more than 64 bits */
	CHECK_STATUS(one_memory_node(2, 2, 5, 0), LOAM_ERR_FORMAT); /* a piece is left over */
	CHECK_STATUS(one_memory_node(0, 2, 4, 0), LOAM_ERR_FORMAT);
	CHECK_STATUS(one_memory_node(2, 0, 4, 0), LOAM_ERR_FORMAT);
	CHECK_STATUS(one_memory_node(5, 1, 6, 0), LOAM_ERR_FORMAT);
	CHECK_STATUS(one_memory_node(UINT32_MAX, UINT32_MAX, 4, 0), LOAM_ERR_FORMAT);
}

TEST(F15_boot_fdt_without_cells_has_two_and_one)
{
	start_fdt();
	node("");
	node("memory@0");
	text_property(S_DEVICE_TYPE, "memory");
	property(S_REG, 12);
	be64(0x8000000000);
	be32(0x1000);
	end_node();
	end_node();
	finish_fdt();
	CHECK_OK(loam_memmap_import_fdt(bytes, nbytes, raw, LOAMI_COUNT(raw), &count));
	entry_is(1, 0x8000000000, 0x1000, LOAM_REGION_USABLE);
}
