/*
 * Where the blocks are, for `pinfs map`: the extents of one file; and all of the pool, as counts of cells. No lock is
 * held for longer than a piece takes: a survey of a pool at work is as exact as the pool is still.
 */
#include "fs/data.h"
#include "fs/pins.h"

#include <errno.h>
#include <stdlib.h>

/* ---- A file ---- */

static void fill_extent(struct fs *fs, const struct meta_extent *extent, struct fs_file_extent *ret_extent)
{
	*ret_extent = (struct fs_file_extent){
		.offset = fs_block_byte(extent->file_block),
		.length = fs_block_byte(extent->length),
		.part = fmt_phys_part(extent->phys),
		.part_offset = fs_block_byte(fmt_phys_block(extent->phys)),
		.unwritten = extent->unwritten,
		.pinned = pin_is_counted(fs->pins, extent->phys, extent->length),
		.lost = fs_is_lost(fs, extent->phys, extent->length),
	};
}

/* Map held shared. */
static ssize_t list_extents(struct fs *fs, const struct fs_inode *file, uint64_t offset, struct fs_file_extent *extents,
			    size_t capacity)
{
	uint64_t block = offset >> FMT_BLOCK_SHIFT;
	struct meta_extent extent;
	size_t count = 0;

	while (count < capacity) {
		int error = meta_extent_find(fs->meta, file->media, block, &extent);

		if (error == -ENOENT)
			break;
		if (error != 0)
			return error;
		fill_extent(fs, &extent, &extents[count++]);
		block = extent.file_block + extent.length;
	}
	return (ssize_t)count;
}

ssize_t fs_file_extents(struct fs *fs, uint64_t ino, uint64_t offset, struct fs_file_extent *extents, size_t capacity,
			uint64_t *ret_size)
{
	struct fs_inode *file;
	ssize_t count = -EINVAL;
	int error;

	error = fs_inode_get(fs, ino, &file);
	if (error != 0)
		return error;
	if (S_ISREG(file->type)) {
		lock_rw_take_shared(&file->map);
		count = list_extents(fs, file, offset, extents, capacity);
		*ret_size = file->media->size;
		lock_rw_drop(&file->map);
	}
	fs_inode_put(fs, file);
	return count;
}

/* ---- The pool ---- */

/* Which of a cell's numbers is counted. */
struct tally {
	struct fs_survey *survey;
	enum fs_cell_kind kind;
};

static void count_blocks(const struct tally *tally, uint64_t phys, uint64_t length)
{
	struct fs_survey *survey = tally->survey;
	uint32_t number = fmt_phys_part(phys);
	uint64_t block = fmt_phys_block(phys);
	struct fs_survey_part *part;

	if (number >= survey->parts)
		return; /* of a part that has been added meanwhile */
	part = &survey->part[number];
	for (uint64_t end = min_u64(block + length, part->blocks); block < end;) {
		uint64_t cell = block / survey->cell_blocks;
		uint64_t next = min_u64((cell + 1) * survey->cell_blocks, end);

		part->cell[cell].blocks[tally->kind] += (uint32_t)(next - block);
		block = next;
	}
}

static int see_free(void *arg, uint64_t phys, uint64_t length)
{
	count_blocks(arg, phys, length);
	return 0;
}

static void see_counted(void *arg, const struct pin_block_run *run)
{
	const struct tally tally = {.survey = arg, .kind = run->limbo ? FS_CELL_LIMBO : FS_CELL_PINNED};

	count_blocks(&tally, run->phys, run->length);
}

static void count_lost(struct fs *fs, struct fs_survey *survey)
{
	const struct tally tally = {.survey = survey, .kind = FS_CELL_LOST};

	for (unsigned i = 0; i < survey->parts; i++) {
		uint64_t at = fmt_phys(i, 0);
		const uint64_t end = at + survey->part[i].blocks;
		uint64_t phys, length;

		for (; at < end && fs_lost_find(fs, at, end - at, &phys, &length); at = phys + length)
			count_blocks(&tally, phys, length);
	}
}

static uint64_t cells_of(uint64_t blocks, uint64_t cell_blocks)
{
	return (blocks + cell_blocks - 1) / cell_blocks;
}

/* Cells so large that `wanted` of them have all blocks; each part begins one. */
static int make_survey(struct fs *fs, uint64_t wanted, struct fs_survey **ret_survey)
{
	struct fs_survey *survey;
	uint64_t blocks = 0;
	uint64_t cells = 0;
	uint64_t cell_blocks;
	struct fs_cell *cell;

	for (unsigned i = 0; i < fs->parts; i++)
		blocks += fs->part[i]->blocks;
	cell_blocks = max_u64(cells_of(blocks, max_u64(wanted, 1)), 1);
	/* A cell's numbers have 32 bits. */
	cell_blocks = min_u64(cell_blocks, UINT32_MAX);
	for (unsigned i = 0; i < fs->parts; i++)
		cells += cells_of(fs->part[i]->blocks, cell_blocks);
	survey = calloc(1, sizeof(*survey) + fs->parts * sizeof(survey->part[0]) + cells * sizeof(*cell));
	if (survey == NULL)
		return -ENOMEM;
	survey->cell_blocks = cell_blocks;
	survey->parts = fs->parts;
	cell = (struct fs_cell *)&survey->part[fs->parts];
	for (unsigned i = 0; i < fs->parts; i++) {
		survey->part[i].blocks = fs->part[i]->blocks;
		survey->part[i].cells = cells_of(fs->part[i]->blocks, cell_blocks);
		survey->part[i].cell = cell;
		cell += survey->part[i].cells;
	}
	*ret_survey = survey;
	return 0;
}

int fs_survey(struct fs *fs, uint64_t cells, struct fs_survey **ret_survey)
{
	struct tally tally = {.kind = FS_CELL_FREE};
	int error = make_survey(fs, cells, &tally.survey);

	if (error != 0)
		return error;
	(void)alloc_iterate(fs->alloc, see_free, &tally);
	pin_visit_blocks(fs->pins, see_counted, tally.survey);
	count_lost(fs, tally.survey);
	*ret_survey = tally.survey;
	return 0;
}
