#include "client/client.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int client_send(int socket, const void *message, size_t length, int attached, int flags)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
	struct iovec data = {.iov_base = (void *)message, .iov_len = length};
	struct msghdr packet = {.msg_iov = &data, .msg_iovlen = 1};

	if (attached >= 0) {
		memcpy(CMSG_DATA(&control.header), &attached, sizeof(attached));
		packet.msg_control = &control;
		packet.msg_controllen = sizeof(control.room);
	}
	if (sendmsg(socket, &packet, flags | MSG_NOSIGNAL) >= 0)
		return 0;
	return errno == EPIPE || errno == ECONNRESET ? -ENOTCONN : -errno;
}

static void take_fds(struct msghdr *packet, struct client_message *message)
{
	for (struct cmsghdr *control = CMSG_FIRSTHDR(packet); control != NULL; control = CMSG_NXTHDR(packet, control)) {
		size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
			continue;
		/* The room for control data ends what the kernel can have put there. */
		for (size_t i = 0; i < count && message->fd_count < WIRE_FDS_MAX; i++)
			memcpy(&message->fds[message->fd_count++], CMSG_DATA(control) + i * sizeof(int), sizeof(int));
	}
}

static int check_message(const struct client_message *message, bool (*valid)(const void *message, size_t size))
{
	unsigned least, most;

	if (!valid(message->bytes, message->size))
		return -EPROTO;
	wire_fds_expected(client_message_header(message)->type, &least, &most);
	return message->fd_count < least || message->fd_count > most ? -EPROTO : 0;
}

int client_receive(int socket, bool (*valid)(const void *message, size_t size), int flags,
		   struct client_message *message)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
	} control;
	struct iovec data = {.iov_base = message->bytes, .iov_len = sizeof(message->bytes)};
	struct msghdr packet = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.room)};
	ssize_t got = recvmsg(socket, &packet, flags | MSG_CMSG_CLOEXEC);
	int error;

	message->fd_count = 0;
	if (got < 0)
		return errno == ECONNRESET ? -ENOTCONN : -errno;
	message->size = (size_t)got;
	take_fds(&packet, message);
	/* Only what shut the socket down sends nothing: an empty packet is none of ours either. */
	if (got == 0)
		error = -ENOTCONN;
	else if (packet.msg_flags & MSG_CTRUNC)
		error = -EMFILE;
	else if (packet.msg_flags & MSG_TRUNC)
		error = -EPROTO;
	else
		error = check_message(message, valid);
	if (error != 0)
		client_message_close(message);
	return error;
}

void client_message_close(struct client_message *message)
{
	for (unsigned i = 0; i < message->fd_count; i++) {
		if (message->fds[i] >= 0)
			(void)close(message->fds[i]);
	}
	message->fd_count = 0;
}

const struct wire_header *client_message_header(const struct client_message *message)
{
	return (const struct wire_header *)message->bytes;
}
