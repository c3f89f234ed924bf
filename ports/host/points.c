/* ports/host/points.c: interrupt points and failure points, which the library has in its -DLOAM_POINTS build: one at every atomic access, one wherever
 * it takes memory.
 */
#include "private.h"

/* ---- failures ------------------------------------------------------------------------------------------------------------------ */

static struct {
	atomic_uint kind;
	atomic_ullong nth; /* 0: none */
	atomic_bool for_good;
	atomic_ullong met;
} fail;

void host_fail_set(unsigned int kind, uint64_t nth, bool for_good)
{
	atomic_store(&fail.nth, 0);
	atomic_store(&fail.kind, kind);
	atomic_store(&fail.for_good, for_good);
	atomic_store(&fail.met, 0);
	atomic_store(&fail.nth, nth);
}

uint64_t host_fail_clear(void)
{
	atomic_store(&fail.nth, 0);
	return atomic_load(&fail.met);
}

bool host_should_fail(unsigned int kind)
{
	unsigned long long nth = atomic_load(&fail.nth);
	unsigned long long number;

	if (nth == 0 || (atomic_load(&fail.kind) != HOST_FAIL_ANY && atomic_load(&fail.kind) != kind))
		return false;
	number = atomic_fetch_add(&fail.met, 1) + 1;
	return atomic_load(&fail.for_good) ? number >= nth : number == nth;
}

uint64_t host_fail_each(unsigned int kind, bool (*scenario)(void *context), void *context)
{
	for (uint64_t nth = 1;; nth++) {
		for (int for_good = 0; for_good <= 1; for_good++) {
			uint64_t met;
			bool fine;

			host_fail_set(kind, nth, for_good != 0);
			fine = scenario(context);
			met = host_fail_clear();
			if (!fine)
				host_fault("scenario went wrong with failure point %llu failing %s",
					   (unsigned long long)nth, for_good ? "for good" : "once");
			if (met < nth)
				return nth - 1;
		}
	}
}

/* ---- points ---------------------------------------------------------------------------------------------------------------------- */

void host_point(const volatile void *where)
{
	if (host_this != NULL && host_this->quiet)
		return;
	if (host_hooks.on_point != NULL)
		host_hooks.on_point(where);
	if (host_this != NULL)
		host_interrupt_point(host_this);
}
