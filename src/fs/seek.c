/* SEEK_DATA and SEEK_HOLE. */
#include "fs/data.h"

#include <errno.h>
#include <unistd.h>

/* The first byte at or after `offset` that is data (or a hole); the end of the file is a hole. Map held shared. */
static int seek_kind(struct fs *fs, struct fs_inode *file, uint64_t offset, bool data, off_t *ret_offset)
{
	uint64_t size = file->media->size;

	if (offset >= size)
		return -ENXIO;
	while (offset < size) {
		struct fs_segment segment;
		int error = fs_segment_at(fs, file, offset, size, &segment);

		if (error != 0)
			return error;
		if ((segment.data != NULL) == data)
			break;
		offset = segment.end;
	}
	if (offset == size && data)
		return -ENXIO;
	*ret_offset = (off_t)offset;
	return 0;
}

off_t fs_lseek(struct fs *fs, uint64_t ino, off_t offset, int whence)
{
	struct fs_inode *file;
	off_t found = 0;
	int error;

	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	if (offset < 0)
		return -ENXIO;
	error = fs_inode_get(fs, ino, &file);
	if (error != 0)
		return error;
	if (S_ISREG(file->type)) {
		lock_rw_take_shared(&file->map);
		error = seek_kind(fs, file, (uint64_t)offset, whence == SEEK_DATA, &found);
		lock_rw_drop(&file->map);
	} else {
		error = fs_inode_is_dir(file) ? -EISDIR : -EINVAL;
	}
	fs_inode_put(fs, file);
	return error != 0 ? error : found;
}
