/* tests/fuzz/kernel_devicetree.c: bytes as the device tree a kernel is started with: opened by address, and asked everything a kernel asks.
 *
 * The tree ends where memory ends, up to the seven bytes that its alignment costs, and everything up to its size is its own: a byte read behind it is a fault.
 */
#include "../../kernel/common/devicetree.c"
#include "../../kernel/common/fdt.c"

#include "fuzz.h"

#include <stdlib.h>
#include <sys/mman.h>

#define FUZZ_REQUIRE(condition) ((condition) ? (void)0 : abort())
#define PLACE ((loam_paddr)0x48000000) /* where the tree lies in this machine */
#define LARGEST ((size_t)1 << 16)

uintptr_t fuzz_direct_map;

static const uint8_t *begin, *end;
static unsigned int reserved;

static bool is_inside(const void *from, uint64_t nbytes)
{
	uintptr_t at = (uintptr_t)from;

	return at >= (uintptr_t)begin && at <= (uintptr_t)end && nbytes <= (uintptr_t)end - at;
}

static void check_text(const char *text)
{
	FUZZ_REQUIRE(is_inside(text, 1) && is_inside(text, strlen(text) + 1));
}

/* The tree itself first, then an initrd that has a byte. */
static void on_reserve(loam_paddr base, uint64_t nbytes, const char *what, bool is_kept)
{
	FUZZ_REQUIRE(is_kept && strlen(what) > 0);
	FUZZ_REQUIRE(reserved == 0 ? base == PLACE && nbytes == (uint64_t)(end - begin) : nbytes > 0);
	reserved++;
}

static void ask_for_cpus(void)
{
	uint32_t ids[5] = {0, 0, 0, 0, 0x5a5a5a5a};
	unsigned int n = devicetree_cpus(3, ids, 4);

	FUZZ_REQUIRE(n >= 1 && ids[0] == 3 && ids[4] == 0x5a5a5a5a);
	FUZZ_REQUIRE(devicetree_cpus(3, NULL, 0) == n);
	for (unsigned int i = 1; i < n && i < 4; i++)
		FUZZ_REQUIRE(ids[i] != 3);
	(void)devicetree_cpus_have("svpbmt");
	(void)devicetree_cpus_have("svinval");
}

static void ask_for_devices(void)
{
	static const char *const names[] = {"arm,pl011", "arm,gic-v3", "arm,cortex-a15-gic", "ns16550a",
					    "sifive,test0"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		for (unsigned int range = 0; range < 2; range++) {
			loam_paddr base = 1;
			uint64_t nbytes = 1;

			if (!devicetree_device(names[i], range, &base, &nbytes))
				FUZZ_REQUIRE(base == 1 && nbytes == 1);
		}
}

static void ask(void)
{
	static struct loam_region raw[64];
	const char *line = devicetree_command_line();
	const char *method = devicetree_text("method");
	size_t count = 0;

	if (*line != '\0')
		check_text(line);
	if (method != NULL)
		check_text(method);
	(void)devicetree_number("timebase-frequency");
	ask_for_cpus();
	ask_for_devices();
	(void)(devicetree_map(raw, sizeof(raw) / sizeof(raw[0]), &count) == LOAM_OK);
	reserved = 0;
	devicetree_reserve(on_reserve);
	FUZZ_REQUIRE(reserved >= 1 && reserved <= 2);
}

/* What there is to ask of a machine without a tree. */
static void ask_nobody(void)
{
	loam_paddr base;
	uint64_t nbytes;

	FUZZ_REQUIRE(!devicetree_is_open());
	FUZZ_REQUIRE(devicetree_cpus(3, NULL, 0) == 1);
	FUZZ_REQUIRE(*devicetree_command_line() == '\0' && devicetree_text("method") == NULL);
	FUZZ_REQUIRE(devicetree_number("timebase-frequency") == 0 && !devicetree_cpus_have("svpbmt"));
	FUZZ_REQUIRE(!devicetree_device("arm,pl011", 0, &base, &nbytes));
}

/* The last bytes of memory: behind them is a page that nobody may touch. */
static uint8_t *memory_end(void)
{
	static uint8_t *memory;

	if (memory == NULL) {
		memory = mmap(NULL, LARGEST + LOAM_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			      0);
		FUZZ_REQUIRE(memory != MAP_FAILED);
		FUZZ_REQUIRE(mprotect(memory + LARGEST, LOAM_PAGE_SIZE, PROT_NONE) == 0);
	}
	return memory + LARGEST;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nbytes)
{
	if (nbytes < HEADER_NBYTES)
		return 0;
	size_t claimed = (size_t)fdt_cells(bytes + 4, 4);
	/* A kernel may read a header wherever it looks for a tree; what a tree says is its own must be there. */
	size_t shown = claimed < HEADER_NBYTES ? HEADER_NBYTES : claimed;
	if (shown > nbytes || shown > LARGEST)
		return 0;
	begin = memory_end() - (shown + 7) / 8 * 8;
	end = begin + claimed;
	memcpy(memory_end() - (shown + 7) / 8 * 8, bytes, shown);
	fuzz_direct_map = (uintptr_t)begin - PLACE;
	FUZZ_REQUIRE(!devicetree_open(0) && !devicetree_open(PLACE + 4));
	bool opened = devicetree_open(PLACE);
	FUZZ_REQUIRE(opened == devicetree_is_open());
	if (opened)
		ask();
	else
		ask_nobody();
	return 0;
}
