/* In-core inodes and the mounted filesystem: what the files of src/fs share. */
#ifndef PINFS_FS_INODE_H
#define PINFS_FS_INODE_H

#include "alloc/alloc.h"
#include "base/lock.h"
#include "fs/fs.h"
#include "fs/pins.h"
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
	bool unnamed; /* fs_tmpfile() made it and it had no name so far; `map` */
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
	bool inode_flags; /* inodes may be immutable or append-only: opens are asked for */
	atomic_bool shut_down; /* by request; `damaged` is set too */
	atomic_uint atime; /* FS_ATIME_ */
	atomic_bool damaged; /* a failure left memory and media apart: only reading is left */
	char *meta_path;
	struct lock_mutex rename; /* LOCK_RENAME */
	struct fs_shard shard[FS_SHARDS];
	struct pin_table *pins; /* who has pinned what, and who waits */
	struct lock_mutex limbo; /* LOCK_LIMBO; protects the maps of limbo and of lost blocks on media */
	struct fs_pinning *pinning; /* sessions, and the threads that resume, reap and watch: private to those files */
	struct fs_poison *poison; /* blocks that are lost: private to poison.c */
	unsigned char *zeros; /* FS_ZEROS_SIZE bytes that stay 0: what holes read as */
};
#define FS_ZEROS_SIZE (1u << 20)

/* inode.c: the table. get loads from media; -ESTALE/-ENOENT if there is no such inode. Every get needs its put. */
int fs_inodes_init(struct fs *fs);
void fs_inodes_fini(struct fs *fs);
int fs_inode_get(struct fs *fs, uint64_t ino, struct fs_inode **ret_inode);
/* Also after a shutdown: so the mountpoint can be looked at, and its status asked for. */
int fs_root_get(struct fs *fs, struct fs_inode **ret_inode);
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
/* The time of a change; a time that is ahead of the clock by less than a tick stands (attr.c says why). */
void fs_touch_mtime(struct fmt_inode *inode, const struct timespec *now);
void fs_touch_ctime(struct fmt_inode *inode, const struct timespec *now);
bool fs_time_stands(int64_t sec, uint32_t nsec, const struct timespec *now);
/*
 * times.c: true if being read now changes the time of access; attribute lock held, shared at least. Then, with the lock
 * let go and before the answer, fs_accessed() does it, in a transaction of its own. No error: reading went well.
 */
bool fs_access_due(struct fs *fs, const struct fs_inode *inode);
void fs_accessed(struct fs *fs, struct fs_inode *inode);
/* Fills an entry for the kernel and raises the look-up count; takes the attribute lock shared. */
void fs_entry_fill(struct fs *fs, struct fs_inode *inode, struct fs_entry *ret_entry);

/* flags.c: FS_IMMUTABLE_FL and others; the caller holds the attribute lock, shared at least. */
unsigned fs_inode_flags(const struct fs_inode *inode);
/* FMT_INODE_: what a new inode of this mode takes over from its directory. */
uint32_t fs_flags_inherited(const struct fmt_inode *parent, uint32_t mode);

/* mount.c: -EROFS if nothing may be changed, -EIO if it was shut down. Called first by everything that changes
 * something. */
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

/*
 * truncate.c: changes the size; layout and map held exclusive. Other attribute changes join its visible transaction. As
 * fs_break(): nothing has changed then.
 */
int fs_truncate(struct fs *fs, struct fs_inode *file, uint64_t size, void (*join)(void *arg, struct fmt_inode *inode),
		void *arg, struct fs_wait *wait);

/*
 * evict.c: frees everything of an unlinked inode that nobody else can reach. True: all but its slot, as somebody has a
 * pin of it; to be called again after the last one has been reaped.
 */
bool fs_evict(struct fs *fs, struct fs_inode *inode);
/* True if somebody has a pin of the inode: it is to keep its number. */
bool fs_evict_waits(struct fs *fs, uint64_t ino);
/* inode.c: after a pin of it was reaped: frees the slot of an unlinked inode if it was the last. No lock is held. */
void fs_evict_rest(struct fs *fs, uint64_t ino);
/*
 * recover.c: after the scan, before the first operation. `recovery` is what fs_recovery_note() (fs/recover.h), called
 * for each inode by the scan's visitor, has collected. Changes nothing if read-only.
 */
int fs_recover(struct fs *fs, const struct fs_recovery *recovery, bool was_clean, struct message *message);

/* ---- Pins: what the data path asks of them ---- */

/*
 * break.c: looks for pins in the way of an operation on blocks [first, last) of the file; as pin_break(), with `wait`
 * instead of the waiter (NULL: -EAGAIN). Layout held exclusive (PIN_UNMAP; map may be held too), or shared (PIN_WRITE).
 * 0: go on; blocks that are still counted are moved to limbo by whoever unmaps them. Costs one atomic load without
 * pins.
 */
int fs_break(struct fs *fs, struct fs_inode *file, uint64_t first, uint64_t last, enum pin_reason reason,
	     struct fs_wait *wait);
/* The operation of this wait (may be NULL) is over, if `result` is not -EINPROGRESS: its barrier falls. Returns result.
 */
ssize_t fs_break_end(struct fs *fs, struct fs_wait *wait, ssize_t result);

/*
 * reaper.c: waits until everything that was dropped before the call has been reaped: for an operation that found no
 * free blocks. False: there was nothing to wait for. May be called with layout and map locks held, not with LOCK_LIMBO,
 * and not within a transaction.
 */
bool fs_reaper_flush(struct fs *fs);

/* watcher.c: to be called whenever pin_break() or pin_admit() has answered -EINPROGRESS: somebody has to watch the
 * clock.
 */
void fs_wait_parked(struct fs *fs);
/* report.c: names who holds limbo, in the log, at most once a minute: for an operation that found no free blocks. */
void fs_log_limbo_holders(struct fs *fs);
/*
 * truncate.c: what a pin that was reaped has left to do. A last, partly used block that no pin counts any more: zeroes
 * what is behind the size (D3). An unlinked inode: frees its slot, if the pin was the last. Takes layout and map. One
 * that is gone is no error.
 */
int fs_mend_tail(struct fs *fs, uint64_t ino);

/* ---- poison.c: lost memory. No transaction is open and LOCK_LIMBO is not held where nothing else is said ---- */

int fs_poison_init(struct fs *fs);
void fs_poison_fini(struct fs *fs);
/*
 * Passes the error of an access to [address, +length) of the inode's blocks on. If that was -EHWPOISON it finds those
 * that are lost, records them, and tells their holders; fs_failed() makes -EIO of it.
 */
int fs_lost(struct fs *fs, uint64_t ino, const void *address, size_t length, int error);
void fs_lost_iov(struct fs *fs, uint64_t ino, const struct iovec *iov, size_t count);
/* The same without an access that has failed: loads from each block. True if some are lost. */
bool fs_lost_look(struct fs *fs, uint64_t ino, uint64_t phys, uint64_t length);
/* What is known, without a look; any lock may be held. The first piece of a run of blocks that is lost. */
bool fs_lost_find(struct fs *fs, uint64_t phys, uint64_t length, uint64_t *ret_phys, uint64_t *ret_length);
bool fs_is_lost(struct fs *fs, uint64_t phys, uint64_t length);
/* -EHWPOISON: some of it is known to be lost, even if its memory can be used again, as what it held is gone. */
int fs_lost_check(struct fs *fs, const void *address, size_t length);
int fs_lost_check_iov(struct fs *fs, const struct iovec *iov, size_t count);
/* Of blocks [first, last) of the file; map is held. */
int fs_lost_check_blocks(struct fs *fs, const struct fs_inode *file, uint64_t first, uint64_t last);
/* Gives blocks that nobody counts to the allocator, and lost ones to nobody. */
int fs_release_blocks(struct fs *fs, uint64_t phys, uint64_t length);
/*
 * Mount: a run that media say is lost; -EUCLEAN: outside of the parts, or twice. After the scan those that are nobody's
 * are kept from the allocator.
 */
int fs_poison_load(struct fs *fs, uint64_t phys, uint64_t length);
void fs_poison_claim(struct fs *fs);
/* Tells a holder that has come back of all that it has of lost blocks. */
void fs_poison_tell(struct fs *fs, struct pin_holder *holder);

/* namei.c, shared with rename.c: checks a name: -ENOENT empty, -ENAMETOOLONG, -EINVAL with '/'. */
int fs_name_check(const char *name, size_t *ret_length);

#endif
