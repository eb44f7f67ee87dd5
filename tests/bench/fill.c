/*
 * Many files, for what grows with them. fill FOLDER FROM TO BYTES: files numbered FROM to TO - 1, a thousand to a
 * folder, each with BYTES of data (0: empty), by two threads. fill --stat FOLDER COUNT: looks at each of them. Exit
 * status 0, 1 (failed), 2 (wrong use).
 */
#include "timing.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER 1000u
#define THREADS 2u

struct fill {
	const char *folder;
	uint64_t from, to;
	size_t bytes;
	unsigned thread;
};

static void path_of(const struct fill *fill, uint64_t i, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/%llu/%llu", fill->folder, (unsigned long long)(i / FOLDER), (unsigned long long)i);
}

static void fill_one(const struct fill *fill, const char *path, const char *data)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0 || (fill->bytes > 0 && write(fd, data, fill->bytes) != (ssize_t)fill->bytes) || close(fd) != 0)
		err(1, "%s", path);
}

/* Each thread has whole folders. */
static void *fill_run(void *arg)
{
	const struct fill *fill = arg;
	char *data = calloc(1, fill->bytes + 1);
	char path[PATH_MAX];

	for (uint64_t i = fill->from; i < fill->to; i++) {
		if (i / FOLDER % THREADS != fill->thread)
			continue;
		path_of(fill, i, path);
		if (i % FOLDER == 0 || i == fill->from) {
			*strrchr(path, '/') = '\0';
			if (mkdir(path, 0755) != 0 && errno != EEXIST)
				err(1, "%s", path);
			path_of(fill, i, path);
		}
		fill_one(fill, path, data);
	}
	free(data);
	return NULL;
}

static void stat_all(const struct fill *fill)
{
	char path[PATH_MAX];
	struct stat st;

	for (uint64_t i = fill->from; i < fill->to; i++) {
		path_of(fill, i, path);
		if (stat(path, &st) != 0)
			err(1, "%s", path);
	}
}

int main(int argc, char **argv)
{
	struct fill fills[THREADS];
	pthread_t threads[THREADS];

	if (argc == 4 && is(argv[1], "--stat")) {
		stat_all(&(struct fill){.folder = argv[2], .to = number_of(argv[3])});
		return 0;
	}
	if (argc != 5)
		errx(2, "usage: fill FOLDER FROM TO BYTES | --stat FOLDER COUNT");
	for (unsigned i = 0; i < THREADS; i++) {
		fills[i] = (struct fill){.folder = argv[1], .from = strtoull(argv[2], NULL, 10), .thread = i};
		fills[i].to = number_of(argv[3]);
		fills[i].bytes = strtoull(argv[4], NULL, 10);
		if (pthread_create(&threads[i], NULL, fill_run, &fills[i]) != 0)
			errx(1, "no thread");
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
