/* pagemap depends on base alone, though boot stands below it. */
#include <loam/boot.h>
