/* File data: one copy between the request and the persistent memory, none in between. */
#include "front/request.h"

#include "base/arith.h"

#include <errno.h>
#include <sys/stat.h>

/*
 * Bytes that one request copies at most; callers go on. The answer's count has 32 bits, and no signal ends a request
 * that is being answered.
 */
#define COPY_MAX (128u << 20)

/* How the kernel shall treat an open file. */
void front_file_opened(const struct front *front, struct fuse_file_info *fi)
{
	fi->fh = 0;
	if (front->cache == FRONT_CACHE_NONE)
		fi->direct_io = 1;
	else
		fi->keep_cache = 1;
	fi->noflush = 1; /* close(2) has nothing to wait for, and older kernels would lock the inode to ask */
}

/*
 * Without caches each open file needs FOPEN_DIRECT_IO, so opens are answered. With them nothing lives in a handle, and
 * ENOSYS ends the questions: open and close cost no round trip any more. O_TRUNC comes as a setattr, because init
 * clears FUSE_CAP_ATOMIC_O_TRUNC: without that it would vanish.
 */
void front_open_file(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct front_request request;

	(void)ino;
	front_begin(&request, req, FRONT_OPEN);
	if (request.front->no_open) {
		front_reply_error(&request, -ENOSYS);
		return;
	}
	front_file_opened(request.front, fi);
	front_reply_open(&request, fi);
}

void front_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct front_request request;
	struct fs_read read;
	int error;

	(void)fi;
	front_begin(&request, req, FRONT_READ);
	error = fs_read_begin(request.front->fs, ino, offset, size, &read);
	if (error != 0) {
		front_reply_error(&request, error);
		return;
	}
	front_stats_bytes(&request.front->stats, FRONT_READ, read.length);
	if (read.count == 0)
		(void)front_reply_data(&request, NULL, 0);
	else
		front_reply_iov(&request, read.iov, read.count);
	fs_read_end(request.front->fs, &read);
}

/*
 * A write takes setuid, setgid and file capabilities away. The kernel sees to that, by getxattr and setattr, wherever
 * it writes through its cache; past the cache (FOPEN_DIRECT_IO) it leaves it to us. uid 0 stands for CAP_FSETID.
 */
static int drop_privileges(struct front *front, fuse_ino_t ino)
{
	struct fs_setattr changes = {.valid = FS_SET_MODE};
	struct stat attr;
	bool changed = false;
	int error;

	error = fs_getattr(front->fs, ino, &attr);
	if (error != 0)
		return error;
	changes.attr.st_mode = attr.st_mode & ~(mode_t)S_ISUID;
	if ((attr.st_mode & S_IXGRP) != 0)
		changes.attr.st_mode &= ~(mode_t)S_ISGID;
	if (changes.attr.st_mode != attr.st_mode) {
		error = fs_setattr(front->fs, ino, &changes, NULL, &attr);
		changed = true;
	}
	if (error == 0 && fs_getxattr(front->fs, ino, "security.capability", NULL, 0) > 0) {
		error = fs_removexattr(front->fs, ino, "security.capability");
		changed = true;
	}
	/* Offset -1 drops the kernel's copy of the attributes and takes no lock of the inode. */
	if (error == 0 && changed)
		(void)fuse_lowlevel_notify_inval_inode(front->session, ino, -1, 0);
	return error;
}

void front_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct front_request request;
	ssize_t written;
	int error = 0;

	(void)fi;
	front_begin(&request, req, FRONT_WRITE);
	if (request.front->cache == FRONT_CACHE_NONE && fuse_req_ctx(req)->uid != 0)
		error = drop_privileges(request.front, ino);
	if (error != 0) {
		front_reply_error(&request, error);
		return;
	}
	/* In its writeback cache the kernel keeps the times, and sends them by setattr. */
	if (request.front->cache == FRONT_CACHE_WRITEBACK && fi->writepage)
		written = fs_write_back(request.front->fs, ino, data, size, offset);
	else
		written = fs_write(request.front->fs, ino, data, size, offset, NULL);
	if (written < 0) {
		front_reply_error(&request, (int)written);
		return;
	}
	front_stats_bytes(&request.front->stats, FRONT_WRITE, (uint64_t)written);
	front_reply_written(&request, (size_t)written);
}

/*
 * A write is durable when it is answered, and the kernel has written back its dirty pages before it asks. Not ENOSYS:
 * the kernel would never ask again, and an fsync after the daemon's death would succeed although that write-back
 * failed.
 */
void front_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct front_request request;

	(void)ino;
	(void)datasync;
	(void)fi;
	front_begin(&request, req, FRONT_FSYNC);
	front_reply_error(&request, 0);
}

void front_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *fi)
{
	struct front_request request;

	(void)fi;
	front_begin(&request, req, FRONT_FALLOCATE);
	front_reply_error(&request, fs_fallocate(request.front->fs, ino, mode, offset, length, NULL));
}

void front_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t offset_in, struct fuse_file_info *fi_in,
			   fuse_ino_t ino_out, off_t offset_out, struct fuse_file_info *fi_out, size_t length,
			   int flags)
{
	struct front_request request;
	ssize_t copied;

	(void)fi_in;
	(void)fi_out;
	front_begin(&request, req, FRONT_COPY_FILE_RANGE);
	if (flags != 0)
		copied = -EINVAL;
	else
		copied = fs_copy_range(request.front->fs, ino_in, offset_in, ino_out, offset_out,
				       min_u64(length, COPY_MAX), NULL);
	if (copied < 0) {
		front_reply_error(&request, (int)copied);
		return;
	}
	front_stats_bytes(&request.front->stats, FRONT_COPY_FILE_RANGE, (uint64_t)copied);
	front_reply_written(&request, (size_t)copied);
}
