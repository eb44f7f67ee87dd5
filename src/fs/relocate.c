/*
 * PINFS_CONTIGUOUS: the blocks of a range are moved together. The file's bytes never change, and each transaction
 * leaves a sound file, some of it here and some of it there; a cut between two leaves the rest of the new blocks free.
 *
 *   1. nobody else may pin a block of the range: an UNMAP break after which no block may be counted
 *   2. one run of free blocks
 *   3. bytes are copied into it; what nobody has written is zeroed; durable (I4)
 *   4. from the end of the range, piece by piece: old extents out, new ones in, one transaction; then the old blocks
 *      are free (D2)
 *
 * Layout is held exclusive throughout, map for each step.
 */
#include "fs/pinning.h"

#include <assert.h>
#include <errno.h>

struct move {
	struct fs *fs;
	struct fs_inode *file;
	uint64_t first, last; /* blocks of the file */
	uint64_t inside; /* the first block beyond the size */
	struct alloc_run run; /* where they go */
};

/* ---- Is it necessary? ---- */

/* Map is held. */
static int is_contiguous(const struct move *move, bool *ret_contiguous)
{
	uint64_t block = move->first;
	uint64_t next = 0;

	while (block < move->last) {
		struct meta_extent extent;
		uint64_t phys;
		int error = meta_extent_find(move->fs->meta, move->file->media, block, &extent);

		if (error != 0 && error != -ENOENT)
			return error;
		phys = extent.phys + (block - extent.file_block);
		if (error == -ENOENT || extent.file_block > block || (block > move->first && phys != next)) {
			*ret_contiguous = false;
			return 0;
		}
		next = extent.phys + extent.length;
		block = extent.file_block + extent.length;
	}
	*ret_contiguous = true;
	return 0;
}

/* ---- Step 1 ---- */

struct own {
	uint64_t session;
	uint64_t first, last;
};

/* 1: a pin of the holder itself. */
static int see_pin(void *arg, const struct pin_info *info)
{
	const struct own *own = arg;

	return info->session == own->session && !info->dropped && info->offset >> FMT_BLOCK_SHIFT < own->last &&
	       fs_block_up(info->offset + info->length) > own->first;
}

static int pass_waiter(void *arg, const struct pin_wait_info *info)
{
	(void)arg;
	(void)info;
	return 0;
}

/* True if a pin still counts a block of the range. */
static int is_counted(const struct move *move, bool *ret_counted)
{
	uint64_t block = move->first;

	*ret_counted = false;
	while (block < move->last && !*ret_counted) {
		struct meta_extent extent;
		uint64_t end;
		int error = meta_extent_find(move->fs->meta, move->file->media, block, &extent);

		if (error == -ENOENT || (error == 0 && extent.file_block >= move->last))
			return 0;
		if (error != 0)
			return error;
		block = max_u64(block, extent.file_block);
		end = min_u64(move->last, extent.file_block + extent.length);
		*ret_counted = pin_is_counted(move->fs->pins, extent.phys + (block - extent.file_block), end - block);
		block = end;
	}
	return 0;
}

/* The waiter of the request is a break from now on. */
static void begin_break(struct fs *fs, struct fs_pin_request *request)
{
	if (request->moving)
		return;
	pin_waiter_end(fs->pins, &request->wait.pin);
	request->moving = true;
}

/* It is a pin again. Layout exclusive keeps others out until it has one. */
static void end_break(struct fs *fs, struct fs_pin_request *request)
{
	if (!request->moving)
		return;
	pin_waiter_end(fs->pins, &request->wait.pin);
	request->moving = false;
}

static int clear_pins(const struct move *move, struct fs_pin_request *request)
{
	struct fs *fs = move->fs;
	struct own own = {.session = fs_holder_session(request->holder), .first = move->first, .last = move->last};
	struct pin_waiter *waiter = (request->flags & FS_PIN_NONBLOCK) != 0 ? NULL : &request->wait.pin;
	bool counted;
	int error;

	if (!pin_any(fs->pins))
		return 0;
	error = pin_visit(fs->pins, request->ino, see_pin, pass_waiter, &own);
	if (error != 0)
		return error > 0 ? -EDEADLK : error;
	begin_break(fs, request);
	error = pin_break(fs->pins, request->ino, move->first, move->last, PIN_UNMAP, waiter);
	if (error != 0)
		return error;
	/* Whatever the policy: for this nobody loses a block. What only waits for the reaper is in nobody's way. */
	(void)fs_reaper_flush(fs);
	lock_rw_take_shared(&move->file->map);
	error = is_counted(move, &counted);
	lock_rw_drop(&move->file->map);
	return error == 0 && counted ? -EBUSY : error;
}

/* ---- Steps 2 and 3 ---- */

static int reserve(struct move *move)
{
	const uint64_t want = move->last - move->first;
	unsigned flags = fs_alloc_flags(fs_block_byte(want)) & ~ALLOC_PARTIAL;
	size_t count;
	int error;

	if (want > UINT32_MAX)
		return -ENOSPC;
	error = fs_take_blocks(move->fs, want, 0, flags, &move->run, 1, &count);
	if (error == -ENOSPC && fs_reaper_flush(move->fs))
		error = fs_take_blocks(move->fs, want, 0, flags, &move->run, 1, &count);
	return error;
}

/* Map is held: what is mapped and written, else zeros. */
static int copy(const struct move *move)
{
	uint64_t position = fs_block_byte(move->first);
	const uint64_t start = position;
	const uint64_t end = fs_block_byte(move->last);
	struct region_part *part;
	unsigned char *dest = fs_block_address(move->fs, move->run.phys, move->run.length, &part);

	if (dest == NULL)
		return -EUCLEAN;
	while (position < end) {
		struct fs_segment segment;
		int error = fs_segment_at(move->fs, move->file, position, end, &segment);

		if (error == 0 && segment.data != NULL)
			error = fs_lost_check(move->fs, segment.data, segment.end - position);
		if (error != 0)
			return error;
		if (segment.data != NULL)
			region_copy(part, dest + (position - start), segment.data, segment.end - position);
		else
			region_zero(part, dest + (position - start), segment.end - position);
		position = segment.end;
	}
	return fs_lost(move->fs, move->file->ino, dest, end - start, region_persist(part, dest, end - start));
}

/* ---- Step 4 ---- */

struct removed {
	size_t count;
	struct meta_extent extent[FS_ONCE_EXTENTS];
};

/* Takes the last pieces of [first, end) out; *ret_start is where what is out begins: all after it is out, or a hole. */
static int remove_some(const struct move *move, struct meta_tx *tx, uint64_t end, struct removed *removed,
		       uint64_t *ret_start)
{
	removed->count = 0;
	*ret_start = end;
	while (removed->count < FS_ONCE_EXTENTS) {
		struct meta_extent *extent = &removed->extent[removed->count];
		int error = meta_extent_remove_last(tx, move->file->media, move->first, end, extent);

		if (error == -ENOENT) {
			*ret_start = move->first;
			return 0;
		}
		if (error != 0)
			return error;
		*ret_start = extent->file_block;
		removed->count++;
	}
	return 0;
}

static int insert_new(const struct move *move, struct meta_tx *tx, uint64_t start, uint64_t end, bool unwritten)
{
	struct meta_extent extent = {
		.file_block = start,
		.phys = move->run.phys + (start - move->first),
		.length = (uint32_t)(end - start),
		.unwritten = unwritten,
	};

	return start < end ? meta_extent_insert(tx, move->file->media, &extent) : 0;
}

/* One transaction; *end becomes where the next one ends. */
static int swap_some(const struct move *move, uint64_t *end)
{
	const uint64_t inside = max_u64(move->inside, move->first);
	struct removed removed;
	struct meta_tx *tx;
	uint64_t start;
	int error = meta_begin(move->fs->meta, 0, &tx);

	if (error != 0)
		return error;
	error = remove_some(move, tx, *end, &removed, &start);
	/* Beyond the size all is unwritten on media, until a commit. */
	if (error == 0)
		error = insert_new(move, tx, max_u64(start, inside), *end, true);
	if (error == 0)
		error = insert_new(move, tx, start, min_u64(*end, inside), false);
	if (error != 0) {
		meta_abort(tx);
		return error;
	}
	error = meta_commit(tx);
	if (error != 0)
		return error;
	for (size_t i = 0; i < removed.count; i++) {
		int again = fs_free_blocks(move->fs, move->file, &removed.extent[i]);

		if (error == 0)
			error = again;
	}
	*end = start;
	return error;
}

/* Map is held exclusive. */
static int move_blocks(struct move *move)
{
	uint64_t end = move->last;
	int error;

	error = copy(move);
	while (error == 0 && end > move->first)
		error = swap_some(move, &end);
	/* What has not moved does not need its new place. */
	if (end > move->first) {
		struct meta_extent unused = {.phys = move->run.phys, .length = (uint32_t)(end - move->first)};

		(void)fs_free_blocks(move->fs, move->file, &unused);
	}
	return error == 0 ? 0 : fs_failed(move->fs, error, "moving blocks together", move->file->ino);
}

int fs_relocate(struct fs *fs, struct fs_inode *file, uint64_t first, uint64_t last, struct fs_pin_request *request)
{
	struct move move = {.fs = fs, .file = file, .first = first, .last = last};
	bool contiguous;
	int error;

	assert(lock_held(LOCK_LAYOUT));
	lock_rw_take_shared(&file->map);
	error = is_contiguous(&move, &contiguous);
	lock_rw_drop(&file->map);
	if (error == 0 && !contiguous)
		error = fs_writable(fs);
	if (error == 0 && !contiguous)
		error = clear_pins(&move, request);
	if (error != 0)
		return error;
	end_break(fs, request);
	if (contiguous)
		return 0;
	error = reserve(&move);
	if (error != 0)
		return error;
	lock_rw_take_exclusive(&file->map);
	move.inside = fs_block_up(file->media->size);
	error = move_blocks(&move);
	lock_rw_drop(&file->map);
	return error;
}
