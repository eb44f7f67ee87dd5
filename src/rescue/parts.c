/*
 * The data parts. The pool records uuid, size and path of each, and each part says in its first and its last block
 * whose it is. A part is taken if it says so itself; or, if both its blocks are damaged, if it is where the pool says,
 * and of that size.
 */
#include "rescue/work.h"

#include "base/arith.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct record {
	uint8_t uuid[16];
	uint64_t blocks;
	char path[PATH_MAX];
};

struct records {
	struct work *work;
	struct record *record[FMT_PART_MAX + 1];
	bool gap;
};

/* ---- What the pool records ---- */

static int record_name(struct walk *walk, const struct fmt_name *name)
{
	struct records *records = walk->arg;
	union {
		struct fmt_part_record part;
		char bytes[sizeof(struct fmt_part_record) + PATH_MAX];
	} value;
	struct record *record;
	size_t length = name->value_length;

	if (length < sizeof(value.part) || length >= sizeof(value)) {
		records->gap = true;
		return 0;
	}
	if (name->type == FMT_XATTR_INLINE)
		memcpy(&value, name->bytes + name->name_length, length);
	else if (blob_copy(walk->work, walk->inode, FMT_KIND_XATTRS, name->target, &value, length) != 0)
		length = 0;
	if (length < sizeof(value.part) || value.part.path_length != length - sizeof(value.part) ||
	    value.part.number > FMT_PART_MAX || records->record[value.part.number] != NULL) {
		records->gap = true;
		return 0;
	}
	record = calloc(1, sizeof(*record));
	if (record == NULL)
		return -ENOMEM;
	memcpy(record->uuid, value.part.part_uuid, sizeof(record->uuid));
	record->blocks = value.part.blocks;
	memcpy(record->path, value.part.path, value.part.path_length);
	records->record[value.part.number] = record;
	return 0;
}

static void record_gap(struct walk *walk, uint64_t low, uint64_t high)
{
	struct records *records = walk->arg;

	(void)low;
	(void)high;
	records->gap = true;
}

static bool any_record(const struct records *records)
{
	for (uint32_t number = 0; number <= FMT_PART_MAX; number++) {
		if (records->record[number] != NULL)
			return true;
	}
	return false;
}

static int records_read(struct records *records)
{
	struct fmt_inode inode;
	struct walk walk = {.work = records->work,
			    .inode = &inode,
			    .kind = FMT_KIND_XATTRS,
			    .name = record_name,
			    .gap = record_gap,
			    .arg = records};
	int error = 0;

	if (inode_read(records->work, FMT_INO_PARTS, &inode) != 0)
		records->gap = true;
	else
		error = map_walk(&walk);
	if (error != 0 || !records->gap)
		return error;
	if (records->work->options->data_count == 0 && !any_record(records)) {
		message_set(records->work->message, "%s: the list of its data parts is lost: name each with --data",
			    records->work->options->meta_path);
		return -ENODATA;
	}
	rescue_lost(records->work,
		    "the list of data parts is damaged: those that are not given by --data may be missed");
	return 0;
}

/* ---- What a part says of itself ---- */

static bool header_at(struct work *work, const struct image *image, uint64_t block, struct fmt_part_header *header)
{
	return image_read(image, block << FMT_BLOCK_SHIFT, header, sizeof(*header)) == 0 &&
	       fmt_part_header_valid(header) && header->number <= FMT_PART_MAX && header->blocks > 2 &&
	       pool_uuid_fits(work, header->pool_uuid);
}

/* The header, or its copy at the end. */
static bool header_read(struct work *work, const struct image *image, struct fmt_part_header *header)
{
	uint64_t blocks = image->size >> FMT_BLOCK_SHIFT;

	return header_at(work, image, 0, header) || (blocks > 1 && header_at(work, image, blocks - 1, header));
}

/* ---- Taking a part ---- */

static int part_take(struct work *work, uint32_t number, uint64_t blocks, const struct image *image)
{
	struct part *part = calloc(1, sizeof(*part));
	uint64_t words;

	if (part == NULL)
		return -ENOMEM;
	part->image = *image;
	part->blocks = blocks;
	part->bitmap_blocks = min_u64(blocks, align_up(image->size, FMT_BLOCK_SIZE) >> FMT_BLOCK_SHIFT);
	words = part->bitmap_blocks / 64 + 1;
	part->claimed = calloc(words, sizeof(uint64_t));
	part->twice = calloc(words, sizeof(uint64_t));
	if (part->claimed == NULL || part->twice == NULL) {
		free(part->claimed);
		free(part->twice);
		free(part);
		return -ENOMEM;
	}
	part->open = true;
	work->part[number] = part;
	work->blocks_there += part->bitmap_blocks;
	if (image->size >> FMT_BLOCK_SHIFT < blocks)
		rescue_lost(work, "data part %u: has only %llu of its %llu blocks", number,
			    (unsigned long long)(image->size >> FMT_BLOCK_SHIFT), (unsigned long long)blocks);
	return 0;
}

/* A path of the command line. */
static int part_given(struct records *records, const char *path)
{
	struct work *work = records->work;
	struct fmt_part_header header;
	struct image image;
	int error = image_open(path, &image, work->message);

	if (error != 0) {
		if (error == -ENOENT)
			message_set(work->message, "data part %s: %s", path, strerror(-error));
		return error;
	}
	if (!header_read(work, &image, &header)) {
		message_set(work->message, "data part %s: does not say that it is one of this pool", path);
		error = -EUCLEAN;
	} else if (work->part[header.number] != NULL) {
		message_set(work->message, "data part %s: is given twice: it is number %u", path, header.number);
		error = -EINVAL;
	} else {
		error = part_take(work, header.number, header.blocks, &image);
	}
	if (error != 0)
		image_close(&image);
	return error;
}

/* A part where the pool says that it is. */
static int part_recorded(struct records *records, uint32_t number)
{
	const struct record *record = records->record[number];
	struct work *work = records->work;
	struct message message = {.text = ""};
	struct rescue_text room;
	struct fmt_part_header header;
	struct image image;
	const char *path = rescue_text(&room, record->path, strlen(record->path));
	int error = image_open(record->path, &image, &message);

	if (error != 0) {
		rescue_lost(work, "data part %u: %s: %s: its blocks are left out; --data says where it is", number,
			    path, strerror(-error));
		return error == -ENOMEM ? error : 0;
	}
	if (header_read(work, &image, &header)) {
		if (header.number == number && memcmp(header.part_uuid, record->uuid, sizeof(record->uuid)) == 0)
			error = part_take(work, number, header.blocks, &image);
		else
			error = -ESTALE;
	} else if (image.size >> FMT_BLOCK_SHIFT == record->blocks) {
		rescue_lost(work, "data part %u: both its headers are damaged: it is taken for its place and its size",
			    number);
		error = part_take(work, number, record->blocks, &image);
	} else {
		error = -ESTALE;
	}
	if (error == 0)
		return 0;
	image_close(&image);
	if (error != -ESTALE)
		return error;
	rescue_lost(work, "data part %u: %s is another file: its blocks are left out; --data says where it is", number,
		    path);
	return 0;
}

static void records_free(struct records *records)
{
	for (uint32_t number = 0; number <= FMT_PART_MAX; number++)
		free(records->record[number]);
	free(records);
}

int parts_open(struct work *work)
{
	struct records *records = calloc(1, sizeof(*records));
	int error;

	if (records == NULL)
		return -ENOMEM;
	records->work = work;
	error = records_read(records);
	for (size_t i = 0; error == 0 && i < work->options->data_count; i++)
		error = part_given(records, work->options->data_paths[i]);
	for (uint32_t number = 0; error == 0 && number <= FMT_PART_MAX; number++) {
		if (records->record[number] != NULL && work->part[number] == NULL)
			error = part_recorded(records, number);
	}
	records_free(records);
	return error;
}

void parts_close(struct work *work)
{
	for (uint32_t number = 0; number <= FMT_PART_MAX; number++) {
		struct part *part = work->part[number];

		if (part == NULL)
			continue;
		image_close(&part->image);
		free(part->claimed);
		free(part->twice);
		free(part);
	}
}
