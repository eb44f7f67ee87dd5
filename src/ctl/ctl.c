#include "ctl/server.h"

#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#define FILES_MAX (1u << 20) /* more are not asked for */
#define FILES_OTHERS 256u /* for all but sessions */
#define FILES_SESSION 4u /* its socket, its events, its process, and one on the way */
#define CONNECTIONS_MIN 16u

/* ---- Opening ---- */

/* How many sessions the limit of open files has room for, once it is raised. */
static uint64_t raise_limit(void)
{
	struct rlimit limit;
	rlim_t most;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return CONNECTIONS_MIN;
	most = limit.rlim_max == RLIM_INFINITY || limit.rlim_max > FILES_MAX ? FILES_MAX : limit.rlim_max;
	if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < most) {
		rlim_t before = limit.rlim_cur;

		limit.rlim_cur = most;
		if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
			most = before;
	}
	if (most < FILES_OTHERS + CONNECTIONS_MIN * FILES_SESSION)
		return CONNECTIONS_MIN;
	return (most - FILES_OTHERS) / FILES_SESSION;
}

static int watch(struct ctl *ctl, int fd, enum ctl_source *source)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};

	return epoll_ctl(ctl->epoll, EPOLL_CTL_ADD, fd, &event) != 0 ? -errno : 0;
}

static int open_descriptors(struct ctl *ctl)
{
	ctl->epoll = epoll_create1(EPOLL_CLOEXEC);
	ctl->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ctl->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (ctl->epoll < 0 || ctl->bell < 0 || ctl->reserve < 0)
		return -errno;
	return watch(ctl, ctl->bell, &ctl->bell_source);
}

static void close_if_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void close_descriptors(struct ctl *ctl)
{
	close_if_open(ctl->listener);
	close_if_open(ctl->epoll);
	close_if_open(ctl->bell);
	close_if_open(ctl->reserve);
}

static struct ctl *new (struct fs *fs, const struct ctl_options *options)
{
	struct ctl *ctl = calloc(1, sizeof(*ctl));

	if (ctl == NULL)
		return NULL;
	ctl->fs = fs;
	ctl->options = *options;
	ctl->path = strdup(options->path);
	if (ctl->path == NULL) {
		free(ctl);
		return NULL;
	}
	ctl->options.path = ctl->path;
	ctl->listener = ctl->epoll = ctl->bell = ctl->reserve = -1;
	ctl->listener_source = CTL_SOURCE_LISTENER;
	ctl->bell_source = CTL_SOURCE_BELL;
	TAILQ_INIT(&ctl->connections);
	TAILQ_INIT(&ctl->deadlines);
	TAILQ_INIT(&ctl->gone);
	STAILQ_INIT(&ctl->gone_sessions);
	STAILQ_INIT(&ctl->spare);
	TAILQ_INIT(&ctl->runnable);
	STAILQ_INIT(&ctl->posted);
	STAILQ_INIT(&ctl->posted_sessions);
	pthread_cond_init(&ctl->work, NULL);
	return ctl;
}

int ctl_open(struct fs *fs, const struct ctl_options *options, struct ctl **ret_ctl, struct message *message)
{
	struct ctl *ctl = new (fs, options);
	int error = ctl == NULL ? -ENOMEM : 0;

	if (error != 0)
		goto fail;
	ctl->connections_max = raise_limit();
	error = lock_mutex_init(&ctl->lock, LOCK_LEAF);
	if (error != 0)
		goto free_ctl;
	error = open_descriptors(ctl);
	if (error == 0)
		error = ctl_users_create(ctl->bell, &ctl->users);
	if (error != 0)
		goto close_descriptors;
	error = ctl_listen(&ctl->options, &ctl->listener, message);
	if (error != 0) {
		message = NULL; /* it has said why */
		goto destroy_users;
	}
	error = watch(ctl, ctl->listener, &ctl->listener_source);
	if (error != 0)
		goto unlink_path;
	*ret_ctl = ctl;
	return 0;

unlink_path:
	(void)unlink(ctl->path);
destroy_users:
	ctl_users_destroy(ctl->users);
close_descriptors:
	close_descriptors(ctl);
	lock_mutex_fini(&ctl->lock);
free_ctl:
	pthread_cond_destroy(&ctl->work);
	free(ctl->path);
	free(ctl);
fail:
	message_set(message, "%s: client socket: %s", options->path, strerror(-error));
	return error;
}

/* ---- Running ---- */

static void stop_workers(struct ctl *ctl)
{
	lock_mutex_take(&ctl->lock);
	ctl->workers_stopping = true;
	pthread_cond_broadcast(&ctl->work);
	lock_mutex_drop(&ctl->lock);
	for (; ctl->workers > 0; ctl->workers--)
		pthread_join(ctl->worker[ctl->workers - 1], NULL);
}

static int start_threads(struct ctl *ctl)
{
	int error = 0;

	ctl->workers_stopping = false;
	while (ctl->workers < CTL_WORKERS && error == 0) {
		error = pthread_create(&ctl->worker[ctl->workers], NULL, ctl_worker, ctl);
		if (error == 0)
			ctl->workers++;
	}
	if (error == 0)
		error = pthread_create(&ctl->loop, NULL, ctl_loop, ctl);
	if (error != 0)
		stop_workers(ctl);
	return -error;
}

/* Signals are other threads' business; but a pin may meet lost memory, here as anywhere. */
int ctl_start(struct ctl *ctl, struct message *message)
{
	sigset_t all, before;
	int error;

	fault_fill_others(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = start_threads(ctl);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error != 0) {
		message_set(message, "%s: starting threads: %s", ctl->path, strerror(-error));
		return error;
	}
	ctl->started = true;
	return 0;
}

void ctl_stop(struct ctl *ctl)
{
	/* Once: later it may be another daemon's. */
	if (!ctl->unlinked)
		(void)unlink(ctl->path);
	ctl->unlinked = true;
	if (!ctl->started)
		return;
	lock_mutex_take(&ctl->lock);
	ctl->stopping = true;
	ctl_ring_locked(ctl);
	lock_mutex_drop(&ctl->lock);
	/* Its last round is over when the last request is, which workers have to end. */
	pthread_join(ctl->loop, NULL);
	stop_workers(ctl);
	ctl->started = false;
}

void ctl_close(struct ctl *ctl)
{
	struct ctl_file *file;

	if (ctl == NULL)
		return;
	ctl_stop(ctl);
	ctl_sessions_free(ctl);
	while ((file = STAILQ_FIRST(&ctl->spare)) != NULL) {
		STAILQ_REMOVE_HEAD(&ctl->spare, next);
		free(file);
	}
	ctl_users_destroy(ctl->users);
	close_descriptors(ctl);
	lock_mutex_fini(&ctl->lock);
	pthread_cond_destroy(&ctl->work);
	free(ctl->path);
	free(ctl);
}

const char *ctl_path(const struct ctl *ctl)
{
	return ctl->path;
}

void ctl_get_stats(struct ctl *ctl, struct ctl_stats *ret_stats)
{
	*ret_stats = (struct ctl_stats){
		.connections = atomic_load(&ctl->connection_count),
		.refused = atomic_load(&ctl->refused),
		.violations = atomic_load(&ctl->violations),
	};
}
