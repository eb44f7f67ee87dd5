/* In-core inodes and the mounted filesystem: what the files of src/fs share. */
#ifndef PINFS_FS_INODE_H
#define PINFS_FS_INODE_H

#include "alloc/alloc.h"
#include "base/lock.h"
#include "fs/fs.h"
#include "fs/recover.h"
#include "meta/meta.h"
#include "region/region.h"

#include <stdatomic.h>
#include <time.h>

#define HASH_NONFATAL_OOM 1 /* an addition without memory leaves hh.tbl NULL */
#include <uthash.h>

/*
 * An inode that the kernel or an operation knows. Attributes, entries and extents are read from `media` in place.
 *
 * Directory: `layout` has rank LOCK_DIRECTORY and protects entries and attributes; `map` is not used.
 * All others: `layout` (LOCK_LAYOUT) is held shared by I/O until the reply is taken, exclusive by whatever unmaps,
 * frees or moves blocks; `map` (LOCK_MAP) protects attributes, xattrs and the extent map.
 */
struct fs_inode {
	uint64_t ino;
	uint32_t type; /* S_IFMT of media->mode: never changes, readable without a lock */
	const struct fmt_inode *media;
	struct lock_rw layout;
	struct lock_rw map;
	uint64_t lookups; /* the kernel's count; shard lock */
	uint32_t refs; /* operations that use it; shard lock */
	bool evicting; /* its last user is freeing it, or its maker has not committed yet; shard lock */
	UT_hash_handle hh;
};

#define FS_SHARDS 64u

struct fs_shard {
	struct lock_mutex lock; /* LOCK_INODES; protects all below */
	struct fs_inode *table; /* uthash by ino */
	uint64_t count;
	uint64_t peak; /* of count, since memory was last given back */
};

struct fs {
	struct meta *meta;
	struct alloc *alloc;
	struct region_part **part; /* by number */
	unsigned parts;
	bool read_only;
	atomic_bool damaged; /* a failure left memory and media apart: only reading is left */
	char *meta_path;
	struct lock_mutex rename; /* LOCK_RENAME */
	struct fs_shard shard[FS_SHARDS];
	unsigned char *zeros; /* FS_ZEROS_SIZE bytes that stay 0: what holes read as */
};
#define FS_ZEROS_SIZE (1u << 20)

/* inode.c: the table. get loads from media; -ESTALE/-ENOENT if there is no such inode. Every get needs its put. */
int fs_inodes_init(struct fs *fs);
void fs_inodes_fini(struct fs *fs);
int fs_inode_get(struct fs *fs, uint64_t ino, struct fs_inode **ret_inode);
/* Ends the use; evicts the inode (evict.c) if nobody knows it any more and it has no links. */
void fs_inode_put(struct fs *fs, struct fs_inode *inode);
/* The kernel learns of it once more. The caller holds a reference. */
void fs_inode_looked_up(struct fs *fs, struct fs_inode *inode);

/*
 * A new inode: new() makes the in-core half, insert() books its number within the transaction that makes it (get
 * answers -ESTALE), and then either publish() after the commit, which leaves the caller one reference, or discard().
 * The caller holds the lock of the directory that names it until publish().
 */
int fs_inode_new(uint32_t type, struct fs_inode **ret_inode);
int fs_inode_insert(struct fs *fs, struct fs_inode *inode, uint64_t ino);
int fs_inode_publish(struct fs *fs, struct fs_inode *inode);
void fs_inode_discard(struct fs *fs, struct fs_inode *inode);

static inline bool fs_inode_is_dir(const struct fs_inode *inode)
{
	return S_ISDIR(inode->type);
}

/* The lock that protects attributes: a directory's own, else the map lock. */
static inline struct lock_rw *fs_inode_attr_lock(struct fs_inode *inode)
{
	return fs_inode_is_dir(inode) ? &inode->layout : &inode->map;
}

/* attr.c: media to stat; the caller holds the attribute lock, shared at least. */
void fs_inode_stat(const struct fs_inode *inode, struct stat *ret_attr);
/* Now, by the clock of file times (CLOCK_REALTIME_COARSE, as the kernel's). */
struct timespec fs_now(void);
/* Fills an entry for the kernel and raises the look-up count; takes the attribute lock shared. */
void fs_entry_fill(struct fs *fs, struct fs_inode *inode, struct fs_entry *ret_entry);

/* mount.c: -EROFS if nothing may be changed. Called first by everything that changes something. */
int fs_writable(struct fs *fs);
/* Records what a commit's failure means: passes -errno on, and stops writing after -EUCLEAN or -EIO (logged once). */
int fs_failed(struct fs *fs, int error, const char *operation, uint64_t ino);

/* ---- Data path, shared by read, write, truncate, fallocate, copy ---- */

/* Address of a physical block; NULL if it is outside of the parts (damaged media: -EUCLEAN is the answer). */
unsigned char *fs_block_address(struct fs *fs, uint64_t phys, uint64_t length, struct region_part **ret_part);

/*
 * zero.c: zeroes the mapped, written part of bytes [start, end) in place and makes it durable; holes and unwritten
 * extents are left. The caller holds layout (any mode that keeps it) and map.
 */
int fs_zero_range(struct fs *fs, struct fs_inode *file, uint64_t start, uint64_t end);

/*
 * intent.c: carries out the intent that is set in `file` (FMT_INODE_INTENT): zeroes its edges, frees its blocks in
 * bounded transactions, clears it. The caller holds layout exclusive and map exclusive (or is alone, at mount). Never
 * fails for want of space.
 */
int fs_intent_run(struct fs *fs, struct fs_inode *file);
/*
 * Frees all mapped blocks of whole-block range [start, end) (file blocks; end UINT64_MAX: all) in bounded transactions;
 * `last` (may be NULL) edits the inode in the transaction that finishes it.
 */
int fs_unmap_blocks(struct fs *fs, struct fs_inode *file, uint64_t start, uint64_t end,
		    void (*last)(struct fmt_inode *inode));

/* truncate.c: changes the size; layout and map held exclusive. Other attribute changes join its visible transaction. */
int fs_truncate(struct fs *fs, struct fs_inode *file, uint64_t size, void (*join)(void *arg, struct fmt_inode *inode),
		void *arg);

/* evict.c: frees everything of an unlinked inode that nobody else can reach. */
void fs_evict(struct fs *fs, struct fs_inode *inode);
/*
 * recover.c: after the scan, before the first operation. `recovery` is what fs_recovery_note() (fs/recover.h), called
 * for each inode by the scan's visitor, has collected. Changes nothing if read-only.
 */
int fs_recover(struct fs *fs, const struct fs_recovery *recovery, bool was_clean, struct message *message);

/* namei.c, shared with rename.c: checks a name: -ENOENT empty, -ENAMETOOLONG, -EINVAL with '/'. */
int fs_name_check(const char *name, size_t *ret_length);

#endif
