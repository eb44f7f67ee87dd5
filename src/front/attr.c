/* Attributes of files and of the filesystem. */
#include "front/request.h"

void front_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct front_request request;
	struct stat attr;
	int error;

	(void)fi;
	front_begin(&request, req, FRONT_GETATTR);
	error = fs_getattr(request.front->fs, ino, &attr);
	if (error != 0)
		front_reply_error(&request, error);
	else
		front_reply_attr(&request, &attr);
}

static unsigned set_flags(int to_set)
{
	static const struct {
		int fuse;
		unsigned fs;
	} flags[] = {
		{FUSE_SET_ATTR_MODE, FS_SET_MODE},
		{FUSE_SET_ATTR_UID, FS_SET_UID},
		{FUSE_SET_ATTR_GID, FS_SET_GID},
		{FUSE_SET_ATTR_SIZE, FS_SET_SIZE},
		{FUSE_SET_ATTR_ATIME, FS_SET_ATIME},
		{FUSE_SET_ATTR_MTIME, FS_SET_MTIME},
		{FUSE_SET_ATTR_ATIME_NOW, FS_SET_ATIME_NOW},
		{FUSE_SET_ATTR_MTIME_NOW, FS_SET_MTIME_NOW},
		{FUSE_SET_ATTR_CTIME, FS_SET_CTIME},
		{FUSE_SET_ATTR_KILL_SUID, FS_SET_UNPRIVILEGED}, /* the kernel's FATTR_KILL_SUIDGID: the same bit */
	};
	unsigned valid = 0;

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		if ((to_set & flags[i].fuse) != 0)
			valid |= flags[i].fs;
	}
	return valid;
}

static ssize_t setattr(struct front_waitable *waitable, struct fs_wait *wait)
{
	return fs_setattr(waitable->request.front->fs, waitable->ino, &waitable->changes, wait, &waitable->attr);
}

static void setattr_answer(struct front_waitable *waitable, ssize_t result)
{
	if (result != 0)
		front_reply_error(&waitable->request, (int)result);
	else
		front_reply_attr(&waitable->request, &waitable->attr);
}

/*
 * With its writeback cache the kernel keeps mtime and ctime by itself and sends them as values, those of utime(path,
 * NULL) too. So a new mtime alone cannot be told from its own.
 */
static bool is_of_kernel(unsigned valid)
{
	const unsigned atime = valid & (FS_SET_ATIME | FS_SET_ATIME_NOW);

	return (valid & ~(FS_SET_ATIME | FS_SET_ATIME_NOW)) == (FS_SET_MTIME | FS_SET_CTIME) && atime != FS_SET_ATIME;
}

void front_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct front_waitable waitable = {
		.operate = setattr,
		.answer = setattr_answer,
		.ino = ino,
		.changes = {.valid = set_flags(to_set), .attr = *attr},
	};

	(void)fi;
	front_begin(&waitable.request, req, FRONT_SETATTR);
	waitable.changes.kernel_times =
		waitable.request.front->cache == FRONT_CACHE_WRITEBACK && is_of_kernel(waitable.changes.valid);
	front_run(&waitable);
}

void front_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct front_request request;
	struct statvfs statfs;
	int error;

	(void)ino;
	front_begin(&request, req, FRONT_STATFS);
	error = fs_statfs(request.front->fs, &statfs);
	if (error != 0)
		front_reply_error(&request, error);
	else
		front_reply_statfs(&request, &statfs);
}
