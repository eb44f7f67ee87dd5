/* Making a pool: what is to be made where, checked before anything is touched, then made or taken back. */
#ifndef PINFS_TOOL_POOL_H
#define PINFS_TOOL_POOL_H

#include "base/log.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A file or device of the pool. */
struct pool_file {
	char path[PATH_MAX]; /* absolute, no symbolic links */
	uint64_t size; /* bytes of a file to make; 0: it is there and is taken whole */
	uint64_t bytes; /* its size once it is made */
	bool exists;
	bool devdax;
	bool blank; /* it exists, and nothing is in it */
	bool made; /* by this run: failure removes it, or makes it blank again */
	bool on_tmpfs; /* once it is made */
	char durability[16]; /* once it is made */
};

struct pool_plan {
	struct pool_file meta;
	struct pool_file *parts; /* by number */
	size_t count;
	bool force; /* overwrite what is there */
};

/*
 * Fills a file's plan and checks it: exists or can be made, is not in use, holds nothing (unless `force`). A pool that
 * is just being unmounted is waited for. -errno, words in `message`; changes nothing on disk.
 */
int pool_plan_file(const char *path, uint64_t size, bool force, struct pool_file *ret_file, struct message *message);
/* Bytes that a file in the directory of `path` can get, what `path` itself occupies included. */
int pool_room(const char *path, uint64_t *ret_bytes, struct message *message);
/* The sizes are known, the files differ: makes the pool. On failure removes what it made. */
int pool_make(struct pool_plan *plan, struct message *message);

#endif
