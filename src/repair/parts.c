/* Data parts: records, headers and their copies (I21), and the bytes behind the ends of files (I12). */
#include "base/arith.h"
#include "repair/work.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Records ---- */

/* True if there is a part of this pool with that number at `path`; both its headers say so, or one does. */
static bool is_part(struct work *work, const char *path, uint32_t number, struct meta_part *ret_part)
{
	struct region_probe probe;

	if (strlen(path) >= sizeof(ret_part->path) || region_probe(path, &probe, NULL) != 0 || !probe.has_header ||
	    probe.header.number != number || probe.header.blocks < REGION_PART_BLOCKS_MIN ||
	    probe.header.blocks > probe.size >> FMT_BLOCK_SHIFT ||
	    memcmp(probe.header.pool_uuid, meta_super(work->meta)->pool_uuid, 16) != 0)
		return false;
	*ret_part = (struct meta_part){.number = number, .blocks = probe.header.blocks};
	memcpy(ret_part->uuid, probe.header.part_uuid, sizeof(ret_part->uuid));
	strcpy(ret_part->path, path);
	return true;
}

/* Where the user says parts are, where mkfs puts one, and where the record says. */
static bool search_part(struct work *work, uint32_t number, const char *recorded, struct meta_part *ret_part)
{
	char beside[sizeof(ret_part->path)], *real;
	bool found = false;

	for (size_t i = 0; i < work->options->data_count; i++) {
		real = realpath(work->options->data_paths[i], NULL);
		found = found || (real != NULL && is_part(work, real, number, ret_part));
		free(real);
	}
	if (!found && recorded != NULL)
		found = is_part(work, recorded, number, ret_part);
	real = realpath(work->options->meta_path, NULL);
	if (!found && real != NULL && snprintf(beside, sizeof(beside), "%s.data", real) < (int)sizeof(beside))
		found = is_part(work, beside, number, ret_part);
	free(real);
	return found;
}

bool repair_part_vouched(struct work *work, const struct fmt_name *name)
{
	const unsigned char *value = name->bytes + name->name_length;
	struct fmt_part_record record;
	struct meta_part part;
	char path[sizeof(part.path)], text[16];

	if (name->type != FMT_XATTR_INLINE || name->value_length <= sizeof(record))
		return false;
	memcpy(&record, value, sizeof(record));
	if (record.path_length != name->value_length - sizeof(record) || record.path_length >= sizeof(path))
		return false;
	memcpy(path, value + sizeof(record), record.path_length);
	path[record.path_length] = '\0';
	(void)snprintf(text, sizeof(text), "part.%u", record.number);
	return strlen(text) == name->name_length && memcmp(text, name->bytes, name->name_length) == 0 &&
	       is_part(work, path, record.number, &part) && part.blocks == record.blocks &&
	       memcmp(part.uuid, record.part_uuid, sizeof(part.uuid)) == 0;
}

static int mend_record(struct work *work, uint32_t number, const char *recorded)
{
	struct meta_part part;
	int error;

	if (!search_part(work, number, recorded, &part))
		return 0; /* stays an error: --data says where it is */
	error = meta_part_mend(work->meta, &part);
	if (error == 0)
		repair_say(work, "I21", 0, "record of part %u made anew from the header of %s", number, part.path);
	return error;
}

/* Parts have numbers without gaps. The first that is not there may be one that extents still name, or --data has. */
static int mend_records(struct work *work)
{
	struct check *check = &work->check;
	uint32_t number = (uint32_t)check->parts;
	struct meta_part record;
	int error = 0;

	for (size_t i = 0; error == 0 && i < check->parts; i++)
		if (check->part[i].record.blocks <= REGION_PART_BLOCKS_MIN || check->part[i].region == NULL) {
			struct meta_part found;

			record = check->part[i].record;
			if (search_part(work, (uint32_t)i, record.path, &found) &&
			    (found.blocks != record.blocks || memcmp(found.uuid, record.uuid, sizeof(found.uuid)) != 0))
				error = mend_record(work, (uint32_t)i, record.path);
		}
	return error != 0 || number >= FMT_PART_MAX ? error : mend_record(work, number, NULL);
}

/* ---- Headers ---- */

static int mend_headers(struct work *work)
{
	struct check *check = &work->check;

	for (size_t i = 0; i < check->parts; i++) {
		const struct meta_part *record = &check->part[i].record;
		struct region_expected expected = {.number = record->number, .blocks = record->blocks};
		struct message words;
		const char *what;
		int error;

		if (record->number != i || record->blocks <= REGION_PART_BLOCKS_MIN ||
		    repair_inodes_has(&work->told_headers, i))
			continue;
		memcpy(expected.pool_uuid, meta_super(work->meta)->pool_uuid, sizeof(expected.pool_uuid));
		memcpy(expected.part_uuid, record->uuid, sizeof(expected.part_uuid));
		/* It is locked while it is open. */
		region_close(check->part[i].region);
		check->part[i].region = NULL;
		error = region_mend_header(check_part_path(check, record), &expected, work->dry, &what, &words);
		if (error != 0 || what == NULL)
			continue;
		repair_say(work, "I21", 0, "part %zu (%s): %s", i, check_part_path(check, record), what);
		if (work->dry && repair_inodes_add(&work->told_headers, i) != 0)
			return -ENOMEM;
		repair_inodes_sort(&work->told_headers);
	}
	return 0;
}

int repair_parts(struct work *work)
{
	int error;

	if (!repair_has(work, "I21"))
		return 0;
	error = mend_records(work);
	return error != 0 ? error : mend_headers(work);
}

struct region_part *repair_part(struct work *work, uint32_t number)
{
	struct region_expected expected = {.number = number};
	struct check_part *part;

	if (work->dry || number >= work->check.parts)
		return NULL;
	part = &work->check.part[number];
	if (part->region != NULL && !part->region->read_only)
		return part->region;
	if (part->region == NULL) /* it could not be opened for the analysis */
		return NULL;
	expected.blocks = part->record.blocks;
	memcpy(expected.pool_uuid, meta_super(work->meta)->pool_uuid, sizeof(expected.pool_uuid));
	memcpy(expected.part_uuid, part->record.uuid, sizeof(expected.part_uuid));
	region_close(part->region);
	part->region = NULL;
	if (region_open(check_part_path(&work->check, &part->record), false, &expected, NULL, &part->region, NULL) != 0)
		part->region = NULL;
	return part->region;
}

/* ---- Ends of files ---- */

static int zero_tail(struct work *work, const struct check_inode *inode)
{
	struct region_part *part = repair_part(work, fmt_phys_part(inode->tail_phys));
	const size_t used = inode->size % FMT_BLOCK_SIZE;
	unsigned char *address;
	int error = 0;

	if (part != NULL) {
		address = (unsigned char *)region_block(part, fmt_phys_block(inode->tail_phys)) + used;
		region_zero(part, address, FMT_BLOCK_SIZE - used);
		error = region_persist(part, address, FMT_BLOCK_SIZE - used);
	}
	if (error == 0 && (part != NULL || work->dry))
		repair_say(work, "I12", inode->ino, "bytes after its end, at %lu, set to zero", inode->size);
	return error == -EHWPOISON ? 0 : error;
}

int repair_tails(struct work *work)
{
	struct repair_inodes set;
	int error = repair_inodes_with(work, "I12", &set);

	for (size_t i = 0; error == 0 && i < set.count; i++) {
		const struct check_inode *inode = check_inode_find(&work->check, set.ino[i]);

		if (inode != NULL && inode->tail_phys != 0 && !repair_inodes_has(&work->told_tails, inode->ino))
			error = zero_tail(work, inode);
	}
	for (size_t i = 0; error == 0 && work->dry && i < set.count; i++)
		error = repair_inodes_add(&work->told_tails, set.ino[i]);
	repair_inodes_sort(&work->told_tails);
	free(set.ino);
	return error;
}
