/*
 * What a mount's daemon says of itself: an extended attribute of its top. A child process asks, because a daemon that
 * hangs would hold it, not to be interrupted, for ever.
 */
#include "status.h"
#include "tool.h"

#include "base/log.h"
#include "daemon/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define STATUS_NAME "pinfs.stat"
#define TIMEOUT_SECONDS 10

/* What the asking process found. */
struct answer {
	int error; /* 0, or -errno of asking */
	bool inside; /* a pinfs mount, but `text` names its mountpoint: the path is below it */
	uint32_t length;
	char text[XATTR_SIZE_MAX];
};

static void ask(const char *path, struct answer *answer)
{
	char absolute[PATH_MAX], mount[PATH_MAX];
	ssize_t length;

	if (realpath(path, absolute) == NULL) {
		answer->error = -errno;
		return;
	}
	answer->error = daemon_mount_of(absolute, mount);
	if (answer->error != 0)
		return;
	if (strcmp(absolute, mount) != 0) {
		answer->inside = true;
		answer->length = (uint32_t)strlen(mount);
		memcpy(answer->text, mount, answer->length);
		return;
	}
	length = getxattr(absolute, STATUS_NAME, answer->text, sizeof(answer->text));
	if (length < 0)
		answer->error = -errno;
	else
		answer->length = (uint32_t)length;
}

static int write_all(int fd, const void *data, size_t length)
{
	const char *p = data;

	while (length > 0) {
		ssize_t written = write(fd, p, length);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -errno;
		p += written;
		length -= (size_t)written;
	}
	return 0;
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Reads `length` bytes; -ETIMEDOUT, or -EPIPE if they do not come. */
static int read_all(int fd, void *data, size_t length)
{
	const int64_t deadline = now_ms() + TIMEOUT_SECONDS * 1000;
	char *p = data;

	while (length > 0) {
		struct pollfd pollfd = {.fd = fd, .events = POLLIN};
		int64_t left = deadline - now_ms();
		int ready = left > 0 ? poll(&pollfd, 1, (int)left) : 0;
		ssize_t got;

		if (ready == 0)
			return -ETIMEDOUT;
		if (ready < 0 && errno == EINTR)
			continue;
		got = ready < 0 ? -1 : read(fd, p, length);
		if (got < 0)
			return -errno;
		if (got == 0)
			return -EPIPE;
		p += got;
		length -= (size_t)got;
	}
	return 0;
}

static int ask_in_child(const char *path, struct answer *ret_answer)
{
	int pipe_fds[2];
	pid_t child;
	int error;

	if (pipe2(pipe_fds, O_CLOEXEC) != 0)
		return -errno;
	child = fork();
	if (child < 0) {
		error = -errno;
		close(pipe_fds[0]);
		close(pipe_fds[1]);
		return error;
	}
	if (child == 0) {
		close(pipe_fds[0]);
		ask(path, ret_answer);
		_exit(write_all(pipe_fds[1], ret_answer, sizeof(*ret_answer)) == 0 ? 0 : 1);
	}
	close(pipe_fds[1]);
	error = read_all(pipe_fds[0], ret_answer, sizeof(*ret_answer));
	close(pipe_fds[0]);
	if (error == -ETIMEDOUT)
		(void)kill(child, SIGKILL);
	(void)waitpid(child, NULL, error == -ETIMEDOUT ? WNOHANG : 0);
	return error;
}

static void report_failure(const char *path, int error, const struct answer *answer)
{
	if (error == -ETIMEDOUT)
		log_error("%s: the daemon does not answer", path);
	else if (error != 0)
		log_error("%s: %s", path, strerror(-error));
	else if (answer->inside)
		log_error("%s: is not the top of its pinfs mount: use %.*s", path, (int)answer->length, answer->text);
	else if (answer->error == -ENOENT && access(path, F_OK) == 0)
		log_error("%s: is not a pinfs mount", path);
	else if (answer->error == -ENOTCONN)
		log_error("%s: the daemon is gone: run 'umount %s'", path, path);
	else
		log_error("%s: %s", path, strerror(-answer->error));
}

static json_t *parse(const char *path, const struct answer *answer)
{
	json_error_t why;
	json_t *status = json_loadb(answer->text, answer->length, 0, &why);

	if (status == NULL)
		log_error("%s: the daemon's answer is not understood: %s", path, why.text);
	return status;
}

json_t *status_ask(const char *path)
{
	struct answer *answer = calloc(1, sizeof(*answer));
	json_t *status = NULL;
	int error;

	if (answer == NULL) {
		log_error("%s: %s", path, strerror(ENOMEM));
		return NULL;
	}
	error = ask_in_child(path, answer);
	if (error != 0 || answer->error != 0 || answer->inside || answer->length > sizeof(answer->text))
		report_failure(path, error, answer);
	else
		status = parse(path, answer);
	free(answer);
	return status;
}
