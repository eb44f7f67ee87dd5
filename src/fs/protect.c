/*
 * What the flags immutable and append-only forbid. The kernel does not know them of a FUSE inode: it asks nobody but
 * us. Changes that the filesystem makes by itself (recovery, eviction, intents, holes filled for a pin that reads) are
 * not asked about: nobody sees them.
 *
 * The flags change only with the inode's attribute lock and, of a file, its layout held exclusive: whoever holds
 * either, shared at least, may rely on the answer until it lets go.
 */
#include "fs/protect.h"

#include <errno.h>
#include <fcntl.h>

int fs_may_change(const struct fs_inode *inode, enum fs_change change)
{
	uint32_t flags = inode->media->flags;

	if ((flags & FMT_INODE_IMMUTABLE) != 0)
		return -EPERM;
	return change == FS_CHANGE_ANY && (flags & FMT_INODE_APPEND) != 0 ? -EPERM : 0;
}

int fs_may_write(const struct fs_inode *file, uint64_t offset)
{
	return fs_may_change(file, offset < file->media->size ? FS_CHANGE_ANY : FS_CHANGE_ADD);
}

/* Of an open for writing. */
static int may_open(const struct fs_inode *inode, int flags)
{
	return fs_may_change(inode, (flags & O_APPEND) != 0 ? FS_CHANGE_ADD : FS_CHANGE_ANY);
}

int fs_may_open(struct fs *fs, uint64_t ino, int flags, bool *ret_append_only)
{
	const bool write = (flags & O_ACCMODE) != O_RDONLY;
	struct fs_inode *inode;
	int error = fs_inode_get(fs, ino, &inode);

	if (error != 0)
		return error;
	lock_rw_take_shared(fs_inode_attr_lock(inode));
	if (write)
		error = may_open(inode, flags);
	if (error == 0)
		*ret_append_only = (inode->media->flags & FMT_INODE_APPEND) != 0;
	lock_rw_drop(fs_inode_attr_lock(inode));
	fs_inode_put(fs, inode);
	return error;
}
