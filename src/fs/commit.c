/*
 * Commit: what a holder has stored becomes the file's (rules 17 and 21). Under layout shared, so that nothing is
 * detached meanwhile, and map exclusive:
 *
 *   1. if the size grows: the gap between the old size and the committed bytes is zeroed, in the old last block and in
 *      the first committed one; durable. Blocks between them stay unwritten
 *   2. transactions of bounded size, from the front: blocks that were unwritten are marked written, the size reaches at
 *      most to their end, times, mode
 *   3. without locks: the kernel drops what it has cached, and then the answer
 *
 * The holder has made its stores durable before it asked (I4: data before extent). A cut between two transactions of
 * step 2 leaves a shorter file whose bytes are all committed ones, and nothing written beyond its size (D3).
 */
#include "fs/pinning.h"

#include <assert.h>
#include <errno.h>

enum stage {
	STAGE_NEW,
	STAGE_TOLD, /* the kernel */
};

struct commit {
	struct fs *fs;
	struct fs_inode *file;
	uint64_t offset; /* bytes of the file */
	uint64_t end;
	unsigned privileges; /* FS_DROP_*: those that are left */
};

/* ---- Step 1 ---- */

/* Memory of bytes [start, end) of one block, written or not; zeroed, durable. */
static int zero_in_block(struct fs *fs, const struct fs_inode *file, uint64_t start, uint64_t end)
{
	struct meta_extent extent;
	struct region_part *part;
	unsigned char *address;
	int error = meta_extent_find(fs->meta, file->media, start >> FMT_BLOCK_SHIFT, &extent);

	if (error == -ENOENT || (error == 0 && fs_block_byte(extent.file_block) > start))
		return 0;
	if (error != 0)
		return error;
	address = fs_block_address(fs, extent.phys, extent.length, &part);
	if (address == NULL)
		return -EUCLEAN;
	address += start - fs_block_byte(extent.file_block);
	region_zero(part, address, end - start);
	error = fs_lost(fs, file->ino, address, end - start, region_persist(part, address, end - start));
	/* Who reads it gets EIO. */
	return error == -EHWPOISON ? 0 : error;
}

/* Also blocks that are unwritten: this commit may mark them. Pinned or not: who grows the size zeroes the gap. */
static int zero_gap(const struct commit *commit)
{
	uint64_t size = commit->file->media->size;
	uint64_t behind = align_up(size, FMT_BLOCK_SIZE);
	uint64_t first = max_u64(behind, align_down(commit->offset, FMT_BLOCK_SIZE));
	uint64_t end = min_u64(commit->offset, behind);
	int error = 0;

	if (size < end)
		error = zero_in_block(commit->fs, commit->file, size, end);
	if (error == 0 && first < commit->offset)
		error = zero_in_block(commit->fs, commit->file, first, commit->offset);
	return error;
}

/* ---- Step 2 ---- */

static int mark_some(const struct commit *commit, struct meta_tx *tx, const struct meta_extent *unwritten, size_t count)
{
	int error = 0;

	for (size_t i = 0; i < count && error == 0; i++)
		error = meta_extent_mark(tx, commit->file->media, unwritten[i].file_block, unwritten[i].length, false);
	return error;
}

/* The next unwritten pieces of [*block, last). -ESTALE: a block is not there. */
static int find_unwritten(const struct commit *commit, uint64_t *block, uint64_t last,
			  struct meta_extent unwritten[FS_SERIES_EXTENTS], size_t *ret_count)
{
	size_t count = 0;

	while (*block < last && count < FS_SERIES_EXTENTS) {
		struct meta_extent extent;
		uint64_t end;
		int error = meta_extent_find(commit->fs->meta, commit->file->media, *block, &extent);

		if (error == -ENOENT || (error == 0 && extent.file_block > *block))
			return -ESTALE;
		if (error != 0)
			return error;
		end = min_u64(last, extent.file_block + extent.length);
		if (extent.unwritten)
			unwritten[count++] =
				(struct meta_extent){.file_block = *block, .length = (uint32_t)(end - *block)};
		*block = end;
	}
	*ret_count = count;
	return 0;
}

static int edit(const struct commit *commit, struct meta_tx *tx, uint64_t reached)
{
	struct fmt_inode *inode;
	int error = fs_privileges_remove(tx, commit->file, commit->privileges);

	if (error == 0)
		error = meta_inode_edit(tx, commit->file->media, &inode);
	if (error != 0)
		return error;
	inode->size = max_u64(inode->size, min_u64(commit->end, reached));
	fs_stamp(inode);
	return 0;
}

static int commit_some(struct commit *commit, const struct meta_extent *unwritten, size_t count, uint64_t reached)
{
	struct meta_tx *tx;
	/* What adds records may not eat the reserve. */
	int error = meta_begin(commit->fs->meta, count == 0 ? META_TX_RESERVE : 0, &tx);

	if (error != 0)
		return error;
	error = mark_some(commit, tx, unwritten, count);
	if (error == 0)
		error = edit(commit, tx, reached);
	if (error != 0) {
		meta_abort(tx);
		return error;
	}
	error = meta_commit(tx);
	if (error == 0)
		commit->privileges = 0;
	return error;
}

static int commit_locked(struct commit *commit)
{
	const uint64_t last = fs_block_up(commit->end);
	uint64_t block = commit->offset >> FMT_BLOCK_SHIFT;
	int error;

	/* As write(2). */
	error = fs_privileges_find(commit->fs, commit->file, FS_DROP_MODE | FS_DROP_CAPABILITY, &commit->privileges);
	if (error == 0)
		error = zero_gap(commit);
	while (error == 0 && block < last) {
		struct meta_extent unwritten[FS_SERIES_EXTENTS];
		size_t count;

		error = find_unwritten(commit, &block, last, unwritten, &count);
		if (error == 0)
			error = commit_some(commit, unwritten, count, fs_block_byte(block));
	}
	return error;
}

/* ---- The request ---- */

/* The pin, and the bytes that are meant: length 0 is all from the offset on. */
static int find_pin(struct fs_commit_request *request, struct pin_info *ret_info, uint64_t *ret_end)
{
	struct fs_holder *holder = request->holder;
	struct pin *pin = NULL;
	uint64_t end = 0;
	int error = 0;

	lock_mutex_take(&holder->lock);
	if (!holder->closed)
		pin = pin_find(holder->pin, request->pin);
	if (pin == NULL)
		error = -ENOENT;
	else
		pin_get_info(pin, ret_info);
	if (error == 0 && (ret_info->flags & PIN_FLAG_WRITE) == 0)
		error = -EBADF;
	if (error == 0 &&
	    (request->offset < ret_info->offset || request->offset - ret_info->offset >= ret_info->length ||
	     request->length > ret_info->offset + ret_info->length - request->offset))
		error = -ERANGE;
	if (error == 0) {
		end = request->length == 0 ? ret_info->offset + ret_info->length : request->offset + request->length;
		error = pin_check_range(pin, request->offset, end - request->offset);
	}
	lock_mutex_drop(&holder->lock);
	*ret_end = end;
	return error;
}

static int commit_file(struct fs *fs, struct fs_inode *file, struct fs_commit_request *request)
{
	struct commit commit = {.fs = fs, .file = file, .offset = request->offset};
	struct pin_info info;
	int error;

	lock_rw_take_shared(&file->layout);
	lock_rw_take_exclusive(&file->map);
	error = fs_writable(fs);
	/* Again: from here on nothing of it can be detached. */
	if (error == 0)
		error = find_pin(request, &info, &commit.end);
	if (error == 0 && file->media->generation != info.generation)
		error = -ESTALE;
	if (error == 0) {
		error = commit_locked(&commit);
		if (error != 0 && error != -ESTALE)
			error = fs_failed(fs, error, "commit", file->ino);
	}
	lock_rw_drop(&file->map);
	lock_rw_drop(&file->layout);
	return error;
}

/* Steps 1 and 2. */
static int make_visible(struct fs *fs, struct fs_commit_request *request)
{
	struct fs_inode *file;
	struct pin_info info;
	uint64_t end;
	int error = find_pin(request, &info, &end);

	if (error != 0)
		return error;
	request->ino = info.ino;
	error = fs_inode_get(fs, info.ino, &file);
	if (error != 0)
		return error == -ENOENT ? -ESTALE : error;
	error = S_ISREG(file->type) ? commit_file(fs, file, request) : -ESTALE;
	fs_inode_put(fs, file);
	/* The whole range, for the kernel too. */
	if (error == 0)
		request->length = end - request->offset;
	return error;
}

/* 1: the request will be resumed. */
static int run(struct fs *fs, struct fs_commit_request *request)
{
	int error;

	if (request->stage == STAGE_TOLD)
		return fs_upcall_end(fs, &request->wait);
	error = make_visible(fs, request);
	if (error != 0 || !fs->pinning->has_kernel)
		return error;
	request->stage = STAGE_TOLD;
	error = fs_upcall_begin(fs, &request->wait, request->ino, request->offset, request->length, true);
	return error == 0 ? 1 : error;
}

int fs_commit(struct fs *fs, struct fs_commit_request *request)
{
	struct fs_holder *holder = request->holder;
	uint64_t connection;
	int error;

	if (request->stage == STAGE_NEW) {
		error = fs_holder_begin(holder, &connection);
		if (error != 0)
			return error;
	}
	error = run(fs, request);
	/* Asked the kernel: the request may be running elsewhere already. */
	if (error > 0)
		return -EINPROGRESS;
	request->stage = STAGE_NEW;
	pin_waiter_end(fs->pins, &request->wait.pin);
	fs_holder_end(fs, holder);
	return error;
}
