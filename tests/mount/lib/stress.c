#define _GNU_SOURCE
/*
 * Processes that work on the same few names of one folder, each with any operation, for some seconds.
 *
 *   stress FOLDER PROCESSES SECONDS
 *
 * Most calls fail, since another process was first: with an error that says so. What a filesystem must not answer
 * (EIO, ESTALE ...) is printed, and so is a signal that ended one of them. Prints the number of calls; exit status 0,
 * 1 (a wrong answer), 2 (wrong use).
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define PATH_SIZE 64
#define BUFFER_SIZE 70000
#define ERRORS_SHOWN 5

struct worker {
	unsigned seed;
	unsigned errors;
	unsigned long calls;
	char path[PATH_SIZE];
	char other[PATH_SIZE];
	char buffer[BUFFER_SIZE];
};

struct operation {
	const char *name;
	int (*call)(struct worker *worker); /* < 0: failed, with errno */
	unsigned weight;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static unsigned below(struct worker *worker, unsigned limit)
{
	worker->seed = worker->seed * 1103515245u + 12345u;
	return (worker->seed >> 8) % limit;
}

/* Up to three folders deep; a name that says folder may come to be that of a file, by a rename. */
static void choose_path(struct worker *worker, char path[PATH_SIZE])
{
	unsigned depth = below(worker, 4);
	int length = 0;

	for (unsigned i = 0; i < depth; i++)
		length += snprintf(path + length, (size_t)(PATH_SIZE - length), "D%u/", below(worker, 3));
	snprintf(path + length, (size_t)(PATH_SIZE - length), "%c%u", "DF"[below(worker, 2)], below(worker, 4));
}

/* No other process can be the cause of these, nor a pool that is full. */
static bool is_wrong(int error)
{
	switch (error) {
	case EIO:
	case ESTALE:
	case EUCLEAN:
	case ENOSYS:
	case ENOTCONN:
	case ENOMEM:
	case EROFS:
	case EBADF:
	case EINTR:
		return true;
	default:
		return false;
	}
}

static int do_mkdir(struct worker *worker)
{
	return mkdir(worker->path, 0755);
}

static int do_create(struct worker *worker)
{
	struct stat st;
	int fd, result;

	fd = open(worker->path, O_CREAT | O_RDWR | O_CLOEXEC, 0644);
	if (fd < 0)
		return -1;
	memset(worker->buffer, (int)(worker->calls % 255 + 1), 5000);
	result = (int)pwrite(fd, worker->buffer, below(worker, 5000), below(worker, 20000));
	if (result >= 0 && below(worker, 2) == 0)
		result = ftruncate(fd, below(worker, 10000));
	if (below(worker, 3) == 0)
		(void)unlink(worker->path);
	if (result >= 0)
		result = fstat(fd, &st);
	if (close(fd) != 0)
		result = -1;
	return result;
}

static int do_unlink(struct worker *worker)
{
	return unlink(worker->path);
}

static int do_rmdir(struct worker *worker)
{
	return rmdir(worker->path);
}

static int do_rename(struct worker *worker)
{
	return rename(worker->path, worker->other);
}

static int do_exchange(struct worker *worker)
{
	return renameat2(AT_FDCWD, worker->path, AT_FDCWD, worker->other, RENAME_EXCHANGE);
}

static int do_link(struct worker *worker)
{
	return link(worker->path, worker->other);
}

static int do_symlink(struct worker *worker)
{
	return symlink("F1", worker->path);
}

static int do_lstat(struct worker *worker)
{
	struct stat st;

	return lstat(worker->path, &st);
}

static int do_readdir(struct worker *worker)
{
	char *slash = strrchr(worker->path, '/');
	struct dirent *entry;
	struct stat st;
	int error;
	DIR *dir;

	if (slash != NULL)
		*slash = '\0';
	dir = opendir(slash != NULL ? worker->path : ".");
	if (dir == NULL)
		return -1;
	for (errno = 0; (entry = readdir(dir)) != NULL; errno = 0) {
		if (below(worker, 3) == 0)
			(void)fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW);
	}
	error = errno;
	closedir(dir);
	errno = error;
	return error != 0 ? -1 : 0;
}

static int do_setxattr(struct worker *worker)
{
	size_t size = below(worker, below(worker, 3) != 0 ? 100 : 65536);

	return setxattr(worker->path, "user.a", worker->buffer, size, 0);
}

static int do_getxattr(struct worker *worker)
{
	return (int)getxattr(worker->path, "user.a", worker->buffer, sizeof(worker->buffer));
}

static int do_chmod(struct worker *worker)
{
	return chmod(worker->path, 0600 | below(worker, 0200));
}

static int do_truncate(struct worker *worker)
{
	return truncate(worker->path, below(worker, 30000));
}

static int do_read(struct worker *worker)
{
	int fd = open(worker->path, O_RDONLY | O_CLOEXEC);
	int result;

	if (fd < 0)
		return -1;
	result = (int)read(fd, worker->buffer, sizeof(worker->buffer));
	if (close(fd) != 0)
		result = -1;
	return result;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path) != 0 && is_wrong(errno) ? -1 : 0;
}

/* A whole tree, now and then: renames bury folders deeper than any path here reaches, and they would fill the pool. */
static int do_clear(struct worker *worker)
{
	if (below(worker, 10) != 0)
		return 0;
	return nftw(worker->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const struct operation operations[] = {
	{"mkdir", do_mkdir, 1},	    {"create", do_create, 1},	  {"unlink", do_unlink, 1},
	{"rmdir", do_rmdir, 1},	    {"rename", do_rename, 3},	  {"exchange", do_exchange, 1},
	{"link", do_link, 1},	    {"symlink", do_symlink, 1},	  {"lstat", do_lstat, 2},
	{"readdir", do_readdir, 1}, {"setxattr", do_setxattr, 1}, {"getxattr", do_getxattr, 1},
	{"chmod", do_chmod, 1},	    {"truncate", do_truncate, 1}, {"read", do_read, 1},
	{"clear", do_clear, 1},
};

static const struct operation *choose_operation(struct worker *worker)
{
	const size_t count = sizeof(operations) / sizeof(operations[0]);
	unsigned total = 0, drawn;
	size_t i;

	for (i = 0; i < count; i++)
		total += operations[i].weight;
	drawn = below(worker, total);
	for (i = 0; drawn >= operations[i].weight; i++)
		drawn -= operations[i].weight;
	return &operations[i];
}

static void __attribute__((noreturn)) work(unsigned seed, double end)
{
	static struct worker worker;
	const struct operation *operation;

	worker.seed = seed;
	for (; now() < end; worker.calls++) {
		choose_path(&worker, worker.path);
		choose_path(&worker, worker.other);
		operation = choose_operation(&worker);
		errno = 0;
		if (operation->call(&worker) >= 0 || !is_wrong(errno))
			continue;
		if (worker.errors++ < ERRORS_SHOWN)
			warn("%s %s %s", operation->name, worker.path, worker.other);
	}
	printf("%lu calls\n", worker.calls);
	exit(worker.errors != 0 ? 1 : 0);
}

int main(int argc, char **argv)
{
	unsigned long processes = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
	double end = now() + (argc == 4 ? strtod(argv[3], NULL) : 0);
	int status, result = 0;
	unsigned seed;
	pid_t child;

	if (processes == 0) {
		fprintf(stderr, "Usage: stress FOLDER PROCESSES SECONDS\n");
		return 2;
	}
	if (chdir(argv[1]) != 0)
		err(2, "%s", argv[1]);
	seed = (unsigned)time(NULL);
	printf("seed %u\n", seed);
	fflush(stdout);
	for (unsigned long i = 0; i < processes; i++) {
		child = fork();
		if (child < 0)
			err(2, "fork");
		if (child == 0)
			work(seed + (unsigned)i * 7919, end);
	}
	while (wait(&status) > 0) {
		if (WIFSIGNALED(status))
			warnx("a process was ended by signal %d", WTERMSIG(status));
		if (status != 0)
			result = 1;
	}
	return result;
}
