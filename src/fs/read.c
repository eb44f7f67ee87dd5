/* Reading: straight from the mapped parts. */
#include "fs/data.h"

#include <errno.h>

int fs_read_begin(struct fs *fs, uint64_t ino, off_t offset, size_t size, struct fs_read *ret_read)
{
	struct fs_inode *file;
	size_t count = 0;
	size_t length = 0;
	uint64_t start = (uint64_t)offset;
	uint64_t end;
	int error;

	if (offset < 0)
		return -EINVAL;
	error = fs_inode_get(fs, ino, &file);
	if (error != 0)
		return error;
	if (!S_ISREG(file->type)) {
		error = fs_inode_is_dir(file) ? -EISDIR : -EINVAL;
		goto put;
	}
	lock_rw_take_shared(&file->layout);
	lock_rw_take_shared(&file->map);
	end = file->media->size;
	if (end > start && end - start > size)
		end = start + size;
	if (end > start)
		error = fs_gather(fs, file, start, end, ret_read->iov, FS_READ_IOV, &count, &length);
	/* All of it: a short answer would be taken for the end of the file. */
	if (error == 0 && fs_lost_check_iov(fs, ret_read->iov, count) != 0)
		error = -EIO;
	ret_read->unseen = fs_access_due(fs, file);
	/* What is mapped stays mapped, and at its place, while layout is held: the extents need no lock any more. */
	lock_rw_drop(&file->map);
	if (error != 0)
		goto unlock;
	ret_read->inode = file;
	ret_read->count = (int)count;
	ret_read->length = length;
	return 0;
unlock:
	lock_rw_drop(&file->layout);
put:
	fs_inode_put(fs, file);
	return error;
}

void fs_read_seen(struct fs *fs, const struct fs_read *read)
{
	if (read->unseen)
		fs_accessed(fs, read->inode);
}

void fs_read_end(struct fs *fs, struct fs_read *read)
{
	lock_rw_drop(&read->inode->layout);
	fs_inode_put(fs, read->inode);
}
