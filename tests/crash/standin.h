/*
 * Stands in for libpmem's functions, in a program that is linked with export_dynamic: libpmemobj and src/region call
 * these by their names then. The program says what a flush and a fence are; stores that are none of its business are
 * done. Non-temporal stores count as flushed.
 */
#ifndef PINFS_CRASH_STANDIN_H
#define PINFS_CRASH_STANDIN_H

#include <stddef.h>

void standin_flush(const void *address, size_t length);
void standin_fence(void);
/* msync(2), of what is no persistent memory. */
void standin_sync(const void *address, size_t length);

#endif
