/* A growing list of 64-bit numbers, of a transaction; the first few need no memory. */
#ifndef PINFS_META_VEC_H
#define PINFS_META_VEC_H

#include "meta/memory.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#define VEC_INLINE 6

struct vec {
	uint64_t *items;
	size_t count;
	size_t capacity;
	uint64_t first[VEC_INLINE];
};

static inline void vec_init(struct vec *vec)
{
	vec->items = vec->first;
	vec->count = 0;
	vec->capacity = VEC_INLINE;
}

static inline void vec_fini(struct vec *vec)
{
	if (vec->items != vec->first)
		memory_give_back(vec->items);
}

static inline int vec_push(struct vec *vec, uint64_t item)
{
	if (vec->count == vec->capacity) {
		uint64_t *bigger = memory_take(2 * vec->capacity * sizeof(*bigger));

		if (bigger == NULL)
			return -ENOMEM;
		memcpy(bigger, vec->items, vec->count * sizeof(*bigger));
		vec_fini(vec);
		vec->items = bigger;
		vec->capacity *= 2;
	}
	vec->items[vec->count++] = item;
	return 0;
}

#endif
