/* base/check.h: saying that something is wrong.
 *
 * loami_misuse() and loami_corrupt() are the only ways into loam_port_panic(). They are there in every build. LOAMI_ASSERT states what must
 * be true if Loam itself is right; it is there in DEBUG and PARANOID builds. A function that checks a whole structure is called under
 * LOAMI_PARANOID.
 */
#ifndef LOAMI_BASE_CHECK_H
#define LOAMI_BASE_CHECK_H

#include <loam/port.h>

/* Report and do not return. printf-like, see base/print.h for the conversions. One line, no newline, unique to its site. */
LOAM_NORETURN LOAM_PRINTF(1, 2) void loami_misuse(const char *format, ...);
LOAM_NORETURN LOAM_PRINTF(1, 2) void loami_corrupt(const char *format, ...);
LOAM_NORETURN void loami_assert_failed(const char *condition, const char *file, int line);

#if LOAM_CHECKS >= LOAM_CHECKS_DEBUG
#define LOAMI_ASSERT(condition) ((condition) ? (void)0 : loami_assert_failed(#condition, __FILE__, __LINE__))
#else
#define LOAMI_ASSERT(condition) ((void)sizeof(condition))
#endif

/* The contexts a function may be called from: asserted in its first statement. */
#define LOAMI_NOT_FROM_NMI() LOAMI_ASSERT(loam_port_context() != LOAM_CONTEXT_NMI)
#define LOAMI_TASK_ONLY() LOAMI_ASSERT(loam_port_context() == LOAM_CONTEXT_TASK)

#if LOAM_CHECKS >= LOAM_CHECKS_PARANOID
#define LOAMI_PARANOID(statement) statement
#else
#define LOAMI_PARANOID(statement) ((void)0)
#endif

#endif
