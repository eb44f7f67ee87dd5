/* What tools ask the daemon, beside pins: not part of the library's interface. */
#ifndef PINFS_CLIENT_ASK_H
#define PINFS_CLIENT_ASK_H

#include <pinfs.h>
#include "wire/wire.h"

/*
 * Each calls `visit` with what the daemon tells; it only copies, and calls no function of the session. A non-zero
 * return ends it and is passed on. -EOPNOTSUPP: the daemon is older than that.
 */

/* All pins and waiters that it tells this user of: of the file `fd` (may be O_PATH), or of all (-1). */
int client_list(struct pinfs *fs, int fd, int (*visit)(void *arg, const struct wire_listed *entry), void *arg);
/* All extents of a file (may be O_PATH), in order, and its size; at least once. */
int client_map_file(struct pinfs *fs, int fd, int (*visit)(void *arg, const struct wire_file_map *map), void *arg);
/* All of the pool in about so many cells: of each part, in order, those of one message. */
int client_map_pool(struct pinfs *fs, uint64_t cells, int (*visit)(void *arg, const struct wire_pool_map *map),
		    void *arg);

#endif
