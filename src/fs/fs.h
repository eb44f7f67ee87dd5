/*
 * One function per operation of the filesystem, on inode numbers (FUSE's nodeid). Knows nothing of FUSE. Composes meta,
 * alloc and region, and owns every lock of an operation.
 *
 * Functions return 0 or -errno; outputs are written only on success. All are thread-safe and block only for locks and
 * for media. Every change is durable when its function returns. Those with a `wait` may be in the way of a pin: they
 * return -EINPROGRESS and are repeated later (fs/wait.h), or -EAGAIN if it is NULL; -EBUSY and -EINTR end the wait.
 */
#ifndef PINFS_FS_H
#define PINFS_FS_H

#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>

struct fs;
struct fs_wait;
struct meta_entry;

/* ---- Mount and unmount (mount.c, recover.c) ---- */

struct fs_options {
	const char *meta_path;
	const char *const *data_paths; /* `-o data=`: where moved parts are, matched by their header's uuid */
	size_t data_count;
	bool read_only;
	/*
	 * Whoever opens a file asks fs_may_open() first: so inodes can be made immutable and append-only. A pool that
	 * has such inodes turns it on by itself.
	 */
	bool inode_flags;
	bool skip_probe; /* tests only: trust the pool without the child process */
};

/*
 * Opens the pool and its parts, rebuilds free space, resumes intents, evicts orphans (not if read-only). Starts no
 * thread, but meta_probe() forks: call it before any thread is started. Words in `message`.
 */
int fs_open(const struct fs_options *options, struct fs **ret_fs, struct message *message);
/* No operation may be in progress. Forgets all look-ups, evicts what is unlinked, marks the pool clean. */
void fs_close(struct fs *fs);
bool fs_read_only(const struct fs *fs);
bool fs_honours_flags(const struct fs *fs); /* fs_options.inode_flags, or the pool has turned it on */
/*
 * Stops everything but forgetting: every operation answers -EIO, nothing more is written, holders of pins are told and
 * there are no new pins. As after a power cut the next mount recovers. Any thread; no way back (shutdown.c).
 */
void fs_shut_down(struct fs *fs);
bool fs_is_shut_down(const struct fs *fs);
void fs_pool_uuid(const struct fs *fs, uint8_t ret_uuid[16]);

/* ---- Look-up counts (inode.c) ---- */

struct fs_entry {
	uint64_t ino;
	uint32_t generation;
	struct stat attr;
};

struct fs_cred {
	uid_t uid;
	gid_t gid;
};

/* Each success raises the inode's look-up count by one; "." and ".." work too, and "/" as ".". -ENOENT, -ENOTDIR,
 * -ENAMETOOLONG. */
int fs_lookup(struct fs *fs, uint64_t parent, const char *name, struct fs_entry *ret_entry);
/* Lowers the count; an inode without count and links is evicted here, its blocks freed. Unknown numbers are ignored. */
void fs_forget(struct fs *fs, uint64_t ino, uint64_t count);

/*
 * Calls visit for the number of each regular file that the kernel knows, with no lock held: some may be forgotten by
 * then. A non-zero return ends it and is passed on. -ENOMEM.
 */
int fs_visit_known_files(struct fs *fs, int (*visit)(void *arg, uint64_t ino), void *arg);

/* ---- Attributes (attr.c) ---- */

int fs_getattr(struct fs *fs, uint64_t ino, struct stat *ret_attr);

/* What statx(2) can show: all times have nanoseconds, and the seconds are 64 bits with a sign. */
struct fs_statx {
	struct stat attr;
	struct timespec btime; /* when it was made */
};
int fs_statx(struct fs *fs, uint64_t ino, struct fs_statx *ret_statx);

/*
 * When reading changes the time of access: files that are read, directories that are listed, symlinks that are read,
 * each time that fs is asked to. At any time, by any thread. After fs_open(): never.
 */
#define FS_ATIME_FILES 1u /* without it never, and the others mean nothing */
#define FS_ATIME_DIRECTORIES 2u
#define FS_ATIME_STRICT 4u /* always; without it only if it is older than a change or than a day: relatime */
#define FS_ATIME_PAUSED 8u /* not now: the kernel's mount is read-only */
void fs_set_atime(struct fs *fs, unsigned flags);
unsigned fs_get_atime(const struct fs *fs);

#define FS_SET_MODE 1u
#define FS_SET_UID 2u
#define FS_SET_GID 4u
#define FS_SET_SIZE 8u
#define FS_SET_ATIME 16u
#define FS_SET_MTIME 32u
#define FS_SET_ATIME_NOW 64u
#define FS_SET_MTIME_NOW 128u
#define FS_SET_CTIME 256u
#define FS_SET_UNPRIVILEGED 512u /* setuid goes, and setgid if the group may execute it; not of a directory */
struct fs_setattr {
	unsigned valid;
	bool kernel_times; /* the kernel tells of times that it has kept: not a change of somebody's own */
	struct stat attr;
};
/* All of it in one transaction, a size change included. -EFBIG, -EISDIR, -EINVAL, -ENOSPC, -EROFS. */
int fs_setattr(struct fs *fs, uint64_t ino, const struct fs_setattr *changes, struct fs_wait *wait,
	       struct stat *ret_attr);
int fs_statfs(struct fs *fs, struct statvfs *ret_statfs);

/* ---- Inode flags (flags.c, protect.c): FS_IMMUTABLE_FL and others of <linux/fs.h> ---- */

struct fs_flags {
	unsigned flags;
	uint32_t generation;
};
int fs_get_flags(struct fs *fs, uint64_t ino, struct fs_flags *ret_flags);
/*
 * Those of `mask` become `flags`. -EPERM: `cred` is neither root nor the owner, or not root for immutable and
 * append-only, or the inode stays immutable. -EOPNOTSUPP: a flag that there is not, or not for this type, or one that
 * would not be honoured (fs_options.inode_flags).
 */
int fs_set_flags(struct fs *fs, uint64_t ino, unsigned flags, unsigned mask, const struct fs_cred *cred);
/* `flags`: of open(2). -EPERM: immutable, or append-only without O_APPEND. */
int fs_may_open(struct fs *fs, uint64_t ino, int flags, bool *ret_append_only);

/* ---- Names (namei.c, rename.c, readdir.c) ---- */

struct fs_make {
	mode_t mode; /* S_IFMT and permissions */
	mode_t umask; /* not applied yet: a default ACL of the parent counts instead */
	dev_t rdev; /* device special files */
	const char *target; /* symlinks */
};
/* mknod, mkdir, symlink and create. Raises the look-up count. -EEXIST, -ENOSPC, -ENAMETOOLONG, -EMLINK, -ENOENT. */
int fs_make(struct fs *fs, uint64_t parent, const char *name, const struct fs_make *make, const struct fs_cred *cred,
	    struct fs_entry *ret_entry);
/*
 * O_TMPFILE: a regular file without a name, as fs_make() would make it in `directory`. It is an orphan on media: a
 * crash takes it away, and so does the last fs_forget(), unless fs_link() has given it a name; that works until its
 * last name is removed, as for all files. -ENOTDIR, -ENOSPC.
 */
int fs_tmpfile(struct fs *fs, uint64_t directory, mode_t mode, mode_t umask, const struct fs_cred *cred,
	       struct fs_entry *ret_entry);
int fs_link(struct fs *fs, uint64_t ino, uint64_t parent, const char *name, struct fs_entry *ret_entry);
int fs_unlink(struct fs *fs, uint64_t parent, const char *name);
int fs_rmdir(struct fs *fs, uint64_t parent, const char *name);
/* flags: 0, RENAME_NOREPLACE, RENAME_EXCHANGE; others -EINVAL. */
int fs_rename(struct fs *fs, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name,
	      unsigned flags);
/*
 * As fs_rename(), and in the same transaction the old name becomes that of a whiteout (RENAME_WHITEOUT): a new
 * character device 0/0 of `cred`, which says to overlayfs that there is nothing. Not with RENAME_EXCHANGE. -ENOSPC.
 */
int fs_rename_whiteout(struct fs *fs, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name,
		       unsigned flags, const struct fs_cred *cred);
/* Returns the length; not terminated. -EINVAL: not a symlink. */
ssize_t fs_readlink(struct fs *fs, uint64_t ino, char *target, size_t capacity);

/*
 * Entries after cookie `offset` (0: from the start, "." = 1, ".." = 2), in stable order, until visit returns non-zero,
 * which is not an error. `entry->attr` and a raised look-up count come with plus, except for "." and ".."; if visit
 * refuses an entry (non-zero), its look-up is taken back. Without plus only attr.st_ino and the type bits of st_mode.
 */
struct fs_dirent {
	uint64_t offset; /* cookie to continue after this entry */
	const char *name;
	struct fs_entry entry;
};
typedef int fs_dirent_visit(void *arg, const struct fs_dirent *dirent);
int fs_readdir(struct fs *fs, uint64_t ino, uint64_t offset, bool plus, fs_dirent_visit *visit, void *arg);

/* ---- Data (read.c, write.c, truncate.c, fallocate.c, copy.c) ---- */

/* A read in progress: iov points straight into the mapped parts (or at zeros). The layout stays as it is until end. */
#define FS_READ_IOV 260
struct fs_read {
	struct fs_inode *inode;
	struct iovec iov[FS_READ_IOV];
	int count;
	size_t length; /* bytes, clipped at the end of the file; short also when iov is full */
	bool unseen; /* the time of access is to be changed */
};
int fs_read_begin(struct fs *fs, uint64_t ino, off_t offset, size_t size, struct fs_read *ret_read);
void fs_read_end(struct fs *fs, struct fs_read *read);
/* Between begin and end, before the answer: changes the time of access, if it is to be. Not for O_NOATIME. */
void fs_read_seen(struct fs *fs, const struct fs_read *read);
/* Between begin and end: some of the bytes could not be loaded (EIO was answered). Finds out which, tells their
 * holders. */
void fs_read_failed(struct fs *fs, const struct fs_read *read);
/* Blocks that are known to be lost, those that are still files' and those that are nobody's any more. */
uint64_t fs_poison_count(const struct fs *fs);
/*
 * For whoever has a list of memory errors, as a device has: these bytes of a data part are lost. Recorded, holders
 * told; nothing of it is allocated any more. -EINVAL: there are no such blocks. -ENOMEM: some of it is not known yet,
 * to be reported again.
 */
int fs_report_lost(struct fs *fs, unsigned part, uint64_t offset, uint64_t length);

/* Returns the bytes written: all, or fewer only when space ended. -ENOSPC, -EFBIG, -EROFS, -EISDIR, -EINVAL. */
ssize_t fs_write(struct fs *fs, uint64_t ino, const void *data, size_t size, off_t offset, struct fs_wait *wait);
/*
 * As fs_write, for the kernel's write-back: never waits. keep_times: mtime and ctime stay, the kernel keeps them by
 * itself. -EIO: somebody else's exclusive pin is there, and is told.
 */
ssize_t fs_write_back(struct fs *fs, uint64_t ino, const void *data, size_t size, off_t offset, bool keep_times);
int fs_fallocate(struct fs *fs, uint64_t ino, int mode, off_t offset, off_t length, struct fs_wait *wait);
/* SEEK_DATA, SEEK_HOLE. -ENXIO. */
off_t fs_lseek(struct fs *fs, uint64_t ino, off_t offset, int whence);
ssize_t fs_copy_range(struct fs *fs, uint64_t ino_in, off_t offset_in, uint64_t ino_out, off_t offset_out,
		      size_t length, struct fs_wait *wait);

/* ---- Privileges of a file that is changed (privileges.c) ---- */

#define FS_DROP_MODE 1u /* setuid; setgid if the group may execute it */
#define FS_DROP_CAPABILITY 2u /* security.capability */
#define FS_DROP_SETGID 4u /* setgid in any case: for who is not of the file's group */
/* Before the change, in one transaction: what a crash cuts off is the change. Nothing but regular files have them. */
int fs_drop_privileges(struct fs *fs, uint64_t ino, unsigned which, bool *ret_dropped);
/* The group of a file with setgid; -ENOENT: it has none. */
int fs_setgid_group(struct fs *fs, uint64_t ino, gid_t *ret_gid);

/* ---- Extended attributes (xattr.c) ---- */

ssize_t fs_getxattr(struct fs *fs, uint64_t ino, const char *name, void *value, size_t capacity);
/*
 * flags: XATTR_CREATE, XATTR_REPLACE, FS_XATTR_KILL_SETGID. POSIX ACLs are xattrs with rules of their own (fs/acl.h):
 * they change the mode, are replaced whatever the flags say, and give -EINVAL, -EACCES, -EOPNOTSUPP.
 */
#define FS_XATTR_KILL_SETGID 0x100 /* an access ACL: the setgid bit goes with it */
int fs_setxattr(struct fs *fs, uint64_t ino, const char *name, const void *value, size_t length, int flags);
int fs_removexattr(struct fs *fs, uint64_t ino, const char *name);
/* trusted: those of "trusted.", too. */
ssize_t fs_listxattr(struct fs *fs, uint64_t ino, bool trusted, char *list, size_t capacity);

/* ---- What `pinfs stat` shows ---- */

struct fs_stats {
	char meta_path[4096];
	char meta_durability[16];
	char features[256]; /* names of what the pool uses that older versions do not know, ", " between */
	uint64_t block_size;
	uint64_t blocks_total, blocks_free, free_runs, largest_free_run, bad_frees;
	uint64_t blocks_bad; /* recorded as lost, those that are files' still included */
	uint64_t inodes_used, inodes_cached;
	uint64_t meta_pages_total, meta_pages_free;
	unsigned parts;
};
void fs_get_stats(struct fs *fs, struct fs_stats *ret_stats);
/* Part `number`'s path and durability mode; -ENOENT past the last. Strings live as long as fs. */
int fs_part_info(struct fs *fs, unsigned number, const char **ret_path, const char **ret_durability,
		 uint64_t *ret_blocks);

#endif
