/*
 * SEEK_DATA and SEEK_HOLE. The kernel asks without writing back first what it holds dirty (stored by mmap, or with
 * cache=writeback): where the daemon knows of a hole there may be data, and a copy that trusts the answer loses it. So
 * the pages are written back before the answer, by an invalidation.
 *
 * The kernel answers the invalidation after its WRITE requests have been answered: by the workers, so it is not sent by
 * one of them. One thread does nothing else; nothing waits for it but those who asked.
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

static void *serve(void *arg)
{
	struct front_seeker *seeker = arg;
	struct front_seek *seek;
	bool stopping;

	while ((seek = take(seeker, &stopping)) != NULL) {
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

int front_seeker_start(struct front_seeker *seeker)
{
	int error;

	seeker->first = NULL;
	seeker->stopping = false;
	pthread_mutex_init(&seeker->lock, NULL);
	pthread_cond_init(&seeker->wake, NULL);
	error = pthread_create(&seeker->thread, NULL, serve, seeker);
	if (error != 0) {
		pthread_cond_destroy(&seeker->wake);
		pthread_mutex_destroy(&seeker->lock);
	}
	return -error;
}

#define STOP_SECONDS 5

bool front_seeker_stop(struct front_seeker *seeker)
{
	struct timespec end;

	pthread_mutex_lock(&seeker->lock);
	seeker->stopping = true;
	pthread_cond_signal(&seeker->wake);
	pthread_mutex_unlock(&seeker->lock);
	/* An invalidation under way may wait for writes that no worker takes any more: it ends with the process. */
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += STOP_SECONDS;
	if (pthread_timedjoin_np(seeker->thread, NULL, &end) != 0)
		return false;
	pthread_cond_destroy(&seeker->wake);
	pthread_mutex_destroy(&seeker->lock);
	return true;
}

void front_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
	struct front_request request;
	struct front_seeker *seeker;
	struct front_seek **last;
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
	seeker = &request.front->seeker;
	pthread_mutex_lock(&seeker->lock);
	for (last = &seeker->first; *last != NULL; last = &(*last)->next)
		;
	*last = seek;
	pthread_cond_signal(&seeker->wake);
	pthread_mutex_unlock(&seeker->lock);
}
