/* What a file reads as, from its extents: the one place that turns extents into memory. */
#include "fs/data.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#define BIG_FILE (2ull << 20) /* bytes from which a file wants 2 MiB runs */

unsigned char *fs_block_address(struct fs *fs, uint64_t phys, uint64_t length, struct region_part **ret_part)
{
	uint32_t number = fmt_phys_part(phys);
	uint64_t block = fmt_phys_block(phys);
	struct region_part *part;
	uint64_t end;

	if (number >= fs->parts)
		return NULL;
	part = fs->part[number];
	end = part->blocks - 1; /* the header's copy */
	if (block < 1 || block >= end || length > end - block)
		return NULL;
	*ret_part = part;
	return region_block(part, block);
}

/* An intent that is set and not carried out yet (after a crash on a read-only mount, after a failure) reads as zeros.
 */
static bool clip_to_intent(const struct fmt_inode *media, uint64_t position, uint64_t *limit)
{
	if (!(media->flags & FMT_INODE_INTENT) || position >= media->intent_end)
		return false;
	if (position < media->intent_start) {
		*limit = min_u64(*limit, media->intent_start);
		return false;
	}
	*limit = min_u64(*limit, media->intent_end);
	return true;
}

static int segment_of_extent(struct fs *fs, const struct meta_extent *extent, struct fs_segment *segment)
{
	uint64_t from = fs_block_byte(extent->file_block);
	unsigned char *address;

	segment->end = min_u64(segment->end, fs_block_byte(extent->file_block + extent->length));
	if (extent->unwritten)
		return 0;
	address = fs_block_address(fs, extent->phys, extent->length, &segment->part);
	if (address == NULL)
		return -EUCLEAN;
	segment->data = address + (segment->start - from);
	return 0;
}

int fs_segment_at(struct fs *fs, const struct fs_inode *file, uint64_t position, uint64_t limit,
		  struct fs_segment *ret_segment)
{
	struct fs_segment segment = {.start = position};
	struct meta_extent extent;
	bool taken_out;
	int error;

	assert(position < limit);
	taken_out = clip_to_intent(file->media, position, &limit);
	segment.end = limit;
	if (!taken_out) {
		error = meta_extent_find(fs->meta, file->media, position >> FMT_BLOCK_SHIFT, &extent);
		if (error != 0 && error != -ENOENT)
			return error;
		if (error == 0 && fs_block_byte(extent.file_block) > position) {
			segment.end = min_u64(limit, fs_block_byte(extent.file_block));
		} else if (error == 0) {
			error = segment_of_extent(fs, &extent, &segment);
			if (error != 0)
				return error;
		}
	}
	*ret_segment = segment;
	return 0;
}

int fs_gather(struct fs *fs, const struct fs_inode *file, uint64_t position, uint64_t end, struct iovec *iov,
	      size_t capacity, size_t *ret_count, size_t *ret_length)
{
	uint64_t start = position;
	size_t count = 0;

	while (position < end && count < capacity) {
		struct fs_segment segment;
		int error = fs_segment_at(fs, file, position, end, &segment);

		if (error != 0)
			return error;
		if (segment.data == NULL) {
			segment.data = fs->zeros;
			segment.end = min_u64(segment.end, position + FS_ZEROS_SIZE);
		}
		iov[count].iov_base = segment.data;
		iov[count].iov_len = segment.end - position;
		count++;
		position = segment.end;
	}
	*ret_count = count;
	*ret_length = position - start;
	return 0;
}

int fs_reads_zero(struct fs *fs, const struct fs_inode *file, uint64_t start, uint64_t end, bool *ret_zero)
{
	bool zero = true;

	while (start < end && zero) {
		struct fs_segment segment;
		int error = fs_segment_at(fs, file, start, end, &segment);

		if (error != 0)
			return error;
		if (segment.data != NULL)
			error = region_is_zero(segment.part, segment.data, segment.end - start, &zero);
		/* What is lost reads as nothing: whoever wants it to be zeros may try, and is told then. */
		if (error == -EHWPOISON)
			zero = false;
		start = segment.end;
	}
	*ret_zero = zero;
	return 0;
}

uint64_t fs_goal(struct fs *fs, const struct fs_inode *file, uint64_t block)
{
	struct meta_extent before;

	/* Damage shows elsewhere: this is only a wish. */
	if (block == 0 || meta_extent_find(fs->meta, file->media, block - 1, &before) != 0 ||
	    before.file_block >= block)
		return 0;
	return before.phys + (block - before.file_block);
}

unsigned fs_alloc_flags(uint64_t size)
{
	return ALLOC_PARTIAL | (size >= BIG_FILE ? ALLOC_BIG : 0);
}

int fs_reserve_blocks(struct fs *fs, uint64_t want, uint64_t goal, unsigned flags, struct alloc_run *runs,
		      size_t capacity, size_t *ret_count)
{
	int error = fs_take_blocks(fs, want, goal, flags, runs, capacity, ret_count);

	if (error == -ENOSPC && fs_reaper_flush(fs))
		error = fs_take_blocks(fs, want, goal, flags, runs, capacity, ret_count);
	if (error == -ENOSPC)
		fs_log_limbo_holders(fs);
	return error;
}

int fs_free_blocks(struct fs *fs, const struct fs_inode *file, const struct meta_extent *extent)
{
	int error;

	if (pin_any(fs->pins) && pin_is_counted(fs->pins, extent->phys, extent->length)) {
		pin_canary(fs->pins);
		log_error("%s: freeing %" PRIu32 " blocks at %" PRIu64 " of part %" PRIu32 ", of inode %" PRIu64
			  ", refused: somebody has pinned them. This is a bug: please report it; they are out of use "
			  "until the next mount",
			  fs->meta_path, extent->length, fmt_phys_block(extent->phys), fmt_phys_part(extent->phys),
			  file->ino);
		return 0;
	}
	error = fs_release_blocks(fs, extent->phys, extent->length);
	return error == 0 ? 0 : fs_failed(fs, error, "freeing blocks", file->ino);
}
