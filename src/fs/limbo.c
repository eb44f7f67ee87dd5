/*
 * Taking blocks out of a file: the one way by which extents leave a file's map, whoever asks (truncate, punch, zero
 * range, eviction, recovery). Blocks that a pin counts go to limbo in the transaction that unmaps them; the others go
 * back to the allocator after it.
 *
 *   tried without LOCK_LIMBO --nothing counted--------------------> committed --> blocks freed
 *             |                                                       ^
 *             +--counted: undone, LOCK_LIMBO taken, tried again-------+ --> pins told (pin_detached), others freed
 *
 * Layout is held exclusive: no pin of the file's blocks can be granted. What is not counted stays so until it is freed;
 * what is counted may become idle meanwhile: it goes to limbo all the same, and the reaper fetches it there.
 */
#include "fs/data.h"

#include <assert.h>
#include <errno.h>

bool fs_is_counted(struct fs *fs, uint64_t phys, uint64_t length)
{
	if (!pin_any(fs->pins) || !pin_is_counted(fs->pins, phys, length))
		return false;
	/* Maybe only until the reaper has come by. */
	(void)fs_reaper_flush(fs);
	return pin_is_counted(fs->pins, phys, length);
}

/* How many runs of the extent are counted, and `found` of them, as far as there is room; -E2BIG: not enough. */
static int counted_runs(struct fs *fs, const struct meta_extent *extent, struct meta_extent *found, size_t room,
			size_t *ret_count)
{
	const uint64_t end = extent->phys + extent->length;
	uint64_t phys = extent->phys;
	size_t count = 0;

	while (phys < end) {
		uint64_t first, length;
		int error = pin_counted(fs->pins, phys, end - phys, &first, &length);

		if (error == -ENOENT)
			break;
		if (error != 0)
			return error;
		if (count == room)
			return -E2BIG;
		found[count++] = (struct meta_extent){
			.file_block = extent->file_block + (first - extent->phys),
			.phys = first,
			.length = (uint32_t)length,
		};
		phys = first + length;
	}
	*ret_count = count;
	return 0;
}

/* The extent has more counted runs than there is room for: tells from which block of the file on it has not. */
static int find_room(struct fs_removal *removal, const struct meta_extent *extent)
{
	struct meta_extent *found = &removal->run[removal->runs];
	size_t room = FS_SERIES_EXTENTS - removal->runs;
	struct meta_extent tail = *extent;
	size_t count;
	int error = -E2BIG;

	while (error == -E2BIG && tail.length > 0) {
		uint32_t less = tail.length - tail.length / 2;

		tail.file_block += less;
		tail.phys += less;
		tail.length -= less;
		error = counted_runs(removal->fs, &tail, found, room, &count);
	}
	if (error != 0 && error != -E2BIG)
		return error;
	removal->fits = tail.file_block;
	return -E2BIG;
}

/* Looks for what of an extent that was taken out is counted, and adds it to limbo. */
static int add_to_limbo(struct fs_removal *removal, struct meta_tx *tx, const struct meta_extent *extent)
{
	struct meta_extent *found = &removal->run[removal->runs];
	size_t count;
	int error;

	error = counted_runs(removal->fs, extent, found, FS_SERIES_EXTENTS - removal->runs, &count);
	if (error == -E2BIG)
		return find_room(removal, extent);
	if (error != 0)
		return error;
	if (count > 0 && !removal->limbo)
		return -EAGAIN;
	for (size_t i = 0; i < count && error == 0; i++)
		error = meta_limbo_add(tx, found[i].phys, found[i].length);
	removal->runs += count;
	return error;
}

int fs_removal_take(struct fs_removal *removal, struct meta_tx *tx, uint64_t start, uint64_t end)
{
	struct meta_extent *extent = &removal->extent[removal->count];
	int error;

	assert(removal->count < FS_SERIES_EXTENTS);
	error = meta_extent_remove_last(tx, removal->file->media, start, end, extent);
	if (error == 0 && pin_any(removal->fs->pins))
		error = add_to_limbo(removal, tx, extent);
	if (error == 0)
		removal->count++;
	return error;
}

static int run_once(struct fs_removal *removal, fs_removal_body *body, void *arg)
{
	const bool limbo = removal->limbo;
	struct meta_tx *tx;
	int error;

	removal->count = 0;
	removal->runs = 0;
	if (limbo)
		lock_mutex_take(&removal->fs->limbo);
	error = meta_begin(removal->fs->meta, META_TX_RESERVE, &tx);
	if (error != 0)
		goto drop;
	error = body(removal, tx, arg);
	if (error == 0)
		error = meta_commit(tx);
	else
		meta_abort(tx);
drop:
	if (limbo)
		lock_mutex_drop(&removal->fs->limbo);
	return error;
}

/* What follows the commit for one extent, whose counted runs are run[0..count). */
static void extent_end(struct fs_removal *removal, const struct meta_extent *extent, const struct meta_extent *run,
		       size_t count)
{
	const uint64_t end = extent->phys + extent->length;
	uint64_t phys = extent->phys;

	for (size_t i = 0; i <= count; i++) {
		struct meta_extent idle = {.phys = phys};

		idle.length = (uint32_t)((i < count ? run[i].phys : end) - phys);
		if (idle.length > 0)
			(void)fs_free_blocks(removal->fs, removal->file, &idle);
		if (i < count) {
			pin_detached(removal->fs->pins, removal->file->ino, run[i].file_block, run[i].phys,
				     run[i].length);
			phys = run[i].phys + run[i].length;
		}
	}
}

/*
 * I: freed blocks are reused only after the transaction that unmapped them is durable. It is: what the allocator
 * refuses is a bug that has been recorded, and fails nothing any more.
 */
static void removal_end(struct fs_removal *removal)
{
	size_t run = 0;

	for (size_t i = 0; i < removal->count; i++) {
		const struct meta_extent *extent = &removal->extent[i];
		size_t first = run;

		/* Runs are in the order of the extents that they are of. */
		while (run < removal->runs && removal->run[run].file_block >= extent->file_block &&
		       removal->run[run].file_block < extent->file_block + extent->length)
			run++;
		extent_end(removal, extent, &removal->run[first], run - first);
	}
	assert(run == removal->runs);
}

int fs_remove(struct fs_removal *removal, fs_removal_body *body, void *arg)
{
	int error;

	assert(lock_held(LOCK_LAYOUT) && lock_held(LOCK_MAP));
	error = run_once(removal, body, arg);
	if (error == -EAGAIN && !removal->limbo) {
		removal->limbo = true;
		error = run_once(removal, body, arg);
	}
	if (error == 0)
		removal_end(removal);
	return error;
}
