/* tests/unit/inspect/fixture.h: every layer on one small rig, as a kernel has them. */
#ifndef LOAM_TESTS_INSPECT_FIXTURE_H
#define LOAM_TESTS_INSPECT_FIXTURE_H

#include "rig.h"
#include "tap.h"

#include <loam/inspect.h>

#define ARENA ((uintptr_t)0xffffc00000000000)

extern struct loam_system whole;
extern struct rig *inspect_rig;

/* @track: the heap keeps call sites. The heap and the frames serve @ncpus CPUs, vmalloc the caller's. */
void inspect_begin_smp(bool track, unsigned int ncpus);
void inspect_begin(bool track);
/* Everything must have been freed. */
void inspect_end(void);

bool inspect_contains(const char *text, const char *part);
/* What the console said is below 100 columns, line by line. */
void inspect_check_columns(const char *text);
/* How often @part is in @text. */
unsigned int inspect_count(const char *text, const char *part);

#endif
