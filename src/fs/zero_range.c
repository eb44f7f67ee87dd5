/*
 * Zero range: whole blocks are marked unwritten, edges are zeroed; what is not mapped is preallocated first.
 *
 * Blocks of the range that a pin counts may not be marked: their holder would still have them, and they the file. They
 * leave the file for limbo, and others, unwritten, take their place: reserved before anything is changed. Where counted
 * runs end extents are split: two more records for each run, and those that fill it.
 */
#include "fs/fill.h"

#include <errno.h>

#define RECORDS_PER_PAGE 64u /* a page of a map that has been split has more */
#define PAGES_SPARE 16u /* for nodes above, and for others who take pages at the same time */

static void clear_edit(void *arg, struct fmt_inode *inode)
{
	(void)arg;
	fs_intent_clear(inode);
}

/* Written extents, clipped to a range. */
struct written {
	size_t count;
	struct meta_extent extent[FS_SERIES_EXTENTS];
};

/* Those of blocks [*block, end), as far as FS_SERIES_EXTENTS go; *block becomes where to go on, `end` at last. */
static int collect_written(struct fs *fs, const struct fs_inode *file, uint64_t *block, uint64_t end,
			   struct written *written)
{
	written->count = 0;
	for (size_t i = 0; i < FS_SERIES_EXTENTS && *block < end; i++) {
		struct meta_extent extent;
		uint64_t start;
		int error = meta_extent_find(fs->meta, file->media, *block, &extent);

		if (error != 0 && error != -ENOENT)
			return error;
		if (error == -ENOENT || extent.file_block >= end) {
			*block = end;
			return 0;
		}
		start = max_u64(*block, extent.file_block);
		*block = min_u64(end, extent.file_block + extent.length);
		if (extent.unwritten)
			continue;
		extent.file_block = start;
		extent.length = (uint32_t)(*block - start);
		written->extent[written->count++] = extent;
	}
	return 0;
}

/* One transaction: what was collected becomes unwritten; `edit` (may be NULL) joins. Only the ends may split. */
static int mark_unwritten(struct fs *fs, struct fs_inode *file, const struct written *written, fs_edit *edit, void *arg)
{
	struct fmt_inode *inode;
	struct meta_tx *tx;
	int error;

	error = meta_begin(fs->meta, META_TX_RESERVE, &tx);
	if (error != 0)
		return error;
	for (size_t i = 0; i < written->count && error == 0; i++)
		error = meta_extent_mark(tx, file->media, written->extent[i].file_block, written->extent[i].length,
					 true);
	if (error == 0 && edit != NULL) {
		error = meta_inode_edit(tx, file->media, &inode);
		if (error == 0)
			edit(arg, inode);
	}
	if (error != 0) {
		meta_abort(tx);
		return error;
	}
	return meta_commit(tx);
}

/* For the counted runs of one extent. */
static int replacements_reserve(struct fs *fs, const struct fs_inode *file, const struct meta_extent *extent,
				uint64_t *rank, struct fs_fillings *fillings)
{
	unsigned flags = fs_alloc_flags(file->media->size);
	const uint64_t end = extent->phys + extent->length;
	uint64_t phys = extent->phys;

	while (phys < end) {
		uint64_t run, length, block;
		int error = pin_counted(fs->pins, phys, end - phys, &run, &length);

		if (error == -ENOENT)
			return 0;
		if (error != 0)
			return error;
		block = extent->file_block + (run - extent->phys);
		error = fs_fill_reserve(fs, file, block, block + length, flags, rank, fillings);
		if (error != 0)
			return error;
		*rank += 2;
		phys = run + length;
	}
	return 0;
}

static int replacements_plan(struct fs *fs, const struct fs_inode *file, const struct fs_hole *hole,
			     struct fs_fillings *fillings)
{
	uint64_t block = hole->first;
	uint64_t rank = 0;
	bool flushed = false;

	while (block < hole->last && pin_any(fs->pins)) {
		struct meta_extent extent;
		uint64_t start;
		int error = meta_extent_find(fs->meta, file->media, block, &extent);

		if (error != 0 && error != -ENOENT)
			return error;
		if (error == -ENOENT || extent.file_block >= hole->last)
			return 0;
		start = max_u64(block, extent.file_block);
		block = min_u64(hole->last, extent.file_block + extent.length);
		extent.phys += start - extent.file_block;
		extent.file_block = start;
		extent.length = (uint32_t)(block - start);
		/* Once for the range: what was unpinned needs no replacement after that. */
		if (!flushed && pin_is_counted(fs->pins, extent.phys, extent.length)) {
			(void)fs_reaper_flush(fs);
			flushed = true;
		}
		error = replacements_reserve(fs, file, &extent, &rank, fillings);
		if (error != 0)
			return error;
		rank++;
	}
	return 0;
}

/* Enough pages for the records that replacements add, as far as one can tell; else -ENOSPC. */
static int replacements_fit(struct fs *fs, const struct fs_fillings *fillings)
{
	struct meta_space space;

	meta_space(fs->meta, &space);
	return space.pages_free > 3 * fillings->count / RECORDS_PER_PAGE + PAGES_SPARE ? 0 : -ENOSPC;
}

/* Under the intent: the replaced blocks go, those that the pins still count to limbo. */
static int replaced_unmap(struct fs *fs, struct fs_inode *file, const struct fs_fillings *fillings)
{
	const struct fs_filling *filling = fillings->filling;
	size_t i = 0;
	int error = 0;

	while (error == 0 && i < fillings->count) {
		uint64_t start = filling[i].extent.file_block;
		uint64_t end = start;

		while (i < fillings->count && filling[i].extent.file_block == end)
			end += filling[i++].extent.length;
		error = fs_unmap_blocks(fs, file, start, end, NULL);
	}
	return error;
}

/*
 * Under the intent. If records find no room, against expectation, the rest of the replacements is given back: the range
 * has holes then, which read as the same zeros.
 */
static int replace_counted(struct fs *fs, struct fs_inode *file, const struct fs_fillings *fillings, size_t *inserted)
{
	int error = replaced_unmap(fs, file, fillings);

	while (error == 0 && *inserted < fillings->count)
		error = fs_fill_insert(fs, file, fillings, META_TX_RESERVE, NULL, NULL, inserted);
	return error == -ENOSPC ? 0 : error;
}

/* The intent is set: if a crash comes in between, the next mount frees the range rather than mark it. Same zeros. */
static int mark_series(struct fs *fs, struct fs_inode *file, const struct fs_hole *hole)
{
	uint64_t block = hole->first;
	bool done = false;
	int error = 0;

	while (error == 0 && !done) {
		struct written written;

		error = collect_written(fs, file, &block, hole->last, &written);
		if (error != 0)
			return error;
		done = block >= hole->last;
		error = mark_unwritten(fs, file, &written, done ? clear_edit : NULL, NULL);
	}
	return error;
}

static int zero_by_intent(struct fs *fs, struct fs_inode *file, uint64_t start, uint64_t end, uint64_t size,
			  const struct fs_fillings *replacements, size_t *inserted)
{
	struct fs_hole hole = fs_hole_of(start, end);
	/* All that is seen of it happens here: the zeros, the size, the times. */
	int error = fs_intent_set(fs, file, start, end, fs_grow_edit, &size);

	if (error != 0)
		return error;
	error = fs_hole_zero_edges(fs, file, &hole);
	if (error == 0)
		error = replace_counted(fs, file, replacements, inserted);
	if (error == 0)
		error = mark_series(fs, file, &hole);
	return error == 0 ? 0 : fs_intent_failed(fs, file, error);
}

/* Everything that needs space has it. No edge is counted; of whole blocks only those that have replacements. */
static int zero_prepared(struct fs *fs, struct fs_inode *file, uint64_t start, uint64_t end, uint64_t size,
			 const struct fs_fillings *replacements, size_t *inserted)
{
	struct fs_hole hole = fs_hole_of(start, end);
	uint64_t block = hole.first;
	struct written written;
	bool once;
	int error;

	error = fs_zero_gap(fs, file, size);
	if (error != 0)
		return error;
	error = fs_hole_edges_zero(fs, file, &hole, &once);
	if (error == 0)
		error = collect_written(fs, file, &block, hole.last, &written);
	if (error != 0)
		return fs_failed(fs, error, "fallocate", file->ino);
	if (once && block >= hole.last && written.count <= FS_ONCE_EXTENTS && replacements->count == 0) {
		error = mark_unwritten(fs, file, &written, fs_grow_edit, &size);
		return error == 0 ? 0 : fs_failed(fs, error, "fallocate", file->ino);
	}
	return zero_by_intent(fs, file, start, end, size, replacements, inserted);
}

int fs_zero_blocks(struct fs *fs, struct fs_inode *file, uint64_t start, uint64_t end, uint64_t size)
{
	struct fs_hole hole = fs_hole_of(start, end);
	struct fs_fillings replacements = {.count = 0};
	size_t inserted = 0;
	int error;

	if (!fs_has_pages(fs))
		return -ENOSPC;
	/* What needs space comes first and changes nothing that anybody sees. */
	error = fs_fill_holes(fs, file, start >> FMT_BLOCK_SHIFT, fs_block_up(end), NULL, NULL);
	if (error != 0)
		return error;
	error = replacements_plan(fs, file, &hole, &replacements);
	if (error == 0 && replacements.count > 0)
		error = replacements_fit(fs, &replacements);
	if (error == 0)
		error = fs_edges_detach(fs, file, &hole);
	error = fs_failed(fs, error, "fallocate", file->ino);
	if (error == 0)
		error = zero_prepared(fs, file, start, end, size, &replacements, &inserted);
	/* What is in the file by now stays there, also after a failure in the middle of the series. */
	fs_fill_end(fs, file, &replacements, inserted);
	return error;
}
