/* The open pool and the transaction: what the files of src/meta share. libpmemobj is included here and nowhere above.
 */
#ifndef PINFS_META_POOL_H
#define PINFS_META_POOL_H

#include "base/lock.h"
#include "meta/meta.h"
#include "meta/precheck.h"
#include "meta/vec.h"

#include <libpmemobj.h>
#include <stdatomic.h>

/* What is free in one group; guarded by its shard. Pages that a transaction has freed return only after its commit. */
struct group_state {
	uint64_t free_pages; /* bit i: frame i is a free page */
	_Atomic uint64_t inode_frames; /* as on media; read without the lock */
	uint16_t slots[FMT_GROUP_FRAMES]; /* of inode frames: bit i: slot i is free */
	unsigned free_slots;
	uint32_t page_next, page_prev; /* list of groups of this shard with free pages */
	uint32_t slot_next, slot_prev; /* list of groups of this shard with free inode slots */
};

#define SPACE_SHARDS 8u
#define GROUP_NONE UINT32_MAX

/* Groups are dealt to shards by number; a thread starts looking in the shard of its processor. */
struct space_shard {
	struct lock_mutex lock; /* LOCK_META_SPACE; protects the states of its groups and the lists */
	uint32_t page_head;
	uint32_t slot_head;
	uint64_t free_slots;
};

struct meta {
	PMEMobjpool *pop;
	struct fmt_super *super;
	char *path;
	struct precheck_file file;
	bool copy; /* opened as a private copy */
	bool keep; /* nothing on media may be changed at open */
	bool scanned;
	atomic_bool stopped; /* no transaction begins any more */
	unsigned char **group; /* address of each group's first frame */
	struct group_state *state;
	struct space_shard shard[SPACE_SHARDS];
	_Atomic uint64_t pages_free; /* the reserve included */
	_Atomic uint64_t inodes_used;
	_Atomic uint64_t slots_free;
	uint64_t pages_total;
	uint64_t reserve; /* pages for META_TX_RESERVE only */
	/* Of limbo and bad blocks as last committed, for those who do not hold LOCK_LIMBO. */
	_Atomic uint64_t limbo_blocks;
	_Atomic uint64_t limbo_nodes; /* of both */
	_Atomic uint64_t bad_blocks;
	_Atomic uint64_t ledger_extents; /* of all recorded pins, those being recorded too */
	struct lock_mutex ledger[FMT_LEDGER_SHARDS]; /* LOCK_LEDGER; each protects a shard: inode, names, blobs */
	struct lock_mutex feature_lock; /* LOCK_LEAF; protects the feature words on media */
	_Atomic unsigned features; /* bit by enum fmt_feature: known ones that the pool uses */
	_Atomic unsigned ledger_damaged; /* bit i: the scan, or a reader, met damage in shard i */
};

/*
 * A transaction. State: begun -> committed | aborted; both free it.
 * fresh: pages taken in it; free again on abort. freed: pages given up; free after commit. edited: inodes whose
 * checksum is renewed at commit; in the low bits, which are 0 in their addresses, the parts that are not snapshotted.
 * destroyed: inode numbers whose slots are free after commit.
 */
struct meta_tx {
	struct meta *meta;
	unsigned flags;
	uint64_t slot; /* inode slot reserved at begin, FMT_INO_NONE once used */
	uint64_t new_inode; /* created in this transaction */
	size_t undo_used; /* bytes of undo log so far, by libpmemobj's reckoning */
	size_t undo_pages; /* of them, for ranges of pages */
	bool names_removed; /* units may have been freed in it: writing into free units must be undone too */
	bool limbo; /* limbo or bad blocks are changed */
	struct vec fresh;
	struct vec stores; /* addresses and lengths in turn: to be flushed, not undone */
	struct vec freed;
	struct vec edited;
	struct vec destroyed;
};

/* ---- pool.c ---- */

struct meta *meta_new(const char *path);
/* Once `pop`, `super` and `file` are known: what an open pool needs in memory. */
int meta_attach(struct meta *meta);

/* ---- tx.c ---- */

/* Undo log bytes that a snapshot of `length` bytes takes. */
size_t tx_cost(size_t length);
/* True if snapshots of pages that take `cost` more still fit. If not, the page is to be copied to a fresh one. */
bool tx_fits(const struct meta_tx *tx, size_t cost);
/* Snapshots a range of a page, or of an inode: to be called before it is changed. -ENOBUFS: does not fit. */
int tx_edit(struct meta_tx *tx, const void *address, size_t length);
int tx_edit_inode(struct meta_tx *tx, const void *address, size_t length);
/* True if the page was taken in this transaction: it may be changed freely. */
bool tx_is_fresh(const struct meta_tx *tx, uint64_t page);
/* Has [address, +length) flushed at commit and not undone: for memory that was free when the transaction began. */
int tx_fresh(struct meta_tx *tx, const void *address, size_t length);
/* Takes a page; its content is to be written whole by the caller. -ENOSPC. */
int tx_page_take(struct meta_tx *tx, uint64_t *ret_page, void **ret_address);
int tx_page_drop(struct meta_tx *tx, uint64_t page);
/* Copies a page to a fresh one and drops it: the caller changes what points to it. */
int tx_page_move(struct meta_tx *tx, uint64_t page, uint64_t *ret_page, void **ret_address);

/* ---- inode.c ---- */

/* Parts of an inode that are snapshotted by themselves. */
#define TX_INODE_HOT 1ull /* line 0: what changes most, and the checksum */
#define TX_INODE_REST 2ull /* line 1 */
#define TX_INODE_MAPS 4ull /* lines 2 and 3 */
#define TX_INODE_ALL 7ull

/* For changing those parts; the first is always among them. */
int tx_inode_edit(struct meta_tx *tx, const struct fmt_inode *inode, uint64_t parts, struct fmt_inode **ret_inode);

/* ---- reserved.c ---- */

/* Makes a reserved inode, at once and durably. */
void reserved_create(struct meta *meta, uint64_t ino, uint32_t mode, uint32_t uid, uint32_t gid);
/* True of one that has been made, and whose slot is free: what it held is lost. */
bool reserved_lost(const struct meta *meta, uint64_t ino);
/* Makes those that have never been made. Returns how many. */
uint64_t reserved_complete(struct meta *meta);

/* ---- limbo.c ---- */

/* After the scan, and after a transaction that changed limbo or bad blocks: what their inodes say now. */
void limbo_settle(struct meta *meta);
/* Pages that limbo may need for all that is recorded as pinned: nobody else gets them. */
uint64_t limbo_promise(const struct meta *meta);

/* ---- ledger.c ---- */

int ledger_init(struct meta *meta);
void ledger_fini(struct meta *meta);
/* After the scan: counts what is recorded. */
int ledger_settle(struct meta *meta);

/* ---- feature.c ---- */

int feature_init(struct meta *meta);
void feature_fini(struct meta *meta);
/* What the superblock says. */
void feature_settle(struct meta *meta);

/* ---- space.c ---- */

int space_init(struct meta *meta);
void space_fini(struct meta *meta);
/* After the scan has settled free_pages and slots of every group: counts, and links the lists. */
void space_ready(struct meta *meta);
int space_page_take(struct meta *meta, bool use_reserve, uint64_t *ret_page);
void space_page_put(struct meta *meta, uint64_t page);
/* Keeps a free page out of use until the next scan. */
void space_page_hold(struct meta *meta, uint64_t page);
/* Takes an inode slot; may turn a free page into an inode frame, by a transaction of its own: not inside of one. */
int space_slot_take(struct meta *meta, bool use_reserve, uint64_t *ret_ino);
/* Gives a slot back; may turn its frame into a page again, likewise. */
void space_slot_put(struct meta *meta, uint64_t ino);

/* ---- Addresses ---- */

static inline struct fmt_group *meta_group(const struct meta *meta, uint64_t group)
{
	return (struct fmt_group *)meta->group[group];
}

static inline void *meta_frame(const struct meta *meta, uint64_t group, unsigned frame)
{
	return meta->group[group] + (size_t)frame * FMT_BLOCK_SIZE;
}

/* The inode slot, or NULL if no such number can be: out of range, a header, or not in an inode frame. */
struct fmt_inode *meta_slot(const struct meta *meta, uint64_t ino);

/* The page, or NULL if no such page can be. Its content is checked by who asks. */
static inline void *meta_page(const struct meta *meta, uint64_t page)
{
	uint64_t group = page / FMT_GROUP_FRAMES;
	unsigned frame = page % FMT_GROUP_FRAMES;

	if (group >= meta->super->groups || frame == 0)
		return NULL;
	return meta_frame(meta, group, frame);
}

#endif
