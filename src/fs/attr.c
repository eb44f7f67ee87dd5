/* Attributes: what stat(2) shows and setattr changes. */
#include "base/arith.h"
#include "fs/acl.h"
#include "fs/data.h"
#include "fs/names.h"
#include "fs/protect.h"

#include <errno.h>
#include <sys/sysmacros.h>
#include <time.h>

/* What a directory entry counts for in st_size: about the bytes it takes on media. */
#define ENTRY_SIZE 64u
#define TICK_NS 10000000 /* of the coarse clock, at 100 Hz */
#define SECTORS_PER_BLOCK (FMT_BLOCK_SIZE / 512u)

struct timespec fs_now(void)
{
	struct timespec now;

	/* Fails for an unknown clock or a bad pointer only. */
	(void)clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return now;
}

/*
 * Since Linux 6.13 the kernel's coarse clock may be ahead of the one that we can ask: it is never behind a finer time
 * that it has shown in some file. With cache=writeback it sets such times and keeps them; ours, less than a tick
 * earlier, would turn them back when it has forgotten them.
 */
bool fs_time_stands(int64_t sec, uint32_t nsec, const struct timespec *now)
{
	int64_t ahead;

	if (sec < now->tv_sec || sec > now->tv_sec + 1)
		return false;
	ahead = (sec - now->tv_sec) * 1000000000 + (int64_t)nsec - now->tv_nsec;
	return ahead >= 0 && ahead < TICK_NS;
}

static void set_mtime(struct fmt_inode *inode, const struct timespec *time)
{
	inode->mtime = time->tv_sec;
	inode->mtime_nsec = (uint32_t)time->tv_nsec;
}

static void set_ctime(struct fmt_inode *inode, const struct timespec *time)
{
	inode->ctime = time->tv_sec;
	inode->ctime_nsec = (uint32_t)time->tv_nsec;
}

void fs_touch_mtime(struct fmt_inode *inode, const struct timespec *now)
{
	if (!fs_time_stands(inode->mtime, inode->mtime_nsec, now))
		set_mtime(inode, now);
}

void fs_touch_ctime(struct fmt_inode *inode, const struct timespec *now)
{
	if (!fs_time_stands(inode->ctime, inode->ctime_nsec, now))
		set_ctime(inode, now);
}

/* Linux' new_encode_dev, backwards. */
static dev_t decode_dev(uint64_t rdev)
{
	return makedev((unsigned)(rdev >> 8) & 0xfff, ((unsigned)rdev & 0xff) | ((unsigned)(rdev >> 12) & 0xfff00));
}

void fs_inode_stat(const struct fs_inode *inode, struct stat *ret_attr)
{
	const struct fmt_inode *media = inode->media;

	*ret_attr = (struct stat){
		.st_ino = inode->ino,
		.st_mode = media->mode,
		.st_nlink = media->nlink,
		.st_uid = media->uid,
		.st_gid = media->gid,
		.st_size = (off_t)media->size,
		.st_blksize = FMT_BLOCK_SIZE,
		.st_blocks = (blkcnt_t)(media->blocks * SECTORS_PER_BLOCK),
		.st_atim = {.tv_sec = media->atime, .tv_nsec = media->atime_nsec},
		.st_mtim = {.tv_sec = media->mtime, .tv_nsec = media->mtime_nsec},
		.st_ctim = {.tv_sec = media->ctime, .tv_nsec = media->ctime_nsec},
	};
	if (fs_inode_is_dir(inode))
		ret_attr->st_size = (off_t)(min_u64(media->size, FMT_FILE_SIZE_MAX / ENTRY_SIZE) * ENTRY_SIZE);
	else if (S_ISCHR(inode->type) || S_ISBLK(inode->type))
		ret_attr->st_rdev = decode_dev(media->rdev);
}

void fs_entry_fill(struct fs *fs, struct fs_inode *inode, struct fs_entry *ret_entry)
{
	struct lock_rw *lock = fs_inode_attr_lock(inode);

	fs_inode_looked_up(fs, inode);
	ret_entry->ino = inode->ino;
	ret_entry->generation = inode->media->generation;
	lock_rw_take_shared(lock);
	fs_inode_stat(inode, &ret_entry->attr);
	lock_rw_drop(lock);
}

int fs_getattr(struct fs *fs, uint64_t ino, struct stat *ret_attr)
{
	struct fs_inode *inode;
	int error = ino == FMT_INO_ROOT ? fs_root_get(fs, &inode) : fs_inode_get(fs, ino, &inode);

	if (error != 0)
		return error;
	lock_rw_take_shared(fs_inode_attr_lock(inode));
	fs_inode_stat(inode, ret_attr);
	lock_rw_drop(fs_inode_attr_lock(inode));
	fs_inode_put(fs, inode);
	return 0;
}

int fs_statx(struct fs *fs, uint64_t ino, struct fs_statx *ret_statx)
{
	struct fs_inode *inode;
	int error = fs_inode_get(fs, ino, &inode);

	if (error != 0)
		return error;
	lock_rw_take_shared(fs_inode_attr_lock(inode));
	fs_inode_stat(inode, &ret_statx->attr);
	ret_statx->btime = (struct timespec){.tv_sec = inode->media->btime, .tv_nsec = inode->media->btime_nsec};
	lock_rw_drop(fs_inode_attr_lock(inode));
	fs_inode_put(fs, inode);
	return 0;
}

/* ---- setattr ---- */

static bool nsec_valid(long nsec)
{
	return nsec >= 0 && nsec < 1000000000;
}

static int setattr_check(const struct fs_setattr *changes, const struct fs_inode *inode)
{
	if ((changes->valid & FS_SET_SIZE) != 0) {
		if (fs_inode_is_dir(inode))
			return -EISDIR;
		if (!S_ISREG(inode->type) || changes->attr.st_size < 0)
			return -EINVAL;
	}
	if ((changes->valid & FS_SET_ATIME) != 0 && !nsec_valid(changes->attr.st_atim.tv_nsec))
		return -EINVAL;
	if ((changes->valid & FS_SET_MTIME) != 0 && !nsec_valid(changes->attr.st_mtim.tv_nsec))
		return -EINVAL;
	if ((changes->valid & FS_SET_CTIME) != 0 && !nsec_valid(changes->attr.st_ctim.tv_nsec))
		return -EINVAL;
	return 0;
}

static void set_times(struct fmt_inode *inode, const struct fs_setattr *changes)
{
	struct timespec now = fs_now();

	if ((changes->valid & FS_SET_ATIME_NOW) != 0) {
		inode->atime = now.tv_sec;
		inode->atime_nsec = (uint32_t)now.tv_nsec;
	} else if ((changes->valid & FS_SET_ATIME) != 0) {
		inode->atime = changes->attr.st_atim.tv_sec;
		inode->atime_nsec = (uint32_t)changes->attr.st_atim.tv_nsec;
	}
	if ((changes->valid & FS_SET_MTIME_NOW) != 0)
		fs_touch_mtime(inode, &now);
	else if ((changes->valid & FS_SET_MTIME) != 0)
		set_mtime(inode, &changes->attr.st_mtim);
	if ((changes->valid & FS_SET_CTIME) != 0)
		set_ctime(inode, &changes->attr.st_ctim);
	else
		fs_touch_ctime(inode, &now);
}

/* Everything but the size; `arg` is the struct fs_setattr. */
static void set_plain(void *arg, struct fmt_inode *inode)
{
	const struct fs_setattr *changes = arg;

	if ((changes->valid & FS_SET_MODE) != 0)
		inode->mode = (inode->mode & S_IFMT) | (changes->attr.st_mode & 07777);
	if ((changes->valid & FS_SET_UID) != 0)
		inode->uid = changes->attr.st_uid;
	if ((changes->valid & FS_SET_GID) != 0)
		inode->gid = changes->attr.st_gid;
	if ((changes->valid & FS_SET_UNPRIVILEGED) != 0 && !S_ISDIR(inode->mode))
		inode->mode = fs_mode_unprivileged(inode->mode);
	set_times(inode, changes);
}

/* Times that become now are for whoever may write; others, modes and owners for whoever may change the inode. */
static enum fs_change change_of(const struct fs_setattr *changes)
{
	const unsigned valid = changes->valid;

	if ((valid & (FS_SET_MODE | FS_SET_UID | FS_SET_GID | FS_SET_SIZE)) != 0)
		return FS_CHANGE_ANY;
	if (changes->kernel_times)
		return FS_CHANGE_ADD;
	if ((valid & (FS_SET_ATIME | FS_SET_ATIME_NOW)) == FS_SET_ATIME ||
	    (valid & (FS_SET_MTIME | FS_SET_MTIME_NOW)) == FS_SET_MTIME)
		return FS_CHANGE_ANY;
	return FS_CHANGE_ADD;
}

static int setattr_size(struct fs *fs, struct fs_inode *inode, struct fs_setattr *changes, struct fs_wait *wait,
			struct stat *ret_attr)
{
	int error;

	lock_rw_take_exclusive(&inode->layout);
	lock_rw_take_exclusive(&inode->map);
	error = fs_writable(fs);
	if (error == 0)
		error = fs_may_change(inode, change_of(changes));
	if (error == 0)
		error = fs_truncate(fs, inode, (uint64_t)changes->attr.st_size, set_plain, changes, wait);
	if (error == 0)
		fs_inode_stat(inode, ret_attr);
	lock_rw_drop(&inode->map);
	lock_rw_drop(&inode->layout);
	return error;
}

static int setattr_plain(struct fs *fs, struct fs_inode *inode, struct fs_setattr *changes, struct stat *ret_attr)
{
	struct lock_rw *lock = fs_inode_attr_lock(inode);
	struct fmt_inode *media;
	struct meta_tx *tx;
	int error;

	lock_rw_take_exclusive(lock);
	error = fs_writable(fs);
	if (error == 0)
		error = fs_may_change(inode, change_of(changes));
	if (error != 0)
		goto drop;
	/* An ACL that is rewritten takes pages to give as many back. */
	error = meta_begin(fs->meta, META_TX_RESERVE, &tx);
	if (error != 0)
		goto drop;
	error = meta_inode_edit(tx, inode->media, &media);
	if (error == 0 && (changes->valid & FS_SET_MODE) != 0)
		error = fs_acl_chmod(fs->meta, tx, inode->media, changes->attr.st_mode);
	if (error == 0)
		set_plain(changes, media);
	error = fs_end(fs, tx, error, "setattr", inode->ino);
	if (error == 0)
		fs_inode_stat(inode, ret_attr);
drop:
	lock_rw_drop(lock);
	return error;
}

/*
 * A mode together with a size: the truncation's transaction has no room for an ACL, so the mode of a file that may have
 * one goes first, by itself. Linux combines the two only to clear setuid and setgid, which no ACL knows of.
 */
static int setattr_mode_first(struct fs *fs, struct fs_inode *inode, struct fs_setattr *changes)
{
	struct fs_setattr mode = {.valid = FS_SET_MODE, .attr.st_mode = changes->attr.st_mode};
	struct lock_rw *lock = fs_inode_attr_lock(inode);
	struct stat attr;
	bool possible;
	int error;

	if ((changes->valid & FS_SET_MODE) == 0)
		return 0;
	lock_rw_take_shared(lock);
	possible = meta_has_xattrs(inode->media);
	lock_rw_drop(lock);
	if (!possible)
		return 0;
	error = setattr_plain(fs, inode, &mode, &attr);
	if (error == 0)
		changes->valid &= ~FS_SET_MODE;
	return error;
}

static int setattr_number(struct fs *fs, uint64_t ino, const struct fs_setattr *changes, struct fs_wait *wait,
			  struct stat *ret_attr)
{
	struct fs_setattr copy = *changes;
	struct fs_inode *inode;
	int error = fs_inode_get(fs, ino, &inode);

	if (error != 0)
		return error;
	error = setattr_check(&copy, inode);
	if (error != 0)
		goto put;
	if ((copy.valid & FS_SET_SIZE) != 0) {
		error = setattr_mode_first(fs, inode, &copy);
		if (error == 0)
			error = setattr_size(fs, inode, &copy, wait, ret_attr);
	} else {
		error = setattr_plain(fs, inode, &copy, ret_attr);
	}
put:
	fs_inode_put(fs, inode);
	return error;
}

int fs_setattr(struct fs *fs, uint64_t ino, const struct fs_setattr *changes, struct fs_wait *wait,
	       struct stat *ret_attr)
{
	return (int)fs_break_end(fs, wait, setattr_number(fs, ino, changes, wait, ret_attr));
}

/* ---- statfs ---- */

int fs_statfs(struct fs *fs, struct statvfs *ret_statfs)
{
	struct alloc_stats blocks;
	struct meta_space space;
	uint64_t inodes_free;

	alloc_stats(fs->alloc, &blocks);
	meta_space(fs->meta, &space);
	/* Any free page can become a frame of inodes. */
	inodes_free = space.inode_slots_free + space.pages_free * FMT_FRAME_SLOTS;
	*ret_statfs = (struct statvfs){
		.f_bsize = FMT_BLOCK_SIZE,
		.f_frsize = FMT_BLOCK_SIZE,
		.f_blocks = blocks.total,
		.f_bfree = blocks.free,
		.f_bavail = blocks.free,
		.f_files = space.inodes_used + inodes_free,
		.f_ffree = inodes_free,
		.f_favail = inodes_free,
		.f_flag = fs_read_only(fs) ? ST_RDONLY : 0,
		.f_namemax = FMT_NAME_MAX,
	};
	return 0;
}
