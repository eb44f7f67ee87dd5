/*
 * The loop: one thread that accepts, reads, sends what could not be sent at once, and ends. It never waits but for
 * events, and its locks are held for moments.
 */
#include "ctl/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 64
#define ACCEPTS_MAX 16 /* in one round: those that are there already are to be heard meanwhile */
#define COMPLAINT_NS (10 * CTL_NS_PER_S)
#define TICK_MS 1000

uint64_t ctl_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * CTL_NS_PER_S + (uint64_t)now.tv_nsec;
}

void ctl_complain(struct ctl *ctl, const char *format, ...)
{
	uint64_t last = atomic_load(&ctl->complained);
	uint64_t now = ctl_now();
	char text[256];
	va_list args;

	if ((last != 0 && now - last < COMPLAINT_NS) || !atomic_compare_exchange_strong(&ctl->complained, &last, now))
		return;
	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_info("%s: %s", ctl->path, text);
}

/* ---- Posts: other threads have something for the loop ---- */

void ctl_ring_locked(struct ctl *ctl)
{
	const uint64_t one = 1;

	if (ctl->rung)
		return;
	ctl->rung = true;
	/* Cannot fail: the counter is at 0 or 1. */
	(void)!write(ctl->bell, &one, sizeof(one));
}

void ctl_post_locked(struct ctl_connection *connection)
{
	struct ctl *ctl = connection->ctl;

	if (connection->posted)
		return;
	connection->posted = true;
	STAILQ_INSERT_TAIL(&ctl->posted, connection, next_posted);
	ctl_ring_locked(ctl);
}

void ctl_post(struct ctl_connection *connection)
{
	struct ctl *ctl = connection->ctl;

	lock_mutex_take(&ctl->lock);
	ctl_post_locked(connection);
	lock_mutex_drop(&ctl->lock);
}

void ctl_post_session_locked(struct ctl_session *session)
{
	struct ctl *ctl = session->ctl;

	if (session->posted)
		return;
	session->posted = true;
	STAILQ_INSERT_TAIL(&ctl->posted_sessions, session, next_posted);
	ctl_ring_locked(ctl);
}

static struct ctl_connection *take_posted(struct ctl *ctl)
{
	struct ctl_connection *connection;

	lock_mutex_take(&ctl->lock);
	connection = STAILQ_FIRST(&ctl->posted);
	if (connection != NULL) {
		STAILQ_REMOVE_HEAD(&ctl->posted, next_posted);
		connection->posted = false;
	}
	lock_mutex_drop(&ctl->lock);
	return connection;
}

static struct ctl_session *take_posted_session(struct ctl *ctl)
{
	struct ctl_session *session;

	lock_mutex_take(&ctl->lock);
	session = STAILQ_FIRST(&ctl->posted_sessions);
	if (session != NULL) {
		STAILQ_REMOVE_HEAD(&ctl->posted_sessions, next_posted);
		session->posted = false;
	}
	lock_mutex_drop(&ctl->lock);
	return session;
}

static void answer_bell(struct ctl *ctl)
{
	struct ctl_connection *connection;
	struct ctl_session *session;
	uint64_t count;

	(void)!read(ctl->bell, &count, sizeof(count));
	lock_mutex_take(&ctl->lock);
	ctl->rung = false;
	lock_mutex_drop(&ctl->lock);
	while ((session = take_posted_session(ctl)) != NULL)
		ctl_session_look(session);
	while ((connection = take_posted(ctl)) != NULL)
		ctl_connection_look(connection);
}

/* ---- Accepting ---- */

static void watch_listener(struct ctl *ctl, bool watched)
{
	struct epoll_event event = {.events = watched ? EPOLLIN : 0, .data.ptr = &ctl->listener_source};

	(void)epoll_ctl(ctl->epoll, EPOLL_CTL_MOD, ctl->listener, &event);
	ctl->listener_paused = watched ? 0 : ctl_now() + CTL_NS_PER_S;
}

/* No descriptor is left. Left in the queue it would wake us at once again: taken, by the one kept for this, and shut.
 */
static void refuse_one(struct ctl *ctl)
{
	int fd;

	ctl_complain(ctl, "out of file descriptors: clients are refused");
	atomic_fetch_add(&ctl->refused, 1);
	if (ctl->reserve >= 0) {
		close(ctl->reserve);
		fd = accept4(ctl->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			close(fd);
	}
	ctl->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (ctl->reserve < 0)
		watch_listener(ctl, false);
}

static void accept_some(struct ctl *ctl)
{
	for (unsigned i = 0; i < ACCEPTS_MAX; i++) {
		int fd = accept4(ctl->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0) {
			ctl_connection_open(ctl, fd);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			refuse_one(ctl);
			return;
		} else if (errno != EINTR && errno != ECONNABORTED) {
			return;
		}
	}
}

/* ---- Rounds ---- */

static void serve_connection(struct ctl_connection *connection, uint32_t events)
{
	/* An earlier event of this round has ended it. */
	if (connection->state >= CTL_STATE_ENDED)
		return;
	if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
		connection->hung_up = true;
		if (connection->state == CTL_STATE_GREETING || connection->state == CTL_STATE_LINGER) {
			ctl_connection_end(connection);
			return;
		}
	}
	if ((events & EPOLLOUT) != 0) {
		ctl_flush(connection);
		ctl_connection_look(connection);
	}
	if (connection->state == CTL_STATE_NEW || connection->state == CTL_STATE_OPEN) {
		if (connection->hung_up || (events & EPOLLIN) != 0)
			ctl_receive(connection);
	}
}

static void serve(struct ctl *ctl, const struct epoll_event *event)
{
	enum ctl_source *source = event->data.ptr;

	switch (*source) {
	case CTL_SOURCE_LISTENER:
		accept_some(ctl);
		break;
	case CTL_SOURCE_BELL:
		answer_bell(ctl);
		break;
	case CTL_SOURCE_CONNECTION:
		serve_connection(CONTAINER_OF(source, struct ctl_connection, source), event->events);
		break;
	case CTL_SOURCE_EVENTS:
		ctl_session_look(CONTAINER_OF(source, struct ctl_session, source));
		break;
	}
}

/* Once a second while there is a reason. */
static int tick(struct ctl *ctl)
{
	uint64_t now = ctl_now();
	bool closing;

	ctl_connections_expire(ctl, now);
	if (ctl->listener_paused != 0 && ctl->listener_paused <= now) {
		if (ctl->reserve < 0)
			ctl->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
		watch_listener(ctl, ctl->reserve >= 0);
	}
	closing = ctl_users_closing(ctl->users);
	if (closing && now - ctl->ticked >= CTL_NS_PER_S) {
		ctl_users_tick(ctl->users);
		ctl->ticked = now;
	}
	return closing || ctl->listener_paused != 0 || !TAILQ_EMPTY(&ctl->deadlines) ? TICK_MS : -1;
}

static bool stopping(struct ctl *ctl)
{
	bool stop;

	lock_mutex_take(&ctl->lock);
	stop = ctl->stopping;
	lock_mutex_drop(&ctl->lock);
	return stop;
}

static void end_all(struct ctl *ctl)
{
	struct ctl_connection *connection;

	TAILQ_FOREACH(connection, &ctl->connections, next)
	ctl_connection_end(connection);
}

static void reap(struct ctl *ctl)
{
	struct ctl_session *session;

	ctl_connections_reap(ctl);
	while ((session = STAILQ_FIRST(&ctl->gone_sessions)) != NULL) {
		STAILQ_REMOVE_HEAD(&ctl->gone_sessions, next_posted);
		ctl_session_free(session);
	}
}

void *ctl_loop(void *arg)
{
	struct epoll_event events[EVENTS_MAX];
	struct ctl *ctl = arg;
	bool stop = false;

	while (!stop || !TAILQ_EMPTY(&ctl->connections)) {
		int count = epoll_wait(ctl->epoll, events, EVENTS_MAX, tick(ctl));

		ctl->alone = count == 1;
		for (int i = 0; i < count; i++)
			serve(ctl, &events[i]);
		if (!stop && stopping(ctl)) {
			stop = true;
			(void)epoll_ctl(ctl->epoll, EPOLL_CTL_DEL, ctl->listener, NULL);
			ctl->listener_paused = 0;
		}
		if (stop)
			end_all(ctl);
		reap(ctl);
	}
	return NULL;
}
