/* kernel/common/shell.c: a prompt to look around with. */
#include "console.h"
#include "machine.h"
#include "tour.h"

static unsigned int failures;

struct command {
	const char *name;
	const char *argument;
	const char *help;
	void (*run)(const char *argument);
};

static void help(const char *argument);

static void mem(const char *argument)
{
	(void)argument;
	loam_dump_memory(&kernel_system);
}

static void map(const char *argument)
{
	(void)argument;
	loam_dump_map(&kernel_system);
}

static void zones(const char *argument)
{
	(void)argument;
	loam_dump_zones(&kernel_system);
}

static void frames(const char *argument)
{
	(void)argument;
	loam_dump_frames(&kernel_system);
}

static void slabs(const char *argument)
{
	(void)argument;
	loam_dump_slabs(&kernel_system);
}

static void vmalloc(const char *argument)
{
	(void)argument;
	loam_dump_vmalloc(&kernel_system);
}

/* Hexadecimal with or without 0x. */
static bool parse_address(const char *text, uintptr_t *address)
{
	size_t digits = 0;

	*address = 0;
	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
		text += 2;
	for (; *text != '\0' && digits <= 16; text++, digits++) {
		unsigned int digit;

		if (*text >= '0' && *text <= '9')
			digit = (unsigned int)(*text - '0');
		else if (*text >= 'a' && *text <= 'f')
			digit = (unsigned int)(*text - 'a' + 10);
		else if (*text >= 'A' && *text <= 'F')
			digit = (unsigned int)(*text - 'A' + 10);
		else
			return false;
		*address = *address << 4 | digit;
	}
	return digits > 0 && digits <= 16;
}

static void whatis(const char *argument)
{
	uintptr_t address;
	char text[256];

	if (!parse_address(argument, &address)) {
		kprintf("whatis: an address in hexadecimal, e.g. whatis ffffc00000001000\n");
		return;
	}
	(void)loam_whatis(&kernel_system, address, text, sizeof(text));
	kprintf("%s\n", text);
}

static void audit(const char *argument)
{
	(void)argument;
	if (tour_audit())
		kprintf("every invariant of every layer holds\n");
	else
		failures++;
}

static void stress(const char *argument)
{
	unsigned int seconds = 0;

	for (; *argument >= '0' && *argument <= '9' && seconds < 100000; argument++)
		seconds = seconds * 10 + (unsigned int)(*argument - '0');
	failures += stress_run(seconds == 0 ? 10 : seconds);
}

static bool same(const char *a, const char *b)
{
	for (; *a != '\0' && *a == *b; a++)
		b++;
	return *a == *b;
}

/* Is the first word of @text @word? */
static bool first_is(const char *text, const char *word)
{
	for (; *word != '\0' && *text == *word; text++)
		word++;
	return *word == '\0' && (*text == '\0' || *text == ' ');
}

/* What memory protection is for, each in an area or a stack of this very line. */
static void crash(const char *argument)
{
	struct loam_vmalloc_opts opts = {.site = LOAM_HERE};
	uintptr_t area = (uintptr_t)loam_vmalloc(kernel_system.vm, LOAM_PAGE_SIZE, &opts);
	void *top;

	if (area == 0)
		return;
	if (argument[0] == '\0' || first_is(argument, "past")) {
		machine_store(area + LOAM_PAGE_SIZE, 0);
	} else if (first_is(argument, "stale")) {
		/* No tick in between: it might flush, and then the area is nobody's. */
		unsigned long irq = loam_port_irq_save();

		if (loam_vfree(kernel_system.vm, (void *)area))
			machine_store(area, 0);
		loam_port_irq_restore(irq);
	} else if (first_is(argument, "read-only")) {
		if (loam_vmalloc_protect(kernel_system.vm, (void *)area, LOAM_PROT_READ) == LOAM_OK)
			machine_store(area, 0);
	} else if (first_is(argument, "execute")) {
		machine_execute(area);
	} else if (first_is(argument, "stack")) {
		if (loam_vstack_alloc(kernel_system.vm, 2 * LOAM_PAGE_SIZE, LOAM_HERE, &top) == LOAM_OK)
			machine_overflow(top);
	} else {
		kprintf("crash: past, stale, read-only, execute or stack\n");
		failures += !loam_vfree(kernel_system.vm, (void *)area);
	}
}

void shell_crash(const char *how)
{
	struct loam_task task = {.task = 1, .pid = 1, .tid = 1};

	machine_name_task(&task);
	crash(how);
}

static const struct command commands[] = {
	{"help", "", "this list", help},
	{"mem", "", "where all memory is", mem},
	{"map", "", "the memory map as Loam keeps it", map},
	{"zones", "", "zones: free, watermarks, fragmentation", zones},
	{"frames", "", "frames: allocated, parked, failed", frames},
	{"slabs", "", "size classes and typed caches", slabs},
	{"vmalloc", "", "live areas and who asked for them", vmalloc},
	{"whatis", " ADDR", "what is at an address", whatis},
	{"audit", "", "check every invariant", audit},
	{"stress", " SECONDS", "every CPU works all layers, interrupts too", stress},
	{"crash", " [HOW]", "write past an area, or: stale, read-only, execute, stack", crash},
	{"off", "", "power off", NULL},
};
#define NCOMMANDS (sizeof(commands) / sizeof(commands[0]))

static void help(const char *argument)
{
	(void)argument;
	for (size_t i = 0; i < NCOMMANDS; i++) {
		char usage[24];

		(void)kformat(usage, sizeof(usage), "%s%s", commands[i].name, commands[i].argument);
		kprintf("  %-16s %s\n", usage, commands[i].help);
	}
}

/* @line's first word, cut off; what follows it in *@rest. */
static const char *split(char *line, const char **rest)
{
	while (*line == ' ')
		line++;
	const char *word = line;
	while (*line != '\0' && *line != ' ')
		line++;
	while (*line == ' ')
		*line++ = '\0';
	*rest = line;
	return word;
}

/* Return: false when it is time to go. */
static bool obey(char *line)
{
	const char *argument;
	const char *word = split(line, &argument);

	if (word[0] == '\0')
		return true;
	for (size_t i = 0; i < NCOMMANDS; i++) {
		if (!same(word, commands[i].name))
			continue;
		if (commands[i].run == NULL)
			return false;
		commands[i].run(argument);
		return true;
	}
	kprintf("%s: no such command; try help\n", word);
	return true;
}

unsigned int shell_run(void)
{
	char line[128];

	kprintf("\nType help for what can be asked, off to leave.\n");
	while (console_read_line("loam> ", line, sizeof(line)))
		if (!obey(line))
			break;
	return failures;
}
