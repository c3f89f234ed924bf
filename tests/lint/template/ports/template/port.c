/* A template that leaves functions unanswered. */
#include <loam/port.h>

void loam_port_log(const char *text, size_t nbytes)
{
	(void)text, (void)nbytes;
}
