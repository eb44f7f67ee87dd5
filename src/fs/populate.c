/*
 * What a pin finds: every block of its range is there, and what nobody has written is zeros in memory.
 *
 *   inside the size     holes and unwritten blocks: zeroed, durable, then mapped as written; in bounded transactions
 *   beyond the size     holes are mapped as unwritten: a crash exposes zeros, whatever the holder has stored
 *   at last             under one hold of map that lasts until the pin is taken: what is unwritten still (beyond the
 *                       size, or the size has grown over it) is zeroed, so that no other holder came between
 *
 * A counted block is never zeroed: it was when its holder got it, and may hold its stores. New counts need map, shared
 * at least (pin.c takes the pin under it), so an answer that was got under map exclusive holds until map is dropped.
 *
 * If space ends in the middle, what was added stays: zeros in what were holes, which nobody can tell from them.
 */
#include "fs/pinning.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define STEP_BLOCKS 1024u /* 4 MiB are zeroed under one hold of map */
#define STEP_RUNS FS_SERIES_EXTENTS

struct piece {
	struct meta_extent extent; /* as it is to become */
	bool fresh; /* reserved, not in the file yet */
};

/* One hold of map exclusive: what it adds or marks, in one transaction. */
struct populate {
	struct fs *fs;
	struct fs_inode *file;
	uint64_t inside; /* the first block beyond the size */
	uint64_t last;
	uint64_t blocks; /* of all pieces */
	size_t count;
	struct piece piece[STEP_RUNS];
};

static bool is_full(const struct populate *step)
{
	return step->count == STEP_RUNS || step->blocks >= STEP_BLOCKS;
}

static void add_piece(struct populate *step, uint64_t file_block, uint64_t phys, uint64_t length, bool fresh)
{
	assert(!is_full(step));
	step->piece[step->count++] = (struct piece){
		.extent =
			{
				.file_block = file_block,
				.phys = phys,
				.length = (uint32_t)length,
				.unwritten = file_block >= step->inside,
			},
		.fresh = fresh,
	};
	step->blocks += length;
}

/* The first run in [phys, +length) that no pin counts; *ret_length 0: none, and *ret_phys is where the range ends. */
static void find_uncounted(struct fs *fs, uint64_t phys, uint64_t length, uint64_t *ret_phys, uint64_t *ret_length)
{
	*ret_phys = phys;
	*ret_length = length;
	if (pin_any(fs->pins))
		(void)pin_find_idle(fs->pins, phys, length, ret_phys, ret_length);
}

/* ---- Steps ---- */

/* An unwritten extent from *block on: pieces of what is inside the size and not counted. */
static void plan_unwritten(struct populate *step, const struct meta_extent *extent, uint64_t *block)
{
	uint64_t end = min_u64(extent->file_block + extent->length, min_u64(step->last, step->inside));

	/* What lies beyond the size is for the end. */
	if (*block >= end) {
		*block = min_u64(extent->file_block + extent->length, step->last);
		return;
	}
	end = min_u64(end, *block + STEP_BLOCKS - step->blocks);
	while (*block < end && !is_full(step)) {
		uint64_t phys = extent->phys + (*block - extent->file_block);
		uint64_t run, length;

		find_uncounted(step->fs, phys, end - *block, &run, &length);
		*block += run - phys;
		if (length > 0)
			add_piece(step, *block, run, length, false);
		*block += length;
	}
}

static int plan_hole(struct populate *step, uint64_t end, uint64_t *block)
{
	struct alloc_run runs[STEP_RUNS];
	unsigned flags = fs_alloc_flags(max_u64(step->file->media->size, fs_block_byte(step->last)));
	uint64_t goal = fs_goal(step->fs, step->file, *block);
	size_t count;
	int error;

	if (*block < step->inside)
		end = min_u64(end, step->inside);
	end = min_u64(end, *block + STEP_BLOCKS - step->blocks);
	error = fs_take_blocks(step->fs, end - *block, goal, flags, runs, STEP_RUNS - step->count, &count);
	if (error != 0)
		return error;
	for (size_t i = 0; i < count; i++) {
		add_piece(step, *block, runs[i].phys, runs[i].length, true);
		*block += runs[i].length;
	}
	return 0;
}

/* Map is held exclusive. *block becomes where the next step goes on. */
static int plan(struct populate *step, uint64_t *block)
{
	int error = 0;

	while (error == 0 && *block < step->last && !is_full(step)) {
		struct meta_extent extent;

		error = meta_extent_find(step->fs->meta, step->file->media, *block, &extent);
		if (error == -ENOENT)
			error = plan_hole(step, step->last, block);
		else if (error == 0 && extent.file_block > *block)
			error = plan_hole(step, min_u64(step->last, extent.file_block), block);
		else if (error == 0 && extent.unwritten)
			plan_unwritten(step, &extent, block);
		else if (error == 0)
			*block = min_u64(step->last, extent.file_block + extent.length);
	}
	/* What there was goes first. */
	return error == -ENOSPC && step->count > 0 ? 0 : error;
}

/* Zeroes blocks; durable after the drain of *drain, which is the part of the last ones. */
static int zero_run(struct fs *fs, uint64_t ino, uint64_t phys, uint64_t length, struct region_part **drain)
{
	struct region_part *part;
	unsigned char *address = fs_block_address(fs, phys, length, &part);
	size_t bytes = (size_t)length << FMT_BLOCK_SHIFT;

	if (address == NULL)
		return -EUCLEAN;
	if (*drain != NULL && *drain != part)
		region_drain(*drain);
	*drain = part;
	region_zero(part, address, bytes);
	return fs_lost(fs, ino, address, bytes, region_flush(part, address, bytes));
}

static int zero_pieces(const struct populate *step)
{
	struct region_part *drain = NULL;
	int error = 0;

	for (size_t i = 0; i < step->count && error == 0; i++) {
		const struct meta_extent *extent = &step->piece[i].extent;

		if (!extent->unwritten)
			error = zero_run(step->fs, step->file->ino, extent->phys, extent->length, &drain);
	}
	if (drain != NULL)
		region_drain(drain);
	return error;
}

static int commit_pieces(const struct populate *step)
{
	const struct fmt_inode *media = step->file->media;
	struct meta_tx *tx;
	int error = meta_begin(step->fs->meta, 0, &tx);

	if (error != 0)
		return error;
	for (size_t i = 0; i < step->count && error == 0; i++) {
		const struct meta_extent *extent = &step->piece[i].extent;

		if (step->piece[i].fresh)
			error = meta_extent_insert(tx, media, extent);
		else
			error = meta_extent_mark(tx, media, extent->file_block, extent->length, false);
	}
	if (error != 0) {
		meta_abort(tx);
		return error;
	}
	return meta_commit(tx);
}

static int run_step(struct populate *step, uint64_t *block)
{
	int error = plan(step, block);

	/* I4: zeros are durable before the extents that show them. */
	if (error == 0 && step->count > 0)
		error = zero_pieces(step);
	if (error == 0 && step->count > 0)
		error = commit_pieces(step);
	for (size_t i = 0; error != 0 && i < step->count; i++) {
		if (step->piece[i].fresh)
			(void)fs_free_blocks(step->fs, step->file, &step->piece[i].extent);
	}
	return error;
}

/* -ENOSPC if the holes cannot fit: so that a hopeless request does not take all free blocks. Map is not held. */
static int check_space(struct fs *fs, struct fs_inode *file, uint64_t first, uint64_t last)
{
	struct alloc_stats stats;
	uint64_t missing = last - first;
	int error = 0;

	lock_rw_take_shared(&file->map);
	while (error == 0 && first < last) {
		struct meta_extent extent;
		uint64_t end;

		error = meta_extent_find(fs->meta, file->media, first, &extent);
		if (error != 0 || extent.file_block >= last)
			break;
		first = max_u64(first, extent.file_block);
		end = min_u64(last, extent.file_block + extent.length);
		missing -= end - first;
		first = end;
	}
	lock_rw_drop(&file->map);
	if (error != 0 && error != -ENOENT)
		return error;
	alloc_stats(fs->alloc, &stats);
	return missing > stats.free ? -ENOSPC : 0;
}

/* Everything but what is beyond the size and unwritten. Map is not held. */
static int fill(struct fs *fs, struct fs_inode *file, uint64_t first, uint64_t last)
{
	uint64_t block = first;
	unsigned tries = 0;
	bool flushed;
	int error;

	error = check_space(fs, file, first, last);
	flushed = error == -ENOSPC;
	if (flushed && fs_reaper_flush(fs))
		error = check_space(fs, file, first, last);
	while (error == 0 && block < last) {
		struct populate step = {.fs = fs, .file = file, .last = last};
		uint64_t next = block;

		lock_rw_take_exclusive(&file->map);
		step.inside = fs_block_up(file->media->size);
		error = fs_writable(fs);
		if (error == 0)
			error = run_step(&step, &next);
		lock_rw_drop(&file->map);
		if (error == 0) {
			block = next;
		} else if (error == -ENOSPC && !flushed && fs_reaper_flush(fs)) {
			flushed = true;
			error = 0;
		} else if (error == -EHWPOISON && ++tries < FS_LOST_TRIES) {
			/* New blocks that are lost are known now: others. */
			error = 0;
		}
	}
	if (error == -ENOSPC)
		fs_log_limbo_holders(fs);
	return error == 0 ? 0 : fs_failed(fs, error, "filling holes", file->ino);
}

/* ---- The end ---- */

enum missing {
	MISSING_NOTHING,
	MISSING_ZEROS, /* something is unwritten */
	MISSING_BLOCKS, /* there are holes */
};

/* Map is held, shared at least. */
static int collect(struct fs *fs, const struct fs_inode *file, uint64_t first, uint64_t last, struct fs_extents *list,
		   enum missing *ret_missing)
{
	enum missing missing = MISSING_NOTHING;

	list->count = 0;
	while (first < last) {
		struct meta_extent extent;
		uint64_t skip, length;
		int error = meta_extent_find(fs->meta, file->media, first, &extent);

		if (error != 0 && error != -ENOENT)
			return error;
		if (error == -ENOENT || extent.file_block > first) {
			*ret_missing = MISSING_BLOCKS;
			return 0;
		}
		if (extent.unwritten)
			missing = MISSING_ZEROS;
		skip = first - extent.file_block;
		length = min_u64(extent.length - skip, last - first);
		error = fs_extents_add(list, first, extent.phys + skip, length, false);
		if (error != 0)
			return error;
		first += length;
	}
	*ret_missing = missing;
	return 0;
}

/* Zeroes what is unwritten and not counted. Map is held exclusive. */
static int zero_unwritten(struct fs *fs, const struct fs_inode *file, uint64_t first, uint64_t last)
{
	struct region_part *drain = NULL;
	int error = 0;

	while (error == 0 && first < last) {
		struct meta_extent extent;
		uint64_t end, phys, run, length;

		error = meta_extent_find(fs->meta, file->media, first, &extent);
		if (error != 0)
			break;
		first = max_u64(first, extent.file_block);
		end = min_u64(last, extent.file_block + extent.length);
		while (error == 0 && first < end) {
			phys = extent.phys + (first - extent.file_block);
			length = end - first;
			run = phys;
			if (extent.unwritten)
				find_uncounted(fs, phys, end - first, &run, &length);
			if (extent.unwritten && length > 0)
				error = zero_run(fs, file->ino, run, length, &drain);
			first += run - phys + length;
		}
	}
	if (drain != NULL)
		region_drain(drain);
	return error == -ENOENT ? 0 : error;
}

/*
 * Map is taken, shared if that is enough; dropped on an error, and if something is missing: blocks, or zeros unless
 * `filled`, when what is unwritten is to stay so.
 */
static int finish(struct fs *fs, struct fs_inode *file, uint64_t first, uint64_t last, bool filled,
		  struct fs_extents *list, enum missing *ret_missing)
{
	int error;

	lock_rw_take_shared(&file->map);
	error = collect(fs, file, first, last, list, ret_missing);
	if (error == 0 && *ret_missing == MISSING_NOTHING)
		return 0;
	lock_rw_drop(&file->map);
	if (error != 0 || *ret_missing == MISSING_BLOCKS || !filled)
		return error;
	/* What was dropped and is not reaped is still counted: it would not be zeroed. */
	(void)fs_reaper_flush(fs);
	lock_rw_take_exclusive(&file->map);
	error = zero_unwritten(fs, file, first, last);
	if (error == 0)
		error = collect(fs, file, first, last, list, ret_missing);
	if (error == 0 && *ret_missing == MISSING_ZEROS)
		*ret_missing = MISSING_NOTHING;
	if (error != 0 || *ret_missing != MISSING_NOTHING)
		lock_rw_drop(&file->map);
	return error;
}

/* Only if nothing is missing, and the map is free. */
static int look_only(struct fs *fs, struct fs_inode *file, uint64_t first, uint64_t last, struct fs_extents *list)
{
	enum missing missing;
	int error;

	if (!lock_rw_try_shared(&file->map))
		return -ERESTART;
	error = collect(fs, file, first, last, list, &missing);
	if (error == 0 && missing != MISSING_NOTHING)
		error = -ERESTART;
	if (error != 0)
		lock_rw_drop(&file->map);
	return error;
}

int fs_populate(struct fs *fs, struct fs_inode *file, uint64_t first, uint64_t last, struct fs_extents *list)
{
	enum missing missing = MISSING_NOTHING;
	bool filled = false;
	int error;

	assert(lock_held(LOCK_LAYOUT));
	if (list->most != 0) {
		error = look_only(fs, file, first, last, list);
		return error == 0 ? 0 : fs_failed(fs, error, "looking up blocks", file->ino);
	}
	for (;;) {
		error = finish(fs, file, first, last, filled, list, &missing);
		if (error != 0)
			return fs_failed(fs, error, "looking up blocks", file->ino);
		if (missing == MISSING_NOTHING)
			return 0;
		error = fill(fs, file, first, last);
		if (error != 0)
			return error;
		filled = true;
	}
}
