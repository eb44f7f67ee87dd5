#include "base/process.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#define PIDFS_MAGIC 0x50494446 /* statfs(2) of a pidfd since 6.9: its inode number is its own */

/* Task flags of field 9 of /proc/PID/stat; include/linux/sched.h: the same since 5.16. */
#define TASK_EXITING 0x4u
#define TASK_DUMPED 0x8u /* has left its part of a core dump, will exit */
#define TASK_DUMPING 0x200u

/* Reads a small file whole, with a terminating 0. Returns its length or -errno. */
static ssize_t read_small(const char *path, char *text, size_t capacity)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length;

	if (fd < 0)
		return -errno;
	length = read(fd, text, capacity - 1);
	if (length < 0)
		length = -errno;
	close(fd);
	if (length >= 0)
		text[length] = 0;
	return length;
}

/* ---- /proc/PID/stat ---- */

struct task_stat {
	char command[PROCESS_COMMAND_MAX];
	unsigned flags; /* field 9 */
	uint64_t start_time; /* field 22 */
	uint64_t signals; /* field 31: pending, of this thread alone */
};

/* A command may have any character but 0 in it: its end is the last parenthesis. */
static int parse_stat(char *text, struct task_stat *ret_stat)
{
	char *begin = strchr(text, '(');
	char *end = strrchr(text, ')');
	char *rest = NULL;
	unsigned field = 2;

	if (begin == NULL || end == NULL || end < begin)
		return -EIO;
	*end = 0;
	memset(ret_stat, 0, sizeof(*ret_stat));
	(void)snprintf(ret_stat->command, sizeof(ret_stat->command), "%s", begin + 1);
	for (char *word = strtok_r(end + 1, " \n", &rest); word != NULL; word = strtok_r(NULL, " \n", &rest)) {
		field++;
		if (field == 9)
			ret_stat->flags = (unsigned)strtoul(word, NULL, 10);
		else if (field == 22)
			ret_stat->start_time = strtoull(word, NULL, 10);
		else if (field == 31)
			ret_stat->signals = strtoull(word, NULL, 10);
	}
	return field >= 31 ? 0 : -EIO;
}

/* -ESRCH: no such task; -EIO: it cannot be read. */
static int read_stat(const char *path, struct task_stat *ret_stat)
{
	char text[1024];
	ssize_t length = read_small(path, text, sizeof(text));

	if (length == -ENOENT || length == -ESRCH)
		return -ESRCH;
	if (length == -EMFILE || length == -ENFILE)
		return -EMFILE;
	if (length < 0)
		return -EIO;
	return parse_stat(text, ret_stat);
}

static int read_process_stat(pid_t pid, struct task_stat *ret_stat)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	return read_stat(path, ret_stat);
}

/* ---- What all processes of a boot, or of a namespace, share ---- */

static int digit_value(char digit)
{
	return isdigit((unsigned char)digit) ? digit - '0' : tolower((unsigned char)digit) - 'a' + 10;
}

static int read_boot_id(uint8_t ret_boot_id[16])
{
	char text[64];
	ssize_t length = read_small("/proc/sys/kernel/random/boot_id", text, sizeof(text));
	uint8_t id[16] = {0};
	unsigned digits = 0;

	if (length < 0)
		return length == -EMFILE || length == -ENFILE ? -EMFILE : -EIO;
	for (const char *c = text; *c != 0; c++) {
		if (*c == '-' || *c == '\n')
			continue;
		if (!isxdigit((unsigned char)*c) || digits == 32)
			return -EIO;
		id[digits / 2] = (uint8_t)(id[digits / 2] << 4 | digit_value(*c));
		digits++;
	}
	if (digits != 32)
		return -EIO;
	memcpy(ret_boot_id, id, sizeof(id));
	return 0;
}

static int read_pid_namespace(uint64_t *ret_namespace)
{
	struct stat st;

	if (stat("/proc/self/ns/pid", &st) != 0)
		return -EIO;
	*ret_namespace = st.st_ino;
	return 0;
}

static int read_surroundings(struct process_identity *identity)
{
	int error = read_boot_id(identity->boot_id);

	return error != 0 ? error : read_pid_namespace(&identity->pid_namespace);
}

/* ---- pidfds ---- */

static int open_pidfd(pid_t pid, int *ret_pidfd)
{
	int fd = pidfd_open(pid, 0);

	if (fd >= 0) {
		*ret_pidfd = fd;
		return 0;
	}
	switch (errno) {
	case ESRCH:
	case EINVAL: /* a thread that is not its process' first, */
	case ENOENT: /* as newer kernels say it */
		return -ESRCH;
	case EMFILE:
	case ENFILE:
		return -EMFILE;
	case ENOMEM:
		return -ENOMEM;
	default:
		return -EIO;
	}
}

static bool is_dead(int pidfd)
{
	struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};

	return poll(&poll_fd, 1, 0) > 0;
}

static uint64_t pidfs_inode(int pidfd)
{
	struct statfs where;
	struct stat st;

	if (fstatfs(pidfd, &where) != 0 || where.f_type != PIDFS_MAGIC || fstat(pidfd, &st) != 0)
		return 0;
	return st.st_ino;
}

int process_identify(pid_t pid, struct process_identity *ret_identity, int *ret_pidfd)
{
	struct process_identity identity = {.pid = pid};
	struct task_stat task;
	int pidfd;
	int error;

	if (pid <= 0)
		return -EINVAL;
	error = read_surroundings(&identity);
	if (error != 0)
		return error;
	error = open_pidfd(pid, &pidfd);
	if (error != 0)
		return error;
	error = read_process_stat(pid, &task);
	/* What lives after its number was looked up had that number all the time. */
	if (is_dead(pidfd))
		error = -ESRCH;
	else if (error == -ESRCH)
		error = -EIO; /* /proc hides it (hidepid) or shows another namespace */
	if (error != 0) {
		close(pidfd);
		return error;
	}
	identity.start_time = task.start_time;
	identity.pidfs_inode = pidfs_inode(pidfd);
	memcpy(identity.command, task.command, sizeof(identity.command));
	*ret_identity = identity;
	*ret_pidfd = pidfd;
	return 0;
}

/* Is the living process behind pidfd the one that was recorded? -ENOENT: nothing can be said. */
static int is_same(const struct process_identity *identity, int pidfd, bool *ret_same)
{
	uint64_t inode = pidfs_inode(pidfd);
	struct task_stat task;
	int error;

	/* The clock of start times has an offset per time namespace; a pidfs inode is never used twice in a boot. */
	if (inode != 0 && identity->pidfs_inode != 0) {
		*ret_same = inode == identity->pidfs_inode;
		return 0;
	}
	error = read_process_stat(identity->pid, &task);
	if (error == -EMFILE)
		return error;
	if (error != 0)
		return is_dead(pidfd) ? -ESRCH : -ENOENT;
	*ret_same = task.start_time == identity->start_time;
	return 0;
}

int process_find(const struct process_identity *identity, enum process_fate *ret_fate, int *ret_pidfd)
{
	struct process_identity ours;
	bool same = false;
	int pidfd = -1;
	int error = read_surroundings(&ours);

	if (error != 0)
		return error;
	*ret_pidfd = -1;
	if (memcmp(ours.boot_id, identity->boot_id, sizeof(ours.boot_id)) != 0) {
		*ret_fate = PROCESS_DEAD;
		return 0;
	}
	if (ours.pid_namespace != identity->pid_namespace || identity->pid <= 0) {
		*ret_fate = PROCESS_UNSEEN;
		return 0;
	}
	error = open_pidfd(identity->pid, &pidfd);
	if (error == 0)
		error = is_same(identity, pidfd, &same);
	if (error == 0 && same && !is_dead(pidfd)) {
		*ret_fate = PROCESS_LIVES;
		*ret_pidfd = pidfd;
		return 0;
	}
	if (pidfd >= 0)
		close(pidfd);
	if (error != 0 && error != -ESRCH && error != -ENOENT)
		return error;
	*ret_fate = error == -ENOENT ? PROCESS_UNSEEN : PROCESS_DEAD;
	return 0;
}

/* ---- Dying ---- */

static bool task_dying(pid_t pid, const char *thread)
{
	struct task_stat task;
	char path[320];
	int error;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%s/stat", (int)pid, thread);
	error = read_stat(path, &task);
	if (error != 0)
		return error == -ESRCH;
	return (task.flags & (TASK_EXITING | TASK_DUMPED | TASK_DUMPING)) != 0 ||
	       (task.signals & 1ull << (SIGKILL - 1)) != 0;
}

static bool all_dying(pid_t pid)
{
	bool dying = true;
	unsigned count = 0;
	struct dirent *entry;
	char path[64];
	DIR *tasks;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	if (tasks == NULL)
		return false;
	while (dying && (entry = readdir(tasks)) != NULL) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		dying = task_dying(pid, entry->d_name);
		count++;
	}
	closedir(tasks);
	return dying && count > 0;
}

bool process_dying(pid_t pid)
{
	/* A thread that was listed may have made another one and exited since: the second look lists that one. */
	return pid > 0 && all_dying(pid) && all_dying(pid);
}

pid_t process_of_thread(pid_t thread)
{
	char text[4096];
	char path[64];
	const char *line;

	if (thread <= 0)
		return 0;
	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)thread);
	if (read_small(path, text, sizeof(text)) < 0)
		return 0;
	line = strstr(text, "\nTgid:");
	return line != NULL ? (pid_t)strtol(line + strlen("\nTgid:"), NULL, 10) : 0;
}
