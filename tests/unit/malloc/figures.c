/* LOAM_STATS: where the figures go when a process ends. */
#include <tap.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char said[8192];

/* What /bin/true, under the library this test is linked with, says on stderr. */
static bool run_true(const char *stats)
{
	Dl_info library;
	size_t n = 0;
	int ends[2], status;
	ssize_t got;
	pid_t child;

	if (dladdr((void *)(uintptr_t)malloc, &library) == 0 || pipe(ends) != 0)
		return false;
	child = fork();
	if (child == 0) {
		setenv("LD_PRELOAD", library.dli_fname, 1);
		setenv("LOAM_STATS", stats, 1);
		dup2(ends[1], STDERR_FILENO);
		execl("/bin/true", "true", (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	while ((got = read(ends[0], said + n, sizeof(said) - 1 - n)) > 0)
		n += (size_t)got;
	said[n] = '\0';
	close(ends[0]);
	return waitpid(child, &status, 0) == child && status == 0;
}

static bool has_figures(void)
{
	return strncmp(said, "libloam-malloc:\nclass ", 22) == 0 && strstr(said, "\nallocations ") &&
	       strstr(said, "\nwindow ");
}

TEST(figures_on_stderr)
{
	CHECK(run_true("1"));
	CHECK(has_figures());
	CHECK(run_true("0"));
	CHECK_STR(said, "");
}

TEST(figures_are_appended_to_a_file)
{
	char path[] = "/tmp/loam-figures-XXXXXX";
	int file = mkstemp(path);
	ssize_t once, twice;

	CHECK(file >= 0);
	CHECK(run_true(path));
	CHECK_STR(said, "");
	once = read(file, said, sizeof(said) - 1);
	CHECK(once > 0);
	said[once > 0 ? once : 0] = '\0';
	CHECK(has_figures());
	CHECK(run_true(path));
	twice = read(file, said, sizeof(said) - 1);
	said[twice > 0 ? twice : 0] = '\0';
	CHECK(has_figures());
	close(file);
	unlink(path);
}

TEST(figures_that_have_nowhere_to_go_are_missed_aloud)
{
	CHECK(run_true("/nowhere/figures"));
	CHECK_STR(said, "libloam-malloc: the file that LOAM_STATS names cannot be written\n");
}
