/*
 * Having the kernel write back what it holds dirty (stored by mmap, or with cache=writeback): it answers an
 * invalidation after its WRITE requests have been answered. By the workers, so it is not sent by one of them.
 *
 * SEEK_DATA and SEEK_HOLE need it: the kernel asks for them without writing back first; where the daemon knows of a
 * hole there may be data, and a copy that trusts the answer loses it. And the end of the daemon needs it: syncfs(2) on
 * a FUSE mount starts the writing and does not wait for it.
 */
#include "front/request.h"

#include <errno.h>
#include <stdlib.h>

/* ---- lseek ---- */

struct front_seek {
	struct front_request request;
	fuse_ino_t ino;
	off_t offset;
	int whence;
};

static void answer(struct front_request *request, fuse_ino_t ino, off_t offset, int whence)
{
	off_t found = fs_lseek(request->front->fs, ino, offset, whence);

	if (found < 0)
		front_reply_error(request, (int)found);
	else
		front_reply_offset(request, found);
}

/* At the end it was not asked for, and whoever still waits has lost the mount. */
static void seek(void *arg)
{
	struct front_seek *seek = arg;

	if (seek->request.front->upcalls.stopping)
		front_reply_error(&seek->request, -ENOTCONN);
	else
		answer(&seek->request, seek->ino, seek->offset, seek->whence);
	free(seek);
}

void front_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
	struct front_request request;
	struct front_seek *task;

	(void)fi;
	front_begin(&request, req, FRONT_LSEEK);
	if (!front_has_pages(request.front) || offset < 0) {
		answer(&request, ino, offset, whence);
		return;
	}
	task = malloc(sizeof(*task));
	if (task == NULL) {
		front_reply_error(&request, -ENOMEM);
		return;
	}
	*task = (struct front_seek){.request = request, .ino = ino, .offset = offset, .whence = whence};
	front_invalidate(request.front, ino, (uint64_t)offset, 0, seek, task);
}

/* ---- Before the end ---- */

static int invalidate_file(void *arg, uint64_t ino)
{
	struct front *front = arg;

	(void)fuse_lowlevel_notify_inval_inode(front->session, ino, 0, 0);
	return front->cleaner.stopping ? -ECANCELED : 0;
}

/*
 * Once it is stopping the thread may have been given up (front_cleaner_stop) and the filesystem closed: it is not
 * touched any more.
 */
static void *write_back_everything(void *arg)
{
	struct front *front = arg;

	if (fs_visit_known_files(front->fs, invalidate_file, front) != 0)
		log_warning("%s: cached data may not have been written back", front->mountpoint);
	atomic_store(&front->cleaner.written_back, true);
	if (front->cleaner.then != NULL)
		front->cleaner.then(front->cleaner.then_arg);
	return NULL;
}

int front_write_back_then(struct front *front, void (*then)(void *arg), void *arg)
{
	int error;

	if (atomic_exchange(&front->cleaner.claimed, true))
		return -EBUSY;
	front->cleaner.then = then;
	front->cleaner.then_arg = arg;
	atomic_store(&front->cleaner.written_back, false);
	error = pthread_create(&front->cleaner.thread, NULL, write_back_everything, front);
	front->cleaner.started = error == 0;
	return -error;
}

bool front_written_back(const struct front *front)
{
	return atomic_load(&front->cleaner.written_back);
}

int front_write_back(struct front *front)
{
	/* There is nothing to be had any more: writes are answered with EIO. */
	if (fs_is_shut_down(front->fs)) {
		atomic_store(&front->cleaner.written_back, true);
		return 0;
	}
	return front_write_back_then(front, NULL, NULL);
}

#define STOP_SECONDS 5

bool front_cleaner_stop(struct front_cleaner *cleaner)
{
	struct timespec end;

	if (!cleaner->started)
		return true;
	atomic_store(&cleaner->stopping, true);
	/* An invalidation under way may wait for writes that no worker takes any more: it ends with the process. */
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += STOP_SECONDS;
	return pthread_timedjoin_np(cleaner->thread, NULL, &end) == 0;
}
