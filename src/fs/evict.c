/*
 * Eviction: everything of an inode without links goes, in bounded transactions. Its link count of 0 is the intent on
 * media: after a crash the next mount goes on. Freed blocks go back after the commit that unmapped them.
 */
#include "fs/data.h"

#include <errno.h>

/* The rest of an inode has room in the transaction that frees its slot: no pages anywhere, extents in the inode. */
static bool is_compact(const struct fs_inode *inode)
{
	const struct fmt_inode *media = inode->media;

	return S_ISREG(inode->type) && media->body.height == 0 && media->xattrs.height == 0 && media->xattrs.count == 0;
}

static int remove_inline(struct meta_tx *tx, const struct fmt_inode *media, struct meta_extent *extents, size_t *count)
{
	int error = 0;

	*count = 0;
	while (*count < FMT_BODY_RECORDS && error == 0) {
		error = meta_extent_remove_last(tx, media, 0, UINT64_MAX, &extents[*count]);
		if (error == 0)
			(*count)++;
	}
	return error == -ENOENT ? 0 : error;
}

/* Unmaps and destroys in one transaction: the small file. */
static int evict_compact(struct fs *fs, struct fs_inode *inode)
{
	struct meta_extent extents[FMT_BODY_RECORDS];
	struct meta_tx *tx;
	size_t count;
	int first_error = 0;
	int error;

	error = meta_begin(fs->meta, META_TX_RESERVE, &tx);
	if (error != 0)
		return error;
	error = remove_inline(tx, inode->media, extents, &count);
	if (error == 0)
		error = meta_inode_destroy(tx, inode->media);
	if (error != 0) {
		meta_abort(tx);
		return error;
	}
	error = meta_commit(tx);
	for (size_t i = 0; i < count && error == 0; i++) {
		int again = fs_free_blocks(fs, inode, &extents[i]);

		if (first_error == 0)
			first_error = again;
	}
	return error != 0 ? error : first_error;
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

static int evict_all(struct fs *fs, struct fs_inode *inode)
{
	bool done = false;
	int error = 0;

	if (is_compact(inode))
		return evict_compact(fs, inode);
	if (S_ISREG(inode->type))
		error = fs_unmap_blocks(fs, inode, 0, UINT64_MAX, NULL);
	while (error == 0 && !done)
		error = strip_some(fs, inode, &done);
	return error;
}

void fs_evict(struct fs *fs, struct fs_inode *inode)
{
	int error;

	if (fs_writable(fs) != 0)
		return; /* the next mount that may write does it */
	lock_rw_take_exclusive(&inode->layout);
	lock_rw_take_exclusive(&inode->map);
	error = evict_all(fs, inode);
	if (error != 0)
		fs_failed(fs, error, "evicting", inode->ino);
	lock_rw_drop(&inode->map);
	lock_rw_drop(&inode->layout);
}
