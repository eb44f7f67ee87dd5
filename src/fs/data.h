/* What the files of the data path share: segments of a file, steps of a write, ranges that are taken out of a file. */
#ifndef PINFS_FS_DATA_H
#define PINFS_FS_DATA_H

#include "base/arith.h"
#include "fs/inode.h"

/* First block at or after a byte; `byte` is at most 2^63. */
static inline uint64_t fs_block_up(uint64_t byte)
{
	return align_up(byte, FMT_BLOCK_SIZE) >> FMT_BLOCK_SHIFT;
}

/* A block's first byte; saturates, for block numbers that only damaged media hold. */
static inline uint64_t fs_block_byte(uint64_t block)
{
	return block > UINT64_MAX >> FMT_BLOCK_SHIFT ? UINT64_MAX : block << FMT_BLOCK_SHIFT;
}

/* An edit of an inode's plain fields, in a transaction of somebody else. */
typedef void fs_edit(void *arg, struct fmt_inode *inode);

/* ---- segment.c: what a file reads as. The caller holds map, shared at least. ---- */

/* A stretch of a file that is either one piece of memory or zeros. */
struct fs_segment {
	uint64_t start; /* bytes */
	uint64_t end;
	unsigned char *data; /* NULL: zeros: a hole, unwritten, or what an intent takes out */
	struct region_part *part;
};

/* The segment from `position` on, as far as it goes, at most to `limit` (greater than position). */
int fs_segment_at(struct fs *fs, const struct fs_inode *file, uint64_t position, uint64_t limit,
		  struct fs_segment *ret_segment);
/*
 * Bytes [position, end) as at most `capacity` pieces of memory, zeros included; *ret_length may be less than the range.
 * The addresses are good while the caller keeps layout shared.
 */
int fs_gather(struct fs *fs, const struct fs_inode *file, uint64_t position, uint64_t end, struct iovec *iov,
	      size_t capacity, size_t *ret_count, size_t *ret_length);
/* True if [start, end) reads as zeros. For edges of blocks: looks at every byte. */
int fs_reads_zero(struct fs *fs, const struct fs_inode *file, uint64_t start, uint64_t end, bool *ret_zero);
/* The physical block that would continue the file at file block `block`, or 0 if the block before is not mapped. */
uint64_t fs_goal(struct fs *fs, const struct fs_inode *file, uint64_t block);
/* Flags for alloc_reserve() in a file that will have `size` bytes. */
unsigned fs_alloc_flags(uint64_t size);
/* alloc_reserve(), of blocks that are not known to be lost. */
int fs_take_blocks(struct fs *fs, uint64_t want, uint64_t goal, unsigned flags, struct alloc_run *runs, size_t capacity,
		   size_t *ret_count);
/*
 * fs_take_blocks(); if there is no space, once more when what was unpinned has been reaped, and then the log names who
 * holds limbo. No transaction is open, LOCK_LIMBO is not held.
 */
int fs_reserve_blocks(struct fs *fs, uint64_t want, uint64_t goal, unsigned flags, struct alloc_run *runs,
		      size_t capacity, size_t *ret_count);
/*
 * Gives blocks back to the allocator; the transaction that unmapped them has committed, or never mapped them. The
 * canary: what a pin counts is kept from the allocator, logged and counted.
 */
int fs_free_blocks(struct fs *fs, const struct fs_inode *file, const struct meta_extent *extent);

/* ---- times.c ---- */

/* Sets mtime and ctime to now. */
void fs_stamp(struct fmt_inode *inode);
/* As fs_stamp, in a transaction of its own, if the coarse clock has moved since. No lock of `file` but layout is held.
 */
int fs_touch(struct fs *fs, struct fs_inode *file);
/* A transaction that only edits the inode; needs no space. The caller holds the attribute lock exclusive. */
int fs_edit_inode(struct fs *fs, struct fs_inode *file, fs_edit *edit, void *arg, const char *operation);

/* ---- privileges.c ---- */

uint32_t fs_mode_unprivileged(uint32_t mode);
/* Which of FS_DROP_* the file has. The caller holds map. */
int fs_privileges_find(struct fs *fs, const struct fs_inode *file, unsigned which, unsigned *ret_found);
/* Removes what was found. The caller holds map exclusive. */
int fs_privileges_remove(struct meta_tx *tx, const struct fs_inode *file, unsigned found);

/* ---- write.c ---- */

#define FS_STEP_BYTES (1u << 20)

/* Bytes to be written, consumed from the front. */
struct fs_source {
	const struct iovec *iov;
	size_t done; /* bytes of iov[0] that are consumed */
};

/*
 * Writes [offset, end), at most FS_STEP_BYTES, in one transaction: allocates what is missing, raises the size and,
 * unless `keep_times`, sets mtime and ctime. *ret_end may be less than `end` when space ends or is in many pieces;
 * `source` is of no more use then. The caller holds layout shared and map exclusive. -ENOSPC: nothing fits. -EHWPOISON:
 * a block of the file, or what `source` names, is lost, and nothing is written but, maybe, before it.
 */
int fs_write_step(struct fs *fs, struct fs_inode *file, struct fs_source *source, uint64_t offset, uint64_t end,
		  bool keep_times, uint64_t *ret_end);

/* ---- intent.c ---- */

/* What taking bytes [start, end) out of a file means: blocks [first, last) go, the two edges are zeroed. */
struct fs_hole {
	uint64_t first, last; /* blocks; nothing if first >= last */
	uint64_t head_start, head_end; /* bytes; nothing if start >= end */
	uint64_t tail_start, tail_end;
};

/* True if there are pages beyond the reserve: asked before a transaction that uses the reserve may leave more extents.
 */
bool fs_has_pages(struct fs *fs);
struct fs_hole fs_hole_of(uint64_t start, uint64_t end);
/* The edges are not counted by a pin (fs_edges_detach()). */
int fs_hole_zero_edges(struct fs *fs, struct fs_inode *file, const struct fs_hole *hole);
/* True if the edges read as zeros already. */
int fs_hole_edges_zero(struct fs *fs, const struct fs_inode *file, const struct fs_hole *hole, bool *ret_zero);

/* Extents that one transaction may take out or change beside its visible change, without an intent. */
#define FS_ONCE_EXTENTS 16u
/* Neighbouring extents that one transaction of a long series takes out or changes: what it holds in memory is bounded.
 */
#define FS_SERIES_EXTENTS 64u

/*
 * Takes bytes [start, end) out of the file (end UINT64_MAX: all that follow). `edit` makes the change of attributes
 * that belongs to it: both become visible in one transaction. The caller holds layout and map exclusive. -ENOSPC only
 * with an `end`, on a full meta part, and nothing has changed then.
 */
int fs_take_out(struct fs *fs, struct fs_inode *file, uint64_t start, uint64_t end, fs_edit *edit, void *arg);
/* Sets the intent [start, end) together with `edit`; a transaction of its own. */
int fs_intent_set(struct fs *fs, struct fs_inode *file, uint64_t start, uint64_t end, fs_edit *edit, void *arg);
void fs_intent_clear(struct fmt_inode *inode);
/* An intent that is set could not be carried out: writing stops; the next mount resumes it. Returns the error. */
int fs_intent_failed(struct fs *fs, struct fs_inode *file, int error);

/* ---- limbo.c ---- */

/*
 * Extents that a transaction takes out of a file, and what of them goes to limbo. The caller sets fs, file and, if it
 * knows of counted blocks, limbo; may be used for one transaction after the other.
 */
struct fs_removal {
	struct fs *fs;
	struct fs_inode *file;
	bool limbo; /* there are counted blocks: LOCK_LIMBO is taken around the transaction */
	size_t count; /* taken out */
	size_t runs; /* of them, counted by pins */
	uint64_t fits; /* after -E2BIG: with no block of the file before this one taken out, there is room */
	struct meta_extent extent[FS_SERIES_EXTENTS];
	struct meta_extent run[FS_SERIES_EXTENTS]; /* in the order of `extent`, then by place */
};

/* What is done in the transaction; may be called twice, for the first may be undone. */
typedef int fs_removal_body(struct fs_removal *removal, struct meta_tx *tx, void *arg);
/*
 * One transaction, which may use the reserve; then frees what nobody counts. Layout and map held exclusive, the limbo
 * lock not. On an error nothing has changed. -E2BIG: see fs_removal_take().
 */
int fs_remove(struct fs_removal *removal, fs_removal_body *body, void *arg);
/*
 * In the body, FS_SERIES_EXTENTS times at most: meta_extent_remove_last(). An error is to be returned by the body, but
 * for -ENOENT: nothing is mapped there. -E2BIG: too many runs of it are counted for one transaction.
 */
int fs_removal_take(struct fs_removal *removal, struct meta_tx *tx, uint64_t start, uint64_t end);
/* True if a pin counts any of the blocks, after what was unpinned has been reaped. As fs_reserve_blocks(). */
bool fs_is_counted(struct fs *fs, uint64_t phys, uint64_t length);

/* ---- edge.c ---- */

/*
 * Before the edges of a hole are zeroed: blocks that a pin counts are replaced by copies and go to limbo. Layout and
 * map held exclusive. -ENOSPC: nothing has changed.
 */
int fs_edges_detach(struct fs *fs, struct fs_inode *file, const struct fs_hole *hole);

/* ---- replace.c ---- */

/* New blocks that turn out to be lost are given up, and others taken, so many times. */
#define FS_LOST_TRIES 8u

/*
 * Before a write of `data` to [offset, end): lost blocks of the file that it covers as a whole are replaced by others,
 * which have the data; lost ones that are unwritten become holes. Layout and map held exclusive. -EHWPOISON: there are
 * others, which it covers in part, or which are pinned. -ENOSPC.
 */
int fs_replace_lost(struct fs *fs, struct fs_inode *file, const unsigned char *data, uint64_t offset, uint64_t end);

/* ---- zero.c ---- */

/* As fs_zero_range() for bytes of one block: leaves it alone if a pin counts it. Map held exclusive. */
int fs_zero_idle(struct fs *fs, struct fs_inode *file, uint64_t start, uint64_t end);

#endif
