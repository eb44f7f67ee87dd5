/* Makes data parts: new files, and files and devdax nodes that are there. */
#include "region/file.h"

#include "base/arith.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* What a part that is being made needs to be taken back. */
struct making {
	const struct region_create_args *args;
	struct region_file file;
	bool created; /* the file is ours: failure unlinks it */
	bool truncated; /* the file's content is gone already: failure leaves it empty */
	struct message *message;
};

static int check_args(const struct region_create_args *args, struct message *message)
{
	uint64_t blocks = args->size >> FMT_BLOCK_SHIFT;

	if (args->number > FMT_PART_MAX) {
		message_set(message, "data part %s: there can be no more than %u parts", args->path, FMT_PART_MAX + 1);
		return -EINVAL;
	}
	if (args->size == 0)
		return 0;
	if (blocks < REGION_PART_BLOCKS_MIN) {
		message_set(message, "data part %s: %" PRIu64 " bytes are too small; the least is %u", args->path,
			    args->size, REGION_PART_BLOCKS_MIN * FMT_BLOCK_SIZE);
		return -EINVAL;
	}
	if (blocks > 1ull << FMT_PHYS_BLOCK_BITS) {
		message_set(message, "data part %s: %" PRIu64 " bytes are too large; the most is 1 EiB", args->path,
			    args->size);
		return -EINVAL;
	}
	return 0;
}

/* Opens an existing file for being replaced: empties it. */
static int open_replaced(struct making *making)
{
	const char *path = making->args->path;
	int err = region_file_open(path, O_RDWR, &making->file, making->message);

	if (err == -ENOENT)
		message_set(making->message, "data part %s: a symbolic link to nothing; remove it", path);
	if (err != 0)
		return err;
	if (making->file.devdax) {
		message_set(making->message, "data part %s: a devdax node has its size; give none", path);
		err = -EINVAL;
		goto close_file;
	}
	err = region_file_lock(&making->file, false, path, making->message);
	if (err != 0)
		goto close_file;
	if (ftruncate(making->file.fd, 0) != 0) {
		err = -errno;
		message_set(making->message, "data part %s: truncate: %s", path, strerror(-err));
		goto close_file;
	}
	making->truncated = true;
	return 0;

close_file:
	region_file_close(&making->file);
	return err;
}

static int open_new(struct making *making)
{
	const char *path = making->args->path;
	int err = region_file_open(path, O_RDWR | O_CREAT | O_EXCL, &making->file, making->message);

	if (err == -EEXIST && making->args->force)
		return open_replaced(making);
	if (err == -EEXIST)
		message_set(making->message, "data part %s: exists already; force overwrites it", path);
	if (err == -ENOENT)
		message_set(making->message, "data part %s: %s", path, strerror(-err));
	if (err != 0)
		return err;
	making->created = true;
	err = region_file_lock(&making->file, false, path, making->message);
	if (err != 0) {
		unlink(path);
		region_file_close(&making->file);
	}
	return err;
}

/* Every block of the file gets its place on the disk, so that no store meets a full one (SIGBUS). */
static int allocate(struct making *making, uint64_t size)
{
	const char *path = making->args->path;
	struct statvfs space;
	int err;

	do
		err = -posix_fallocate(making->file.fd, 0, (off_t)size);
	while (err == -EINTR);
	if (err == -ENOSPC && fstatvfs(making->file.fd, &space) == 0)
		message_set(making->message,
			    "data part %s: no space for %" PRIu64 " bytes: its filesystem has %" PRIu64 " of %" PRIu64
			    " free; give a smaller size",
			    path, size, (uint64_t)space.f_bavail * space.f_frsize,
			    (uint64_t)space.f_blocks * space.f_frsize);
	else if (err != 0)
		message_set(making->message, "data part %s: cannot allocate %" PRIu64 " bytes: %s", path, size,
			    strerror(-err));
	if (err == 0)
		making->file.size = size;
	return err;
}

/* Opens what is there and is to be taken whole. */
static int open_existing(struct making *making)
{
	const char *path = making->args->path;
	struct region_probe *probe;
	int err = region_file_open(path, O_RDWR, &making->file, making->message);

	if (err == -ENOENT)
		message_set(making->message, "data part %s: not found; give a size to make it", path);
	if (err != 0)
		return err;
	probe = malloc(sizeof(*probe));
	err = probe == NULL ? -ENOMEM : region_file_lock(&making->file, false, path, making->message);
	if (err != 0)
		goto close_file;
	err = region_file_probe(&making->file, probe);
	if (err != 0) {
		message_set(making->message, "data part %s: read: %s", path, strerror(-err));
		goto close_file;
	}
	if (!making->args->force && (probe->has_header || !probe->blank)) {
		message_set(making->message, "data part %s: holds %s; force overwrites it", path,
			    probe->has_header ? "a data part of a pool" : "other data");
		err = -EEXIST;
		goto close_file;
	}
	if (region_file_blocks(&making->file) < REGION_PART_BLOCKS_MIN) {
		message_set(making->message, "data part %s: %" PRIu64 " bytes are too small; the least is %u", path,
			    making->file.size, REGION_PART_BLOCKS_MIN * FMT_BLOCK_SIZE);
		err = -EINVAL;
		goto close_file;
	}
	free(probe);
	return 0;

close_file:
	free(probe);
	region_file_close(&making->file);
	return err;
}

/* The copy first: once block 0 is there, the part is whole. */
static int write_headers(struct making *making, uint64_t blocks)
{
	const struct region_create_args *args = making->args;
	struct fmt_part_header *header = calloc(1, sizeof(*header));
	int err;

	if (header == NULL)
		return -ENOMEM;
	header->magic = FMT_PART_MAGIC;
	header->version = FMT_VERSION;
	header->number = args->number;
	memcpy(header->pool_uuid, args->pool_uuid, sizeof(header->pool_uuid));
	memcpy(header->part_uuid, args->part_uuid, sizeof(header->part_uuid));
	header->blocks = blocks;
	header->created = (uint64_t)time(NULL);
	fmt_part_header_seal(header);
	err = region_file_write(&making->file, blocks - 1, header);
	if (err == 0)
		err = region_file_sync(&making->file);
	if (err == 0)
		err = region_file_write(&making->file, 0, header);
	if (err == 0)
		err = region_file_sync(&making->file);
	free(header);
	if (err != 0)
		message_set(making->message, "data part %s: write: %s", args->path, strerror(-err));
	return err;
}

/* Makes a new file's name durable. */
static int sync_directory(const struct making *making)
{
	char *copy = strdup(making->args->path);
	int err = 0;
	int fd;

	if (copy == NULL)
		return -ENOMEM;
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) != 0)
		err = -errno;
	/* Some filesystems cannot sync a directory; a directory that may not be read cannot be opened for it. */
	if (err == -EINVAL || err == -EACCES)
		err = 0;
	if (fd >= 0)
		close(fd);
	free(copy);
	if (err != 0)
		message_set(making->message, "data part %s: sync of its folder: %s", making->args->path,
			    strerror(-err));
	return err;
}

static void take_back(struct making *making)
{
	int err = 0;

	if (making->created)
		err = unlink(making->args->path);
	else if (making->truncated)
		err = ftruncate(making->file.fd, 0);
	/* The first failure is the one to report; what stays then is a file without a header in block 0, or a whole
	 * part. */
	(void)err;
}

int region_create(const struct region_create_args *args, uint64_t *ret_blocks, struct message *message)
{
	struct making making = {.args = args, .message = message};
	uint64_t blocks = 0;
	int err = check_args(args, message);

	if (err != 0)
		return err;
	err = args->size > 0 ? open_new(&making) : open_existing(&making);
	if (err != 0)
		return err;
	if (args->size > 0)
		err = allocate(&making, align_down(args->size, FMT_BLOCK_SIZE));
	if (err == 0) {
		blocks = min_u64(region_file_blocks(&making.file), 1ull << FMT_PHYS_BLOCK_BITS);
		err = write_headers(&making, blocks);
	}
	if (err == 0 && making.created)
		err = sync_directory(&making);
	if (err != 0)
		take_back(&making);
	region_file_close(&making.file);
	if (err == 0)
		*ret_blocks = blocks;
	return err;
}
