/* tests/tap_main.c: a host program that runs the tests linked into it. Arguments: a part of the names to run. */
#include "tap.h"

int main(int argc, char **argv)
{
	return tap_run(argc > 1 ? argv[1] : NULL) == 0 ? 0 : 1;
}
