/* tests/fuzz/fuzz.h: a fuzz target is one function over bytes. It returns 0, and aborts when what must hold does not. */
#ifndef LOAM_TESTS_FUZZ_H
#define LOAM_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nbytes);

#endif
