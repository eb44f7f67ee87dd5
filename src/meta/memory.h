/*
 * Memory of transactions, libpmemobj's and ours: it does not fail. What a transaction has begun must not stop for want
 * of memory: a truncation that is half carried out would stop all writing.
 */
#ifndef PINFS_META_MEMORY_H
#define PINFS_META_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* Has libpmemobj use it, too. Before the first pool is made or opened; again is harmless. */
void memory_set_up(void);
/* malloc(3), or from a reserve; NULL: neither has it, or it is too large for the reserve (8 KiB). */
void *memory_take(size_t size);
/* True if there was none since this was last asked. */
bool memory_refused(void);
void memory_give_back(void *memory);

#endif
