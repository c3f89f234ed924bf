/* No kernel has it. */
#include <string.h>
