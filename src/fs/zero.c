/* Zeroing in place. */
#include "fs/data.h"

#include <assert.h>
#include <errno.h>

static int zero_extent(struct fs *fs, const struct meta_extent *extent, uint64_t start, uint64_t end)
{
	uint64_t from = fs_block_byte(extent->file_block);
	struct region_part *part;
	unsigned char *address = fs_block_address(fs, extent->phys, extent->length, &part);

	if (address == NULL)
		return -EUCLEAN;
	start = max_u64(start, from);
	end = min_u64(end, fs_block_byte(extent->file_block + extent->length));
	address += start - from;
	region_zero(part, address, end - start);
	return region_persist(part, address, end - start);
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
			error = zero_extent(fs, &extent, start, end);
			if (error != 0)
				return error;
		}
		start = fs_block_byte(extent.file_block + extent.length);
	}
	return 0;
}
