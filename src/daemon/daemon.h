/* A mount from the command line to its end: checks, leaves the terminal, opens the pool, serves, puts it away. */
#ifndef PINFS_DAEMON_H
#define PINFS_DAEMON_H

#include "base/log.h"
#include "daemon/options.h"

#include <stdbool.h>

struct daemon_mount {
	const char *meta_path;
	const char *mountpoint;
	const struct daemon_options *options;
	bool foreground;
};

/*
 * Mounts. In the background: returns 0 once the mount answers, and a process of its own serves it. In the foreground:
 * returns when it is unmounted. -errno with words in `message`. To be called before any thread is started.
 * `ret_note`: words about the mount that its user should know, or empty.
 */
int daemon_mount(const struct daemon_mount *mount, struct message *ret_note, struct message *message);

/*
 * Makes the mount at `mountpoint` read-only, or writable again, and applies the kernel's flags and the policy of
 * access times that the options name; all else stays as it is. For root. -EBUSY: something is pinned, or open, for
 * writing; -EROFS: the pool is open for reading only; -EPERM, -EINVAL; words in `message`.
 */
int daemon_remount(const char *mountpoint, const struct daemon_options *options, struct message *message);

/*
 * Has the mount table tell of strictatime and nodiratime, which libfuse does not pass on: mount(8) repeats at a remount
 * what it finds there. For root, else nothing happens. Between mounting and serving: asks nothing of the mount.
 */
void daemon_show_atime(const char *mountpoint, const struct daemon_options *options, bool read_only);

#endif
