/*
 * Preallocation, hole punching, zeroing of ranges.
 *
 * Preallocated blocks are unwritten: they read as zeros, so none of them needs to be zeroed, and adding them changes
 * nothing that anybody sees. All blocks are reserved before the first one is added: -ENOSPC changes nothing.
 */
#include "fs/data.h"

#include <assert.h>
#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>

#define RESERVE_RUNS 64u /* runs asked of the allocator at a time */
#define RESERVE_BLOCKS (1ull << 30) /* blocks asked at a time: fits an extent's length */

/* Blocks for a hole of the file, or for a part of one. */
struct filling {
	struct meta_extent extent;
	uint64_t rank; /* extents of the range before it, fillings included: near ranks are near in the map */
};

struct fillings {
	struct filling *filling;
	size_t count;
	size_t capacity;
};

static int fillings_grow(struct fillings *fillings, size_t more)
{
	struct filling *grown;

	if (fillings->capacity - fillings->count >= more)
		return 0;
	grown = reallocarray(fillings->filling, fillings->capacity * 2 + more, sizeof(*grown));
	if (grown == NULL)
		return -ENOMEM;
	fillings->filling = grown;
	fillings->capacity = fillings->capacity * 2 + more;
	return 0;
}

/* Reserves all blocks of the hole [block, end). What is in `fillings` on an error is the caller's to cancel. */
static int fill_hole(struct fs *fs, const struct fs_inode *file, uint64_t block, uint64_t end, unsigned flags,
		     uint64_t *rank, struct fillings *fillings)
{
	uint64_t goal = fs_goal(fs, file, block);

	while (block < end) {
		struct alloc_run runs[RESERVE_RUNS];
		size_t count;
		int error;

		error = fillings_grow(fillings, RESERVE_RUNS);
		if (error != 0)
			return error;
		error = alloc_reserve(fs->alloc, min_u64(end - block, RESERVE_BLOCKS), goal, flags, runs, RESERVE_RUNS,
				      &count);
		if (error != 0)
			return error;
		for (size_t i = 0; i < count; i++) {
			struct meta_extent extent = {
				.file_block = block,
				.phys = runs[i].phys,
				.length = runs[i].length,
				.unwritten = true,
			};

			fillings->filling[fillings->count++] = (struct filling){.extent = extent, .rank = (*rank)++};
			block += extent.length;
			goal = extent.phys + extent.length;
		}
	}
	return 0;
}

/* The first hole in blocks [*start, end); *start = *ret_end = end if there is none. Raises *rank by what it passes. */
static int next_hole(struct fs *fs, const struct fs_inode *file, uint64_t *start, uint64_t end, uint64_t *rank,
		     uint64_t *ret_end)
{
	while (*start < end) {
		struct meta_extent extent;
		int error = meta_extent_find(fs->meta, file->media, *start, &extent);

		if (error != 0 && error != -ENOENT)
			return error;
		if (error == -ENOENT || extent.file_block > *start) {
			*ret_end = error == -ENOENT ? end : min_u64(end, extent.file_block);
			return 0;
		}
		*start = min_u64(end, extent.file_block + extent.length);
		(*rank)++;
	}
	*ret_end = end;
	return 0;
}

/* -ENOSPC if the holes of the range cannot fit: so that a hopeless request does not take all free blocks for a while.
 */
static int check_space(struct fs *fs, const struct fs_inode *file, uint64_t start, uint64_t end)
{
	struct alloc_stats stats;
	uint64_t missing = 0;
	uint64_t rank = 0;

	while (start < end) {
		uint64_t hole_end;
		int error = next_hole(fs, file, &start, end, &rank, &hole_end);

		if (error != 0)
			return error;
		missing += hole_end - start;
		start = hole_end;
	}
	alloc_stats(fs->alloc, &stats);
	return missing > stats.free ? -ENOSPC : 0;
}

static int fill_range(struct fs *fs, const struct fs_inode *file, uint64_t start, uint64_t end,
		      struct fillings *fillings)
{
	unsigned flags = fs_alloc_flags(max_u64(file->media->size, fs_block_byte(end)));
	uint64_t rank = 0;
	int error;

	error = check_space(fs, file, start, end);
	while (start < end && error == 0) {
		uint64_t hole_end;

		error = next_hole(fs, file, &start, end, &rank, &hole_end);
		if (error != 0)
			return error;
		error = fill_hole(fs, file, start, hole_end, flags, &rank, fillings);
		start = hole_end;
	}
	return error;
}

/* One transaction: fillings from *index on, FS_SERIES_EXTENTS of the file at most; `edit` joins the last one. */
static int insert_some(struct fs *fs, struct fs_inode *file, const struct fillings *fillings, fs_edit *edit, void *arg,
		       size_t *index)
{
	const struct filling *filling = fillings->filling;
	struct fmt_inode *inode;
	struct meta_tx *tx;
	size_t i = *index;
	int error;

	error = meta_begin(fs->meta, 0, &tx);
	if (error != 0)
		return error;
	for (; i < fillings->count && filling[i].rank - filling[*index].rank < FS_SERIES_EXTENTS && error == 0; i++)
		error = meta_extent_insert(tx, file->media, &filling[i].extent);
	if (error == 0 && i == fillings->count && edit != NULL) {
		error = meta_inode_edit(tx, file->media, &inode);
		if (error == 0)
			edit(arg, inode);
	}
	if (error != 0) {
		meta_abort(tx);
		return error;
	}
	error = meta_commit(tx);
	if (error == 0)
		*index = i;
	return error;
}

/* Takes the first `inserted` fillings out of the file again and gives the others back. */
static void fillings_undo(struct fs *fs, struct fs_inode *file, const struct fillings *fillings, size_t inserted)
{
	for (size_t i = 0; i < fillings->count; i++) {
		const struct meta_extent *extent = &fillings->filling[i].extent;
		int error = 0;

		if (i < inserted)
			error = fs_unmap_blocks(fs, file, extent->file_block, extent->file_block + extent->length,
						NULL);
		else
			fs_free_blocks(fs, file, extent);
		if (error != 0)
			fs_failed(fs, error, "undoing a preallocation", file->ino);
	}
}

/*
 * Maps the holes of blocks [start, end) as unwritten; `edit` (may be NULL) joins the last transaction. The caller holds
 * map exclusive throughout, so that nobody has seen or used the blocks that an error takes back.
 */
static int preallocate(struct fs *fs, struct fs_inode *file, uint64_t start, uint64_t end, fs_edit *edit, void *arg)
{
	struct fillings fillings = {.count = 0};
	size_t inserted = 0;
	int error;

	error = fill_range(fs, file, start, end, &fillings);
	while (error == 0 && inserted < fillings.count)
		error = insert_some(fs, file, &fillings, edit, arg, &inserted);
	if (error == 0 && fillings.count == 0 && edit != NULL)
		error = fs_edit_inode(fs, file, edit, arg, "fallocate");
	if (error != 0)
		fillings_undo(fs, file, &fillings, inserted);
	free(fillings.filling);
	return error == 0 ? 0 : fs_failed(fs, error, "fallocate", file->ino);
}

/* arg: the least size, in bytes. */
static void grow_edit(void *arg, struct fmt_inode *inode)
{
	inode->size = max_u64(inode->size, *(const uint64_t *)arg);
	fs_stamp(inode);
}

static void stamp_edit(void *arg, struct fmt_inode *inode)
{
	(void)arg;
	fs_stamp(inode);
}

static void grow_and_clear_edit(void *arg, struct fmt_inode *inode)
{
	fs_intent_clear(inode);
	grow_edit(arg, inode);
}

/* Who grows the size zeroes the gap behind the old end. */
static int zero_gap(struct fs *fs, struct fs_inode *file, uint64_t size)
{
	uint64_t old = file->media->size;
	int error;

	if (size <= old)
		return 0;
	error = fs_zero_range(fs, file, old, min_u64(size, align_up(old, FMT_BLOCK_SIZE)));
	return error == 0 ? 0 : fs_failed(fs, error, "fallocate", file->ino);
}

static int allocate_range(struct fs *fs, struct fs_inode *file, uint64_t start, uint64_t end, uint64_t size)
{
	int error = zero_gap(fs, file, size);

	return error != 0 ? error : preallocate(fs, file, start >> FMT_BLOCK_SHIFT, fs_block_up(end), grow_edit, &size);
}

/* Written extents, clipped to a range. */
struct written {
	size_t count;
	struct meta_extent extent[FS_SERIES_EXTENTS];
};

/* Those of blocks [*block, end), as far as FS_SERIES_EXTENTS go; *block becomes where to go on, `end` at last. */
static int collect_written(struct fs *fs, const struct fs_inode *file, uint64_t *block, uint64_t end,
			   struct written *written)
{
	written->count = 0;
	for (size_t i = 0; i < FS_SERIES_EXTENTS && *block < end; i++) {
		struct meta_extent extent;
		uint64_t start;
		int error = meta_extent_find(fs->meta, file->media, *block, &extent);

		if (error != 0 && error != -ENOENT)
			return error;
		if (error == -ENOENT || extent.file_block >= end) {
			*block = end;
			return 0;
		}
		start = max_u64(*block, extent.file_block);
		*block = min_u64(end, extent.file_block + extent.length);
		if (extent.unwritten)
			continue;
		extent.file_block = start;
		extent.length = (uint32_t)(*block - start);
		written->extent[written->count++] = extent;
	}
	return 0;
}

/* One transaction: what was collected becomes unwritten; `edit` (may be NULL) joins. Only the ends may split. */
static int mark_unwritten(struct fs *fs, struct fs_inode *file, const struct written *written, fs_edit *edit, void *arg)
{
	struct fmt_inode *inode;
	struct meta_tx *tx;
	int error;

	error = meta_begin(fs->meta, META_TX_RESERVE, &tx);
	if (error != 0)
		return error;
	for (size_t i = 0; i < written->count && error == 0; i++)
		error = meta_extent_mark(tx, file->media, written->extent[i].file_block, written->extent[i].length,
					 true);
	if (error == 0 && edit != NULL) {
		error = meta_inode_edit(tx, file->media, &inode);
		if (error == 0)
			edit(arg, inode);
	}
	if (error != 0) {
		meta_abort(tx);
		return error;
	}
	return meta_commit(tx);
}

/* The intent is set: if a crash comes in between, the next mount frees the range rather than mark it. Same zeros. */
static int mark_series(struct fs *fs, struct fs_inode *file, const struct fs_hole *hole, uint64_t size)
{
	uint64_t block = hole->first;
	bool done = false;
	int error;

	error = fs_hole_zero_edges(fs, file, hole);
	while (error == 0 && !done) {
		struct written written;

		error = collect_written(fs, file, &block, hole->last, &written);
		if (error != 0)
			return error;
		done = block >= hole->last;
		error = mark_unwritten(fs, file, &written, done ? grow_and_clear_edit : NULL, &size);
	}
	return error;
}

static int zero_range(struct fs *fs, struct fs_inode *file, uint64_t start, uint64_t end, uint64_t size)
{
	struct fs_hole hole = fs_hole_of(start, end);
	uint64_t block = hole.first;
	struct written written;
	bool once;
	int error;

	if (!fs_has_pages(fs))
		return -ENOSPC;
	/* What needs space comes first and changes nothing that anybody sees. */
	error = preallocate(fs, file, start >> FMT_BLOCK_SHIFT, fs_block_up(end), NULL, NULL);
	if (error == 0)
		error = zero_gap(fs, file, size);
	if (error != 0)
		return error;
	error = fs_hole_edges_zero(fs, file, &hole, &once);
	if (error == 0)
		error = collect_written(fs, file, &block, hole.last, &written);
	if (error != 0)
		return fs_failed(fs, error, "fallocate", file->ino);
	if (once && block >= hole.last && written.count <= FS_ONCE_EXTENTS) {
		error = mark_unwritten(fs, file, &written, grow_edit, &size);
		return error == 0 ? 0 : fs_failed(fs, error, "fallocate", file->ino);
	}
	error = fs_intent_set(fs, file, start, end, stamp_edit, NULL);
	if (error != 0)
		return error;
	error = mark_series(fs, file, &hole, size);
	return error == 0 ? 0 : fs_intent_failed(fs, file, error);
}

static int punch_hole(struct fs *fs, struct fs_inode *file, uint64_t start, uint64_t end)
{
	/* Behind the end the last block holds zeros: a punch up to the end takes that block as a whole. */
	if (end >= file->media->size)
		end = max_u64(end, align_up(file->media->size, FMT_BLOCK_SIZE));
	if (start >= end)
		return 0;
	return fs_take_out(fs, file, start, end, stamp_edit, NULL);
}

static int fallocate_locked(struct fs *fs, struct fs_inode *file, int mode, uint64_t start, uint64_t end)
{
	uint64_t size = mode & FALLOC_FL_KEEP_SIZE ? 0 : end;
	/* Again under the locks: an intent of this file may have failed while we waited. */
	int error = fs_writable(fs);

	if (error != 0)
		return error;
	if (mode & FALLOC_FL_PUNCH_HOLE)
		return punch_hole(fs, file, start, end);
	if (mode & FALLOC_FL_ZERO_RANGE)
		return zero_range(fs, file, start, end, size);
	return allocate_range(fs, file, start, end, size);
}

static int fallocate_file(struct fs *fs, struct fs_inode *file, int mode, uint64_t start, uint64_t end)
{
	int error;

	if (!S_ISREG(file->type))
		return fs_inode_is_dir(file) ? -EISDIR : -ENODEV;
	/* Adding blocks moves none: only what takes out or zeroes needs the layout for itself. */
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		lock_rw_take_exclusive(&file->layout);
	else
		lock_rw_take_shared(&file->layout);
	lock_rw_take_exclusive(&file->map);
	error = fallocate_locked(fs, file, mode, start, end);
	lock_rw_drop(&file->map);
	lock_rw_drop(&file->layout);
	return error;
}

static bool is_mode_known(int mode)
{
	switch (mode) {
	case 0:
	case FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_ZERO_RANGE:
	case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
		return true;
	default:
		return false;
	}
}

int fs_fallocate(struct fs *fs, uint64_t ino, int mode, off_t offset, off_t length, struct fs_wait *wait)
{
	(void)wait;
	struct fs_inode *file;
	uint64_t end;
	int error;

	error = fs_writable(fs);
	if (error != 0)
		return error;
	if (offset < 0 || length <= 0)
		return -EINVAL;
	if (!is_mode_known(mode))
		return -EOPNOTSUPP;
	end = (uint64_t)offset + (uint64_t)length;
	if (end > FMT_FILE_SIZE_MAX)
		return -EFBIG;
	error = fs_inode_get(fs, ino, &file);
	if (error != 0)
		return error;
	error = fallocate_file(fs, file, mode, (uint64_t)offset, end);
	fs_inode_put(fs, file);
	return error;
}
