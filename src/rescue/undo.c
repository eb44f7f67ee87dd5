/*
 * Entries of all undo logs, by offset. No two have bytes in common: lanes never snapshot the same, and within a
 * transaction libpmemobj logs only what an earlier snapshot of it does not cover.
 */
#include "rescue/undo.h"

#include "base/arith.h"
#include "format/pmdk.h"
#include "rescue/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A snapshot is at most this long: what a log holds. */
#define SNAPSHOT_MAX 2048u

struct snapshot {
	uint64_t offset;
	size_t length;
	unsigned char data[];
};

struct undo {
	struct snapshot **snapshot;
	size_t count;
	size_t capacity;
};

static int undo_add(struct undo *undo, const struct pmdk_undo *entry)
{
	struct snapshot *snapshot;

	if (undo->count == undo->capacity) {
		size_t capacity = undo->capacity == 0 ? 64 : undo->capacity * 2;
		void *grown = realloc(undo->snapshot, capacity * sizeof(struct snapshot *));

		if (grown == NULL)
			return -ENOMEM;
		undo->snapshot = grown;
		undo->capacity = capacity;
	}
	snapshot = malloc(sizeof(*snapshot) + entry->size);
	if (snapshot == NULL)
		return -ENOMEM;
	snapshot->offset = pmdk_undo_offset(entry);
	snapshot->length = entry->size;
	memcpy(snapshot->data, entry->data, entry->size);
	undo->snapshot[undo->count++] = snapshot;
	return 0;
}

static bool allowed(void *arg, bool undo, uint64_t offset, uint64_t length)
{
	const struct image *meta = arg;

	return !undo || (offset >= PMDK_CHUNKS_AT && offset <= meta->size && length <= meta->size - offset);
}

static int lane_load(const struct image *meta, unsigned lane, struct undo *undo, unsigned *damaged)
{
	union {
		uint64_t word; /* for alignment */
		unsigned char bytes[PMDK_LANE_SIZE];
	} copy;
	const struct pmdk_undo *entry;
	size_t at = 0;
	int error = image_read(meta, PMDK_LANES_AT + (uint64_t)lane * PMDK_LANE_SIZE, &copy, sizeof(copy));

	if (error != 0 || pmdk_lane_fault(&copy, allowed, (void *)(uintptr_t)meta) != NULL) {
		(*damaged)++;
		return 0;
	}
	while (error == 0 && (entry = pmdk_undo_next(&copy, &at)) != NULL)
		error = undo_add(undo, entry);
	return error;
}

static int compare(const void *a, const void *b)
{
	const struct snapshot *left = *(struct snapshot *const *)a, *right = *(struct snapshot *const *)b;

	return left->offset < right->offset ? -1 : left->offset > right->offset;
}

int undo_load(const struct image *meta, struct undo **ret_undo, unsigned *ret_damaged)
{
	struct undo *undo = calloc(1, sizeof(*undo));
	unsigned damaged = 0;
	int error = 0;

	if (undo == NULL)
		return -ENOMEM;
	for (unsigned lane = 0; error == 0 && lane < PMDK_LANES; lane++)
		error = lane_load(meta, lane, undo, &damaged);
	if (error != 0) {
		undo_free(undo);
		return error;
	}
	if (undo->count > 0)
		qsort(undo->snapshot, undo->count, sizeof(struct snapshot *), compare);
	*ret_undo = undo;
	*ret_damaged = damaged;
	return 0;
}

void undo_free(struct undo *undo)
{
	if (undo == NULL)
		return;
	for (size_t i = 0; i < undo->count; i++)
		free(undo->snapshot[i]);
	free(undo->snapshot);
	free(undo);
}

/* The first snapshot at or behind `offset`. */
static size_t first_from(const struct undo *undo, uint64_t offset)
{
	size_t low = 0, high = undo->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (undo->snapshot[middle]->offset < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void undo_apply(const struct undo *undo, uint64_t offset, void *buffer, size_t length)
{
	uint64_t end = offset + length;

	for (size_t i = first_from(undo, offset > SNAPSHOT_MAX ? offset - SNAPSHOT_MAX : 0); i < undo->count; i++) {
		const struct snapshot *snapshot = undo->snapshot[i];
		uint64_t from = max_u64(offset, snapshot->offset);
		uint64_t to = min_u64(end, snapshot->offset + snapshot->length);

		if (snapshot->offset >= end)
			break;
		if (from < to)
			memcpy((char *)buffer + (from - offset), snapshot->data + (from - snapshot->offset), to - from);
	}
}
