/* fallocate(2): preallocation (fill.c), hole punching (intent.c), zeroing of ranges (zero_range.c). */
#include "fs/fill.h"
#include "fs/protect.h"

#include <errno.h>
#include <linux/falloc.h>

void fs_grow_edit(void *arg, struct fmt_inode *inode)
{
	inode->size = max_u64(inode->size, *(const uint64_t *)arg);
	fs_stamp(inode);
}

static void stamp_edit(void *arg, struct fmt_inode *inode)
{
	(void)arg;
	fs_stamp(inode);
}

int fs_zero_gap(struct fs *fs, struct fs_inode *file, uint64_t size)
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
	int error = fs_zero_gap(fs, file, size);

	return error != 0 ? error
			  : fs_fill_holes(fs, file, start >> FMT_BLOCK_SHIFT, fs_block_up(end), fs_grow_edit, &size);
}

static int punch_hole(struct fs *fs, struct fs_inode *file, uint64_t start, uint64_t end)
{
	return start < end ? fs_take_out(fs, file, start, end, stamp_edit, NULL) : 0;
}

/* Breaks nothing: blocks are added, and who grows the size zeroes the gap, pinned or not. */
static int add_blocks(struct fs *fs, struct fs_inode *file, uint64_t start, uint64_t end, uint64_t size)
{
	/* Under the lock: an intent of this file may have failed while we waited. */
	int error = fs_writable(fs);

	if (error == 0)
		error = fs_may_change(file, FS_CHANGE_ADD);
	return error != 0 ? error : allocate_range(fs, file, start, end, size);
}

/* Layout and map are held exclusive. */
static int take_blocks(struct fs *fs, struct fs_inode *file, int mode, uint64_t start, uint64_t end, uint64_t size,
		       struct fs_wait *wait)
{
	bool punch = (mode & FALLOC_FL_PUNCH_HOLE) != 0;
	int error = fs_writable(fs);

	/* Behind the end the last block holds zeros: a punch up to the end takes that block as a whole. */
	if (punch && end >= file->media->size)
		end = max_u64(end, align_up(file->media->size, FMT_BLOCK_SIZE));
	if (error == 0)
		error = fs_may_change(file, FS_CHANGE_ANY);
	if (error == 0)
		error = fs_break(fs, file, start >> FMT_BLOCK_SHIFT, fs_block_up(end), PIN_UNMAP, wait);
	if (error != 0)
		return error;
	return punch ? punch_hole(fs, file, start, end) : fs_zero_blocks(fs, file, start, end, size);
}

static int fallocate_file(struct fs *fs, struct fs_inode *file, int mode, uint64_t start, uint64_t end,
			  struct fs_wait *wait)
{
	/* Adding blocks moves none: only what takes out or zeroes needs the layout for itself. */
	bool takes = (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0;
	uint64_t size = mode & FALLOC_FL_KEEP_SIZE ? 0 : end;
	int error;

	if (!S_ISREG(file->type))
		return fs_inode_is_dir(file) ? -EISDIR : -ENODEV;
	if (takes)
		lock_rw_take_exclusive(&file->layout);
	else
		lock_rw_take_shared(&file->layout);
	lock_rw_take_exclusive(&file->map);
	if (takes)
		error = take_blocks(fs, file, mode, start, end, size, wait);
	else
		error = add_blocks(fs, file, start, end, size);
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

static int fallocate_number(struct fs *fs, uint64_t ino, int mode, off_t offset, off_t length, struct fs_wait *wait)
{
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
	error = fallocate_file(fs, file, mode, (uint64_t)offset, end, wait);
	fs_inode_put(fs, file);
	return error;
}

int fs_fallocate(struct fs *fs, uint64_t ino, int mode, off_t offset, off_t length, struct fs_wait *wait)
{
	return (int)fs_break_end(fs, wait, fallocate_number(fs, ino, mode, offset, length, wait));
}
