/* The data parts of the pool: xattrs "part.N" of a reserved inode. */
#include "meta/mend.h"
#include "meta/pool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Longest name: "part.65535". */
static int part_name(uint32_t number, char name[16])
{
	return snprintf(name, 16, "part.%u", number);
}

static int part_write(struct meta *meta, const struct meta_part *part, unsigned flags)
{
	const struct fmt_inode *parts;
	struct fmt_part_record *record;
	size_t path_length = strlen(part->path);
	struct meta_tx *tx;
	char name[16];
	int length;
	int error;

	if (part->number > FMT_PART_MAX)
		return -EINVAL;
	record = calloc(1, sizeof(*record) + path_length);
	if (record == NULL)
		return -ENOMEM;
	memcpy(record->part_uuid, part->uuid, sizeof(record->part_uuid));
	record->blocks = part->blocks;
	record->number = part->number;
	record->path_length = (uint32_t)path_length;
	memcpy(record->path, part->path, path_length);
	length = part_name(part->number, name);
	error = meta_inode_get(meta, FMT_INO_PARTS, &parts);
	if (error == 0)
		error = meta_begin(meta, META_TX_RESERVE, &tx);
	if (error != 0)
		goto free_record;
	error = meta_xattr_set(tx, parts, name, (size_t)length, record, sizeof(*record) + path_length, flags);
	if (error == 0)
		error = meta_commit(tx);
	else
		meta_abort(tx);
free_record:
	free(record);
	return error;
}

int meta_part_add(struct meta *meta, const struct meta_part *part)
{
	return part_write(meta, part, META_XATTR_CREATE);
}

int meta_part_mend(struct meta *meta, const struct meta_part *part)
{
	return part_write(meta, part, 0);
}

int meta_part_get(struct meta *meta, uint32_t number, struct meta_part *ret_part)
{
	union {
		struct fmt_part_record record;
		char bytes[sizeof(struct fmt_part_record) + sizeof(ret_part->path)];
	} value;
	const struct fmt_inode *parts;
	char name[16];
	ssize_t length;
	int error;

	error = meta_inode_get(meta, FMT_INO_PARTS, &parts);
	if (error != 0)
		return error == -ENOENT ? -EUCLEAN : error;
	length = meta_xattr_get(meta, parts, name, (size_t)part_name(number, name), &value, sizeof(value));
	if (length < 0)
		return length == -ENODATA ? -ENOENT : length == -ERANGE ? -EUCLEAN : (int)length;
	if ((size_t)length < sizeof(value.record) || value.record.number != number ||
	    (size_t)length != sizeof(value.record) + value.record.path_length ||
	    value.record.path_length >= sizeof(ret_part->path))
		return -EUCLEAN;
	memcpy(ret_part->uuid, value.record.part_uuid, sizeof(ret_part->uuid));
	ret_part->blocks = value.record.blocks;
	ret_part->number = number;
	memcpy(ret_part->path, value.bytes + sizeof(value.record), value.record.path_length);
	ret_part->path[value.record.path_length] = '\0';
	return 0;
}

int meta_part_set_path(struct meta *meta, uint32_t number, const char *path)
{
	struct meta_part part;
	int error;

	if (strlen(path) >= sizeof(part.path))
		return -ENAMETOOLONG;
	error = meta_part_get(meta, number, &part);
	if (error != 0)
		return error;
	strcpy(part.path, path);
	return part_write(meta, &part, META_XATTR_REPLACE);
}
