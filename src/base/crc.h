/* CRC-32C, the checksum of every pinfs record. */
#ifndef PINFS_BASE_CRC_H
#define PINFS_BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

/*
 * Continues the CRC-32C `seed` (0 to start) over `length` bytes at `data`. Chains: the checksum of two buffers is
 * crc32c(crc32c(0, a), b). Pure and thread-safe.
 */
uint32_t crc32c(uint32_t seed, const void *data, size_t length);

#endif
