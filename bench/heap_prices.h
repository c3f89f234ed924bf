/* bench/heap_prices.h: what parts of the heap cost: rows of bench/heap.c. */
#ifndef BENCH_HEAP_PRICES_H
#define BENCH_HEAP_PRICES_H

#include <stdint.h>

/* All the rows. */
void heap_prices(void);

/* Pairs of constant 64 B in a heap that proves nothing: to count their instructions. @context is not used. */
void heap_unproven(void *context, uint64_t n);

#endif
