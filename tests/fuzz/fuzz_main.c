/* tests/fuzz/fuzz_main.c: a fuzz target as a test, without libFuzzer: its corpus once, then mutations of it from a fixed seed, so that the
 * test suite keeps what fuzzing found and never differs from run to run. For fuzzing itself: tools/fuzz NAME SECONDS.
 * Arguments: the corpus' folder; how many mutations, where 20000 take too long. Prints TAP; the last line says which input it was that ended the program.
 */
#include <dirent.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"

#define MUTATIONS 20000
#define INPUT_MAX 8192
#define CORPUS_MAX 1024

static struct input {
	uint8_t *bytes;
	size_t nbytes;
} corpus[CORPUS_MAX];
static size_t ncorpus;
static uint64_t random_state = 1;
static char running[64];

static uint64_t next_random(void)
{
	uint64_t x = random_state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void read_corpus(const char *folder)
{
	struct dirent **entries;
	int n = scandir(folder, &entries, NULL, by_name);

	for (int i = 0; i < n; i++) {
		char path[4096];
		FILE *file;

		snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
		file = entries[i]->d_name[0] == '.' || ncorpus == CORPUS_MAX ? NULL : fopen(path, "rb");
		if (file) {
			struct input *input = &corpus[ncorpus++];

			input->bytes = malloc(INPUT_MAX);
			input->nbytes = input->bytes ? fread(input->bytes, 1, INPUT_MAX, file) : 0;
			fclose(file);
		}
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
}

static void on_crash(int number)
{
	ssize_t ignored = write(STDOUT_FILENO, running, strlen(running));

	(void)ignored;
	signal(number, SIG_DFL);
	raise(number);
}

/* The target gets an allocation of exactly the input's size, so that a sanitizer sees a byte too far. */
static void run(const char *what, uint64_t number, const uint8_t *bytes, size_t nbytes)
{
	uint8_t *copy = malloc(nbytes ? nbytes : 1);

	if (!copy)
		abort();
	snprintf(running, sizeof(running), "# in %s %llu\n", what, (unsigned long long)number);
	if (nbytes)
		memcpy(copy, bytes, nbytes);
	LLVMFuzzerTestOneInput(copy, nbytes);
	free(copy);
}

/* A few of: flip a bit, set a byte, set an aligned word to something interesting, cut, double a piece. */
static size_t mutate(uint8_t *bytes, size_t nbytes)
{
	static const uint64_t interesting[] = {0,
					       1,
					       UINT64_MAX,
					       UINT32_MAX,
					       UINT64_C(1) << 63,
					       UINT64_C(1) << 32,
					       UINT64_MAX - 4095,
					       4096,
					       INT64_MAX - 1,
					       0xffff,
					       0x7fffffff};

	for (uint64_t steps = 1 + next_random() % 8; steps > 0; steps--) {
		uint64_t kind = next_random() % 5, at = nbytes ? next_random() % nbytes : 0;

		if (nbytes == 0) {
			nbytes = 1 + next_random() % 256;
			for (size_t i = 0; i < nbytes; i++)
				bytes[i] = (uint8_t)next_random();
		} else if (kind == 0) {
			bytes[at] ^= (uint8_t)(1u << (next_random() % 8));
		} else if (kind == 1) {
			bytes[at] = (uint8_t)next_random();
		} else if (kind == 2) {
			uint64_t word = interesting[next_random() % (sizeof(interesting) / sizeof(interesting[0]))];
			size_t size = (size_t)1 << (next_random() % 4);

			at &= ~(uint64_t)(size - 1);
			memcpy(bytes + at, &word, at + size <= nbytes ? size : nbytes - at);
		} else if (kind == 3) {
			nbytes = at;
		} else {
			size_t size = 1 + next_random() % 64;

			if (at + size <= nbytes && nbytes + size <= INPUT_MAX) {
				memmove(bytes + at + size, bytes + at, nbytes - at);
				nbytes += size;
			}
		}
	}
	return nbytes;
}

int main(int argc, char **argv)
{
	static uint8_t bytes[INPUT_MAX];
	uint64_t mutations = argc > 2 ? strtoull(argv[2], NULL, 10) : MUTATIONS;

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGABRT, on_crash);
	signal(SIGSEGV, on_crash);
	if (argc > 1)
		read_corpus(argv[1]);
	printf("1..2\n");
	for (size_t i = 0; i < ncorpus; i++)
		run("corpus input", i, corpus[i].bytes, corpus[i].nbytes);
	printf("ok 1 - corpus of %zu inputs\n", ncorpus);
	for (uint64_t i = 0; i < mutations; i++) {
		size_t nbytes = 0;

		random_state = i;
		if (ncorpus > 0) {
			const struct input *from = &corpus[next_random() % ncorpus];

			nbytes = from->nbytes;
			memcpy(bytes, from->bytes, nbytes);
		}
		nbytes = mutate(bytes, nbytes);
		run("mutation", i, bytes, nbytes);
	}
	printf("ok 2 - %llu mutations\n", (unsigned long long)mutations);
	for (size_t i = 0; i < ncorpus; i++)
		free(corpus[i].bytes);
	return 0;
}
