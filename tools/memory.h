/* The devices below a pool that mkfs is to make: fit or not, and in words what to do. -errno, words in `message`. */
#ifndef PINFS_TOOL_MEMORY_H
#define PINFS_TOOL_MEMORY_H

#include "base/log.h"

/* A disk, a control node, a devdax node that the kernel has as memory, or whose headers would be lost: refused. */
int memory_check_device(const char *path, struct message *message);
/* One device is not enough: -EINVAL, and how two are made of it. */
int memory_explain_one(const char *path, struct message *message);
/* Nothing goes around a media error in a meta part: -EIO. */
int memory_check_meta(const char *path, struct message *message);
/* What a data part has of them is kept from use: that is said. */
void memory_warn_part(const char *path);

#endif
