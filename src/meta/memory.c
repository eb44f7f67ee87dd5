/*
 * The reserve. libpmemobj 1.12 does not survive it if malloc(3) fails: a transaction whose first allocation fails can
 * neither be ended nor aborted, and its tree of ranges is used whether it is there or not. So what transactions ask for
 * comes from here when malloc(3) has nothing. A transaction ends without waiting for another, and gives all of it back.
 * It is memory that nobody has touched until then: it costs addresses.
 *
 * Larger requests (lanes, when a pool is opened) may fail: libpmemobj looks at these.
 */
#include "meta/memory.h"

#include <libpmemobj.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* libpmemobj's own data of a transaction are 216 bytes, of a range 64; struct meta_tx has 340. */
#define SMALL_BYTES 384u
#define SMALL_PIECES 16384u
/* Its list of actions has 8 KiB from the first one on; our lists of pages are shorter. */
#define LARGE_BYTES 8192u
#define LARGE_PIECES 256u

static _Alignas(64) unsigned char small_bytes[SMALL_PIECES * SMALL_BYTES], large_bytes[LARGE_PIECES * LARGE_BYTES];
static uint16_t small_free[SMALL_PIECES], large_free[LARGE_PIECES];

/* Pieces of one size. */
static struct reserve {
	unsigned char *bytes;
	size_t size;
	uint32_t pieces;
	uint32_t fresh; /* those from here on have never been used */
	uint16_t *free; /* a stack of others */
	uint32_t free_count;
} reserves[] = {
	{.bytes = small_bytes, .size = SMALL_BYTES, .pieces = SMALL_PIECES, .free = small_free},
	{.bytes = large_bytes, .size = LARGE_BYTES, .pieces = LARGE_PIECES, .free = large_free},
};

#define RESERVES (sizeof(reserves) / sizeof(reserves[0]))

static atomic_bool refused;
static pthread_mutex_t reserve_lock = PTHREAD_MUTEX_INITIALIZER; /* a leaf, for moments */

static void *reserve_take(size_t size)
{
	void *memory = NULL;

	pthread_mutex_lock(&reserve_lock);
	for (size_t i = 0; memory == NULL && i < RESERVES; i++) {
		struct reserve *reserve = &reserves[i];

		if (size > reserve->size)
			continue;
		if (reserve->free_count > 0)
			memory = reserve->bytes + reserve->free[--reserve->free_count] * reserve->size;
		else if (reserve->fresh < reserve->pieces)
			memory = reserve->bytes + reserve->fresh++ * reserve->size;
	}
	pthread_mutex_unlock(&reserve_lock);
	return memory;
}

/* Whose piece it is; NULL: malloc's. */
static struct reserve *reserve_of(const void *memory)
{
	for (size_t i = 0; i < RESERVES; i++) {
		if ((uintptr_t)memory - (uintptr_t)reserves[i].bytes < reserves[i].pieces * reserves[i].size)
			return &reserves[i];
	}
	return NULL;
}

void memory_give_back(void *memory)
{
	struct reserve *reserve = reserve_of(memory);

	if (reserve == NULL) {
		free(memory);
		return;
	}
	pthread_mutex_lock(&reserve_lock);
	reserve->free[reserve->free_count++] =
		(uint16_t)((size_t)((unsigned char *)memory - reserve->bytes) / reserve->size);
	pthread_mutex_unlock(&reserve_lock);
}

void *memory_take(size_t size)
{
	void *memory = malloc(size);

	if (memory == NULL)
		memory = reserve_take(size);
	if (memory == NULL)
		atomic_store(&refused, true);
	return memory;
}

bool memory_refused(void)
{
	return atomic_exchange(&refused, false);
}

static size_t size_of(void *memory)
{
	const struct reserve *reserve = reserve_of(memory);

	return reserve != NULL ? reserve->size : malloc_usable_size(memory);
}

static void *resize(void *memory, size_t size)
{
	void *other = reserve_of(memory) == NULL ? realloc(memory, size) : NULL;

	if (other != NULL)
		return other;
	other = memory_take(size);
	if (other != NULL && memory != NULL) {
		memcpy(other, memory, size < size_of(memory) ? size : size_of(memory));
		memory_give_back(memory);
	}
	return other;
}

static char *copy_of(const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = memory_take(size);

	return copy != NULL ? memcpy(copy, text, size) : NULL;
}

static void set_functions(void)
{
	pmemobj_set_funcs(memory_take, memory_give_back, resize, copy_of);
}

void memory_set_up(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, set_functions);
}
