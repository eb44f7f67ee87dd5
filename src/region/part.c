/*
 * Mapped parts.
 *
 *   path -> open -> lock -> enough blocks? -> header ours, known and sound? -> map
 *
 * The descriptor stays open as long as the part is mapped: it holds the lock. Clients are given others.
 */
#include "region/file.h"
#include "region/prefault.h"

#include "base/arith.h"
#include "base/fault.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int check_size(const struct region_file *file, const char *path, const struct region_expected *expected,
		      struct message *message)
{
	uint64_t blocks = region_file_blocks(file);

	if (blocks < expected->blocks) {
		message_set(message,
			    "data part %s: truncated: %" PRIu64 " of %" PRIu64
			    " blocks are there; restore the file or its size",
			    path, blocks, expected->blocks);
		return -EUCLEAN;
	}
	if (expected->blocks < REGION_PART_BLOCKS_MIN || expected->blocks > 1ull << FMT_PHYS_BLOCK_BITS) {
		message_set(message, "data part %s: the pool says that it has %" PRIu64 " blocks, which cannot be",
			    path, expected->blocks);
		return -EUCLEAN;
	}
	return 0;
}

/* A sound header: does this program know what it describes? */
static int check_version(const struct fmt_part_header *header, bool read_only, const char *path,
			 struct message *message)
{
	uint32_t incompat = header->incompat & ~FMT_PART_INCOMPAT_KNOWN;
	uint32_t ro_compat = header->ro_compat & ~FMT_PART_RO_COMPAT_KNOWN;
	struct fmt_feature_text names, needs;

	if (header->version > FMT_VERSION) {
		message_set(message, "data part %s: format version %" PRIu32 "; this program knows up to %u: update it",
			    path, header->version, FMT_VERSION);
		return -EPROTONOSUPPORT;
	}
	if (header->version == 0) {
		message_set(message, "data part %s: format version 0, which never was", path);
		return -EUCLEAN;
	}
	if (incompat != 0) {
		message_set(message, "data part %s: uses what this pinfs (" PINFS_VERSION ") does not know: %s; use %s",
			    path, fmt_feature_names(FMT_WORD_INCOMPAT, incompat, NULL, &names),
			    fmt_feature_needs(NULL, &needs));
		return -EPROTONOSUPPORT;
	}
	if (ro_compat != 0 && !read_only) {
		message_set(message,
			    "data part %s: uses what this pinfs (" PINFS_VERSION
			    ") does not know, and can only read: %s; mount it with -o ro, or use %s",
			    path, fmt_feature_names(FMT_WORD_RO_COMPAT, ro_compat, NULL, &names),
			    fmt_feature_needs(NULL, &needs));
		return -EPROTONOSUPPORT;
	}
	return 0;
}

/* A sound header: is it of the part that the pool expects here? */
static int check_identity(const struct fmt_part_header *header, const char *path,
			  const struct region_expected *expected, struct message *message)
{
	const char *what = NULL;

	if (memcmp(header->pool_uuid, expected->pool_uuid, sizeof(header->pool_uuid)) != 0)
		what = "belongs to another pool";
	else if (memcmp(header->part_uuid, expected->part_uuid, sizeof(header->part_uuid)) != 0 ||
		 header->number != expected->number)
		what = "is another part of this pool";
	if (what != NULL) {
		message_set(message,
			    "data part %s: %s (it is number %" PRIu32 "; %" PRIu32 " is wanted); give its path", path,
			    what, header->number, expected->number);
		return -EUCLEAN;
	}
	if (header->blocks != expected->blocks) {
		message_set(message,
			    "data part %s: its header says %" PRIu64 " blocks, the pool %" PRIu64 "; run pinfs fsck",
			    path, header->blocks, expected->blocks);
		return -EUCLEAN;
	}
	return 0;
}

static bool is_header(const struct region_file *file, uint64_t block, struct fmt_part_header *header)
{
	return region_file_read(file, block, header) == 0 && fmt_part_header_valid(header);
}

static int check_header(const struct region_file *file, bool read_only, const char *path,
			const struct region_expected *expected, struct message *message)
{
	struct fmt_part_header *header = malloc(sizeof(*header));
	int err;

	if (header == NULL)
		return -ENOMEM;
	err = region_file_read(file, 0, header);
	if (err != 0 && err != -EIO) {
		message_set(message, "data part %s: read of its header: %s", path, strerror(-err));
	} else if (err == -EIO || !fmt_part_header_valid(header)) { /* lost to a memory error: as damaged */
		bool copy = is_header(file, expected->blocks - 1, header);

		message_set(message, "data part %s: no sound header in its first block; %s", path,
			    copy ? "the copy in its last block is sound: run pinfs fsck --repair"
				 : "is it the right file?");
		err = -EUCLEAN;
	} else {
		err = check_version(header, read_only, path, message);
		if (err == 0)
			err = check_identity(header, path, expected, message);
	}
	free(header);
	return err;
}

static int map_part(const struct region_file *file, struct region_part *part, struct message *message)
{
	int err;

	part->alignment = file->alignment;
	part->length = (size_t)align_up(part->blocks << FMT_BLOCK_SHIFT, file->alignment);
	err = region_file_map(file, 0, part->length, part->read_only, &part->base, &part->map_sync);
	if (err != 0) {
		message_set(message, "data part %s: mmap of %zu bytes: %s", part->path, part->length, strerror(-err));
		return err;
	}
	part->durability = region_file_durability(part->base, part->length, part->map_sync);
	return 0;
}

static int part_new(const char *path, bool read_only, const struct region_expected *expected,
		    const struct region_ops *ops, struct region_part **ret_part, struct message *message)
{
	struct region_part *part;
	size_t length = strlen(path);

	if (length >= sizeof(part->path)) {
		message_set(message, "data part: path of %zu bytes is too long", length);
		return -ENAMETOOLONG;
	}
	part = calloc(1, sizeof(*part));
	if (part == NULL)
		return -ENOMEM;
	part->number = expected->number;
	memcpy(part->uuid, expected->part_uuid, sizeof(part->uuid));
	part->blocks = expected->blocks;
	part->read_only = read_only;
	part->ops = ops != NULL ? ops : &region_ops_libpmem;
	memcpy(part->path, path, length + 1);
	*ret_part = part;
	return 0;
}

int region_open(const char *path, bool read_only, const struct region_expected *expected, const struct region_ops *ops,
		struct region_part **ret_part, struct message *message)
{
	struct region_part *part;
	struct region_file file;
	int err = part_new(path, read_only, expected, ops, &part, message);

	if (err != 0)
		return err;
	err = fault_install();
	if (err == 0)
		err = region_file_open(path, read_only ? O_RDONLY : O_RDWR, &file, message);
	if (err == -ENOENT)
		message_set(message, "data part %s: not found; if it was moved, say so with -o data=PATH", path);
	if (err != 0)
		goto free_part;
	err = region_file_lock(&file, read_only, path, message);
	if (err == 0)
		err = check_size(&file, path, expected, message);
	if (err == 0)
		err = check_header(&file, read_only, path, expected, message);
	if (err == 0)
		err = map_part(&file, part, message);
	if (err != 0)
		goto close_file;
	part->fd = file.fd;
	fault_name(part->base, part->length, part->path);
	region_prefault_init(part);
	*ret_part = part;
	return 0;

close_file:
	region_file_close(&file);
free_part:
	free(part);
	return err;
}

void region_close(struct region_part *part)
{
	struct region_file file;

	if (part == NULL)
		return;
	file = (struct region_file){.fd = part->fd};
	fault_unname(part->base);
	region_file_unmap(part->base, part->length);
	region_file_close(&file);
	region_prefault_fini(part);
	free(part);
}
