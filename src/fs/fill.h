/* Blocks for holes: what preallocation (fill.c) and zero range (zero_range.c) share. */
#ifndef PINFS_FS_FILL_H
#define PINFS_FS_FILL_H

#include "fs/data.h"

/* Blocks for a hole of the file, or for a part of one. */
struct fs_filling {
	struct meta_extent extent;
	uint64_t rank; /* extents of the range before it, fillings included: near ranks are near in the map */
};

struct fs_fillings {
	struct fs_filling *filling;
	size_t count;
	size_t capacity;
};

/*
 * Reserves all blocks of the hole [block, end), or of what is to become one; raises *rank by the fillings. What is in
 * `fillings` on an error is the caller's to cancel.
 */
int fs_fill_reserve(struct fs *fs, const struct fs_inode *file, uint64_t block, uint64_t end, unsigned flags,
		    uint64_t *rank, struct fs_fillings *fillings);
/* One transaction: fillings from *index on, FS_SERIES_EXTENTS of the file at most; `edit` joins the last one. */
int fs_fill_insert(struct fs *fs, struct fs_inode *file, const struct fs_fillings *fillings, unsigned flags,
		   fs_edit *edit, void *arg, size_t *index);
/* Gives back the blocks of the fillings from `first` on, and the memory of all. */
void fs_fill_end(struct fs *fs, struct fs_inode *file, struct fs_fillings *fillings, size_t first);
/*
 * Maps the holes of blocks [start, end) as unwritten; `edit` (may be NULL) joins the last transaction. The caller holds
 * map exclusive throughout, so that nobody has seen or used the blocks that an error takes back.
 */
int fs_fill_holes(struct fs *fs, struct fs_inode *file, uint64_t start, uint64_t end, fs_edit *edit, void *arg);

/* fallocate.c: edits. arg: the least size, in bytes. */
void fs_grow_edit(void *arg, struct fmt_inode *inode);
/* fallocate.c: who grows the size to `size` zeroes the gap behind the old end (D4), pinned or not. */
int fs_zero_gap(struct fs *fs, struct fs_inode *file, uint64_t size);
/*
 * zero_range.c: bytes [start, end) become zeros, their blocks stay, the size grows to `size` at least. Layout and map
 * held exclusive; pins have been asked. -ENOSPC: nothing has changed.
 */
int fs_zero_blocks(struct fs *fs, struct fs_inode *file, uint64_t start, uint64_t end, uint64_t size);

#endif
