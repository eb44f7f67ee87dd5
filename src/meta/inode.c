/* Inode slots. */
#include "meta/pool.h"

#include <errno.h>
#include <sys/random.h>

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

int meta_inode_edit(struct meta_tx *tx, const struct fmt_inode *inode, struct fmt_inode **ret_inode)
{
	int error = 0;
	size_t i;

	for (i = 0; i < tx->edited.count; i++) {
		if (tx->edited.items[i] == (uintptr_t)inode)
			break;
	}
	if (i == tx->edited.count) {
		error = tx_edit_inode(tx, inode);
		if (error == 0)
			error = vec_push(&tx->edited, (uintptr_t)inode);
	}
	if (error == 0)
		*ret_inode = (struct fmt_inode *)(uintptr_t)inode;
	return error;
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
	if (getrandom(&generation, sizeof(generation), 0) != sizeof(generation))
		return -EIO;
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
