/*
 * Writing. An overwrite of what is written already goes in place, beside other readers and writers. All else is a step:
 *
 *   plan     what of the range is mapped, and blocks reserved for the rest       (memory only)
 *   copy     data, and zeros around it in blocks that were not written before; durable
 *   commit   extents, size and times, one transaction
 *
 * data.md argues the order.
 */
#include "fs/data.h"
#include "fs/protect.h"

#include <assert.h>
#include <errno.h>

#define STEP_PIECES 260u /* a step of 1 MiB touches 257 blocks at most */
#define IN_PLACE_SEGMENTS 16u /* an overwrite of more pieces than this takes the long way */

struct piece {
	struct meta_extent extent; /* clipped to the step's blocks */
	bool fresh; /* reserved by this step, not in the file yet */
};

struct step {
	struct fs *fs;
	struct fs_inode *file;
	uint64_t offset; /* bytes */
	uint64_t end; /* exclusive; lowered where space ended */
	bool keep_times;
	bool stored; /* something may have been copied or zeroed */
	bool lost_fresh; /* blocks that were reserved for it turned out to be lost */
	size_t count;
	struct piece piece[STEP_PIECES]; /* in file order, without gaps */
};

static void plan_mapped(struct step *step, const struct meta_extent *extent, uint64_t end, uint64_t *block)
{
	uint64_t skip = *block - extent->file_block;
	uint64_t length = min_u64(extent->length - skip, end - *block);

	step->piece[step->count++] = (struct piece){
		.extent =
			{
				.file_block = *block,
				.phys = extent->phys + skip,
				.length = (uint32_t)length,
				.unwritten = extent->unwritten,
			},
	};
	*block += length;
}

static uint64_t plan_goal(const struct step *step, uint64_t block)
{
	const struct meta_extent *last;

	if (step->count == 0)
		return fs_goal(step->fs, step->file, block);
	last = &step->piece[step->count - 1].extent;
	return last->phys + last->length;
}

/* Reserves blocks for the hole [*block, end), or for the beginning of it. */
static int plan_hole(struct step *step, uint64_t end, uint64_t *block)
{
	struct alloc_run runs[STEP_PIECES];
	unsigned flags = fs_alloc_flags(max_u64(step->file->media->size, step->end));
	size_t count;
	int error;

	error = fs_reserve_blocks(step->fs, end - *block, plan_goal(step, *block), flags, runs,
				  STEP_PIECES - step->count, &count);
	if (error != 0)
		return error;
	for (size_t i = 0; i < count; i++) {
		step->piece[step->count++] = (struct piece){
			.extent = {.file_block = *block, .phys = runs[i].phys, .length = runs[i].length},
			.fresh = true,
		};
		*block += runs[i].length;
	}
	return 0;
}

/* Ends the step after `count` of its pieces and gives back what was reserved for the others. */
static void step_cut(struct step *step, size_t count)
{
	while (step->count > count) {
		const struct piece *piece = &step->piece[--step->count];

		if (piece->fresh)
			fs_free_blocks(step->fs, step->file, &piece->extent);
		step->end = min_u64(step->end, fs_block_byte(piece->extent.file_block));
	}
}

static int step_plan(struct step *step)
{
	uint64_t block = step->offset >> FMT_BLOCK_SHIFT;
	uint64_t end = fs_block_up(step->end);
	int error = 0;

	while (error == 0 && block < end && step->count < STEP_PIECES) {
		struct meta_extent extent;

		error = meta_extent_find(step->fs->meta, step->file->media, block, &extent);
		if (error == 0 && extent.file_block <= block)
			plan_mapped(step, &extent, end, &block);
		else if (error == 0)
			error = plan_hole(step, min_u64(end, extent.file_block), &block);
		else if (error == -ENOENT)
			error = plan_hole(step, end, &block);
	}
	/* Space has ended: what fits is a short write. */
	if (error == -ENOSPC && step->count > 0)
		error = 0;
	if (error != 0) {
		step_cut(step, 0);
		return error;
	}
	step->end = min_u64(step->end, fs_block_byte(block));
	return 0;
}

static void source_copy(struct fs_source *source, const struct region_part *part, unsigned char *dest, size_t length)
{
	while (length > 0) {
		size_t count = min_u64(length, source->iov->iov_len - source->done);

		region_copy(part, dest, (const unsigned char *)source->iov->iov_base + source->done, count);
		dest += count;
		length -= count;
		source->done += count;
		if (source->done == source->iov->iov_len) {
			source->iov++;
			source->done = 0;
		}
	}
}

/*
 * Zeroes what the write does not cover of the piece's first and last block: they hold what their last owner left. But
 * not of a block that somebody has pinned: that was zeroed when it was granted and may hold its stores since; there
 * only the gap behind the old end is zeroed (D4). Map is held exclusive.
 */
static void zero_around(const struct step *step, const struct piece *piece, const struct region_part *part,
			unsigned char *address)
{
	const struct meta_extent *extent = &piece->extent;
	uint64_t from = fs_block_byte(extent->file_block);
	uint64_t to = fs_block_byte(extent->file_block + extent->length);
	uint64_t start = max_u64(from, step->offset);
	uint64_t end = min_u64(to, step->end);
	uint64_t zero = from;

	if (start > from && !piece->fresh && fs_is_counted(step->fs, extent->phys, 1))
		zero = min_u64(start, max_u64(from, step->file->media->size));
	if (start > zero)
		region_zero(part, address + (zero - from), start - zero);
	if (to > end && (piece->fresh || !fs_is_counted(step->fs, extent->phys + extent->length - 1, 1)))
		region_zero(part, address + (end - from), to - end);
}

/* Copies and flushes; *ret_part is where region_drain() makes it durable. */
static int copy_piece(struct step *step, const struct piece *piece, struct fs_source *source,
		      struct region_part **ret_part)
{
	const struct meta_extent *extent = &piece->extent;
	uint64_t from = fs_block_byte(extent->file_block);
	uint64_t to = fs_block_byte(extent->file_block + extent->length);
	uint64_t start = max_u64(from, step->offset);
	uint64_t end = min_u64(to, step->end);
	struct region_part *part;
	unsigned char *address = fs_block_address(step->fs, extent->phys, extent->length, &part);
	int error;

	if (address == NULL)
		return -EUCLEAN;
	*ret_part = part;
	if (fs_is_lost(step->fs, extent->phys, extent->length)) {
		step->lost_fresh = piece->fresh;
		return -EHWPOISON;
	}
	source_copy(source, part, address + (start - from), end - start);
	if (!piece->fresh && !extent->unwritten) {
		error = region_flush(part, address + (start - from), end - start);
	} else {
		zero_around(step, piece, part, address);
		error = region_flush(part, address, to - from);
	}
	error = fs_lost(step->fs, step->file->ino, address, to - from, error);
	if (error == -EHWPOISON && piece->fresh)
		step->lost_fresh = fs_is_lost(step->fs, extent->phys, extent->length);
	return error;
}

static int step_copy(struct step *step, struct fs_source *source)
{
	uint64_t size = step->file->media->size;
	struct region_part *drain = NULL;
	int error = 0;

	/* Who grows the size zeroes the gap behind the old end (D4), pinned or not. */
	if (step->offset > size)
		error = fs_zero_range(step->fs, step->file, size,
				      min_u64(step->offset, align_up(size, FMT_BLOCK_SIZE)));
	for (size_t i = 0; i < step->count && error == 0; i++) {
		struct region_part *part;

		error = copy_piece(step, &step->piece[i], source, &part);
		if (error == 0 && drain != NULL && drain != part)
			region_drain(drain);
		drain = error == 0 ? part : drain;
	}
	if (drain != NULL)
		region_drain(drain);
	return error;
}

static int step_extents(struct step *step, struct meta_tx *tx)
{
	const struct fmt_inode *media = step->file->media;
	int error = 0;

	for (size_t i = 0; i < step->count && error == 0; i++) {
		const struct meta_extent *extent = &step->piece[i].extent;

		if (step->piece[i].fresh)
			error = meta_extent_insert(tx, media, extent);
		else if (extent->unwritten)
			error = meta_extent_mark(tx, media, extent->file_block, extent->length, false);
	}
	return error;
}

/* Overwrites need no space; what adds records may not eat the reserve. */
static unsigned step_flags(const struct step *step)
{
	for (size_t i = 0; i < step->count; i++) {
		if (step->piece[i].fresh || step->piece[i].extent.unwritten)
			return 0;
	}
	return META_TX_RESERVE;
}

static int step_commit(struct step *step)
{
	struct fmt_inode *inode;
	struct meta_tx *tx;
	int error;

	error = meta_begin(step->fs->meta, step_flags(step), &tx);
	if (error != 0)
		return error;
	error = step_extents(step, tx);
	if (error == 0)
		error = meta_inode_edit(tx, step->file->media, &inode);
	if (error != 0) {
		meta_abort(tx);
		return error;
	}
	inode->size = max_u64(inode->size, step->end);
	if (!step->keep_times)
		fs_stamp(inode);
	return meta_commit(tx);
}

static int step_run(struct step *step, struct fs_source *source)
{
	int error = step_plan(step);

	if (error != 0)
		return error;
	step->stored = true;
	error = step_copy(step, source);
	/* I: data before metadata: everything that the transaction makes visible is durable. */
	if (error == 0)
		error = step_commit(step);
	if (error != 0)
		step_cut(step, 0);
	return error;
}

int fs_write_step(struct fs *fs, struct fs_inode *file, struct fs_source *source, uint64_t offset, uint64_t end,
		  bool keep_times, uint64_t *ret_end)
{
	uint64_t size = file->media->size;
	struct step step;
	bool stored = false;
	unsigned tries = 0;
	int error;

	assert(lock_held(LOCK_LAYOUT) && lock_held(LOCK_MAP));
	assert(end - offset <= FS_STEP_BYTES && end <= FMT_FILE_SIZE_MAX);
	do {
		struct fs_source from = *source;

		step = (struct step){.fs = fs, .file = file, .offset = offset, .end = end, .keep_times = keep_times};
		error = step_run(&step, &from);
		stored = stored || step.stored;
		/* The reserved blocks that are lost are known now: others. */
	} while (error == -EHWPOISON && step.lost_fresh && ++tries < FS_LOST_TRIES);
	if (error == 0) {
		*ret_end = step.end;
		return 0;
	}
	/* The size stays: what was stored behind it in its block is zeros again; a holder of it had it overwritten
	 * before. */
	if (stored && fs_zero_range(fs, file, size, min_u64(end, align_up(size, FMT_BLOCK_SIZE))) != 0)
		fs_failed(fs, -EIO, "write", file->ino);
	return error == -EHWPOISON ? error : fs_failed(fs, error, "write", file->ino);
}

/* The pieces of memory behind [offset, end) if all of it is written and inside the size. Map held shared. */
static int find_in_place(struct fs *fs, struct fs_inode *file, uint64_t offset, uint64_t end,
			 struct fs_segment segments[IN_PLACE_SEGMENTS], size_t *ret_count)
{
	size_t count = 0;

	*ret_count = 0;
	if (end > file->media->size)
		return 0;
	while (offset < end) {
		int error;

		if (count == IN_PLACE_SEGMENTS)
			return 0;
		error = fs_segment_at(fs, file, offset, end, &segments[count]);
		if (error != 0)
			return error;
		if (segments[count].data == NULL)
			return 0;
		offset = segments[count++].end;
	}
	*ret_count = count;
	return 0;
}

/* Copies to where find_in_place() pointed; durable. Layout held shared. */
static int copy_in_place(struct fs *fs, const struct fs_inode *file, const struct fs_segment *segments, size_t count,
			 const unsigned char *data)
{
	int error = 0;

	for (size_t i = 0; i < count && error == 0; i++) {
		const struct fs_segment *segment = &segments[i];
		size_t length = segment->end - segment->start;

		error = fs_lost_check(fs, segment->data, length);
		if (error != 0)
			break;
		region_copy(segment->part, segment->data, data, length);
		error = fs_lost(fs, file->ino, segment->data, length,
				region_flush(segment->part, segment->data, length));
		if (i + 1 == count || segments[i + 1].part != segment->part)
			region_drain(segment->part);
		data += length;
	}
	return error;
}

/* Overwrites in place; *ret_done tells if it was possible. Layout held shared, map not held. */
static int write_in_place(struct fs *fs, struct fs_inode *file, const unsigned char *data, uint64_t offset,
			  uint64_t end, bool keep_times, bool *ret_done)
{
	struct fs_segment segments[IN_PLACE_SEGMENTS];
	size_t count;
	int error;

	lock_rw_take_shared(&file->map);
	error = find_in_place(fs, file, offset, end, segments, &count);
	lock_rw_drop(&file->map);
	if (error == 0)
		error = copy_in_place(fs, file, segments, count, data);
	if (error == 0 && count > 0 && !keep_times)
		error = fs_touch(fs, file);
	if (error != 0)
		return error == -EHWPOISON ? error : fs_failed(fs, error, "write", file->ino);
	*ret_done = count > 0;
	return 0;
}

/* One step of a write, by the short way or the long one. Layout held shared. -EHWPOISON: the file has lost blocks
 * there. */
static int write_some(struct fs *fs, struct fs_inode *file, const unsigned char *data, uint64_t offset, uint64_t end,
		      bool keep_times, uint64_t *ret_end)
{
	struct iovec iov = {.iov_base = (void *)data, .iov_len = end - offset};
	struct fs_source source = {.iov = &iov};
	bool done = false;
	int error = 0;

	/* Layout is held: the flags stay. Where nothing may be overwritten the size decides, under the map lock. */
	if (fs_may_change(file, FS_CHANGE_ANY) == 0)
		error = write_in_place(fs, file, data, offset, end, keep_times, &done);
	if (error != 0)
		return error;
	if (done) {
		*ret_end = end;
		return 0;
	}
	lock_rw_take_exclusive(&file->map);
	error = fs_may_write(file, offset);
	if (error == 0)
		error = fs_write_step(fs, file, &source, offset, end, keep_times, ret_end);
	lock_rw_drop(&file->map);
	return error;
}

/* Who writes. */
struct writer {
	bool kernel; /* its write-back: never waits */
	bool keep_times; /* it keeps them by itself */
	struct fs_wait *wait; /* else: may be NULL */
};

/* Exclusive pins in the way. Layout held shared: none is granted meanwhile. */
static int write_break(struct fs *fs, struct fs_inode *file, uint64_t offset, uint64_t end, const struct writer *writer)
{
	uint64_t first = offset >> FMT_BLOCK_SHIFT;
	uint64_t last = fs_block_up(end);

	if (!writer->kernel)
		return fs_break(fs, file, first, last, PIN_WRITE, writer->wait);
	return pin_any_exclusive(fs->pins) && pin_conflict(fs->pins, file->ino, first, last) ? -EIO : 0;
}

/*
 * The kernel that keeps writes writes back whole pages, that of an append too: of an append-only file what is there
 * already stays as it is, and only what is behind the end is taken. Layout held shared.
 */
static void skip_written(struct fs_inode *file, uint64_t *position, uint64_t end)
{
	if (fs_may_change(file, FS_CHANGE_ADD) != 0 || fs_may_change(file, FS_CHANGE_ANY) == 0)
		return;
	lock_rw_take_shared(&file->map);
	*position = min_u64(end, max_u64(*position, file->media->size));
	lock_rw_drop(&file->map);
}

/* The write has met lost blocks of the file. Layout is held shared, but let go meanwhile. 0: to be tried again. */
static int write_replaces(struct fs *fs, struct fs_inode *file, const unsigned char *data, uint64_t offset,
			  uint64_t end)
{
	int error;

	lock_rw_drop(&file->layout);
	lock_rw_take_exclusive(&file->layout);
	lock_rw_take_exclusive(&file->map);
	error = fs_writable(fs);
	if (error == 0)
		error = fs_replace_lost(fs, file, data, offset, end);
	lock_rw_drop(&file->map);
	lock_rw_drop(&file->layout);
	lock_rw_take_shared(&file->layout);
	return error == 0 ? fs_writable(fs) : error;
}

static ssize_t write_file(struct fs *fs, struct fs_inode *file, const unsigned char *data, size_t size, uint64_t offset,
			  const struct writer *writer)
{
	struct writer again = *writer;
	unsigned tries = 0;
	uint64_t position = offset;
	uint64_t end = offset + size;
	int error;

	lock_rw_take_shared(&file->layout);
	/* Again under the lock: an intent of this file may have failed while we waited. */
	error = fs_writable(fs);
	if (error == 0)
		error = write_break(fs, file, offset, end, writer);
	if (error == 0 && writer->keep_times)
		skip_written(file, &position, end);
	while (position < end && error == 0) {
		const uint64_t step = min_u64(end, position + FS_STEP_BYTES);

		error = write_some(fs, file, data + (position - offset), position, step, writer->keep_times, &position);
		if (error == -EHWPOISON && tries++ < FS_LOST_TRIES)
			error = write_replaces(fs, file, data + (position - offset), position, step);
		else
			continue;
		/* All was let go: once more, as at the beginning; but what is written cannot be parked any more. */
		again.wait = position > offset ? NULL : writer->wait;
		if (error == 0)
			error = write_break(fs, file, position, end, &again);
	}
	lock_rw_drop(&file->layout);
	error = error == -EHWPOISON ? -EIO : error;
	return position > offset ? (ssize_t)(position - offset) : error;
}

static ssize_t write_number(struct fs *fs, uint64_t ino, const void *data, size_t size, off_t offset,
			    const struct writer *writer)
{
	struct fs_inode *file;
	ssize_t result;
	int error;

	error = fs_writable(fs);
	if (error != 0)
		return error;
	if (offset < 0)
		return -EINVAL;
	error = fs_inode_get(fs, ino, &file);
	if (error != 0)
		return error;
	if (!S_ISREG(file->type))
		result = fs_inode_is_dir(file) ? -EISDIR : -EINVAL;
	else if (size == 0)
		result = 0;
	else if (offset == FMT_FILE_SIZE_MAX)
		result = -EFBIG;
	else
		result = write_file(fs, file, data, min_u64(size, (uint64_t)(FMT_FILE_SIZE_MAX - offset)),
				    (uint64_t)offset, writer);
	fs_inode_put(fs, file);
	return result;
}

ssize_t fs_write(struct fs *fs, uint64_t ino, const void *data, size_t size, off_t offset, struct fs_wait *wait)
{
	const struct writer writer = {.wait = wait};

	return fs_break_end(fs, wait, write_number(fs, ino, data, size, offset, &writer));
}

ssize_t fs_write_back(struct fs *fs, uint64_t ino, const void *data, size_t size, off_t offset, bool keep_times)
{
	const struct writer writer = {.kernel = true, .keep_times = keep_times};

	return write_number(fs, ino, data, size, offset, &writer);
}
