/*
 * What clients say: one packet at a time, checked before anything of it is believed. What cannot be understood ends
 * that session. Unpin, bell, word, cancel and goodbye are done here and now: nothing that lets others go on waits for a
 * worker.
 */
#include "ctl/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* ---- Descriptors ---- */

int ctl_spares_fill(struct ctl *ctl, unsigned count)
{
	while (ctl->spares < count) {
		struct ctl_file *file = calloc(1, sizeof(*file));

		if (file == NULL)
			return -ENOMEM;
		STAILQ_INSERT_HEAD(&ctl->spare, file, next);
		ctl->spares++;
	}
	return 0;
}

struct ctl_file *ctl_spare_take(struct ctl *ctl, int fd, struct ctl_user *user)
{
	struct ctl_file *file = STAILQ_FIRST(&ctl->spare);

	STAILQ_REMOVE_HEAD(&ctl->spare, next);
	ctl->spares--;
	ctl_file_set(file, fd, user);
	return file;
}

static void files_close(struct ctl_files *files)
{
	struct ctl_file *file;

	while ((file = STAILQ_FIRST(files)) != NULL) {
		STAILQ_REMOVE_HEAD(files, next);
		ctl_file_close(file);
	}
}

static unsigned take_files(struct ctl_connection *connection, struct msghdr *packet, struct ctl_files *files)
{
	unsigned count = 0;

	for (struct cmsghdr *control = CMSG_FIRSTHDR(packet); control != NULL; control = CMSG_NXTHDR(packet, control)) {
		size_t bytes = control->cmsg_len - CMSG_LEN(0);

		if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; at + sizeof(int) <= bytes; at += sizeof(int), count++) {
			struct ctl_file *file;
			int fd;

			memcpy(&fd, CMSG_DATA(control) + at, sizeof(fd));
			file = ctl_spare_take(connection->ctl, fd, connection->user);
			STAILQ_INSERT_TAIL(files, file, next);
		}
	}
	return count;
}

static struct ctl_file *only_file(struct ctl_files *files)
{
	struct ctl_file *file = STAILQ_FIRST(files);

	if (file != NULL)
		STAILQ_REMOVE_HEAD(files, next);
	return file;
}

/* ---- Requests that are done at once ---- */

static void do_unpin(struct ctl_connection *connection, const struct wire_range *range)
{
	int error = fs_unpin(connection->ctl->fs, connection->session->holder, range->pin);

	/* A cached pin that was taken away is given back, too: its word is free from now on. */
	if (ctl_word_unbind(connection, range->pin))
		error = 0;
	ctl_done(connection, range->header.request, error);
}

/* A cached pin that was kept by another daemon gets its word again. */
static int give_word(struct ctl_connection *connection, const struct wire_range *range)
{
	struct ctl_word *word = calloc(1, sizeof(*word));
	wire_word *place;
	uint32_t index;
	int error;

	if (word == NULL)
		return -ENOMEM;
	index = (uint32_t)min_u64(range->offset, WIRE_WORD_NONE);
	error = ctl_word_take(connection, index, &place);
	if (error != 0)
		goto free_word;
	error = fs_pin_set_word(connection->ctl->fs, connection->session->holder, range->pin, place);
	if (error != 0)
		goto release;
	ctl_word_bind(connection, word, range->pin, index);
	return 0;

release:
	ctl_word_release(connection, index);
free_word:
	free(word);
	return error;
}

static void do_goodbye(struct ctl_connection *connection, const struct wire_header *header)
{
	connection->goodbye = true;
	ctl_requests_end(connection);
	ctl_session_detach(connection);
	ctl_done(connection, header->request, 0);
	ctl_connection_linger(connection);
}

/* ---- Requests for workers ---- */

static void refuse(struct ctl_connection *connection, const struct wire_header *header, int error)
{
	ctl_done(connection, header->request, error);
	if (header->type == WIRE_HELLO)
		ctl_connection_linger(connection);
}

static void fill(struct ctl_request *request, const void *message)
{
	const struct wire_pin *pin = message;
	const struct wire_range *range = message;

	switch (request->type) {
	case WIRE_HELLO:
		memcpy(&request->hello, message, sizeof(request->hello));
		break;
	case WIRE_PIN:
		request->pin.holder = request->holder;
		request->pin.offset = pin->offset;
		request->pin.length = pin->length;
		request->flags = pin->flags;
		request->asked_index = pin->word;
		break;
	case WIRE_COMMIT:
		request->commit.holder = request->holder;
		request->commit.pin = range->pin;
		request->commit.offset = range->offset;
		request->commit.length = range->length;
		break;
	case WIRE_MAP:
		memcpy(&request->map, message, sizeof(request->map));
		break;
	default:
		break;
	}
}

/*
 * True if the loop may begin a pin itself: nobody else is waiting for it, and closers keep up with the descriptors that
 * come in (it would be faster than they are, on a machine that is busy).
 */
static bool may_do(struct ctl_connection *connection)
{
	return connection->ctl->alone && ctl_user_closing(connection->user) < CTL_CLOSING_FEW;
}

static void queue(struct ctl_connection *connection, const void *message, struct ctl_files *files)
{
	const struct wire_header *header = message;
	struct ctl_request *request;
	int error;

	/* Nobody would hear the answer. */
	if (connection->hung_up)
		return;
	request = ctl_request_new(connection, header, only_file(files));
	if (request == NULL) {
		refuse(connection, header, -ENOMEM);
		return;
	}
	fill(request, message);
	if (header->type == WIRE_PIN && may_do(connection))
		error = ctl_request_do(request);
	else
		error = ctl_request_add(request);
	if (error == 0)
		return;
	ctl_request_free(request);
	if (error == -EEXIST)
		ctl_connection_violates(connection, "a request's number is in use");
	else
		refuse(connection, header, error);
}

/* ---- One packet ---- */

static void dispatch(struct ctl_connection *connection, const void *message, struct ctl_files *files)
{
	const struct wire_header *header = message;
	const struct wire_cancel *cancel = message;
	const struct wire_range *range = message;

	switch (header->type) {
	case WIRE_UNPIN:
		do_unpin(connection, range);
		break;
	case WIRE_BELL:
		(void)fs_pin_bell(connection->ctl->fs, connection->session->holder, range->pin);
		break;
	case WIRE_WORD:
		ctl_done(connection, header->request, give_word(connection, range));
		break;
	case WIRE_CANCEL:
		ctl_request_cancel(connection, cancel->target);
		ctl_done(connection, header->request, 0);
		break;
	case WIRE_GOODBYE:
		do_goodbye(connection, header);
		break;
	default:
		queue(connection, message, files);
		break;
	}
}

/* What is wrong with it, or NULL. */
static const char *check(const struct ctl_connection *connection, const struct msghdr *packet, size_t size,
			 unsigned fd_count)
{
	const struct wire_header *header = packet->msg_iov->iov_base;
	unsigned least, most;

	if ((packet->msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
		return "a message or its descriptors were cut off";
	if (!wire_header_valid(header, size))
		return "not a message";
	if (wire_request_known(header->type) && !wire_request_valid(header, size))
		return "a message is too short";
	if ((connection->state == CTL_STATE_NEW) != (header->type == WIRE_HELLO))
		return connection->state == CTL_STATE_NEW ? "no hello" : "hello twice";
	wire_fds_expected(header->type, &least, &most);
	if (fd_count < least || fd_count > most)
		return "a wrong number of descriptors";
	return NULL;
}

static void take_message(struct ctl_connection *connection, struct msghdr *packet, size_t size)
{
	const struct wire_header *header = packet->msg_iov->iov_base;
	struct ctl_files files = STAILQ_HEAD_INITIALIZER(files);
	unsigned fd_count = take_files(connection, packet, &files);
	const char *wrong = check(connection, packet, size, fd_count);

	if (wrong == NULL && ctl_user_stuck(connection->user))
		wrong = "its descriptors cannot be closed";
	if (wrong != NULL) {
		ctl_connection_violates(connection, wrong);
	} else if (!wire_request_known(header->type)) {
		ctl_done(connection, header->request, -EOPNOTSUPP);
	} else if (header->type == WIRE_HELLO) {
		ctl_connection_greeted(connection);
		queue(connection, header, &files);
	} else {
		dispatch(connection, header, &files);
	}
	files_close(&files);
}

void ctl_receive(struct ctl_connection *connection)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int) * CTL_FDS_ROOM)];
	} control;
	struct ctl *ctl = connection->ctl;
	struct iovec iov = {.iov_base = ctl->buffer, .iov_len = sizeof(ctl->buffer)};
	struct msghdr packet = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t size;

	if (ctl_spares_fill(ctl, CTL_FDS_ROOM) != 0) {
		ctl_connection_end(connection);
		return;
	}
	size = recvmsg(connection->fd, &packet, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (size > 0) {
		take_message(connection, &packet, (size_t)size);
	} else if (size == 0) {
		/* The end, or an empty packet, which may have brought descriptors. */
		struct ctl_files files = STAILQ_HEAD_INITIALIZER(files);

		(void)take_files(connection, &packet, &files);
		files_close(&files);
		ctl_connection_end(connection);
	} else if (errno == ECONNRESET) {
		/* It went without reading all; what it has said before is still to come. Whoever is there all the same
		 * is told: nothing is sent to it any more. */
		connection->hung_up = true;
		(void)shutdown(connection->fd, SHUT_WR);
	} else if (errno != EAGAIN && errno != EINTR) {
		ctl_connection_end(connection);
	}
	if (connection->state < CTL_STATE_ENDED)
		ctl_connection_look(connection);
}
