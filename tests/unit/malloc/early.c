/* Before main: the first constructor there is, and what it allocated. */
#include <tap.h>

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static void *from_before[64];

static void first(void) __attribute__((constructor(101)));
static void first(void)
{
	for (unsigned int i = 0; i < 64; i++) {
		from_before[i] = malloc(10u << (i % 16));
		if (from_before[i])
			memset(from_before[i], (int)i, 10u << (i % 16));
	}
	free(calloc(1000, 1000));
}

TEST(malloc_serves_constructors)
{
	for (unsigned int i = 0; i < 64; i++) {
		CHECK(from_before[i]);
		CHECK(malloc_usable_size(from_before[i]) >= 10u << (i % 16));
		CHECK_EQ(*(unsigned char *)from_before[i], i);
		free(from_before[i]);
	}
}
