/*
 * Edges: what is taken out of a file may begin and end inside of a block, and that block is zeroed in part. If a pin
 * still counts it the file gets a copy of it first, and the holder keeps the block, in limbo: no byte of what it has
 * mapped changes.
 *
 * The copy is durable before the transaction that puts it in place (D1); the file's bytes are the same before and after
 * it. A cut in between leaves the copy free. Blocks for both edges are reserved first: -ENOSPC changes nothing.
 */
#include "fs/data.h"

#include <assert.h>
#include <errno.h>

struct edge {
	struct meta_extent old; /* one block */
	uint64_t phys; /* its copy */
};

struct edges {
	struct fs *fs;
	struct fs_inode *file;
	size_t count;
	struct edge edge[2];
};

/* The block that holds bytes [start, end) of the file, if a pin counts it; a length of 0 if not. */
static int find_counted(struct fs *fs, const struct fs_inode *file, uint64_t start, uint64_t end,
			struct meta_extent *ret_block)
{
	uint64_t block = start >> FMT_BLOCK_SHIFT;
	struct meta_extent extent;
	int error;

	ret_block->length = 0;
	if (start >= end)
		return 0;
	error = meta_extent_find(fs->meta, file->media, block, &extent);
	if (error == -ENOENT || (error == 0 && extent.file_block > block))
		return 0;
	if (error != 0)
		return error;
	extent.phys += block - extent.file_block;
	extent.file_block = block;
	if (!fs_is_counted(fs, extent.phys, 1))
		return 0;
	/* Nothing is left to copy, nor to protect: the file and the holder may share what is lost. */
	if (!extent.unwritten && fs_lost_look(fs, file->ino, extent.phys, 1))
		return 0;
	extent.length = 1;
	*ret_block = extent;
	return 0;
}

static int edge_reserve(struct edges *edges, uint64_t start, uint64_t end)
{
	struct edge *edge = &edges->edge[edges->count];
	struct alloc_run run;
	size_t count;
	int error;

	error = find_counted(edges->fs, edges->file, start, end, &edge->old);
	if (error != 0 || edge->old.length == 0)
		return error;
	error = fs_reserve_blocks(edges->fs, 1, fs_goal(edges->fs, edges->file, edge->old.file_block), 0, &run, 1,
				  &count);
	if (error != 0)
		return error;
	edge->phys = run.phys;
	edges->count++;
	return 0;
}

static int edge_copy(const struct edges *edges, const struct edge *edge)
{
	struct region_part *from, *to;
	const unsigned char *source = fs_block_address(edges->fs, edge->old.phys, 1, &from);
	unsigned char *copy = fs_block_address(edges->fs, edge->phys, 1, &to);

	if (source == NULL || copy == NULL)
		return -EUCLEAN;
	/* Reads as zeros, and stays so: what is in memory is the holder's. */
	if (edge->old.unwritten)
		return 0;
	region_copy(to, copy, source, FMT_BLOCK_SIZE);
	return region_persist(to, copy, FMT_BLOCK_SIZE);
}

/* fs_removal_body */
static int replace(struct fs_removal *removal, struct meta_tx *tx, void *arg)
{
	const struct edges *edges = arg;
	int error = 0;

	for (size_t i = 0; i < edges->count && error == 0; i++) {
		struct meta_extent extent = edges->edge[i].old;

		error = fs_removal_take(removal, tx, extent.file_block, extent.file_block + 1);
		extent.phys = edges->edge[i].phys;
		if (error == 0)
			error = meta_extent_insert(tx, edges->file->media, &extent);
	}
	return error;
}

int fs_edges_detach(struct fs *fs, struct fs_inode *file, const struct fs_hole *hole)
{
	struct edges edges = {.fs = fs, .file = file};
	struct fs_removal removal = {.fs = fs, .file = file, .limbo = true};
	int error;

	assert(lock_held(LOCK_LAYOUT) && lock_held(LOCK_MAP));
	if (!pin_any(fs->pins))
		return 0;
	error = edge_reserve(&edges, hole->head_start, hole->head_end);
	if (error == 0)
		error = edge_reserve(&edges, hole->tail_start, hole->tail_end);
	for (size_t i = 0; i < edges.count && error == 0; i++)
		error = edge_copy(&edges, &edges.edge[i]);
	if (error == 0 && edges.count > 0)
		error = fs_remove(&removal, replace, &edges);
	for (size_t i = 0; i < edges.count && error != 0; i++) {
		const struct meta_extent unused = {.phys = edges.edge[i].phys, .length = 1};

		(void)fs_free_blocks(fs, file, &unused);
	}
	return error;
}
