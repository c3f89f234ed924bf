/* The standard's answers. */
#include <tap.h>

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

void free_sized(void *object, size_t nbytes);
void free_aligned_sized(void *object, size_t align, size_t nbytes);

static void *volatile kept;

TEST(malloc_answers_size_0_with_an_object_of_its_own)
{
	void *a = malloc(0), *b = malloc(0), *c = calloc(0, 8), *d = calloc(8, 0);

	CHECK(a && b && c && d && a != b && b != c && c != d);
	free(a);
	free(b);
	free(c);
	free(d);
}

TEST(malloc_gives_what_was_asked_for_aligned_and_apart)
{
	enum { N = 300 };
	unsigned char *objects[N];
	size_t sizes[N], n = 1;

	for (unsigned int i = 0; i < N; i++, n = n * 17 / 16 + 1) {
		sizes[i] = n > (40u << 20) ? n % 5000 : n;
		n = n > (40u << 20) ? 1 : n;
		objects[i] = malloc(sizes[i]);
		CHECK(objects[i]);
		CHECK_EQ((uintptr_t)objects[i] % 16, 0);
		CHECK(malloc_usable_size(objects[i]) >= sizes[i]);
		objects[i][0] = objects[i][sizes[i] - 1] = (unsigned char)i;
		memset(objects[i], (int)(i & 0xff), sizes[i] < 100000 ? sizes[i] : 100000);
	}
	for (unsigned int i = 0; i < N; i++) {
		for (size_t k = 0; k < sizes[i] && k < 100000; k++)
			CHECK(objects[i][k] == (unsigned char)i || k + 1 == sizes[i]);
		CHECK_EQ(objects[i][sizes[i] - 1], (unsigned char)i);
	}
	for (unsigned int i = 0; i < N; i++)
		free(objects[i * 7 % N]);
}

TEST(malloc_refuses_what_is_too_large_and_says_ENOMEM)
{
	static const size_t sizes[] = {SIZE_MAX,
				       SIZE_MAX - 1,
				       SIZE_MAX - 15,
				       SIZE_MAX - 4096,
				       (size_t)PTRDIFF_MAX + 1,
				       PTRDIFF_MAX,
				       (size_t)PTRDIFF_MAX - 4096,
				       SIZE_MAX / 4};

	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		void *object = malloc(100), *spared = (void *)1;

		errno = 0;
		kept = malloc(sizes[i]);
		CHECK(!kept);
		CHECK_EQ(errno, ENOMEM);
		errno = 0;
		kept = calloc(sizes[i], 1);
		CHECK(!kept);
		CHECK_EQ(errno, ENOMEM);
		errno = 0;
		kept = realloc(object, sizes[i]);
		CHECK(!kept);
		CHECK_EQ(errno, ENOMEM);
		memset(object, 1, 100); /* it is still there */
		errno = 0;
		kept = aligned_alloc(64, sizes[i] & ~(size_t)63);
		CHECK(!kept);
		CHECK_EQ(errno, ENOMEM);
		errno = 0;
		CHECK_EQ(posix_memalign(&spared, 64, sizes[i]), ENOMEM);
		CHECK_EQ(errno, 0);
		CHECK(spared == (void *)1);
		kept = pvalloc(sizes[i]);
		CHECK(!kept);
		kept = valloc(sizes[i]);
		CHECK(!kept);
		free(object);
	}
}

TEST(malloc_refuses_products_that_overflow)
{
	void *object = malloc(10);

	errno = 0;
	kept = calloc(SIZE_MAX / 2, 3);
	CHECK(!kept);
	CHECK_EQ(errno, ENOMEM);
	errno = 0;
	kept = calloc((size_t)1 << 32, (size_t)1 << 32);
	CHECK(!kept);
	CHECK_EQ(errno, ENOMEM);
	errno = 0;
	kept = reallocarray(object, (size_t)1 << 33, (size_t)1 << 33);
	CHECK(!kept);
	CHECK_EQ(errno, ENOMEM);
	object = reallocarray(object, 100, 10);
	CHECK(object && malloc_usable_size(object) >= 1000);
	free(object);
}

TEST(malloc_aligns_as_asked)
{
	for (size_t align = 1; align <= (size_t)64 << 20; align *= 2) {
		static const size_t sizes[] = {0, 1, 24, 100, 4096, 5000, 40000, 3 << 20};

		for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			void *a = memalign(align, sizes[i]), *b = aligned_alloc(align, sizes[i]), *c = NULL;

			CHECK(a && b);
			CHECK_EQ((uintptr_t)a % align, 0);
			CHECK_EQ((uintptr_t)b % align, 0);
			CHECK_EQ(posix_memalign(&c, align, sizes[i]), align < sizeof(void *) ? EINVAL : 0);
			CHECK_EQ((uintptr_t)c % align, 0);
			CHECK(malloc_usable_size(a) >= sizes[i]);
			memset(a, 1, sizes[i]);
			memset(b, 2, sizes[i]);
			free(a);
			free(b);
			free(c);
		}
	}
	kept = valloc(10);
	CHECK_EQ((uintptr_t)kept % 4096, 0);
	free(kept);
	kept = pvalloc(5000);
	CHECK_EQ((uintptr_t)kept % 4096, 0);
	CHECK(malloc_usable_size(kept) >= 8192);
	free(kept);
}

TEST(malloc_refuses_alignments_that_are_no_power_of_two)
{
	static const size_t wrong[] = {0, 3, 5, 24, 48, 4095, 4097, SIZE_MAX};
	void *spared = (void *)1;

	for (unsigned int i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		errno = 0;
		kept = aligned_alloc(wrong[i], 64);
		CHECK(!kept);
		CHECK_EQ(errno, EINVAL);
		errno = 0;
		kept = memalign(wrong[i], 64);
		CHECK(!kept);
		CHECK_EQ(errno, EINVAL);
		errno = 0;
		CHECK_EQ(posix_memalign(&spared, wrong[i], 64), EINVAL);
		CHECK_EQ(errno, 0);
		CHECK(spared == (void *)1);
	}
	CHECK_EQ(posix_memalign(&spared, 2, 64), EINVAL);
}

TEST(calloc_gives_zeros_also_where_others_have_been)
{
	for (unsigned int round = 0; round < 3; round++) {
		for (size_t n = 1; n <= (size_t)20 << 20; n = n * 3 + 1) {
			unsigned char *object = calloc(n, 1);

			CHECK(object);
			for (size_t k = 0; k<n; k += n> 100000 ? 511 : 1)
				CHECK_EQ(object[k], 0);
			memset(object, 0xa5, n);
			free(object);
			object = malloc(n);
			CHECK(object);
			memset(object, 0x5a, n);
			free(object);
		}
		(void)malloc_trim(0);
	}
}

TEST(realloc_keeps_what_was_there)
{
	size_t n = 1;
	unsigned char *object = malloc(n);

	object[0] = 0;
	while (n < (size_t)50 << 20) {
		size_t more = n + n / 2 + 1;
		unsigned char *moved = realloc(object, more);

		CHECK(moved);
		for (size_t k = 0; k<n; k += n> 10000 ? 997 : 1)
			CHECK_EQ(moved[k], (unsigned char)(k * 31));
		for (size_t k = n; k < more; k++)
			moved[k] = (unsigned char)(k * 31);
		object = moved;
		n = more;
	}
	while (n > 1) {
		size_t less = n * 2 / 3;
		unsigned char *moved = realloc(object, less);

		CHECK(moved);
		for (size_t k = 0; k<less; k += less> 10000 ? 997 : 1)
			CHECK_EQ(moved[k], (unsigned char)(k * 31));
		object = moved;
		n = less;
	}
	kept = realloc(object, 0);
	CHECK(!kept);
	kept = realloc(NULL, 100);
	CHECK(kept);
	free(kept);
}

TEST(malloc_and_free_leave_errno_alone)
{
	static const size_t sizes[] = {1, 100, 5000, 50000, 1 << 20, 40 << 20};

	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		errno = 4711;
		kept = malloc(sizes[i]);
		CHECK_EQ(errno, 4711);
		kept = realloc(kept, sizes[i] * 2);
		CHECK_EQ(errno, 4711);
		free(kept);
		CHECK_EQ(errno, 4711);
	}
	free(NULL);
	CHECK_EQ(errno, 4711);
	(void)malloc_trim(0);
	CHECK_EQ(errno, 4711);
	errno = 0;
}

TEST(sized_frees_take_what_the_size_fits)
{
	kept = malloc(100);
	free_sized(kept, 100);
	free_sized(NULL, 0);
	kept = aligned_alloc(256, 1024);
	free_aligned_sized(kept, 256, 1024);
	kept = malloc(60000);
	free_sized(kept, 60000);
	kept = malloc((size_t)20 << 20);
	free_sized(kept, (size_t)20 << 20);
}

TEST(mallinfo2_counts)
{
	struct mallinfo2 before = mallinfo2(), after;
	void *small = malloc(20000), *large = malloc((size_t)64 << 20);

	after = mallinfo2();
	CHECK(after.uordblks >= before.uordblks + 20000);
	CHECK_EQ(after.hblks, before.hblks + 1);
	CHECK(after.hblkhd >= before.hblkhd + ((size_t)64 << 20));
	CHECK(after.arena >= after.uordblks);
	free(small);
	free(large);
	after = mallinfo2();
	CHECK_EQ(after.hblks, before.hblks);
}
