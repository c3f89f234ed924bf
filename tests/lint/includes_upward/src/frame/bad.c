/* A layer that looks up. */
#include <loam/vmalloc.h>
