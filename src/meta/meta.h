/*
 * The meta part: inodes, directories, extent maps, symlinks and xattrs in a libpmemobj pool. Callers see the records of
 * src/format read-only, change them only through the functions below inside a transaction, and never see libpmemobj.
 *
 * Functions return 0 or -errno. Any of them may return -EUCLEAN: the media contradict the format.
 *
 * Threads: a transaction belongs to the thread that began it. This module does not lock inodes: the caller holds a
 * lock that excludes changes of an inode (its attributes, entries, extents, xattrs) while it reads them, and an
 * exclusive one from before meta_begin() until after meta_commit() or meta_abort() while it changes them. Transactions
 * on different inodes run in parallel.
 */
#ifndef PINFS_META_H
#define PINFS_META_H

#include "base/log.h"
#include "format/format.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct meta; /* an open meta part */

/* ---- Pool ---- */

#define META_SIZE_MIN (16ull << 20) /* bytes; smaller pools are refused by meta_create() */

struct meta_create_args {
	uint64_t size; /* bytes of the file to make; 0: `path` exists and is taken whole (a devdax node, a file) */
	uint8_t pool_uuid[16];
	uint32_t root_mode; /* permissions of the root directory */
	uint32_t root_uid;
	uint32_t root_gid;
};

/*
 * Makes the libpmemobj pool at `path` with an empty root directory. Not finished, and refused by meta_open(), until
 * meta_create_finish(): so the data parts are recorded in between (meta_part_add()).
 * -EEXIST: there is a pool or a file already; -EINVAL: size too small; or what the system says; words in `message`.
 */
int meta_create(const char *path, const struct meta_create_args *args, struct meta **ret_meta, struct message *message);
int meta_create_finish(struct meta *meta);

#define META_OPEN_COPY 1u /* a private copy in memory: recovery and changes stay out of the pool (probe, fsck) */
#define META_OPEN_UNFINISHED 2u /* also what mkfs has not finished */

/*
 * Opens a pool. Recovers what libpmemobj's logs hold. -EBUSY: another process has it (its pid in `message`);
 * -EUCLEAN: not a pool of ours or damaged; -EPROTONOSUPPORT: a newer format, or a feature that is unknown here (of
 * those in ro_compat only without META_OPEN_COPY); -ENOENT, -EACCES ...; words in `message`.
 * meta_scan() must follow before any transaction.
 */
int meta_open(const char *path, unsigned flags, struct meta **ret_meta, struct message *message);
void meta_close(struct meta *meta);

/*
 * Tries the pool in a child process, on a private copy, with a time limit: libpmemobj trusts what it opens, and a
 * damaged pool crashes it or makes it loop. Runs meta_open(), meta_scan() and a trial transaction there.
 * Returns what they return; a crash or time-out is -EUCLEAN. To be called before any thread is started.
 */
int meta_probe(const char *path, struct message *message);

const struct fmt_super *meta_super(const struct meta *meta);
/*
 * Before something is stored that the feature's word is for: from then on the pool says that it uses it. Durable on
 * return; a transaction of its own, the first time only. Any thread, with none open. -EIO: stopped.
 */
int meta_feature_use(struct meta *meta, enum fmt_feature feature);
/* Those that it uses: bit by enum fmt_feature. */
unsigned meta_features(const struct meta *meta);
/* The meta part is persistent memory: flushes make its stores durable, else msync(2). */
bool meta_is_pmem(const struct meta *meta);

/* Marks the pool as mounted read-write, or as cleanly unmounted; durable on return. */
int meta_set_state(struct meta *meta, uint32_t state);

/* ---- Scan: finds what is in use ---- */

struct meta_extent {
	uint64_t file_block;
	uint64_t phys; /* fmt_phys() */
	uint32_t length; /* blocks */
	bool unwritten;
};

/* Called by the scan; a non-zero return ends it and is passed on. NULL members are skipped. */
struct meta_visitor {
	int (*inode)(void *arg, const struct fmt_inode *inode);
	int (*extent)(void *arg, const struct fmt_inode *inode, const struct meta_extent *extent);
	/* Something contradicts the format; return 0 to go on (the damaged thing is left out), else the scan ends. */
	int (*damage)(void *arg, const char *invariant, uint64_t ino, const char *what);
	void *arg;
};

/*
 * Reads every group, inode, map node and extent, verifies them, and learns which pages and inode slots are free.
 * Directory pages are marked as used and not read. Without visitor->damage the first damage ends it with -EUCLEAN.
 */
int meta_scan(struct meta *meta, const struct meta_visitor *visitor, struct message *message);

struct meta_space {
	uint64_t pages_total; /* all frames that can hold pages or inodes */
	uint64_t pages_free; /* for everybody: the reserve is left out */
	uint64_t inodes_used;
	uint64_t inode_slots_free; /* in frames that hold inodes already */
};
void meta_space(const struct meta *meta, struct meta_space *ret_space);

/* ---- Data parts that belong to the pool ---- */

struct meta_part {
	uint8_t uuid[16];
	uint64_t blocks;
	uint32_t number;
	char path[4096];
};
/* Records a data part in a transaction of its own. */
int meta_part_add(struct meta *meta, const struct meta_part *part);
/* Part `number`, from 0 without gaps; -ENOENT past the last. */
int meta_part_get(struct meta *meta, uint32_t number, struct meta_part *ret_part);
/* Replaces a part's recorded path. */
int meta_part_set_path(struct meta *meta, uint32_t number, const char *path);

/* ---- Transactions ---- */

#define META_TX_RESERVE 1u /* may use the reserve: for what must not fail for want of space */
#define META_TX_INODE 2u /* reserves an inode slot at begin, for meta_inode_create() */

struct meta_tx; /* of the calling thread; one at a time */

/*
 * No transaction begins from now on (-EIO), as after a power cut; those that have begun may commit. Any thread, no way
 * back.
 */
void meta_stop(struct meta *meta);
/* -ENOSPC: no inode slot or page left; -ENOMEM; -EIO: stopped. */
int meta_begin(struct meta *meta, unsigned flags, struct meta_tx **ret_tx);
/* Durable and visible on return. On error nothing has changed, as after meta_abort(). Ends the transaction either way.
 */
int meta_commit(struct meta_tx *tx);
/* Undoes everything and ends the transaction. */
void meta_abort(struct meta_tx *tx);

/* ---- Inodes ---- */

/*
 * The inode's record, verified. The pointer stays valid while the pool is open; its content under the caller's lock.
 * -ENOENT: no such inode, -EUCLEAN: damaged. Not for an inode that a transaction in progress has edited: its checksum
 * is renewed at commit.
 */
int meta_inode_get(struct meta *meta, uint64_t ino, const struct fmt_inode **ret_inode);

/* For changing plain fields: all except magic, crc, ino, generation, and what the functions below own. */
int meta_inode_edit(struct meta_tx *tx, const struct fmt_inode *inode, struct fmt_inode **ret_inode);

/*
 * As that, for size, blocks, mtime, ctime and nlink alone: cheaper. Who edits it whole, too, does so first: the other
 * way round takes more of the undo log than there may be.
 */
int meta_inode_touch(struct meta_tx *tx, const struct fmt_inode *inode, struct fmt_inode **ret_inode);

/* A new inode with ino, generation (random) and magic set and all else 0; needs META_TX_INODE, once. */
int meta_inode_create(struct meta_tx *tx, struct fmt_inode **ret_inode);

/* Frees the slot of an inode that has no extents, entries, xattrs or blobs left. */
int meta_inode_destroy(struct meta_tx *tx, const struct fmt_inode *inode);
/*
 * True if an inode is nothing but its slot: no page belongs to it. Extents in it are counted as nothing. Then drop
 * frees it durably by one store, without a transaction: what it names is nobody's from then on.
 */
bool meta_inode_is_bare(const struct fmt_inode *inode);
int meta_inode_drop(struct meta *meta, const struct fmt_inode *inode);

/*
 * Frees a bounded number of an inode's pages: entries, xattrs, symlink blob. Returns 1 if more are left, 0 if none.
 * For eviction, in a transaction of its own each time.
 */
int meta_inode_strip(struct meta_tx *tx, const struct fmt_inode *inode);

/* ---- Directory entries ---- */

struct meta_entry {
	uint64_t cookie; /* unique in the directory, stable, at least META_COOKIE_MIN; order of iteration */
	uint64_t ino;
	uint32_t generation;
	uint8_t type; /* DT_ */
	uint8_t name_length;
	char name[FMT_NAME_MAX + 1]; /* terminated */
};
#define META_COOKIE_MIN (1ull << FMT_KEY_UNIQUE_BITS)

/* Names are 1 to 255 bytes: the caller has checked. -ENOENT if not there. */
int meta_entry_find(struct meta *meta, const struct fmt_inode *directory, const char *name, size_t length,
		    struct meta_entry *ret_entry);
/* The caller has made sure that the name is not there. Raises the directory's size (entry count). -ENOSPC. */
int meta_entry_insert(struct meta_tx *tx, const struct fmt_inode *directory, const char *name, size_t length,
		      const struct fmt_inode *target);
/* Lowers the directory's size. With META_TX_RESERVE it does not fail for want of space. */
int meta_entry_remove(struct meta_tx *tx, const struct fmt_inode *directory, const char *name, size_t length);
/* Points an existing name at another inode. Likewise. */
int meta_entry_replace(struct meta_tx *tx, const struct fmt_inode *directory, const char *name, size_t length,
		       const struct fmt_inode *target);

/* Return 0 to go on; anything else ends the iteration and is passed on. The entry is valid during the call. */
typedef int meta_entry_visit(void *arg, const struct meta_entry *entry);
/* All entries with a cookie above `after`, in the order of cookies. */
int meta_entry_iterate(struct meta *meta, const struct fmt_inode *directory, uint64_t after, meta_entry_visit *visit,
		       void *arg);

/* ---- Extents ---- */

/* The extent that contains `file_block`, or the next one after it. -ENOENT: none. O(log n). */
int meta_extent_find(struct meta *meta, const struct fmt_inode *file, uint64_t file_block,
		     struct meta_extent *ret_extent);
/*
 * Maps blocks that are not mapped; joins neighbours that continue it. Raises `blocks`. length up to
 * FMT_EXTENT_LENGTH_MAX; the range must be a hole (-EUCLEAN otherwise).
 */
int meta_extent_insert(struct meta_tx *tx, const struct fmt_inode *file, const struct meta_extent *extent);
/*
 * Unmaps the *last* mapped piece of [start, end): at most one extent, or the part of one that lies in the range.
 * Lowers `blocks`. -ENOENT: nothing mapped there. What leaves a piece behind the range may need a page; a range that
 * goes to the end of the file does not.
 */
int meta_extent_remove_last(struct meta_tx *tx, const struct fmt_inode *file, uint64_t start, uint64_t end,
			    struct meta_extent *ret_removed);
/* Marks the mapped range [start, start + length) of one extent as written (or unwritten). Joins neighbours. */
int meta_extent_mark(struct meta_tx *tx, const struct fmt_inode *file, uint64_t start, uint32_t length, bool unwritten);

/* ---- Symlinks ---- */

/* Sets size too. For a new inode. length 1 to FMT_SYMLINK_MAX. */
int meta_symlink_set(struct meta_tx *tx, const struct fmt_inode *link, const char *target, size_t length);
/* Copies at most `capacity` bytes, not terminated; returns the length of the target. */
ssize_t meta_symlink_get(struct meta *meta, const struct fmt_inode *link, char *target, size_t capacity);

/* ---- Extended attributes ---- */

/* One look at the inode: most have none. */
static inline bool meta_has_xattrs(const struct fmt_inode *inode)
{
	return inode->xattrs.count != 0 || inode->xattrs.height != 0;
}

/* Returns the value's length; copies if capacity >= length; capacity 0 only asks; -ERANGE too small; -ENODATA. */
ssize_t meta_xattr_get(struct meta *meta, const struct fmt_inode *inode, const char *name, size_t name_length,
		       void *value, size_t capacity);
#define META_XATTR_CREATE 1u /* -EEXIST if it is there */
#define META_XATTR_REPLACE 2u /* -ENODATA if it is not */
int meta_xattr_set(struct meta_tx *tx, const struct fmt_inode *inode, const char *name, size_t name_length,
		   const void *value, size_t value_length, unsigned flags);
/* -ENODATA. With META_TX_RESERVE it does not fail for want of space. */
int meta_xattr_remove(struct meta_tx *tx, const struct fmt_inode *inode, const char *name, size_t name_length);
/*
 * Names, each with its terminating 0, as listxattr(2), but for those that begin with `hidden` (NULL: all). Returns the
 * bytes needed; -ERANGE if capacity is not 0 and less.
 */
ssize_t meta_xattr_list(struct meta *meta, const struct fmt_inode *inode, const char *hidden, char *list,
			size_t capacity);

/* ---- Limbo: blocks that no file owns and a pin still holds (inode FMT_INO_LIMBO) ---- */

/*
 * Limbo is an extent map whose keys are the blocks' own physical addresses, so each block has one place in it, and the
 * scan finds it in use like any file's. The caller holds LOCK_LIMBO from before meta_begin() until after the commit.
 */
/*
 * In the transaction that unmaps them from their file. With META_TX_RESERVE it does not fail for want of space, if a
 * pin in the ledger names the blocks: adding a pin puts the pages aside. The transaction may edit four inodes, limbo's
 * and the bad blocks' among them.
 */
int meta_limbo_add(struct meta_tx *tx, uint64_t phys, uint32_t length);
/* Takes the first piece of limbo in [phys, +length) out; *ret_phys, *ret_length say which. -ENOENT: none. */
int meta_limbo_remove(struct meta_tx *tx, uint64_t phys, uint64_t length, uint64_t *ret_phys, uint32_t *ret_length);
/* The first run of limbo at or after `phys`, or what is left of it from there. -ENOENT. */
int meta_limbo_find(struct meta *meta, uint64_t phys, uint64_t *ret_phys, uint32_t *ret_length);
uint64_t meta_limbo_blocks(const struct meta *meta);
/* Blocks that are lost: into FMT_INO_BAD, wherever they are else; same rules. */
int meta_bad_add(struct meta_tx *tx, uint64_t phys, uint32_t length);
uint64_t meta_bad_blocks(const struct meta *meta);

/* ---- The pin ledger (xattrs of the inodes FMT_INO_LEDGER ...): who holds what, durable ---- */

struct meta_session {
	uint64_t id; /* not 0 */
	uint8_t boot_id[16];
	uint64_t pid_namespace; /* inode number */
	uint64_t start_time;
	uint64_t pidfs_inode;
	uint8_t cookie[16];
	uint32_t pid;
	uint32_t uid;
	uint32_t gid;
	char command[16];
};

struct meta_pin {
	uint64_t id; /* not 0; unique in the ledger */
	uint64_t session;
	uint64_t ino;
	uint32_t generation;
	uint32_t flags; /* the caller's */
	uint64_t offset; /* bytes */
	uint64_t length;
	size_t count;
	const struct meta_extent *extents; /* file_block, phys, length; any number of them */
};

/*
 * Each is durable on return, or has changed nothing; takes LOCK_LEDGER of a shard by itself and runs transactions of
 * its own: the caller has none open. A pin with many extents is several transactions; its head comes last, and what has
 * no head is void. -ENOSPC: the meta part is full. Erasing never fails for want of space; what is not there is no
 * error.
 */
int meta_ledger_add_session(struct meta *meta, const struct meta_session *session);
int meta_ledger_add_pin(struct meta *meta, const struct meta_pin *pin);
int meta_ledger_erase_pin(struct meta *meta, uint64_t session, uint64_t id);
/* After its pins. */
int meta_ledger_erase_session(struct meta *meta, uint64_t id);
/*
 * All sessions, then all pins whose session is there; a non-zero return ends it and is passed on. Pins without a
 * session, and pieces without a head, are what a crash has left: visit_pin does not see them, meta_ledger_sweep()
 * erases them. Not while anything is added or erased.
 */
int meta_ledger_visit(struct meta *meta, int (*visit_session)(void *arg, const struct meta_session *session),
		      int (*visit_pin)(void *arg, const struct meta_pin *pin), void *arg);
int meta_ledger_sweep(struct meta *meta);
/*
 * What is damaged is left out: meta_ledger_visit() goes on to the end and then says -EUCLEAN, meta_ledger_sweep()
 * leaves the shard alone. Somebody may hold pins that nobody knows of: no block may be freed then, the mount is
 * read-only. A reboot ends that: this empties each damaged shard whose last session was added under another boot id
 * than `boot_id`, for all in it is void. -EUCLEAN: one is damaged and of this boot. To be called before the others.
 */
int meta_ledger_reset(struct meta *meta, const uint8_t boot_id[16]);

/* ---- For src/check: every page of names and blob, verified ---- */

/* Reports records of the ledger that are damaged; *ret_void: names that a crash left and meta_ledger_sweep() erases. */
int meta_ledger_check(struct meta *meta, const struct meta_visitor *visitor, uint64_t *ret_void);

/* Reports damage in the pages of one inode's entries and xattrs that the scan does not read. */
int meta_inode_check(struct meta *meta, const struct fmt_inode *inode, const struct meta_visitor *visitor);

#endif
