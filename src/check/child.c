/*
 * The walk, or a repair, in a child process. libpmemobj trusts what it opens; whatever a damaged pool makes of it stays
 * in the child, which reports through a pipe: frames of a fixed head and two strings, read here as from a stranger.
 */
#include "base/arith.h"
#include "check/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STALL_SECONDS 60u
#define STRING_MAX 4096u

enum frame_kind {
	FRAME_PROBLEM = 1, /* number: ino; first: path; second: text */
	FRAME_PROGRESS, /* number: done; first: phase */
	FRAME_END, /* number: what the work returned; first: struct check_report; second: message */
};

struct frame {
	uint32_t kind;
	uint32_t severity;
	uint64_t number;
	char invariant[8];
	uint32_t first; /* bytes that follow; strings with their end */
	uint32_t second; /* and after these */
};

/* ---- Child ---- */

struct sender {
	int fd;
};

static int send_all(int fd, const void *data, size_t length)
{
	const char *at = data;
	ssize_t done;

	while (length > 0) {
		done = write(fd, at, length);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		at += done;
		length -= (size_t)done;
	}
	return 0;
}

/* The parent is gone, or has given up: there is nobody left to report to. */
static void send_frame(const struct sender *sender, const struct frame *frame, const void *first, const void *second)
{
	if (send_all(sender->fd, frame, sizeof(*frame)) < 0 || send_all(sender->fd, first, frame->first) < 0 ||
	    send_all(sender->fd, second, frame->second) < 0)
		_exit(EXIT_FAILURE);
}

static uint32_t string_bytes(const char *string)
{
	size_t length = string != NULL ? strlen(string) + 1 : 0;

	return length <= STRING_MAX ? (uint32_t)length : 0;
}

static void send_problem(void *arg, const struct check_problem *problem)
{
	struct frame frame = {
		.kind = FRAME_PROBLEM,
		.severity = problem->severity,
		.number = problem->ino,
		.first = string_bytes(problem->path),
		.second = string_bytes(problem->text),
	};

	(void)snprintf(frame.invariant, sizeof(frame.invariant), "%s", problem->invariant);
	send_frame(arg, &frame, problem->path, problem->text);
}

static void send_progress(void *arg, const char *phase, uint64_t done)
{
	struct frame frame = {.kind = FRAME_PROGRESS, .number = done, .first = string_bytes(phase)};

	send_frame(arg, &frame, phase, NULL);
}

/* A handler of the program's would run in the child as if the program itself had crashed. */
static void crash_plainly(void)
{
	static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
	static const struct rlimit no_core = {0, 0};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(crashes); i++)
		(void)signal(crashes[i], SIG_DFL);
	setrlimit(RLIMIT_CORE, &no_core);
}

static void __attribute__((noreturn))
child_main(const struct check_options *options, const struct check_work *work, int fd)
{
	struct sender sender = {.fd = fd};
	struct check_options mine = *options;
	struct check_report report = {0};
	struct message words = {{0}};
	struct frame frame = {.kind = FRAME_END, .first = sizeof(report)};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	crash_plainly();
	(void)signal(SIGPIPE, SIG_IGN);
	mine.problem = send_problem;
	mine.progress = send_progress;
	mine.arg = &sender;
	frame.number = (uint64_t)(int64_t)work->run(work->arg, &mine, &report, &words);
	frame.second = string_bytes(words.text);
	send_frame(&sender, &frame, &report, words.text);
	_exit(EXIT_SUCCESS);
}

/* ---- Parent ---- */

struct receiver {
	const struct check_options *options;
	int fd;
	struct check_report report;
	uint64_t errors, notes; /* told so far */
	char phase[64];
	char first[STRING_MAX];
	char second[STRING_MAX];
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* -ETIMEDOUT: nothing came for the time of a standstill; -EPIPE: the child is gone. */
static int receive_all(const struct receiver *receiver, void *data, size_t length)
{
	unsigned stall = receiver->options->stall_seconds != 0 ? receiver->options->stall_seconds : STALL_SECONDS;
	struct pollfd ready = {.fd = receiver->fd, .events = POLLIN};
	int64_t until = now_ms() + (int64_t)stall * 1000, left;
	char *at = data;
	ssize_t done;

	while (length > 0) {
		left = until - now_ms();
		done = left > 0 ? poll(&ready, 1, left < INT32_MAX ? (int)left : INT32_MAX) : 0;
		if (done == 0)
			return -ETIMEDOUT;
		if (done > 0)
			done = read(receiver->fd, at, length);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		if (done == 0)
			return -EPIPE;
		at += done;
		length -= (size_t)done;
	}
	return 0;
}

static void tell(struct receiver *receiver, const struct check_problem *problem)
{
	if (problem->severity == CHECK_ERROR)
		receiver->errors++;
	else if (problem->severity == CHECK_NOTE)
		receiver->notes++;
	if (receiver->options->problem != NULL)
		receiver->options->problem(receiver->options->arg, problem);
}

static int receive_frame(struct receiver *receiver, struct frame *frame)
{
	int ret;

	ret = receive_all(receiver, frame, sizeof(*frame));
	if (ret < 0)
		return ret;
	if (frame->first > sizeof(receiver->first) || frame->second > sizeof(receiver->second))
		return -EPROTO;
	ret = receive_all(receiver, receiver->first, frame->first);
	if (ret < 0)
		return ret;
	ret = receive_all(receiver, receiver->second, frame->second);
	if (ret < 0)
		return ret;
	frame->invariant[sizeof(frame->invariant) - 1] = '\0';
	if (frame->first > 0 && frame->kind != FRAME_END)
		receiver->first[frame->first - 1] = '\0';
	receiver->second[frame->second > 0 ? frame->second - 1 : 0] = '\0';
	return 0;
}

/* Reads until the end of the walk: 0, with its result in *ret_result and its words in receiver->second. */
static int receive(struct receiver *receiver, int *ret_result)
{
	const struct check_options *options = receiver->options;
	struct frame frame = {0};
	int ret;

	for (;;) {
		ret = receive_frame(receiver, &frame);
		if (ret < 0)
			return ret;
		if (frame.kind == FRAME_PROBLEM) {
			struct check_problem problem = {
				.invariant = frame.invariant,
				.severity = frame.severity <= CHECK_MENDED ? frame.severity : CHECK_ERROR,
				.ino = frame.number,
				.path = frame.first > 0 ? receiver->first : NULL,
				.text = receiver->second,
			};
			tell(receiver, &problem);
		} else if (frame.kind == FRAME_PROGRESS && frame.first > 0) {
			(void)snprintf(receiver->phase, sizeof(receiver->phase), "%.63s", receiver->first);
			if (options->progress != NULL)
				options->progress(options->arg, receiver->phase, frame.number);
		} else if (frame.kind == FRAME_END && frame.first == sizeof(receiver->report)) {
			memcpy(&receiver->report, receiver->first, sizeof(receiver->report));
			*ret_result = (int)(int64_t)frame.number;
			return *ret_result <= 0 ? 0 : -EPROTO;
		} else {
			return -EPROTO;
		}
	}
}

/* The child did not come to an end: that is the pool's fault. */
static void report_failure(struct receiver *receiver, int error, int status)
{
	struct message words;

	if (error == -ETIMEDOUT)
		message_set(&words, "the check made no progress (%s) and was given up: the pool is badly damaged",
			    receiver->phase);
	else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS)
		message_set(&words,
			    "memory error (SIGBUS; %s): some of the pool cannot be read, or is not there any more",
			    receiver->phase);
	else if (WIFSIGNALED(status))
		message_set(&words, "the check was ended by signal %d (%s): the pool is badly damaged",
			    WTERMSIG(status), receiver->phase);
	else
		message_set(&words, "the check broke off (%s): the pool is badly damaged", receiver->phase);
	tell(receiver, &(struct check_problem){.invariant = "I1", .severity = CHECK_ERROR, .text = words.text});
	receiver->report = (struct check_report){
		.errors = receiver->errors,
		.notes = receiver->notes,
		.unreadable = true,
	};
}

static int wait_child(pid_t child)
{
	int status = 0;

	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

static int parent_main(struct receiver *receiver, pid_t child, struct check_report *ret_report, struct message *message)
{
	int error, result = 0, status;

	error = receive(receiver, &result);
	if (error < 0 && error != -EPIPE)
		kill(child, SIGKILL);
	status = wait_child(child);
	if (error == 0 && result < 0) {
		message_set(message, "%s", receiver->second);
		return result;
	}
	if (error < 0)
		report_failure(receiver, error, status);
	*ret_report = receiver->report;
	return 0;
}

int check_apart(const struct check_options *options, const struct check_work *work, struct check_report *ret_report,
		struct message *message)
{
	struct receiver *receiver;
	int fds[2], ret;
	pid_t child;

	receiver = calloc(1, sizeof(*receiver));
	if (receiver == NULL)
		return -ENOMEM;
	if (pipe2(fds, O_CLOEXEC) < 0) {
		ret = -errno;
		goto free_receiver;
	}
	child = fork();
	if (child < 0) {
		ret = -errno;
		message_set(message, "%s: cannot start a process to check it: %s", options->meta_path, strerror(-ret));
		close(fds[1]);
		goto close_pipe;
	}
	if (child == 0) {
		close(fds[0]);
		child_main(options, work, fds[1]);
	}
	close(fds[1]);
	receiver->options = options;
	receiver->fd = fds[0];
	ret = parent_main(receiver, child, ret_report, message);
close_pipe:
	close(fds[0]);
free_receiver:
	free(receiver);
	return ret;
}
