/*
 * The threads that take requests from the kernel and answer them.
 *
 *      +---------> reading --a request--> answering --+
 *      |              ^                               |
 *      |              | nobody is reading any more    | enough are reading
 *      +--------------|-------------------------------+
 *                     +----------- spare <------------+
 *
 * All threads in read(2) take turns (the kernel wakes the one that waits longest), and one that has slept long runs on
 * another core than the caller, with cold caches: a round trip costs several times as much. So no more wait than were
 * needed lately: `wanted`. When a request is taken and nobody is left reading, there shall be one more, at once; when
 * for WINDOW requests two were always left, one less.
 *
 * A thread that is held up (by a lock, by the media) is answering, and others take its place, up to THREADS_MIN or
 * twice the cores.
 *
 * The end: the thread that serves cancels those that read, as libfuse's own loop does.
 */
#include "front/request.h"

#include "base/arith.h"
#include "front/uring.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/sysinfo.h>

#define THREADS_MIN 16u
#define WANTED_MIN 2u
#define WINDOW 1024u

struct front_worker {
	SLIST_ENTRY(front_worker) next;
	struct front *front;
	pthread_t thread;
	struct fuse_buf buffer; /* libfuse's, kept from request to request */
};

int front_loop_init(struct front_loop *loop)
{
	*loop = (struct front_loop){
		.wanted = WANTED_MIN,
		.left = UINT32_MAX,
		.threads_max = (unsigned)max_u64(THREADS_MIN, 2 * (uint64_t)get_nprocs()),
	};
	SLIST_INIT(&loop->workers);
	pthread_mutex_init(&loop->lock, NULL);
	pthread_cond_init(&loop->wake, NULL);
	pthread_cond_init(&loop->end, NULL);
	return 0;
}

void front_loop_fini(struct front_loop *loop)
{
	pthread_cond_destroy(&loop->end);
	pthread_cond_destroy(&loop->wake);
	pthread_mutex_destroy(&loop->lock);
}

/* The lock is held. `error`: 0 or -errno; the first one counts. */
static void end(struct front_loop *loop, int error)
{
	if (!loop->ending)
		loop->error = error;
	loop->ending = true;
	pthread_cond_signal(&loop->end);
}

void front_loop_stop(struct front_loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	end(loop, 0);
	pthread_mutex_unlock(&loop->lock);
}

static void *work(void *arg);

/* The lock is held. -ENOMEM, -EAGAIN. */
static int start_worker(struct front *front)
{
	struct front_loop *loop = &front->loop;
	struct front_worker *worker = calloc(1, sizeof(*worker));
	int error;

	if (worker == NULL)
		return -ENOMEM;
	worker->front = front;
	error = pthread_create(&worker->thread, NULL, work, worker);
	if (error != 0) {
		free(worker);
		return -error;
	}
	SLIST_INSERT_HEAD(&loop->workers, worker, next);
	loop->threads++;
	return 0;
}

/* Nobody is reading. The lock is held. */
static void add_reader(struct front *front)
{
	struct front_loop *loop = &front->loop;

	if (loop->wanted < loop->threads_max)
		loop->wanted++;
	if (loop->spare > 0)
		pthread_cond_signal(&loop->wake);
	else if (loop->threads < loop->threads_max)
		(void)start_worker(front); /* without one more the others go on */
}

/* Waits until this thread shall read. False: it is the end. */
static bool begin_reading(struct front_loop *loop)
{
	bool ending;

	pthread_mutex_lock(&loop->lock);
	loop->spare++;
	while (loop->reading >= loop->wanted && !loop->ending)
		pthread_cond_wait(&loop->wake, &loop->lock);
	loop->spare--;
	loop->reading++;
	ending = loop->ending;
	pthread_mutex_unlock(&loop->lock);
	return !ending;
}

/* This thread has a request. */
static void end_reading(struct front *front)
{
	struct front_loop *loop = &front->loop;

	pthread_mutex_lock(&loop->lock);
	loop->reading--;
	if (loop->reading < loop->left)
		loop->left = loop->reading;
	if (loop->reading == 0 && loop->begun && !loop->ending)
		add_reader(front);
	loop->begun = true;
	if (++loop->taken == WINDOW) {
		if (loop->left >= 2 && loop->wanted > WANTED_MIN)
			loop->wanted--;
		loop->taken = 0;
		loop->left = UINT32_MAX;
	}
	pthread_mutex_unlock(&loop->lock);
}

static int receive(struct front *front, struct front_worker *worker)
{
	int length;

	(void)pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	do
		length = fuse_session_receive_buf(front->session, &worker->buffer);
	while (length == -EINTR || length == -EAGAIN);
	(void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	return length;
}

static void *work(void *arg)
{
	struct front_worker *worker = arg;
	struct front *front = worker->front;
	int length = 0;

	(void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	while (begin_reading(&front->loop)) {
		length = receive(front, worker);
		if (length <= 0)
			break;
		end_reading(front);
		fuse_session_process_buf(front->session, &worker->buffer);
	}
	pthread_mutex_lock(&front->loop.lock);
	end(&front->loop, length);
	pthread_mutex_unlock(&front->loop.lock);
	return NULL;
}

/* Workers take none of the signals that end a daemon: there is a thread for them. */
static int start_first(struct front *front)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};
	sigset_t set, before;
	int error;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(&set, signals[i]);
	error = -pthread_sigmask(SIG_BLOCK, &set, &before);
	if (error != 0)
		return error;
	pthread_mutex_lock(&front->loop.lock);
	error = start_worker(front);
	pthread_mutex_unlock(&front->loop.lock);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}

static void join(struct front_loop *loop)
{
	struct front_worker *worker;

	pthread_mutex_lock(&loop->lock);
	pthread_cond_broadcast(&loop->wake);
	pthread_mutex_unlock(&loop->lock);
	/* Nobody is added any more. */
	SLIST_FOREACH(worker, &loop->workers, next)
	(void)pthread_cancel(worker->thread);
	while ((worker = SLIST_FIRST(&loop->workers)) != NULL) {
		(void)pthread_join(worker->thread, NULL);
		SLIST_REMOVE_HEAD(&loop->workers, next);
		free(worker->buffer.mem);
		free(worker);
	}
}

int front_loop_run(struct front *front)
{
	struct front_loop *loop = &front->loop;
	int error;

	error = start_first(front);
	if (error != 0)
		return error;
	pthread_mutex_lock(&loop->lock);
	while (!loop->ending)
		pthread_cond_wait(&loop->end, &loop->lock);
	pthread_mutex_unlock(&loop->lock);
	fuse_session_exit(front->session);
	join(loop);
	front_uring_stop(front->uring);
	return loop->error;
}
