#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECT_MS 10000

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int fail(struct link *link, int error, const char *why)
{
	message_set(&link->message, "%s: %s", link->node, why);
	return error;
}

/* ---- Bytes ---- */

static int wait_fd(int fd, short events, uint64_t end_ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = events};

	for (;;) {
		uint64_t now = now_ms();
		int got = now >= end_ms ? 0 : poll(&poll_fd, 1, (int)(end_ms - now));

		if (got > 0)
			return 0;
		if (got == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

static int send_all(struct link *link, const void *bytes, size_t length, uint64_t end_ms)
{
	const uint8_t *at = bytes;

	while (length > 0) {
		ssize_t got = send(link->fd, at, length, MSG_NOSIGNAL);

		if (got < 0 && errno != EAGAIN && errno != EINTR)
			return fail(link, -errno, strerror(errno));
		if (got < 0) {
			if (wait_fd(link->fd, POLLOUT, end_ms) != 0)
				return fail(link, -ETIMEDOUT, "does not take what it is sent: is the network cut?");
			continue;
		}
		at += got;
		length -= (size_t)got;
	}
	return 0;
}

/* Before messages are sealed: a known number of bytes. */
static int receive_all(struct link *link, void *room, size_t length, uint64_t end_ms)
{
	uint8_t *at = room;

	while (length > 0) {
		ssize_t got = recv(link->fd, at, length, 0);

		if (got == 0)
			return fail(link, -ECONNRESET, "has hung up: is it pinfs-rdma-serve, and not at its limits?");
		if (got < 0 && errno != EAGAIN && errno != EINTR)
			return fail(link, -errno, strerror(errno));
		if (got < 0) {
			if (wait_fd(link->fd, POLLIN, end_ms) != 0)
				return fail(link, -ETIMEDOUT, "does not answer: is it pinfs-rdma-serve?");
			continue;
		}
		at += got;
		length -= (size_t)got;
	}
	return 0;
}

/* ---- Connecting ---- */

static int dial(const struct addrinfo *address, uint64_t end_ms)
{
	int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const int one = 1;
	int error = 0;
	socklen_t size = sizeof(error);

	if (fd < 0)
		return -errno;
	if (connect(fd, address->ai_addr, address->ai_addrlen) != 0) {
		error = errno;
		if (error == EINPROGRESS) {
			error = -wait_fd(fd, POLLOUT, end_ms);
			if (error == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
				error = errno;
		}
	}
	if (error != 0) {
		(void)close(fd);
		return -error;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static int dial_any(struct link *link, const char *host, uint16_t port, uint64_t end_ms)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	struct addrinfo *addresses;
	char service[8];
	int error, fd = -EADDRNOTAVAIL;

	(void)snprintf(service, sizeof(service), "%u", port);
	error = getaddrinfo(host, service, &hints, &addresses);
	if (error != 0)
		return fail(link, -EHOSTUNREACH, gai_strerror(error));
	for (const struct addrinfo *at = addresses; at != NULL && fd < 0; at = at->ai_next) {
		fd = dial(at, end_ms);
		if (fd >= 0)
			(void)getnameinfo(at->ai_addr, at->ai_addrlen, link->node, sizeof(link->node), NULL, 0,
					  NI_NUMERICHOST);
	}
	freeaddrinfo(addresses);
	if (fd < 0) {
		message_set(&link->message, "%s port %u: %s", host, port, strerror(-fd));
		return fd;
	}
	link->fd = fd;
	return 0;
}

static int refused(struct link *link, const struct remote_challenge *challenge)
{
	if (challenge->magic != REMOTE_MAGIC)
		return fail(link, -EPROTO, "does not speak this protocol: is it pinfs-rdma-serve?");
	if (challenge->error == EBUSY)
		return fail(link, -EBUSY, "has too many peers: try again later (--peers of the server)");
	if (challenge->error == 0 && challenge->version >= REMOTE_VERSION_MIN &&
	    challenge->version <= REMOTE_VERSION_MAX)
		return 0;
	message_set(&link->message, "%s: it speaks versions %u to %u of the protocol, this program %u to %u",
		    link->node, challenge->version_min, challenge->version_max, REMOTE_VERSION_MIN, REMOTE_VERSION_MAX);
	return -EPROTONOSUPPORT;
}

static int shake_hands(struct link *link, const struct remote_secret *secret, uint64_t end_ms)
{
	struct remote_hello hello = {
		.magic = REMOTE_MAGIC, .version_min = REMOTE_VERSION_MIN, .version_max = REMOTE_VERSION_MAX};
	struct remote_challenge challenge;
	struct remote_proof proof, welcome;
	int error;

	randombytes_buf(hello.nonce, sizeof(hello.nonce));
	error = send_all(link, &hello, sizeof(hello), end_ms);
	if (error == 0)
		error = receive_all(link, &challenge, sizeof(challenge), end_ms);
	if (error == 0)
		error = refused(link, &challenge);
	if (error != 0)
		return error;
	remote_prove(secret, REMOTE_PEER, &hello, &challenge, &link->seal, &proof);
	error = send_all(link, &proof, sizeof(proof), end_ms);
	if (error == 0)
		error = receive_all(link, &welcome, sizeof(welcome), end_ms);
	if (error != 0)
		return error;
	if (welcome.magic == REMOTE_MAGIC && welcome.error != 0)
		return fail(link, -EACCES, "it has another secret");
	if (!remote_believe(secret, REMOTE_SERVER, &hello, &challenge, &welcome, &link->seal))
		return fail(link, -EACCES, "it does not know the secret: it may be somebody else's server");
	return 0;
}

/* ---- Messages ---- */

static int take_message(struct link *link, size_t size)
{
	const struct remote_header *header = (const struct remote_header *)link->message_room;

	if (!remote_answer_valid(link->message_room, size))
		return fail(link, -EPROTO, "its message makes no sense");
	switch (header->type) {
	case REMOTE_SETUP:
	case REMOTE_GRANT:
	case REMOTE_DONE:
		memcpy(link->answer, link->message_room, size);
		link->answered = true;
		break;
	case REMOTE_RECALL:
		link->recalled |= header->lease == link->lease;
		break;
	case REMOTE_ENDED:
		if (header->lease == link->lease)
			link->ended = header->error > 0 && header->error < 4096 ? -header->error : -ECANCELED;
		break;
	default:
		break;
	}
	return 0;
}

/* Takes the messages that are there whole. */
static int take_input(struct link *link)
{
	size_t sealed, size, at = 0;
	int error = 0;

	while (error == 0 && link->have - at >= 4) {
		if (remote_sealed_size(link->input + at, &sealed) != 0)
			return fail(link, -EPROTO, "its message has an impossible length");
		if (link->have - at < 4 + sealed)
			break;
		if (remote_unseal(&link->seal, link->input + at + 4, sealed, link->message_room, &size) != 0)
			return fail(link, -EPROTO, "its message was changed on the way");
		at += 4 + sealed;
		error = take_message(link, size);
	}
	memmove(link->input, link->input + at, link->have - at);
	link->have -= at;
	return error;
}

static int receive(struct link *link)
{
	for (;;) {
		ssize_t got = recv(link->fd, link->input + link->have, sizeof(link->input) - link->have, 0);
		int error;

		if (got < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : fail(link, -errno, strerror(errno));
		if (got == 0)
			return fail(link, -ECONNRESET, "has hung up: the server, or its process for us, has ended");
		link->have += (size_t)got;
		link->heard_ms = now_ms();
		error = take_input(link);
		if (error != 0)
			return error;
	}
}

static int send_message(struct link *link, const void *message, size_t size)
{
	return send_all(link, link->output, remote_seal(&link->seal, message, size, link->output),
			now_ms() + link->setup.lease_ms);
}

static int beat(struct link *link, uint64_t now)
{
	const struct remote_header ping = {.type = REMOTE_PING};

	/* It may have spoken while we were busy, or stopped. */
	if (now - link->heard_ms >= link->setup.lease_ms) {
		int error = receive(link);

		if (error != 0)
			return error;
	}
	if (now - link->heard_ms >= link->setup.lease_ms && link->heard_ms <= now) {
		message_set(&link->message, "%s: has not been heard for %.1f s: is the network cut?", link->node,
			    (double)link->setup.lease_ms / 1000);
		return -ETIMEDOUT;
	}
	if (now - link->said_ms < link->setup.lease_ms / 4)
		return 0;
	link->said_ms = now;
	return send_message(link, &ping, sizeof(ping));
}

int link_wait(struct link *link, struct pollfd *fds, size_t count, int timeout_ms)
{
	struct pollfd all[8] = {{.fd = link->fd, .events = POLLIN}};
	uint64_t now = now_ms();
	int error = beat(link, now), next;

	if (error != 0)
		return error;
	next = (int)(link->said_ms + link->setup.lease_ms / 4 + 1 - now);
	for (size_t i = 0; i < count; i++)
		all[1 + i] = fds[i];
	if (poll(all, 1 + count, timeout_ms >= 0 && timeout_ms < next ? timeout_ms : next) < 0 && errno != EINTR)
		return fail(link, -errno, strerror(errno));
	for (size_t i = 0; i < count; i++)
		fds[i] = all[1 + i];
	return all[0].revents != 0 ? receive(link) : 0;
}

int link_connect(struct link *link, const char *host, uint16_t port, const struct remote_secret *secret)
{
	uint64_t end_ms = now_ms() + CONNECT_MS;
	int error;

	memset(link, 0, sizeof(*link));
	link->fd = -1;
	(void)snprintf(link->node, sizeof(link->node), "%s", host);
	error = dial_any(link, host, port, end_ms);
	if (error == 0)
		error = shake_hands(link, secret, end_ms);
	if (error != 0)
		return error;
	/* Until the setup says what the target wants. */
	link->setup.lease_ms = CONNECT_MS;
	link->heard_ms = link->said_ms = now_ms();
	while (!link->answered) {
		error = link_wait(link, NULL, 0, -1);
		if (error != 0)
			return error;
	}
	if (((const struct remote_header *)link->answer)->type != REMOTE_SETUP)
		return fail(link, -EPROTO, "its message makes no sense");
	memcpy(&link->setup, link->answer, sizeof(link->setup));
	return 0;
}

void link_close(struct link *link)
{
	if (link->fd >= 0)
		(void)close(link->fd);
	sodium_memzero(link, sizeof(*link));
	link->fd = -1;
}

/* ---- Requests ---- */

/* Sends it, waits for the answer: a GRANT if that is what it asks for, or DONE. 0, or what DONE says. */
static int ask(struct link *link, const void *request, size_t size, bool grant)
{
	const struct remote_header *answer = (const struct remote_header *)link->answer;
	int error;

	link->answered = false;
	link->said_ms = now_ms();
	error = send_message(link, request, size);
	while (error == 0 && !link->answered)
		error = link_wait(link, NULL, 0, -1);
	if (error != 0)
		return error;
	if (answer->type == REMOTE_GRANT && grant)
		return 0;
	if (answer->type != REMOTE_DONE || (grant && answer->error == 0) || answer->error < 0 || answer->error > 4095)
		return fail(link, -EPROTO, "its answer makes no sense");
	return -answer->error;
}

/* In the words of files and pins, what an errno of the target means. */
static const char *reason(int error)
{
	switch (error) {
	case -ENOENT:
		return "the server has no file of that name";
	case -EROFS:
		return "the server lets it be read only (or the mount is)";
	case -EFBIG:
		return "the range is longer than the server allows (--max)";
	case -E2BIG:
		return "the file is in too many pieces: ask for less at once";
	case -ESTALE:
		return "the lease has ended: the range is no longer the file's";
	case -ERANGE:
		return "the range does not end within the file or the lease";
	case -ENOTCONN:
		return "the daemon of the target's mount is gone";
	case -ESHUTDOWN:
		return "the target is being unmounted";
	case -EAGAIN:
		return "somebody is changing that range";
	case -EOPNOTSUPP:
		return "that memory cannot be registered for RDMA: see the server's messages";
	case -ENOMEM:
		return "no memory, over pin_limit, or the limit of locked memory: see the server's messages";
	case -ENODATA:
	case -ENODEV:
		return "the server has no device for its provider, or the file is not on a pinfs mount: see its "
		       "messages";
	case -EIO:
		return "some of the range is lost to a memory error, or libfabric failed: see the server's messages";
	case -ECANCELED:
		return "recalled: somebody truncates or frees that range";
	default:
		return strerror(-error);
	}
}

static int explain(struct link *link, int error)
{
	if (error != 0 && link->message.text[0] == '\0')
		message_set(&link->message, "%s: %s", link->node, reason(error));
	return error;
}

int link_open(struct link *link, const char *name, uint32_t flags, uint64_t offset, uint64_t length,
	      const struct remote_grant **ret_grant)
{
	_Alignas(8) uint8_t room[sizeof(struct remote_open) + REMOTE_NAME_MAX];
	struct remote_open *open = (struct remote_open *)room;
	const struct remote_grant *grant = (const struct remote_grant *)link->answer;
	int error;

	*open = (struct remote_open){
		.header = {.type = REMOTE_OPEN},
		.offset = offset,
		.length = length,
		.flags = flags,
		.name_length = (uint32_t)strlen(name),
	};
	memcpy(open->name, name, open->name_length);
	link->recalled = false;
	link->ended = 0;
	link->message.text[0] = '\0';
	error = ask(link, open, sizeof(*open) + open->name_length, true);
	if (error == -EAGAIN)
		return error;
	if (error != 0)
		return explain(link, error);
	if (grant->offset != offset || grant->length > length || !remote_grant_whole(grant) ||
	    ((flags & REMOTE_OPEN_WRITE) != 0 && grant->length != length))
		return fail(link, -EPROTO, "it grants what was not asked for");
	link->lease = grant->length > 0 ? grant->header.lease : 0;
	*ret_grant = grant;
	return 0;
}

int link_commit(struct link *link, uint64_t offset, uint64_t length)
{
	const struct remote_range range = {
		.header = {.type = REMOTE_COMMIT, .lease = link->lease},
		.offset = offset,
		.length = length,
	};
	int error = ask(link, &range, sizeof(range), false);

	/* It may have been ended while the request was on its way. */
	if (error == -ESTALE && link->ended != 0)
		error = link->ended;
	return explain(link, error);
}

int link_end(struct link *link, bool cut, uint64_t size)
{
	const struct remote_range range = {
		.header = {.type = REMOTE_CLOSE, .lease = link->lease},
		.offset = size,
		.flags = cut ? REMOTE_CLOSE_CUT : 0,
	};
	int error = ask(link, &range, sizeof(range), false);

	link->lease = 0;
	return explain(link, error);
}
