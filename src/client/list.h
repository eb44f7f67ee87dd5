/* For `pinfs pins`: not part of the library's interface. */
#ifndef PINFS_CLIENT_LIST_H
#define PINFS_CLIENT_LIST_H

#include <pinfs.h>
#include "wire/wire.h"

/*
 * All pins and waiters that the daemon tells this user of: of the file `fd` (may be O_PATH), or of all (-1). `visit`
 * only copies: it may call no function of the session. A non-zero return ends it and is passed on.
 */
int client_list(struct pinfs *fs, int fd, int (*visit)(void *arg, const struct wire_listed *entry), void *arg);

#endif
