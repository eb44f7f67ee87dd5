/*
 * Taking bytes out of a file: by one transaction where it is small, else by an intent on media that is carried out in
 * bounded transactions and resumed at mount.
 *
 *   whole ----fs_take_out, small----------------------------------> out
 *     |                                                             ^
 *     +--fs_intent_set (visible: reads as zeros)--> intent --------+
 *                                                   fs_intent_run: edges zeroed, blocks unmapped from the end,
 *                                                   the bit cleared by the last transaction
 */
#include "fs/data.h"

#include <assert.h>
#include <errno.h>

/* What one transaction unmaps, and what it changes besides. */
struct unmap {
	uint64_t start, end; /* blocks */
	fs_edit *edit; /* may be NULL: applied by the transaction that leaves nothing there */
	void *arg;
	bool all; /* nothing is left there */
};

/* Unmaps at most FS_SERIES_EXTENTS pieces of the range, the last ones. */
static int remove_some(struct fs_removal *removal, struct meta_tx *tx, struct unmap *unmap)
{
	int error = 0;

	while (error == 0 && unmap->start < unmap->end && removal->count < FS_SERIES_EXTENTS)
		error = fs_removal_take(removal, tx, unmap->start, unmap->end);
	unmap->all = error == -ENOENT || unmap->start >= unmap->end;
	return error == -ENOENT ? 0 : error;
}

/* fs_removal_body */
static int unmap_body(struct fs_removal *removal, struct meta_tx *tx, void *arg)
{
	struct unmap *unmap = arg;
	struct fmt_inode *inode;
	int error;

	error = remove_some(removal, tx, unmap);
	if (error != 0 || !unmap->all || unmap->edit == NULL)
		return error;
	error = meta_inode_edit(tx, removal->file->media, &inode);
	if (error == 0)
		unmap->edit(unmap->arg, inode);
	return error;
}

/* One transaction of a series; *ret_all when the range is empty and its edit was applied. */
static int unmap_some(struct fs_removal *removal, const struct unmap *series, bool *ret_all)
{
	struct unmap unmap = *series;
	int error;

	error = fs_remove(removal, unmap_body, &unmap);
	/* Many runs of one extent are counted: as many as there is room for. Reaping may cut them up further: again. */
	while (error == -E2BIG) {
		unmap.start = removal->fits;
		unmap.edit = NULL;
		error = fs_remove(removal, unmap_body, &unmap);
	}
	if (error == 0)
		*ret_all = unmap.all && unmap.start == series->start;
	return error;
}

/* True if blocks [start, end) have no extent. */
static int range_empty(struct fs *fs, const struct fs_inode *file, uint64_t start, uint64_t end, bool *ret_empty)
{
	struct meta_extent extent;
	int error = meta_extent_find(fs->meta, file->media, start, &extent);

	if (error != 0 && error != -ENOENT)
		return error;
	*ret_empty = error == -ENOENT || extent.file_block >= end;
	return 0;
}

static void last_edit(void *arg, struct fmt_inode *inode)
{
	void (*const *last)(struct fmt_inode * inode) = arg;

	(*last)(inode);
}

int fs_unmap_blocks(struct fs *fs, struct fs_inode *file, uint64_t start, uint64_t end,
		    void (*last)(struct fmt_inode *inode))
{
	struct unmap series = {
		.start = start, .end = end, .edit = last != NULL ? last_edit : NULL, .arg = (void *)&last};
	struct fs_removal removal = {.fs = fs, .file = file};
	bool all = false;
	int error;

	if (last == NULL) {
		error = start < end ? range_empty(fs, file, start, end, &all) : 0;
		if (error != 0 || all || start >= end)
			return error;
	}
	do {
		error = unmap_some(&removal, &series, &all);
	} while (error == 0 && !all);
	return error;
}

bool fs_has_pages(struct fs *fs)
{
	struct meta_space space;

	meta_space(fs->meta, &space);
	return space.pages_free > 0;
}

struct fs_hole fs_hole_of(uint64_t start, uint64_t end)
{
	struct fs_hole hole;

	hole.first = fs_block_up(start);
	hole.last = end == UINT64_MAX ? UINT64_MAX : end >> FMT_BLOCK_SHIFT;
	hole.head_start = start;
	hole.head_end = min_u64(end, fs_block_byte(hole.first));
	hole.tail_start = max_u64(hole.head_end, fs_block_byte(hole.last));
	hole.tail_end = end;
	return hole;
}

int fs_hole_zero_edges(struct fs *fs, struct fs_inode *file, const struct fs_hole *hole)
{
	int error = fs_zero_idle(fs, file, hole->head_start, hole->head_end);

	return error != 0 ? error : fs_zero_idle(fs, file, hole->tail_start, hole->tail_end);
}

int fs_hole_edges_zero(struct fs *fs, const struct fs_inode *file, const struct fs_hole *hole, bool *ret_zero)
{
	bool zero;
	int error = fs_reads_zero(fs, file, hole->head_start, hole->head_end, &zero);

	if (error == 0 && zero)
		error = fs_reads_zero(fs, file, hole->tail_start, hole->tail_end, &zero);
	if (error == 0)
		*ret_zero = zero;
	return error;
}

struct intent {
	uint64_t start;
	uint64_t end;
	fs_edit *edit;
	void *arg;
};

static void set_edit(void *arg, struct fmt_inode *inode)
{
	const struct intent *intent = arg;

	inode->flags |= FMT_INODE_INTENT;
	inode->intent_start = intent->start;
	inode->intent_end = intent->end;
	intent->edit(intent->arg, inode);
}

int fs_intent_set(struct fs *fs, struct fs_inode *file, uint64_t start, uint64_t end, fs_edit *edit, void *arg)
{
	struct intent intent = {.start = start, .end = end, .edit = edit, .arg = arg};

	assert(S_ISREG(file->type));
	return fs_edit_inode(fs, file, set_edit, &intent, "setting an intent");
}

void fs_intent_clear(struct fmt_inode *inode)
{
	inode->flags &= ~FMT_INODE_INTENT;
	inode->intent_start = 0;
	inode->intent_end = 0;
}

int fs_intent_failed(struct fs *fs, struct fs_inode *file, int error)
{
	/* Whatever it was, say no memory: a write now would be taken out again when the intent is resumed. */
	return fs_failed(fs, error == -EUCLEAN ? error : -EIO, "carrying out an intent", file->ino);
}

int fs_intent_run(struct fs *fs, struct fs_inode *file)
{
	struct fs_hole hole;
	int error;

	/* A damaged pool may have it in a directory, whose locks have other ranks: that is refused below. */
	assert(!S_ISREG(file->type) || (lock_held(LOCK_LAYOUT) && lock_held(LOCK_MAP)));
	if (!(file->media->flags & FMT_INODE_INTENT))
		return 0;
	if (!S_ISREG(file->type) || file->media->intent_start > FMT_FILE_SIZE_MAX ||
	    file->media->intent_start > file->media->intent_end)
		return fs_intent_failed(fs, file, -EUCLEAN);
	hole = fs_hole_of(file->media->intent_start, file->media->intent_end);
	error = fs_hole_zero_edges(fs, file, &hole);
	if (error == 0)
		error = fs_unmap_blocks(fs, file, hole.first, hole.last, fs_intent_clear);
	return error == 0 ? 0 : fs_intent_failed(fs, file, error);
}

/* True if at most FS_ONCE_EXTENTS extents are in blocks [start, end). */
static int is_small(struct fs *fs, const struct fs_inode *file, uint64_t start, uint64_t end, bool *ret_small)
{
	for (unsigned i = 0; i <= FS_ONCE_EXTENTS && start < end; i++) {
		struct meta_extent extent;
		int error = meta_extent_find(fs->meta, file->media, start, &extent);

		if (error != 0 && error != -ENOENT)
			return error;
		if (error == -ENOENT || extent.file_block >= end) {
			*ret_small = true;
			return 0;
		}
		start = extent.file_block + extent.length;
	}
	*ret_small = start >= end;
	return 0;
}

/* -E2BIG: more than one transaction can do; nothing has changed. */
static int take_out_once(struct fs *fs, struct fs_inode *file, uint64_t start, uint64_t end, fs_edit *edit, void *arg)
{
	struct unmap unmap = {.start = start, .end = end, .edit = edit, .arg = arg};
	struct fs_removal removal = {.fs = fs, .file = file};
	int error = fs_remove(&removal, unmap_body, &unmap);

	assert(error != 0 || unmap.all);
	return error;
}

int fs_take_out(struct fs *fs, struct fs_inode *file, uint64_t start, uint64_t end, fs_edit *edit, void *arg)
{
	struct fs_hole hole = fs_hole_of(start, end);
	bool once;
	int error;

	assert(lock_held(LOCK_LAYOUT) && lock_held(LOCK_MAP));
	/* A hole in the middle leaves more extents behind: that may not go on at the expense of the reserve. */
	if (end != UINT64_MAX && !fs_has_pages(fs))
		return -ENOSPC;
	error = fs_edges_detach(fs, file, &hole);
	if (error == 0)
		error = fs_hole_edges_zero(fs, file, &hole, &once);
	if (error == 0 && once)
		error = is_small(fs, file, hole.first, hole.last, &once);
	if (error != 0)
		return fs_failed(fs, error, "unmapping", file->ino);
	if (once) {
		error = take_out_once(fs, file, hole.first, hole.last, edit, arg);
		if (error != -E2BIG)
			return error == 0 ? 0 : fs_failed(fs, error, "unmapping", file->ino);
	}
	error = fs_intent_set(fs, file, start, end, edit, arg);
	return error != 0 ? error : fs_intent_run(fs, file);
}
