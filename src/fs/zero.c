/* Zeroing in place. */
#include "fs/data.h"

#include <assert.h>
#include <errno.h>

/* Block by block: what is lost is left alone, and still tells so when it is read. */
static int zero_around_lost(struct fs *fs, const struct region_part *part, unsigned char *address, uint64_t length)
{
	int error = 0;

	while (error == 0 && length > 0) {
		uint64_t step = min_u64(length, FMT_BLOCK_SIZE - (uintptr_t)address % FMT_BLOCK_SIZE);

		if (fs_lost_check(fs, address, step) == 0) {
			region_zero(part, address, step);
			error = region_persist(part, address, step);
		}
		address += step;
		length -= step;
	}
	return error == -EHWPOISON ? 0 : error;
}

/* Lost memory shows nothing of what it held, whoever reads there gets EIO: as good as zeros. */
static int zero_extent(struct fs *fs, const struct fs_inode *file, const struct meta_extent *extent, uint64_t start,
		       uint64_t end)
{
	uint64_t from = fs_block_byte(extent->file_block);
	struct region_part *part;
	unsigned char *address = fs_block_address(fs, extent->phys, extent->length, &part);
	int error;

	if (address == NULL)
		return -EUCLEAN;
	start = max_u64(start, from);
	end = min_u64(end, fs_block_byte(extent->file_block + extent->length));
	address += start - from;
	if (fs_lost_check(fs, address, end - start) != 0)
		return zero_around_lost(fs, part, address, end - start);
	region_zero(part, address, end - start);
	error = fs_lost(fs, file->ino, address, end - start, region_persist(part, address, end - start));
	/* It stopped there: what follows is still to be zeroed. */
	return error == -EHWPOISON ? zero_around_lost(fs, part, address, end - start) : error;
}

int fs_zero_range(struct fs *fs, struct fs_inode *file, uint64_t start, uint64_t end)
{
	/* The raw extents, not segments: what an intent takes out reads as zeros already, and is zeroed here. */
	while (start < end) {
		struct meta_extent extent;
		int error = meta_extent_find(fs->meta, file->media, start >> FMT_BLOCK_SHIFT, &extent);

		if (error == -ENOENT)
			return 0;
		if (error != 0)
			return error;
		if (fs_block_byte(extent.file_block) >= end)
			return 0;
		if (!extent.unwritten) {
			error = zero_extent(fs, file, &extent, start, end);
			if (error != 0)
				return error;
		}
		start = fs_block_byte(extent.file_block + extent.length);
	}
	return 0;
}

int fs_zero_idle(struct fs *fs, struct fs_inode *file, uint64_t start, uint64_t end)
{
	uint64_t block = start >> FMT_BLOCK_SHIFT;
	struct meta_extent extent;
	int error;

	assert(lock_held(LOCK_MAP));
	if (start >= end)
		return 0;
	assert(block == (end - 1) >> FMT_BLOCK_SHIFT);
	error = meta_extent_find(fs->meta, file->media, block, &extent);
	if (error != 0)
		return error == -ENOENT ? 0 : error;
	/* A new count needs map: what is idle now stays so. */
	if (extent.file_block > block || extent.unwritten ||
	    fs_is_counted(fs, extent.phys + (block - extent.file_block), 1))
		return 0;
	return zero_extent(fs, file, &extent, start, end);
}
