/*
 * What must be known of a libpmemobj pool's own structures (version 1.x, layout 6) by who does not trust it: where its
 * logs and chunks are, and what a log would write when the pool is opened. Pure: bytes in, verdicts out; thread-safe.
 */
#ifndef PINFS_FORMAT_PMDK_H
#define PINFS_FORMAT_PMDK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PMDK_SIGNATURE "PMEMOBJ" /* at 0, with its end */
#define PMDK_ROOT_AT 6144u /* pool offset of the root object's pool offset */

/* 1024 lanes; a lane has three logs. */
#define PMDK_LANES_AT 8192u
#define PMDK_LANES 1024u
#define PMDK_LANE_SIZE 3072u

/* The heap: a header, then zones of a header and chunks. Chunks of all zones lie at multiples of their size from here.
 */
#define PMDK_HEAP_AT (PMDK_LANES_AT + PMDK_LANES * PMDK_LANE_SIZE)
#define PMDK_CHUNKS_AT (PMDK_HEAP_AT + 1024u + 64u + 8u * 65528u)
#define PMDK_CHUNK_SIZE (256u << 10)

/* Entry of an undo log: `size` bytes that were at `offset` when the transaction began. */
struct pmdk_undo {
	uint64_t offset; /* with the kind of entry in its three upper bits */
	uint64_t checksum; /* of the entry, and of the log's generation */
	uint64_t size;
	unsigned char data[];
};

static inline uint64_t pmdk_undo_offset(const struct pmdk_undo *undo)
{
	return undo->offset & ~(7ull << 61);
}

/*
 * The undo entries of a lane (PMDK_LANE_SIZE bytes) that recovery would carry out, first to last: the next from `*at`
 * on, which begins as 0. NULL: no more.
 */
const struct pmdk_undo *pmdk_undo_next(const void *lane, size_t *at);

/* What logs may write to: `length` bytes at pool offset `offset`; `undo`, or from a redo log. */
typedef bool pmdk_allowed(void *arg, bool undo, uint64_t offset, uint64_t length);

/*
 * NULL if opening the pool does no harm for this lane: each log's bounds and kinds of entries are right, nothing is
 * missing between entries, and all that would be written is allowed. Else the name of the log.
 */
const char *pmdk_lane_fault(const void *lane, pmdk_allowed *allowed, void *arg);

#endif
