/*
 * Times system calls on many files of one folder, or the rate of one file's data. Direct system calls, one thread, so
 * that what is measured is the filesystem.
 *
 *   fileops files FOLDER COUNT [STEP...]       steps: create stat readdir rename unlink
 *   fileops data FILE BLOCK BYTES [STEP...]    steps: write rewrite read (sequential), randwrite randread
 *
 * Prints one line a step: its name, the calls (or MiB) a second, and the seconds. With no steps: all of them, in order.
 * Exit status 0, 1 (a call failed, or gave a wrong answer), 2 (wrong use).
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool is(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

/* ---- Many files ---- */

struct folder {
	int fd;
	unsigned long count;
	bool renamed;
};

static void name_of(unsigned long i, bool renamed, char name[32])
{
	snprintf(name, 32, "%s-%08lu", renamed ? "renamed" : "file", i);
}

static void create(struct folder *folder, unsigned long i)
{
	char name[32];
	int fd;

	name_of(i, false, name);
	fd = openat(folder->fd, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
	if (fd < 0)
		err(1, "create %s", name);
	if (close(fd) != 0)
		err(1, "close %s", name);
}

static void stat_one(struct folder *folder, unsigned long i)
{
	struct stat st;
	char name[32];

	name_of(i, folder->renamed, name);
	if (fstatat(folder->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		err(1, "stat %s", name);
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1 || st.st_size != 0)
		errx(1, "stat %s: mode %o, %lu links, size %ld", name, st.st_mode, (unsigned long)st.st_nlink,
		     (long)st.st_size);
}

static void rename_one(struct folder *folder, unsigned long i)
{
	char from[32], to[32];

	name_of(i, folder->renamed, from);
	name_of(i, !folder->renamed, to);
	if (renameat(folder->fd, from, folder->fd, to) != 0)
		err(1, "rename %s %s", from, to);
}

static void unlink_one(struct folder *folder, unsigned long i)
{
	char name[32];

	name_of(i, folder->renamed, name);
	if (unlinkat(folder->fd, name, 0) != 0)
		err(1, "unlink %s", name);
}

/* Each name once: none twice, none missing. */
static void readdir_all(const struct folder *folder)
{
	unsigned char *seen = calloc(folder->count / 8 + 1, 1);
	unsigned long found = 0;
	struct dirent *entry;
	DIR *dir;
	int fd = openat(folder->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (seen == NULL || fd < 0 || (dir = fdopendir(fd)) == NULL)
		err(1, "opendir");
	for (errno = 0; (entry = readdir(dir)) != NULL; errno = 0) {
		const char *dash = strrchr(entry->d_name, '-');
		unsigned long i;

		if (dash == NULL)
			continue;
		i = strtoul(dash + 1, NULL, 10);
		if (i >= folder->count)
			errx(1, "readdir: %s is not ours", entry->d_name);
		if (seen[i / 8] & 1 << i % 8)
			errx(1, "readdir: %s twice", entry->d_name);
		seen[i / 8] |= (unsigned char)(1 << i % 8);
		found++;
	}
	if (errno != 0)
		err(1, "readdir");
	if (found != folder->count)
		errx(1, "readdir: %lu names of %lu", found, folder->count);
	closedir(dir);
	free(seen);
}

static void files_step(struct folder *folder, const char *step)
{
	void (*each)(struct folder *, unsigned long) = NULL;
	double start = now(), seconds;

	if (is(step, "create"))
		each = create;
	else if (is(step, "stat"))
		each = stat_one;
	else if (is(step, "rename"))
		each = rename_one;
	else if (is(step, "unlink"))
		each = unlink_one;
	else if (!is(step, "readdir"))
		errx(2, "%s: no such step", step);
	if (each == NULL)
		readdir_all(folder);
	for (unsigned long i = 0; each != NULL && i < folder->count; i++)
		each(folder, i);
	if (each == rename_one)
		folder->renamed = !folder->renamed;
	seconds = now() - start;
	printf("%s %.0f /s %.3f s\n", step, (double)folder->count / seconds, seconds);
	fflush(stdout);
}

static int files(int argc, char **argv)
{
	static const char *const all[] = {"create", "stat", "readdir", "rename", "unlink"};
	struct folder folder = {0};

	folder.fd = open(argv[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder.fd < 0)
		err(1, "%s", argv[0]);
	folder.count = strtoul(argv[1], NULL, 10);
	/* Steps of an earlier call may have renamed the files. */
	folder.renamed = faccessat(folder.fd, "renamed-00000000", F_OK, 0) == 0;
	for (int i = 2; i < argc; i++)
		files_step(&folder, argv[i]);
	for (size_t i = 0; argc == 2 && i < sizeof(all) / sizeof(all[0]); i++)
		files_step(&folder, all[i]);
	close(folder.fd);
	return 0;
}

/* ---- One file's data ---- */

struct data {
	int fd;
	size_t block;
	size_t blocks;
	unsigned char *buffer;
};

/* What block `i` holds: its own number in each 8 bytes, so that a misplaced block is noticed. */
static void fill(const struct data *data, size_t i)
{
	uint64_t *words = (uint64_t *)(void *)data->buffer;

	for (size_t k = 0; k < data->block / sizeof(*words); k += 64)
		words[k] = i * 2654435761u + k;
}

static void verify(const struct data *data, size_t i)
{
	const uint64_t *words = (const uint64_t *)(const void *)data->buffer;

	for (size_t k = 0; k < data->block / sizeof(*words); k += 64) {
		if (words[k] != i * 2654435761u + k)
			errx(1, "read: block %zu is not what was written there", i);
	}
}

/* A permutation of the blocks: steps of an odd stride about 0.618 of a power of two. */
static size_t place(const struct data *data, size_t i, bool random)
{
	size_t span = 1, at = i;

	if (!random)
		return i;
	while (span < data->blocks)
		span *= 2;
	do {
		at = (at * 40503 + 12345) & (span - 1);
	} while (at >= data->blocks);
	return at;
}

static void data_step(const struct data *data, const char *step)
{
	const bool random = strncmp(step, "rand", 4) == 0;
	const char *what = random ? step + 4 : step;
	const bool is_read = is(what, "read");
	double start = now(), seconds;

	if (!is_read && !is(what, "write") && !is(what, "rewrite"))
		errx(2, "%s: no such step", step);
	if (is_read)
		posix_fadvise(data->fd, 0, 0, POSIX_FADV_DONTNEED);
	for (size_t i = 0; i < data->blocks; i++) {
		const size_t at = place(data, i, random);
		const off_t offset = (off_t)(at * data->block);
		ssize_t done;

		if (!is_read)
			fill(data, at);
		done = is_read ? pread(data->fd, data->buffer, data->block, offset)
			       : pwrite(data->fd, data->buffer, data->block, offset);
		if (done != (ssize_t)data->block)
			err(1, "%s at %ld: %zd bytes", step, (long)offset, done);
		if (is_read)
			verify(data, at);
	}
	if (!is_read && fsync(data->fd) != 0)
		err(1, "fsync");
	seconds = now() - start;
	printf("%s %.0f MiB/s %.3f s\n", step, (double)(data->blocks * data->block) / seconds / 1048576, seconds);
	fflush(stdout);
}

static int data(int argc, char **argv)
{
	static const char *const all[] = {"write", "rewrite", "read", "randwrite", "randread"};
	struct data data = {0};

	data.block = strtoul(argv[1], NULL, 10);
	if (argc < 3 || data.block < 512 || data.block % 512 != 0)
		errx(2, "BLOCK must be a multiple of 512");
	data.blocks = strtoul(argv[2], NULL, 10) / data.block;
	data.buffer = aligned_alloc(4096, (data.block + 4095) / 4096 * 4096);
	if (data.buffer == NULL)
		err(1, "malloc");
	memset(data.buffer, 0, data.block);
	data.fd = open(argv[0], O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (data.fd < 0)
		err(1, "%s", argv[0]);
	for (int i = 3; i < argc; i++)
		data_step(&data, argv[i]);
	for (size_t i = 0; argc == 3 && i < sizeof(all) / sizeof(all[0]); i++)
		data_step(&data, all[i]);
	if (close(data.fd) != 0)
		err(1, "close");
	free(data.buffer);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 4 && is(argv[1], "files"))
		return files(argc - 2, argv + 2);
	if (argc >= 5 && is(argv[1], "data"))
		return data(argc - 2, argv + 2);
	fputs("usage: fileops files FOLDER COUNT [STEP...] | data FILE BLOCK BYTES [STEP...]\n", stderr);
	return 2;
}
