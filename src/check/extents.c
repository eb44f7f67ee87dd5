/*
 * Extents: one by one against their file's size (I11), and those of all files by place (I7, I8, I24). Their order in
 * the file and their sum (I9, I10) are the scan's.
 */
#include "base/arith.h"
#include "check/walk.h"

#include <errno.h>
#include <stdlib.h>

#define FILE_BLOCKS_MAX ((uint64_t)FMT_FILE_SIZE_MAX / FMT_BLOCK_SIZE + 1)

/* Blocks that hold bytes of the file. */
static uint64_t size_blocks(const struct check_inode *inode)
{
	return inode->size / FMT_BLOCK_SIZE + (inode->size % FMT_BLOCK_SIZE != 0);
}

static void judge_extent(struct check *check, struct check_inode *inode, const struct meta_extent *extent)
{
	uint64_t end;

	/* Its keys are addresses, which the scan has judged (I23). */
	if (fmt_ino_is_identity(inode->ino))
		return;
	if (extent->length == 0 || add_overflows(extent->file_block, extent->length, &end) || end > FILE_BLOCKS_MAX) {
		check_error(check, "I9", inode->ino, "extent at file block %lu has an impossible length of %u blocks",
			    extent->file_block, extent->length);
		return;
	}
	/* An intent's blocks are gone from the size already; extents that are unwritten may lie anywhere. */
	if (extent->unwritten || inode->intent)
		return;
	if (end > size_blocks(inode))
		check_error(check, "I11", inode->ino, "written extent of file blocks %lu to %lu, the size is %lu bytes",
			    extent->file_block, end - 1, inode->size);
	if (inode->size % FMT_BLOCK_SIZE != 0 && extent->file_block <= inode->size / FMT_BLOCK_SIZE &&
	    inode->size / FMT_BLOCK_SIZE < end)
		inode->tail_phys = extent->phys + (inode->size / FMT_BLOCK_SIZE - extent->file_block);
}

/* The scan goes by keys: they come in order of place. */
static int bad_seen(struct check *check, const struct meta_extent *extent)
{
	int ret = check_grow(&check->bad, &check->bad_capacity, check->bads, sizeof(*check->bad));

	if (ret < 0)
		return ret;
	check->bad[check->bads++] =
		(struct check_extent){.phys = extent->phys, .ino = FMT_INO_BAD, .length = extent->length};
	check->report.extents++;
	check->report.bad_bytes += (uint64_t)extent->length * FMT_BLOCK_SIZE;
	return 0;
}

int check_extent_seen(struct check *check, const struct fmt_inode *media, const struct meta_extent *extent)
{
	struct check_inode *inode;
	int ret;

	ret = check_inode_seen(check, media, &inode);
	if (ret < 0)
		return ret;
	if (media->ino == FMT_INO_BAD)
		return bad_seen(check, extent);
	ret = check_grow(&check->extent, &check->extent_capacity, check->extents, sizeof(*check->extent));
	if (ret < 0)
		return ret;
	check->extent[check->extents++] = (struct check_extent){
		.phys = extent->phys,
		.ino = media->ino,
		.length = extent->length,
	};
	check->report.extents++;
	if (media->ino == FMT_INO_LIMBO)
		check->report.limbo_bytes += (uint64_t)extent->length * FMT_BLOCK_SIZE;
	judge_extent(check, inode, extent);
	return 0;
}

static int compare_extents(const void *a, const void *b)
{
	const struct check_extent *left = a, *right = b;

	if (left->phys != right->phys)
		return left->phys < right->phys ? -1 : 1;
	return left->ino < right->ino ? -1 : left->ino > right->ino;
}

/* Blocks 1 to blocks - 2: the first and the last hold the headers. */
bool check_inside_part(const struct check *check, uint64_t phys, uint32_t length)
{
	uint32_t part = fmt_phys_part(phys);
	uint64_t block = fmt_phys_block(phys);
	uint64_t last;

	if (part >= check->parts || block == 0)
		return false;
	last = check->part[part].record.blocks - 1;
	return block < last && length <= last - block;
}

static void judge_shared(struct check *check, const struct check_extent *extent, uint64_t ino)
{
	uint64_t block = fmt_phys_block(extent->phys);
	uint32_t part = fmt_phys_part(extent->phys);

	if (ino == FMT_INO_LIMBO && ino != extent->ino)
		check_error(check, "I24", extent->ino, "block %lu of part %u is in limbo too", block, part);
	else if (extent->ino == FMT_INO_LIMBO && ino != extent->ino)
		check_error(check, "I24", ino, "block %lu of part %u is in limbo too", block, part);
	else
		check_error(check, "I8", extent->ino, "block %lu of part %u belongs to inode %lu too", block, part,
			    ino);
}

/* In order of place, an extent that begins before the end of those before it shares blocks with one of them. */
static void judge_places(struct check *check)
{
	const struct check_extent *extent;
	uint64_t end = 0, from, ino = 0;
	size_t i;

	for (i = 0; i < check->extents; i++) {
		extent = &check->extent[i];
		check_step(check);
		if (!check_inside_part(check, extent->phys, extent->length)) {
			check_error(check, "I7", extent->ino,
				    "extent of %u blocks at block %lu of part %u is outside of the part",
				    extent->length, fmt_phys_block(extent->phys), fmt_phys_part(extent->phys));
			continue;
		}
		if (extent->phys < end)
			judge_shared(check, extent, ino);
		from = max_u64(extent->phys, end);
		if (extent->phys + extent->length > from) {
			end = extent->phys + extent->length;
			ino = extent->ino;
			check->report.blocks_used += end - from;
		}
	}
}

/* A run of lost blocks: what of it is still a file's is that file's loss, and no damage of the pool. */
static void judge_bad(struct check *check, const struct check_extent *bad)
{
	const uint64_t end = bad->phys + bad->length;
	uint64_t owned = 0;

	if (!check_inside_part(check, bad->phys, bad->length)) {
		check_error(check, "I7", FMT_INO_BAD, "lost run of %u blocks at block %lu of part %u is outside of it",
			    bad->length, fmt_phys_block(bad->phys), fmt_phys_part(bad->phys));
		return;
	}
	for (size_t i = check_extent_find(check, bad->phys); i < check->extents && check->extent[i].phys < end; i++) {
		const struct check_extent *extent = &check->extent[i];
		uint64_t from = max_u64(bad->phys, extent->phys);
		uint64_t to = min_u64(end, extent->phys + extent->length);

		check_step(check);
		if (from >= to)
			continue;
		owned += to - from;
		if (extent->ino != FMT_INO_LIMBO)
			check_note(check, "I24", extent->ino,
				   "%lu of its blocks, from block %lu of part %u on, are lost to a memory error: "
				   "reading them "
				   "gives EIO",
				   to - from, fmt_phys_block(from), fmt_phys_part(from));
	}
	check->report.blocks_used += bad->length - min_u64(owned, bad->length);
}

void check_extents(struct check *check)
{
	size_t i;

	check_phase(check, "extents");
	if (check->extents > 0)
		qsort(check->extent, check->extents, sizeof(*check->extent), compare_extents);
	judge_places(check);
	for (i = 0; i < check->bads; i++)
		judge_bad(check, &check->bad[i]);
}

bool check_is_bad(const struct check *check, uint64_t phys)
{
	size_t low = 0, high = check->bads;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (check->bad[middle].phys + check->bad[middle].length > phys)
			high = middle;
		else
			low = middle + 1;
	}
	return low < check->bads && check->bad[low].phys <= phys;
}

size_t check_extent_find(const struct check *check, uint64_t phys)
{
	size_t low = 0, high = check->extents;

	/* The one before the first that begins behind `phys` may reach it. */
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (check->extent[middle].phys <= phys)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 && check->extent[low - 1].phys + check->extent[low - 1].length > phys ? low - 1 : low;
}
