/* Small changes of an inode alone: times, and edits that need no extents; the policy of access times. */
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

/* ---- Times of access ---- */

#define DAY_SECONDS (24 * 60 * 60)

void fs_set_atime(struct fs *fs, unsigned flags)
{
	atomic_store(&fs->atime, flags);
}

unsigned fs_get_atime(const struct fs *fs)
{
	return atomic_load(&fs->atime);
}

/* The access time of `media` is not later than a change at that time. */
static bool accessed_before(const struct fmt_inode *media, int64_t seconds, uint32_t nsec)
{
	return media->atime < seconds || (media->atime == seconds && media->atime_nsec <= nsec);
}

bool fs_access_due(struct fs *fs, const struct fs_inode *inode)
{
	const unsigned flags = atomic_load_explicit(&fs->atime, memory_order_relaxed);
	const struct fmt_inode *media = inode->media;
	struct timespec now;

	if ((flags & (FS_ATIME_FILES | FS_ATIME_PAUSED)) != FS_ATIME_FILES ||
	    (fs_inode_is_dir(inode) && (flags & FS_ATIME_DIRECTORIES) == 0) ||
	    (media->flags & FMT_INODE_NOATIME) != 0 || fs_writable(fs) != 0)
		return false;
	now = fs_now();
	if ((flags & FS_ATIME_STRICT) != 0)
		return media->atime != now.tv_sec || media->atime_nsec != (uint32_t)now.tv_nsec;
	return accessed_before(media, media->mtime, media->mtime_nsec) ||
	       accessed_before(media, media->ctime, media->ctime_nsec) || media->atime <= now.tv_sec - DAY_SECONDS;
}

static void access_edit(void *arg, struct fmt_inode *inode)
{
	struct timespec now = fs_now();

	(void)arg;
	inode->atime = now.tv_sec;
	inode->atime_nsec = (uint32_t)now.tv_nsec;
}

void fs_accessed(struct fs *fs, struct fs_inode *inode)
{
	struct lock_rw *lock = fs_inode_attr_lock(inode);

	lock_rw_take_exclusive(lock);
	/* Again: of many that read at a time one has done it. */
	if (fs_access_due(fs, inode))
		(void)fs_edit_inode(fs, inode, access_edit, NULL, "writing the time of access");
	lock_rw_drop(lock);
}
