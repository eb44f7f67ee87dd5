/*
 * The socket server: speaks wire/wire.h with clients, and fs/pins.h with the filesystem. README.md has the threads.
 *
 *   ctl_open() --ctl_start()--> serves --ctl_stop()--> ctl_close()
 *
 * Order in a daemon: ctl_open() and fs_pins_start() after it has left its terminal; ctl_start(); the mount serves;
 * fs_pins_drain(), while clients are still served; ctl_stop(); fs_pins_stop(); ctl_close(); fs_close().
 */
#ifndef PINFS_CTL_H
#define PINFS_CTL_H

#include "base/log.h"
#include "fs/fs.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ctl;

/* Who may connect; root and the mount's owner may always. */
enum ctl_access {
	CTL_ACCESS_OWNER,
	CTL_ACCESS_GROUP,
	CTL_ACCESS_ALL,
};

struct ctl_options {
	const char *path; /* of the socket: absolute; its folder is made if it is missing */
	enum ctl_access access;
	uid_t owner; /* the mount's; sees all pins, as root does */
	gid_t group; /* CTL_ACCESS_GROUP */
	dev_t device; /* st_dev of the mount: what a client passes must be of it */
	uint8_t pool_uuid[16];
	bool writeback; /* the kernel owns sizes and times of cached files: clients commit through it too */
	bool read_only;
};

/*
 * Where the socket of a pool belongs: root: /run/pinfs; others: $XDG_RUNTIME_DIR/pinfs, or /tmp/pinfs-UID where that is
 * missing or others are to be let in. -ENAMETOOLONG.
 */
int ctl_default_path(const uint8_t pool_uuid[16], enum ctl_access access, char *ret_path, size_t capacity);

/*
 * Makes the socket and listens; nobody is served yet. A socket of a dead daemon is replaced: the caller has the pool's
 * lock. Raises the limit of open files. Strings of `options` are copied. Words in `message`.
 */
int ctl_open(struct fs *fs, const struct ctl_options *options, struct ctl **ret_ctl, struct message *message);
int ctl_start(struct ctl *ctl, struct message *message);
/*
 * Ends every session without a goodbye (fs_holder_leave()) and all threads, removes the socket. Waits for requests that
 * are under way: they are interrupted. If it was not started, removes the socket.
 */
void ctl_stop(struct ctl *ctl);
/* After fs_pins_stop(): until then state words are looked at. NULL is fine. */
void ctl_close(struct ctl *ctl);
/* Of the socket; lives as long as ctl. */
const char *ctl_path(const struct ctl *ctl);

struct ctl_stats {
	uint64_t connections;
	uint64_t refused; /* connections that were dropped: limits, silence, access */
	uint64_t violations; /* sessions ended because of what they sent */
};
void ctl_get_stats(struct ctl *ctl, struct ctl_stats *ret_stats);

#endif
