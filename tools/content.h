/* What a file or a devdax node holds, for mkfs: nothing, or something that has a name. */
#ifndef PINFS_TOOL_CONTENT_H
#define PINFS_TOOL_CONTENT_H

#include "base/log.h"

#include <stdbool.h>

/*
 * Reads all of it, but for holes, up to the first byte that is not 0. What cannot be read, for media errors, holds
 * nothing in a devdax node, and is an error (-EIO) in a file. Shows its progress on a terminal.
 */
int content_is_blank(const char *path, bool devdax, bool *ret_blank, struct message *message);

/* "an ext4 filesystem", "a PMDK pool", or "data" where nobody knows. */
struct content_name {
	char text[64];
};
const char *content_name(const char *path, bool devdax, struct content_name *room);

#endif
