/*
 * Overwriting what is lost: a write that covers a lost block as a whole gives the file another block, as filesystems on
 * persistent memory clear an error by a write. The new block has the data and is durable before the transaction that
 * puts it in the place of the lost one (D1); a cut leaves the one or the other.
 *
 * A block that is unwritten reads as zeros, lost or not: it goes, for the hole reads the same. One that a pin counts
 * stays: its holder was told, and the write fails until it has unpinned. Layout and map are held exclusive.
 */
#include "fs/data.h"
#include "fs/protect.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

struct replace {
	struct fs *fs;
	struct fs_inode *file;
	const unsigned char *data; /* of the file's bytes [offset, end) */
	uint64_t offset;
	uint64_t end;
	struct meta_extent old; /* blocks of one extent, all lost */
	uint64_t phys; /* what takes their place */
};

/* The first lost blocks of the file in [*block, last), which are of one extent; length 0: there are none. */
static int find_lost(struct replace *replace, uint64_t block, uint64_t last)
{
	replace->old.length = 0;
	while (block < last) {
		struct meta_extent *extent = &replace->old;
		uint64_t phys, lost, length;
		int error = meta_extent_find(replace->fs->meta, replace->file->media, block, extent);

		if (error == -ENOENT || (error == 0 && extent->file_block >= last)) {
			extent->length = 0;
			return 0;
		}
		if (error != 0)
			return error;
		block = max_u64(block, extent->file_block);
		phys = extent->phys + (block - extent->file_block);
		length = min_u64(last, extent->file_block + extent->length) - block;
		if (fs_lost_find(replace->fs, phys, length, &lost, &length)) {
			extent->file_block = block + (lost - phys);
			extent->phys = lost;
			extent->length = (uint32_t)length;
			return 0;
		}
		block += length;
		extent->length = 0;
	}
	return 0;
}

/* All that the file shows of the lost blocks is overwritten. */
static bool is_covered(const struct replace *replace)
{
	uint64_t from = fs_block_byte(replace->old.file_block);
	uint64_t to = fs_block_byte(replace->old.file_block + replace->old.length);

	return replace->offset <= from && replace->end >= min_u64(to, replace->file->media->size);
}

/* What is behind the size stays zeros (D3): the write itself comes after this. */
static int copy_data(const struct replace *replace)
{
	uint64_t from = fs_block_byte(replace->old.file_block);
	uint64_t to = fs_block_byte(replace->old.file_block + replace->old.length);
	uint64_t end = max_u64(from, min_u64(min_u64(to, replace->end), replace->file->media->size));
	struct region_part *part;
	unsigned char *address = fs_block_address(replace->fs, replace->phys, replace->old.length, &part);

	if (address == NULL)
		return -EUCLEAN;
	if (end > from)
		region_copy(part, address, replace->data + (from - replace->offset), end - from);
	if (to > end)
		region_zero(part, address + (end - from), to - end);
	return fs_lost(replace->fs, replace->file->ino, address, to - from, region_persist(part, address, to - from));
}

/* fs_removal_body */
static int swap(struct fs_removal *removal, struct meta_tx *tx, void *arg)
{
	const struct replace *replace = arg;
	struct meta_extent extent = replace->old;
	int error = fs_removal_take(removal, tx, extent.file_block, extent.file_block + extent.length);

	extent.phys = replace->phys;
	return error != 0 ? error : meta_extent_insert(tx, replace->file->media, &extent);
}

static int replace_run(struct replace *replace)
{
	struct fs_removal removal = {.fs = replace->fs, .file = replace->file};
	struct meta_extent *old = &replace->old;
	struct alloc_run run;
	size_t count;
	int error;

	if (fs_is_counted(replace->fs, old->phys, old->length))
		return -EHWPOISON;
	if (old->unwritten)
		return fs_unmap_blocks(replace->fs, replace->file, old->file_block, old->file_block + old->length,
				       NULL);
	if (!is_covered(replace))
		return -EHWPOISON;
	error = fs_reserve_blocks(replace->fs, old->length, 0, ALLOC_PARTIAL, &run, 1, &count);
	if (error != 0)
		return error;
	/* What finds no place now is the next run. */
	old->length = run.length;
	replace->phys = run.phys;
	error = copy_data(replace);
	if (error == 0)
		error = fs_remove(&removal, swap, replace);
	if (error != 0) {
		const struct meta_extent unused = {.phys = run.phys, .length = run.length};

		(void)fs_free_blocks(replace->fs, replace->file, &unused);
	}
	return error;
}

int fs_replace_lost(struct fs *fs, struct fs_inode *file, const unsigned char *data, uint64_t offset, uint64_t end)
{
	struct replace replace = {.fs = fs, .file = file, .data = data, .offset = offset, .end = end};
	uint64_t block = offset >> FMT_BLOCK_SHIFT;
	unsigned tries = 0;
	int error;

	assert(lock_held(LOCK_LAYOUT) && lock_held(LOCK_MAP));
	if (fs_may_change(file, FS_CHANGE_ANY) != 0)
		return -EHWPOISON;
	error = find_lost(&replace, block, fs_block_up(end));
	while (error == 0 && replace.old.length > 0) {
		error = replace_run(&replace);
		/* The new blocks were lost, too, and are known now: others. */
		if (error == -EHWPOISON && ++tries < FS_LOST_TRIES && is_covered(&replace) &&
		    !fs_is_counted(fs, replace.old.phys, replace.old.length))
			error = 0;
		else if (error == 0)
			block = replace.old.file_block + replace.old.length;
		if (error == 0)
			error = find_lost(&replace, block, fs_block_up(end));
	}
	return error;
}
