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
		void *arg)
{
	struct resize resize = {.size = size, .join = join, .arg = arg};
	uint64_t old = file->media->size;
	int error;

	assert(lock_held(LOCK_LAYOUT) && lock_held(LOCK_MAP));
	if (size > FMT_FILE_SIZE_MAX)
		return -EFBIG;
	/* The same size, too: it lets go of what was preallocated behind the end. */
	if (size <= old)
		return fs_take_out(fs, file, size, UINT64_MAX, resize_edit, &resize);
	/* Who grows the size zeroes the gap behind the old end. */
	error = fs_zero_range(fs, file, old, min_u64(size, align_up(old, FMT_BLOCK_SIZE)));
	if (error != 0)
		return fs_failed(fs, error, "truncate", file->ino);
	return fs_edit_inode(fs, file, resize_edit, &resize, "truncate");
}
