/* File data: one copy between the request and the persistent memory, none in between. */
#include "front/request.h"

#include "base/arith.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

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
 * Without caches each open file needs FOPEN_DIRECT_IO, so opens are answered; and where inodes may be immutable or
 * append-only, because opens for writing are refused then. Else nothing lives in a handle, and ENOSYS ends the
 * questions: open and close cost no round trip any more. O_TRUNC comes as a setattr, because init clears
 * FUSE_CAP_ATOMIC_O_TRUNC: without that it would vanish.
 *
 * Whoever writes to an append-only file does it past the cache: in the cache, by mmap or after F_SETFL took O_APPEND
 * away, it could change what is there, and see that as done. Not with cache=writeback: there the kernel would never
 * show the new mtime. What it then writes back of what was there is left out (fs_write_back).
 */
void front_open_file(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct front_request request;
	bool append_only;
	int error;

	front_begin(&request, req, FRONT_OPEN);
	if (request.front->no_open) {
		front_reply_error(&request, -ENOSYS);
		return;
	}
	error = fs_may_open(request.front->fs, ino, fi->flags, &append_only);
	if (error != 0) {
		front_reply_error(&request, error);
		return;
	}
	front_file_opened(request.front, fi);
	if (append_only && (fi->flags & O_ACCMODE) != O_RDONLY && request.front->cache == FRONT_CACHE_AUTO) {
		fi->direct_io = 1;
		fi->fh = FRONT_FH_PAST_CACHE;
	}
	front_reply_open(&request, fi);
}

void front_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct front_request request;
	struct fs_read read;
	int error;

	front_begin(&request, req, FRONT_READ);
	error = fs_read_begin(request.front->fs, ino, offset, size, &read);
	if (error != 0) {
		front_reply_error(&request, error);
		return;
	}
	front_stats_bytes(&request.front->stats, FRONT_READ, read.length);
	if ((fi->flags & O_NOATIME) == 0)
		fs_read_seen(request.front->fs, &read);
	if (read.count == 0)
		(void)front_reply_data(&request, NULL, 0);
	else if (front_reply_iov(&request, read.iov, read.count) == -EFAULT)
		fs_read_failed(request.front->fs, &read);
	fs_read_end(request.front->fs, &read);
}

static ssize_t write_once(struct front_waitable *waitable, struct fs_wait *wait)
{
	return fs_write(waitable->request.front->fs, waitable->ino, waitable->data, waitable->length, waitable->offset,
			wait);
}

/* A write whose pages the kernel is asked to drop before it is answered. */
struct front_written {
	struct front_request request;
	size_t length;
};

static void dropped(void *arg)
{
	struct front_written *written = arg;

	front_reply_written(&written->request, written->length);
	free(written);
}

/*
 * Others may have the file open through the cache, and older kernels (before 6.6) leave them the page that the old end
 * was in.
 */
static bool drop_pages(const struct front_waitable *waitable, size_t length)
{
	struct front_written *written = malloc(sizeof(*written));

	if (written == NULL)
		return false;
	*written = (struct front_written){.request = waitable->request, .length = length};
	front_invalidate(waitable->request.front, waitable->ino, (uint64_t)waitable->offset, length, dropped, written);
	return true;
}

static void write_answer(struct front_waitable *waitable, ssize_t result)
{
	if (result < 0) {
		front_reply_error(&waitable->request, (int)result);
		return;
	}
	front_stats_bytes(&waitable->request.front->stats, waitable->request.op, (uint64_t)result);
	if (waitable->past_cache && result > 0 && drop_pages(waitable, (size_t)result))
		return;
	front_reply_written(&waitable->request, (size_t)result);
}

/*
 * The kernel's write-back is never parked: it may be what somebody waits for. In its writeback cache the kernel keeps
 * the times, and sends them by setattr; else what was stored by mmap is a change now.
 */
void front_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct front_waitable waitable = {
		.operate = write_once,
		.answer = write_answer,
		.data = data,
		.length = size,
		.ino = ino,
		.offset = offset,
		/* Asynchronous ones come as any other, but for this. */
		.background = (fi->flags & O_DIRECT) != 0,
		.past_cache = fi->fh == FRONT_FH_PAST_CACHE,
	};
	struct front *front;

	front_begin(&waitable.request, req, FRONT_WRITE);
	front = waitable.request.front;
	if (fi->writepage) {
		write_answer(&waitable,
			     fs_write_back(front->fs, ino, data, size, offset, front->cache == FRONT_CACHE_WRITEBACK));
		return;
	}
	waitable.drops = front_write_drops(front, req, fi);
	front_run(&waitable);
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
	front_reply_error(&request, fs_is_shut_down(request.front->fs) ? -EIO : 0);
}

static ssize_t fallocate_once(struct front_waitable *waitable, struct fs_wait *wait)
{
	return fs_fallocate(waitable->request.front->fs, waitable->ino, waitable->mode, waitable->offset,
			    (off_t)waitable->length, wait);
}

static void fallocate_answer(struct front_waitable *waitable, ssize_t result)
{
	front_reply_error(&waitable->request, (int)result);
}

void front_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *fi)
{
	struct front_waitable waitable = {
		.operate = fallocate_once,
		.answer = fallocate_answer,
		.ino = ino,
		.mode = mode,
		.offset = offset,
		.length = (size_t)length,
	};

	(void)fi;
	front_begin(&waitable.request, req, FRONT_FALLOCATE);
	waitable.drops = front_change_drops(req);
	front_run(&waitable);
}

static ssize_t copy_once(struct front_waitable *waitable, struct fs_wait *wait)
{
	return fs_copy_range(waitable->request.front->fs, waitable->ino_in, waitable->offset_in, waitable->ino,
			     waitable->offset, waitable->length, wait);
}

void front_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t offset_in, struct fuse_file_info *fi_in,
			   fuse_ino_t ino_out, off_t offset_out, struct fuse_file_info *fi_out, size_t length,
			   int flags)
{
	struct front_waitable waitable = {
		.operate = copy_once,
		.answer = write_answer,
		.ino_in = ino_in,
		.offset_in = offset_in,
		.ino = ino_out,
		.offset = offset_out,
		.length = min_u64(length, COPY_MAX),
	};

	(void)fi_in;
	(void)fi_out;
	front_begin(&waitable.request, req, FRONT_COPY_FILE_RANGE);
	waitable.drops = front_change_drops(req);
	if (flags != 0)
		front_reply_error(&waitable.request, -EINVAL);
	else
		front_run(&waitable);
}
