/* kernel/arch/x86_64/firmware.c: what PVH's start info and ACPI's MADT say.
 *
 * All of it is read through the boot tables' direct map, which ends at 4 GiB; QEMU and every PC keep these tables below that. What lies
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

static const struct start_info *start;

LOAM_NORETURN void x86_boot(uint32_t start_info);

/* First C of all. */
void x86_boot(uint32_t start_info)
{
	start = (const struct start_info *)(ARCH_DIRECT_MAP + start_info);
	kernel_main();
}

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

static const struct table *find_madt(void)
{
	const struct rsdp *rsdp = physical(start->rsdp, sizeof(*rsdp));

	if (rsdp == NULL || memcmp(rsdp->signature, "RSD PTR ", 8) != 0 || !sums_to_zero(rsdp, 20))
		return NULL;
	bool extended = rsdp->revision >= 2 && rsdp->xsdt != 0;
	const struct table *root = table_at(extended ? rsdp->xsdt : rsdp->rsdt);
	unsigned int width = extended ? 8 : 4;

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

void arch_firmware_read(struct arch_firmware *firmware)
{
	const char *line = NULL;

	if (start->magic != START_MAGIC)
		kernel_panic("the start info has no magic number: not a PVH boot");
	line = physical(start->command_line, 1);
	*firmware = (struct arch_firmware){
		.protocol = "PVH",
		.command_line = line == NULL ? "" : line,
		.ncpus = arch_firmware_cpus(NULL, 0),
	};
}

enum loam_status arch_firmware_map(struct loam_region *raw, size_t capacity, size_t *count)
{
	const void *map = NULL;
	size_t nbytes = 0;

	if (start->version >= 1) {
		nbytes = (size_t)start->map_entries * MAP_ENTRY_NBYTES;
		map = physical(start->map, nbytes);
	}
	*count = 0;
	if (map == NULL)
		return LOAM_ERR_FORMAT;
	return loam_memmap_import_pvh(map, nbytes, raw, capacity, count);
}

void arch_firmware_reserve(void (*reserve)(loam_paddr base, uint64_t nbytes, const char *what))
{
	const struct start_module *modules = physical(start->modules, start->module_count * sizeof(*modules));

	reserve(0, LOAM_PAGE_SIZE, "BIOS data");
	reserve(X86_START_PAGE, LOAM_PAGE_SIZE, "start page of other CPUs");
	for (uint32_t i = 0; modules != NULL && i < start->module_count; i++)
		if (modules[i].nbytes != 0)
			reserve(modules[i].base, modules[i].nbytes, "boot module");
}
