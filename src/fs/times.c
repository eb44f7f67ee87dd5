/* Small changes of an inode alone: times, and edits that need no extents. */
#include "fs/data.h"

#include <assert.h>

void fs_stamp(struct fmt_inode *inode)
{
	struct timespec now = fs_now();

	fs_touch_mtime(inode, &now);
	fs_touch_ctime(inode, &now);
}

int fs_edit_inode(struct fs *fs, struct fs_inode *file, fs_edit *edit, void *arg, const char *operation)
{
	struct fmt_inode *inode;
	struct meta_tx *tx;
	int error;

	error = meta_begin(fs->meta, META_TX_RESERVE, &tx);
	if (error != 0)
		return fs_failed(fs, error, operation, file->ino);
	error = meta_inode_edit(tx, file->media, &inode);
	if (error != 0) {
		meta_abort(tx);
		return fs_failed(fs, error, operation, file->ino);
	}
	edit(arg, inode);
	error = meta_commit(tx);
	return error == 0 ? 0 : fs_failed(fs, error, operation, file->ino);
}

static bool is_stamped(const struct fmt_inode *media)
{
	struct timespec now = fs_now();

	return fs_time_stands(media->mtime, media->mtime_nsec, &now) &&
	       fs_time_stands(media->ctime, media->ctime_nsec, &now);
}

static void stamp_edit(void *arg, struct fmt_inode *inode)
{
	(void)arg;
	fs_stamp(inode);
}

int fs_touch(struct fs *fs, struct fs_inode *file)
{
	bool stamped;
	int error;

	lock_rw_take_shared(&file->map);
	stamped = is_stamped(file->media);
	lock_rw_drop(&file->map);
	if (stamped)
		return 0;
	lock_rw_take_exclusive(&file->map);
	error = fs_edit_inode(fs, file, stamp_edit, NULL, "writing times");
	lock_rw_drop(&file->map);
	return error;
}
