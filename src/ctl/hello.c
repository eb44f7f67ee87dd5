/*
 * HELLO: who is there, may it come in, is it new or does it come back. By a worker: a new session is recorded durably.
 */
#include "ctl/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* 6.5 */
#endif

/* ---- Access ---- */

static bool in_group(const struct ctl_connection *connection, gid_t group)
{
	socklen_t length = 0;
	bool found = false;
	gid_t *groups;

	if (connection->gid == group)
		return true;
	if (getsockopt(connection->fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &length) == 0 || errno != ERANGE)
		return false;
	groups = malloc(length);
	if (groups == NULL)
		return false;
	if (getsockopt(connection->fd, SOL_SOCKET, SO_PEERGROUPS, groups, &length) == 0) {
		for (size_t i = 0; i < length / sizeof(*groups) && !found; i++)
			found = groups[i] == group;
	}
	free(groups);
	return found;
}

static bool may_connect(const struct ctl_connection *connection)
{
	const struct ctl_options *options = &connection->ctl->options;

	if (connection->privileged)
		return true;
	switch (options->access) {
	case CTL_ACCESS_ALL:
		return true;
	case CTL_ACCESS_GROUP:
		return in_group(connection, options->group);
	default:
		return false;
	}
}

/* ---- Identity ---- */

/* -EPERM: the process that connected is not the one of that number. */
static int check_peer(const struct ctl_connection *connection, const struct process_identity *process,
		      uint64_t start_time)
{
	socklen_t length = sizeof(int);
	struct pollfd peer;
	bool dead;

	if (getsockopt(connection->fd, SOL_SOCKET, SO_PEERPIDFD, &peer.fd, &length) != 0) {
		/* An older kernel: the client's word, which only it has an interest in. */
		if (errno == ENOPROTOOPT)
			return process->start_time == start_time ? 0 : -EPERM;
		if (errno == ENOMEM)
			return -ENOMEM;
		return errno == EMFILE || errno == ENFILE ? -EMFILE : -EPERM;
	}
	/* It lives still, so its number has been its own all the time. */
	peer.events = POLLIN;
	dead = poll(&peer, 1, 0) != 0;
	close(peer.fd);
	return dead ? -EPERM : 0;
}

static int identify(const struct ctl_connection *connection, uint64_t start_time, struct process_identity *ret_process,
		    int *ret_pidfd)
{
	int pidfd;
	int error;

	/* 0: of a namespace that is not below ours. */
	if (connection->pid <= 0)
		return -EPERM;
	error = process_identify(connection->pid, ret_process, &pidfd);
	if (error != 0)
		return error == -ESRCH ? -EPERM : error;
	error = check_peer(connection, ret_process, start_time);
	if (error != 0) {
		close(pidfd);
		return error;
	}
	*ret_pidfd = pidfd;
	return 0;
}

/* ---- What it is told ---- */

struct kept {
	struct ctl_session *session;
	struct ctl_pinned *pin;
	size_t count;
	size_t capacity;
};

static int see_kept(void *arg, const struct pin_info *info)
{
	struct kept *kept = arg;

	if (info->dropped || info->tentative)
		return 0;
	if (kept->count == kept->capacity) {
		size_t capacity = kept->capacity == 0 ? 16 : kept->capacity * 2;
		struct ctl_pinned *grown = reallocarray(kept->pin, capacity, sizeof(*grown));

		if (grown == NULL)
			return -ENOMEM;
		kept->pin = grown;
		kept->capacity = capacity;
	}
	kept->pin[kept->count++] = (struct ctl_pinned){
		.pin = info->id,
		.ino = info->ino,
		.offset = info->offset,
		.length = info->length,
		.flags = ctl_wire_flags(info->flags),
		.word = ctl_word_find(kept->session, info->id),
		.generation = info->generation,
	};
	return 0;
}

/* The pins that the session has kept; those that go meanwhile are left out. */
static int list_kept(struct ctl_session *session, struct ctl_connection *connection, struct ctl_messages *list,
		     uint32_t *ret_count)
{
	struct kept kept = {.session = session};
	uint32_t count = 0;
	int error = fs_holder_visit(connection->ctl->fs, session->holder, see_kept, &kept);

	for (size_t i = 0; i < kept.count && error == 0; i++) {
		error = ctl_answer_pinned(connection, session->holder, &kept.pin[i], list);
		if (error == 0)
			count++;
		else if (error == -ENOENT)
			error = 0;
	}
	free(kept.pin);
	*ret_count = count;
	return error;
}

static struct ctl_message *welcome_new(const struct ctl_request *request, const struct ctl_session *session,
				       bool reclaimed, uint32_t pins)
{
	const struct ctl_options *options = &session->ctl->options;
	struct ctl_message *message = ctl_message_new(WIRE_WELCOME, sizeof(struct wire_welcome), request->number, 0);
	struct wire_welcome *welcome;

	if (message == NULL)
		return NULL;
	welcome = (struct wire_welcome *)message->bytes;
	welcome->version = (uint32_t)min_u64(request->hello.version_max, WIRE_VERSION_MAX);
	welcome->flags = (reclaimed ? WIRE_WELCOME_RECLAIMED : 0) | (options->writeback ? WIRE_WELCOME_WRITEBACK : 0) |
			 (options->read_only ? WIRE_WELCOME_READ_ONLY : 0);
	welcome->features = request->hello.features & WIRE_FEATURES;
	welcome->session = session->number;
	memcpy(welcome->cookie, session->cookie, sizeof(welcome->cookie));
	memcpy(welcome->pool_uuid, options->pool_uuid, sizeof(welcome->pool_uuid));
	welcome->page_words = WIRE_PAGE_WORDS;
	welcome->pins = pins;
	return message;
}

/* Takes both descriptors. */
static int welcome(struct ctl_request *request, struct ctl_session *session, bool reclaimed, int events, int page)
{
	struct ctl_connection *connection = request->connection;
	struct ctl_messages list = STAILQ_HEAD_INITIALIZER(list);
	struct ctl_message *message = NULL;
	uint32_t pins = 0;
	int error = 0;

	pthread_mutex_lock(&connection->giving);
	if (reclaimed)
		error = list_kept(session, connection, &list, &pins);
	if (error == 0) {
		message = welcome_new(request, session, reclaimed, pins);
		error = message == NULL ? -ENOMEM : 0;
	}
	if (error == 0) {
		message->fds[0] = events;
		message->fds[1] = page;
		message->fd_count = 2;
		STAILQ_INSERT_HEAD(&list, message, next);
		ctl_request_answered(request);
		ctl_send(connection, &list);
	} else {
		ctl_messages_free(&list);
		close(events);
		close(page);
	}
	pthread_mutex_unlock(&connection->giving);
	return error;
}

/* ---- The session ---- */

/* The client only listens on its end: what it may say on it is never read. */
static int make_events(struct ctl_session *session, int *ret_client)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
		return -errno;
	if (shutdown(pair[0], SHUT_RD) != 0) {
		int error = -errno;

		close(pair[0]);
		close(pair[1]);
		return error;
	}
	session->events = pair[0];
	*ret_client = pair[1];
	return 0;
}

/* The session is claimed for this connection, or new. Takes the pidfd. */
static int open_session(struct ctl_request *request, struct ctl_session *session, int pidfd, bool reclaimed, int page)
{
	struct ctl_connection *connection = request->connection;
	struct fs *fs = connection->ctl->fs;
	struct fs_holder *holder;
	bool left = false;
	int events = -1;
	int error = make_events(session, &events);

	if (error != 0) {
		close(pidfd);
		goto close_page;
	}
	if (reclaimed)
		error = fs_holder_reclaim(fs, request->hello.cookie, &session->process, pidfd, connection->uid,
					  &ctl_holder_ops, session, &holder);
	else
		error = fs_holder_open(fs, &session->process, pidfd, connection->uid, connection->gid, &ctl_holder_ops,
				       session, &holder);
	if (error != 0)
		goto close_events;
	error = ctl_session_attach(session, connection, holder);
	if (error != 0)
		goto leave;
	/* From here on the end of the connection sees to the session. */
	return welcome(request, session, reclaimed, events, page);

leave:
	/* What has come back keeps its pins, and so its page, until the process is dead. */
	left = reclaimed;
	if (left)
		fs_holder_leave(fs, holder);
	else
		fs_holder_close(fs, holder);
close_events:
	close(events);
	close(session->events);
	session->events = -1;
close_page:
	close(page);
	ctl_session_abandon(session, left);
	return error;
}

static int new_session(struct ctl_request *request, const struct process_identity *process, int pidfd)
{
	struct ctl_session *session = ctl_session_new(request->connection);
	int page;
	int error;

	if (session == NULL) {
		close(pidfd);
		return -ENOMEM;
	}
	session->process = *process;
	error = ctl_page_create(session, &page);
	if (error != 0) {
		close(pidfd);
		ctl_session_abandon(session, false);
		return error;
	}
	return open_session(request, session, pidfd, false, page);
}

/* Of this daemon's, or of one before it. */
static int find_session(struct ctl_request *request, const struct process_identity *process,
			struct ctl_session **ret_session)
{
	struct ctl_session *session;
	int error = ctl_session_claim(request, process, &session);

	if (error == -ENOENT) {
		session = ctl_session_new(request->connection);
		if (session == NULL)
			return -ENOMEM;
		session->process = *process;
		error = 0;
	}
	if (error == 0)
		*ret_session = session;
	return error;
}

static int old_session(struct ctl_request *request, const struct process_identity *process, int pidfd)
{
	struct ctl_session *session;
	int page = -1;
	int error = request->file == NULL ? -EINVAL : find_session(request, process, &session);

	if (error != 0) {
		close(pidfd);
		return error;
	}
	error = ctl_page_adopt(session, request->file->fd);
	if (error == 0) {
		page = fcntl(request->file->fd, F_DUPFD_CLOEXEC, 0);
		error = page < 0 ? -errno : 0;
	}
	if (error != 0) {
		close(pidfd);
		ctl_session_abandon(session, false);
		return error;
	}
	return open_session(request, session, pidfd, true, page);
}

static int greet(struct ctl_request *request)
{
	static const uint8_t no_cookie[WIRE_COOKIE_BYTES];
	struct ctl_connection *connection = request->connection;
	const struct wire_hello *hello = &request->hello;
	struct process_identity process;
	int pidfd;
	int error;

	if (ctl_ended(connection))
		return -ECANCELED;
	if (!may_connect(connection))
		return -EACCES;
	if (hello->version_min > WIRE_VERSION_MAX || hello->version_max < WIRE_VERSION_MIN ||
	    hello->version_min > hello->version_max)
		return -EPROTONOSUPPORT;
	error = identify(connection, hello->start_time, &process, &pidfd);
	if (error != 0)
		return error;
	if (memcmp(hello->cookie, no_cookie, sizeof(no_cookie)) == 0)
		return new_session(request, &process, pidfd);
	return old_session(request, &process, pidfd);
}

int ctl_do_hello(struct ctl_request *request)
{
	struct ctl_connection *connection = request->connection;
	struct ctl *ctl = connection->ctl;
	int error = greet(request);

	if (error == -EINPROGRESS)
		return error;
	if (error != 0) {
		atomic_fetch_add(&ctl->refused, 1);
		ctl_request_answered(request);
		ctl_done(connection, request->number, error);
	}
	lock_mutex_take(&ctl->lock);
	connection->greeting = error == 0 ? CTL_GREETING_WELCOME : CTL_GREETING_REFUSED;
	ctl_post_locked(connection);
	lock_mutex_drop(&ctl->lock);
	return error;
}
