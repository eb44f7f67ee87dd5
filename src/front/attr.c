/* Attributes of files and of the filesystem. */
#include "front/request.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

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

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 18)
static struct statx_timestamp timestamp(const struct timespec *time)
{
	return (struct statx_timestamp){.tv_sec = time->tv_sec, .tv_nsec = (uint32_t)time->tv_nsec};
}

static struct statx to_statx(const struct fs_statx *from)
{
	const struct stat *attr = &from->attr;

	return (struct statx){
		.stx_mask = STATX_BASIC_STATS | STATX_BTIME,
		.stx_blksize = (uint32_t)attr->st_blksize,
		.stx_nlink = (uint32_t)attr->st_nlink,
		.stx_uid = attr->st_uid,
		.stx_gid = attr->st_gid,
		.stx_mode = (uint16_t)attr->st_mode,
		.stx_ino = attr->st_ino,
		.stx_size = (uint64_t)attr->st_size,
		.stx_blocks = (uint64_t)attr->st_blocks,
		.stx_atime = timestamp(&attr->st_atim),
		.stx_btime = timestamp(&from->btime),
		.stx_ctime = timestamp(&attr->st_ctim),
		.stx_mtime = timestamp(&attr->st_mtim),
		.stx_rdev_major = major(attr->st_rdev),
		.stx_rdev_minor = minor(attr->st_rdev),
	};
}

/* The kernel asks so if somebody wants the time of birth, and remembers that; else it asks by getattr. */
void front_statx(fuse_req_t req, fuse_ino_t ino, int flags, int mask, struct fuse_file_info *fi)
{
	struct front_request request;
	struct fs_statx found;
	struct statx attr;
	int error;

	(void)flags;
	(void)mask;
	(void)fi;
	front_begin(&request, req, FRONT_STATX);
	error = fs_statx(request.front->fs, ino, &found);
	if (error != 0) {
		front_reply_error(&request, error);
		return;
	}
	attr = to_statx(&found);
	front_reply_statx(&request, &attr);
}
#endif

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
	if ((waitable.changes.valid & FS_SET_SIZE) != 0)
		waitable.drops = front_truncate_drops(&waitable.request, &waitable.changes);
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
