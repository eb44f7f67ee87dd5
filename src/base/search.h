/* Where something is in an array that is in order of a number. */
#ifndef PINFS_BASE_SEARCH_H
#define PINFS_BASE_SEARCH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * Index of the first of `count` elements of `size` bytes, in order of the uint64_t that lies `key` bytes into each, of
 * which that is `value` or more; `count`: none.
 */
static inline size_t search_from(const void *array, size_t count, size_t size, size_t key, uint64_t value)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		uint64_t number;

		memcpy(&number, (const char *)array + middle * size + key, sizeof(number));
		if (number < value)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

#endif
