/*
 * Having the kernel drop what it has cached of a file. The kernel answers only after its own dirty pages have been
 * written back, which the workers do, and it may be held up for as long as a truncate of that file waits. So threads of
 * their own ask, with no lock held; nobody waits here: whoever wants to know is called.
 *
 *   front_invalidate --> file's queue --> ready --> a thread asks the kernel --> done
 *                                           ^                |
 *                                           +-- has more ----+
 *
 * A file is asked about by one thread at a time, and a thread that is stuck holds up no other file: there are at least
 * as many threads, awake or idle, as files that are ready, up to THREADS_MAX. A thread that has nothing to do for a
 * while ends.
 *
 * The end: what nobody has begun is answered unasked. A thread that does not come back is given up: its question is
 * answered for it, and all it touches from then on is the front, which is not freed.
 */
#include "front/request.h"

#include <errno.h>
#include <stdlib.h>

#define HASH_NONFATAL_OOM 1 /* an addition without memory leaves hh.tbl NULL */
#include <uthash.h>

#define THREADS_MAX 1024u /* so many files can be stuck before others wait */
#define IDLE_SECONDS 5
#define STACK_BYTES (256u << 10)
#define STOP_SECONDS 5

struct front_upcall {
	STAILQ_ENTRY(front_upcall) next;
	uint64_t offset;
	uint64_t length;
	void (*done)(void *arg);
	void *arg;
};

struct front_upcall_file {
	STAILQ_ENTRY(front_upcall_file) next; /* in `ready` */
	uint64_t ino;
	struct front_upcall_list waiting;
	struct front_upcall *asking; /* a thread's; NULL: the file is ready, or that thread is given up */
	UT_hash_handle hh;
};

int front_upcalls_init(struct front_upcalls *upcalls)
{
	pthread_condattr_t attr;
	int error;

	STAILQ_INIT(&upcalls->ready);
	atomic_init(&upcalls->stopping, false);
	error = pthread_condattr_init(&attr);
	if (error != 0)
		return -error;
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&upcalls->lock, NULL);
	pthread_cond_init(&upcalls->wake, &attr);
	pthread_cond_init(&upcalls->ended, &attr);
	pthread_condattr_destroy(&attr);
	return 0;
}

void front_upcalls_fini(struct front_upcalls *upcalls)
{
	pthread_cond_destroy(&upcalls->ended);
	pthread_cond_destroy(&upcalls->wake);
	pthread_mutex_destroy(&upcalls->lock);
}

static struct timespec seconds_from_now(time_t seconds)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	time.tv_sec += seconds;
	return time;
}

/* Calls and frees all of the list; no lock is held. */
static void answer(struct front_upcall_list *list)
{
	struct front_upcall *upcall;

	while ((upcall = STAILQ_FIRST(list)) != NULL) {
		STAILQ_REMOVE_HEAD(list, next);
		upcall->done(upcall->arg);
		free(upcall);
	}
}

/* ---- Threads. The lock is held but where it is said. ---- */

static void *serve(void *arg);

/* False: there are enough, or none can be had. */
static bool start_thread(struct front *front)
{
	struct front_upcalls *upcalls = &front->upcalls;
	pthread_attr_t attr;
	pthread_t thread;
	bool started;

	if (upcalls->threads >= THREADS_MAX || pthread_attr_init(&attr) != 0)
		return false;
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	started = pthread_create(&thread, &attr, serve, front) == 0;
	pthread_attr_destroy(&attr);
	if (started)
		upcalls->threads++;
	return started;
}

/* An idle thread that was signalled counts as idle until it runs: so many can take a file without waiting. */
static void make_ready(struct front *front, struct front_upcall_file *file)
{
	struct front_upcalls *upcalls = &front->upcalls;

	STAILQ_INSERT_TAIL(&upcalls->ready, file, next);
	upcalls->ready_count++;
	if (upcalls->ready_count <= upcalls->idle || !start_thread(front))
		pthread_cond_signal(&upcalls->wake);
}

/* NULL: nothing came for a while, or it is the end. */
static struct front_upcall_file *take(struct front_upcalls *upcalls)
{
	const struct timespec until = seconds_from_now(IDLE_SECONDS);
	struct front_upcall_file *file;
	int error = 0;

	while ((file = STAILQ_FIRST(&upcalls->ready)) == NULL) {
		if (error != 0 || upcalls->stopping)
			return NULL;
		upcalls->idle++;
		error = pthread_cond_timedwait(&upcalls->wake, &upcalls->lock, &until);
		upcalls->idle--;
	}
	STAILQ_REMOVE_HEAD(&upcalls->ready, next);
	upcalls->ready_count--;
	file->asking = STAILQ_FIRST(&file->waiting);
	STAILQ_REMOVE_HEAD(&file->waiting, next);
	return file;
}

/* Lets go of the lock meanwhile. Fails if the kernel has nothing of the file. Without its cache it has attributes. */
static void ask(struct front *front, const struct front_upcall_file *file)
{
	const bool cached = front_has_pages(front);
	const uint64_t ino = file->ino;
	const off_t offset = cached ? (off_t)file->asking->offset : -1;
	const off_t length = cached ? (off_t)file->asking->length : 0;

	pthread_mutex_unlock(&front->upcalls.lock);
	(void)fuse_lowlevel_notify_inval_inode(front->session, ino, offset, length);
	pthread_mutex_lock(&front->upcalls.lock);
}

/* The kernel has answered: the file goes on, or is forgotten, and whoever asked is told, without the lock. */
static void finish(struct front *front, struct front_upcall_file *file)
{
	struct front_upcalls *upcalls = &front->upcalls;
	struct front_upcall_list list = STAILQ_HEAD_INITIALIZER(list);

	STAILQ_INSERT_TAIL(&list, file->asking, next);
	file->asking = NULL;
	if (STAILQ_EMPTY(&file->waiting)) {
		HASH_DEL(upcalls->files, file);
		free(file);
	} else {
		make_ready(front, file);
	}
	upcalls->answering++;
	pthread_mutex_unlock(&upcalls->lock);
	answer(&list);
	pthread_mutex_lock(&upcalls->lock);
	upcalls->answering--;
}

static void *serve(void *arg)
{
	struct front *front = arg;
	struct front_upcalls *upcalls = &front->upcalls;
	struct front_upcall_file *file;

	pthread_mutex_lock(&upcalls->lock);
	while ((file = take(upcalls)) != NULL) {
		ask(front, file);
		if (file->asking == NULL)
			free(file); /* given up */
		else
			finish(front, file);
	}
	upcalls->threads--;
	pthread_cond_broadcast(&upcalls->ended);
	pthread_mutex_unlock(&upcalls->lock);
	return NULL;
}

/* ---- Asking ---- */

/* The file's queue, made if need be; NULL: no memory. The lock is held. */
static struct front_upcall_file *file_of(struct front_upcalls *upcalls, uint64_t ino)
{
	struct front_upcall_file *file;

	HASH_FIND(hh, upcalls->files, &ino, sizeof(ino), file);
	if (file != NULL)
		return file;
	file = malloc(sizeof(*file));
	if (file == NULL)
		return NULL;
	*file = (struct front_upcall_file){.ino = ino};
	STAILQ_INIT(&file->waiting);
	HASH_ADD(hh, upcalls->files, ino, sizeof(file->ino), file);
	if (file->hh.tbl == NULL) {
		free(file);
		return NULL;
	}
	return file;
}

/* False: it cannot be asked. The lock is held. */
static bool add(struct front *front, uint64_t ino, struct front_upcall *upcall)
{
	struct front_upcalls *upcalls = &front->upcalls;
	struct front_upcall_file *file;
	bool idle;

	if (upcalls->stopping || (upcalls->threads == 0 && !start_thread(front)))
		return false;
	file = file_of(upcalls, ino);
	if (file == NULL)
		return false;
	idle = file->asking == NULL && STAILQ_EMPTY(&file->waiting);
	STAILQ_INSERT_TAIL(&file->waiting, upcall, next);
	if (idle)
		make_ready(front, file);
	return true;
}

void front_invalidate(void *arg, uint64_t ino, uint64_t offset, uint64_t length, void (*done)(void *done_arg),
		      void *done_arg)
{
	struct front *front = arg;
	struct front_upcall *upcall = malloc(sizeof(*upcall));
	bool added = false;

	if (upcall != NULL) {
		*upcall = (struct front_upcall){.offset = offset, .length = length, .done = done, .arg = done_arg};
		pthread_mutex_lock(&front->upcalls.lock);
		added = add(front, ino, upcall);
		pthread_mutex_unlock(&front->upcalls.lock);
	}
	if (added)
		return;
	free(upcall);
	done(done_arg);
}

/* ---- The end ---- */

/* What nobody has begun. The lock is held. */
static void take_waiting(struct front_upcalls *upcalls, struct front_upcall_list *list)
{
	struct front_upcall_file *file, *next;

	HASH_ITER(hh, upcalls->files, file, next)
	{
		STAILQ_CONCAT(list, &file->waiting);
		if (file->asking == NULL) {
			HASH_DEL(upcalls->files, file);
			free(file);
		}
	}
	STAILQ_INIT(&upcalls->ready);
	upcalls->ready_count = 0;
}

/* What hangs in the kernel; the file is its thread's. The lock is held. */
static void give_up(struct front_upcalls *upcalls, struct front_upcall_list *list)
{
	struct front_upcall_file *file, *next;

	HASH_ITER(hh, upcalls->files, file, next)
	{
		STAILQ_INSERT_TAIL(list, file->asking, next);
		file->asking = NULL;
		HASH_DEL(upcalls->files, file);
	}
}

bool front_upcalls_stop(struct front_upcalls *upcalls)
{
	const struct timespec until = seconds_from_now(STOP_SECONDS);
	struct front_upcall_list list = STAILQ_HEAD_INITIALIZER(list);
	bool ended;

	pthread_mutex_lock(&upcalls->lock);
	atomic_store(&upcalls->stopping, true);
	take_waiting(upcalls, &list);
	pthread_cond_broadcast(&upcalls->wake);
	pthread_mutex_unlock(&upcalls->lock);
	answer(&list);

	pthread_mutex_lock(&upcalls->lock);
	while (upcalls->threads > 0 && pthread_cond_timedwait(&upcalls->ended, &upcalls->lock, &until) == 0)
		;
	give_up(upcalls, &list);
	/* Those that came back just now are telling: that does not hang. */
	while (upcalls->answering > 0)
		pthread_cond_wait(&upcalls->ended, &upcalls->lock);
	ended = upcalls->threads == 0;
	pthread_mutex_unlock(&upcalls->lock);
	answer(&list);
	return ended;
}
