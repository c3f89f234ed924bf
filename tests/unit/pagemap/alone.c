/* tests/unit/pagemap/alone.c: the page pool without the rest of the library. It links src/pagemap/pagemap.c, the three functions below and nothing else of ours. */
#include <loam/pagemap.h>
#include <loam/port.h>

#include <stdio.h>

static char console[64];
static size_t logged;

void loam_port_log(const char *text, size_t nbytes)
{
	for (size_t i = 0; i < nbytes && logged + 1 < sizeof(console); i++)
		console[logged++] = text[i];
}

unsigned long loam_port_irq_save(void)
{
	return 0;
}

void loam_port_irq_restore(unsigned long state)
{
	(void)state;
}

static unsigned char ram[16][4096];
static uint64_t metadata[1];

int main(void)
{
	struct loam_pagemap pool;
	bool good = loam_pagemap_metadata_size(16) == sizeof(metadata) &&
		    loam_pagemap_init(&pool, 0x1000, 0x11000, (uintptr_t)ram - 0x1000, metadata, sizeof(metadata)) ==
			    LOAM_OK;

	loam_pagemap_reserve_below(&pool, 0x3000);
	good = good && loam_pagemap_alloc(&pool) == 0x3000 && loam_pagemap_alloc_kernel(&pool) == (uintptr_t)ram[3];
	good = good && loam_pagemap_free(&pool, 0x3000) == LOAM_OK && loam_pagemap_total(&pool) == 14;
	good = good && loam_pagemap_dump_free_count(&pool) == 13;
	for (size_t i = 0; i < logged; i++)
		good = good && console[i] == "free_pages: 000000000000000d\n"[i];
	printf("1..1\n%s 1 - P1_the_page_pool_works_alone\n", good ? "ok" : "not ok");
	return good ? 0 : 1;
}
