/* pinfs stat: asks the daemon of a mount for its numbers, and prints them for people or as they came. */
#include "tool.h"

#include "base/log.h"
#include "daemon/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <linux/limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define STATUS_NAME "pinfs.stat"
#define TIMEOUT_SECONDS 10

static const char help_text[] =
	"pinfs stat - what a mount is doing\n"
	"\n"
	"Usage: pinfs stat [--json] MOUNTPOINT\n"
	"\n"
	"Prints space, inodes, parts, and for each operation how many there were and how long they took\n"
	"(p50, p99: half, 99 % of them took no longer; powers of two).\n"
	"\n"
	"Options:\n"
	"  -j, --json     print the numbers as JSON: bytes and nanoseconds\n"
	"  -h, --help     this text\n"
	"  -V, --version  the version\n"
	"\n"
	"Examples:\n"
	"  pinfs stat /mnt/pin\n"
	"  pinfs stat --json /mnt/pin | jq .space.free_bytes\n"
	"\n"
	"Exit status: 0, 1 failed (also if the daemon does not answer within 10 seconds), 2 wrong use.\n";

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

/* A child process asks, because a daemon that hangs would hold it, not to be interrupted, for ever. */
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

static int report_failure(const char *path, int error, const struct answer *answer)
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
	return TOOL_FAILED;
}

static uint64_t number_at(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

static const char *string_at(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text != NULL ? text : "?";
}

struct time_text {
	char text[32];
};

static const char *time_text(double ns, struct time_text *room)
{
	static const char *const units[] = {"ns", "us", "ms", "s"};
	unsigned unit = 0;

	while (ns >= 999.5 && unit < 3) {
		ns /= 1000;
		unit++;
	}
	snprintf(room->text, sizeof(room->text), unit == 0 || ns >= 99.95 ? "%.0f %s" : "%.1f %s", ns, units[unit]);
	return room->text;
}

/* The upper end of the bucket in which the share of all operations is reached. */
static double quantile(const json_t *buckets, uint64_t count, double share)
{
	double bound = 1;
	double seen = 0;

	for (size_t i = 0; i < json_array_size(buckets); i++) {
		seen += (double)json_integer_value(json_array_get(buckets, i));
		if (seen >= share * (double)count)
			break;
		bound *= 2;
	}
	return bound;
}

static void print_operations(const json_t *operations)
{
	struct time_text mean, median, high;
	const char *name;
	json_t *operation;

	printf("\n%-18s %12s %8s %10s %10s %10s\n", "operation", "count", "errors", "mean", "p50", "p99");
	json_object_foreach((json_t *)operations, name, operation)
	{
		const json_t *buckets = json_object_get(operation, "log2_ns");
		uint64_t count = number_at(operation, "count");

		if (count == 0)
			continue;
		printf("%-18s %12" PRIu64 " %8" PRIu64 " %10s %10s %10s\n", name, count, number_at(operation, "errors"),
		       time_text((double)number_at(operation, "total_ns") / (double)count, &mean),
		       time_text(quantile(buckets, count, 0.5), &median),
		       time_text(quantile(buckets, count, 0.99), &high));
	}
}

static void print_parts(const json_t *status)
{
	const json_t *parts = json_object_get(status, "parts");
	struct tool_size_text size;

	if (parts == NULL)
		printf("%-10s %" PRIu64 "\n", "parts", number_at(status, "part_count"));
	for (size_t i = 0; i < json_array_size(parts); i++) {
		const json_t *part = json_array_get(parts, i);

		printf("part %-5" PRIu64 " %-10s %s (%s)\n", number_at(part, "number"),
		       tool_size_text(number_at(part, "bytes"), &size), string_at(part, "path"),
		       string_at(part, "durability"));
	}
}

static void print_space(const json_t *status)
{
	const json_t *space = json_object_get(status, "space");
	const json_t *inodes = json_object_get(status, "inodes");
	const json_t *meta = json_object_get(status, "meta");
	struct tool_size_text total, used, free_bytes, largest;

	printf("%-10s %-10s %s used, %s free in %" PRIu64 " runs, the largest %s\n", "data",
	       tool_size_text(number_at(space, "total_bytes"), &total),
	       tool_size_text(number_at(space, "used_bytes"), &used),
	       tool_size_text(number_at(space, "free_bytes"), &free_bytes), number_at(space, "free_runs"),
	       tool_size_text(number_at(space, "largest_free_run_bytes"), &largest));
	if (number_at(space, "bad_frees") != 0)
		printf("%-10s %" PRIu64 " blocks that were free already: a bug, please report it\n", "BAD FREES",
		       number_at(space, "bad_frees"));
	printf("%-10s %-10s %s used, %s free\n", "meta", tool_size_text(number_at(meta, "total_bytes"), &total),
	       tool_size_text(number_at(meta, "total_bytes") - number_at(meta, "free_bytes"), &used),
	       tool_size_text(number_at(meta, "free_bytes"), &free_bytes));
	printf("%-10s %-10" PRIu64 " %" PRIu64 " in use by the kernel\n", "inodes", number_at(inodes, "used"),
	       number_at(inodes, "cached"));
	printf("%-10s %-10s %s (%s)\n", "meta part", "", string_at(meta, "path"), string_at(meta, "durability"));
}

/* Only what there is to tell. */
static void print_pins(const json_t *status)
{
	const json_t *pins = json_object_get(status, "pins");
	struct tool_size_text pinned, limbo;
	struct time_text wait;

	printf("%-10s %-10" PRIu64 " %s pinned by %" PRIu64 " holders, %s in limbo, %" PRIu64 " granted so far\n",
	       "pins", number_at(pins, "pins"), tool_size_text(number_at(pins, "pinned_bytes"), &pinned),
	       number_at(pins, "holders"), tool_size_text(number_at(pins, "limbo_bytes"), &limbo),
	       number_at(pins, "grants"));
	if (number_at(pins, "waiting") != 0)
		printf("%-10s %-10" PRIu64 " breaks, and %" PRIu64 " pins behind them; the longest wait so far %s\n",
		       "waiting", number_at(pins, "waiting_breaks"),
		       number_at(pins, "waiting") - number_at(pins, "waiting_breaks"),
		       time_text((double)number_at(pins, "longest_wait_ns"), &wait));
	if (number_at(pins, "canaries") != 0)
		printf("%-10s %" PRIu64 " frees of pinned blocks, refused: a bug, please report it\n", "BAD FREES",
		       number_at(pins, "canaries"));
	if (number_at(pins, "lost_blocks") != 0)
		printf("%-10s %" PRIu64
		       " blocks of 4 KiB are lost to memory errors: `pinfs fsck` names files that have some\n",
		       "LOST", number_at(pins, "lost_blocks"));
}

/* Only if there are any: what older versions do not know. */
static void print_features(const json_t *status)
{
	const json_t *features = json_object_get(status, "features");

	if (json_array_size(features) == 0)
		return;
	printf("%-10s", "features");
	for (size_t i = 0; i < json_array_size(features); i++) {
		const char *name = json_string_value(json_array_get(features, i));

		printf(" %s", name != NULL ? name : "?");
	}
	printf("\n");
}

static const char *state_text(const json_t *status)
{
	if (json_is_true(json_object_get(status, "shut_down")))
		return "shut down";
	return json_is_true(json_object_get(status, "read_only")) ? "read-only" : "read-write";
}

static void print_status(const char *path, const json_t *status)
{
	uint64_t up = number_at(status, "uptime_seconds");

	printf("%s: pinfs %s, cache=%s, %s, daemon %" PRIu64 ", up %" PRIu64 ":%02" PRIu64 ":%02" PRIu64 "\n\n", path,
	       string_at(status, "version"), string_at(status, "cache"), state_text(status), number_at(status, "pid"),
	       up / 3600, up / 60 % 60, up % 60);
	print_space(status);
	print_parts(status);
	print_features(status);
	print_pins(status);
	print_operations(json_object_get(status, "operations"));
}

static int print_answer(const char *path, bool json, const struct answer *answer)
{
	json_error_t why;
	json_t *status;
	char *text;

	status = json_loadb(answer->text, answer->length, 0, &why);
	if (status == NULL) {
		log_error("%s: the daemon's answer is not understood: %s", path, why.text);
		return TOOL_FAILED;
	}
	if (json) {
		text = json_dumps(status, JSON_INDENT(2));
		if (text == NULL) {
			log_error("stat: %s", strerror(ENOMEM));
			json_decref(status);
			return TOOL_FAILED;
		}
		printf("%s\n", text);
		free(text);
	} else {
		print_status(path, status);
	}
	json_decref(status);
	return tool_end_output();
}

static int stat_mount(const char *path, bool json)
{
	struct answer *answer;
	int error, status;

	answer = calloc(1, sizeof(*answer));
	if (answer == NULL) {
		log_error("stat: %s", strerror(ENOMEM));
		return TOOL_FAILED;
	}
	error = ask_in_child(path, answer);
	if (error != 0 || answer->error != 0 || answer->inside || answer->length > sizeof(answer->text))
		status = report_failure(path, error, answer);
	else
		status = print_answer(path, json, answer);
	free(answer);
	return status;
}

int tool_stat(int argc, char **argv)
{
	bool json;
	int status;

	if (!tool_show_options("stat", help_text, argc, argv, &json, &status))
		return status;
	if (argc - optind != 1)
		return tool_wrong_use("stat", "needs one MOUNTPOINT, got %d arguments", argc - optind);
	return stat_mount(argv[optind], json);
}
