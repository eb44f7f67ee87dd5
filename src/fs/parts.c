/* Opening the data parts: where they are, and that they are what the meta part says. */
#include "fs/parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* A part that the user named with `data=`. */
struct named_part {
	char *path; /* absolute; owned */
	uint8_t uuid[16];
	bool used;
};

/* ---- Parts by name ---- */

static int named_load(const struct fs *fs, const char *path, struct named_part *part, struct message *message)
{
	struct region_probe probe;
	int error;

	part->path = realpath(path, NULL);
	if (part->path == NULL) {
		error = -errno;
		message_set(message, "data=%s: %s", path, strerror(-error));
		return error;
	}
	error = region_probe(part->path, &probe, message);
	if (error != 0)
		return error;
	if (!probe.has_header) {
		message_set(message, "data=%s: not a pinfs data part", path);
		return -EINVAL;
	}
	if (memcmp(probe.header.pool_uuid, meta_super(fs->meta)->pool_uuid, sizeof(probe.header.pool_uuid)) != 0) {
		message_set(message, "data=%s: a data part of another pool than %s", path, fs->meta_path);
		return -EINVAL;
	}
	memcpy(part->uuid, probe.header.part_uuid, sizeof(part->uuid));
	return 0;
}

static void named_free(struct named_part *named, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(named[i].path);
	free(named);
}

static struct named_part *named_find(struct named_part *named, size_t count, const uint8_t uuid[16])
{
	for (size_t i = 0; i < count; i++) {
		if (memcmp(named[i].uuid, uuid, sizeof(named[i].uuid)) == 0)
			return &named[i];
	}
	return NULL;
}

/* Every part that was named must have been wanted, and only once. */
static int named_check(const struct named_part *named, size_t count, struct message *message)
{
	for (size_t i = 0; i < count; i++) {
		if (named[i].used)
			continue;
		message_set(message, "data=%s: this part is not recorded in the pool, or is named twice",
			    named[i].path);
		return -EINVAL;
	}
	return 0;
}

/* ---- Opening ---- */

/* Makes room for one more part. */
static int parts_grow(struct fs *fs)
{
	struct region_part **part = realloc(fs->part, (fs->parts + 1) * sizeof(struct region_part *));

	if (part == NULL)
		return -ENOMEM;
	fs->part = part;
	return 0;
}

static int part_open(struct fs *fs, const struct meta_part *record, const char *path, struct message *message)
{
	struct region_expected expected = {.number = record->number, .blocks = record->blocks};
	struct region_part *part;
	int error;

	if (record->blocks < REGION_PART_BLOCKS_MIN) {
		message_set(message, "%s: part %u is recorded with an impossible size", fs->meta_path, record->number);
		return -EUCLEAN;
	}
	error = parts_grow(fs);
	if (error != 0)
		return error;
	memcpy(expected.pool_uuid, meta_super(fs->meta)->pool_uuid, sizeof(expected.pool_uuid));
	memcpy(expected.part_uuid, record->uuid, sizeof(expected.part_uuid));
	error = region_open(path, fs->read_only, &expected, NULL, &part, message);
	if (error == -ENOENT)
		message_set(message, "%s: data part %u of %s is not there; if it has moved, mount with -o data=NEWPATH",
			    path, record->number, fs->meta_path);
	if (error != 0)
		return error;
	fs->part[fs->parts++] = part;
	/* The first and the last block hold the header and its copy. */
	return alloc_add_part(fs->alloc, record->number, 1, record->blocks - 1);
}

static int parts_open_all(struct fs *fs, struct named_part *named, size_t count, struct message *message)
{
	struct named_part *moved;
	struct meta_part record;
	int error;

	for (uint32_t number = 0; number <= FMT_PART_MAX; number++) {
		error = meta_part_get(fs->meta, number, &record);
		if (error == -ENOENT)
			break;
		if (error != 0) {
			message_set(message, "%s: the record of data part %u: %s", fs->meta_path, number,
				    strerror(-error));
			return error;
		}
		moved = named_find(named, count, record.uuid);
		if (moved != NULL)
			moved->used = true;
		error = part_open(fs, &record, moved != NULL ? moved->path : record.path, message);
		if (error != 0)
			return error;
	}
	return named_check(named, count, message);
}

int fs_parts_open(struct fs *fs, const struct fs_options *options, struct message *message)
{
	struct named_part *named = calloc(options->data_count + 1, sizeof(*named));
	int error = 0;

	if (named == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < options->data_count && error == 0; i++)
		error = named_load(fs, options->data_paths[i], &named[i], message);
	if (error == 0)
		error = parts_open_all(fs, named, options->data_count, message);
	named_free(named, options->data_count);
	return error;
}

int fs_parts_record(struct fs *fs, struct message *message)
{
	struct meta_part record;

	for (unsigned i = 0; i < fs->parts; i++) {
		int error = meta_part_get(fs->meta, i, &record);

		if (error == 0 && strcmp(record.path, fs->part[i]->path) != 0)
			error = meta_part_set_path(fs->meta, i, fs->part[i]->path);
		if (error != 0) {
			message_set(message, "%s: recording the new path of data part %u: %s", fs->meta_path, i,
				    strerror(-error));
			return error;
		}
	}
	return 0;
}

void fs_parts_close(struct fs *fs)
{
	for (unsigned i = 0; i < fs->parts; i++)
		region_close(fs->part[i]);
	free(fs->part);
	fs->part = NULL;
	fs->parts = 0;
}

int fs_part_info(struct fs *fs, unsigned number, const char **ret_path, const char **ret_durability,
		 uint64_t *ret_blocks)
{
	if (number >= fs->parts)
		return -ENOENT;
	*ret_path = fs->part[number]->path;
	*ret_durability = region_durability_name(fs->part[number]->durability);
	*ret_blocks = fs->part[number]->blocks;
	return 0;
}

int fs_part_facts(struct fs *fs, unsigned number, struct fs_part_facts *ret_facts)
{
	const struct region_part *part;

	if (number >= fs->parts)
		return -ENOENT;
	part = fs->part[number];
	*ret_facts = (struct fs_part_facts){
		.bytes = part->blocks << FMT_BLOCK_SHIFT,
		.alignment = part->alignment,
		.durability = part->durability,
		.map_sync = part->map_sync,
	};
	return 0;
}

int fs_part_client_fd(struct fs *fs, unsigned number, bool write, int *ret_fd)
{
	char path[32];
	int fd;
	int error;

	if (number >= fs->parts)
		return -ENOENT;
	if (write && fs->read_only)
		return -EROFS;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fs->part[number]->fd);
	/* An open file of its own: with a copy of ours the client would have our lock, and could let go of it. */
	fd = open(path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/*
	 * A read-only mount has no ledger. What keeps the next daemon from giving the blocks to others, when this one
	 * is gone, is a lock that lasts as long as the client has the descriptor or a mapping: with it no daemon can
	 * write.
	 */
	if (fs->read_only && flock(fd, LOCK_SH | LOCK_NB) != 0) {
		/* Locked by ourselves for writing: read-only only since something was found damaged. */
		error = errno == EWOULDBLOCK ? -EROFS : -errno;
		close(fd);
		return error;
	}
	*ret_fd = fd;
	return 0;
}
