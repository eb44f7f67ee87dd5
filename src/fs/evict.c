/*
 * Eviction: everything of an inode without links goes, in bounded transactions. Its link count of 0 is the intent on
 * media: after a crash the next mount goes on. Freed blocks go back after the commit that unmapped them.
 *
 * It never waits for a pin: what is pinned goes to limbo. But while somebody holds a pin of the inode its slot stays,
 * with no blocks and no links: its number is in the ledger, and is not to be another file's. Whoever reaps the last pin
 * comes back (fs_evict_rest()); so does the next mount.
 */
#include "fs/data.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* Its extents, in the inode itself; no page is read. */
static size_t bare_extents(struct fs *fs, const struct fs_inode *inode, struct meta_extent extents[FMT_BODY_RECORDS])
{
	uint64_t block = 0;
	size_t count = 0;

	if (!S_ISREG(inode->type))
		return 0;
	while (count < FMT_BODY_RECORDS && meta_extent_find(fs->meta, inode->media, block, &extents[count]) == 0) {
		block = extents[count].file_block + extents[count].length;
		count++;
	}
	return count;
}

/*
 * Most inodes: nothing but the slot, and nobody has pinned anything (nobody can any more: the inode cannot be got). The
 * store that frees the slot takes the blocks from it, too, and they go back when it is durable (D2).
 */
static int evict_bare(struct fs *fs, struct fs_inode *inode)
{
	struct meta_extent extents[FMT_BODY_RECORDS];
	size_t count = bare_extents(fs, inode, extents);
	int error;

	if (count != (S_ISREG(inode->type) ? inode->media->body.count : 0))
		return -EUCLEAN;
	error = meta_inode_drop(fs->meta, inode->media);
	for (size_t i = 0; error == 0 && i < count; i++)
		(void)fs_free_blocks(fs, inode, &extents[i]);
	return error;
}

/* fs_removal_body: unmaps and destroys in one transaction: the small file. */
static int evict_compact(struct fs_removal *removal, struct meta_tx *tx, void *arg)
{
	int error = 0;

	(void)arg;
	while (error == 0 && removal->count < FMT_BODY_RECORDS)
		error = fs_removal_take(removal, tx, 0, UINT64_MAX);
	if (error != 0 && error != -ENOENT)
		return error;
	return meta_inode_destroy(tx, removal->file->media);
}

/* One transaction: strips some pages, or all that were left and destroys the inode (*ret_done). */
static int strip_some(struct fs *fs, struct fs_inode *inode, bool *ret_done)
{
	struct meta_tx *tx;
	int more;
	int error;

	error = meta_begin(fs->meta, META_TX_RESERVE, &tx);
	if (error != 0)
		return error;
	more = meta_inode_strip(tx, inode->media);
	error = more < 0 ? more : 0;
	if (more == 0)
		error = meta_inode_destroy(tx, inode->media);
	if (error != 0) {
		meta_abort(tx);
		return error;
	}
	error = meta_commit(tx);
	if (error == 0)
		*ret_done = more == 0;
	return error;
}

static int see_pin(void *arg, const struct pin_info *info)
{
	(void)arg;
	(void)info;
	return 1;
}

bool fs_evict_waits(struct fs *fs, uint64_t ino)
{
	/* Without memory to look: say yes; at the latest the next mount sees that there is none. */
	return pin_any(fs->pins) && pin_visit(fs->pins, ino, see_pin, NULL, NULL) != 0;
}

static int evict_all(struct fs *fs, struct fs_inode *inode)
{
	struct fs_removal removal = {.fs = fs, .file = inode};
	bool done = false;
	int error = -E2BIG;

	if (meta_inode_is_bare(inode->media) && !pin_any(fs->pins))
		return evict_bare(fs, inode);
	if (meta_inode_is_bare(inode->media) && S_ISREG(inode->type))
		error = fs_remove(&removal, evict_compact, NULL);
	if (error != -E2BIG)
		return error;
	error = S_ISREG(inode->type) ? fs_unmap_blocks(fs, inode, 0, UINT64_MAX, NULL) : 0;
	while (error == 0 && !done)
		error = strip_some(fs, inode, &done);
	return error;
}

bool fs_evict(struct fs *fs, struct fs_inode *inode)
{
	bool waits;
	int error;

	if (fs_writable(fs) != 0)
		return false; /* the next mount that may write does it */
	lock_rw_take_exclusive(&inode->layout);
	lock_rw_take_exclusive(&inode->map);
	/* No pin comes any more: the inode cannot be got. */
	waits = S_ISREG(inode->type) && fs_evict_waits(fs, inode->ino);
	if (waits)
		error = fs_unmap_blocks(fs, inode, 0, UINT64_MAX, NULL);
	else
		error = evict_all(fs, inode);
	if (error != 0 && !fs_is_shut_down(fs)) {
		log_error("%s: freeing inode %" PRIu64 ", which has no name: %s: the next mount does it", fs->meta_path,
			  inode->ino, strerror(-error));
		(void)fs_failed(fs, error, "evicting", inode->ino);
	}
	lock_rw_drop(&inode->map);
	lock_rw_drop(&inode->layout);
	return error == 0 && waits;
}
