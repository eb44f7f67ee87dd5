/*
 * Having the kernel write back what it holds dirty (stored by mmap, or with cache=writeback), by invalidations: the
 * kernel answers one after its WRITE requests have been answered. By the workers, so it is not sent by one of them: one
 * thread does nothing else, with no lock held, and nothing waits for it but those who asked.
 *
 * SEEK_DATA and SEEK_HOLE need it: the kernel asks for them without writing back first; where the daemon knows of a
 * hole there may be data, and a copy that trusts the answer loses it. And the end of the daemon needs it: syncfs(2) on
 * a FUSE mount starts the writing and does not wait for it.
 */
#include "front/request.h"

#include <errno.h>
#include <stdlib.h>

struct front_task {
	struct front_task *next;
	struct front_request request;
	fuse_ino_t ino;
	off_t offset;
	int whence;
	struct front *everything; /* not a request: all known files are to be written back */
};

static void answer(struct front_request *request, fuse_ino_t ino, off_t offset, int whence)
{
	off_t found = fs_lseek(request->front->fs, ino, offset, whence);

	if (found < 0)
		front_reply_error(request, (int)found);
	else
		front_reply_offset(request, found);
}

static struct front_task *take(struct front_cleaner *cleaner)
{
	struct front_task *task;

	pthread_mutex_lock(&cleaner->lock);
	while (cleaner->first == NULL && !cleaner->stopping)
		pthread_cond_wait(&cleaner->wake, &cleaner->lock);
	task = cleaner->first;
	if (task != NULL)
		cleaner->first = task->next;
	pthread_mutex_unlock(&cleaner->lock);
	return task;
}

static int invalidate_file(void *arg, uint64_t ino)
{
	struct front *front = arg;

	(void)fuse_lowlevel_notify_inval_inode(front->session, ino, 0, 0);
	return front->cleaner.stopping ? -ECANCELED : 0;
}

static void write_back_everything(struct front *front)
{
	if (fs_visit_known_files(front->fs, invalidate_file, front) != 0)
		log_warning("%s: cached data may not have been written back", front->mountpoint);
	atomic_store(&front->cleaner.written_back, true);
}

/*
 * Once it is stopping the thread may have been given up (front_cleaner_stop) and the filesystem closed: it is not
 * touched any more, and whoever still asks has lost the mount.
 */
static void seek(struct front_cleaner *cleaner, struct front_task *task)
{
	/* Fails if the kernel has nothing of the file. */
	if (!cleaner->stopping && task->offset >= 0)
		(void)fuse_lowlevel_notify_inval_inode(task->request.front->session, task->ino, task->offset, 0);
	if (cleaner->stopping)
		front_reply_error(&task->request, -ENOTCONN);
	else
		answer(&task->request, task->ino, task->offset, task->whence);
}

static void *serve(void *arg)
{
	struct front_cleaner *cleaner = arg;
	struct front_task *task;

	while ((task = take(cleaner)) != NULL) {
		if (task->everything == NULL)
			seek(cleaner, task);
		else if (!cleaner->stopping)
			write_back_everything(task->everything);
		free(task);
	}
	return NULL;
}

void front_cleaner_init(struct front_cleaner *cleaner)
{
	cleaner->first = NULL;
	atomic_init(&cleaner->stopping, false);
	atomic_init(&cleaner->written_back, false);
	pthread_mutex_init(&cleaner->lock, NULL);
	pthread_cond_init(&cleaner->wake, NULL);
}

void front_cleaner_fini(struct front_cleaner *cleaner)
{
	pthread_cond_destroy(&cleaner->wake);
	pthread_mutex_destroy(&cleaner->lock);
}

int front_cleaner_start(struct front_cleaner *cleaner)
{
	return -pthread_create(&cleaner->thread, NULL, serve, cleaner);
}

#define STOP_SECONDS 5

bool front_cleaner_stop(struct front_cleaner *cleaner)
{
	struct timespec end;

	pthread_mutex_lock(&cleaner->lock);
	atomic_store(&cleaner->stopping, true);
	pthread_cond_signal(&cleaner->wake);
	pthread_mutex_unlock(&cleaner->lock);
	/* An invalidation under way may wait for writes that no worker takes any more: it ends with the process. */
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += STOP_SECONDS;
	return pthread_timedjoin_np(cleaner->thread, NULL, &end) == 0;
}

static void add(struct front_cleaner *cleaner, struct front_task *task)
{
	struct front_task **last;

	pthread_mutex_lock(&cleaner->lock);
	for (last = &cleaner->first; *last != NULL; last = &(*last)->next)
		;
	*last = task;
	pthread_cond_signal(&cleaner->wake);
	pthread_mutex_unlock(&cleaner->lock);
}

void front_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
	struct front_request request;
	struct front_task *task;

	(void)fi;
	front_begin(&request, req, FRONT_LSEEK);
	if (request.front->cache == FRONT_CACHE_NONE) {
		answer(&request, ino, offset, whence);
		return;
	}
	task = malloc(sizeof(*task));
	if (task == NULL) {
		front_reply_error(&request, -ENOMEM);
		return;
	}
	*task = (struct front_task){.request = request, .ino = ino, .offset = offset, .whence = whence};
	add(&request.front->cleaner, task);
}

int front_write_back(struct front *front)
{
	struct front_task *task = calloc(1, sizeof(*task));

	if (task == NULL)
		return -ENOMEM;
	task->everything = front;
	atomic_store(&front->cleaner.written_back, false);
	add(&front->cleaner, task);
	return 0;
}

bool front_written_back(const struct front *front)
{
	return atomic_load(&front->cleaner.written_back);
}
