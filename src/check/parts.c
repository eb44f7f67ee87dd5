/* Data parts: what the pool recorded of them against their headers (I21), and the ends of files (I12). */
#include "base/arith.h"
#include "check/walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A moved part is where a header with its uuid is. */
const char *check_part_path(const struct check *check, const struct meta_part *record)
{
	const struct check_options *options = check->options;
	struct region_probe probe;
	size_t i;

	for (i = 0; i < options->data_count; i++)
		if (region_probe(options->data_paths[i], &probe, NULL) == 0 && probe.has_header &&
		    memcmp(probe.header.part_uuid, record->uuid, sizeof(record->uuid)) == 0)
			return options->data_paths[i];
	return record->path;
}

/* I21: the last block is a copy of the first, which region_open() has checked. */
static void judge_copy(struct check *check, const struct check_part *part)
{
	const struct fmt_part_header *first = region_block(part->region, 0);
	const struct fmt_part_header *last = region_block(part->region, part->region->blocks - 1);
	const void *lost;

	if (region_find_lost(part->region, last, sizeof(*last), &lost) == 0)
		check_error(check, "I21", 0, "part %u (%s): the copy of its header in the last block cannot be read",
			    part->record.number, part->region->path);
	else if (!fmt_part_header_valid(last))
		check_error(check, "I21", 0, "part %u (%s): the copy of its header in the last block is damaged",
			    part->record.number, part->region->path);
	else if (memcmp(first, last, sizeof(*first)) != 0)
		check_error(check, "I21", 0, "part %u (%s): its header and the copy in the last block differ",
			    part->record.number, part->region->path);
}

static int open_part(struct check *check, struct check_part *part, struct message *message)
{
	struct region_expected expected = {.number = part->record.number, .blocks = part->record.blocks};
	struct message words = {{0}};
	int ret;

	memcpy(expected.pool_uuid, meta_super(check->meta)->pool_uuid, sizeof(expected.pool_uuid));
	memcpy(expected.part_uuid, part->record.uuid, sizeof(expected.part_uuid));
	ret = region_open(check_part_path(check, &part->record), true, &expected, NULL, &part->region, &words);
	if (ret == -ENOENT || ret == -EUCLEAN) {
		part->region = NULL;
		check_error(check, "I21", 0, "part %u: %s", part->record.number, words.text);
		return 0;
	}
	if (ret < 0) {
		part->region = NULL;
		message_set(message, "%s", words.text);
		return ret;
	}
	judge_copy(check, part);
	return 0;
}

static int open_parts(struct check *check, struct message *message)
{
	struct check_part *part;
	size_t i;
	int ret;

	for (i = 0; i < check->parts; i++) {
		part = &check->part[i];
		if (part->record.number != i || part->record.blocks < REGION_PART_BLOCKS_MIN ||
		    part->record.blocks >> FMT_PHYS_BLOCK_BITS != 0) {
			check_error(check, "I21", 0, "part %zu: its record has number %u and %lu blocks", i,
				    part->record.number, part->record.blocks);
			part->record.blocks = REGION_PART_BLOCKS_MIN; /* nothing beyond can be trusted */
			continue;
		}
		check->report.blocks_total += part->record.blocks - 2;
		if (check->options->skip_data)
			continue;
		ret = open_part(check, part, message);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int check_parts_open(struct check *check, struct message *message)
{
	uint32_t number;
	int ret;

	check_phase(check, "data parts");
	for (number = 0; number < FMT_PART_MAX; number++) {
		ret = check_grow(&check->part, &check->part_capacity, check->parts, sizeof(*check->part));
		if (ret < 0)
			return ret;
		check->part[number].region = NULL;
		ret = meta_part_get(check->meta, number, &check->part[number].record);
		if (ret < 0)
			break;
		check->parts++;
	}
	check->report.parts = check->parts;
	if (number == FMT_PART_MAX)
		ret = -ENOENT;
	if (ret == -EUCLEAN)
		check_error(check, "I21", 0, "the record of part %u is damaged", number);
	else if (ret != -ENOENT)
		return ret;
	else if (check->parts == 0)
		check_error(check, "I21", 0, "the pool records no data part");
	return open_parts(check, message);
}

static void judge_tail_bytes(struct check *check, const struct check_inode *inode, uint32_t number, uint64_t block)
{
	if (check->report.clean)
		check_error(check, "I12", inode->ino,
			    "bytes after its end, at %lu, are not zero (block %lu of part %u)", inode->size, block,
			    number);
	else
		check_note(check, "I12", inode->ino, "bytes after its end, at %lu, are not zero (block %lu of part %u)",
			   inode->size, block, number);
}

static void judge_tail(struct check *check, const struct check_inode *inode)
{
	uint32_t number = fmt_phys_part(inode->tail_phys);
	uint64_t block = fmt_phys_block(inode->tail_phys);
	size_t used = inode->size % FMT_BLOCK_SIZE;
	const unsigned char *bytes;
	bool zero = false;

	/* What is outside of its part has been reported as I7. */
	if (number >= check->parts || check->part[number].region == NULL || block == 0 ||
	    block >= check->part[number].region->blocks - 1 || check_is_bad(check, inode->tail_phys))
		return;
	bytes = region_block(check->part[number].region, block);
	if (region_is_zero(check->part[number].region, bytes + used, FMT_BLOCK_SIZE - used, &zero) != 0)
		check_note(check, "I24", inode->ino,
			   "its last block, %lu of part %u, is lost to a memory error that is not recorded yet", block,
			   number);
	else if (zero)
		return;
	else
		judge_tail_bytes(check, inode, number, block);
}

void check_tails(struct check *check)
{
	size_t i;

	if (check->options->skip_data)
		return;
	check_phase(check, "ends of files");
	for (i = 0; i < check->inodes; i++) {
		check_step(check);
		if (check->inode[i].tail_phys != 0)
			judge_tail(check, &check->inode[i]);
	}
}

void check_parts_close(struct check *check)
{
	size_t i;

	for (i = 0; i < check->parts; i++)
		if (check->part[i].region != NULL)
			region_close(check->part[i].region);
	free(check->part);
}
