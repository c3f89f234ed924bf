/* The same through a path. */
#include "../heap/heap.h"
