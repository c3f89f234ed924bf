/* kernel/arch/x86_64/firmware.c: what the loader says, PVH or Multiboot2, and what ACPI's MADT says.
 *
 * All of it is read through the boot tables' direct map, which ends at 4 GiB; QEMU, GRUB and every PC keep these tables below that. What lies
 * above, or does not check, is taken as absent.
 */
#include "../../common/kernel.h"
#include "../arch.h"
#include "regs.h"

#define START_MAGIC 0x336ec578U

/* Xen public/arch-x86/hvm/start_info.h */
struct start_info {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t module_count;
	uint64_t modules;
	uint64_t command_line;
	uint64_t rsdp;
	uint64_t map; /* from version 1 on */
	uint32_t map_entries;
	uint32_t reserved;
};

struct start_module {
	uint64_t base;
	uint64_t nbytes;
	uint64_t command_line;
	uint64_t reserved;
};

#define MAP_ENTRY_NBYTES 24

/* Multiboot2 3.6: total size, reserved, then tags of {type, size, contents} at multiples of 8. */
#define MULTIBOOT2_MAGIC 0x36d76289U
#define INFORMATION_NBYTES_MAX ((uint32_t)1 << 20)

enum {
	TAG_END = 0,
	TAG_COMMAND_LINE = 1,
	TAG_MODULE = 3, /* start, end, text */
	TAG_FRAMEBUFFER = 8,
	TAG_RSDP_OLD = 14, /* a copy */
	TAG_RSDP_NEW = 15,
	TAG_HEADER = 8,
	FRAMEBUFFER_PIXELS = 1, /* of red, green and blue */
	FRAMEBUFFER_TEXT = 2,
};

/* ACPI 6.5: 5.2.5 RSDP, 5.2.6 table header, 5.2.12 MADT. */
struct rsdp {
	char signature[8];
	uint8_t checksum;
	char oem[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} __attribute__((packed));

struct table {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem[6];
	char oem_table[8];
	uint32_t oem_revision;
	uint32_t creator;
	uint32_t creator_revision;
} __attribute__((packed));
_Static_assert(sizeof(struct table) == 36, "an ACPI table header is 36 bytes");

#define MADT_ENTRIES (sizeof(struct table) + 8)
#define MADT_APIC 0
#define MADT_X2APIC 9
#define MADT_ENABLED 1U

/* One of the two. */
static const struct start_info *start;
static const uint8_t *information;
static uint32_t information_nbytes;

LOAM_NORETURN void x86_boot(uint32_t magic, uint32_t address);

/* What lies at a physical address, or NULL where the boot tables do not reach. */
static const void *physical(uint64_t base, uint64_t nbytes)
{
	if (base == 0 || base >= ARCH_BOOT_MAP_NBYTES || nbytes > ARCH_BOOT_MAP_NBYTES - base)
		return NULL;
	return (const void *)(ARCH_DIRECT_MAP + base);
}

static uint64_t read_bytes(const uint8_t *at, unsigned int nbytes)
{
	uint64_t value = 0;

	while (nbytes-- > 0)
		value = value << 8 | at[nbytes];
	return value;
}

/* ---- Multiboot2 ------------------------------------------------------------------------------------------------------------- */

/* The @index-th tag of a type: its contents and how many bytes they are; NULL where there is none with at least @least. */
static const uint8_t *tag_find(uint32_t type, unsigned int index, uint32_t least, uint32_t *nbytes)
{
	for (uint32_t at = TAG_HEADER; information_nbytes - at >= TAG_HEADER;) {
		uint32_t kind = (uint32_t)read_bytes(information + at, 4);
		uint32_t size = (uint32_t)read_bytes(information + at + 4, 4);

		if (kind == TAG_END || size < TAG_HEADER || size > information_nbytes - at)
			return NULL;
		if (kind == type && size - TAG_HEADER >= least && index-- == 0) {
			*nbytes = size - TAG_HEADER;
			return information + at + TAG_HEADER;
		}
		at += (size + 7) & ~UINT32_C(7);
		if (at > information_nbytes)
			return NULL;
	}
	return NULL;
}

static void information_open(uint32_t address)
{
	const uint8_t *bytes = physical(address, TAG_HEADER);
	uint32_t nbytes = bytes != NULL ? (uint32_t)read_bytes(bytes, 4) : 0;

	if (nbytes < TAG_HEADER || nbytes > INFORMATION_NBYTES_MAX || physical(address, nbytes) == NULL)
		return;
	information = bytes;
	information_nbytes = nbytes;
	const uint8_t *screen = tag_find(TAG_FRAMEBUFFER, 0, 22, &nbytes);
	if (screen == NULL)
		return;
	uint64_t base = read_bytes(screen, 8);
	uint32_t pitch = (uint32_t)read_bytes(screen + 8, 4);
	uint32_t width = (uint32_t)read_bytes(screen + 12, 4), height = (uint32_t)read_bytes(screen + 16, 4);
	if (screen[21] == FRAMEBUFFER_TEXT)
		x86_screen_cells(base, width, height);
	else if (screen[21] == FRAMEBUFFER_PIXELS)
		x86_screen_pixels(base, pitch, width, height, screen[20]);
}

static const char *information_line(void)
{
	uint32_t nbytes;
	const uint8_t *text = tag_find(TAG_COMMAND_LINE, 0, 1, &nbytes);

	return text != NULL && text[nbytes - 1] == 0 ? (const char *)text : "";
}

/* First C of all. */
void x86_boot(uint32_t magic, uint32_t address)
{
	if (magic == MULTIBOOT2_MAGIC)
		information_open(address);
	else
		start = physical(address, sizeof(*start));
	kernel_main();
}

/* ---- ACPI --------------------------------------------------------------------------------------------------------------------- */

static bool sums_to_zero(const void *bytes, size_t nbytes)
{
	const uint8_t *at = bytes;
	uint8_t sum = 0;

	while (nbytes-- > 0)
		sum = (uint8_t)(sum + *at++);
	return sum == 0;
}

static const struct table *table_at(uint64_t base)
{
	const struct table *table = physical(base, sizeof(*table));

	if (table == NULL || table->length < sizeof(*table) || physical(base, table->length) == NULL ||
	    !sums_to_zero(table, table->length))
		return NULL;
	return table;
}

#define RSDP_NBYTES_OLD 20

static const struct table *find_root(unsigned int *width)
{
	const struct rsdp *rsdp = NULL;
	uint32_t nbytes;

	if (start != NULL)
		rsdp = physical(start->rsdp, sizeof(*rsdp));
	else if ((rsdp = (const void *)tag_find(TAG_RSDP_NEW, 0, sizeof(*rsdp), &nbytes)) == NULL)
		rsdp = (const void *)tag_find(TAG_RSDP_OLD, 0, RSDP_NBYTES_OLD, &nbytes);
	if (rsdp == NULL || memcmp(rsdp->signature, "RSD PTR ", 8) != 0 || !sums_to_zero(rsdp, RSDP_NBYTES_OLD))
		return NULL;
	bool extended = rsdp->revision >= 2 && rsdp->xsdt != 0;
	*width = extended ? 8 : 4;
	return table_at(extended ? rsdp->xsdt : rsdp->rsdt);
}

static const struct table *find_madt(void)
{
	unsigned int width;
	const struct table *root = find_root(&width);

	if (root == NULL)
		return NULL;
	for (size_t at = sizeof(*root); at + width <= root->length; at += width) {
		const struct table *table = table_at(read_bytes((const uint8_t *)root + at, width));

		if (table != NULL && memcmp(table->signature, "APIC", 4) == 0)
			return table;
	}
	return NULL;
}

static uint32_t own_apic_id(void)
{
	if (x86_cpuid(0).eax >= 0x0b) {
		struct x86_cpuid r = x86_cpuid(0x0b);

		if (r.ebx != 0)
			return r.edx;
	}
	return x86_cpuid(1).ebx >> 24;
}

unsigned int arch_firmware_cpus(uint32_t *ids, unsigned int capacity)
{
	const struct table *madt = find_madt();
	uint32_t own = own_apic_id();
	unsigned int count = 0;

	if (capacity > 0)
		ids[0] = own;
	count++;
	if (madt == NULL)
		return count;
	const uint8_t *bytes = (const uint8_t *)madt;
	for (size_t at = MADT_ENTRIES; at + 2 <= madt->length;) {
		const uint8_t *entry = bytes + at;
		uint8_t type = entry[0], nbytes = entry[1];
		uint32_t id = own, flags = 0;

		if (nbytes < 2 || nbytes > madt->length - at)
			break;
		if (type == MADT_APIC && nbytes >= 8) {
			id = entry[3];
			flags = (uint32_t)read_bytes(entry + 4, 4);
		} else if (type == MADT_X2APIC && nbytes >= 16) {
			id = (uint32_t)read_bytes(entry + 4, 4);
			flags = (uint32_t)read_bytes(entry + 8, 4);
		}
		if ((flags & MADT_ENABLED) != 0 && id != own) {
			if (count < capacity)
				ids[count] = id;
			count++;
		}
		at += nbytes;
	}
	return count;
}

/* ---- the contract --------------------------------------------------------------------------------------------------------------- */

void arch_firmware_read(struct arch_firmware *firmware)
{
	const char *line = NULL;

	if (information == NULL && (start == NULL || start->magic != START_MAGIC))
		kernel_panic("neither PVH's start info nor Multiboot2's information where EBX says");
	if (start != NULL)
		line = physical(start->command_line, 1);
	*firmware = (struct arch_firmware){
		.protocol = start != NULL ? "PVH" : "Multiboot2",
		.command_line = start == NULL  ? information_line()
				: line == NULL ? ""
					       : line,
		.ncpus = arch_firmware_cpus(NULL, 0),
	};
}

enum loam_status arch_firmware_map(struct loam_region *raw, size_t capacity, size_t *count)
{
	const void *map = NULL;
	size_t nbytes = 0;

	if (start == NULL)
		return loam_memmap_import_multiboot2(information, information_nbytes, raw, capacity, count);
	if (start->version >= 1) {
		nbytes = (size_t)start->map_entries * MAP_ENTRY_NBYTES;
		map = physical(start->map, nbytes);
	}
	*count = 0;
	if (map == NULL)
		return LOAM_ERR_FORMAT;
	return loam_memmap_import_pvh(map, nbytes, raw, capacity, count);
}

void arch_firmware_reserve(arch_reserve_fn reserve)
{
	reserve(0, LOAM_PAGE_SIZE, "BIOS data", false);
	if (start == NULL) {
		uint32_t nbytes;
		const uint8_t *module;

		reserve((uintptr_t)information - ARCH_DIRECT_MAP, information_nbytes, "boot information", true);
		for (unsigned int i = 0; (module = tag_find(TAG_MODULE, i, 8, &nbytes)) != NULL; i++) {
			uint64_t base = read_bytes(module, 4), end = read_bytes(module + 4, 4);

			if (end > base)
				reserve(base, end - base, i == 0 ? "initrd" : "boot module", true);
		}
		return;
	}
	const struct start_module *modules = physical(start->modules, start->module_count * sizeof(*modules));
	for (uint32_t i = 0; modules != NULL && i < start->module_count; i++)
		if (modules[i].nbytes != 0)
			reserve(modules[i].base, modules[i].nbytes, i == 0 ? "initrd" : "boot module", true);
}
