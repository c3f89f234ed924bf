/* Misuse is named on stderr by the call that met it, and ends in SIGABRT. Each in a child of its own. */
#include <tap.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* NOLINTBEGIN(clang-analyzer-unix.Malloc): that is what it is about. */

void free_sized(void *object, size_t nbytes);
void free_aligned_sized(void *object, size_t align, size_t nbytes);

static char said[1024];
static char *volatile object;

/* What the child says; its end must be an abort. */
static void in_child(void (*misuse)(void))
{
	int ends[2], status;
	size_t n = 0;
	ssize_t got;
	pid_t child;

	CHECK_EQ(pipe(ends), 0);
	fflush(NULL);
	child = fork();
	if (child == 0) {
		(void)signal(SIGABRT, SIG_DFL);
		(void)dup2(ends[1], STDERR_FILENO);
		misuse();
		_exit(0);
	}
	close(ends[1]);
	while (n < sizeof(said) - 1 && (got = read(ends[0], said + n, sizeof(said) - 1 - n)) > 0)
		n += (size_t)got;
	said[n] = '\0';
	close(ends[0]);
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFSIGNALED(status));
	CHECK_EQ(WTERMSIG(status), SIGABRT);
}

/* Compares but for addresses: "0x..." matches any. */
static bool matches(const char *pattern, const char *text)
{
	for (; *pattern != '\0'; pattern++, text++) {
		if (pattern[0] == '@') {
			if (text[0] != '0' || text[1] != 'x')
				return false;
			text += 2 + strspn(text + 2, "0123456789abcdef") - 1;
		} else if (*pattern != *text) {
			return false;
		}
	}
	return *text == '\0';
}

#define CHECK_SAYS(misuse, pattern)                                                                                    \
	do {                                                                                                           \
		in_child(misuse);                                                                                      \
		if (!matches(pattern, said))                                                                           \
			tap_fail(__FILE__, __LINE__, "said \"%s\", not \"%s\"", said, pattern);                        \
	} while (0)

static void free_twice(void)
{
	object = malloc(64);
	free(object);
	free(object);
}
static void free_inside(void)
{
	object = malloc(64);
	free(object + 16);
}
static void free_misaligned(void)
{
	object = malloc(64);
	free(object + 1);
}
static void free_wild(void)
{
	free((void *)(uintptr_t)0x1234560);
}
static void free_stack(void)
{
	char here[64];

	object = here;
	free(object);
}
static void free_twice_large(void)
{
	object = malloc(100000);
	free(object);
	free(object);
}
static void free_inside_large(void)
{
	object = malloc(100000);
	free(object + 4096);
}
static void free_twice_mapped(void)
{
	object = malloc((size_t)40 << 20);
	free(object);
	free(object);
}
static void realloc_freed(void)
{
	object = malloc(48);
	free(object);
	object = realloc(object, 100);
}
static void free_sized_wrong(void)
{
	object = malloc(100);
	free_sized(object, 5000);
}
static void free_aligned_wrong(void)
{
	object = aligned_alloc(64, 64);
	free_aligned_sized(object + 0, 3, 64);
}

TEST(free_names_a_double_free)
{
	const char *profile = getenv("LOAM_PROFILE");
	bool hardened = profile && strcmp(profile, "hardened") == 0;

	CHECK_SAYS(free_twice, hardened ? "libloam-malloc: free(@): heap: double free of @ (size-80)\n"
					: "libloam-malloc: free(@): heap: double free of @ (size-64)\n");
	CHECK_SAYS(free_twice_large, "libloam-malloc: free(@): heap: double free of large object @\n");
	CHECK_SAYS(free_twice_mapped,
		   "libloam-malloc: free(@): heap: free of wild pointer @, which is no memory of this machine\n");
}

TEST(free_names_pointers_that_are_no_objects)
{
	const char *profile = getenv("LOAM_PROFILE");
	bool hardened = profile && strcmp(profile, "hardened") == 0;

	CHECK_SAYS(
		free_inside,
		hardened
			? "libloam-malloc: free(@): heap: free of interior pointer @, 16 bytes into live object @ (size-80)\n"
			: "libloam-malloc: free(@): heap: free of interior pointer @, 16 bytes into live object @ (size-64)\n");
	CHECK_SAYS(
		free_misaligned,
		hardened
			? "libloam-malloc: free(@): heap: free of misaligned pointer @, 1 bytes into live object @ (size-80)\n"
			: "libloam-malloc: free(@): heap: free of misaligned pointer @, 1 bytes into live object @ (size-64)\n");
	CHECK_SAYS(free_wild,
		   "libloam-malloc: free(@): heap: free of wild pointer @, which is no memory of this machine\n");
	CHECK_SAYS(free_stack,
		   "libloam-malloc: free(@): heap: free of wild pointer @, which is no memory of this machine\n");
	CHECK_SAYS(free_inside_large,
		   "libloam-malloc: free(@): heap: free of pointer @, 4096 bytes into live large object @\n");
}

TEST(other_calls_name_what_they_are_given)
{
	const char *profile = getenv("LOAM_PROFILE");
	bool hardened = profile && strcmp(profile, "hardened") == 0;

	CHECK_SAYS(realloc_freed,
		   hardened ? "libloam-malloc: realloc(@): heap: size query of @ (size-64), which is free\n"
			    : "libloam-malloc: realloc(@): heap: size query of @ (size-48), which is free\n");
	CHECK_SAYS(free_sized_wrong,
		   "libloam-malloc: free_sized(@): malloc: @: freed with a size that it does not have\n");
	CHECK_SAYS(free_aligned_wrong,
		   "libloam-malloc: free_aligned_sized(@): malloc: @: freed with an alignment that it does not have\n");
}

/* NOLINTEND(clang-analyzer-unix.Malloc) */
