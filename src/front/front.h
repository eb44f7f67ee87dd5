/*
 * The FUSE side: answers the kernel's requests with the functions of src/fs, and counts them. libfuse stays in this
 * folder.
 *
 * Life of a front: open, mount, serve (returns when the mount is gone or front_stop() was called), unmount, close.
 * Functions return 0 or -errno. Only front_stop(), front_write_back() and front_written_back() may be called from
 * another thread than the one that serves.
 */
#ifndef PINFS_FRONT_H
#define PINFS_FRONT_H

#include "base/log.h"
#include "fs/fs.h"

#include <stdbool.h>

struct front;

enum front_cache {
	FRONT_CACHE_AUTO, /* the kernel's page cache, written through */
	FRONT_CACHE_NONE, /* every read and write is a request */
	FRONT_CACHE_WRITEBACK, /* the kernel's page cache, written back later */
};
const char *front_cache_name(enum front_cache cache);

/* How requests come. */
enum front_transport {
	FRONT_TRANSPORT_AUTO, /* what is known to be as good in all respects: now /dev/fuse */
	FRONT_TRANSPORT_DEV, /* /dev/fuse */
	FRONT_TRANSPORT_URING, /* over io_uring, if that can be had; else /dev/fuse, and a warning says why */
};
const char *front_transport_name(enum front_transport transport);

struct front_options {
	const char *source; /* what the mount table shows: the absolute path of the meta part */
	const char *mountpoint; /* absolute; lives as long as the front */
	const char *mount_words; /* libfuse's and the kernel's mount options, comma-separated; may be "" */
	enum front_cache cache;
	enum front_transport transport;
};

/* Makes the session. Starts no thread. `fs` stays the caller's and must outlive the front. */
int front_open(struct fs *fs, const struct front_options *options, struct front **ret_front);
/* What `pinfs.socket` shows: where clients find the daemon. Before front_serve(). -ENOMEM. */
int front_set_client_socket(struct front *front, const char *path);
/* Mounts; the kernel queues requests from now on. libfuse reports by itself why not (front_log()). */
int front_mount(struct front *front, const char *mountpoint);
/* Answers requests, with several threads, until the mount is gone (0) or front_stop() (0); else -errno. */
int front_serve(struct front *front);
/* Has front_serve() return, once what is being answered is answered; also if it has not begun yet. */
void front_stop(struct front *front);
/*
 * Has the kernel write back all that it holds dirty, while front_serve() runs. Returns at once; done when
 * front_written_back(). From any thread; once at a time.
 */
int front_write_back(struct front *front);
bool front_written_back(const struct front *front);
/* Unmounts if it still is mounted. No request is in progress any more, but those that are parked: they may be answered.
 */
void front_unmount(struct front *front);
void front_close(struct front *front);

/* libfuse's own messages go where log_error() and its kin send theirs. Called once, before front_open(). */
void front_log(void);

#endif
