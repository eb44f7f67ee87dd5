/* What pins need beside the pin table: made with the filesystem, threads started and stopped. */
#include "fs/pinning.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#define BREAK_TIMEOUT (5 * FS_NS_PER_S)
#define GRACE (10 * FS_NS_PER_S)

uint64_t fs_monotonic(void)
{
	struct timespec now;

	/* Fails for an unknown clock or a bad pointer only. */
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * FS_NS_PER_S + (uint64_t)now.tv_nsec;
}

/* ---- What the table calls, with one of its locks held ---- */

static void on_wake(void *arg, struct pin_waiter *waiter)
{
	fs_resume(arg, CONTAINER_OF(waiter, struct fs_wait, pin));
}

static void on_reap(void *arg)
{
	struct fs *fs = arg;
	struct fs_pinning *pinning = fs->pinning;

	lock_mutex_take(&pinning->lock);
	pinning->reap_wanted = true;
	pthread_cond_signal(&pinning->reaping);
	lock_mutex_drop(&pinning->lock);
}

static const struct pin_ops table_ops = {.event = fs_pin_deliver, .wake = on_wake, .reap = on_reap};

/* ---- Making it ---- */

static int locks_init(struct fs_pinning *pinning)
{
	int error = lock_mutex_init(&pinning->reap, LOCK_REAP);

	if (error != 0)
		return error;
	error = lock_mutex_init(&pinning->visiting, LOCK_SESSION);
	if (error != 0)
		goto fini_reap;
	error = lock_mutex_init(&pinning->lock, LOCK_LEAF);
	if (error != 0)
		goto fini_visiting;
	return 0;

fini_visiting:
	lock_mutex_fini(&pinning->visiting);
fini_reap:
	lock_mutex_fini(&pinning->reap);
	return error;
}

static void locks_fini(struct fs_pinning *pinning)
{
	lock_mutex_fini(&pinning->lock);
	lock_mutex_fini(&pinning->visiting);
	lock_mutex_fini(&pinning->reap);
}

static int conditions_init(struct fs_pinning *pinning)
{
	pthread_condattr_t attr;
	int error = pthread_condattr_init(&attr);

	if (error != 0)
		return -error;
	error = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	if (error != 0)
		goto destroy_attr;
	error = pthread_cond_init(&pinning->drained, &attr);
	if (error != 0)
		goto destroy_attr;
	error = pthread_cond_init(&pinning->work, NULL);
	if (error != 0)
		goto destroy_drained;
	error = pthread_cond_init(&pinning->reaping, NULL);
	if (error != 0)
		goto destroy_work;
	pthread_condattr_destroy(&attr);
	return 0;

destroy_work:
	pthread_cond_destroy(&pinning->work);
destroy_drained:
	pthread_cond_destroy(&pinning->drained);
destroy_attr:
	pthread_condattr_destroy(&attr);
	return -error;
}

static void conditions_fini(struct fs_pinning *pinning)
{
	pthread_cond_destroy(&pinning->reaping);
	pthread_cond_destroy(&pinning->work);
	pthread_cond_destroy(&pinning->drained);
}

static int epoll_open(struct fs_pinning *pinning)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0};
	int error;

	pinning->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (pinning->epoll < 0)
		return -errno;
	pinning->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pinning->bell < 0) {
		error = -errno;
		goto close_epoll;
	}
	if (epoll_ctl(pinning->epoll, EPOLL_CTL_ADD, pinning->bell, &event) != 0) {
		error = -errno;
		goto close_bell;
	}
	return 0;

close_bell:
	close(pinning->bell);
close_epoll:
	close(pinning->epoll);
	return error;
}

/* A number that the ledger of an earlier daemon does not know: restore checks. */
static int first_id(struct fs_pinning *pinning)
{
	uint64_t id;

	if (getrandom(&id, sizeof(id), 0) != sizeof(id))
		return -errno;
	atomic_init(&pinning->next_pin, id >> 2 | 1);
	return 0;
}

int fs_pinning_create(struct fs *fs)
{
	struct fs_pinning *pinning = calloc(1, sizeof(*pinning));
	int error;

	if (pinning == NULL)
		return -ENOMEM;
	TAILQ_INIT(&pinning->away);
	TAILQ_INIT(&pinning->upcalls);
	pinning->policy = (struct fs_pin_policy){.break_timeout = BREAK_TIMEOUT, .break_detach = true, .grace = GRACE};
	error = first_id(pinning);
	if (error != 0)
		goto free_pinning;
	error = locks_init(pinning);
	if (error != 0)
		goto free_pinning;
	error = conditions_init(pinning);
	if (error != 0)
		goto fini_locks;
	error = epoll_open(pinning);
	if (error != 0)
		goto fini_conditions;
	error = pin_table_create(&table_ops, fs, UINT64_MAX, &fs->pins);
	if (error != 0)
		goto close_epoll;
	error = lock_mutex_init(&fs->limbo, LOCK_LIMBO);
	if (error != 0)
		goto destroy_table;
	fs->pinning = pinning;
	return 0;

destroy_table:
	pin_table_destroy(fs->pins);
close_epoll:
	close(pinning->bell);
	close(pinning->epoll);
fini_conditions:
	conditions_fini(pinning);
fini_locks:
	locks_fini(pinning);
free_pinning:
	free(pinning);
	return error;
}

void fs_pinning_destroy(struct fs *fs)
{
	struct fs_pinning *pinning = fs->pinning;

	fs_holders_fini(fs);
	pin_table_destroy(fs->pins);
	lock_mutex_fini(&fs->limbo);
	close(pinning->bell);
	close(pinning->epoll);
	conditions_fini(pinning);
	locks_fini(pinning);
	free(pinning);
}

void fs_pinning_sized(struct fs *fs)
{
	struct fs_pin_policy policy;

	lock_mutex_take(&fs->pinning->lock);
	policy = fs->pinning->policy;
	lock_mutex_drop(&fs->pinning->lock);
	fs_set_pin_policy(fs, &policy);
}

/* ---- What others set ---- */

void fs_set_kernel(struct fs *fs, const struct fs_kernel *kernel)
{
	fs->pinning->kernel = *kernel;
	fs->pinning->has_kernel = kernel->invalidate != NULL;
}

void fs_set_pin_policy(struct fs *fs, const struct fs_pin_policy *policy)
{
	uint64_t limit = policy->pin_limit;
	struct alloc_stats stats;

	if (limit == 0) {
		alloc_stats(fs->alloc, &stats);
		limit = stats.total / 2 * FMT_BLOCK_SIZE;
	}
	lock_mutex_take(&fs->pinning->lock);
	fs->pinning->policy = *policy;
	lock_mutex_drop(&fs->pinning->lock);
	pin_table_set_limit(fs->pins, limit);
	fs_watch_bell(fs);
}

/* ---- Threads ---- */

/* The first `pool` threads of the pool, and the others if told so, end when their queues are empty. */
static void threads_stop(struct fs *fs, unsigned pool, bool reaper, bool watcher)
{
	struct fs_pinning *pinning = fs->pinning;

	lock_mutex_take(&pinning->lock);
	pinning->stopping = true;
	pthread_cond_broadcast(&pinning->work);
	pthread_cond_broadcast(&pinning->reaping);
	lock_mutex_drop(&pinning->lock);
	fs_watch_bell(fs);
	if (watcher)
		pthread_join(pinning->watcher, NULL);
	if (reaper)
		pthread_join(pinning->reaper, NULL);
	/* Last: the others give it work. */
	for (unsigned i = 0; i < pool; i++)
		pthread_join(pinning->pool[i], NULL);
	lock_mutex_take(&pinning->lock);
	pinning->stopping = false;
	pinning->started = false;
	lock_mutex_drop(&pinning->lock);
}

int fs_pins_start(struct fs *fs)
{
	struct fs_pinning *pinning = fs->pinning;
	unsigned pool = 0;
	int error;

	for (; pool < FS_RESUME_THREADS; pool++) {
		error = pthread_create(&pinning->pool[pool], NULL, fs_pool_thread, fs);
		if (error != 0)
			goto stop_pool;
	}
	error = pthread_create(&pinning->reaper, NULL, fs_reaper_thread, fs);
	if (error != 0)
		goto stop_pool;
	error = pthread_create(&pinning->watcher, NULL, fs_watcher_thread, fs);
	if (error != 0)
		goto stop_reaper;
	pinning->started = true;
	return 0;

stop_reaper:
	threads_stop(fs, pool, true, false);
	return -error;
stop_pool:
	threads_stop(fs, pool, false, false);
	return -error;
}

void fs_pins_stop(struct fs *fs)
{
	if (fs->pinning->started)
		threads_stop(fs, FS_RESUME_THREADS, true, true);
}
