/*
 * Unwritten blocks for holes. They read as zeros, so none of them needs to be zeroed, and adding them changes nothing
 * that anybody sees. All blocks of a range are reserved before the first one is added: -ENOSPC changes nothing.
 */
#include "fs/fill.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define RESERVE_RUNS 64u /* runs asked of the allocator at a time */
#define RESERVE_BLOCKS (1ull << 30) /* blocks asked at a time: fits an extent's length */

static int fillings_grow(struct fs_fillings *fillings, size_t more)
{
	struct fs_filling *grown;

	if (fillings->capacity - fillings->count >= more)
		return 0;
	grown = reallocarray(fillings->filling, fillings->capacity * 2 + more, sizeof(*grown));
	if (grown == NULL)
		return -ENOMEM;
	fillings->filling = grown;
	fillings->capacity = fillings->capacity * 2 + more;
	return 0;
}

int fs_fill_reserve(struct fs *fs, const struct fs_inode *file, uint64_t block, uint64_t end, unsigned flags,
		    uint64_t *rank, struct fs_fillings *fillings)
{
	uint64_t goal = fs_goal(fs, file, block);

	while (block < end) {
		struct alloc_run runs[RESERVE_RUNS];
		size_t count;
		int error;

		error = fillings_grow(fillings, RESERVE_RUNS);
		if (error != 0)
			return error;
		error = fs_reserve_blocks(fs, min_u64(end - block, RESERVE_BLOCKS), goal, flags, runs, RESERVE_RUNS,
					  &count);
		if (error != 0)
			return error;
		for (size_t i = 0; i < count; i++) {
			struct meta_extent extent = {
				.file_block = block,
				.phys = runs[i].phys,
				.length = runs[i].length,
				.unwritten = true,
			};

			fillings->filling[fillings->count++] = (struct fs_filling){.extent = extent, .rank = (*rank)++};
			block += extent.length;
			goal = extent.phys + extent.length;
		}
	}
	return 0;
}

/* The first hole in blocks [*start, end); *start = *ret_end = end if there is none. Raises *rank by what it passes. */
static int next_hole(struct fs *fs, const struct fs_inode *file, uint64_t *start, uint64_t end, uint64_t *rank,
		     uint64_t *ret_end)
{
	while (*start < end) {
		struct meta_extent extent;
		int error = meta_extent_find(fs->meta, file->media, *start, &extent);

		if (error != 0 && error != -ENOENT)
			return error;
		if (error == -ENOENT || extent.file_block > *start) {
			*ret_end = error == -ENOENT ? end : min_u64(end, extent.file_block);
			return 0;
		}
		*start = min_u64(end, extent.file_block + extent.length);
		(*rank)++;
	}
	*ret_end = end;
	return 0;
}

/* -ENOSPC if the holes of the range cannot fit: so that a hopeless request does not take all free blocks for a while.
 */
static int check_space(struct fs *fs, const struct fs_inode *file, uint64_t start, uint64_t end)
{
	struct alloc_stats stats;
	uint64_t missing = 0;
	uint64_t rank = 0;

	while (start < end) {
		uint64_t hole_end;
		int error = next_hole(fs, file, &start, end, &rank, &hole_end);

		if (error != 0)
			return error;
		missing += hole_end - start;
		start = hole_end;
	}
	alloc_stats(fs->alloc, &stats);
	return missing > stats.free ? -ENOSPC : 0;
}

static int fill_range(struct fs *fs, const struct fs_inode *file, uint64_t start, uint64_t end,
		      struct fs_fillings *fillings)
{
	unsigned flags = fs_alloc_flags(max_u64(file->media->size, fs_block_byte(end)));
	uint64_t rank = 0;
	int error;

	error = check_space(fs, file, start, end);
	if (error == -ENOSPC && fs_reaper_flush(fs))
		error = check_space(fs, file, start, end);
	if (error == -ENOSPC)
		fs_log_limbo_holders(fs);
	while (start < end && error == 0) {
		uint64_t hole_end;

		error = next_hole(fs, file, &start, end, &rank, &hole_end);
		if (error != 0)
			return error;
		error = fs_fill_reserve(fs, file, start, hole_end, flags, &rank, fillings);
		start = hole_end;
	}
	return error;
}

int fs_fill_insert(struct fs *fs, struct fs_inode *file, const struct fs_fillings *fillings, unsigned flags,
		   fs_edit *edit, void *arg, size_t *index)
{
	const struct fs_filling *filling = fillings->filling;
	struct fmt_inode *inode;
	struct meta_tx *tx;
	size_t i = *index;
	int error;

	error = meta_begin(fs->meta, flags, &tx);
	if (error != 0)
		return error;
	for (; i < fillings->count && filling[i].rank - filling[*index].rank < FS_SERIES_EXTENTS && error == 0; i++)
		error = meta_extent_insert(tx, file->media, &filling[i].extent);
	if (error == 0 && i == fillings->count && edit != NULL) {
		error = meta_inode_edit(tx, file->media, &inode);
		if (error == 0)
			edit(arg, inode);
	}
	if (error != 0) {
		meta_abort(tx);
		return error;
	}
	error = meta_commit(tx);
	if (error == 0)
		*index = i;
	return error;
}

void fs_fill_end(struct fs *fs, struct fs_inode *file, struct fs_fillings *fillings, size_t first)
{
	for (size_t i = first; i < fillings->count; i++)
		(void)fs_free_blocks(fs, file, &fillings->filling[i].extent);
	free(fillings->filling);
	*fillings = (struct fs_fillings){.count = 0};
}

/* Takes the first `inserted` fillings out of the file again. */
static void fillings_undo(struct fs *fs, struct fs_inode *file, const struct fs_fillings *fillings, size_t inserted)
{
	for (size_t i = 0; i < inserted; i++) {
		const struct meta_extent *extent = &fillings->filling[i].extent;
		int error = fs_unmap_blocks(fs, file, extent->file_block, extent->file_block + extent->length, NULL);

		if (error != 0)
			fs_failed(fs, error, "undoing a preallocation", file->ino);
	}
}

int fs_fill_holes(struct fs *fs, struct fs_inode *file, uint64_t start, uint64_t end, fs_edit *edit, void *arg)
{
	struct fs_fillings fillings = {.count = 0};
	size_t inserted = 0;
	int error;

	error = fill_range(fs, file, start, end, &fillings);
	while (error == 0 && inserted < fillings.count)
		error = fs_fill_insert(fs, file, &fillings, 0, edit, arg, &inserted);
	if (error == 0 && fillings.count == 0 && edit != NULL)
		error = fs_edit_inode(fs, file, edit, arg, "fallocate");
	if (error != 0)
		fillings_undo(fs, file, &fillings, inserted);
	fs_fill_end(fs, file, &fillings, inserted);
	return error == 0 ? 0 : fs_failed(fs, error, "fallocate", file->ino);
}
