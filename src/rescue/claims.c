/* The first pass over all maps: whose each block is, and how many names each inode has. Says nothing yet. */
#include "rescue/work.h"

#include "base/arith.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

/* ---- Blocks ---- */

static const struct part *part_of(const struct work *work, uint64_t phys)
{
	const struct part *part = fmt_phys_part(phys) <= FMT_PART_MAX ? work->part[fmt_phys_part(phys)] : NULL;

	return part != NULL && part->open ? part : NULL;
}

const struct part *parts_find(const struct work *work, uint64_t phys)
{
	return part_of(work, phys);
}

/* The bits of [start, end) that lie in the word of `start`; *ret_next: the first bit of the next word, or `end`. */
static uint64_t word_mask(uint64_t start, uint64_t end, uint64_t *ret_next)
{
	uint64_t next = min_u64(align_down(start, 64) + 64, end);
	uint64_t count = next - start;

	*ret_next = next;
	return (count == 64 ? UINT64_MAX : (1ull << count) - 1) << start % 64;
}

void claims_add(struct work *work, struct info *info, const struct fmt_record *record)
{
	uint32_t length = record->length & ~FMT_EXTENT_UNWRITTEN;
	const struct part *part = part_of(work, record->value);
	uint64_t block = fmt_phys_block(record->value);
	uint64_t end, next;

	info->blocks += length;
	if (part == NULL || block >= part->bitmap_blocks)
		return;
	end = min_u64(block + length, part->bitmap_blocks);
	work->blocks_claimed += end - block;
	/* What no pool can claim is not gone through again and again: claims_collect() gives up. */
	if (work->blocks_claimed / 2 > work->blocks_there)
		return;
	for (; block < end; block = next) {
		uint64_t mask = word_mask(block, end, &next);

		part->twice[block / 64] |= part->claimed[block / 64] & mask;
		part->claimed[block / 64] |= mask;
	}
}

bool claims_any(const struct work *work, uint64_t phys, uint32_t length)
{
	const struct part *part = part_of(work, phys);
	uint64_t block = fmt_phys_block(phys);
	uint64_t end, next;

	if (part == NULL || block >= part->bitmap_blocks)
		return false;
	end = min_u64(block + length, part->bitmap_blocks);
	for (; block < end; block = next) {
		uint64_t mask = word_mask(block, end, &next);

		if ((part->claimed[block / 64] & mask) != 0)
			return true;
	}
	return false;
}

static bool bit(const uint64_t *bitmap, uint64_t index)
{
	return (bitmap[index / 64] >> index % 64 & 1) != 0;
}

uint32_t claims_run(const struct work *work, uint64_t phys, uint32_t length, enum claim *ret_state)
{
	const struct part *part = part_of(work, phys);
	uint64_t block = fmt_phys_block(phys);
	uint32_t run = 1;
	bool twice;

	*ret_state = part == NULL ? CLAIM_NO_PART : CLAIM_NO_BLOCK;
	/* Block 0 and the last one are headers. */
	if (part == NULL || block >= part->bitmap_blocks)
		return length;
	if (block == 0 || block + 1 == part->blocks)
		return 1;
	twice = bit(part->twice, block);
	*ret_state = twice ? CLAIM_TWICE : CLAIM_SOLE;
	while (run < length && block + run < part->bitmap_blocks && block + run + 1 != part->blocks &&
	       bit(part->twice, block + run) == twice)
		run++;
	return run;
}

/* ---- Maps ---- */

static int claim_record(struct walk *walk, const struct fmt_record *record)
{
	struct info *info = walk->arg;

	claims_add(walk->work, info, record);
	if ((record->length & FMT_EXTENT_UNWRITTEN) == 0 && info->nlink > 0 && info->ino >= FMT_INO_FIRST_FREE)
		walk->work->bytes_total += (uint64_t)record->length << FMT_BLOCK_SHIFT;
	return 0;
}

static void body_gap(struct walk *walk, uint64_t low, uint64_t high)
{
	struct info *info = walk->arg;

	(void)low;
	(void)high;
	info->flags |= INFO_BODY_LOST;
}

static int count_name(struct walk *walk, const struct fmt_name *name)
{
	struct info *target = inodes_find(walk->work, name->target);

	if (!walk->doubtful && target != NULL && (target->flags & INFO_DAMAGED) == 0 &&
	    target->generation == name->generation && name->type == IFTODT(target->mode))
		target->names++;
	return 0;
}

static void xattrs_gap(struct walk *walk, uint64_t low, uint64_t high)
{
	struct info *info = walk->arg;

	(void)low;
	(void)high;
	info->flags |= INFO_XATTRS_LOST;
}

static int no_name(struct walk *walk, const struct fmt_name *name)
{
	(void)walk;
	(void)name;
	return 0;
}

static int claim_inode(struct work *work, struct info *info, const struct fmt_inode *inode)
{
	struct walk body = {.work = work, .inode = inode, .arg = info, .gap = body_gap};
	struct walk xattrs = {
		.work = work, .inode = inode, .arg = info, .kind = FMT_KIND_XATTRS, .gap = xattrs_gap, .name = no_name};
	int error = 0;

	if (S_ISREG(inode->mode)) {
		body.kind = FMT_KIND_EXTENTS;
		body.record = claim_record;
		error = map_walk(&body);
	} else if (S_ISDIR(inode->mode)) {
		body.kind = FMT_KIND_ENTRIES;
		body.name = count_name;
		error = map_walk(&body);
	}
	return error != 0 ? error : map_walk(&xattrs);
}

int claims_collect(struct work *work)
{
	int error = 0;

	for (size_t i = 0; error == 0 && i < work->infos; i++) {
		struct info *info = &work->info[i];
		struct fmt_inode inode;

		if (i % 1024 == 0)
			rescue_progress(work, "reading maps", i, work->infos);
		if ((info->flags & INFO_DAMAGED) != 0 || inode_read(work, info->ino, &inode) != 0)
			continue;
		error = claim_inode(work, info, &inode);
		if (error == 0 && work->blocks_claimed / 2 > work->blocks_there) {
			message_set(work->message,
				    "%s: its files claim each block more than once: pinfs has not made that",
				    work->options->meta_path);
			error = -EUCLEAN;
		}
	}
	return error;
}
