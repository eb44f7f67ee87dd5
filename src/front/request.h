/*
 * What the files of src/front share: the front, a request in progress, and the replies.
 *
 * A request lives on the stack of the worker thread that took it: front_begin() at the head of an operation, exactly
 * one front_reply_*() on every path. A reply that failed was a reply: the kernel has answered by itself and libfuse has
 * freed the request, so the functions below never reply again; they take back what the kernel did not learn of.
 */
#ifndef PINFS_FRONT_REQUEST_H
#define PINFS_FRONT_REQUEST_H

#define FUSE_USE_VERSION 314

#include "front/front.h"
#include "front/stats.h"
#include "fs/pins.h"

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include <time.h>

/*
 * Seconds that the kernel may keep attributes, entries and the knowledge that a name does not exist: for ever. This
 * daemon is the only one that changes them, at the kernel's request.
 */
#define FRONT_FOREVER 1.0e9
/*
 * With cache=writeback the kernel keeps size and times by itself, and never hears how many blocks its late writes took:
 * it asks again after a second.
 */
#define FRONT_ATTR_WRITEBACK 1.0

/* Whether it hands on all that FUSE_CAP_HANDLE_KILLPRIV_V2 needs. FUSE_VERSION has no patch level. */
#if FUSE_VERSION > FUSE_MAKE_VERSION(3, 18)
#define FRONT_LIBFUSE_RELAYS_KILLPRIV 1
#elif FUSE_VERSION == FUSE_MAKE_VERSION(3, 18)
#define FRONT_LIBFUSE_RELAYS_KILLPRIV (FUSE_HOTFIX_VERSION >= 3)
#else
#define FRONT_LIBFUSE_RELAYS_KILLPRIV 0
#endif

/* Readahead, write-back and asynchronous direct requests that the kernel keeps under way at a time. */
#define FRONT_BACKGROUND_MAX 64

/* upcall.c: what the kernel is asked to drop, and the threads that ask. */
STAILQ_HEAD(front_upcall_list, front_upcall);
STAILQ_HEAD(front_upcall_files, front_upcall_file);
struct front_upcalls {
	pthread_mutex_t lock; /* leaf; protects all below */
	pthread_cond_t wake; /* a file is ready, or it is the end */
	pthread_cond_t ended; /* a thread is gone */
	struct front_upcall_file *files; /* uthash by inode number: those that something is asked or to be asked of */
	struct front_upcall_files ready; /* of them, those that no thread asks about */
	unsigned ready_count;
	unsigned threads;
	unsigned idle; /* of them, those that wait for something to be ready */
	unsigned answering; /* of them, those that the kernel has answered and who tell */
	atomic_bool stopping; /* set under the lock */
};

/* clean.c: the thread that has the kernel write back all its dirty pages. */
struct front_cleaner {
	pthread_t thread;
	atomic_bool claimed; /* by the one who may start it */
	bool started; /* by front_write_back_then(); read after the loop */
	atomic_bool stopping;
	atomic_bool written_back; /* since front_write_back() was called */
	void (*then)(void *arg); /* called by the thread at its end; NULL: nothing */
	void *then_arg;
};

/* loop.c: the threads that serve. */
struct front_loop {
	pthread_mutex_t lock; /* leaf; protects all below */
	pthread_cond_t wake; /* a spare thread shall read, or it is the end */
	pthread_cond_t end;
	SLIST_HEAD(, front_worker) workers;
	unsigned threads, threads_max;
	unsigned reading; /* of them, those that wait for a request, or are about to */
	unsigned spare; /* of them, those that wait until they are needed */
	unsigned wanted; /* so many may be reading */
	unsigned taken, left; /* requests in this window; the least that were left reading when one was taken */
	bool begun; /* the first request was taken: INIT, until whose answer the kernel sends no other */
	bool ending;
	int error; /* why; 0: as wanted */
};

/* channel.c: what is added to libfuse's answer to INIT. */
struct front_channel {
	bool open; /* libfuse reads and writes by it */
	uint64_t init; /* the request's number */
	uint64_t offered; /* by the kernel: FUSE_* of linux/fuse.h */
	uint64_t asked;
};

struct front {
	struct fs *fs;
	struct fuse_session *session;
	enum front_cache cache;
	enum front_transport transport; /* as asked for */
	struct front_uring *uring; /* NULL: requests come by /dev/fuse. Set by init. */
	double attr_timeout; /* seconds */
	const char *mountpoint;
	/* Set by init, before any other request is taken. */
	bool no_open; /* the kernel understands ENOSYS to open as "never ask again" */
	bool no_opendir;
	bool writeback; /* the kernel has a writeback cache, and was asked for it */
	bool killpriv; /* it is ours to take setuid and setgid away (privileges.c) */
	bool shared_mmap; /* cache=none: the kernel has pages of files that are mapped */
	bool setxattr_ext; /* setxattr's extra flags are agreed; no libfuse up to 3.18 hands them on */
	bool acl; /* the kernel obeys POSIX ACLs */
	struct timespec started; /* CLOCK_MONOTONIC */
	atomic_uint parked_background; /* of the kernel's background requests */
	struct front_upcalls upcalls;
	struct front_cleaner cleaner;
	struct front_loop loop;
	struct front_channel channel;
	bool stuck; /* a thread that asks the kernel could not be joined: what it uses stays */
	char *client_socket; /* pinfs.socket; NULL: no clients are served */
	struct front_stats stats;
};

struct front_request {
	fuse_req_t req;
	struct front *front;
	enum front_op op;
	uint64_t start; /* ns, CLOCK_MONOTONIC */
};

void front_begin(struct front_request *request, fuse_req_t req, enum front_op op);

/* error: 0 or -errno. */
void front_reply_error(struct front_request *request, int error);
void front_reply_none(struct front_request *request);
/* The kernel learns of the inode, or its look-up count is taken back. fi: NULL, or what create() opened. */
void front_reply_entry(struct front_request *request, const struct fs_entry *entry, const struct fuse_file_info *fi);
/* There is no such name, and the kernel may remember that. */
void front_reply_absent(struct front_request *request);
void front_reply_attr(struct front_request *request, const struct stat *attr);
void front_reply_statx(struct front_request *request, struct statx *attr);
void front_reply_open(struct front_request *request, const struct fuse_file_info *fi);
/* False: the kernel did not take it. */
bool front_reply_data(struct front_request *request, const void *data, size_t length);
/* -EFAULT: the kernel could not load some of it, and has answered EIO. */
int front_reply_iov(struct front_request *request, const struct iovec *iov, int count);
void front_reply_written(struct front_request *request, size_t length);
void front_reply_offset(struct front_request *request, off_t offset);
void front_reply_link(struct front_request *request, const char *target);
void front_reply_statfs(struct front_request *request, const struct statvfs *statfs);
void front_reply_ioctl(struct front_request *request, const void *data, size_t length);
/* Answers a question for a length, of a value or a list of xattrs. */
void front_reply_length(struct front_request *request, size_t length);

void front_entry_param(const struct front *front, const struct fs_entry *entry, struct fuse_entry_param *ret_param);

/* attr.c */
void front_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void front_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi);
void front_statx(fuse_req_t req, fuse_ino_t ino, int flags, int mask, struct fuse_file_info *fi);
void front_statfs(fuse_req_t req, fuse_ino_t ino);

/* names.c */
void front_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void front_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count);
void front_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void front_readlink(fuse_req_t req, fuse_ino_t ino);
void front_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void front_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void front_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void front_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void front_tmpfile(fuse_req_t req, fuse_ino_t directory, mode_t mode, struct fuse_file_info *fi);
void front_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
void front_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void front_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void front_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
		  unsigned int flags);

/* directory.c */
void front_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void front_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void front_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void front_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);

/* io.c */
#define FRONT_FH_PAST_CACHE 1u /* fi->fh of a file that was opened with FOPEN_DIRECT_IO although there is a cache */
void front_file_opened(const struct front *front, struct fuse_file_info *fi);
void front_open_file(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void front_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void front_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
		 struct fuse_file_info *fi);
void front_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void front_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *fi);
void front_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t offset_in, struct fuse_file_info *fi_in,
			   fuse_ino_t ino_out, off_t offset_out, struct fuse_file_info *fi_out, size_t length,
			   int flags);

/*
 * park.c: an operation that a pin can make wait. operate() is called with the wait, or NULL for the first time, and may
 * be repeated; answer() is called once with its last result.
 */
struct front_waitable {
	struct fs_wait wait;
	struct front_request request;
	ssize_t (*operate)(struct front_waitable *waitable, struct fs_wait *wait);
	void (*answer)(struct front_waitable *waitable, ssize_t result);
	unsigned drops; /* FS_DROP_*: what is taken from the file before */
	bool past_cache; /* a write that the kernel's cache does not know of */
	bool background; /* the kernel may count it among those that it keeps under way at a time */
	void *owned; /* a copy of `data`, once it waits */
	const char *data; /* of a write */
	size_t length;
	uint64_t ino, ino_in;
	off_t offset, offset_in;
	int mode; /* fallocate */
	struct fs_setattr changes;
	struct stat attr; /* the result of setattr */
};
void front_run(struct front_waitable *waitable);

/* privileges.c: FS_DROP_*, what a write, or another change of contents, takes away. */
unsigned front_write_drops(struct front *front, fuse_req_t req, const struct fuse_file_info *fi);
unsigned front_change_drops(fuse_req_t req);
/* Of a truncate; takes a mode that the kernel has made for it out of the changes. */
unsigned front_truncate_drops(const struct front_request *request, struct fs_setattr *changes);
/* Tells the kernel of what was dropped. */
int front_drop_privileges(const struct front_request *request, uint64_t ino, unsigned which);
/* Whether the caller is of this group. */
bool front_in_group(fuse_req_t req, gid_t gid);

/* upcall.c */
int front_upcalls_init(struct front_upcalls *upcalls);
void front_upcalls_fini(struct front_upcalls *upcalls);
/* What is under way is waited for, what is not is answered unasked. False: a thread hangs in the kernel. */
bool front_upcalls_stop(struct front_upcalls *upcalls);
/* As struct fs_kernel's invalidate; arg is the front. */
void front_invalidate(void *arg, uint64_t ino, uint64_t offset, uint64_t length, void (*done)(void *done_arg),
		      void *done_arg);

/* clean.c */
void front_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi);
/*
 * As front_write_back(), and then calls `then` once, from that thread; cleaner.stopping: the front is on its way down.
 * -EBUSY: it is under way already, or has been.
 */
int front_write_back_then(struct front *front, void (*then)(void *arg), void *arg);
/* False: its thread hangs in the kernel until the process ends; it uses the front and its session, and nothing else. */
bool front_cleaner_stop(struct front_cleaner *cleaner);

/* ioctl.c */
void front_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg, struct fuse_file_info *fi, unsigned flags,
		 const void *in, size_t in_size, size_t out_size);

/* shutdown.c: FS_IOC_SHUTDOWN; `arg` is an address of the caller's. */
void front_shut_down(struct front_request *request, const void *arg);

/* xattr.c */
void front_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags);
void front_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void front_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void front_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

/* loop.c: until front_loop_stop(), which may be called before, or the end of the mount (0), or an error. */
int front_loop_init(struct front_loop *loop);
void front_loop_fini(struct front_loop *loop);
int front_loop_run(struct front *front);
void front_loop_stop(struct front_loop *loop);

/* channel.c. After the mount, before any request is read. */
int front_channel_open(struct front *front);
/* What there is to know of a request, before libfuse sees it. */
void front_channel_look(struct front *front, const void *message, size_t length);
/* During init: a FUSE_* flag of linux/fuse.h. False: the kernel does not offer it. */
bool front_channel_ask(struct front *front, uint64_t flag);
/* With front->killpriv, of the WRITE that this thread has taken: its writer may not keep setuid and setgid. */
bool front_kill_asked(const struct front *front, const struct fuse_file_info *fi);

/* transport.c: during init, after the above. */
void front_transport_agree(struct front *front, size_t payload_max);

/* caps.c: asks the kernel for what this front wants, and remembers what it got. */
void front_caps_agree(struct front *front, struct fuse_conn_info *conn);
/* True if the kernel may hold pages of files. */
static inline bool front_has_pages(const struct front *front)
{
	return front->cache != FRONT_CACHE_NONE || front->shared_mmap;
}

/* atime.c: "pinfs.atime". -EPERM, -EINVAL, -EOPNOTSUPP: not with these caches. */
#define FRONT_ATIME_WORDS_MAX 64
void front_atime_words(const struct front *front, char *ret_words, size_t capacity);
int front_atime_set(const struct front_request *request, const char *value, size_t size);

/* ops.c: the table; its init is in session.c. */
extern const struct fuse_lowlevel_ops front_ops;
void front_init(void *userdata, struct fuse_conn_info *conn);

/* status.c: what `pinfs stat --json` prints. *ret_text is the caller's to free; at most `limit` bytes, else -E2BIG. */
int front_status(struct front *front, size_t limit, char **ret_text);

#endif
