/* Inode slots. */
#include "meta/pool.h"

#include <errno.h>
#include <sys/random.h>
#include <sys/stat.h>

struct fmt_inode *meta_slot(const struct meta *meta, uint64_t ino)
{
	uint64_t group = fmt_ino_group(ino);
	unsigned frame = fmt_ino_frame(ino);

	/* Frame 0 holds inodes always: the reserved ones are read before the scan has learned of the others. */
	if (group >= meta->super->groups || (frame == 0 && fmt_ino_slot(ino) == 0) ||
	    (frame != 0 && (atomic_load(&meta->state[group].inode_frames) >> frame & 1) == 0))
		return NULL;
	return (struct fmt_inode *)((char *)meta_frame(meta, group, frame) + (size_t)fmt_ino_slot(ino) * FMT_SLOT_SIZE);
}

int meta_inode_get(struct meta *meta, uint64_t ino, const struct fmt_inode **ret_inode)
{
	const struct fmt_inode *inode = meta_slot(meta, ino);

	if (inode == NULL || fmt_inode_free(inode))
		return -ENOENT;
	/* A number of old, of which no lock is held: its frame may have become a page since we looked. */
	if (!fmt_inode_valid(inode, ino))
		return meta_slot(meta, ino) == NULL ? -ENOENT : -EUCLEAN;
	*ret_inode = inode;
	return 0;
}

/* Snapshots parts that are not yet; neighbours in one range, for a range costs more than its bytes. */
static int snapshot(struct meta_tx *tx, const struct fmt_inode *inode, uint64_t parts)
{
	const size_t line = offsetof(struct fmt_inode, mode), maps = offsetof(struct fmt_inode, body);
	const char *start = (const char *)inode;
	int error = 0;

	if (parts == TX_INODE_ALL)
		return tx_edit_inode(tx, start, sizeof(*inode));
	if (parts == (TX_INODE_REST | TX_INODE_MAPS))
		return tx_edit_inode(tx, start + line, sizeof(*inode) - line);
	if (parts == (TX_INODE_HOT | TX_INODE_REST))
		return tx_edit_inode(tx, start, maps);
	if ((parts & TX_INODE_HOT) != 0)
		error = tx_edit_inode(tx, start, line);
	if (error == 0 && (parts & TX_INODE_REST) != 0)
		error = tx_edit_inode(tx, start + line, maps - line);
	if (error == 0 && (parts & TX_INODE_MAPS) != 0)
		error = tx_edit_inode(tx, start + maps, sizeof(*inode) - maps);
	return error;
}

int tx_inode_edit(struct meta_tx *tx, const struct fmt_inode *inode, uint64_t parts, struct fmt_inode **ret_inode)
{
	uint64_t missing = TX_INODE_ALL;
	int error;
	size_t i;

	parts |= TX_INODE_HOT;
	for (i = 0; i < tx->edited.count; i++) {
		if ((tx->edited.items[i] & ~TX_INODE_ALL) == (uintptr_t)inode) {
			missing = tx->edited.items[i] & TX_INODE_ALL;
			break;
		}
	}
	error = (missing & parts) != 0 ? snapshot(tx, inode, missing & parts) : 0;
	if (error == 0 && i == tx->edited.count)
		error = vec_push(&tx->edited, (uintptr_t)inode);
	if (error != 0)
		return error;
	tx->edited.items[i] = (uintptr_t)inode | (missing & ~parts);
	*ret_inode = (struct fmt_inode *)(uintptr_t)inode;
	return 0;
}

int meta_inode_edit(struct meta_tx *tx, const struct fmt_inode *inode, struct fmt_inode **ret_inode)
{
	return tx_inode_edit(tx, inode, TX_INODE_ALL, ret_inode);
}

int meta_inode_touch(struct meta_tx *tx, const struct fmt_inode *inode, struct fmt_inode **ret_inode)
{
	return tx_inode_edit(tx, inode, TX_INODE_HOT, ret_inode);
}

/* A system call for each inode would be a tenth of its cost. No lock: each thread has its own. */
static int random_generation(uint32_t *ret_generation)
{
	static _Thread_local uint32_t numbers[32];
	static _Thread_local unsigned left;

	if (left == 0) {
		if (getrandom(numbers, sizeof(numbers), 0) != sizeof(numbers))
			return -EIO;
		left = sizeof(numbers) / sizeof(numbers[0]);
	}
	*ret_generation = numbers[--left];
	return 0;
}

int meta_inode_create(struct meta_tx *tx, struct fmt_inode **ret_inode)
{
	struct fmt_inode *inode;
	uint32_t generation;
	int error;

	if (tx->slot == FMT_INO_NONE)
		return -EINVAL;
	/* Random, so that a file handle of an earlier inode of this number does not fit, whatever happened to the slot.
	 */
	error = random_generation(&generation);
	if (error != 0)
		return error;
	/* Of a free slot only the magic is of meaning: all that must be undone, so that a rename can make one too. */
	inode = meta_slot(tx->meta, tx->slot);
	error = tx_edit(tx, inode, offsetof(struct fmt_inode, ino));
	if (error == 0)
		error = tx_fresh(tx, &inode->ino, sizeof(*inode) - offsetof(struct fmt_inode, ino));
	if (error == 0)
		error = vec_push(&tx->edited, (uintptr_t)inode);
	if (error != 0)
		return error;
	memset(inode, 0, sizeof(*inode));
	inode->magic = FMT_INODE_MAGIC;
	inode->ino = tx->slot;
	inode->generation = generation;
	tx->new_inode = tx->slot;
	tx->slot = FMT_INO_NONE;
	*ret_inode = inode;
	return 0;
}

int meta_inode_destroy(struct meta_tx *tx, const struct fmt_inode *inode)
{
	uint64_t ino = inode->ino;
	struct fmt_inode *slot;
	int error;

	/* root of height 0: the target of a symlink. */
	if (inode->body.count != 0 || inode->body.height != 0 || inode->body.root != 0 || inode->xattrs.count != 0 ||
	    inode->xattrs.height != 0)
		return -ENOTEMPTY;
	error = meta_inode_edit(tx, inode, &slot);
	if (error == 0)
		error = vec_push(&tx->destroyed, ino);
	if (error == 0)
		slot->magic = 0; /* a free slot: meta_commit() does not seal it */
	return error;
}

bool meta_inode_is_bare(const struct fmt_inode *inode)
{
	/* root of height 0: the target of a symlink. */
	if (inode->body.height != 0 || inode->xattrs.height != 0 || inode->xattrs.count != 0)
		return false;
	return S_ISREG(inode->mode) || (inode->body.count == 0 && inode->body.root == 0);
}

int meta_inode_drop(struct meta *meta, const struct fmt_inode *inode)
{
	uint64_t ino = inode->ino;
	struct fmt_inode *slot = meta_slot(meta, ino);

	if (atomic_load_explicit(&meta->stopped, memory_order_relaxed))
		return -EIO;
	if (slot != inode || !meta_inode_is_bare(inode))
		return -EUCLEAN;
	/* Four bytes, aligned: there or not. All else in a free slot is of no meaning. */
	slot->magic = 0;
	pmemobj_persist(meta->pop, &slot->magic, sizeof(slot->magic));
	atomic_fetch_sub(&meta->inodes_used, 1);
	space_slot_put(meta, ino);
	return 0;
}
