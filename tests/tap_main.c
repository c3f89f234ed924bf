/* tests/tap_main.c: a host program that runs the tests linked into it. Arguments: a part of the names to run. */
#include "tap.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

/* Whoever takes the program for hung stops it, and wants to know where it was. Only what a signal handler may call. */
static void on_stop(int number)
{
	static const char before[] = "# stopped in the test ";
	const char *name = tap_running != NULL ? tap_running : "(none)";
	bool said = write(STDOUT_FILENO, before, sizeof(before) - 1) > 0 &&
		    write(STDOUT_FILENO, name, strlen(name)) > 0 && write(STDOUT_FILENO, "\n", 1) > 0;

	_exit(said ? 128 + number : 1);
}

int main(int argc, char **argv)
{
	signal(SIGTERM, on_stop);
	return tap_run(argc > 1 ? argv[1] : NULL) == 0 ? 0 : 1;
}
