#include "client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <unistd.h>

#define SOCKET_XATTR "pinfs.socket"
/* A daemon that takes connections and does not answer: the session is away rather than stuck. */
#define GREETING_SECONDS 10

/* Cuts the last component off; "/" stays. */
static void to_parent(char *path)
{
	char *slash = strrchr(path, '/');

	slash[slash == path ? 1 : 0] = '\0';
}

int client_mount_root(const char *path, char **ret_root)
{
	struct stat attr, above;
	char *root, *candidate;

	root = realpath(path, NULL);
	if (root == NULL)
		return -errno;
	candidate = strdup(root);
	if (candidate == NULL) {
		free(root);
		return -ENOMEM;
	}
	if (stat(root, &attr) == 0) {
		while (strcmp(root, "/") != 0) {
			to_parent(candidate);
			if (stat(candidate, &above) != 0 || above.st_dev != attr.st_dev)
				break;
			strcpy(root, candidate);
		}
	}
	free(candidate);
	*ret_root = root;
	return 0;
}

int client_socket_path(const char *path, char *ret_path, size_t size)
{
	ssize_t length = getxattr(path, SOCKET_XATTR, ret_path, size - 1);

	if (length < 0)
		return errno == ENODATA || errno == ENOTSUP ? -ENODEV : errno == ERANGE ? -ENAMETOOLONG : -errno;
	ret_path[length] = '\0';
	return length == 0 || ret_path[0] != '/' ? -ENODEV : 0;
}

int client_start_time(uint64_t *ret_ticks)
{
	char text[1024]; /* two dozen numbers, and a name of 16 bytes */
	const char *field;
	char *end;
	ssize_t length;
	int fd;

	fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	length = read(fd, text, sizeof(text) - 1);
	(void)close(fd);
	if (length < 0)
		return -EIO;
	text[length] = '\0';
	/* The name may have spaces and brackets: what follows it are fields 3 and on; this is 22. */
	field = strrchr(text, ')');
	for (int i = 2; field != NULL && i < 22; i++)
		field = strchr(field + 1, ' ');
	if (field == NULL)
		return -EIO;
	*ret_ticks = strtoull(field, &end, 10);
	return end == field ? -EIO : 0;
}

static int set_timeouts(int socket, time_t seconds)
{
	const struct timeval limit = {.tv_sec = seconds};

	if (setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0 ||
	    setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) != 0)
		return -errno;
	return 0;
}

int client_greeted(int socket)
{
	return set_timeouts(socket, 0);
}

static int dial(const char *path, int *ret_socket)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int error, fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	error = set_timeouts(fd, GREETING_SECONDS);
	while (error == 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
		if (errno == ENOENT || errno == ECONNREFUSED)
			error = -ENOTCONN;
		else if (errno == EAGAIN)
			error = -ETIMEDOUT;
		else if (errno != EINTR)
			error = -errno;
	}
	if (error != 0) {
		(void)close(fd);
		return error;
	}
	*ret_socket = fd;
	return 0;
}

static int check_welcome(struct client_message *message, struct client_welcome *ret_welcome)
{
	const struct wire_welcome *welcome = (const struct wire_welcome *)message->bytes;
	const struct wire_header *header = client_message_header(message);

	if (header->type == WIRE_DONE)
		return header->error > 0 && header->error < 4096 ? -header->error : -EPROTO;
	if (header->type != WIRE_WELCOME || header->error != 0 || message->fd_count != 2)
		return -EPROTO;
	if (welcome->version < WIRE_VERSION_MIN || welcome->version > WIRE_VERSION_MAX)
		return -EPROTONOSUPPORT;
	ret_welcome->fields = *welcome;
	ret_welcome->event_socket = message->fds[0];
	ret_welcome->page = message->fds[1];
	message->fds[0] = message->fds[1] = -1;
	return 0;
}

static int say_hello(int socket, uint64_t start_time, const uint8_t *cookie, int page,
		     struct client_welcome *ret_welcome)
{
	struct wire_hello hello = {
		.version_min = WIRE_VERSION_MIN,
		.version_max = WIRE_VERSION_MAX,
		.features = WIRE_FEATURES,
		.start_time = start_time,
	};
	struct client_message *answer = malloc(sizeof(*answer));
	int error;

	if (answer == NULL)
		return -ENOMEM;
	if (cookie != NULL)
		memcpy(hello.cookie, cookie, sizeof(hello.cookie));
	wire_header_set(&hello.header, WIRE_HELLO, sizeof(hello), 0, 0);
	do
		error = client_send(socket, &hello, sizeof(hello), cookie != NULL ? page : -1, 0);
	while (error == -EINTR);
	while (error == 0 || error == -EINTR) {
		error = client_receive(socket, wire_answer_valid, 0, answer);
		if (error == 0) {
			error = check_welcome(answer, ret_welcome);
			client_message_close(answer);
			break;
		}
	}
	free(answer);
	return error == -EAGAIN ? -ETIMEDOUT : error;
}

int client_greet(const char *path, uint64_t start_time, const uint8_t *cookie, int page, int *ret_socket,
		 struct client_welcome *ret_welcome)
{
	int fd = -1;
	int error;

	error = dial(path, &fd);
	if (error != 0)
		return error;
	error = say_hello(fd, start_time, cookie, page, ret_welcome);
	if (error != 0) {
		(void)close(fd);
		return error;
	}
	*ret_socket = fd;
	return 0;
}
