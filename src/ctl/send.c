/*
 * Answers. Whoever has one sends it at once if nothing is queued before it; what the socket does not take is queued and
 * sent by the loop. Nobody waits for a client.
 */
#include "ctl/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct ctl_message *ctl_message_new(unsigned type, size_t size, uint64_t request, int error)
{
	struct ctl_message *message = calloc(1, sizeof(*message) + size);

	if (message == NULL)
		return NULL;
	message->size = (uint32_t)size;
	wire_header_set((struct wire_header *)message->bytes, type, size, request, error);
	return message;
}

static void message_free(struct ctl_message *message)
{
	for (uint32_t i = 0; i < message->fd_count; i++)
		close(message->fds[i]);
	free(message);
}

void ctl_messages_free(struct ctl_messages *list)
{
	struct ctl_message *message;

	while ((message = STAILQ_FIRST(list)) != NULL) {
		STAILQ_REMOVE_HEAD(list, next);
		message_free(message);
	}
}

/* What one message takes of the daemon while it is queued. */
static size_t message_bytes(const struct ctl_message *message)
{
	return sizeof(*message) + message->size;
}

size_t ctl_messages_bytes(const struct ctl_messages *list)
{
	const struct ctl_message *message;
	size_t bytes = 0;

	STAILQ_FOREACH(message, list, next)
	bytes += message_bytes(message);
	return bytes;
}

/* 0, or -EAGAIN: the socket is full; any other: it is of no use any more. */
static int send_packet(int fd, const void *bytes, size_t size, const int *fds, uint32_t fd_count)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int) * 2)];
	} control = {.room = {0}};
	struct iovec iov = {.iov_base = (void *)bytes, .iov_len = size};
	struct msghdr packet = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd_count > 0) {
		packet.msg_control = &control;
		packet.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * fd_count);
	}
	while (sendmsg(fd, &packet, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		if (errno != EINTR)
			return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	}
	return 0;
}

/* out_lock held. */
static void drop_locked(struct ctl_connection *connection)
{
	ctl_messages_free(&connection->out);
	(void)ctl_user_out(connection->user, -(int64_t)connection->out_bytes);
	connection->out_bytes = 0;
	connection->broken = true;
}

void ctl_out_drop(struct ctl_connection *connection)
{
	lock_mutex_take(&connection->out_lock);
	drop_locked(connection);
	lock_mutex_drop(&connection->out_lock);
}

/* Sends from `list` while the socket takes it. True: the list is empty, or nothing will ever be sent. */
static bool send_some_locked(struct ctl_connection *connection, struct ctl_messages *list, size_t *ret_bytes)
{
	struct ctl_message *message;
	size_t bytes = 0;
	int error = 0;

	while ((message = STAILQ_FIRST(list)) != NULL) {
		error = send_packet(connection->fd, message->bytes, message->size, message->fds, message->fd_count);
		if (error != 0)
			break;
		bytes += message_bytes(message);
		STAILQ_REMOVE_HEAD(list, next);
		message_free(message);
	}
	*ret_bytes = bytes;
	if (error != 0 && error != -EAGAIN) {
		ctl_messages_free(list);
		connection->broken = true;
		return true;
	}
	return error == 0;
}

void ctl_send(struct ctl_connection *connection, struct ctl_messages *list)
{
	size_t sent = 0;
	bool done;

	lock_mutex_take(&connection->out_lock);
	if (connection->broken)
		ctl_messages_free(list);
	done = STAILQ_EMPTY(&connection->out) && send_some_locked(connection, list, &sent);
	if (connection->broken) {
		ctl_messages_free(list);
		done = false;
	} else if (!done) {
		size_t bytes = ctl_messages_bytes(list);

		STAILQ_CONCAT(&connection->out, list);
		connection->out_bytes += bytes;
		if (connection->out_bytes >= CTL_OUT_MAX)
			atomic_store(&connection->out_full, true);
		(void)ctl_user_out(connection->user, (int64_t)bytes);
	}
	lock_mutex_drop(&connection->out_lock);
	/* It waits for room now, or is to be ended. */
	if (!done)
		ctl_post(connection);
}

void ctl_done(struct ctl_connection *connection, uint64_t request, int error)
{
	struct ctl_messages list = STAILQ_HEAD_INITIALIZER(list);
	struct ctl_message *message;
	struct wire_done done;
	int result = -EAGAIN;

	wire_header_set(&done.header, WIRE_DONE, sizeof(done), request, -error);
	lock_mutex_take(&connection->out_lock);
	if (connection->broken)
		result = 0;
	else if (STAILQ_EMPTY(&connection->out))
		result = send_packet(connection->fd, &done, sizeof(done), NULL, 0);
	if (result != 0 && result != -EAGAIN)
		drop_locked(connection);
	lock_mutex_drop(&connection->out_lock);
	if (result == 0)
		return;
	if (result != -EAGAIN) {
		ctl_post(connection);
		return;
	}
	message = ctl_message_new(WIRE_DONE, sizeof(done), request, -error);
	if (message != NULL) {
		STAILQ_INSERT_TAIL(&list, message, next);
		ctl_send(connection, &list);
	} else {
		/* An answer that is missing would be waited for: better none at all. */
		ctl_out_drop(connection);
		ctl_post(connection);
	}
}

void ctl_flush(struct ctl_connection *connection)
{
	size_t sent;

	lock_mutex_take(&connection->out_lock);
	(void)send_some_locked(connection, &connection->out, &sent);
	if (connection->broken)
		sent = connection->out_bytes;
	connection->out_bytes -= sent;
	if (connection->out_bytes < CTL_OUT_MAX / 2)
		atomic_store(&connection->out_full, false);
	(void)ctl_user_out(connection->user, -(int64_t)sent);
	lock_mutex_drop(&connection->out_lock);
}

size_t ctl_out_bytes(struct ctl_connection *connection, bool *ret_broken)
{
	size_t bytes;

	lock_mutex_take(&connection->out_lock);
	bytes = connection->out_bytes;
	*ret_broken = connection->broken;
	lock_mutex_drop(&connection->out_lock);
	return bytes;
}
