/* Trying a pool in a child process. */
#include "meta/pool.h"

#include "base/arith.h"
#include "meta/precheck.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Time limit: generous for a sound pool, an end for a damaged one. */
#define PROBE_SECONDS 20
#define PROBE_SECONDS_MAX 86400u
#define PROBE_BYTES_PER_SECOND (64ull << 20)

struct verdict {
	int error;
	struct message message;
};

/* One change of each kind that libpmemobj could stumble over, in the private copy. */
static int trial(struct meta *meta)
{
	const struct fmt_inode *root;
	struct fmt_inode *inode;
	struct meta_tx *tx;
	int error;

	error = meta_inode_get(meta, FMT_INO_ROOT, &root);
	if (error == -ENOENT)
		error = -EUCLEAN;
	if (error == 0)
		error = meta_begin(meta, META_TX_RESERVE, &tx);
	if (error != 0)
		return error;
	error = meta_inode_edit(tx, root, &inode);
	if (error != 0) {
		meta_abort(tx);
		return error;
	}
	inode->ctime++;
	/* Undone, for a devdax node is not a copy. */
	meta_abort(tx);
	return 0;
}

static int try_pool(const char *path, struct message *message)
{
	struct meta *meta;
	int error = meta_open(path, META_OPEN_COPY, &meta, message);

	if (error != 0)
		return error;
	error = meta_scan(meta, NULL, message);
	if (error == 0) {
		error = trial(meta);
		if (error != 0)
			message_set(message, "%s: a trial transaction failed: %s; run `pinfs fsck`", path,
				    strerror(-error));
	}
	meta_close(meta);
	return error;
}

static void child(const char *path, int fd, pid_t parent)
{
	static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
	struct verdict verdict = {0};

	/* A crash is the answer: no handler of the program's may catch it. */
	for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
		signal(fatal[i], SIG_DFL);
	/* Not to outlive the parent, and no core dumps or messages for what the parent will report. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	prctl(PR_SET_DUMPABLE, 0);
	verdict.error = try_pool(path, &verdict.message);
	_exit(write(fd, &verdict, sizeof(verdict)) == sizeof(verdict) ? 0 : 1);
}

/* Milliseconds that are left until `deadline`, in seconds of CLOCK_MONOTONIC. */
static int left_ms(time_t deadline)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec >= deadline ? 0 : (int)((deadline - now.tv_sec) * 1000);
}

static int await_verdict(int fd, int seconds, struct verdict *verdict)
{
	struct timespec now;
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	int ready;

	clock_gettime(CLOCK_MONOTONIC, &now);
	do {
		ready = poll(&poll_fd, 1, left_ms(now.tv_sec + seconds));
	} while (ready < 0 && errno == EINTR);
	if (ready == 0)
		return -ETIMEDOUT;
	/* The child writes it in one piece, smaller than a pipe's atomic unit. */
	return read(fd, verdict, sizeof(*verdict)) == sizeof(*verdict) ? 0 : -EPIPE;
}

static_assert(sizeof(struct verdict) <= 4096, "a verdict is written atomically");

static int seconds_for(uint64_t size)
{
	return PROBE_SECONDS + (int)min_u64(size / PROBE_BYTES_PER_SECOND, PROBE_SECONDS_MAX);
}

int meta_probe(const char *path, struct message *message)
{
	struct verdict verdict;
	pid_t parent = getpid();
	struct precheck_file file;
	int pipe_fd[2];
	int status;
	int error;
	pid_t pid;

	/* Cheap errors first, and FIFOs and the like never reach the child. */
	error = precheck(path, &file, message);
	if (error != 0)
		return error;
	if (pipe2(pipe_fd, O_CLOEXEC) != 0)
		return -errno;
	pid = fork();
	if (pid < 0) {
		error = -errno;
		close(pipe_fd[0]);
		close(pipe_fd[1]);
		return error;
	}
	if (pid == 0) {
		close(pipe_fd[0]);
		child(path, pipe_fd[1], parent);
	}
	close(pipe_fd[1]);
	error = await_verdict(pipe_fd[0], seconds_for(file.size), &verdict);
	close(pipe_fd[0]);
	if (error != 0)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (error == 0) {
		message_set(message, "%s", verdict.message.text);
		return verdict.error;
	}
	if (error == -ETIMEDOUT)
		message_set(message, "%s: damaged: opening it does not come to an end; " PRECHECK_ADVICE, path);
	else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS)
		message_set(message,
			    "%s: memory error (SIGBUS): some of it cannot be read, or is not there any "
			    "more; " PRECHECK_ADVICE,
			    path);
	else
		message_set(message, "%s: damaged: libpmemobj crashed on it (signal %d); " PRECHECK_ADVICE, path,
			    WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	return -EUCLEAN;
}
