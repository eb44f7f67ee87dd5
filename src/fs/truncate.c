/* Changing a file's size. */
#include "fs/data.h"

#include <assert.h>
#include <errno.h>

struct resize {
	uint64_t size;
	fs_edit *join;
	void *arg;
};

/* The caller's changes come last: they may set mtime. */
static void resize_edit(void *arg, struct fmt_inode *inode)
{
	const struct resize *resize = arg;

	inode->size = resize->size;
	fs_stamp(inode);
	if (resize->join != NULL)
		resize->join(resize->arg, inode);
}

int fs_truncate(struct fs *fs, struct fs_inode *file, uint64_t size, void (*join)(void *arg, struct fmt_inode *inode),
		void *arg, struct fs_wait *wait)
{
	struct resize resize = {.size = size, .join = join, .arg = arg};
	uint64_t old = file->media->size;
	int error;

	assert(lock_held(LOCK_LAYOUT) && lock_held(LOCK_MAP));
	if (size > FMT_FILE_SIZE_MAX)
		return -EFBIG;
	/* The same size, too: it lets go of what was preallocated behind the end. */
	if (size <= old) {
		/* The block that is kept in part, too: its end is zeroed. */
		error = fs_break(fs, file, size >> FMT_BLOCK_SHIFT, UINT64_MAX, PIN_UNMAP, wait);
		return error != 0 ? error : fs_take_out(fs, file, size, UINT64_MAX, resize_edit, &resize);
	}
	/* Who grows the size zeroes the gap behind the old end (D4), pinned or not. */
	error = fs_zero_range(fs, file, old, min_u64(size, align_up(old, FMT_BLOCK_SIZE)));
	if (error != 0)
		return fs_failed(fs, error, "truncate", file->ino);
	return fs_edit_inode(fs, file, resize_edit, &resize, "truncate");
}

/* Layout and map are held. */
static int mend_locked(struct fs *fs, struct fs_inode *file)
{
	uint64_t size = file->media->size;
	uint64_t end = align_up(size, FMT_BLOCK_SIZE);
	bool zero;
	int error = fs_writable(fs);

	if (error == 0)
		error = fs_reads_zero(fs, file, size, end, &zero);
	if (error == 0 && !zero)
		error = fs_zero_idle(fs, file, size, end);
	return error;
}

int fs_mend_tail(struct fs *fs, uint64_t ino)
{
	struct fs_inode *file;
	int error = fs_inode_get(fs, ino, &file);

	if (error == -ESTALE) {
		fs_evict_rest(fs, ino);
		return 0;
	}
	if (error != 0)
		return error == -ENOENT ? 0 : fs_failed(fs, error, "mending the last block", ino);
	if (S_ISREG(file->type)) {
		/* Shared is enough: nobody uses the addresses of what is behind the size, but pins, and these need map.
		 */
		lock_rw_take_shared(&file->layout);
		lock_rw_take_exclusive(&file->map);
		error = mend_locked(fs, file);
		lock_rw_drop(&file->map);
		lock_rw_drop(&file->layout);
	}
	fs_inode_put(fs, file);
	return error == 0 || error == -EROFS ? error : fs_failed(fs, error, "mending the last block", ino);
}
