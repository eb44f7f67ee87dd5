/* What the programs about pins share. */
#ifndef PINFS_BENCH_PINS_H
#define PINFS_BENCH_PINS_H

#include "timing.h"

#include <errno.h>
#include <fcntl.h>
#include <pinfs.h>
#include <unistd.h>

/* Ends the program if a function of libpinfs failed. */
static inline void pins_check(int result, const char *what)
{
	if (result < 0)
		errx(1, "%s: %s", what, strerror(-result));
}

/* A file of `size` bytes, all of them written; left open. */
static inline int pins_file(const char *folder, const char *name, size_t size)
{
	char path[PATH_MAX];
	char *zeros = calloc(1, 1 << 20);
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || zeros == NULL)
		err(1, "%s", path);
	for (size_t at = 0; at < size; at += 1 << 20) {
		size_t length = size - at < 1 << 20 ? size - at : 1 << 20;

		if (pwrite(fd, zeros, length, (off_t)at) != (ssize_t)length)
			err(1, "%s", path);
	}
	free(zeros);
	return fd;
}

static inline void pins_remove(const char *folder, const char *name, int fd)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (close(fd) != 0 || unlink(path) != 0)
		err(1, "%s", path);
}

#endif
