/*
 * Connections, from accept to the end. All in the loop thread.
 */
#include "ctl/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- Deadlines: all are as far away, so the list is in their order ---- */

static void expect(struct ctl_connection *connection)
{
	connection->deadline = ctl_now() + CTL_SILENT_NS;
	TAILQ_INSERT_TAIL(&connection->ctl->deadlines, connection, next_deadline);
	connection->in_deadlines = true;
}

static void expect_end(struct ctl_connection *connection)
{
	if (connection->in_deadlines)
		TAILQ_REMOVE(&connection->ctl->deadlines, connection, next_deadline);
	connection->in_deadlines = false;
}

void ctl_connections_expire(struct ctl *ctl, uint64_t now)
{
	struct ctl_connection *connection;

	while ((connection = TAILQ_FIRST(&ctl->deadlines)) != NULL && connection->deadline <= now) {
		atomic_fetch_add(&ctl->refused, 1);
		ctl_connection_end(connection);
	}
}

/* ---- The beginning ---- */

static int look_at_peer(struct ctl_connection *connection)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (getsockopt(connection->fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
		return -errno;
	connection->pid = peer.pid;
	connection->uid = peer.uid;
	connection->gid = peer.gid;
	connection->privileged = peer.uid == 0 || peer.uid == connection->ctl->options.owner;
	return 0;
}

static int watch(struct ctl_connection *connection)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};

	connection->interest = event.events;
	if (epoll_ctl(connection->ctl->epoll, EPOLL_CTL_ADD, connection->fd, &event) != 0)
		return -errno;
	return 0;
}

/* NULL: no memory, or the client is gone. */
static struct ctl_connection *connection_new(struct ctl *ctl, int fd)
{
	struct ctl_connection *connection = calloc(1, sizeof(*connection));

	if (connection == NULL)
		return NULL;
	connection->source = CTL_SOURCE_CONNECTION;
	connection->ctl = ctl;
	connection->fd = fd;
	TAILQ_INIT(&connection->queue);
	TAILQ_INIT(&connection->begun);
	STAILQ_INIT(&connection->out);
	if (look_at_peer(connection) != 0 || ctl_spares_fill(ctl, 1) != 0 ||
	    ctl_user_get(ctl->users, connection->uid, &connection->user) != 0)
		goto free_connection;
	if (lock_mutex_init(&connection->out_lock, LOCK_LEAF) != 0)
		goto put_user;
	if (pthread_mutex_init(&connection->giving, NULL) != 0)
		goto fini_lock;
	return connection;

fini_lock:
	lock_mutex_fini(&connection->out_lock);
put_user:
	ctl_user_put(connection->user);
free_connection:
	free(connection);
	return NULL;
}

static void connection_free(struct ctl_connection *connection)
{
	pthread_mutex_destroy(&connection->giving);
	lock_mutex_fini(&connection->out_lock);
	ctl_user_put(connection->user);
	free(connection->given);
	free(connection);
}

/* One user's clients can fill half of the server, and no more. */
static bool too_many(const struct ctl_connection *connection)
{
	const struct ctl *ctl = connection->ctl;

	if (atomic_load(&ctl->connection_count) >= ctl->connections_max)
		return true;
	return !connection->privileged && ctl_user_counts(connection->user)->connections >= ctl->connections_max / 2;
}

/* Whoever says nothing for longest makes room for the new one. */
static void limit_silent(struct ctl_connection *connection)
{
	struct ctl *ctl = connection->ctl;
	struct ctl_connection *other;

	if (ctl_user_counts(connection->user)->silent <= CTL_SILENT_MAX)
		return;
	TAILQ_FOREACH(other, &ctl->deadlines, next_deadline)
	{
		if (other->in_silent && other->user == connection->user) {
			atomic_fetch_add(&ctl->refused, 1);
			ctl_connection_end(other);
			return;
		}
	}
}

void ctl_connection_open(struct ctl *ctl, int fd)
{
	struct ctl_connection *connection = connection_new(ctl, fd);

	if (connection == NULL) {
		atomic_fetch_add(&ctl->refused, 1);
		close(fd);
		return;
	}
	connection->file = ctl_spare_take(ctl, fd, connection->user);
	if (too_many(connection) || watch(connection) != 0) {
		ctl_complain(ctl, "client of uid %u refused: too many connections", (unsigned)connection->uid);
		atomic_fetch_add(&ctl->refused, 1);
		ctl_file_close(connection->file);
		connection_free(connection);
		return;
	}
	atomic_fetch_add(&ctl->connection_count, 1);
	TAILQ_INSERT_TAIL(&ctl->connections, connection, next);
	ctl_user_counts(connection->user)->connections++;
	ctl_user_counts(connection->user)->silent++;
	connection->in_silent = true;
	expect(connection);
	limit_silent(connection);
}

static void not_silent(struct ctl_connection *connection)
{
	if (connection->in_silent)
		ctl_user_counts(connection->user)->silent--;
	connection->in_silent = false;
	expect_end(connection);
}

void ctl_connection_greeted(struct ctl_connection *connection)
{
	not_silent(connection);
	connection->state = CTL_STATE_GREETING;
}

/* ---- The end ---- */

void ctl_connection_linger(struct ctl_connection *connection)
{
	if (connection->state >= CTL_STATE_LINGER)
		return;
	not_silent(connection);
	connection->state = CTL_STATE_LINGER;
	expect(connection);
}

void ctl_connection_violates(struct ctl_connection *connection, const char *what)
{
	atomic_fetch_add(&connection->ctl->violations, 1);
	ctl_complain(connection->ctl, "client %d of uid %u: %s: session ended", (int)connection->pid,
		     (unsigned)connection->uid, what);
	ctl_connection_end(connection);
}

void ctl_connection_end(struct ctl_connection *connection)
{
	const bool greeting = connection->state == CTL_STATE_GREETING;
	struct ctl *ctl = connection->ctl;

	if (connection->state >= CTL_STATE_ENDED)
		return;
	not_silent(connection);
	connection->state = CTL_STATE_ENDED;
	(void)epoll_ctl(ctl->epoll, EPOLL_CTL_DEL, connection->fd, NULL);
	/* Nobody sends to the descriptor after this. */
	ctl_out_drop(connection);
	ctl_requests_end(connection);
	/* A worker at its HELLO has the session, and the holder, until it is done: go_if_idle(). */
	if (!greeting)
		ctl_session_detach(connection);
	(void)shutdown(connection->fd, SHUT_RDWR);
	ctl_file_close(connection->file);
	connection->file = NULL;
	ctl_user_counts(connection->user)->connections--;
	atomic_fetch_sub(&ctl->connection_count, 1);
	ctl_post(connection);
}

/* It has ended: goes with its last request. */
static void go_if_idle(struct ctl_connection *connection)
{
	struct ctl *ctl = connection->ctl;
	bool idle;

	if (connection->state == CTL_STATE_GONE)
		return;
	lock_mutex_take(&ctl->lock);
	idle = connection->requests == NULL && connection->running == 0;
	lock_mutex_drop(&ctl->lock);
	if (!idle)
		return;
	/* What a HELLO that was under way has found. */
	ctl_session_detach(connection);
	connection->state = CTL_STATE_GONE;
	TAILQ_REMOVE(&ctl->connections, connection, next);
	TAILQ_INSERT_TAIL(&ctl->gone, connection, next);
}

void ctl_connections_reap(struct ctl *ctl)
{
	struct ctl_connection *connection;

	while ((connection = TAILQ_FIRST(&ctl->gone)) != NULL) {
		TAILQ_REMOVE(&ctl->gone, connection, next);
		lock_mutex_take(&ctl->lock);
		if (connection->posted)
			STAILQ_REMOVE(&ctl->posted, connection, ctl_connection, next_posted);
		if (connection->runnable)
			TAILQ_REMOVE(&ctl->runnable, connection, next_runnable);
		lock_mutex_drop(&ctl->lock);
		connection_free(connection);
	}
}

/* ---- Between ---- */

static void set_interest(struct ctl_connection *connection, uint32_t interest)
{
	struct epoll_event event = {.events = interest, .data.ptr = connection};

	if (interest == connection->interest)
		return;
	connection->interest = interest;
	if (epoll_ctl(connection->ctl->epoll, EPOLL_CTL_MOD, connection->fd, &event) != 0)
		ctl_connection_end(connection);
}

/* The worker at its HELLO is done. */
static void end_greeting(struct ctl_connection *connection, enum ctl_greeting greeting)
{
	if (connection->state != CTL_STATE_GREETING)
		return;
	if (greeting == CTL_GREETING_WELCOME)
		connection->state = CTL_STATE_OPEN;
	else if (greeting == CTL_GREETING_REFUSED)
		ctl_connection_linger(connection);
}

/* It cannot be answered any more, mostly since it is gone: nothing new comes, what has been said is still heard. */
static void hear_out(struct ctl_connection *connection)
{
	if (!connection->hung_up)
		(void)shutdown(connection->fd, SHUT_RDWR);
	connection->hung_up = true;
}

static bool is_over(const struct ctl_connection *connection, bool broken, size_t out)
{
	if (connection->state == CTL_STATE_LINGER && out == 0)
		return true;
	return broken && connection->state != CTL_STATE_OPEN;
}

/* What epoll is to look for. A client that is gone is heard to the end: it may have said goodbye. */
static uint32_t wanted(const struct ctl_connection *connection, unsigned queued, size_t out)
{
	uint32_t interest = out > 0 ? EPOLLOUT : 0;

	if (connection->state != CTL_STATE_NEW && connection->state != CTL_STATE_OPEN)
		return interest;
	if (connection->hung_up || (queued < CTL_QUEUED_MAX && !atomic_load(&connection->out_full)))
		interest |= EPOLLIN;
	return interest;
}

void ctl_connection_look(struct ctl_connection *connection)
{
	struct ctl *ctl = connection->ctl;
	enum ctl_greeting greeting;
	bool broken, superseded;
	unsigned queued;
	size_t out;

	if (connection->state >= CTL_STATE_ENDED) {
		go_if_idle(connection);
		return;
	}
	out = ctl_out_bytes(connection, &broken);
	lock_mutex_take(&ctl->lock);
	greeting = connection->greeting;
	queued = connection->queued;
	superseded = connection->superseded;
	ctl_requests_run_locked(connection);
	lock_mutex_drop(&ctl->lock);
	end_greeting(connection, greeting);
	if (superseded || is_over(connection, broken, out)) {
		ctl_connection_end(connection);
		return;
	}
	if (broken)
		hear_out(connection);
	set_interest(connection, wanted(connection, queued, out));
}
