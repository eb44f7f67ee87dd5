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

struct front_seek {
	struct front_seek *next;
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

static struct front_seek *take(struct front_seeker *seeker, bool *ret_stopping)
{
	struct front_seek *seek;

	pthread_mutex_lock(&seeker->lock);
	while (seeker->first == NULL && !seeker->stopping)
		pthread_cond_wait(&seeker->wake, &seeker->lock);
	seek = seeker->first;
	if (seek != NULL)
		seeker->first = seek->next;
	*ret_stopping = seeker->stopping;
	pthread_mutex_unlock(&seeker->lock);
	return seek;
}

static int invalidate_file(void *arg, uint64_t ino)
{
	struct front *front = arg;

	(void)fuse_lowlevel_notify_inval_inode(front->session, ino, 0, 0);
	return front->seeker.stopping ? -ECANCELED : 0;
}

static void write_back_everything(struct front *front)
{
	if (fs_visit_known_files(front->fs, invalidate_file, front) != 0)
		log_warning("%s: cached data may not have been written back", front->mountpoint);
	atomic_store(&front->seeker.written_back, true);
}

static void *serve(void *arg)
{
	struct front_seeker *seeker = arg;
	struct front_seek *seek;
	bool stopping;

	while ((seek = take(seeker, &stopping)) != NULL) {
		if (seek->everything != NULL) {
			write_back_everything(seek->everything);
			free(seek);
			continue;
		}
		/* No lock is held. Fails if the kernel has nothing of the file; once the workers stop nobody would
		 * answer. */
		if (!stopping && seek->offset >= 0)
			(void)fuse_lowlevel_notify_inval_inode(seek->request.front->session, seek->ino, seek->offset,
							       0);
		answer(&seek->request, seek->ino, seek->offset, seek->whence);
		free(seek);
	}
	return NULL;
}

void front_seeker_init(struct front_seeker *seeker)
{
	seeker->first = NULL;
	atomic_init(&seeker->stopping, false);
	atomic_init(&seeker->written_back, false);
	pthread_mutex_init(&seeker->lock, NULL);
	pthread_cond_init(&seeker->wake, NULL);
}

void front_seeker_fini(struct front_seeker *seeker)
{
	pthread_cond_destroy(&seeker->wake);
	pthread_mutex_destroy(&seeker->lock);
}

int front_seeker_start(struct front_seeker *seeker)
{
	return -pthread_create(&seeker->thread, NULL, serve, seeker);
}

#define STOP_SECONDS 5

bool front_seeker_stop(struct front_seeker *seeker)
{
	struct timespec end;

	pthread_mutex_lock(&seeker->lock);
	atomic_store(&seeker->stopping, true);
	pthread_cond_signal(&seeker->wake);
	pthread_mutex_unlock(&seeker->lock);
	/* An invalidation under way may wait for writes that no worker takes any more: it ends with the process. */
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += STOP_SECONDS;
	return pthread_timedjoin_np(seeker->thread, NULL, &end) == 0;
}

static void add(struct front_seeker *seeker, struct front_seek *seek)
{
	struct front_seek **last;

	pthread_mutex_lock(&seeker->lock);
	for (last = &seeker->first; *last != NULL; last = &(*last)->next)
		;
	*last = seek;
	pthread_cond_signal(&seeker->wake);
	pthread_mutex_unlock(&seeker->lock);
}

void front_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
	struct front_request request;
	struct front_seek *seek;

	(void)fi;
	front_begin(&request, req, FRONT_LSEEK);
	if (request.front->cache == FRONT_CACHE_NONE) {
		answer(&request, ino, offset, whence);
		return;
	}
	seek = malloc(sizeof(*seek));
	if (seek == NULL) {
		front_reply_error(&request, -ENOMEM);
		return;
	}
	*seek = (struct front_seek){.request = request, .ino = ino, .offset = offset, .whence = whence};
	add(&request.front->seeker, seek);
}

int front_write_back(struct front *front)
{
	struct front_seek *seek = calloc(1, sizeof(*seek));

	if (seek == NULL)
		return -ENOMEM;
	seek->everything = front;
	atomic_store(&front->seeker.written_back, false);
	add(&front->seeker, seek);
	return 0;
}

bool front_written_back(const struct front *front)
{
	return atomic_load(&front->seeker.written_back);
}
