/* loam/config.h: what is decided when the library is built. Everything else is decided when an instance is made. */
#ifndef LOAM_CONFIG_H
#define LOAM_CONFIG_H

#include <stddef.h>

/* How much is checked. What guards against corruption is checked in every tier and never compiles away.
 *   ALWAYS    cheap checks at each call: what a shipped kernel runs
 *   DEBUG     plus contexts, lock ranks, internal assertions
 *   PARANOID  plus every invariant of the layer after every operation: for small machines in tests */
#define LOAM_CHECKS_ALWAYS 0
#define LOAM_CHECKS_DEBUG 1
#define LOAM_CHECKS_PARANOID 2
#ifndef LOAM_CHECKS
#define LOAM_CHECKS LOAM_CHECKS_ALWAYS
#endif

/* The most CPUs a build can serve: the width of a CPU set. Per-CPU memory is sized by the instance's own CPU count. */
#ifndef LOAM_CPUS_MAX
#define LOAM_CPUS_MAX 256
#endif

/* The stride that keeps one CPU's data off another's cache lines (two lines: adjacent-line prefetch pairs them). */
#define LOAM_CPU_ALIGN 128

#if LOAM_CPUS_MAX < 1 || LOAM_CPUS_MAX > 65536
#error "LOAM_CPUS_MAX must be 1..65536: a slot keeps the owner's number in 16 bits"
#endif
#if LOAM_CHECKS < LOAM_CHECKS_ALWAYS || LOAM_CHECKS > LOAM_CHECKS_PARANOID
#error "LOAM_CHECKS must be 0 (always), 1 (debug) or 2 (paranoid)"
#endif

#endif
