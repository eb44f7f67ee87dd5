/* Sizes and durations as people write them. Pure. */
#ifndef PINFS_DAEMON_SIZE_H
#define PINFS_DAEMON_SIZE_H

#include <stdint.h>

/* SIZE: decimal digits and at most one of K, M, G, T (powers of 1024). -EINVAL nonsense, -ERANGE beyond 8 EiB - 1. */
int daemon_parse_size(const char *text, uint64_t *ret_bytes);

#define DAEMON_FOREVER UINT64_MAX /* ms */
/* SECONDS, with up to three decimals, or "inf". -EINVAL nonsense, -ERANGE more than a billion. */
int daemon_parse_seconds(const char *text, uint64_t *ret_ms);

#endif
