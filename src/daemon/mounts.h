/* What is mounted where, read from the kernel's mount table: looks at no file system, so none can make it hang. */
#ifndef PINFS_DAEMON_MOUNTS_H
#define PINFS_DAEMON_MOUNTS_H

#include "base/log.h"

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

/* True if the pool with that absolute meta path is mounted in this mount namespace, as the mount table tells. */
bool daemon_pool_mounted(const char *meta_path);

/*
 * The pinfs mount that holds the absolute path `path` (its own directory or one above, no other mount in between).
 * -ENOENT: none; or what reading the mount table gave.
 */
int daemon_mount_of(const char *path, char ret_directory[PATH_MAX]);

/* The device number that files of the mount at the absolute path `mountpoint` show as st_dev. -ENOENT. */
int daemon_mount_device(const char *mountpoint, dev_t *ret_device);

/*
 * Checks a directory to mount on: it exists, is no pinfs mount already, and is empty unless `nonempty`. Gives its
 * absolute path. -errno, words in `message`.
 */
int daemon_mountpoint_check(const char *path, bool nonempty, char ret_path[PATH_MAX], struct message *message);

/*
 * For a pool that another process has (-EBUSY). After an umount its daemon may need a moment to put it away: sleeps,
 * and returns true if it is worth another try; false at once if the pool is mounted, or when the wait was long enough.
 * *attempt starts at 0.
 */
bool daemon_wait_busy(const char *meta_path, unsigned *attempt);

#endif
