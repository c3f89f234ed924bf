/* A customer sees include/loam/ only. */
#include <frame/frame.h>
